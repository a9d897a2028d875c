"""The store in a relational database, through SQLAlchemy: SQLite in a file."""

import errno
import json
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, delete, event, insert, select, update
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from pullgate_policy import Category, CommunityClass, Policy, parse_policy, policy_data
from pullgate_policy.pins import CategoryPin
from pullgate_policy.stored_policy import StoredPolicy
from pullgate_server.callers import Caller, CallerRole, StoredToken
from pullgate_server.errors import CategoryPinNotFoundError, RevisionStaleError, StoreUnavailableError
from pullgate_server.stores import schema
from pullgate_server.stores.port import StoreContents

_WRITES = "pullgate_writes"
"""Execution option of a connection whose transactions write."""

_BUSY_TIMEOUT_SECONDS = 5


class SqlStore:
    """Implements `Store` on an engine whose database is up to date. Owns the engine from then on."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def read(self, since: int) -> StoreContents:
        """The policies written after `since`, and all pins, in one transaction."""
        async with self._transaction() as connection:
            revision = await _current_revision(connection)
            policies = await connection.execute(
                select(schema.policies).where(schema.policies.c.revision > since).order_by(schema.policies.c.revision)
            )
            pins = await connection.execute(select(schema.category_pins).order_by(schema.category_pins.c.name))
            return StoreContents(
                revision=revision,
                policies=[_stored_policy(row) for row in policies],
                pins=[_pin(row) for row in pins],
            )

    async def revision(self) -> int:
        """The revision of the newest write."""
        async with self._transaction() as connection:
            return await _current_revision(connection)

    async def put_policy(
        self, policy: Policy, *, expected_revision: int | None, author: str, comment: str, now: datetime
    ) -> StoredPolicy:
        """Write a policy as a new revision."""
        async with self._transaction(writes=True) as connection:
            revision = await _next_revision(connection)
            table = schema.policies
            current = await connection.scalar(
                select(table.c.revision).where(table.c.organization == policy.organization)
            )
            if expected_revision is not None and expected_revision != (current or 0):
                raise RevisionStaleError(policy.organization, expected_revision, current or 0)
            values: dict[str, Any] = {
                "revision": revision,
                "document": json.dumps(policy_data(policy), separators=(",", ":")),
                "author": author,
                "comment": comment,
                "written_at": now,
            }
            if current is None:
                await connection.execute(insert(table).values(organization=policy.organization, **values))
            else:
                await connection.execute(
                    update(table).where(table.c.organization == policy.organization).values(**values)
                )
            await connection.execute(insert(schema.changes).values(kind="policy", name=policy.organization, **values))
        return StoredPolicy(policy=policy, revision=revision, author=author, written_at=now, comment=comment)

    async def put_pin(self, pin: CategoryPin) -> int:
        """Set a pin."""
        async with self._transaction(writes=True) as connection:
            revision = await _next_revision(connection)
            words = {
                "category": pin.category.name,
                "community_class": None if pin.community_class is None else pin.community_class.name,
                "reason": pin.reason,
            }
            signed = {"author": pin.author, "written_at": pin.written_at}
            await connection.execute(delete(schema.category_pins).where(schema.category_pins.c.name == pin.name))
            await connection.execute(insert(schema.category_pins).values(name=pin.name, **words, **signed))
            await connection.execute(
                insert(schema.changes).values(
                    revision=revision,
                    kind="category_pin",
                    name=pin.name,
                    document=json.dumps(words),
                    comment=pin.reason,
                    **signed,
                )
            )
        return revision

    async def delete_pin(self, name: str, *, author: str, now: datetime) -> int:
        """Take a pin back."""
        async with self._transaction(writes=True) as connection:
            revision = await _next_revision(connection)
            gone = await connection.execute(delete(schema.category_pins).where(schema.category_pins.c.name == name))
            if gone.rowcount == 0:
                raise CategoryPinNotFoundError(name)
            await connection.execute(
                insert(schema.changes).values(
                    revision=revision,
                    kind="category_pin",
                    name=name,
                    document=None,
                    author=author,
                    comment="",
                    written_at=now,
                )
            )
        return revision

    async def tokens(self) -> Sequence[StoredToken]:
        """All tokens."""
        async with self._transaction() as connection:
            rows = await connection.execute(select(schema.tokens))
            return [
                StoredToken(
                    token_hash=row.token_hash,
                    caller=Caller(id=row.token_hash, name=row.name, role=CallerRole(row.role)),
                    created_at=row.created_at,
                )
                for row in rows
            ]

    async def add_token(self, token: StoredToken) -> None:
        """Keep a token."""
        async with self._transaction(writes=True) as connection:
            await connection.execute(
                insert(schema.tokens).values(
                    token_hash=token.token_hash,
                    name=token.caller.name,
                    role=token.caller.role.value,
                    created_at=token.created_at,
                )
            )

    async def close(self) -> None:
        """Close all connections."""
        await self._engine.dispose()

    @asynccontextmanager
    async def _transaction(self, *, writes: bool = False) -> AsyncIterator[AsyncConnection]:
        try:
            async with self._engine.connect() as connection:
                await connection.execution_options(**{_WRITES: writes})
                async with connection.begin():
                    yield connection
        except (DBAPIError, OSError) as error:
            raise StoreUnavailableError from error


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


async def _current_revision(connection: AsyncConnection) -> int:
    return int(await connection.scalar(select(schema.store.c.revision)) or 0)


async def _next_revision(connection: AsyncConnection) -> int:
    """Take the next revision; the row stays locked until the transaction ends."""
    statement = update(schema.store).values(revision=schema.store.c.revision + 1).returning(schema.store.c.revision)
    return int((await connection.execute(statement)).scalar_one())


def _stored_policy(row: Row[Any]) -> StoredPolicy:
    return StoredPolicy(
        policy=parse_policy(json.loads(row.document)),
        revision=row.revision,
        author=row.author,
        written_at=row.written_at,
        comment=row.comment,
    )


def _pin(row: Row[Any]) -> CategoryPin:
    return CategoryPin(
        name=row.name,
        category=Category[row.category],
        community_class=None if row.community_class is None else CommunityClass[row.community_class],
        reason=row.reason,
        author=row.author,
        written_at=row.written_at,
    )
