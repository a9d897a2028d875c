"""The composition root: the one place where the parts are chosen and put together."""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import grpc
import structlog
from aiocache import SimpleMemoryCache
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from pullgate.local import OPERATOR_TOKEN_FILE, default_data_directory
from pullgate.v1 import policy_admin_pb2, policy_decision_pb2
from pullgate_policy import InvalidCatalogueError
from pullgate_server.administration import Administration
from pullgate_server.callers import Authenticator, Caller, CallerRole, StoredToken, new_token, token_hash
from pullgate_server.categories.cache import CategoryCache
from pullgate_server.categories.catalogue import Catalogue, starter_catalogue
from pullgate_server.categories.catalogue_file import CatalogueFile
from pullgate_server.clock import Clock, system_clock
from pullgate_server.configuration import Configuration
from pullgate_server.deciding import Decider, DecisionIds
from pullgate_server.errors import StartupError, StoreUnavailableError
from pullgate_server.rpc.gate import Gate
from pullgate_server.rpc.health import HealthService
from pullgate_server.rpc.policy_admin import PolicyAdminService
from pullgate_server.rpc.policy_decision import PolicyDecisionService
from pullgate_server.rpc.prepared import ReadyAnswers
from pullgate_server.rpc.reflection import ReflectionService, reflection_services
from pullgate_server.snapshot import SnapshotKeeper
from pullgate_server.stores.migration import bring_up_to_date
from pullgate_server.stores.port import Store
from pullgate_server.stores.schema import SCHEMA_VERSION
from pullgate_server.stores.sql import SqlStore, sqlite_engine

log = structlog.get_logger()

CATALOGUE_POLL_SECONDS = 0.1

SERVICES = (
    policy_decision_pb2.DESCRIPTOR.services_by_name["PolicyDecisionService"],
    policy_admin_pb2.DESCRIPTOR.services_by_name["PolicyAdminService"],
)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What the parts take from outside: time and randomness."""

    clock: Clock = system_clock
    random_bytes: Callable[[int], bytes] = secrets.token_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """The parts that a server registers and runs."""

    handlers: tuple[grpc.GenericRpcHandler, ...]
    health: HealthService
    gate: Gate
    snapshots: SnapshotKeeper
    ready: ReadyAnswers
    background: tuple[Callable[[], Awaitable[None]], ...]
    """Each is called again and again, by `repeat`."""


def data_directory(configuration: Configuration) -> Path:
    """The data directory, created for its owner alone; raises StartupError."""
    path = configuration.data_dir or default_data_directory(os.environ)
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise StartupError(f"the data directory {path} cannot be used ({error.strerror}); see --data-dir") from error
    return path


async def open_store(configuration: Configuration, directory: Path) -> SqlStore:
    """The store that the configuration names, up to date; raises StartupError."""
    path = _sqlite_path(configuration.database) if configuration.database else directory / "pullgate.db"
    try:
        engine = sqlite_engine(path)
        if await bring_up_to_date(engine, allowed=configuration.migrate):
            log.info("database brought up to date", schema=SCHEMA_VERSION)
    except (OSError, SQLAlchemyError) as error:
        cause = error.strerror if isinstance(error, OSError) else str(error.__cause__ or error)
        raise StartupError(f"the database {path} cannot be used ({cause}); see --database") from error
    return SqlStore(engine)


async def ensure_operator_token(store: Store, directory: Path, world: World) -> None:
    """On an empty store, make an operator token and leave it in the data directory, for its owner alone."""
    if await store.tokens():
        return
    token = new_token(world.random_bytes)
    path = directory / OPERATOR_TOKEN_FILE
    temporary = path.with_suffix(".new")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(f"{token}\n")
    hashed = token_hash(token)
    caller = Caller(id=hashed, name="operator", role=CallerRole.OPERATOR)
    # The file first: a start that is cut off in between leaves an empty store, and the next one begins again.
    temporary.replace(path)
    await store.add_token(StoredToken(token_hash=hashed, caller=caller, created_at=world.clock()))
    log.info("operator token created", file=str(path))


@asynccontextmanager
async def compose(
    configuration: Configuration, directory: Path, store: Store, world: World
) -> AsyncIterator[Application]:
    """Put the parts together around a store; raises StartupError. Closes what it opened, and so not the store."""
    async with AsyncExitStack() as closing:
        clock = world.clock
        snapshots = SnapshotKeeper(store, clock)
        try:
            await snapshots.refresh()
            authenticator = Authenticator(await store.tokens())
        except StoreUnavailableError as error:
            raise StartupError(f"the database cannot be read ({error.__cause__}); see --database") from error
        catalogue = Catalogue()
        categories = CategoryCache(
            [catalogue],
            SimpleMemoryCache(),
            known_for=timedelta(seconds=configuration.known_category_ttl),
            unknown_for=timedelta(seconds=configuration.unknown_category_ttl),
            clock=clock,
        )
        closing.push_async_callback(categories.close)
        ready = ReadyAnswers()
        snapshots.call_on_swap(ready.clear)

        async def forget_categories() -> None:
            await categories.forget()
            ready.clear()

        catalogue_file = CatalogueFile(
            configuration.catalogue or directory / "catalogue.yaml",
            catalogue,
            starter_catalogue() if configuration.starter_catalogue else (),
            forget_categories,
        )
        _load_catalogue(configuration, catalogue_file)
        ids = DecisionIds(world.random_bytes)
        decider = Decider(
            snapshots, categories, ids, cacheable_for=timedelta(seconds=configuration.cacheable_for), clock=clock
        )
        gate = Gate(
            authenticator,
            max_open_calls=configuration.max_open_calls,
            max_message_bytes=configuration.max_message_bytes,
            new_error_id=lambda: world.random_bytes(8).hex(),
        )
        health = HealthService(service.full_name for service in SERVICES)
        decision_service, admin_service = SERVICES
        v1, v1alpha = reflection_services()
        decisions = PolicyDecisionService(decider, ready, ids, gate, max_batch=configuration.max_batch, clock=clock)
        names = [*(service.full_name for service in (*SERVICES, v1, v1alpha)), "grpc.health.v1.Health"]
        reflection = ReflectionService(names)

        async def look_at_store() -> None:
            await snapshots.look()
            health.set_serving(snapshots.silence() < timedelta(seconds=configuration.store_grace))

        yield Application(
            handlers=(
                gate.handlers(decision_service, decisions, {"Decide": decisions.decide_again}),
                gate.handlers(admin_service, PolicyAdminService(Administration(store, snapshots, clock), clock)),
                gate.handlers(v1, reflection),
                gate.handlers(v1alpha, reflection),
            ),
            health=health,
            gate=gate,
            snapshots=snapshots,
            ready=ready,
            background=(
                repeat(look_at_store, configuration.store_poll),
                repeat(catalogue_file.look, CATALOGUE_POLL_SECONDS),
            ),
        )


def repeat(action: Callable[[], Awaitable[None]], seconds: float) -> Callable[[], Awaitable[None]]:
    """Something that calls `action` every so many seconds until it is cancelled; a defect in it is logged."""

    async def forever() -> None:
        while True:
            try:
                await action()
            except Exception as error:
                log.error("background task failed", task=getattr(action, "__qualname__", ""), exc_info=error)
            await asyncio.sleep(seconds)

    return forever


def _load_catalogue(configuration: Configuration, catalogue_file: CatalogueFile) -> None:
    if configuration.catalogue is not None and not configuration.catalogue.exists():
        raise StartupError(f"the catalogue {configuration.catalogue} is not there; see --catalogue")
    try:
        catalogue_file.load()
    except (InvalidCatalogueError, OSError) as error:
        raise StartupError(f"the catalogue cannot be used; see --catalogue\n{error}") from error


def _sqlite_path(database: str) -> Path:
    try:
        url = make_url(database)
    except ArgumentError:
        raise StartupError("--database is not a URL such as sqlite:////var/lib/pullgate/pullgate.db") from None
    if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
        shown = url.render_as_string(hide_password=True)
        raise StartupError(f"--database {shown} is not supported; write sqlite:///PATH")
    return Path(url.database)
