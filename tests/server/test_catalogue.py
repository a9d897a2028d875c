"""The catalogue: which entries hold, and how its file is read."""

import os
import re
from pathlib import Path

import pytest
import structlog

from pullgate_policy import CommunityClass, HubRepository, InvalidCatalogueError
from pullgate_policy.catalogue import parse_catalogue
from pullgate_server.categories.catalogue import Catalogue, starter_catalogue
from pullgate_server.categories.catalogue_file import CatalogueFile

ENTRY = "{namespace: someuser, category: COMMUNITY, source: x, retrieved_at: 2026-01-01T00:00:00Z}"


def test_a_repository_goes_before_its_namespace() -> None:
    """A repository's own entry holds; the namespace's holds for the others; a look-alike has none."""
    catalogue = Catalogue(
        "catalogue",
        parse_catalogue(
            "entries:\n"
            "  - {namespace: vendor, category: COMMUNITY, source: x, retrieved_at: 2026-01-01T00:00:00Z}\n"
            "  - {repository: vendor/agent, category: SPONSORED_OPEN_SOURCE, source: y, "
            "retrieved_at: 2026-01-01T00:00:00Z}"
        ),
    )
    found = {
        path: catalogue.evidence_of(HubRepository(path))
        for path in ("vendor/agent", "vendor/other", "vendors/agent", "vendor2/agent")
    }

    community = {path: evidence.community_class for path, evidence in found.items() if evidence is not None}

    assert community == {"vendor/agent": CommunityClass.SPONSORED_OPEN_SOURCE, "vendor/other": None}
    assert None is found["vendors/agent"] is found["vendor2/agent"]


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

    def __call__(self) -> None:
        """One change."""
        self.count += 1


def touch(path: Path, text: str, moment: int) -> None:
    """Write a file that was last changed at `moment`."""
    path.write_text(text)
    os.utime(path, ns=(moment, moment))


async def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    """A file that appears, changes or goes is taken in; an unchanged one is left alone."""
    path, catalogue, changes = tmp_path / "catalogue.yaml", Catalogue("catalogue"), Changes()
    file = CatalogueFile(path, catalogue, changes)
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
        found.append(catalogue.evidence_of(HubRepository("someuser/x")) is not None)

    assert found == [True, True, False, True, False]
    assert changes.count == 4


async def test_a_file_that_cannot_be_read_leaves_the_former_entries(tmp_path: Path) -> None:
    """A mistake in the file is logged once, with its path, and what was known stays known."""
    path, catalogue, changes = tmp_path / "catalogue.yaml", Catalogue("catalogue"), Changes()
    touch(path, f"entries: [{ENTRY}]", 1)
    file = CatalogueFile(path, catalogue, changes)
    file.load()
    touch(path, "entries: [{}]", 2)
    with structlog.testing.capture_logs() as logs:
        await file.look()
        await file.look()

    assert catalogue.evidence_of(HubRepository("someuser/x")) is not None
    assert changes.count == 0
    assert [entry["event"] for entry in logs] == ["catalogue refused, the former entries hold"]
    assert "entries[0].category: is missing" in logs[0]["problem"]
