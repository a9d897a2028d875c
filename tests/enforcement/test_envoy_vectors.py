"""The tables of decisions, replayed through Envoy's ext_authz, and held against Decide."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest

from pullgate.envoy.v3 import external_authorization_pb2 as messages
from pullgate.v1 import decision_pb2, identity_pb2, mapping, member_pb2, policy_admin_pb2, policy_decision_pb2
from pullgate_policy import CredentialKind, Identity, Reference, organizations_concerned, parse_reference
from pullgate_policy.reference import canonical_registry
from tests.conftest import Clock, Serve, Service
from tests.enforcement.gateways import Answered, only_route
from tests.envoy import NEEDS_ENVOY, Certificates, connection_manager, deployed_configuration, running_envoy
from tests.registry import NEEDS_REGISTRY, running_registry
from tests.server.test_decision_vectors import catalogue, store_with, told
from tests.server.test_external_authorization import check_method, request_for
from tests.vectors import ORGANIZATION, Case, read_cases

NOT_A_REGISTRY = {"uppercase-namespace-is-a-registry"}
"""`Someuser/tool` names a registry that nobody can serve, and no route can stand for."""


THROUGH_ENVOY = {
    "official", "official-digest", "community", "organization-image", "anonymous-sign-in-required", "alias-port",
    "allowlisted-tag", "allowlisted-other-tag", "monitor-would-deny", "owner-in-one-only", "registry-denied",
    "mirror-single-name-is-official",
}  # fmt: skip
"""A row of every kind."""


def cases(*, decided: bool) -> list[Any]:
    """The rows that can be asked, with a decision or without."""
    return [
        pytest.param(case, id=case.id)
        for case in read_cases()
        if case.id not in NOT_A_REGISTRY
        # No route can say that this is what somebody signed in with.
        if case.identity.credential is not CredentialKind.ORGANIZATION_ACCESS_TOKEN
        if ("error" not in case.expect) is decided
    ]


def route(case: Case, registry: str) -> dict[str, str]:
    """The route for the row: a machine it names, and people have certificates."""
    organizations = organizations_concerned(case.identity, [ORGANIZATION])
    extensions = {"pullgate.registry": registry, "pullgate.organization": ",".join(organizations)}
    return extensions | ({"pullgate.user": case.identity.username} if is_machine(case) else {})


def is_machine(case: Case) -> bool:
    """Whether the row is about a workload."""
    return case.identity.credential is CredentialKind.OIDC


def target(reference: Reference) -> str:
    """What a client asks the registry for."""
    return f"/v2/{reference.path}/manifests/{reference.digest or reference.tag}"


async def list_members(service: Service, identity: Identity) -> None:
    """Member lists that say what the row's identity says: a proxy tells of a user the name alone."""
    if not identity.username:
        return
    for organization in organizations_concerned(identity, [ORGANIZATION]):
        membership = identity.membership_in(organization)
        someone = member_pb2.Member(username="someone", role=identity_pb2.ROLE_MEMBER)
        if membership is not None:
            stated = mapping.identity_to_message(Identity(username=identity.username, memberships=(membership,)))
            (role,), teams = [item.role for item in stated.memberships], stated.memberships[0].teams
            someone = member_pb2.Member(username=identity.username, role=role, teams=teams)
        request = policy_admin_pb2.WriteMembersRequest(organization=organization, members=[someone])
        await service.call(service.administration.WriteMembers, request)


async def checked(service: Service, extensions: dict[str, str], asked: str, user: str = "") -> messages.CheckResponse:
    """The answer to what Envoy would ask."""
    request = request_for(asked, extensions, principal=user)
    response: messages.CheckResponse = await service.call(check_method(service.channel), request)
    return response


def as_logged(decision: decision_pb2.Decision, reference: Reference) -> dict[str, object]:
    """What an access log has to say of the decision; its reference is the one that a request over HTTP can be about."""
    words = told(decision)
    name = f"{canonical_registry(reference.registry)}/{reference.path}"
    facts = {name: words[name] for name in ("effect", "policy_effect", "reason", "category", "organization")}
    if not decision.HasField("evidence"):
        del facts["category"]
    return facts | {
        "policy_revision": decision.policy_revision,
        "reference": f"{name}@{reference.digest}" if reference.digest else f"{name}:{reference.tag}",
    }


@pytest.mark.parametrize("case", cases(decided=True))
async def test_a_row_is_decided_as_by_decide(case: Case, serve: Serve) -> None:
    """Check lets through and denies each row as Decide and the table say, with the same words and the same facts."""
    reference = parse_reference(case.reference)
    async with serve(
        store=await store_with(case), clock=Clock(case.now), catalogue=catalogue(case), category_sources="catalogue"
    ) as service:
        await list_members(service, case.identity)
        question = policy_decision_pb2.DecideRequest(
            identity=mapping.identity_to_message(case.identity), reference=case.reference, organizations=[ORGANIZATION]
        )
        decision = (await service.call(service.decisions.Decide, question)).decision
        user = "" if is_machine(case) else case.identity.username
        response = await checked(service, route(case, reference.registry), target(reference), user)

    answered = Answered.of(response)
    assert dict(case.expect) == {name: told(decision)[name] for name in case.expect}
    assert {name: value for name, value in answered.facts.items() if name != "decision_id"} == as_logged(
        decision, reference
    )
    assert answered.is_allowed == (decision.effect == decision_pb2.EFFECT_ALLOW)
    if not answered.is_allowed:
        assert answered.message == decision.message
        assert decision.help in answered.detail
        assert str(answered.facts["decision_id"]) in answered.detail


@pytest.mark.parametrize("case", cases(decided=False))
async def test_what_is_no_reference_is_denied(case: Case, serve: Serve) -> None:
    """Each row without a decision is denied where somebody makes a request of it."""
    async with serve(store=await store_with(case), category_sources="catalogue") as service:
        asked = f"/v2/{case.reference}/manifests/latest"
        response = await checked(service, route(case, "docker.io"), asked, case.identity.username)

    assert not Answered.of(response).is_allowed


@NEEDS_ENVOY
@NEEDS_REGISTRY
@pytest.mark.parametrize("case", [item for item in cases(decided=True) if item.id in THROUGH_ENVOY])
async def test_a_row_through_envoy(case: Case, serve: Serve, tmp_path: Path) -> None:
    """Through a real Envoy a sample of the rows is answered with the same words, and logged with the same facts."""
    reference = parse_reference(case.reference)
    certificates = Certificates(folder=tmp_path)
    async with serve(
        store=await store_with(case),
        clock=Clock(case.now),
        catalogue=catalogue(case),
        category_sources="catalogue",
        listen=f"unix:{tmp_path}/pullgate.sock",
    ) as service:
        await list_members(service, case.identity)
        # The row's person is the route's here, who is on the member list.
        extensions = route(case, reference.registry)
        if case.identity.username:
            extensions["pullgate.user"] = case.identity.username
        response = Answered.of(await checked(service, extensions, target(reference)))

        def through_envoy() -> tuple[Any, dict[str, Any]]:
            with running_registry(tmp_path / "registry") as registry:
                configuration = deployed_configuration(
                    certificates, registry=registry.address, sidecar=f"{tmp_path}/pullgate.sock"
                )
                only_route(configuration, extensions)
                authorization = connection_manager(configuration)["http_filters"][0]["typed_config"]
                authorization["grpc_service"]["initial_metadata"] = [
                    {"key": "authorization", "value": f"Bearer {service.token}"}
                ]
                with running_envoy(configuration, certificates) as gateway:
                    answer = gateway.ask("GET", target(reference))
                    return answer, gateway.logged(answer)

        answer, line = await asyncio.to_thread(through_envoy)

    # The registry is empty: what is let through it does not find.
    assert answer.status == (404 if response.is_allowed else 403)
    assert {name: line[name] for name in response.facts} == {**response.facts, "decision_id": line["decision_id"]}
    if not response.is_allowed:
        assert answer.message == response.message
        assert answer.headers["x-pullgate-decision-id"] == line["decision_id"]
        assert answer.headers["x-pullgate-reason"] == line["reason"]


async def test_what_cannot_be_asked_is_an_error(serve: Serve) -> None:
    """A route for what is no registry ends with a status, so that nothing is served."""
    async with serve() as service:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await checked(
                service, {"pullgate.registry": "Someuser", "pullgate.organization": "acme"}, "/v2/tool/tags/list"
            )

    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
