"""The options that say where the service is, shared by all commands that ask it."""

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click
from click.core import ParameterSource

from pullgate.local import DEFAULT_ADDRESS, default_data_directory, is_local

if TYPE_CHECKING:
    from pullgate_client import CallError, Connection

REFUSED = 1
"""Exit code of administrative commands: the service did not do it, as for want of permission or after a conflict."""

USAGE = 2
"""Exit code: what was asked is wrong."""

NO_ANSWER = 3
"""Exit code: the service could not be asked, or had no answer."""

_REFUSALS = {"PERMISSION_DENIED", "UNAUTHENTICATED", "ABORTED", "ALREADY_EXISTS"}
_TOO_MUCH = {"BATCH_TOO_LARGE", "MESSAGE_TOO_LARGE"}
_WRONG = {"INVALID_ARGUMENT", "FAILED_PRECONDITION", "NOT_FOUND", "OUT_OF_RANGE"}

_FILE = click.Path(path_type=Path, dir_okay=False)


def connects(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the connection options, and a `client` that is open while it runs."""

    @names_connection("--address", envvar="PULLGATE_ADDRESS", help_text="HOST:PORT or unix:PATH of the service.")
    @functools.wraps(command)
    def connected(*, connection: "Connection", **arguments: Any) -> Any:
        from pullgate_client import CallError, Client, ConnectionSettingsError

        try:
            with Client(connection) as client:
                return command(client=client, **arguments)
        except ConnectionSettingsError as error:
            raise click.UsageError(str(error)) from error
        except CallError as error:
            fail(error, connection)

    return connected


def names_connection(
    flag: str, *, envvar: str, help_text: str, needless_with: str = ""
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command the connection options, and the `connection` that they describe.

    Args:
        flag: what the option with the address is called.
        needless_with: the command's parameter that, where it is given, makes it ask nobody: `connection` is then None.
    """

    def given(command: Callable[..., Any]) -> Callable[..., Any]:
        @click.option(
            flag,
            "address",
            envvar=envvar,
            default=DEFAULT_ADDRESS,
            show_default=True,
            show_envvar=True,
            help=help_text,
        )
        @click.option(
            "--token",
            envvar="PULLGATE_TOKEN",
            show_envvar=True,
            help="Bearer token. Default: the one of the server on this machine, in --data-dir.",
        )
        @click.option(
            "--token-file",
            envvar="PULLGATE_TOKEN_FILE",
            type=_FILE,
            show_envvar=True,
            help="File with the token instead. It is read anew whenever the token is needed.",
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
            token_file: Path | None,
            data_dir: Path | None,
            tls: bool,
            ca: Path | None,
            cert: Path | None,
            key: Path | None,
            **arguments: Any,
        ) -> Any:
            if arguments.get(needless_with):
                return command(connection=None, **arguments)
            from pullgate_client import Connection, ConnectionSettingsError
            from pullgate_client.connection import local_token

            # What is typed wins over what the environment says.
            source, typed = click.get_current_context().get_parameter_source, ParameterSource.COMMANDLINE
            if typed in {source("token"), source("token_file")}:
                token = token if source("token") is typed else None
                token_file = token_file if source("token_file") is typed else None
            token = (token or "").strip()
            if not token and token_file is None and cert is None:
                token = local_token(address, data_dir or default_data_directory(os.environ))
            connection = Connection(
                address=address, token=token, token_file=token_file, tls=tls, ca=ca, cert=cert, key=key
            )
            if token and token_file is not None:
                raise click.UsageError("--token and --token-file are both given; say one of them")
            try:
                has_token = bool(connection.current_token())
            except ConnectionSettingsError as error:
                raise click.UsageError(str(error)) from error
            if has_token and not connection.speaks_tls and not _is_here(address):
                warning = f"the token crosses the network readably on its way to {address}; say --tls"
                click.echo(f"{click.style('warning:', fg='yellow', bold=True)} {warning}", err=True)
            return command(connection=connection, **arguments)

        return connected

    return given


def _is_here(address: str) -> bool:
    try:
        return is_local(address)
    except ValueError:
        # Other forms of addresses are grpc's business; what cannot be told is not here.
        return False


def fail(error: "CallError", connection: "Connection") -> NoReturn:
    """Say why there is no answer, and what to do, and leave."""
    say_error(explain(error, connection))
    sys.exit(exit_code(error))


def say_error(message: str) -> None:
    """Say on standard error why there is no answer."""
    click.echo(f"{click.style('error:', fg='red', bold=True)} {message}", err=True)


def exit_code(error: "CallError") -> int:
    """The exit code of an administrative command that ends with this error."""
    if error.code.name in _REFUSALS or error.reason == "LOCKED_OUT":
        return REFUSED
    return USAGE if error.code.name in _WRONG or error.reason in _TOO_MUCH else NO_ANSWER


def explain(error: "CallError", connection: "Connection") -> str:
    """The sentence for a person."""
    code, address = error.code.name, connection.address
    if code == "UNAVAILABLE" and not error.reason and connection.speaks_tls:
        return f"no service could be reached on {address} over TLS; see --ca, --cert and the name ({error.message})"
    if code == "UNAVAILABLE" and not error.reason:
        return f"no service answers on {address}; start one with 'pullgate serve', or say --address"
    if code == "UNAUTHENTICATED" and not (connection.token or connection.token_file or connection.cert):
        return "a token is required: say --token, --token-file, or --data-dir of a server on this machine"
    if code == "DEADLINE_EXCEEDED":
        return f"the service on {address} did not answer in time"
    return error.message or code
