"""What decisions are made from, in memory: an immutable snapshot that is replaced as one reference.

A decision takes no lock and touches no database, and whoever holds a snapshot sees one revision.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

import structlog

from pullgate_policy import CategoryEvidence, HubRepository, Policy
from pullgate_policy.pins import CategoryPin
from pullgate_policy.stored_policy import StoredPolicy
from pullgate_server.clock import Clock
from pullgate_server.errors import RevisionNotYetVisibleError, StoreUnavailableError
from pullgate_server.stores.port import Store

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Policies and pins as of one revision."""

    revision: int = 0
    stored: Mapping[str, StoredPolicy] = field(default_factory=dict)
    policies: Mapping[str, Policy] = field(default_factory=dict)
    pins: Mapping[str, CategoryPin] = field(default_factory=dict)

    def pinned(self, repository: HubRepository) -> CategoryEvidence | None:
        """What a pin says of the repository, or else of its namespace."""
        pin = self.pins.get(repository.path) or self.pins.get(repository.namespace)
        return None if pin is None else pin.evidence


class SnapshotKeeper:
    """Keeps a snapshot as fresh as the store, and knows for how long it has not been.

    Attributes:
        current: the newest snapshot.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self.current = Snapshot()
        self._store = store
        self._clock = clock
        self._refreshing = asyncio.Lock()
        self._swapped = asyncio.Condition()
        self._on_swap: list[Callable[[], None]] = []
        self._last_contact = clock()
        self._out_of_reach = False

    def call_on_swap(self, callback: Callable[[], None]) -> None:
        """Call `callback` right after every replacement of the snapshot."""
        self._on_swap.append(callback)

    def silence(self) -> timedelta:
        """For how long the store has not answered."""
        return self._clock() - self._last_contact

    async def refresh(self) -> Snapshot:
        """Take in what was written since; raises StoreUnavailableError and keeps what it has."""
        async with self._refreshing:
            before = self.current
            contents = await self._store.read(before.revision)
            if contents.revision < before.revision:
                # A backup was put in place: what was known since then never was.
                log.warning("store went back", known=before.revision, revision=contents.revision)
                before, contents = Snapshot(), await self._store.read(0)
            self._last_contact = self._clock()
            if before.revision and contents.revision == before.revision:
                return before
            changed = {stored.policy.organization: stored for stored in contents.policies}
            self.current = Snapshot(
                revision=contents.revision,
                stored={**before.stored, **changed},
                policies={**before.policies, **{name: stored.policy for name, stored in changed.items()}},
                pins={pin.name: pin for pin in contents.pins},
            )
            for callback in self._on_swap:
                callback()
        async with self._swapped:
            self._swapped.notify_all()
        return self.current

    async def look(self) -> None:
        """See whether the store is there and has anything new. A store out of reach is logged once, not raised."""
        try:
            revision = await self._store.revision()
            self._last_contact = self._clock()
            if revision != self.current.revision:
                await self.refresh()
        except StoreUnavailableError as error:
            if not self._out_of_reach:
                log.warning("store out of reach", revision=self.current.revision, cause=str(error.__cause__))
            self._out_of_reach = True
        else:
            if self._out_of_reach:
                log.info("store back in reach", revision=self.current.revision)
            self._out_of_reach = False

    async def at_least(self, revision: int, wait: float) -> Snapshot:
        """A snapshot at `revision` or later.

        Raises:
            RevisionNotYetVisibleError: it did not arrive within `wait` seconds.
        """
        if self.current.revision < revision:
            await self.look()
        try:
            async with asyncio.timeout(wait), self._swapped:
                await self._swapped.wait_for(lambda: self.current.revision >= revision)
        except TimeoutError:
            raise RevisionNotYetVisibleError(revision, self.current.revision) from None
        return self.current
