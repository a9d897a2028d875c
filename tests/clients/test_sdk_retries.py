"""Calls that are made again: when, how often, and under which request id, against a server that fails as it is told."""

import threading
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest

from pullgate.v1 import policy_admin_pb2, policy_decision_pb2
from pullgate.v1.access_token_pb2 import AccessToken
from pullgate.v1.access_token_pb2 import CallerRole as CallerRoleNumber
from pullgate.v1.decision_pb2 import ImageCategory
from pullgate.v1.event_pb2 import AdministrativeEvent, EventSubject
from pullgate_client import (
    CallError,
    Connection,
    ConnectionSettingsError,
    DeadlineExceededError,
    Question,
    UnavailableError,
)
from pullgate_client.connection import HEALTH_CHECK, repeatable_methods
from pullgate_policy import ANONYMOUS, Policy
from pullgate_policy.access_token import CallerRole
from tests.clients.either_client import KINDS, EitherClient, either_client, listed, received
from tests.clients.test_sdk_errors import ALLOW
from tests.conftest import SOON

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
DECIDED = policy_decision_pb2.DecideResponse(decision=ALLOW).SerializeToString()

EVENT = policy_admin_pb2.StreamEventsResponse(
    event=AdministrativeEvent(revision=7, subject=EventSubject.EVENT_SUBJECT_POLICY)
).SerializeToString()

NOT_REPEATED = [code for code in grpc.StatusCode if code not in {grpc.StatusCode.OK, UNAVAILABLE}]


@dataclass(kw_only=True)
class Flaky(grpc.GenericRpcHandler):
    """Ends its first calls with `failures`, one each, and answers those that follow.

    Attributes:
        answer: of unary calls.
        streams: what a stream sends before it fails or waits.
        calls: the method and the request of each call so far.
        left: set when a client leaves a stream.
    """

    failures: list[grpc.StatusCode]
    answer: bytes = b""
    streams: list[bytes] = field(default_factory=list)
    address: str = ""
    calls: list[tuple[str, bytes]] = field(default_factory=list)
    left: threading.Event = field(default_factory=threading.Event)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """A handler for any method."""
        method = handler_call_details.method.rpartition("/")[2]

        def unary(request: bytes, context: grpc.ServicerContext) -> bytes:
            self._fail(method, request, context)
            return self.answer

        def stream(request: Any, context: grpc.ServicerContext) -> Iterator[bytes]:
            context.add_callback(self.left.set)
            if method == "StreamDecide":
                # A client that is still writing when the call ends may be told of that instead of the status.
                next(request)
            yield from self.streams
            self._fail(method, b"", context)
            self.left.wait(SOON)

        if method == "StreamEvents":
            return grpc.unary_stream_rpc_method_handler(stream)
        if method == "StreamDecide":
            return grpc.stream_stream_rpc_method_handler(stream)
        return grpc.unary_unary_rpc_method_handler(unary)

    def _fail(self, method: str, request: bytes, context: grpc.ServicerContext) -> None:
        self.calls.append((method, request))
        if self.failures:
            context.abort(self.failures.pop(0), "as told")


@contextmanager
def flaky(*failures: grpc.StatusCode, answer: bytes = b"", streams: list[bytes] | None = None) -> Iterator[Flaky]:
    """A server that fails so often."""
    handler = Flaky(failures=list(failures), answer=answer, streams=streams or [])
    server = grpc.server(futures.ThreadPoolExecutor(4), handlers=[handler], options=[("grpc.so_reuseport", 0)])
    handler.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield handler
    finally:
        handler.left.set()
        server.stop(None).wait()


def connected(kind: str, server: Flaky, *, deadline: float = SOON, **settings: Any) -> EitherClient:
    """A client of that server."""
    return either_client(kind, Connection(address=server.address, token="token", **settings), deadline=deadline)


@pytest.mark.parametrize("kind", KINDS)
async def test_unavailable_twice_and_then_answered(kind: str) -> None:
    """A decision is asked for again while the service is UNAVAILABLE, and whoever asked sees the answer alone."""
    with flaky(UNAVAILABLE, UNAVAILABLE, answer=DECIDED) as server:
        async with connected(kind, server) as client:
            answer = await client.decide(ANONYMOUS, "nginx")

    assert answer.decision.message == ALLOW.message
    assert len(server.calls) == 3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("attempts", [1, 2, 3])
async def test_attempts_end(kind: str, attempts: int) -> None:
    """So many attempts are made as the connection says, 1 is none again, and the last one's error is raised."""
    with flaky(*[UNAVAILABLE] * 9) as server:
        async with connected(kind, server, attempts=attempts) as client:
            with pytest.raises(UnavailableError, match="as told"):
                await client.get_policy("acme")

    assert len(server.calls) == attempts


@pytest.mark.parametrize("code", NOT_REPEATED)
async def test_other_codes_are_not_repeated(code: grpc.StatusCode) -> None:
    """Only UNAVAILABLE says that trying again helps."""
    with flaky(code, answer=DECIDED) as server:
        async with connected("asyncio", server) as client:
            with pytest.raises(CallError, match="as told") as raised:
                await client.decide(ANONYMOUS, "nginx")

    assert raised.value.code is code
    assert len(server.calls) == 1


@pytest.mark.parametrize("kind", KINDS)
async def test_a_write_is_repeated_under_the_same_request_id(kind: str) -> None:
    """So it happens once, though the first answer may have been lost; another write has another id."""
    made = policy_admin_pb2.CreateTokenResponse(
        secret="s", token=AccessToken(role=CallerRoleNumber.CALLER_ROLE_OWNER)
    ).SerializeToString()
    with flaky(UNAVAILABLE, UNAVAILABLE, answer=made) as server:
        async with connected(kind, server) as client:
            await client.create_token("ci", CallerRole.OWNER, organization="acme")
            await client.create_token("ci", CallerRole.OWNER, organization="acme")
    ids = [policy_admin_pb2.CreateTokenRequest.FromString(request).request_id for _, request in server.calls]

    assert len(ids) == 4
    assert ids[0]
    assert ids[0] == ids[1] == ids[2] != ids[3]


async def test_a_large_write_is_repeated_too() -> None:
    """What a policy may hold is within what grpc keeps for another attempt."""
    with flaky(UNAVAILABLE, answer=policy_admin_pb2.DeletePolicyResponse(revision=7).SerializeToString()) as server:
        async with connected("asyncio", server) as client:
            revision = await client.delete_policy("acme", comment="x" * 3_000_000)

    assert (revision, len(server.calls)) == (7, 2)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("begun", [False, True])
async def test_streams_are_not_repeated(kind: str, begun: bool) -> None:
    """What a stream has said would be said twice; and where to go on, its reader knows."""
    answer = policy_decision_pb2.StreamDecideResponse(decision=ALLOW, request_id="1")
    questions = [Question(identity=ANONYMOUS, reference="nginx", request_id="1")]
    with (
        flaky(UNAVAILABLE, streams=[EVENT] if begun else []) as events,
        flaky(UNAVAILABLE, streams=[answer.SerializeToString()] if begun else []) as answers,
    ):
        async with connected(kind, events) as watching, connected(kind, answers) as asking:
            for stream in (watching.stream_events(), asking.stream_decide(questions)):
                items, error = await received(stream)
                assert len(items) == begun
                assert isinstance(error, UnavailableError)

    assert len(events.calls) == len(answers.calls) == 1


@pytest.mark.parametrize("kind", KINDS)
async def test_the_deadline_is_for_all_attempts(kind: str) -> None:
    """A deadline that is shorter than the pause before the second attempt ends the call, and it is not made again."""
    with flaky(*[UNAVAILABLE] * 9) as server:
        async with connected(kind, server, deadline=0.05) as client:
            with pytest.raises(DeadlineExceededError):
                await client.who_am_i()

    assert len(server.calls) <= 1


@pytest.mark.parametrize("kind", KINDS)
async def test_a_view_has_a_deadline_of_its_own(kind: str) -> None:
    """`with_deadline` shares the connection, and leaves the client's own deadline as it is."""
    with flaky(UNAVAILABLE, UNAVAILABLE, answer=DECIDED) as server:
        async with connected(kind, server) as client:
            hurried = client.with_deadline(0.0)
            with pytest.raises(DeadlineExceededError):
                await hurried.decide(ANONYMOUS, "nginx")
            answer = await client.decide(ANONYMOUS, "nginx")

    assert hurried.client.connection is client.client.connection
    assert (hurried.client.deadline, client.client.deadline) == (0.0, SOON)
    assert answer.decision.message == ALLOW.message


@pytest.mark.parametrize("kind", KINDS)
async def test_health_is_asked_again(kind: str) -> None:
    """A probe is a read like another."""
    with flaky(UNAVAILABLE, answer=b"\x08\x01") as server:
        async with connected(kind, server) as client:
            assert await client.is_serving()

    assert [method for method, _ in server.calls] == ["Check", "Check"]


@pytest.mark.parametrize("kind", KINDS)
async def test_who_stops_listening_lets_go(kind: str) -> None:
    """Closing the iterator of a stream ends the call at the server."""
    with flaky(streams=[EVENT]) as server:
        async with connected(kind, server) as client:
            stream = client.stream_events()
            assert (await anext(stream)).revision == 7
            await stream.aclose()
            assert server.left.wait(SOON)


@pytest.mark.parametrize("kind", KINDS)
async def test_an_unknown_effect_over_the_wire(kind: str) -> None:
    """Nobody reads ALLOW out of an answer whose effect is newer than the client."""
    newer = policy_decision_pb2.DecideResponse(decision=ALLOW)
    newer.decision.effect = 99  # type: ignore[assignment]
    with flaky(answer=newer.SerializeToString()) as server:
        async with connected(kind, server) as client:
            with pytest.raises(CallError, match="newer than this client"):
                await client.decide(ANONYMOUS, "nginx")


def test_every_call_that_is_repeated_may_be() -> None:
    """It only asks, or carries a request id; and no stream is among them."""
    asks = ("Get", "List", "Diff", "DryRun", "LookUp", "Refresh", "Decide", "BatchDecide")
    services = {
        service.full_name: service
        for messages in (policy_admin_pb2, policy_decision_pb2)
        for service in messages.DESCRIPTOR.services_by_name.values()
    }
    repeated = [pair for pair in repeatable_methods() if "/{}/{}".format(*pair) != HEALTH_CHECK]

    assert {service for service, _ in repeated} == set(services)
    for service, name in repeated:
        method = services[service].methods_by_name[name]
        assert not method.client_streaming
        assert not method.server_streaming
        assert name.startswith(asks) or "request_id" in method.input_type.fields_by_name, name


async def test_every_write_of_the_clients_carries_a_request_id() -> None:
    """Also when the caller gives none; but a dry run, which writes nothing, is none."""
    policy = Policy(organization="acme")
    with flaky(*[grpc.StatusCode.INTERNAL] * 20) as server:
        async with connected("asyncio", server) as client:
            for write in (
                client.put_policy(policy),
                client.patch_policy(policy, ["image_access.mode"]),
                client.delete_policy("acme"),
                client.roll_back_policy("acme", 1),
                client.delete_pin("someuser"),
                client.write_members("acme", []),
                client.remove_members("acme", ["dev"]),
                client.create_token("ci", CallerRole.OWNER),
                client.revoke_token("1"),
                client.rotate_token("1"),
            ):
                with pytest.raises(CallError):
                    await write
            with pytest.raises(CallError):
                await client.write_members("acme", [], dry_run=True)
    *writes, dry = [
        getattr(policy_admin_pb2, f"{method}Request").FromString(request).request_id for method, request in server.calls
    ]

    assert all(writes)
    assert len(set(writes)) == len(writes) == 10
    assert dry == ""


@pytest.mark.parametrize("attempts", [0, 6])
def test_attempts_that_grpc_does_not_make_are_refused(attempts: int) -> None:
    """More than five are never made, so they are not promised."""
    with pytest.raises(ConnectionSettingsError, match="must be 1 to 5"):
        Connection(attempts=attempts).open_channel()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_page_in_the_middle_is_asked_for_again(kind: str) -> None:
    """A list goes on where it was, and no entry comes twice."""
    pin = policy_admin_pb2.CategoryPin(name="someuser", category=ImageCategory.IMAGE_CATEGORY_COMMUNITY, reason="known")
    page = policy_admin_pb2.ListCategoryPinsResponse(pins=[pin])
    with flaky(UNAVAILABLE, answer=page.SerializeToString()) as server:
        async with connected(kind, server) as client:
            pins = await listed(client.list_pins())

    assert [pin.name for pin in pins] == ["someuser"]
    assert len(server.calls) == 2
