"""Memories of what sources said, on aiocache: in this process, bounded by entries, or in Redis, shared by servers."""

import json
import sys
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime
from typing import Any

import structlog
from aiocache import SimpleMemoryCache
from aiocache.base import BaseCache
from aiocache.serializers import BaseSerializer

from pullgate_policy import Category, CommunityClass
from pullgate_server.errors import StartupError, StoreUnavailableError
from pullgate_server.stores.category_knowledge import Remembered

log = structlog.get_logger()

REDIS_TIMEOUT_SECONDS = 0.2
"""Redis is asked before Docker Hub because it is quicker. When it is not, it is not waited for."""

REDIS_CONNECTIONS = 16

_FORMAT = 1
"""Of keys and values; another one is for whoever changes either."""


class BoundedMemoryCache(SimpleMemoryCache):  # type: ignore[misc]
    """aiocache's memory with a limit: what was used longest ago goes first.

    Lifetimes are not kept here, which would take a timer for each entry: who reads looks at how old it is.

    Args:
        on_evict: called for each entry that goes for want of room.

    Attributes:
        has_evicted: whether any did.
    """

    def __init__(self, max_entries: int, on_evict: Callable[[], None] = lambda: None) -> None:
        # Nothing here waits, so that a limit on waiting would only cost its own time.
        super().__init__(timeout=None)
        self._cache: OrderedDict[str, Any] = OrderedDict()
        self._max_entries = max_entries
        self._on_evict = on_evict
        self.has_evicted = False

    def __len__(self) -> int:
        return len(self._cache)

    async def _get(self, key: str, encoding: str = "utf-8", _conn: Any = None) -> Any:  # noqa: ARG002 - aiocache's
        value = self._cache.get(key)
        if value is not None:
            self._cache.move_to_end(key)
        return value

    async def _set(
        self,
        key: str,
        value: Any,
        ttl: float | None = None,  # noqa: ARG002 - aiocache's
        _cas_token: Any = None,
        _conn: Any = None,
    ) -> bool:
        self._cache[key] = value
        self._cache.move_to_end(key)
        while len(self._cache) > self._max_entries:
            self._cache.popitem(last=False)
            self.has_evicted = True
            self._on_evict()
        return True

    async def _clear(self, namespace: str | None = None, _conn: Any = None) -> bool:  # noqa: ARG002 - there is none
        self._cache.clear()
        return True


class RememberedJson(BaseSerializer):  # type: ignore[misc]
    """What is remembered, as JSON. What cannot be read counts as nothing, and is asked for anew."""

    DEFAULT_ENCODING = "utf-8"

    def dumps(self, value: Remembered) -> str:
        """To JSON."""
        return json.dumps(
            {
                "format": _FORMAT,
                "category": value.category.name,
                "community_class": value.community_class and value.community_class.name,
                "detail": value.detail,
                "checked_at": value.checked_at.isoformat(),
            }
        )

    def loads(self, value: str | None) -> Remembered | None:
        """From JSON."""
        if value is None:
            return None
        try:
            data = json.loads(value)
            if data["format"] != _FORMAT:
                return None
            moment = datetime.fromisoformat(data["checked_at"])
            if moment.tzinfo is None:
                return None
            community_class = None if data["community_class"] is None else CommunityClass[data["community_class"]]
            # Few details stand for very many namespaces.
            detail = sys.intern(data["detail"])
            return Remembered(Category[data["category"]], community_class, detail, moment)
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            log.warning("a remembered category cannot be read", problem=repr(error))
            return None


class CachedCategories:
    """Implements `CategoryMemory` on any of aiocache's caches.

    Args:
        outages: the errors by which the cache tells that it is out of reach.
        close: lets go of its connections.
    """

    def __init__(
        self,
        name: str,
        cache: BaseCache,
        *,
        outages: tuple[type[Exception], ...] = (),
        close: Callable[[], Any] | None = None,
    ) -> None:
        self._name = name
        self._cache = cache
        self._outages: tuple[type[Exception], ...] = (*outages, TimeoutError, OSError)
        self._close = close or cache.close

    @property
    def name(self) -> str:
        """The cache in a word."""
        return self._name

    async def get(self, source: str, namespace: str) -> Remembered | None:
        """What is remembered."""
        try:
            remembered: Remembered | None = await self._cache.get(key_of(source, namespace))
        except self._outages as error:
            raise StoreUnavailableError from error
        return remembered

    async def put(self, source: str, namespace: str, remembered: Remembered, lifetime: float) -> None:
        """Remember it."""
        try:
            await self._cache.set(key_of(source, namespace), remembered, ttl=float(lifetime))
        except self._outages as error:
            raise StoreUnavailableError from error

    async def close(self) -> None:
        """Let go of connections."""
        await self._close()


def key_of(source: str, namespace: str) -> str:
    """The key of a namespace. Each part goes with its length, so that no two pairs have the same key."""
    return f"pullgate:category:{_FORMAT}:{len(source)}:{source}:{len(namespace)}:{namespace}"


def redis_categories(url: str) -> CachedCategories:
    """The memory in a Redis (`redis://`, `rediss://`, `unix://`); connects when it is used; raises StartupError."""
    # Imported here because most servers do without, and would pay for it at every start.
    from aiocache import RedisCache
    from redis.asyncio import BlockingConnectionPool, Redis
    from redis.exceptions import RedisError

    try:
        # Who asks for many names at once waits for connections rather than opening one for each.
        pool = BlockingConnectionPool.from_url(url, max_connections=REDIS_CONNECTIONS, timeout=None)
    except ValueError as error:
        raise StartupError(f"--cache is not a Redis URL that can be used ({error})") from error
    client: Redis = Redis.from_pool(pool)
    cache = RedisCache(serializer=RememberedJson(), timeout=REDIS_TIMEOUT_SECONDS)
    # aiocache's own constructor knows neither users nor sockets; nothing has connected yet.
    cache.client = client
    return CachedCategories("redis", cache, outages=(RedisError,), close=client.aclose)
