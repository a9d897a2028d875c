"""`pullgate serve --workers`: processes that share a port, and the parent that keeps them."""

import asyncio
import json
import re
import resource
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from pullgate.local import OPERATOR_TOKEN_FILE
from pullgate.v1 import decision_pb2, policy_admin_pb2
from pullgate.v1.policy_admin_pb2_grpc import PolicyAdminServiceStub
from pullgate.v1.policy_decision_pb2_grpc import PolicyDecisionServiceStub
from pullgate_client import Client, Connection
from pullgate_policy import Preset, preset_policy
from pullgate_server.configuration import Configuration
from pullgate_server.errors import StartupError
from pullgate_server.workers import reserved_port
from tests.conftest import SOON, ServerProcess, run_pullgate, start_server, stop_server
from tests.server.test_policy_decision_service import question

WORKERS = 2


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    """Two workers that do not ask the database for an hour, and that wait as long for open calls at a stop."""
    options = ("--store-poll", "3600", "--store-grace", "3600", "--stop-grace", "3600")
    server = start_server(tmp_path / "data", "--workers", str(WORKERS), *options)
    workers = workers_of(server)
    yield server
    if server.process.poll() is None:
        stop_server(server)
    assert server.process.stdout is not None
    server.process.stdout.close()
    for worker in workers:
        if worker.is_running():
            worker.kill()


def workers_of(server: ServerProcess) -> list[psutil.Process]:
    """The processes that serve."""
    found: list[psutil.Process] = psutil.Process(server.process.pid).children(recursive=True)
    return found


def all_gone(processes: list[psutil.Process]) -> bool:
    """Whether processes come to their end."""
    _, alive = psutil.wait_procs(processes, timeout=SOON)
    # Whoever takes over orphans may not care for the dead among them.
    return all(process.status() == psutil.STATUS_ZOMBIE for process in alive)


class Line:
    """A connection of its own, and so to one of the workers for as long as it lasts."""

    def __init__(self, server: ServerProcess) -> None:
        # Otherwise all channels of a process to one address are one connection.
        options = [("grpc.use_local_subchannel_pool", 1)]
        self.channel = grpc.aio.insecure_channel(server.address, options=options)
        token = (server.data_dir / OPERATOR_TOKEN_FILE).read_text().strip()
        self._metadata = (("authorization", f"Bearer {token}"),)
        self._decisions: Any = PolicyDecisionServiceStub(self.channel)
        self._administration: Any = PolicyAdminServiceStub(self.channel)

    async def decide(self, **fields: Any) -> decision_pb2.Decision:
        """Decide about nginx."""
        options = {"metadata": self._metadata, "timeout": SOON, "wait_for_ready": True}
        decision: decision_pb2.Decision = (await self._decisions.Decide(question(**fields), **options)).decision
        return decision

    async def worker(self) -> str:
        """What tells the worker from others: what its decisions' names begin with."""
        return (await self.decide()).decision_id[:20]

    def events(self) -> Any:
        """The events, as they come."""
        request = policy_admin_pb2.StreamEventsRequest(since_revision=0)
        return self._administration.StreamEvents(request, metadata=self._metadata, timeout=SOON)


@asynccontextmanager
async def lines_to(server: ServerProcess, known: frozenset[str] = frozenset()) -> AsyncIterator[dict[str, Line]]:
    """A line to each of the workers but those that are known."""
    lines: dict[str, Line] = {}
    opened = []
    try:
        async with asyncio.timeout(SOON):
            while len(lines.keys() | known) < WORKERS + bool(known):
                opened.append(Line(server))
                lines.setdefault(await opened[-1].worker(), opened[-1])
        yield {worker: line for worker, line in lines.items() if worker not in known}
    finally:
        for line in opened:
            await line.channel.close()


def write(server: ServerProcess, preset: Preset) -> int:
    """Write a policy through some worker; returns the revision."""
    with Client(Connection.from_environment(server.environment()), deadline=SOON) as client:
        return client.put_policy(preset_policy(preset, "acme")).revision


async def test_all_workers_serve_and_see_each_write(server: ServerProcess) -> None:
    """Connections are spread over the workers, and a write through one holds for all without waiting for a poll."""
    async with lines_to(server) as lines:
        first = await asyncio.to_thread(write, server, Preset.STRICT)
        streams = [line.events() for line in lines.values()]
        begun = [(await stream.read()).event.revision for stream in streams]
        second = await asyncio.to_thread(write, server, Preset.STANDARD)
        told = [(await stream.read()).event.revision for stream in streams]
        decided = [(await line.decide()).policy_revision for line in lines.values()]

    assert len(lines) == len(workers_of(server)) == WORKERS
    assert (begun, told, decided) == ([first] * WORKERS, [second] * WORKERS, [second] * WORKERS)


async def test_a_killed_worker_is_replaced(server: ServerProcess) -> None:
    """After kill -9 of a worker the other one goes on, the log says what happened, and another one takes its place."""
    before = workers_of(server)
    async with lines_to(server) as lines:
        before[0].kill()
        async with lines_to(server, frozenset(lines)) as found:
            assert len(found) == 1
    after = workers_of(server)

    assert len(after) == WORKERS
    assert before[1] in after
    assert before[0] not in after
    died = [line for line in log_lines(server) if line["event"] == "worker died"]
    assert [line["problem"] for line in died] == [
        f"worker {died[0]['worker']} was killed by SIGKILL; its log may say why"
    ]


async def test_a_stop_ends_all(server: ServerProcess) -> None:
    """SIGTERM ends the workers and then the parent, with exit code 0; each line of the log says whose it is."""
    workers = workers_of(server)

    assert stop_server(server) == 0
    assert all_gone(workers)
    stopped = [line.get("worker", "parent") for line in log_lines(server) if line["event"] == "stopped"]
    assert stopped in ([0, 1, "parent"], [1, 0, "parent"])


async def test_a_second_signal_hurries(server: ServerProcess) -> None:
    """At the first signal open calls go on, and health says NOT_SERVING; at the second they end at once."""
    async with lines_to(server) as lines:
        line = next(iter(lines.values()))
        waiting = asyncio.ensure_future(line.decide(min_revision=1_000_000))
        health: Any = health_pb2_grpc.HealthStub(line.channel)
        watch = health.Watch(health_pb2.HealthCheckRequest(), timeout=SOON)
        statuses = [(await watch.read()).status]
        server.process.terminate()
        statuses.append((await watch.read()).status)
        assert not waiting.done()
        server.process.send_signal(signal.SIGINT)
        code = await asyncio.to_thread(server.process.wait, SOON / 2)
        with pytest.raises(grpc.aio.AioRpcError):
            await waiting

    assert statuses == [health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING]
    assert code == 0


async def test_workers_go_with_their_parent(server: ServerProcess) -> None:
    """After kill -9 of the parent no worker is left."""
    workers = workers_of(server)
    assert len(workers) == WORKERS
    server.process.kill()
    server.process.wait()

    assert all_gone(workers)


async def test_a_worker_that_hangs_is_killed(tmp_path: Path) -> None:
    """A worker that does not stop in its time does not keep the others and the parent from it."""
    server = start_server(tmp_path / "data", "--workers", str(WORKERS), "--stop-grace", "0")
    workers = workers_of(server)
    workers[0].suspend()

    assert await asyncio.to_thread(stop_server, server) == 0
    assert all_gone(workers)
    assert [line["event"] for line in log_lines(server)].count("worker does not stop, and is killed") == 1


async def test_a_hurry_kills_a_worker_that_hangs(server: ServerProcess) -> None:
    """After a second signal a worker that hangs is not waited for as long as its open calls might take."""
    workers_of(server)[0].suspend()
    server.process.terminate()
    server.process.send_signal(signal.SIGINT)

    assert await asyncio.to_thread(server.process.wait, SOON) == 0


async def test_no_room_for_another_process(server: ServerProcess) -> None:
    """Where a dead worker cannot be started again, the other one goes on, and it is tried until it can."""
    parent = psutil.Process(server.process.pid)
    before = workers_of(server)
    allowed = resource.prlimit(parent.pid, resource.RLIMIT_NOFILE)
    async with lines_to(server) as lines:
        resource.prlimit(parent.pid, resource.RLIMIT_NOFILE, (parent.num_fds(), allowed[1]))
        before[0].kill()
        before[0].wait(timeout=SOON)
        survivor = Line(server)
        async with asyncio.timeout(SOON):
            while "cannot be started" not in server.log.read_text():
                assert await survivor.worker() in lines
        await survivor.channel.close()
        resource.prlimit(parent.pid, resource.RLIMIT_NOFILE, allowed)
        async with lines_to(server, frozenset(lines)) as found:
            assert len(found) == 1

    assert before[1] in workers_of(server)


async def test_another_server_is_refused(server: ServerProcess, tmp_path: Path) -> None:
    """A second server on the port is refused, with workers and without."""
    for number in ("1", "2"):
        result = await asyncio.to_thread(
            run_pullgate,
            *("serve", "--listen", server.address, "--workers", number, "--data-dir", str(tmp_path / "other")),
            *("--category-sources", "catalogue"),
        )
        assert result.returncode == 2
        assert f"cannot listen on {server.address}: is another server running there? See --listen" in result.stderr


async def test_workers_that_cannot_start(tmp_path: Path) -> None:
    """What keeps workers from starting is said once, as by a single server, and no worker is left."""
    result = await asyncio.to_thread(
        run_pullgate,
        *("serve", "--listen", "127.0.0.1:0", "--workers", "3", "--data-dir", str(tmp_path / "data")),
        *("--catalogue", "/no/such/file"),
    )

    assert result.returncode == 2
    assert (
        len(re.findall("cannot start: the catalogue /no/such/file is not there; see --catalogue", result.stderr)) == 1
    )
    assert "Traceback" not in result.stderr


async def test_each_worker_has_its_metrics(tmp_path: Path) -> None:
    """Metrics of the first worker are at the port that was given, those of the next at the next one."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = start_server(tmp_path / "data", "--workers", "2", "--metrics-listen", f"127.0.0.1:{port}")
    assert stop_server(server) == 0
    serving = {line["worker"]: line["metrics"] for line in log_lines(server) if "metrics" in line}

    assert serving == {number: f"127.0.0.1:{port + number}" for number in range(WORKERS)}


async def test_what_workers_cannot_share_is_refused() -> None:
    """A unix socket has one process, and each worker needs some requests to Docker Hub."""
    with pytest.raises(StartupError, match="cannot share --listen unix:/x: a unix socket has one process"):
        Configuration(listen="unix:/x", workers=2)
    with pytest.raises(StartupError, match="--docker-hub-requests-per-minute is 15; write 16 or more"):
        Configuration(workers=2, docker_hub_requests_per_minute=15)


async def test_the_port_is_kept_for_who_shares_it() -> None:
    """Before the first worker listens a server that does not share the port is refused, and so is another parent."""
    with reserved_port("127.0.0.1:0") as address:
        with pytest.raises(StartupError, match="is another server running there"), reserved_port(address):
            pass
        with pytest.raises(OSError, match="in use"):
            socket.create_server(("127.0.0.1", int(address.rpartition(":")[2])))
    with reserved_port(address) as again:
        assert again == address


def log_lines(server: ServerProcess) -> list[dict[str, Any]]:
    """What a server logged."""
    return [json.loads(line) for line in server.log.read_text().splitlines()]
