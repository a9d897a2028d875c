"""Runs an application as a gRPC server: start, readiness, and a stop that finishes what is in flight."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

import grpc
from grpc_health.v1 import health_pb2_grpc
from prometheus_client import CollectorRegistry

from pullgate_server.errors import StartupError
from pullgate_server.metrics_endpoint import MetricsEndpoint
from pullgate_server.rpc.gate import Gate
from pullgate_server.rpc.health import HealthService

TRANSPORT_MESSAGE_FACTOR = 4
"""How much more the transport accepts than the gate: in between, the refusal says what to do."""

TRANSPORT_OPTIONS = (
    # A watcher on whose stream nothing happens pings, so that what lies in between does not take the connection for
    # idle; by grpc's own five minutes it would be told ENHANCE_YOUR_CALM and cut off. A second keeps out floods alone.
    ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
    # A client may ping between its calls too: the interval above holds then, instead of two hours.
    ("grpc.keepalive_permit_without_calls", 1),
    # Who went without a word is noticed within a minute, and their streams end; grpc's own is two hours. Rarer than our
    # clients ping, so that where they do nothing is sent twice.
    ("grpc.keepalive_time_ms", 50_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # Otherwise grpc pings twice, and no more until there is data.
    ("grpc.http2.max_pings_without_data", 0),
    # After an interruption thousands of subscribers come back at one instant. By default grpc refuses what is above
    # 1000 and 3000; waiting for a moment costs memory alone, being refused costs them another attempt, and us another
    # rush.
    ("grpc.server.max_pending_requests", 10_000),
    ("grpc.server.max_pending_requests_hard_limit", 20_000),
)


class Listening(Protocol):
    """Where to listen, and for how long to stop; the options of the same names say what each does."""

    @property
    def listen(self) -> str: ...  # noqa: D102

    @property
    def metrics_listen(self) -> str: ...  # noqa: D102

    @property
    def max_message_bytes(self) -> int: ...  # noqa: D102

    @property
    def drain_delay(self) -> float: ...  # noqa: D102

    @property
    def stop_grace(self) -> float: ...  # noqa: D102


class Credentials(Protocol):
    """What TLS is served with."""

    def credentials(self) -> grpc.ServerCredentials:
        """As grpc takes them."""
        ...


class Served(Protocol):
    """The parts that a server registers and runs.

    Attributes:
        certificates: None without TLS.
        background: each runs from start to stop.
    """

    @property
    def handlers(self) -> tuple[grpc.GenericRpcHandler, ...]: ...  # noqa: D102

    @property
    def health(self) -> HealthService: ...  # noqa: D102

    @property
    def gate(self) -> Gate: ...  # noqa: D102

    @property
    def certificates(self) -> Credentials | None: ...  # noqa: D102

    @property
    def metrics(self) -> CollectorRegistry: ...  # noqa: D102

    @property
    def background(self) -> tuple[Callable[[], Awaitable[None]], ...]: ...  # noqa: D102

    @property
    def is_ready(self) -> bool:
        """Whether calls should come here as soon as they are answered."""
        ...

    async def end_subscriptions(self) -> None:
        """Send subscribers elsewhere, where there are any."""
        ...


class RunningServer:
    """A server that listens. Stop it with `stop`.

    Args:
        shares_port: listen also where others do that share the port, and be given some of the connections.
        socket_mode: who may open a unix socket, as the mode of a file; None for what the process's umask leaves.

    Attributes:
        address: where it listens, with the port it got.
        metrics_address: where metrics are; empty if nowhere.
    """

    def __init__(
        self,
        application: Served,
        configuration: Listening,
        *,
        shares_port: bool = False,
        socket_mode: int | None = None,
    ) -> None:
        self._application = application
        self._configuration = configuration
        self._socket_mode = socket_mode
        self._server = grpc.aio.server(
            options=[
                *TRANSPORT_OPTIONS,
                # Two servers on one port would each get some of the calls; a clash should be an error.
                ("grpc.so_reuseport", int(shares_port)),
                ("grpc.max_receive_message_length", configuration.max_message_bytes * TRANSPORT_MESSAGE_FACTOR),
            ]
        )
        self._hurry = asyncio.Event()
        self._background: list[asyncio.Task[None]] = []
        self._metrics: MetricsEndpoint | None = None
        self.address = configuration.listen
        self.metrics_address = ""

    async def start(self) -> None:
        """Listen, and say whether it is SERVING; raises StartupError."""
        if self._configuration.metrics_listen:
            self._metrics = MetricsEndpoint(self._configuration.metrics_listen, self._application.metrics)
            self.metrics_address = self._metrics.address
        self._server.add_generic_rpc_handlers(self._application.handlers)
        health_pb2_grpc.add_HealthServicer_to_server(self._application.health, self._server)
        self.address = self._bind()
        await self._server.start()
        self._application.health.set_serving(self._application.is_ready)
        self._background = [asyncio.ensure_future(run()) for run in self._application.background]

    async def stop(self) -> None:
        """Say NOT_SERVING, take no new calls, finish those that are open, and let go."""
        configuration, application = self._configuration, self._application
        application.health.end()
        with suppress(TimeoutError):
            async with asyncio.timeout(configuration.drain_delay):
                await self._hurry.wait()
        await application.end_subscriptions()
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
                with _umask_for(self._socket_mode):
                    port = self._server.add_insecure_port(listen)
        except RuntimeError as error:
            if self._metrics is not None:
                self._metrics.close()
            raise StartupError(f"cannot listen on {listen}: is another server running there? See --listen") from error
        return listen if listen.startswith("unix:") else f"{listen.rpartition(':')[0]}:{port}"


@contextmanager
def _umask_for(mode: int | None) -> Iterator[None]:
    """Create files with exactly this mode: a socket is never open to more people, not even for a moment."""
    if mode is None:
        yield
        return
    before = os.umask(0o777 & ~mode)
    try:
        yield
    finally:
        os.umask(before)


class Stopping:
    """The stop of a server: asked for by whom, and how urgently.

    Attributes:
        asked: set once it is.
    """

    def __init__(self, server: RunningServer) -> None:
        self.asked = asyncio.Event()
        self._server = server
        self._hurried: set[asyncio.Task[None]] = set()

    def follow_signals(self) -> None:
        """Stop on SIGTERM and SIGINT, and hurry on a second one."""
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._on_signal)

    def _on_signal(self) -> None:
        if self.asked.is_set():
            self.hurry()
        self.asked.set()

    def hurry(self) -> None:
        """End open calls now."""
        self._hurried.add(asyncio.ensure_future(self._server.cancel()))
