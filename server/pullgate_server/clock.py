"""Time, handed in: everything that needs it takes a `Clock`, so that tests set it."""

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
"""Gives the present moment, in UTC."""


def system_clock() -> datetime:
    """The machine's time."""
    return datetime.now(UTC)
