"""Lengths of time as a person writes them: 90d, 12h, 30m, 45s, 2w."""

import re
from datetime import timedelta
from typing import Any

import click

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class Duration(click.ParamType):  # type: ignore[type-arg]  # generic in later clicks alone
    """A number and its unit."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """The length of time."""
        if isinstance(value, timedelta):
            return value
        length = length_of(value)
        if length is None:
            self.fail(f"{value!r} is not a length of time such as 90d, 12h, 30m or 45s", param, ctx)
        return length


def length_of(text: str) -> timedelta | None:
    """The length of time that a text means; None if it means none."""
    match = re.fullmatch(r"([0-9]{1,9})([smhdw])", text)
    return None if match is None else timedelta(**{_UNITS[match[2]]: int(match[1])})
