"""Who subscribes, on all servers of a database, and what each says it runs."""

import asyncio
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from pullgate_policy.caller import Caller
from pullgate_policy.subscriber import Subscriber
from pullgate_server.clock import Clock
from pullgate_server.errors import RetryableError, SubscriptionNotFoundError
from pullgate_server.stores.subscribers import FORGOTTEN_AFTER, SubscriberList, SubscriberRecord
from pullgate_server.watching.hub import WatchHub
from pullgate_server.watching.subscription import Subscription

MAX_ERROR = 1000
"""Characters of an error that are kept."""

SIGN_OF_LIFE = timedelta(seconds=10)
"""How often this server is noted to be there though nothing about its subscribers has changed."""

NOTICED_AFTER = timedelta(seconds=5)
"""That one has left may be noticed so late, when it is back already."""

MAX_LEFT = 1000
"""Subscribers that have left and may still say why; when there are more, those that left first are forgotten."""


class Subscribers:
    """Keeps the list of this server's subscribers, and reads everybody's.

    Args:
        server: names this server among those on the database.
    """

    def __init__(self, hub: WatchHub, shared: SubscriberList, server: str, clock: Clock) -> None:
        self._hub = hub
        self._shared = shared
        self._server = server
        self._clock = clock
        self._left: OrderedDict[str, Subscription] = OrderedDict()
        self._gone: set[str] = set()
        self._said_here: dict[str, SubscriberRecord] = {}
        self._sought: set[str] = set()
        self._found: Mapping[str, SubscriberRecord] = {}
        self._seeking = asyncio.Lock()
        self._kept_at = clock() - SIGN_OF_LIFE
        self._asked_at = clock()
        self._keeping = asyncio.Lock()
        hub.call_on_leave(self._note_left)

    async def report(self, caller: Caller, subscription_id: str, revision: int, error: str) -> None:
        """Take in what a subscriber says of itself; raises SubscriptionNotFoundError."""
        now, error = self._clock(), _kept(error)
        # Who refuses what it was told may have left by the time that it says so.
        subscription = self._hub.find(subscription_id) or self._left.get(subscription_id)
        if subscription is not None and subscription.caller.id == caller.id:
            subscription.report(revision, error, now)
            return
        record = await self._find(subscription_id) if subscription_id.isprintable() else None
        if record is None or record.caller_id != caller.id or record.server == self._server:
            # Another server that it is connected to may not have written it down yet, or be gone.
            raise SubscriptionNotFoundError(subscription_id)
        # Written down with all else, as those who write policies wait for every write.
        self._said_here[subscription_id] = replace(record, applied_revision=revision, applied_at=now, error=error)

    async def list(self, organization: str | None) -> Sequence[Subscriber]:
        """Those that belong to an organization, or (None) all, in the order of their names."""
        now = self._clock()
        records = {record.id: record for record in await self._shared.all(organization, now)}
        self._hear(records)
        for record in self._said_here.values():
            if record.id in records:
                records[record.id] = records[record.id].with_report_of(record)
        # This server's own as they are, which is more than is written down.
        records = {name: record for name, record in records.items() if record.server != self._server}
        for subscription in self._own:
            if organization in {None, subscription.caller.organization}:
                records[subscription.id] = self._record(subscription)
        return [
            Subscriber(
                subscription_id=record.id,
                name=record.name,
                caller=record.caller,
                organization=record.organization,
                watched=record.watched,
                connected_at=record.connected_at,
                sent_revision=record.sent_revision,
                applied_revision=record.applied_revision,
                applied_at=record.applied_at,
                lag=None if record.waiting_since is None else max(timedelta(0), now - record.waiting_since),
                error=record.error,
                server=record.server,
            )
            for record in sorted(_listed(records.values(), now), key=lambda item: (item.name, item.id))
        ]

    async def keep(self) -> None:
        """Write down what has changed; what cannot be written now is written later."""
        try:
            await self._keep()
        except RetryableError:
            return

    @property
    def _own(self) -> Sequence[Subscription]:
        """This server's, with those that have just left."""
        return (*self._hub.subscriptions, *self._left.values())

    def _note_left(self, subscription: Subscription) -> None:
        self._left[subscription.id] = subscription
        if len(self._left) > MAX_LEFT:
            self._gone.add(self._left.popitem(last=False)[0])

    async def _keep(self) -> None:
        async with self._keeping:
            now = self._clock()
            silence = now - self._kept_at
            if silence >= FORGOTTEN_AFTER / 2:
                # Others may have forgotten this server, by clocks of their own.
                for subscription in self._own:
                    subscription.changed = True
            self._forget_left(now)
            is_changed = self._said_here or self._gone or any(subscription.changed for subscription in self._own)
            if not is_changed and not (self._own and silence >= SIGN_OF_LIFE):
                return
            await self._ask(now)
            changed = [subscription for subscription in self._own if subscription.changed]
            said, gone = dict(self._said_here), frozenset(self._gone)
            for subscription in changed:
                subscription.changed = False
            try:
                records = [*map(self._record, changed), *said.values()]
                await self._shared.keep(self._server, now, records, gone)
            except BaseException:
                for subscription in changed:
                    subscription.changed = True
                raise
            self._gone -= gone
            for subscription_id, record in said.items():
                if self._said_here[subscription_id] is record:
                    del self._said_here[subscription_id]
            self._kept_at = now

    async def _find(self, subscription_id: str) -> SubscriberRecord | None:
        """A subscription on another server, looked for together with all that are sought at the same time.

        However many report, one connection to the database is enough: the others are for those who write policies.
        """
        self._sought.add(subscription_id)
        async with self._seeking:
            # In their turn: who was sought together comes next, before anything else is found.
            if subscription_id in self._sought:
                sought, self._sought = self._sought, set()
                try:
                    self._found = await self._shared.find(sought)
                except BaseException:
                    self._sought |= sought
                    raise
            return self._found.get(subscription_id)

    async def _ask(self, now: datetime) -> None:
        """Ask what subscribers have said to other servers: those that change, and now and then all that are behind."""
        due = now - self._asked_at >= SIGN_OF_LIFE
        names = [item.id for item in self._own if item.changed or (due and item.waiting_since is not None)]
        self._hear(await self._shared.find(names))
        if due:
            self._asked_at = now

    def _hear(self, known: Mapping[str, SubscriberRecord]) -> None:
        for subscription in self._own:
            record = known.get(subscription.id)
            if (
                record is not None
                and record.applied_at is not None
                and (subscription.applied_at is None or subscription.applied_at < record.applied_at)
            ):
                subscription.report(record.applied_revision, record.error, record.applied_at)

    def _forget_left(self, now: datetime) -> None:
        for subscription in list(self._left.values()):
            if subscription.left_at is not None and now - subscription.left_at >= FORGOTTEN_AFTER:
                del self._left[subscription.id]
                self._gone.add(subscription.id)

    def _record(self, subscription: Subscription) -> SubscriberRecord:
        return SubscriberRecord(
            id=subscription.id,
            server=self._server,
            name=subscription.name,
            caller_id=subscription.caller.id,
            caller=subscription.caller.name,
            organization=subscription.caller.organization,
            watched=subscription.asked,
            connected_at=subscription.connected_at,
            sent_revision=subscription.told,
            waiting_since=subscription.waiting_since,
            applied_revision=subscription.applied_revision,
            applied_at=subscription.applied_at,
            error=subscription.error,
            left_at=subscription.left_at,
        )


def _listed(records: Collection[SubscriberRecord], now: datetime) -> Iterator[SubscriberRecord]:
    """Those who are connected, and who left with an error and has not come back and said something since."""
    back: dict[tuple[str, str], datetime] = {}
    for record in records:
        if record.applied_at is not None or record.error:
            key = record.caller_id, record.name
            back[key] = max(record.connected_at, back.get(key, record.connected_at))
    for record in records:
        if record.left_at is None:
            yield record
        elif record.error and now - record.left_at < FORGOTTEN_AFTER:
            newest = back[record.caller_id, record.name]
            if newest == record.connected_at or newest < record.left_at - NOTICED_AFTER:
                yield record


def _kept(error: str) -> str:
    """What is kept of an error: databases keep no NUL, and lists have no use for what cannot be printed."""
    return "".join(character if character.isprintable() else " " for character in error[:MAX_ERROR])
