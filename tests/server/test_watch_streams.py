"""Streams of Watch: who may have one, what slow ones are told, bookmarks, and how they end."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import MessageToJson

from pullgate.v1 import policy_admin_pb2 as admin
from pullgate.v1 import policy_watch_pb2 as messages
from pullgate.v1.policy_watch_pb2_grpc import PolicyWatchServiceStub
from pullgate_policy import Preset, preset_policy
from pullgate_server.rpc import watch_messages
from pullgate_server.stores.port import RevisionChange
from pullgate_server.watching import hub, recent_changes
from pullgate_server.watching.subscription import MAX_WAITING, Subscription
from tests.conftest import SOON, Serve, Service
from tests.server.test_authorization import (
    ENDINGS,
    ask,
    bearer,
    identity_in,
    make_token,
    member,
    set_up,
    told_by,
    write_members,
)
from tests.server.test_policy_decision_service import CATALOGUE, question
from tests.server.test_watch import NEVER, pin, refused, write
from tests.stores import put_pin, put_policy
from tests.watching import FLOW_CONTROL, Watcher, begun, known_of, watching

CHANGES = 10_000
NAMES = 100


@asynccontextmanager
async def stalling(service: Service, **fields: Any) -> AsyncIterator[Watcher]:
    """A subscriber that has its snapshot and reads no more, unless it is asked to."""
    async with (
        grpc.aio.insecure_channel(service.server.address, options=FLOW_CONTROL) as channel,
        watching(service, channel=channel, subscriber="slow", **fields) as watcher,
    ):
        yield await begun(watcher)


def subscription(service: Service, name: str) -> Subscription:
    """A subscriber as its server has it."""
    (found,) = (item for item in service.application.hub.subscriptions if item.name == name)
    return found


async def flood(service: Service, watcher: Watcher) -> int:
    """Write thousands of changes, each of which the watcher reads; returns the revision of the last."""
    for number in range(CHANGES):
        revision = await put_pin(service.store, pin(f"name{number % NAMES}", reason=f"{number:01000}"))
        if number % (MAX_WAITING // 2) == 0:
            await service.application.snapshots.look()
            await watcher.up_to(revision)
    await service.application.snapshots.look()
    await watcher.up_to(revision)
    return revision


async def test_who_does_not_read_is_told_the_latest(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of changes pass by who does not read: nothing piles up, others notice nothing, all end alike."""
    monkeypatch.setattr(recent_changes, "MAX_REVISIONS", 200)
    monkeypatch.setattr(watch_messages, "MAX_CHANGE_BYTES", 100 * 1024)
    async with serve(watch_bookmark=NEVER) as service, stalling(service) as slow, watching(service) as quick:
        await begun(quick)
        revision = await flood(service, quick)

        assert [change.revision for change in quick.of("change")] == list(range(1, CHANGES + 1))
        assert not any(change.catch_up for change in quick.of("change"))
        assert subscription(service, "slow").fell_behind
        gc.collect()
        assert sum(isinstance(item, RevisionChange) for item in gc.get_objects()) < 500
        await slow.up_to(revision)
        changes = slow.of("change")
        assert len(changes) < CHANGES / 2
        assert [change.revision for change in changes if change.catch_up][-1:] == [revision]
        assert slow.sorts.count("snapshot_end") == 1
        assert slow.known == quick.known == known_of(service.application.snapshots.current)
        await slow.up_to(await write(service.store))
        assert not slow.of("change")[-1].catch_up


async def test_who_missed_more_than_is_known_gets_a_snapshot(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where not even what changed is known any more a snapshot comes on the same stream."""
    monkeypatch.setattr(recent_changes, "MAX_THINGS", NAMES // 2)
    async with serve(watch_bookmark=NEVER) as service, stalling(service) as slow, watching(service) as quick:
        await begun(quick)
        revision = await flood(service, quick)
        await slow.up_to(revision)

        assert slow.sorts.count("snapshot_end") == 2
        assert slow.known == quick.known
        await slow.up_to(await write(service.store))
        assert slow.of("change")[-1].prev_revision == revision


async def test_bookmarks_come_whatever_is_written(serve: Serve) -> None:
    """While one organization is written to without a pause its subscribers get their bookmarks, and others theirs."""
    async with serve(watch_bookmark=0.02) as service:
        done = asyncio.Event()

        async def keep_writing() -> None:
            number = 0
            while not done.is_set():
                await write(service.store, "busy", number := number + 1)
                await service.application.snapshots.look()

        async def read_on(watcher: Watcher) -> None:
            for _ in range(10):
                await watcher.until("bookmark")

        async with AsyncExitStack() as streams:
            watchers = [
                await begun(await streams.enter_async_context(watching(service, organizations=organizations)))
                for organizations in (["busy"], ["acme"], [])
            ]
            writing = asyncio.ensure_future(keep_writing())
            await asyncio.gather(*map(read_on, watchers))
            done.set()
            await writing
            busy, quiet, everything = watchers
            assert busy.of("change")
            assert everything.of("change")
            assert not quiet.of("change")
            assert quiet.of("bookmark")[-1].revision > quiet.of("bookmark")[0].revision
            assert quiet.known == known_of(service.application.snapshots.current, lambda name: name == "acme")


async def test_the_next_change_follows_on_the_bookmark(serve: Serve) -> None:
    """A bookmark has the newest revision, though nothing of it was in view, and the next change names that one."""
    async with serve(watch_bookmark=0.01) as service, watching(service, organizations=["acme"]) as watcher:
        await begun(watcher)
        foreign = await write(service.store, "globex")
        while (bookmark := await watcher.until("bookmark")).revision < foreign:
            pass
        assert bookmark.server_time.ToJsonString() == "2026-06-01T00:00:00Z"
        assert not bookmark.HasField("known_as_of")
        await write(service.store)
        change = await watcher.until("change")

    assert (change.revision, change.prev_revision) == (foreign + 1, foreign)


async def test_streams_end_at_their_age(serve: Serve) -> None:
    """A stream that has been open for long ends well, with a bookmark and a GoAway, each with a moment of its own."""
    async with serve(watch_max_age=0.1) as service, AsyncExitStack() as streams:
        watchers = [await streams.enter_async_context(watching(service)) for _ in range(10)]
        await asyncio.gather(*(watcher.to_the_end() for watcher in watchers))

    for watcher in watchers:
        assert [message.WhichOneof("event") for message in watcher.told[-2:]] == ["bookmark", "go_away"]
        assert watcher.of("bookmark")[-1].resume_token
    farewells = [watcher.of("go_away")[0] for watcher in watchers]
    assert {farewell.reason for farewell in farewells} == {messages.GO_AWAY_REASON_AGE}
    assert len({farewell.reconnect_after.ToTimedelta() for farewell in farewells}) > 5
    assert max(farewell.reconnect_after.ToTimedelta() for farewell in farewells) <= timedelta(seconds=1)


async def test_a_stop_sends_all_away(serve: Serve) -> None:
    """Hundreds of subscribers each get their GoAway when the server stops, also when others have left long before."""
    async with serve(watch_max_age=NEVER) as service, AsyncExitStack() as streams:
        async with watching(service) as early:
            await begun(early)
        watchers = [await streams.enter_async_context(watching(service)) for _ in range(200)]
        await asyncio.gather(*map(begun, watchers))
        async with asyncio.timeout(SOON):
            await asyncio.gather(service.server.stop(), *(watcher.to_the_end() for watcher in watchers))

    assert {watcher.of("go_away")[0].reason for watcher in watchers} == {messages.GO_AWAY_REASON_STOPPING}


async def test_a_stop_does_not_wait_for_who_does_not_read(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """A subscriber that does not read keeps no server from stopping."""
    monkeypatch.setattr(hub, "FAREWELL_SECONDS", 0.1)
    async with serve(watch_bookmark=NEVER, stop_grace=0.1) as service, stalling(service), watching(service) as quick:
        await begun(quick)
        await flood(service, quick)
        async with asyncio.timeout(SOON):
            await asyncio.gather(service.server.stop(), quick.to_the_end())

        assert len(service.application.hub) == 0


# Who may.


@pytest.mark.parametrize(("role", "may"), [("owner", True), ("policy_manager", True), ("enforcer", True),
                                           ("member", False)])  # fmt: skip
async def test_one_watches_ones_own_organization(serve: Serve, role: str, *, may: bool) -> None:
    """A caller of an organization sees that one, asked for or not; whether there is another one it does not learn."""
    async with set_up(serve) as world:
        service, secret = world.service, world.secrets[role]
        for organizations in ([], ["acme"]):
            async with watching(service, secret=secret, organizations=organizations) as watcher:
                if not may:
                    assert (await refused(watcher)).ending == ENDINGS["R"]
                    continue
                await begun(watcher)
                assert watcher.known == known_of(service.application.snapshots.current, lambda name: name == "acme")
                assert watcher.opened.organization == "acme"
        said = []
        for organizations in (["globex"], ["initech"], ["acme", "globex"], ["acme", "initech"]):
            async with watching(service, secret=secret, organizations=organizations) as watcher:
                told = await refused(watcher)
                assert told.ending == ENDINGS["O" if may else "R"]
                said.append(MessageToJson(told.status).replace(organizations[-1], "NAME"))
        assert said[0] == said[1]
        assert said[2] == said[3]


async def test_nobody_watches_without_a_token(serve: Serve) -> None:
    """Who presents no valid token is UNAUTHENTICATED."""
    async with serve() as service, watching(service, secret="nonsense") as watcher:
        assert (await refused(watcher)).code == "UNAUTHENTICATED"


@pytest.mark.parametrize("ending", ["revoked", "expired", "lowered"])
async def test_a_stream_ends_with_the_right_to_it(serve: Serve, ending: str) -> None:
    """A subscriber whose token is revoked or expires, or whose role falls, is told so and nothing more."""
    async with serve() as service:
        await write_members(service, "acme", member("petra", "policy_manager"), member("olivia", "owner"))
        expiry: dict[str, Any] = {"expires_in": timedelta(days=1)} if ending == "expired" else {}
        made = await make_token(service, "policy_manager", **expiry)
        async with watching(service, secret=made.secret) as watcher:
            await begun(watcher)
            match ending:
                case "revoked":
                    await ask(service, "RevokeToken", admin.RevokeTokenRequest(id=made.token.id))
                case "expired":
                    service.clock.advance(days=2)
                case _:
                    await write_members(service, "acme", member("petra"))
            assert (await refused(watcher)).ending == {
                "revoked": ("UNAUTHENTICATED", "TOKEN_REVOKED"),
                "expired": ("UNAUTHENTICATED", "TOKEN_EXPIRED"),
                "lowered": ENDINGS["R"],
            }[ending]
            assert len(service.application.hub) == 0


async def test_subscribers_have_a_limit_of_their_own(serve: Serve) -> None:
    """Above --max-subscribers one is refused until another leaves; calls have their own limit, which stays free."""
    async with serve(max_subscribers=2, max_open_calls=1) as service, watching(service) as first:
        await begun(first)
        async with watching(service) as second:
            await begun(second)
            async with watching(service) as third:
                told = await refused(third)
            assert told.ending == ("RESOURCE_EXHAUSTED", "TOO_MANY_SUBSCRIBERS")
            await service.call(service.decisions.Decide, question())
        while True:
            # The server hears a little later that one has left.
            async with watching(service) as third:
                with suppress(grpc.aio.AioRpcError):
                    await begun(third)
                    break


@pytest.mark.parametrize("name", ["x" * 256, "a\nb", "\x00"])
async def test_a_name_is_for_people(serve: Serve, name: str) -> None:
    """A subscriber's name that is too long or cannot be printed is refused."""
    async with serve() as service, watching(service, subscriber=name) as watcher:
        told = await refused(watcher)

    assert told.ending == ("INVALID_ARGUMENT", "FIELD_INVALID")


# Categories.


async def decide(service: Service, organization: str, reference: str) -> None:
    """Have a category looked up."""
    request = question(reference=reference)
    request.identity.CopyFrom(identity_in(organization))
    await service.call(service.decisions.Decide, request)


async def test_categories_are_told_to_who_asks(serve: Serve) -> None:
    """What is found for an organization is told to its subscribers that asked for categories, when it changes too."""
    async with serve(catalogue=CATALOGUE) as service, AsyncExitStack() as streams:
        for organization in ("acme", "globex"):
            await put_policy(service.store, preset_policy(Preset.STRICT, organization))
        await service.application.snapshots.look()
        await decide(service, "acme", "someuser/early")
        asked, foreign, without = [
            await begun(
                await streams.enter_async_context(watching(service, organizations=[name], include_categories=on))
            )
            for name, on in (("acme", True), ("globex", True), ("acme", False))
        ]
        for name in ("someuser/early", "someuser/late"):
            await decide(service, "acme", name)
            while name not in asked.categories:
                await asked.until("category_update")
        before = asked.categories["someuser/late"].category
        catalogue = service.directory / "catalogue.yaml"
        catalogue.write_text(catalogue.read_text().replace("COMMUNITY", "OFFICIAL"))
        while asked.categories["someuser/late"].category == before:
            await asked.until("category_update")
        await decide(service, "globex", "someuser/foreign")
        while "someuser/foreign" not in foreign.categories:
            await foreign.until("category_update")
        assert not {"someuser/early", "someuser/late"} & set(foreign.categories)
        assert "someuser/foreign" not in asked.categories
        await without.up_to(await write(service.store))
        assert not without.categories


# Reports and figures.


async def test_reports_are_of_ones_own_subscriptions(serve: Serve) -> None:
    """Nobody reports for somebody else: there is no such subscription; and no revision is below 0."""
    async with serve() as service:
        mine, yours = await make_token(service, "enforcer"), await make_token(service, "enforcer", name="other")
        stub: Any = PolicyWatchServiceStub(service.channel)
        async with watching(service, secret=mine.secret) as watcher:
            await begun(watcher)
            report = messages.ReportAppliedRequest(subscription_id=watcher.opened.subscription_id, revision=1)
            await stub.ReportApplied(report, metadata=bearer(mine.secret), timeout=SOON)
            assert subscription(service, "").applied_revision == 1
            for secret, subscription_id, revision, ending in (
                (yours.secret, report.subscription_id, 2, ("NOT_FOUND", "SUBSCRIPTION_NOT_FOUND")),
                (mine.secret, "sub_0", 2, ("NOT_FOUND", "SUBSCRIPTION_NOT_FOUND")),
                (mine.secret, report.subscription_id, -1, ("INVALID_ARGUMENT", "FIELD_INVALID")),
            ):
                wrong = messages.ReportAppliedRequest(subscription_id=subscription_id, revision=revision)
                with pytest.raises(grpc.aio.AioRpcError) as raised:
                    await stub.ReportApplied(wrong, metadata=bearer(secret), timeout=SOON)
                assert told_by(raised.value).ending == ending
            assert subscription(service, "").applied_revision == 1


async def test_figures_of_subscribers(serve: Serve) -> None:
    """Metrics count subscribers, those that have not applied what concerns them, snapshots, and catch-ups."""
    async with serve(watch_bookmark=NEVER) as service, stalling(service) as slow, watching(service) as quick:
        await begun(quick)
        figures = service.application.metrics.get_sample_value

        assert figures("pullgate_watch_subscribers") == 2
        assert figures("pullgate_watch_snapshots_total") == 2
        stub: Any = PolicyWatchServiceStub(service.channel)
        revision = await flood(service, quick)
        assert figures("pullgate_watch_unapplied_subscribers") == 2
        report = messages.ReportAppliedRequest(subscription_id=quick.opened.subscription_id, revision=revision)
        await service.call(stub.ReportApplied, report)
        assert figures("pullgate_watch_unapplied_subscribers") == 1
        await slow.up_to(revision)
        assert figures("pullgate_watch_catch_ups_total")
