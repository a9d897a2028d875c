"""Writes of policies on the wire: patches, histories, trials, writers that collide, and requests sent twice."""

import asyncio
import copy
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from pullgate.v1 import (
    access_token_pb2,
    decision_pb2,
    identity_pb2,
    mapping,
    member_pb2,
    policy_admin_pb2,
    policy_decision_pb2,
    policy_pb2,
)
from pullgate_policy import Preset, parse_policy, policy_data, preset_policy
from pullgate_server.stores.memory import MemoryStore
from pullgate_server.stores.port import Store, Written
from tests.conftest import SOON, Serve, Service
from tests.server.test_policy_admin_service import put
from tests.server.test_policy_decision_service import CATALOGUE, DEV, question, refusal
from tests.stores import store_at

STRICT, STANDARD, OPEN = (
    mapping.policy_to_message(preset_policy(preset, "acme")) for preset in (Preset.STRICT, Preset.STANDARD, Preset.OPEN)
)

EVERYTHING: dict[str, Any] = {
    "organization": "acme",
    "image_access": {
        "enabled": True,
        "mode": "monitor",
        "allow": {"organization_images": False, "official_images": True, "sponsored_open_source_images": True},
        "allowlist": {"enabled": False, "repositories": [{"repository": "a/b"}, {"repository": "c/d"}]},
        "blocklist": [{"repository": "e/f", "reason": "old"}],
        "teams": {"web": {"community_images": True}, "data": {"official_images": True}},
        "on_unknown_category": "allow",
        "help": "Ask.",
    },
    "sign_in": {"required": True, "organization_access_tokens": "allow"},
    "registry_access": {"enabled": True, "allowed": ["docker.io", "ghcr.io"]},
    "docker_hub": {"namespaces": ["acme", "acme-labs"], "mirrors": ["mirror.gcr.io"]},
}
"""A policy in which no setting has its default."""

DEFAULTS: Any = policy_data(parse_policy({"organization": "acme"}))


def everything(**changed: Any) -> policy_pb2.Policy:
    """The message for EVERYTHING."""
    return mapping.policy_to_message(parse_policy({**EVERYTHING, **changed}))


async def signed_in(service: Service, role: str, organization: str = "acme", name: str = "") -> Service:
    """The same service for a caller with a token of its own."""
    request = policy_admin_pb2.CreateTokenRequest(
        name=name or role,
        role=access_token_pb2.CallerRole.Value(f"CALLER_ROLE_{role.upper()}"),
        organization=organization,
    )
    made = await service.call(service.administration.CreateToken, request)
    return dataclasses.replace(service, token=made.secret)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Refusal:
    """How a call ended."""

    code: str
    reason: str
    metadata: dict[str, str]
    preconditions: list[tuple[str, str]]
    retry_after: float | None
    message: str


async def refused(call: Awaitable[Any]) -> Refusal:
    """Why a call has no answer, with all details that are not BadRequest."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    status = rpc_status.from_call(raised.value)
    assert status is not None
    info, failure, retry = (
        error_details_pb2.ErrorInfo(),
        error_details_pb2.PreconditionFailure(),
        error_details_pb2.RetryInfo(),
    )
    retries = [detail.Unpack(retry) for detail in status.details]
    for detail in status.details:
        detail.Unpack(info)
        detail.Unpack(failure)
    return Refusal(
        code=raised.value.code().name,
        reason=info.reason,
        metadata=dict(info.metadata),
        preconditions=[(violation.type, violation.subject) for violation in failure.violations],
        retry_after=retry.retry_delay.ToTimedelta().total_seconds() if any(retries) else None,
        message=raised.value.details() or "",
    )


async def call(service: Service, method: str, **fields: Any) -> Any:
    """Call a method of the administration by its name, with the fields of its request."""
    request = getattr(policy_admin_pb2, f"{method}Request")(**fields)
    return await service.call(getattr(service.administration, method), request)


def document(stored: policy_admin_pb2.StoredPolicy) -> Any:
    """A stored policy as plain data."""
    return policy_data(mapping.policy_from_message(stored.policy))


async def read(service: Service, revision: int = 0) -> policy_admin_pb2.StoredPolicy:
    """The policy of acme."""
    stored: policy_admin_pb2.StoredPolicy = (
        await call(service, "GetPolicy", organization="acme", revision=revision)
    ).policy
    return stored


@pytest.fixture(params=["memory", "sqlite"])
def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Any]:
    """Opens an empty store of each kind that needs no other server.

    To be served with a long store_poll: a look at SQLite that the server's end cuts short would hold up what is written
    then (see test_events.py).
    """
    return lambda: store_at(request.param, tmp_path, "")


@asynccontextmanager
async def with_history(serve: Serve, store: Store | None = None, **options: Any) -> AsyncIterator[Service]:
    """A server where acme's policy was strict (1), standard (2), deleted (4), and is open (5); globex's is of 3."""
    async with serve(store=store or MemoryStore(), **options) as service:
        await put(service, STRICT, comment="begin")
        await put(service, STANDARD, comment="widen")
        await put(service, policy_pb2.Policy(organization="globex"))
        await call(service, "DeletePolicy", organization="acme", comment="enough")
        await put(service, OPEN, comment="again")
        yield service


@pytest.mark.parametrize(
    ("path", "patch", "value"),
    [
        ("image_access.enabled", {}, False),
        ("image_access.mode", {"image_access": {"mode": "POLICY_MODE_ENFORCE"}}, "enforce"),
        ("image_access.mode", {}, "enforce"),
        ("image_access.on_unknown_category", {"image_access": {"on_unknown_category": "POLICY_CHOICE_DENY"}}, "deny"),
        ("image_access.on_unknown_category", {}, "deny"),
        ("image_access.help", {"image_access": {"help": "Call us."}}, "Call us."),
        ("image_access.help", {}, ""),
        ("image_access.allow.community_images", {"image_access": {"allow": {"community_images": True}}}, True),
        ("image_access.allow.official_images", {}, False),
        ("image_access.allow.official_images", {"image_access": {"allow": {"official_images": False}}}, False),
        ("image_access.allow.organization_images", {}, True),
        ("image_access.allow.sponsored_open_source_images", {}, None),
        (
            "image_access.allow.sponsored_open_source_images",
            {"image_access": {"allow": {"sponsored_open_source_images": False}}},
            False,
        ),
        (
            "image_access.allow",
            {"image_access": {"allow": {"verified_publisher_images": True}}},
            {**DEFAULTS["image_access"]["allow"], "verified_publisher_images": True},
        ),
        ("image_access.allow", {}, DEFAULTS["image_access"]["allow"]),
        ("image_access.allowlist.enabled", {}, True),
        (
            "image_access.allowlist.repositories",
            {"image_access": {"allowlist": {"repositories": [{"repository": "g/h", "teams": ["web"]}]}}},
            [{"repository": "g/h", "reason": "", "expires_at": None, "teams": ["web"]}],
        ),
        ("image_access.allowlist.repositories", {}, []),
        ("image_access.allowlist", {}, DEFAULTS["image_access"]["allowlist"]),
        (
            "image_access.blocklist",
            {"image_access": {"blocklist": [{"repository": "g/h"}]}},
            [{"repository": "g/h", "reason": ""}],
        ),
        ("image_access.blocklist", {}, []),
        ("image_access", {}, DEFAULTS["image_access"]),
        ("sign_in.required", {}, False),
        ("sign_in.organization_access_tokens", {}, "deny"),
        ("sign_in", {"sign_in": {"required": True}}, {"required": True, "organization_access_tokens": "deny"}),
        ("sign_in", {}, DEFAULTS["sign_in"]),
        ("registry_access.enabled", {}, False),
        ("registry_access.allowed", {"registry_access": {"allowed": ["quay.io"]}}, ["quay.io"]),
        ("registry_access", {}, DEFAULTS["registry_access"]),
        ("docker_hub.namespaces", {"docker_hub": {"namespaces": ["acme-two"]}}, ["acme-two"]),
        ("docker_hub.namespaces", {}, []),
        ("docker_hub.mirrors", {}, []),
        ("docker_hub", {}, DEFAULTS["docker_hub"]),
    ],
)
async def test_a_patch_changes_what_it_names(serve: Serve, path: str, patch: dict[str, Any], value: Any) -> None:
    """The named setting is as in the patch, or its default where the patch says nothing; all others stay."""
    async with serve() as service:
        await put(service, everything())
        message = json_format.ParseDict({"organization": "acme", **patch}, policy_pb2.Policy())
        response = await call(
            service, "PatchPolicy", policy=message, update_mask={"paths": [path]}, comment="why", expected_revision=1
        )
        *above, last = path.split(".")
        wanted = copy.deepcopy(document(mapping_stored(everything())))
        section = wanted
        for key in above:
            section = section[key]
        section[last] = value

        assert document(response.policy) == wanted
        assert response.policy == await read(service)
        assert (response.policy.revision, response.policy.author, response.policy.comment) == (2, "operator", "why")


def mapping_stored(policy: policy_pb2.Policy) -> policy_admin_pb2.StoredPolicy:
    """A policy as if it were stored."""
    return policy_admin_pb2.StoredPolicy(policy=policy)


@pytest.mark.parametrize(
    ("paths", "teams", "wanted"),
    [
        (["image_access.teams.web"], {"web": {"official_images": True}}, {"web": ["official_images"], "data": None}),
        (["image_access.teams.web"], {"web": {}}, {"web": [], "data": None}),
        (["image_access.teams.web"], {}, {"data": None}),
        (
            ["image_access.teams.data-science"],
            {"data-science": {"community_images": True}, "data": {}},
            {"web": None, "data": None, "data-science": ["community_images"]},
        ),
        (
            ["image_access.teams.web.verified_publisher_images"],
            {"web": {"verified_publisher_images": True}},
            {"web": ["verified_publisher_images", "community_images"], "data": None},
        ),
        (["image_access.teams.web.community_images"], {}, {"web": [], "data": None}),
        (["image_access.teams"], {"ops": {"official_images": True}}, {"ops": ["official_images"]}),
        (["image_access.teams"], {}, {}),
        (
            ["image_access.teams.web", "image_access.teams.data"],
            {"data": {"community_images": True}},
            {"data": ["community_images"]},
        ),
    ],
)
async def test_a_patch_changes_one_teams_grant(
    serve: Serve, paths: list[str], teams: dict[str, Any], wanted: dict[str, list[str] | None]
) -> None:
    """image_access.teams.NAME is that team's grant, given, changed or taken away; those of other teams stay."""
    before: Any = policy_data(parse_policy(EVERYTHING))["image_access"]["teams"]  # type: ignore[index, call-overload]
    async with serve() as service:
        await put(service, everything())
        message = json_format.ParseDict({"organization": "acme", "image_access": {"teams": teams}}, policy_pb2.Policy())
        response = await call(service, "PatchPolicy", policy=message, update_mask={"paths": paths})
        grants = document(response.policy)["image_access"]["teams"]

        assert grants.keys() == wanted.keys()
        for team, settings in wanted.items():
            if settings is None:
                assert grants[team] == before[team]
            else:
                assert [setting for setting, granted in grants[team].items() if granted] == settings


async def test_a_patch_of_several_settings_is_one_revision(serve: Serve) -> None:
    """A mask with several paths changes all of them at once."""
    async with serve() as service:
        await put(service, everything())
        paths = ["image_access.help", "registry_access.allowed", "image_access.allow.community_images"]
        message = json_format.ParseDict(
            {
                "organization": "acme",
                "image_access": {"help": "New.", "enabled": False, "allow": {"community_images": True}},
            },
            policy_pb2.Policy(),
        )
        response = await call(service, "PatchPolicy", policy=message, update_mask={"paths": paths})
        after = document(response.policy)

        assert response.policy.revision == 2
        assert (after["image_access"]["help"], after["image_access"]["allow"]["community_images"]) == ("New.", True)
        assert (after["registry_access"]["allowed"], after["image_access"]["enabled"]) == ([], True)


@pytest.mark.parametrize(
    ("policy", "paths", "told"),
    [
        (everything(), [], ("INVALID_ARGUMENT", "FIELD_INVALID", ["update_mask"])),
        (
            policy_pb2.Policy(organization="No"),
            ["sign_in"],
            ("INVALID_ARGUMENT", "FIELD_INVALID", ["policy.organization"]),
        ),
        (policy_pb2.Policy(organization="globex"), ["sign_in"], ("NOT_FOUND", "POLICY_NOT_FOUND", [])),
        (
            json_format.ParseDict(
                {
                    "organization": "acme",
                    "image_access": {"blocklist": [{"repository": "a/b:1"}]},
                    "registry_access": {"allowed": ["*"]},
                },
                policy_pb2.Policy(),
            ),
            ["image_access.blocklist", "registry_access.allowed"],
            (
                "FAILED_PRECONDITION",
                "POLICY_INVALID",
                ["policy.image_access.blocklist[0].repository", "policy.registry_access.allowed[0]"],
            ),
        ),
        *(
            (everything(), ["sign_in", path], ("INVALID_ARGUMENT", "FIELD_INVALID", ["update_mask.paths[1]"]))
            for path in (
                "organization",
                "image_access.alow",
                "image_access.allow.community_images.x",
                "image_access.blocklist.repository",
                "image_access.teams.web.x",
                "",
                "imageAccess",
            )
        ),
    ],
)
async def test_a_patch_that_cannot_be_done_is_refused(
    serve: Serve, policy: policy_pb2.Policy, paths: list[str], told: tuple[str, str, list[str]]
) -> None:
    """Nothing is written; the status says whether the request is wrong or what would come of it."""
    async with serve() as service:
        await put(service, everything())
        request = policy_admin_pb2.PatchPolicyRequest(policy=policy, update_mask={"paths": paths})  # type: ignore[arg-type]
        code, reason, violations, _ = await refusal(service, request, "PatchPolicy")

        assert await service.store.revision() == 1
        assert (code, reason, [path for path, _ in violations]) == told


async def test_a_patch_changes_the_grant_of_a_team_with_a_dot(serve: Serve) -> None:
    """A team's name with a dot in it stands in quotes, as in the paths of changes."""
    async with serve() as service:
        await put(service, everything())
        message = policy_pb2.Policy(organization="acme")
        message.image_access.teams["web.eu"].community_images = True
        response = await call(
            service, "PatchPolicy", policy=message, update_mask={"paths": ['image_access.teams."web.eu"']}
        )

        assert response.policy.policy.image_access.teams["web.eu"].community_images


async def test_patches_of_different_settings_both_survive(serve: Serve, any_store: Callable[[], Any]) -> None:
    """However many writers patch at once, each setting is as its writer wants it."""
    async with any_store() as store, serve(store=store, store_poll=3600.0) as service:
        await put(service, policy_pb2.Policy(organization="acme"))
        teams = [f"team{number}" for number in range(8)]

        async def patch(team: str) -> Any:
            message = policy_pb2.Policy(organization="acme")
            message.image_access.teams[team].community_images = True
            return await call(
                service, "PatchPolicy", policy=message, update_mask={"paths": [f"image_access.teams.{team}"]}
            )

        responses = await asyncio.gather(*(patch(team) for team in teams))
        stored = await read(service)

        assert sorted(response.policy.revision for response in responses) == list(range(2, 10))
        assert sorted(stored.policy.image_access.teams) == teams


@pytest.mark.parametrize(
    ("method", "fields"),
    [
        ("PutPolicy", {"policy": OPEN}),
        ("PatchPolicy", {"policy": OPEN, "update_mask": {"paths": ["image_access.help"]}}),
        ("DeletePolicy", {"organization": "acme"}),
        ("RollbackPolicy", {"organization": "acme", "revision": 1}),
    ],
)
async def test_a_write_names_the_revision_it_was_made_from(serve: Serve, method: str, fields: dict[str, Any]) -> None:
    """A write from the newest revision is done; from any other, or from none, it is ABORTED and changes nothing."""
    async with serve() as service:
        await put(service, STRICT)
        await put(service, STANDARD)
        stale = [await refused(call(service, method, **fields, expected_revision=revision)) for revision in (1, 0, 7)]
        negative = await refused(call(service, method, **fields, expected_revision=-1))
        unchanged = await service.store.revision()
        await call(service, method, **fields, expected_revision=2, comment="why")
        response = await call(service, "ListEvents", page_size=1)

        assert {(refusal.code, refusal.reason) for refusal in stale} == {("ABORTED", "REVISION_STALE")}
        assert [refusal.metadata for refusal in stale] == [
            {"expected_revision": expected, "current_revision": "2"} for expected in ("1", "0", "7")
        ]
        assert all(refusal.preconditions[0] == ("REVISION", "expected_revision") for refusal in stale)
        assert (negative.code, negative.reason) == ("INVALID_ARGUMENT", "FIELD_INVALID")
        assert unchanged == 2
        assert [(event.revision, event.comment) for event in response.events] == [(3, "why")]


HELP, BLOCKLIST, COMMUNITY = (
    "image_access.help",
    "image_access.blocklist[e/f]",
    "image_access.allow.community_images",
)


@pytest.mark.parametrize(
    ("method", "fields", "conflicts"),
    [
        (
            "PutPolicy",
            {"policy": everything(image_access={**EVERYTHING["image_access"], "help": "Mine.", "blocklist": []})},
            [BLOCKLIST, HELP],
        ),
        (
            "PutPolicy",
            {"policy": everything(image_access={**EVERYTHING["image_access"], "mode": "enforce"})},
            [],
        ),
        (
            "PatchPolicy",
            {
                "policy": policy_pb2.Policy(organization="acme", image_access=policy_pb2.ImageAccess(help="Mine.")),
                "update_mask": {"paths": ["image_access.help", "sign_in.required"]},
            },
            [HELP],
        ),
        ("DeletePolicy", {"organization": "acme"}, [COMMUNITY, BLOCKLIST, HELP]),
        ("RollbackPolicy", {"organization": "acme", "revision": 1}, [COMMUNITY, BLOCKLIST, HELP]),
    ],
)
async def test_a_stale_write_is_told_what_both_sides_changed(
    serve: Serve, method: str, fields: dict[str, Any], conflicts: list[str]
) -> None:
    """The conflicts are the paths that both this write and the others since changed, and no path that one side did."""
    async with serve() as service:
        await put(service, OPEN)
        await put(service, everything())
        theirs = copy.deepcopy(EVERYTHING["image_access"])
        theirs |= {"help": "Theirs.", "blocklist": [], "allow": {**theirs["allow"], "community_images": True}}
        await put(service, everything(image_access=theirs))
        told = await refused(call(service, method, **fields, expected_revision=2))

        assert told.metadata == {"expected_revision": "2", "current_revision": "3"}
        assert told.preconditions == [
            ("REVISION", "expected_revision"),
            *(("CONFLICT", path) for path in sorted(conflicts)),
        ]
        assert ("changed by both" in told.message) == bool(conflicts)


async def test_a_write_from_no_policy_conflicts_in_what_both_set(serve: Serve) -> None:
    """Two that create the same policy are told in which settings they differ from an empty one alike."""
    async with serve() as service:
        await put(service, STANDARD)
        told = await refused(call(service, "PutPolicy", policy=OPEN, expected_revision=0))

        assert told.metadata == {"expected_revision": "0", "current_revision": "1"}
        assert ("CONFLICT", "image_access.enabled") in told.preconditions


@pytest.mark.parametrize(
    ("method", "fields"),
    [
        ("PutPolicy", {"policy": OPEN}),
        ("PatchPolicy", {"policy": OPEN, "update_mask": {"paths": ["image_access.help"]}}),
        ("DeletePolicy", {"organization": "acme"}),
        ("RollbackPolicy", {"organization": "acme", "revision": 1}),
    ],
)
async def test_of_writers_at_the_same_instant_one_wins(
    serve: Serve, any_store: Callable[[], Any], method: str, fields: dict[str, Any]
) -> None:
    """Of writes that name the same revision exactly one is done, and the others are told so."""
    async with any_store() as store, serve(store=store, store_poll=3600.0) as service:
        await put(service, STRICT)
        outcomes = await asyncio.gather(
            *(call(service, method, **fields, expected_revision=1) for _ in range(6)), return_exceptions=True
        )
        lost = [outcome for outcome in outcomes if isinstance(outcome, grpc.aio.AioRpcError)]

        assert len(lost) == 5
        assert {error.code() for error in lost} == {grpc.StatusCode.ABORTED}
        assert await store.revision() == 2


async def test_a_deleted_policy_restricts_nothing_at_once(serve: Serve) -> None:
    """The next decision is POLICY_DISABLED; there is no policy to read, and what it was can still be read."""
    async with serve(store_poll=3600.0, catalogue=CATALOGUE) as service:
        await put(service, STRICT)
        before = (await service.call(service.decisions.Decide, question("someuser/x"))).decision
        revision = (await call(service, "DeletePolicy", organization="acme", comment="enough")).revision
        after = (await service.call(service.decisions.Decide, question("someuser/x"))).decision
        gone = await refused(call(service, "GetPolicy", organization="acme"))
        again = await refused(call(service, "DeletePolicy", organization="acme"))
        listed = await call(service, "ListPolicies")

        assert (before.effect, revision) == (decision_pb2.EFFECT_DENY, 2)
        assert (after.effect, after.reason) == (decision_pb2.EFFECT_ALLOW, decision_pb2.REASON_POLICY_DISABLED)
        assert after.policy_revision == 2
        assert {(gone.code, gone.reason), (again.code, again.reason)} == {("NOT_FOUND", "POLICY_NOT_FOUND")}
        assert (len(listed.policies), (await read(service, 1)).policy) == (0, STRICT)


async def test_a_deleted_policy_is_made_anew(serve: Serve) -> None:
    """After the deletion a write expects revision 0 again, and the history goes on."""
    async with with_history(serve) as service:
        stored = await read(service)
        response = await call(service, "ListPolicyRevisions", organization="acme")

        assert (stored.revision, stored.policy) == (5, OPEN)
        assert [item.revision for item in response.revisions] == [5, 4, 2, 1]

        await call(service, "DeletePolicy", organization="acme", expected_revision=5)
        stale = await refused(call(service, "PutPolicy", policy=STRICT, expected_revision=5))
        await put(service, STRICT, expected_revision=0)

        assert stale.metadata == {"expected_revision": "5", "current_revision": "0"}
        assert (await read(service)).revision == 7


async def test_a_history_is_listed_newest_first_page_by_page(serve: Serve) -> None:
    """Every write has its revision, author, time and comment; a deletion has no policy; pages follow each other."""
    async with with_history(serve) as service:
        pages, token = [], ""
        while True:
            page = await call(service, "ListPolicyRevisions", organization="acme", page_size=2, page_token=token)
            pages.append([(item.revision, item.comment) for item in page.revisions])
            token = page.next_page_token
            if not token:
                break
        whole = (await call(service, "ListPolicyRevisions", organization="acme")).revisions
        never = await refused(call(service, "ListPolicyRevisions", organization="initech"))

        assert pages == [[(5, "again"), (4, "enough")], [(2, "widen"), (1, "begin")]]
        assert [item.HasField("policy") for item in whole] == [True, False, True, True]
        assert [item.policy for item in whole if item.HasField("policy")] == [OPEN, STANDARD, STRICT]
        assert {(item.author, item.written_at.ToJsonString()) for item in whole} == {
            ("operator", "2026-06-01T00:00:00Z")
        }
        assert (never.code, never.reason) == ("NOT_FOUND", "POLICY_NOT_FOUND")


async def test_a_page_of_a_history_of_large_policies_ends_early(serve: Serve) -> None:
    """However large the policies, a page of a history is small enough for every client, and none is left out."""
    async with serve() as service:
        large = policy_pb2.Policy(organization="acme")
        for index in range(4000):
            large.image_access.blocklist.add(repository=f"someuser/tool{index}", reason="because " * 12)
        for _ in range(5):
            await put(service, large)
        listed, token = [], ""
        while True:
            page = await call(service, "ListPolicyRevisions", organization="acme", page_token=token)
            assert page.ByteSize() < 4 * 1024 * 1024
            listed += [item.revision for item in page.revisions]
            token = page.next_page_token
            if not token:
                break

        assert listed == [5, 4, 3, 2, 1]


@pytest.mark.parametrize(
    ("revision", "wrote", "policy"), [(0, 5, OPEN), (1, 1, STRICT), (2, 2, STANDARD), (3, 2, STANDARD), (5, 5, OPEN)]
)
async def test_a_policy_is_read_as_of_any_revision(
    serve: Serve, revision: int, wrote: int, policy: policy_pb2.Policy
) -> None:
    """A revision that wrote something else gives the policy as it was then."""
    async with with_history(serve) as service:
        stored = await read(service, revision)

        assert (stored.revision, stored.policy) == (wrote, policy)


@pytest.mark.parametrize(
    ("organization", "revision", "code", "reason"),
    [
        ("acme", 4, "NOT_FOUND", "POLICY_REVISION_NOT_FOUND"),
        ("acme", 6, "NOT_FOUND", "POLICY_REVISION_NOT_FOUND"),
        ("globex", 2, "NOT_FOUND", "POLICY_REVISION_NOT_FOUND"),
        ("initech", 5, "NOT_FOUND", "POLICY_REVISION_NOT_FOUND"),
        ("acme", -1, "INVALID_ARGUMENT", "FIELD_INVALID"),
    ],
)
async def test_where_there_was_no_policy_none_is_read(
    serve: Serve, organization: str, revision: int, code: str, reason: str
) -> None:
    """While it was deleted, before it was made, and in revisions that are still to come."""
    async with with_history(serve) as service:
        told = await refused(call(service, "GetPolicy", organization=organization, revision=revision))

        assert (told.code, told.reason) == (code, reason)


@pytest.mark.parametrize(
    ("revisions", "paths"),
    [
        ((0, 1), ["", "image_access.enabled", "image_access.allow.official_images"]),
        ((1, 2), ["image_access.allow.verified_publisher_images"]),
        ((2, 1), ["image_access.allow.verified_publisher_images"]),
        ((1, 3), ["image_access.allow.verified_publisher_images"]),
        ((1, 0), ["image_access.allow.verified_publisher_images", "image_access.allow.community_images"]),
        ((2, 2), []),
    ],
)
async def test_revisions_are_compared(serve: Serve, revisions: tuple[int, int], paths: list[str]) -> None:
    """The changes between two revisions have their paths in the order of the document."""
    async with with_history(serve) as service:
        earlier, later = revisions
        response = await call(service, "DiffPolicy", organization="acme", from_revision=earlier, to_revision=later)

        assert [change.path for change in response.changes] == paths


async def test_a_difference_has_both_values_and_a_meaning(serve: Serve) -> None:
    """A change carries the written values, and what it means in words; what there was not is null."""
    async with serve() as service:
        await put(service, STRICT)
        added = copy.deepcopy(STANDARD)
        added.image_access.blocklist.add(repository="e/f", reason="old")
        await put(service, added)
        response = await call(service, "DiffPolicy", organization="acme", from_revision=1)
        allowed, blocked = (json_format.MessageToDict(change) for change in response.changes)

        assert allowed == {
            "path": "image_access.allow.verified_publisher_images",
            "before": False,
            "after": True,
            "meaning": "verified publisher images: denied → allowed",
        }
        assert blocked == {
            "path": "image_access.blocklist[e/f]",
            "before": None,
            "after": {"repository": "e/f", "reason": "old"},
            "meaning": 'blocklist entry e/f: added, reason "old"',
        }


@pytest.mark.parametrize(
    ("fields", "code", "reason"),
    [
        ({"organization": "acme", "from_revision": 6}, "NOT_FOUND", "POLICY_REVISION_NOT_FOUND"),
        ({"organization": "acme", "from_revision": 4}, "NOT_FOUND", "POLICY_REVISION_NOT_FOUND"),
        ({"organization": "acme", "to_revision": -1}, "INVALID_ARGUMENT", "FIELD_INVALID"),
        ({"organization": "initech"}, "NOT_FOUND", "POLICY_NOT_FOUND"),
        ({"organization": ""}, "INVALID_ARGUMENT", "FIELD_INVALID"),
    ],
)
async def test_a_comparison_with_nothing_is_refused(
    serve: Serve, fields: dict[str, Any], code: str, reason: str
) -> None:
    """What is compared has to be there, except that revision 0 is before there was a policy."""
    async with with_history(serve) as service:
        told = await refused(call(service, "DiffPolicy", **fields))

        assert (told.code, told.reason) == (code, reason)


async def test_a_rollback_is_a_new_revision(serve: Serve) -> None:
    """What an earlier revision wrote is written again and decides at once; the history keeps both."""
    async with with_history(serve, store_poll=3600.0, catalogue=CATALOGUE) as service:
        response = await call(
            service, "RollbackPolicy", organization="acme", revision=3, expected_revision=5, comment="too wide"
        )
        decided = (await service.call(service.decisions.Decide, question("someuser/x"))).decision
        history = (await call(service, "ListPolicyRevisions", organization="acme")).revisions

        assert (response.policy.revision, response.policy.comment) == (6, "too wide")
        assert response.policy.policy == STANDARD
        assert (decided.effect, decided.policy_revision) == (decision_pb2.EFFECT_DENY, 6)
        assert [item.revision for item in history] == [6, 5, 4, 2, 1]


async def test_a_deleted_policy_is_rolled_back(serve: Serve) -> None:
    """A rollback brings back a policy that was deleted."""
    async with with_history(serve) as service:
        await call(service, "DeletePolicy", organization="acme")
        await call(service, "RollbackPolicy", organization="acme", revision=5, expected_revision=0)

        assert (await read(service)).policy == OPEN


@pytest.mark.parametrize(
    ("revision", "code", "reason"),
    [
        (4, "NOT_FOUND", "POLICY_REVISION_NOT_FOUND"),
        (99, "NOT_FOUND", "POLICY_REVISION_NOT_FOUND"),
        (0, "INVALID_ARGUMENT", "FIELD_INVALID"),
        (-1, "INVALID_ARGUMENT", "FIELD_INVALID"),
    ],
)
async def test_a_rollback_to_no_policy_is_refused(serve: Serve, revision: int, code: str, reason: str) -> None:
    """To where the policy was deleted, or to what is no revision of it, nothing rolls back."""
    async with with_history(serve) as service:
        told = await refused(call(service, "RollbackPolicy", organization="acme", revision=revision))

        assert (told.code, told.reason) == (code, reason)
        assert await service.store.revision() == 5


ANA = identity_pb2.Identity(
    username="ana", memberships=[identity_pb2.Membership(organization="acme", role=identity_pb2.ROLE_OWNER)]
)


async def test_a_draft_is_tried(serve: Serve) -> None:
    """A draft's changes and decisions stand beside those of the newest policy, and nothing is written."""
    async with serve(catalogue=CATALOGUE) as service:
        await put(service, STRICT)
        references = ["nginx", "someuser/x", "Bad/Name"]
        response = await call(
            service,
            "DryRunPolicy",
            organization="acme",
            policy=OPEN,
            identities=[DEV, identity_pb2.Identity(), ANA],
            references=references,
        )
        revision, newest = await service.store.revision(), await read(service)

        assert [change.path for change in response.changes] == [
            "image_access.allow.verified_publisher_images",
            "image_access.allow.community_images",
        ]
        assert response.against_revision == 1
        assert [(result.identity_index, result.reference) for result in response.results] == [
            (index, reference) for index in range(3) for reference in references
        ]
        told = [
            (result.before.effect, result.after.effect, result.effect_changed, result.error.code)
            for result in response.results
        ]
        allow, deny, bad = decision_pb2.EFFECT_ALLOW, decision_pb2.EFFECT_DENY, (0, 0, False, 3)
        same = (allow, allow, False, 0)
        assert told == [same, (deny, allow, True, 0), bad, same, same, bad, same, same, bad]
        assert [decision_pb2.Reason.Name(response.results[index].after.reason) for index in (1, 4, 7)] == [
            "REASON_CATEGORY_ALLOWED",
            "REASON_NOT_SIGNED_IN",
            "REASON_ORGANIZATION_OWNER",
        ]
        assert (revision, newest.policy) == (1, STRICT)


async def test_a_bad_reference_in_a_trial_says_what_is_wrong(serve: Serve) -> None:
    """The item's error is the status that Decide would have ended with, details included."""
    async with serve() as service:
        await put(service, STRICT)
        response = await call(service, "DryRunPolicy", organization="acme", identities=[DEV], references=["Bad/Name"])
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await service.call(service.decisions.Decide, question("Bad/Name"))

        assert response.results[0].error == rpc_status.from_call(raised.value)
        assert not response.results[0].HasField("before")
        assert not response.results[0].HasField("after")


async def test_a_trial_compares_with_an_earlier_revision(serve: Serve) -> None:
    """Without a draft the newest policy is tried, against the revision that the request names."""
    async with with_history(serve, catalogue=CATALOGUE) as service:
        response = await call(
            service,
            "DryRunPolicy",
            organization="acme",
            against_revision=3,
            identities=[DEV],
            references=["someuser/x"],
        )
        (result,) = response.results

        assert response.against_revision == 2
        assert [change.path for change in response.changes] == ["image_access.allow.community_images"]
        assert (result.before.effect, result.after.effect, result.effect_changed) == (2, 1, True)


async def test_a_trial_without_a_policy(serve: Serve) -> None:
    """A draft for an organization that has no policy is compared with none; without a draft there is nothing to try."""
    async with serve(catalogue=CATALOGUE) as service:
        response = await call(
            service, "DryRunPolicy", organization="acme", policy=STRICT, identities=[DEV], references=["someuser/x"]
        )
        (result,) = response.results
        nothing = await refused(call(service, "DryRunPolicy", organization="acme"))

        assert (response.against_revision, response.changes[0].path) == (0, "")
        assert decision_pb2.Reason.Name(result.before.reason) == "REASON_POLICY_DISABLED"
        assert (result.before.effect, result.after.effect) == (decision_pb2.EFFECT_ALLOW, decision_pb2.EFFECT_DENY)
        assert (nothing.code, nothing.reason) == ("NOT_FOUND", "POLICY_NOT_FOUND")
        assert await service.store.revision() == 0


async def test_a_decision_of_a_trial_names_the_revision_that_it_used(serve: Serve) -> None:
    """The decision without the draft names the revision that was compared with."""
    async with with_history(serve, catalogue=CATALOGUE) as service:
        response = await call(
            service, "DryRunPolicy", organization="acme", against_revision=1, identities=[DEV], references=["nginx"]
        )

        assert response.results[0].before.policy_revision == response.against_revision == 1


@pytest.mark.parametrize(
    ("fields", "code", "reason", "path"),
    [
        (
            {"policy": policy_pb2.Policy(organization="globex")},
            "INVALID_ARGUMENT",
            "FIELD_INVALID",
            "policy.organization",
        ),
        ({"policy": policy_pb2.Policy()}, "FAILED_PRECONDITION", "POLICY_INVALID", "policy.organization"),
        ({"organization": "No"}, "INVALID_ARGUMENT", "FIELD_INVALID", "organization"),
        (
            {"identities": [identity_pb2.Identity(token="pullgate_x")]},
            "INVALID_ARGUMENT",
            "FIELD_INVALID",
            "identities[0].token",
        ),
        ({"against_revision": 9}, "NOT_FOUND", "POLICY_REVISION_NOT_FOUND", None),
        ({"against_revision": -1}, "INVALID_ARGUMENT", "FIELD_INVALID", "against_revision"),
        (
            {"identities": [DEV, ANA], "references": ["nginx"] * 3},
            "RESOURCE_EXHAUSTED",
            "BATCH_TOO_LARGE",
            "references",
        ),
    ],
)
async def test_a_trial_that_cannot_be_done_is_refused(
    serve: Serve, fields: dict[str, Any], code: str, reason: str, path: str | None
) -> None:
    """What is wrong with a trial is told, also that it asks for too many decisions."""
    async with serve(max_batch=5) as service:
        await put(service, STRICT)
        request = policy_admin_pb2.DryRunPolicyRequest(**{"organization": "acme", **fields})
        told = await refusal(service, request, "DryRunPolicy")

        assert told[:2] == (code, reason)
        assert [violation for violation, _ in told[2]] == ([] if path is None else [path])


@pytest.mark.parametrize("field", ["from_revision", "to_revision"])
async def test_a_negative_revision_is_told_under_its_own_name(serve: Serve, field: str) -> None:
    """BadRequest names the field as the request does."""
    async with serve() as service:
        await put(service, STRICT)
        request = policy_admin_pb2.DiffPolicyRequest(**{"organization": "acme", field: -1})  # type: ignore[arg-type]

        assert [path for path, _ in (await refusal(service, request, "DiffPolicy"))[2]] == [field]


PIN = policy_admin_pb2.CategoryPin(name="vendor", category=decision_pb2.IMAGE_CATEGORY_COMMUNITY, reason="seen")

WRITES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("PutPolicy", {"policy": OPEN}, {"policy": STANDARD}),
    (
        "PatchPolicy",
        {"policy": OPEN, "update_mask": {"paths": ["image_access.help"]}},
        {"policy": OPEN, "update_mask": {"paths": ["image_access.mode"]}},
    ),
    ("DeletePolicy", {"organization": "acme"}, {"organization": "acme", "comment": "other"}),
    ("RollbackPolicy", {"organization": "acme", "revision": 1}, {"organization": "acme", "revision": 2}),
    ("PutCategoryPin", {"pin": PIN}, {"pin": policy_admin_pb2.CategoryPin(name="vendor/x", category=1)}),  # type: ignore[arg-type]
    ("DeleteCategoryPin", {"name": "someuser"}, {"name": "other"}),
    (
        "WriteMembers",
        {"organization": "acme", "members": [member_pb2.Member(username="new")]},
        {"organization": "acme", "members": [member_pb2.Member(username="newer")]},
    ),
    ("RemoveMembers", {"organization": "acme", "usernames": ["dev"]}, {"organization": "acme", "usernames": ["ops"]}),
]
"""Every method that writes (tokens aside): a request, and another one of its kind."""

METHODS = [method for method, _, _ in WRITES]


async def prepare(service: Service) -> int:
    """Write what the requests of WRITES are about; returns the revision."""
    await put(service, STRICT)
    await put(service, STANDARD)
    for name in ("someuser", "other"):
        pin = policy_admin_pb2.CategoryPin(name=name, category=decision_pb2.IMAGE_CATEGORY_COMMUNITY)
        await call(service, "PutCategoryPin", pin=pin)
    members = [member_pb2.Member(username=name) for name in ("dev", "ops")]
    revision: int = (await call(service, "WriteMembers", organization="acme", members=members)).revision
    return revision


@pytest.mark.parametrize(("method", "fields", "other"), WRITES, ids=METHODS)
async def test_a_request_that_is_sent_twice_is_carried_out_once(
    serve: Serve, any_store: Callable[[], Any], method: str, fields: dict[str, Any], other: dict[str, Any]
) -> None:
    """The repeated request gives the first answer, whatever was written since; its id is for no other request."""
    async with any_store() as store, serve(store=store, store_poll=3600.0) as service:
        before = await prepare(service)
        first = await call(service, method, **fields, request_id="one")
        await put(service, policy_pb2.Policy(organization="globex"))
        service.clock.advance(seconds=5)
        second = await call(service, method, **fields, request_id="one")
        reused = await refused(call(service, method, **other, request_id="one"))
        elsewhere = await refused(call(service, "PutPolicy", policy=STRICT, request_id="one"))
        revision = await store.revision()

        assert first == second
        assert revision == before + 2
        for told in (reused, elsewhere):
            assert (told.code, told.reason) == ("INVALID_ARGUMENT", "REQUEST_ID_REUSED")


@pytest.mark.parametrize(("method", "fields", "other"), WRITES, ids=METHODS)
async def test_the_same_request_at_the_same_instant_is_carried_out_once(
    serve: Serve, any_store: Callable[[], Any], method: str, fields: dict[str, Any], other: dict[str, Any]
) -> None:
    """Retries that overtake each other are one write with one answer."""
    async with any_store() as store, serve(store=store, store_poll=3600.0) as service:
        before = await prepare(service)
        responses = await asyncio.gather(*(call(service, method, **fields, request_id="one") for _ in range(5)))

        assert all(response == responses[0] for response in responses)
        assert await store.revision() == before + 1


async def test_request_ids_are_the_callers_own(serve: Serve) -> None:
    """Another caller's request with the same id is another request, and the same write without an id happens again."""
    async with serve() as service:
        owner = await signed_in(service, "owner")
        first = await call(service, "PutPolicy", policy=STRICT, request_id="one")
        second = await call(owner, "PutPolicy", policy=OPEN, request_id="one")
        repeated = await call(service, "PutPolicy", policy=STRICT, request_id="one")
        again = await call(service, "PutPolicy", policy=STRICT)

        assert [item.policy.revision for item in (first, second, repeated, again)] == [2, 3, 2, 4]
        assert [item.policy.author for item in (first, second)] == ["operator", "owner"]


@pytest.mark.parametrize("request_id", ["x" * 129, "a\nb", "\x1b"])
@pytest.mark.parametrize(("method", "fields", "other"), WRITES, ids=METHODS)
async def test_a_request_id_that_cannot_be_kept_is_refused(
    serve: Serve, method: str, fields: dict[str, Any], other: dict[str, Any], request_id: str
) -> None:
    """An id has at most 128 characters, and they can be printed."""
    async with serve() as service:
        before = await prepare(service)
        request = getattr(policy_admin_pb2, f"{method}Request")(**fields, request_id=request_id)
        told = await refusal(service, request, method)

        assert (told[0], told[1], told[2][0][0]) == ("INVALID_ARGUMENT", "FIELD_INVALID", "request_id")
        assert await service.store.revision() == before


async def test_a_long_request_id_is_kept(serve: Serve) -> None:
    """128 characters are not too many."""
    async with serve() as service:
        revisions = [
            (await call(service, "PutPolicy", policy=STRICT, request_id="é" * 128)).policy.revision for _ in range(2)
        ]

        assert revisions == [1, 1]


@pytest.mark.parametrize(("method", "fields", "other"), WRITES, ids=METHODS)
async def test_without_the_store_nothing_is_written(
    serve: Serve, method: str, fields: dict[str, Any], other: dict[str, Any]
) -> None:
    """While the store is out of reach every write is UNAVAILABLE and says when to try again; then it is done."""
    store = MemoryStore()
    async with serve(store=store) as service:
        before = await prepare(service)
        store.available = False
        told = await refused(call(service, method, **fields, request_id="one"))
        store.available = True
        unchanged = await store.revision()
        await call(service, method, **fields, request_id="one")

        assert (told.code, told.reason, told.retry_after) == ("UNAVAILABLE", "STORE_UNAVAILABLE", 1.0)
        assert (unchanged, await store.revision()) == (before, before + 1)


def age(message: Any) -> str:
    """As of when an answer is known; empty where that is now."""
    return message.known_as_of.ToJsonString() if message.HasField("known_as_of") else ""


async def test_without_the_store_answers_say_how_old_they_are(serve: Serve) -> None:
    """Reads and decisions, also repeated ones, carry the last contact with the store, and no longer once it is back."""
    store = MemoryStore()
    async with serve(store=store, store_poll=3600.0) as service:
        await put(service, STRICT)

        async def told() -> list[str]:
            single = [(await service.call(service.decisions.Decide, question())).decision for _ in range(2)]
            batch = policy_decision_pb2.BatchDecideRequest(identity=DEV, references=["nginx", "redis"])
            many = (await service.call(service.decisions.BatchDecide, batch)).decisions
            trial = await call(service, "DryRunPolicy", organization="acme", identities=[DEV], references=["nginx"])
            return [
                *map(age, single),
                *(age(item.decision) for item in many),
                age(trial.results[0].after),
                age(await call(service, "GetPolicy", organization="acme")),
                age(await call(service, "ListPolicies")),
            ]

        before = await told()
        service.clock.advance(seconds=7)
        await service.application.snapshots.look()
        store.available = False
        service.clock.advance(seconds=30)
        await service.application.snapshots.look()
        during = await told()
        service.clock.advance(seconds=30)
        await service.application.snapshots.look()
        later = await told()
        store.available = True
        await service.application.snapshots.look()
        after = await told()

        assert set(before) == set(after) == {""}
        assert set(during) == set(later) == {"2026-06-01T00:00:07Z"}


async def test_a_write_after_the_store_is_back_makes_answers_fresh(serve: Serve) -> None:
    """The first write that succeeds is also the end of old answers."""
    store = MemoryStore()
    async with serve(store=store, store_poll=3600.0) as service:
        await put(service, STRICT)
        store.available = False
        await service.application.snapshots.look()
        store.available = True
        stored = await put(service, OPEN)
        decided = (await service.call(service.decisions.Decide, question())).decision

        assert (stored.revision, decided.policy_revision, age(decided)) == (2, 2, "")


async def test_without_the_store_what_was_before_cannot_be_read(serve: Serve) -> None:
    """The newest policy is in memory; histories and earlier revisions are UNAVAILABLE."""
    store = MemoryStore()
    async with serve(store=store) as service:
        await put(service, STRICT)
        await put(service, OPEN)
        store.available = False
        newest = await read(service)
        told = [
            await refused(call(service, "GetPolicy", organization="acme", revision=1)),
            await refused(call(service, "ListPolicyRevisions", organization="acme")),
            await refused(call(service, "DiffPolicy", organization="acme", from_revision=1)),
            await refused(call(service, "ListEvents")),
        ]

        assert newest.policy == OPEN
        assert {(item.code, item.reason) for item in told} == {("UNAVAILABLE", "STORE_UNAVAILABLE")}


async def test_a_page_ends_where_the_request_says(serve: Serve) -> None:
    """page_size is at most 1000, and a page token is one that an earlier answer gave."""
    async with serve() as service:
        await put(service, STRICT)
        told = [
            await refused(call(service, "ListPolicyRevisions", organization="acme", **fields))
            for fields in ({"page_size": 1001}, {"page_size": -1}, {"page_token": "x"}, {"page_token": "9" * 20})
        ]

        assert {(item.code, item.reason) for item in told} == {("INVALID_ARGUMENT", "FIELD_INVALID")}


@pytest.mark.parametrize(
    ("method", "fields"),
    [
        ("PutPolicy", {"policy": STRICT}),
        ("PatchPolicy", {"policy": STRICT, "update_mask": {"paths": ["sign_in"]}}),
        ("DeletePolicy", {"organization": "acme"}),
        ("RollbackPolicy", {"organization": "acme", "revision": 1}),
        ("WriteMembers", {"organization": "acme", "members": [member_pb2.Member(username="x")]}),
        ("RemoveMembers", {"organization": "acme", "usernames": ["dev"]}),
    ],
)
async def test_a_note_has_its_limits(serve: Serve, method: str, fields: dict[str, Any]) -> None:
    """A comment has at most 1000 characters and no control characters; a good one stands with the event."""
    async with serve() as service:
        before = await prepare(service)
        for comment in ("x" * 1001, "\x1b[31m"):
            request = getattr(policy_admin_pb2, f"{method}Request")(**fields, comment=comment)
            told = await refusal(service, request, method)
            assert (told[1], told[2][0][0]) == ("FIELD_INVALID", "comment")
        assert await service.store.revision() == before
        await call(service, method, **fields, comment="line\nline")

        assert (await call(service, "ListEvents", page_size=1)).events[0].comment == "line\nline"


class LateStore(MemoryStore):
    """A store that has committed a write some time before it says so."""

    def __init__(self) -> None:
        super().__init__()
        self.may_answer = asyncio.Event()
        self.has_committed = asyncio.Event()

    async def write_policy(self, *write: Any) -> Written:
        """Write, and answer when it may."""
        written = await super().write_policy(*write)
        self.has_committed.set()
        await self.may_answer.wait()
        return written


async def test_a_write_that_nobody_waits_for_holds(serve: Serve) -> None:
    """A write that was committed holds at once though its caller has hung up, and nobody else would look."""
    store = LateStore()
    async with serve(store=store, store_poll=3600.0) as service:
        request = policy_admin_pb2.PutPolicyRequest(policy=policy_pb2.Policy(organization="acme"))
        call = service.administration.PutPolicy(request, metadata=service.metadata)
        await store.has_committed.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        store.may_answer.set()
        snapshot = await asyncio.wait_for(service.application.snapshots.swapped(0), SOON)

    assert set(snapshot.policies) == {"acme"}
