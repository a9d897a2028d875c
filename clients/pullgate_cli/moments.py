"""Moments for programs, in the form that documents have."""

from datetime import datetime
from typing import cast

from pullgate_policy.document import Timestamp

_timestamp = Timestamp()


def moment_data(moment: datetime | None) -> str | None:
    """The moment as `--json` has it, such as 2027-01-01T00:00:00Z; None for never."""
    return cast("str | None", _timestamp.write(moment))
