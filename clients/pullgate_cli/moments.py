"""Moments: for programs in the form that documents have, and as a person writes one on the command line."""

from contextlib import suppress
from datetime import UTC, date, datetime, time
from typing import Any, cast

import click

from pullgate_cli.durations import length_of
from pullgate_policy import Problem
from pullgate_policy.document import Timestamp

_timestamp = Timestamp()


class Moment(click.ParamType):  # type: ignore[type-arg]  # generic in later clicks alone
    """A time with its time zone, a day (which is when it begins in UTC), or a length of time from now."""

    name = "moment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """The moment in UTC."""
        if isinstance(value, datetime):
            return value
        try:
            length = length_of(value)
            if length is not None:
                return datetime.now(UTC) + length
        except OverflowError:
            self.fail(f"{value!r} is out of range", param, ctx)
        with suppress(ValueError):
            return datetime.combine(date.fromisoformat(value), time(), UTC)
        problems: list[Problem] = []
        moment = _timestamp.read(value, "", problems)
        if moment is None:
            self.fail(f"{problems[0].description}, 2027-01-01 or 90d from now", param, ctx)
        return moment


def moment_data(moment: datetime | None) -> str | None:
    """The moment as `--json` has it, such as 2027-01-01T00:00:00Z; None for never."""
    return cast("str | None", _timestamp.write(moment))
