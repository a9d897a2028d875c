"""The labelled corpus: repositories written for this project, with every reference in them labelled by hand.

`corpus/FORMAT/CASE/` is a tree of files as a repository has them; `corpus/FORMAT/CASE.labels.yaml` says what is in it:

    about: what this case is a trap for
    settings: {build_arguments: {VERSION: "3"}, build_contexts: {}, variables: {}, target: ""}  # if needed
    found:
      - {file: Dockerfile, line: 3, column: 6, kind: from, raw: "alpine:${V}",
         reference: "docker.io/library/alpine:3.19", certainty: default}
      - {file: Dockerfile, line: 9, column: 6, kind: from, raw: "${BASE}", reference: null, certainty: unresolved}
    trouble:                               # files or parts that cannot be read
      - {file: broken.yaml, line: 2}
"""

from collections import Counter
from pathlib import Path

import pytest
import yaml

from pullgate_finders import Finding, Found, Search, Settings, Trouble
from pullgate_finders.finding import find
from pullgate_finders.formats import FINDERS
from pullgate_finders.tree import FilesOnDisk

CORPUS = Path(__file__).parent / "corpus"
CASES = sorted(CORPUS.glob("*/*.labels.yaml"))
MIN_FILES = 80
"""Labelled files that there are to be at least."""

Label = tuple[object, ...]


@pytest.mark.parametrize(
    "labels", CASES, ids=lambda path: f"{path.parent.name}/{path.name.removesuffix('.labels.yaml')}"
)
def test_every_labelled_reference_is_found_and_nothing_else(labels):
    """Of each labelled tree exactly the labelled references are found: place, kind, text, reference and certainty."""
    wanted, found = _labels(labels), _found(labels)
    assert sorted(map(str, found)) == sorted(map(str, wanted))


def test_recall_and_precision_over_the_corpus(record_property, capsys):
    """Over all labelled files recall and precision are 1, and there are at least as many files as promised."""
    wanted: list[Label] = []
    found: list[Label] = []
    for labels in CASES:
        case = str(labels)
        wanted.extend((case, *label) for label in _labels(labels))
        found.extend((case, *label) for label in _found(labels))
    files = sum(len(list(FilesOnDisk(_tree(labels)).paths())) for labels in CASES)
    hits = (Counter(wanted) & Counter(found)).total()
    recall, precision = hits / len(wanted), hits / len(found)
    record_property("recall", recall)
    record_property("precision", precision)
    with capsys.disabled():
        print(f"\n{files} files, {len(wanted)} labels: recall {recall:.4f}, precision {precision:.4f}")  # noqa: T201 - the figures are the point
    assert (recall, precision) == (1, 1)
    assert files >= MIN_FILES


def _tree(labels: Path) -> Path:
    return labels.with_name(labels.name.removesuffix(".labels.yaml"))


def _labels(labels: Path) -> list[Label]:
    data = yaml.safe_load(labels.read_text(encoding="utf-8"))
    keys = ("file", "line", "column", "kind", "raw", "reference", "certainty")
    return [
        *(tuple(str(label[key]) for key in keys) for label in data.get("found") or ()),
        *(("trouble", label["file"], str(label["line"])) for label in data.get("trouble") or ()),
    ]


def _found(labels: Path) -> list[Label]:
    data = yaml.safe_load(labels.read_text(encoding="utf-8"))
    files = FilesOnDisk(_tree(labels))
    search = Search(files=files, settings=Settings(**data.get("settings") or {}))
    return [_as_label(finding) for finding in find(list(files.paths()), search, FINDERS)]


def _as_label(finding: Finding) -> Label:
    place = finding.place
    match finding:
        case Trouble():
            return ("trouble", place.file, str(place.line))
        case Found():
            at = (place.file, str(place.line), str(place.column))
            return (*at, finding.kind.value, finding.raw, str(finding.reference), finding.certainty.value)
