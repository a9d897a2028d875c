"""The list of subscribers: kept by every kind of store alike, and shared by servers on one database."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

import grpc
import pytest

from pullgate.local import OPERATOR_TOKEN_FILE
from pullgate.v1 import policy_admin_pb2 as admin
from pullgate.v1.policy_admin_pb2_grpc import PolicyAdminServiceStub
from pullgate.v1.policy_watch_pb2 import ReportAppliedRequest, WatchRequest, WatchResponse
from pullgate.v1.policy_watch_pb2_grpc import PolicyWatchServiceStub
from pullgate_policy.access_token import CallerRole
from pullgate_policy.caller import Caller
from pullgate_server.errors import StoreUnavailableError, SubscriptionNotFoundError
from pullgate_server.stores.sql import SqlStore
from pullgate_server.stores.sql_subscribers import SqlSubscriberList
from pullgate_server.stores.subscribers import (
    FORGOTTEN_AFTER,
    MemorySubscriberList,
    SubscriberList,
    SubscriberRecord,
)
from pullgate_server.watching import subscribers
from pullgate_server.watching.hub import WatchHub
from pullgate_server.watching.subscribers import Subscribers
from pullgate_server.watching.subscription import Subscription
from pullgate_server.watching.view import View
from tests.conftest import SOON, Clock, Serve, ServerProcess, Service, start_server, stop_server
from tests.postgresql import PostgresqlServer
from tests.server.test_authorization import answer_to, bearer, make_token
from tests.server.test_watch import NEVER, write
from tests.stores import KINDS, NOW, open_store
from tests.watching import Watcher, begun, watching

NOBODY: frozenset[str] = frozenset()


@pytest.fixture(params=KINDS)
async def shared(
    request: pytest.FixtureRequest, tmp_path: Path, postgresql: PostgresqlServer
) -> AsyncIterator[SubscriberList]:
    """An empty list of each kind."""
    async with open_store(request.param, tmp_path, postgresql) as store:
        yield SqlSubscriberList(store.engine) if isinstance(store, SqlStore) else MemorySubscriberList()


def record(key: str, server: str = "one", **fields: Any) -> SubscriberRecord:
    """A subscription."""
    return SubscriberRecord(
        **{
            "id": f"sub_{key}",
            "server": server,
            "name": key,
            "caller_id": "tok_proxy",
            "caller": "proxy",
            "organization": "acme",
            "watched": ("acme", "globex"),
            "connected_at": NOW,
            "sent_revision": 5,
            "waiting_since": NOW,
            "applied_revision": 0,
            "applied_at": None,
            "error": "",
            **fields,
        }
    )


async def test_what_is_kept_is_listed(shared: SubscriberList) -> None:
    """Every field comes back, in the order of the names, of one organization or of all."""
    records = [
        record("a", applied_revision=4, applied_at=NOW, error="why\tnot"),
        record("b", "two", organization="", watched=(), waiting_since=None),
        record("c", name="ä ö", sent_revision=2**62),
    ]
    await shared.keep("two", NOW, [records[1]], NOBODY)
    await shared.keep("one", NOW, [records[2], records[0]], NOBODY)

    assert await shared.all(None, NOW) == records
    assert await shared.all("acme", NOW) == [records[0], records[2]]
    assert await shared.all("globex", NOW) == []


async def test_who_has_gone_is_listed_no_more(shared: SubscriberList) -> None:
    """What a server says last of a subscription holds, and that it is gone; hundreds at a time."""
    await shared.keep("one", NOW, [record(f"{number:04}") for number in range(1200)], NOBODY)
    changed = [record(f"{number:04}", sent_revision=6) for number in range(0, 1200, 2)]
    await shared.keep("one", NOW, changed, {f"sub_{number:04}" for number in range(1, 1200, 2)} | {"sub_unknown"})

    assert await shared.all(None, NOW) == changed


async def test_servers_that_are_not_seen_are_forgotten(shared: SubscriberList) -> None:
    """A minute after a server was seen last its subscribers are not listed, whoever else is there, and come back."""
    await shared.keep("one", NOW, [record("a")], NOBODY)
    await shared.keep("two", NOW, [record("b", "two")], NOBODY)
    almost, later = NOW + FORGOTTEN_AFTER - timedelta(seconds=1), NOW + FORGOTTEN_AFTER

    assert [item.name for item in await shared.all(None, almost)] == ["a", "b"]
    assert await shared.all(None, later) == []
    await shared.keep("two", almost, [], NOBODY)
    assert [item.name for item in await shared.all(None, later)] == ["b"]
    await shared.keep("two", later, [], NOBODY)
    await shared.keep("one", later, [record("a")], NOBODY)
    assert [item.name for item in await shared.all(None, later)] == ["a", "b"]


async def test_a_report_through_another_server_stays(shared: SubscriberList) -> None:
    """What a subscriber says through any server holds until it says something later; of others it says nothing."""
    await shared.keep("one", NOW, [record("a")], NOBODY)
    later = NOW + timedelta(seconds=1)

    refused = record("a", applied_revision=4, applied_at=later, error="refused")
    await shared.keep("two", NOW, [refused, record("b", applied_revision=9, applied_at=later)], NOBODY)
    assert await shared.all(None, NOW) == [refused]
    assert await shared.find(["sub_a", "sub_b"]) == {"sub_a": refused}
    applied = replace(refused, applied_revision=5, applied_at=later + timedelta(seconds=1), error="")
    await shared.keep("two", NOW, [replace(applied, sent_revision=0)], NOBODY)
    await shared.keep("one", NOW, [record("a", waiting_since=NOW)], NOBODY)
    applied = replace(applied, waiting_since=None)
    assert await shared.all(None, NOW) == [applied]
    newest = record("a", applied_revision=6, applied_at=later + timedelta(seconds=2), sent_revision=6)
    await shared.keep("one", NOW, [newest], NOBODY)
    assert await shared.all(None, NOW) == [newest]


# As people see it.


async def listed(service: Service, secret: str = "", **fields: Any) -> list[Any]:
    """The subscribers on a page."""
    answer = await answer_to(service, "ListSubscribers", admin.ListSubscribersRequest(**fields), secret)
    return list(answer.subscribers)


async def report(service: Service, watcher: Watcher, revision: int, error: str = "", secret: str = "") -> None:
    """Say what a subscriber runs."""
    stub: Any = PolicyWatchServiceStub(service.channel)
    request = ReportAppliedRequest(subscription_id=watcher.opened.subscription_id, revision=revision, error=error)
    await stub.ReportApplied(request, metadata=bearer(secret or service.token), timeout=SOON)


async def test_a_subscriber_is_listed_with_what_it_runs(serve: Serve) -> None:
    """Name, caller, what was sent and applied, for how long something is not, and why, a minute beyond the end."""
    async with serve(watch_bookmark=NEVER) as service:
        made = await make_token(service, "enforcer")
        async with watching(service, secret=made.secret, subscriber="proxy 7", organizations=["acme"]) as watcher:
            await begun(watcher)
            (before,) = await listed(service)
            service.clock.advance(seconds=2)
            await report(service, watcher, watcher.revision, secret=made.secret)
            (applied,) = await listed(service)
            revision = await write(service.store)
            await watcher.up_to(revision)
            service.clock.advance(seconds=3)
            await report(service, watcher, revision - 1, "unusable \x00" + "x" * 2000, secret=made.secret)
            service.clock.advance(seconds=4)
            (behind,) = await listed(service)
            left = asyncio.Event()
            service.application.hub.call_on_leave(lambda _: left.set())
        async with asyncio.timeout(SOON):
            await left.wait()
        (gone,) = await listed(service)
        service.clock.advance(seconds=FORGOTTEN_AFTER.total_seconds())
        assert await listed(service) == []

    assert gone.error == behind.error
    assert (before.name, before.caller, before.organization) == ("proxy 7", "the enforcer", "acme")
    assert list(before.watched_organizations) == ["acme"]
    assert before.subscription_id == watcher.opened.subscription_id
    assert before.connected_at.ToJsonString() == "2026-06-01T00:00:00Z"
    assert (before.sent_revision, before.applied_revision) == (watcher.of("snapshot_end")[0].revision, 0)
    assert not before.HasField("applied_at")
    assert before.lag.ToTimedelta() == timedelta(0)
    assert not applied.HasField("lag")
    assert applied.applied_at.ToJsonString() == "2026-06-01T00:00:02Z"
    assert (behind.sent_revision, behind.applied_revision) == (revision, revision - 1)
    assert behind.lag.ToTimedelta() == timedelta(seconds=7)
    assert behind.error == "unusable  " + "x" * 990


async def test_a_list_has_pages_and_is_ones_own(serve: Serve) -> None:
    """Pages come in the order of the names, and show who is not an operator the subscribers of its organization."""
    async with serve() as service, contextlib.AsyncExitStack() as streams:
        secrets = {name: (await make_token(service, "enforcer", name)).secret for name in ("acme", "globex")}
        manager = (await make_token(service, "policy_manager")).secret
        for number in range(7):
            secret = secrets["acme" if number % 2 else "globex"]
            await begun(
                await streams.enter_async_context(watching(service, secret=secret, subscriber=f"proxy {number // 2}"))
            )
        pages: list[list[str]] = []
        token = ""
        while not pages or token:
            request = admin.ListSubscribersRequest(page_size=3, page_token=token)
            answer = await answer_to(service, "ListSubscribers", request)
            pages.append([item.name[-1] for item in answer.subscribers])
            token = answer.next_page_token

        assert pages == [["0", "0", "1"], ["1", "2", "2"], ["3"]]
        assert [item.name[-1] for item in await listed(service, manager)] == ["0", "1", "2"]
        assert [item.name[-1] for item in await listed(service, organization="globex")] == ["0", "1", "2", "3"]
        assert answer.newest_revision == await service.store.revision()


@dataclass(frozen=True)
class Told:
    """Servers in one process on one list, and what a subscriber says of itself."""

    shared: "CountingList"
    clock: Clock
    hubs: "tuple[FakeHub, FakeHub]"
    servers: tuple[Subscribers, Subscribers]

    def subscribe(self, name: str = "proxy") -> Subscription:
        """Have a subscriber at the first server."""
        return self.hubs[0].subscribe(name, self.clock())

    async def said(self, subscription: Subscription, revision: int, error: str = "", *, to: int = 0) -> None:
        """Have it report to a server."""
        await self.servers[to].report(PROXY, subscription.id, revision, error)

    async def listed(self) -> list[tuple[str, int, str]]:
        """What each server lists, once both have written down what they know, which is the same."""
        for server in self.servers:
            await server.keep()
        lists = [
            [(item.name, item.applied_revision, item.error) for item in await server.list(None)]
            for server in self.servers
        ]
        assert lists[0] == lists[1]
        return lists[0]


PROXY = Caller(id="tok_proxy", name="proxy", role=CallerRole.ENFORCER, organization="acme")


class CountingList(MemorySubscriberList):
    """Counts reads and writes, and may be out of reach."""

    def __init__(self) -> None:
        super().__init__()
        self.reads, self.broken = 0, False
        self.writes: list[list[str]] = []

    async def find(self, subscription_ids: Collection[str]) -> Mapping[str, SubscriberRecord]:
        """Take a moment for it."""
        self.reads += 1
        await asyncio.sleep(0)
        if self.broken:
            raise StoreUnavailableError
        return await super().find(subscription_ids)

    async def keep(self, server: str, now: datetime, records: Sequence[SubscriberRecord], gone: Any) -> None:
        """Note what is written."""
        self.writes.append([record.id for record in records])
        await super().keep(server, now, records, gone)


class FakeHub:
    """The subscriptions of a server."""

    def __init__(self) -> None:
        self.open: dict[str, Subscription] = {}
        self.call_back: Any = None

    @property
    def subscriptions(self) -> Sequence[Subscription]:
        """Those that are open."""
        return tuple(self.open.values())

    def find(self, subscription_id: str) -> Subscription | None:
        """The open one with this id."""
        return self.open.get(subscription_id)

    def call_on_leave(self, callback: Any) -> None:
        """Call back."""
        self.call_back = callback

    def subscribe(self, name: str, now: datetime) -> Subscription:
        """Open one more, which was told revision 5."""
        subscription = Subscription(
            f"sub_{len(self.open)}_{now.timestamp()}",
            name=name,
            caller=PROXY,
            view=View(frozenset({"acme"})),
            asked=(),
            connected_at=now,
        )
        subscription.told_up_to(5)
        subscription.note_unapplied(5, now)
        self.open[subscription.id] = subscription
        return subscription

    def leave(self, subscription: Subscription, now: datetime) -> None:
        """Close one."""
        del self.open[subscription.id]
        subscription.leave(now)
        self.call_back(subscription)


@pytest.fixture
def told() -> Told:
    """Two servers without subscribers."""
    shared, clock, hubs = CountingList(), Clock(), (FakeHub(), FakeHub())
    one, two = (Subscribers(cast("WatchHub", hub), shared, name, clock) for hub, name in zip(hubs, "ab", strict=True))
    return Told(shared, clock, hubs, (one, two))


async def test_reports_are_written_down_together(told: Told) -> None:
    """Neither a report of nobody nor one of another server's subscriber is a write; they are written in one go."""
    subscriptions = [told.subscribe(f"proxy {number}") for number in range(3)]
    await told.servers[0].keep()
    told.clock.advance(seconds=1)
    for subscription in subscriptions:
        await told.said(subscription, 5, to=1)
        with pytest.raises(SubscriptionNotFoundError):
            await told.servers[1].report(replace(PROXY, id="tok_other"), subscription.id, 9, "lies")
    with pytest.raises(SubscriptionNotFoundError):
        await told.servers[1].report(PROXY, "sub_nobody", 9, "lies")
    assert len(told.shared.writes) == 1
    assert [item.applied_revision for item in await told.servers[1].list(None)] == [5, 5, 5]
    await told.servers[1].keep()

    assert told.shared.writes[1:] == [[subscription.id for subscription in subscriptions]]


async def test_reports_are_looked_for_together(told: Told) -> None:
    """However many report at once to a server that does not know them, the list is read twice at most."""
    subscription = told.subscribe()
    await told.servers[0].keep()
    told.clock.advance(seconds=1)
    reads = told.shared.reads
    results = await asyncio.gather(
        *(told.servers[1].report(PROXY, f"sub_{number}", 5, "") for number in range(100)),
        told.said(subscription, 5, to=1),
        return_exceptions=True,
    )

    assert [type(result) for result in results] == [SubscriptionNotFoundError] * 100 + [type(None)]
    assert told.shared.reads - reads <= 2
    told.shared.broken = True
    results = await asyncio.gather(*(told.said(subscription, 6, to=1) for _ in range(3)), return_exceptions=True)
    assert [type(result) for result in results] == [StoreUnavailableError] * 3
    told.shared.broken = False
    await told.said(subscription, 6, to=1)
    assert await told.listed() == [("proxy", 6, "")]


async def test_a_list_writes_nothing(told: Told) -> None:
    """Whoever lists sees what each subscriber was told by now, also by bookmarks, and nothing is written for it."""
    subscription = told.subscribe()
    await told.servers[0].keep()
    subscription.told = 7
    (shown,) = await told.servers[0].list("acme")

    assert (shown.sent_revision, len(told.shared.writes)) == (7, 1)
    assert await told.servers[0].list("globex") == []


async def test_a_server_hears_what_others_are_told(told: Told) -> None:
    """Since when a subscriber is behind counts from what it has said last, to whichever server."""
    subscription = told.subscribe()
    await told.servers[0].keep()
    told.clock.advance(seconds=1)
    await told.said(subscription, 5, to=1)
    await told.servers[1].keep()
    told.clock.advance(hours=2)
    subscription.note_unapplied(6, told.clock())
    await told.servers[0].keep()

    for server in told.servers:
        (shown,) = await server.list(None)
        assert (shown.applied_revision, shown.lag) == (5, timedelta(0))
    await told.said(subscription, 6, to=1)
    await told.servers[1].keep()
    told.clock.advance(minutes=1)
    await told.servers[0].keep()
    assert subscription.waiting_since is None


async def test_who_was_forgotten_is_written_down_anew(told: Told) -> None:
    """When the database comes back after a minute subscribers that have not changed are in every server's list."""
    one, two = told.servers
    told.subscribe()
    await one.keep()
    assert [item.name for item in await two.list(None)] == ["proxy"]
    told.clock.advance(seconds=FORGOTTEN_AFTER.total_seconds())
    await told.shared.keep("b", told.clock(), [], NOBODY)
    assert await two.list(None) == []
    await one.keep()

    assert [item.name for item in await two.list(None)] == ["proxy"]


@pytest.mark.parametrize("to", [0, 1])
async def test_who_refuses_and_leaves_is_listed(told: Told, to: int) -> None:
    """A report that comes after its subscriber has left is listed for a minute, to whichever server it was sent."""
    subscription = told.subscribe()
    assert await told.listed() == [("proxy", 0, "")]
    told.hubs[0].leave(subscription, told.clock())
    assert await told.listed() == []
    told.clock.advance(seconds=1)
    await told.said(subscription, 5, "a setting of tomorrow", to=to)
    assert await told.listed() == [("proxy", 5, "a setting of tomorrow")]
    told.clock.advance(seconds=FORGOTTEN_AFTER.total_seconds() - 2)
    assert await told.listed() == [("proxy", 5, "a setting of tomorrow")]
    told.clock.advance(seconds=1)
    assert await told.listed() == []
    with pytest.raises(SubscriptionNotFoundError):
        await told.said(subscription, 5)
    assert not told.shared._records


async def test_who_is_back_and_well_has_refused_nothing(told: Told) -> None:
    """A refusal goes from the list when who refused is back under its name and says what it runs, not before."""
    other, subscription = told.subscribe("proxy"), told.subscribe("proxy")
    told.clock.advance(minutes=1)
    await told.said(other, 5)
    told.hubs[0].leave(subscription, told.clock())
    await told.said(subscription, 4, "refused")
    assert await told.listed() == [("proxy", 5, ""), ("proxy", 4, "refused")]
    told.clock.advance(seconds=1)
    again = told.subscribe("proxy")
    assert sorted(await told.listed()) == [("proxy", 0, ""), ("proxy", 4, "refused"), ("proxy", 5, "")]
    await told.said(again, 4, "refused again")
    assert sorted(await told.listed()) == [("proxy", 4, "refused again"), ("proxy", 5, "")]
    told.hubs[0].leave(again, told.clock())
    assert sorted(await told.listed()) == [("proxy", 4, "refused again"), ("proxy", 5, "")]
    told.clock.advance(seconds=1)
    back = told.subscribe("proxy")
    await told.said(back, 5)
    assert await told.listed() == [("proxy", 5, ""), ("proxy", 5, "")]


async def test_few_of_those_who_left_are_remembered(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many come and go, only the last of them may still say why."""
    monkeypatch.setattr(subscribers, "MAX_LEFT", 2)
    left = [told.subscribe(f"proxy {number}") for number in range(5)]
    await told.servers[0].keep()
    for subscription in left:
        told.hubs[0].leave(subscription, told.clock())
    await told.servers[0].keep()

    assert list(told.shared._records) == [subscription.id for subscription in left[3:]]


class Elsewhere:
    """A server that is a process of its own, and a subscriber of it."""

    def __init__(self, server: ServerProcess, channel: grpc.aio.Channel, token: str) -> None:
        self.server = server
        self.metadata = bearer(token)
        self.administration: Any = PolicyAdminServiceStub(channel)
        self.watching: Any = PolicyWatchServiceStub(channel)

    async def subscribe(self, name: str) -> tuple[Any, str]:
        """A stream that has its snapshot, and its id."""
        stream = self.watching.Watch(WatchRequest(subscriber=name), metadata=self.metadata)
        opened: WatchResponse = await stream.read()
        assert (await stream.read()).HasField("snapshot_end")
        return stream, opened.opened.subscription_id

    async def until(self, *expected: tuple[str, int]) -> None:
        """List until the names and what they applied are these."""
        async with asyncio.timeout(SOON):
            while True:
                request = admin.ListSubscribersRequest()
                answer = await self.administration.ListSubscribers(request, metadata=self.metadata, timeout=SOON)
                if [(item.name, item.applied_revision) for item in answer.subscribers] == list(expected):
                    return
                await asyncio.sleep(0.02)


async def test_servers_on_one_database_list_each_others(tmp_path: Path, postgresql: PostgresqlServer) -> None:
    """Each lists all, a report through the other one counts, and a subscriber that leaves is listed by neither."""
    database = await postgresql.new_database()
    async with contextlib.AsyncExitStack() as closing:
        servers = []
        for index in range(2):
            key = ["--token-key-file", str(tmp_path / "server0/token.key")] if index else []
            server = start_server(tmp_path / f"server{index}", "--database", database, *key)
            closing.callback(stop_server, server)
            token = (tmp_path / "server0" / OPERATOR_TOKEN_FILE).read_text().strip()
            channel = await closing.enter_async_context(grpc.aio.insecure_channel(server.address))
            servers.append(Elsewhere(server, channel, token))
        one, two = servers
        first, first_id = await one.subscribe("first")
        second, _ = await two.subscribe("second")
        for each in servers:
            await each.until(("first", 0), ("second", 0))
        said = ReportAppliedRequest(subscription_id=first_id, revision=7)
        await two.watching.ReportApplied(said, metadata=two.metadata, timeout=SOON)
        for each in servers:
            await each.until(("first", 7), ("second", 0))
        second.cancel()
        for each in servers:
            await each.until(("first", 7))
        first.cancel()
        for each in servers:
            await each.until()
