"""What category sources have said, remembered: the value, the port of what remembers it, and one that does in memory.

This is not administration: nobody decided it, it makes no revisions, and it may be forgotten and asked for again.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from pullgate_policy import Category, CommunityClass
from pullgate_server.clock import Clock, system_clock
from pullgate_server.errors import StoreUnavailableError

CLOCKS_DIFFER = timedelta(minutes=5)
"""The most by which clocks of servers may differ. What is dated later is not believed."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """What a source said of one namespace.

    Attributes:
        category: UNKNOWN where the source answered that it does not know.
        detail: the source's own words.
        checked_at: when it was asked.
    """

    category: Category
    community_class: CommunityClass | None
    detail: str
    checked_at: datetime

    def goes_before(self, former: "Remembered", now: datetime) -> bool:
        """Whether this is to be remembered in place of `former`.

        The later word is; and any where the former one is dated in the future, by a clock that is wrong.
        """
        return former.checked_at < self.checked_at or former.is_of_the_future(now)

    def is_of_the_future(self, now: datetime) -> bool:
        """Whether it was checked later than clocks differ."""
        return self.checked_at > now + CLOCKS_DIFFER

    def says_the_same_as(self, other: "Remembered") -> bool:
        """Whether the two differ in nothing but when they were said."""
        return dataclasses.replace(other, checked_at=self.checked_at) == self


@dataclass(frozen=True, slots=True)
class RememberedNamespace:
    """What a source said, and of what."""

    source: str
    namespace: str
    remembered: Remembered


class CategoryMemory(Protocol):
    """Remembers what sources said, by source and namespace. May forget anything at any time.

    Every method raises StoreUnavailableError where what remembers cannot be reached.
    """

    @property
    def name(self) -> str:
        """What remembers, in a word."""
        ...

    async def get(self, source: str, namespace: str) -> Remembered | None:
        """What is remembered; None if nothing is."""
        ...

    async def put(self, source: str, namespace: str, remembered: Remembered, lifetime: float) -> None:
        """Remember it for at most `lifetime` seconds.

        Where something later is remembered already, it may stay.
        """
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


class CategoryKnowledge(CategoryMemory, Protocol):
    """The lasting one, which all servers on one database share. Later knowledge is never replaced by earlier.

    Each time that something else is said of a namespace than before, or anything for the first time, counts as one
    change, by numbers that grow in the order in which changes can be read.
    """

    async def changes(self, since: int, limit: int) -> tuple[int, Sequence[RememberedNamespace]]:
        """At most `limit` namespaces of which something new was said after change `since`, the earliest first.

        Returns:
            The number to go on from, and the namespaces.
        """
        ...

    async def newest_change(self) -> int:
        """The number of the newest change."""
        ...

    async def page(self, source: str, after: str, limit: int) -> tuple[Sequence[RememberedNamespace], str]:
        """What a source said of at most `limit` namespaces after `after`, in the order of their bytes.

        Returns:
            The namespaces, and where to go on ("" at the end).
        """
        ...

    async def forget(self, checked_before: datetime) -> int:
        """Forget what was checked before a moment; returns how many namespaces that were."""
        ...


class MemoryCategoryKnowledge:
    """Implements `CategoryKnowledge` in this process: nothing survives it. For tests and for trying things out.

    Attributes:
        available: set to False to behave like a database that cannot be reached.
    """

    name = "database"

    def __init__(self, clock: Clock = system_clock) -> None:
        self.available = True
        self._clock = clock
        self._known: dict[tuple[str, str], tuple[int, Remembered]] = {}
        self._change = 0

    async def get(self, source: str, namespace: str) -> Remembered | None:
        """What is remembered."""
        self._reach()
        return self._known.get((source, namespace), (0, None))[1]

    async def put(self, source: str, namespace: str, remembered: Remembered, lifetime: float) -> None:  # noqa: ARG002
        """Remember it."""
        self._reach()
        change, former = self._known.get((source, namespace), (0, None))
        if former is not None and not remembered.goes_before(former, self._clock()):
            return
        if former is None or not former.says_the_same_as(remembered):
            change = self._change = self._change + 1
        self._known[source, namespace] = (change, remembered)

    async def changes(self, since: int, limit: int) -> tuple[int, Sequence[RememberedNamespace]]:
        """What has changed."""
        self._reach()
        found = sorted((change, key, remembered) for key, (change, remembered) in self._known.items() if change > since)
        page = found[:limit]
        return page[-1][0] if page else since, [RememberedNamespace(*key, remembered) for _, key, remembered in page]

    async def newest_change(self) -> int:
        """The number of the newest change."""
        self._reach()
        return self._change

    async def page(self, source: str, after: str, limit: int) -> tuple[Sequence[RememberedNamespace], str]:
        """What a source said."""
        self._reach()
        known = [
            RememberedNamespace(source, namespace, remembered)
            for (said_by, namespace), (_, remembered) in self._known.items()
            if said_by == source and namespace > after
        ]
        page = sorted(known, key=lambda item: item.namespace)[:limit]
        return page, page[-1].namespace if len(page) == limit else ""

    async def forget(self, checked_before: datetime) -> int:
        """Forget what is old."""
        self._reach()
        old = [key for key, (_, remembered) in self._known.items() if remembered.checked_at < checked_before]
        for key in old:
            del self._known[key]
        return len(old)

    async def close(self) -> None:
        """Nothing to let go of."""

    def _reach(self) -> None:
        if not self.available:
            raise StoreUnavailableError
