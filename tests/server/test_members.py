"""Member lists on the wire: written, replaced, paged, and what they refuse."""

from typing import Any

import pytest

from pullgate.v1 import decision_pb2, identity_pb2, member_pb2, policy_admin_pb2
from tests.conftest import Serve, Service
from tests.server.test_policy_admin_service import put
from tests.server.test_policy_decision_service import question, refusal
from tests.server.test_policy_writes import call, refused, signed_in

ROLES = {word: identity_pb2.Role.Value(f"ROLE_{word.upper()}") for word in ("member", "policy_manager", "owner")}


def member(username: str, role: str = "member", *teams: str) -> member_pb2.Member:
    """An entry of a list."""
    return member_pb2.Member(username=username, role=ROLES[role], teams=teams)


ADA, DEV, OPS = member("ada", "owner"), member("dev", "member", "web", "data"), member("ops", "policy_manager")


async def write(service: Service, *members: member_pb2.Member, **fields: Any) -> policy_admin_pb2.WriteMembersResponse:
    """Write members of acme."""
    response: policy_admin_pb2.WriteMembersResponse = await call(
        service, "WriteMembers", organization="acme", members=members, **fields
    )
    return response


async def listed(service: Service, **fields: Any) -> list[member_pb2.Member]:
    """The members of acme."""
    return list((await call(service, "ListMembers", organization="acme", **fields)).members)


def names(changes: Any) -> list[tuple[str, str]]:
    """Whose entry each change took away and whose it made."""
    return [(change.before.username, change.after.username) for change in changes]


async def test_members_are_added_and_changed(serve: Serve) -> None:
    """Who is named is added or changed, as one revision; who is not named stays; every change says before and after."""
    async with serve() as service:
        first = await write(service, DEV, ADA)
        second = await write(service, member("dev", "policy_manager", "web"), OPS, ADA, comment="why")

        assert (first.revision, first.unchanged, names(first.changes)) == (1, 0, [("", "ada"), ("", "dev")])
        assert (second.revision, second.unchanged) == (2, 1)
        assert list(second.changes) == [
            member_pb2.MemberChange(
                before=member("dev", "member", "data", "web"), after=member("dev", "policy_manager", "web")
            ),
            member_pb2.MemberChange(after=OPS),
        ]
        assert await listed(service) == [ADA, member("dev", "policy_manager", "web"), OPS]


async def test_an_unspecified_role_is_member(serve: Serve) -> None:
    """Who is written without a role is a member, also who had another role before."""
    async with serve() as service:
        await write(service, member("dev", "owner"))
        await write(service, member_pb2.Member(username="dev"))

        assert await listed(service) == [member("dev")]


async def test_a_list_is_replaced(serve: Serve) -> None:
    """With replace, who is not named is removed."""
    async with serve() as service:
        await write(service, ADA, DEV)
        response = await write(service, ADA, OPS, replace=True)

        assert (response.revision, response.unchanged) == (2, 1)
        assert names(response.changes) == [("dev", ""), ("", "ops")]
        assert await listed(service) == [ADA, OPS]


@pytest.mark.parametrize("replace", [False, True])
async def test_what_changes_nothing_is_no_revision(serve: Serve, replace: bool) -> None:
    """The same list again has revision 0, and says how many stayed as they were; the order of teams says nothing."""
    async with serve() as service:
        await write(service, ADA, DEV)
        response = await write(service, member("dev", "member", "data", "web"), ADA, replace=replace)

        assert (response.revision, response.unchanged, len(response.changes)) == (0, 2, 0)
        assert await service.store.revision() == 1


@pytest.mark.parametrize(
    ("members", "fields"),
    [([DEV, OPS], {}), ([OPS], {"replace": True}), ([], {"replace": True, "allow_empty": True})],
)
async def test_a_dry_run_says_what_the_write_would_do(
    serve: Serve, members: list[member_pb2.Member], fields: dict[str, bool]
) -> None:
    """dry_run gives the changes that the same request makes without it, and writes nothing."""
    async with serve() as service:
        await write(service, ADA, DEV)
        tried = await write(service, *members, **fields, dry_run=True)
        revision = await service.store.revision()
        done = await write(service, *members, **fields)

        assert (tried.revision, revision, done.revision) == (0, 1, 2)
        assert (tried.changes, tried.unchanged) == (done.changes, done.unchanged)


async def test_a_list_ends_with_its_last_member(serve: Serve) -> None:
    """An organization with nobody on its list has no list: what callers assert counts again."""
    async with serve() as service:
        await put(service)
        owner = identity_pb2.Identity(
            username="dev", memberships=[identity_pb2.Membership(organization="acme", role=ROLES["owner"])]
        )
        await write(service, ADA, DEV)
        before = (await service.call(service.decisions.Decide, question("a/b", identity=owner))).decision
        await write(service, replace=True, allow_empty=True)
        after = (await service.call(service.decisions.Decide, question("a/b", identity=owner))).decision

        assert before.reason == decision_pb2.REASON_CATEGORY_UNKNOWN
        assert after.reason == decision_pb2.REASON_ORGANIZATION_OWNER
        assert await listed(service) == []


async def test_members_decide_at_once(serve: Serve) -> None:
    """The next decision takes role and teams from the list just written."""
    async with serve(store_poll=3600.0) as service:
        await put(service)
        reasons = []
        for role in ("member", "owner", "member"):
            await write(service, member("dev", role))
            decided = await service.call(service.decisions.Decide, question("a/b"))
            reasons.append(decision_pb2.Reason.Name(decided.decision.reason))

        assert reasons == ["REASON_CATEGORY_UNKNOWN", "REASON_ORGANIZATION_OWNER", "REASON_CATEGORY_UNKNOWN"]


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({}, "members"),
        ({"replace": True}, "members"),
        ({"allow_empty": True}, "members"),
        ({"dry_run": True}, "members"),
        ({"organization": "No", "members": [ADA]}, "organization"),
    ],
)
async def test_an_empty_list_is_written_on_purpose_alone(serve: Serve, fields: dict[str, Any], path: str) -> None:
    """Nobody is removed by a request that forgot its members: that takes replace and allow_empty."""
    async with serve() as service:
        await write(service, ADA)
        request = policy_admin_pb2.WriteMembersRequest(**{"organization": "acme", **fields})
        told = await refusal(service, request, "WriteMembers")

        assert (told[0], told[1], told[2][0][0]) == ("INVALID_ARGUMENT", "FIELD_INVALID", path)
        assert await listed(service) == [ADA]


async def test_all_problems_of_a_list_are_told_at_once(serve: Serve) -> None:
    """MEMBERS_INVALID names every field that is wrong and every name that stands twice; nothing is written."""
    async with serve() as service:
        request = policy_admin_pb2.WriteMembersRequest(
            organization="acme",
            members=[
                ADA,
                member_pb2.Member(username=" x"),
                member_pb2.Member(username="y", role=9, teams=["web", "\x1b"]),  # type: ignore[arg-type]
                member_pb2.Member(),
                member("ada"),
            ],
        )
        code, reason, violations, _ = await refusal(service, request, "WriteMembers")

        assert (code, reason) == ("INVALID_ARGUMENT", "MEMBERS_INVALID")
        assert [path for path, _ in violations] == [
            "members[1].username",
            "members[2].role",
            "members[2].teams[1]",
            "members[3].username",
            "members[4]",
        ]
        assert await service.store.revision() == 0


async def test_members_are_removed(serve: Serve) -> None:
    """Who is named is gone, each change says what the entry was, and it is one revision."""
    async with serve() as service:
        await write(service, ADA, DEV, OPS)
        response = await call(service, "RemoveMembers", organization="acme", usernames=["ops", "dev", "dev"])

        assert response.revision == 2
        assert list(response.changes) == [
            member_pb2.MemberChange(before=member("dev", "member", "data", "web")),
            member_pb2.MemberChange(before=OPS),
        ]
        assert await listed(service) == [ADA]


@pytest.mark.parametrize(
    ("usernames", "code", "reason"),
    [
        (["dev", "nobody"], "NOT_FOUND", "MEMBER_NOT_FOUND"),
        (["Dev"], "NOT_FOUND", "MEMBER_NOT_FOUND"),
        ([], "INVALID_ARGUMENT", "FIELD_INVALID"),
        (["ada", "dev"], "INVALID_ARGUMENT", "FIELD_INVALID"),
    ],
)
async def test_who_is_not_on_the_list_is_not_removed(
    serve: Serve, usernames: list[str], code: str, reason: str
) -> None:
    """One name that is on no list, byte by byte, and nobody is removed; nor is everybody, which ends the list."""
    async with serve() as service:
        await write(service, ADA, DEV)
        told = await refused(call(service, "RemoveMembers", organization="acme", usernames=usernames))

        assert (told.code, told.reason) == (code, reason)
        assert [item.username for item in await listed(service)] == ["ada", "dev"]
        if usernames == ["dev", "nobody"]:
            assert told.message == 'not on the member list of acme: "nobody"; nobody was removed'


@pytest.mark.parametrize(
    ("method", "fields"),
    [
        ("WriteMembers", {"members": [DEV], "replace": True}),
        ("WriteMembers", {"members": [member("ada", "policy_manager")]}),
        ("WriteMembers", {"members": [DEV], "replace": True, "dry_run": True}),
        ("RemoveMembers", {"usernames": ["ada"]}),
    ],
)
async def test_an_owner_does_not_lock_herself_out(serve: Serve, method: str, fields: dict[str, Any]) -> None:
    """A write by which its author would stop being an owner is refused; an operator may do it."""
    async with serve() as service:
        await write(service, ADA, DEV)
        ada = await signed_in(service, "owner", name="ada")
        told = await refused(call(ada, method, organization="acme", **fields))
        unchanged = await listed(service)
        await call(service, method, organization="acme", **fields)

        assert (told.code, told.reason) == ("FAILED_PRECONDITION", "LOCKED_OUT")
        assert "could not undo this" in told.message
        assert [item.username for item in unchanged] == ["ada", "dev"]


async def test_an_owner_begins_a_list_with_herself(serve: Serve) -> None:
    """The first list that an owner writes has her on it as owner, or is refused; she may end the list again."""
    async with serve() as service:
        ada = await signed_in(service, "owner", name="ada")
        told = await refused(write(ada, DEV))
        await write(ada, DEV, ADA)
        await write(ada, replace=True, allow_empty=True)

        assert told.reason == "LOCKED_OUT"
        assert await listed(ada) == []


async def test_members_are_listed_page_by_page(serve: Serve) -> None:
    """Pages follow each other in the order of the names, and the last says so; 100 is the default, 1000 the most."""
    async with serve() as service:
        everybody = [member(f"user{number:03}") for number in range(101)]
        await write(service, *reversed(everybody))
        sizes, found, token = [], [], ""
        while True:
            page = await call(service, "ListMembers", organization="acme", page_size=40, page_token=token)
            sizes.append(len(page.members))
            found += list(page.members)
            token = page.next_page_token
            if not token:
                break
        default = await call(service, "ListMembers", organization="acme")
        large = await call(service, "ListMembers", organization="acme", page_size=1000)
        told = await refused(call(service, "ListMembers", organization="acme", page_size=1001))

        assert (sizes, found) == ([40, 40, 21], everybody)
        assert (len(default.members), bool(default.next_page_token)) == (100, True)
        assert (len(large.members), large.next_page_token) == (101, "")
        assert (told.code, told.reason) == ("INVALID_ARGUMENT", "FIELD_INVALID")


async def test_the_members_of_one_team_are_listed(serve: Serve) -> None:
    """With a team the pages hold its members alone; of a team that nobody is in, and without a list, none."""
    async with serve() as service:
        await write(
            service, *(member(f"user{number}", "member", "even" if number % 2 == 0 else "odd") for number in range(9))
        )
        page = await call(service, "ListMembers", organization="acme", team="even", page_size=3)
        following = await call(
            service, "ListMembers", organization="acme", team="even", page_size=3, page_token=page.next_page_token
        )
        nobody = await listed(service, team="Even")
        without = await call(service, "ListMembers", organization="globex")

        assert [item.username for item in page.members] == ["user0", "user2", "user4"]
        assert [item.username for item in following.members] == ["user6", "user8"]
        assert following.next_page_token == ""
        assert (nobody, list(without.members)) == ([], [])


async def test_ten_thousand_members_are_written_in_one_call(serve: Serve) -> None:
    """A large list is one revision, and one change of it is one entry."""
    async with serve() as service:
        everybody = [member(f"user{number:05}", "member", "web") for number in range(10_000)]
        first = await write(service, *everybody)
        second = await write(service, *everybody[:-1], replace=True)
        found: list[str] = []
        token = ""
        while True:
            page = await call(service, "ListMembers", organization="acme", page_size=1000, page_token=token)
            found += [item.username for item in page.members]
            token = page.next_page_token
            if not token:
                break

        assert (first.revision, len(first.changes)) == (1, 10_000)
        assert (second.revision, second.unchanged, names(second.changes)) == (2, 9_999, [("user09999", "")])
        assert found == [item.username for item in everybody[:-1]]


async def test_a_page_of_members_in_many_teams_ends_early(serve: Serve) -> None:
    """However many teams the members are in, a page is small enough for every client."""
    async with serve() as service:
        teams = [f"team-{number:03}-{'x' * 56}" for number in range(100)]
        for start in range(0, 800, 200):
            await write(service, *(member(f"user{start + number:03}", "member", *teams) for number in range(200)))
        page = await call(service, "ListMembers", organization="acme", page_size=1000)

        assert page.ByteSize() < 4 * 1024 * 1024


@pytest.mark.parametrize(
    ("role", "may"),
    [
        ("owner", ["ListMembers", "WriteMembers", "RemoveMembers"]),
        ("policy_manager", ["ListMembers"]),
        ("member", []),
        ("enforcer", []),
    ],
)
async def test_who_may_read_and_change_a_list(serve: Serve, role: str, may: list[str]) -> None:
    """Owners change their organization's list, policy managers read it, others neither, and nobody another's."""
    async with serve() as service:
        await write(service, member(role, "owner"), DEV)
        caller = await signed_in(service, role)
        requests: dict[str, dict[str, Any]] = {
            "ListMembers": {},
            "WriteMembers": {"members": [OPS]},
            "RemoveMembers": {"usernames": ["dev"]},
        }
        for method, fields in requests.items():
            elsewhere = await refused(call(caller, method, organization="globex", **fields))
            if method in may:
                await call(caller, method, organization="acme", **fields)
                assert elsewhere.reason == "ORGANIZATION_NOT_PERMITTED"
            else:
                told = await refused(call(caller, method, organization="acme", **fields))
                assert (told.code, told.reason) == ("PERMISSION_DENIED", "ROLE_NOT_PERMITTED")
                assert elsewhere.code == "PERMISSION_DENIED"


@pytest.mark.parametrize(
    ("paths", "ada", "new"),
    [
        ([], ("ROLE_MEMBER", ["web"]), ("ROLE_MEMBER", ["web"])),
        (["role", "teams"], ("ROLE_MEMBER", ["web"]), ("ROLE_MEMBER", ["web"])),
        (["teams"], ("ROLE_OWNER", ["web"]), ("ROLE_MEMBER", ["web"])),
        (["role"], ("ROLE_MEMBER", ["data"]), ("ROLE_MEMBER", ["web"])),
        (["username"], ("ROLE_OWNER", ["data"]), ("ROLE_MEMBER", ["web"])),
    ],
)
async def test_fields_that_are_not_named_stay_as_they_are(
    serve: Serve, paths: list[str], ada: tuple[str, list[str]], new: tuple[str, list[str]]
) -> None:
    """update_mask says what changes of who is on the list, inside the write itself; somebody new is as written."""
    async with serve() as service:
        await write(service, member("ada", "owner", "data"))
        entries = [member(name, "member", "web") for name in ("ada", "new")]
        await write(service, *entries, update_mask={"paths": paths})
        there = {item.username: (identity_pb2.Role.Name(item.role), list(item.teams)) for item in await listed(service)}

        assert there == {"ada": ada, "new": new}


async def test_a_field_that_members_do_not_have_is_refused(serve: Serve) -> None:
    """A mask with another field is told, and nothing is written."""
    async with serve() as service:
        request = policy_admin_pb2.WriteMembersRequest(organization="acme", members=[member("ada")])
        request.update_mask.paths.append("email")
        told = await refusal(service, request, "WriteMembers")

        assert told[:2] == ("INVALID_ARGUMENT", "FIELD_INVALID")
        assert told[2][0][0] == "update_mask"
