"""Where subscriptions meet the snapshot: each committed write goes to those whom it concerns, in order, once."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from random import Random

import structlog

from pullgate_policy.errors import FieldInvalidError
from pullgate_policy.policy_state import StateChange
from pullgate_policy.watch import (
    Bookmark,
    CategoriesFound,
    Changed,
    GoAway,
    GoAwayReason,
    Opened,
    SnapshotEnd,
    WatchEvent,
)
from pullgate_server.clock import Clock
from pullgate_server.errors import (
    RetryableError,
    RevisionNotYetVisibleError,
    ServerStoppingError,
    StoreReplacedError,
)
from pullgate_server.snapshot import SnapshotKeeper
from pullgate_server.stores.port import RevisionChange, Store
from pullgate_server.watching.categories import CategoryFeed
from pullgate_server.watching.metrics import WatchMetrics
from pullgate_server.watching.recent_changes import MAX_REVISIONS, RecentChanges
from pullgate_server.watching.resume_token import ResumeToken, resume_token, write_mark
from pullgate_server.watching.subscription import Subscription
from pullgate_server.watching.view import View

log = structlog.get_logger()

AGE_SPREAD = 0.2
"""Streams end at an age of their own, up to so much less or more than the limit, so that not all end together."""

FAREWELL_SECONDS = 2.0
"""For how long, at the end, subscribers are waited for to take their GoAway."""

RETURNS_PER_SECOND = 500.0
"""So many subscribers are asked to come back in a second when all are sent away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """When streams are told something though nothing happens.

    Attributes:
        bookmark: seconds from one bookmark to the next.
        max_age: seconds after which a stream ends, about.
    """

    bookmark: float
    max_age: float


class WatchHub:
    """Tells subscribers.

    Args:
        store_id: names the store.
        random: for jitter.
    """

    def __init__(
        self,
        store: Store,
        store_id: str,
        snapshots: SnapshotKeeper,
        categories: CategoryFeed,
        *,
        metrics: WatchMetrics,
        pace: Pace,
        random: Random,
        clock: Clock,
    ) -> None:
        self._store = store
        self._store_id = store_id
        self._snapshots = snapshots
        self._categories = categories
        self._metrics = metrics
        self._pace = pace
        self._random = random
        self._clock = clock
        self._recent = RecentChanges(snapshots.current.revision)
        self._by_organization: dict[str | None, set[Subscription]] = {}
        self._subscriptions: dict[str, Subscription] = {}
        self._history = 0
        self._stopping = False
        self._gone = asyncio.Event()
        self._on_leave: list[Callable[[Subscription], None]] = []
        snapshots.call_on_change(self._distribute, self._begin_another_history)
        metrics.watch_subscribers(
            lambda: len(self), lambda: sum(item.waiting_since is not None for item in self.subscriptions)
        )

    def __len__(self) -> int:
        return len(self._subscriptions)

    @property
    def subscriptions(self) -> Sequence[Subscription]:
        """Those that are open."""
        return tuple(self._subscriptions.values())

    def find(self, subscription_id: str) -> Subscription | None:
        """The open subscription with this id."""
        return self._subscriptions.get(subscription_id)

    def call_on_leave(self, callback: Callable[[Subscription], None]) -> None:
        """Call `callback` with each subscription that ends."""
        self._on_leave.append(callback)

    async def stop(self) -> None:
        """Send everybody away, and wait a little for them to take it."""
        self._stopping = True
        for subscription in self._subscriptions.values():
            subscription.wake()
        if self._subscriptions:
            self._gone.clear()
            try:
                async with asyncio.timeout(FAREWELL_SECONDS):
                    await self._gone.wait()
            except TimeoutError:
                # Those who do not read. Their streams end without a word.
                return

    async def follow(self, subscription: Subscription, token_text: str) -> AsyncGenerator[WatchEvent]:
        """All that a subscriber is told, without end but for a GoAway.

        Args:
            token_text: the resume token; empty for a beginning.

        Raises:
            ServerStoppingError: the server stops.
            FieldInvalidError: the resume token is none.
            StoreReplacedError: it is of another store, or the store has become another one.
            RevisionNotYetVisibleError: it is newer than what this server knows, and the store is out of reach.
        """
        if self._stopping:
            raise ServerStoppingError
        with self._registered(subscription):
            history = self._history
            steps = await self._begin(subscription, token_text)
            if history != self._history:
                raise StoreReplacedError
            yield self._opened(subscription, resumed=steps is not None)
            if steps is None:
                async for part in self._snapshot(subscription):
                    yield part
            else:
                for step in steps:
                    seen = subscription.view.of(step)
                    if seen is not None:
                        yield self._changed(subscription, step, seen)
            self._tell_known_categories(subscription)
            async for event in self._tell(subscription, history):
                yield event

    async def _tell(self, subscription: Subscription, history: int) -> AsyncGenerator[WatchEvent]:
        loop = asyncio.get_running_loop()
        interval = self._pace.bookmark
        # Absolute, so that no change, however many come, puts a bookmark off. The first comes at once: a snapshot alone
        # does not say whether it is still the newest.
        bookmark_at = loop.time()
        end_at = loop.time() + self._pace.max_age * self._random.uniform(1 - AGE_SPREAD, 1 + AGE_SPREAD)
        while True:
            if history != self._history:
                raise StoreReplacedError
            now = loop.time()
            if self._stopping or now >= end_at:
                for farewell in self._farewell(subscription):
                    yield farewell
                return
            if now >= bookmark_at:
                bookmark_at += interval * ((now - bookmark_at) // interval + 1)
                yield self._bookmark(subscription)
            elif (following := subscription.next_change()) is not None:
                yield self._changed(subscription, *following)
            elif subscription.fell_behind:
                async for event in self._catch_up(subscription):
                    yield event
                # It may have been a snapshot.
                bookmark_at = loop.time()
            elif categories := subscription.take_categories():
                yield CategoriesFound(categories=categories)
            else:
                await subscription.look_around(min(bookmark_at, end_at))

    # What happens in the snapshot.

    def _distribute(self, steps: Sequence[RevisionChange]) -> None:
        now = self._clock()
        for step in steps:
            self._recent.add(step)
            for subscription in self._concerned(step):
                subscription.push(step, now)

    def _concerned(self, step: RevisionChange) -> Iterator[Subscription]:
        organizations = step.organizations
        if "" in organizations:
            yield from self._subscriptions.values()
            return
        yield from self._by_organization.get(None, ())
        yield from set().union(*(self._by_organization.get(name, ()) for name in organizations))

    def _begin_another_history(self) -> None:
        self._history += 1
        # It may be another store altogether: who comes next has it looked up.
        self._store_id = ""
        self._recent = RecentChanges(self._snapshots.current.revision)
        for subscription in self._subscriptions.values():
            subscription.wake()

    @contextmanager
    def _registered(self, subscription: Subscription) -> Iterator[None]:
        places: Sequence[str | None] = (
            [None] if subscription.view.organizations is None else sorted(subscription.view.organizations)
        )
        for place in places:
            self._by_organization.setdefault(place, set()).add(subscription)
        self._subscriptions[subscription.id] = subscription
        self._categories.subscribe(subscription)
        try:
            yield
        finally:
            subscription.leave(self._clock())
            self._categories.unsubscribe(subscription)
            del self._subscriptions[subscription.id]
            for place in places:
                self._by_organization[place].discard(subscription)
                if not self._by_organization[place]:
                    del self._by_organization[place]
            for callback in self._on_leave:
                callback(subscription)
            if not self._subscriptions:
                self._gone.set()

    # Where a subscriber begins.

    async def _begin(self, subscription: Subscription, token_text: str) -> Sequence[RevisionChange] | None:
        """What a subscriber has to be told of to go on; None for one that has to begin with a snapshot."""
        if not self._store_id:
            self._store_id = await self._store.identity()
        token = self._parse(token_text, subscription.view)
        if token is None:
            return None
        # From here on what is pushed is kept, or it is noted that it was too much.
        subscription.begin_anew(token.revision)
        if token.revision > self._snapshots.current.revision:
            await self._snapshots.look()
        return await self._steps_since(token)

    def _parse(self, text: str, view: View) -> ResumeToken | None:
        """What the token says; None for a subscriber that has to begin with a snapshot."""
        if not text:
            return None
        try:
            token = ResumeToken.parse(text)
        except ValueError as error:
            raise FieldInvalidError("resume_token", str(error)) from error
        if token.store_id != self._store_id:
            raise StoreReplacedError
        return token if token.view == view.mark else None

    async def _steps_since(self, token: ResumeToken) -> Sequence[RevisionChange] | None:
        """Every write since the token; None if they are too many to be told one by one, or cannot all be read.

        Raises:
            StoreReplacedError: the write at the token's revision is another one by now.
        """
        snapshot = self._snapshots.current
        if token.revision > snapshot.revision:
            if snapshot.known_as_of is not None:
                raise RevisionNotYetVisibleError(token.revision, snapshot.revision)
            raise StoreReplacedError
        if token.revision == snapshot.revision:
            if write_mark(snapshot.newest) != token.write:
                raise StoreReplacedError
            return ()
        if snapshot.revision - token.revision > MAX_REVISIONS:
            return None
        known = self._recent.steps_since(token.revision - 1)
        if known and known[0].revision == token.revision:
            if write_mark(known[0].fingerprint) != token.write:
                raise StoreReplacedError
            return known[1:]
        return await self._steps_in_log(token)

    async def _steps_in_log(self, token: ResumeToken) -> Sequence[RevisionChange] | None:
        try:
            contents = await self._store.read(token.revision)
        except RetryableError:
            raise
        except Exception as error:
            # What a newer server wrote, say: what came of it all can be read, as it is in the snapshot.
            log.error("changes cannot be told one by one", since=token.revision, exc_info=error)
            return None
        if write_mark(contents.at_since) != token.write:
            raise StoreReplacedError
        return contents.steps

    def _opened(self, subscription: Subscription, *, resumed: bool) -> Opened:
        return Opened(
            subscription_id=subscription.id,
            store_id=self._store_id,
            resumed=resumed,
            bookmark_interval=timedelta(seconds=self._pace.bookmark),
            caller=subscription.caller,
            newest_revision=self._snapshots.current.revision,
        )

    # What is told.

    async def _snapshot(self, subscription: Subscription) -> AsyncGenerator[WatchEvent]:
        snapshot = self._snapshots.current
        self._metrics.snapshots.inc()
        subscription.begin_anew(snapshot.revision)
        subscription.note_unapplied(snapshot.revision, self._clock())
        count = 0
        for part in subscription.view.parts(snapshot):
            count += len(part)
            yield part
            # Whoever decides meanwhile does not wait for all of a large snapshot to be written down.
            await asyncio.sleep(0)
        yield SnapshotEnd(
            revision=snapshot.revision, count=count, resume_token=self._token(subscription, snapshot.newest)
        )

    async def _catch_up(self, subscription: Subscription) -> AsyncGenerator[WatchEvent]:
        """Everything at once that a slow subscriber has missed, as it is now."""
        snapshot, told = self._snapshots.current, subscription.told
        if snapshot.revision <= told:
            # It resumed from the log, which was ahead of what this server had looked at.
            subscription.begin_anew(told)
            return
        latest = self._recent.latest_since(told, snapshot)
        if latest is None:
            async for event in self._snapshot(subscription):
                yield event
            return
        self._metrics.catch_ups.inc()
        change, added = latest
        seen = subscription.view.of(change)
        # Who is told nothing has the next change follow on what they were told last.
        subscription.begin_anew(told if seen is None else snapshot.revision)
        if seen is not None:
            yield Changed(
                change=seen,
                prev_revision=told,
                resume_token=self._token(subscription, snapshot.newest),
                catch_up=True,
                added=frozenset(filter(subscription.view.shows, added)),
            )

    def _changed(self, subscription: Subscription, step: RevisionChange, seen: StateChange) -> Changed:
        told = subscription.told
        subscription.told_up_to(step.revision)
        return Changed(
            change=seen,
            prev_revision=told,
            resume_token=self._token(subscription, step.fingerprint),
            added=step.added if seen is step else frozenset(filter(subscription.view.shows, step.added)),
            written_at=step.written_at,
            author=step.author,
            comment=step.comment,
        )

    def _bookmark(self, subscription: Subscription) -> Bookmark:
        snapshot = self._snapshots.current
        if subscription.is_up_to_date and subscription.told <= snapshot.revision:
            subscription.told = snapshot.revision
            token = self._token(subscription, snapshot.newest)
        else:
            # There is more to tell; a token of this revision was given with the last change.
            token = ""
        return Bookmark(
            revision=subscription.told,
            resume_token=token,
            server_time=self._clock(),
            known_as_of=snapshot.known_as_of,
        )

    def _farewell(self, subscription: Subscription) -> Iterator[WatchEvent]:
        yield self._bookmark(subscription)
        reason = GoAwayReason.STOPPING if self._stopping else GoAwayReason.AGE
        spread = max(1.0, len(self._subscriptions) / RETURNS_PER_SECOND) if self._stopping else 1.0
        yield GoAway(reason=reason, reconnect_after=timedelta(seconds=self._random.uniform(0, spread)))

    def _tell_known_categories(self, subscription: Subscription) -> None:
        if subscription.view.includes_categories:
            subscription.push_categories(self._categories.known_to(subscription.view))

    def _token(self, subscription: Subscription, fingerprint: str) -> str:
        return resume_token(self._store_id, subscription.told, fingerprint, subscription.view.mark)
