"""The list of subscribers in the relational database."""

import asyncio
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Row, delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from pullgate_server.stores.schema import subscriber_servers, subscribers
from pullgate_server.stores.subscribers import FORGOTTEN_AFTER, SubscriberRecord, merged
from pullgate_server.stores.transactions import SqlTransactions, to_the_end

MAX_READ = 500
"""Records that are read by one statement."""

Item = TypeVar("Item")


class SqlSubscriberList(SqlTransactions):
    """Implements `SubscriberList` on an engine whose database is up to date, and which somebody else owns.

    Args:
        writing: the lock of others who write to the same database from this process.
    """

    def __init__(self, engine: AsyncEngine, *, writing: asyncio.Lock | None = None) -> None:
        super().__init__(engine)
        self.writing = writing or self.writing

    @to_the_end
    async def keep(
        self, server: str, now: datetime, records: Sequence[SubscriberRecord], gone: Collection[str]
    ) -> None:
        """Note that a server is there, and what it knows newer."""
        table, servers = subscribers, subscriber_servers
        async with self.writing, self.transaction(writes=True) as connection:
            await connection.execute(delete(servers).where(servers.c.server == server))
            await connection.execute(insert(servers).values(server=server, seen_at=now))
            await connection.execute(delete(servers).where(servers.c.seen_at <= now - FORGOTTEN_AFTER))
            await connection.execute(delete(table).where(table.c.server.not_in(select(servers.c.server))))
            for part in _parts(records):
                kept = merged(server, part, await _read(connection, [record.id for record in part]))
                await connection.execute(delete(table).where(table.c.id.in_(sorted(kept))))
                if kept:
                    await connection.execute(insert(table), list(map(_values, kept.values())))
            for names in _parts(sorted(gone)):
                await connection.execute(delete(table).where(table.c.id.in_(names)))

    @to_the_end
    async def find(self, subscription_ids: Collection[str]) -> Mapping[str, SubscriberRecord]:
        """What is kept of subscriptions."""
        found: dict[str, SubscriberRecord] = {}
        async with self.transaction() as connection:
            for names in _parts(sorted(subscription_ids)):
                found |= await _read(connection, names)
        return found

    @to_the_end
    async def all(self, organization: str | None, now: datetime) -> Sequence[SubscriberRecord]:
        """Those of an organization, or all."""
        servers = subscriber_servers
        seen = select(servers.c.server).where(servers.c.seen_at > now - FORGOTTEN_AFTER)
        statement = select(subscribers).where(subscribers.c.server.in_(seen))
        if organization is not None:
            statement = statement.where(subscribers.c.organization == organization)
        async with self.transaction() as connection:
            records = [_record(row) for row in await connection.execute(statement)]
        return sorted(records, key=lambda item: (item.name, item.id))


def _parts(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """As many at a time as one statement has to do with."""
    return (items[begin : begin + MAX_READ] for begin in range(0, len(items), MAX_READ))


async def _read(connection: AsyncConnection, names: Sequence[str]) -> dict[str, SubscriberRecord]:
    rows = await connection.execute(select(subscribers).where(subscribers.c.id.in_(names)))
    return {row.id: _record(row) for row in rows}


def _values(record: SubscriberRecord) -> dict[str, Any]:
    values = {field.name: getattr(record, field.name) for field in fields(record)}
    return {**values, "watched": json.dumps(record.watched)}


def _record(row: Row[Any]) -> SubscriberRecord:
    values = {field.name: getattr(row, field.name) for field in fields(SubscriberRecord)}
    return SubscriberRecord(**{**values, "watched": tuple(json.loads(row.watched))})
