"""The options of a sidecar that concern how it serves; how it follows its service is the business of who makes it."""

from dataclasses import dataclass
from pathlib import Path

from pullgate.local import is_local
from pullgate_server.configuration import MAX_SECONDS, LogFormat
from pullgate_server.errors import StartupError

DEFAULT_LISTEN = "unix:///run/pullgate.sock"


@dataclass(frozen=True, slots=True, kw_only=True)
class SidecarConfiguration:
    """The options of one sidecar. Raises StartupError for what contradicts itself.

    Attributes:
        listen: unix:PATH, or HOST:PORT of a loopback address.
        socket_mode: who may open the unix socket, as the mode of a file.
        metrics_listen: HOST:PORT; empty for nowhere.
        drain_delay: seconds to go on serving after SIGTERM with health NOT_SERVING.
        stop_grace: seconds that calls which are open at stop may take to finish.
        cacheable_for: the longest that a caller may use an answer again without asking, in seconds.
        category_wait: the longest that a decision waits for a category that only the service knows, in seconds. Longer
            than the server's own, which is a part of it.
    """

    listen: str = DEFAULT_LISTEN
    socket_mode: int = 0o600
    metrics_listen: str = ""
    drain_delay: float = 0.0
    stop_grace: float = 10.0
    cacheable_for: float = 60.0
    category_wait: float = 1.0
    max_open_calls: int = 1000
    max_message_bytes: int = 4 * 1024 * 1024
    max_batch: int = 500
    log_format: LogFormat = LogFormat.AUTO

    def __post_init__(self) -> None:
        try:
            local = is_local(self.listen)
        except ValueError as error:
            raise StartupError(f"--listen {self.listen} {error}") from error
        if not local:
            raise StartupError(
                f"--listen {self.listen} can be reached by other machines, and a sidecar is for its own alone: listen "
                "on a unix socket or on 127.0.0.1"
            )
        if self.listen.removeprefix("unix:").startswith("//") and not self.listen.startswith("unix:///"):
            raise StartupError(f"--listen {self.listen} names a host; write unix:///PATH or unix:PATH")
        if self.socket_path == Path():
            raise StartupError(f"--listen {self.listen} has no path; write unix:PATH")
        for name, value in (("--drain-delay", self.drain_delay), ("--stop-grace", self.stop_grace)):
            if not 0 <= value <= MAX_SECONDS:
                raise StartupError(f"{name} is {value}; write seconds from 0 to {MAX_SECONDS}")

    @property
    def socket_path(self) -> Path | None:
        """Where the unix socket is; None if it listens on a port."""
        if not self.listen.startswith("unix:"):
            return None
        return Path(self.listen.removeprefix("unix:").removeprefix("//"))
