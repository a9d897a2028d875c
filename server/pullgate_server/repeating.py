"""What is done again and again in the background."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog

log = structlog.get_logger()


def repeat(
    action: Callable[[], Awaitable[None]], seconds: float, sooner: asyncio.Event | None = None
) -> Callable[[], Awaitable[None]]:
    """Something that calls `action` every so many seconds until it is cancelled; a defect in it is logged.

    Args:
        sooner: set for a call as soon as the one under way has ended. However often it is set meanwhile, it is one.
    """
    call = sooner or asyncio.Event()

    async def forever() -> None:
        while True:
            call.clear()
            try:
                await action()
            except Exception as error:
                log.error("background task failed", task=getattr(action, "__qualname__", ""), exc_info=error)
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await call.wait()

    return forever
