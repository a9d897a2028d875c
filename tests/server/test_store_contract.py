"""The store port's contract, run over every implementation."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from pullgate_policy import Category, CommunityClass, Policy, Preset, preset_policy
from pullgate_policy.pins import CategoryPin
from pullgate_server.callers import Caller, CallerRole, StoredToken
from pullgate_server.errors import CategoryPinNotFoundError, RevisionStaleError, StoreUnavailableError
from pullgate_server.stores.memory import MemoryStore
from pullgate_server.stores.migration import bring_up_to_date
from pullgate_server.stores.port import Store
from pullgate_server.stores.sql import SqlStore, sqlite_engine
from tests.policy import strategies as of

NOW = datetime(2026, 6, 1, 12, 30, 15, 123456, tzinfo=UTC)


async def memory(_path: Path) -> Store:
    """The fake."""
    return MemoryStore()


async def sqlite(path: Path) -> Store:
    """SQLite in a file."""
    engine = sqlite_engine(path / "pullgate.db")
    await bring_up_to_date(engine, allowed=True)
    return SqlStore(engine)


@pytest.fixture(params=[memory, sqlite])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """An empty store of each kind."""
    make: Callable[[Path], Awaitable[Store]] = request.param
    store = await make(tmp_path)
    yield store
    await store.close()


async def put(store: Store, organization: str, *, expected: int | None = None, preset: Preset = Preset.STRICT) -> int:
    """Write a policy; returns its revision."""
    stored = await store.put_policy(
        preset_policy(preset, organization), expected_revision=expected, author="ada", comment="why", now=NOW
    )
    return stored.revision


def pin(name: str, category: Category = Category.COMMUNITY) -> CategoryPin:
    """A pin by ada."""
    return CategoryPin(name=name, category=category, community_class=None, reason="seen", author="ada", written_at=NOW)


async def test_an_empty_store_is_at_revision_0(store: Store) -> None:
    """Nothing was written, so there is nothing and no revision."""
    contents = await store.read(0)

    assert (contents.revision, list(contents.policies), list(contents.pins)) == (0, [], [])
    assert await store.revision() == 0
    assert list(await store.tokens()) == []


async def test_every_write_is_a_revision(store: Store) -> None:
    """Policies and pins count in one row of revisions, without gaps."""
    revisions = [
        await put(store, "acme"),
        await store.put_pin(pin("someuser")),
        await put(store, "globex"),
        await store.delete_pin("someuser", author="ada", now=NOW),
        await put(store, "acme", preset=Preset.OPEN),
    ]

    assert revisions == [1, 2, 3, 4, 5]
    assert await store.revision() == 5


async def test_what_was_written_is_read(store: Store) -> None:
    """A policy comes back with its author, time and comment; only its newest version does."""
    await put(store, "acme")
    await put(store, "acme", preset=Preset.OPEN)
    (stored,) = (await store.read(0)).policies

    assert preset_policy(Preset.OPEN, "acme") == stored.policy
    assert (stored.revision, stored.author, stored.comment, stored.written_at) == (2, "ada", "why", NOW)


async def test_reading_since_a_revision_gives_what_came_after(store: Store) -> None:
    """Only policies written later are given; pins always are."""
    await put(store, "acme")
    await store.put_pin(pin("someuser"))
    await put(store, "globex")
    contents = await store.read(1)

    assert [stored.policy.organization for stored in contents.policies] == ["globex"]
    assert [item.name for item in contents.pins] == ["someuser"]
    assert contents.revision == 3


@pytest.mark.parametrize("expected", [0, 2, 7])
async def test_a_stale_write_is_refused(store: Store, expected: int) -> None:
    """A write that names another revision than the newest changes nothing, and takes no revision."""
    await put(store, "acme", expected=0)
    with pytest.raises(RevisionStaleError) as raised:
        await put(store, "acme", expected=expected, preset=Preset.OPEN)
    (stored,) = (await store.read(0)).policies

    assert (expected, 1) == (raised.value.expected, raised.value.current)
    assert preset_policy(Preset.STRICT, "acme") == stored.policy
    assert await put(store, "globex", expected=0) == 2


async def test_writing_what_is_expected_to_be_there(store: Store) -> None:
    """The revision of the organization's own policy counts, not the store's."""
    await put(store, "acme", expected=0)
    await put(store, "globex", expected=0)

    assert await put(store, "acme", expected=1) == 3


async def test_one_of_two_writers_wins(store: Store) -> None:
    """Of writers that start from the same revision exactly one is accepted; nobody's write is lost without a word."""
    results = await asyncio.gather(*(put(store, "acme", expected=0) for _ in range(8)), return_exceptions=True)

    assert [result for result in results if isinstance(result, int)] == [1]
    assert sum(isinstance(result, RevisionStaleError) for result in results) == 7


async def test_concurrent_writes_have_revisions_of_their_own(store: Store) -> None:
    """Writers at the same time get different revisions, without gaps."""
    revisions = await asyncio.gather(*(put(store, f"org{index}") for index in range(12)))

    assert list(range(1, 13)) == sorted(revisions)


async def test_names_are_compared_byte_by_byte(store: Store) -> None:
    """Pins whose names differ in nothing but a separator or a digit are different pins."""
    for name in ("a-b", "a_b", "a.b", "ab", "ab1"):
        await store.put_pin(pin(name))

    assert [item.name for item in (await store.read(0)).pins] == ["a-b", "a.b", "a_b", "ab", "ab1"]


async def test_pins_are_set_replaced_and_taken_back(store: Store) -> None:
    """A pin with the same name replaces, one that is not there cannot be taken back."""
    sponsored = CategoryPin(
        name="a/b",
        category=Category.COMMUNITY,
        community_class=CommunityClass.SPONSORED_OPEN_SOURCE,
        reason="",
        author="ada",
        written_at=NOW,
    )
    await store.put_pin(pin("a/b", Category.OFFICIAL))
    await store.put_pin(sponsored)

    assert [sponsored] == list((await store.read(0)).pins)

    await store.delete_pin("a/b", author="ada", now=NOW)

    assert list((await store.read(0)).pins) == []
    with pytest.raises(CategoryPinNotFoundError):
        await store.delete_pin("a/b", author="ada", now=NOW)
    assert await store.revision() == 3


async def test_tokens_are_kept(store: Store) -> None:
    """A token comes back with its caller."""
    token = StoredToken(
        token_hash="ab" * 32, caller=Caller(id="ab" * 32, name="operator", role=CallerRole.OPERATOR), created_at=NOW
    )
    await store.add_token(token)

    assert [token] == list(await store.tokens())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(policy=of.policies())
async def test_every_policy_survives_the_store(store: Store, policy: Policy) -> None:
    """A policy is the same after it was stored."""
    await store.put_policy(policy, expected_revision=None, author="ada", comment="", now=NOW)
    (stored,) = (await store.read(0)).policies

    assert policy == stored.policy


async def test_a_memory_store_can_be_out_of_reach() -> None:
    """The fake fails as a database does, for tests of what happens then."""
    store = MemoryStore()
    store.available = False
    for call in (store.revision(), store.read(0), put(store, "acme"), store.tokens(), store.put_pin(pin("a"))):
        with pytest.raises(StoreUnavailableError):
            await call


async def test_an_sqlite_file_that_vanishes_is_out_of_reach(tmp_path: Path) -> None:
    """A database file that is removed is an error, and not begun anew without any policy."""
    store = await sqlite(tmp_path)
    await put(store, "acme")
    for file in tmp_path.iterdir():
        file.unlink()
    with pytest.raises(StoreUnavailableError):
        await store.revision()
    with pytest.raises(StoreUnavailableError):
        await put(store, "acme")
    await store.close()

    assert not (tmp_path / "pullgate.db").exists()


async def test_an_sqlite_store_is_for_its_owner_alone(tmp_path: Path) -> None:
    """Nobody else may read the database."""
    store = await sqlite(tmp_path)
    await store.close()

    assert (tmp_path / "pullgate.db").stat().st_mode & 0o777 == 0o600


async def test_every_write_is_in_the_log_of_changes(tmp_path: Path) -> None:
    """The log holds one row a revision, with what was written, by whom, and what is gone."""
    store = await sqlite(tmp_path)
    await put(store, "acme")
    await store.put_pin(pin("a"))
    await store.delete_pin("a", author="eve", now=NOW)
    await store.close()
    import sqlite3

    with sqlite3.connect(tmp_path / "pullgate.db") as connection:
        rows = connection.execute("SELECT revision, kind, name, document IS NULL, author FROM changes").fetchall()
    connection.close()

    assert rows == [
        (1, "policy", "acme", 0, "ada"),
        (2, "category_pin", "a", 0, "ada"),
        (3, "category_pin", "a", 1, "eve"),
    ]
