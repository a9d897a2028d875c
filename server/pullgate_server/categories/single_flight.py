"""One piece of work at a time for each key, however many ask for it."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result")


class Flight(Generic[Result]):
    """Work under way. Whoever stops waiting for it stops nothing."""

    __slots__ = ("_waiting", "task")

    def __init__(self, task: "asyncio.Task[Result]") -> None:
        self.task = task
        self._waiting: set[asyncio.Future[None]] = set()
        task.add_done_callback(self._land)

    async def landed(self, wait: float) -> bool:
        """Wait at most so many seconds; returns whether the work is done."""
        if self.task.done() or wait <= 0:
            return self.task.done()
        # Thousands may wait, and each must be able to leave at no more than its own cost: callbacks of the task itself
        # are found by a search through all of them.
        landing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(landing)
        try:
            async with asyncio.timeout(wait):
                await landing
        except TimeoutError:
            return self.task.done()
        finally:
            self._waiting.discard(landing)
        return True

    def _land(self, task: "asyncio.Task[Result]") -> None:
        for landing in self._waiting:
            if not landing.done():
                landing.set_result(None)
        if not task.cancelled():
            # Where nobody waits any more, what went wrong is not told a second time by the garbage collector.
            task.exception()


class SingleFlight(Generic[Key, Result]):
    """Shares work under way among those who ask for it."""

    def __init__(self) -> None:
        self._flights: dict[Key, Flight[Result]] = {}

    def __contains__(self, key: Key) -> bool:
        return key in self._flights

    def __len__(self) -> int:
        return len(self._flights)

    def join(self, key: Key, work: Callable[[], Coroutine[Any, Any, Result]]) -> Flight[Result]:
        """The flight for `key`: the one that is under way, or a new one."""
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = Flight(asyncio.ensure_future(work()))
            flight.task.add_done_callback(lambda _: self._flights.pop(key, None))
        return flight

    async def close(self) -> None:
        """Give up what is under way."""
        tasks = [flight.task for flight in self._flights.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
