"""The composition root: the one place where the parts are chosen and put together."""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from random import Random
from urllib.parse import urlsplit
from urllib.request import url2pathname

import grpc
import structlog
from prometheus_client import CollectorRegistry
from sqlalchemy.exc import SQLAlchemyError

from pullgate.envoy.v3 import external_authorization_pb2
from pullgate.local import OPERATOR_TOKEN_FILE, default_data_directory
from pullgate.v1 import policy_admin_pb2, policy_decision_pb2, policy_watch_pb2
from pullgate_policy import InvalidCatalogueError
from pullgate_policy.access_token import AccessToken
from pullgate_policy.answer import DecisionIds
from pullgate_policy.caller import CallerRole
from pullgate_server.administration.categories import CategoryAdministration
from pullgate_server.administration.events import EventLog
from pullgate_server.administration.members import MemberAdministration
from pullgate_server.administration.pins import PinAdministration
from pullgate_server.administration.policies import PolicyAdministration
from pullgate_server.administration.tokens import TokenAdministration
from pullgate_server.authentication import Authenticator
from pullgate_server.categories.catalogue import Catalogue, starter_catalogue
from pullgate_server.categories.catalogue_file import CatalogueFile
from pullgate_server.categories.chain import Categories
from pullgate_server.categories.freshness import Lifetimes
from pullgate_server.categories.memories import BoundedMemoryCache, CachedCategories, redis_categories
from pullgate_server.categories.metrics import CategoryMetrics
from pullgate_server.categories.remembering import RememberedSource
from pullgate_server.certificate_callers import CertificateCallers, read_certificate_callers
from pullgate_server.clock import Clock, system_clock
from pullgate_server.configuration import CategorySourceName, Configuration
from pullgate_server.deciding import Decider
from pullgate_server.dry_run import PolicyTrial
from pullgate_server.errors import StartupError, StoreUnavailableError
from pullgate_server.jwt_issuers import JwtIssuers, read_jwt_issuers
from pullgate_server.repeating import repeat
from pullgate_server.rpc.category_admin import CategoryAdminService
from pullgate_server.rpc.external_authorization import ENVOY_SERVICE, ExternalAuthorizationService
from pullgate_server.rpc.gate import Gate
from pullgate_server.rpc.health import HealthService
from pullgate_server.rpc.people_admin import EventService, MemberAdminService, TokenAdminService
from pullgate_server.rpc.policy_admin import PolicyAdminService
from pullgate_server.rpc.policy_decision import PolicyDecisionService
from pullgate_server.rpc.policy_watch import PolicyWatchService, SubscriberAdminService
from pullgate_server.rpc.prepared import ReadyAnswers
from pullgate_server.rpc.reflection import ReflectionService, reflection_services
from pullgate_server.rpc.subjects import Subjects
from pullgate_server.snapshot import SnapshotKeeper
from pullgate_server.stores.category_knowledge import CategoryKnowledge, CategoryMemory
from pullgate_server.stores.engines import open_engine, shown_database
from pullgate_server.stores.hints import Hints
from pullgate_server.stores.migration import bring_up_to_date
from pullgate_server.stores.port import Authorship, Store, StoredToken, WriteRequest
from pullgate_server.stores.schema import SCHEMA_VERSION
from pullgate_server.stores.sql import SqlStore
from pullgate_server.stores.subscribers import MemorySubscriberList, SubscriberList
from pullgate_server.tls import ServerCertificates
from pullgate_server.token_secrets import KEY_BYTES, SecretHasher, new_secret, new_token_id
from pullgate_server.watching.categories import CategoryFeed
from pullgate_server.watching.hub import Pace, WatchHub
from pullgate_server.watching.metrics import WatchMetrics
from pullgate_server.watching.subscribers import Subscribers

log = structlog.get_logger()

CATALOGUE_POLL_SECONDS = 0.1
CREDENTIAL_POLL_SECONDS = 1.0
FORGET_SECONDS = 3600.0
SUBSCRIBER_SECONDS = 5.0
"""How often it is written down who subscribes."""

CATEGORY_FEED_SECONDS = 0.5
"""The shortest time between two looks at what subscribers were told of categories."""

TOKEN_USE_SECONDS = 30.0
"""How often it is written down which tokens were used."""

TOKEN_KEY_FILE = "token.key"

SERVER = "pullgate serve"
"""The author of what a server writes by itself."""

SERVICES = (
    policy_decision_pb2.DESCRIPTOR.services_by_name["PolicyDecisionService"],
    policy_watch_pb2.DESCRIPTOR.services_by_name["PolicyWatchService"],
    policy_admin_pb2.DESCRIPTOR.services_by_name["PolicyAdminService"],
    external_authorization_pb2.DESCRIPTOR.services_by_name["ExternalAuthorizationService"],
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
    hub: WatchHub
    certificates: ServerCertificates | None
    """What TLS is served with; None without TLS."""
    metrics: CollectorRegistry
    sources: tuple[Catalogue | RememberedSource, ...]
    """Who is asked for categories, in order."""
    background: tuple[Callable[[], Awaitable[None]], ...]
    """Each is called again and again, by `repeat`."""

    @property
    def is_ready(self) -> bool:
        """Always: what it takes was there at start."""
        return True

    async def end_subscriptions(self) -> None:
        """Send subscribers to another server."""
        await self.hub.stop()


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
    default = directory / "pullgate.db"
    try:
        migrating = open_engine(configuration.database, default, patient=True)
        try:
            if await bring_up_to_date(migrating, allowed=configuration.migrate):
                log.info("database brought up to date", schema=SCHEMA_VERSION)
        finally:
            await migrating.dispose()
        return SqlStore(open_engine(configuration.database, default))
    except (OSError, TimeoutError, SQLAlchemyError) as error:
        cause = (error.strerror if isinstance(error, OSError) else "") or str(error.__cause__ or error)
        where = shown_database(configuration.database) or default
        raise StartupError(f"the database {where} cannot be used ({cause}); see --database") from error


def open_hints(configuration: Configuration, store: SqlStore, world: World) -> Hints | None:
    """What tells of other servers' writes to the store's database; None where it is configured away."""
    if not configuration.store_hints:
        return None
    # Imported here because who uses the one database need not wait for the driver of the other.
    if store.engine.dialect.name == "postgresql":
        from pullgate_server.stores.postgresql_hints import PostgresqlHints

        return PostgresqlHints(store.engine, Random(world.random_bytes(16)), store.own_revisions)  # noqa: S311 - for jitter
    from pullgate_server.stores.sqlite_hints import SqliteHints

    hints = SqliteHints(Path(url2pathname(urlsplit(store.engine.url.database or "").path)), store.writing)
    store.on_written = hints.forget
    return hints


async def open_secrets(configuration: Configuration, store: Store, directory: Path, world: World) -> SecretHasher:
    """The hasher with the key that this store's tokens are hashed with, which is made for a store that has none.

    Raises:
        StartupError: the store is bound to another key, or the key's file cannot be read or written.
    """
    path = configuration.token_key_file or directory / TOKEN_KEY_FILE
    try:
        return await _open_secrets(path, store, world)
    except OSError as error:
        raise StartupError(
            f"the token key {path} cannot be read or written ({error.strerror}); see --token-key-file"
        ) from error


async def _open_secrets(path: Path, store: Store, world: World) -> SecretHasher:
    made = path.with_name(f"{path.name}.new")
    # A start that was cut off may have bound the store to a key whose file has not got its name yet.
    found = path if path.exists() else made if made.exists() and _key(made) else None  # noqa: ASYNC240 - at start nobody waits
    if found is None:
        made.unlink(missing_ok=True)
        write_secret(made, world.random_bytes(KEY_BYTES).hex())
    key = _key(found or made)
    if key is None:
        raise StartupError(f"{path} is no token key: it holds {KEY_BYTES} bytes in hexadecimal digits")
    hasher = SecretHasher(key)
    if await store.adopt_token_key(hasher.check, hasher.rehash) != hasher.check:
        if found is None:
            made.unlink()
        is_not = "is another one" if found == path else "is not there"
        raise StartupError(
            f"the key {path} that this database's tokens are hashed with {is_not}: copy {TOKEN_KEY_FILE} from the "
            "data directory of the server that was started on it first, or say --token-key-file"
        )
    if found != path:
        rename(made, path)
        log.info("token key created", file=str(path))
    return hasher


async def ensure_operator_token(store: Store, hasher: SecretHasher, directory: Path, world: World) -> None:
    """Where no operator has a token that is valid, make one and leave it in the data directory, for its owner alone.

    So it is on an empty store, and when the last one has expired: who owns the data directory is never locked out.
    """
    path = directory / OPERATOR_TOKEN_FILE
    made = path.with_name(f"{path.name}.new")
    now, tokens = world.clock(), await store.tokens()
    valid = {item.secret_hash for item in tokens if _is_valid_operator(item, now)}
    if made.exists() and hasher.hash(made.read_text().strip()) in valid:
        # A start was cut off after the token was kept, and before its file had got its name.
        rename(made, path)
        return
    made.unlink(missing_ok=True)
    if valid:
        return
    secret = new_secret(world.random_bytes)
    write_secret(made, secret)
    token = AccessToken(
        id=new_token_id(world.random_bytes),
        name="operator",
        role=CallerRole.OPERATOR,
        created_at=now,
        created_by=SERVER,
    )
    stored = StoredToken(token=token, secret_hash=hasher.hash(secret))
    if not await store.begin(stored) and not await _add_operator(store, stored, now):
        made.unlink()
        return
    rename(made, path)
    log.info("operator token created", file=str(path))


async def _add_operator(store: Store, stored: StoredToken, now: datetime) -> bool:
    """Keep an operator's token on a store without a valid one; False if another server does so at the same moment."""
    revision = await store.revision()
    if any(_is_valid_operator(item, now) for item in await store.tokens()):
        return False
    authorship = Authorship(
        author=SERVER,
        caller_id="",
        origin="",
        written_at=now,
        comment="no operator had a valid token",
        # Servers that start together ask for the same thing once.
        request=WriteRequest(id=f"operator after revision {revision}", digest=""),
    )
    return not (await store.write_token(stored.token.id, lambda _: stored, authorship)).repeated


def _is_valid_operator(stored: StoredToken, now: datetime) -> bool:
    return stored.token.role is CallerRole.OPERATOR and stored.token.is_valid(now)


def write_secret(path: Path, text: str) -> None:
    """Write a file that nobody but its owner can read; raises FileExistsError."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(f"{text}\n")
        file.flush()
        os.fsync(file.fileno())


def rename(path: Path, target: Path) -> None:
    """Give a file another name, also after a loss of power."""
    path.replace(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@asynccontextmanager
async def compose(
    configuration: Configuration,
    directory: Path,
    store: Store,
    knowledge: CategoryKnowledge,
    hasher: SecretHasher,
    world: World,
    hints: Hints | None = None,
    subscriber_list: SubscriberList | None = None,
) -> AsyncIterator[Application]:
    """Put the parts together around what is kept; raises StartupError. Closes what it opened, and so not the stores.

    Args:
        hints: what tells of other servers' writes, if anything does.
        subscriber_list: where servers that share a database say who subscribes; by default there are no others.
    """
    async with AsyncExitStack() as closing:
        clock = world.clock
        snapshots = SnapshotKeeper(store, clock)
        try:
            await snapshots.refresh()
        except StoreUnavailableError as error:
            raise StartupError(f"the database cannot be read ({error.__cause__}); see --database") from error
        issuers = await _jwt_issuers(configuration, clock)
        if issuers is not None:
            closing.push_async_callback(issuers.close)
        certificates = _server_certificates(configuration, clock)
        authenticator = Authenticator(hasher, clock, issuers=issuers, certificates=_certificate_callers(configuration))
        authenticator.follow(snapshots.current)
        closing.push_async_callback(snapshots.close)
        ready = ReadyAnswers()
        snapshots.call_on_swap(ready.clear)
        registry = CollectorRegistry()
        categories_changed = [ready.clear]
        sources = await _sources(configuration, directory, knowledge, categories_changed, registry, world, closing)
        categories = sources.chain
        ids = DecisionIds(world.random_bytes)
        decider = Decider(
            snapshots, categories, ids, cacheable_for=timedelta(seconds=configuration.cacheable_for), clock=clock
        )
        gate = Gate(
            authenticator,
            clock,
            max_open_calls=configuration.max_open_calls,
            max_subscribers=configuration.max_subscribers,
            max_message_bytes=configuration.max_message_bytes,
            new_error_id=lambda: world.random_bytes(8).hex(),
        )

        def follow_callers() -> None:
            if authenticator.follow(snapshots.current):
                gate.callers_changed()

        snapshots.call_on_swap(follow_callers)
        if issuers is not None:
            issuers.call_on_change(gate.callers_changed)
            issuers.call_on_change(ready.clear)
        health = HealthService([*(service.full_name for service in SERVICES), ENVOY_SERVICE])
        decision_service, watch_service, admin_service, envoy_service = SERVICES
        v1, v1alpha = reflection_services()
        subjects = Subjects(authenticator)
        decisions = PolicyDecisionService(
            decider, subjects, ready, ids, gate, max_batch=configuration.max_batch, clock=clock
        )
        policies = PolicyAdministration(store, snapshots, clock)
        tokens = TokenAdministration(
            store, snapshots, hasher, authenticator.used, random_bytes=world.random_bytes, clock=clock
        )
        watching = await _watching(
            configuration, store, snapshots, categories, subscriber_list or MemorySubscriberList(), registry, world
        )
        categories_changed.append(watching.feed.something_changed)
        administration = (
            PolicyAdminService(
                policies,
                PolicyTrial(policies, decider, max_decisions=configuration.max_batch),
                gate,
            ),
            MemberAdminService(MemberAdministration(store, snapshots, clock)),
            TokenAdminService(tokens),
            EventService(EventLog(store, snapshots)),
            CategoryAdminService(
                PinAdministration(store, snapshots, clock), CategoryAdministration(categories, snapshots, clock), clock
            ),
            SubscriberAdminService(watching.subscribers, snapshots),
        )
        names = [*(service.full_name for service in (*SERVICES, v1, v1alpha)), "grpc.health.v1.Health"]
        reflection = ReflectionService(names)

        news = _News()

        async def watch_silence() -> None:
            health.set_serving(snapshots.silence() < timedelta(seconds=configuration.store_grace))

        yield Application(
            handlers=(
                gate.handlers(decision_service, [decisions], {"Decide": decisions.decide_again}),
                gate.handlers(
                    envoy_service, [ExternalAuthorizationService(decider, subjects, ids)], also_as=ENVOY_SERVICE
                ),
                gate.handlers(watch_service, [watching.service]),
                gate.handlers(admin_service, administration),
                gate.handlers(v1, [reflection]),
                gate.handlers(v1alpha, [reflection]),
            ),
            certificates=certificates,
            metrics=registry,
            sources=categories.sources,
            health=health,
            gate=gate,
            snapshots=snapshots,
            ready=ready,
            hub=watching.hub,
            background=(
                repeat(snapshots.look, configuration.store_poll, news.revision),
                repeat(watch_silence, min(configuration.store_poll, configuration.store_grace / 10)),
                repeat(sources.catalogue_file.look, CATALOGUE_POLL_SECONDS),
                *_keep_up(configuration, sources.docker_hub, news),
                *_hear(configuration, hints, news),
                repeat(tokens.note_use, TOKEN_USE_SECONDS),
                repeat(watching.feed.look, CATEGORY_FEED_SECONDS),
                repeat(watching.subscribers.keep, SUBSCRIBER_SECONDS),
                *(
                    repeat(credential.look, CREDENTIAL_POLL_SECONDS)
                    for credential in (issuers, certificates)
                    if credential is not None
                ),
            ),
        )
        await tokens.note_use()
        await watching.subscribers.keep()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sources:
    """The parts that know categories."""

    chain: Categories
    catalogue_file: CatalogueFile
    docker_hub: RememberedSource | None


async def _sources(
    configuration: Configuration,
    directory: Path,
    knowledge: CategoryKnowledge,
    on_change: Sequence[Callable[[], None]],
    registry: CollectorRegistry,
    world: World,
    closing: AsyncExitStack,
) -> _Sources:
    """What knows categories; raises StartupError.

    Args:
        on_change: who is called when a category is another one; more may be added.
    """

    def changed() -> None:
        for callback in on_change:
            callback()

    catalogue = Catalogue(CategorySourceName.CATALOGUE.value)
    catalogue_file = CatalogueFile(configuration.catalogue or directory / "catalogue.yaml", catalogue, changed)
    _load_catalogue(configuration, catalogue_file)
    docker_hub: RememberedSource | None = None
    if CategorySourceName.DOCKER_HUB in configuration.sources:
        docker_hub = await _docker_hub(configuration, knowledge, changed, registry, world, closing)
    chain = Categories(
        _in_order(configuration, catalogue, docker_hub),
        wait=timedelta(seconds=configuration.category_wait),
        clock=world.clock,
    )
    return _Sources(chain=chain, catalogue_file=catalogue_file, docker_hub=docker_hub)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Watching:
    """The parts that tell subscribers."""

    feed: CategoryFeed
    hub: WatchHub
    subscribers: Subscribers
    service: PolicyWatchService


async def _watching(
    configuration: Configuration,
    store: Store,
    snapshots: SnapshotKeeper,
    categories: Categories,
    subscriber_list: SubscriberList,
    registry: CollectorRegistry,
    world: World,
) -> _Watching:
    """What tells subscribers of policies; raises StartupError."""
    try:
        store_id = await store.identity()
    except StoreUnavailableError as error:
        raise StartupError(f"the database cannot be read ({error.__cause__}); see --database") from error
    feed = CategoryFeed(categories)
    hub = WatchHub(
        store,
        store_id,
        snapshots,
        feed,
        metrics=WatchMetrics(registry),
        pace=Pace(bookmark=configuration.watch_bookmark, max_age=configuration.watch_max_age),
        random=Random(world.random_bytes(16)),  # noqa: S311 - for jitter
        clock=world.clock,
    )
    subscribers = Subscribers(hub, subscriber_list, world.random_bytes(6).hex(), world.clock)
    service = PolicyWatchService(hub, subscribers, lambda: f"sub_{world.random_bytes(9).hex()}", world.clock)
    return _Watching(feed=feed, hub=hub, subscribers=subscribers, service=service)


async def _docker_hub(
    configuration: Configuration,
    knowledge: CategoryKnowledge,
    on_change: Callable[[], None],
    registry: CollectorRegistry,
    world: World,
    closing: AsyncExitStack,
) -> RememberedSource:
    """Docker Hub behind its memories; raises StartupError."""
    # Imported here because who does without Docker Hub need not wait for an HTTP client to load.
    from pullgate_server.categories.docker_hub.session import HubCredentials
    from pullgate_server.categories.docker_hub.source import DockerHubSource
    from pullgate_server.categories.request_budget import RequestBudget

    metrics = CategoryMetrics(registry)
    random = Random(world.random_bytes(16))  # noqa: S311 - for jitter
    credentials = None
    if configuration.docker_hub_token_file is not None:
        credentials = HubCredentials(
            username=configuration.docker_hub_username, secret=_secret_of(configuration.docker_hub_token_file)
        )
    budget = RequestBudget(per_minute=configuration.docker_hub_requests_per_minute, clock=world.clock)
    try:
        source = DockerHubSource(
            base_url=configuration.docker_hub_url,
            budget=budget,
            clock=world.clock,
            random=random,
            timeout=configuration.docker_hub_timeout,
            proxy=configuration.docker_hub_proxy or None,
            credentials=credentials,
            on_request=lambda endpoint, outcome, seconds: metrics.requests.labels(
                source.name, endpoint.value, outcome.value
            ).observe(seconds),
        )
    except (ValueError, ImportError, OSError) as error:
        # The certificates are read here, and an OSError of theirs names no file.
        raise StartupError(
            f"Docker Hub cannot be asked in this way ({error}); see --docker-hub-url, --docker-hub-proxy, and "
            "HTTPS_PROXY and SSL_CERT_FILE in the environment"
        ) from error
    closing.push_async_callback(source.close)
    metrics.watch_budget(source.name, lambda: budget.left)
    shared: list[CategoryMemory] = []
    if configuration.cache != "memory":
        shared.append(redis_categories(configuration.cache))
        closing.push_async_callback(shared[0].close)
    cache = BoundedMemoryCache(configuration.category_entries, metrics.evictions.inc)
    metrics.watch_memory(lambda: len(cache))
    remembered = RememberedSource(
        source,
        memory=CachedCategories("memory", cache),
        shared=shared,
        lasting=knowledge,
        lifetimes=Lifetimes(
            known=timedelta(seconds=configuration.known_category_ttl),
            unknown=timedelta(seconds=configuration.unknown_category_ttl),
            max_stale=timedelta(seconds=configuration.category_max_stale),
            salt=random.getrandbits(32),
        ),
        on_change=on_change,
        has_evicted=lambda: cache.has_evicted,
        metrics=metrics,
        random=random,
        clock=world.clock,
    )
    closing.push_async_callback(remembered.close)
    await remembered.follow()
    return remembered


def _in_order(
    configuration: Configuration, catalogue: Catalogue, docker_hub: RememberedSource | None
) -> Sequence[Catalogue | RememberedSource]:
    """The category sources as they are to be asked."""
    sources: list[Catalogue | RememberedSource] = []
    for name in configuration.sources:
        match name:
            case CategorySourceName.CATALOGUE:
                sources.append(catalogue)
            case CategorySourceName.STARTER:
                sources.append(Catalogue(name.value, starter_catalogue()))
            case CategorySourceName.DOCKER_HUB:
                assert docker_hub is not None  # noqa: S101 - it is there if it is named
                sources.append(docker_hub)
    return sources


class _News:
    """What another server may have written: each is set when there is reason to look."""

    def __init__(self) -> None:
        self.revision = asyncio.Event()
        self.categories = asyncio.Event()


def _hear(configuration: Configuration, hints: Hints | None, news: _News) -> Sequence[Callable[[], Awaitable[None]]]:
    if hints is None:
        return ()
    return (repeat(partial(hints.run, news.revision.set, news.categories.set), configuration.store_poll),)


def _keep_up(
    configuration: Configuration, docker_hub: RememberedSource | None, news: _News
) -> Sequence[Callable[[], Awaitable[None]]]:
    if docker_hub is None:
        return ()
    return (
        repeat(docker_hub.follow, configuration.store_poll, news.categories),
        repeat(docker_hub.forget, FORGET_SECONDS),
    )


def _secret_of(path: Path) -> str:
    try:
        secret = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise StartupError(f"{path} cannot be read ({error}); see --docker-hub-token-file") from error
    if not secret:
        raise StartupError(f"{path} is empty; see --docker-hub-token-file")
    return secret


def _load_catalogue(configuration: Configuration, catalogue_file: CatalogueFile) -> None:
    try:
        if configuration.catalogue is not None and not configuration.catalogue.exists():
            raise StartupError(f"the catalogue {configuration.catalogue} is not there; see --catalogue")
        catalogue_file.load()
    except (InvalidCatalogueError, OSError) as error:
        raise StartupError(f"the catalogue cannot be used; see --catalogue\n{error}") from error


async def _jwt_issuers(configuration: Configuration, clock: Clock) -> JwtIssuers | None:
    if configuration.jwt_issuers is None:
        return None
    issuers = JwtIssuers(read_jwt_issuers(configuration.jwt_issuers), clock=clock)
    await issuers.start()
    return issuers


def _certificate_callers(configuration: Configuration) -> CertificateCallers | None:
    path = configuration.tls_callers
    return None if path is None else CertificateCallers(read_certificate_callers(path))


def _server_certificates(configuration: Configuration, clock: Clock) -> ServerCertificates | None:
    certificate, key = configuration.tls_cert, configuration.tls_key
    if certificate is None or key is None:
        return None
    return ServerCertificates(certificate, key, configuration.tls_client_ca, clock=clock)


def _key(path: Path) -> bytes | None:
    """The key in a file; None if there is no whole one in it."""
    try:
        key = bytes.fromhex(path.read_text().strip())
    except ValueError:
        return None
    return key if len(key) >= KEY_BYTES else None
