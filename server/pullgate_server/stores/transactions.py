"""Transactions that come to their end, and errors in the service's own words: what all that is kept by SQL rests on."""

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, NotSupportedError, ProgrammingError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from pullgate_server.errors import OutcomeUnknownError, StoreUnavailableError
from pullgate_server.stores.engines import transaction_options

_DEFECTS = (DataError, IntegrityError, NotSupportedError, ProgrammingError)
"""What a database says about a statement that is wrong, which trying again would not mend."""

CLOSING_SECONDS = 3.0
"""How long to wait, at the end, for transactions that are under way, and then for connections to close."""

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Owner = TypeVar("Owner", bound="SqlTransactions")


def to_the_end(
    method: "Callable[Concatenate[Owner, Arguments], Coroutine[Any, Any, Result]]",
) -> "Callable[Concatenate[Owner, Arguments], Coroutine[Any, Any, Result]]":
    """Let a transaction come to its end though nobody waits for it any more.

    A cancelled one would leave its connection as it is until the garbage collector comes by, and on SQLite an open
    read keeps every write out for as long.
    """

    @functools.wraps(method)
    async def run(owner: Owner, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        task = asyncio.ensure_future(method(owner, *args, **kwargs))
        owner.running.add(task)
        task.add_done_callback(owner.ended)
        return await asyncio.shield(task)

    return run


class SqlTransactions:
    """Transactions on an engine whose database is up to date.

    Attributes:
        engine: what connections come from.
        running: the transactions that have not come to their end.
        writing: held by whoever writes; writes wait for each other in any case, and so they do in turn, and without a
            connection each.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self.running: set[asyncio.Future[Any]] = set()
        self.writing = asyncio.Lock()

    def ended(self, transaction: "asyncio.Future[Any]") -> None:
        """Forget a transaction; what went wrong is for who waits for it, if anybody does."""
        self.running.discard(transaction)
        if not transaction.cancelled():
            transaction.exception()

    async def settle(self) -> None:
        """Wait until what is under way has come to its end."""
        if self.running:
            await asyncio.wait(self.running, timeout=CLOSING_SECONDS)

    async def close(self) -> None:
        """Close all connections, once what is under way has come to its end."""
        await self.settle()
        try:
            async with asyncio.timeout(CLOSING_SECONDS):
                await self.engine.dispose()
        except TimeoutError:
            # A database that does not answer would be said goodbye to one connection after another.
            await self.engine.dispose(close=False)

    @asynccontextmanager
    async def transaction(self, *, writes: bool = False) -> AsyncIterator[AsyncConnection]:
        """A transaction, committed at the end.

        Raises:
            StoreUnavailableError: the database cannot be reached; nothing was written.
            OutcomeUnknownError: it broke off during the commit.
        """
        committing = False
        try:
            async with self.engine.connect() as connection:
                await connection.execution_options(**transaction_options(self.engine, writes=writes))
                async with connection.begin():
                    yield connection
                    committing = writes
        except _DEFECTS:
            raise
        except (DBAPIError, PoolTimeoutError, OSError, TimeoutError) as error:
            raise (OutcomeUnknownError if committing else StoreUnavailableError) from error
        except SQLAlchemyError as error:
            if not committing:
                raise
            raise OutcomeUnknownError from error
