"""What category sources have said, in the relational database."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import Row, delete, insert, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from pullgate_policy import Category, CommunityClass
from pullgate_server.clock import Clock, system_clock
from pullgate_server.errors import StoreUnavailableError
from pullgate_server.stores.category_knowledge import Remembered, RememberedNamespace
from pullgate_server.stores.hints import CATEGORIES, telling
from pullgate_server.stores.schema import category_changes, category_knowledge
from pullgate_server.stores.transactions import SqlTransactions, to_the_end

log = structlog.get_logger()

MAX_READ = 500
"""Namespaces that are read by one statement."""

MAX_FORGOTTEN = 1000
"""Namespaces that are forgotten by one transaction, so that writes in between do not wait for long."""

_Key = tuple[str, str]


class SqlCategoryKnowledge(SqlTransactions):
    """Implements `CategoryKnowledge` on an engine whose database is up to date, and which somebody else owns.

    Who asks while others are answered is answered together with everybody who waits: however many ask, one connection
    reads.

    Args:
        writing: the lock of others who write to the same database from this process.
    """

    name = "database"

    def __init__(
        self, engine: AsyncEngine, clock: Clock = system_clock, *, writing: asyncio.Lock | None = None
    ) -> None:
        super().__init__(engine)
        self.writing = writing or self.writing
        self._clock = clock
        self._asked: dict[_Key, asyncio.Future[Remembered | None]] = {}
        self._reader: asyncio.Task[None] | None = None

    async def get(self, source: str, namespace: str) -> Remembered | None:
        """What is remembered."""
        key = (source, namespace)
        answer = self._asked.get(key)
        if answer is None:
            answer = self._asked[key] = asyncio.get_running_loop().create_future()
        if self._reader is None or self._reader.done():
            self._reader = asyncio.ensure_future(self._answer_all())
        # Others may wait for the same answer.
        return await asyncio.shield(answer)

    @to_the_end
    async def put(self, source: str, namespace: str, remembered: Remembered, lifetime: float) -> None:  # noqa: ARG002 - `forget` has its own
        """Remember it."""
        table = category_knowledge
        its = (table.c.source == source) & (table.c.namespace == namespace)
        values = {
            "category": remembered.category.name,
            "community_class": remembered.community_class and remembered.community_class.name,
            "detail": remembered.detail,
            "checked_at": remembered.checked_at,
        }
        async with self.writing, self.transaction(writes=True) as connection:
            # The one row, locked, puts changes in commit order: who has read up to one has missed none before it.
            await connection.execute(update(category_changes).values(newest=category_changes.c.newest))
            row = (await connection.execute(select(table).where(its))).one_or_none()
            if row is None:
                change = await _next_change(connection)
                await connection.execute(
                    insert(table).values(source=source, namespace=namespace, change=change, **values)
                )
                return
            former = _remembered(row)
            if former is None or remembered.goes_before(former, self._clock()):
                same = former is not None and former.says_the_same_as(remembered)
                change = row.change if same else await _next_change(connection)
                await connection.execute(update(table).where(its).values(change=change, **values))

    @to_the_end
    async def changes(self, since: int, limit: int) -> tuple[int, Sequence[RememberedNamespace]]:
        """What is new."""
        table = category_knowledge
        async with self.transaction() as connection:
            statement = select(table).where(table.c.change > since).order_by(table.c.change).limit(limit)
            rows = (await connection.execute(statement)).all()
        return rows[-1].change if rows else since, _namespaces(rows)

    @to_the_end
    async def newest_change(self) -> int:
        """The number of the newest change."""
        async with self.transaction() as connection:
            return int(await connection.scalar(select(category_changes.c.newest)) or 0)

    @to_the_end
    async def page(self, source: str, after: str, limit: int) -> tuple[Sequence[RememberedNamespace], str]:
        """What a source said."""
        table = category_knowledge
        statement = select(table).where(table.c.source == source, table.c.namespace > after)
        async with self.transaction() as connection:
            rows = (await connection.execute(statement.order_by(table.c.namespace).limit(limit))).all()
        return _namespaces(rows), rows[-1].namespace if len(rows) == limit else ""

    async def forget(self, checked_before: datetime) -> int:
        """Forget what is old, so many at a time."""
        forgotten = 0
        while True:
            some = await self._forget_some(checked_before)
            forgotten += some
            if some < MAX_FORGOTTEN:
                return forgotten

    async def close(self) -> None:
        """Wait until what is under way has come to its end."""
        await self.settle()
        if self._reader is not None:
            self._reader.cancel()
        self._leave_unanswered(self._asked)

    async def _answer_all(self) -> None:
        """Answer who asks, until nobody does."""
        while self._asked:
            keys = list(self._asked)[:MAX_READ]
            asked = {key: self._asked.pop(key) for key in keys}
            try:
                found = await self._read(keys)
                for key, answer in asked.items():
                    answer.set_result(found.get(key))
            except Exception as error:  # noqa: BLE001 - is raised where it was asked
                self._leave_unanswered(asked, error)
            finally:
                self._leave_unanswered(asked)

    def _leave_unanswered(
        self, asked: Mapping[_Key, "asyncio.Future[Remembered | None]"], error: Exception | None = None
    ) -> None:
        """Raise an error where something was asked that has no answer yet."""
        for answer in asked.values():
            if not answer.done():
                answer.set_exception(error or StoreUnavailableError())
                # Those who asked may have gone.
                answer.exception()

    @to_the_end
    async def _read(self, keys: Sequence[_Key]) -> Mapping[_Key, Remembered | None]:
        table = category_knowledge
        statement = select(table).where(tuple_(table.c.source, table.c.namespace).in_(keys))
        async with self.transaction() as connection:
            return {(row.source, row.namespace): _remembered(row) for row in await connection.execute(statement)}

    @to_the_end
    async def _forget_some(self, checked_before: datetime) -> int:
        table = category_knowledge
        key = tuple_(table.c.source, table.c.namespace)
        async with self.writing, self.transaction(writes=True) as connection:
            old = select(table.c.source, table.c.namespace).where(table.c.checked_at < checked_before)
            keys = [tuple(row) for row in await connection.execute(old.limit(MAX_FORGOTTEN))]
            if keys:
                await connection.execute(delete(table).where(key.in_(keys)))
            return len(keys)


async def _next_change(connection: AsyncConnection) -> int:
    newest = category_changes.c.newest
    statement = update(category_changes).values(newest=newest + 1)
    taken = await connection.execute(statement.returning(newest, *telling(connection, CATEGORIES, newest)))
    return int(taken.scalar_one())


def _namespaces(rows: Iterable[Row[Any]]) -> Sequence[RememberedNamespace]:
    found = [(row, _remembered(row)) for row in rows]
    return [
        RememberedNamespace(row.source, row.namespace, remembered)
        for row, remembered in found
        if remembered is not None
    ]


def _remembered(row: Row[Any]) -> Remembered | None:
    """What a row says; None for what only a newer pullgate understands."""
    try:
        community_class = None if row.community_class is None else CommunityClass[row.community_class]
        return Remembered(Category[row.category], community_class, row.detail, row.checked_at)
    except KeyError as error:
        log.warning("a remembered category cannot be read", namespace=row.namespace, problem=repr(error))
        return None
