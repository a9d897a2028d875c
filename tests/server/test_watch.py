"""Watch: what subscribers are told, and that it is all, in order, once; how they go on where they were."""

import asyncio
import base64
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, closing
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import grpc
import pytest

from pullgate.v1 import policy_admin_pb2 as admin
from pullgate.v1 import policy_pb2
from pullgate_policy import (
    Category,
    CategoryEvidence,
    HubRepository,
    InvalidPolicyError,
    Preset,
    Problem,
    Role,
    preset_policy,
)
from pullgate_policy.access_token import CallerRole
from pullgate_policy.caller import Caller
from pullgate_policy.catalogue import parse_catalogue
from pullgate_policy.members import Member, MemberList
from pullgate_policy.pins import CategoryPin
from pullgate_server.categories.catalogue import Catalogue
from pullgate_server.categories.chain import Categories
from pullgate_server.categories.port import Outcome, SourceAnswer
from pullgate_server.categories.remembering import RememberedSource
from pullgate_server.rpc import watch_messages
from pullgate_server.stores.memory import MemoryStore
from pullgate_server.stores.port import Store
from pullgate_server.watching import hub, recent_changes
from pullgate_server.watching.categories import CategoryFeed
from pullgate_server.watching.subscription import Subscription
from pullgate_server.watching.view import View
from tests.conftest import SOON, Clock, Serve, Service
from tests.postgresql import PostgresqlServer
from tests.server.test_authorization import REQUESTS, Told, answer_to, make_token, member, told_by
from tests.server.test_remembering import ABSENT, FAILED, hub_with
from tests.stores import KINDS, NOW, by_ada, open_store, put_pin, put_policy, store_at
from tests.watching import Watcher, begun, known_of, watching

ORGANIZATIONS = ("acme", "globex", "initech", "umbrella")
PRESETS = list(Preset)
NEVER = 3600.0

REPLACED = ("FAILED_PRECONDITION", "STORE_REPLACED")


@pytest.fixture(params=KINDS)
async def store(request: pytest.FixtureRequest, tmp_path: Path, postgresql: PostgresqlServer) -> AsyncIterator[Store]:
    """An empty store of each kind."""
    async with open_store(request.param, tmp_path, postgresql) as store:
        yield store


async def write(store: Store, organization: str = "acme", number: int = 0, **fields: Any) -> int:
    """Write a policy, another one for each number; returns the revision."""
    return (await put_policy(store, preset_policy(PRESETS[number % 3], organization), **fields)).revision


async def remove(store: Store, organization: str) -> int:
    """Take a policy away."""
    return (await store.write_policy(organization, lambda _: None, by_ada())).event.revision


async def enlist(store: Store, organization: str, change: Callable[[MemberList], MemberList]) -> int:
    """Write a member list."""
    written = await store.write_members(organization, change, by_ada())
    assert written is not None
    return written.event.revision


def pin(name: str, organization: str = "", reason: str = "") -> CategoryPin:
    """A pin."""
    return CategoryPin(
        name=name,
        category=Category.OFFICIAL,
        community_class=None,
        reason=reason,
        author="ada",
        written_at=NOW,
        organization=organization,
    )


async def unpin(store: Store, name: str, organization: str = "") -> int:
    """Take a pin back."""
    return (await store.write_pin(organization, name, lambda _: None, by_ada())).event.revision


async def refused(watcher: Watcher) -> Told:
    """How a stream ends that ends otherwise than well."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await watcher.to_the_end()
    return told_by(raised.value)


def shows(organizations: tuple[str, ...]) -> Callable[[str], bool]:
    """What such a subscriber sees."""
    return lambda name: not organizations or name in organizations


# What is told.


async def test_a_snapshot_is_whole(serve: Serve, store: Store) -> None:
    """Chunks of hundreds of entries, and an end with their revision, number and digest: it is what the server has."""
    for number, organization in enumerate(ORGANIZATIONS * 8):
        await write(store, f"{organization}{number}", number)
    people = {f"user{number}": Member(username=f"user{number}", role=Role.MEMBER) for number in range(1001)}
    await enlist(store, "acme", lambda _: people)
    for number in range(250):
        await put_pin(store, pin(f"pinned{number}", "acme"))
    revision = await put_pin(store, pin("grafana"))
    async with serve(store=store) as service, watching(service, subscriber="proxy") as watcher:
        end = await watcher.until("snapshot_end")

        assert watcher.known == known_of(service.application.snapshots.current)
        assert (end.revision, end.count) == (revision, 32 + 1001 + 251)
        assert watcher.opened.newest_revision == revision
        assert not watcher.opened.resumed
        chunks = watcher.of("snapshot_chunk")
        assert len(chunks) > 5
        assert max(len(chunk.policies) + len(chunk.members) + len(chunk.pins) for chunk in chunks) < 400


async def test_an_empty_store_has_an_empty_snapshot(serve: Serve) -> None:
    """Where there is nothing a snapshot ends at once, and what is written then is told as added."""
    async with serve() as service, watching(service) as watcher:
        end = await watcher.until("snapshot_end")
        assert (end.revision, end.count, watcher.sorts) == (0, 0, ["opened", "snapshot_end"])
        await write(service.store)
        change = await watcher.until("change")

    assert (change.revision, change.prev_revision, list(change.added)) == (1, 0, ["acme"])


async def test_who_subscribes_is_told_who_it_is(serve: Serve) -> None:
    """Opened names the subscription and the store, and says what the caller is, for whom, until when."""
    async with serve(watch_bookmark=7.5) as service:
        made = await make_token(service, "enforcer", may_assert_roles=True, expires_in=timedelta(days=1))
        async with watching(service, secret=made.secret) as watcher:
            await begun(watcher)
            opened = watcher.opened

    assert opened.subscription_id.startswith("sub_")
    assert opened.store_id == await service.store.identity()
    assert (opened.role, opened.organization, opened.username) == (made.token.role, "acme", "")
    assert (opened.name, opened.may_assert_roles) == ("the enforcer", True)
    assert opened.expires_at.ToJsonString() == "2026-06-02T00:00:00Z"
    assert opened.bookmark_interval.ToTimedelta() == timedelta(seconds=7.5)


async def test_every_write_is_a_change(serve: Serve, store: Store) -> None:
    """Whatever is written is told, one Change for each revision, and comes to what the server says it has."""
    async with serve(store=store, watch_bookmark=NEVER) as service, watching(service) as watcher:
        await begun(watcher)
        patch = admin.PatchPolicyRequest(
            policy=policy_pb2.Policy(organization="acme", sign_in=policy_pb2.SignIn(required=True))
        )
        patch.update_mask.paths.append("sign_in.required")
        for method, request in (
            ("PutPolicy", REQUESTS["PutPolicy"]("acme", "")),
            ("PatchPolicy", patch),
            ("PutPolicy", REQUESTS["PutPolicy"]("globex", "")),
            ("DeletePolicy", admin.DeletePolicyRequest(organization="globex")),
            ("PutCategoryPin", REQUESTS["PutCategoryPin"]("acme", "")),
            ("PutCategoryPin", REQUESTS["PutCategoryPin"]("", "")),
            ("DeleteCategoryPin", REQUESTS["DeleteCategoryPin"]("acme", "")),
            ("WriteMembers", admin.WriteMembersRequest(organization="acme", members=map(member, "abc"))),
            ("WriteMembers", admin.WriteMembersRequest(organization="globex", members=[member("a")])),
            ("RemoveMembers", admin.RemoveMembersRequest(organization="acme", usernames=["a", "b"])),
            ("WriteMembers", admin.WriteMembersRequest(organization="globex", replace=True, allow_empty=True)),
        ):
            await answer_to(service, method, request)
        revision = await store.revision()
        await watcher.up_to(revision)

        assert [change.revision for change in watcher.of("change")] == list(range(1, revision + 1))
        policy = (await answer_to(service, "GetPolicy", admin.GetPolicyRequest(organization="acme"))).policy
        pins = (await answer_to(service, "ListCategoryPins", admin.ListCategoryPinsRequest())).pins
        members = (await answer_to(service, "ListMembers", admin.ListMembersRequest(organization="acme"))).members
    assert watcher.known.policies == {"acme": policy}
    assert policy.policy.sign_in.required
    assert watcher.known.pins == {("", "someuser"): pins[0]}
    assert watcher.known.members == {("acme", "c"): members[0]}


async def test_a_change_says_who_wrote_it_and_why(serve: Serve) -> None:
    """A Change carries the author, the moment and the note of its write."""
    async with serve() as service, watching(service) as watcher:
        await begun(watcher)
        await write(service.store, comment="as agreed")
        change = await watcher.until("change")

    assert (change.author, change.comment, change.written_at.ToDatetime(NOW.tzinfo)) == ("ada", "as agreed", NOW)
    assert not change.catch_up


async def test_a_filter_shows_what_it_names(serve: Serve, store: Store) -> None:
    """Who asked for organizations is told of them, of what enters and leaves, of pins for everybody, and no more."""
    await write(store, "globex")
    async with (
        serve(store=store, watch_bookmark=NEVER) as service,
        watching(service, organizations=["acme", "initech"]) as watcher,
    ):
        await begun(watcher)
        told = [
            await put_pin(store, pin("grafana")),
            await write(store, "acme"),
            await write(store, "acme", 1),
            await enlist(store, "initech", lambda _: {"ada": Member(username="ada", role=Role.OWNER)}),
        ]
        await write(store, "globex", 2)
        await enlist(store, "globex", lambda _: {"bob": Member(username="bob", role=Role.OWNER)})
        await put_pin(store, pin("loki", "globex"))
        told += [await remove(store, "acme"), await write(store, "acme", 2), await put_pin(store, pin("loki", "acme"))]
        await watcher.up_to(told[-1])

        changes = watcher.of("change")
        assert [change.revision for change in changes] == told
        assert [list(change.added) for change in changes] == [[], ["acme"], [], [], [], ["acme"], []]
        assert [list(change.removed_policies) for change in changes] == [[], [], [], [], ["acme"], [], []]
        assert watcher.known == known_of(service.application.snapshots.current, shows(("acme", "initech")))


async def test_large_policies_come_in_messages_of_their_own(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """No message holds more than fits, in a snapshot and in a change of many things: it is told in several."""
    monkeypatch.setattr(watch_messages, "MAX_MESSAGE_BYTES", 2_000)
    monkeypatch.setattr(watch_messages, "MAX_SLICE", 10)
    store = MemoryStore()
    for number in range(30):
        await write(store, f"org{number}", number)
        await put_pin(store, pin(f"name{number}", reason="r" * 100))
    async with serve(store=store) as service, watching(service) as watcher:
        await begun(watcher)
        people = {f"user{number}": Member(username=f"user{number}", role=Role.MEMBER) for number in range(300)}
        await watcher.up_to(await enlist(store, "acme", lambda _: people))

        assert watcher.known == known_of(service.application.snapshots.current)
    sizes = [message.ByteSize() for message in watcher.told if message.WhichOneof("event") != "opened"]
    assert max(sizes) < 10_000
    changes = watcher.of("change")
    assert len(changes) > 3
    assert [change.continues for change in changes] == [True] * (len(changes) - 1) + [False]
    assert len({(change.revision, change.prev_revision, change.resume_token) for change in changes}) == 1


async def test_what_others_write_is_told_one_by_one(serve: Serve, store: Store) -> None:
    """A server that takes in many revisions of others at one look still tells each on its own, in their order."""
    async with serve(store=store, store_poll=NEVER) as service, watching(service) as watcher:
        await begun(watcher)
        revisions = [await write(store, ORGANIZATIONS[number % 4], number) for number in range(40)]
        await service.application.snapshots.look()
        await watcher.up_to(revisions[-1])

    assert [change.revision for change in watcher.of("change")] == revisions


# How it goes on.


async def test_who_comes_back_goes_on(serve: Serve, store: Store) -> None:
    """With a resume token there is no snapshot: each revision since is told on its own, and then a bookmark."""
    await write(store)
    async with serve(store=store, watch_bookmark=NEVER) as service:
        async with watching(service) as first:
            await begun(first)
        revisions = [await write(store, ORGANIZATIONS[number % 4], number) for number in range(10)]
        await service.application.snapshots.look()
        async with watching(service, after=first) as watcher:
            bookmark = await watcher.until("bookmark")

            assert watcher.opened.resumed
            assert watcher.sorts == ["opened", *["change"] * 10]
            assert [change.revision for change in watcher.of("change")] == revisions
            assert bookmark.revision == revisions[-1]
            assert watcher.known == known_of(service.application.snapshots.current)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_who_comes_back_after_a_restart_goes_on(
    serve: Serve, kind: str, tmp_path: Path, postgresql: PostgresqlServer
) -> None:
    """A server that was started since reads from the store what a resume token lacks: there is no snapshot."""
    async with open_store(kind, tmp_path, postgresql) as store:
        await write(store)
        async with serve(store=store) as service, watching(service) as first:
            await begun(first)
        revisions = [await write(store, ORGANIZATIONS[number % 4], number) for number in range(10)]
        async with serve(store=store, watch_bookmark=NEVER) as service, watching(service, after=first) as watcher:
            await watcher.until("bookmark")
            assert watcher.opened.resumed
            assert [change.revision for change in watcher.of("change")] == revisions
            assert watcher.known == known_of(service.application.snapshots.current)


@pytest.mark.parametrize("restarted", [False, True])
async def test_who_was_away_for_too_long_begins_anew(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, *, restarted: bool
) -> None:
    """With more revisions since than are told one by one a snapshot follows on the same stream."""
    for module in (hub, recent_changes):
        monkeypatch.setattr(module, "MAX_REVISIONS", 10)
    store = MemoryStore()
    async with AsyncExitStack() as servers:
        service = await servers.enter_async_context(serve(store=store, watch_bookmark=NEVER))
        watchers = []
        for missed in (11, 10):
            async with watching(service) as watcher:
                await begun(watcher)
                watchers.append((missed, watcher))
            await write(store)
            await service.application.snapshots.look()
        for number in range(9):
            await write(store, number=number)
        await service.application.snapshots.look()
        if restarted:
            await servers.aclose()
            service = await servers.enter_async_context(serve(store=store, watch_bookmark=NEVER))
        for missed, former in watchers:
            async with watching(service, after=former) as watcher:
                await watcher.up_to(11)
                assert watcher.opened.resumed == (missed == 10)
                assert watcher.sorts[1] == ("change" if missed == 10 else "snapshot_chunk")
                assert watcher.known == known_of(service.application.snapshots.current)


async def test_another_view_begins_anew(serve: Serve) -> None:
    """A token of a subscription to other organizations leads to a snapshot, and one of the same in other words not."""
    async with serve() as service:
        await write(service.store)
        async with watching(service, organizations=["acme", "globex"]) as first:
            await begun(first)
        for organizations, resumed in (
            (["globex", "acme", "acme"], True),
            (["acme"], False),
            (["acme", "globex", "initech"], False),
            ([], False),
        ):
            async with watching(service, resume_token=first.token, organizations=organizations) as watcher:
                await watcher.next()
                assert watcher.opened.resumed == resumed, organizations


def encoded(text: str) -> str:
    """As resume tokens are."""
    return base64.urlsafe_b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "token",
    ["nonsense", "ä", "x" * 201, encoded("1.a.b"), encoded("2.a.1.b.c"), encoded("1.a.-1.b.c"), encoded("1.a.٣.b.c"),
     encoded(f"1.a.{'9' * 30}.b.c"), base64.urlsafe_b64encode(b"\xff\xfe").decode()],
)  # fmt: skip
async def test_what_is_no_token_is_refused(serve: Serve, token: str) -> None:
    """A text that no stream gave is INVALID_ARGUMENT, and nothing else happens."""
    async with serve() as service, watching(service, resume_token=token) as watcher:
        told = await refused(watcher)

    assert told.ending == ("INVALID_ARGUMENT", "FIELD_INVALID")
    assert "resume_token" in told.status.message


async def test_another_store_is_said_to_be_another(serve: Serve) -> None:
    """A token of another store is refused, so that who holds it knows that there is nothing to go on from."""
    async with serve() as service, watching(service) as first:
        await begun(first)
    async with serve() as other, watching(other, after=first) as watcher:
        told = await refused(watcher)

    assert told.ending == REPLACED


@pytest.mark.parametrize("further", [0, 2, 3])
async def test_a_restored_backup_is_another_history(serve: Serve, tmp_path: Path, further: int) -> None:
    """Streams end when a backup is put in place, and tokens of what was lost are refused; older ones are good."""
    clock = Clock()
    database, backup = tmp_path / "pullgate.db", tmp_path / "backup.db"
    async with store_at("sqlite", tmp_path, "") as store, serve(store=store, clock=clock, store_poll=NEVER) as service:
        await write(store)
        await service.application.snapshots.look()
        async with watching(service) as old, watching(service) as lost:
            await begun(old)
            await begun(lost)
            with closing(sqlite3.connect(database)) as connection, closing(sqlite3.connect(backup)) as copy:
                connection.backup(copy)
            await write(store, "globex", written_at=NOW + timedelta(seconds=1))
            await service.application.snapshots.look()
            await lost.up_to(2)
            await store.close()
            for suffix in ("", "-wal", "-shm"):
                Path(f"{database}{suffix}").unlink(missing_ok=True)
            shutil.copy(backup, database)
            for number in range(further):
                await write(store, "initech", number, written_at=NOW + timedelta(seconds=2 + number))
            await service.application.snapshots.look()

            assert (await refused(lost)).ending == REPLACED
        async with watching(service, after=lost) as watcher:
            assert (await refused(watcher)).ending == REPLACED
        async with watching(service, after=old) as watcher:
            await watcher.until("bookmark")
            assert watcher.opened.resumed
            assert len(watcher.of("change")) == further


async def test_another_store_in_the_place_of_the_first(serve: Serve) -> None:
    """Where a running server finds another store streams end, and who comes next is told that store's name."""
    async with serve(store_poll=NEVER, watch_bookmark=NEVER) as service, watching(service) as watcher:
        await write(service.store, "globex")
        await service.application.snapshots.look()
        await watcher.up_to(1)
        other = MemoryStore()
        for stored in await service.store.tokens():
            await other.begin(stored)
        for number in range(3):
            await write(other, number=number)
        vars(service.store).update(vars(other))
        await service.application.snapshots.look()
        assert (await refused(watcher)).ending == REPLACED
        async with watching(service) as following:
            await begun(following)
            assert following.opened.store_id == await other.identity() != watcher.opened.store_id
        async with watching(service, after=watcher) as late:
            assert (await refused(late)).ending == REPLACED
        async with watching(service, after=following) as again:
            await again.until("bookmark")


async def test_a_token_from_a_server_that_is_ahead(serve: Serve) -> None:
    """Who comes to a server that has not looked for long makes it look, and goes on there."""
    store = MemoryStore()
    async with (
        serve(store=store, watch_bookmark=NEVER) as ahead,
        serve(store=store, store_poll=NEVER, watch_bookmark=NEVER) as behind,
    ):
        async with watching(ahead) as first:
            await begun(first)
            await first.up_to(await write(store))
        assert behind.application.snapshots.current.revision == 0
        async with watching(behind, after=first) as watcher:
            bookmark = await watcher.until("bookmark")

    assert (watcher.sorts, bookmark.revision) == (["opened"], 1)


async def test_a_store_out_of_reach(serve: Serve) -> None:
    """Without its store a server tells what it knows, says how old that is, and of what is newer to come again."""
    store = MemoryStore()
    async with (
        serve(store=store, watch_bookmark=0.01) as service,
        serve(store=store, store_poll=NEVER) as behind,
        watching(service) as newest,
    ):
        await begun(newest)
        await newest.up_to(await write(store))
        store.available = False
        await service.application.snapshots.look()
        async with watching(service) as watcher:
            await begun(watcher)
            assert watcher.known == newest.known
            while not (bookmark := await watcher.until("bookmark")).HasField("known_as_of"):
                pass
            assert bookmark.known_as_of.ToJsonString() == "2026-06-01T00:00:00Z"
        async with watching(behind, after=newest) as watcher:
            told = await refused(watcher)
            assert told.ending == ("UNAVAILABLE", "REVISION_NOT_YET_VISIBLE")
        store.available = True
        await service.application.snapshots.look()
        while (await newest.until("bookmark")).HasField("known_as_of"):
            pass


async def test_a_bookmark_follows_a_snapshot(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Right after every snapshot, also one amid a stream, a bookmark says whether it is the newest that there is."""
    monkeypatch.setattr(recent_changes, "MAX_THINGS", 2)
    store = MemoryStore()
    async with serve(store=store, watch_bookmark=NEVER, store_poll=NEVER) as service:
        await write(store)
        await service.application.snapshots.look()
        async with watching(service) as watcher:
            await begun(watcher)
            bookmark = await watcher.until("bookmark")
            assert (bookmark.revision, bookmark.HasField("known_as_of")) == (1, False)
            for number in range(100):
                await write(store, f"{ORGANIZATIONS[number % 4]}{number}")
            await service.application.snapshots.look()
            await begun(watcher)
            assert (await watcher.until("bookmark")).revision == 101
        store.available = False
        await service.application.snapshots.look()
        async with watching(service) as watcher:
            await begun(watcher)
            assert (await watcher.until("bookmark")).HasField("known_as_of")


async def test_an_event_that_cannot_be_read_is_no_end(serve: Serve) -> None:
    """Who would have to be told of a write that this server cannot read gets a snapshot, and goes on from there."""
    store = UnreadableStore()
    async with serve(store=store) as service, watching(service) as first:
        await write(store)
        await service.application.snapshots.look()
        await begun(first)
    await write(store, "globex")
    async with serve(store=store) as service, watching(service, after=first) as watcher:
        store.is_readable = False
        await begun(watcher)
        assert not watcher.opened.resumed
        assert set(watcher.known.policies) == {"acme", "globex"}
        store.is_readable = True
        await watcher.up_to(await write(store))


class UnreadableStore(MemoryStore):
    """A store whose log may have events that cannot be read."""

    is_readable = True

    async def read(self, since: int | None) -> Any:
        """What was written."""
        if since is not None and not self.is_readable:
            raise InvalidPolicyError([Problem("tomorrow", "is not a setting")])
        return await super().read(since)


async def test_what_comes_while_somebody_resumes_is_told(serve: Serve) -> None:
    """Of writes while the store is being read for who resumes none is lost, however many they are."""
    store = SlowStore()
    await write(store)
    async with serve(store=store) as service, watching(service) as first:
        await begun(first)
    await write(store)
    async with serve(store=store, store_poll=NEVER, watch_bookmark=0.01) as service:
        store.hold = 1
        async with watching(service, after=first) as watcher:
            async with asyncio.timeout(SOON):
                await store.reading.wait()
            for number in range(300):
                last = await write(store, ORGANIZATIONS[number % 4], number)
                await service.application.snapshots.refresh()
            store.go_on.set()
            await watcher.up_to(last)

            assert watcher.opened.resumed
            assert watcher.known == known_of(service.application.snapshots.current)
            last = await write(store)
            await service.application.snapshots.look()
            await watcher.up_to(last)


class SlowStore(MemoryStore):
    """A store whose reads from a revision on can be held up once they have what they give.

    Attributes:
        hold: the revision.
    """

    def __init__(self) -> None:
        super().__init__()
        self.hold = -1
        self.reading, self.go_on = asyncio.Event(), asyncio.Event()

    async def read(self, since: int | None) -> Any:
        """What was written."""
        contents = await super().read(since)
        if since == self.hold:
            self.reading.set()
            await self.go_on.wait()
        return contents


async def write_something(store: Store, random: Random) -> int:
    """Any write there is."""
    organization, name = random.choice(ORGANIZATIONS), f"name{random.randrange(6)}"
    match random.randrange(7):
        case 0 | 1:
            return await write(store, organization, random.randrange(3))
        case 2:
            return await remove(store, organization)
        case 3:
            return await put_pin(store, pin(name, random.choice(("", organization)), str(random.random())))
        case 4:
            return await unpin(store, name, random.choice(("", organization)))
        case 5:
            entry = Member(username=name, role=random.choice(list(Role)), teams=frozenset({str(random.random())}))
            return await enlist(store, organization, lambda listed: {**listed, name: entry})
    await store.write_members(organization, lambda _: {}, by_ada())
    return await store.revision()


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_happens_all_end_with_the_same(
    serve: Serve, store: Store, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Amid writes of every sort subscribers come, go and come back anywhere; none misses anything, all end alike."""
    for module in (hub, recent_changes):
        monkeypatch.setattr(module, "MAX_REVISIONS", 40)
    random = Random(seed)
    finished = asyncio.Event()

    async def subscribe(service: Service, organizations: tuple[str, ...], random: Random) -> Watcher:
        watcher = Watcher(None)
        while not finished.is_set():
            async with watching(service, organizations=organizations, after=watcher) as following:
                for _ in range(random.randrange(1, 30)):
                    await following.next()
            if following.token:
                watcher = following
            await asyncio.sleep(random.choice((0, 0, 0.02)))
        async with watching(service, organizations=organizations, after=watcher) as following:
            return await following.up_to(await store.revision())

    async with serve(store=store, watch_bookmark=0.02) as service, serve(store=store, watch_bookmark=0.02) as other:
        views = [(), (), ("acme",), ("acme", "globex"), ("initech", "umbrella"), ("nobody",)]
        subscribers = [
            asyncio.ensure_future(subscribe((service, other)[index % 2], view, Random(seed * 100 + index)))
            for index, view in enumerate(views)
        ]
        for _ in range(120):
            await write_something(store, random)
            await asyncio.sleep(0)
        for server in (service, other):
            await server.application.snapshots.look()
        finished.set()
        for view, watcher in zip(views, await asyncio.gather(*subscribers), strict=True):
            assert watcher.known == known_of(service.application.snapshots.current, shows(view)), view


# Categories, as the feed hears of them.


PUBLISHER = SourceAnswer(
    outcome=Outcome.KNOWN, evidence=CategoryEvidence(category=Category.VERIFIED_PUBLISHER, detail="badge")
)
LOKI = HubRepository("grafana/loki")


class Feed:
    """What subscribers of acme are told of categories: of a catalogue, and of a source that is believed more."""

    def __init__(self, remembered: RememberedSource, clock: Clock) -> None:
        self.catalogue = Catalogue("catalogue")
        self.categories = Categories([remembered, self.catalogue], wait=timedelta(seconds=SOON), clock=clock)
        self.feed = CategoryFeed(self.categories)
        self.subscription = self.subscribe("acme")

    def subscribe(self, organization: str) -> Subscription:
        """One more subscriber."""
        subscription = Subscription(
            f"sub_{organization}",
            name=organization,
            caller=Caller(id="", name="proxy", role=CallerRole.ENFORCER, organization=organization),
            view=View(frozenset({organization}), includes_categories=True),
            asked=(),
            connected_at=NOW,
        )
        self.feed.subscribe(subscription)
        return subscription

    async def find(self, wait: float = SOON, asked_by: str = "acme") -> Category:
        """What a decision is made from."""
        return (await self.categories.category_of(LOKI, asked_by, wait)).evidence.category

    async def look(self, *names: str) -> None:
        """Have the catalogue name these, and the feed look."""
        entries = "".join(
            f"- {{{'repository' if '/' in name else 'namespace'}: {name}, category: COMMUNITY, source: test, "
            "retrieved_at: 2026-01-01T00:00:00Z}\n"
            for name in names
        )
        self.catalogue.replace(parse_catalogue("entries:\n" + entries if names else "entries: []"))
        self.feed.something_changed()
        await self.feed.look()

    def told(self) -> list[tuple[str, Category]]:
        """What the subscriber was told since."""
        return [(known.name, known.evidence.category) for known in self.subscription.take_categories()]


async def test_a_failed_look_up_is_no_news() -> None:
    """What a source has said goes on, for subscribers too, while it cannot be asked; nor is a failure told at first."""
    async with hub_with() as hub:
        feed = Feed(hub.remembered, hub.clock)
        hub.source.answers["grafana"] = FAILED
        assert await feed.find() is Category.UNKNOWN
        assert feed.told() == []
        hub.source.answers["grafana"] = PUBLISHER
        await feed.find()
        assert feed.told() == [(LOKI.path, Category.VERIFIED_PUBLISHER)]
        hub.clock.advance(days=30)
        hub.source.answers["grafana"] = FAILED
        assert await feed.find() is Category.UNKNOWN
        await feed.look("other")
        assert feed.told() == []
        hub.source.answers["grafana"] = ABSENT
        assert await feed.find() is Category.UNKNOWN
        assert feed.told() == [(LOKI.path, Category.UNKNOWN)]


async def test_a_catalogue_is_heard_though_a_source_fails() -> None:
    """What the catalogue says, or says no more, is told also while the source before it cannot be asked."""
    async with hub_with() as hub:
        feed = Feed(hub.remembered, hub.clock)
        hub.source.answers["grafana"] = FAILED
        await feed.look("grafana")
        await feed.find()
        assert feed.told() == [(LOKI.path, Category.COMMUNITY)]
        await feed.look()
        assert feed.told() == [(LOKI.path, Category.UNKNOWN)]


async def test_looking_asks_nobody() -> None:
    """However much has changed, and however old what was found is, the feed makes no look-up."""
    async with hub_with() as hub:
        feed = Feed(hub.remembered, hub.clock)
        hub.source.answers["grafana"] = ABSENT
        await feed.find()
        assert feed.told() == [(LOKI.path, Category.UNKNOWN)]
        await feed.look("grafana")
        assert feed.told() == [(LOKI.path, Category.COMMUNITY)]
        for _ in range(3):
            hub.clock.advance(days=3)
            await feed.look("grafana")
            await hub.settled()
        assert hub.source.asked == ["grafana"]
        assert feed.told() == []


async def test_a_namespace_that_is_divided_is_told() -> None:
    """Once a catalogue names one repository, what is known of the whole namespace is taken back from everybody."""
    async with hub_with() as hub:
        feed = Feed(hub.remembered, hub.clock)
        other = feed.subscribe("globex")
        hub.source.answers["grafana"] = PUBLISHER
        await feed.find()
        feed.told()
        await feed.look("grafana/evil")
        assert feed.told() == [("grafana", Category.UNKNOWN)]
        assert [known.name for known in other.take_categories()] == ["grafana"]
        await feed.look("grafana/evil", "grafana")
        assert feed.told() == []
        late = feed.subscribe("initech")
        assert [known.name for known in feed.feed.known_to(late.view)] == ["grafana"]
        assert [known.name for known in feed.feed.known_to(feed.subscription.view)] == ["grafana", LOKI.path]
