"""The catalogue as a category source: which namespaces and repositories a YAML file tells of. Works offline."""

import bisect
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path

import pullgate_policy
from pullgate_policy import CategoryEvidence, HubRepository, InvalidCatalogueError, Problem
from pullgate_policy.catalogue import STARTER_FILE, CatalogueEntry, parse_catalogue


def starter_catalogue() -> Sequence[CatalogueEntry]:
    """The small catalogue that is shipped with pullgate."""
    return parse_catalogue(resources.files(pullgate_policy).joinpath(STARTER_FILE).read_text(encoding="utf-8"))


def read_catalogue(path: Path) -> Sequence[CatalogueEntry]:
    """The entries of the file at `path`; raises InvalidCatalogueError and OSError."""
    try:
        return parse_catalogue(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise InvalidCatalogueError([Problem("", f"is not UTF-8 text (byte {error.start})")]) from error


class Catalogue:
    """What a catalogue says, at hand without waiting. The entries are replaced as a whole.

    Attributes:
        name: the source in a word, as it stands in evidence.
        divided: the namespaces of which there are entries for single repositories.
    """

    def __init__(self, name: str, entries: Iterable[CatalogueEntry] = ()) -> None:
        self.name = name
        self._known: dict[str, CategoryEvidence] = {}
        self.replace(entries)

    def replace(self, entries: Iterable[CatalogueEntry]) -> None:
        """Know these entries from now on."""
        self._known = {entry.name: entry.evidence(self.name) for entry in entries}
        self._names = sorted(self._known)
        self.divided = frozenset(name.partition("/")[0] for name in self._names if "/" in name)

    def evidence_of(self, repository: HubRepository) -> CategoryEvidence | None:
        """What the entry of the repository, or else of its namespace, says."""
        return self._known.get(repository.path) or self._known.get(repository.namespace)

    def entries_after(self, name: str, limit: int) -> Sequence[tuple[str, CategoryEvidence]]:
        """What at most `limit` entries say that come after `name`, in the order of their names."""
        begin = bisect.bisect_right(self._names, name)
        return [(name, self._known[name]) for name in self._names[begin : begin + limit]]
