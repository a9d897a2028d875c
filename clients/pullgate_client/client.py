"""The synchronous client."""

from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc

from pullgate.v1 import mapping, policy_admin_pb2, policy_decision_pb2
from pullgate.v1.policy_admin_pb2_grpc import PolicyAdminServiceStub
from pullgate.v1.policy_decision_pb2_grpc import PolicyDecisionServiceStub
from pullgate_client.connection import Connection
from pullgate_client.errors import CallError
from pullgate_policy import Identity, Policy
from pullgate_policy.answer import Answer
from pullgate_policy.pins import CategoryPin
from pullgate_policy.stored_policy import StoredPolicy

DEFAULT_DEADLINE = 10.0
"""Seconds that a call may take."""

MAX_BATCH = 500
"""References in one BatchDecide: the service's own default limit."""

Response = TypeVar("Response")


class Client:
    """Calls a service. Close it, or use it in a `with` statement. Safe to share between threads.

    Every method raises CallError when the service gives no answer.

    Attributes:
        connection: what it was made with.
    """

    def __init__(self, connection: Connection, *, deadline: float = DEFAULT_DEADLINE) -> None:
        self.connection = connection
        self._channel = connection.open_channel()
        self._metadata = (("authorization", f"Bearer {connection.token}"),) if connection.token else ()
        self._deadline = deadline
        self._decisions = PolicyDecisionServiceStub(self._channel)
        self._administration = PolicyAdminServiceStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def decide(
        self, identity: Identity, reference: str, *, organizations: Sequence[str] = (), min_revision: int = 0
    ) -> Answer:
        """May `identity` use `reference`?

        Args:
            organizations: who has a say besides the identity's own organizations.
            min_revision: the answer is at least as fresh as this revision.
        """
        request = policy_decision_pb2.DecideRequest(
            identity=mapping.identity_to_message(identity),
            reference=reference,
            organizations=organizations,
            min_revision=min_revision,
        )
        return mapping.answer_from_message(self._call(self._decisions.Decide, request).decision)

    def decide_all(
        self, identity: Identity, references: Sequence[str], *, organizations: Sequence[str] = ()
    ) -> Iterator[Answer | CallError]:
        """An answer, or why there is none, for each reference in order; in batches as large as the service takes."""
        start, size = 0, MAX_BATCH
        while start < len(references):
            request = policy_decision_pb2.BatchDecideRequest(
                identity=mapping.identity_to_message(identity),
                references=references[start : start + size],
                organizations=organizations,
            )
            try:
                decisions = self._call(self._decisions.BatchDecide, request).decisions
            except CallError as error:
                if error.reason != "BATCH_TOO_LARGE" or size == 1:
                    raise
                size //= 2
                continue
            start += size
            for item in decisions:
                if item.HasField("error"):
                    yield CallError.from_status(item.error)
                else:
                    yield mapping.answer_from_message(item.decision)

    def get_policy(self, organization: str) -> StoredPolicy:
        """One organization's policy."""
        request = policy_admin_pb2.GetPolicyRequest(organization=organization)
        return mapping.stored_policy_from_message(self._call(self._administration.GetPolicy, request).policy)

    def put_policy(self, policy: Policy, *, expected_revision: int | None = None, comment: str = "") -> StoredPolicy:
        """Write a policy, if it is still at `expected_revision` (0: if there is none; None: in any case)."""
        request = policy_admin_pb2.PutPolicyRequest(
            policy=mapping.policy_to_message(policy), expected_revision=expected_revision, comment=comment
        )
        return mapping.stored_policy_from_message(self._call(self._administration.PutPolicy, request).policy)

    def list_policies(self) -> Iterator[StoredPolicy]:
        """All policies, in the order of their organizations' names."""
        page_token = ""
        while True:
            request = policy_admin_pb2.ListPoliciesRequest(page_token=page_token)
            response = self._call(self._administration.ListPolicies, request)
            yield from map(mapping.stored_policy_from_message, response.policies)
            page_token = response.next_page_token
            if not page_token:
                return

    def put_pin(self, pin: CategoryPin) -> CategoryPin:
        """Set a pin; author and time are the service's."""
        request = policy_admin_pb2.PutCategoryPinRequest(pin=mapping.pin_to_message(pin))
        return mapping.pin_as_stored(self._call(self._administration.PutCategoryPin, request).pin)

    def delete_pin(self, name: str) -> None:
        """Take a pin back."""
        self._call(self._administration.DeleteCategoryPin, policy_admin_pb2.DeleteCategoryPinRequest(name=name))

    def list_pins(self) -> Sequence[CategoryPin]:
        """All pins."""
        request = policy_admin_pb2.ListCategoryPinsRequest()
        return [mapping.pin_as_stored(pin) for pin in self._call(self._administration.ListCategoryPins, request).pins]

    def is_serving(self) -> bool:
        """Whether the server says that calls should be sent to it (grpc.health.v1). Needs no token."""
        check: grpc.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary("/grpc.health.v1.Health/Check")
        # HealthCheckResponse has one field, `status`, and SERVING is 1: not worth a dependency of every client.
        return self._call(check, b"") == b"\x08\x01"

    def _call(self, method: Callable[..., Response], request: Any) -> Response:
        try:
            return method(request, timeout=self._deadline, metadata=self._metadata)
        except grpc.RpcError as error:
            raise CallError.from_call(error) from error
