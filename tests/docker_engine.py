"""A real Docker Engine for tests: Debian's `docker.io`, with a daemon of its own on paths of its own."""

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SOON, ServerProcess, clean_environment

MISSING = [name for name in ("dockerd", "docker") if shutil.which(name) is None]

NEEDS_ENGINE = [
    pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)} (Debian: docker.io)"),
    pytest.mark.skipif(os.geteuid() != 0, reason="a Docker daemon of its own needs root"),
]

ENGINE_SOON = 60.0
"""Seconds that a daemon may take to start or stop."""

PLUGINS = Path("/run/docker/plugins")
"""Where every daemon of this machine looks for plugins, which is why theirs have names of their own."""

_numbers = count()


def run(*command: str | Path, **options: object) -> str:
    """Run a command; its output, or a failure that shows it."""
    result = subprocess.run(command, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
    assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    return str(result.stdout)


class Docker:
    """A daemon of its own, with no network.

    Args:
        options: of dockerd, besides those that keep it apart.
    """

    def __init__(self, directory: Path, *options: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.socket = directory / "docker.sock"
        self.log = directory / "dockerd.log"
        self._stream = self.log.open("w")
        # The sockets below it have to have short paths.
        self._state = tempfile.mkdtemp(prefix="docker-")
        self.process = subprocess.Popen(
            [
                "dockerd", "--bridge=none", "--iptables=false", "--ip6tables=false", "--storage-driver=vfs",
                f"--data-root={directory}/data", f"--exec-root={self._state}", f"--pidfile={directory}/pid",
                f"--host=unix://{self.socket}", *options,
            ],
            stdout=self._stream, stderr=self._stream,
        )  # fmt: skip
        try:
            self._wait()
        except BaseException:
            self.close()
            raise

    def _wait(self) -> None:
        deadline = time.monotonic() + ENGINE_SOON
        while "API listen on" not in self.log.read_text():
            assert time.monotonic() < deadline, self.log.read_text()
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.1)

    def __call__(self, *arguments: str | Path, **options: object) -> str:
        """Run a docker command that succeeds; its output."""
        return run("docker", "-H", f"unix://{self.socket}", *arguments, **options)

    def try_to(self, *arguments: str | Path, **options: object) -> "subprocess.CompletedProcess[str]":
        """Run a docker command, whatever comes of it."""
        command = ["docker", "-H", f"unix://{self.socket}", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload,no-any-return]

    def refused(self, *arguments: str | Path, **options: object) -> str:
        """Run a docker command that fails; what it says on standard error."""
        result = self.try_to(*arguments, **options)
        assert result.returncode != 0, result.stdout
        return result.stderr

    def ask(
        self, method: str, target: str, *, headers: list[tuple[str, str]] | None = None, body: bytes = b""
    ) -> tuple[int, str]:
        """Ask the API with these very bytes, for what no client sends; status and body of the answer.

        Args:
            headers: all of them besides Host and Connection, each as often as it is given.
        """
        lines = [f"{method} {target} HTTP/1.1", "Host: docker", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in headers or []]
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(ENGINE_SOON)
            connection.connect(str(self.socket))
            with suppress(BrokenPipeError):  # It may answer before it has read everything.
                connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)
            response = http.client.HTTPResponse(connection, method=method)
            response.begin()
            return response.status, response.read().decode()

    def post_json(self, target: str, value: Any) -> tuple[int, str]:
        """POST a value, or text that is JSON to some."""
        body = (value if isinstance(value, str) else json.dumps(value)).encode()
        return self.ask(
            "POST",
            target,
            headers=[("Content-Type", "application/json"), ("Content-Length", str(len(body)))],
            body=body,
        )

    def close(self) -> None:
        """Stop the daemon."""
        self.process.terminate()
        self.process.wait(timeout=ENGINE_SOON)
        self._stream.close()
        shutil.rmtree(self._state, ignore_errors=True)


@contextmanager
def running_docker(directory: Path, *options: str) -> Iterator[Docker]:
    """A daemon until the end of the context."""
    docker = Docker(directory, *options)
    try:
        yield docker
    finally:
        docker.close()


@dataclass(frozen=True)
class Plugin:
    """`pullgate docker-plugin` as a process of its own."""

    process: "subprocess.Popen[str]"
    name: str
    socket: Path
    announced: str
    log: Path

    def stop(self) -> int:
        """Ask it to stop, and give its exit code."""
        if self.process.poll() is None:
            self.process.terminate()
        code = self.process.wait(timeout=SOON)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code

    def logged(self) -> list[dict[str, Any]]:
        """What it has logged."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]


def unique_name() -> str:
    """The name of a plugin that no other test has."""
    return f"pullgate-test-{os.getpid()}-{next(_numbers)}"


def start_plugin(
    server: ServerProcess | None,
    directory: Path,
    *options: str,
    name: str = "",
    path: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Plugin:
    """Start a plugin for acme and the user dev, and wait until it says that it answers."""
    name = name or unique_name()
    path = path or PLUGINS / f"{name}.sock"
    directory.mkdir(parents=True, exist_ok=True)
    log = directory / f"{name}.log"
    with log.open("a") as log_file:
        process = subprocess.Popen(
            [
                sys.executable, "-m", "pullgate_cli", "docker-plugin", "--organization", "acme", "--identity", "dev",
                "--socket", str(path), "--log-format", "json", *options,
            ],
            stdout=subprocess.PIPE, stderr=log_file, text=True,
            env=dict(environment or (server.environment() if server else clean_environment())),
        )  # fmt: skip
    assert process.stdout is not None
    announced = ""
    for line in process.stdout:
        announced += line
        if "docker-plugin install" in line:
            return Plugin(process, name, path, announced, log)
    raise AssertionError(f"the plugin did not start:\n{log.read_text()}")
