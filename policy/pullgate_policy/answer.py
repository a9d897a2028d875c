"""A decision as a service hands it out: the revision it rests on, a name of its own, and for how long it holds."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from pullgate_policy.decision import Decision


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer to one question.

    Attributes:
        decision: what was decided.
        policy_revision: of the policies that were used.
        decision_id: names this one answer, for logs and questions.
        cacheable_for: how long the same question has the same answer, as far as the service vouches for it.
        notes: what else explains the answer, in sentences, such as a stated role that was not taken.
        known_as_of: set while the service's database is out of reach: when the policies were last known to be the
            newest.
    """

    decision: Decision
    policy_revision: int
    decision_id: str
    cacheable_for: timedelta
    notes: tuple[str, ...] = ()
    known_as_of: datetime | None = None
