"""Who may do what, for whom: the whole table over gRPC, and ways around it that must not be."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.json_format import MessageToJson
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from pullgate.envoy.v3 import external_authorization_pb2 as envoy
from pullgate.envoy.v3.external_authorization_pb2_grpc import ExternalAuthorizationServiceStub
from pullgate.v1 import access_token_pb2, decision_pb2, identity_pb2, mapping, member_pb2, policy_pb2, policy_watch_pb2
from pullgate.v1 import policy_admin_pb2 as admin
from pullgate.v1 import policy_decision_pb2 as decisions
from pullgate.v1.policy_watch_pb2_grpc import PolicyWatchServiceStub
from pullgate_policy import Preset, preset_policy
from pullgate_server.authorization import METHODS
from pullgate_server.stores.port import Store
from tests.conftest import SOON, Serve, Service

ROLES = ("operator", "owner", "policy_manager", "member", "enforcer")
"""The columns of MATRIX."""

MATRIX: Mapping[str, tuple[str, str]] = {
    "Decide": ("AAAAA", "AOOOO"),
    "BatchDecide": ("AAAAA", "AOOOO"),
    "StreamDecide": ("AAAAA", "AOOOO"),
    "Check": ("AAAAA", "AOOOO"),
    "GetCaller": ("AAAAA", ""),
    "GetPolicy": ("AAAAA", "AOOOO"),
    "ListPolicies": ("AAAAA", ""),
    "ListPolicyRevisions": ("AAAAA", "AOOOO"),
    "DiffPolicy": ("AAAAA", "AOOOO"),
    "PutPolicy": ("AAARR", "AOORR"),
    "PatchPolicy": ("AAARR", "AOORR"),
    "DeletePolicy": ("AAARR", "AOORR"),
    "RollbackPolicy": ("AAARR", "AOORR"),
    "DryRunPolicy": ("AAARR", "AOORR"),
    "PutCategoryPin": ("AAARR", "AOORR"),
    "DeleteCategoryPin": ("AAARR", "AOORR"),
    "ListCategoryPins": ("AAAAA", "AOOOO"),
    "LookUpCategories": ("AAAAA", "AOOOO"),
    "RefreshCategories": ("AAARR", "AOORR"),
    "ListCategories": ("ARRRR", ""),
    "ListMembers": ("AAARR", "AOORR"),
    "WriteMembers": ("AARRR", "AORRR"),
    "RemoveMembers": ("AARRR", "AORRR"),
    "CreateToken": ("AARRR", "AORRR"),
    "ListTokens": ("AARRR", "AORRR"),
    "RevokeToken": ("AARRR", "ATRRR"),
    "RotateToken": ("AARRR", "ATRRR"),
    "ListEvents": ("AAARR", "AOORR"),
    "StreamEvents": ("AAARR", "AOORR"),
    "Watch": ("AAARA", "AOORO"),
    "ReportApplied": ("AAARA", ""),
    "ListSubscribers": ("AAARR", "AOORR"),
}
"""By method: what comes of a call for one's own organization, and for another one (empty where requests name none).

A: allowed. R: the role may not. O: not for that organization. T: there is no such token.
"""

ENDINGS = {
    "R": ("PERMISSION_DENIED", "ROLE_NOT_PERMITTED"),
    "O": ("PERMISSION_DENIED", "ORGANIZATION_NOT_PERMITTED"),
    "T": ("NOT_FOUND", "TOKEN_NOT_FOUND"),
}

WHO_MAY = {
    "ARRRR": "that is for operators alone",
    "AARRR": "that is for owners of organization acme, and for operators",
    "AAARR": "that is for owners and policy managers of organization acme, and for operators",
    "AAARA": "that is for owners and policy managers and enforcers of organization acme, and for operators",
}
"""By the first column of MATRIX: how the sentence ends for those who may not."""

REACHED = {"OK", "NOT_FOUND", "FAILED_PRECONDITION", "ABORTED"}
"""How a call ends that came as far as its handler."""

PEOPLE = {"owner": "olivia", "policy_manager": "petra", "member": "mia"}

REFLECTION = tuple(f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo" for version in ("v1", "v1alpha"))


@dataclass(frozen=True, kw_only=True)
class Told:
    """How a call ended, or the first message of an answer."""

    status: status_pb2.Status
    answer: Any = None

    @property
    def code(self) -> str:
        """The status."""
        return next(code.name for code in grpc.StatusCode if code.value[0] == self.status.code)

    @property
    def reason(self) -> str:
        """The reason in its details; empty for an answer."""
        info = error_details_pb2.ErrorInfo()
        return next((info.reason for detail in self.status.details if detail.Unpack(info)), "")

    @property
    def ending(self) -> tuple[str, str]:
        """Status and reason."""
        return self.code, self.reason


def bearer(secret: str) -> tuple[tuple[str, str], ...]:
    """The metadata of who presents this token."""
    return (("authorization", f"Bearer {secret}"),)


def told_by(error: grpc.aio.AioRpcError) -> Told:
    """How a call ended, from what it raised."""
    status = rpc_status.from_call(error)
    return Told(status=status or status_pb2.Status(code=error.code().value[0], message=error.details() or ""))


Metadata = tuple[tuple[str, str], ...]


async def ask(service: Service, method: str, request: Any, secret: str = "", metadata: Metadata | None = None) -> Told:
    """Call a method, with the operator's token if no other is given; of a stream the first message is the answer."""
    stubs: tuple[Any, ...] = (
        service.decisions,
        service.administration,
        PolicyWatchServiceStub(service.channel),
        ExternalAuthorizationServiceStub(service.channel),
    )
    stub = next(stub for stub in stubs if hasattr(stub, method))
    options: dict[str, Any] = {"metadata": bearer(secret or service.token), "timeout": SOON}
    if metadata is not None:
        options["metadata"] = metadata
    try:
        match method:
            case "StreamDecide":
                stream = stub.StreamDecide(iter([request]), **options)
                answer = await stream.read()
                if answer.HasField("error"):
                    return Told(status=answer.error)
            case "StreamEvents" | "Watch":
                stream = getattr(stub, method)(request, **options)
                answer = await stream.read()
                stream.cancel()
            case _:
                answer = await getattr(stub, method)(request, **options)
    except grpc.aio.AioRpcError as error:
        return told_by(error)
    return Told(status=status_pb2.Status(), answer=answer)


async def answer_to(service: Service, method: str, request: Any, secret: str = "") -> Any:
    """The answer to a call that has to be answered."""
    told = await ask(service, method, request, secret)
    assert told.code == "OK", told.status
    return told.answer


async def ended(stream: Any) -> Told:
    """How an open stream ends, whatever it says before."""
    try:
        async with asyncio.timeout(SOON):
            while await stream.read() is not grpc.aio.EOF:
                pass
    except grpc.aio.AioRpcError as error:
        return told_by(error)
    return Told(status=status_pb2.Status())


async def open_decisions(service: Service, secret: str, identity: identity_pb2.Identity | None = None) -> Any:
    """An open StreamDecide that has given an answer."""
    stream = service.decisions.StreamDecide(metadata=bearer(secret))
    await stream.write(decisions.StreamDecideRequest(identity=identity, reference="nginx"))
    assert (await stream.read()).HasField("decision")
    return stream


async def open_events(service: Service, secret: str) -> Any:
    """An open StreamEvents that has given an event."""
    stream = service.administration.StreamEvents(admin.StreamEventsRequest(since_revision=0), metadata=bearer(secret))
    assert (await stream.read()).event.revision > 0
    return stream


async def make_token(
    service: Service, role: str, organization: str = "acme", secret: str = "", **fields: Any
) -> admin.CreateTokenResponse:
    """Make a token; a person's is named after PEOPLE."""
    request = admin.CreateTokenRequest(
        **{
            "name": PEOPLE.get(role, f"the {role}"),
            "role": access_token_pb2.CallerRole.Value(f"CALLER_ROLE_{role.upper()}"),
            "organization": "" if role == "operator" else organization,
            **fields,
        }
    )
    made: admin.CreateTokenResponse = await answer_to(service, "CreateToken", request, secret)
    return made


def member(username: str, role: str = "member", *teams: str) -> member_pb2.Member:
    """An entry of a member list."""
    number = identity_pb2.Role.Value(f"ROLE_{role.upper()}")
    return member_pb2.Member(username=username, role=number, teams=teams)


async def write_members(service: Service, organization: str, *members: member_pb2.Member, **fields: Any) -> None:
    """Write entries of a member list."""
    request = admin.WriteMembersRequest(organization=organization, members=members, **fields)
    await answer_to(service, "WriteMembers", request)


def strict(organization: str) -> policy_pb2.Policy:
    """The preset `strict`."""
    return mapping.policy_to_message(preset_policy(Preset.STRICT, organization))


async def put_strict(service: Service, organization: str) -> None:
    """Give an organization the preset `strict`."""
    await answer_to(service, "PutPolicy", admin.PutPolicyRequest(policy=strict(organization)))


@dataclass(frozen=True, kw_only=True)
class World:
    """acme and globex with policies, members and tokens, as an operator has set them up; there is no initech.

    Attributes:
        secrets: a token of acme for each role.
        spare: a token's id for each organization.
    """

    service: Service
    secrets: Mapping[str, str]
    spare: Mapping[str, str]

    async def ask(self, role: str, method: str, request: Any) -> Told:
        """Call a method as somebody of acme."""
        return await ask(self.service, method, request, self.secrets[role])


@asynccontextmanager
async def set_up(serve: Serve, store: Store | None = None) -> AsyncIterator[World]:
    """A server with such a world. What is written last is acme's."""
    async with serve(store=store) as service:
        spare = {"initech": "tok_0000000000000000"}
        for organization in ("globex", "acme"):
            listed = [member(name, role) for role, name in PEOPLE.items()]
            await write_members(service, organization, *listed, member("spare"))
            await put_strict(service, organization)
            spare[organization] = (await make_token(service, "enforcer", organization, name="spare")).token.id
        for organization in ("", "globex", "acme"):
            await answer_to(service, "PutCategoryPin", REQUESTS["PutCategoryPin"](organization, ""))
        secrets = {role: (await make_token(service, role)).secret for role in ROLES}
        await put_strict(service, "acme")
        yield World(service=service, secrets=secrets, spare=spare)


def identity_in(organization: str, username: str = "mia", **fields: Any) -> identity_pb2.Identity:
    """Somebody signed in with an organization."""
    return identity_pb2.Identity(
        username=username, memberships=[identity_pb2.Membership(organization=organization, **fields)]
    )


def asked_by_envoy(organization: str) -> envoy.CheckRequest:
    """What Envoy asks about a pull for an organization."""
    http = envoy.AttributeContext.HttpRequest(method="GET", path="/v2/library/nginx/manifests/latest")
    return envoy.CheckRequest(
        attributes=envoy.AttributeContext(
            request=envoy.AttributeContext.Request(http=http),
            context_extensions={"pullgate.registry": "docker.io", "pullgate.organization": organization},
        )
    )


REQUESTS: Mapping[str, Callable[[str, str], Any]] = {
    "Decide": lambda name, _: decisions.DecideRequest(identity=identity_in(name), reference="nginx"),
    "BatchDecide": lambda name, _: decisions.BatchDecideRequest(identity=identity_in(name), references=["nginx"]),
    "StreamDecide": lambda name, _: decisions.StreamDecideRequest(identity=identity_in(name), reference="nginx"),
    "Check": lambda name, _: asked_by_envoy(name),
    "GetCaller": lambda *_: admin.GetCallerRequest(),
    "GetPolicy": lambda name, _: admin.GetPolicyRequest(organization=name),
    "ListPolicies": lambda *_: admin.ListPoliciesRequest(),
    "ListPolicyRevisions": lambda name, _: admin.ListPolicyRevisionsRequest(organization=name),
    "DiffPolicy": lambda name, _: admin.DiffPolicyRequest(organization=name),
    "PutPolicy": lambda name, _: admin.PutPolicyRequest(policy=strict(name)),
    "PatchPolicy": lambda name, _: admin.PatchPolicyRequest(
        policy=policy_pb2.Policy(organization=name), update_mask=FieldMask(paths=["sign_in.required"])
    ),
    "DeletePolicy": lambda name, _: admin.DeletePolicyRequest(organization=name),
    "RollbackPolicy": lambda name, _: admin.RollbackPolicyRequest(organization=name, revision=5),
    "DryRunPolicy": lambda name, _: admin.DryRunPolicyRequest(organization=name),
    "PutCategoryPin": lambda name, _: admin.PutCategoryPinRequest(
        pin=admin.CategoryPin(name="someuser", category=decision_pb2.IMAGE_CATEGORY_OFFICIAL, organization=name)
    ),
    "DeleteCategoryPin": lambda name, _: admin.DeleteCategoryPinRequest(name="someuser", organization=name),
    "ListCategoryPins": lambda name, _: admin.ListCategoryPinsRequest(organization=name),
    "LookUpCategories": lambda name, _: admin.LookUpCategoriesRequest(names=["grafana"], organization=name),
    "RefreshCategories": lambda name, _: admin.RefreshCategoriesRequest(names=["grafana"], organization=name),
    "ListCategories": lambda *_: admin.ListCategoriesRequest(),
    "ListMembers": lambda name, _: admin.ListMembersRequest(organization=name),
    "WriteMembers": lambda name, _: admin.WriteMembersRequest(organization=name, members=[member("new")]),
    "RemoveMembers": lambda name, _: admin.RemoveMembersRequest(organization=name, usernames=["spare"]),
    "CreateToken": lambda name, _: admin.CreateTokenRequest(
        organization=name, name="proxy", role=access_token_pb2.CALLER_ROLE_ENFORCER
    ),
    "ListTokens": lambda name, _: admin.ListTokensRequest(organization=name),
    "RevokeToken": lambda _, token: admin.RevokeTokenRequest(id=token),
    "RotateToken": lambda _, token: admin.RotateTokenRequest(id=token),
    "ListEvents": lambda name, _: admin.ListEventsRequest(organization=name),
    "StreamEvents": lambda name, _: admin.StreamEventsRequest(organization=name, since_revision=0),
    "Watch": lambda name, _: policy_watch_pb2.WatchRequest(organizations=[name]),
    "ReportApplied": lambda *_: policy_watch_pb2.ReportAppliedRequest(subscription_id="sub_0"),
    "ListSubscribers": lambda name, _: admin.ListSubscribersRequest(organization=name),
}
"""By method: a request about an organization, or about a token of it."""


def methods() -> Mapping[str, Any]:
    """Every method of the services, as the descriptors have it, by its name."""
    services = (
        decisions.DESCRIPTOR.services_by_name["PolicyDecisionService"],
        policy_watch_pb2.DESCRIPTOR.services_by_name["PolicyWatchService"],
        admin.DESCRIPTOR.services_by_name["PolicyAdminService"],
        envoy.DESCRIPTOR.services_by_name["ExternalAuthorizationService"],
    )
    return {method.name: method for service in services for method in service.methods}


def test_the_matrix_is_whole() -> None:
    """Every method of the services stands in the matrix, and nothing else does."""
    assert MATRIX.keys() == REQUESTS.keys() == methods().keys()
    for own, foreign in MATRIX.values():
        assert len(own) == len(ROLES)
        assert len(foreign) in {0, len(ROLES)}


def test_the_servers_table_has_the_methods_that_are_served() -> None:
    """The server's own table has a rule for each method of a service, and none besides."""
    served = {method.full_name for method in methods().values()}
    reflection = {path[1:].replace("/", ".") for path in REFLECTION}

    assert METHODS.keys() == served | reflection


async def test_a_method_without_a_rule_cannot_be_served(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server in whose table a method is missing does not come to be."""
    rules = {name: rule for name, rule in METHODS.items() if not name.endswith(".RevokeToken")}
    monkeypatch.setattr("pullgate_server.rpc.gate.METHODS", rules)

    with pytest.raises(KeyError, match="RevokeToken"):
        async with serve():
            pass


@pytest.mark.parametrize("method", MATRIX)
async def test_the_matrix_holds(serve: Serve, method: str) -> None:
    """Each role gets what the matrix says; who is refused is told who may, and has written nothing."""
    async with set_up(serve) as world:
        own, foreign = MATRIX[method]
        for organization, row in (("acme", own), ("globex", foreign)):
            # The operator comes last: what it does to policies and tokens is for nobody to meet.
            for role, expected in reversed(list(zip(ROLES, row, strict=bool(row)))):
                before = await world.service.store.revision()
                told = await world.ask(role, method, REQUESTS[method](organization, world.spare[organization]))
                where = f"{role}, {organization}: {told.status}"
                if expected == "A":
                    assert told.code in REACHED, where
                    assert told.reason != "TOKEN_NOT_FOUND", where
                    continue
                assert told.ending == ENDINGS[expected], where
                assert await world.service.store.revision() == before, where
                if expected == "R":
                    assert told.status.message.endswith(WHO_MAY[own]), where
                elif expected == "O":
                    assert "this caller belongs to organization acme" in told.status.message, where


@pytest.mark.parametrize("method", [name for name, (_, foreign) in MATRIX.items() if foreign])
@pytest.mark.parametrize("role", ROLES[1:])
async def test_nobody_learns_whether_another_organization_exists(serve: Serve, method: str, role: str) -> None:
    """What is said of globex, which has everything, is said of initech too, which there is not, but for the name."""
    async with set_up(serve) as world:
        said = []
        for organization in ("globex", "initech"):
            token = world.spare[organization]
            told = await world.ask(role, method, REQUESTS[method](organization, token))
            said.append(MessageToJson(told.status).replace(organization, "NAME").replace(token, "TOKEN"))
            assert told.code in {"PERMISSION_DENIED", "NOT_FOUND"}

        assert said[0] == said[1]


@pytest.mark.parametrize("method", ["PutCategoryPin", "DeleteCategoryPin"])
@pytest.mark.parametrize(("role", "expected"), list(zip(ROLES, "AOORR", strict=True)))
async def test_pins_for_every_organization_are_for_operators(
    serve: Serve, method: str, role: str, expected: str
) -> None:
    """Who may pin for its own organization alone, and names none, is told to name it; nothing is written."""
    async with set_up(serve) as world:
        before = await world.service.store.revision()
        told = await world.ask(role, method, REQUESTS[method]("", ""))

        assert told.ending == {"A": ("OK", ""), **ENDINGS}[expected]
        assert await world.service.store.revision() == before + (expected == "A")
        if expected == "O":
            assert told.status.message == (
                "this caller belongs to organization acme and has to name it: "
                "pins without an organization hold for everybody and are for operators alone"
            )
        elif expected == "R":
            assert told.status.message.endswith(WHO_MAY["AAARR"])


@pytest.mark.parametrize("role", ROLES)
async def test_pins_are_listed_for_ones_own_organization(serve: Serve, role: str) -> None:
    """A list has the pins for everybody and one's own, an operator's has all; no page token leads further."""
    async with set_up(serve) as world:
        listed = []
        for request in (
            admin.ListCategoryPinsRequest(),
            admin.ListCategoryPinsRequest(organization="acme"),
            admin.ListCategoryPinsRequest(page_token="acme someuser", page_size=1),
        ):
            answer = (await world.ask(role, "ListCategoryPins", request)).answer
            listed.append([pin.organization for pin in answer.pins])

    everything = ["", "acme", "globex"] if role == "operator" else ["", "acme"]
    assert listed == [everything, ["", "acme"], everything[2:]]


@pytest.mark.parametrize("role", ROLES)
async def test_policies_are_listed_for_ones_own_organization(serve: Serve, role: str) -> None:
    """A list of policies has the caller's own alone, an operator's has them all; no page token leads further."""
    async with set_up(serve) as world:
        names = []
        for request in (admin.ListPoliciesRequest(), admin.ListPoliciesRequest(page_token="b", page_size=1)):
            answer = (await world.ask(role, "ListPolicies", request)).answer
            names.append([stored.policy.organization for stored in answer.policies])

    assert names == ([["acme", "globex"], ["globex"]] if role == "operator" else [["acme"], []])


async def test_tokens_are_listed_for_ones_own_organization(serve: Serve) -> None:
    """An owner's list without an organization has its own tokens alone, an operator's has them all."""
    async with set_up(serve) as world:
        request = admin.ListTokensRequest(include_ended=True)
        listed = (await world.ask("owner", "ListTokens", request)).answer.tokens
        everybodys = (await world.ask("operator", "ListTokens", request)).answer.tokens

    assert {token.organization for token in listed} == {"acme"}
    assert len(listed) == 5
    assert {token.organization for token in everybodys} == {"", "acme", "globex"}


async def test_no_page_begins_at_a_token_of_others(serve: Serve) -> None:
    """A page token that is the id of another organization's token is told what one of no token at all is told."""
    async with set_up(serve) as world:
        told = [
            await world.ask("owner", "ListTokens", admin.ListTokensRequest(page_token=world.spare[organization]))
            for organization in ("globex", "initech")
        ]

    assert told[0].status == told[1].status


@pytest.mark.parametrize("role", ["owner", "policy_manager"])
async def test_events_are_those_of_ones_own_organization(serve: Serve, role: str) -> None:
    """Neither a list nor a stream without an organization tells what happened elsewhere, or to operators and pins."""
    async with set_up(serve) as world:
        listed = (await world.ask(role, "ListEvents", admin.ListEventsRequest())).answer.events
        everything = (await world.ask("operator", "ListEvents", admin.ListEventsRequest())).answer.events
        request = admin.StreamEventsRequest(since_revision=-1)
        stream = world.service.administration.StreamEvents(request, metadata=bearer(world.secrets[role]), timeout=SOON)
        streamed = [(await stream.read()).event]
        while streamed[-1].revision < everything[0].revision:
            streamed.append((await stream.read()).event)
        stream.cancel()

    assert {event.organization for event in everything} == {"", "acme", "globex"}
    assert {event.organization for event in listed} == {"acme"}
    assert streamed == listed[::-1]
    assert everything[0] == listed[0]


@pytest.mark.parametrize("role", ROLES)
async def test_every_caller_may_ask_what_there_is(serve: Serve, role: str) -> None:
    """Reflection answers whoever has a token."""
    from grpc_reflection.v1alpha import reflection_pb2

    async with set_up(serve) as world:
        for path in REFLECTION:
            method: Any = world.service.channel.stream_stream(
                path,
                request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
                response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
            )
            asked = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
            answer = await method(asked, metadata=bearer(world.secrets[role]), timeout=SOON).read()

            assert "pullgate.v1.PolicyAdminService" in {
                service.name for service in answer.list_services_response.service
            }


@pytest.mark.parametrize(
    ("metadata", "reason"), [((), "TOKEN_MISSING"), (bearer(f"pullgate_{'0' * 64}"), "TOKEN_INVALID")]
)
async def test_nobody_gets_anything(serve: Serve, metadata: tuple[tuple[str, str], ...], reason: str) -> None:
    """Without a known token every method ends with UNAUTHENTICATED, streams and reflection too; health answers."""
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    async with serve() as service:
        channel: Any = service.channel
        calls: list[tuple[str, Callable[..., Any]]] = [(path, channel.stream_stream(path)) for path in REFLECTION]
        for method in methods().values():
            path = f"/{method.containing_service.full_name}/{method.name}"
            if method.client_streaming:
                calls.append((path, channel.stream_stream(path)))
            elif method.server_streaming:
                calls.append((path, partial(channel.unary_stream(path), b"")))
            else:
                calls.append((path, partial(channel.unary_unary(path), b"")))
        for path, begin in calls:
            # Nothing is sent on streams of requests: a client that still sends may report its own failure.
            call = begin(metadata=metadata, timeout=SOON)
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await (call.read() if hasattr(call, "read") else call)
            assert told_by(raised.value).ending == ("UNAUTHENTICATED", reason), path
        health: Any = health_pb2_grpc.HealthStub(service.channel)
        checked = await health.Check(health_pb2.HealthCheckRequest(), metadata=metadata, timeout=SOON)

        assert checked.status == health_pb2.HealthCheckResponse.SERVING


DECIDING = {
    "Decide": lambda **fields: decisions.DecideRequest(reference="nginx", **fields),
    "BatchDecide": lambda **fields: decisions.BatchDecideRequest(references=["nginx"], **fields),
    "StreamDecide": lambda **fields: decisions.StreamDecideRequest(reference="nginx", **fields),
}
"""By method: the question about nginx."""

NOBODY = identity_pb2.Identity()


@pytest.mark.parametrize("method", DECIDING)
@pytest.mark.parametrize(
    ("fields", "row"),
    [
        ({"identity": identity_in("acme")}, "AAAAA"),
        ({"identity": identity_in("acme", "dev")}, "AAARA"),
        ({"identity": identity_in("acme", "Mia")}, "AAARA"),
        ({"identity": identity_pb2.Identity(username="dev")}, "-AARA"),
        ({"identity": identity_pb2.Identity(username="mia"), "organizations": ["acme"]}, "AAAAA"),
        ({"identity": NOBODY}, "-AAAA"),
        ({"identity": NOBODY, "organizations": ["acme"]}, "AAAAA"),
        ({"identity": NOBODY, "organizations": ["globex"]}, "AOOOO"),
        ({"identity": identity_in("acme"), "organizations": ["globex"]}, "AOOOO"),
        ({"identity": identity_in("acme"), "organizations": ["acme", "initech"]}, "AOOOO"),
        ({"identity": identity_in("globex"), "organizations": ["acme"]}, "AOOOO"),
        ({"identity": identity_in("initech")}, "AOOOO"),
        (
            {
                "identity": identity_pb2.Identity(
                    username="mia",
                    memberships=[identity_pb2.Membership(organization=name) for name in ("acme", "globex")],
                )
            },
            "AOOOO",
        ),
    ],
)
async def test_whom_one_may_decide_for(serve: Serve, method: str, fields: Mapping[str, Any], row: str) -> None:
    """A member decides for itself alone; for other organizations operators alone decide, who have to name one."""
    async with set_up(serve) as world:
        endings = {"A": ("OK", ""), "-": ("INVALID_ARGUMENT", "ORGANIZATION_MISSING"), **ENDINGS}
        for role, expected in zip(ROLES, row, strict=True):
            # Twice: what is kept ready after the first answer is not for those who were refused it.
            for _ in range(2):
                told = await world.ask(role, method, DECIDING[method](**fields))
                assert told.ending == endings[expected], (role, told.status)


async def test_a_ready_answer_is_for_who_got_it(serve: Serve) -> None:
    """The very bytes that an enforcer was answered are refused to a member."""
    async with set_up(serve) as world:
        request = DECIDING["Decide"](identity=identity_in("acme", "dev"))
        for _ in range(3):
            answered = await world.ask("enforcer", "Decide", request)
            refused = await world.ask("member", "Decide", request)

            assert answered.code == "OK"
            assert refused.ending == ENDINGS["R"]


@pytest.mark.parametrize(
    ("role", "request_", "endings"),
    [
        (
            "owner",
            admin.CreateTokenRequest(name="x", role=access_token_pb2.CALLER_ROLE_OPERATOR),
            [("PERMISSION_DENIED", "ORGANIZATION_NOT_PERMITTED")],
        ),
        (
            "owner",
            admin.CreateTokenRequest(name="x", role=access_token_pb2.CALLER_ROLE_OPERATOR, organization="acme"),
            [("INVALID_ARGUMENT", "FIELD_INVALID")],
        ),
        (
            "owner",
            admin.CreateTokenRequest(name="x", role=access_token_pb2.CALLER_ROLE_ENFORCER, organization="globex"),
            [("PERMISSION_DENIED", "ORGANIZATION_NOT_PERMITTED")],
        ),
        *(
            (
                role,
                admin.CreateTokenRequest(name=role, role=number, organization=organization),
                [("PERMISSION_DENIED", "ROLE_NOT_PERMITTED")],
            )
            for role in ("policy_manager", "member", "enforcer")
            for number in access_token_pb2.CallerRole.values()
            for organization in ("acme", "globex", "")
        ),
        *(
            (
                role,
                admin.WriteMembersRequest(organization="acme", members=[member(PEOPLE[role], "owner")]),
                [("PERMISSION_DENIED", "ROLE_NOT_PERMITTED")],
            )
            for role in ("policy_manager", "member")
        ),
    ],
)
async def test_nobody_rises(serve: Serve, role: str, request_: Any, endings: Sequence[tuple[str, str]]) -> None:
    """Nobody makes tokens, or an entry in a member list, that may more than its maker."""
    async with set_up(serve) as world:
        before = await world.service.store.revision()
        told = await world.ask(role, type(request_).__name__.removesuffix("Request"), request_)

        assert told.ending in endings
        assert await world.service.store.revision() == before


@pytest.mark.parametrize("role", ["policy_manager", "member", "enforcer"])
async def test_ones_own_token_is_not_ones_own_to_manage(serve: Serve, role: str) -> None:
    """Who may not manage tokens may not rotate or revoke the one it has."""
    async with set_up(serve) as world:
        caller = (await world.ask(role, "GetCaller", admin.GetCallerRequest())).answer
        for told in (
            await world.ask(role, "RotateToken", admin.RotateTokenRequest(id=caller.caller_id)),
            await world.ask(role, "RevokeToken", admin.RevokeTokenRequest(id=caller.caller_id)),
        ):
            assert told.ending == ENDINGS["R"]


async def test_an_owner_cannot_manage_operators(serve: Serve) -> None:
    """To an owner the tokens of operators are not there."""
    async with set_up(serve) as world:
        operator = (await world.ask("operator", "GetCaller", admin.GetCallerRequest())).answer
        for told in (
            await world.ask("owner", "RotateToken", admin.RotateTokenRequest(id=operator.caller_id)),
            await world.ask("owner", "RevokeToken", admin.RevokeTokenRequest(id=operator.caller_id)),
        ):
            assert told.ending == ENDINGS["T"]


async def test_a_token_for_more_than_the_list_says_is_worth_what_the_list_says(serve: Serve) -> None:
    """An owner's token in the name of a member acts as a member."""
    async with set_up(serve) as world:
        made = await make_token(world.service, "owner", secret=world.secrets["owner"], name="x", username="mia")
        caller = await answer_to(world.service, "GetCaller", admin.GetCallerRequest(), made.secret)
        told = await ask(world.service, "PutPolicy", REQUESTS["PutPolicy"]("acme", ""), made.secret)

        assert caller.role == access_token_pb2.CALLER_ROLE_MEMBER
        assert told.ending == ENDINGS["R"]


async def test_an_owner_that_an_enforcer_asserts_is_not_exempt(serve: Serve) -> None:
    """An enforcer's word that somebody is an owner is told not to have counted."""
    async with set_up(serve) as world:
        identity = identity_in("acme", "mia", role=identity_pb2.ROLE_OWNER)
        request = decisions.DecideRequest(identity=identity, reference="someone/else")
        decision = (await world.ask("enforcer", "Decide", request)).answer.decision

        assert decision.reason == decision_pb2.REASON_CATEGORY_UNKNOWN
        assert decision.effect == decision_pb2.EFFECT_DENY
        assert "the role owner was not taken" in decision.notes[0]


OLD = [
    ("owner", "policy_manager", {"ListTokens", "WriteMembers"}, {"PutPolicy", "ListEvents", "GetPolicy"}),
    ("owner", "member", {"ListTokens", "WriteMembers", "PutPolicy", "ListEvents"}, {"GetPolicy", "Decide"}),
    ("policy_manager", "member", {"PutPolicy", "ListEvents"}, {"GetPolicy", "Decide"}),
    ("owner", "", {"ListTokens", "GetPolicy", "GetCaller", "Decide", "BatchDecide"}, set()),
    ("member", "", {"GetPolicy", "GetCaller", "Decide", "ListPolicies"}, set()),
]
"""Somebody's role, what the list says from then on (empty: nothing), what is refused since, and what is not."""


@pytest.mark.parametrize(("role", "listed", "refused", "kept"), OLD)
async def test_the_list_holds_from_the_next_call_on(
    serve: Serve, role: str, listed: str, refused: set[str], kept: set[str]
) -> None:
    """Who was lowered in the member list, or removed from it, may what the list says, whatever the token says."""
    async with set_up(serve) as world:
        username = PEOPLE[role]
        requests = {method: REQUESTS[method]("acme", "") for method in refused | kept}
        if "Decide" in requests:
            requests["Decide"] = DECIDING["Decide"](identity=identity_in("acme", username))
        if "BatchDecide" in requests:
            requests["BatchDecide"] = DECIDING["BatchDecide"](identity=identity_in("acme", username))
        for method, request in requests.items():
            assert (await world.ask(role, method, request)).code == "OK", method
        if listed:
            await write_members(world.service, "acme", member(username, listed))
        else:
            removal = admin.RemoveMembersRequest(organization="acme", usernames=[username])
            await answer_to(world.service, "RemoveMembers", removal)
        for method, request in requests.items():
            told = await world.ask(role, method, request)
            assert told.ending == (ENDINGS["R"] if method in refused else ("OK", "")), (method, told.status)


@pytest.mark.parametrize("listed", ["member", "policy_manager", ""])
async def test_the_list_holds_on_open_streams(serve: Serve, listed: str) -> None:
    """Streams of who was lowered or removed end at once, and say that it is the role."""
    async with set_up(serve) as world:
        streams = [
            await open_events(world.service, world.secrets["owner"]),
            await open_decisions(world.service, world.secrets["owner"], identity_in("acme", "olivia")),
        ]
        if listed:
            await write_members(world.service, "acme", member("olivia", listed))
        else:
            removal = admin.RemoveMembersRequest(organization="acme", usernames=["olivia"])
            await answer_to(world.service, "RemoveMembers", removal)
        for stream in streams:
            assert (await ended(stream)).ending == ENDINGS["R"]


async def test_the_list_holds_on_other_servers(serve: Serve) -> None:
    """A server that did not write the list follows it as soon as it has read it, open streams included."""
    async with set_up(serve) as world, serve(store=world.service.store) as other:
        stream = await open_events(other, world.secrets["owner"])
        await write_members(world.service, "acme", member("olivia", "member"))

        assert (await ended(stream)).ending == ENDINGS["R"]
        told = await ask(other, "ListTokens", admin.ListTokensRequest(), world.secrets["owner"])
        assert told.ending == ENDINGS["R"]


async def test_streams_of_others_go_on(serve: Serve) -> None:
    """A change of the list ends no stream of somebody whom it leaves as they were."""
    async with set_up(serve) as world:
        stream = await open_events(world.service, world.secrets["owner"])
        await write_members(world.service, "acme", member("petra", "member"))
        written = await world.service.store.revision()
        async with asyncio.timeout(SOON):
            while (await stream.read()).event.revision < written:
                pass
        stream.cancel()


async def test_an_owner_cannot_lock_itself_out(serve: Serve) -> None:
    """An owner's write that would take its own right away is refused; an operator's is not."""
    async with set_up(serve) as world:
        lowering = admin.WriteMembersRequest(organization="acme", members=[member("olivia", "member")])
        removal = admin.RemoveMembersRequest(organization="acme", usernames=["olivia"])
        others = admin.WriteMembersRequest(organization="acme", members=[member("petra", "owner")], replace=True)
        for request in (lowering, removal, others):
            method = type(request).__name__.removesuffix("Request")
            assert (await world.ask("owner", method, request)).ending == ("FAILED_PRECONDITION", "LOCKED_OUT")

        assert (await world.ask("operator", "WriteMembers", lowering)).code == "OK"
