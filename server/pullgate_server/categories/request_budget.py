"""A budget of requests to one upstream: how many are made a minute, and whose question is next.

A token bucket below the upstream's own limit, and what the upstream says of that limit goes before it. Whoever asks
waits in the lane of its organization, and lanes are served in turn: an organization with a thousand questions does not
hold up another one's single question.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from pullgate_server.categories.port import AskedBy
from pullgate_server.clock import Clock

MAX_PAUSE = timedelta(hours=1)
"""The longest an upstream may ask to wait: a senseless header must not stop the questions for ever."""


class NoTurnError(Exception):
    """No request may be made now. The message is a sentence whose subject is the upstream.

    Attributes:
        retry_at: from when on one may.
    """

    def __init__(self, reason: str, retry_at: datetime) -> None:
        super().__init__(f"{reason} until {retry_at:%Y-%m-%dT%H:%M:%SZ}")
        self.retry_at = retry_at


# By identity: each waits for itself.
@dataclass(slots=True, kw_only=True, eq=False)
class _Waiter:
    """Somebody in line. `turn` gets None, or why there will be no turn."""

    turn: "asyncio.Future[NoTurnError | None]"
    lanes: list[str] = field(default_factory=list)


class RequestBudget:
    """Hands out turns to make a request, `per_minute` in the long run and a quarter of that at once.

    A minute sees at most one and a half times `per_minute`: what is saved up, what comes in, and the debt of `spend`.

    Args:
        now: gives seconds that only grow, at the pace of the event loop's.
    """

    def __init__(self, *, per_minute: float, clock: Clock, now: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_minute / 60
        self._most = max(1.0, per_minute / 4)
        self._clock = clock
        self._now = now
        self._tokens = self._most
        self._counted_at = now()
        self._pause_end: datetime | None = None
        self._lanes: OrderedDict[str, dict[_Waiter, None]] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def left(self) -> float:
        """The requests that may be made at once; below zero while there is a debt."""
        self._count()
        return self._tokens

    @property
    def paused_until(self) -> datetime | None:
        """Until when the upstream asks not to be asked; None when it does not."""
        # A clock that was set back must not make the pause longer than any may be.
        if self._pause_end is None or not timedelta() < self._pause_end - self._clock() <= MAX_PAUSE:
            return None
        return self._pause_end

    async def turn(self, asked_by: AskedBy) -> None:
        """Wait for the turn of one request, in the lanes of all on whose behalf it is made. May be cancelled.

        Raises:
            NoTurnError: the upstream asks to wait, now or before it was this one's turn.
        """
        self._check_pause()
        waiter = _Waiter(turn=asyncio.get_running_loop().create_future())
        for name in asked_by.names:
            self._stand(waiter, name)
        asked_by.call_on_join(lambda name: self._stand(waiter, name))
        self.grant()
        try:
            refusal = await waiter.turn
        except asyncio.CancelledError:
            self._leave(waiter)
            # The turn may have come in the moment in which it was given up.
            if not waiter.turn.cancelled() and waiter.turn.result() is None:
                self._tokens += 1
                self.grant()
            raise
        if refusal is not None:
            raise refusal

    def spend(self) -> None:
        """Take a request for a look-up that is under way, at once; later turns wait for it.

        Raises:
            NoTurnError: the upstream asks to wait, or too much was taken at once already.
        """
        self._check_pause()
        if self.left - 1 < -self._most:
            seconds = (1 - self._most - self._tokens) / self._per_second
            raise NoTurnError("is asked as often as it may be", self._clock() + timedelta(seconds=seconds))
        self._tokens -= 1

    def observe(self, remaining: int, reset_at: datetime | None) -> None:
        """Take in what the upstream says: how many more requests it answers, and when it begins to count anew."""
        self._tokens = min(self.left, max(0, remaining))
        if remaining <= 0 and reset_at is not None:
            self.pause_until(reset_at)

    def pause_until(self, moment: datetime) -> None:
        """Make no requests before `moment`, an hour from now at most; whoever waits is told at once."""
        ends = [min(moment, self._clock() + MAX_PAUSE), *filter(None, [self.paused_until])]
        self._pause_end = max(ends)
        if (until := self.paused_until) is not None:
            for waiter in {waiter for lane in self._lanes.values() for waiter in lane}:
                self._settle(waiter, _paused(until))

    def grant(self) -> None:
        """Hand out the turns that are due; called by itself when the next one is."""
        self._count()
        while self._lanes and self._tokens >= 1:
            name, lane = next(iter(self._lanes.items()))
            self._lanes.move_to_end(name)
            if self._settle(next(iter(lane)), None):
                self._tokens -= 1
        if self._lanes and self._timer is None:
            seconds = (1 - self._tokens) / self._per_second
            self._timer = asyncio.get_running_loop().call_later(seconds, self._wake)

    def _wake(self) -> None:
        self._timer = None
        self.grant()

    def _count(self) -> None:
        now = self._now()
        self._tokens = min(self._most, self._tokens + (now - self._counted_at) * self._per_second)
        self._counted_at = now

    def _check_pause(self) -> None:
        if (until := self.paused_until) is not None:
            raise _paused(until)

    def _stand(self, waiter: _Waiter, name: str) -> None:
        if not waiter.turn.done():
            waiter.lanes.append(name)
            self._lanes.setdefault(name, {})[waiter] = None

    def _leave(self, waiter: _Waiter) -> None:
        for name in waiter.lanes:
            lane = self._lanes[name]
            del lane[waiter]
            if not lane:
                del self._lanes[name]
        waiter.lanes.clear()

    def _settle(self, waiter: _Waiter, refusal: NoTurnError | None) -> bool:
        """Take the waiter out of line with its answer; False if it has given up."""
        self._leave(waiter)
        if waiter.turn.done():
            return False
        waiter.turn.set_result(refusal)
        return True


def _paused(until: datetime) -> NoTurnError:
    return NoTurnError("asks to wait", until)
