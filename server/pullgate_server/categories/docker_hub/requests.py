"""Requests to Docker Hub: what is asked, for which look-up, and what may come of it."""

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from pullgate_server.categories.request_budget import Turn


class Endpoint(enum.Enum):
    """What Docker Hub is asked for."""

    ORGANIZATIONS = "orgs"
    USERS = "users"
    SIGN_IN = "auth/token"


class RequestOutcome(enum.Enum):
    """What came of one request, for figures."""

    ANSWERED = "answered"
    REDIRECTED = "redirected"
    NOT_FOUND = "not_found"
    THROTTLED = "throttled"
    REFUSED = "refused"
    FAILED = "failed"


OnRequest = Callable[[Endpoint, RequestOutcome, float], None]
"""Is told of every request when it has ended, with the seconds it took."""


class FailedError(Exception):
    """The look-up failed; the message says why.

    Attributes:
        outcome: what came of the request.
        retry_at: from when on asking again is of use; None where that is not said.
    """

    outcome = RequestOutcome.FAILED

    def __init__(self, detail: str, retry_at: datetime | None = None) -> None:
        super().__init__(detail)
        self.retry_at = retry_at


class OutageError(FailedError):
    """Docker Hub cannot be reached, or is out of order: the same request may be answered soon."""


class ThrottledError(FailedError):
    """Docker Hub asks to wait."""

    outcome = RequestOutcome.THROTTLED


class RefusedError(FailedError):
    """Docker Hub does not want to say: 401 or 403."""

    outcome = RequestOutcome.REFUSED

    def __init__(self, detail: str, status: int) -> None:
        super().__init__(detail)
        self.status = status


@dataclass(slots=True, kw_only=True)
class LookUp:
    """One look-up under way, and what was done for it.

    Attributes:
        turn: what its requests are taken from.
        is_unanswered: whether Docker Hub owes it an answer, or did not give one to the last request.
        as_anybody: whether it is made without the account from now on.
    """

    namespace: str
    turn: Turn
    steps: list[str]
    retries: int = 0
    is_unanswered: bool = False
    as_anybody: bool = False

    def path(self, endpoint: Endpoint) -> str:
        """Where an endpoint tells of the namespace."""
        return f"/v2/{endpoint.value}/{self.namespace}/"

    def came_of(self, what: str) -> str:
        """Say what came of the last request; gives the whole sentence."""
        self.steps[-1] += f": {what}"
        return self.steps[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer that says something: a document, or another place (`location`)."""

    status: int
    outcome: RequestOutcome
    sent_at: datetime
    document: Mapping[str, object] = field(default_factory=dict)
    location: str = ""
