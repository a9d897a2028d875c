"""How soon a write reaches subscribers, what one costs, and what a storm of writes does to decisions.

A server of its own process, its subscribers in another one with a hundred streams on a connection, and the writer in
this one. Delivery is measured from the commit, as another reader of the database file sees it, to the moment when the
last subscriber has the change. In the storm every answer is compared with what its revision says. Prints JSON.
"""

import argparse
import asyncio
import json
import multiprocessing
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import grpc
import psutil

from benchmarks.decide import started_server
from pullgate.v1 import mapping
from pullgate.v1.decision_pb2 import EFFECT_ALLOW
from pullgate.v1.policy_decision_pb2 import DecideRequest, DecideResponse
from pullgate_client import Client, Connection
from pullgate_policy import Identity, Membership, Preset, parse_policy, preset_policy
from tests.postgresql import running_postgresql

WRITES = 200
PAUSE_SECONDS = 0.05
STORM_SECONDS = 10.0
STORM_WRITES_PER_SECOND = 200
STORM_WRITERS = 8
STORM_ROUNDS = 2
ASKERS = 8
COMMIT_POLL_SECONDS = 0.0002
DECIDE = "/pullgate.v1.PolicyDecisionService/Decide"


class Subscribers:
    """The process of subscribers, as its parent sees it."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def until(self, what: str) -> float:
        """When all of them had it."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            said, when = line.split()
            if said == what:
                return float(when)
        raise RuntimeError("the subscribers are gone")


@contextmanager
def subscribers(connection: Connection, number: int) -> Iterator[Subscribers]:
    """So many subscribers in a process of their own, once all of them have their snapshot."""
    command = [sys.executable, "-m", "benchmarks.bare_subscribers", str(number), connection.address]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    process.stdin.write(f"{connection.token}\n")
    process.stdin.flush()
    try:
        found = Subscribers(process)
        found.until("begun")
        yield found
    finally:
        process.kill()
        process.communicate()


def revision_of(database: sqlite3.Connection) -> int:
    """The newest one that is committed."""
    return int(database.execute("SELECT revision FROM store").fetchone()[0])


def commit_seen(database: sqlite3.Connection, before: int) -> float:
    """When another reader of the database sees a write."""
    while revision_of(database) == before:
        time.sleep(COMMIT_POLL_SECONDS)
    return time.monotonic()


def deliveries(client: Client, database: Path, found: Subscribers, writes: int) -> dict[str, float]:
    """How long it takes from a commit to the last subscriber, and what a write takes meanwhile."""
    delivered, written = [], []
    with closing(sqlite3.connect(database, isolation_level=None)) as reader, ThreadPoolExecutor(1) as pool:

        def put(index: int) -> tuple[int, float]:
            started = time.monotonic()
            stored = client.put_policy(preset_policy(list(Preset)[index % 3], f"org{index % 50}"))
            return stored.revision, time.monotonic() - started

        for index in range(writes):
            before = revision_of(reader)
            writing = pool.submit(put, index)
            committed = commit_seen(reader, before)
            revision, took = writing.result()
            delivered.append(found.until(str(revision)) - committed)
            written.append(took)
            time.sleep(PAUSE_SECONDS)
    return {
        "from commit to last, median ms": milliseconds(statistics.median(delivered)),
        "from commit to last, p99 ms": milliseconds(quantile(delivered, 0.99)),
        "from commit to last, slowest ms": milliseconds(max(delivered)),
        "write, median ms": milliseconds(statistics.median(written)),
    }


def milliseconds(seconds: float) -> float:
    """For people."""
    return round(seconds * 1e3, 1)


def quantile(values: list[float], part: float) -> float:
    """The value that so large a part does not exceed."""
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


def measure_deliveries(number: int, writes: int) -> dict[str, float]:
    """Connect so many subscribers, and write."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder, "data")
        with (
            started_server(directory, "--watch-max-age", "3600") as (process_id, connection),
            Client(connection) as client,
        ):
            for index in range(50):
                client.put_policy(preset_policy(Preset.STRICT, f"org{index}"))
            server = psutil.Process(process_id)
            before, started = server.memory_info().rss, time.monotonic()
            with subscribers(connection, number) as found:
                connected = time.monotonic() - started
                memory = server.memory_info().rss - before
                begun = server.cpu_times()
                figures = deliveries(client, directory / "pullgate.db", found, writes)
                cpu = server.cpu_times()
                time.sleep(5)
                idle = server.cpu_times()
    return {
        "until all have their snapshot, s": round(connected, 1),
        "server memory per subscriber, KiB": round(memory / number / 1024, 1),
        **figures,
        "server CPU per write and subscriber, us": round(
            (cpu.user + cpu.system - begun.user - begun.system) / writes / number * 1e6, 1
        ),
        "server CPU with nothing written, %": round((idle.user + idle.system - cpu.user - cpu.system) / 5 * 100, 1),
    }


class Storm:
    """Writers that write so many times a second in all, and what they wrote.

    Attributes:
        history: by organization: its writes, each the revision and the number; odd ones allow official images.
        late: how many seconds after its time each write was answered.
    """

    def __init__(self, connection: Connection) -> None:
        self.history: dict[str, list[tuple[int, int]]] = {f"org{index}": [] for index in range(STORM_WRITERS)}
        self.late: list[float] = []
        self._connection = connection

    def begin(self) -> None:
        """Write once to each organization."""
        with Client(self._connection) as client:
            for organization in self.history:
                self._put(client, organization, 1)

    def blow(self) -> float:
        """Write until the time is over; returns how many writes a second there were."""
        started = time.monotonic()
        with ThreadPoolExecutor(STORM_WRITERS) as pool:
            written = sum(pool.map(lambda organization: self._write(organization, started), self.history))
        return written / (time.monotonic() - started)

    def _write(self, organization: str, started: float) -> int:
        number = 0
        with Client(self._connection) as client:
            while (due := started + number * STORM_WRITERS / STORM_WRITES_PER_SECOND) < started + STORM_SECONDS:
                time.sleep(max(0.0, due - time.monotonic()))
                if time.monotonic() > started + STORM_SECONDS:
                    break
                number += 1
                self._put(client, organization, number)
                self.late.append(time.monotonic() - due)
        return number

    def _put(self, client: Client, organization: str, number: int) -> None:
        allowed = {"official_images": number % 2 == 1}
        policy = parse_policy({"organization": organization, "image_access": {"enabled": True, "allow": allowed}})
        self.history[organization].append((client.put_policy(policy).revision, number))

    def wrong(self, answers: list[tuple[str, int, bool]]) -> int:
        """How many answers are not what the revision that they state decides."""
        return sum(
            allowed != (writes[bisect_right(writes, (revision, sys.maxsize)) - 1][1] % 2 == 1)
            for organization, revision, allowed in answers
            for writes in (self.history[organization],)
        )


async def ask(connection: Connection, organizations: list[str], stop: threading.Event) -> tuple[list[Any], list[float]]:
    """Ask, several at a time, until it is enough: organization, revision and answer of each, and how long it took."""
    answers, seconds = [], []

    async def ask_on(channel: grpc.aio.Channel, number: int) -> None:
        call: Any = channel.unary_unary(DECIDE, response_deserializer=DecideResponse.FromString)
        requests = {
            name: DecideRequest(
                identity=mapping.identity_to_message(
                    Identity(username="dev", memberships=(Membership(organization=name),))
                ),
                reference="nginx",
            ).SerializeToString()
            for name in organizations
        }
        metadata = (("authorization", f"Bearer {connection.token}"),)
        while not stop.is_set():
            number += 1
            organization = organizations[number % len(organizations)]
            started = time.perf_counter()
            decision = (await call(requests[organization], metadata=metadata)).decision
            seconds.append(time.perf_counter() - started)
            answers.append((organization, decision.policy_revision, decision.effect == EFFECT_ALLOW))

    async with grpc.aio.insecure_channel(connection.address) as channel:
        await asyncio.gather(*(ask_on(channel, number) for number in range(ASKERS)))
    return answers, seconds


def asked(connection: Connection, organizations: list[str], going_on: Callable[[], float]) -> tuple[Any, ...]:
    """Ask in a process of its own while something goes on."""
    processes = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=processes) as pool, processes.Manager() as manager:
        stop = manager.Event()
        asking = pool.submit(run_askers, connection, organizations, stop)
        result = going_on()
        stop.set()
        return (result, *asking.result())


def run_askers(connection: Connection, organizations: list[str], stop: Any) -> tuple[list[Any], list[float]]:
    """The process that asks."""
    enough = threading.Event()

    def wait() -> None:
        stop.wait()
        enough.set()

    threading.Thread(target=wait, daemon=True).start()
    return asyncio.run(ask(connection, organizations, enough))


def quiet() -> float:
    """Nothing is written for as long as a storm lasts."""
    time.sleep(STORM_SECONDS)
    return 0.0


def measure_storm(*options: str) -> dict[str, float]:
    """Ask while nothing is written, and in a storm, in turn."""
    figures: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder, started_server(Path(folder, "data"), *options) as found:
        process_id, connection = found
        server = psutil.Process(process_id)
        storm = Storm(connection)
        storm.begin()
        wrong = 0
        for name, going_on in (("quiet", quiet), ("storm", storm.blow)) * STORM_ROUNDS:
            before = server.cpu_times()
            rate, answers, seconds = asked(connection, list(storm.history), going_on)
            after = server.cpu_times()
            wrong += storm.wrong(answers)
            cpu = after.user + after.system - before.user - before.system
            figures.setdefault(f"{name}: writes per second", []).append(rate)
            figures.setdefault(f"{name}: decisions per second", []).append(len(answers) / STORM_SECONDS)
            figures.setdefault(f"{name}: Decide median ms", []).append(statistics.median(seconds) * 1e3)
            figures.setdefault(f"{name}: Decide p99 ms", []).append(quantile(seconds, 0.99) * 1e3)
            figures.setdefault(f"{name}: server CPU, %", []).append(cpu / STORM_SECONDS * 100)
    medians = {name: round(statistics.median(values), 2) for name, values in figures.items()}
    ratios = [b / a for a, b in zip(figures["quiet: Decide p99 ms"], figures["storm: Decide p99 ms"], strict=True)]
    return {
        **medians,
        "p99 in the storm / quiet": round(statistics.median(ratios), 2),
        "write answered after its time, median ms": milliseconds(statistics.median(storm.late)),
        "answers that are not what their revision decides": wrong,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--subscribers", type=int, nargs="*", default=[1000, 5000])
    parser.add_argument("--writes", type=int, default=WRITES)
    parser.add_argument("--no-storm", action="store_true")
    arguments = parser.parse_args()
    figures: dict[str, Any] = {
        f"{number} subscribers": measure_deliveries(number, arguments.writes) for number in arguments.subscribers
    }
    if not arguments.no_storm:
        figures["storm, sqlite"] = measure_storm()
        with running_postgresql() as postgresql:
            url = f"postgresql://postgres@127.0.0.1:{postgresql.port}/postgres"
            figures["storm, postgresql"] = measure_storm("--database", url)
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
