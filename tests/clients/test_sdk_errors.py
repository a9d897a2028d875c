"""Errors of the SDK: of which kind, with what in them, and answers of a service that is newer than the client."""

from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

import pullgate_client
from pullgate.v1 import decision_pb2, policy_admin_pb2, policy_decision_pb2
from pullgate_client import CallError, ClientError, UnknownAnswerError
from pullgate_client.messages import answer_of, dry_run_of, result_of
from pullgate_policy import ANONYMOUS, Category, Effect, Reason

KINDS = {
    grpc.StatusCode.CANCELLED: "CallError",
    grpc.StatusCode.UNKNOWN: "CallError",
    grpc.StatusCode.INVALID_ARGUMENT: "InvalidRequestError",
    grpc.StatusCode.DEADLINE_EXCEEDED: "DeadlineExceededError",
    grpc.StatusCode.NOT_FOUND: "NotFoundError",
    grpc.StatusCode.ALREADY_EXISTS: "ConflictError",
    grpc.StatusCode.PERMISSION_DENIED: "PermissionDeniedError",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "LimitExceededError",
    grpc.StatusCode.FAILED_PRECONDITION: "PreconditionError",
    grpc.StatusCode.ABORTED: "ConflictError",
    grpc.StatusCode.OUT_OF_RANGE: "InvalidRequestError",
    grpc.StatusCode.UNIMPLEMENTED: "CallError",
    grpc.StatusCode.INTERNAL: "InternalError",
    grpc.StatusCode.UNAVAILABLE: "UnavailableError",
    grpc.StatusCode.DATA_LOSS: "InternalError",
    grpc.StatusCode.UNAUTHENTICATED: "UnauthenticatedError",
}

ALLOW = decision_pb2.Decision(
    effect=decision_pb2.EFFECT_ALLOW,
    policy_effect=decision_pb2.EFFECT_ALLOW,
    enforced=True,
    reason=decision_pb2.REASON_CATEGORY_ALLOWED,
    category=decision_pb2.IMAGE_CATEGORY_OFFICIAL,
    reference="docker.io/library/nginx:latest",
    repository="docker.io/library/nginx",
)


class FailedCall(grpc.RpcError):
    """A call that ended with a status."""

    def __init__(self, code: grpc.StatusCode, details: str, trailing: tuple[tuple[str, bytes], ...] = ()) -> None:
        self._ended = (code, details, trailing)

    def code(self) -> grpc.StatusCode:
        """The status."""
        return self._ended[0]

    def details(self) -> str:
        """The words."""
        return self._ended[1]

    def trailing_metadata(self) -> Any:
        """What comes last."""
        return self._ended[2]


def test_the_table_names_every_code() -> None:
    """No status of grpc is forgotten; OK is no error."""
    assert set(KINDS) == set(grpc.StatusCode) - {grpc.StatusCode.OK}


@pytest.mark.parametrize(("code", "kind"), KINDS.items())
def test_the_kind_of_an_error_is_what_can_be_done_about_it(code: grpc.StatusCode, kind: str) -> None:
    """A status, as an item of a batch has one, and a call that fails give the same kind with the code and the words."""
    status = status_pb2.Status(code=code.value[0], message="why")
    for error in (CallError.from_status(status), CallError.from_call(FailedCall(code, "why"))):
        assert type(error) is getattr(pullgate_client, kind)
        assert isinstance(error, ClientError)
        assert (error.code, error.message, str(error)) == (code, "why", "why")
        assert (error.reason, error.violations, error.retry_after, error.metadata) == ("", (), None, {})


def test_a_code_that_grpc_does_not_have() -> None:
    """A number that is no status is UNKNOWN, and an error all the same."""
    error = CallError.from_status(status_pb2.Status(code=99, message="why"))

    assert (type(error), error.code) == (CallError, grpc.StatusCode.UNKNOWN)


def test_details_are_read() -> None:
    """Reason, metadata, fields and the time to wait come from google.rpc's details, and others are passed over."""
    status = status_pb2.Status(code=14, message="why")
    bad = error_details_pb2.BadRequest()
    bad.field_violations.add(field="reference", description="is none")
    retry = error_details_pb2.RetryInfo()
    retry.retry_delay.FromMilliseconds(250)
    info = error_details_pb2.ErrorInfo(reason="STORE_UNAVAILABLE", domain="pullgate", metadata={"revision": "7"})
    for detail in (error_details_pb2.DebugInfo(detail="more"), info, bad, retry):
        status.details.add().Pack(detail)
    trailing = (("grpc-status-details-bin", status.SerializeToString()),)
    for error in (
        CallError.from_status(status),
        CallError.from_call(FailedCall(grpc.StatusCode.UNAVAILABLE, "why", trailing)),
    ):
        assert error.reason == "STORE_UNAVAILABLE"
        assert error.metadata == {"revision": "7"}
        assert error.violations == (("reference", "is none"),)
        assert error.retry_after == 0.25


def test_details_that_contradict_the_call_are_left_out() -> None:
    """What a proxy garbled is no reason to lose the status."""
    status = status_pb2.Status(code=5, message="another")
    trailing = (("grpc-status-details-bin", status.SerializeToString()),)
    error = CallError.from_call(FailedCall(grpc.StatusCode.UNAVAILABLE, "why", trailing))

    assert (type(error).__name__, error.message, error.reason) == ("UnavailableError", "why", "")


def changed(**fields: int) -> decision_pb2.Decision:
    """The decision with other numbers in it."""
    decision = decision_pb2.Decision()
    decision.CopyFrom(ALLOW)
    for name, number in fields.items():
        setattr(decision, name, number)
    return decision


@pytest.mark.parametrize("number", [0, 3, 99])
@pytest.mark.parametrize("field", ["effect", "policy_effect"])
def test_an_effect_of_a_newer_service_is_no_answer(field: str, number: int) -> None:
    """It is never taken for ALLOW: single answers raise, and items of batches and dry runs are errors."""
    newer = changed(**{field: number})
    tried = policy_admin_pb2.DryRunResult(before=ALLOW, after=newer)

    with pytest.raises(UnknownAnswerError, match=f"newer than this client.*{number}.*upgrade"):
        answer_of(newer)
    assert isinstance(result_of(policy_decision_pb2.BatchDecision(decision=newer)), UnknownAnswerError)
    assert isinstance(result_of(policy_decision_pb2.StreamDecideResponse(decision=newer)), UnknownAnswerError)
    (result,) = dry_run_of(policy_admin_pb2.DryRunPolicyResponse(results=[tried]), [ANONYMOUS]).results
    assert isinstance(result.answers, UnknownAnswerError)


def test_a_category_of_a_newer_service_is_unknown() -> None:
    """The decision holds; of the category nothing is claimed."""
    decision = answer_of(changed(category=99)).decision

    assert decision.effect is Effect.ALLOW
    assert decision.evidence is not None
    assert decision.evidence.category is Category.UNKNOWN


def test_a_reason_of_a_newer_service_is_told() -> None:
    """The decision holds; the reason stands as the one that goes with either effect, and a note says that it does."""
    answer = answer_of(changed(reason=99))

    assert (answer.decision.effect, answer.decision.reason) == (Effect.ALLOW, Reason.CATEGORY_UNKNOWN)
    assert answer.notes == ("the service's reason has the number 99, which is newer than this program",)
