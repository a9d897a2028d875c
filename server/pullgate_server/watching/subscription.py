"""One subscription: what it has been told, and what waits to be told. All of it bounded."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Iterable
from datetime import datetime
from itertools import islice

from pullgate_policy.caller import Caller
from pullgate_policy.category_lookup import KnownCategory
from pullgate_policy.policy_state import StateChange
from pullgate_server.stores.port import RevisionChange
from pullgate_server.watching.view import View

MAX_WAITING = 64
"""Changes that wait for a subscriber, each on its own. One that is slower gets the latest state of what changed."""

MAX_CATEGORIES = 10_000
"""Categories that wait for a subscriber; for one that is slower the oldest are left to be looked up."""

CATEGORIES_AT_ONCE = 200
"""Categories that are told in one message."""

MAX_UNAPPLIED = 32
"""Revisions that a subscriber has not applied, each of which is counted on its own."""


class Subscription:
    """What one subscriber has been told, and what waits.

    Attributes:
        told: up to this revision the subscriber was told everything in its view.
        fell_behind: whether too much waited, so that only what is newest is told.
        applied_revision: the newest one that it says it has applied.
        error: why it refused a revision.
        left_at: since when it has not been connected any more.
        changed: whether the list of subscribers has not been told the newest of all this.
    """

    def __init__(
        self,
        subscription_id: str,
        *,
        name: str,
        caller: Caller,
        view: View,
        asked: Iterable[str],
        connected_at: datetime,
    ) -> None:
        self.id = subscription_id
        self.name = name
        self.caller = caller
        self.view = view
        self.asked = tuple(asked)
        self.connected_at = connected_at
        self.told = 0
        self.fell_behind = False
        self.applied_revision = 0
        self.applied_at: datetime | None = None
        self.error = ""
        self.left_at: datetime | None = None
        self.changed = True
        self._waiting: deque[tuple[RevisionChange, StateChange]] = deque()
        self._categories: OrderedDict[str, KnownCategory] = OrderedDict()
        self._unapplied: deque[tuple[int, datetime]] = deque(maxlen=MAX_UNAPPLIED)
        self._wake = asyncio.Event()
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at: float | None = None

    # What is put in from outside.

    def push(self, step: RevisionChange, now: datetime) -> None:
        """Have a write told, if it is in view."""
        seen = self.view.of(step)
        if seen is None:
            return
        self.note_unapplied(step.revision, now)
        if self.fell_behind or len(self._waiting) >= MAX_WAITING:
            # Memory is bounded by what is known of recent changes, which all who are slow share.
            self.fell_behind = True
            self._waiting.clear()
        else:
            self._waiting.append((step, seen))
        self._wake.set()

    def push_categories(self, categories: Iterable[KnownCategory]) -> None:
        """Have categories told, each as it is at last."""
        for known in categories:
            self._categories[known.name] = known
            self._categories.move_to_end(known.name)
            if len(self._categories) > MAX_CATEGORIES:
                self._categories.popitem(last=False)
        self._wake.set()

    def wake(self) -> None:
        """Have it look around."""
        self._wake.set()

    def report(self, revision: int, error: str, now: datetime) -> None:
        """Take in what the subscriber says of itself."""
        if revision >= self.applied_revision:
            self.applied_revision, self.applied_at = revision, now
        self.error = error
        while self._unapplied and self._unapplied[0][0] <= self.applied_revision:
            self._unapplied.popleft()
        self.changed = True

    def note_unapplied(self, revision: int, now: datetime) -> None:
        """Count from now on for how long the subscriber does not say that it has applied a revision."""
        if len(self._unapplied) < MAX_UNAPPLIED:
            self._unapplied.append((revision, now))
        else:
            # The newest has to be applied at last; since when it has not been is told by an earlier one.
            self._unapplied[-1] = (revision, self._unapplied[-1][1])
        self.changed = True

    @property
    def waiting_since(self) -> datetime | None:
        """Since when there has been a revision that concerns it and that it does not say it has applied."""
        return self._unapplied[0][1] if self._unapplied else None

    def leave(self, now: datetime) -> None:
        """Note that nothing is told any more."""
        self.left_at = now
        self.changed = True
        self._waiting.clear()
        self._categories.clear()
        self._disarm()

    # What whoever tells takes out.

    @property
    def is_up_to_date(self) -> bool:
        """Whether no revision waits."""
        self._drop_told()
        return not self._waiting and not self.fell_behind

    def next_change(self) -> tuple[RevisionChange, StateChange] | None:
        """The next write, and what of it is in view."""
        self._drop_told()
        return self._waiting.popleft() if self._waiting and not self.fell_behind else None

    def take_categories(self) -> tuple[KnownCategory, ...]:
        """Some of the categories that wait, the longest waiting first."""
        names = list(islice(self._categories, CATEGORIES_AT_ONCE))
        return tuple(self._categories.pop(name) for name in names)

    def told_up_to(self, revision: int) -> None:
        """Note what was told."""
        self.changed = self.changed or revision != self.told
        self.told = revision

    def begin_anew(self, revision: int) -> None:
        """Note that a snapshot of a revision is told from here on."""
        self.fell_behind = False
        self.told_up_to(revision)
        self._drop_told()

    async def look_around(self, until: float) -> None:
        """Wait until there is something to tell, or until a moment of the loop's clock."""
        # One alarm for as long as it is the same moment: what is pushed meanwhile does not wind it up again.
        if self._alarm_at != until:
            self._disarm()
            self._alarm, self._alarm_at = asyncio.get_running_loop().call_at(until, self._ring), until
        await self._wake.wait()
        self._wake.clear()

    def _disarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()

    def _ring(self) -> None:
        self._alarm_at = None
        self._wake.set()

    def _drop_told(self) -> None:
        while self._waiting and self._waiting[0][0].revision <= self.told:
            self._waiting.popleft()
