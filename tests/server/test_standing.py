"""Callers that end while their calls are open, and a server that can no longer read its store."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from pullgate.v1 import access_token_pb2, policy_admin_pb2
from pullgate_policy import Preset, preset_policy
from pullgate_server.rpc.gate import Gate
from pullgate_server.stores.memory import MemoryStore
from pullgate_server.stores.port import StoreContents
from tests.conftest import SOON, Serve, Service
from tests.server.test_outage import SERVING, statuses
from tests.server.test_policy_admin_service import STRICT, put
from tests.server.test_policy_decision_service import question
from tests.stores import put_policy

OWNER = access_token_pb2.CALLER_ROLE_OWNER


async def create_token(service: Service, **fields: Any) -> policy_admin_pb2.CreateTokenResponse:
    """Make a token of acme's as the operator."""
    request = policy_admin_pb2.CreateTokenRequest(**{"name": "ada", "role": OWNER, "organization": "acme", **fields})
    response: policy_admin_pb2.CreateTokenResponse = await service.call(service.administration.CreateToken, request)
    return response


def bearing(secret: str) -> tuple[tuple[str, str], ...]:
    """The metadata of a caller."""
    return (("authorization", f"Bearer {secret}"),)


async def test_a_call_that_was_opened_before_its_token_was_revoked_is_refused(serve: Serve) -> None:
    """Metadata first, message later: what counts is who the caller is when the message comes."""
    async with serve() as service:
        made = await create_token(service)
        held: Any = service.channel.stream_unary(
            "/pullgate.v1.PolicyAdminService/CreateToken",
            request_serializer=policy_admin_pb2.CreateTokenRequest.SerializeToString,
        )(metadata=bearing(made.secret), timeout=SOON)
        await held.wait_for_connection()
        # The server has taken in the metadata once it has answered a call that was sent after it on this connection.
        whoami = service.administration.GetCaller
        await whoami(policy_admin_pb2.GetCallerRequest(), metadata=bearing(made.secret), timeout=SOON)
        await service.call(service.administration.RevokeToken, policy_admin_pb2.RevokeTokenRequest(id=made.token.id))
        await held.write(policy_admin_pb2.CreateTokenRequest(name="eve", role=OWNER, organization="acme"))
        await held.done_writing()
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await held

        assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED
        listed = await service.call(service.administration.ListTokens, policy_admin_pb2.ListTokensRequest())
        assert [token.name for token in listed.tokens] == ["operator"]


async def test_a_refusal_keeps_nothing_of_the_call(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each refused call has an error of its own: one that is raised again would keep what every call had sent."""
    errors: list[Exception] = []
    status_of = Gate.status_of

    def noted(gate: Gate, error: Exception) -> Any:
        errors.append(error)
        return status_of(gate, error)

    monkeypatch.setattr(Gate, "status_of", noted)
    async with serve() as service:
        member = await create_token(service, role=access_token_pb2.CALLER_ROLE_MEMBER)
        for secret in (member.secret, member.secret, "unknown", "unknown"):
            with pytest.raises(grpc.aio.AioRpcError):
                await service.administration.PutPolicy(
                    policy_admin_pb2.PutPolicyRequest(policy=STRICT), metadata=bearing(secret), timeout=SOON
                )

    assert len({id(error) for error in errors}) == len(errors) == 4


async def test_rotating_a_token_ends_the_streams_of_its_former_secret(serve: Serve) -> None:
    """Without an overlap the former secret ends everywhere at once."""
    async with serve() as service:
        made = await create_token(service)
        events = service.administration.StreamEvents(
            policy_admin_pb2.StreamEventsRequest(since_revision=0), metadata=bearing(made.secret), timeout=SOON
        )
        first = await anext(aiter(events))
        await service.call(service.administration.RotateToken, policy_admin_pb2.RotateTokenRequest(id=made.token.id))
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            [event async for event in events]

        assert first.event.name == made.token.id
        assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED


class UnreadableStore(MemoryStore):
    """A store whose newest event this server cannot read, as one that a newer server wrote.

    Attributes:
        unreadable: the error that reading ends with; None while it can be read.
    """

    unreadable: Exception | None = None

    async def read(self, since: int | None) -> StoreContents:
        """What was written, or the error."""
        if self.unreadable is not None:
            raise self.unreadable
        return await super().read(since)


async def told_as_of(service: Service) -> AsyncIterator[str]:
    """Decide again and again; as of when the policy is known."""
    while True:
        decision = (await service.call(service.decisions.Decide, question())).decision
        yield decision.known_as_of.ToJsonString() if decision.HasField("known_as_of") else ""


async def test_a_store_that_cannot_be_read_is_told_of(serve: Serve) -> None:
    """Answers say how old their knowledge is, health turns off past the limit, and both mend themselves."""
    store = UnreadableStore()
    async with serve(store=store, store_grace=30.0) as service:
        await put(service)
        ages = told_as_of(service)
        assert await anext(ages) == ""
        store.unreadable = ValueError("an event of a sort that is not known")
        written = await put(service, comment="committed all the same")
        assert await anext(ages) == "2026-06-01T00:00:00Z"
        service.clock.advance(seconds=31)
        health = statuses(service)
        while await anext(health) == SERVING:
            pass
        store.unreadable = None
        assert await anext(health) == SERVING
        while await anext(ages):
            pass

        assert written.revision == service.application.snapshots.current.revision == 2
        await health.aclose()  # type: ignore[attr-defined]


async def test_a_restore_that_has_caught_up_is_noticed(serve: Serve) -> None:
    """A store in which other writes stand under the revisions that were known is read anew, whole."""
    async with serve(store_poll=3600.0) as service:
        await put(service)
        other = MemoryStore()
        await put_policy(other, preset_policy(Preset.OPEN, "globex"))
        await put_policy(other, preset_policy(Preset.OPEN, "initech"))
        service.store.__dict__.update(other.__dict__)
        await service.application.snapshots.look()

        assert set(service.application.snapshots.current.policies) == {"globex", "initech"}


async def test_an_event_that_is_too_large_to_send_says_so(serve: Serve) -> None:
    """What was and what is are left out of an event that clients could not receive; the write itself is not."""
    async with serve() as service:
        message = policy_admin_pb2.PutPolicyRequest(policy=STRICT)
        for index in range(10_000):
            message.policy.image_access.blocklist.add(repository=f"someuser/tool{index}", reason="because " * 20)
        for comment in ("one side", "both sides"):
            message.comment = comment
            await service.call(service.administration.PutPolicy, message)
        listed = await service.call(service.administration.ListEvents, policy_admin_pb2.ListEventsRequest(page_size=1))
        following = policy_admin_pb2.ListEventsRequest(page_size=1, page_token=listed.next_page_token)
        both, one = listed.events[0], (await service.call(service.administration.ListEvents, following)).events[0]

        assert (both.revision, both.documents_left_out, both.HasField("after")) == (2, True, False)
        assert (one.revision, one.documents_left_out, one.HasField("after")) == (1, False, True)
