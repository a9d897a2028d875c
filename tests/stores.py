"""Stores of every kind for tests, and writes in few words."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pullgate_policy import Policy
from pullgate_policy.pins import CategoryPin
from pullgate_policy.stored_policy import StoredPolicy
from pullgate_server.errors import RevisionStaleError
from pullgate_server.stores.documents import policy_of_event
from pullgate_server.stores.engines import open_engine
from pullgate_server.stores.memory import MemoryStore
from pullgate_server.stores.migration import bring_up_to_date
from pullgate_server.stores.port import Authorship, Store
from pullgate_server.stores.sql import SqlStore
from tests.postgresql import PostgresqlServer

NOW = datetime(2026, 6, 1, 12, 30, 15, 123456, tzinfo=UTC)

KINDS = ("memory", "sqlite", "postgresql")
"""Every implementation of the store port."""


@asynccontextmanager
async def open_store(kind: str, folder: Path, postgresql: PostgresqlServer) -> AsyncIterator[Store]:
    """An empty store."""
    database = await postgresql.new_database() if kind == "postgresql" else ""
    async with store_at(kind, folder, database) as store:
        yield store


@asynccontextmanager
async def store_at(kind: str, folder: Path, database: str) -> AsyncIterator[Store]:
    """The store in a database that may hold something already."""
    if kind == "memory":
        yield MemoryStore()
        return
    engine = open_engine(database, folder / "pullgate.db")
    await bring_up_to_date(engine, allowed=True)
    store = SqlStore(engine)
    try:
        yield store
    finally:
        await store.close()


def by_ada(**fields: Any) -> Authorship:
    """A write by ada."""
    return Authorship(
        **{"author": "ada", "caller_id": "tok_ada", "origin": "ipv4:127.0.0.1:1", "written_at": NOW, **fields}
    )


async def put_policy(store: Store, policy: Policy, *, expected: int | None = None, **fields: Any) -> StoredPolicy:
    """Write a policy."""

    def change(current: StoredPolicy | None) -> Policy:
        revision = current.revision if current else 0
        if expected is not None and expected != revision:
            raise RevisionStaleError(policy.organization, expected, revision)
        return policy

    written = await store.write_policy(policy.organization, change, by_ada(**{"comment": "why", **fields}))
    return policy_of_event(written.event)


async def put_pin(store: Store, pin: CategoryPin) -> int:
    """Set a pin; returns the revision."""
    authorship = by_ada(author=pin.author)
    return (await store.write_pin(pin.organization, pin.name, lambda _: pin, authorship)).event.revision
