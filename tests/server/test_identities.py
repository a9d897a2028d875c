"""Who pulls: what a caller states, against tokens and member lists, in every way of asking."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from hypothesis import given
from hypothesis import strategies as st

from pullgate.v1 import decision_pb2, identity_pb2
from pullgate.v1 import policy_admin_pb2 as admin
from pullgate.v1 import policy_decision_pb2 as decisions
from pullgate_policy import (
    Category,
    CategoryEvidence,
    CategoryNeeded,
    CredentialKind,
    Identity,
    Membership,
    Role,
    decide,
    parse_policy_yaml,
    parse_reference,
)
from pullgate_policy.caller import Caller, CallerRole
from pullgate_policy.subject import subject_of
from pullgate_server.snapshot import Snapshot
from tests.conftest import Serve, Service
from tests.server.test_authorization import (
    DECIDING,
    answer_to,
    ask,
    identity_in,
    make_token,
    member,
    write_members,
)
from tests.stores import put_policy

CATALOGUE = """
entries:
  - {namespace: someuser, category: COMMUNITY, source: the test, retrieved_at: 2026-01-01T00:00:00Z}
"""

POLICY = """
organization: NAME
image_access:
  enabled: true
  allow: {official_images: true}
  teams: {data: {community_images: true}}
sign_in: {required: REQUIRED}
"""
"""Of someuser/tool it allows owners everything, the team data what others are denied."""

TOOL = "someuser/tool"

INVALID = ("INVALID_ARGUMENT", "IDENTITY_TOKEN_INVALID")

OWNER, ALLOWED, DENIED = "ORGANIZATION_OWNER", "CATEGORY_ALLOWED", "CATEGORY_NOT_ALLOWED"
NOT_SIGNED_IN, SIGN_IN_REQUIRED = "NOT_SIGNED_IN", "SIGN_IN_REQUIRED"
ALLOWING = {OWNER, ALLOWED, NOT_SIGNED_IN}

CALLERS = ("operator", "asserting", "enforcer", "owner", "policy_manager")
"""Who may decide for others; `asserting` is an enforcer whose word on roles counts."""


@asynccontextmanager
async def set_up(serve: Serve, *, sign_in_required: bool = False, **options: Any) -> AsyncIterator[Service]:
    """A server on which acme and globex have POLICY."""
    async with serve(catalogue=CATALOGUE, **options) as service:
        for organization in ("acme", "globex"):
            text = POLICY.replace("NAME", organization).replace("REQUIRED", str(sign_in_required).lower())
            await put_policy(service.store, parse_policy_yaml(text))
        await service.application.snapshots.refresh()
        yield service


async def secret_of(service: Service, caller: str, **fields: Any) -> str:
    """The token of one of CALLERS, or of a member."""
    if caller == "asserting":
        return (await make_token(service, "enforcer", may_assert_roles=True, **fields)).secret
    return (await make_token(service, caller, **fields)).secret


async def decided(
    service: Service, secret: str, identity: identity_pb2.Identity, reference: str = TOOL, **fields: Any
) -> decision_pb2.Decision:
    """What is decided about somebody: the same by Decide, also when it is repeated, BatchDecide and StreamDecide."""
    one = decisions.DecideRequest(identity=identity, reference=reference, **fields)
    many = decisions.BatchDecideRequest(identity=identity, references=[reference, reference], **fields)
    streamed = decisions.StreamDecideRequest(identity=identity, reference=reference, **fields)
    batch = (await answer_to(service, "BatchDecide", many, secret)).decisions
    answers = [
        *[(await answer_to(service, "Decide", one, secret)).decision for _ in range(3)],
        *(item.decision for item in batch),
        (await answer_to(service, "StreamDecide", streamed, secret)).decision,
    ]
    for answer in answers:
        answer.ClearField("decision_id")
    assert all(answer == answers[0] for answer in answers)
    first: decision_pb2.Decision = answers[0]
    return first


async def reason(service: Service, secret: str, identity: identity_pb2.Identity, **fields: Any) -> str:
    """Which rule decided, without notes."""
    decision = await decided(service, secret, identity, **fields)
    assert not decision.notes
    return word(decision)


def word(decision: decision_pb2.Decision) -> str:
    """Which rule decided; the effect has to go with it."""
    found = decision_pb2.Reason.Name(decision.reason).removeprefix("REASON_")
    assert decision.effect == (decision_pb2.EFFECT_ALLOW if found in ALLOWING else decision_pb2.EFFECT_DENY)
    return found


def of_token(secret: str) -> identity_pb2.Identity:
    """The identity of who has this token."""
    return identity_pb2.Identity(token=secret)


async def refused(service: Service, secret: str, identity: identity_pb2.Identity) -> set[tuple[str, str]]:
    """How the three ways of asking about somebody end."""
    return {(await ask(service, method, make(identity=identity), secret)).ending for method, make in DECIDING.items()}


@pytest.mark.parametrize("caller", CALLERS)
async def test_a_persons_token_says_who_pulls(serve: Serve, caller: str) -> None:
    """Without a member list username and role are the token's; nothing else has to be stated, nor may be."""
    async with set_up(serve) as service:
        asker = await secret_of(service, caller)
        for role, expected in (("owner", OWNER), ("policy_manager", DENIED), ("member", DENIED)):
            person = await secret_of(service, role)

            assert await reason(service, asker, of_token(person)) == expected
            for field, value in (
                ("username", "mia"),
                ("memberships", [identity_pb2.Membership(organization="acme")]),
                ("credential", identity_pb2.CREDENTIAL_KIND_PERSONAL_ACCESS_TOKEN),
            ):
                both = identity_pb2.Identity(token=person, **{field: value})  # type: ignore[arg-type]
                assert await refused(service, asker, both) == {("INVALID_ARGUMENT", "FIELD_INVALID")}


async def test_the_list_says_what_the_person_with_the_token_is(serve: Serve) -> None:
    """With a member list role and teams are the list's, whichever role the token has."""
    async with set_up(serve) as service:
        asker = await secret_of(service, "enforcer")
        people = {role: await secret_of(service, role) for role in ("owner", "policy_manager", "member")}
        await write_members(
            service,
            "acme",
            member("olivia", "policy_manager"),
            member("petra", "owner"),
            member("mia", "member", "data"),
        )

        assert await reason(service, asker, of_token(people["owner"])) == DENIED
        assert await reason(service, asker, of_token(people["policy_manager"])) == OWNER
        assert await reason(service, asker, of_token(people["member"])) == ALLOWED


async def test_who_is_not_on_the_list_has_no_token_of_a_person(serve: Serve) -> None:
    """A token whose person was removed names nobody."""
    async with set_up(serve) as service:
        asker, person = await secret_of(service, "enforcer"), await secret_of(service, "member")
        assert await reason(service, asker, of_token(person)) == DENIED
        await write_members(service, "acme", member("dev"))

        assert await refused(service, asker, of_token(person)) == {INVALID}


@pytest.mark.parametrize("caller", ["operator", "enforcer", "owner"])
@pytest.mark.parametrize("kind", ["operator", "enforcer", "asserting", "revoked", "expired", "unknown", "not ours"])
async def test_tokens_that_are_no_persons(serve: Serve, caller: str, kind: str) -> None:
    """A token that names nobody who pulls is refused in every way of asking, also if it was accepted before."""
    async with set_up(serve) as service:
        asker = await secret_of(service, caller)
        match kind:
            case "revoked":
                made = await make_token(service, "member")
                assert await reason(service, asker, of_token(made.secret)) == DENIED
                await answer_to(service, "RevokeToken", admin.RevokeTokenRequest(id=made.token.id))
                secret = made.secret
            case "expired":
                secret = await secret_of(service, "member", expires_in=Duration(seconds=3600))
                assert await reason(service, asker, of_token(secret)) == DENIED
                service.clock.advance(hours=1)
            case "unknown":
                secret = f"pullgate_{'0' * 64}"
            case "not ours":
                secret = "a.b.c"
            case _:
                secret = await secret_of(service, kind)

        assert await refused(service, asker, of_token(secret)) == {INVALID}


@pytest.mark.parametrize("caller", ["asserting", "enforcer", "owner", "policy_manager", "member"])
async def test_tokens_of_another_organization_are_no_persons(serve: Serve, caller: str) -> None:
    """Who belongs to acme does not decide for the bearer of a token of globex; an operator does, by globex's policy."""
    async with set_up(serve) as service:
        asker = await secret_of(service, caller)
        foreign = await secret_of(service, "owner", organization="globex", name="gus")
        by_operator = await decided(service, service.token, of_token(foreign))

        assert await refused(service, asker, of_token(foreign)) == {INVALID}
        assert (word(by_operator), by_operator.organization) == (OWNER, "globex")


async def test_a_member_shows_no_token_but_its_own(serve: Serve) -> None:
    """A member that presents another's token does not decide for the other."""
    async with set_up(serve) as service:
        mia = await secret_of(service, "member")
        other = await secret_of(service, "member", name="other")

        assert await reason(service, mia, of_token(mia)) == DENIED
        assert await refused(service, mia, of_token(other)) == {("PERMISSION_DENIED", "ROLE_NOT_PERMITTED")}


async def test_an_answer_does_not_outlive_the_persons_token(serve: Serve) -> None:
    """What is decided for a token may be used again for as long as the token holds, at most."""
    async with set_up(serve, cacheable_for=60.0) as service:
        asker = await secret_of(service, "enforcer")
        person = await secret_of(service, "member", expires_in=Duration(seconds=90))
        question = decisions.DecideRequest(identity=of_token(person), reference=TOOL)
        seen = []
        for _ in range(3):
            seen.append((await answer_to(service, "Decide", question, asker)).decision.cacheable_for.seconds)
            service.clock.advance(seconds=30)

        assert seen == [60, 60, 30]
        assert await refused(service, asker, of_token(person)) == {INVALID}


TAKEN = {"operator", "asserting"}
"""Of CALLERS those whose word on roles and teams counts where there is no list."""


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize(
    ("stated", "taken", "notes"),
    [
        ({}, DENIED, []),
        ({"role": "ROLE_MEMBER"}, DENIED, []),
        ({"role": "ROLE_POLICY_MANAGER"}, DENIED, []),
        ({"role": "ROLE_OWNER"}, OWNER, ["the role owner as stated by"]),
        ({"teams": ["data"]}, ALLOWED, ["teams as stated by"]),
        ({"teams": ["web"]}, DENIED, ["teams as stated by"]),
        ({"role": "ROLE_OWNER", "teams": ["data"]}, OWNER, ["the role owner as stated by", "teams as stated by"]),
    ],
)
async def test_without_a_list_the_word_of_some_counts(
    serve: Serve, caller: str, stated: Mapping[str, Any], taken: str, notes: Sequence[str]
) -> None:
    """Roles and teams count if the caller may assert them; if not, who pulls is a member, and a note says so."""
    async with set_up(serve) as service:
        decision = await decided(service, await secret_of(service, caller), identity_in("acme", "dev", **stated))

        assert word(decision) == (taken if caller in TAKEN else DENIED)
        if caller in TAKEN:
            notes = []
        assert len(decision.notes) == len(notes)
        for note, begins in zip(decision.notes, notes, strict=True):
            assert note.startswith(begins)
            assert "--may-assert-roles" in note


THE_LIST = "the member list of organization acme"

LISTED = (member("ada", "owner"), member("olivia", "owner"), member("petra", "policy_manager"), member("dev"))


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize(
    ("username", "stated", "expected", "notes"),
    [
        ("dev", {}, DENIED, []),
        ("dev", {"role": "ROLE_MEMBER"}, DENIED, []),
        (
            "dev",
            {"role": "ROLE_OWNER"},
            DENIED,
            [f"the role owner was not taken: {THE_LIST} says that dev is a member"],
        ),
        ("dev", {"role": "ROLE_POLICY_MANAGER"}, DENIED, ["the role policy manager was not taken"]),
        (
            "dev",
            {"teams": ["data"]},
            DENIED,
            ["the teams were not taken: the member list of organization acme says: none"],
        ),
        ("dev", {"role": "ROLE_OWNER", "teams": ["data"]}, DENIED, ["the role owner was not", "the teams were not"]),
        ("dan", {}, ALLOWED, []),
        ("dan", {"teams": ["data"]}, ALLOWED, []),
        (
            "dan",
            {"teams": ["web"]},
            ALLOWED,
            ["the teams were not taken: the member list of organization acme says: data"],
        ),
        ("ada", {}, OWNER, []),
        ("ada", {"role": "ROLE_MEMBER"}, OWNER, []),
        ("ada", {"role": "ROLE_POLICY_MANAGER"}, OWNER, ["the role policy manager was not taken"]),
        ("eve", {"role": "ROLE_OWNER"}, NOT_SIGNED_IN, [f"eve is not on {THE_LIST}"]),
        ("eve", {"teams": ["data"]}, NOT_SIGNED_IN, [f"eve is not on {THE_LIST}"]),
        ("Ada", {"role": "ROLE_OWNER"}, NOT_SIGNED_IN, [f"Ada is not on {THE_LIST}"]),
    ],
)
async def test_with_a_list_nobodys_word_counts(
    serve: Serve, caller: str, username: str, stated: Mapping[str, Any], expected: str, notes: Sequence[str]
) -> None:
    """What the list says holds against everybody's word, operators' too, and a note says what was not taken."""
    async with set_up(serve) as service:
        await write_members(service, "acme", *LISTED, member("dan", "member", "data"))
        decision = await decided(service, await secret_of(service, caller), identity_in("acme", username, **stated))

        assert word(decision) == expected
        assert len(decision.notes) == len(notes)
        assert all(note.startswith(begins) for note, begins in zip(decision.notes, notes, strict=True))


async def test_who_is_not_on_the_list_is_not_signed_in(serve: Serve) -> None:
    """Where sign-in is required a stranger is denied, and learns why."""
    async with set_up(serve, sign_in_required=True) as service:
        await write_members(service, "acme", *LISTED)
        asker = await secret_of(service, "asserting")
        stranger = await decided(service, asker, identity_in("acme", "eve", role="ROLE_OWNER"))

        assert word(stranger) == SIGN_IN_REQUIRED
        assert list(stranger.notes) == ["eve is not on the member list of organization acme"]
        assert await reason(service, asker, identity_pb2.Identity()) == SIGN_IN_REQUIRED
        assert await reason(service, asker, identity_pb2.Identity(username="eve")) == SIGN_IN_REQUIRED
        assert await reason(service, asker, identity_in("acme", "ada")) == OWNER


async def test_the_list_knows_who_states_no_organization(serve: Serve) -> None:
    """A username alone is enough where there is a list, and is nobody signed in where there is none."""
    async with set_up(serve) as service:
        asker, dan = await secret_of(service, "enforcer"), identity_pb2.Identity(username="dan")
        assert await reason(service, asker, dan) == NOT_SIGNED_IN
        await write_members(service, "acme", member("dan", "member", "data"))

        assert await reason(service, asker, dan) == ALLOWED
        assert await reason(service, asker, dan, organizations=["acme"]) == ALLOWED
        assert await reason(service, service.token, dan, organizations=["acme"]) == ALLOWED


@pytest.mark.parametrize(
    ("role", "stated", "expected", "notes"),
    [
        ("owner", {}, OWNER, []),
        ("owner", {"role": "ROLE_MEMBER"}, OWNER, []),
        ("policy_manager", {"role": "ROLE_OWNER"}, DENIED, ["the token is a policy manager's"]),
        ("member", {}, DENIED, []),
        ("member", {"role": "ROLE_OWNER"}, DENIED, ["the token is a member's"]),
        ("member", {"teams": ["data"]}, DENIED, ["teams as stated by"]),
    ],
)
async def test_ones_own_role_is_the_tokens(
    serve: Serve, role: str, stated: Mapping[str, Any], expected: str, notes: Sequence[str]
) -> None:
    """Who decides for oneself is what the token says, whatever is stated."""
    async with set_up(serve) as service:
        username = {"owner": "olivia", "policy_manager": "petra", "member": "mia"}[role]
        secret = await secret_of(service, role)
        decision = await decided(service, secret, identity_in("acme", username, **stated))

        assert word(decision) == expected
        assert len(decision.notes) == len(notes)
        assert all(part in note for note, part in zip(decision.notes, notes, strict=True))


async def test_ones_own_role_is_the_lists(serve: Serve) -> None:
    """Who decides for oneself is what the list says, where there is one."""
    async with set_up(serve) as service:
        secret = await secret_of(service, "member")
        await write_members(service, "acme", member("mia", "member", "data"), member("ada", "owner"))

        assert await reason(service, secret, identity_in("acme", "mia")) == ALLOWED
        assert word(await decided(service, secret, identity_in("acme", "mia", role="ROLE_OWNER"))) == ALLOWED


async def test_what_one_states_of_oneself_against_the_list_is_told(serve: Serve) -> None:
    """What the list overrules is told in a note, also to who speaks of oneself."""
    async with set_up(serve) as service:
        secret = await secret_of(service, "member")
        await write_members(service, "acme", member("mia"), member("ada", "owner"))
        decision = await decided(service, secret, identity_in("acme", "mia", role="ROLE_OWNER", teams=["data"]))

    assert word(decision) == DENIED
    assert len(decision.notes) == 2


@pytest.mark.parametrize(
    ("acme", "globex", "expected"),
    [
        ({}, {}, (DENIED, "acme")),
        ({"role": "ROLE_OWNER"}, {}, (DENIED, "globex")),
        ({}, {"role": "ROLE_OWNER"}, (DENIED, "acme")),
        ({"role": "ROLE_OWNER"}, {"role": "ROLE_OWNER"}, (OWNER, "acme")),
        ({"role": "ROLE_OWNER"}, {"teams": ["data"]}, (OWNER, "acme")),
        ({"teams": ["data"]}, {"role": "ROLE_OWNER"}, (ALLOWED, "acme")),
        ({"teams": ["data"]}, {}, (DENIED, "globex")),
        (None, {"role": "ROLE_OWNER"}, (OWNER, "globex")),
        (None, {}, (DENIED, "globex")),
        ({}, None, (DENIED, "acme")),
    ],
)
async def test_each_organization_looks_for_itself(
    serve: Serve, acme: Mapping[str, Any] | None, globex: Mapping[str, Any] | None, expected: tuple[str, str]
) -> None:
    """An operator asks about several organizations: a role or team in one is nothing in the other, any denial wins."""
    async with set_up(serve) as service:
        stated = {"acme": acme, "globex": globex}
        identity = identity_pb2.Identity(
            username="dev",
            memberships=[
                identity_pb2.Membership(organization=name, **fields)
                for name, fields in stated.items()
                if fields is not None
            ],
        )
        decision = await decided(service, service.token, identity, organizations=["acme", "globex"])

        assert (word(decision), decision.organization) == expected


async def test_one_organization_has_a_list_and_the_other_has_none(serve: Serve) -> None:
    """The list holds in its own organization, an operator's word in the other."""
    async with set_up(serve) as service:
        await write_members(service, "acme", member("dev"))
        identity = identity_pb2.Identity(
            username="dev",
            memberships=[
                identity_pb2.Membership(organization=name, role=identity_pb2.ROLE_OWNER) for name in ("globex", "acme")
            ],
        )
        decision = await decided(service, service.token, identity)

        assert (word(decision), decision.organization) == (DENIED, "acme")
        assert len(decision.notes) == 1
        assert "acme" in decision.notes[0]


async def test_a_ready_answer_follows_the_list(serve: Serve) -> None:
    """The very next answer is by the list as it was just written, also where the former answer lay ready."""
    async with set_up(serve, store_poll=3600.0) as service:
        asker, dev = await secret_of(service, "enforcer"), identity_in("acme", "dev")
        others = [member("ada", "owner")]
        assert await reason(service, asker, dev) == DENIED
        for entry, expected in (
            (member("dev", "member", "data"), ALLOWED),
            (member("dev", "owner"), OWNER),
            (member("dev", "member", "web"), DENIED),
        ):
            await write_members(service, "acme", *others, entry)
            assert await reason(service, asker, dev) == expected
        removal = admin.RemoveMembersRequest(organization="acme", usernames=["dev"])
        await answer_to(service, "RemoveMembers", removal)
        assert word(await decided(service, asker, dev)) == NOT_SIGNED_IN
        await write_members(service, "acme", replace=True, allow_empty=True)

        assert await reason(service, asker, dev) == DENIED


async def test_a_ready_answer_follows_the_list_on_another_server(serve: Serve) -> None:
    """Another server follows as soon as it has the list's revision."""
    async with set_up(serve) as service:
        asker, dev = await secret_of(service, "enforcer"), identity_in("acme", "dev")
        async with serve(store=service.store, catalogue=CATALOGUE) as other:
            assert word(await decided(other, asker, dev)) == DENIED
            await write_members(service, "acme", member("dev", "owner"))
            written = await service.store.revision()

            assert word(await decided(other, asker, dev, min_revision=written)) == OWNER
            assert word(await decided(other, asker, dev)) == OWNER


async def test_a_ready_answer_follows_the_token(serve: Serve) -> None:
    """The very next answer knows that a person's token was rotated, or revoked."""
    async with set_up(serve, store_poll=3600.0) as service:
        asker, made = await secret_of(service, "enforcer"), await make_token(service, "owner")
        assert await reason(service, asker, of_token(made.secret)) == OWNER
        rotated = await answer_to(service, "RotateToken", admin.RotateTokenRequest(id=made.token.id))

        assert await refused(service, asker, of_token(made.secret)) == {INVALID}
        assert await reason(service, asker, of_token(rotated.secret)) == OWNER
        await answer_to(service, "RevokeToken", admin.RevokeTokenRequest(id=made.token.id))
        assert await refused(service, asker, of_token(rotated.secret)) == {INVALID}


async def test_a_ready_answer_is_by_who_asked(serve: Serve) -> None:
    """The same bytes from two callers are answered by what each one's word is worth."""
    async with set_up(serve) as service:
        asserting, enforcer = await secret_of(service, "asserting"), await secret_of(service, "enforcer")
        stated = identity_in("acme", "dev", role="ROLE_OWNER")
        for _ in range(2):
            assert word(await decided(service, asserting, stated)) == OWNER
            assert word(await decided(service, enforcer, stated)) == DENIED


async def test_calls_at_the_same_time_do_not_mix(serve: Serve) -> None:
    """However many ask at once about different people, each gets the answer for its own."""
    async with set_up(serve) as service:
        asker = await secret_of(service, "asserting")
        stated = [
            identity_in("acme", f"dev{index}", **fields)
            for index in range(20)
            for fields in ({}, {"role": "ROLE_OWNER"}, {"teams": ["data"]})
        ]
        told = await asyncio.gather(
            *(
                answer_to(service, "Decide", decisions.DecideRequest(identity=identity, reference=TOOL), asker)
                for identity in stated
            )
        )

        assert [word(answer.decision) for answer in told] == [DENIED, OWNER, ALLOWED] * 20


ENFORCER = Caller(id="tok_1", name="proxy", role=CallerRole.ENFORCER, organization="acme")
NOW = datetime(2026, 6, 1, tzinfo=UTC)

texts = st.sampled_from(["dev", "ada", "Ada", "data", "web", "owner", "zoë"])


@given(
    username=texts,
    role=st.sampled_from(Role),
    teams=st.frozensets(texts),
    credential=st.sampled_from(CredentialKind),
    asked=st.lists(st.just("acme"), max_size=2),
    reference=st.sampled_from([TOOL, "nginx", "acme/app", "ghcr.io/a/b", "other/app"]),
    category=st.sampled_from(Category),
    required=st.booleans(),
    others=st.booleans(),
)
def test_an_enforcers_word_is_worth_membership_alone(
    username: str,
    role: Role,
    teams: frozenset[str],
    credential: CredentialKind,
    asked: list[str],
    reference: str,
    category: Category,
    required: bool,
    others: bool,
) -> None:
    """For enforcers that may not assert, whatever they state is decided as for a member without teams."""
    policy = parse_policy_yaml(POLICY.replace("NAME", "acme").replace("REQUIRED", str(required).lower()))
    snapshot = Snapshot(policies={"acme": policy}, members={"globex": {}} if others else {})
    stated = Membership(organization="acme", role=role, teams=teams)
    answers = []
    for membership in (stated, Membership(organization="acme")):
        identity = Identity(username=username, memberships=(membership,), credential=credential)
        subject = subject_of(ENFORCER, identity, asked, snapshot.members)
        known: dict[Any, CategoryEvidence] = {}
        while True:
            parsed = parse_reference(reference)
            answer = decide(subject.organizations, snapshot.policies, subject.identity, parsed, known, NOW)
            if not isinstance(answer, CategoryNeeded):
                break
            known[answer.repository] = CategoryEvidence(category=category, source="the test")
        answers.append(answer)

    assert answers[0] == answers[1]
    assert "ORGANIZATION_OWNER" not in answers[0].reason.name
