"""What category sources have said, in the relational database."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from pullgate_policy import Category, CommunityClass
from pullgate_server.stores.category_knowledge import Remembered, RememberedNamespace
from pullgate_server.stores.schema import category_changes, category_knowledge
from pullgate_server.stores.transactions import SqlTransactions, to_the_end


class SqlCategoryKnowledge(SqlTransactions):
    """Implements `CategoryKnowledge` on an engine whose database is up to date, and which somebody else owns."""

    name = "database"

    @to_the_end
    async def get(self, source: str, namespace: str) -> Remembered | None:
        """What is remembered."""
        async with self.transaction() as connection:
            row = await _row(connection, source, namespace)
            return None if row is None else _remembered(row)

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
            row = await _row(connection, source, namespace)
            if row is None:
                await connection.execute(insert(table).values(source=source, namespace=namespace, change=0, **values))
                return
            former = _remembered(row)
            if former.checked_at < remembered.checked_at:
                new = row.change if former.says_the_same_as(remembered) else await _next_change(connection)
                await connection.execute(update(table).where(its).values(change=new, **values))

    @to_the_end
    async def changes(self, since: int, limit: int) -> tuple[int, Sequence[RememberedNamespace]]:
        """What has changed."""
        table = category_knowledge
        async with self.transaction() as connection:
            statement = select(table).where(table.c.change > since).order_by(table.c.change).limit(limit)
            rows = (await connection.execute(statement)).all()
        return rows[-1].change if rows else since, [_namespace(row) for row in rows]

    @to_the_end
    async def newest_change(self) -> int:
        """The number of the newest change."""
        async with self.transaction() as connection:
            return int(await connection.scalar(select(category_changes.c.newest)) or 0)

    @to_the_end
    async def page(self, source: str, after: str, limit: int) -> Sequence[RememberedNamespace]:
        """What a source said."""
        table = category_knowledge
        statement = select(table).where(table.c.source == source, table.c.namespace > after)
        async with self.transaction() as connection:
            rows = await connection.execute(statement.order_by(table.c.namespace).limit(limit))
            return [_namespace(row) for row in rows]

    @to_the_end
    async def forget(self, checked_before: datetime) -> int:
        """Forget what is old."""
        table = category_knowledge
        async with self.writing, self.transaction(writes=True) as connection:
            forgotten = await connection.execute(delete(table).where(table.c.checked_at < checked_before))
            return int(forgotten.rowcount)

    async def close(self) -> None:
        """Wait until what is under way has come to its end."""
        await self.settle()


async def _next_change(connection: AsyncConnection) -> int:
    statement = update(category_changes).values(newest=category_changes.c.newest + 1)
    return int((await connection.execute(statement.returning(category_changes.c.newest))).scalar_one())


async def _row(connection: AsyncConnection, source: str, namespace: str) -> Row[Any] | None:
    table = category_knowledge
    statement = select(table).where(table.c.source == source, table.c.namespace == namespace)
    return (await connection.execute(statement)).one_or_none()


def _namespace(row: Row[Any]) -> RememberedNamespace:
    return RememberedNamespace(row.source, row.namespace, _remembered(row))


def _remembered(row: Row[Any]) -> Remembered:
    community_class = None if row.community_class is None else CommunityClass[row.community_class]
    return Remembered(Category[row.category], community_class, row.detail, row.checked_at)
