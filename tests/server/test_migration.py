"""The database is brought up to date at start, once, and never taken for what it is not."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from pullgate_policy import Category, CommunityClass, Preset, preset_policy
from pullgate_policy.access_token import CallerRole
from pullgate_policy.pins import CategoryPin
from pullgate_server.errors import StartupError
from pullgate_server.snapshot import Snapshot
from pullgate_server.stores import schema
from pullgate_server.stores.engines import open_engine, sqlite_engine
from pullgate_server.stores.migration import MIGRATIONS, bring_up_to_date
from pullgate_server.stores.port import EventFilter
from pullgate_server.stores.sql import SqlStore
from pullgate_server.token_secrets import SecretHasher
from tests.conftest import SOON
from tests.postgresql import PostgresqlServer
from tests.stores import NOW, put_pin, put_policy

OpenDatabase = Callable[[], AsyncEngine]

WRITTEN_BY_0001 = """
INSERT INTO policies (organization, revision, document, author, comment, written_at)
  VALUES ('acme', 3, '{"organization": "acme", "image_access": {"enabled": true}}', 'ada', 'on', '2026-06-01 12:00:00');
INSERT INTO category_pins (name, category, community_class, reason, author, written_at)
  VALUES ('someuser', 'COMMUNITY', NULL, 'seen', 'eve', '2026-06-01 12:00:00');
INSERT INTO changes (revision, kind, name, document, author, comment, written_at) VALUES
  (1, 'policy', 'acme', '{"organization": "acme"}', 'ada', 'begin', '2026-06-01 12:00:00'),
  (2, 'category_pin', 'someuser', '{"category": "COMMUNITY", "community_class": null, "reason": "seen"}', 'eve', 'seen',
    '2026-06-01 12:00:00'),
  (3, 'policy', 'acme', '{"organization": "acme", "image_access": {"enabled": true}}', 'ada', 'on',
    '2026-06-01 12:00:00');
INSERT INTO tokens (token_hash, name, role, created_at)
  VALUES ('ab12cd34ef56ab12cd34ef56ab12cd34ef56ab12cd34ef56ab12cd34ef56ab12', 'operator', 'operator',
    '2026-06-01 12:00:00');
UPDATE store SET revision = 3;
"""
"""What the first version of the schema may hold."""


@pytest.fixture(params=["sqlite", "postgresql"])
async def database(
    request: pytest.FixtureRequest, tmp_path: Path, postgresql: PostgresqlServer
) -> AsyncIterator[OpenDatabase]:
    """An empty database of each kind, to be opened as often as wanted."""
    url = await postgresql.new_database() if request.param == "postgresql" else ""
    engines: list[AsyncEngine] = []

    def open_it() -> AsyncEngine:
        engines.append(open_engine(url, tmp_path / "db"))
        return engines[-1]

    yield open_it
    for engine in engines:
        await engine.dispose()


@asynccontextmanager
async def writing(engine: AsyncEngine) -> AsyncIterator[Any]:
    """A connection whose transaction writes."""
    async with engine.connect() as connection:
        await connection.execution_options(pullgate_writes=True)
        async with connection.begin():
            yield connection


async def migrate(engine: AsyncEngine, step: Callable[[Config], None]) -> None:
    """Run alembic by hand."""

    def run(connection: Connection) -> None:
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.attributes["connection"] = connection
        step(config)

    async with writing(engine) as connection:
        await connection.run_sync(run)


async def rows(engine: AsyncEngine, statement: str) -> list[tuple[Any, ...]]:
    """What a statement gives."""
    async with engine.connect() as connection:
        return [tuple(row) for row in await connection.execute(text(statement))]


async def described(engine: AsyncEngine) -> dict[str, object]:
    """Tables, columns, types, collations, indexes and keys."""

    def look(connection: Connection) -> dict[str, object]:
        found = inspect(connection)
        return {
            table: (
                sorted(
                    (column["name"], str(column["type"]), column["nullable"], column["default"])
                    for column in found.get_columns(table)
                ),
                sorted((index["column_names"], index["unique"]) for index in found.get_indexes(table)),
                found.get_pk_constraint(table)["constrained_columns"],
            )
            for table in found.get_table_names()
            if table != "alembic_version"
        }

    async with engine.connect() as connection:
        return await connection.run_sync(look)


def test_the_newest_migration_is_the_one_that_a_start_looks_for() -> None:
    """SCHEMA_VERSION is the head of the migrations."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))

    assert ScriptDirectory.from_config(config).get_current_head() == schema.SCHEMA_VERSION


async def test_the_migrations_make_the_schema(database: OpenDatabase) -> None:
    """Tables, columns, types and indexes are those that the code uses, and going down leaves nothing."""
    engine = database()
    await bring_up_to_date(engine, allowed=True)
    migrated = await described(engine)
    await migrate(engine, lambda config: command.downgrade(config, "base"))
    after_going_down = await described(engine)
    async with writing(engine) as connection:
        await connection.run_sync(schema.metadata.create_all)
    declared = await described(engine)

    assert declared == migrated
    assert after_going_down == {}


async def test_what_an_older_pullgate_wrote_is_still_there(database: OpenDatabase) -> None:
    """Policies, pins, history and the operator's token of schema 0001 are read by the newest."""
    engine, hasher = database(), SecretHasher(b"key")
    await migrate(engine, lambda config: command.upgrade(config, "0001"))
    await write_as_0001(engine)
    await bring_up_to_date(engine, allowed=True)
    store = SqlStore(engine)
    await store.adopt_token_key(hasher.check, hasher.rehash)
    contents = await store.read(None)
    first, pinned, second = reversed(await store.events(EventFilter(), 10))
    (token,) = contents.tokens.values()
    stored, pin = contents.policies["acme"], contents.pins["", "someuser"]
    assert stored is not None
    assert pin is not None

    assert (contents.revision, stored.revision, stored.policy.image_access.enabled, stored.comment) == (
        3,
        3,
        True,
        "on",
    )
    assert (pin.category, pin.author, pin.organization, pin.expires_at) == (Category.COMMUNITY, "eve", "", None)
    assert (token.token.role, token.token.name) == (CallerRole.OPERATOR, "operator")
    assert token.secret_hash == hasher.rehash("ab12cd34ef56" * 5 + "ab12")
    assert (first.before, first.after, second.before) == (None, {"organization": "acme"}, {"organization": "acme"})
    assert (pinned.organization, pinned.name, second.organization) == ("", "someuser", "acme")
    assert (await put_policy(store, preset_policy(Preset.OPEN, "acme"), expected=3)).revision == 4


async def test_going_down_keeps_what_the_older_schema_can_hold(database: OpenDatabase) -> None:
    """Down from 0002: policies, pins and their history stay; no token does, so that none that ended comes to life."""
    engine = database()
    await migrate(engine, lambda config: command.upgrade(config, "0001"))
    await write_as_0001(engine)
    tables = ("policies", "category_pins", "changes", "store")
    before = [sorted(await rows(engine, f"SELECT * FROM {table}")) for table in tables]
    await migrate(engine, lambda config: command.upgrade(config, "0002"))
    async with writing(engine) as connection:
        await connection.execute(
            text(
                "INSERT INTO tokens (id, secret_hash, former_hash, name, role, organization, username, "
                "may_assert_roles, created_at, created_by, revoked_at) VALUES ('tok_1', 'aa', '', 'old', 'operator', "
                "'', '', false, '2026-06-01 12:00:00', '', '2026-06-01 12:00:00')"
            )
        )
    await migrate(engine, lambda config: command.downgrade(config, "0001"))
    after = [sorted(await rows(engine, f"SELECT * FROM {table}")) for table in tables]

    assert before == after
    assert await rows(engine, "SELECT * FROM tokens") == []


async def test_events_of_pins_from_before_they_could_expire_are_read(database: OpenDatabase) -> None:
    """Who follows the store through events that 0001 and 0002 wrote comes to the pins that are there."""
    engine = database()
    await migrate(engine, lambda config: command.upgrade(config, "0001"))
    await write_as_0001(engine)
    await bring_up_to_date(engine, allowed=True)
    store = SqlStore(engine)
    followed = Snapshot().with_contents(await store.read(0))
    everything = Snapshot().with_contents(await store.read(None))

    assert followed.pins == everything.pins
    assert [(pin.name, pin.organization, pin.expires_at) for pin in followed.pins.values()] == [("someuser", "", None)]


async def test_pins_of_organizations_are_lost_on_the_way_down(database: OpenDatabase) -> None:
    """Down from 0003 the pins for everybody stay, also expired ones, and expire no more; organizations' own do not."""
    engine, end = database(), NOW - timedelta(days=1)
    await bring_up_to_date(engine, allowed=True)
    someuser = CategoryPin(
        name="someuser",
        category=Category.COMMUNITY,
        community_class=CommunityClass.SPONSORED_OPEN_SOURCE,
        reason="seen",
        author="eve",
        written_at=NOW,
    )
    pins = [
        someuser,
        replace(someuser, name="expired", expires_at=end),
        replace(someuser, organization="acme"),
        replace(someuser, name="expired", organization="globex", expires_at=end),
    ]
    for pin in pins:
        await put_pin(SqlStore(engine), pin)
    await migrate(engine, lambda config: command.downgrade(config, "0002"))
    kept = await rows(engine, "SELECT name, category, community_class, reason, author FROM category_pins ORDER BY name")
    await bring_up_to_date(engine, allowed=True)
    contents = await SqlStore(engine).read(None)
    events = await SqlStore(engine).events(EventFilter(after=0), 10)

    assert kept == [(name, "COMMUNITY", "SPONSORED_OPEN_SOURCE", "seen", "eve") for name in ("expired", "someuser")]
    assert contents.pins == {("", "someuser"): someuser, ("", "expired"): replace(someuser, name="expired")}
    assert [event.organization for event in events] == ["", "", "acme", "globex"]


@pytest.mark.parametrize("statement", ["UPDATE events SET author = 'eve'", "DELETE FROM events"])
async def test_events_are_never_changed(database: OpenDatabase, statement: str) -> None:
    """The database itself refuses to change or remove an event, whoever asks."""
    engine = database()
    await bring_up_to_date(engine, allowed=True)
    await put_policy(SqlStore(engine), preset_policy(Preset.STRICT, "acme"))
    with pytest.raises(DBAPIError, match="never changed"):
        async with writing(engine) as connection:
            await connection.execute(text(statement))

    assert await rows(engine, "SELECT revision, author FROM events") == [(1, "ada")]


async def test_only_the_first_start_has_anything_to_do(database: OpenDatabase) -> None:
    """Servers that start together on an empty database migrate it once, and keep what is in it."""
    engines = [database() for _ in range(4)]
    async with asyncio.timeout(SOON):
        await asyncio.gather(*(bring_up_to_date(engine, allowed=True) for engine in engines))
    await put_policy(SqlStore(engines[0]), preset_policy(Preset.STRICT, "acme"), expected=0)

    assert not await bring_up_to_date(engines[1], allowed=True)
    assert await SqlStore(engines[1]).revision() == 1


async def test_a_newer_database_is_refused(database: OpenDatabase) -> None:
    """A database of a later pullgate is left alone, and the message says what to do."""
    engine = database()
    await bring_up_to_date(engine, allowed=True)
    async with writing(engine) as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for allowed in (True, False):
        with pytest.raises(StartupError, match="schema version 9999, which this pullgate does not know"):
            await bring_up_to_date(engine, allowed=allowed)


async def test_migrating_may_be_forbidden(tmp_path: Path) -> None:
    """With --no-migrate an outdated database is refused, and not touched."""
    engine = sqlite_engine(tmp_path / "db")
    needed = f"the database is empty, and {schema.SCHEMA_VERSION} is needed: start once with --migrate"
    with pytest.raises(StartupError, match=needed):
        await bring_up_to_date(engine, allowed=False)
    await engine.dispose()

    assert (tmp_path / "db").read_bytes() == b""


async def test_a_migration_that_fails_changes_nothing(tmp_path: Path) -> None:
    """The schema goes from one version to the next whole, or not at all."""
    engine = sqlite_engine(tmp_path / "db")
    await migrate(engine, lambda config: command.upgrade(config, "0001"))
    with sqlite3.connect(tmp_path / "db") as connection:
        connection.execute("CREATE TABLE events (in_the_way INTEGER)")
    connection.close()
    before = await described(engine)
    with pytest.raises(Exception, match="events"):
        await bring_up_to_date(engine, allowed=True)

    assert before == await described(engine)
    await engine.dispose()


async def write_as_0001(engine: AsyncEngine) -> None:
    """Fill a database as the first version did."""
    async with writing(engine) as connection:
        for statement in WRITTEN_BY_0001.split(";\n"):
            if statement.strip():
                await connection.execute(
                    text(statement.replace(":00'", r"\:00'").replace(" 12:", r" 12\:").replace('": ', '"\\: '))
                )
