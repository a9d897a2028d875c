"""What `pullgate docker-plugin` adds to the Docker Engine's answers, as the engine's users wait for them.

Sequential requests, in turn round after round in one run: to a plugin on its own socket, beside a Decide of the SDK
over TCP, and to Docker Engines of which one asks no plugin. They are asked for what is no work for them: a
list of no containers, and a container from an image that is not there (404; the plugin asks the engine for the image,
and the service for a decision). With the preset strict for acme.

The engines need root, dockerd and docker (Debian: docker.io); without them they are left out.
"""

import argparse
import base64
import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.decide import DEV, pullgate_server
from pullgate_client import Client, Connection
from pullgate_policy import Effect
from tests.docker_engine import MISSING, running_docker

CREATE = json.dumps({"Image": "nginx"}).encode()
WARM_UP = 50


class UnixConnection(http.client.HTTPConnection):
    """A connection that is kept, as the engine keeps the one to its plugin."""

    def __init__(self, path: Path) -> None:
        super().__init__("docker")
        self._path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self._path))

    def post(self, target: str, body: bytes) -> tuple[int, bytes]:
        """POST JSON; status and body of the answer."""
        self.request("POST", target, body, {"Content-Type": "application/json"})
        response = self.getresponse()
        return response.status, response.read()


@contextmanager
def plugin(upstream: Connection, directory: Path, engine: Path, *options: str) -> Iterator[tuple[str, Path]]:
    """A plugin: what the engine calls it, and its socket."""
    name = f"pullgate-bench-{uuid.uuid4().hex[:8]}"
    path = Path("/run/docker/plugins" if not MISSING else directory, f"{name}.sock")
    command = ["docker-plugin", "--organization", "acme", "--identity", DEV.username, "--socket", str(path)]
    process = subprocess.Popen(
        [sys.executable, "-m", "pullgate_cli", *command, "--engine-socket", str(engine), *options],
        env={**os.environ, "PULLGATE_ADDRESS": upstream.address, "PULLGATE_TOKEN": upstream.token},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        next(line for line in process.stdout if "answers on" in line)
        yield name, path
    finally:
        process.terminate()
        process.wait()


def question(method: str, uri: str, body: bytes = b"") -> bytes:
    """What the engine asks about a request."""
    return json.dumps(
        {
            "RequestMethod": method,
            "RequestUri": uri,
            "RequestHeaders": {"Content-Type": "application/json"} if body else {"Content-Length": "0"},
            "RequestBody": base64.b64encode(body).decode(),
        }
    ).encode()


def decides(client: Client) -> None:
    """A question to the service."""
    assert client.decide(DEV, "nginx").decision.effect is Effect.ALLOW


def asks_plugin(path: Path, about: bytes) -> Callable[[], None]:
    """A question to the plugin."""
    connection = UnixConnection(path)

    def ask() -> None:
        _, said = connection.post("/AuthZPlugin.AuthZReq", about)
        assert json.loads(said)["Allow"], said

    return ask


def creates(path: Path) -> Callable[[], None]:
    """A request to an engine, for a container from an image that it does not have."""
    connection = UnixConnection(path)

    def ask() -> None:
        status, said = connection.post("/containers/create", CREATE)
        assert status == http.client.NOT_FOUND, said

    return ask


def lists(path: Path) -> Callable[[], None]:
    """A request to an engine that is not about images."""
    connection = UnixConnection(path)

    def ask() -> None:
        connection.request("GET", "/containers/json")
        assert connection.getresponse().read() == b"[]\n"

    return ask


def measured(programs: dict[str, Callable[[], None]], rounds: int, requests: int) -> dict[str, list[float]]:
    """Milliseconds of each request, all programs in turn in each round."""
    milliseconds: dict[str, list[float]] = {name: [] for name in programs}
    for program in programs.values():
        for _ in range(WARM_UP):
            program()
    for _ in range(rounds):
        for name, program in programs.items():
            for _ in range(requests):
                started = time.perf_counter()
                program()
                milliseconds[name].append((time.perf_counter() - started) * 1000)
    return milliseconds


def main() -> None:
    """Measure and print as JSON."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--requests", type=int, default=200, help="of each program in each round")
    given = arguments.parse_args()
    pull = question("POST", "/v1.41/images/create?fromImage=nginx&tag=latest")
    with ExitStack() as running:
        directory = Path(running.enter_context(tempfile.TemporaryDirectory()))
        _, connection, _ = running.enter_context(pullgate_server(directory / "data"))
        client = running.enter_context(Client(connection))
        engine = directory / "asking" / "docker.sock"
        name, path = running.enter_context(plugin(connection, directory, engine))
        state = ("--local", "--state-dir", str(directory / "state"))
        local_engine = directory / "local" / "docker.sock"
        local_name, local_path = running.enter_context(plugin(connection, directory, local_engine, *state))
        programs: dict[str, Callable[[], None]] = {
            "SDK: Decide": lambda: decides(client),
            "plugin: nothing about images": asks_plugin(path, question("GET", "/v1.41/containers/json")),
            "plugin: a pull, decided by the service": asks_plugin(path, pull),
            "plugin: a pull, decided by --local": asks_plugin(local_path, pull),
        }
        if not MISSING and os.geteuid() == 0:
            running.enter_context(running_docker(directory / "free"))
            running.enter_context(running_docker(engine.parent, f"--authorization-plugin={name}"))
            running.enter_context(running_docker(local_engine.parent, f"--authorization-plugin={local_name}"))
            free = directory / "free" / "docker.sock"
            programs["engine without a plugin: list"] = lists(free)
            programs["engine with the plugin: list"] = lists(engine)
            programs["engine without a plugin: create"] = creates(free)
            programs["engine with the plugin: create"] = creates(engine)
            programs["engine with the plugin --local: create"] = creates(local_engine)
        result = measured(programs, given.rounds, given.requests)
    decide = statistics.median(result["SDK: Decide"])
    figures = {
        name: {
            "median ms": round(statistics.median(values), 3),
            "p99 ms": round(sorted(values)[int(len(values) * 0.99)], 3),
            "ratio to Decide": round(statistics.median(values) / decide, 2),
        }
        for name, values in result.items()
    }
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
