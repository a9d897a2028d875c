"""Does without a memory that is out of reach: what it would have said is found elsewhere, or asked for anew."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from pullgate_server.clock import Clock
from pullgate_server.errors import RetryableError
from pullgate_server.stores.category_knowledge import CategoryMemory, Remembered

log = structlog.get_logger()

READ_SECONDS = 1.0
"""The longest that a memory is waited for before it counts as out of reach."""

REST = timedelta(seconds=5)
"""For how long a memory that failed is left alone, so that not every question waits for it."""


class TolerantMemory:
    """A memory whose failures are logged once per outage, counted each, and answered as if nothing were remembered.

    Args:
        on_failure: called with the memory's name at each failure.
    """

    def __init__(self, memory: CategoryMemory, *, clock: Clock, on_failure: Callable[[str], None]) -> None:
        self._memory = memory
        self._clock = clock
        self._on_failure = on_failure
        self._resting_until: datetime | None = None

    async def get(self, source: str, namespace: str) -> tuple[bool, Remembered | None]:
        """Whether that could be found out in time, and what is remembered."""
        if self._resting():
            return False, None
        try:
            async with asyncio.timeout(READ_SECONDS):
                remembered = await self._memory.get(source, namespace)
        except Exception as error:  # noqa: BLE001 - whatever it is, decisions go on without
            self._failed(error)
            return False, None
        self._answered()
        return True, remembered

    async def put(self, source: str, namespace: str, remembered: Remembered, lifetime: float) -> bool:
        """Remember it; returns whether that is done."""
        if self._resting():
            return False
        try:
            await self._memory.put(source, namespace, remembered, lifetime)
        except Exception as error:  # noqa: BLE001 - whatever it is, decisions go on without
            self._failed(error)
            return False
        self._answered()
        return True

    def _resting(self) -> bool:
        return self._resting_until is not None and self._clock() < self._resting_until

    def _failed(self, error: Exception) -> None:
        self._on_failure(self._memory.name)
        if self._resting_until is None and isinstance(error, RetryableError | TimeoutError):
            cause = repr(error.__cause__ or error)
            log.warning("category memory out of reach", memory=self._memory.name, cause=cause)
        elif self._resting_until is None:
            log.error("category memory broken", memory=self._memory.name, exc_info=error)
        self._resting_until = self._clock() + REST

    def _answered(self) -> None:
        if self._resting_until is not None:
            log.info("category memory back in reach", memory=self._memory.name)
        self._resting_until = None
