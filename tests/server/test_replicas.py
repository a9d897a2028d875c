"""Several servers on one database: each reaches every write, soon by a hint, and by asking where there is none."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import asyncpg
import pytest
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine
from structlog.testing import capture_logs

from pullgate.local import OPERATOR_TOKEN_FILE
from pullgate_client import Client, ConflictError, Connection
from pullgate_policy import Category, Identity, Membership, Preset, preset_policy
from pullgate_policy.event import AdministrativeEvent
from pullgate_policy.watch import Changed, WatchEvent
from pullgate_server.repeating import repeat
from pullgate_server.stores import postgresql_hints, sqlite_hints
from pullgate_server.stores.category_knowledge import Remembered
from pullgate_server.stores.hints import Hints
from pullgate_server.stores.postgresql_hints import APPLICATION_NAME, PostgresqlHints
from pullgate_server.stores.sql import SqlStore
from pullgate_server.stores.sql_category_knowledge import SqlCategoryKnowledge
from pullgate_server.stores.sqlite_hints import SqliteHints
from tests.conftest import SOON, ServerProcess, start_server, stop_server
from tests.postgresql import PostgresqlServer, running_postgresql
from tests.stores import NOW, by_ada, put_policy, store_at

NEVER = "3600"
"""So seldom are databases asked in tests in which a hint must be what makes a server look."""

LISTENING = f"FROM pg_stat_activity WHERE application_name = '{APPLICATION_NAME}' AND datname = current_database()"

DEV = Identity(username="dev", memberships=(Membership(organization="acme"),))


@dataclass
class Replica:
    """One of the servers, and who reads its events as they come."""

    server: ServerProcess
    client: Client
    readers: ThreadPoolExecutor
    events: Iterator[AdministrativeEvent]
    watched: Iterator[WatchEvent]

    def is_told(self, revision: int) -> int:
        """The revision at which a subscriber of this server is once it has been told of `revision`."""

        def read() -> int:
            for event in self.watched:
                told = event.change.revision if isinstance(event, Changed) else getattr(event, "revision", 0)
                if told >= revision:
                    return told
            raise AssertionError("the stream has ended")

        return self.readers.submit(read).result(timeout=SOON)

    def next_revision(self) -> int:
        """The revision of the next event, which the server gives only once it has the revision itself."""
        return self.readers.submit(lambda: next(self.events).revision).result(timeout=SOON)

    def write(self, preset: Preset) -> int:
        """Write a policy through this server; returns the revision."""
        return self.client.put_policy(preset_policy(preset, "acme")).revision

    def decided_at(self) -> int:
        """The revision that it decides from now."""
        return self.client.decide(DEV, "nginx").policy_revision


@contextmanager
def replicas(folder: Path, database: str, *options: str, number: int = 3) -> Iterator[list[Replica]]:
    """Servers on one database, one write after its beginning, whose events have been read everywhere.

    From here on no server reads the database but because of its poll, a hint, or a write of its own.
    """
    with ExitStack() as closing:
        servers = []
        for index in range(number):
            key = ["--token-key-file", str(folder / "server0/token.key")] if index else []
            server = start_server(
                folder / f"server{index}", "--database", database, "--store-grace", NEVER, *key, *options
            )
            closing.callback(stop_server, server)
            servers.append(server)
        token = (folder / "server0" / OPERATOR_TOKEN_FILE).read_text().strip()
        found = []
        for server in servers:
            readers = closing.enter_context(ThreadPoolExecutor(1))
            client = closing.enter_context(Client(Connection(address=server.address, token=token), deadline=SOON))
            found.append(Replica(server, client, readers, client.stream_events(since_revision=0), client.watch()))
        revision = found[0].write(Preset.STRICT)
        assert [replica.next_revision() for replica in found] == [revision] * number
        yield found


async def database_of(kind: str, folder: Path, postgresql: PostgresqlServer) -> str:
    """The URL of a new database."""
    return f"sqlite:///{folder}/shared.db" if kind == "sqlite" else await postgresql.new_database()


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_one_write_reaches_all(kind: str, tmp_path: Path, postgresql: PostgresqlServer) -> None:
    """Servers that would not ask for an hour have a write that went to another one, and tell their subscribers."""
    database = await database_of(kind, tmp_path, postgresql)
    with replicas(tmp_path, database, "--store-poll", NEVER) as servers:
        for writer in servers:
            written = writer.write(Preset.STANDARD)

            assert [replica.next_revision() for replica in servers] == [written] * 3
            assert [replica.decided_at() for replica in servers] == [written] * 3
            assert [replica.is_told(written) for replica in servers] == [written] * 3


async def test_without_hints_polling_reaches_all(tmp_path: Path, postgresql: PostgresqlServer) -> None:
    """With NOTIFY cut off a write still reaches every server, when it next asks."""
    database = await postgresql.new_database()
    with replicas(tmp_path, database, "--store-poll", "0.1", "--no-store-hints") as servers:
        assert await listeners(database) == 0
        written = servers[1].write(Preset.STANDARD)

        assert [replica.next_revision() for replica in servers] == [written] * 3
        assert [replica.is_told(written) for replica in servers] == [written] * 3


async def test_neither_hints_nor_polls(tmp_path: Path, postgresql: PostgresqlServer) -> None:
    """With both cut off a server goes on with what it has: nothing else carried the writes of the other tests."""
    database = await postgresql.new_database()
    with replicas(tmp_path, database, "--store-poll", NEVER, "--no-store-hints", number=2) as (writer, other):
        before = other.decided_at()
        writer.write(Preset.STANDARD)

        assert other.decided_at() == before


async def test_lost_connections_lose_no_revision(tmp_path: Path, postgresql: PostgresqlServer) -> None:
    """Writes while the connections that listen are being killed all arrive: after each loss a server looks once."""
    database = await postgresql.new_database()
    with replicas(tmp_path, database, "--store-poll", NEVER) as servers:
        for _ in range(5):
            await sql(database, f"SELECT pg_terminate_backend(pid) {LISTENING}")
            for writer in servers:
                written = writer.write(Preset.STANDARD)

                assert [replica.next_revision() for replica in servers] == [written] * 3
                assert [replica.is_told(written) for replica in servers] == [written] * 3


def test_a_database_that_restarts(tmp_path: Path) -> None:
    """After PostgreSQL lost its power and came back, servers listen again, and say in their log that it was lost."""
    with running_postgresql() as postgresql:
        database = f"postgresql://postgres@127.0.0.1:{postgresql.port}/postgres"
        with replicas(tmp_path, database, "--store-poll", NEVER) as servers:
            postgresql.stop("immediate")
            postgresql.start()
            for writer in servers:
                written = writer.write(Preset.STANDARD)

                assert [replica.next_revision() for replica in servers] == [written] * 3
        for replica in servers:
            log = replica.server.log.read_text()
            assert log.count("are not heard of") == log.count("are heard of again") == 1


@dataclass
class Heard:
    """What a server was told to look at."""

    revision: asyncio.Event
    categories: asyncio.Event

    async def until(self, event: asyncio.Event, action: Awaitable[Any]) -> None:
        """Do something, and wait until it was heard of."""
        self.revision.clear()
        self.categories.clear()
        await action
        async with asyncio.timeout(SOON):
            await event.wait()


@asynccontextmanager
async def hearing(hints: Hints) -> AsyncIterator[Heard]:
    """Hear hints, once something has been heard."""
    heard = Heard(asyncio.Event(), asyncio.Event())
    task = asyncio.ensure_future(hints.run(heard.revision.set, heard.categories.set))
    try:
        yield heard
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_postgresql_says_what_was_written(tmp_path: Path, postgresql: PostgresqlServer) -> None:
    """A policy is a hint to look for revisions, a category one to look for categories, and what was undone is none."""
    async with store_at("postgresql", tmp_path, await postgresql.new_database()) as store:
        assert isinstance(store, SqlStore)
        knowledge = SqlCategoryKnowledge(store.engine)
        async with hearing(PostgresqlHints(store.engine, Random(1))) as heard, asyncio.timeout(SOON):
            await heard.revision.wait()
            await heard.categories.wait()
            official = Remembered(Category.OFFICIAL, None, "so it is", NOW)
            await heard.until(heard.categories, knowledge.put("docker-hub", "library", official, 1))
            assert not heard.revision.is_set()
            with pytest.raises(ZeroDivisionError):
                await store.write_policy("acme", lambda _: 1 // 0, by_ada(comment=""))  # type: ignore[arg-type, return-value]
            await heard.until(heard.categories, knowledge.put("docker-hub", "grafana", official, 1))
            assert not heard.revision.is_set()
            await heard.until(heard.revision, put_policy(store, preset_policy(Preset.STRICT, "acme")))
            assert not heard.categories.is_set()
        await knowledge.close()


async def test_sqlite_changes_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every commit to an SQLite file is a hint, but for the process that wrote it."""
    monkeypatch.setattr(sqlite_hints, "LOOK_SECONDS", 0)
    writing = asyncio.Lock()
    hints = SqliteHints(tmp_path / "pullgate.db", writing)
    async with store_at("sqlite", tmp_path, "") as store, hearing(hints) as heard:
        for preset in (Preset.STRICT, Preset.STANDARD, Preset.STRICT):
            await heard.until(heard.revision, put_policy(store, preset_policy(preset, "acme")))
        async with writing:
            heard.revision.clear()
            await put_policy(store, preset_policy(Preset.OPEN, "acme"))
            hints.forget()
        for _ in range(10):
            await asyncio.sleep(0)
        assert not heard.revision.is_set()


async def test_a_pooler_in_between_is_said_once(postgresql: PostgresqlServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where LISTEN is accepted and nothing ever arrives, the log says so once, however often it is tried."""
    engine = create_async_engine(make_url(await postgresql.new_database()))
    connect, attempts, enough = asyncpg.connect, 0, asyncio.Event()

    async def connect_elsewhere(*_: Any, **arguments: Any) -> Any:
        if "server_settings" not in arguments:
            return await connect(**arguments)
        # What is said in one database is not heard in another.
        nonlocal attempts
        attempts += 1
        if attempts == 3:
            enough.set()
        return await connect(**{**arguments, "database": "postgres"})

    monkeypatch.setattr(asyncpg, "connect", connect_elsewhere)
    monkeypatch.setattr(postgresql_hints, "ECHO_SECONDS", 0.01)
    with capture_logs() as logs:
        async with hearing(PostgresqlHints(engine, Random(1))) as heard, asyncio.timeout(SOON):
            await enough.wait()
    await engine.dispose()

    assert ["is there a pooler of transactions in between" in entry["cause"] for entry in logs] == [True]
    assert not heard.revision.is_set()


async def test_many_hints_are_one_look() -> None:
    """However many hints come while a server looks, it looks once more."""
    looks, hint, go_on, looking = 0, asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def look() -> None:
        nonlocal looks
        looks += 1
        looking.set()
        await go_on.wait()

    task = asyncio.ensure_future(repeat(look, float(NEVER), hint)())
    async with asyncio.timeout(SOON):
        await looking.wait()
        for _ in range(1000):
            hint.set()
        looking.clear()
        go_on.set()
        await looking.wait()
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert looks == 2


async def listeners(database: str) -> int:
    """How many connections listen on a database."""
    return len(await sql(database, f"SELECT pid {LISTENING}"))


async def sql(database: str, statement: str) -> list[Any]:
    """Run a statement as somebody else."""
    connection = await asyncpg.connect(database.replace("+asyncpg", ""))
    try:
        return list(await connection.fetch(statement))
    finally:
        await connection.close()


async def test_a_refused_write_takes_no_number(tmp_path: Path, postgresql: PostgresqlServer) -> None:
    """A number that a refused write gave back is another server's next one, and is heard of as any other."""
    database = await postgresql.new_database()
    with replicas(tmp_path, database, "--store-poll", NEVER, number=2) as (one, other):
        for _ in range(3):
            with pytest.raises(ConflictError):
                one.client.put_policy(preset_policy(Preset.OPEN, "acme"), expected_revision=1000)
            written = other.write(Preset.STANDARD)

            assert one.next_revision() == written
