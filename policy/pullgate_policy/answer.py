"""A decision as a service hands it out: the revision it rests on, a name of its own, and for how long it holds."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, fields
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

    def again(self, decision_id: str) -> "Answer":
        """The same answer under another id."""
        # What dataclasses do themselves costs more than all the rest of a decision made in one's own process
        # (docs/performance.md).
        answer = _new(Answer)
        _set_decision(answer, self.decision)
        _set_policy_revision(answer, self.policy_revision)
        _set_decision_id(answer, decision_id)
        _set_cacheable_for(answer, self.cacheable_for)
        _set_notes(answer, self.notes)
        _set_known_as_of(answer, self.known_as_of)
        return answer


_new = object.__new__
_set_decision, _set_policy_revision, _set_decision_id, _set_cacheable_for, _set_notes, _set_known_as_of = (
    getattr(Answer, item.name).__set__ for item in fields(Answer)
)


class DecisionIds:
    """Names for answers: unique, the same length always, and cheap to make.

    Attributes:
        next: gives a name that no other answer has: 80 random bits of this process, and a counter.
    """

    LENGTH = 32

    def __init__(self, random_bytes: Callable[[int], bytes]) -> None:
        # Without a call of Python's own: in-process decisions are counted in hundreds of nanoseconds.
        write = f"{random_bytes(10).hex()}%012x".__mod__
        self.next: Callable[[], str] = map(write, itertools.count(1)).__next__
