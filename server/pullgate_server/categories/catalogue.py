"""The catalogue: a YAML file that says which namespaces and repositories are of which category. Works offline.

    entries:
      - namespace: fluent
        category: SPONSORED_OPEN_SOURCE
        source: the caption of the badge in Docker's documentation
        retrieved_at: 2026-08-21T00:00:00Z

A repository's own entry goes before its namespace's, and the operator's file before the starter that is shipped here.
"""

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import resources
from pathlib import Path

from pullgate_policy import (
    Category,
    CategoryEvidence,
    CommunityClass,
    HubRepository,
    InvalidCatalogueError,
    Problem,
)
from pullgate_policy.document import Choice, ListOf, Record, Text, Timestamp, written
from pullgate_policy.names import hub_name, namespace_name, short_note
from pullgate_policy.yaml_text import InvalidYamlError, load_yaml
from pullgate_server.categories.port import ABSENT, Outcome, SourceAnswer


class CatalogueCategory(enum.Enum):
    """What an entry may say. Whose namespace is an organization's own, policies say."""

    OFFICIAL = "OFFICIAL"
    VERIFIED_PUBLISHER = "VERIFIED_PUBLISHER"
    COMMUNITY = "COMMUNITY"
    SPONSORED_OPEN_SOURCE = "SPONSORED_OPEN_SOURCE"


def _repository(text: str) -> str:
    if "/" not in text:
        raise ValueError("is not a repository, such as grafana/loki; write it as a namespace")
    return hub_name(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueEntry:
    """One line of knowledge: a namespace or a repository, its category, who says so, and since when it is known."""

    namespace: str = written(Text(namespace_name), default="")
    repository: str = written(Text(_repository), default="")
    category: CatalogueCategory = written(Choice(CatalogueCategory))
    source: str = written(Text(short_note))
    retrieved_at: datetime | None = written(Timestamp())

    def __post_init__(self) -> None:
        if bool(self.namespace) == bool(self.repository):
            raise ValueError("write either namespace or repository")
        if self.retrieved_at is None:
            raise ValueError("retrieved_at is empty; write the day the entry was checked")

    @property
    def evidence(self) -> CategoryEvidence:
        """What a decision says of the category."""
        sponsored = self.category is CatalogueCategory.SPONSORED_OPEN_SOURCE
        return CategoryEvidence(
            category=Category.COMMUNITY if sponsored else Category[self.category.name],
            community_class=CommunityClass.SPONSORED_OPEN_SOURCE if sponsored else None,
            source="catalogue",
            detail=self.source,
            checked_at=self.retrieved_at,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _CatalogueDocument:
    entries: tuple[CatalogueEntry, ...] = written(ListOf(Record(CatalogueEntry)))


_document: Record[_CatalogueDocument] = Record(_CatalogueDocument)


def parse_catalogue(text: str) -> Sequence[CatalogueEntry]:
    """The entries of a catalogue file.

    Raises:
        InvalidCatalogueError: with every problem and its path.
    """
    problems: list[Problem] = []
    try:
        document = _document.read(load_yaml(text), "", problems)
    except InvalidYamlError as error:
        raise InvalidCatalogueError([Problem("", str(error))]) from error
    if document is None:
        raise InvalidCatalogueError(problems)
    named: set[str] = set()
    for index, entry in enumerate(document.entries):
        name = entry.namespace or entry.repository
        if name in named:
            problems.append(Problem(f"entries[{index}]", f"{name} stands twice"))
        named.add(name)
    if problems:
        raise InvalidCatalogueError(problems)
    return document.entries


def starter_catalogue() -> Sequence[CatalogueEntry]:
    """The small catalogue that is shipped with pullgate."""
    return parse_catalogue(resources.files(__package__).joinpath("starter.yaml").read_text(encoding="utf-8"))


def read_catalogue(path: Path) -> Sequence[CatalogueEntry]:
    """The entries of the file at `path`; raises InvalidCatalogueError and OSError."""
    try:
        return parse_catalogue(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise InvalidCatalogueError([Problem("", f"is not UTF-8 text (byte {error.start})")]) from error


class Catalogue:
    """Implements `CategorySource`. The entries are replaced as a whole."""

    name = "catalogue"

    def __init__(self, *parts: Iterable[CatalogueEntry]) -> None:
        self._known: dict[str, CategoryEvidence] = {}
        self.replace(*parts)

    def replace(self, *parts: Iterable[CatalogueEntry]) -> None:
        """Know these entries from now on; where two parts name the same, the earlier part holds."""
        self._known = {
            entry.namespace or entry.repository: entry.evidence for part in reversed(parts) for entry in part
        }

    async def look_up(self, repository: HubRepository) -> SourceAnswer:
        """What the entry of the repository, or else of its namespace, says."""
        evidence = self._known.get(repository.path) or self._known.get(repository.namespace)
        return ABSENT if evidence is None else SourceAnswer(Outcome.KNOWN, evidence)
