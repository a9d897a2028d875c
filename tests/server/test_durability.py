"""What was acknowledged stays, whatever is killed; what was not is there whole or not at all."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pullgate_client import CallError, Client, Connection
from pullgate_policy import Policy, Preset, preset_policy
from tests.conftest import SOON, ServerProcess, start_server, stop_server
from tests.postgresql import PostgresqlServer, running_postgresql

WRITERS = 4
WRITES_BEFORE_KILL = 25
PRESETS = list(Preset)


@dataclass
class Storm:
    """Writers that write until their server is gone, and what they know of their writes.

    Attributes:
        acknowledged: organization and comment of each write that was answered, with its revision.
        unanswered: of each write that was sent and not answered.
    """

    acknowledged: dict[tuple[str, str], int] = field(default_factory=dict)
    unanswered: set[tuple[str, str]] = field(default_factory=set)
    enough: threading.Event = field(default_factory=threading.Event)

    def write(self, server: ServerProcess, organization: str, round_: int) -> None:
        """Write an organization's policy again and again, under a request id each, until there is no answer."""
        with connected(server) as client:
            for number in range(10_000):
                key = (organization, f"round {round_} write {number}")
                try:
                    stored = put(client, *key)
                except CallError:
                    self.unanswered.add(key)
                    return
                self.acknowledged[key] = stored
                if len(self.acknowledged) >= WRITES_BEFORE_KILL * (round_ + 1):
                    self.enough.set()
        raise AssertionError("the server was never killed")


def connected(server: ServerProcess) -> Client:
    """A client of the server."""
    return Client(Connection.from_environment(server.environment()), deadline=SOON)


def put(client: Client, organization: str, comment: str) -> int:
    """One write, of a content that its comment determines; returns the revision."""
    request_id = f"{organization} {comment}"
    return client.put_policy(policy_for(organization, comment), comment=comment, request_id=request_id).revision


def policy_for(organization: str, comment: str) -> Policy:
    """The policy that goes with a comment."""
    return preset_policy(PRESETS[len(comment + comment[-1]) % len(PRESETS)], organization)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Iterator[tuple[str, PostgresqlServer | None]]:
    """Options for a server on a database of each kind, and the PostgreSQL server behind it."""
    if request.param == "sqlite":
        yield "", None
        return
    with running_postgresql() as postgresql:
        yield f"postgresql://postgres@127.0.0.1:{postgresql.port}/postgres", postgresql


def start(data: Path, url: str) -> ServerProcess:
    """Start, on what is there."""
    return start_server(data, *(["--database", url] if url else []))


def check(server: ServerProcess, storm: Storm) -> None:
    """Every acknowledged write is there once, under its revision; the others once or not; no gap, nothing partial."""
    with connected(server) as client:
        events = [event for event in client.list_events() if event.revision > 0]
        assert sorted(event.revision for event in events) == list(range(1, len(events) + 1))
        there = [(event.name, event.comment) for event in events]
        assert len(there) == len(set(there))
        assert set(there) - storm.acknowledged.keys() <= storm.unanswered
        assert {(event.name, event.comment): event.revision for event in events}.items() >= storm.acknowledged.items()
        for number in range(WRITERS):
            organization = f"org{number}"
            newest, *_ = client.policy_history(organization)
            stored = client.get_policy(organization)
            assert (newest.revision, newest.policy) == (stored.revision, stored.policy)
            assert stored.policy == policy_for(organization, stored.comment)


def test_kill_during_a_storm_of_writes(database: tuple[str, PostgresqlServer | None], tmp_path: Path) -> None:
    """After kill -9 every acknowledged write is there, no partial one is, and a repeated write happens once."""
    url, _ = database
    storm, data = Storm(), tmp_path / "data"
    for round_ in range(3):
        server = start(data, url)
        storm.enough.clear()
        with ThreadPoolExecutor(WRITERS) as pool:
            writing = [pool.submit(storm.write, server, f"org{number}", round_) for number in range(WRITERS)]
            assert storm.enough.wait(SOON)
            server.process.kill()
            for writer in writing:
                writer.result(timeout=SOON)
        server.process.wait()
        assert server.process.stdout is not None
        server.process.stdout.close()
    server = start(data, url)
    check(server, storm)
    with connected(server) as client:
        for key in sorted(storm.unanswered):
            storm.acknowledged[key] = put(client, *key)
            assert put(client, *key) == storm.acknowledged[key]
    storm.unanswered.clear()
    check(server, storm)
    stop_server(server)


def test_a_database_that_loses_its_power(tmp_path: Path) -> None:
    """PostgreSQL stopped at once during a storm of writes: what was acknowledged is there when it is back."""
    with running_postgresql() as postgresql:
        storm = Storm()
        server = start(tmp_path / "data", f"postgresql://postgres@127.0.0.1:{postgresql.port}/postgres")
        with ThreadPoolExecutor(WRITERS) as pool:
            writing = [pool.submit(storm.write, server, f"org{number}", 0) for number in range(WRITERS)]
            assert storm.enough.wait(SOON)
            postgresql.stop("immediate")
            for writer in writing:
                writer.result(timeout=SOON)
        postgresql.start()
        with connected(server) as client:
            # A write makes the server look, where it would have within --store-poll.
            storm.acknowledged["org9", "back"] = put(client, "org9", "back")
        check(server, storm)
        stop_server(server)
