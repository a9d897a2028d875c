"""A cache before the category sources, with a lifetime per outcome."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from aiocache.base import BaseCache

from pullgate_policy import Category, CategoryEvidence, HubRepository
from pullgate_server.categories.port import CategorySource, Outcome
from pullgate_server.clock import Clock

log = structlog.get_logger()

MAX_ENTRIES = 100_000
"""Repositories remembered; one more, and all are asked anew."""


@dataclass(frozen=True, slots=True)
class CachedCategory:
    """What the sources said, and until when it need not be asked again."""

    evidence: CategoryEvidence
    fresh_until: datetime


class CategoryCache:
    """Asks the sources in their order, and remembers what they said.

    Keys are whole repositories, because a catalogue may name one; the sources decide whether only the namespace
    counts. Failures are not remembered.
    """

    def __init__(
        self,
        sources: Sequence[CategorySource],
        cache: BaseCache,
        *,
        known_for: timedelta,
        unknown_for: timedelta,
        clock: Clock,
    ) -> None:
        self._sources = tuple(sources)
        self._cache = cache
        self._known_for = known_for
        self._unknown_for = unknown_for
        self._clock = clock
        self._generation = 0
        self._entries = 0

    async def category_of(self, repository: HubRepository) -> CachedCategory:
        """What is known of the repository's category; UNKNOWN with the reason where nobody can tell."""
        # What was looked up before `forget` and is stored after it goes under a key that nobody reads any more.
        key = f"{self._generation}/{repository.path}"
        cached: CachedCategory | None = await self._cache.get(key)
        now = self._clock()
        if cached is not None and now < cached.fresh_until:
            return cached
        failures = []
        for source in self._sources:
            answer = await source.look_up(repository)
            if answer.outcome is Outcome.KNOWN and answer.evidence is not None:
                return await self._remember(key, answer.evidence, now, self._known_for)
            if answer.outcome is Outcome.FAILED:
                failures.append(f"{source.name}: {answer.detail}")
        if failures:
            log.warning("category sources failed", repository=repository.path, failures=failures)
            return CachedCategory(_unknown(f"could not be asked: {'; '.join(failures)}"), now)
        asked = ", ".join(source.name for source in self._sources)
        detail = f"not known to: {asked}" if asked else "there are no category sources"
        return await self._remember(key, _unknown(detail), now, self._unknown_for)

    async def forget(self) -> None:
        """Ask anew from now on."""
        self._generation += 1
        self._entries = 0
        await self._cache.clear()

    async def close(self) -> None:
        """Let go of what the cache holds."""
        await self._cache.close()

    async def _remember(
        self, key: str, evidence: CategoryEvidence, now: datetime, lifetime: timedelta
    ) -> CachedCategory:
        self._entries += 1
        if self._entries > MAX_ENTRIES:
            await self.forget()
        cached = CachedCategory(evidence, now + lifetime)
        await self._cache.set(key, cached, ttl=lifetime.total_seconds())
        return cached


def _unknown(detail: str) -> CategoryEvidence:
    return CategoryEvidence(category=Category.UNKNOWN, detail=detail)
