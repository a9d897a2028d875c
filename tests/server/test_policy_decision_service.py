"""PolicyDecisionService on the wire: every field does something, and errors say what to do."""

import asyncio
from functools import partial
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from pullgate.v1 import decision_pb2, identity_pb2, policy_decision_pb2
from pullgate_policy import Preset, parse_policy_yaml, preset_policy
from pullgate_server.composition import SERVICES
from pullgate_server.stores.memory import MemoryStore
from tests.conftest import SOON, Clock, Serve, Service
from tests.stores import put_policy

DEV = identity_pb2.Identity(username="dev", memberships=[identity_pb2.Membership(organization="acme")])
CATALOGUE = """
entries:
  - {namespace: someuser, category: COMMUNITY, source: the test, retrieved_at: 2026-01-01T00:00:00Z}
"""


async def strict_store() -> MemoryStore:
    """A store in which acme has the preset `strict`."""
    store = MemoryStore()
    await put_policy(store, preset_policy(Preset.STRICT, "acme"))
    return store


def question(reference: str = "nginx", **fields: object) -> policy_decision_pb2.DecideRequest:
    """A DecideRequest of dev in acme."""
    return policy_decision_pb2.DecideRequest(**{"identity": DEV, "reference": reference, **fields})  # type: ignore[arg-type]


async def refusal(
    service: Service, request: object, method: str = "Decide"
) -> tuple[str, str, list[tuple[str, str]], str]:
    """How a call ends: status, reason, the fields that are wrong, message."""
    stub = service.decisions if hasattr(service.decisions, method) else service.administration
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await service.call(getattr(stub, method), request)
    status = rpc_status.from_call(raised.value)
    assert status is not None
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    violations: list[tuple[str, str]] = []
    for detail in status.details:
        if detail.Unpack(bad):
            violations = [(item.field, item.description) for item in bad.field_violations]
        detail.Unpack(info)
    assert info.domain == "pullgate"
    return raised.value.code().name, info.reason, violations, raised.value.details() or ""


async def test_an_answer_explains_itself(serve: Serve) -> None:
    """A decision carries its evidence, its rule, its revision, an id of its own, and how long it may be used."""
    async with serve(store=await strict_store(), catalogue=CATALOGUE, cacheable_for=30.0) as service:
        response = await service.call(service.decisions.Decide, question("someuser/tool:1", request_id="mine"))
        decision = response.decision

        assert response.request_id == "mine"
        assert (decision.effect, decision.policy_effect, decision.enforced) == (2, 2, True)
        assert decision.matched_rule == "image_access.allow.community_images"
        assert (decision.evidence.source, decision.evidence.detail) == ("catalogue", "the test")
        assert decision.evidence.checked_at.ToJsonString() == "2026-01-01T00:00:00Z"
        assert not decision.evidence.stale
        assert decision.policy_revision == 1
        assert decision.repository == "docker.io/someuser/tool"
        assert decision.cacheable_for.seconds == 30
        assert len(decision.decision_id) == 32


async def test_every_answer_has_an_id_of_its_own(serve: Serve) -> None:
    """Repeated answers differ in their id and in nothing else."""
    async with serve(store=await strict_store()) as service:
        answers = [(await service.call(service.decisions.Decide, question())).decision for _ in range(5)]
        batch = policy_decision_pb2.BatchDecideRequest(identity=DEV, references=["nginx"] * 5)
        answers += [item.decision for item in (await service.call(service.decisions.BatchDecide, batch)).decisions]

        assert len({answer.decision_id for answer in answers}) == 10
        for answer in answers:
            answer.ClearField("decision_id")
        assert all(answer == answers[0] for answer in answers)


async def test_a_write_holds_for_the_next_decision(serve: Serve) -> None:
    """A ready answer is not repeated under another policy, whichever way it was asked for."""
    async with serve(store=await strict_store(), catalogue=CATALOGUE) as service:
        batch = policy_decision_pb2.BatchDecideRequest(identity=DEV, references=["someuser/tool"])
        for preset, revision, effect in ((Preset.STRICT, 1, 2), (Preset.OPEN, 2, 1), (Preset.STRICT, 3, 2)):
            if revision > 1:
                await put_policy(service.store, preset_policy(preset, "acme"))
                await service.application.snapshots.refresh()
            for _ in range(2):
                one = (await service.call(service.decisions.Decide, question("someuser/tool"))).decision
                (many,) = (await service.call(service.decisions.BatchDecide, batch)).decisions

                assert (one.effect, one.policy_revision) == (effect, revision)
                assert (many.decision.effect, many.decision.policy_revision) == (effect, revision)


async def test_no_answer_mixes_two_revisions_in_a_storm_of_writes(serve: Serve) -> None:
    """While policies change, every answer is right for the revision it names, and a batch names one."""
    async with serve(store=await strict_store(), catalogue=CATALOGUE) as service:
        stop = asyncio.Event()

        async def write() -> None:
            # Odd revisions are strict, even ones open.
            for revision in range(2, 60):
                preset = Preset.OPEN if revision % 2 == 0 else Preset.STRICT
                await put_policy(service.store, preset_policy(preset, "acme"))
                await service.application.snapshots.refresh()
                await asyncio.sleep(0)
            stop.set()

        async def ask() -> int:
            asked = 0
            batch = policy_decision_pb2.BatchDecideRequest(
                identity=DEV, references=["someuser/tool", *(f"someuser/tool{index}" for index in range(20))]
            )
            while not stop.is_set():
                one = (await service.call(service.decisions.Decide, question("someuser/tool"))).decision
                many = await service.call(service.decisions.BatchDecide, batch)
                decisions = [one, *(item.decision for item in many.decisions)]
                for decision in decisions:
                    assert decision.effect == (1 if decision.policy_revision % 2 == 0 else 2)
                assert {many.policy_revision} == {item.decision.policy_revision for item in many.decisions}
                asked += len(decisions)
            return asked

        async with asyncio.timeout(SOON):
            _, *asked = await asyncio.gather(write(), *(ask() for _ in range(4)))

        assert all(asked)


async def test_an_expiring_entry_ends_on_time(serve: Serve) -> None:
    """A ready answer ends when the allowlist entry it rests on expires, and says so shortly before."""
    store, clock = MemoryStore(), Clock()
    policy = parse_policy_yaml(
        "{organization: acme, image_access: {enabled: true, allowlist: {repositories: "
        "[{repository: a/b, expires_at: 2026-06-01T00:10:00Z}]}}}"
    )
    await put_policy(store, policy)
    async with serve(store=store, clock=clock, store_grace=86400.0) as service:
        told = []
        for seconds in (0, 300, 270, 29, 1):
            clock.advance(seconds=seconds)
            for _ in range(2):
                decision = (await service.call(service.decisions.Decide, question("a/b"))).decision
            told.append((decision_pb2.Effect.Name(decision.effect), decision.cacheable_for.seconds))

    assert told[0] == ("EFFECT_ALLOW", 60)
    assert told[1] == ("EFFECT_ALLOW", 60)
    assert told[2] == ("EFFECT_ALLOW", 30)
    assert told[3] == ("EFFECT_ALLOW", 1)
    assert told[4][0] == "EFFECT_DENY"


async def test_an_entry_that_expires_in_one_of_two_organizations_ends_on_time(serve: Serve) -> None:
    """An answer that names one organization ends when an entry of another, on which it rests too, expires."""
    store, clock = MemoryStore(), Clock()
    open_ = preset_policy(Preset.OPEN, "acme")
    expiring = parse_policy_yaml(
        "{organization: globex, image_access: {enabled: true, allowlist: {repositories: "
        "[{repository: someuser/tool, expires_at: 2026-06-01T00:10:00Z}]}}}"
    )
    for policy in (open_, expiring):
        await put_policy(store, policy)
    both = identity_pb2.Identity(
        username="dev", memberships=[identity_pb2.Membership(organization=name) for name in ("acme", "globex")]
    )
    async with serve(store=store, clock=clock, catalogue=CATALOGUE, store_grace=86400.0) as service:
        told = []
        for seconds in (0, 599, 1):
            clock.advance(seconds=seconds)
            for _ in range(2):
                decision = (
                    await service.call(service.decisions.Decide, question("someuser/tool", identity=both))
                ).decision
            told.append((decision.effect, decision.organization, decision.cacheable_for.seconds))

    assert told == [(1, "acme", 60), (1, "acme", 1), (2, "globex", 60)]


@pytest.mark.parametrize(
    ("data", "code", "reason"),
    [
        (b"\xff\xff\xff\xff", "INVALID_ARGUMENT", "MESSAGE_INVALID"),
        (b"\x12\xd0\x0f" + b"a" * 2000, "RESOURCE_EXHAUSTED", "MESSAGE_TOO_LARGE"),
    ],
)
async def test_a_stream_ends_with_what_is_wrong_after_what_was_right(
    serve: Serve, data: bytes, code: str, reason: str
) -> None:
    """A message that cannot be read ends the stream with its own status, after the requests before it are answered."""
    good = policy_decision_pb2.StreamDecideRequest(identity=DEV, reference="nginx", request_id="good")
    async with serve(store=await strict_store(), max_message_bytes=1500) as service:
        channel: Any = service.channel
        stream = channel.stream_stream("/pullgate.v1.PolicyDecisionService/StreamDecide")(
            metadata=service.metadata, timeout=SOON
        )
        await stream.write(good.SerializeToString())
        first = policy_decision_pb2.StreamDecideResponse.FromString(await stream.read())
        await stream.write(data)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stream.read()
    info = error_details_pb2.ErrorInfo()

    assert (first.request_id, first.decision.effect) == ("good", 1)
    assert rpc_status.from_call(raised.value).details[0].Unpack(info)
    assert (raised.value.code().name, info.reason) == (code, reason)


@pytest.mark.parametrize(
    "request_",
    [
        question(organizations=["A b" * 10_000]),
        question("é" * 20_000),
        question(
            identity=identity_pb2.Identity(
                username="dev", memberships=[identity_pb2.Membership(organization="%" * 20_000)]
            )
        ),
        question(
            identity=identity_pb2.Identity(
                username="dev", memberships=[identity_pb2.Membership(organization="acme", teams=["\x00" * 20_000])]
            )
        ),
    ],
)
async def test_however_long_what_is_wrong_the_status_arrives(
    serve: Serve, request_: policy_decision_pb2.DecideRequest
) -> None:
    """A refusal of something very long is short enough to arrive as what it is."""
    async with serve(store=await strict_store()) as service:
        told = await refusal(service, request_)

        assert told[0] == "INVALID_ARGUMENT"


async def test_refused_requests_are_not_kept(serve: Serve) -> None:
    """What is refused, or too large to keep, leaves nothing in memory; what is answered does."""
    async with serve(store=await strict_store()) as service:
        ready = service.application.ready
        for index in range(5):
            with pytest.raises(grpc.aio.AioRpcError):
                await service.call(service.decisions.Decide, question(organizations=[f"A{index}"] * 1000))
            await service.call(
                service.decisions.Decide, question(organizations=[f"org{index}-{number}" for number in range(1000)])
            )
        before = ready.kept_bytes
        await service.call(service.decisions.Decide, question())

        assert before == 0
        assert 0 < ready.kept_bytes < 2000


async def test_a_batch_answers_each_in_order(serve: Serve) -> None:
    """A reference that is wrong is one item's error; the others have their decisions, in order, at one revision."""
    async with serve(store=await strict_store(), catalogue=CATALOGUE) as service:
        references = ["nginx", "Bad/Name", "someuser/tool", "", "ghcr.io/a/b"]
        for _ in range(2):
            response = await service.call(
                service.decisions.BatchDecide,
                policy_decision_pb2.BatchDecideRequest(identity=DEV, references=references),
            )
            told = [
                item.error.code if item.HasField("error") else decision_pb2.Reason.Name(item.decision.reason)
                for item in response.decisions
            ]

            invalid = grpc.StatusCode.INVALID_ARGUMENT.value[0]
            assert told == [
                "REASON_CATEGORY_ALLOWED",
                invalid,
                "REASON_CATEGORY_NOT_ALLOWED",
                invalid,
                "REASON_NOT_GOVERNED",
            ]
            assert response.policy_revision == 1


async def test_an_empty_batch_is_answered(serve: Serve) -> None:
    """No references, no decisions, and still the revision."""
    async with serve(store=await strict_store()) as service:
        response = await service.call(
            service.decisions.BatchDecide, policy_decision_pb2.BatchDecideRequest(identity=DEV)
        )

        assert (list(response.decisions), response.policy_revision) == ([], 1)


async def test_a_stream_answers_every_request_under_its_id(serve: Serve) -> None:
    """More requests than are read ahead are all answered, errors included, and the stream goes on after an error."""
    async with serve(store=await strict_store(), catalogue=CATALOGUE) as service:
        references = {f"id-{index}": "Bad/Name" if index % 7 == 0 else f"someuser/tool{index}" for index in range(300)}
        requests = [
            policy_decision_pb2.StreamDecideRequest(identity=DEV, reference=reference, request_id=request_id)
            for request_id, reference in references.items()
        ]
        stream = service.decisions.StreamDecide(iter(requests), metadata=service.metadata, timeout=SOON)
        answers = {response.request_id: response async for response in stream}

    assert references.keys() == answers.keys()
    for request_id, reference in references.items():
        assert answers[request_id].HasField("error") == (reference == "Bad/Name")
        if reference != "Bad/Name":
            assert answers[request_id].decision.reference == f"docker.io/{reference}:latest"


async def test_a_stream_answers_before_the_client_is_done(serve: Serve) -> None:
    """An answer comes while the client still thinks about its next request."""
    async with serve(store=await strict_store()) as service:
        stream = service.decisions.StreamDecide(metadata=service.metadata, timeout=SOON)
        for request_id in ("one", "two"):
            await stream.write(
                policy_decision_pb2.StreamDecideRequest(identity=DEV, reference="nginx", request_id=request_id)
            )
            answer = await stream.read()

            assert answer.request_id == request_id
        await stream.done_writing()

        assert await stream.read() is grpc.aio.EOF


async def test_a_stream_that_the_client_leaves_is_forgotten(serve: Serve) -> None:
    """A cancelled stream leaves no open call behind."""
    async with serve(store=await strict_store()) as service:
        stream = service.decisions.StreamDecide(metadata=service.metadata)
        await stream.write(policy_decision_pb2.StreamDecideRequest(identity=DEV, reference="nginx"))
        await stream.read()
        stream.cancel()
        async with asyncio.timeout(SOON):
            service.application.gate.stop_streams()
            await service.application.gate.idle()


async def test_min_revision_waits_for_the_write(serve: Serve) -> None:
    """An answer that must be at least as fresh as a revision waits until that has arrived."""
    async with serve(store=await strict_store(), store_poll=3600.0) as service:
        waiting = asyncio.ensure_future(service.call(service.decisions.Decide, question(min_revision=2)))
        await service.call(service.decisions.Decide, question())
        await put_policy(service.store, preset_policy(Preset.OPEN, "acme"), expected=1)
        await service.application.snapshots.refresh()

        assert (await waiting).decision.policy_revision == 2


async def test_min_revision_that_does_not_come_is_unavailable(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """A revision that has not arrived within the deadline ends the call, saying where this server is."""
    monkeypatch.setattr("pullgate_server.rpc.policy_decision.ANSWERING_TAKES", SOON - 0.2)
    async with serve(store=await strict_store()) as service:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await service.call(service.decisions.Decide, question(min_revision=9))
        status = rpc_status.from_call(raised.value)

        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "revision 9 has not arrived here within the deadline; this server is at 1" in (
            raised.value.details() or ""
        )
        assert any(detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for detail in status.details)


@pytest.mark.parametrize(
    ("request_", "code", "reason", "field", "problem"),
    [
        (question("Bad/Name"), "INVALID_ARGUMENT", "REFERENCE_INVALID", "reference", "uppercase"),
        (question(min_revision=-1), "INVALID_ARGUMENT", "FIELD_INVALID", "min_revision", "below 0"),
        (question(organizations=["Acme"]), "INVALID_ARGUMENT", "FIELD_INVALID", "organizations[0]", "not lowercase"),
        (
            question(identity=identity_pb2.Identity()),
            "INVALID_ARGUMENT",
            "ORGANIZATION_MISSING",
            "organizations",
            "name an organization",
        ),
        (
            question(identity=identity_pb2.Identity(username="dev", memberships=[identity_pb2.Membership()])),
            "INVALID_ARGUMENT",
            "FIELD_INVALID",
            "identity.memberships[0].organization",
            "is empty",
        ),
        (
            question(identity=identity_pb2.Identity(username="dev", memberships=[*DEV.memberships, *DEV.memberships])),
            "INVALID_ARGUMENT",
            "FIELD_INVALID",
            "identity.memberships[1].organization",
            "twice",
        ),
        (
            question(identity=identity_pb2.Identity(memberships=DEV.memberships)),
            "INVALID_ARGUMENT",
            "FIELD_INVALID",
            "identity.username",
            "nobody cannot be a member",
        ),
        (
            question(
                identity=identity_pb2.Identity(
                    username="dev",
                    memberships=[identity_pb2.Membership(organization="acme", role=9)],  # type: ignore[arg-type]
                )
            ),
            "INVALID_ARGUMENT",
            "FIELD_INVALID",
            "identity.memberships[0].role",
            "9 is no role",
        ),
        (
            question(
                identity=identity_pb2.Identity(
                    username="dev", memberships=[identity_pb2.Membership(organization="acme", teams=[" "])]
                )
            ),
            "INVALID_ARGUMENT",
            "FIELD_INVALID",
            "identity.memberships[0].teams",
            "not a team's name",
        ),
        (
            question(identity=identity_pb2.Identity(username="dev", credential=77)),  # type: ignore[arg-type]
            "INVALID_ARGUMENT",
            "FIELD_INVALID",
            "identity.credential",
            "77 is no kind of credential",
        ),
        (
            question(identity=identity_pb2.Identity(token="x", username="dev")),
            "INVALID_ARGUMENT",
            "FIELD_INVALID",
            "identity.token",
            "the other fields of identity must be empty",
        ),
        (
            question(identity=identity_pb2.Identity(token="x")),
            "INVALID_ARGUMENT",
            "IDENTITY_TOKEN_INVALID",
            "identity.token",
            "not a token of a person",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_is_wrong_with_a_request_is_told(
    serve: Serve, request_: policy_decision_pb2.DecideRequest, code: str, reason: str, field: str, problem: str
) -> None:
    """Bad input ends the call with a status, a reason, and the field that is wrong; a batch ends the same way."""
    async with serve(store=await strict_store()) as service:
        told = await refusal(service, request_)

        assert (code, reason) == told[:2]
        assert any(name == field and problem in description for name, description in told[2])
        if reason != "REFERENCE_INVALID":
            batch = policy_decision_pb2.BatchDecideRequest(
                identity=request_.identity,
                references=["nginx"],
                organizations=request_.organizations,
                min_revision=request_.min_revision,
            )
            assert told == await refusal(service, batch, "BatchDecide")


async def test_a_batch_may_have_its_limit_and_no_more(serve: Serve) -> None:
    """A batch of the limit is answered, a larger one is refused with the limit in the message."""
    async with serve(store=await strict_store(), max_batch=500) as service:
        full = policy_decision_pb2.BatchDecideRequest(identity=DEV, references=["nginx"] * 500)
        answered = await service.call(service.decisions.BatchDecide, full)
        full.references.append("nginx")
        told = await refusal(service, full, "BatchDecide")

        assert len(answered.decisions) == 500
        assert told[:2] == ("RESOURCE_EXHAUSTED", "BATCH_TOO_LARGE")
        assert "has 501 entries, and at most 500 are decided at once; split it" in told[3]


async def test_a_message_may_have_its_limit_and_no_more(serve: Serve) -> None:
    """A request over the limit of bytes is refused with both numbers, and is not parsed."""
    async with serve(store=await strict_store(), max_message_bytes=2000) as service:
        told = await refusal(service, question("a" * 2000))

        assert told[:2] == ("RESOURCE_EXHAUSTED", "MESSAGE_TOO_LARGE")
        assert "at most 2000 are accepted" in told[3]


async def test_bytes_that_are_no_message_are_told(serve: Serve) -> None:
    """Garbage is a bad request, not a failure of the server."""
    async with serve() as service:
        method: Any = service.channel.unary_unary("/pullgate.v1.PolicyDecisionService/Decide")
        told = await refusal_of_bytes(service, method)

        assert told == ("INVALID_ARGUMENT", "the request is not a pullgate.v1.DecideRequest message")


async def refusal_of_bytes(service: Service, method: object) -> tuple[str, str]:
    """How a call with bytes that are no protobuf ends."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await service.call(method, b"\xff\xff\xff\xff")
    return raised.value.code().name, raised.value.details() or ""


async def test_calls_over_the_limit_are_refused(serve: Serve) -> None:
    """Over the limit of open calls a call is refused at once and told to come back; below it is answered again."""
    async with serve(store=await strict_store(), max_open_calls=1) as service:
        stream = service.decisions.StreamDecide(metadata=service.metadata, timeout=SOON)
        await stream.write(policy_decision_pb2.StreamDecideRequest(identity=DEV, reference="nginx"))
        await stream.read()
        told = await refusal(service, question())
        await stream.done_writing()
        await stream.read()
        answered = await service.call(service.decisions.Decide, question())

        assert told[:2] == ("RESOURCE_EXHAUSTED", "TOO_MANY_CALLS")
        assert answered.decision.effect == 1


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ((), "TOKEN_MISSING"),
        ((("authorization", "Basic YTpi"),), "TOKEN_MISSING"),
        ((("authorization", "Bearer"),), "TOKEN_MISSING"),
        ((("authorization", "Bearer pullgate_wrong"),), "TOKEN_INVALID"),
        ((("authorization", "Bearer "),), "TOKEN_INVALID"),
    ],
)
async def test_calls_without_a_known_token_are_refused(
    serve: Serve, metadata: tuple[tuple[str, str], ...], reason: str
) -> None:
    """Every method of every service but health is for who has a token: unary, streams, administration, reflection."""
    async with serve(store=await strict_store()) as service:
        unary = [
            f"/{descriptor.full_name}/{method.name}"
            for descriptor in SERVICES
            for method in descriptor.methods
            if not method.server_streaming
        ]
        streams = [
            "/pullgate.v1.PolicyDecisionService/StreamDecide",
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        ]
        channel: Any = service.channel
        calls: list[Any] = [partial(channel.unary_unary(path), b"") for path in unary]
        # Nothing is sent on the streams: a client that still sends when it is refused may report its own failure.
        calls += [channel.stream_stream(path) for path in streams]
        for begin in calls:
            call = begin(metadata=metadata, timeout=SOON)
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await (call.read() if hasattr(call, "read") else call)
            status = rpc_status.from_call(raised.value)
            info = error_details_pb2.ErrorInfo()

            assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED
            assert status.details[0].Unpack(info)
            assert info.reason == reason


async def test_the_scheme_may_be_in_any_letters(serve: Serve) -> None:
    """`bearer` is as good as `Bearer` (RFC 9110, section 11.1)."""
    async with serve(store=await strict_store()) as service:
        for scheme in ("bearer", "BEARER"):
            await service.decisions.Decide(
                question(), metadata=(("authorization", f"{scheme} {service.token}"),), timeout=SOON
            )
