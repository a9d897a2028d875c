"""A source behind its memories: how old an answer may be, who waits for what, and what is remembered."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random

import pytest
import structlog
from prometheus_client import CollectorRegistry

from pullgate_policy import Category, CategoryEvidence
from pullgate_server.categories import remembering
from pullgate_server.categories.freshness import Lifetimes
from pullgate_server.categories.memories import BoundedMemoryCache, CachedCategories
from pullgate_server.categories.metrics import CategoryMetrics
from pullgate_server.categories.port import Outcome, SourceAnswer
from pullgate_server.categories.remembering import RememberedSource, SourceFinding
from pullgate_server.categories.scripted import ScriptedSource
from pullgate_server.stores.category_knowledge import (
    CategoryMemory,
    MemoryCategoryKnowledge,
    Remembered,
)
from tests.conftest import SOON, Clock

DAY = timedelta(days=1)
LIFETIMES = Lifetimes(known=DAY, unknown=timedelta(minutes=5), max_stale=timedelta(days=7), salt=7)
AT_ONCE = 0.0
FAILED = SourceAnswer(outcome=Outcome.FAILED, detail="timed out")
ABSENT = SourceAnswer(outcome=Outcome.ABSENT, detail="no such namespace")


def says(category: Category) -> SourceAnswer:
    """A source's word, checked when it is remembered."""
    return SourceAnswer(outcome=Outcome.KNOWN, evidence=CategoryEvidence(category=category, detail=category.value))


PUBLISHER = says(Category.VERIFIED_PUBLISHER)
COMMUNITY = says(Category.COMMUNITY)


@dataclass
class Hub:
    """A remembered source, and all that it rests on."""

    clock: Clock
    source: ScriptedSource
    lasting: MemoryCategoryKnowledge
    remembered: RememberedSource
    changes: list[None]
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    async def find(self, namespace: str = "grafana", wait: float = SOON, asked_by: str = "acme") -> SourceFinding:
        """What is known."""
        return await self.remembered.find(namespace, asked_by, wait)

    async def settled(self) -> None:
        """Wait until nothing is under way."""
        while self.remembered._background or len(self.remembered._flights):
            await asyncio.gather(
                *self.remembered._background,
                *(flight.task for flight in self.remembered._flights._flights.values()),
            )

    def count(self, name: str, **labels: str) -> float:
        """A metric's value."""
        return self.registry.get_sample_value(name, {"source": "scripted", **labels}) or 0


@asynccontextmanager
async def hub_with(
    *,
    lasting: MemoryCategoryKnowledge | None = None,
    shared: list[CategoryMemory] | None = None,
    clock: Clock | None = None,
    entries: int = 1000,
) -> AsyncIterator[Hub]:
    """A remembered source that knows nothing but what is in the memories handed in."""
    changes: list[None] = []
    source, clock, lasting = ScriptedSource(), clock or Clock(), lasting or MemoryCategoryKnowledge()
    registry = CollectorRegistry()
    cache = BoundedMemoryCache(entries)
    remembered = RememberedSource(
        source,
        memory=CachedCategories("memory", cache),
        shared=shared or [],
        lasting=lasting,
        lifetimes=LIFETIMES,
        on_change=lambda: changes.append(None),
        has_evicted=lambda: cache.has_evicted,
        metrics=CategoryMetrics(registry),
        random=Random(7),
        clock=clock,
    )
    await remembered.follow()
    try:
        yield Hub(clock, source, lasting, remembered, changes, registry)
    finally:
        source.let_go()
        await remembered.close()


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    """A remembered source that knows nothing."""
    async with hub_with() as found:
        yield found


def summary(finding: SourceFinding) -> tuple[str, bool]:
    """The category in a word, and whether it is stale."""
    evidence = finding.evidence
    return ("unknown", False) if evidence is None else (evidence.category.value, evidence.stale)


@pytest.mark.parametrize(
    ("answer", "lifetime"), [(PUBLISHER, LIFETIMES.known), (ABSENT, LIFETIMES.unknown)], ids=["known", "unknown"]
)
async def test_an_answer_is_asked_for_once_in_its_lifetime(hub: Hub, answer: SourceAnswer, lifetime: timedelta) -> None:
    """Until most of its lifetime is over an answer is given without asking; after all of it it is asked for anew."""
    hub.source.answers["grafana"] = answer
    for part in (0, 0.7, 1):
        hub.clock.now = Clock().now + lifetime * part
        await hub.find()

    assert hub.source.asked == ["grafana", "grafana"]


async def test_evidence_says_all(hub: Hub) -> None:
    """What is known goes with its source, when that was asked, when it will be asked again, and the steps taken."""
    actions = ("GET /v2/orgs/grafana/: 200",)
    hub.source.answers["grafana"] = SourceAnswer(outcome=Outcome.KNOWN, evidence=PUBLISHER.evidence, steps=actions)
    first, again = await hub.find(), await hub.find()

    assert first.evidence == again.evidence
    assert first.evidence is not None
    assert (first.evidence.source, first.evidence.detail) == ("scripted", "verified publisher")
    assert first.evidence.checked_at == hub.clock.now
    assert first.evidence.refresh_at is not None
    assert 0.7 * DAY < first.evidence.refresh_at - hub.clock.now <= 0.8 * DAY
    assert (first.actions, again.actions) == (actions, ())


@pytest.mark.parametrize("outcome", [FAILED, SourceAnswer(outcome=Outcome.FAILED, detail="partial answer")])
async def test_a_failure_is_never_remembered(hub: Hub, outcome: SourceAnswer) -> None:
    """A source that could not answer is asked again by whoever comes next, and the answer says why nothing is known."""
    hub.source.answers["grafana"] = outcome
    failed = await hub.find()
    hub.source.answers["grafana"] = PUBLISHER
    found = await hub.find()

    assert (failed.outcome, failed.detail) == (Outcome.FAILED, outcome.detail)
    assert failed.recheck_at <= hub.clock.now
    assert summary(found) == ("verified publisher", False)


async def test_many_who_ask_are_one_look_up(hub: Hub) -> None:
    """Ten thousand who ask at once for what nobody knows are answered by one question."""
    hub.source.answers["grafana"] = PUBLISHER
    findings = await asyncio.gather(*(hub.find() for _ in range(10_000)))

    assert {summary(finding) for finding in findings} == {("verified publisher", False)}
    assert hub.source.asked == ["grafana"]


async def test_who_stops_waiting_stops_nothing(hub: Hub) -> None:
    """A cancelled question leaves the look-up to those who still wait, the one who came first included."""
    hub.source.answers["grafana"] = PUBLISHER
    hub.source.hold()
    first, second = (asyncio.ensure_future(hub.find()) for _ in range(2))
    await hub.source.until_asked(1)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    hub.source.let_go()

    assert summary(await second) == ("verified publisher", False)
    assert hub.source.asked == ["grafana"]


async def test_a_look_up_goes_on_for_the_next_one(hub: Hub) -> None:
    """Who cannot wait any longer is told so; what the look-up brings is there for whoever comes after."""
    hub.source.answers["grafana"] = PUBLISHER
    hub.source.hold()
    early = await hub.find(wait=0.01)
    await hub.source.until_asked(1)
    hub.source.let_go()
    late = await hub.find()

    assert (early.outcome, early.detail) == (Outcome.FAILED, "has not answered yet; the look-up goes on")
    assert summary(late) == ("verified publisher", False)
    assert hub.source.asked == ["grafana"]


async def test_a_failed_look_up_lets_each_try_once_more(hub: Hub) -> None:
    """Those who waited for a look-up that failed have one more, shared; then they are told why."""
    hub.source.answers["grafana"] = FAILED
    findings = await asyncio.gather(*(hub.find() for _ in range(100)))

    assert {finding.detail for finding in findings} == {"timed out"}
    assert hub.source.asked == ["grafana", "grafana"]


async def test_a_look_up_has_its_own_limit(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """A source that never answers is given up, and nothing is remembered of it."""
    monkeypatch.setattr(remembering, "FLIGHT_SECONDS", 0.01)
    hub.source.hold()
    finding = await hub.find()

    assert finding.detail == "no answer within 0.01 seconds"
    assert await hub.lasting.get("scripted", "grafana") is None


async def test_what_is_in_use_is_refreshed_ahead(hub: Hub) -> None:
    """Used late in its lifetime an answer is given at once, and looked up anew in the background."""
    hub.source.answers["grafana"] = PUBLISHER
    await hub.find()
    hub.clock.now += DAY * 0.85
    hub.source.answers["grafana"] = COMMUNITY
    due = await hub.find(wait=AT_ONCE)
    await hub.settled()
    refreshed = await hub.find(wait=AT_ONCE)

    assert (summary(due), summary(refreshed)) == (("verified publisher", False), ("community", False))
    assert refreshed.evidence is not None
    assert refreshed.evidence.checked_at == hub.clock.now
    assert len(hub.changes) == 1


async def test_what_is_not_in_use_is_left_alone(hub: Hub) -> None:
    """Nobody asks Docker Hub for what nobody uses."""
    hub.source.answers["grafana"] = PUBLISHER
    await hub.find()
    hub.clock.now += 3 * DAY
    await hub.remembered.follow()
    await hub.settled()

    assert hub.source.asked == ["grafana"]


async def test_a_changed_badge_holds_from_the_end_of_the_lifetime(hub: Hub) -> None:
    """Once the lifetime is over the first who asks waits for the source's word of now, and so do the next."""
    hub.source.answers["grafana"] = PUBLISHER
    await hub.find()
    hub.source.answers["grafana"] = COMMUNITY
    hub.clock.now += DAY
    found = [summary(await hub.find()) for _ in range(2)]

    assert found == [("community", False)] * 2
    assert len(hub.changes) == 1


async def test_stale_while_refreshing(hub: Hub) -> None:
    """While one waits for the refresh the others go on with what was known, and say that it is stale."""
    hub.source.answers["grafana"] = PUBLISHER
    await hub.find()
    hub.clock.now += DAY
    hub.source.hold()
    first = asyncio.ensure_future(hub.find())
    await hub.source.until_asked(2)
    meanwhile = await hub.find()
    hub.source.let_go()

    assert summary(meanwhile) == ("verified publisher", True)
    assert summary(await first) == ("verified publisher", False)


@pytest.mark.parametrize("trouble", [FAILED, ABSENT], ids=["failed", "absent"])
async def test_stale_on_failure_up_to_the_limit(hub: Hub, trouble: SourceAnswer) -> None:
    """An outage of whatever length within max_stale changes no category; past it nothing is known. So it is where the
    source suddenly knows nothing of what it knew, as throttled clients are told.
    """
    hub.source.answers["grafana"] = PUBLISHER
    await hub.find()
    began = hub.clock.now
    hub.source.answers["grafana"] = trouble
    found = {}
    for days in (0.9, 1, 2, 7.9):
        hub.clock.now = began + DAY * days
        found[days] = summary(await hub.find())
        await hub.settled()
    changes = list(hub.changes)
    hub.clock.now = began + DAY * 8
    too_old = summary(await hub.find())

    stale = ("verified publisher", True)
    assert found == {0.9: ("verified publisher", False), 1: stale, 2: stale, 7.9: stale}
    assert changes == []
    assert too_old == ("unknown", False)


async def test_an_outage_is_asked_about_now_and_then(hub: Hub) -> None:
    """While the source fails, what is known is not looked up by each who asks, and evidence says when it will be."""
    hub.source.answers["grafana"] = PUBLISHER
    await hub.find()
    hub.source.answers["grafana"] = FAILED
    hub.clock.now += 2 * DAY
    first = await hub.find()
    for _ in range(10):
        await hub.find()
    asked = len(hub.source.asked)
    hub.clock.now += remembering.RETRY * 2
    await hub.find()
    await hub.settled()

    assert first.evidence is not None
    assert first.evidence.refresh_at is not None
    assert first.evidence.refresh_at > hub.clock.now - remembering.RETRY * 2
    assert (asked, len(hub.source.asked)) == (2, 3)


async def test_a_moment_to_ask_again_is_kept(hub: Hub) -> None:
    """A source that says when to come back is not asked before, about what is known."""
    hub.source.answers["grafana"] = PUBLISHER
    await hub.find()
    hub.clock.now += 2 * DAY
    again = hub.clock.now + timedelta(minutes=20)
    hub.source.answers["grafana"] = SourceAnswer(outcome=Outcome.FAILED, detail="asks to wait", retry_at=again)
    finding = await hub.find()

    assert finding.evidence is not None
    assert finding.evidence.refresh_at == again


async def test_a_source_in_trouble_keeps_nobody_waiting_for_what_is_known(hub: Hub) -> None:
    """Once somebody waited in vain, stale answers are given at once: the hanging look-ups are still under way."""
    for name in ("grafana", "bitnami"):
        hub.source.answers[name] = PUBLISHER
        await hub.find(name)
    hub.clock.now += 2 * DAY
    hub.source.hold()
    await hub.find("grafana", wait=0.01)
    at_once = await hub.find("bitnami")

    assert summary(at_once) == ("verified publisher", True)


async def test_the_restart_in_an_outage_forgets_nothing(hub: Hub) -> None:
    """What was learnt lies in the lasting memory: another process knows it, fresh or stale, without asking."""
    hub.source.answers["grafana"] = PUBLISHER
    await hub.find()
    await hub.settled()
    async with hub_with(lasting=hub.lasting, clock=hub.clock) as other:
        fresh = await other.find()
        asked_when_fresh = list(other.source.asked)
    hub.clock.now += 2 * DAY
    async with hub_with(lasting=hub.lasting, clock=hub.clock) as other:
        other.source.answers["grafana"] = FAILED
        stale = await other.find()

    assert (summary(fresh), asked_when_fresh) == (("verified publisher", False), [])
    assert summary(stale) == ("verified publisher", True)


async def test_a_shared_memory_is_asked_before_the_source() -> None:
    """What another server has learnt and shares is used, also instead of a refresh, and the source is left alone."""
    shared = CachedCategories("shared", BoundedMemoryCache(10))
    clock = Clock()
    async with hub_with(shared=[shared], clock=clock) as one, hub_with(shared=[shared], clock=clock) as two:
        one.source.answers["grafana"] = PUBLISHER
        await one.find()
        await one.settled()
        first = await two.find()
        clock.now += DAY
        one.source.answers["grafana"] = COMMUNITY
        await one.find()
        await one.settled()
        second = await two.find()

    assert (summary(first), summary(second)) == (("verified publisher", False), ("community", False))
    assert two.source.asked == []
    assert len(two.changes) == 1


async def test_a_change_reaches_every_server() -> None:
    """A category that one server finds changed holds on the others when they look at the lasting memory, at once."""
    lasting, clock = MemoryCategoryKnowledge(), Clock()
    async with hub_with(lasting=lasting, clock=clock) as one, hub_with(lasting=lasting, clock=clock) as two:
        for hub in (one, two):
            hub.source.answers["grafana"] = PUBLISHER
            await hub.find()
            await hub.settled()
        one.source.answers["grafana"] = COMMUNITY
        clock.now += timedelta(hours=1)
        await one.remembered.refresh("grafana", "acme", SOON)
        await one.settled()
        before = await two.find()
        await two.remembered.follow()
        after = await two.find()
        await one.remembered.follow()

    assert (summary(before), summary(after)) == (("verified publisher", False), ("community", False))
    assert (len(one.changes), len(two.changes)) == (1, 1)


async def test_a_first_word_of_another_server_changes_nothing() -> None:
    """What one server learns for the first time drops no other's ready answers."""
    lasting, clock = MemoryCategoryKnowledge(), Clock()
    async with hub_with(lasting=lasting, clock=clock) as one, hub_with(lasting=lasting, clock=clock) as two:
        one.source.answers["grafana"] = PUBLISHER
        await one.find()
        await one.settled()
        await two.remembered.follow()

    assert two.changes == []


async def test_a_restored_backup_is_followed() -> None:
    """Where changes are counted from an earlier number again, they are all taken in."""
    lasting, clock = MemoryCategoryKnowledge(), Clock()
    async with hub_with(lasting=lasting, clock=clock) as hub:
        for seconds, category in enumerate((Category.COMMUNITY, Category.OFFICIAL, Category.COMMUNITY)):
            word = Remembered(category, None, "", clock.now + timedelta(seconds=seconds))
            await lasting.put("scripted", "grafana", word, 60)
        await hub.remembered.follow()
        lasting._known.clear()
        lasting._change = 0
        for seconds, category in enumerate((Category.COMMUNITY, Category.VERIFIED_PUBLISHER), start=10):
            word = Remembered(category, None, "", clock.now + timedelta(seconds=seconds))
            await lasting.put("scripted", "grafana", word, 60)
        await hub.remembered.follow()
        found = await hub.find()

    assert summary(found) == ("verified publisher", False)


async def test_what_could_not_be_written_is_written_later(hub: Hub) -> None:
    """What is learnt while the database is out of reach is used at once, and lasts once the database is back."""
    hub.source.answers["grafana"] = PUBLISHER
    hub.lasting.available = False
    found = await hub.find()
    await hub.settled()
    await hub.remembered.follow()
    hub.lasting.available = True
    await hub.remembered.follow()
    written = await hub.lasting.get("scripted", "grafana")

    assert summary(found) == ("verified publisher", False)
    assert written is not None
    assert written.category is Category.VERIFIED_PUBLISHER


async def test_what_is_unknown_does_not_last(hub: Hub) -> None:
    """That a namespace is none is not written down: whoever asks for invented names fills no database."""
    await hub.find("invented")
    await hub.settled()

    assert await hub.lasting.get("scripted", "invented") is None


async def test_a_refresh_asks_whatever_is_remembered(hub: Hub) -> None:
    """A refresh that somebody wants asks the source itself, and tells what is known then."""
    hub.source.answers["grafana"] = PUBLISHER
    await hub.find()
    hub.source.answers["grafana"] = COMMUNITY
    hub.clock.now += timedelta(minutes=1)
    refreshed = await hub.remembered.refresh("grafana", "acme", SOON)
    hub.source.answers["grafana"] = FAILED
    failed = await hub.remembered.refresh("grafana", "acme", SOON)

    assert (summary(refreshed), summary(failed)) == (("community", False),) * 2
    assert hub.source.asked == ["grafana"] * 3


async def test_an_organization_has_so_many_look_ups_at_once(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks for very many unknown namespaces is told that it is too many; other organizations notice nothing."""
    monkeypatch.setattr(remembering, "MAX_FLIGHTS", 2)
    hub.source.hold()
    waiting = [asyncio.ensure_future(hub.find(name)) for name in ("a", "b")]
    await hub.source.until_asked(2)
    refused = await hub.find("c")
    other = asyncio.ensure_future(hub.find("c", asked_by="globex"))
    await hub.source.until_asked(3)
    hub.source.let_go()
    await asyncio.gather(*waiting, other)
    later = await hub.find("d")

    assert "other look-ups are under way" in refused.detail
    assert later.outcome is Outcome.ABSENT


async def test_a_look_up_is_on_behalf_of_all_who_wait(hub: Hub) -> None:
    """An organization that joins a look-up counts among those for whom it is made."""
    hub.source.hold()
    waiting = [asyncio.ensure_future(hub.find(asked_by=name)) for name in ("acme", "globex")]
    await hub.source.until_asked(1)
    await asyncio.sleep(0)
    hub.source.let_go()
    await asyncio.gather(*waiting)

    assert [sorted(asked.names) for asked in hub.source.asked_by] == [["acme", "globex"]]


async def test_lifetimes_are_spread() -> None:
    """What was learnt together is not asked for together: lifetimes differ by up to a tenth, and never exceed."""
    async with hub_with() as hub:
        until = set()
        for number in range(50):
            hub.source.answers[f"name{number}"] = PUBLISHER
            until.add((await hub.find(f"name{number}")).changes_at - hub.clock.now)

    assert len(until) > 40
    assert 0.9 * DAY <= min(until) < 0.95 * DAY < max(until) <= DAY


async def test_figures(hub: Hub) -> None:
    """Every question and every look-up is counted under what came of it."""
    hub.source.answers |= {"grafana": PUBLISHER, "down": FAILED}
    for name in ("grafana", "grafana", "invented", "invented", "down"):
        await hub.find(name)
    hub.clock.now += 2 * DAY
    hub.source.answers["grafana"] = FAILED
    await hub.find("grafana")
    await hub.settled()
    questions = "pullgate_category_questions_total"

    answers = ("fresh", "absent", "stale", "unanswered")
    assert {answer: hub.count(questions, answer=answer) for answer in answers} == {
        "fresh": 2, "absent": 2, "stale": 1, "unanswered": 1,
    }  # fmt: skip
    flights = "pullgate_category_flights_total"
    outcomes = ("known", "absent", "failed")
    assert {outcome: hub.count(flights, outcome=outcome) for outcome in outcomes} == {
        "known": 1, "absent": 1, "failed": 3,
    }  # fmt: skip
    assert hub.count("pullgate_category_flight_seconds_count") == 5


async def test_what_was_evicted_and_has_changed_is_noticed() -> None:
    """A change of what this process had to forget for want of room drops the answers that may rest on it."""
    lasting, clock = MemoryCategoryKnowledge(), Clock()
    async with hub_with(lasting=lasting, clock=clock, entries=1) as one, hub_with(lasting=lasting, clock=clock) as two:
        for hub in (one, two):
            hub.source.answers |= {"grafana": PUBLISHER, "other": PUBLISHER}
            await hub.find("grafana")
            await hub.find("other")
            await hub.settled()
        two.source.answers["grafana"] = COMMUNITY
        clock.now += timedelta(hours=1)
        await two.remembered.refresh("grafana", "acme", SOON)
        await two.settled()
        await one.remembered.follow()
        found = await one.find("grafana")

    assert summary(found) == ("community", False)
    assert one.changes


async def test_an_outage_is_logged_once(hub: Hub) -> None:
    """However many look-ups fail, the log says once that the source does, and once that it answers again."""
    hub.source.answers |= {"a": FAILED, "b": FAILED}
    with structlog.testing.capture_logs() as logs:
        for name in ("a", "b", "a", "fine", "b", "fine"):
            await hub.find(name)

    assert [entry["event"] for entry in logs] == [
        "category source fails",
        "category source answers again",
        "category source fails",
    ]


async def test_a_look_up_that_has_just_landed_can_be_joined(hub: Hub) -> None:
    """In the very moment in which a look-up ends another question about the same namespace finds all in order."""
    hub.source.answers["grafana"] = FAILED
    hub.source.hold()
    first = asyncio.ensure_future(hub.find())
    await hub.source.until_asked(1)
    flight = hub.remembered._flights._flights["grafana"]
    late: list[asyncio.Task[SourceFinding]] = []
    flight.task.add_done_callback(lambda _: late.append(asyncio.ensure_future(hub.find())))
    hub.source.let_go()
    await first

    assert (await late[0]).detail == "timed out"


async def test_a_source_that_breaks_breaks_no_decision(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """A defect in a source or a memory is logged, and the answer is that nothing is known."""

    async def broken(*_: object) -> SourceAnswer:
        raise RuntimeError("a defect")

    monkeypatch.setattr(hub.source, "look_up", broken)
    monkeypatch.setattr(hub.lasting, "get", broken)
    with structlog.testing.capture_logs() as logs:
        finding = await hub.find()

    assert (finding.outcome, finding.detail) == (Outcome.FAILED, "an error of pullgate's own, which is in its log")
    assert {entry["event"] for entry in logs} >= {"a look-up broke", "category memory broken"}


class SlowMemory(MemoryCategoryKnowledge):
    """A database that answers when it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = asyncio.Event()
        self.asked = 0

    async def get(self, source: str, namespace: str) -> Remembered | None:
        """What is remembered, in its own time."""
        self.asked += 1
        await self.go_on.wait()
        return await super().get(source, namespace)


async def known_before(lasting: MemoryCategoryKnowledge, clock: Clock) -> None:
    """Let the database know a publisher since an hour."""
    word = Remembered(Category.VERIFIED_PUBLISHER, None, "badge", clock.now - timedelta(hours=1))
    await lasting.put("scripted", "grafana", word, 60)


async def test_a_slow_database_loses_no_category_to_a_false_404() -> None:
    """A source that says that nothing is there is not believed before the database has said what it knows."""
    lasting, clock = SlowMemory(), Clock()
    await known_before(lasting, clock)
    async with hub_with(lasting=lasting, clock=clock) as hub:
        early = await hub.find(wait=AT_ONCE)
        lasting.go_on.set()
        await hub.settled()
        late = await hub.find()

    assert (early.outcome, summary(late)) == (Outcome.FAILED, ("verified publisher", False))


async def test_nothing_is_absent_while_the_database_is_away() -> None:
    """What the source does not know is asked for again, and not remembered as unknown, until the database can say."""
    lasting, clock = MemoryCategoryKnowledge(), Clock()
    await known_before(lasting, clock)
    lasting.available = False
    async with hub_with(clock=clock, lasting=lasting) as hub:
        away = await hub.find()
        lasting.available = True
        clock.now += timedelta(seconds=10)
        back = await hub.find()

    assert (away.outcome, summary(back)) == (Outcome.FAILED, ("verified publisher", False))


async def test_a_known_category_goes_before_a_shared_unknown() -> None:
    """That another server found nothing, and shares it, hides nothing that the database knows."""
    shared, lasting, clock = CachedCategories("shared", BoundedMemoryCache(10)), MemoryCategoryKnowledge(), Clock()
    await known_before(lasting, clock)
    await shared.put("scripted", "grafana", Remembered(Category.UNKNOWN, None, "none", clock.now), 60)
    async with hub_with(shared=[shared], lasting=lasting, clock=clock) as hub:
        found = await hub.find()

    assert summary(found) == ("verified publisher", False)


async def test_what_the_database_learnt_goes_before_a_memory_that_was_away() -> None:
    """A Redis that comes back with an older word undoes no change."""
    shared, lasting, clock = CachedCategories("shared", BoundedMemoryCache(10)), MemoryCategoryKnowledge(), Clock()
    old = Remembered(Category.VERIFIED_PUBLISHER, None, "badge", clock.now - timedelta(hours=1))
    await shared.put("scripted", "grafana", old, 60)
    await lasting.put("scripted", "grafana", Remembered(Category.COMMUNITY, None, "none", clock.now), 60)
    async with hub_with(shared=[shared], lasting=lasting, clock=clock) as hub:
        found = await hub.find()

    assert summary(found) == ("community", False)


async def test_a_database_that_hangs_keeps_nobody_from_the_source() -> None:
    """Docker Hub is asked though the database has not answered, and its word is used."""
    async with hub_with(lasting=SlowMemory()) as hub:
        hub.source.answers["grafana"] = PUBLISHER
        found = await hub.find()

    assert summary(found) == ("verified publisher", False)


@pytest.mark.parametrize("year", [2027, 9999])
async def test_a_word_of_the_future_is_not_believed(year: int) -> None:
    """What a server with a wrong clock has written is asked for anew, and replaced."""
    clock = Clock()
    lasting, shared = MemoryCategoryKnowledge(clock), CachedCategories("shared", BoundedMemoryCache(10))
    word = Remembered(Category.VERIFIED_PUBLISHER, None, "badge", clock.now.replace(year=year))
    for memory in (lasting, shared):
        await memory.put("scripted", "grafana", word, 60)
    async with hub_with(shared=[shared], lasting=lasting, clock=clock) as hub:
        hub.source.answers["grafana"] = COMMUNITY
        found = await hub.find()
        await hub.settled()
        written = await lasting.get("scripted", "grafana")

    assert summary(found) == ("community", False)
    assert written is not None
    assert written.category is Category.COMMUNITY


async def test_a_refresh_in_vain_tells_what_goes_on(hub: Hub) -> None:
    """Where the source does not answer a refresh in time, what is known is told, and that it is not new."""
    hub.source.answers["grafana"] = PUBLISHER
    await hub.find()
    hub.source.hold()
    finding = await hub.remembered.refresh("grafana", "acme", 0.01)

    assert (finding.outcome, summary(finding)) == (Outcome.FAILED, ("verified publisher", False))
    assert finding.detail == "has not answered yet; the look-up goes on"


async def test_a_refresh_does_not_make_do_with_an_earlier_question(hub: Hub) -> None:
    """Who wants a category anew has it asked for after that, also where a look-up is under way."""
    hub.source.answers["grafana"] = PUBLISHER
    hub.source.hold()
    first = asyncio.ensure_future(hub.find())
    await hub.source.until_asked(1)
    refreshing = asyncio.ensure_future(hub.remembered.refresh("grafana", "acme", SOON))
    await asyncio.sleep(0)
    hub.source.let_go()
    await asyncio.gather(first, refreshing)

    assert hub.source.asked == ["grafana", "grafana"]


async def test_what_was_unknown_and_becomes_known_reaches_every_server() -> None:
    """A server that remembers a namespace as unknown hears of the first word that another one gets."""
    lasting, clock = MemoryCategoryKnowledge(), Clock()
    async with hub_with(lasting=lasting, clock=clock) as one, hub_with(lasting=lasting, clock=clock) as two:
        unknown = summary(await two.find())
        one.source.answers["grafana"] = PUBLISHER
        await one.find()
        await one.settled()
        await two.remembered.follow()
        known = summary(await two.find())

    assert (unknown, known) == (("unknown", False), ("verified publisher", False))
    assert len(two.changes) == 1


async def test_a_late_write_learns_what_was_written_before() -> None:
    """What could not be written gives way to what another server has learnt later, here too."""
    lasting, clock = MemoryCategoryKnowledge(), Clock()
    async with hub_with(lasting=lasting, clock=clock) as hub:
        hub.source.answers["grafana"] = PUBLISHER
        lasting.available = False
        await hub.find()
        await hub.settled()
        lasting.available = True
        later = Remembered(Category.COMMUNITY, None, "none", clock.now + timedelta(seconds=1))
        await lasting.put("scripted", "grafana", later, 60)
        hub.remembered._seen = await lasting.newest_change()
        await hub.remembered.follow()
        found = await hub.find()

    assert summary(found) == ("community", False)


async def test_waiting_for_ones_own_budget_is_no_trouble_of_the_source(hub: Hub) -> None:
    """A look-up that did not get its turn says nothing about the source: no log, and others wait for it as ever."""
    kept_back = SourceAnswer(outcome=Outcome.FAILED, detail="asked as often as it may be", asked=False)
    hub.source.answers |= {"a": kept_back, "grafana": PUBLISHER}
    with structlog.testing.capture_logs() as logs:
        await hub.find("a")
        found = await hub.remembered.find("grafana", "acme", SOON, known_elsewhere=True)

    assert logs == []
    assert summary(found) == ("verified publisher", False)


async def test_what_was_learnt_last_is_written_before_the_end() -> None:
    """A stop right after an answer forgets nothing of it."""
    lasting = MemoryCategoryKnowledge()
    async with hub_with(lasting=lasting) as hub:
        hub.source.answers["grafana"] = PUBLISHER
        await hub.find()

    assert await lasting.get("scripted", "grafana") is not None


async def test_what_is_too_old_is_not_listed(hub: Hub) -> None:
    """Pages leave out what may no longer be used, and are full all the same."""
    old = Remembered(Category.OFFICIAL, None, "old", hub.clock.now - timedelta(days=30))
    new = Remembered(Category.OFFICIAL, None, "new", hub.clock.now)
    for name, word in {"a": old, "b": old, "c": new, "d": old, "e": new}.items():
        await hub.lasting.put("scripted", name, word, 60)

    assert [name for name, _ in await hub.remembered.page("", 2)] == ["c", "e"]


async def test_what_another_server_learns_during_a_look_up_is_not_lost() -> None:
    """A source that says that nothing is there is not believed against what was written while it was asked."""
    lasting, clock = MemoryCategoryKnowledge(), Clock()
    async with hub_with(lasting=lasting, clock=clock) as hub:
        hub.source.hold()
        asking = asyncio.ensure_future(hub.find())
        await hub.source.until_asked(1)
        await lasting.put("scripted", "grafana", Remembered(Category.OFFICIAL, None, "badge", clock.now), 60)
        hub.source.let_go()
        found = await asking

    assert summary(found) == ("official", False)


async def test_what_is_forgotten_during_a_look_up_is_not_lost() -> None:
    """A stale category that has to make room while it is looked up stays known when the source says that it is none."""
    lasting, clock = MemoryCategoryKnowledge(), Clock()
    await known_before(lasting, clock)
    async with hub_with(lasting=lasting, clock=clock, entries=1) as hub:
        clock.now += 2 * DAY
        hub.source.hold()
        asking = asyncio.ensure_future(hub.find())
        await hub.source.until_asked(1)
        hub.source.answers["other"] = PUBLISHER
        other = asyncio.ensure_future(hub.find("other"))
        await hub.source.until_asked(2)
        hub.source.let_go()
        found = [summary(await asking), summary(await hub.find())]
        await other

    assert found == [("verified publisher", True)] * 2


async def test_a_category_goes_before_an_unknown_that_came_meanwhile() -> None:
    """An answer that was asked for earlier than another server's false 404 is used and written all the same."""
    lasting, clock = MemoryCategoryKnowledge(), Clock()
    async with hub_with(lasting=lasting, clock=clock) as hub:
        evidence = CategoryEvidence(category=Category.OFFICIAL, detail="badge", checked_at=clock.now)
        hub.source.answers["grafana"] = SourceAnswer(outcome=Outcome.KNOWN, evidence=evidence)
        hub.source.hold()
        asking = asyncio.ensure_future(hub.find())
        await hub.source.until_asked(1)
        later = Remembered(Category.UNKNOWN, None, "none", clock.now + timedelta(seconds=1))
        await hub.remembered._memory.put("scripted", "grafana", later, 60)
        hub.source.let_go()
        found = await asking
        await hub.settled()
        written = await lasting.get("scripted", "grafana")

    assert summary(found) == ("official", False)
    assert written is not None


async def test_a_database_that_answers_late_is_used_where_the_source_does_not_answer() -> None:
    """What a slow database knows is used by who has waited for the source in vain."""
    lasting, clock = SlowMemory(), Clock()
    await known_before(lasting, clock)
    async with hub_with(lasting=lasting, clock=clock) as hub:
        hub.source.hold()
        asking = asyncio.ensure_future(hub.find(wait=0.5))
        await hub.source.until_asked(1)
        lasting.go_on.set()
        found = await asking

    assert summary(found) == ("verified publisher", False)


async def test_what_a_slow_database_knows_needs_no_look_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who may have no more look-ups under way still waits for what is known already."""
    monkeypatch.setattr(remembering, "MAX_FLIGHTS", 1)
    lasting, clock = SlowMemory(), Clock()
    await known_before(lasting, clock)
    async with hub_with(lasting=lasting, clock=clock) as hub:
        hub.source.hold()
        other = asyncio.ensure_future(hub.find("other"))
        await hub.source.until_asked(1)
        asking = asyncio.ensure_future(hub.find())
        # It has waited for the database in vain, and would have asked the source.
        await asyncio.wait([asking], timeout=3 * remembering.RECALL_PATIENCE)
        lasting.go_on.set()
        found = await asking
        hub.source.let_go()
        await other

    assert (summary(found), hub.source.asked) == (("verified publisher", False), ["other"])


async def test_an_answer_that_waits_for_the_database_is_no_trouble_of_the_source() -> None:
    """A source that has answered is not taken for one that hangs."""
    lasting = SlowMemory()
    async with hub_with(lasting=lasting) as hub:
        await hub.find(wait=0.4)
        trouble = hub.remembered._in_trouble
        lasting.go_on.set()

    assert not trouble


async def test_an_absent_namespace_is_asked_for_once_a_decision(hub: Hub) -> None:
    """An answer is not asked for again though it cannot be remembered."""
    hub.lasting.available = False
    await hub.find()

    assert hub.source.asked == ["grafana"]


async def test_a_refresh_that_learns_from_elsewhere_says_so() -> None:
    """Where the source knows nothing, and another server's word came meanwhile, a refresh tells both."""
    lasting, clock = MemoryCategoryKnowledge(), Clock()
    async with hub_with(lasting=lasting, clock=clock) as hub:
        hub.source.hold()
        asking = asyncio.ensure_future(hub.remembered.refresh("grafana", "acme", SOON))
        await hub.source.until_asked(1)
        await lasting.put("scripted", "grafana", Remembered(Category.OFFICIAL, None, "badge", clock.now), 60)
        hub.source.let_go()
        found = await asking

    assert (found.outcome, summary(found), found.detail) == (Outcome.FAILED, ("official", False), "no such namespace")


async def test_changes_by_the_batch_are_all_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    """More changes than are read at a time are all taken in."""
    monkeypatch.setattr(remembering, "MAX_CHANGES", 3)
    lasting, clock = MemoryCategoryKnowledge(), Clock()
    async with hub_with(lasting=lasting, clock=clock) as hub:
        names = [f"name{number}" for number in range(10)]
        for name in names:
            hub.source.answers[name] = PUBLISHER
            await hub.find(name)
        await hub.settled()
        for name in names:
            word = Remembered(Category.COMMUNITY, None, "none", clock.now + timedelta(seconds=1))
            await lasting.put("scripted", name, word, 60)
        await hub.remembered.follow()
        found = {summary(await hub.find(name)) for name in names}

    assert found == {("community", False)}


async def test_one_that_cannot_be_written_holds_up_no_other(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the database refuses for good is logged and dropped, and the rest is written."""
    hub.source.answers |= {"bad": PUBLISHER, "good": PUBLISHER}
    hub.lasting.available = False
    for name in ("bad", "good"):
        await hub.find(name)
    await hub.settled()
    hub.lasting.available = True
    put = hub.lasting.put

    async def refuse_bad(source: str, namespace: str, remembered: Remembered, lifetime: float) -> None:
        if namespace == "bad":
            raise ValueError("a defect")
        await put(source, namespace, remembered, lifetime)

    monkeypatch.setattr(hub.lasting, "put", refuse_bad)
    with structlog.testing.capture_logs() as logs:
        await hub.remembered.follow()

    assert [entry["namespace"] for entry in logs] == ["bad"]
    assert hub.remembered._unwritten == {}
    assert await hub.lasting.get("scripted", "good") is not None
