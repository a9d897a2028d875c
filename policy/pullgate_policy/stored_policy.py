"""A policy as a store holds it, and its history: with the revision that wrote it, and by whom, when and why."""

from dataclasses import dataclass
from datetime import datetime

from pullgate_policy.policy import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPolicy:
    """A policy as it was written.

    Attributes:
        revision: of the write; every committed write has one of its own.
        comment: the author's note.
    """

    policy: Policy
    revision: int
    author: str
    written_at: datetime
    comment: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRevision:
    """One write in a policy's history.

    Attributes:
        policy: None where the write took the policy away.
        comment: the author's note.
    """

    policy: Policy | None
    revision: int
    author: str
    written_at: datetime
    comment: str
