"""Errors travel with a status and a reason, all of them, and nothing internal does."""

import asyncio
from typing import Any

import grpc
import pytest
import structlog
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from pullgate.v1 import error_pb2, policy_decision_pb2
from pullgate_policy import errors as policy_errors
from pullgate_policy import pins
from pullgate_server import errors
from pullgate_server.deciding import Decider
from pullgate_server.rpc.statuses import ERRORS, status_of
from tests.conftest import SOON, Serve
from tests.server.test_policy_decision_service import DEV, question, strict_store

ABSTRACT = {
    errors.ServiceError,
    errors.NotFoundError,
    errors.RetryableError,
    policy_errors.PullgateError,
    policy_errors.InvalidDocumentError,
}
"""Roots that are not raised themselves."""

NEVER_IN_A_CALL = {
    policy_errors.InvalidCatalogueError: "catalogues are read at start and in the background",
}


def below(root: type[Exception]) -> set[type[Exception]]:
    """A class and all that derive from it."""
    return {root}.union(*(below(child) for child in root.__subclasses__()))


def test_every_error_has_a_status() -> None:
    """An error without a row in the table would reach callers as a defect."""
    from pullgate_policy.policy_tests import InvalidPolicyTestsError
    from pullgate_policy.yaml_text import InvalidYamlError

    raised = (below(errors.ServiceError) | below(policy_errors.PullgateError)) - ABSTRACT - NEVER_IN_A_CALL.keys()

    assert raised - {InvalidYamlError, InvalidPolicyTestsError} == set(ERRORS)
    assert pins.InvalidPinError in ERRORS


def test_every_reason_is_used() -> None:
    """A reason in the contract that no error has would be a promise that nobody keeps."""
    reasons = {reason for _, reason in ERRORS.values()} | {error_pb2.ERROR_REASON_INTERNAL}

    assert set(error_pb2.ErrorReason.values()) - {error_pb2.ERROR_REASON_UNSPECIFIED} == reasons


class BrokenError(Exception):
    """A defect."""


SECRET = "SELECT secret FROM /var/lib/pullgate"


@pytest.mark.parametrize("defect", [BrokenError(SECRET), KeyError(SECRET), OSError(SECRET), TimeoutError(SECRET)])
async def test_a_defect_tells_its_id_and_nothing_else(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, defect: Exception
) -> None:
    """Whatever breaks, callers get a fixed sentence with an id; the cause stands under that id in the log."""

    async def broken(*_arguments: Any) -> Any:
        raise defect

    async with serve(store=await strict_store()) as service:
        monkeypatch.setattr(Decider, "decide", broken)
        with structlog.testing.capture_logs() as logs:
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await service.call(service.decisions.Decide, question())
            batch = await service.call(
                service.decisions.BatchDecide, policy_decision_pb2.BatchDecideRequest(identity=DEV, references=["a"])
            )
            stream = service.decisions.StreamDecide(
                iter([policy_decision_pb2.StreamDecideRequest(identity=DEV, reference="a")]),
                metadata=service.metadata,
                timeout=SOON,
            )
            streamed = [response async for response in stream]
    status, info = rpc_status.from_call(raised.value), error_details_pb2.ErrorInfo()

    assert raised.value.code() is grpc.StatusCode.INTERNAL
    assert status.details[0].Unpack(info)
    error_id = info.metadata["error_id"]
    assert raised.value.details() == f"internal error {error_id}; the server's log says more"
    for told in (str(raised.value), str(batch), str(streamed)):
        assert SECRET not in told
        assert type(defect).__name__ not in told
    first = next(entry for entry in logs if entry["event"] == "internal error")
    assert (first["error_id"], first["exc_info"]) == (error_id, defect)
    assert batch.decisions[0].error.code == streamed[0].error.code == grpc.StatusCode.INTERNAL.value[0]


def test_a_status_says_when_to_come_back() -> None:
    """What can be retried says after how long."""
    status = status_of(errors.TooManyCallsError(5), lambda: "id")
    retry = error_details_pb2.RetryInfo()

    assert any(detail.Unpack(retry) for detail in status.details)
    assert retry.retry_delay.ToMilliseconds() == 100


async def test_cancelling_is_no_defect(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that goes away leaves no error in the log, and no open call."""
    entered = asyncio.Event()

    async def slow(*_arguments: Any) -> Any:
        entered.set()
        await asyncio.Event().wait()

    async with serve(store=await strict_store()) as service:
        monkeypatch.setattr(Decider, "decide", slow)
        with structlog.testing.capture_logs() as logs:
            call = service.decisions.Decide(question(), metadata=service.metadata)
            async with asyncio.timeout(SOON):
                await entered.wait()
                call.cancel()
                service.application.gate.stop_streams()
                await service.application.gate.idle()

    assert [entry for entry in logs if entry["log_level"] == "error"] == []
