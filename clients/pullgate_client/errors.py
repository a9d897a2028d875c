"""Why a client has no answer.

ClientError
├── ConnectionSettingsError    what it was told about the connection cannot be used
└── CallError                  the call ended with a status other than OK
"""

from collections.abc import Sequence

import grpc
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status


class ClientError(Exception):
    """Root of the client's errors."""


class ConnectionSettingsError(ClientError):
    """A file cannot be read, or settings contradict each other."""


class CallError(ClientError):
    """A call, or one item of a batch, ended without an answer.

    Attributes:
        code: the gRPC status.
        reason: the name of the ErrorReason without its prefix; empty if the error did not come from pullgate.
        message: for people.
        violations: the fields that are wrong, each with what is wrong.
        retry_after: seconds to wait before trying again; None where the service says nothing about it.
    """

    def __init__(
        self,
        code: grpc.StatusCode,
        message: str,
        *,
        reason: str = "",
        violations: Sequence[tuple[str, str]] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.violations = tuple(violations)
        self.retry_after = retry_after

    @classmethod
    def from_status(cls, status: status_pb2.Status) -> "CallError":
        """The error that a google.rpc.Status stands for."""
        code = next((code for code in grpc.StatusCode if code.value[0] == status.code), grpc.StatusCode.UNKNOWN)
        reason, retry_after = "", None
        violations: list[tuple[str, str]] = []
        for detail in status.details:
            info, bad, retry = (
                error_details_pb2.ErrorInfo(),
                error_details_pb2.BadRequest(),
                error_details_pb2.RetryInfo(),
            )
            if detail.Unpack(info):
                reason = info.reason
            elif detail.Unpack(bad):
                violations = [(violation.field, violation.description) for violation in bad.field_violations]
            elif detail.Unpack(retry):
                retry_after = retry.retry_delay.ToTimedelta().total_seconds()
        return cls(code, status.message, reason=reason, violations=violations, retry_after=retry_after)

    @classmethod
    def from_call(cls, error: grpc.RpcError) -> "CallError":
        """The error that a failed call stands for; details that cannot be read are left out."""
        try:
            status = rpc_status.from_call(error)
        except ValueError:
            status = None
        return cls(error.code(), error.details() or "") if status is None else cls.from_status(status)
