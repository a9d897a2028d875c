"""Follows a service: subscribes, comes back after every interruption, and goes on where it was.

Pauses grow from one failure to the next and have a random length ("full jitter",
https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/), also after a stream that ended in peace:
gRPC's own backoff does not hold up who is let in and sent away again.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from random import Random

import grpc

from pullgate_client.aio import AsyncClient
from pullgate_client.errors import BrokenStreamError, CallError, ClientError, UnusableUpdateError
from pullgate_client.watch_reader import WatchedState
from pullgate_policy.watch import MISSED_BOOKMARKS, GoAway, Opened, WatchEvent

FIRST_PAUSE = 1.0
"""The first pause is at most so many seconds; each failure doubles that."""

LONGEST_PAUSE = 30.0

LASTING = 10.0
"""Seconds after which a stream was worth its while, so that pauses begin anew."""

OPENING = 20.0
"""Seconds within which a stream has to say that it is open."""

FATAL = frozenset(
    {
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.UNIMPLEMENTED,
    }
)
"""Statuses that do not mend themselves where the service itself gives them, with a reason: whoever asked has to change
something first. Without one they come from something in between, which may be gone in a moment."""

STORE_REPLACED = "STORE_REPLACED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Interrupted:
    """The stream has ended.

    Attributes:
        error: why; None where it ended in peace.
        retry_after: seconds until it is tried again; None where it is not, as asking again is of no use.
        begins_anew: whether it goes on with a snapshot, as what was told does not hold any more or is not whole.
    """

    error: ClientError | None
    retry_after: float | None
    begins_anew: bool = False


FollowerEvent = WatchEvent | Interrupted


class Follower:
    """Stays subscribed.

    Args:
        subscriber: the own name, for people who list subscribers.
        organizations: these alone; empty for all that the caller may watch.
        begin: what was told already, to go on from there.

    Attributes:
        told: what was told, whole.
    """

    def __init__(
        self,
        client: AsyncClient,
        *,
        subscriber: str = "",
        organizations: Sequence[str] = (),
        include_categories: bool = False,
        begin: WatchedState | None = None,
        random: Random | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.told = begin or WatchedState()
        self._client = client
        self._subscriber = subscriber
        self._organizations = tuple(organizations)
        self._include_categories = include_categories
        self._random = random or Random()  # noqa: S311 - for jitter
        self._sleep = sleep
        self._failures = 0

    async def events(self) -> AsyncGenerator[FollowerEvent]:
        """What is told, each taken in already, and every interruption; ends with one that does not mend itself."""
        while True:
            pause: float | None = None
            error: ClientError | None = None
            began = asyncio.get_running_loop().time()
            try:
                async with aclosing(self._stream()) as stream:
                    async for event in stream:
                        yield event
                        if isinstance(event, GoAway):
                            pause = event.reconnect_after.total_seconds()
            except ClientError as failure:
                error = failure
            finally:
                self.told.interrupted()
            if asyncio.get_running_loop().time() - began >= LASTING:
                self._failures = 0
            interruption = self._interrupted(error, pause)
            yield interruption
            if interruption.retry_after is None:
                return
            await self._sleep(interruption.retry_after)

    async def _stream(self) -> AsyncGenerator[WatchEvent]:
        """One stream, until it ends; raises ClientError."""
        patience = OPENING
        stream = self._client.watch(
            subscriber=self._subscriber,
            organizations=self._organizations,
            include_categories=self._include_categories,
            resume_token=self.told.resume_token,
        )
        async with aclosing(stream):
            while True:
                try:
                    async with asyncio.timeout(patience):
                        event = await anext(stream)
                except StopAsyncIteration:
                    return
                except TimeoutError:
                    raise CallError(
                        grpc.StatusCode.DEADLINE_EXCEEDED, f"the service has said nothing for {patience:g} seconds"
                    ) from None
                if isinstance(event, Opened):
                    patience = max(event.bookmark_interval.total_seconds() * MISSED_BOOKMARKS, 0.1)
                self.told.take(event)
                yield event

    def _interrupted(self, error: ClientError | None, pause: float | None) -> Interrupted:
        begins_anew = isinstance(error, BrokenStreamError) or _reason(error) == STORE_REPLACED or _refuses_token(error)
        if begins_anew:
            self.told.forget_where()
        elif self._is_fatal(error):
            return Interrupted(error=error, retry_after=None)
        if error is None and pause is not None:
            self._failures = 0
            return Interrupted(error=None, retry_after=min(pause, LONGEST_PAUSE))
        longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2**self._failures)
        self._failures = min(self._failures + 1, 16)
        retry_after = self._random.uniform(0, longest)
        asked = error.retry_after if isinstance(error, CallError) else None
        return Interrupted(error=error, retry_after=max(retry_after, asked or 0.0), begins_anew=begins_anew)

    def _is_fatal(self, error: ClientError | None) -> bool:
        if isinstance(error, UnusableUpdateError) or not isinstance(error, CallError):
            return False
        if error.code is grpc.StatusCode.UNAUTHENTICATED and self._client.connection.token_file is not None:
            # Whoever mounts tokens replaces them, perhaps a little late.
            return False
        return error.code in FATAL and bool(error.reason)


def _reason(error: ClientError | None) -> str:
    return error.reason if isinstance(error, CallError) else ""


def _refuses_token(error: ClientError | None) -> bool:
    """Whether the service cannot read the resume token, as after it was put back to an earlier version."""
    return isinstance(error, CallError) and any(path == "resume_token" for path, _ in error.violations)
