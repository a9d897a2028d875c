"""The catalogue: which entries hold, and how its file is read."""

import os
import re
import shutil
from collections.abc import Callable
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
    """A file that appears or changes is taken in, an empty list too; an unchanged one is left alone."""
    path, catalogue, changes = tmp_path / "catalogue.yaml", Catalogue("catalogue"), Changes()
    file = CatalogueFile(path, catalogue, changes)
    file.load()
    found = []
    for moment, text in (
        (1, f"entries: [{ENTRY}]"),
        (1, None),
        (2, "entries: []"),
        (3, f"entries: [{ENTRY}]"),
    ):
        if text:
            touch(path, text, moment)
        await file.look()
        found.append(catalogue.evidence_of(HubRepository("someuser/x")) is not None)

    assert found == [True, True, False, True]
    assert changes.count == 3


def unlinked(path: Path) -> None:
    """Gone, as between a delete and a write."""
    path.unlink()


def directory_instead(path: Path) -> None:
    """Something that is there and cannot be read."""
    path.unlink()
    path.mkdir()


def file_as_parent(path: Path) -> None:
    """The directory is gone, and a file has its name."""
    shutil.rmtree(path.parent)
    path.parent.write_text("")


def loop_of_links(path: Path) -> None:
    """Stands in for a directory that may not be entered, which does not stop root."""
    path.unlink()
    path.symlink_to(path)


def remove(path: Path) -> None:
    """Remove a directory, or the file in its place."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


@pytest.mark.parametrize("lose", [unlinked, directory_instead, file_as_parent, loop_of_links])
@pytest.mark.parametrize("text", [f"entries: [{ENTRY}]", "entries: []"], ids=["the same", "emptied"])
async def test_a_file_that_is_gone_leaves_the_former_entries(
    tmp_path: Path, lose: Callable[[Path], None], text: str
) -> None:
    """It is logged once that a file is gone, whatever hides it; what was known stays known until it is there again."""
    directory, catalogue, changes = tmp_path / "mounted", Catalogue("catalogue"), Changes()
    path = directory / "catalogue.yaml"
    directory.mkdir()
    touch(path, f"entries: [{ENTRY}]", 1)
    file = CatalogueFile(path, catalogue, changes)
    file.load()
    lose(path)
    with structlog.testing.capture_logs() as logs:
        await file.look()
        await file.look()
        held, told = catalogue.evidence_of(HubRepository("someuser/x")), changes.count
        remove(directory)
        directory.mkdir()
        await file.look()
        touch(path, text, 1)
        await file.look()
        await file.look()

    assert held is not None
    assert (told, changes.count) == (0, 1)
    assert (catalogue.evidence_of(HubRepository("someuser/x")) is None) == (text == "entries: []")
    assert [entry["event"] for entry in logs] == ["catalogue gone, the former entries hold", "catalogue read"]
    assert logs[0]["log_level"] == "error"


async def test_each_loss_is_logged(tmp_path: Path) -> None:
    """A file that was there again and is gone anew is logged anew; one that was never there is not missed."""
    path, catalogue, changes = tmp_path / "catalogue.yaml", Catalogue("catalogue"), Changes()
    file = CatalogueFile(path, catalogue, changes)
    file.load()
    with structlog.testing.capture_logs() as logs:
        await file.look()
        for _ in range(2):
            touch(path, f"entries: [{ENTRY}]", 1)
            await file.look()
            path.unlink()
            await file.look()

    assert [entry["event"].split(",")[0] for entry in logs] == ["catalogue read", "catalogue gone"] * 2
    assert catalogue.evidence_of(HubRepository("someuser/x")) is not None
    assert changes.count == 2


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
