"""Categories for local decisions: what is asked, what is remembered, and what goes on when nobody answers."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import timedelta
from typing import cast

import grpc
import pytest

from pullgate_client import AsyncClient, UnavailableError
from pullgate_client.local_categories import FAILED_FOR, KNOWN_FOR, UNKNOWN_FOR, LocalCategories
from pullgate_policy import Category, CategoryEvidence, HubRepository
from pullgate_policy.category_lookup import CategoryLookup, KnownCategory, LookupStep, Outcome
from tests.conftest import SOON, Clock

LOKI, OTHER = HubRepository("grafana/loki"), HubRepository("grafana/other")
PUBLISHER = CategoryEvidence(category=Category.VERIFIED_PUBLISHER, source="docker_hub", detail="badge")
COMMUNITY = CategoryEvidence(category=Category.COMMUNITY, source="catalogue", detail="entry")
UNKNOWN = CategoryEvidence(category=Category.UNKNOWN, detail="nobody knows")


class Service:
    """Stands for a client of a service.

    Attributes:
        asked: every name, in order.
        answer: what it says; None where it cannot be reached.
        reached: whether it answers at all.
        called: whether it was asked anything.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answer: Callable[[str], CategoryLookup] | None = None
        self.called, self.reached = asyncio.Event(), asyncio.Event()
        self.reached.set()

    def with_deadline(self, _deadline: float) -> "Service":
        """The same."""
        return self

    async def look_up_categories(
        self, names: Sequence[str], *, organization: str, sources_only: bool
    ) -> AsyncIterator[CategoryLookup]:
        """What it says."""
        assert (organization, sources_only) == ("acme", True)
        self.asked += names
        self.called.set()
        await self.reached.wait()
        for name in names:
            if self.answer is None:
                raise UnavailableError(grpc.StatusCode.UNAVAILABLE, "gone")
            yield self.answer(name)

    def says(self, evidence: CategoryEvidence, outcome: Outcome = Outcome.KNOWN, *, whole: bool = True) -> None:
        """Have it say so of every name."""
        step = LookupStep(source="docker_hub", outcome=outcome, detail="")
        self.answer = lambda name: CategoryLookup(name=name, evidence=evidence, steps=(step,), whole_namespace=whole)


class World:
    """Categories, the service they are of, and how often one became another."""

    def __init__(self) -> None:
        self.clock, self.service, self.changes = Clock(), Service(), 0
        self.categories = LocalCategories(cast("AsyncClient", self.service), self.clock, self._changed)

    async def found(self, repository: HubRepository = LOKI, wait: float = SOON) -> tuple[Category, bool]:
        """What is found, and whether it is stale."""
        found = await self.categories.find(repository, "acme", wait)
        return found.evidence.category, found.evidence.stale

    def told(self, name: str, evidence: CategoryEvidence) -> None:
        """Have the service tell it by itself."""
        self.categories.take([KnownCategory(name=name, evidence=evidence)])

    def later(self, span: timedelta) -> None:
        """Have time go by."""
        self.clock.advance(seconds=span.total_seconds())

    def _changed(self) -> None:
        self.changes += 1


@pytest.fixture
def world() -> World:
    """A world in which nothing is known."""
    return World()


async def test_a_namespace_is_asked_about_once(world: World) -> None:
    """What holds for the whole namespace is known of every repository of it, for an hour."""
    world.service.says(PUBLISHER)

    assert await world.found() == await world.found(OTHER) == (Category.VERIFIED_PUBLISHER, False)
    world.later(KNOWN_FOR)
    assert await world.found(OTHER) == (Category.VERIFIED_PUBLISHER, False)
    assert world.service.asked == ["grafana/loki", "grafana/other"]


async def test_what_was_told_of_a_repository_does_not_hide_its_namespace(world: World) -> None:
    """An hour after a repository was told its namespace is asked about, once, and what is said then is what holds."""
    world.told("grafana/loki", PUBLISHER)
    world.later(KNOWN_FOR)
    world.service.says(PUBLISHER)

    assert [await world.found() for _ in range(3)] == [(Category.VERIFIED_PUBLISHER, False)] * 3
    assert world.service.asked == ["grafana/loki"]
    world.later(KNOWN_FOR)
    world.service.says(UNKNOWN, Outcome.ABSENT)
    assert await world.found() == (Category.UNKNOWN, False)
    assert world.changes == 2
    assert list(world.categories.known) == ["grafana"]


async def test_of_two_words_the_later_holds(world: World) -> None:
    """Where both a repository and its namespace are known what was found out later goes before the other."""
    world.told("grafana/loki", COMMUNITY)
    world.later(timedelta(minutes=30))
    world.service.says(PUBLISHER)

    assert await world.found(OTHER) == (Category.VERIFIED_PUBLISHER, False)
    world.later(timedelta(minutes=31))
    assert await world.found() == (Category.VERIFIED_PUBLISHER, False)
    assert world.service.asked == ["grafana/other"]


async def test_a_namespace_that_is_no_whole_any_more_is_forgotten(world: World) -> None:
    """Told that a namespace is unknown, or in answer to a look-up, each repository is asked about on its own."""
    world.service.says(PUBLISHER)
    await world.found()
    world.told("grafana", UNKNOWN)
    world.service.says(COMMUNITY, whole=False)

    assert world.changes == 1
    assert await world.found(OTHER) == (Category.COMMUNITY, False)
    world.service.says(PUBLISHER, whole=False)
    assert await world.found() == (Category.VERIFIED_PUBLISHER, False)
    assert set(world.categories.known) == {"grafana/loki", "grafana/other"}


@pytest.mark.parametrize("failure", ["unreachable", "failed"])
async def test_a_failure_is_remembered_for_a_moment(world: World, failure: str) -> None:
    """For seconds after a look-up failed what was known goes on at once, and nobody asks again."""
    world.service.says(PUBLISHER)
    await world.found()
    world.later(KNOWN_FOR)
    if failure == "unreachable":
        world.service.answer = None
    else:
        world.service.says(UNKNOWN, Outcome.FAILED)
    stale = (Category.VERIFIED_PUBLISHER, True)

    assert [await world.found() for _ in range(3)] == [stale] * 3
    assert world.service.asked == ["grafana/loki"] * 2
    world.later(FAILED_FOR)
    assert await world.found() == stale
    assert world.service.asked == ["grafana/loki"] * 3
    world.later(FAILED_FOR)
    world.service.says(COMMUNITY)
    assert await world.found() == (Category.COMMUNITY, False)


async def test_what_was_never_known_is_unknown_meanwhile(world: World) -> None:
    """After a failure a name that nothing is known of is UNKNOWN at once, until the next look-up."""
    found = [await world.categories.find(LOKI, "acme", SOON) for _ in range(2)]

    assert {item.evidence.detail for item in found} == {"the service could not be asked: gone"}
    assert world.service.asked == ["grafana/loki"]
    world.later(FAILED_FOR)
    world.service.says(UNKNOWN, Outcome.ABSENT)
    assert (await world.categories.find(LOKI, "acme", SOON)).evidence.detail == "nobody knows"
    world.later(UNKNOWN_FOR)
    world.service.says(PUBLISHER)
    assert await world.found() == (Category.VERIFIED_PUBLISHER, False)


async def test_one_waits_for_a_service_that_is_silent(world: World) -> None:
    """While a look-up has no answer only the first waits for it; what is known goes on for all others at once."""
    world.service.says(PUBLISHER)
    await world.found()
    world.later(KNOWN_FOR)
    world.service.called.clear()
    world.service.reached.clear()
    first = asyncio.ensure_future(world.found())
    async with asyncio.timeout(SOON):
        await world.service.called.wait()

    assert await world.found(wait=2 * SOON) == (Category.VERIFIED_PUBLISHER, True)
    assert not first.done()
    world.service.says(COMMUNITY)
    world.service.reached.set()
    assert await first == (Category.COMMUNITY, False)
    assert world.service.asked == ["grafana/loki"] * 2
    await world.categories.close()
