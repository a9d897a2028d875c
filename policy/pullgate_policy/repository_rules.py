"""Allowlist and blocklist entries: patterns of Docker Hub repositories, looked up and never scanned."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from pullgate_policy.docker_hub import HubRepository
from pullgate_policy.document import ListOf, Plain, Record, SetOf, Text, Timestamp, written
from pullgate_policy.errors import InvalidReferenceError, Problem
from pullgate_policy.names import MAX_NOTE_LENGTH, short_note, team_name, without_docker_hub
from pullgate_policy.reference import is_path_component, is_read_as_registry, parse_reference

NOTE = Text(short_note, maxLength=MAX_NOTE_LENGTH)
"""How a text for people is written."""

TEAM_NAME = Text(team_name, pattern=r"^\S(.*\S)?$", examples=["data-science"])
"""How a team's name is written."""

_REASON = "The author's note: why the entry is there."

_TAG_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-*")


@dataclass(frozen=True, slots=True)
class RepositoryPattern:
    """Which images an entry means: a repository, all of a namespace, or a repository's tags of a form.

    Attributes:
        path: `library/nginx`, or `bitnami/*` for all of a namespace.
        tags: a tag in which `*` stands for any characters; None for every tag and digest.
    """

    path: str
    tags: str | None = None

    @classmethod
    def parse(cls, text: str) -> "RepositoryPattern":
        """Read `nginx`, `grafana/grafana`, `bitnami/*` or `someuser/tool:1.*`; raises ValueError with what is wrong."""
        name, colon, tags = text.partition(":")
        if "@" in text:
            raise ValueError("names a digest; entries name repositories, and may narrow them by tag")
        if colon and (not tags or not _TAG_CHARACTERS.issuperset(tags)):
            raise ValueError("has no tag pattern after the colon, such as 1.* (letters, digits, _ . - and *)")
        path = without_docker_hub(name)
        namespace, slash, rest = path.partition("/")
        if slash and rest == "*":
            if not is_path_component(namespace) or is_read_as_registry(namespace):
                raise ValueError("is not a namespace of Docker Hub followed by /*, such as bitnami/*")
        elif "*" in path:
            raise ValueError("has a * that does not stand for a whole namespace's repositories, as in bitnami/*")
        else:
            try:
                reference = parse_reference(name)
            except InvalidReferenceError as error:
                raise ValueError(f"is not a repository: {error.problem}") from error
            if not reference.is_docker_hub:
                raise ValueError(f"lies on {reference.registry}; these lists hold Docker Hub repositories")
            path = reference.path
        return cls(path, tags if colon else None)

    def matches_tag(self, tag: str | None, digest: str | None) -> bool:
        """Whether the pattern admits what is pulled: with a digest the tag says nothing about it."""
        if self.tags is None:
            return True
        return digest is None and tag is not None and _matches(self.tags, tag)

    def __str__(self) -> str:
        return self.path if self.tags is None else f"{self.path}:{self.tags}"


def _whole_repositories(text: str) -> RepositoryPattern:
    pattern = RepositoryPattern.parse(text)
    if pattern.tags is not None:
        raise ValueError(f"would be passed by pulling the same image by digest; block all of {pattern.path}")
    return pattern


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowedRepository:
    """An entry of the allowlist: what may be used whatever its category."""

    repository: RepositoryPattern = written(
        Text(
            RepositoryPattern.parse,
            pattern=r"^[a-zA-Z0-9._/*-]+(:[a-zA-Z0-9_.*-]+)?$",
            examples=["grafana/grafana", "bitnami/*", "someuser/tool:1.*"],
        ),
        "A repository of Docker Hub, all of a namespace as bitnami/*, or some tags as someuser/tool:1.*.",
    )
    reason: str = written(NOTE, _REASON, default="")
    expires_at: datetime | None = written(
        Timestamp(), "From this moment on the entry says nothing; null for never.", default=None
    )
    teams: frozenset[str] = written(
        SetOf(TEAM_NAME), "The teams whose members it is for; empty for everyone.", default=frozenset()
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockedRepository:
    """An entry of the blocklist: what may not be used whatever its category."""

    repository: RepositoryPattern = written(
        Text(_whole_repositories, pattern=r"^[a-zA-Z0-9._/*-]+$", examples=["library/centos", "bitnami/*"]),
        "A repository of Docker Hub, or all of a namespace as bitnami/*; never narrowed by tag.",
    )
    reason: str = written(NOTE, _REASON, default="")


Rule = TypeVar("Rule", AllowedRepository, BlockedRepository)


class RepositoryRules(Generic[Rule]):
    """Entries in their order, indexed so that a look-up costs the same however many there are. Immutable."""

    __slots__ = ("_by_path", "rules")

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        self.rules: tuple[Rule, ...] = tuple(rules)
        by_path: defaultdict[str, list[tuple[int, Rule]]] = defaultdict(list)
        for index, rule in enumerate(self.rules):
            by_path[rule.repository.path].append((index, rule))
        self._by_path: Mapping[str, Sequence[tuple[int, Rule]]] = dict(by_path)

    def about(self, repository: HubRepository) -> Iterator[tuple[int, Rule]]:
        """The entries for `repository` and for its whole namespace, with their positions in the list."""
        yield from self._by_path.get(repository.path, ())
        yield from self._by_path.get(f"{repository.namespace}/*", ())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RepositoryRules) and self.rules == other.rules

    def __hash__(self) -> int:
        return hash(self.rules)

    def __repr__(self) -> str:
        return f"RepositoryRules({list(self.rules)!r})"


class RuleList(Generic[Rule]):
    """A list of entries, read into the index that look-ups need."""

    def __init__(self, rule: type[Rule]) -> None:
        self._list: ListOf[Rule] = ListOf(Record(rule))

    def read(self, data: object, path: str, problems: list[Problem]) -> RepositoryRules[Rule] | None:
        """The entries."""
        rules = self._list.read(data, path, problems)
        return None if rules is None else RepositoryRules(rules)

    def write(self, value: RepositoryRules[Rule]) -> Plain:
        """The entries in their order."""
        return self._list.write(value.rules)

    def json_schema(self) -> dict[str, Plain]:
        """A list of entries, or null."""
        return self._list.json_schema()


def _matches(pattern: str, text: str) -> bool:
    """Whether `text` is `pattern` with each `*` replaced by any characters; linear, where a regex could backtrack."""
    first, *rest = pattern.split("*")
    if not rest:
        return text == pattern
    last = rest.pop()
    if not text.startswith(first) or len(text) < len(first) + len(last) or not text.endswith(last):
        return False
    position, end = len(first), len(text) - len(last)
    for part in rest:
        found = text.find(part, position, end)
        if found < 0:
            return False
        position = found + len(part)
    return True
