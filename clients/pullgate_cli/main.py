"""`pullgate`: the group of commands. Each is imported when it is called, so that none pays for the others."""

import difflib
import importlib

import click

COMMANDS = {
    "serve": ("pullgate_server.command:serve", "Run the server."),
    "sidecar": (
        "pullgate_cli.sidecar:sidecar",
        "Decide beside what pulls images, also while the server is away.",
    ),
    "docker-plugin": (
        "pullgate_cli.docker_plugin:docker_plugin",
        "Decide what the Docker Engine of this host may pull and run.",
    ),
    "decide": ("pullgate_cli.decide:decide", "Ask whether an identity may use images."),
    "check": ("pullgate_cli.check:check", "Find every image that files use, and whether they may be used."),
    "reference": ("pullgate_cli.reference:reference", "Explain how image references are read."),
    "policy": ("pullgate_cli.policy:policy", "Read, try, test and change policies."),
    "watch": ("pullgate_cli.watch:watch", "Show changes of policies, member lists and pins as they come."),
    "subscriber": ("pullgate_cli.subscriber:subscriber", "Who follows the policies, and what each runs."),
    "member": ("pullgate_cli.member:member", "Read and change member lists."),
    "token": ("pullgate_cli.token:token", "Make, list and revoke tokens."),
    "category": ("pullgate_cli.category:category", "Pin the category of a namespace or repository."),
    "audit": ("pullgate_cli.audit:audit", "Who changed what, when, and from where."),
    "doctor": ("pullgate_cli.doctor:doctor", "Find what is set up wrong, and say what to do."),
    "whoami": ("pullgate_cli.whoami:whoami", "Say whom the service takes you for."),
    "healthcheck": ("pullgate_cli.healthcheck:healthcheck", "Ask whether the server should be sent calls."),
    "version": ("pullgate_cli.version:version", "Print the version."),
}
"""Where each command is, and what it does in a sentence."""


def server_not_installed(error: ModuleNotFoundError) -> click.UsageError:
    """What to say when a part of the server cannot be imported."""
    return click.UsageError(f"the server is not installed (there is no {error.name}): pip install 'pullgate[server]'")


class _LazyGroup(click.Group):
    """Knows its commands by name and help, and loads one when it is called."""

    def list_commands(self, _context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            close = difflib.get_close_matches(name, COMMANDS, n=1)
            raise click.UsageError(f"there is no command {name}" + (f"; did you mean {close[0]}?" if close else ""))
        module, _, attribute = COMMANDS[name][0].partition(":")
        try:
            command: click.Command = getattr(importlib.import_module(module), attribute)
        except ModuleNotFoundError as error:
            if name != "serve":
                raise
            raise server_not_installed(error) from error
        return command

    def format_commands(self, _context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_text) for name, (_, help_text) in COMMANDS.items()])


@click.group(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="""\b
First steps:
  pullgate serve
  pullgate policy preset strict --org acme | pullgate policy apply --yes -f -
  pullgate decide --org acme --user dev nginx""",
)
def main() -> None:
    """May this identity use this image? Image Access Management as a service of your own."""
