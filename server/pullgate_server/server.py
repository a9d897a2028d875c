"""Runs what serves from a database: makes it ready, listens, and stops when told to."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from enum import Enum
from pathlib import Path

import structlog
from sqlalchemy.exc import SQLAlchemyError

from pullgate_server.composition import (
    World,
    compose,
    data_directory,
    ensure_operator_token,
    open_hints,
    open_secrets,
    open_store,
)
from pullgate_server.configuration import Configuration
from pullgate_server.errors import RetryableError, StartupError
from pullgate_server.listening import RunningServer, Stopping
from pullgate_server.stores.sql import SqlStore
from pullgate_server.stores.sql_category_knowledge import SqlCategoryKnowledge
from pullgate_server.stores.sql_subscribers import SqlSubscriberList
from pullgate_server.token_secrets import SecretHasher

log = structlog.get_logger()

COLLECTION_THRESHOLDS = (10_000, 20, 20)
"""How much is made before young, older and old objects are looked through for garbage."""


class Order(Enum):
    """What a process is told that shares a port with others."""

    STOP = "stop"
    """Finish what is open, and end."""
    HURRY = "hurry"
    """End open calls now."""


async def run(
    configuration: Configuration,
    world: World,
    announce: Callable[[str, Path], None],
    orders: AsyncIterator[Order] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT; a second one ends open calls at once.

    Args:
        announce: told the address and the data directory once calls are answered.
        orders: of the parent, to one of several processes that share a port. It has made ready what they all use.

    Raises:
        StartupError: it cannot start; says what to change.
    """
    async with _opened(configuration, world, is_first=orders is None) as (directory, store, hasher):
        knowledge = SqlCategoryKnowledge(store.engine, world.clock, writing=store.writing)
        hints = open_hints(configuration, store, world)
        try:
            subscribers = SqlSubscriberList(store.engine, writing=store.writing)
            async with compose(
                configuration, directory, store, knowledge, hasher, world, hints, subscribers
            ) as application:
                server = RunningServer(application, configuration, shares_port=orders is not None)
                await server.start()
                _collect_rarely()
                stopping = Stopping(server)
                stopping.follow_signals()
                following = None if orders is None else asyncio.ensure_future(_follow(orders, stopping))
                where = {"metrics": server.metrics_address} if server.metrics_address else {}
                log.info("serving", address=server.address, revision=application.snapshots.current.revision, **where)
                announce(server.address, directory)
                await stopping.asked.wait()
                log.info("stopping")
                await server.stop()
                if following is not None:
                    following.cancel()
        finally:
            await knowledge.close()
    log.info("stopped")


def _collect_rarely() -> None:
    """Have the garbage collector leave alone what stays for good, and look at the rest less often.

    A full collection holds up every answer, with a thousand subscribers for more than a tenth of a second; what it is
    there for, objects that refer to each other, is rare here.
    """
    gc.freeze()
    gc.set_threshold(*COLLECTION_THRESHOLDS)


async def prepare(configuration: Configuration, world: World) -> Path:
    """Make ready what servers use together: the database, the key and the operator token; raises StartupError.

    Returns:
        The data directory.
    """
    async with _opened(configuration, world) as (directory, _, _):
        return directory


@asynccontextmanager
async def _opened(
    configuration: Configuration, world: World, *, is_first: bool = True
) -> AsyncIterator[tuple[Path, SqlStore, SecretHasher]]:
    directory = data_directory(configuration)
    store = await open_store(configuration, directory)
    try:
        try:
            hasher = await open_secrets(configuration, store, directory, world)
            if is_first:
                await ensure_operator_token(store, hasher, directory, world)
        except OSError as error:
            raise StartupError(f"the data directory {directory} cannot be written ({error.strerror})") from error
        except (RetryableError, SQLAlchemyError) as error:
            raise StartupError(f"the database cannot be used ({error.__cause__}); see --database") from error
        yield directory, store, hasher
    finally:
        await store.close()


async def _follow(orders: AsyncIterator[Order], stopping: Stopping) -> None:
    """Do what is ordered. Who got a signal too is not hurried by being told to stop besides."""
    async for order in orders:
        stopping.asked.set()
        if order is Order.HURRY:
            stopping.hurry()
