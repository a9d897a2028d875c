"""Callers that end while their calls are open, and a server that can no longer read its store."""

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from sqlalchemy import text

from pullgate.v1 import access_token_pb2, policy_admin_pb2
from pullgate_policy import Preset, preset_policy
from pullgate_server.composition import World, ensure_operator_token, open_secrets
from pullgate_server.configuration import Configuration
from pullgate_server.rpc.gate import Gate
from pullgate_server.stores.engines import open_engine
from pullgate_server.stores.memory import MemoryStore
from pullgate_server.stores.port import StoreContents, Written
from tests.conftest import SOON, Clock, Serve, Service
from tests.postgresql import PostgresqlServer
from tests.server.test_outage import SERVING, statuses
from tests.server.test_policy_admin_service import STRICT, put
from tests.server.test_policy_decision_service import question
from tests.stores import by_ada, put_policy, store_at

OPERATIONS = (Path(__file__).parent.parent.parent / "docs/operations.md").read_text()

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
        written = await put_policy(store, preset_policy(Preset.OPEN, "globex"))
        while not (age := await anext(ages)):
            pass
        assert age == "2026-06-01T00:00:00Z"
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


async def test_a_stream_ends_when_its_end_is_moved_earlier(serve: Serve) -> None:
    """A token without an end that gets one ends its idle streams at that moment."""
    async with serve() as service:
        made = await create_token(service)
        events = service.administration.StreamEvents(
            policy_admin_pb2.StreamEventsRequest(), metadata=bearing(made.secret), timeout=SOON
        )
        await events.initial_metadata()
        rotation = policy_admin_pb2.RotateTokenRequest(id=made.token.id)
        rotation.overlap.FromSeconds(1)
        await service.call(service.administration.RotateToken, rotation)
        assert (await anext(aiter(events))).event.name == made.token.id
        service.clock.advance(seconds=2)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            [event async for event in events]

        assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED


class VanishingStore(MemoryStore):
    """A store that is out of reach right after a write was committed.

    Attributes:
        vanishes: whether the next write is the last thing that is heard of it.
    """

    vanishes = False

    async def write_token(self, *arguments: Any) -> Written:
        """Write, and be gone."""
        written = await super().write_token(*arguments)
        self.available = not self.vanishes
        return written


async def test_a_revocation_holds_though_the_store_vanishes_after_it(serve: Serve) -> None:
    """What was acknowledged holds on the server that took it, whatever becomes of the store."""
    store = VanishingStore()
    async with serve(store=store) as service:
        made = await create_token(service)
        store.vanishes = True
        ended = await service.call(
            service.administration.RevokeToken, policy_admin_pb2.RevokeTokenRequest(id=made.token.id)
        )
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await service.administration.GetCaller(
                policy_admin_pb2.GetCallerRequest(), metadata=bearing(made.secret), timeout=SOON
            )

        assert ended.token.HasField("revoked_at")
        assert raised.value.details() == "the token was revoked"


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_tokens_can_be_begun_anew(kind: str, tmp_path: Path, postgresql: PostgresqlServer) -> None:
    """The way out of a lost key, as docs/operations.md tells it: policies stay, and a start makes a new operator."""
    (statements,) = re.findall(r"`(DELETE FROM tokens;[^`]*)`", OPERATIONS)
    database = await postgresql.new_database() if kind == "postgresql" else ""
    configuration = Configuration()
    async with store_at(kind, tmp_path, database) as store:
        hasher = await open_secrets(configuration, store, tmp_path, World())
        await ensure_operator_token(store, hasher, tmp_path, World())
        await put_policy(store, preset_policy(Preset.STRICT, "acme"))
    engine = open_engine(database, tmp_path / "pullgate.db")
    async with engine.begin() as connection:
        for statement in filter(str.strip, statements.split(";")):
            await connection.execute(text(statement))
    await engine.dispose()
    for name in ("token.key", "operator.token"):
        (tmp_path / name).unlink()
    async with store_at(kind, tmp_path, database) as store:
        hasher = await open_secrets(configuration, store, tmp_path, World())
        await ensure_operator_token(store, hasher, tmp_path, World())
        (stored,) = await store.tokens()
        contents = await store.read(None)

    assert hasher.hash((tmp_path / "operator.token").read_text().strip()) == stored.secret_hash
    assert set(contents.policies) == {"acme"}
    assert contents.revision == 2


async def test_an_operators_token_that_ended_is_no_way_in(tmp_path: Path) -> None:
    """When no operator's token is valid a start makes one, whatever a start that was cut off has left."""
    store, clock = MemoryStore(), Clock()
    world = World(clock=clock)
    hasher = await open_secrets(Configuration(), store, tmp_path, world)
    await ensure_operator_token(store, hasher, tmp_path, world)
    (first,) = await store.tokens()
    ended = replace(first, token=replace(first.token, expires_at=clock.now))
    await store.write_token(first.token.id, lambda _: ended, by_ada())
    (tmp_path / "operator.token").replace(tmp_path / "operator.token.new")
    clock.advance(seconds=1)
    await ensure_operator_token(store, hasher, tmp_path, world)
    _, second = await store.tokens()

    assert hasher.hash((tmp_path / "operator.token").read_text().strip()) == second.secret_hash
    assert second.token.is_valid(clock.now)
    assert not (tmp_path / "operator.token.new").exists()


async def test_pages_of_large_events_end_early(serve: Serve) -> None:
    """However large events are, a page is read and sent whole, and none is left out."""
    async with serve() as service:
        message = policy_admin_pb2.PutPolicyRequest(policy=STRICT)
        for index in range(6000):
            message.policy.image_access.blocklist.add(repository=f"someuser/tool{index}", reason="because " * 10)
        for number in range(4):
            message.comment = f"write {number}"
            await service.call(service.administration.PutPolicy, message)
        pages: list[list[int]] = []
        token = ""
        while not pages or token:
            request = policy_admin_pb2.ListEventsRequest(organization="acme", page_token=token)
            response = await service.call(service.administration.ListEvents, request)
            pages.append([event.revision for event in response.events])
            token = response.next_page_token
        followed = service.administration.StreamEvents(
            policy_admin_pb2.StreamEventsRequest(since_revision=0), metadata=service.metadata, timeout=SOON
        )
        told = [(await anext(aiter(followed))).event.revision for _ in range(4)]
        followed.cancel()

        assert [revision for page in pages for revision in page] == [4, 3, 2, 1]
        assert len(pages) > 1
        assert told == [1, 2, 3, 4]
