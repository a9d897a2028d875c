"""What remembers categories: one contract for all, one more for those that last."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event, text

from pullgate_policy import Category, CommunityClass
from pullgate_server.categories.memories import BoundedMemoryCache, CachedCategories, key_of, redis_categories
from pullgate_server.categories.tolerance import REST, TolerantMemory
from pullgate_server.errors import StartupError, StoreUnavailableError
from pullgate_server.stores.category_knowledge import (
    CategoryKnowledge,
    CategoryMemory,
    MemoryCategoryKnowledge,
    Remembered,
)
from pullgate_server.stores.engines import open_engine
from pullgate_server.stores.migration import bring_up_to_date
from pullgate_server.stores.sql_category_knowledge import SqlCategoryKnowledge
from tests.conftest import Clock
from tests.postgresql import PostgresqlServer
from tests.redis_server import RedisServer, running_redis

NOW = datetime(2026, 6, 1, 12, 30, 15, 123456, tzinfo=UTC)
PUBLISHER = Remembered(Category.VERIFIED_PUBLISHER, None, "badge verified_publisher", NOW)
SPONSORED = Remembered(Category.COMMUNITY, CommunityClass.SPONSORED_OPEN_SOURCE, "badge open_source", NOW)
NOBODY = Remembered(Category.UNKNOWN, None, "no such namespace", NOW)

LASTING = ("knowledge in memory", "sqlite", "postgresql")
KINDS = ("memory", "redis", *LASTING)


@asynccontextmanager
async def opened(
    kind: str, folder: Path, postgresql: PostgresqlServer, redis: RedisServer
) -> AsyncIterator[CategoryMemory]:
    """An empty memory."""
    match kind:
        case "memory":
            memory: CategoryMemory = CachedCategories("memory", BoundedMemoryCache(1000))
        case "redis":
            memory = redis_categories(redis.new_database())
        case "knowledge in memory":
            memory = MemoryCategoryKnowledge()
        case _:
            database = await postgresql.new_database() if kind == "postgresql" else ""
            engine = open_engine(database, folder / "pullgate.db")
            await bring_up_to_date(engine, allowed=True)
            memory = SqlCategoryKnowledge(engine)
    try:
        yield memory
    finally:
        await memory.close()
        if isinstance(memory, SqlCategoryKnowledge):
            await memory.engine.dispose()


@pytest.fixture(params=KINDS)
async def memory(
    request: pytest.FixtureRequest, tmp_path: Path, postgresql: PostgresqlServer, redis: RedisServer
) -> AsyncIterator[CategoryMemory]:
    """Every implementation of the port, empty."""
    async with opened(request.param, tmp_path, postgresql, redis) as found:
        yield found


@pytest.fixture(params=LASTING)
async def lasting(
    request: pytest.FixtureRequest, tmp_path: Path, postgresql: PostgresqlServer, redis: RedisServer
) -> AsyncIterator[CategoryKnowledge]:
    """Every implementation of the lasting memory's port, empty."""
    async with opened(request.param, tmp_path, postgresql, redis) as found:
        yield cast("CategoryKnowledge", found)


@pytest.mark.parametrize("remembered", [PUBLISHER, SPONSORED, NOBODY], ids=lambda item: item.detail)
async def test_what_was_put_is_got(memory: CategoryMemory, remembered: Remembered) -> None:
    """A memory gives back what it was told, to the microsecond; it knows nothing of what it was not told."""
    await memory.put("hub", "grafana", remembered, 60)

    assert await memory.get("hub", "grafana") == remembered
    assert await memory.get("hub", "loki") is None
    assert await memory.get("other hub", "grafana") is None


async def test_what_is_said_later_holds(memory: CategoryMemory) -> None:
    """A later word replaces an earlier one."""
    later = dataclasses.replace(SPONSORED, checked_at=NOW + timedelta(seconds=1))
    await memory.put("hub", "grafana", PUBLISHER, 60)
    await memory.put("hub", "grafana", later, 60)

    assert await memory.get("hub", "grafana") == later


LOOK_ALIKES = ["a-b", "a_b", "a.b", "ab", "a--b", "A-B", "a-B", "b-a", "a", "a-", "hub1:a"]


async def test_look_alikes_never_share_an_entry(memory: CategoryMemory) -> None:
    """Names that differ by a letter's case, a dash, an underscore or a separator of keys are different names."""
    sources = ("hub", "hub:", "hub:1")
    said = {
        (source, name): Remembered(Category.COMMUNITY, None, f"{source} said {name}", NOW)
        for source in sources
        for name in LOOK_ALIKES
    }
    for (source, name), remembered in said.items():
        await memory.put(source, name, remembered, 60)

    assert {key: await memory.get(*key) for key in said} == said


@given(st.text(), st.text(), st.text(), st.text())
def test_no_two_pairs_have_one_key(source: str, namespace: str, other_source: str, other_namespace: str) -> None:
    """Keys differ whenever source or namespace differ, whatever characters they have."""
    same = (source, namespace) == (other_source, other_namespace)

    assert (key_of(source, namespace) == key_of(other_source, other_namespace)) is same


NAMES = st.from_regex(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*", fullmatch=True)


@given(st.lists(NAMES, min_size=2, max_size=8, unique=True))
def test_namespaces_never_share_an_entry(names: list[str]) -> None:
    """Whatever is remembered of several namespaces, by cases and separators alike, each gives its own."""

    async def remember() -> list[Remembered | None]:
        memory = CachedCategories("memory", BoundedMemoryCache(1000))
        for name in [*names, *map(str.upper, names)]:
            await memory.put("hub", name, dataclasses.replace(PUBLISHER, detail=name), 60)
        return [await memory.get("hub", name) for name in names]

    assert [found and found.detail for found in asyncio.run(remember())] == names


async def test_memory_is_bounded() -> None:
    """At the limit what was used longest ago goes, and is counted."""
    evictions: list[None] = []
    cache = BoundedMemoryCache(2, lambda: evictions.append(None))
    memory = CachedCategories("memory", cache)
    for name in ("a", "b"):
        await memory.put("hub", name, PUBLISHER, 60)
    await memory.get("hub", "a")
    await memory.put("hub", "c", PUBLISHER, 60)
    await memory.put("hub", "c", PUBLISHER, 60)

    assert [name for name in "abc" if await memory.get("hub", name)] == ["a", "c"]
    assert (len(cache), len(evictions)) == (2, 1)


async def test_redis_forgets_by_itself(redis: RedisServer) -> None:
    """What is put into Redis has the lifetime that it was put with, so that nothing stays for ever."""
    memory = redis_categories(redis.new_database())
    await memory.put("hub", "grafana", PUBLISHER, 90.5)
    left = await memory._cache.client.pttl(key_of("hub", "grafana"))
    await memory.close()

    assert 80_000 < left <= 90_500


@pytest.mark.parametrize(
    "value",
    ["", "{", "[]", "null", '{"format": 1}', '{"format": 2, "category": "COMMUNITY"}', "[" * 100_000,
     '{"format": 1, "category": "NONE", "community_class": null, "detail": "", "checked_at": "2026-01-01T00:00:00Z"}',
     '{"format": 1, "category": "OFFICIAL", "community_class": null, "detail": "", "checked_at": "2026-01-01"}'],
    ids=lambda value: value[:20],
)  # fmt: skip
async def test_what_redis_holds_is_read_strictly(redis: RedisServer, value: str) -> None:
    """What is not wholly what was written counts as nothing, and breaks nothing."""
    memory = redis_categories(redis.new_database())
    await memory._cache.client.set(key_of("hub", "grafana"), value)
    found = await memory.get("hub", "grafana")
    await memory.close()

    assert found is None


@pytest.mark.parametrize("url", ["http://x", "redis://x:port", "memcached://x"])
def test_a_cache_that_is_no_redis_is_refused_at_start(url: str) -> None:
    """A URL that redis cannot use is an error that names the option."""
    with pytest.raises(StartupError, match="--cache"):
        redis_categories(url)


async def test_an_outage_is_logged_once_and_counted() -> None:
    """While Redis is away nothing is remembered there and nobody waits for it; its return is seen and logged."""
    clock = Clock()
    failures: list[str] = []
    with running_redis() as server:
        memory = redis_categories(server.new_database())
        tolerant = TolerantMemory(memory, clock=clock, on_failure=failures.append)
        await tolerant.put("hub", "grafana", PUBLISHER, 60)
        server.stop()
        with structlog.testing.capture_logs() as logs:
            during = [await tolerant.get("hub", "grafana"), await tolerant.put("hub", "grafana", PUBLISHER, 60)]
            counted = len(failures)
            clock.now += REST
            during.append(await tolerant.get("hub", "grafana"))
            server.start()
            clock.now += REST
            after = [await tolerant.put("hub", "grafana", PUBLISHER, 60), await tolerant.get("hub", "grafana")]
        await memory.close()

    assert during == [(False, None), False, (False, None)]
    assert (counted, failures) == (1, ["redis", "redis"])
    assert after == [True, (True, PUBLISHER)]
    assert [entry["event"] for entry in logs] == ["category memory out of reach", "category memory back in reach"]


async def test_earlier_knowledge_replaces_nothing(lasting: CategoryKnowledge) -> None:
    """Of two servers that tell what they have learnt the later word holds, whoever comes last."""
    earlier = dataclasses.replace(SPONSORED, checked_at=NOW - timedelta(seconds=1))
    await lasting.put("hub", "grafana", PUBLISHER, 60)
    await lasting.put("hub", "grafana", earlier, 60)

    assert await lasting.get("hub", "grafana") == PUBLISHER
    assert [item.remembered for item in (await lasting.changes(0, 10))[1]] == [PUBLISHER]


async def test_changes_are_what_is_said_otherwise(lasting: CategoryKnowledge) -> None:
    """Repeated words are no changes; each other word is one, told in order and only to who is behind."""
    said = [
        ("a", PUBLISHER, 0), ("b", PUBLISHER, 0), ("a", PUBLISHER, 1), ("b", SPONSORED, 2), ("a", SPONSORED, 3),
        ("b", PUBLISHER, 4),
    ]  # fmt: skip
    for namespace, remembered, seconds in said:
        word = dataclasses.replace(remembered, checked_at=NOW + timedelta(seconds=seconds))
        await lasting.put("hub", namespace, word, 60)
    newest = await lasting.newest_change()
    reached, changes = await lasting.changes(0, 10)
    first, some = await lasting.changes(0, 1)
    _, rest = await lasting.changes(first, 10)

    assert [(item.source, item.namespace, item.remembered.detail) for item in changes] == [
        ("hub", "a", "badge open_source"),
        ("hub", "b", "badge verified_publisher"),
    ]
    assert [*some, *rest] == list(changes)
    assert (reached, await lasting.changes(newest, 10)) == (newest, (newest, []))


async def test_pages_of_what_is_known(lasting: CategoryKnowledge) -> None:
    """What a source said is listed by name, byte by byte, from any name on."""
    for name, remembered in {"b": PUBLISHER, "a_b": SPONSORED, "a-b": PUBLISHER, "c": SPONSORED}.items():
        await lasting.put("hub", name, remembered, 60)
    await lasting.put("other hub", "aa", PUBLISHER, 60)

    async def names(after: str, limit: int) -> list[str]:
        return [item.namespace for item in (await lasting.page("hub", after, limit))[0]]

    assert await names("", 10) == ["a-b", "a_b", "b", "c"]
    assert await names("a-b", 2) == ["a_b", "b"]
    assert [(await lasting.page("hub", after, 2))[1] for after in ("", "a_b", "c")] == ["a_b", "c", ""]


async def test_what_is_old_is_forgotten(lasting: CategoryKnowledge) -> None:
    """What was checked before a moment goes, the rest stays."""
    old = dataclasses.replace(PUBLISHER, checked_at=NOW - timedelta(days=30))
    await lasting.put("hub", "old", old, 60)
    await lasting.put("hub", "new", PUBLISHER, 60)

    assert await lasting.forget(NOW - timedelta(days=10)) == 1
    assert [item.namespace for item in (await lasting.page("hub", "", 10))[0]] == ["new"]


async def test_several_writers_make_one_order_of_changes(lasting: CategoryKnowledge) -> None:
    """Words that come at the same moment are all kept, and who follows sees every change once."""
    names = [f"name{number}" for number in range(8)]
    await asyncio.gather(*(lasting.put("hub", name, PUBLISHER, 60) for name in names))
    later = dataclasses.replace(SPONSORED, checked_at=NOW + timedelta(seconds=1))
    await asyncio.gather(*(lasting.put("hub", name, later, 60) for name in names))
    seen, reached = [], 0
    for _ in names:
        reached, changes = await lasting.changes(reached, 1)
        seen += [item.namespace for item in changes]

    assert sorted(seen) == names
    assert await lasting.newest_change() == reached == 2 * len(names)


async def test_a_database_out_of_reach_is_told(tmp_path: Path) -> None:
    """A lasting memory whose database is gone raises what a store raises."""
    engine = open_engine("", tmp_path / "pullgate.db")
    await bring_up_to_date(engine, allowed=True)
    memory = SqlCategoryKnowledge(engine)
    (tmp_path / "pullgate.db").unlink()
    with pytest.raises(StoreUnavailableError):
        await memory.get("hub", "grafana")
    await engine.dispose()


async def test_many_who_ask_the_database_are_one_statement(tmp_path: Path) -> None:
    """However many namespaces are asked for at once, one connection reads them all."""
    engine = open_engine("", tmp_path / "pullgate.db")
    await bring_up_to_date(engine, allowed=True)
    memory = SqlCategoryKnowledge(engine)
    connections: list[object] = []
    event.listen(engine.sync_engine, "connect", lambda *_: connections.append(None))
    await memory.put("hub", "name7", PUBLISHER, 60)
    written = len(connections)
    found = await asyncio.gather(*(memory.get("hub", f"name{number}") for number in range(1000)))
    await memory.close()
    await engine.dispose()

    assert [number for number, remembered in enumerate(found) if remembered] == [7]
    assert len(connections) - written <= 3


async def test_a_row_of_a_newer_version_is_left_out(tmp_path: Path) -> None:
    """What only a newer pullgate understands is logged and counts as nothing; the rest is read."""
    engine = open_engine("", tmp_path / "pullgate.db")
    await bring_up_to_date(engine, allowed=True)
    memory = SqlCategoryKnowledge(engine)
    for name in ("new", "known"):
        await memory.put("hub", name, PUBLISHER, 60)
    async with memory.transaction(writes=True) as connection:
        await connection.execute(text("UPDATE category_knowledge SET category = 'HARDENED' WHERE namespace = 'new'"))
    found = await memory.get("hub", "new"), await memory.get("hub", "known")
    _, changes = await memory.changes(0, 10)
    later = dataclasses.replace(PUBLISHER, checked_at=NOW + timedelta(seconds=1))
    await memory.put("hub", "new", later, 60)
    replaced = await memory.get("hub", "new")
    await engine.dispose()

    assert found == (None, PUBLISHER)
    assert [item.namespace for item in changes] == ["known"]
    assert replaced == later
