"""The store port's contract, run over every implementation."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from pullgate_policy import Category, CommunityClass, Policy, Preset, Role, preset_policy
from pullgate_policy.access_token import AccessToken, CallerRole
from pullgate_policy.event import EventSubject
from pullgate_policy.members import Member, MemberList
from pullgate_policy.pins import CategoryPin, Pins
from pullgate_policy.stored_policy import StoredPolicy
from pullgate_server.errors import (
    CategoryPinNotFoundError,
    RequestIdReusedError,
    RevisionStaleError,
    StoreUnavailableError,
)
from pullgate_server.snapshot import Snapshot
from pullgate_server.stores.memory import MemoryStore
from pullgate_server.stores.port import EventFilter, Store, StoredToken, WriteRequest, Written
from tests.policy import strategies as of
from tests.postgresql import PostgresqlServer
from tests.stores import KINDS, NOW, by_ada, open_store, put_pin, put_policy, store_at


@pytest.fixture(params=KINDS)
async def store(request: pytest.FixtureRequest, tmp_path: Path, postgresql: PostgresqlServer) -> AsyncIterator[Store]:
    """An empty store of each kind."""
    async with open_store(request.param, tmp_path, postgresql) as store:
        yield store


async def put(store: Store, organization: str, *, expected: int | None = None, preset: Preset = Preset.STRICT) -> int:
    """Write a policy; returns its revision."""
    return (await put_policy(store, preset_policy(preset, organization), expected=expected)).revision


async def delete(store: Store, name: str, organization: str = "") -> int:
    """Take a pin back; returns the revision."""

    def gone(current: CategoryPin | None) -> None:
        if current is None:
            raise CategoryPinNotFoundError(organization, name)

    return (await store.write_pin(organization, name, gone, by_ada())).event.revision


def pin(name: str, category: Category = Category.COMMUNITY, organization: str = "", **fields: object) -> CategoryPin:
    """A pin by ada."""
    values = {"community_class": None, "reason": "seen", "author": "ada", "written_at": NOW, **fields}
    return CategoryPin(name=name, category=category, organization=organization, **values)  # type: ignore[arg-type]


def member(username: str, role: Role = Role.MEMBER, *teams: str) -> Member:
    """Somebody."""
    return Member(username=username, role=role, teams=frozenset(teams))


def upserted(*members: Member) -> Callable[[MemberList], MemberList]:
    """A change that adds members, or changes them."""
    return lambda current: {**current, **{item.username: item for item in members}}


def token(number: int, **fields: object) -> StoredToken:
    """A token of acme's."""
    values = {
        "id": f"tok_{number}",
        "name": "proxy",
        "role": CallerRole.ENFORCER,
        "organization": "acme",
        "may_assert_roles": True,
        "created_at": NOW + timedelta(seconds=number),
        "created_by": "ada",
        "expires_at": NOW + timedelta(days=90),
        **fields,
    }
    return StoredToken(token=AccessToken(**values), secret_hash=f"{number:064x}")  # type: ignore[arg-type]


async def snapshot_of(store: Store, since: Snapshot | None = None) -> Snapshot:
    """What is in the store, all of it, or by what was written since."""
    if since is None:
        return Snapshot().with_contents(await store.read(None))
    return since.with_contents(await store.read(since.revision))


async def test_an_empty_store_is_at_revision_0(store: Store) -> None:
    """Nothing was written, so there is nothing and no revision."""
    assert await snapshot_of(store) == Snapshot()
    assert await store.revision() == 0
    assert list(await store.tokens()) == []
    assert list(await store.events(EventFilter(), 10)) == []


async def test_every_write_is_a_revision(store: Store) -> None:
    """Policies, pins, members and tokens count in one row of revisions, without gaps."""
    members = await store.write_members("acme", upserted(member("dev")), by_ada())
    assert members is not None
    revisions = [
        members.event.revision,
        await put(store, "acme"),
        await put_pin(store, pin("someuser")),
        await put(store, "globex"),
        await delete(store, "someuser"),
        (await store.write_token("tok_1", lambda _: token(1), by_ada())).event.revision,
        await put(store, "acme", preset=Preset.OPEN),
    ]

    assert revisions == [1, 2, 3, 4, 5, 6, 7]
    assert await store.revision() == 7


async def test_what_was_written_is_read(store: Store) -> None:
    """A policy comes back with its author, time and comment; only its newest version does."""
    await put(store, "acme")
    await put(store, "acme", preset=Preset.OPEN)
    stored = (await snapshot_of(store)).stored["acme"]

    assert preset_policy(Preset.OPEN, "acme") == stored.policy
    assert (stored.revision, stored.author, stored.comment, stored.written_at) == (2, "ada", "why", NOW)


async def test_following_the_store_comes_to_what_is_in_it(store: Store) -> None:
    """Who takes in what was written since, step by step, knows the same as who reads everything."""
    writes: Sequence[Callable[[], object]] = [
        lambda: put(store, "acme"),
        lambda: put(store, "globex"),
        lambda: put_pin(store, pin("someuser")),
        lambda: store.write_members("acme", upserted(member("dev"), member("ada", Role.OWNER, "web")), by_ada()),
        lambda: store.write_members("globex", upserted(member("eve")), by_ada()),
        lambda: store.write_token("tok_1", lambda _: token(1), by_ada()),
        lambda: store.write_policy("globex", lambda _: None, by_ada()),
        lambda: store.write_members("acme", lambda now: {"ada": now["ada"]}, by_ada()),
        lambda: store.write_members("globex", lambda _: {}, by_ada()),
        lambda: put_pin(store, pin("someuser", organization="acme", expires_at=NOW + timedelta(days=1))),
        lambda: put_pin(store, pin("someuser", organization="globex")),
        lambda: delete(store, "someuser"),
        lambda: put_pin(store, pin("other")),
        lambda: delete(store, "someuser", "globex"),
        lambda: store.write_token("tok_1", lambda _: token(1, revoked_at=NOW), by_ada()),
        lambda: put(store, "initech"),
    ]
    every_step = every_third = Snapshot().with_contents(await store.read(None))
    for index, write in enumerate(writes):
        await write()  # type: ignore[misc]
        every_step = await snapshot_of(store, every_step)
        assert await snapshot_of(store) == every_step
        if index % 3 == 0:
            every_third = await snapshot_of(store, every_third)

    assert every_step == await snapshot_of(store, every_third)
    assert set(every_step.policies) == {"acme", "initech"}
    assert every_step.members == {"acme": {"ada": member("ada", Role.OWNER, "web")}}
    assert every_step.tokens["tok_1"].token.revoked_at == NOW
    assert set(every_step.pins) == {("acme", "someuser"), ("", "other")}
    assert every_step.pin_index == Pins(every_step.pins.values())


@pytest.mark.parametrize("expected", [0, 2, 7])
async def test_a_stale_write_is_refused(store: Store, expected: int) -> None:
    """A write that names another revision than the newest changes nothing, and takes no revision."""
    await put(store, "acme", expected=0)
    with pytest.raises(RevisionStaleError) as raised:
        await put(store, "acme", expected=expected, preset=Preset.OPEN)
    stored = (await snapshot_of(store)).stored["acme"]

    assert (expected, 1) == (raised.value.expected, raised.value.current)
    assert preset_policy(Preset.STRICT, "acme") == stored.policy
    assert await put(store, "globex", expected=0) == 2


async def test_writing_what_is_expected_to_be_there(store: Store) -> None:
    """The revision of the organization's own policy counts, not the store's."""
    await put(store, "acme", expected=0)
    await put(store, "globex", expected=0)

    assert await put(store, "acme", expected=1) == 3


async def test_one_of_two_writers_wins(store: Store) -> None:
    """Of writers that start from the same revision exactly one is accepted; nobody's write is lost without a word."""
    results = await asyncio.gather(*(put(store, "acme", expected=0) for _ in range(8)), return_exceptions=True)

    assert [result for result in results if isinstance(result, int)] == [1]
    assert sum(isinstance(result, RevisionStaleError) for result in results) == 7


async def test_concurrent_writes_have_revisions_of_their_own(store: Store) -> None:
    """Writers at the same time get different revisions, without gaps."""
    revisions = await asyncio.gather(*(put(store, f"org{index}") for index in range(12)))

    assert list(range(1, 13)) == sorted(revisions)


async def test_names_are_compared_byte_by_byte(store: Store) -> None:
    """Pins whose names differ in nothing but a separator or a digit are different pins."""
    names = ["A-b", "a-b", "a.b", "a_b", "ab", "ab1", "Ab", "\u00e5b", "a\u030ab", "ab "]
    for name in names:
        await store.write_members("acme", upserted(member(name) if name.strip() == name else member("ab")), by_ada())
        await put_pin(store, pin(name.strip()))
    snapshot = await snapshot_of(store)

    assert {name.strip() for name in names} == set(snapshot.members["acme"])
    assert {("", name.strip()) for name in names} == set(snapshot.pins)
    assert len(snapshot.pins) == 9


async def test_pins_are_set_replaced_and_taken_back(store: Store) -> None:
    """A pin with the same name replaces, one that is not there cannot be taken back."""
    sponsored = CategoryPin(
        name="a/b",
        category=Category.COMMUNITY,
        community_class=CommunityClass.SPONSORED_OPEN_SOURCE,
        reason="",
        author="ada",
        written_at=NOW,
    )
    await put_pin(store, pin("a/b", Category.OFFICIAL))
    await put_pin(store, sponsored)

    assert (await snapshot_of(store)).pins == {("", "a/b"): sponsored}

    await delete(store, "a/b")

    assert (await snapshot_of(store)).pins == {}
    with pytest.raises(CategoryPinNotFoundError):
        await delete(store, "a/b")
    assert await store.revision() == 3


async def test_pins_are_each_organizations_own(store: Store) -> None:
    """Of the same name there is one for each organization and one for all; each is set and taken back on its own."""
    end = NOW + timedelta(days=1, microseconds=1)
    pins = [pin("a", organization="acme", expires_at=end), pin("a", Category.OFFICIAL, "globex"), pin("a"), pin("b")]
    for item in pins:
        await put_pin(store, item)
    everything = await snapshot_of(store)
    await put_pin(store, replace(pins[0], expires_at=None))
    await delete(store, "a")
    with pytest.raises(CategoryPinNotFoundError):
        await delete(store, "b", "acme")
    events = await store.events(EventFilter(organization="acme"), 10)

    assert everything.pins == {(item.organization, item.name): item for item in pins}
    assert set((await snapshot_of(store)).pins) == {("acme", "a"), ("globex", "a"), ("", "b")}
    assert [(event.revision, event.name) for event in events] == [(5, "a"), (1, "a")]
    assert [event.after and event.after["expires_at"] for event in events] == [None, "2026-06-02T12:30:15.123457Z"]
    assert events[0].before == events[1].after


async def test_only_what_changed_is_indexed_anew(store: Store) -> None:
    """A write about anything but pins leaves the index of pins the same object."""
    await put_pin(store, pin("a"))
    before = await snapshot_of(store)
    await put(store, "acme")
    after = await snapshot_of(store, before)
    await put_pin(store, pin("b"))
    later = await snapshot_of(store, after)

    assert after.pin_index is before.pin_index
    assert later.pin_index == Pins([pin("a"), pin("b")])


async def test_tokens_are_kept(store: Store) -> None:
    """A token comes back as it was written, in the order of their making; the newest write of it holds."""
    rotated = replace(token(2), former_hash="ab" * 32, former_until=NOW)
    for item in (token(3), token(2), rotated, token(1, expires_at=None)):
        await store.write_token(item.token.id, lambda _, item=item: item, by_ada())  # type: ignore[misc]

    assert [token(1, expires_at=None), rotated, token(3)] == list(await store.tokens())


async def test_the_use_of_a_token_is_noted_without_a_revision(store: Store) -> None:
    """When a token was last used is kept beside it; it is no event, and an unknown token does no harm."""
    await store.write_token("tok_1", lambda _: token(1), by_ada())
    await store.tokens_used({"tok_1": NOW, "tok_9": NOW})
    (stored,) = await store.tokens()

    assert (stored.token.last_used_at, await store.revision()) == (NOW, 1)


async def test_a_store_begins_once(store: Store) -> None:
    """Of servers that start together one makes the first token; it is the event at revision 0."""
    begun = await asyncio.gather(*(store.begin(token(number)) for number in range(5)))
    (stored,) = await store.tokens()
    (event,) = await store.events(EventFilter(), 10)

    assert sorted(begun) == [False] * 4 + [True]
    assert (event.revision, event.name, event.subject) == (0, stored.token.id, EventSubject.TOKEN)
    assert not await store.begin(token(9))
    assert (await snapshot_of(store)).revision == 0


async def test_the_first_key_is_the_stores(store: Store) -> None:
    """A store is bound to one key; tokens from before there was one are hashed with it, once."""
    await store.write_token("tok_1", lambda _: token(1), by_ada())
    bound = [
        await store.adopt_token_key("first", lambda unkeyed: unkeyed[::-1]),
        await store.adopt_token_key("second", lambda unkeyed: "0" * 64),
    ]

    assert bound == ["first", "first"]


async def test_a_member_list_is_written_whole(store: Store) -> None:
    """A write says what the list is to be; one that changes nothing is none."""
    first = await store.write_members("acme", upserted(member("dev"), member("ada", Role.OWNER)), by_ada())
    second = await store.write_members("acme", upserted(member("ada", Role.OWNER)), by_ada())
    third = await store.write_members("acme", lambda now: {"ada": replace(now["ada"], teams=frozenset("w"))}, by_ada())
    assert first is not None
    assert third is not None

    assert second is None
    assert await store.revision() == 2
    assert (await snapshot_of(store)).members == {"acme": {"ada": member("ada", Role.OWNER, "w")}}
    assert (first.event.before, third.event.after) == (
        {"ada": None, "dev": None},
        {"ada": {"role": "owner", "teams": ["w"]}, "dev": None},
    )


async def test_a_large_member_list(store: Store) -> None:
    """Tens of thousands of members are one write."""
    everybody = {f"user{number}": member(f"user{number}") for number in range(40_000)}
    await store.write_members("acme", lambda _: everybody, by_ada())
    await store.write_members("acme", lambda _: {"user1": everybody["user1"]}, by_ada())

    assert (await snapshot_of(store)).members == {"acme": {"user1": member("user1")}}


async def test_every_write_is_an_event(store: Store) -> None:
    """Who, when, from where and why, what was and what is; newest first, or from a revision on in their order."""
    await put(store, "acme")
    await put(store, "acme", preset=Preset.OPEN)
    await put_pin(store, pin("a"))
    await delete(store, "a")
    await store.write_policy("acme", lambda _: None, by_ada(comment="gone"))
    await store.write_token("tok_1", lambda _: token(1), by_ada())
    events = list(await store.events(EventFilter(), 10))

    assert [(event.revision, event.subject.value, event.organization, event.name) for event in events] == [
        (6, "token", "acme", "tok_1"),
        (5, "policy", "acme", "acme"),
        (4, "category_pin", "", "a"),
        (3, "category_pin", "", "a"),
        (2, "policy", "acme", "acme"),
        (1, "policy", "acme", "acme"),
    ]
    assert (events[5].before, events[1].after) == (None, None)
    assert events[4].before == events[5].after
    assert events[1].before == events[4].after
    assert (events[1].author, events[1].caller_id, events[1].origin, events[1].comment, events[1].written_at) == (
        "ada",
        "tok_ada",
        "ipv4:127.0.0.1:1",
        "gone",
        NOW,
    )
    assert "hash" not in str(events[0].after)


@pytest.mark.parametrize(
    ("filters", "revisions"),
    [
        ({}, [5, 4, 3, 2, 1]),
        ({"organization": "acme"}, [4, 1]),
        ({"organization": ""}, [3]),
        ({"subject": EventSubject.POLICY, "name": "globex"}, [5, 2]),
        ({"before": 4}, [3, 2, 1]),
        ({"after": 2}, [3, 4, 5]),
        ({"after": 1, "organization": "acme"}, [4]),
        ({"after": 0}, [1, 2, 3, 4, 5]),
    ],
)
@pytest.mark.parametrize("limit", [10, 2])
async def test_events_are_filtered(store: Store, filters: dict[str, object], revisions: list[int], limit: int) -> None:
    """Events fit all of what is asked for, and are no more than asked for."""
    await put(store, "acme")
    await put(store, "globex")
    await put_pin(store, pin("a"))
    await store.write_members("acme", upserted(member("dev")), by_ada())
    await put(store, "globex")
    events = await store.events(EventFilter(**filters), limit)  # type: ignore[arg-type]

    sizes = await store.event_sizes(EventFilter(**filters), limit)  # type: ignore[arg-type]

    assert revisions[:limit] == [event.revision for event in events]
    assert len(sizes) == len(events)
    assert all(0 < size < 5000 for size in sizes)


async def test_a_repeated_request_happens_once(store: Store) -> None:
    """The same request id of the same caller gives the first write's event, also where the write would fail now."""
    request = WriteRequest(id="r1", digest="d1")

    def only_first(current: StoredPolicy | None) -> Policy:
        if current is not None:
            raise RevisionStaleError("acme", 0, current.revision)
        return preset_policy(Preset.STRICT, "acme")

    async def write(**fields: object) -> Written:
        return await store.write_policy("acme", only_first, by_ada(**{"request": request, **fields}))

    first, again = await write(), await write()
    await put(store, "globex")
    with pytest.raises(RevisionStaleError):
        await write(caller_id="tok_eve")
    with pytest.raises(RequestIdReusedError):
        await write(request=WriteRequest(id="r1", digest="d2"))

    assert (first.repeated, again.repeated) == (False, True)
    assert first.event == again.event
    assert await store.revision() == 2


@pytest.mark.parametrize("subject", ["pin", "members", "token"])
async def test_a_repeated_request_of_every_sort_happens_once(store: Store, subject: str) -> None:
    """Pins, member lists and tokens know a repeated request too."""

    async def write() -> Written | None:
        authorship = by_ada(request=WriteRequest(id="r1", digest="d1"))
        match subject:
            case "pin":
                return await store.write_pin("", "a", lambda _: pin("a"), authorship)
            case "members":
                return await store.write_members("acme", upserted(member("dev")), authorship)
            case _:
                return await store.write_token("tok_1", lambda _: token(1), authorship)

    written = [await write(), await write()]

    assert [item.repeated if item else None for item in written] == [False, True]
    assert await store.revision() == 1


async def test_the_same_request_from_many_at_once_happens_once(store: Store) -> None:
    """Retries that overlap with the first attempt are one write too."""
    request = WriteRequest(id="r1", digest="d1")
    results = await asyncio.gather(
        *(put_policy(store, preset_policy(Preset.STRICT, "acme"), request=request) for _ in range(6))
    )

    assert {stored.revision for stored in results} == {1}
    assert await store.revision() == 1


async def test_what_a_change_raises_undoes_the_write(store: Store) -> None:
    """A change that fails leaves no trace, and no gap in the revisions."""

    def fails(_current: object) -> Policy:
        raise ZeroDivisionError

    await put(store, "acme")
    with pytest.raises(ZeroDivisionError):
        await store.write_policy("acme", fails, by_ada())

    assert await put(store, "acme") == 2


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_revision_order_is_commit_order(kind: str, tmp_path: Path, postgresql: PostgresqlServer) -> None:
    """Writers with connections of their own, and readers meanwhile: who sees a revision sees all before it."""
    database = await postgresql.new_database() if kind == "postgresql" else ""
    async with AsyncExitStack() as stack:
        writers = [await stack.enter_async_context(store_at(kind, tmp_path, database)) for _ in range(4)]
        reader = await stack.enter_async_context(store_at(kind, tmp_path, database))
        writing = [
            asyncio.ensure_future(put(writer, f"org{number}"))
            for number in range(10)
            for writer in writers
        ]  # fmt: skip
        seen = 0
        while not all(task.done() for task in writing):
            events = await reader.events(EventFilter(after=seen), 1000)
            assert [event.revision for event in events] == list(range(seen + 1, seen + 1 + len(events)))
            seen += len(events)
            contents = await reader.read(None)
            assert max((stored.revision for stored in contents.policies.values() if stored), default=0) <= (
                contents.revision
            )
        revisions = [task.result() for task in writing]

    assert sorted(revisions) == list(range(1, 41))


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_two_servers_see_each_others_writes(kind: str, tmp_path: Path, postgresql: PostgresqlServer) -> None:
    """A stale write is refused whichever server the other one went through."""
    database = await postgresql.new_database() if kind == "postgresql" else ""
    async with store_at(kind, tmp_path, database) as one, store_at(kind, tmp_path, database) as other:
        await put(one, "acme", expected=0)
        results = await asyncio.gather(
            *(put(store, "acme", expected=1) for store in (one, other)), return_exceptions=True
        )

        assert await one.revision() == await other.revision() == 2
        assert sorted(map(type, results), key=str) == [int, RevisionStaleError]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(policy=of.policies())
async def test_every_policy_survives_the_store(store: Store, policy: Policy) -> None:
    """A policy is the same after it was stored."""
    await put_policy(store, policy)

    assert policy == (await snapshot_of(store)).policies[policy.organization]


async def test_a_memory_store_can_be_out_of_reach() -> None:
    """The fake fails as a database does, for tests of what happens then."""
    store = MemoryStore()
    store.available = False
    writes = (
        put(store, "acme"),
        put_pin(store, pin("a")),
        store.write_members("acme", upserted(member("dev")), by_ada()),
        store.write_token("tok_1", lambda _: token(1), by_ada()),
        store.begin(token(1)),
        store.adopt_token_key("check", str),
        store.tokens_used({}),
    )
    for call in (
        *writes,
        store.revision(),
        store.read(None),
        store.read(0),
        store.tokens(),
        store.events(EventFilter(), 1),
    ):
        with pytest.raises(StoreUnavailableError):
            await call


async def test_an_sqlite_file_that_vanishes_is_out_of_reach(tmp_path: Path) -> None:
    """A database file that is removed is an error, and not begun anew without any policy."""
    async with store_at("sqlite", tmp_path, "") as store:
        await put(store, "acme")
        for file in tmp_path.iterdir():
            file.unlink()
        with pytest.raises(StoreUnavailableError):
            await store.revision()
        with pytest.raises(StoreUnavailableError):
            await put(store, "acme")

    assert not (tmp_path / "pullgate.db").exists()


async def test_an_sqlite_store_is_for_its_owner_alone(tmp_path: Path) -> None:
    """Nobody else may read the database."""
    async with store_at("sqlite", tmp_path, ""):
        assert (tmp_path / "pullgate.db").stat().st_mode & 0o777 == 0o600
