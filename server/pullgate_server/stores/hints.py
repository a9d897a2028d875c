"""Hints: how a server hears that another one may have written, sooner than it would have asked by itself.

A hint is only a reason to look now. What is to be seen is asked of the store, and asked regularly without any hint, so
a hint that is lost costs the wait until then, and never an update.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from sqlalchemy import Column, ColumnElement, func
from sqlalchemy.ext.asyncio import AsyncConnection

CHANNEL = "pullgate"
"""PostgreSQL's channel that writes are told on: a subject and a number."""

REVISION = "revision"
CATEGORIES = "categories"

Hint = Callable[[], None]


class Hints(Protocol):
    """Hears of writes to one database, whoever makes them."""

    async def run(self, on_revision: Hint, on_categories: Hint) -> None:
        """Hear until cancelled, and deal with all trouble of hearing by itself.

        Args:
            on_revision: called when there may be a new revision. Both are also called where something may have been
                missed, and may be called for nothing.
            on_categories: called when something new may have been said of categories.
        """
        ...


def telling(connection: AsyncConnection, subject: str, number: Column[int]) -> Sequence[ColumnElement[Any]]:
    """What the statement that takes a write's number returns besides, so that servers that listen hear of the write.

    They do when it is committed, and not otherwise. Said by that statement, and not by one of its own, it costs no
    round trip while others wait for the row.
    """
    if connection.dialect.name != "postgresql":
        return ()
    return (func.pg_notify(CHANNEL, func.concat(f"{subject} ", number)),)
