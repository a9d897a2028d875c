"""Catalogues: YAML documents that say which namespaces and repositories are of which category.

    entries:
      - namespace: fluent
        category: SPONSORED_OPEN_SOURCE
        source: the caption of the badge in Docker's documentation
        retrieved_at: 2026-08-21T00:00:00Z

Every entry says who says so and when that was read, because badges come and go.
"""

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import yaml

from pullgate_policy.category import Category, CategoryEvidence, CommunityClass
from pullgate_policy.document import Choice, ListOf, Record, Text, Timestamp, written
from pullgate_policy.errors import InvalidCatalogueError, Problem
from pullgate_policy.names import hub_name, namespace_name, short_note
from pullgate_policy.yaml_text import InvalidYamlError, load_yaml

MAX_CATALOGUE_CHARACTERS = 64 * 1024 * 1024
"""Room for some 400,000 entries."""


CATALOGUE = "catalogue"
STARTER = "starter"
"""The sources whose evidence comes from a catalogue: the operator's, and the one that is shipped."""

STARTER_FILE = "starter.yaml"
"""The catalogue that is shipped, among this package's files. It is read by those who do I/O."""


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

    @classmethod
    def of_evidence(cls, name: str, evidence: CategoryEvidence, retrieved_at: datetime) -> "CatalogueEntry":
        """The entry that keeps what is known of a namespace or repository.

        Args:
            retrieved_at: when it was written down, for evidence that does not say when it was checked.

        Raises:
            ValueError: the category is none that a catalogue holds.
        """
        sponsored = evidence.community_class is CommunityClass.SPONSORED_OPEN_SOURCE
        # The words of a catalogue say already who said so.
        said_by = "" if evidence.source in {CATALOGUE, STARTER} else f"{evidence.source}: "
        return cls(
            **{"repository" if "/" in name else "namespace": name},
            category=CatalogueCategory("SPONSORED_OPEN_SOURCE" if sponsored else evidence.category.name),
            source=f"{said_by}{evidence.detail}",
            retrieved_at=evidence.checked_at or retrieved_at,
        )

    @property
    def name(self) -> str:
        """The namespace or repository."""
        return self.namespace or self.repository

    def evidence(self, source: str) -> CategoryEvidence:
        """What a decision says of the category, by the name of the source that the entry belongs to."""
        sponsored = self.category is CatalogueCategory.SPONSORED_OPEN_SOURCE
        return CategoryEvidence(
            category=Category.COMMUNITY if sponsored else Category[self.category.name],
            community_class=CommunityClass.SPONSORED_OPEN_SOURCE if sponsored else None,
            source=source,
            detail=self.source,
            checked_at=self.retrieved_at,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _CatalogueDocument:
    entries: tuple[CatalogueEntry, ...] = written(ListOf(Record(CatalogueEntry)))


_document: Record[_CatalogueDocument] = Record(_CatalogueDocument)
_entry: Record[CatalogueEntry] = Record(CatalogueEntry, omit_defaults=True)


def parse_catalogue(text: str) -> Sequence[CatalogueEntry]:
    """The entries of a catalogue.

    Raises:
        InvalidCatalogueError: with every problem and its path.
    """
    problems: list[Problem] = []
    try:
        document = _document.read(load_yaml(text, max_characters=MAX_CATALOGUE_CHARACTERS), "", problems)
    except InvalidYamlError as error:
        raise InvalidCatalogueError([Problem("", str(error))]) from error
    if document is None:
        raise InvalidCatalogueError(problems)
    named: set[str] = set()
    for index, entry in enumerate(document.entries):
        if entry.name in named:
            problems.append(Problem(f"entries[{index}]", f"{entry.name} stands twice"))
        named.add(entry.name)
    if problems:
        raise InvalidCatalogueError(problems)
    return document.entries


def catalogue_yaml(entries: Iterable[CatalogueEntry]) -> str:
    """The entries as a catalogue; `parse_catalogue` gives equal ones back."""
    # PyYAML's C emitter, where it is there, is several times faster, and catalogues may be long.
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    document = {"entries": [_entry.write(entry) for entry in entries]}
    return str(yaml.dump(document, Dumper=dumper, sort_keys=False, allow_unicode=True, width=120))
