"""The options that say where the service is, shared by all commands that ask it."""

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from pullgate.local import DEFAULT_ADDRESS, default_data_directory

if TYPE_CHECKING:
    from pullgate_client import CallError

NO_DECISION = 3
"""Exit code: the service could not be asked, or had no answer."""

USAGE = 2
"""Exit code: what was asked is wrong."""

_FILE = click.Path(path_type=Path, dir_okay=False)


def connects(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the connection options, and a `client` that is open while it runs."""

    @click.option(
        "--address",
        envvar="PULLGATE_ADDRESS",
        default=DEFAULT_ADDRESS,
        show_default=True,
        show_envvar=True,
        help="HOST:PORT or unix:PATH of the service.",
    )
    @click.option(
        "--token",
        envvar="PULLGATE_TOKEN",
        show_envvar=True,
        help="Bearer token. Default: the one of the server on this machine, in --data-dir.",
    )
    @click.option(
        "--data-dir",
        envvar="PULLGATE_DATA_DIR",
        show_envvar=True,
        type=click.Path(path_type=Path),
        help="Data directory of the server on this machine.",
    )
    @click.option(
        "--tls",
        envvar="PULLGATE_TLS",
        is_flag=True,
        show_envvar=True,
        help="Speak TLS; --ca, --cert and --key imply it.",
    )
    @click.option(
        "--ca",
        envvar="PULLGATE_CA",
        type=_FILE,
        show_envvar=True,
        help="Certificates (PEM) to trust instead of the system's.",
    )
    @click.option("--cert", envvar="PULLGATE_CERT", type=_FILE, show_envvar=True, help="Own certificate (PEM).")
    @click.option("--key", envvar="PULLGATE_KEY", type=_FILE, show_envvar=True, help="Key of --cert (PEM).")
    @functools.wraps(command)
    def connected(
        *,
        address: str,
        token: str | None,
        data_dir: Path | None,
        tls: bool,
        ca: Path | None,
        cert: Path | None,
        key: Path | None,
        **arguments: Any,
    ) -> Any:
        from pullgate_client import CallError, Client, Connection, ConnectionSettingsError
        from pullgate_client.connection import local_token

        token = (token or "").strip() or local_token(address, data_dir or default_data_directory(os.environ))
        if not token.isascii() or not token.isprintable():
            raise click.UsageError("the token has characters that no token has; was it copied whole?")
        connection = Connection(address=address, token=token, tls=tls, ca=ca, cert=cert, key=key)
        try:
            with Client(connection) as client:
                return command(client=client, **arguments)
        except ConnectionSettingsError as error:
            raise click.UsageError(str(error)) from error
        except CallError as error:
            fail(error, address, has_token=bool(token))

    return connected


def fail(error: "CallError", address: str, *, has_token: bool) -> NoReturn:
    """Say why there is no answer, and what to do, and leave."""
    message, code = explain(error, address, has_token=has_token)
    click.echo(f"{click.style('error:', fg='red', bold=True)} {message}", err=True)
    sys.exit(code)


def explain(error: "CallError", address: str, *, has_token: bool) -> tuple[str, int]:
    """The sentence for a person, and the exit code."""
    code = error.code.name
    if code == "UNAVAILABLE" and not error.reason:
        return f"no service answers on {address}; start one with 'pullgate serve', or say --address", NO_DECISION
    if code == "UNAUTHENTICATED" and not has_token:
        return "a token is required: say --token, or --data-dir of a server on this machine", NO_DECISION
    if code == "DEADLINE_EXCEEDED":
        return f"the service on {address} did not answer in time", NO_DECISION
    wrong = {"INVALID_ARGUMENT", "FAILED_PRECONDITION", "NOT_FOUND", "ABORTED"}
    return error.message or code, USAGE if code in wrong else NO_DECISION
