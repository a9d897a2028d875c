"""grpc.health.v1: whether this server should be sent calls, as it is now and not as it was at start.

The messages and stubs are grpcio-health-checking's. Its servicer is not used: it holds a lock while it writes to a
watcher, so that one watcher that does not read keeps the status from changing for everybody, and its watches never
end, so that a graceful stop waits for as long as it may. Health needs no token: probes cannot carry one.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from pullgate_policy.errors import shown
from pullgate_server.rpc.gate import Context


class HealthService(health_pb2_grpc.HealthServicer):  # type: ignore[misc]
    """Knows one status for the server ("") and each of its services. NOT_SERVING until told otherwise."""

    def __init__(self, services: Iterable[str]) -> None:
        self._services = frozenset(["", *services])
        self._serving = False
        self._ended = False
        self._changed: set[asyncio.Event] = set()

    @property
    def serving(self) -> bool:
        """Whether calls should come here."""
        return self._serving

    def set_serving(self, serving: bool) -> None:  # noqa: FBT001 - it is the status
        """Tell everybody, from now on. Without effect after `end`."""
        if serving != self._serving and not self._ended:
            self._serving = serving
            self._tell()

    def end(self) -> None:
        """NOT_SERVING for good; the watches end once they have told it."""
        self._serving = False
        self._ended = True
        self._tell()

    async def Check(self, request: health_pb2.HealthCheckRequest, context: Context) -> health_pb2.HealthCheckResponse:  # noqa: N802
        """The status now."""
        if request.service not in self._services:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"there is no service {shown(request.service)} here")
        return health_pb2.HealthCheckResponse(status=self._status(request.service))

    async def Watch(  # noqa: N802
        self, request: health_pb2.HealthCheckRequest, _context: Context
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """The status now, and whenever it has changed."""
        changed = asyncio.Event()
        self._changed.add(changed)
        told = None
        try:
            while True:
                changed.clear()
                status = self._status(request.service)
                if status != told:
                    yield health_pb2.HealthCheckResponse(status=status)
                    told = status
                if self._ended:
                    return
                await changed.wait()
        finally:
            self._changed.discard(changed)

    def _status(self, service: str) -> Any:
        if service not in self._services:
            return health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        return health_pb2.HealthCheckResponse.SERVING if self._serving else health_pb2.HealthCheckResponse.NOT_SERVING

    def _tell(self) -> None:
        for changed in self._changed:
            changed.set()
