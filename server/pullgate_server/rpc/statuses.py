"""How errors travel: the one table from error to gRPC status and reason, and the details that say more.

Details follow google.rpc's error model (https://google.aip.dev/193): ErrorInfo always, and BadRequest, RetryInfo and
PreconditionFailure where they say more. What is not in the table is a defect: the caller gets a fixed sentence with an
error id, and the cause stands in the log alone.
"""

from collections.abc import Callable, Iterator, Mapping

import grpc
import structlog
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from pullgate.v1.error_pb2 import ErrorReason
from pullgate_policy import InvalidIdentityError, InvalidPolicyError, InvalidReferenceError
from pullgate_policy.errors import (
    FieldInvalidError,
    OrganizationMissingError,
    OrganizationNotPermittedError,
    RoleNotPermittedError,
)
from pullgate_policy.members import InvalidMembersError
from pullgate_policy.pins import InvalidPinError
from pullgate_server import errors

log = structlog.get_logger()

DOMAIN = "pullgate"
"""The domain of the reasons in ErrorInfo."""

MAX_CONFLICTS = 8
"""Paths of a stale write that a status names one by one; its message names them all as far as it may."""

MAX_MESSAGE_BYTES = 1500
MAX_DETAILS_BYTES = 3500
"""Statuses travel as HTTP/2 headers, for which clients commonly accept 8 KiB in all: the message percent-encoded, and
the details, the message among them, in base64."""

_DENIED = grpc.StatusCode.PERMISSION_DENIED
_INVALID = grpc.StatusCode.INVALID_ARGUMENT
_NOT_FOUND = grpc.StatusCode.NOT_FOUND
_UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED
_UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
_EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED

ERRORS: Mapping[type[Exception], tuple[grpc.StatusCode, ErrorReason.ValueType]] = {
    errors.TokenMissingError: (_UNAUTHENTICATED, ErrorReason.ERROR_REASON_TOKEN_MISSING),
    errors.TokenInvalidError: (_UNAUTHENTICATED, ErrorReason.ERROR_REASON_TOKEN_INVALID),
    errors.TokenExpiredError: (_UNAUTHENTICATED, ErrorReason.ERROR_REASON_TOKEN_EXPIRED),
    errors.TokenRevokedError: (_UNAUTHENTICATED, ErrorReason.ERROR_REASON_TOKEN_REVOKED),
    errors.CertificateUnknownError: (_UNAUTHENTICATED, ErrorReason.ERROR_REASON_CERTIFICATE_UNKNOWN),
    RoleNotPermittedError: (_DENIED, ErrorReason.ERROR_REASON_ROLE_NOT_PERMITTED),
    OrganizationNotPermittedError: (_DENIED, ErrorReason.ERROR_REASON_ORGANIZATION_NOT_PERMITTED),
    errors.IssuerUnavailableError: (_UNAVAILABLE, ErrorReason.ERROR_REASON_ISSUER_UNAVAILABLE),
    errors.MessageInvalidError: (_INVALID, ErrorReason.ERROR_REASON_MESSAGE_INVALID),
    errors.MessageTooLargeError: (_EXHAUSTED, ErrorReason.ERROR_REASON_MESSAGE_TOO_LARGE),
    FieldInvalidError: (_INVALID, ErrorReason.ERROR_REASON_FIELD_INVALID),
    errors.IdentityTokenInvalidError: (_INVALID, ErrorReason.ERROR_REASON_IDENTITY_TOKEN_INVALID),
    OrganizationMissingError: (_INVALID, ErrorReason.ERROR_REASON_ORGANIZATION_MISSING),
    errors.BatchTooLargeError: (_EXHAUSTED, ErrorReason.ERROR_REASON_BATCH_TOO_LARGE),
    errors.RequestIdReusedError: (_INVALID, ErrorReason.ERROR_REASON_REQUEST_ID_REUSED),
    errors.PolicyNotFoundError: (_NOT_FOUND, ErrorReason.ERROR_REASON_POLICY_NOT_FOUND),
    errors.PolicyRevisionNotFoundError: (_NOT_FOUND, ErrorReason.ERROR_REASON_POLICY_REVISION_NOT_FOUND),
    errors.CategoryPinNotFoundError: (_NOT_FOUND, ErrorReason.ERROR_REASON_CATEGORY_PIN_NOT_FOUND),
    errors.MemberNotFoundError: (_NOT_FOUND, ErrorReason.ERROR_REASON_MEMBER_NOT_FOUND),
    errors.TokenNotFoundError: (_NOT_FOUND, ErrorReason.ERROR_REASON_TOKEN_NOT_FOUND),
    errors.TokenAlreadyShownError: (
        grpc.StatusCode.ALREADY_EXISTS,
        ErrorReason.ERROR_REASON_TOKEN_ALREADY_SHOWN,
    ),
    errors.LockedOutError: (grpc.StatusCode.FAILED_PRECONDITION, ErrorReason.ERROR_REASON_LOCKED_OUT),
    errors.RevisionStaleError: (grpc.StatusCode.ABORTED, ErrorReason.ERROR_REASON_REVISION_STALE),
    errors.RevisionNotYetVisibleError: (_UNAVAILABLE, ErrorReason.ERROR_REASON_REVISION_NOT_YET_VISIBLE),
    errors.TooManyCallsError: (_EXHAUSTED, ErrorReason.ERROR_REASON_TOO_MANY_CALLS),
    errors.StoreUnavailableError: (_UNAVAILABLE, ErrorReason.ERROR_REASON_STORE_UNAVAILABLE),
    errors.OutcomeUnknownError: (_UNAVAILABLE, ErrorReason.ERROR_REASON_OUTCOME_UNKNOWN),
    errors.StoreReplacedError: (grpc.StatusCode.FAILED_PRECONDITION, ErrorReason.ERROR_REASON_STORE_REPLACED),
    errors.SubscriptionNotFoundError: (_NOT_FOUND, ErrorReason.ERROR_REASON_SUBSCRIPTION_NOT_FOUND),
    errors.TooManySubscribersError: (_EXHAUSTED, ErrorReason.ERROR_REASON_TOO_MANY_SUBSCRIBERS),
    errors.KnowledgeTooOldError: (_UNAVAILABLE, ErrorReason.ERROR_REASON_KNOWLEDGE_TOO_OLD),
    errors.ServerStoppingError: (_UNAVAILABLE, ErrorReason.ERROR_REASON_SERVER_STOPPING),
    InvalidReferenceError: (_INVALID, ErrorReason.ERROR_REASON_REFERENCE_INVALID),
    InvalidIdentityError: (_INVALID, ErrorReason.ERROR_REASON_FIELD_INVALID),
    InvalidPolicyError: (grpc.StatusCode.FAILED_PRECONDITION, ErrorReason.ERROR_REASON_POLICY_INVALID),
    InvalidPinError: (_INVALID, ErrorReason.ERROR_REASON_FIELD_INVALID),
    InvalidMembersError: (_INVALID, ErrorReason.ERROR_REASON_MEMBERS_INVALID),
}


def status_of(error: Exception, new_error_id: Callable[[], str]) -> status_pb2.Status:
    """The status that `error` travels as. A defect is logged here, with the id that the caller gets."""
    known = ERRORS.get(type(error))
    if known is None:
        error_id = new_error_id()
        log.error("internal error", error_id=error_id, exc_info=error)
        message = f"internal error {error_id}; the server's log says more"
        return _status(grpc.StatusCode.INTERNAL, message, ErrorReason.ERROR_REASON_INTERNAL, {"error_id": error_id}, ())
    code, reason = known
    return _status(code, str(error), reason, _metadata(error), _more(error))


def _status(
    code: grpc.StatusCode,
    message: str,
    reason: ErrorReason.ValueType,
    metadata: Mapping[str, str],
    more: Iterator[Message] | tuple[()],
) -> status_pb2.Status:
    message = _cut(message, MAX_MESSAGE_BYTES)
    status = status_pb2.Status(code=code.value[0], message=message)
    word = ErrorReason.Name(reason).removeprefix("ERROR_REASON_")
    for detail in (error_details_pb2.ErrorInfo(reason=word, domain=DOMAIN, metadata=metadata), *more):
        status.details.add().Pack(detail)
    return status


def _metadata(error: Exception) -> Mapping[str, str]:
    match error:
        case errors.RevisionStaleError():
            return {"expected_revision": str(error.expected), "current_revision": str(error.current)}
        case InvalidReferenceError():
            return {"position": str(error.position)}
        case _:
            return {}


def _more(error: Exception) -> Iterator[Message]:
    violations = list(_field_violations(error))
    if violations:
        bad_request = error_details_pb2.BadRequest()
        for path, description in violations:
            bad_request.field_violations.add(field=_cut(path, 300), description=_cut(description, 700))
            if bad_request.ByteSize() > MAX_DETAILS_BYTES - MAX_MESSAGE_BYTES:
                del bad_request.field_violations[-1]
                break
        yield bad_request
    if isinstance(error, errors.RetryableError):
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(int(error.retry_after * 1000))
        yield retry
    if isinstance(error, errors.RevisionStaleError):
        failure = error_details_pb2.PreconditionFailure()
        description = f"the policy is at revision {error.current}, and not at {error.expected}"
        failure.violations.add(type="REVISION", subject="expected_revision", description=description)
        for path in error.conflicts[:MAX_CONFLICTS]:
            failure.violations.add(type="CONFLICT", subject=_cut(path, 200), description="changed by both sides")
        yield failure


def _field_violations(error: Exception) -> Iterator[tuple[str, str]]:
    match error:
        case FieldInvalidError():
            yield error.path, error.problem
        case InvalidReferenceError():
            yield "reference", f"{error.problem} (at character {error.position + 1})"
        case InvalidIdentityError():
            yield f"identity.{error.path}", error.problem
        case InvalidPinError():
            yield f"pin.{error.path}", error.problem
        case InvalidMembersError():
            for problem in error.problems:
                yield f"members{problem.path}", problem.description
        case InvalidPolicyError():
            for problem in error.problems:
                yield f"policy.{problem.path}" if problem.path else "policy", problem.description


def _cut(text: str, limit: int) -> str:
    """As much of `text` as fits `limit` bytes when percent-encoded, as gRPC sends messages; says what is left out."""
    size = 0
    for index, character in enumerate(text):
        size += 1 if " " <= character <= "~" and character != "%" else 3 * len(character.encode(errors="replace"))
        if size > limit:
            return f"{text[:index]}... ({len(text) - index} more characters)"
    return text
