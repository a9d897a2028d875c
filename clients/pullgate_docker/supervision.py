"""What systemd is told of the plugin: that it answers, and from then on that it goes on; see sd_notify(3)."""

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

MICROSECONDS = 1_000_000


def tell(state: str, environment: Mapping[str, str]) -> None:
    """Tell systemd a state, as `READY=1`; nobody is told if systemd did not ask to be."""
    address = environment.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as teller:
        teller.settimeout(0)
        # Whoever is not told draws the conclusion that there is to draw.
        with suppress(OSError):
            teller.sendto(state.encode(), address)


@asynccontextmanager
async def keep_telling(environment: Mapping[str, str]) -> AsyncIterator[None]:
    """Tell systemd twice in each WATCHDOG_USEC that the event loop turns, which is what may hang."""
    microseconds = environment.get("WATCHDOG_USEC", "")
    if not microseconds.isdecimal():
        yield
        return

    async def again_and_again() -> None:
        while True:
            tell("WATCHDOG=1", environment)
            await asyncio.sleep(int(microseconds) / MICROSECONDS / 2)

    telling = asyncio.create_task(again_and_again())
    try:
        yield
    finally:
        telling.cancel()
