"""Runs a sidecar, from its start to a stop that finishes what is in flight."""

# First, as it sets what grpc reads when it is imported.
from pullgate_server.event_loop import loop_factory  # isort: skip

import asyncio
import os
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import structlog

from pullgate_policy.knowledge import Knowledge
from pullgate_server.clock import Clock, system_clock
from pullgate_server.configuration import LogFormat
from pullgate_server.errors import StartupError
from pullgate_server.listening import RunningServer, Stopping
from pullgate_server.logs import configure_logs
from pullgate_server.sidecar.composition import compose_sidecar, facts_of
from pullgate_server.sidecar.configuration import SidecarConfiguration
from pullgate_server.sidecar.socket_file import make_way
from pullgate_server.sidecar.upstream import Upstream

log = structlog.get_logger()

__all__ = ["LogFormat", "SidecarConfiguration", "StartupError", "run_sidecar"]

Announce = Callable[[str, Knowledge], None]
Following = Callable[[], AbstractAsyncContextManager[Upstream]]


def run_sidecar(
    configuration: SidecarConfiguration, following: Following, own_token: Callable[[], str], announce: Announce
) -> None:
    """Serve until SIGTERM or SIGINT; a second one ends open calls at once.

    Args:
        following: begins to follow the service, in the event loop, and ends it.
        own_token: the token that the sidecar has for the service; empty if it has none. Raises OSError where it cannot
            be read. Where others than the owner of a socket can connect, callers have to present it.
        announce: told the address and what is known once calls are answered.

    Raises:
        StartupError: it cannot start; says what to change.
    """
    configure_logs(configuration.log_format)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(_serve(configuration, following, own_token, announce, system_clock, os.urandom))


async def _serve(
    configuration: SidecarConfiguration,
    following: Following,
    own_token: Callable[[], str],
    announce: Announce,
    clock: Clock,
    random_bytes: Callable[[int], bytes],
) -> None:
    socket = configuration.socket_path
    if socket is not None:
        # Before anything else: a second sidecar must not disturb what the first one keeps.
        make_way(socket)
    else:
        _require_token(configuration, own_token)
    async with following() as upstream:
        application = compose_sidecar(
            configuration,
            upstream,
            own_token=own_token if socket is None else None,
            clock=clock,
            random_bytes=random_bytes,
        )
        server = RunningServer(
            application, configuration, socket_mode=None if socket is None else configuration.socket_mode
        )
        await server.start()
        stopping = Stopping(server)
        stopping.follow_signals()
        where = {"metrics": server.metrics_address} if server.metrics_address else {}
        log.info("serving", address=server.address, **where, **facts_of(upstream.knowledge, clock))
        announce(server.address, upstream.knowledge)
        await stopping.asked.wait()
        log.info("stopping")
        await server.stop()
    log.info("stopped")


def _require_token(configuration: SidecarConfiguration, own_token: Callable[[], str]) -> None:
    try:
        token = own_token()
    except OSError as error:
        raise StartupError(str(error)) from error
    if not token:
        raise StartupError(
            f"--listen {configuration.listen} takes a token that its callers present, and there is none: say --token "
            "or --token-file, or listen on a unix socket"
        )
