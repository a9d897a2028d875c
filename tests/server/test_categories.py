"""Categories: the catalogue file, and the cache before the sources."""

import asyncio
import os
import re
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest
import structlog
from aiocache import SimpleMemoryCache

from pullgate_policy import Category, CategoryEvidence, CommunityClass, HubRepository, InvalidCatalogueError
from pullgate_server.categories.cache import CategoryCache
from pullgate_server.categories.catalogue import Catalogue, parse_catalogue, starter_catalogue
from pullgate_server.categories.catalogue_file import CatalogueFile
from pullgate_server.categories.port import ABSENT, Outcome, SourceAnswer
from tests.conftest import Clock

ENTRY = "{namespace: someuser, category: COMMUNITY, source: x, retrieved_at: 2026-01-01T00:00:00Z}"


class CountingSource:
    """A source that says what it is told to, and counts."""

    name = "counting"

    def __init__(self, answer: SourceAnswer) -> None:
        self.answer = answer
        self.asked: list[str] = []

    async def look_up(self, repository: HubRepository) -> SourceAnswer:
        """The answer."""
        self.asked.append(repository.path)
        return self.answer


def known(category: Category) -> SourceAnswer:
    """A source's knowledge."""
    return SourceAnswer(Outcome.KNOWN, CategoryEvidence(category=category, source="counting"))


def cache(*sources: CountingSource, clock: Clock) -> CategoryCache:
    """A cache in memory, a day for what is known and five minutes for what is not."""
    return CategoryCache(
        sources, SimpleMemoryCache(), known_for=timedelta(days=1), unknown_for=timedelta(minutes=5), clock=clock
    )


@pytest.mark.parametrize(
    ("answer", "lifetime"), [(known(Category.COMMUNITY), timedelta(days=1)), (ABSENT, timedelta(minutes=5))]
)
async def test_an_answer_is_remembered_for_its_lifetime(answer: SourceAnswer, lifetime: timedelta) -> None:
    """A source is asked once, and again when the lifetime of its outcome is over."""
    clock, source = Clock(), CountingSource(answer)
    categories = cache(source, clock=clock)
    for wait in (timedelta(0), lifetime - timedelta(seconds=1), timedelta(seconds=1)):
        clock.now += wait
        await categories.category_of(HubRepository("a/b"))

    assert source.asked == ["a/b", "a/b"]


async def test_a_failure_is_never_remembered() -> None:
    """A source that could not answer is asked again at once, and the answer says why nothing is known."""
    clock, source = Clock(), CountingSource(SourceAnswer(Outcome.FAILED, detail="timed out"))
    categories = cache(source, clock=clock)
    first = await categories.category_of(HubRepository("a/b"))
    source.answer = known(Category.OFFICIAL)
    second = await categories.category_of(HubRepository("a/b"))

    assert (
        first.evidence.category,
        first.evidence.detail,
    ) == (Category.UNKNOWN, "could not be asked: counting: timed out")
    assert first.fresh_until == clock.now
    assert Category.OFFICIAL is second.evidence.category


async def test_the_first_source_that_knows_is_believed() -> None:
    """Sources are asked in their order until one knows."""
    clock = Clock()
    absent, first, second = CountingSource(ABSENT), CountingSource(known(Category.COMMUNITY)), CountingSource(ABSENT)
    found = await cache(absent, first, second, clock=clock).category_of(HubRepository("a/b"))

    assert Category.COMMUNITY is found.evidence.category
    assert [len(source.asked) for source in (absent, first, second)] == [1, 1, 0]


async def test_forgetting_asks_anew() -> None:
    """After `forget` nothing is known any more."""
    clock, source = Clock(), CountingSource(known(Category.COMMUNITY))
    categories = cache(source, clock=clock)
    await categories.category_of(HubRepository("a/b"))
    await categories.forget()
    await categories.category_of(HubRepository("a/b"))

    assert len(source.asked) == 2


async def test_what_was_looked_up_before_forgetting_is_not_found_after() -> None:
    """A look-up that is still on its way when everything is forgotten leaves nothing behind."""
    clock, asked, go_on = Clock(), asyncio.Event(), asyncio.Event()

    class SlowSource(CountingSource):
        async def look_up(self, repository: HubRepository) -> SourceAnswer:
            answer = await super().look_up(repository)
            asked.set()
            await go_on.wait()
            return answer

    source = SlowSource(known(Category.COMMUNITY))
    categories = cache(source, clock=clock)
    early = asyncio.ensure_future(categories.category_of(HubRepository("a/b")))
    await asked.wait()
    source.answer = known(Category.OFFICIAL)
    await categories.forget()
    go_on.set()
    await early
    late = await categories.category_of(HubRepository("a/b"))

    assert Category.OFFICIAL is late.evidence.category


async def test_a_repository_goes_before_its_namespace() -> None:
    """A repository's own entry holds; the namespace's holds for the others; a look-alike has none."""
    catalogue = Catalogue(
        parse_catalogue(
            "entries:\n"
            "  - {namespace: vendor, category: COMMUNITY, source: x, retrieved_at: 2026-01-01T00:00:00Z}\n"
            "  - {repository: vendor/agent, category: SPONSORED_OPEN_SOURCE, source: y, "
            "retrieved_at: 2026-01-01T00:00:00Z}"
        )
    )
    found = {
        path: (await catalogue.look_up(HubRepository(path))).evidence
        for path in ("vendor/agent", "vendor/other", "vendors/agent", "vendor2/agent")
    }

    community = {path: evidence.community_class for path, evidence in found.items() if evidence is not None}

    assert community == {"vendor/agent": CommunityClass.SPONSORED_OPEN_SOURCE, "vendor/other": None}
    assert None is found["vendors/agent"] is found["vendor2/agent"]


async def test_the_operators_entries_go_before_the_starter() -> None:
    """What the operator's file says of a namespace holds against the shipped catalogue."""
    own = parse_catalogue(
        "entries: [{namespace: docker, category: COMMUNITY, source: x, retrieved_at: 2026-01-01T00:00:00Z}]"
    )
    found = await Catalogue(own, starter_catalogue()).look_up(HubRepository("docker/dockerfile"))

    assert found.evidence is not None
    assert Category.COMMUNITY is found.evidence.category


def test_every_entry_of_the_starter_is_dated_and_sourced() -> None:
    """The shipped catalogue is valid, and says who says so and when that was read."""
    entries = starter_catalogue()

    assert {"docker", "fluent"} <= {entry.namespace for entry in entries}
    assert all(entry.source and entry.retrieved_at for entry in entries)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "entries: is missing"),
        ("entries: {}", "entries: expected a list"),
        (f"entries: [{ENTRY}, {ENTRY}]", "entries[1]: someuser stands twice"),
        (
            "entries: [{category: COMMUNITY, source: x, retrieved_at: 2026-01-01T00:00:00Z}]",
            "either namespace or repository",
        ),
        (f"entries: [{ENTRY[:-1]}, repository: a/b}}]", "entries[0]: write either namespace or repository"),
        (ENTRY.replace("someuser", "a/b").join(["entries: [", "]"]), "is not a Docker Hub namespace"),
        (ENTRY.replace("COMMUNITY", "ORGANIZATION").join(["entries: [", "]"]), "is not a choice"),
        (ENTRY.replace("2026-01-01T00:00:00Z", "").join(["entries: [", "]"]), "retrieved_at is empty"),
    ],
)
def test_a_catalogue_with_problems_is_refused(text: str, told: str) -> None:
    """Problems are told with their paths."""
    with pytest.raises(InvalidCatalogueError, match=re.escape(told)):
        parse_catalogue(text)


class Changes:
    """Counts what the file tells its owner."""

    def __init__(self) -> None:
        self.count = 0

    async def __call__(self) -> None:
        """One change."""
        self.count += 1


def touch(path: Path, text: str, moment: int) -> None:
    """Write a file that was last changed at `moment`."""
    path.write_text(text)
    os.utime(path, ns=(moment, moment))


async def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    """A file that appears, changes or goes is taken in; an unchanged one is left alone."""
    path, catalogue, changes = tmp_path / "catalogue.yaml", Catalogue(), Changes()
    told: Callable[[], Awaitable[None]] = changes
    file = CatalogueFile(path, catalogue, (), told)
    file.load()
    found = []
    for moment, text in (
        (1, f"entries: [{ENTRY}]"),
        (1, None),
        (2, "entries: []"),
        (3, f"entries: [{ENTRY}]"),
        (4, ""),
    ):
        if text:
            touch(path, text, moment)
        elif moment == 4:
            path.unlink()
        await file.look()
        found.append((await catalogue.look_up(HubRepository("someuser/x"))).outcome)

    assert found == [Outcome.KNOWN, Outcome.KNOWN, Outcome.ABSENT, Outcome.KNOWN, Outcome.ABSENT]
    assert changes.count == 4


async def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the limit everything is asked anew, and memory does not grow."""
    monkeypatch.setattr("pullgate_server.categories.cache.MAX_ENTRIES", 3)
    source = CountingSource(known(Category.COMMUNITY))
    categories = cache(source, clock=Clock())
    for path in ("a/1", "a/2", "a/3", "a/1", "a/4", "a/1"):
        await categories.category_of(HubRepository(path))

    assert source.asked == ["a/1", "a/2", "a/3", "a/4", "a/1"]


async def test_a_file_that_cannot_be_read_leaves_the_former_entries(tmp_path: Path) -> None:
    """A mistake in the file is logged once, with its path, and what was known stays known."""
    path, catalogue, changes = tmp_path / "catalogue.yaml", Catalogue(), Changes()
    touch(path, f"entries: [{ENTRY}]", 1)
    file = CatalogueFile(path, catalogue, (), changes)
    file.load()
    touch(path, "entries: [{}]", 2)
    with structlog.testing.capture_logs() as logs:
        await file.look()
        await file.look()

    assert Outcome.KNOWN is (await catalogue.look_up(HubRepository("someuser/x"))).outcome
    assert changes.count == 0
    assert [entry["event"] for entry in logs] == ["catalogue refused, the former entries hold"]
    assert "entries[0].category: is missing" in logs[0]["problem"]
