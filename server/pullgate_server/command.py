"""`pullgate serve`: the command line, the environment and the configuration file, read into a Configuration."""

# First, as it sets what grpc reads when it is imported.
from pullgate_server.event_loop import loop_factory  # isort: skip

import asyncio
import dataclasses
import enum
import os
import shlex
import sys
import types
import typing
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

from pullgate.local import DEFAULT_ADDRESS, default_data_directory
from pullgate_policy.document import suggestion
from pullgate_policy.yaml_text import InvalidYamlError, load_yaml
from pullgate_server.composition import World
from pullgate_server.configuration import Configuration
from pullgate_server.errors import StartupError
from pullgate_server.logs import configure_logs
from pullgate_server.server import run
from pullgate_server.workers import run_workers

EPILOG = """\b
Examples:
  pullgate serve
  pullgate serve --listen 127.0.0.1:0 --data-dir /tmp/trial
  pullgate serve --listen 0.0.0.0:50051 --tls-cert server.pem --tls-key server.key
\b
Exit codes:
  0  stopped by SIGTERM or Ctrl-C, with all open calls finished
  2  the configuration is wrong; says what to change"""


def _load_config_file(context: click.Context, _parameter: click.Parameter, path: Path | None) -> None:
    """Make the file's values click's defaults, below the environment and the command line."""
    if path is None:
        return
    try:
        data = load_yaml(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, InvalidYamlError) as error:
        raise click.BadParameter(f"{path} cannot be read: {error}") from error
    if not isinstance(data, dict):
        raise click.BadParameter(f"{path} is not a section with the options as keys")
    names = {field.name for field in dataclasses.fields(Configuration)}
    for key in data:
        if key not in names:
            raise click.BadParameter(f"{path}: {key} is not an option{suggestion(str(key), names)}")
    context.default_map = {**(context.default_map or {}), **data}


def options() -> list[click.Parameter]:
    """The command's options: one for each field of Configuration, and the file."""
    hints = typing.get_type_hints(Configuration)
    parameters: list[click.Parameter] = [
        _option(field, hints[field.name]) for field in dataclasses.fields(Configuration)
    ]
    parameters.append(
        click.Option(
            ["--config"],
            type=click.Path(path_type=Path, dir_okay=False),
            callback=_load_config_file,
            is_eager=True,
            expose_value=False,
            envvar="PULLGATE_CONFIG",
            show_envvar=True,
            help="YAML file with these options as keys, in snake_case. The environment goes before it, and the "
            "command line before both.",
        )
    )
    return parameters


def _option(field: "dataclasses.Field[Any]", hint: Any) -> click.Option:
    flag = f"--{field.name.replace('_', '-')}"
    unit = field.metadata["unit"]
    settings: dict[str, Any] = {
        "help": field.metadata["description"] + (f" In {unit}." if unit else ""),
        "default": field.default,
        "show_default": field.default not in (None, ""),
        "envvar": f"PULLGATE_{field.name.upper()}",
        "show_envvar": True,
    }
    if isinstance(hint, types.UnionType):
        hint = next(part for part in typing.get_args(hint) if part is not type(None))
    if hint is bool:
        return click.Option([f"{flag}/--no-{flag[2:]}"], **settings)
    if issubclass(hint, enum.Enum):
        settings |= {"type": click.Choice([member.value for member in hint]), "default": field.default.value}
        settings["callback"] = lambda _context, _parameter, word: hint(word)
    else:
        settings["type"] = click.Path(path_type=Path) if hint is Path else hint
    return click.Option([flag], **settings)


def _announce(address: str, directory: Path) -> None:
    program = sys.argv[0]
    given = [] if address == DEFAULT_ADDRESS else [f"--address {address}"]
    if directory != default_data_directory({**os.environ, "PULLGATE_DATA_DIR": ""}):
        given.append(f"--data-dir {shlex.quote(str(directory))}")
    where = "".join(f" {part}" for part in given)
    click.echo(
        f"\npullgate {version('pullgate')} answers on {click.style(address, bold=True)}; data in {directory}. "
        "Stop it with Ctrl-C.\n\n"
        "Next, in another terminal:\n"
        f"  {program} policy preset strict --org acme | {program} policy apply{where} --yes -f -\n"
        f"  {program} decide{where} --org acme --user dev nginx\n"
    )


@click.command(params=options(), epilog=EPILOG, context_settings={"max_content_width": 110})
def serve(**values: Any) -> None:
    """Run the server.

    Started without options it needs nothing: SQLite and an operator token in the data directory, plaintext on
    loopback.
    """
    try:
        configuration = Configuration(**values)
        configure_logs(configuration.log_format)
        if configuration.workers > 1:
            asyncio.run(run_workers(configuration, World(), _announce))
        else:
            with asyncio.Runner(loop_factory=loop_factory()) as runner:
                runner.run(run(configuration, World(), _announce))
    except StartupError as error:
        click.echo(f"{click.style('cannot start:', fg='red', bold=True)} {error}", err=True)
        sys.exit(2)
