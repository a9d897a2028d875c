"""`pullgate docker-plugin`: makes the Docker Engine ask before it pulls an image or starts a container from one."""

import asyncio
import logging
import os
import shlex
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from pullgate_cli.connecting import USAGE, names_connection
from pullgate_cli.durations import Duration
from pullgate_docker.asking import ENGINE_SOCKET, MayNotAskError, NoAnswerError, is_authorization_plugin
from pullgate_docker.installing import (
    CONFIGURATION,
    DEFAULT_NAME,
    ConfigurationUnusableError,
    Installation,
    default_socket,
)

if TYPE_CHECKING:
    from pullgate_client import Connection
    from pullgate_docker.deciders import Decider
    from pullgate_docker.judging import Judge, Who

SOCKET = default_socket(DEFAULT_NAME)
STATE_DIRECTORY = Path("/var/lib/pullgate-docker-plugin")

STATE_FILE = "docker-plugin.state"
"""Name of the file in the state directory that holds the last good state."""

_PATH = click.Path(path_type=Path, dir_okay=False)


class UserName(click.ParamType):  # type: ignore[type-arg]  # generic in later clicks alone
    """CN=NAME: what a certificate calls somebody, and what the policies do."""

    name = "CN=NAME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """The two names."""
        if isinstance(value, tuple):
            return value
        common_name, _, name = value.rpartition("=")
        if not common_name or not name:
            self.fail(f"{value!r} is not of the form CN=NAME", param, ctx)
        return common_name, name


def _deny_or_allow(option: str, *, default: str, help_text: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option(
        option, type=click.Choice(["deny", "allow"]), default=default, show_default=True, help=help_text
    )


@click.group(
    invoke_without_command=True,
    context_settings={"max_content_width": 110},
    epilog="""\b
Examples:
  pullgate docker-plugin --organization acme
  pullgate docker-plugin --organization acme --identity build-7 --address pullgate.internal:50051 --tls \\
    --token-file /etc/pullgate/docker-plugin.token --local
  pullgate docker-plugin install          # once it answers: the engine asks it from the next reload on
  pullgate docker-plugin uninstall        # the engine asks it no more
\b
Exit codes:
  0  stopped by SIGTERM or Ctrl-C
  2  the configuration is wrong; says what to change""",
)
@click.option(
    "--organization",
    "--org",
    "organizations",
    multiple=True,
    metavar="ORG",
    help="The organization whose policy holds on this host; repeatable. Required.",
)
@click.option(
    "--identity",
    default=socket.gethostname,
    show_default="the host's name",
    metavar="NAME",
    help="Who pulls through the engine's socket, which does not say who opens it.",
)
@click.option(
    "--user-map",
    "users",
    type=UserName(),
    multiple=True,
    help="What to call a TLS client of the engine instead of its certificate's common name; repeatable.",
)
@click.option(
    "--socket",
    "path",
    type=_PATH,
    default=SOCKET,
    show_default=True,
    help="Where to answer. Only this user and root may open it.",
)
@click.option(
    "--engine-socket",
    type=_PATH,
    default=ENGINE_SOCKET,
    show_default=True,
    help="The engine's own socket, for what it knows of the images that containers are started from.",
)
@_deny_or_allow("--builds", default="deny", help_text="What holds for builds, whose images the engine shows no plugin.")
@_deny_or_allow(
    "--imports",
    default="deny",
    help_text="What holds for 'docker import' of an archive, which cannot be told from a pull in disguise.",
)
@_deny_or_allow(
    "--local-images",
    default="allow",
    help_text="What holds for containers from images that were built or loaded here: allow decides by their names.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0.05, max=60),
    default=5.0,
    show_default=True,
    help="How long a decision may take. In seconds.",
)
@_deny_or_allow(
    "--on-error",
    default="deny",
    help_text="What holds when no decision is made, as when the service cannot be reached.",
)
@click.option("--local", is_flag=True, help="Follow the service, and decide here, also while it is away.")
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=STATE_DIRECTORY,
    show_default=True,
    help="With --local: directory for what is known, from which the next start decides if the service is away then.",
)
@click.option(
    "--max-age",
    type=Duration(),
    default="24h",
    show_default=True,
    help="With --local: for how long decisions may rest on what is known while the service is away.",
)
@click.option(
    "--log-format",
    type=click.Choice(["logfmt", "json"]),
    default="logfmt",
    show_default=True,
    help="How a line of the log looks. There is one for each decision or refusal.",
)
@names_connection("--address", envvar="PULLGATE_ADDRESS", help_text="HOST:PORT or unix:PATH of the service.")
@click.pass_context
def docker_plugin(
    context: click.Context,
    *,
    connection: "Connection",
    organizations: Sequence[str],
    identity: str,
    users: Sequence[tuple[str, str]],
    path: Path,
    engine_socket: Path,
    builds: str,
    imports: str,
    local_images: str,
    timeout: float,
    on_error: str,
    local: bool,
    state_dir: Path,
    max_age: timedelta,
    log_format: str,
) -> None:
    """Decide what the Docker Engine of this host may pull and run.

    Answers the engine as an authorization plugin. docs/docker-engine.md says what is decided, and what no plugin sees.
    """
    if context.invoked_subcommand is not None:
        return
    if not organizations:
        raise click.UsageError("say with --organization whose policy holds on this host")
    _require_aiohttp()
    from pullgate_client import ConnectionSettingsError
    from pullgate_docker.judging import Judge, Who
    from pullgate_docker.plugin import SocketUnusableError
    from pullgate_docker.requests import Unseen
    from pullgate_policy import InvalidIdentityError

    who = Who(identity=identity, organizations=organizations, users=dict(users))
    let_through = {Unseen.BUILDS: builds, Unseen.IMPORTS: imports}
    _log_to_standard_error(log_format)

    async def run() -> None:
        from pullgate_docker.engine import DockerEngine

        async with (
            _deciding(connection, organizations, timeout, state_dir if local else None, max_age) as decider,
            DockerEngine(engine_socket) as engine,
        ):
            judge = Judge(
                decider,
                engine,
                who.pulls,
                let_through=frozenset(kind for kind, choice in let_through.items() if choice == "allow"),
                local_images=local_images == "allow",
                seconds=timeout,
                allow_undecided=on_error == "allow",
            )
            await _until_stopped(judge, path, _announcement(connection, who, path, local=local))

    try:
        who.pulls("", "")
        if local:
            _make_directory(state_dir)
        asyncio.run(run())
    except (SocketUnusableError, ConnectionSettingsError, InvalidIdentityError) as error:
        _cannot("start", error)


def _make_directory(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        _cannot("start", f"the state directory {path} cannot be used ({error.strerror}); see --state-dir")


@asynccontextmanager
async def _deciding(
    connection: "Connection", organizations: Sequence[str], seconds: float, state: Path | None, max_age: timedelta
) -> "AsyncIterator[Decider]":
    """Who decides: the service, or with a state directory a decider of this process."""
    from pullgate_client import AsyncClient, AsyncLocalDecider
    from pullgate_docker.deciders import LocalDecider, ServiceDecider

    async with AsyncClient(connection, deadline=seconds) as client:
        if state is None:
            yield ServiceDecider(client, organizations)
            return
        async with AsyncLocalDecider(
            client,
            organizations=organizations,
            name=f"docker-plugin on {socket.gethostname()}",
            state_file=state / STATE_FILE,
            maximum_age=max_age,
            category_wait=seconds / 2,
        ) as decider:
            yield LocalDecider(decider, organizations)


async def _until_stopped(judge: "Judge", path: Path, announcement: str) -> None:
    from pullgate_docker.plugin import run_plugin
    from pullgate_docker.supervision import keep_telling, tell

    def announce() -> None:
        click.echo(announcement)
        tell("READY=1", os.environ)

    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    stopping = asyncio.ensure_future(stopped.wait())
    try:
        async with keep_telling(os.environ):
            await run_plugin(judge, path, announce, stopping)
    finally:
        stopping.cancel()


def _announcement(connection: "Connection", who: "Who", path: Path, *, local: bool) -> str:
    asks = "follows" if local else "asks"
    program = shlex.quote(sys.argv[0])
    options = "" if path == SOCKET else f" --name {shlex.quote(path.stem)} --socket {shlex.quote(str(path))}"
    return (
        f"\npullgate {version('pullgate')} docker-plugin answers on {click.style(str(path), bold=True)}; {asks} "
        f"{connection.address} about {who.identity} of {', '.join(who.organizations)}. Stop it with Ctrl-C.\n\n"
        f"Next, if the engine does not ask it yet, in another terminal:\n  {program} docker-plugin install{options}\n"
    )


def _log_to_standard_error(log_format: str) -> None:
    from pullgate_docker.logs import FORMATTERS

    handler = logging.StreamHandler()
    handler.setFormatter(FORMATTERS[log_format]())
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def _require_aiohttp() -> None:
    try:
        import aiohttp  # noqa: F401 - whether it is there
    except ModuleNotFoundError as error:
        raise click.UsageError(
            f"the plugin is not installed (there is no {error.name}): pip install 'pullgate[docker-plugin]'"
        ) from error


# What the engine needs.

WITHOUT_PLUGIN = "an engine that cannot reach its plugin ends when it reads that, and does not start"
"""What is at stake: Docker Engine 20.10 ends after 15 seconds."""

_NAME = click.option("--name", default=DEFAULT_NAME, show_default=True, help="What the engine calls the plugin.")
_CONFIGURATION = click.option(
    "--config",
    "configuration",
    type=_PATH,
    default=CONFIGURATION,
    show_default=True,
    help="The engine's configuration.",
)


@docker_plugin.command(
    context_settings={"max_content_width": 110},
    epilog="""\b
Exit codes:
  0  the engine will ask the plugin, or does already
  2  the engine's configuration is as it was; says why""",
)
@_NAME
@click.option(
    "--socket", "path", type=_PATH, help="Where the plugin answers.  [default: /run/docker/plugins/NAME.sock]"
)
@_CONFIGURATION
@click.option("--force", is_flag=True, help=f"Also if nothing answers on the socket: {WITHOUT_PLUGIN}.")
def install(*, name: str, path: Path | None, configuration: Path, force: bool) -> None:
    """Make the engine ask the plugin, from its next reload on."""
    installation = _installation(name, path, configuration)
    try:
        is_plugin = is_authorization_plugin(installation.socket)
        problem = f"what answers on {installation.socket} is no authorization plugin"
    except MayNotAskError as error:
        _cannot("install", error)
    except NoAnswerError as error:
        is_plugin, problem = False, str(error)
    if not is_plugin and not force:
        _cannot(
            "install",
            f"no plugin answers ({problem}), and {WITHOUT_PLUGIN}; start 'pullgate docker-plugin --organization ORG' "
            "first, or say --force",
        )
    done = _done("install", installation.install)
    undo = f"{shlex.quote(sys.argv[0])} docker-plugin uninstall --name {name} --config {configuration}"
    if not done:
        click.echo(f"{configuration} names {name} already; nothing was changed.")
    click.echo(
        "\n".join(done) + f"\n\nThe engine asks the plugin once it has read that:\n"
        f"  systemctl reload docker       # or: kill -HUP the process dockerd; containers go on\n"
        f"  {shlex.quote(sys.argv[0])} doctor --plugin {name}\n"
        f"To undo it:\n  {undo}\n  systemctl reload docker"
        + ("" if is_plugin else f"\nNo plugin answers ({problem}): start it first, for {WITHOUT_PLUGIN}.")
    )


@docker_plugin.command(
    context_settings={"max_content_width": 110},
    epilog="""\b
Exit codes:
  0  the engine will not ask the plugin
  2  the engine's configuration is as it was; says why""",
)
@_NAME
@_CONFIGURATION
def uninstall(*, name: str, configuration: Path) -> None:
    """Make the engine not ask the plugin any more, from its next reload on."""
    done = _done("uninstall", _installation(name, None, configuration).uninstall)
    if not done:
        click.echo(f"{configuration} does not name {name}; nothing was changed.")
        return
    click.echo(
        "\n".join(done) + "\n\nThe engine goes on asking until it has read that:\n  systemctl reload docker\n"
        "If it has ended for want of the plugin:\n  systemctl reset-failed docker; systemctl start docker"
    )


def _installation(name: str, path: Path | None, configuration: Path) -> Installation:
    if not name or not all(character.isascii() and (character.isalnum() or character in "-_") for character in name):
        raise click.UsageError(f"{name!r} cannot be a plugin's name: letters, digits, - and _ make one")
    return Installation(
        name=name,
        socket=(path or default_socket(name)).absolute(),
        configuration=configuration,
    )


def _done(what: str, change: Callable[[], list[str]]) -> list[str]:
    try:
        return change()
    except ConfigurationUnusableError as error:
        _cannot(what, error)


def _cannot(what: str, why: Exception | str) -> NoReturn:
    click.echo(f"{click.style(f'cannot {what}:', fg='red', bold=True)} {why}", err=True)
    sys.exit(USAGE)
