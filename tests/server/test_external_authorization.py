"""Envoy's external authorization, asked as Envoy asks: who pulls, which image is meant, and what clients are told."""

import base64
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from google.rpc import code_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from pullgate.envoy.v3 import external_authorization_pb2 as messages
from pullgate.envoy.v3.external_authorization_pb2_grpc import ExternalAuthorizationServiceStub
from pullgate_client import AsyncClient, AsyncLocalDecider, Connection
from pullgate_policy import Mode, Policy, Preset, Role, parse_policy, preset_policy
from pullgate_policy.access_token import CallerRole
from pullgate_policy.knowledge import Knowledge, KnowledgeStatus
from pullgate_policy.members import Member
from pullgate_policy.policy_state import PolicyState
from pullgate_server.rpc.external_authorization import ENVOY_SERVICE
from pullgate_server.sidecar.scripted import ScriptedUpstream
from pullgate_server.stores.memory import MemoryStore
from tests.conftest import SOON, Clock, Serve, Service
from tests.sidecars import running_sidecar
from tests.stores import by_ada, put_policy

CATALOGUE = """
entries:
  - {namespace: someuser, category: COMMUNITY, source: the test, retrieved_at: 2026-01-01T00:00:00Z}
  - {namespace: grafana, category: VERIFIED_PUBLISHER, source: the test, retrieved_at: 2026-01-01T00:00:00Z}
"""
BLOCKED, OFFICIAL = "/v2/someuser/custom-image/manifests/latest", "/v2/library/nginx/manifests/latest"
NOT_ALLOWED = "image access denied: community images not allowed"
HUB = {"pullgate.registry": "docker.io", "pullgate.user": "dev"}
MEMBERS = [Member(username="ada", role=Role.OWNER), Member(username="dev")]
Check = Callable[..., Any]


def request_for(
    target: str,
    extensions: Mapping[str, str] = HUB,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    principal: str = "",
) -> messages.CheckRequest:
    """What Envoy asks about a request."""
    return messages.CheckRequest(
        attributes=messages.AttributeContext(
            source=messages.AttributeContext.Peer(principal=principal),
            request=messages.AttributeContext.Request(
                http=messages.AttributeContext.HttpRequest(method=method, path=target, headers=headers)
            ),
            context_extensions=extensions,
        )
    )


def check_method(channel: grpc.aio.Channel) -> Any:
    """Check under Envoy's name for it."""
    return channel.unary_unary(
        "/envoy.service.auth.v3.Authorization/Check",
        request_serializer=messages.CheckRequest.SerializeToString,
        response_deserializer=messages.CheckResponse.FromString,
    )


def checking(channel: grpc.aio.Channel, metadata: Any) -> Check:
    """Calls Check."""
    call = check_method(channel)

    async def check(*arguments: Any, **fields: Any) -> messages.CheckResponse:
        response: messages.CheckResponse = await call(
            request_for(*arguments, **fields), metadata=metadata, timeout=SOON
        )
        return response

    return check


Checking = Callable[..., AbstractAsyncContextManager[tuple[Check, Service]]]


@pytest.fixture(params=["server", "sidecar"])
def served(request: pytest.FixtureRequest, serve: Serve, tmp_path: Path) -> Checking:
    """Start what answers: a server, or a sidecar beside one; acme's enforcer asks."""

    @asynccontextmanager
    async def start(policy: Policy | None = None) -> AsyncIterator[tuple[Check, Service]]:
        store, clock = MemoryStore(), Clock()
        await put_policy(store, policy or preset_policy(Preset.STRICT, "acme"))
        await store.write_members("acme", lambda _: {member.username: member for member in MEMBERS}, by_ada())
        async with serve(store=store, clock=clock, catalogue=CATALOGUE) as service:
            enforcer = await token_of(service, CallerRole.ENFORCER, "proxy")
            if request.param == "server":
                yield checking(service.channel, (("authorization", f"Bearer {enforcer}"),)), service
                return
            async with (
                AsyncClient(Connection(address=service.server.address, token=enforcer)) as client,
                AsyncLocalDecider(client, clock=clock) as decider,
            ):
                await decider.ready(SOON)
                async with running_sidecar(decider, tmp_path, clock) as sidecar:
                    yield checking(sidecar.channel, ()), service

    return start


async def token_of(service: Service, role: CallerRole, username: str) -> str:
    """A token of acme's."""
    async with AsyncClient(Connection(address=service.server.address, token=service.token)) as client:
        secret, _ = await client.create_token(
            username, role, organization="acme", username=username if role.is_person else ""
        )
    return secret


def facts(response: messages.CheckResponse) -> dict[str, Any]:
    """What access logs are given."""
    return json_format.MessageToDict(response.dynamic_metadata)


def outcome(response: messages.CheckResponse) -> tuple[str, str]:
    """What becomes of the request, and why."""
    ended = response.WhichOneof("http_response")
    return ("ALLOW" if ended == "ok_response" else str(response.denied_response.status.code)), facts(response)["reason"]


def said(response: messages.CheckResponse) -> dict[str, str]:
    """The error in the body."""
    error: dict[str, str]
    (error,) = json.loads(response.denied_response.body)["errors"]
    return error


def basic(user: str, token: str) -> dict[str, str]:
    """What `docker login` makes clients send."""
    return {"authorization": f"Basic {base64.b64encode(f'{user}:{token}'.encode()).decode()}"}


async def test_a_denial_is_an_answer_that_clients_print(served: Checking) -> None:
    """A denied request gets 403, and the body and headers from which clients of registries print why."""
    policy = parse_policy(
        {"organization": "acme", "image_access": {"enabled": True, "help": "Ask in the\nplatform channel."}}
    )
    async with served(policy) as (check, service):
        response = await check(BLOCKED)
        revision = service.application.snapshots.current.revision

    told, denied = facts(response), response.denied_response
    assert (response.status.code, denied.status.code) == (code_pb2.PERMISSION_DENIED, 403)
    assert {item.header.key: item.header.value for item in denied.headers} == {
        "content-type": "application/json",
        "x-pullgate-decision-id": told["decision_id"],
        "x-pullgate-reason": "CATEGORY_NOT_ALLOWED",
    }
    assert said(response) == {
        "code": "DENIED",
        "message": NOT_ALLOWED,
        "detail": f"Ask in the platform channel. (decision {told['decision_id']})",
    }
    assert told == {
        "decision_id": told["decision_id"],
        "effect": "DENY",
        "policy_effect": "DENY",
        "reason": "CATEGORY_NOT_ALLOWED",
        "category": "COMMUNITY",
        "policy_revision": revision,
        "organization": "acme",
        "reference": "docker.io/someuser/custom-image:latest",
    }


async def test_an_allowed_request_goes_on_and_leaves_its_facts(served: Checking) -> None:
    """What is allowed goes on unchanged; access logs are given the decision."""
    async with served() as (check, service):
        response = await check(OFFICIAL)
        revision = service.application.snapshots.current.revision

    told = facts(response)
    assert response.status.code == code_pb2.OK
    assert response.ok_response == messages.OkHttpResponse()
    assert (told["effect"], told["category"], told["policy_revision"]) == ("ALLOW", "OFFICIAL", revision)
    assert len(told["decision_id"]) == 32


@pytest.mark.parametrize(
    ("method", "target", "expected"),
    [
        ("GET", "/v2/", ("ALLOW", "VERSION_CHECK")),
        ("HEAD", BLOCKED, ("403", "CATEGORY_NOT_ALLOWED")),
        ("GET", f"/v2/someuser/custom-image/blobs/sha256:{'a' * 64}", ("403", "CATEGORY_NOT_ALLOWED")),
        ("GET", "/v2/someuser/custom-image/tags/list", ("403", "CATEGORY_NOT_ALLOWED")),
        ("POST", "/v2/someuser/custom-image/blobs/uploads/", ("403", "CATEGORY_NOT_ALLOWED")),
        (
            "POST",
            f"/v2/acme/app/blobs/uploads/?mount=sha256:{'a' * 64}&from=someuser/custom-image",
            ("403", "CATEGORY_NOT_ALLOWED"),
        ),
        (
            "POST",
            f"/v2/acme/app/blobs/uploads/?mount=sha256:{'a' * 64}&from=library/nginx",
            ("ALLOW", "CATEGORY_ALLOWED"),
        ),
        ("GET", "/v2/_catalog", ("403", "REQUEST_NOT_ACCEPTED")),
        ("GET", "/v2/library%2Fnginx/manifests/latest", ("403", "REQUEST_NOT_ACCEPTED")),
        ("GET", f"{OFFICIAL}?ns=ghcr.io", ("403", "REQUEST_NOT_ACCEPTED")),
        ("GET", "/v2/library/nginx/blobs/sha256:abc", ("403", "REQUEST_NOT_ACCEPTED")),
    ],
)
async def test_requests_become_decisions(served: Checking, method: str, target: str, expected: tuple[str, str]) -> None:
    """Each request to a registry is decided about the repositories that it reads, and what is none is refused."""
    async with served() as (check, _):
        response = await check(target, method=method)

    assert outcome(response) == expected


async def test_a_form_is_refused(served: Checking) -> None:
    """What a form in the body says is not seen here, so a request with one is let through to no registry."""
    async with served() as (check, _):
        form = {"content-type": "application/x-www-form-urlencoded"}
        response = await check("/v2/acme/app/blobs/uploads/", method="POST", headers=form)

    assert outcome(response) == ("403", "REQUEST_NOT_ACCEPTED")


HARBOR = {**HUB, "pullgate.registry": "harbor.acme.io"}
MIRRORED = {
    "organization": "acme",
    "image_access": {"enabled": True, "allow": {"official_images": True}},
    "docker_hub": {"mirrors": ["harbor.acme.io/hub"]},
}


async def test_a_mirror_is_the_registry_that_its_route_says(served: Checking) -> None:
    """A listener in front of a declared mirror has its images decided as Docker Hub's; another registry is its own."""
    async with served(parse_policy(MIRRORED)) as (check, _):
        mirrored = await check("/v2/hub/someuser/tool/manifests/v1", HARBOR)
        official = await check("/v2/hub/nginx/manifests/v1", HARBOR)
        own = await check("/v2/platform/tool/manifests/v1", HARBOR)

    assert [outcome(item) for item in (mirrored, official, own)] == [
        ("403", "CATEGORY_NOT_ALLOWED"),
        ("ALLOW", "CATEGORY_ALLOWED"),
        ("ALLOW", "NOT_GOVERNED"),
    ]


async def test_clients_of_a_mirror_may_say_docker_hub(served: Checking) -> None:
    """Containerd and BuildKit say ns=docker.io to a mirror, which holds where the policy has declared it as one."""
    async with served(parse_policy(MIRRORED)) as (check, _):
        declared = await check("/v2/hub/library/nginx/manifests/v1?ns=docker.io", HARBOR)
        blocked = await check("/v2/hub/someuser/tool/manifests/v1?ns=docker.io", HARBOR)
        not_declared = await check("/v2/other/library/nginx/manifests/v1?ns=docker.io", HARBOR)

    assert [outcome(item) for item in (declared, blocked, not_declared)] == [
        ("ALLOW", "CATEGORY_ALLOWED"),
        ("403", "CATEGORY_NOT_ALLOWED"),
        ("403", "REQUEST_NOT_ACCEPTED"),
    ]
    assert (
        "harbor.acme.io is no mirror of it in the policy of acme (docker_hub.mirrors)" in said(not_declared)["message"]
    )


async def test_tags_of_the_allowlist_are_about_tags(served: Checking) -> None:
    """An entry for some tags covers requests for those, and none about all of the repository or by digest."""
    allowlist = {"enabled": True, "repositories": [{"repository": "someuser/tool:latest"}]}
    policy = parse_policy({"organization": "acme", "image_access": {"enabled": True, "allowlist": allowlist}})
    async with served(policy) as (check, _):
        tagged = await check("/v2/someuser/tool/manifests/latest")
        others = [
            await check("/v2/someuser/tool/tags/list"),
            await check(f"/v2/someuser/tool/manifests/sha256:{'a' * 64}"),
            await check("/v2/someuser/tool/blobs/uploads/", method="POST"),
        ]

    assert outcome(tagged) == ("ALLOW", "ALLOWLISTED")
    assert {outcome(item) for item in others} == {("403", "CATEGORY_NOT_ALLOWED")}
    assert facts(others[0])["reference"] == "docker.io/someuser/tool"


async def test_monitor_mode_lets_through_and_says_what_it_would_do(served: Checking) -> None:
    """What monitor mode would deny goes on, and access logs say so."""
    policy = parse_policy({"organization": "acme", "image_access": {"enabled": True, "mode": "monitor"}})
    assert policy.image_access.mode is Mode.MONITOR
    async with served(policy) as (check, _):
        mounting = f"/v2/acme/app/blobs/uploads/?mount=sha256:{'a' * 64}&from=someuser/custom-image"
        responses = [await check(BLOCKED), await check(mounting, method="POST")]

    for response in responses:
        told = facts(response)
        assert outcome(response) == ("ALLOW", "CATEGORY_NOT_ALLOWED")
        assert (told["effect"], told["policy_effect"]) == ("ALLOW", "DENY")
        assert "someuser/custom-image" in told["reference"]


@pytest.mark.parametrize(
    ("extensions", "problem"),
    [
        ({}, "pullgate.registry: is missing"),
        ({"pullgate.registry": "a_b"}, "is not a registry host"),
        ({"pullgate.registry": "mirror"}, "is read as a name on Docker Hub"),
        ({**HUB, "pullgate.organisation": "acme"}, "pullgate.organisation: is not known"),
        ({**HUB, "pullgate.authorization": "maybe"}, '"maybe" is not one of verify, challenge, ignore'),
        ({**HUB, "pullgate.user_header": "x-user"}, "stands beside pullgate.user"),
        ({**HUB, "pullgate.authorization": "challenge"}, "is challenge, and pullgate.user says already who pulls"),
        ({**HUB, "pullgate.authorization": "verify"}, "is verify, and pullgate.user says already who pulls"),
        ({**HUB, "pullgate.certificate": "x"}, '"x" is not one of user, ignore'),
        ({**HUB, "pullgate.user": " dev"}, 'pullgate.user: " dev" is not a username'),
        ({**HUB, "pullgate.organization": "Acme"}, "is not lowercase"),
    ],
)
async def test_a_route_that_is_not_understood_is_no_decision(
    served: Checking, extensions: dict[str, str], problem: str
) -> None:
    """A mistake in the proxy's configuration ends the call with what to change, and lets nothing through."""
    async with served() as (check, _):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await check(OFFICIAL, extensions)

    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert problem in (raised.value.details() or "")


async def test_other_peoples_organizations_are_no_decision(served: Checking) -> None:
    """A proxy cannot have another organization's policy decide."""
    async with served() as (check, _):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await check(OFFICIAL, {**HUB, "pullgate.organization": "globex"})

    assert raised.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_extensions_of_others_are_let_be(served: Checking) -> None:
    """A route may tell other filters what it likes."""
    async with served() as (check, _):
        response = await check(OFFICIAL, {**HUB, "virtual_host": "x"})

    assert outcome(response)[0] == "ALLOW"


SIGN_IN = {
    "organization": "acme",
    "sign_in": {"required": True},
    "image_access": {"enabled": True, "allow": {"official_images": True}},
}


@pytest.mark.parametrize(
    ("extensions", "headers", "principal", "expected"),
    [
        ({}, {}, "", "SIGN_IN_REQUIRED"),
        ({"pullgate.user": "dev"}, {}, "", "CATEGORY_ALLOWED"),
        ({"pullgate.user": "ada"}, {}, "", "ORGANIZATION_OWNER"),
        ({"pullgate.user_header": "X-User"}, {"x-user": "ada"}, "", "ORGANIZATION_OWNER"),
        ({"pullgate.user_header": "X-User"}, {"x-user": "dev,ada"}, "", "CREDENTIALS_NOT_ACCEPTED"),
        ({"pullgate.user_header": "X-User"}, {}, "", "SIGN_IN_REQUIRED"),
        ({}, {"x-user": "ada"}, "", "SIGN_IN_REQUIRED"),
        ({}, {}, "CN=ada,OU=platform,O=acme", "ORGANIZATION_OWNER"),
        ({}, {}, "O=acme, CN=\\61d\\61", "ORGANIZATION_OWNER"),
        ({}, {}, "ada", "ORGANIZATION_OWNER"),
        ({"pullgate.user": "dev"}, {}, "CN=ada", "CATEGORY_ALLOWED"),
        ({"pullgate.user_header": "X-User"}, {"x-user": "dev"}, "CN=ada", "CATEGORY_ALLOWED"),
        ({"pullgate.organization": "acme", "pullgate.user": "stranger"}, {}, "", "CATEGORY_ALLOWED"),
        ({"pullgate.user_header": "X-User"}, {"x-user": "stranger"}, "", "SIGN_IN_REQUIRED"),
        ({"pullgate.user_header": "X-User"}, {"x-user": "a\x07"}, "", "CREDENTIALS_NOT_ACCEPTED"),
        ({"pullgate.certificate": "ignore"}, {}, "CN=ada", "SIGN_IN_REQUIRED"),
        ({}, {}, "OU=x\\,CN=ada,CN=dev", "CATEGORY_ALLOWED"),
        ({}, {}, "emailAddress=x\\,CN\\=ada+CN=dev,O=acme", "CATEGORY_ALLOWED"),
        ({}, {}, "CN=dev,CN=ada", "CREDENTIALS_NOT_ACCEPTED"),
        ({}, {}, "O=acme", "CREDENTIALS_NOT_ACCEPTED"),
    ],
)
async def test_who_pulls(
    served: Checking, extensions: dict[str, str], headers: dict[str, str], principal: str, expected: str
) -> None:
    """The route, then the header that the route believes, then the certificate say who pulls; else it is nobody."""
    async with served(parse_policy(SIGN_IN)) as (check, _):
        route = {"pullgate.registry": "docker.io", **extensions}
        response = await check(OFFICIAL, route, headers=headers, principal=principal)

    assert facts(response)["reason"] == expected


async def test_a_machine_is_governed_though_it_is_on_no_member_list(served: Checking) -> None:
    """Whom the route names is bound by the policy without being listed; people who are not listed are nobody."""
    route = {"pullgate.registry": "docker.io", "pullgate.user_header": "x-user"}
    async with served() as (check, _):
        machine = await check(BLOCKED, {**HUB, "pullgate.user": "gateway"})
        listed, stranger = [await check(BLOCKED, route, headers={"x-user": name}) for name in ("dev", "stranger")]

    assert [outcome(item) for item in (machine, listed, stranger)] == [
        ("403", "CATEGORY_NOT_ALLOWED"),
        ("403", "CATEGORY_NOT_ALLOWED"),
        ("ALLOW", "NOT_SIGNED_IN"),
    ]


async def test_clients_sign_in_with_a_token_of_theirs(served: Checking) -> None:
    """A user name and a token are verified, and not told to the registry; they go before the client's certificate."""
    route = {"pullgate.registry": "docker.io"}
    async with served(parse_policy(SIGN_IN)) as (check, service):
        token = await token_of(service, CallerRole.MEMBER, "dev")
        member = await check(OFFICIAL, route, headers=basic("dev", token), principal="CN=ada")
        version = await check("/v2/", route, headers=basic("dev", token))
        not_his = await check(OFFICIAL, route, headers=basic("ada", token))
        nobodys = await check(OFFICIAL, route, headers=basic("dev", "x"))
        malformed = [
            await check(OFFICIAL, route, headers={"authorization": f"Basic {text}"})
            for text in ("", "%%%", "é", base64.b64encode(b"\xff:x").decode(), base64.b64encode(b"dev").decode())
        ]
        empty = await check(OFFICIAL, route, headers=basic("", ""))
        other_scheme = await check(OFFICIAL, route, headers={"authorization": f"Bearer {token}"})
        route_says = await check(OFFICIAL, {**route, "pullgate.user": "ada"}, headers=basic("dev", token))
        proxy_says = await check(
            OFFICIAL, {**route, "pullgate.user_header": "x-user"}, headers={**basic("dev", token), "x-user": "ada"}
        )

    assert outcome(member) == ("ALLOW", "CATEGORY_ALLOWED")
    assert [list(item.ok_response.headers_to_remove) for item in (member, version)] == [["authorization"]] * 2
    assert said(not_his)["message"] == "image access denied: the token that was sent is not ada's"
    assert "sign in anew (docker login)" in said(nobodys)["message"]
    assert {outcome(item) for item in (not_his, nobodys, *malformed)} == {("403", "CREDENTIALS_NOT_ACCEPTED")}
    assert {outcome(item) for item in (empty, other_scheme)} == {("403", "SIGN_IN_REQUIRED")}
    # Credentials that were not read are the registry's.
    for response in (route_says, proxy_says):
        assert outcome(response) == ("ALLOW", "ORGANIZATION_OWNER")
        assert response.ok_response == messages.OkHttpResponse()


async def test_a_route_that_challenges_has_clients_sign_in(served: Checking) -> None:
    """Where the route says so every request without credentials is answered by 401, so that clients send them."""
    route = {"pullgate.registry": "docker.io", "pullgate.authorization": "challenge"}
    async with served() as (check, service):
        token = await token_of(service, CallerRole.MEMBER, "dev")
        asked = [await check(target, route) for target in ("/v2/", OFFICIAL)]
        asked.append(await check("/v2/", route, headers=basic("", "")))
        wrong = await check("/v2/", route, headers=basic("dev", "x"))
        right = [await check(target, route, headers=basic("dev", token)) for target in ("/v2/", OFFICIAL)]
        known = await check(OFFICIAL, route, principal="CN=dev")

    assert {said(item)["message"] for item in asked} == {
        "sign in with your user name and a token of yours (docker login)"
    }
    for response in (*asked, wrong):
        assert outcome(response) == ("401", "CREDENTIALS_NOT_ACCEPTED")
        assert said(response)["code"] == "UNAUTHORIZED"
        headers = {item.header.key: item.header.value for item in response.denied_response.headers}
        assert headers["www-authenticate"] == 'Basic realm="pullgate"'
    assert [outcome(item)[0] for item in (*right, known)] == ["ALLOW"] * 3


async def test_credentials_of_the_registry_are_let_be(served: Checking) -> None:
    """Where the route says that Basic is the registry's own it is neither read nor taken off."""
    route = {"pullgate.registry": "docker.io", "pullgate.authorization": "ignore"}
    async with served() as (check, _):
        response = await check(OFFICIAL, route, headers=basic("dev", "of the registry"))

    assert (outcome(response), response.ok_response) == (("ALLOW", "NOT_SIGNED_IN"), messages.OkHttpResponse())


async def test_headers_as_they_came_are_read_too(serve: Serve) -> None:
    """With encode_raw_headers Envoy sends a list of headers; one that came twice counts as both."""
    store = MemoryStore()
    await put_policy(store, parse_policy(SIGN_IN))
    async with serve(store=store) as service:
        call = check_method(service.channel)
        reasons = []
        for values in ([b"dev"], [b"dev", b"ada"]):
            request = request_for(
                OFFICIAL,
                {"pullgate.registry": "docker.io", "pullgate.organization": "acme", "pullgate.user_header": "x-user"},
            )
            raw = [messages.HeaderValue(key="X-User", raw_value=value) for value in values]
            request.attributes.request.http.header_map.headers.extend(raw)
            reasons.append(facts(await service.call(call, request))["reason"])

    assert reasons == ["CATEGORY_ALLOWED", "CREDENTIALS_NOT_ACCEPTED"]


async def test_a_proxy_has_to_say_who_it_is(serve: Serve) -> None:
    """Without a token no decision is made; and members decide for themselves alone."""
    store = MemoryStore()
    await put_policy(store, preset_policy(Preset.STRICT, "acme"))
    async with serve(store=store) as service:
        member = await token_of(service, CallerRole.MEMBER, "dev")
        codes = []
        for metadata, route in (
            ((), HUB),
            ((("authorization", f"Bearer {member}"),), {**HUB, "pullgate.user": "ada"}),
            ((("authorization", f"Bearer {member}"),), HUB),
        ):
            try:
                codes.append(outcome(await checking(service.channel, metadata)(OFFICIAL, route))[0])
            except grpc.aio.AioRpcError as error:
                codes.append(error.code().name)

    assert codes == ["UNAUTHENTICATED", "PERMISSION_DENIED", "ALLOW"]


async def test_it_is_found_under_both_names(served: Checking) -> None:
    """Health knows Envoy's name for the service, and tools find it under pullgate's own, with its messages."""
    async with served() as (_, service):
        health: Any = health_pb2_grpc.HealthStub(service.channel)
        status = (await health.Check(health_pb2.HealthCheckRequest(service=ENVOY_SERVICE), timeout=SOON)).status
        own: Any = ExternalAuthorizationServiceStub(service.channel)
        response = await service.call(own.Check, request_for(OFFICIAL, {**HUB, "pullgate.organization": "acme"}))

    assert status == health_pb2.HealthCheckResponse.SERVING
    assert outcome(response)[0] == "ALLOW"


async def test_while_nothing_is_known_there_is_no_decision(tmp_path: Path) -> None:
    """A sidecar that knows too little makes none, unless it was told to be open, and then lets everything through."""
    nothing, clock = Knowledge(state=PolicyState(), status=KnowledgeStatus.NOT_READY, refusal="too old"), Clock()
    async with running_sidecar(ScriptedUpstream(nothing), tmp_path, clock) as sidecar:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await checking(sidecar.channel, ())(OFFICIAL)
    is_open = replace(nothing, refusal="", fails_open=True)
    async with running_sidecar(ScriptedUpstream(is_open), tmp_path, clock) as sidecar:
        response = await checking(sidecar.channel, ())(BLOCKED, headers=basic("dev", "x"))

    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    assert outcome(response)[0] == "ALLOW"
