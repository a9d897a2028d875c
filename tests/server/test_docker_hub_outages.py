"""The whole server with Docker Hub as its source, over real HTTP: what decisions are worth while Docker Hub is not."""

import asyncio
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog
from sqlalchemy import event

from pullgate.v1 import decision_pb2, identity_pb2, policy_admin_pb2, policy_decision_pb2
from pullgate_policy import Category, Preset, preset_policy
from pullgate_server import deciding
from pullgate_server.categories.remembering import REFRESHING
from pullgate_server.listening import RunningServer
from pullgate_server.stores.category_knowledge import CategoryKnowledge, MemoryCategoryKnowledge, Remembered
from pullgate_server.stores.engines import open_engine
from pullgate_server.stores.memory import MemoryStore
from pullgate_server.stores.migration import bring_up_to_date
from pullgate_server.stores.sql_category_knowledge import SqlCategoryKnowledge
from tests.conftest import SOON, Clock, Serve, Service
from tests.docker_hub import DockerHubDouble, Fault
from tests.redis_server import RedisServer, running_redis
from tests.server.test_policy_decision_service import DEV, question
from tests.stores import put_policy

PUBLISHER, COMMUNITY, UNKNOWN = (
    decision_pb2.IMAGE_CATEGORY_VERIFIED_PUBLISHER,
    decision_pb2.IMAGE_CATEGORY_COMMUNITY,
    decision_pb2.IMAGE_CATEGORY_UNKNOWN,
)
ALLOW, DENY = decision_pb2.EFFECT_ALLOW, decision_pb2.EFFECT_DENY
LONG = {"category_wait": SOON}
"""For decisions that must not be answered before Docker Hub is."""


@pytest.fixture
async def hub() -> AsyncIterator[DockerHubDouble]:
    """A Docker Hub with a publisher, a sponsored project, an organization and a user."""
    async with DockerHubDouble() as double:
        double.set_badge("grafana", "verified_publisher")
        double.set_badge("fluent", "open_source")
        double.set_badge("plain", "")
        double.add_user("someuser")
        yield double


@pytest.fixture
def serve_with(serve: Serve, hub: DockerHubDouble) -> Any:
    """Start servers that ask this Docker Hub, with a policy that allows verified publishers."""

    @asynccontextmanager
    async def start(**options: Any) -> AsyncIterator[Service]:
        store = options.pop("store", None) or MemoryStore()
        if not await store.revision():
            await put_policy(store, preset_policy(Preset.STANDARD, "acme"))
        async with serve(
            **{
                "store": store,
                "category_sources": "catalogue,docker-hub,starter",
                "docker_hub_url": hub.url,
                "docker_hub_requests_per_minute": 60_000,
                **options,
            }
        ) as service:
            yield service

    return start


async def decision(service: Service, reference: str, deadline: float = SOON) -> decision_pb2.Decision:
    """What Decide says."""
    call = service.decisions.Decide(question(reference), metadata=service.metadata, timeout=deadline)
    response: policy_decision_pb2.DecideResponse = await call
    return response.decision


async def said(service: Service, reference: str) -> tuple[int, int, bool]:
    """The effect, the category, and whether it is stale."""
    found = await decision(service, reference)
    return found.effect, found.category, found.evidence.stale


@pytest.mark.parametrize(
    ("reference", "effect", "category", "community_class", "detail"),
    [
        ("grafana/loki", ALLOW, PUBLISHER, 0, "badge verified_publisher"),
        ("fluent/fluentd", DENY, COMMUNITY, 1, "badge open_source"),
        ("plain/app", DENY, COMMUNITY, 0, "an organization without a badge"),
        ("someuser/custom-image", DENY, COMMUNITY, 0, "a user's namespace"),
    ],
)
async def test_docker_hub_decides(
    serve_with: Any, hub: DockerHubDouble, reference: str, effect: int, category: int, community_class: int, detail: str
) -> None:
    """A namespace that nobody has asked for is looked up, decided by, and its evidence says how it is known."""
    async with serve_with(**LONG) as service:
        found = await decision(service, reference)

        assert (found.effect, found.category, found.evidence.community_class) == (effect, category, community_class)
        assert (found.evidence.source, found.evidence.detail) == ("docker-hub", detail)
        assert found.evidence.checked_at.ToDatetime(service.clock.now.tzinfo) == service.clock.now
        next_look = found.evidence.refresh_at.ToDatetime(service.clock.now.tzinfo)
        assert timedelta(hours=17) < next_look - service.clock.now < timedelta(hours=20)


async def test_a_namespace_that_is_none_is_unknown(serve_with: Any, hub: DockerHubDouble) -> None:
    """What Docker Hub itself does not know is UNKNOWN, with every source's reason."""
    async with serve_with(**LONG) as service:
        found = await decision(service, "invented/app")

        assert (found.effect, found.category) == (DENY, UNKNOWN)
        assert found.evidence.detail == (
            "nobody knows (catalogue: no entry; docker-hub: Docker Hub knows no such namespace; starter: no entry)"
        )


async def test_ten_thousand_who_ask_make_one_request(serve_with: Any, hub: DockerHubDouble) -> None:
    """10,000 concurrent Decides for one cold namespace make one HTTP request, and all get its answer."""
    hub.fault = Fault.SLOW
    async with serve_with(**LONG, max_open_calls=20_000, docker_hub_timeout=10.0) as service:
        calls: list[asyncio.Task[decision_pb2.Decision]] = []
        for wave in range(0, 10_000, 500):
            # In waves, because the transport turns away bursts of calls that the server has not taken yet.
            names = [f"grafana/image{number}" for number in range(wave, wave + 500)]
            calls += [asyncio.ensure_future(decision(service, name)) for name in names]
            while service.application.gate._open_calls < len(calls):  # noqa: ASYNC110 - the gate tells nobody
                await asyncio.sleep(0)
        hub.release()
        found = await asyncio.gather(*calls)

    assert {(item.effect, item.category) for item in found} == {(ALLOW, PUBLISHER)}
    assert len(hub.requests) == 1


async def test_a_hung_source_holds_up_nobody_who_is_known(serve_with: Any, hub: DockerHubDouble) -> None:
    """While Docker Hub hangs, decisions about what is known are given: those about the unknown are still waiting."""
    clock = Clock()
    async with serve_with(**LONG, clock=clock) as service:
        await decision(service, "grafana/loki")
        hub.fault = Fault.HANG
        waiting = asyncio.ensure_future(decision(service, "unheard/of"))
        await hub.until_requested(2)
        fresh = [await said(service, name) for name in ("grafana/loki", "grafana/tempo", "nginx", "acme/app")]
        clock.advance(hours=20)
        due = await said(service, "grafana/loki")
        clock.advance(hours=24)
        stale = [await said(service, name) for name in ("grafana/loki", "grafana/mimir")]

        assert not waiting.done()
        waiting.cancel()
    assert [effect for effect, _, _ in fresh] == [ALLOW] * 4
    assert due == (ALLOW, PUBLISHER, False)
    assert stale == [(ALLOW, PUBLISHER, True)] * 2


@pytest.mark.parametrize("deadline", [SOON, 4.0], ids=["budget", "deadline"])
async def test_the_unknown_is_answered_within_the_budget(
    serve_with: Any, hub: DockerHubDouble, monkeypatch: pytest.MonkeyPatch, deadline: float
) -> None:
    """Past the budget, or just before the call's own deadline, the answer is UNKNOWN with the reason; what the look-up
    brings after that is there for the next caller.
    """
    # A machine that is busy with other tests needs longer to answer than one that serves.
    monkeypatch.setattr(deciding, "ANSWERING_TAKES", 3.7)
    hub.fault = Fault.SLOW
    async with serve_with(category_wait=0.05 if deadline == SOON else SOON) as service:
        early = await decision(service, "grafana/loki", deadline)
        hub.release()
        while (late := await decision(service, "grafana/loki")).category == UNKNOWN:
            pass

    assert (early.effect, early.category) == (DENY, UNKNOWN)
    assert early.message == "image access denied: category of docker.io/grafana/loki could not be determined"
    assert "docker-hub: has not answered yet; the look-up goes on" in early.evidence.detail
    assert (late.effect, late.category) == (ALLOW, PUBLISHER)
    assert len(hub.requests) == 1


async def test_many_unknown_ones_are_looked_up_together(serve_with: Any, hub: DockerHubDouble) -> None:
    """A batch of namespaces that nobody knows waits for all of them at once, and a dry run does too."""
    references = [f"name{number}/app" for number in range(50)]
    hub.fault = Fault.SLOW
    async with serve_with(**LONG) as service:
        batch = policy_decision_pb2.BatchDecideRequest(identity=DEV, references=[*references, "Not/A Reference"])
        answer = asyncio.ensure_future(service.call(service.decisions.BatchDecide, batch))
        await hub.until_requested(50)
        dry_run = policy_admin_pb2.DryRunPolicyRequest(
            organization="acme", identities=[DEV], references=[f"other{name}" for name in references]
        )
        tried = asyncio.ensure_future(service.call(service.administration.DryRunPolicy, dry_run))
        await hub.until_requested(100)
        hub.release()
        decisions = (await answer).decisions
        results = (await tried).results

    assert {item.decision.category for item in decisions[:-1]} == {UNKNOWN}
    assert decisions[-1].error.code == 3
    assert len(results) == 50


@pytest.mark.parametrize("cache", ["memory", "redis"])
@pytest.mark.parametrize(
    "fault", [Fault.THROTTLED, Fault.NOT_FOUND_STORM, Fault.ORGS_NOT_FOUND, Fault.HTML_PAGE, Fault.RESET, Fault.HANG]
)
async def test_an_outage_changes_no_answer_across_a_restart(
    serve_with: Any, hub: DockerHubDouble, redis: RedisServer, tmp_path: Path, cache: str, fault: Fault
) -> None:
    """Within max_stale an outage of any kind and length changes no answer, and neither does a restart in its midst;
    with Redis not even where the database has forgotten.
    """
    clock, store = Clock(), MemoryStore()
    options: dict[str, Any] = {"store": store, "clock": clock, "docker_hub_timeout": 0.1}
    options["cache"] = redis.new_database() if cache == "redis" else cache
    engine = open_engine("", tmp_path / "categories.db")
    await bring_up_to_date(engine, allowed=True)

    lasting = SqlCategoryKnowledge(engine, clock)

    def knowledge() -> CategoryKnowledge:
        return MemoryCategoryKnowledge(clock) if cache == "redis" else lasting

    references = ("grafana/loki", "someuser/custom-image")
    async with serve_with(**options, **LONG, knowledge=knowledge()) as service:
        before = [await said(service, name) for name in references]
        await service.application.sources[1].settled()
        hub.fault, hub.reset = fault, int(clock.now.timestamp()) + 10 * 86400
        clock.advance(days=2)
        during = [await said(service, name) for name in references]
    clock.advance(days=5)
    async with serve_with(**options, **LONG, knowledge=knowledge()) as service:
        after = [await said(service, name) for name in references]
        clock.advance(days=2)
        at_last = await said(service, "grafana/loki")
    await lasting.close()
    await engine.dispose()

    assert before == [(ALLOW, PUBLISHER, False), (DENY, COMMUNITY, False)]
    for answers in (during, after):
        assert answers[0] == (ALLOW, PUBLISHER, True)
        assert answers[1][:2] == (DENY, COMMUNITY)
    assert at_last == (DENY, UNKNOWN, False)


@pytest.mark.parametrize("fault", [Fault.NOT_FOUND_STORM, Fault.ORGS_NOT_FOUND])
@pytest.mark.parametrize("known_before", [False, True])
async def test_a_throttled_404_never_makes_a_publisher_community(
    serve_with: Any, hub: DockerHubDouble, fault: Fault, known_before: bool
) -> None:
    """Docker Hub serves 404 to clients that ask too much: what was a publisher stays one, and what was not known is
    unknown, in whatever order and however often it is asked.
    """
    clock = Clock()
    async with serve_with(**LONG, clock=clock) as service:
        if known_before:
            await decision(service, "grafana/loki")
        hub.fault = fault
        found = set()
        for hours in (0, 6, 25, 26):
            clock.advance(hours=hours)
            found.add((await decision(service, "grafana/loki")).category)
        hub.fault = None
        clock.advance(hours=1)
        while (await decision(service, "grafana/loki")).evidence.stale:
            clock.now += REFRESHING
        again = await said(service, "grafana/loki")

    assert found == {PUBLISHER if known_before else UNKNOWN}
    assert again == (ALLOW, PUBLISHER, False)


async def test_a_badge_that_changes_is_seen_within_its_lifetime(serve_with: Any, hub: DockerHubDouble) -> None:
    """A publisher that loses its badge is denied from the next look-up on, in answers that were ready too."""
    clock = Clock()
    async with serve_with(**LONG, clock=clock) as service:
        before = [await said(service, "grafana/loki") for _ in range(2)]
        hub.set_badge("grafana", "")
        clock.advance(hours=24)
        after = [await said(service, name) for name in ("grafana/loki", "grafana/loki", "grafana/tempo")]

    assert before == [(ALLOW, PUBLISHER, False)] * 2
    assert after == [(DENY, COMMUNITY, False)] * 3


async def test_a_badge_of_what_is_in_use_is_seen_before_its_lifetime_ends(
    serve_with: Any, hub: DockerHubDouble
) -> None:
    """What is in use is refreshed ahead: the change holds for answers that are ready too, and nobody waits for it."""
    clock = Clock()
    async with serve_with(**LONG, clock=clock) as service:
        await decision(service, "grafana/loki")
        hub.set_badge("grafana", "")
        clock.advance(hours=20)
        ahead = await said(service, "grafana/loki")
        while (found := await said(service, "grafana/loki")) == ahead:
            pass

    assert ahead == (ALLOW, PUBLISHER, False)
    assert found == (DENY, COMMUNITY, False)


async def test_a_change_reaches_the_ready_answers_of_every_server(serve_with: Any, hub: DockerHubDouble) -> None:
    """A category that one replica finds changed drops the other's ready answers that used it."""
    clock, store, knowledge = Clock(), MemoryStore(), MemoryCategoryKnowledge()
    shared = {"clock": clock, "store": store, "knowledge": knowledge, **LONG}
    async with serve_with(**shared) as one, serve_with(**shared) as two:
        before = [await said(service, "grafana/loki") for service in (one, two) for _ in range(2)]
        hub.set_badge("grafana", "")
        clock.advance(minutes=1)
        request = policy_admin_pb2.RefreshCategoriesRequest(names=["grafana"])
        await one.call(one.administration.RefreshCategories, request)
        here = await said(one, "grafana/loki")
        while (there := await said(two, "grafana/loki")) == before[0]:
            pass

    assert set(before) == {(ALLOW, PUBLISHER, False)}
    assert here == there == (DENY, COMMUNITY, False)


async def test_redis_gone_service_continues(serve_with: Any, hub: DockerHubDouble) -> None:
    """Without Redis decisions go on from memory, from the database and from Docker Hub; logged once, and counted."""
    clock, knowledge = Clock(), MemoryCategoryKnowledge()
    with running_redis() as redis:
        options = {**LONG, "cache": redis.new_database(), "clock": clock, "knowledge": knowledge}
        async with serve_with(**options) as service:
            await decision(service, "grafana/loki")
            await service.application.sources[1].settled()
            redis.stop()
            with structlog.testing.capture_logs() as logs:
                found = [await said(service, name) for name in ("grafana/loki", "grafana/tempo", "someuser/x")]
                clock.advance(seconds=6)
                found.append(await said(service, "plain/app"))
            failures = service.application.metrics.get_sample_value(
                "pullgate_category_memory_failures_total", {"memory": "redis"}
            )
        async with serve_with(**{**options, "category_wait": SOON}) as service:
            hub.fault = Fault.RESET
            restarted = await said(service, "grafana/loki")

    assert found == [
        (ALLOW, PUBLISHER, False), (ALLOW, PUBLISHER, False), (DENY, COMMUNITY, False), (DENY, COMMUNITY, False),
    ]  # fmt: skip
    assert restarted == (ALLOW, PUBLISHER, False)
    assert [entry["event"] for entry in logs].count("category memory out of reach") == 1
    assert failures is not None
    assert failures >= 2


async def test_what_only_the_starter_knows_waits_for_no_hung_source(serve_with: Any, hub: DockerHubDouble) -> None:
    """Docker Hub goes before the shipped catalogue; while it hangs the catalogue's word holds, and soon it is asked
    again.
    """
    hub.set_badge("docker", "")
    clock = Clock()
    hub.fault = Fault.SLOW
    async with serve_with(category_wait=0.05, clock=clock) as service:
        during = [await decision(service, "docker/dockerfile") for _ in range(2)]
        hub.release()
        hub.fault = None
        while (after := await decision(service, "docker/dockerfile")).evidence.source == "starter":
            clock.now += REFRESHING

    assert {(found.effect, found.evidence.source) for found in during} == {(ALLOW, "starter")}
    assert (after.effect, after.evidence.source) == (DENY, "docker-hub")


async def test_figures_are_served(serve_with: Any, hub: DockerHubDouble) -> None:
    """Prometheus fetches hits, misses, flights, requests, the budget and the memory, each with a text that helps."""
    async with serve_with(**LONG, metrics_listen="127.0.0.1:0") as service:
        for name in ("grafana/loki", "grafana/tempo"):
            await decision(service, name)
        server: RunningServer = service.server
        assert server.metrics_address
        fetched = await asyncio.to_thread(urllib.request.urlopen, f"http://{server.metrics_address}/metrics")
        text = fetched.read().decode()

    for line in (
        'pullgate_category_questions_total{answer="looked_up",source="docker-hub"} 1.0',
        'pullgate_category_questions_total{answer="fresh",source="docker-hub"} 1.0',
        'pullgate_category_flights_total{outcome="known",source="docker-hub"} 1.0',
        'pullgate_category_source_request_seconds_count{endpoint="orgs",outcome="answered",source="docker-hub"} 1.0',
        'pullgate_category_flights_open{source="docker-hub"} 0.0',
        "pullgate_category_memory_entries 1.0",
        "pullgate_category_memory_evictions_total 0.0",
    ):
        assert line in text.splitlines()
    helped = {line.split()[2] for line in text.splitlines() if line.startswith("# HELP") and len(line.split()) > 12}
    named = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    assert named == helped
    assert "pullgate_category_budget_left" in named


async def test_an_organizations_flood_holds_up_nobody(serve_with: Any, hub: DockerHubDouble) -> None:
    """With the default budget, an organization that asks for hundreds of invented names is served in its turn: another
    one's first namespaces are looked up long before.
    """
    store = MemoryStore()
    for organization in ("acme", "globex"):
        await put_policy(store, preset_policy(Preset.STANDARD, organization))
    invented = [f"invented{number}/app" for number in range(150)]
    async with serve_with(**LONG, store=store, docker_hub_requests_per_minute=120) as service:
        batch = policy_decision_pb2.BatchDecideRequest(identity=DEV, references=invented)
        flood = asyncio.ensure_future(service.call(service.decisions.BatchDecide, batch))
        await hub.until_requested(28)
        membership = identity_pb2.Membership(organization="globex")
        other = identity_pb2.Identity(username="dev", memberships=[membership])
        for reference in ("grafana/loki", "someuser/tool"):
            request = question(reference, identity=other)
            found = await service.decisions.Decide(request, metadata=service.metadata, timeout=SOON)
            assert found.decision.evidence.source == "docker-hub"
        asked = len(hub.requests)
        flood.cancel()

    assert asked < 60


async def test_a_batch_of_unknown_names_reads_the_database_once(
    serve_with: Any, hub: DockerHubDouble, tmp_path: Path
) -> None:
    """Hundreds of names that are new to a server are one question to its database, and open no connection each."""
    engine = open_engine("", tmp_path / "categories.db")
    await bring_up_to_date(engine, allowed=True)
    lasting = SqlCategoryKnowledge(engine)
    connections: list[None] = []
    event.listen(engine.sync_engine, "connect", lambda *_: connections.append(None))
    for number in range(0, 500, 100):
        word = Remembered(Category.VERIFIED_PUBLISHER, None, "badge", Clock().now)
        await lasting.put(f"docker-hub {hub.url}", f"name{number}", word, 60)
    hub.fault = Fault.HANG
    async with serve_with(category_wait=5.0, knowledge=lasting, store_poll=600.0, clock=Clock()) as service:
        before = len(connections)
        references = [f"name{number}/app" for number in range(500)]
        batch = policy_decision_pb2.BatchDecideRequest(identity=DEV, references=references)
        found = (await service.call(service.decisions.BatchDecide, batch)).decisions
        opened = len(connections) - before
    await lasting.close()
    await engine.dispose()

    known = [index for index, item in enumerate(found) if item.decision.category == PUBLISHER]
    assert known == [0, 100, 200, 300, 400]
    assert opened <= 10
