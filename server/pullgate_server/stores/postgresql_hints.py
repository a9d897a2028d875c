"""Hints through PostgreSQL's NOTIFY: sent by the transactions that write, heard by a connection that listens."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import asyncpg
import structlog
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from pullgate_server.stores.hints import CATEGORIES, CHANNEL, REVISION, Hint

log = structlog.get_logger()

APPLICATION_NAME = "pullgate-listening"
"""What the connection that listens is called in pg_stat_activity."""

CONNECT_SECONDS = 5.0
ECHO_SECONDS = 5.0
"""How long one's own voice may take."""

ALIVE_SECONDS = 15.0
"""How often the connection is tried. One that is dead without a word would be silent like one with nothing to say."""

FIRST_WAIT, LONGEST_WAIT = 0.2, 60.0
"""Seconds until the next attempt to listen, at most."""


class _DeafError(Exception):
    """What was said was not heard."""


_TROUBLE = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, SQLAlchemyError, _DeafError)


class PostgresqlHints:
    """Implements `Hints` with a connection of its own, made anew whenever it is lost.

    Args:
        engine: of the database; its connections are used to try whether the listening one hears.
        own_revisions: what this process writes itself, which is no news to it.
    """

    def __init__(self, engine: AsyncEngine, random: Random, own_revisions: Collection[int] = ()) -> None:
        self._engine = engine
        self._own_revisions = own_revisions
        self._random = random
        self._is_deaf = False

    async def run(self, on_revision: Hint, on_categories: Hint) -> None:
        """Listen, and after every pause look once, as what was said meanwhile was not heard."""
        hints = {REVISION: on_revision, CATEGORIES: on_categories}
        attempts = 0
        while True:
            try:
                async with self._connection() as connection:
                    closed = asyncio.Event()
                    connection.add_termination_listener(lambda _, closed=closed: closed.set())
                    await self._listen(connection, hints)
                    attempts = 0
                    for hint in hints.values():
                        hint()
                    await self._stay(connection, closed)
            except _TROUBLE as error:
                self._note(error)
            # All servers lose their connections in the same moment.
            await asyncio.sleep(self._random.uniform(0, min(LONGEST_WAIT, FIRST_WAIT * 2**attempts)))
            attempts += 1

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Any]:
        _, arguments = self._engine.dialect.create_connect_args(self._engine.url)
        # SQLAlchemy's, which the driver does not know; its own is 0 because poolers may lose what was prepared.
        arguments.pop("prepared_statement_cache_size", None)
        connection = await asyncpg.connect(
            **arguments,
            timeout=CONNECT_SECONDS,
            command_timeout=CONNECT_SECONDS,
            statement_cache_size=0,
            server_settings={"application_name": APPLICATION_NAME},
        )
        try:
            yield connection
        finally:
            connection.terminate()

    async def _listen(self, connection: Any, hints: dict[str, Hint]) -> None:
        """Listen, and make sure that it hears; raises _DeafError.

        Behind a pooler that gives each transaction another connection, LISTEN is accepted, and nothing ever arrives.
        """
        echo = f"echo {self._random.getrandbits(64):016x}"
        heard = asyncio.Event()

        def hear(_connection: object, _process: int, _channel: str, said: str) -> None:
            subject, _, number = said.partition(" ")
            if said == echo:
                heard.set()
            elif subject == REVISION and number.isdecimal() and int(number) in self._own_revisions:
                return
            elif hint := hints.get(subject):
                hint()

        await connection.add_listener(CHANNEL, hear)
        async with self._engine.begin() as other:
            await other.execute(select(func.pg_notify(CHANNEL, echo)))
        try:
            await asyncio.wait_for(heard.wait(), ECHO_SECONDS)
        except TimeoutError as error:
            raise _DeafError("NOTIFY does not arrive: is there a pooler of transactions in between?") from error
        if self._is_deaf:
            log.info("other servers' writes are heard of again")
        self._is_deaf = False

    async def _stay(self, connection: Any, closed: asyncio.Event) -> None:
        """Keep the connection until it is lost; raises what shows that it is."""
        while True:
            try:
                await asyncio.wait_for(closed.wait(), ALIVE_SECONDS)
            except TimeoutError:
                await connection.execute("SELECT 1")
            else:
                raise ConnectionResetError("the database closed the connection")

    def _note(self, error: Exception) -> None:
        if not self._is_deaf:
            log.warning(
                "other servers' writes are not heard of, and are seen by polling",
                cause=str(error) or type(error).__name__,
            )
        self._is_deaf = True
