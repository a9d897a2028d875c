"""`pullgate sidecar`: follows a service, and decides beside whoever asks, also while the service is away."""

import importlib
import logging
import os
import re
import shlex
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pullgate_cli.connecting import names_connection
from pullgate_cli.durations import Duration
from pullgate_cli.main import server_not_installed
from pullgate_policy.knowledge import Knowledge, PastMaximumAge

if TYPE_CHECKING:
    from pullgate_client import AsyncLocalDecider, Connection

STATE_FILE = "sidecar.state"
"""Name of the file in the state directory that holds the last good state."""

EPILOG = """\b
Examples:
  pullgate sidecar --listen unix:/tmp/pullgate.sock
  pullgate sidecar --upstream pullgate.internal:50051 --tls --token-file /etc/pullgate/token \\
    --listen unix:///run/pullgate/pullgate.sock --socket-mode 0660 --state-dir /var/lib/pullgate
  pullgate decide --address unix:/tmp/pullgate.sock --org acme --user dev nginx
\b
Exit codes:
  0  stopped by SIGTERM or Ctrl-C, with all open calls finished
  2  the configuration is wrong; says what to change"""


class SocketMode(click.ParamType):  # type: ignore[type-arg]  # generic in later clicks alone
    """The mode of a file, in octal digits."""

    name = "mode"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The mode as a number."""
        if isinstance(value, int):
            return value
        if re.fullmatch(r"0?[0-7]{3}", value) is None:
            self.fail(f"{value!r} is not a mode such as 0600 or 0660", param, ctx)
        return int(value, 8)


@click.command(epilog=EPILOG, context_settings={"max_content_width": 110})
@names_connection(
    "--upstream", envvar="PULLGATE_UPSTREAM", help_text="HOST:PORT or unix:PATH of the service to follow."
)
@click.option(
    "--listen",
    default="unix:///run/pullgate.sock",
    show_default=True,
    envvar="PULLGATE_SIDECAR_LISTEN",
    show_envvar=True,
    help="Where to listen: unix:PATH or unix:///PATH, where whoever may open the socket may ask; or HOST:PORT (port 0: "
    "a free one) of a loopback address, where callers present the sidecar's own token.",
)
@click.option(
    "--socket-mode",
    type=SocketMode(),
    default="0600",
    show_default=True,
    help="Who may open the unix socket: 0600 the same user alone, 0660 its group too, 0666 everybody.",
)
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="PULLGATE_STATE_DIR",
    show_envvar=True,
    help="Directory for what is known, from which the next start decides if the service is away then. Default: "
    "pullgate in the user's state directory. Created if it is not there.",
)
@click.option(
    "--org",
    "organizations",
    multiple=True,
    help="Follow this organization alone; may be repeated. Default: all that the token may watch.",
)
@click.option(
    "--name", default=socket.gethostname, show_default="the host's", help="The own name in the list of subscribers."
)
@click.option(
    "--max-age",
    type=Duration(),
    default="24h",
    show_default=True,
    help="For how long decisions may rest on what is known while the service is away, such as 30m, 24h or 7d.",
)
@click.option(
    "--past-max-age",
    type=click.Choice([choice.value for choice in PastMaximumAge]),
    default=PastMaximumAge.CLOSED.value,
    show_default=True,
    help="What holds after that, and where nothing is known: closed makes no decision; open allows everything, and "
    "says so; last_known goes on with what is known.",
)
@click.option(
    "--metrics-listen",
    default="",
    help="Where to serve metrics for Prometheus over HTTP: HOST:PORT (port 0: a free one). Default: nowhere.",
)
@click.option(
    "--drain-delay",
    type=float,
    default=0.0,
    show_default=True,
    help="How long to go on serving after SIGTERM with health NOT_SERVING. In seconds.",
)
@click.option(
    "--stop-grace",
    type=float,
    default=10.0,
    show_default=True,
    help="How long calls that are open at stop may take to finish. In seconds.",
)
@click.option(
    "--log-format",
    type=click.Choice(["auto", "console", "json"]),
    default="auto",
    show_default=True,
    help="How a line of the log looks.",
)
def sidecar(
    *,
    connection: "Connection",
    listen: str,
    socket_mode: int,
    state_dir: Path | None,
    organizations: tuple[str, ...],
    name: str,
    max_age: timedelta,
    past_max_age: str,
    metrics_listen: str,
    drain_delay: float,
    stop_grace: float,
    log_format: str,
) -> None:
    """Decide beside what pulls images, also while the server is away.

    Follows a server, and answers Decide, BatchDecide and StreamDecide from what it was told, as the server itself
    would. Needs no database, and starts from what it has kept on disk when the server cannot be reached.
    """
    from pullgate_client import ConnectionSettingsError

    running = _server_part()
    directory = state_dir or _default_state_directory()
    try:
        configuration = running.SidecarConfiguration(
            listen=listen,
            socket_mode=socket_mode,
            metrics_listen=metrics_listen,
            drain_delay=drain_delay,
            stop_grace=stop_grace,
            log_format=running.LogFormat(log_format),
        )
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise running.StartupError(
                f"the state directory {directory} cannot be used ({error.strerror}); see --state-dir"
            ) from error

        @asynccontextmanager
        async def following() -> "AsyncIterator[AsyncLocalDecider]":
            from pullgate_client import AsyncClient, AsyncLocalDecider

            # What becomes of its standing is said here, with more to it.
            logging.getLogger("pullgate.standing").setLevel(logging.CRITICAL)
            async with (
                AsyncClient(connection) as client,
                AsyncLocalDecider(
                    client,
                    organizations=organizations,
                    name=name,
                    state_file=directory / STATE_FILE,
                    maximum_age=max_age,
                    past_maximum_age=PastMaximumAge(past_max_age),
                ) as decider,
            ):
                yield decider

        running.run_sidecar(configuration, following, _own_token(connection), _announcing(connection, directory))
    except (running.StartupError, ConnectionSettingsError) as error:
        click.echo(f"{click.style('cannot start:', fg='red', bold=True)} {error}", err=True)
        sys.exit(2)


def _server_part() -> Any:
    """What serves: the server's package, which is loaded for this command alone."""
    try:
        return importlib.import_module("pullgate_server.sidecar.running")
    except ModuleNotFoundError as error:
        raise server_not_installed(error) from error


def _default_state_directory() -> Path:
    """`pullgate` in the user's state directory (XDG Base Directory specification)."""
    base = os.environ.get("XDG_STATE_HOME") or Path(os.environ.get("HOME") or Path.home(), ".local", "state")
    return Path(base, "pullgate")


def _own_token(connection: "Connection") -> Callable[[], str]:
    def own_token() -> str:
        from pullgate_client import ConnectionSettingsError

        try:
            authorization = connection.authorization()
        except ConnectionSettingsError as error:
            raise OSError(str(error)) from error
        return authorization[0][1].removeprefix("Bearer ") if authorization else ""

    return own_token


def _announcing(connection: "Connection", directory: Path) -> Callable[[str, Knowledge], None]:
    def announce(address: str, knowledge: Knowledge) -> None:
        known = f"knows revision {knowledge.state.revision}" if knowledge.caller is not None else "knows nothing yet"
        where = shlex.quote(address.replace("unix://", "unix:"))
        click.echo(
            f"\npullgate {version('pullgate')} sidecar answers on {click.style(address, bold=True)}; follows "
            f"{connection.address}, and {known}; state in {directory}. Stop it with Ctrl-C.\n\n"
            "Next, in another terminal:\n"
            f"  {sys.argv[0]} healthcheck --address {where}\n"
            f"  {sys.argv[0]} decide --address {where} --org acme --user dev nginx\n"
        )

    return announce
