"""What somebody who follows a service decides from: how old it may be, and what holds when it is older."""

import enum
from dataclasses import dataclass, replace
from datetime import datetime

from pullgate_policy.caller import Caller
from pullgate_policy.decision import Decision
from pullgate_policy.policy import Effect
from pullgate_policy.policy_state import PolicyState


class KnowledgeStatus(enum.Enum):
    """How somebody who follows a service stands."""

    NOT_READY = "not ready"
    """Nothing is known yet."""

    READY = "ready"
    """Connected, and told everything."""

    STALE = "stale"
    """Not connected, or told nothing for too long. What is known is not older than it may be."""

    ERROR = "error"
    """The same for so long that what is known is older than it may be."""

    FATAL = "fatal"
    """Refused by the service in a way that does not mend itself; it is not asked again."""


class PastMaximumAge(enum.Enum):
    """What holds when nothing is known, or what is known is older than it may be."""

    CLOSED = "closed"
    """No decision is made, so nothing is allowed."""

    OPEN = "open"
    """Everything is allowed, and the answer says what the policy last known would have done."""

    LAST_KNOWN = "last_known"
    """Decisions go on from what is known, however old. Where nothing is known none is made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Knowledge:
    """What decisions are made from, and how it stands.

    Attributes:
        caller: who follows, as the service sees it; None where that is not known.
        followed: the organizations that are; None for all that the caller may watch.
        known_as_of: when the service last said that this is the newest; None while it says so.
        problem: why it is not READY, for people.
        refusal: why no decision may be made, for people; empty where one may.
        fails_open: whether everything is allowed.
    """

    state: PolicyState = PolicyState()
    caller: Caller | None = None
    followed: frozenset[str] | None = None
    status: KnowledgeStatus = KnowledgeStatus.NOT_READY
    known_as_of: datetime | None = None
    problem: str = ""
    refusal: str = ""
    fails_open: bool = False

    @property
    def note(self) -> str:
        """What an answer that was allowed by failing open says of itself."""
        since = "nothing is known of any policy" if self.caller is None else "what is known is older than it may be"
        return f"allowed by failing open: {since} ({self.problem})"


def allowed_by_failing_open(decision: Decision) -> Decision:
    """The decision where everything is allowed; what the policy says stays readable."""
    return replace(decision, effect=Effect.ALLOW, enforced=False)
