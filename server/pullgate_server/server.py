"""Runs an application as a gRPC server: start, readiness, and a stop that finishes what is in flight."""

import asyncio
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import grpc
import structlog
from grpc_health.v1 import health_pb2_grpc
from sqlalchemy.exc import SQLAlchemyError

from pullgate_server.composition import (
    Application,
    World,
    compose,
    data_directory,
    ensure_operator_token,
    open_secrets,
    open_store,
)
from pullgate_server.configuration import Configuration
from pullgate_server.errors import RetryableError, StartupError
from pullgate_server.metrics_endpoint import MetricsEndpoint
from pullgate_server.stores.sql_category_knowledge import SqlCategoryKnowledge

log = structlog.get_logger()

TRANSPORT_MESSAGE_FACTOR = 4
"""How much more the transport accepts than the gate: in between, the refusal says what to do."""

TRANSPORT_OPTIONS = (
    # Two servers on one port would each get some of the calls; a clash should be an error.
    ("grpc.so_reuseport", 0),
)


class RunningServer:
    """A server that listens. Stop it with `stop`.

    Attributes:
        address: where it listens, with the port it got.
        metrics_address: where metrics are; empty if nowhere.
    """

    def __init__(self, application: Application, configuration: Configuration) -> None:
        self._application = application
        self._configuration = configuration
        self._server = grpc.aio.server(
            options=[
                *TRANSPORT_OPTIONS,
                ("grpc.max_receive_message_length", configuration.max_message_bytes * TRANSPORT_MESSAGE_FACTOR),
            ]
        )
        self._hurry = asyncio.Event()
        self._background: list[asyncio.Task[None]] = []
        self._metrics: MetricsEndpoint | None = None
        self.address = configuration.listen
        self.metrics_address = ""

    async def start(self) -> None:
        """Listen, and say SERVING; raises StartupError."""
        if self._configuration.metrics_listen:
            self._metrics = MetricsEndpoint(self._configuration.metrics_listen, self._application.metrics)
            self.metrics_address = self._metrics.address
        self._server.add_generic_rpc_handlers(self._application.handlers)
        health_pb2_grpc.add_HealthServicer_to_server(self._application.health, self._server)
        self.address = self._bind()
        await self._server.start()
        self._application.health.set_serving(True)
        self._background = [asyncio.ensure_future(run()) for run in self._application.background]

    async def stop(self) -> None:
        """Say NOT_SERVING, take no new calls, finish those that are open, and let go."""
        configuration, application = self._configuration, self._application
        application.health.end()
        with suppress(TimeoutError):
            async with asyncio.timeout(configuration.drain_delay):
                await self._hurry.wait()
        application.gate.stop_streams()
        await self._server.stop(configuration.stop_grace)
        await application.gate.idle()
        # Last: whoever is still answered is answered from what is newest.
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        if self._metrics is not None:
            self._metrics.close()

    async def cancel(self) -> None:
        """End open calls now, for who cannot wait for `stop`."""
        self._hurry.set()
        await self._server.stop(None)

    def _bind(self) -> str:
        listen = self._configuration.listen
        try:
            if self._application.certificates is not None:
                port = self._server.add_secure_port(listen, self._application.certificates.credentials())
            else:
                port = self._server.add_insecure_port(listen)
        except RuntimeError as error:
            if self._metrics is not None:
                self._metrics.close()
            raise StartupError(f"cannot listen on {listen}: is another server running there? See --listen") from error
        return listen if listen.startswith("unix:") else f"{listen.rpartition(':')[0]}:{port}"


async def run(configuration: Configuration, world: World, announce: Callable[[str, Path], None]) -> None:
    """Serve until SIGTERM or SIGINT; a second one ends open calls at once.

    Args:
        announce: told the address and the data directory once calls are answered.

    Raises:
        StartupError: it cannot start; says what to change.
    """
    directory = data_directory(configuration)
    store = await open_store(configuration, directory)
    knowledge = SqlCategoryKnowledge(store.engine, world.clock, writing=store.writing)
    try:
        try:
            hasher = await open_secrets(configuration, store, directory, world)
            await ensure_operator_token(store, hasher, directory, world)
        except OSError as error:
            raise StartupError(f"the data directory {directory} cannot be written ({error.strerror})") from error
        except (RetryableError, SQLAlchemyError) as error:
            raise StartupError(f"the database cannot be used ({error.__cause__}); see --database") from error
        async with compose(configuration, directory, store, knowledge, hasher, world) as application:
            server = RunningServer(application, configuration)
            await server.start()
            stopping = _on_signals(server)
            log.info("serving", address=server.address, revision=application.snapshots.current.revision)
            announce(server.address, directory)
            await stopping.wait()
            log.info("stopping")
            await server.stop()
    finally:
        await knowledge.close()
        await store.close()
    log.info("stopped")


def _on_signals(server: RunningServer) -> asyncio.Event:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    hurried: set[asyncio.Task[None]] = set()

    def on_signal() -> None:
        if stopping.is_set():
            hurried.add(loop.create_task(server.cancel()))
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    return stopping
