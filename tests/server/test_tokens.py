"""Tokens over gRPC: made, shown once, listed, expired, revoked and rotated, and the secrets that they rest on."""

import asyncio
import itertools
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToJson

from pullgate.local import OPERATOR_TOKEN_FILE
from pullgate.v1 import access_token_pb2, identity_pb2
from pullgate.v1 import policy_admin_pb2 as admin
from pullgate.v1 import policy_decision_pb2 as decisions
from pullgate_server.composition import (
    TOKEN_KEY_FILE,
    World,
    ensure_operator_token,
    open_secrets,
    write_secret,
)
from pullgate_server.configuration import Configuration
from pullgate_server.errors import StartupError
from pullgate_server.stores.memory import MemoryStore
from pullgate_server.stores.port import Store
from pullgate_server.token_secrets import SecretHasher
from tests.conftest import SOON, Clock, Serve, Service
from tests.server.test_authorization import (
    answer_to,
    ask,
    bearer,
    ended,
    make_token,
    open_decisions,
    open_events,
    put_strict,
)
from tests.stores import store_at

EXPIRED = ("UNAUTHENTICATED", "TOKEN_EXPIRED")
REVOKED = ("UNAUTHENTICATED", "TOKEN_REVOKED")
UNKNOWN = ("UNAUTHENTICATED", "TOKEN_INVALID")
OK = ("OK", "")

HOUR = Duration(seconds=3600)

MIA = identity_pb2.Identity(username="mia", memberships=[identity_pb2.Membership(organization="acme")])
WHO = admin.GetCallerRequest()
EVERYTHING = admin.ListTokensRequest(include_ended=True)


async def ending(service: Service, secret: str) -> tuple[str, str]:
    """How a call with this token ends."""
    return (await ask(service, "GetCaller", WHO, secret)).ending


async def listed(service: Service, **fields: Any) -> list[str]:
    """The names of the tokens that the operator is shown."""
    answer = await answer_to(service, "ListTokens", admin.ListTokensRequest(**fields))
    return [token.name for token in answer.tokens]


async def revoke(service: Service, token_id: str, **fields: Any) -> access_token_pb2.AccessToken:
    """Revoke a token as operator."""
    request = admin.RevokeTokenRequest(id=token_id, **fields)
    token: access_token_pb2.AccessToken = (await answer_to(service, "RevokeToken", request)).token
    return token


async def rotate(service: Service, token_id: str, **fields: Any) -> admin.RotateTokenResponse:
    """Rotate a token as operator."""
    rotated: admin.RotateTokenResponse = await answer_to(
        service, "RotateToken", admin.RotateTokenRequest(id=token_id, **fields)
    )
    return rotated


async def until(service: Service, secret: str, expected: tuple[str, str]) -> None:
    """Wait until calls with this token end so."""
    async with asyncio.timeout(SOON):
        while await ending(service, secret) != expected:
            pass


async def test_a_token_is_what_was_asked_for(serve: Serve) -> None:
    """A new token has what its request says, who made it and when, and its bearer is that caller."""
    async with serve() as service:
        made = await make_token(
            service, "enforcer", name="proxy", may_assert_roles=True, expires_in=Duration(seconds=60)
        )
        caller = await answer_to(service, "GetCaller", WHO, made.secret)
        token = made.token

        assert re.fullmatch(r"pullgate_[0-9a-f]{64}", made.secret)
        assert re.fullmatch(r"tok_[0-9a-f]{16}", token.id)
        assert (token.name, token.organization, token.username) == ("proxy", "acme", "")
        assert (token.role, token.may_assert_roles) == (access_token_pb2.CALLER_ROLE_ENFORCER, True)
        assert (token.created_by, token.created_at.ToJsonString()) == ("operator", "2026-06-01T00:00:00Z")
        assert token.expires_at.ToJsonString() == "2026-06-01T00:01:00Z"
        assert not token.HasField("revoked_at")
        assert not token.HasField("last_used_at")
        assert caller == admin.GetCallerResponse(
            name="proxy",
            caller_id=token.id,
            role=token.role,
            organization="acme",
            may_assert_roles=True,
            expires_at=token.expires_at,
        )


@pytest.mark.parametrize("role", ["owner", "policy_manager", "member"])
async def test_a_persons_token_is_of_the_person(serve: Serve, role: str) -> None:
    """The username is the one asked for, or else the token's name."""
    async with serve() as service:
        for fields, username in (({"name": "mia"}, "mia"), ({"name": "laptop", "username": "mia"}, "mia")):
            made = await make_token(service, role, **fields)
            caller = await answer_to(service, "GetCaller", WHO, made.secret)

            assert (made.token.name, made.token.username) == (fields["name"], username)
            assert (caller.name, caller.username) == (fields["name"], username)


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_a_secret_is_kept_nowhere(serve: Serve, tmp_path: Path, kind: str) -> None:
    """Neither the database's files nor events nor lists have a secret that was shown, nor a hash without the key."""
    import hashlib

    async with store_at(kind, tmp_path, "") as store, serve(store=store, store_poll=3600.0) as service:
        made = await make_token(service, "enforcer", request_id="mine")
        rotated = await rotate(service, made.token.id, overlap=HOUR, request_id="other")
        await revoke(service, made.token.id)
        secrets = [service.token, made.secret, rotated.secret]
        told = [
            MessageToJson(await answer_to(service, "ListEvents", admin.ListEventsRequest())),
            MessageToJson(await answer_to(service, "ListTokens", EVERYTHING)),
        ]
        kept = "".join(told).encode() + b"".join(path.read_bytes() for path in tmp_path.glob("pullgate.db*"))

    assert kind == "memory" or made.token.id.encode() in b"".join(p.read_bytes() for p in tmp_path.glob("pullgate.db*"))
    for secret in secrets:
        digits = secret.removeprefix("pullgate_")
        for trace in (digits.encode(), bytes.fromhex(digits), hashlib.sha256(secret.encode()).hexdigest().encode()):
            assert trace not in kept
    assert not any(hasher_word in text for text in told for hasher_word in ("secretHash", "secret_hash", "formerHash"))


def test_a_hash_is_worth_nothing_without_its_key() -> None:
    """The same secret has another hash under another key, and another check, which tells nothing of the key."""
    one, same, other = SecretHasher(b"1" * 32), SecretHasher(b"1" * 32), SecretHasher(b"2" * 32)
    secret = f"pullgate_{'0' * 64}"

    assert one.hash(secret) == same.hash(secret) != other.hash(secret)
    assert one.check == same.check != other.check
    assert one.hash(secret) != one.hash(secret.upper())


async def test_a_token_expires(serve: Serve) -> None:
    """At its last moment a token is accepted, and at its expiry it is not, whether or not it was used before."""
    async with serve() as service:
        used, unused = [await make_token(service, "enforcer", expires_in=HOUR) for _ in range(2)]
        assert await ending(service, used.secret) == OK
        service.clock.advance(seconds=3600 - 0.001)
        assert await ending(service, used.secret) == OK
        service.clock.advance(seconds=0.001)

        for made in (used, unused):
            assert await ending(service, made.secret) == EXPIRED
        assert await listed(service) == ["operator"]


async def test_an_open_stream_of_decisions_ends_when_its_token_expires(serve: Serve) -> None:
    """What is asked after the expiry is not answered: the stream ends, and says why."""
    async with serve() as service:
        made = await make_token(service, "enforcer", expires_in=HOUR)
        stream = await open_decisions(service, made.secret, MIA)
        service.clock.advance(hours=1)
        await stream.write(decisions.StreamDecideRequest(identity=MIA, reference="nginx"))

        assert (await ended(stream)).ending == EXPIRED


@pytest.mark.parametrize("open_stream", [open_events, lambda service, secret: open_decisions(service, secret, None)])
async def test_an_open_stream_on_which_nothing_happens_ends_when_its_token_expires(
    serve: Serve, open_stream: Any
) -> None:
    """Nobody has to ask or write anything for a stream to end in time."""
    async with serve() as service:
        await put_strict(service, "acme")
        made = await make_token(service, "owner", expires_in=Duration(seconds=2))
        stream = await open_stream(service, made.secret)
        service.clock.advance(seconds=2)

        assert (await ended(stream)).ending == EXPIRED


async def test_a_stream_ends_though_its_timer_was_early(serve: Serve) -> None:
    """Timers and the clock may differ: when the clock gets to the expiry the stream ends all the same."""
    async with serve() as service:
        await put_strict(service, "acme")
        made = await make_token(service, "owner", expires_in=Duration(nanos=50_000_000))
        stream = await open_events(service, made.secret)
        # The server's timers are in this very loop, and one for the expiry comes before this one.
        await asyncio.sleep(0.1)
        service.clock.advance(seconds=1)

        assert (await ended(stream)).ending == EXPIRED


async def test_a_revoked_token_ends_at_once(serve: Serve) -> None:
    """Its open streams end, on which nothing happens, and its next call is refused; the events say who and why."""
    async with serve() as service:
        await put_strict(service, "acme")
        made = await make_token(service, "owner")
        streams = [await open_events(service, made.secret), await open_decisions(service, made.secret)]
        service.clock.advance(minutes=5)
        token = await revoke(service, made.token.id, comment="lost")
        for stream in streams:
            assert (await ended(stream)).ending == REVOKED
        event = (await answer_to(service, "ListEvents", admin.ListEventsRequest(page_size=1))).events[0]

        assert await ending(service, made.secret) == REVOKED
        assert token.revoked_at.ToJsonString() == "2026-06-01T00:05:00Z"
        assert (event.name, event.author, event.comment) == (token.id, "operator", "lost")


async def test_a_revoked_token_stays_revoked(serve: Serve) -> None:
    """To revoke it again changes nothing, and it cannot be rotated."""
    async with serve() as service:
        made = await make_token(service, "enforcer")
        first = await revoke(service, made.token.id)
        before = await service.store.revision()
        service.clock.advance(minutes=5)
        rotation = await ask(service, "RotateToken", admin.RotateTokenRequest(id=made.token.id))

        assert await revoke(service, made.token.id) == first
        assert rotation.ending == ("INVALID_ARGUMENT", "FIELD_INVALID")
        assert await service.store.revision() == before
        assert await ending(service, made.secret) == REVOKED


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_a_token_is_revoked_on_every_server(serve: Serve, tmp_path: Path, kind: str) -> None:
    """Another server on the same store refuses the token too, and ends its streams, as soon as it has looked."""
    async with (
        store_at(kind, tmp_path, "") as store,
        serve(store=store, store_poll=3600.0) as service,
        serve(store=store, store_poll=3600.0) as other,
    ):
        await put_strict(service, "acme")
        made = await make_token(service, "owner")
        await other.application.snapshots.look()
        streams = [await open_events(other, made.secret), await open_decisions(other, made.secret)]
        await revoke(service, made.token.id)
        assert await ending(other, made.secret) == OK
        await other.application.snapshots.look()
        for stream in streams:
            assert (await ended(stream)).ending == REVOKED

        assert await ending(other, made.secret) == REVOKED


async def test_a_server_looks_by_itself_for_revoked_tokens(serve: Serve) -> None:
    """Nobody has to ask another server to look: it does so again and again."""
    store = MemoryStore()
    async with serve(store=store) as service, serve(store=store) as other:
        await put_strict(service, "acme")
        made = await make_token(service, "owner")
        await until(other, made.secret, OK)
        stream = await open_events(other, made.secret)
        await revoke(service, made.token.id)

        assert (await ended(stream)).ending == REVOKED
        assert await ending(other, made.secret) == REVOKED


async def test_a_rotated_token_has_a_new_secret_at_once(serve: Serve) -> None:
    """Without an overlap the former secret ends with the rotation; the token stays the same otherwise."""
    async with serve() as service:
        made = await make_token(service, "enforcer", expires_in=HOUR)
        assert await ending(service, made.secret) == OK
        rotated = await rotate(service, made.token.id)

        assert rotated.token == made.token
        assert rotated.secret != made.secret
        assert await ending(service, made.secret) == EXPIRED
        assert await ending(service, rotated.secret) == OK


async def test_a_rotation_may_overlap(serve: Serve) -> None:
    """The former secret goes on until the overlap is over, also if it was used before; the new one goes on then."""
    async with serve() as service:
        made = await make_token(service, "enforcer")
        rotated = await rotate(service, made.token.id, overlap=HOUR)
        callers = [await answer_to(service, "GetCaller", WHO, secret) for secret in (made.secret, rotated.secret)]
        service.clock.advance(seconds=3600 - 0.001)
        assert await ending(service, made.secret) == OK
        service.clock.advance(seconds=0.001)

        assert await ending(service, made.secret) == EXPIRED
        assert await ending(service, rotated.secret) == OK
        assert callers[0].caller_id == callers[1].caller_id == made.token.id
        assert callers[0].expires_at.ToJsonString() == "2026-06-01T01:00:00Z"
        assert not callers[1].HasField("expires_at")


async def test_an_overlap_does_not_outlive_the_token(serve: Serve) -> None:
    """The former secret ends with the token if that is earlier."""
    async with serve() as service:
        made = await make_token(service, "enforcer", expires_in=HOUR)
        rotated = await rotate(service, made.token.id, overlap=Duration(seconds=7200))
        service.clock.advance(hours=1)

        assert await ending(service, made.secret) == await ending(service, rotated.secret) == EXPIRED


async def test_a_rotation_may_set_the_expiry_anew(serve: Serve) -> None:
    """The token is accepted for as long as the rotation says, counted from then."""
    async with serve() as service:
        made = await make_token(service, "enforcer", expires_in=HOUR)
        service.clock.advance(minutes=30)
        rotated = await rotate(service, made.token.id, expires_in=HOUR)
        service.clock.advance(minutes=59)
        assert await ending(service, rotated.secret) == OK
        service.clock.advance(minutes=1)

        assert rotated.token.expires_at.ToJsonString() == "2026-06-01T01:30:00Z"
        assert await ending(service, rotated.secret) == EXPIRED


async def test_a_second_rotation_ends_the_first_secret(serve: Serve) -> None:
    """At most one former secret goes on."""
    async with serve() as service:
        made = await make_token(service, "enforcer")
        second = await rotate(service, made.token.id, overlap=HOUR)
        third = await rotate(service, made.token.id, overlap=HOUR)

        assert await ending(service, made.secret) == UNKNOWN
        assert await ending(service, second.secret) == await ending(service, third.secret) == OK


@pytest.mark.parametrize("open_stream", [open_events, open_decisions])
async def test_a_rotation_ends_streams_of_the_former_secret(serve: Serve, open_stream: Any) -> None:
    """A secret that is no longer accepted keeps no stream open either: rotating is for ending it."""
    async with serve() as service:
        await put_strict(service, "acme")
        made = await make_token(service, "owner")
        stream = await open_stream(service, made.secret)
        await rotate(service, made.token.id)

        assert (await ended(stream)).ending == EXPIRED


async def test_an_earlier_expiry_holds_for_open_streams(serve: Serve) -> None:
    """A token that a rotation lets expire ends its open streams then, also those of the former secret's overlap."""
    async with serve() as service:
        await put_strict(service, "acme")
        made = await make_token(service, "owner")
        stream = await open_decisions(service, made.secret)
        await rotate(service, made.token.id, expires_in=HOUR, overlap=HOUR)
        service.clock.advance(hours=2)
        assert await ending(service, made.secret) == EXPIRED
        await stream.write(decisions.StreamDecideRequest(reference="nginx"))

        assert (await ended(stream)).ending == EXPIRED


async def test_a_rotation_shows_its_secret_once(serve: Serve) -> None:
    """The same request again makes no third secret, and says what to do."""
    async with serve() as service:
        made = await make_token(service, "enforcer")
        rotated = await rotate(service, made.token.id, request_id="mine")
        again = await ask(service, "RotateToken", admin.RotateTokenRequest(id=made.token.id, request_id="mine"))

        assert again.ending == ("ALREADY_EXISTS", "TOKEN_ALREADY_SHOWN")
        assert await ending(service, rotated.secret) == OK


async def test_the_last_use_is_known_to_the_minute(serve: Serve) -> None:
    """A token says when it was last used, with the seconds cut off; one that was never used says nothing."""
    async with serve() as service:
        used, unused = await make_token(service, "enforcer"), await make_token(service, "enforcer", name="unused")
        seen = []
        for seconds in (90, 45, 3600):
            service.clock.advance(seconds=seconds)
            await ending(service, used.secret)
            tokens = (await answer_to(service, "ListTokens", EVERYTHING)).tokens
            seen += [token.last_used_at.ToJsonString() for token in tokens if token.id == used.token.id]
            assert [token.HasField("last_used_at") for token in tokens if token.id == unused.token.id] == [False]

    assert seen == ["2026-06-01T00:01:00Z", "2026-06-01T00:02:00Z", "2026-06-01T01:02:00Z"]


async def test_use_is_no_write_of_anybodys(serve: Serve) -> None:
    """To use a token makes no revision and no event."""
    async with serve() as service:
        made = await make_token(service, "enforcer")
        before = await service.store.revision()
        await ending(service, made.secret)
        await answer_to(service, "ListTokens", EVERYTHING)

        assert await service.store.revision() == before


async def test_a_person_who_pulls_uses_their_token(serve: Serve) -> None:
    """An identity's token is used by every decision about it, whether or not the answer lay ready."""
    async with serve() as service:
        await put_strict(service, "acme")
        person, proxy = await make_token(service, "member"), await make_token(service, "enforcer")
        question = decisions.DecideRequest(identity=identity_pb2.Identity(token=person.secret), reference="nginx")
        seen = []
        for _ in range(2):
            service.clock.advance(minutes=5)
            await answer_to(service, "Decide", question, proxy.secret)
            tokens = (await answer_to(service, "ListTokens", EVERYTHING)).tokens
            seen += [token.last_used_at.ToJsonString() for token in tokens if token.id == person.token.id]

    assert seen == ["2026-06-01T00:05:00Z", "2026-06-01T00:10:00Z"]


async def test_the_last_operator_cannot_be_revoked(serve: Serve) -> None:
    """Of operators' tokens one that is accepted stays; with another one it can go."""
    async with serve() as service:
        own = (await answer_to(service, "GetCaller", WHO)).caller_id
        lockout = ("FAILED_PRECONDITION", "LOCKED_OUT")
        request = admin.RevokeTokenRequest(id=own)
        assert (await ask(service, "RevokeToken", request)).ending == lockout
        expired = await make_token(service, "operator", expires_in=HOUR)
        revoked = await make_token(service, "operator")
        await make_token(service, "owner")
        await revoke(service, revoked.token.id)
        service.clock.advance(hours=1)
        assert await ending(service, expired.secret) == EXPIRED
        assert (await ask(service, "RevokeToken", request)).ending == lockout
        other = await make_token(service, "operator")
        await revoke(service, own)

        assert await ending(service, service.token) == REVOKED
        assert await ending(service, other.secret) == OK


async def test_two_operators_that_revoke_each_other_do_not_lock_everybody_out(serve: Serve) -> None:
    """Where two servers that know nothing of each other end the last two tokens, the next start makes another one."""
    store = MemoryStore()
    async with serve(store=store, store_poll=3600.0) as service:
        second = await make_token(service, "operator", name="second")
        async with serve(store=store, store_poll=3600.0) as other:
            first = (await answer_to(service, "GetCaller", WHO)).caller_id
            endings = [
                (await ask(service, "RevokeToken", admin.RevokeTokenRequest(id=second.token.id))).code,
                (await ask(other, "RevokeToken", admin.RevokeTokenRequest(id=first), second.secret)).code,
            ]
    async with serve(store=store) as again:
        assert "OK" in endings
        assert await ending(again, again.token) == OK


async def test_a_repeated_request_makes_no_second_token(serve: Serve) -> None:
    """The same request id again is ALREADY_EXISTS and names the first token; for another request it is refused."""
    async with serve() as service:
        made = await make_token(service, "enforcer", name="proxy", request_id="mine")
        request = admin.CreateTokenRequest(
            name="proxy", role=access_token_pb2.CALLER_ROLE_ENFORCER, organization="acme", request_id="mine"
        )
        again = await ask(service, "CreateToken", request)
        request.name = "other"
        reused = await ask(service, "CreateToken", request)

        assert again.ending == ("ALREADY_EXISTS", "TOKEN_ALREADY_SHOWN")
        assert made.token.id in again.status.message
        assert made.secret not in again.status.message
        assert reused.ending == ("INVALID_ARGUMENT", "REQUEST_ID_REUSED")
        assert sorted(await listed(service)) == ["operator", "proxy"]


@pytest.mark.parametrize(
    ("role", "fields", "field"),
    [
        ("enforcer", {"name": ""}, "name"),
        ("enforcer", {"name": " "}, "name"),
        ("enforcer", {"name": "x\x1b"}, "name"),
        ("enforcer", {"name": "x" * 256}, "name"),
        ("unspecified", {}, "role"),
        ("enforcer", {"role": 77}, "role"),
        ("operator", {"organization": "acme"}, "organization"),
        ("operator", {"username": "mia"}, "username"),
        ("member", {"organization": ""}, "organization"),
        ("owner", {"organization": ""}, "organization"),
        ("enforcer", {"organization": ""}, "organization"),
        ("enforcer", {"organization": "Acme"}, "organization"),
        ("enforcer", {"username": "mia"}, "username"),
        ("member", {"username": " mia"}, "username"),
        ("member", {"username": "x" * 256}, "username"),
        ("member", {"may_assert_roles": True}, "may_assert_roles"),
        ("owner", {"may_assert_roles": True}, "may_assert_roles"),
        ("policy_manager", {"may_assert_roles": True}, "may_assert_roles"),
        ("operator", {"may_assert_roles": True}, "may_assert_roles"),
        ("enforcer", {"expires_in": Duration()}, "expires_in"),
        ("enforcer", {"expires_in": Duration(nanos=1)}, "expires_in"),
        ("enforcer", {"expires_in": Duration(seconds=-1)}, "expires_in"),
        ("enforcer", {"expires_in": Duration(seconds=3650 * 86400 + 1)}, "expires_in"),
        ("enforcer", {"expires_in": Duration(seconds=10**18)}, "expires_in"),
        ("enforcer", {"request_id": "x" * 129}, "request_id"),
        ("enforcer", {"request_id": "\n"}, "request_id"),
    ],
)
async def test_what_cannot_be_made(serve: Serve, role: str, fields: Mapping[str, Any], field: str) -> None:
    """A request that contradicts itself is refused with the field that is wrong; nothing is made."""
    async with serve() as service:
        request = admin.CreateTokenRequest(
            **{
                "name": "mia",
                "role": access_token_pb2.CallerRole.Value(f"CALLER_ROLE_{role.upper()}"),
                "organization": "" if role == "operator" else "acme",
                **fields,
            }
        )
        told = await ask(service, "CreateToken", request)

        assert told.ending == ("INVALID_ARGUMENT", "FIELD_INVALID")
        assert told.status.message.startswith(f"{field}: ")
        assert await listed(service, include_ended=True) == ["operator"]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"overlap": Duration(seconds=-1)}, "overlap: "),
        ({"overlap": Duration(seconds=30 * 86400 + 1)}, "overlap: "),
        ({"expires_in": Duration()}, "expires_in: "),
        ({"expires_in": Duration(seconds=-1)}, "expires_in: "),
        ({"expires_in": Duration(seconds=3650 * 86400 + 1)}, "expires_in: "),
        ({"id": "tok_0"}, 'there is no token "tok_0"'),
        ({"id": ""}, 'there is no token ""'),
    ],
)
async def test_what_cannot_be_rotated(serve: Serve, fields: Mapping[str, Any], told: str) -> None:
    """A rotation that makes no sense is refused, and the secret goes on."""
    async with serve() as service:
        made = await make_token(service, "enforcer")
        request = admin.RotateTokenRequest(**{"id": made.token.id, **fields})
        refused = await ask(service, "RotateToken", request)

        assert refused.code in {"INVALID_ARGUMENT", "NOT_FOUND"}
        assert refused.status.message.startswith(told)
        assert await ending(service, made.secret) == OK


async def test_longest_lives(serve: Serve) -> None:
    """Ten years, and thirty days of overlap, are as long as it gets."""
    async with serve() as service:
        made = await make_token(service, "enforcer", expires_in=Duration(seconds=3650 * 86400))
        rotated = await rotate(service, made.token.id, overlap=Duration(seconds=30 * 86400))

        assert rotated.token.expires_at.ToDatetime() - made.token.created_at.ToDatetime() == timedelta(days=3650)


async def test_tokens_are_listed_page_by_page(serve: Serve) -> None:
    """Pages follow each other in the order of the making, and the last says so; a page may end at the very last."""
    async with serve() as service:
        for index in range(5):
            service.clock.advance(seconds=1)
            await make_token(service, "enforcer", "globex" if index == 2 else "acme", name=f"t{index}")
        every: tuple[tuple[dict[str, Any], list[str]], ...] = (
            ({}, ["operator", "t0", "t1", "t2", "t3", "t4"]),
            ({"organization": "acme"}, ["t0", "t1", "t3", "t4"]),
            ({"organization": "initech"}, []),
        )
        for filters, names in every:
            pages, page_token = [], ""
            while True:
                request = admin.ListTokensRequest(page_size=2, page_token=page_token, **filters)
                response = await answer_to(service, "ListTokens", request)
                pages.append([token.name for token in response.tokens])
                page_token = response.next_page_token
                if not page_token:
                    break

            assert list(itertools.chain(*pages)) == names
            assert all(len(page) == 2 for page in pages[:-1])
            assert len(pages) == max(1, len(names) // 2)


@pytest.mark.parametrize("fields", [{"page_size": -1}, {"page_size": 1001}, {"page_token": "tok_0"}])
async def test_pages_that_there_are_not(serve: Serve, fields: Mapping[str, Any]) -> None:
    """A page that cannot be is refused with the field."""
    async with serve() as service:
        told = await ask(service, "ListTokens", admin.ListTokensRequest(**fields))

        assert told.ending == ("INVALID_ARGUMENT", "FIELD_INVALID")
        assert told.status.message.startswith(next(iter(fields)))


async def test_tokens_that_ended_are_listed_if_asked_for(serve: Serve) -> None:
    """Expired and revoked tokens stay known, and are left out unless they are asked for."""
    async with serve() as service:
        service.clock.advance(seconds=1)
        await make_token(service, "enforcer", name="expired", expires_in=HOUR)
        service.clock.advance(seconds=1)
        revoked = await make_token(service, "enforcer", name="revoked")
        service.clock.advance(seconds=1)
        await make_token(service, "enforcer", name="good", expires_in=Duration(seconds=7200))
        await revoke(service, revoked.token.id)
        service.clock.advance(hours=1)

        assert await listed(service) == ["operator", "good"]
        assert await listed(service, include_ended=True) == ["operator", "expired", "revoked", "good"]


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_tokens_outlive_the_server(serve: Serve, tmp_path: Path, kind: str) -> None:
    """After a restart tokens are what they were: accepted, revoked, or with a former secret."""
    async with store_at(kind, tmp_path, "") as store:
        async with serve(store=store, store_poll=3600.0) as service:
            operator = service.token
            good, gone = await make_token(service, "enforcer"), await make_token(service, "enforcer")
            rotated = await rotate(service, good.token.id, overlap=HOUR)
            await revoke(service, gone.token.id)
        async with serve(store=store, store_poll=3600.0) as service:
            assert service.token == operator
            assert await ending(service, operator) == OK
            assert await ending(service, good.secret) == await ending(service, rotated.secret) == OK
            assert await ending(service, gone.secret) == REVOKED


@pytest.fixture
def world() -> World:
    """Time that stands still, and real randomness."""
    return World(clock=Clock())


async def begin(store: Store, directory: Path, world: World) -> SecretHasher:
    """What a server does with secrets when it starts; returns its hasher."""
    directory.mkdir(exist_ok=True)
    hasher = await open_secrets(Configuration(data_dir=directory), store, directory, world)
    await ensure_operator_token(store, hasher, directory, world)
    return hasher


async def is_operators(store: Store, hasher: SecretHasher, directory: Path) -> bool:
    """Whether the file has the secret of an operator's token in the store."""
    secret = (directory / OPERATOR_TOKEN_FILE).read_text().strip()
    return hasher.hash(secret) in {stored.secret_hash for stored in await store.tokens()}


async def test_the_first_start_leaves_two_files(tmp_path: Path, world: World) -> None:
    """A new store gets a key and an operator's token, which nobody else can read; the next start keeps them."""
    store = MemoryStore()
    hasher = await begin(store, tmp_path, world)
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    again = await begin(store, tmp_path, world)

    assert files.keys() == {TOKEN_KEY_FILE, OPERATOR_TOKEN_FILE}
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in tmp_path.iterdir())
    assert await is_operators(store, hasher, tmp_path)
    assert again.check == hasher.check
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files
    assert len(await store.tokens()) == 1


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
@pytest.mark.parametrize("key", ["", "5" * 64])
async def test_a_server_with_another_key_does_not_start(tmp_path: Path, world: World, kind: str, key: str) -> None:
    """A store is bound to one key: a server with another, or none, says so, and leaves nothing behind."""
    async with store_at(kind, tmp_path, "") as store:
        await begin(store, tmp_path / "first", world)
        tokens, second = await store.tokens(), tmp_path / "second"
        second.mkdir()
        if key:
            write_secret(second / TOKEN_KEY_FILE, key)
        with pytest.raises(StartupError, match="is another one" if key else "is not there") as raised:
            await begin(store, second, world)

        assert "copy token.key from the data directory" in str(raised.value)
        assert [path.name for path in second.iterdir()] == ([TOKEN_KEY_FILE] if key else [])
        assert await store.tokens() == tokens
        (second / TOKEN_KEY_FILE).unlink(missing_ok=True)
        write_secret(second / TOKEN_KEY_FILE, (tmp_path / "first" / TOKEN_KEY_FILE).read_text())
        await begin(store, second, world)


@pytest.mark.parametrize("text", ["", "nonsense", "5" * 62])
async def test_a_file_that_is_no_key_ends_the_start(tmp_path: Path, world: World, text: str) -> None:
    """A key that is too short or no key is named, and not replaced."""
    (tmp_path / TOKEN_KEY_FILE).write_text(text)
    with pytest.raises(StartupError, match="is no token key"):
        await begin(MemoryStore(), tmp_path, world)

    assert (tmp_path / TOKEN_KEY_FILE).read_text() == text


class CutOffError(Exception):
    """The process was killed here."""


@pytest.mark.parametrize(
    "step",
    [
        "write_secret token.key.new",
        "adopt_token_key",
        "replace token.key.new",
        "write_secret operator.token.new",
        "begin",
        "replace operator.token.new",
    ],
)
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_a_start_that_was_cut_off_is_taken_up(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch, step: str, after: bool, kind: str
) -> None:
    """Wherever a first start ends, before or after a step, the next has one key, one token and its secret."""
    action, _, name = step.partition(" ")

    def cut(function: Any, *, counts: Any = lambda *_: True) -> Any:
        def wrapped(*arguments: Any) -> Any:
            if not counts(*arguments):
                return function(*arguments)
            if after:
                function(*arguments)
            raise CutOffError

        return wrapped

    def cut_slow(function: Any) -> Any:
        async def wrapped(*arguments: Any) -> Any:
            if after:
                await function(*arguments)
            raise CutOffError

        return wrapped

    async with store_at(kind, tmp_path, "") as store:
        directory = tmp_path / "data"
        with monkeypatch.context() as patches:
            if action == "write_secret":
                is_this = lambda path, *_: path.name == name  # noqa: E731 - what counts as the step
                patches.setattr("pullgate_server.composition.write_secret", cut(write_secret, counts=is_this))
            elif action == "replace":
                is_this = lambda path, *_: path.name == name  # noqa: E731 - what counts as the step
                patches.setattr(Path, "replace", cut(Path.replace, counts=is_this))
            else:
                patches.setattr(store, action, cut_slow(getattr(store, action)))
            with pytest.raises(CutOffError):
                await begin(store, directory, world)
        hasher = await begin(store, directory, world)

        assert {path.name for path in directory.iterdir()} == {TOKEN_KEY_FILE, OPERATOR_TOKEN_FILE}
        assert await is_operators(store, hasher, directory)
        assert len(await store.tokens()) == 1
        assert SecretHasher(bytes.fromhex((directory / TOKEN_KEY_FILE).read_text())).check == hasher.check


@pytest.mark.parametrize("text", ["", "55555"])
async def test_a_key_that_was_half_written_is_made_anew(tmp_path: Path, world: World, text: str) -> None:
    """What was cut off before the store was bound to it is nobody's key yet."""
    (tmp_path / f"{TOKEN_KEY_FILE}.new").write_text(text)
    store = MemoryStore()
    hasher = await begin(store, tmp_path, world)

    assert await is_operators(store, hasher, tmp_path)


async def test_two_servers_that_start_together_make_one_token(tmp_path: Path, world: World) -> None:
    """Of two first starts on one store with one key one makes the operator's token, and the other leaves no file."""
    async with store_at("sqlite", tmp_path, "") as store:
        directories = [tmp_path / "one", tmp_path / "two"]
        hashers = []
        for directory in directories:
            directory.mkdir()
            write_secret(directory / TOKEN_KEY_FILE, "5" * 64)
            configuration = Configuration(data_dir=directory)
            hashers.append(await open_secrets(configuration, store, directory, world))
        await asyncio.gather(
            *(
                ensure_operator_token(store, hasher, directory, world)
                for hasher, directory in zip(hashers, directories, strict=True)
            )
        )
        left = sorted(path.name for directory in directories for path in directory.iterdir())

        assert len(await store.tokens()) == 1
        assert left == [OPERATOR_TOKEN_FILE, TOKEN_KEY_FILE, TOKEN_KEY_FILE]


async def test_a_token_of_another_key_is_unknown(serve: Serve, tmp_path: Path) -> None:
    """A secret is accepted where its hash was made with the key, and nowhere else."""
    secret = f"pullgate_{'7' * 64}"
    async with serve() as service:
        assert await ending(service, secret) == UNKNOWN
        assert await ending(service, service.token.upper()) == UNKNOWN
        assert await ending(service, service.token.removeprefix("pullgate_")) == UNKNOWN
        stub = service.administration
        answer = await stub.GetCaller(WHO, metadata=bearer(f" {service.token} "), timeout=SOON)

        assert answer.role == access_token_pb2.CALLER_ROLE_OPERATOR
