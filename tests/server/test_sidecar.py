"""A sidecar: the server's own decisions, from what another server tells."""

import asyncio
import os
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from grpc_status import rpc_status
from prometheus_client import generate_latest

from pullgate.v1 import decision_pb2, identity_pb2
from pullgate.v1 import policy_decision_pb2 as messages
from pullgate_client import AsyncClient, AsyncLocalDecider, Connection
from pullgate_policy import Category, CategoryEvidence, Preset, preset_policy
from pullgate_policy.access_token import CallerRole
from pullgate_policy.caller import Caller
from pullgate_policy.knowledge import Knowledge, KnowledgeStatus
from pullgate_policy.policy_state import PolicyState
from pullgate_server.errors import StartupError
from pullgate_server.sidecar.configuration import SidecarConfiguration
from pullgate_server.sidecar.scripted import ScriptedUpstream
from pullgate_server.sidecar.socket_file import make_way
from tests.conftest import SOON, Clock, Serve
from tests.server.test_decision_vectors import answers, catalogue, request, store_with
from tests.server.test_policy_decision_service import DEV, question
from tests.sidecars import Sidecar, running_sidecar
from tests.vectors import Case, read_cases

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
ENFORCER = Caller(id="tok_1", name="proxy", role=CallerRole.ENFORCER, organization="acme", may_assert_roles=True)
OPERATOR = Caller(id="tok_0", name="operator", role=CallerRole.OPERATOR)
STATE = PolicyState(revision=7, policies={"acme": preset_policy(Preset.STRICT, "acme")})
REFUSED = "what is known is older than it may be"


def knowing(**fields: Any) -> ScriptedUpstream:
    """A service whose policy for acme is strict, and that takes the sidecar for acme's enforcer."""
    upstream = ScriptedUpstream(
        Knowledge(**{"state": STATE, "caller": ENFORCER, "status": KnowledgeStatus.READY, **fields})
    )
    upstream.categories = {"someuser": CategoryEvidence(category=Category.COMMUNITY, source="catalogue")}
    return upstream


async def refusal(sidecar: Sidecar, request: Any, **options: Any) -> tuple[str, str, str]:
    """How a Decide ends: status, reason and message."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await sidecar.decisions.Decide(request, timeout=SOON, **options)
    status, info = rpc_status.from_call(raised.value), error_details_pb2.ErrorInfo()
    assert status is not None
    for detail in status.details:
        detail.Unpack(info)
    return raised.value.code().name, info.reason, raised.value.details() or ""


async def statuses(sidecar: Sidecar) -> AsyncIterator[int]:
    """The statuses that a watcher of health is told."""
    stub: Any = health_pb2_grpc.HealthStub(sidecar.channel)
    async for response in stub.Watch(health_pb2.HealthCheckRequest(), timeout=SOON):
        yield response.status


def without_ids(decisions: list[decision_pb2.Decision]) -> list[decision_pb2.Decision]:
    """Decisions that can be compared: each has an id of its own."""
    for decision in decisions:
        assert decision.decision_id
        decision.decision_id = ""
    return decisions


@pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in read_cases()])
async def test_a_sidecar_decides_as_its_server(case: Case, serve: Serve, tmp_path: Path) -> None:
    """Every row is answered over a sidecar's unix socket as by the server itself, byte for byte but for the id."""
    clock = Clock(case.now)
    async with (
        serve(
            store=await store_with(case), clock=clock, catalogue=catalogue(case), category_sources="catalogue"
        ) as service,
        AsyncClient(Connection(address=service.server.address, token=service.token)) as client,
        AsyncLocalDecider(client, clock=clock) as decider,
    ):
        await decider.ready(SOON)
        async with running_sidecar(decider, tmp_path, clock) as sidecar:
            if "error" in case.expect:
                with pytest.raises(grpc.aio.AioRpcError) as central:
                    await service.call(service.decisions.Decide, request(case))
                with pytest.raises(grpc.aio.AioRpcError) as beside:
                    await sidecar.call(sidecar.decisions.Decide, request(case))

                assert (beside.value.code(), beside.value.details()) == (central.value.code(), central.value.details())
                return
            central_answers = without_ids(await answers(service, case))
            answers_beside = without_ids(await answers(sidecar, case))  # type: ignore[arg-type]

    assert len(answers_beside) == 4
    assert answers_beside == central_answers


async def test_answers_say_how_old_their_knowledge_is(tmp_path: Path) -> None:
    """While the service is away each answer has `known_as_of`, one that was ready before too."""
    upstream, clock = knowing(), Clock()
    async with running_sidecar(upstream, tmp_path, clock) as sidecar:
        told = []
        for status, known_as_of in (
            (KnowledgeStatus.READY, None),
            (KnowledgeStatus.STALE, clock() - timedelta(minutes=5)),
            (KnowledgeStatus.READY, None),
        ):
            await upstream.tell(status=status, known_as_of=known_as_of)
            for _ in range(2):
                decision = (await sidecar.call(sidecar.decisions.Decide, question())).decision
                told.append(decision.known_as_of.ToJsonString() if decision.HasField("known_as_of") else "")

    assert told == ["", "", "2026-05-31T23:55:00Z", "2026-05-31T23:55:00Z", "", ""]


async def test_a_new_policy_holds_at_once(tmp_path: Path) -> None:
    """What is told replaces what was known as a whole: no ready answer of the former revision is given again."""
    upstream = knowing()
    async with running_sidecar(upstream, tmp_path, Clock()) as sidecar:
        before = (await sidecar.call(sidecar.decisions.Decide, question("someuser/tool"))).decision
        again = (await sidecar.call(sidecar.decisions.Decide, question("someuser/tool"))).decision
        await upstream.tell(state=PolicyState(revision=8, policies={"acme": preset_policy(Preset.OPEN, "acme")}))
        after = (await sidecar.call(sidecar.decisions.Decide, question("someuser/tool"))).decision

    assert [(item.effect, item.policy_revision) for item in (before, again, after)] == [(2, 7), (2, 7), (1, 8)]
    # Once for each revision: the second answer was ready.
    assert upstream.asked == [("someuser/tool", "acme")] * 2


async def test_who_is_not_followed_is_not_decided_for(tmp_path: Path) -> None:
    """An organization that was left out with --org is no organization that restricts nothing: the call says so."""
    operator = replace(ENFORCER, role=CallerRole.OPERATOR, organization="")
    upstream = knowing(caller=operator, followed=frozenset({"acme"}))
    async with running_sidecar(upstream, tmp_path, Clock()) as sidecar:
        followed = (await sidecar.call(sidecar.decisions.Decide, question())).decision
        code, reason, details = await refusal(
            sidecar, messages.DecideRequest(identity=DEV, reference="nginx", organizations=["globex"])
        )

    assert followed.effect == decision_pb2.EFFECT_ALLOW
    assert (code, reason) == ("INVALID_ARGUMENT", "FIELD_INVALID")
    assert "the policy of globex is not followed here" in details


async def test_too_old_knowledge_decides_nothing(tmp_path: Path) -> None:
    """Past the maximum age every kind of call says so, ready answers too, and health turns; both turn back."""
    upstream = knowing()
    async with running_sidecar(upstream, tmp_path, Clock()) as sidecar:
        watch = statuses(sidecar)
        told = [await anext(watch)]
        await sidecar.call(sidecar.decisions.Decide, question())
        await upstream.tell(status=KnowledgeStatus.ERROR, refusal=REFUSED)
        told.append(await anext(watch))
        one = await refusal(sidecar, question())
        batch = messages.BatchDecideRequest(identity=DEV, references=["nginx"])
        with pytest.raises(grpc.aio.AioRpcError) as many:
            await sidecar.call(sidecar.decisions.BatchDecide, batch)
        stream = sidecar.decisions.StreamDecide(
            iter([messages.StreamDecideRequest(identity=DEV, reference="nginx")]), timeout=SOON
        )
        streamed = [response.error.message async for response in stream]
        await upstream.tell(status=KnowledgeStatus.READY, refusal="")
        told.append(await anext(watch))
        decision = (await sidecar.call(sidecar.decisions.Decide, question())).decision
        await watch.aclose()  # type: ignore[attr-defined]

    assert one == ("UNAVAILABLE", "KNOWLEDGE_TOO_OLD", REFUSED)
    assert (many.value.code(), many.value.details()) == (grpc.StatusCode.UNAVAILABLE, REFUSED)
    assert streamed == [REFUSED]
    assert told == [SERVING, NOT_SERVING, SERVING]
    assert decision.effect == decision_pb2.EFFECT_ALLOW


async def test_a_sidecar_that_knows_nothing_is_not_ready(tmp_path: Path) -> None:
    """A sidecar that was told nothing yet answers, says why it decides nothing, and is NOT_SERVING from the start."""
    upstream = ScriptedUpstream(Knowledge(refusal="no policy is known yet", problem="away"))
    async with running_sidecar(upstream, tmp_path, Clock()) as sidecar:
        watch = statuses(sidecar)
        told = [await anext(watch)]
        refused = await refusal(sidecar, question())
        await upstream.tell(state=STATE, caller=ENFORCER, status=KnowledgeStatus.READY, refusal="", problem="")
        told.append(await anext(watch))
        decision = (await sidecar.call(sidecar.decisions.Decide, question())).decision
        await watch.aclose()  # type: ignore[attr-defined]

    assert refused == ("UNAVAILABLE", "KNOWLEDGE_TOO_OLD", "no policy is known yet")
    assert told == [NOT_SERVING, SERVING]
    assert decision.policy_revision == 7


async def test_failing_open_allows_and_says_so(tmp_path: Path) -> None:
    """A sidecar that fails open allows what the policy denies, not enforced, with a note, and for nobody to keep."""
    upstream = knowing(status=KnowledgeStatus.ERROR, fails_open=True, problem="no service answers")
    async with running_sidecar(upstream, tmp_path, Clock()) as sidecar:
        for _ in range(2):
            decision = (await sidecar.call(sidecar.decisions.Decide, question("someuser/tool"))).decision

            assert (decision.effect, decision.policy_effect, decision.enforced) == (1, 2, False)
            assert decision.cacheable_for.ToTimedelta() == timedelta(0)
            assert list(decision.notes) == [
                "allowed by failing open: what is known is older than it may be (no service answers)"
            ]
        await upstream.tell(status=KnowledgeStatus.READY, fails_open=False, problem="")
        after = (await sidecar.call(sidecar.decisions.Decide, question("someuser/tool"))).decision

    assert (after.effect, list(after.notes)) == (2, [])


@pytest.mark.parametrize(
    "identity",
    [
        DEV,
        identity_pb2.Identity(),
        identity_pb2.Identity(username="dev"),
        identity_pb2.Identity(token="pg_of_somebody"),
        identity_pb2.Identity(username="x", memberships=[identity_pb2.Membership(organization="globex")]),
    ],
)
async def test_failing_open_with_nothing_known(identity: identity_pb2.Identity, tmp_path: Path) -> None:
    """Where nothing is known at all everybody is allowed, also who cannot be told apart from others then."""
    upstream = ScriptedUpstream(Knowledge(fails_open=True, problem="no service answers"))
    upstream.reachable = False
    async with running_sidecar(upstream, tmp_path, Clock()) as sidecar:
        decision = (await sidecar.call(sidecar.decisions.Decide, question(identity=identity))).decision

    assert (decision.effect, decision.enforced) == (decision_pb2.EFFECT_ALLOW, False)
    assert list(decision.notes) == ["allowed by failing open: nothing is known of any policy (no service answers)"]


async def test_a_revision_is_waited_for(tmp_path: Path) -> None:
    """`min_revision` waits until the sidecar was told it, and within the deadline."""
    upstream = knowing()
    async with running_sidecar(upstream, tmp_path, Clock()) as sidecar:
        waiting = asyncio.ensure_future(sidecar.call(sidecar.decisions.Decide, question(min_revision=8)))
        await upstream.tell(state=PolicyState(revision=8))
        decision = (await waiting).decision
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await sidecar.decisions.Decide(question(min_revision=9), timeout=0.3)

    assert decision.policy_revision == 8
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "revision 9 has not arrived here" in (raised.value.details() or "")


async def test_everybody_decides_as_the_sidecar(tmp_path: Path) -> None:
    """A sidecar decides for whom its own token may, whatever its callers send; when that changes, so at once."""
    upstream = knowing()
    globex = identity_pb2.Identity(username="x", memberships=[identity_pb2.Membership(organization="globex")])
    async with running_sidecar(upstream, tmp_path, Clock()) as sidecar:
        authorization = (("authorization", "Bearer of-somebody"),)
        own = await sidecar.decisions.Decide(question(), metadata=authorization, timeout=SOON)
        others = await refusal(sidecar, question(identity=globex), metadata=authorization)
        await upstream.tell(caller=OPERATOR)
        after = await sidecar.decisions.Decide(question(identity=globex), metadata=authorization, timeout=SOON)

    assert own.decision.effect == decision_pb2.EFFECT_ALLOW
    assert others[:2] == ("PERMISSION_DENIED", "ORGANIZATION_NOT_PERMITTED")
    assert after.decision.organization == "globex"


async def test_identities_by_token(tmp_path: Path) -> None:
    """Whose a token is the service says: nobody's is refused, and while it cannot be asked no decision is made."""
    upstream, clock = knowing(), Clock()
    upstream.people = {
        "pg_eve": Caller(id="tok_2", name="eve", role=CallerRole.OWNER, organization="acme", username="eve")
    }
    eve = question("someuser/tool", identity=identity_pb2.Identity(token="pg_eve"))
    async with running_sidecar(upstream, tmp_path, clock) as sidecar:
        decision = (await sidecar.call(sidecar.decisions.Decide, eve)).decision
        nobody = await refusal(sidecar, question(identity=identity_pb2.Identity(token="pg_nobody")))
        upstream.people = {}
        revoked = await refusal(sidecar, eve)
        upstream.reachable = False
        away = await refusal(sidecar, eve)

    assert decision.reason == decision_pb2.REASON_ORGANIZATION_OWNER
    assert decision.cacheable_for.ToTimedelta() <= timedelta(seconds=60)
    assert nobody[:2] == revoked[:2] == ("INVALID_ARGUMENT", "IDENTITY_TOKEN_INVALID")
    assert away[:2] == ("UNAVAILABLE", "KNOWLEDGE_TOO_OLD")


async def test_identities_by_token_are_asked_of_the_server(serve: Serve, tmp_path: Path) -> None:
    """A person's token in an identity decides at a sidecar as at its server, and an enforcer's at neither."""
    case = next(read_cases())
    async with (
        serve(store=await store_with(case), category_sources="catalogue") as service,
        AsyncClient(Connection(address=service.server.address, token=service.token)) as client,
        AsyncLocalDecider(client, clock=service.clock) as decider,
    ):
        await decider.ready(SOON)
        made = [
            await client.create_token("eve", role, organization="acme")
            for role in (CallerRole.OWNER, CallerRole.MEMBER, CallerRole.ENFORCER)
        ]
        async with running_sidecar(decider, tmp_path, service.clock) as sidecar:
            told = []
            for asked in (service, sidecar):
                for secret, _ in made:
                    identity = identity_pb2.Identity(token=secret)
                    try:
                        answer = await asked.call(asked.decisions.Decide, question("a/b", identity=identity))
                        told.append(decision_pb2.Reason.Name(answer.decision.reason))
                    except grpc.aio.AioRpcError as error:
                        told.append(error.code().name)

    assert told[:3] == told[3:]
    assert told[2] == "INVALID_ARGUMENT"


async def test_reflection_names_what_a_sidecar_serves(tmp_path: Path) -> None:
    """A sidecar serves decisions, health and reflection, and no administration."""
    async with running_sidecar(knowing(), tmp_path, Clock()) as sidecar:
        method = sidecar.channel.stream_stream(
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )
        asked = [reflection_pb2.ServerReflectionRequest(list_services="")]
        responses = [response async for response in method(iter(asked), timeout=SOON)]

    assert {item.name for item in responses[0].list_services_response.service} == {
        "pullgate.v1.PolicyDecisionService",
        "pullgate.envoy.v3.ExternalAuthorizationService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    }


async def test_on_a_port_callers_present_the_own_token(tmp_path: Path) -> None:
    """On TCP the sidecar's own token is asked for, and read anew: a replaced one counts at once, the former no more."""
    token = ["first"]
    bearer = {name: (("authorization", f"Bearer {name}"),) for name in ("first", "second", "wrong")}
    async with running_sidecar(
        knowing(), tmp_path, Clock(), own_token=lambda: token[0], listen="127.0.0.1:0"
    ) as sidecar:
        missing = await refusal(sidecar, question())
        wrong = await refusal(sidecar, question(), metadata=bearer["wrong"])
        first = await sidecar.decisions.Decide(question(), metadata=bearer["first"], timeout=SOON)
        token[0] = "second"
        second = await sidecar.decisions.Decide(question(), metadata=bearer["second"], timeout=SOON)
        former = await refusal(sidecar, question(), metadata=bearer["first"])

    assert missing[:2] == ("UNAUTHENTICATED", "TOKEN_MISSING")
    assert wrong[:2] == former[:2] == ("UNAUTHENTICATED", "TOKEN_INVALID")
    assert first.decision.effect == second.decision.effect == decision_pb2.EFFECT_ALLOW


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"listen": "0.0.0.0:50052"}, "can be reached by other machines"),
        ({"listen": "nowhere"}, "is not HOST:PORT or unix:PATH"),
        ({"listen": "unix://run/pullgate.sock"}, "write unix:///PATH"),
        ({"listen": "unix:"}, "has no path"),
        ({"stop_grace": -1.0}, "--stop-grace is -1.0"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], problem: str) -> None:
    """What contradicts itself ends the start with a sentence that names the option."""
    with pytest.raises(StartupError, match=problem):
        SidecarConfiguration(**options)


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
async def test_the_mode_of_the_socket(mode: int, tmp_path: Path) -> None:
    """The socket has exactly the mode that was asked for, whatever the umask, which is as before afterwards."""
    before = os.umask(0o027)
    try:
        async with running_sidecar(knowing(), tmp_path, Clock(), socket_mode=mode):
            made = stat.S_IMODE(Path(tmp_path, "pullgate.sock").stat().st_mode)
        after = os.umask(before)
    finally:
        os.umask(before)

    assert (made, after) == (mode, 0o027)
    assert not Path(tmp_path, "pullgate.sock").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user takes root")
@pytest.mark.parametrize(("mode", "connects"), [(0o600, False), (0o666, True)])
async def test_who_may_connect(mode: int, connects: bool) -> None:
    """Another user of the machine is kept out by the default mode, and let in by a wider one."""
    script = (
        "import os, socket, sys\nos.setuid(65534)\n"
        "try:\n    socket.socket(socket.AF_UNIX).connect(sys.argv[1]); print('connected')\n"
        "except PermissionError:\n    print('refused')"
    )
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        async with running_sidecar(knowing(), Path(folder), Clock(), socket_mode=mode):
            result = await asyncio.to_thread(
                subprocess.run,
                [sys.executable, "-c", script, f"{folder}/pullgate.sock"],
                capture_output=True,
                text=True,
                check=True,
            )

    assert result.stdout.strip() == ("connected" if connects else "refused")


def test_a_dead_sidecars_socket_is_taken_away(tmp_path: Path) -> None:
    """The file that a killed process has left is removed, and one that somebody listens on is not."""
    path = tmp_path / "pullgate.sock"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        with pytest.raises(StartupError, match="another process is listening there"):
            make_way(path)

        assert path.exists()
    make_way(path)

    assert not path.exists()


def test_where_no_socket_can_be(tmp_path: Path) -> None:
    """A file that is no socket is left alone, and a place where none can be made is named, each with what to do."""
    file = tmp_path / "file"
    file.write_text("precious")
    for path, problem in (
        (file, "is no socket"),
        (tmp_path / "missing" / "pullgate.sock", "a directory that is not there"),
        (tmp_path / ("x" * 120), "at most 107"),
    ):
        with pytest.raises(StartupError, match=problem):
            make_way(path)

    assert file.read_text() == "precious"


async def test_each_change_of_status_is_logged_once(tmp_path: Path) -> None:
    """The log says each other status once, with revision, age and what follows from it; other changes say nothing."""
    upstream, clock = knowing(), Clock()
    with structlog.testing.capture_logs() as logs:
        async with running_sidecar(upstream, tmp_path, clock):
            since = clock() - timedelta(seconds=90)
            await upstream.tell(status=KnowledgeStatus.STALE, known_as_of=since, problem="no service answers")
            await upstream.tell(problem="still none")
            await upstream.tell(status=KnowledgeStatus.READY, known_as_of=None, problem="")
            await upstream.tell(state=PolicyState(revision=8))

    assert logs == [
        {
            "event": "does not follow the service",
            "log_level": "warning",
            "status": "stale",
            "revision": 7,
            "age": "90s",
            "problem": "no service answers",
            "consequence": "decisions go by what is known",
        },
        {"event": "follows the service", "log_level": "info", "status": "ready", "revision": 7},
    ]


async def test_metrics_say_how_it_stands(tmp_path: Path) -> None:
    """Metrics have the status, whether decisions are made, the revision, and how old it is."""
    upstream, clock = knowing(), Clock()
    async with running_sidecar(upstream, tmp_path, clock) as sidecar:
        await sidecar.call(sidecar.decisions.Decide, question("nobody/knows"))
        await upstream.tell(status=KnowledgeStatus.ERROR, known_as_of=clock() - timedelta(seconds=90), refusal=REFUSED)
        text = generate_latest(sidecar.application.metrics).decode()

    for line in (
        'pullgate_sidecar_status{status="error"} 1.0',
        'pullgate_sidecar_status{status="ready"} 0.0',
        "pullgate_sidecar_deciding 0.0",
        "pullgate_sidecar_failing_open 0.0",
        "pullgate_sidecar_revision 7.0",
        "pullgate_sidecar_knowledge_age_seconds 90.0",
        "pullgate_sidecar_changes_total 1.0",
        "pullgate_sidecar_unknown_categories_total 1.0",
    ):
        assert line in text.splitlines()
