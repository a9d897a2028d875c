"""Databases: how each is reached, and what a transaction is there. SQLite in a file, and PostgreSQL through asyncpg.

A transaction that writes runs after those before it: SQLite's takes the file's write lock as it begins, and on
PostgreSQL every write takes the one row of the table `store` first, which is locked until the commit. A transaction
that reads sees one state of the database.
"""

import errno
import os
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from pullgate_server.errors import StartupError

_WRITES = "pullgate_writes"
"""Execution option of an SQLite connection whose transactions write."""

_BUSY_TIMEOUT_SECONDS = 5
_CONNECT_TIMEOUT_SECONDS = 5
_STATEMENT_TIMEOUT_SECONDS = 10
_URL_PARAMETERS = {"ssl", "prepared_statement_cache_size"}
_POOL_SIZE = 5
_POOL_RECYCLE_SECONDS = 1800


def open_engine(database: str, default: Path, *, patient: bool = False) -> AsyncEngine:
    """The engine for a database URL, or for an SQLite file at `default` where the URL is empty.

    Args:
        patient: let statements take as long as they take, as migrations do.

    Raises:
        StartupError: the URL is of no database that is supported.
        OSError: the SQLite file cannot be used.
    """
    if not database:
        return sqlite_engine(default)
    try:
        url = make_url(database)
    except ArgumentError:
        raise StartupError(f"--database is not a URL; write {_SUPPORTED}") from None
    if url.drivername in {"postgresql", "postgres", "postgresql+asyncpg"}:
        return postgresql_engine(url, patient=patient)
    if url.get_backend_name() == "sqlite" and url.database and url.database != ":memory:":
        return sqlite_engine(Path(url.database))
    raise StartupError(f"--database {url.render_as_string(hide_password=True)} is not supported; write {_SUPPORTED}")


def shown_database(database: str) -> str:
    """A database's URL without its password."""
    return make_url(database).render_as_string(hide_password=True) if database else ""


_SUPPORTED = "sqlite:///PATH or postgresql+asyncpg://USER:PASSWORD@HOST:PORT/NAME"


def transaction_options(engine: AsyncEngine, *, writes: bool) -> dict[str, Any]:
    """The execution options under which a connection's transaction is what this module says."""
    if engine.dialect.name == "sqlite":
        return {_WRITES: writes}
    if writes:
        return {"isolation_level": "READ COMMITTED"}
    return {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}


def postgresql_engine(url: URL, *, patient: bool = False) -> AsyncEngine:
    """An engine on a PostgreSQL database. Connections are made when they are needed, and looked at before use.

    Raises:
        StartupError: the URL has a parameter that is not known here.
    """
    query = dict(url.query)
    if "sslmode" in query:
        # libpq's name, which most people's URLs have; the driver's is another.
        query["ssl"] = query.pop("sslmode")
    if unknown := sorted(query.keys() - _URL_PARAMETERS):
        raise StartupError(
            f"--database has {unknown[0]} among its parameters; known here: sslmode, prepared_statement_cache_size"
        )
    return create_async_engine(
        url.set(drivername="postgresql+asyncpg", query=query),
        pool_size=_POOL_SIZE,
        pool_timeout=_CONNECT_TIMEOUT_SECONDS,
        pool_recycle=_POOL_RECYCLE_SECONDS,
        pool_pre_ping=True,
        connect_args={
            "timeout": _CONNECT_TIMEOUT_SECONDS,
            "command_timeout": None if patient else _STATEMENT_TIMEOUT_SECONDS,
            "server_settings": {"application_name": "pullgate"},
        },
    )


def sqlite_engine(path: Path) -> AsyncEngine:
    """An engine on an SQLite file, which is created empty, for its owner alone, if it is not there.

    Once it is open a file that vanishes is an error: without that, SQLite would begin a new, empty one, and every
    organization would be without a policy.
    """
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    url = URL.create("sqlite+aiosqlite", database=path.absolute().as_uri(), query={"mode": "rw", "uri": "true"})
    engine = create_async_engine(url, poolclass=NullPool, connect_args={"timeout": _BUSY_TIMEOUT_SECONDS})

    def refuse_if_gone(*_connecting: object) -> None:
        # The driver would refuse too (mode=rw), but from a thread that outlives the refusal.
        if not path.exists():
            raise FileNotFoundError(errno.ENOENT, "the database file is gone", str(path))

    event.listen(engine.sync_engine, "do_connect", refuse_if_gone)
    event.listen(engine.sync_engine, "connect", _leave_transactions_to_us)
    event.listen(engine.sync_engine, "begin", _begin)
    return engine


def _leave_transactions_to_us(dbapi_connection: Any, _record: object) -> None:
    # The driver would begin a transaction only at the first write, after what was read could have changed.
    dbapi_connection.isolation_level = None


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
