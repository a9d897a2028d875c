"""Brings a database to the newest schema, under a lock, so that processes that start together do it once."""

from pathlib import Path

from sqlalchemy import Connection, inspect, text
from sqlalchemy.ext.asyncio import AsyncEngine

from pullgate_server.errors import StartupError
from pullgate_server.stores.schema import SCHEMA_VERSION

MIGRATIONS = Path(__file__).parent / "migrations"

MIGRATION_LOCK = 0x70756C6C67617465
"""The number of PostgreSQL's advisory lock for migrations: "pullgate" in ASCII."""


async def bring_up_to_date(engine: AsyncEngine, *, allowed: bool) -> bool:
    """Bring the database to the newest schema; returns whether anything had to be done.

    Raises:
        StartupError: it was written by a newer pullgate, or is older and changing it is not allowed.
    """
    async with engine.connect() as connection:
        version = await connection.run_sync(_version)
    if version == SCHEMA_VERSION:
        return False
    if version is not None and version > SCHEMA_VERSION:
        raise _newer(version)
    if not allowed:
        has = f"has schema version {version}" if version else "is empty"
        raise StartupError(f"the database {has}, and {SCHEMA_VERSION} is needed: start once with --migrate")
    async with engine.connect() as connection:
        await connection.execution_options(pullgate_writes=True)
        async with connection.begin():
            if connection.dialect.name == "postgresql":
                # SQLite's transaction is exclusive from its beginning; here a lock has to be asked for.
                await connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": MIGRATION_LOCK})
            await connection.run_sync(_upgrade)
    return True


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    version: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return version


def _upgrade(connection: Connection) -> None:
    # Imported here because most starts find the schema up to date and would pay for nothing.
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    version = _version(connection)
    if version is not None and version not in known:
        raise _newer(version)
    command.upgrade(config, "head")


def _newer(version: str) -> StartupError:
    return StartupError(
        f"the database has schema version {version}, which this pullgate does not know: "
        "it was written by a newer one; start that one, or point --database elsewhere"
    )
