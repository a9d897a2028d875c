"""What decisions are made from, in memory: an immutable snapshot that is replaced as one reference.

A decision takes no lock and touches no database, and whoever holds a snapshot sees one revision.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import TypeVar

import structlog

from pullgate_policy import Policy
from pullgate_policy.event import AdministrativeEvent
from pullgate_policy.pins import NO_PINS, CategoryPin, Pins
from pullgate_policy.stored_policy import StoredPolicy
from pullgate_server.clock import Clock
from pullgate_server.errors import RetryableError, RevisionNotYetVisibleError
from pullgate_server.stores.documents import contents_of_events
from pullgate_server.stores.port import MemberList, PinKey, Store, StoreContents, StoredToken

log = structlog.get_logger()

K = TypeVar("K")
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All that calls are decided from, as of one revision.

    Attributes:
        stored: policies with who wrote them, by organization.
        policies: the same without.
        pins: by organization (empty: every one) and name.
        pin_index: the same, as decisions look them up.
        members: by organization and username; an organization that is not here has no member list.
        tokens: by id.
        known_as_of: while the store is out of reach: when this was last known to be the newest.
    """

    revision: int = 0
    stored: Mapping[str, StoredPolicy] = field(default_factory=dict)
    policies: Mapping[str, Policy] = field(default_factory=dict)
    pins: Mapping[PinKey, CategoryPin] = field(default_factory=dict)
    pin_index: Pins = NO_PINS
    members: Mapping[str, MemberList] = field(default_factory=dict)
    tokens: Mapping[str, StoredToken] = field(default_factory=dict)
    known_as_of: datetime | None = None

    def with_changes(self, contents: StoreContents) -> "Snapshot":
        """This snapshot and what was written since. What did not change stays the same object."""
        stored = _merged(self.stored, contents.policies)
        changed_members = {
            organization: _merged(self.members.get(organization, {}), changed)
            for organization, changed in contents.members.items()
        }
        pins = _merged(self.pins, contents.pins)
        return Snapshot(
            revision=contents.revision,
            stored=stored,
            policies=_merged(
                self.policies,
                {name: None if item is None else item.policy for name, item in contents.policies.items()},
            ),
            pins=pins,
            pin_index=self.pin_index if pins is self.pins else Pins(pins.values()),
            members=_merged(self.members, {name: changed or None for name, changed in changed_members.items()}),
            tokens=_merged(self.tokens, contents.tokens),
        )


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
        self._trouble = ""
        self._loaded = False
        self._newest = ""
        self._looking = asyncio.Lock()
        self._next_look: asyncio.Task[None] | None = None
        self._looks: set[asyncio.Task[None]] = set()

    def call_on_swap(self, callback: Callable[[], None]) -> None:
        """Call `callback` right after every replacement of the snapshot."""
        self._on_swap.append(callback)

    def silence(self) -> timedelta:
        """For how long the store has not answered."""
        return self._clock() - self._last_contact

    async def refresh(self) -> Snapshot:
        """Take in what was written since; raises what the store raises, and keeps what it has."""
        async with self._refreshing:
            before = self.current
            since = before.revision if self._loaded else None
            try:
                contents = await self._store.read(since)
            except RetryableError:
                raise
            except Exception as error:
                if since is None:
                    raise
                # What a newer server wrote meanwhile, say: perhaps what came of it all can still be read.
                log.error("changes cannot be read", since=since, exc_info=error)
                before, contents = Snapshot(), await self._store.read(None)
            if since is not None and (contents.revision < since or contents.at_since != self._newest):
                # A backup was put in place: what was known since then never was.
                log.warning("store went back", known=since, revision=contents.revision)
                before, contents = Snapshot(), await self._store.read(None)
            self._newest = contents.newest
            if self._loaded and contents.revision == self.current.revision and before is self.current:
                if before.known_as_of is None:
                    return before
                before = replace(before, known_as_of=None)
            self._loaded = True
            self._swap(before.with_changes(contents))
        await self._tell()
        return self.current

    async def swapped(self, revision: int) -> Snapshot:
        """Wait until the snapshot is later than `revision`."""
        async with self._swapped:
            await self._swapped.wait_for(lambda: self.current.revision > revision)
        return self.current

    def _swap(self, snapshot: Snapshot) -> None:
        self.current = snapshot
        for callback in self._on_swap:
            callback()

    async def _tell(self) -> None:
        async with self._swapped:
            self._swapped.notify_all()

    async def look(self) -> None:
        """See whether the store is there and has anything new, beginning after this call.

        Trouble is logged once, and not raised. Looks that are asked for while one is under way are one look.
        """
        if self._next_look is None:
            self._next_look = asyncio.ensure_future(self._look_in_turn())
            self._looks.add(self._next_look)
            self._next_look.add_done_callback(self._looks.discard)
        # Whoever asked may hang up; the others still want to know.
        await asyncio.shield(self._next_look)

    async def take_in(
        self, event: AdministrativeEvent, tokens: Mapping[str, StoredToken] = MappingProxyType({})
    ) -> None:
        """Make a write that was just committed hold here, also if the store has vanished right after it.

        Args:
            tokens: the one that the event is about, if it is about one.
        """
        await self.look()
        if self.current.revision == event.revision - 1:
            contents = contents_of_events(event.revision, event.revision - 1, [event], tokens)
            self._newest = contents.newest
            self._swap(replace(self.current.with_changes(contents), known_as_of=self.current.known_as_of))
            await self._tell()
        elif self.current.revision < event.revision:
            log.warning("a write holds when the store is back", revision=event.revision, known=self.current.revision)

    async def close(self) -> None:
        """Look no more."""
        for look in self._looks:
            look.cancel()
        await asyncio.gather(*self._looks, return_exceptions=True)

    async def _look_in_turn(self) -> None:
        async with self._looking:
            self._next_look = None
            try:
                asked_at = self._clock()
                revision = await self._store.revision()
                if revision != self.current.revision or self.current.known_as_of is not None:
                    await self.refresh()
                self._last_contact = asked_at
            except RetryableError as error:
                self._lost("store out of reach", str(error.__cause__))
            except Exception as error:  # noqa: BLE001 - whatever it is, what is known grows old from here on
                self._lost("store cannot be read", repr(error), error)
            else:
                if self._trouble:
                    log.info("store back in reach", revision=self.current.revision)
                self._trouble = ""

    def _lost(self, event: str, cause: str, error: Exception | None = None) -> None:
        if event != self._trouble:
            log.warning(event, revision=self.current.revision, cause=cause, exc_info=error)
        self._trouble = event
        if self.current.known_as_of is None:
            # From now on every answer says how old what it rests on may be.
            self._swap(replace(self.current, known_as_of=self._last_contact))

    async def at_least(self, revision: int, wait: float) -> Snapshot:
        """A snapshot at `revision` or later.

        Raises:
            RevisionNotYetVisibleError: it did not arrive within `wait` seconds.
        """
        try:
            async with asyncio.timeout(wait):
                if self.current.revision < revision:
                    await self.look()
                async with self._swapped:
                    await self._swapped.wait_for(lambda: self.current.revision >= revision)
        except TimeoutError:
            raise RevisionNotYetVisibleError(revision, self.current.revision) from None
        return self.current


def _merged(before: Mapping[K, T], changed: Mapping[K, T | None]) -> Mapping[K, T]:
    """`before` with what has changed; None takes away."""
    if not changed:
        return before
    merged = dict(before)
    for name, value in changed.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = value
    return merged
