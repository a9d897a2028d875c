"""A budget of requests to one upstream: how many are made a minute, and whose question is next.

A token bucket below the upstream's own limit, and what the upstream says of that limit goes before it. Whoever asks
waits in the lane of its organization, and lanes are served in turn: an organization with a thousand questions does not
hold up another one's single question. Nor has that one to wait until the bucket is filled again: each organization may
have a few requests a minute although it is empty.
"""

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from pullgate_server.categories.port import AskedBy
from pullgate_server.clock import Clock

MAX_PAUSE = timedelta(hours=1)
"""The longest an upstream may ask to wait: a senseless header must not stop the questions for ever."""

REQUESTS_OF_A_TURN = 2
"""What a turn has at once. Most look-ups need two: a redirect is followed, or a 404 confirmed."""

ALLOWANCE = 6
"""The requests that an organization has a minute although the bucket is empty."""

ALLOWANCE_SECONDS = 60.0
"""How long it takes until an allowance that was used up is full again."""


class NoTurnError(Exception):
    """No request may be made now. The message is a sentence whose subject is the upstream.

    Attributes:
        retry_at: from when on one may.
        is_ours: whether it is only this budget that is used up; False where the upstream itself asks to wait.
    """

    def __init__(self, reason: str, retry_at: datetime, *, is_ours: bool) -> None:
        super().__init__(f"{reason} until {retry_at:%Y-%m-%dT%H:%M:%SZ}")
        self.retry_at = retry_at
        self.is_ours = is_ours


class Turn:
    """What somebody has whose turn it is: some requests that are paid for, and further ones at the cost of all."""

    def __init__(self, budget: "RequestBudget", *, lane: str, prepaid: int, allowed: float) -> None:
        self._budget = budget
        self._lane = lane
        self._prepaid = prepaid
        self._allowed = allowed

    def spend(self) -> None:
        """Take a request, at once. Those beyond what the turn has are a debt, for which later turns wait.

        Raises:
            NoTurnError: the upstream asks to wait, or too much was taken at once already.
        """
        self._budget._spend(is_prepaid=self._prepaid > 0)  # noqa: SLF001 - a turn is a part of the budget
        if self._prepaid > 0:
            self._prepaid -= 1
            self._allowed -= 1

    def end(self) -> None:
        """Give back what was not used."""
        unused, self._prepaid = self._prepaid, 0
        self._budget._give_back(self._lane, unused, max(0.0, self._allowed))  # noqa: SLF001 - as above


# By identity: each waits for itself.
@dataclass(slots=True, kw_only=True, eq=False)
class _Waiter:
    """Somebody in line. `turn` gets the turn, or why there will be none."""

    turn: "asyncio.Future[Turn | NoTurnError]"
    lanes: list[str] = field(default_factory=list)


class _Allowances:
    """What each lane may take although the bucket is empty. Work on behalf of nobody may take nothing.

    Lanes are forgotten when theirs must be full again, so that those are kept alone which had a turn of late.
    """

    def __init__(self, most: float, now: Callable[[], float]) -> None:
        self._most = most
        self._now = now
        self._per_second = most / ALLOWANCE_SECONDS
        self._counted: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def left(self, lane: str) -> float:
        """The requests that the lane may take."""
        if not lane:
            return 0.0
        if (counted := self._counted.get(lane)) is None:
            return self._most
        left, at = counted
        return min(self._most, left + (self._now() - at) * self._per_second)

    def seconds_until(self, lane: str, requests: float) -> float:
        """How long it takes until the lane may take so many."""
        return max(0.0, requests - self.left(lane)) / self._per_second if lane else math.inf

    def take(self, lane: str, requests: float) -> float:
        """Take so many, or what is left where that is less; gives how many were taken."""
        taken = min(self.left(lane), requests)
        self.give(lane, -taken)
        return taken

    def give(self, lane: str, requests: float) -> None:
        """Give so many to the lane."""
        if requests:
            self._counted[lane] = (min(self._most, self.left(lane) + requests), self._now())
            self._counted.move_to_end(lane)

    def forget(self) -> None:
        """Forget the lanes whose allowance must be full again."""
        while self._counted:
            lane, (_, at) = next(iter(self._counted.items()))
            if self._now() - at < ALLOWANCE_SECONDS:
                break
            del self._counted[lane]

    def __len__(self) -> int:
        return len(self._counted)


class RequestBudget:
    """Hands out turns to make requests, `per_minute` requests in the long run and a quarter of that at once.

    A minute sees at most one and a half times `per_minute`: what is saved up, what comes in, and the debt. A debt comes
    of the requests that look-ups make beyond those of their turn, and of lanes that use their allowance. It is never
    more than a quarter of `per_minute`, and allowances take no more than half of it.

    Args:
        now: gives seconds that only grow, at the pace of the event loop's.
    """

    def __init__(self, *, per_minute: float, clock: Clock, now: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_minute / 60
        self._most = max(1.0, per_minute / 4)
        self._of_a_turn = min(REQUESTS_OF_A_TURN, int(self._most))
        self._clock = clock
        self._now = now
        # What was left, and when: in one, as other threads read it.
        self._counted = (self._most, now())
        # Half of the debt is for the further requests of look-ups that have had their turn.
        self._most_allowed = max(self._of_a_turn, self._most / 2)
        # Paid for, and not made yet. What is saved up meanwhile is less by them, as they may all be made at once.
        self._prepaid = 0
        # Whoever empties the bucket has no allowance beyond it.
        self._allowances = _Allowances(min(ALLOWANCE, self._most), now)
        self._pause_end: datetime | None = None
        self._lanes: OrderedDict[str, dict[_Waiter, None]] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def left(self) -> float:
        """The requests that may be made at once; below zero while there is a debt. Any thread may read it."""
        left, at = self._counted
        return min(self._most - self._prepaid, left + (self._now() - at) * self._per_second)

    @property
    def paused_until(self) -> datetime | None:
        """Until when the upstream asks not to be asked; None when it does not."""
        # A clock that was set back must not make the pause longer than any may be.
        if self._pause_end is None or not timedelta() < self._pause_end - self._clock() <= MAX_PAUSE:
            return None
        return self._pause_end

    @asynccontextmanager
    async def turn(self, asked_by: AskedBy) -> AsyncIterator[Turn]:
        """Wait for a turn, in the lanes of all on whose behalf it is, and have it. May be cancelled.

        Raises:
            NoTurnError: the upstream asks to wait, now or before it was this one's turn.
        """
        turn = await self._wait(asked_by)
        try:
            yield turn
        finally:
            turn.end()

    def observe(self, remaining: int, reset_at: datetime | None) -> None:
        """Take in what the upstream says: how many more requests it answers, and when it begins to count anew."""
        self._set(min(self.left, max(-self._most, max(0, remaining) - self._prepaid)))
        if remaining <= 0 and reset_at is not None:
            self.pause_until(reset_at)

    def pause_until(self, moment: datetime) -> None:
        """Make no requests before `moment`, an hour from now at most; whoever waits is told at once."""
        ends = [min(moment, self._clock() + MAX_PAUSE), *filter(None, [self.paused_until])]
        self._pause_end = max(ends)
        if (until := self.paused_until) is not None:
            for waiter in {waiter for lane in self._lanes.values() for waiter in lane}:
                self._leave(waiter)
                if not waiter.turn.done():
                    waiter.turn.set_result(_paused(until))

    def grant(self) -> None:
        """Hand out the turns that are due; called by itself when the next one is."""
        self._allowances.forget()
        while (lane := self._next_lane()) is not None:
            self._lanes.move_to_end(lane)
            waiter = next(iter(self._lanes[lane]))
            self._leave(waiter)
            if not waiter.turn.done():  # who gave up in this moment has not left yet
                waiter.turn.set_result(self._begin(lane))
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._lanes:
            self._timer = asyncio.get_running_loop().call_later(self._seconds_to_next(), self.grant)

    async def _wait(self, asked_by: AskedBy) -> Turn:
        self._check_pause()
        waiter = _Waiter(turn=asyncio.get_running_loop().create_future())
        for name in asked_by.names:
            self._stand(waiter, name)
        asked_by.call_on_join(lambda name: self._join(waiter, name))
        self.grant()
        try:
            turn = await waiter.turn
        except asyncio.CancelledError:
            self._leave(waiter)
            # The turn may have come in the moment in which it was given up.
            if not waiter.turn.cancelled() and isinstance(turn := waiter.turn.result(), Turn):
                turn.end()
            raise
        if isinstance(turn, NoTurnError):
            raise turn
        return turn

    def _next_lane(self) -> str | None:
        """The lane whose turn it is now; None if it is nobody's. Those that must wait keep their place."""
        left = self.left
        if left >= self._of_a_turn:
            return next(iter(self._lanes), None)
        if left - self._of_a_turn < -self._most_allowed:
            return None
        return next((lane for lane in self._lanes if self._allowances.left(lane) >= self._of_a_turn), None)

    def _seconds_to_next(self) -> float:
        """How long it takes until it is somebody's turn, if nothing happens."""
        filled = (self._of_a_turn - self.left) / self._per_second
        in_bounds = filled - self._most_allowed / self._per_second
        allowed = min(self._allowances.seconds_until(lane, self._of_a_turn) for lane in self._lanes)
        return min(filled, max(in_bounds, allowed))

    def _begin(self, lane: str) -> Turn:
        """Pay for the turn of a lane."""
        self._set(self.left - self._of_a_turn)
        self._prepaid += self._of_a_turn
        allowed = self._allowances.take(lane, self._of_a_turn)
        return Turn(self, lane=lane, prepaid=self._of_a_turn, allowed=allowed)

    def _spend(self, *, is_prepaid: bool) -> None:
        self._check_pause()
        left = self.left
        if is_prepaid:
            self._set(left)
            self._prepaid -= 1
            return
        if left - 1 < -self._most:
            seconds = (1 - self._most - left) / self._per_second
            retry_at = self._clock() + timedelta(seconds=seconds)
            raise NoTurnError("is asked as often as it may be", retry_at, is_ours=True)
        self._set(left - 1)

    def _give_back(self, lane: str, unused: int, allowed: float) -> None:
        if unused:
            left = self.left
            self._prepaid -= unused
            self._set(left + unused)
            self._allowances.give(lane, allowed)
        self.grant()

    def _set(self, left: float) -> None:
        self._counted = (left, self._now())

    def _check_pause(self) -> None:
        if (until := self.paused_until) is not None:
            raise _paused(until)

    def _join(self, waiter: _Waiter, name: str) -> None:
        if not waiter.turn.done():
            self._stand(waiter, name)
            self.grant()

    def _stand(self, waiter: _Waiter, name: str) -> None:
        waiter.lanes.append(name)
        self._lanes.setdefault(name, {})[waiter] = None

    def _leave(self, waiter: _Waiter) -> None:
        for name in waiter.lanes:
            lane = self._lanes[name]
            del lane[waiter]
            if not lane:
                del self._lanes[name]
        waiter.lanes.clear()


def _paused(until: datetime) -> NoTurnError:
    return NoTurnError("asks to wait", until, is_ours=False)
