"""Brings a database to the newest schema, under a lock, so that processes that start together do it once."""

from pathlib import Path

from sqlalchemy import Connection, inspect, text
from sqlalchemy.ext.asyncio import AsyncEngine

from pullgate_server.errors import StartupError
from pullgate_server.stores.schema import SCHEMA_VERSION

MIGRATIONS = Path(__file__).parent / "migrations"


async def bring_up_to_date(engine: AsyncEngine, *, allowed: bool) -> bool:
    """Bring the database to the newest schema; returns whether anything had to be done.

    Raises:
        StartupError: it was written by a newer pullgate, or is older and changing it is not allowed.
    """
    async with engine.connect() as connection:
        version = await connection.run_sync(_version)
    if version == SCHEMA_VERSION:
        return False
    if not allowed:
        has = f"has schema version {version}" if version else "is empty"
        raise StartupError(f"the database {has}, and {SCHEMA_VERSION} is needed: start once with --migrate")
    async with engine.connect() as connection:
        await connection.execution_options(pullgate_writes=True)
        async with connection.begin():
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
        raise StartupError(
            f"the database has schema version {version}, which this pullgate does not know: "
            "it was written by a newer one; start that one, or point --database elsewhere"
        )
    command.upgrade(config, "head")
