"""Why a call ends without an answer. Written for the caller; the statuses they travel as are in rpc/statuses.py.

    ServiceError
    ├── TokenMissingError, TokenInvalidError          who asks
    ├── MessageInvalidError, MessageTooLargeError     the bytes
    ├── FieldInvalidError                             one field of the request
    │   ├── IdentityTokenInvalidError
    │   ├── OrganizationMissingError
    │   └── BatchTooLargeError
    ├── PolicyNotFoundError, CategoryPinNotFoundError
    ├── RevisionStaleError                            a write based on what is no longer the newest
    └── RetryableError                                try again
        ├── RevisionNotYetVisibleError
        ├── TooManyCallsError
        ├── StoreUnavailableError
        └── ServerStoppingError

Errors of `pullgate_policy` (references, policies, identities, pins) pass through as they are.
"""

from pullgate_policy.errors import shown


class ServiceError(Exception):
    """Root of the errors that the service itself raises for a caller."""


class TokenMissingError(ServiceError):
    """No bearer token was sent."""

    def __init__(self) -> None:
        super().__init__("a token is required: send the metadata 'authorization: Bearer TOKEN'")


class TokenInvalidError(ServiceError):
    """The bearer token is not known."""

    def __init__(self) -> None:
        super().__init__("the token is not known here: it may be another server's, or be mistyped")


class MessageInvalidError(ServiceError):
    """The bytes are not the method's request."""

    def __init__(self, message_type: str) -> None:
        super().__init__(f"the request is not a {message_type} message")


class MessageTooLargeError(ServiceError):
    """The request has too many bytes."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"the request has {size} bytes, and at most {limit} are accepted; split it")


class FieldInvalidError(ServiceError):
    """One field of the request is wrong.

    Attributes:
        path: the field.
        problem: what is wrong and what to do.
    """

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem


class IdentityTokenInvalidError(FieldInvalidError):
    """The token in the identity belongs to no person that is known."""

    def __init__(self) -> None:
        super().__init__("identity.token", "is not a token of a person that this service knows")


class OrganizationMissingError(FieldInvalidError):
    """Nobody's policy is asked about."""

    def __init__(self) -> None:
        super().__init__(
            "organizations",
            "name an organization here or in identity.memberships: this caller has none of its own",
        )


class BatchTooLargeError(FieldInvalidError):
    """The batch has too many references."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__("references", f"has {size} entries, and at most {limit} are decided at once; split it")


class PolicyNotFoundError(ServiceError):
    """The organization has no policy."""

    def __init__(self, organization: str) -> None:
        super().__init__(f"organization {organization} has no policy")


class CategoryPinNotFoundError(ServiceError):
    """Nothing is pinned under the name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{shown(name)} is not pinned")


class RevisionStaleError(ServiceError):
    """The write was based on a revision that is no longer the newest; nothing was written.

    Attributes:
        expected: the revision that the write named.
        current: the newest one; 0 where there is no policy.
    """

    def __init__(self, organization: str, expected: int, current: int) -> None:
        there = f"is at revision {current}" if current else "does not exist"
        super().__init__(
            f"the policy of {organization} {there}, and this write was made from revision {expected}; "
            "nothing was written: read it again and repeat the change"
        )
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
        super().__init__("the database cannot be reached; nothing was written", 1)


class ServerStoppingError(RetryableError):
    """The server is going away."""

    def __init__(self) -> None:
        super().__init__("the server is stopping", 1)


class StartupError(Exception):
    """The server cannot start; the message says what to change. Never travels to a caller."""
