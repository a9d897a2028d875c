"""Who subscribes to policies, and what each says it runs."""

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscriber:
    """One subscription.

    Attributes:
        name: the subscriber's own.
        caller: the name of the caller that subscribed.
        organization: the one that the caller belongs to; empty for operators.
        watched: the organizations that were asked for; empty for all that the caller may watch.
        sent_revision: the newest one that it was told.
        applied_revision: the newest one that it says it has applied; 0 where it has said nothing.
        applied_at: when it said so.
        lag: for how long there has been a revision that concerns it and that it does not say it has applied.
        error: why it refused a revision, in its own words.
        server: the one that it is connected to.
    """

    subscription_id: str
    name: str
    caller: str
    organization: str
    watched: tuple[str, ...]
    connected_at: datetime
    sent_revision: int
    applied_revision: int
    applied_at: datetime | None
    lag: timedelta | None
    error: str
    server: str
