"""Why a client has no answer.

ClientError
├── ConnectionSettingsError      what it was told about the connection cannot be used
├── BrokenStreamError            something is missing of what a subscriber was told
├── UnusableUpdateError          a subscriber was told what cannot be used here
├── StateFileError               what was kept on disk cannot be used
├── NoKnowledgeError             nothing is known from which to decide, or nothing that is new enough
└── CallError                    the call ended with a status other than OK; its kinds say what can be done about it:
    ├── InvalidRequestError      mend the request
    ├── UnauthenticatedError     send a token that is valid
    ├── PermissionDeniedError    ask somebody who may
    ├── NotFoundError            there is no such thing
    ├── ConflictError            read again, and repeat the change
    ├── PreconditionError        what was to be written does not hold together, or would lock its author out
    ├── LimitExceededError       ask for less, or later
    ├── UnavailableError         try again
    ├── DeadlineExceededError    there was no answer in time; whether a write happened, the same request id tells
    ├── InternalError            a defect of the service
    └── UnknownAnswerError       the answer has a word that this client is too old to know; upgrade it
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status


class ClientError(Exception):
    """Root of the client's errors."""


class ConnectionSettingsError(ClientError):
    """A file cannot be read, or settings contradict each other."""


class BrokenStreamError(ClientError):
    """Something is missing of what a subscriber was told; subscribing anew mends it."""


class UnusableUpdateError(ClientError):
    """A subscriber was told what cannot be used here, as by a newer service. What was known before goes on."""


class StateFileError(ClientError):
    """What was kept on disk cannot be used, and is not: it is damaged, or of another subscription."""


class NoKnowledgeError(ClientError):
    """No decision was made: nothing is known, or nothing that is new enough. Take it for a denial."""


class CallError(ClientError):
    """A call, or one item of a batch, ended without an answer.

    Attributes:
        code: the gRPC status.
        reason: the name of the ErrorReason without its prefix; empty if the error did not come from pullgate.
        message: for people.
        violations: the fields that are wrong, each with what is wrong.
        retry_after: seconds to wait before trying again; None where the service says nothing about it.
        metadata: what else the service says for programs, such as current_revision with REVISION_STALE.
    """

    def __init__(
        self,
        code: grpc.StatusCode,
        message: str,
        *,
        reason: str = "",
        violations: Sequence[tuple[str, str]] = (),
        retry_after: float | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.violations = tuple(violations)
        self.retry_after = retry_after
        self.metadata = dict(metadata or {})

    @staticmethod
    def from_status(status: status_pb2.Status) -> "CallError":
        """The error, of the kind that its code says, that a google.rpc.Status stands for."""
        code = next((code for code in grpc.StatusCode if code.value[0] == status.code), grpc.StatusCode.UNKNOWN)
        info, bad, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
        for detail in status.details:
            for known in (info, bad, retry):
                with suppress(DecodeError):
                    detail.Unpack(known)
        return _kind(code)(
            code,
            status.message,
            reason=info.reason,
            violations=[(violation.field, violation.description) for violation in bad.field_violations],
            retry_after=retry.retry_delay.ToTimedelta().total_seconds() if retry.HasField("retry_delay") else None,
            metadata=info.metadata,
        )

    @staticmethod
    def from_call(error: grpc.RpcError) -> "CallError":
        """The error that a failed call stands for; details that cannot be read are left out."""
        try:
            status = rpc_status.from_call(error)
        except (ValueError, DecodeError):
            status = None
        if status is not None:
            return CallError.from_status(status)
        return _kind(error.code())(error.code(), error.details() or "")


class InvalidRequestError(CallError):
    """The request is wrong, and stays wrong however often it is sent; `violations` say where."""


class UnauthenticatedError(CallError):
    """There is no token, or none that is valid now."""


class PermissionDeniedError(CallError):
    """The caller may not do this; the message says who may."""


class NotFoundError(CallError):
    """There is no such policy, pin, member or token."""


class ConflictError(CallError):
    """Somebody else was first, and nothing was written: read again, and repeat the change."""


class PreconditionError(CallError):
    """What was to be written does not hold together, as `violations` say, or would lock its author out."""


class LimitExceededError(CallError):
    """Too large, too many, or too much at once: ask for less, or after `retry_after`."""


class UnavailableError(CallError):
    """The service cannot be reached, or cannot answer now: try again, a write under the same request id."""


class DeadlineExceededError(CallError):
    """There was no answer in time. A write may have happened: the same request id finds out, and does it once."""


class InternalError(CallError):
    """A defect of the service; the message has an id that its log knows."""


class UnknownAnswerError(CallError):
    """The service is newer than this client, and its answer cannot be taken for one that the client knows."""


_KINDS: Mapping[grpc.StatusCode, type[CallError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequestError,
    grpc.StatusCode.OUT_OF_RANGE: InvalidRequestError,
    grpc.StatusCode.UNAUTHENTICATED: UnauthenticatedError,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDeniedError,
    grpc.StatusCode.NOT_FOUND: NotFoundError,
    grpc.StatusCode.ALREADY_EXISTS: ConflictError,
    grpc.StatusCode.ABORTED: ConflictError,
    grpc.StatusCode.FAILED_PRECONDITION: PreconditionError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: LimitExceededError,
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceededError,
    grpc.StatusCode.INTERNAL: InternalError,
    grpc.StatusCode.DATA_LOSS: InternalError,
}
"""CANCELLED, UNKNOWN and UNIMPLEMENTED say nothing that a caller could act on: they are CallError itself."""


def _kind(code: grpc.StatusCode) -> type[CallError]:
    return _KINDS.get(code, CallError)
