"""What a client's calls give that is nobody else's value."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pullgate_client.errors import CallError
from pullgate_policy import Identity
from pullgate_policy.access_token import CallerRole
from pullgate_policy.answer import Answer
from pullgate_policy.changes import SettingChange


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """May this identity use this image? One of many that are asked over one stream.

    Attributes:
        identity: who pulls, or a token of theirs, from which the service reads who that is.
        request_id: tells the answers apart, which come in any order.
        organizations: who has a say besides the identity's own organizations.
        min_revision: the answer is at least as fresh as this revision.
    """

    identity: Identity | str
    reference: str
    request_id: str
    organizations: Sequence[str] = ()
    min_revision: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class WhoAmI:
    """The caller, as the service sees it.

    Attributes:
        organization: empty for operators.
        username: the person that the caller is; empty for operators and enforcers.
        expires_at: when the caller has to sign in anew; None for never.
    """

    name: str
    caller_id: str
    role: CallerRole
    organization: str
    username: str
    may_assert_roles: bool
    expires_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRunResult:
    """What would be decided about one image for one identity.

    Attributes:
        answers: without and with the policy that is tried, or why there are none.
    """

    identity: Identity
    reference: str
    answers: tuple[Answer, Answer] | CallError


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRun:
    """What a policy would do.

    Attributes:
        against_revision: what it was compared with; 0 for no policy.
    """

    changes: Sequence[SettingChange]
    results: Sequence[DryRunResult]
    against_revision: int
