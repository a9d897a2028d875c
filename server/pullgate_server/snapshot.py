"""What decisions are made from, in memory: an immutable snapshot that is replaced as one reference.

A decision takes no lock and touches no database, and whoever holds a snapshot sees one revision.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

import structlog

from pullgate_policy.event import AdministrativeEvent
from pullgate_policy.policy_state import PolicyState, merged
from pullgate_server.clock import Clock
from pullgate_server.errors import RetryableError, RevisionNotYetVisibleError
from pullgate_server.stores.documents import contents_of_events
from pullgate_server.stores.port import RevisionChange, Store, StoreContents, StoredToken, Written

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot(PolicyState):
    """All that calls are decided from, as of one revision.

    Attributes:
        tokens: by id.
        newest: the fingerprint of the write at this revision.
        known_as_of: while the store is out of reach: when this was last known to be the newest.
        failing_open: why everything is allowed, for people, in a sidecar that was told to allow it when it knows too
            little; empty where the policies hold.
        followed: the organizations whose policies a sidecar follows; None for all.
    """

    tokens: Mapping[str, StoredToken] = field(default_factory=dict)
    newest: str = ""
    known_as_of: datetime | None = None
    failing_open: str = ""
    followed: frozenset[str] | None = None

    def with_contents(self, contents: StoreContents) -> "Snapshot":
        """This snapshot and what was written since. What did not change stays the same object."""
        return replace(
            self.with_change(contents),
            tokens=merged(self.tokens, contents.tokens),
            newest=contents.newest,
            known_as_of=None,
        )


AnyWritten = TypeVar("AnyWritten", bound=Written | None)

OnChange = Callable[[Sequence[RevisionChange]], None]


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
        self._on_change: list[OnChange] = []
        self._on_replacement: list[Callable[[], None]] = []
        self._last_contact = clock()
        self._trouble = ""
        self._loaded = False
        self._looking = asyncio.Lock()
        self._next_look: asyncio.Task[None] | None = None
        self._looks: set[asyncio.Task[None]] = set()
        self._writes: set[asyncio.Task[Any]] = set()

    def call_on_swap(self, callback: Callable[[], None]) -> None:
        """Call `callback` right after every replacement of the snapshot."""
        self._on_swap.append(callback)

    def call_on_change(self, on_change: OnChange, on_replacement: Callable[[], None]) -> None:
        """Call back right after the snapshot was replaced by one with other contents, in the same step of the loop.

        Args:
            on_change: given the writes since, each on its own, in their order.
            on_replacement: where there are none to be had, as after a backup was put in place.
        """
        self._on_change.append(on_change)
        self._on_replacement.append(on_replacement)

    def silence(self) -> timedelta:
        """For how long the store has not answered."""
        return self._clock() - self._last_contact

    async def refresh(self) -> Snapshot:
        """Take in what was written since; raises what the store raises, and keeps what it has."""
        async with self._refreshing:
            before = self.current
            since = before.revision if self._loaded else None
            replaced = False
            try:
                contents = await self._store.read(since)
            except RetryableError:
                raise
            except Exception as error:
                if since is None:
                    raise
                # What a newer server wrote meanwhile, say: perhaps what came of it all can still be read.
                log.error("changes cannot be read", since=since, exc_info=error)
                before, contents, replaced = Snapshot(), await self._store.read(None), True
            if since is not None and not replaced and (contents.revision < since or contents.at_since != before.newest):
                # A backup was put in place: what was known since then never was.
                log.warning("store went back", known=since, revision=contents.revision)
                before, contents, replaced = Snapshot(), await self._store.read(None), True
            if self._loaded and contents.revision == self.current.revision and before is self.current:
                if before.known_as_of is None:
                    return before
                before = replace(before, known_as_of=None)
            self._loaded = True
            self._swap(before.with_contents(contents))
            if replaced:
                for on_replacement in self._on_replacement:
                    on_replacement()
            elif contents.steps:
                self._tell_changes(contents.steps)
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

    def _tell_changes(self, steps: Sequence[RevisionChange]) -> None:
        for on_change in self._on_change:
            on_change(steps)

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

    async def carry_out(
        self, write: Awaitable[AnyWritten], tokens: Callable[[], Mapping[str, StoredToken]] = dict
    ) -> AnyWritten:
        """Carry out a write, and make it hold here before anybody is told of it.

        It comes to its end though whoever asked for it does not wait for that: what is committed holds.

        Args:
            tokens: gives, once it is written, the one that the write is about, if it is about one.
        """
        task = asyncio.ensure_future(self._carry_out(write, tokens))
        self._writes.add(task)
        task.add_done_callback(self._carried_out)
        return await asyncio.shield(task)

    async def _carry_out(
        self, write: Awaitable[AnyWritten], tokens: Callable[[], Mapping[str, StoredToken]]
    ) -> AnyWritten:
        written = await write
        if written is not None:
            await self._take_in(written, tokens())
        return written

    def _carried_out(self, task: "asyncio.Task[Any]") -> None:
        self._writes.discard(task)
        if not task.cancelled():
            # What went wrong is for who waits for it, if anybody does.
            task.exception()

    async def _take_in(self, written: Written, tokens: Mapping[str, StoredToken]) -> None:
        """Make a write that was just committed hold here, also if the store has vanished right after it."""
        event = written.event
        if written.repeated:
            await self.look()
            return
        async with self._refreshing:
            # What is known here is what the write was made on, so there is nothing to ask the store for.
            followed = self.current.known_as_of is None and self.current.newest == written.follows
            if followed and self._adopt(event, tokens):
                self._last_contact = self._clock()
                await self._tell()
                return
        await self.look()
        async with self._refreshing:
            if self._adopt(event, tokens):
                await self._tell()
            elif self.current.revision < event.revision:
                log.warning(
                    "a write holds when the store is back", revision=event.revision, known=self.current.revision
                )

    def _adopt(self, event: AdministrativeEvent, tokens: Mapping[str, StoredToken]) -> bool:
        """Know what a write has changed, if it is the one after what is known."""
        if self.current.revision != event.revision - 1:
            return False
        contents = contents_of_events(event.revision, event.revision - 1, [event], tokens)
        self._swap(replace(self.current.with_contents(contents), known_as_of=self.current.known_as_of))
        self._tell_changes(contents.steps)
        return True

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
