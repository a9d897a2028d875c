"""Metrics over HTTP, for Prometheus to fetch."""

from prometheus_client import CollectorRegistry, disable_created_metrics, start_http_server

from pullgate_server.errors import StartupError

# The moments at which each series began double the size of an answer and are of use to nobody here.
disable_created_metrics()  # type: ignore[no-untyped-call]


class MetricsEndpoint:
    """Serves a registry from a thread of its own, so that it answers also while much is decided.

    Attributes:
        address: where it listens, with the port it got.
    """

    def __init__(self, listen: str, registry: CollectorRegistry) -> None:
        """Listen on HOST:PORT; raises StartupError."""
        host, _, port = listen.rpartition(":")
        try:
            self._server, self._thread = start_http_server(int(port), host.strip("[]"), registry)
        except (OSError, OverflowError, ValueError) as error:
            raise StartupError(f"--metrics-listen {listen} cannot be used ({error}); write HOST:PORT") from error
        self.address = f"{host}:{self._server.server_port}"

    def close(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
