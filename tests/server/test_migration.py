"""The database is brought up to date at start, once, and never taken for what it is not."""

import asyncio
import sqlite3
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect

from pullgate_policy import Preset, preset_policy
from pullgate_server.errors import StartupError
from pullgate_server.stores import schema
from pullgate_server.stores.migration import MIGRATIONS, bring_up_to_date
from pullgate_server.stores.sql import SqlStore, sqlite_engine
from tests.conftest import Clock


def test_the_newest_migration_is_the_one_that_a_start_looks_for() -> None:
    """SCHEMA_VERSION is the head of the migrations."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))

    assert ScriptDirectory.from_config(config).get_current_head() == schema.SCHEMA_VERSION


async def test_the_migrations_make_the_schema(tmp_path: Path) -> None:
    """Tables, columns, types and indexes are those that the code uses."""
    engine = sqlite_engine(tmp_path / "db")
    await bring_up_to_date(engine, allowed=True)

    def described(connection: Connection) -> dict[str, object]:
        found = inspect(connection)
        return {
            table: (
                sorted(
                    (column["name"], str(column["type"]), column["nullable"]) for column in found.get_columns(table)
                ),
                sorted(str(index["column_names"]) for index in found.get_indexes(table)),
                found.get_pk_constraint(table)["constrained_columns"],
            )
            for table in found.get_table_names()
            if table != "alembic_version"
        }

    async with engine.connect() as connection:
        migrated = await connection.run_sync(described)
    await engine.dispose()
    fresh = sqlite_engine(tmp_path / "fresh")
    async with fresh.begin() as connection:
        await connection.run_sync(schema.metadata.create_all)
        declared = await connection.run_sync(described)
    await fresh.dispose()

    assert declared == migrated


async def test_only_the_first_start_has_anything_to_do(tmp_path: Path) -> None:
    """Processes that start together on an empty database migrate it once, and keep what is in it."""
    engines = [sqlite_engine(tmp_path / "db") for _ in range(4)]
    await asyncio.gather(*(bring_up_to_date(engine, allowed=True) for engine in engines))
    store = SqlStore(engines[0])
    await store.put_policy(
        preset_policy(Preset.STRICT, "acme"), expected_revision=0, author="a", comment="", now=Clock().now
    )

    assert not await bring_up_to_date(engines[1], allowed=True)
    assert await SqlStore(engines[1]).revision() == 1
    for engine in engines:
        await engine.dispose()


async def test_a_newer_database_is_refused(tmp_path: Path) -> None:
    """A database of a later pullgate is left alone, and the message says what to do."""
    engine = sqlite_engine(tmp_path / "db")
    await bring_up_to_date(engine, allowed=True)
    with sqlite3.connect(tmp_path / "db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(StartupError, match="schema version 9999, which this pullgate does not know"):
        await bring_up_to_date(engine, allowed=True)
    await engine.dispose()


async def test_migrating_may_be_forbidden(tmp_path: Path) -> None:
    """With --no-migrate an outdated database is refused, and not touched."""
    engine = sqlite_engine(tmp_path / "db")
    with pytest.raises(StartupError, match="the database is empty, and 0001 is needed: start once with --migrate"):
        await bring_up_to_date(engine, allowed=False)
    await engine.dispose()

    assert (tmp_path / "db").read_bytes() == b""
