"""The circuit: a Docker Hub that does not answer is asked less."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from random import Random

import structlog

from pullgate_server.categories.docker_hub.requests import FailedError, LookUp, OutageError
from pullgate_server.clock import Clock

log = structlog.get_logger()

OUTAGES_BEFORE_CIRCUIT = 3
"""Look-ups in succession that Docker Hub does not answer, before it is asked less."""

SHORTEST_BREAK = 0.5
LONGEST_BREAK = 60.0


class Circuit:
    """Keeps look-ups from a Docker Hub that does not answer, and lets one at a time try whether it does again."""

    def __init__(self, clock: Clock, random: Random) -> None:
        self._clock = clock
        self._random = random
        self._outages = 0
        self._again_at = datetime.min.replace(tzinfo=UTC)
        self._is_trying = False

    def check(self) -> None:
        """Raise FailedError if Docker Hub is not to be asked now."""
        if not self._is_open:
            return
        # A clock that was set back must not make the break longer than any may be.
        if timedelta() < self._again_at - self._clock() <= timedelta(seconds=LONGEST_BREAK):
            again_at = f"{self._again_at:%Y-%m-%dT%H:%M:%SZ}"
            raise FailedError(f"Docker Hub does not answer, and is asked again from {again_at} on", self._again_at)
        if self._is_trying:
            raise FailedError("Docker Hub does not answer, and another look-up tries whether it does again")

    @contextmanager
    def attempt(self, look_up: LookUp) -> Iterator[None]:
        """Around what asks Docker Hub; raises FailedError if it is not to be asked now.

        A look-up that is cancelled while Docker Hub owes it an answer has met an outage too: somebody waited no longer.
        """
        self.check()
        is_trial = self._is_open
        self._is_trying |= is_trial
        try:
            yield
        except OutageError:
            self._count()
            raise
        except asyncio.CancelledError:
            if look_up.is_unanswered:
                self._count()
            raise
        except FailedError:
            self._close()
            raise
        else:
            self._close()
        finally:
            if is_trial:
                self._is_trying = False

    @property
    def _is_open(self) -> bool:
        return self._outages >= OUTAGES_BEFORE_CIRCUIT

    def _count(self) -> None:
        self._outages += 1
        if not self._is_open:
            return
        if self._outages == OUTAGES_BEFORE_CIRCUIT:
            log.warning("docker hub does not answer, and is asked less")
        longest = min(LONGEST_BREAK, 2.0 ** min(self._outages, 10))
        seconds = max(SHORTEST_BREAK, self._random.uniform(0, longest))
        self._again_at = self._clock() + timedelta(seconds=seconds)

    def _close(self) -> None:
        if self._is_open:
            log.info("docker hub answers again")
        self._outages = 0
