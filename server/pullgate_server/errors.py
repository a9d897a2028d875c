"""Why a call ends without an answer. Written for the caller; the statuses they travel as are in rpc/statuses.py.

    ServiceError
    ├── TokenMissingError, TokenInvalidError          who asks
    ├── TokenExpiredError, TokenRevokedError
    ├── CertificateUnknownError
    ├── MessageInvalidError, MessageTooLargeError     the bytes
    ├── IdentityTokenInvalidError                     one field of the request
    ├── BatchTooLargeError, RequestIdReusedError
    ├── NotFoundError                                 what is not there
    │   ├── PolicyNotFoundError, PolicyRevisionNotFoundError
    │   ├── CategoryPinNotFoundError, MemberNotFoundError, TokenNotFoundError
    │   └── SubscriptionNotFoundError
    ├── TokenAlreadyShownError                        a secret is shown once
    ├── RevisionStaleError                            a write based on what is no longer the newest
    ├── LockedOutError                                a write that its author could not undo
    ├── StoreReplacedError                            a subscriber was told of another history
    └── RetryableError                                try again
        ├── RevisionNotYetVisibleError
        ├── TooManyCallsError, TooManySubscribersError
        ├── StoreUnavailableError, IssuerUnavailableError
        ├── KnowledgeTooOldError                      a sidecar does not know enough to answer
        ├── OutcomeUnknownError
        └── ServerStoppingError

Errors of `pullgate_policy` (fields, references, policies, identities, pins, and who may not) pass through as they are.
"""

from collections.abc import Iterable

from pullgate_policy.errors import FieldInvalidError, PullgateError, shown


class ServiceError(PullgateError):
    """Root of the errors that the service alone raises for a caller."""


class TokenMissingError(ServiceError):
    """No bearer token was sent."""

    def __init__(self) -> None:
        super().__init__("a token is required: send the metadata 'authorization: Bearer TOKEN'")


class TokenInvalidError(ServiceError):
    """The bearer token is not accepted."""

    def __init__(self, problem: str = "is not known here: it may be another server's, or be mistyped") -> None:
        super().__init__(f"the token {problem}")


class TokenExpiredError(ServiceError):
    """The bearer token was accepted once."""

    def __init__(self) -> None:
        super().__init__("the token has expired; ask whoever made it for a new one")


class TokenRevokedError(ServiceError):
    """The bearer token was taken back."""

    def __init__(self) -> None:
        super().__init__("the token was revoked")


class CertificateUnknownError(ServiceError):
    """No caller is configured for the client certificate."""

    def __init__(self, names: Iterable[str]) -> None:
        shown_names = ", ".join(shown(name) for name in names) or "without names"
        super().__init__(f"no caller is configured for the client certificate {shown_names}, and no token was sent")


class MessageInvalidError(ServiceError):
    """The bytes are not the method's request."""

    def __init__(self, message_type: str) -> None:
        super().__init__(f"the request is not a {message_type} message")


class MessageTooLargeError(ServiceError):
    """The request has too many bytes."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"the request has {size} bytes, and at most {limit} are accepted; split it")


class IdentityTokenInvalidError(FieldInvalidError):
    """The token in the identity belongs to no person that is known."""

    def __init__(self, problem: str = "") -> None:
        super().__init__(
            "identity.token",
            "is not a token of a person that this caller may decide for" + (f": {problem}" if problem else ""),
        )


class BatchTooLargeError(FieldInvalidError):
    """The batch has too many references."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__("references", f"has {size} entries, and at most {limit} are decided at once; split it")


class RequestIdReusedError(FieldInvalidError):
    """The request id named another request before."""

    def __init__(self) -> None:
        super().__init__("request_id", "was used before, for another request; take a new one for each write")


class NotFoundError(ServiceError):
    """What was asked for is not there."""


class PolicyNotFoundError(NotFoundError):
    """The organization has no policy."""

    def __init__(self, organization: str) -> None:
        super().__init__(f"organization {organization} has no policy")


class PolicyRevisionNotFoundError(NotFoundError):
    """The organization had no policy at this revision."""

    def __init__(self, organization: str, revision: int) -> None:
        super().__init__(f"organization {organization} had no policy at revision {revision}")


class CategoryPinNotFoundError(NotFoundError):
    """Nothing is pinned under the name, for this organization or (empty) for every one."""

    def __init__(self, organization: str, name: str) -> None:
        whom = f"for organization {shown(organization)}" if organization else "for every organization"
        super().__init__(f"{shown(name)} is not pinned {whom}")


class MemberNotFoundError(NotFoundError):
    """Somebody is not on the member list."""

    def __init__(self, organization: str, usernames: Iterable[str]) -> None:
        names = sorted(usernames)
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""  # noqa: PLR2004 - what a sentence holds
        missing = ", ".join(shown(name) for name in names[:3])
        super().__init__(f"not on the member list of {organization}: {missing}{more}; nobody was removed")


class TokenNotFoundError(NotFoundError):
    """The caller can see no token with this id."""

    def __init__(self, token_id: str) -> None:
        super().__init__(f"there is no token {shown(token_id)}")


class TokenAlreadyShownError(ServiceError):
    """The request made a token already."""

    def __init__(self, token_id: str) -> None:
        super().__init__(
            f"this request was carried out before and made token {token_id}, whose secret was shown then and is not "
            "kept; revoke it and ask again with a new request id"
        )


class LockedOutError(ServiceError):
    """The write would take from its author the right to undo it."""


class RevisionStaleError(ServiceError):
    """The write was based on a revision that is no longer the newest; nothing was written.

    Attributes:
        expected: the revision that the write named.
        current: the newest one; 0 where there is no policy.
        conflicts: the paths that both this write and others since have changed.
    """

    def __init__(self, organization: str, expected: int, current: int, conflicts: Iterable[str] = ()) -> None:
        there = f"is at revision {current}" if current else "does not exist"
        self.conflicts = tuple(sorted(conflicts))
        both = f" (changed by both: {', '.join(self.conflicts)})" if self.conflicts else ""
        super().__init__(
            f"the policy of {organization} {there}, and this write was made from revision {expected}{both}; "
            "nothing was written: read it again and repeat the change"
        )
        self.organization = organization
        self.expected = expected
        self.current = current


class RetryableError(ServiceError):
    """The same call may be answered later.

    Attributes:
        retry_after: seconds to wait first.
    """

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class RevisionNotYetVisibleError(RetryableError):
    """The revision asked for has not arrived."""

    def __init__(self, wanted: int, current: int) -> None:
        super().__init__(f"revision {wanted} has not arrived here within the deadline; this server is at {current}", 1)


class TooManyCallsError(RetryableError):
    """The limit of calls that may be open is reached."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"{limit} calls are open, and more are not accepted", 0.1)


class StoreUnavailableError(RetryableError):
    """The database cannot be reached."""

    def __init__(self) -> None:
        super().__init__("the database cannot be reached; nothing was read or written", 1)


class OutcomeUnknownError(RetryableError):
    """The database broke off during the commit."""

    def __init__(self) -> None:
        super().__init__(
            "the database broke off while the write was committed, so it may or may not have happened: "
            "repeat it with the same request id, or read first",
            1,
        )


class StoreReplacedError(ServiceError):
    """What a subscriber was told is of another store, or of a history that a backup has replaced."""

    def __init__(self) -> None:
        super().__init__(
            "the resume token is of another store than this server's, or of a history that a backup has replaced; "
            "subscribe without it, and begin with a snapshot"
        )


class SubscriptionNotFoundError(NotFoundError):
    """The caller has no subscription with this id."""

    def __init__(self, subscription_id: str) -> None:
        super().__init__(f"there is no subscription {shown(subscription_id)}; it may have ended")


class TooManySubscribersError(RetryableError):
    """The limit of subscribers is reached."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"{limit} subscribers are connected, and more are not accepted", 5)


class IssuerUnavailableError(RetryableError):
    """The token's issuer is trusted, and its keys could not be had yet."""

    def __init__(self, issuer: str) -> None:
        super().__init__(f"the keys of issuer {issuer} are not known yet", 5)


class KnowledgeTooOldError(RetryableError):
    """What a sidecar knows is older than it may be, or it does not know what the answer takes."""

    def __init__(self, refusal: str) -> None:
        super().__init__(refusal, 1)


class ServerStoppingError(RetryableError):
    """The server is going away."""

    def __init__(self) -> None:
        super().__init__("the server is stopping", 1)


class StartupError(Exception):
    """The server cannot start; the message says what to change. Never travels to a caller."""
