"""Sidecars in this process, for tests."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from os import urandom
from pathlib import Path
from typing import Any

import grpc

from pullgate.v1.policy_decision_pb2_grpc import PolicyDecisionServiceStub
from pullgate_server.listening import RunningServer
from pullgate_server.sidecar.composition import SidecarApplication, compose_sidecar
from pullgate_server.sidecar.configuration import SidecarConfiguration
from pullgate_server.sidecar.upstream import Upstream
from tests.conftest import SOON, Clock


@dataclass(frozen=True, kw_only=True)
class Sidecar:
    """A sidecar, and a channel to it."""

    application: SidecarApplication
    server: RunningServer
    channel: grpc.aio.Channel
    decisions: Any
    metadata: tuple[tuple[str, str], ...]

    async def call(self, method: Any, request: Any, **options: Any) -> Any:
        """Call a method as somebody who may."""
        return await method(request, metadata=self.metadata, timeout=SOON, **options)


@asynccontextmanager
async def running_sidecar(
    upstream: Upstream,
    folder: Path,
    clock: Clock,
    *,
    own_token: Callable[[], str] | None = None,
    **options: Any,
) -> AsyncIterator[Sidecar]:
    """A sidecar on a unix socket in `folder`, or where `listen` says."""
    configuration = SidecarConfiguration(**{"listen": f"unix:{folder}/pullgate.sock", "stop_grace": 5.0, **options})
    application = compose_sidecar(configuration, upstream, own_token=own_token, clock=clock, random_bytes=urandom)
    mode = None if configuration.socket_path is None else configuration.socket_mode
    server = RunningServer(application, configuration, socket_mode=mode)
    await server.start()
    try:
        async with grpc.aio.insecure_channel(server.address) as channel:
            yield Sidecar(
                application=application,
                server=server,
                channel=channel,
                decisions=PolicyDecisionServiceStub(channel),
                metadata=() if own_token is None else (("authorization", f"Bearer {own_token()}"),),
            )
    finally:
        await server.stop()
