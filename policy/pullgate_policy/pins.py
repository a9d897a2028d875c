"""Pins: somebody's word on the category of a namespace or a repository, whatever the sources say.

A pin is an organization's own, or holds for every organization.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, time

from pullgate_policy.category import Category, CategoryEvidence, CommunityClass
from pullgate_policy.docker_hub import HubRepository
from pullgate_policy.errors import PullgateError, shown
from pullgate_policy.names import hub_name, organization_name, short_note, without_docker_hub


class InvalidPinError(PullgateError):
    """A pin that cannot be.

    Attributes:
        path: the field that is wrong.
        problem: what is wrong and what to do.
    """

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoryPin:
    """One pin.

    Attributes:
        name: a namespace (`grafana`) or a repository (`grafana/loki`), which goes first.
        category: OFFICIAL, VERIFIED_PUBLISHER or COMMUNITY.
        reason: the author's note.
        organization: for which it holds; empty for every organization.
        expires_at: from this moment on it does not hold; None for never.
    """

    name: str
    category: Category
    community_class: CommunityClass | None
    reason: str
    author: str
    written_at: datetime
    organization: str = ""
    expires_at: datetime | None = None

    @classmethod
    def checked(
        cls,
        *,
        name: str,
        category: Category | None,
        community_class: CommunityClass | None,
        reason: str,
        author: str,
        written_at: datetime,
        organization: str = "",
        expires_at: datetime | None = None,
    ) -> "CategoryPin":
        """A pin from what somebody asked for; raises InvalidPinError."""
        name = without_docker_hub(name)
        try:
            hub_name(name)
        except ValueError as error:
            raise InvalidPinError("name", f"{shown(name)} {error}") from error
        if category is None or category in {Category.ORGANIZATION, Category.UNKNOWN}:
            raise InvalidPinError("category", "write OFFICIAL, VERIFIED_PUBLISHER or COMMUNITY")
        if community_class is not None and category is not Category.COMMUNITY:
            raise InvalidPinError("community_class", "belongs to COMMUNITY alone")
        try:
            short_note(reason)
        except ValueError as error:
            raise InvalidPinError("reason", str(error)) from error
        try:
            organization = organization and organization_name(organization)
        except ValueError as error:
            raise InvalidPinError("organization", f"{shown(organization)} {error}") from error
        if expires_at is not None and expires_at <= written_at:
            problem = f"{in_words(expires_at)} lies in the past; write a later moment, or none for a pin without an end"
            raise InvalidPinError("expires_at", problem)
        return cls(
            name=name,
            category=category,
            community_class=community_class,
            reason=reason,
            author=author,
            written_at=written_at,
            organization=organization,
            expires_at=expires_at,
        )

    def holds_at(self, now: datetime) -> bool:
        """Whether it has not expired."""
        return self.expires_at is None or now < self.expires_at

    @property
    def evidence(self) -> CategoryEvidence:
        """What a decision says of the category."""
        whose = f" for {self.organization}" if self.organization else ""
        end = f", until {in_words(self.expires_at)}" if self.expires_at else ""
        detail = f"pinned{whose} by {self.author}{end}" + (f": {self.reason}" if self.reason else "")
        return CategoryEvidence(
            category=self.category,
            community_class=self.community_class,
            source="pin",
            detail=detail,
            checked_at=self.written_at,
        )


PinKey = tuple[str, str]
"""What tells pins apart: the organization for which one holds, empty for every one, and the name."""


class Pins:
    """Pins, indexed so that a look-up costs the same however many there are. Immutable."""

    __slots__ = ("_by_organization",)

    def __init__(self, pins: Iterable[CategoryPin] = ()) -> None:
        by_organization: dict[str, dict[str, CategoryPin]] = {}
        for pin in pins:
            by_organization.setdefault(pin.organization, {})[pin.name] = pin
        self._by_organization: Mapping[str, Mapping[str, CategoryPin]] = by_organization

    def holding(self, organization: str, repository: HubRepository, now: datetime) -> CategoryPin | None:
        """The pin that holds for `organization` about `repository`; nothing but its expiry ends that with time.

        The organization's own go before those for every organization, and a repository's before its namespace's.
        """
        for owner in (organization, ""):
            pins = self._by_organization.get(owner)
            if pins is None:
                continue
            for name in (repository.path, repository.namespace):
                pin = pins.get(name)
                if pin is not None and pin.holds_at(now):
                    return pin
        return None

    def of(self, organization: str) -> Iterable[CategoryPin]:
        """An organization's own; for the empty name those for every one."""
        return self._by_organization.get(organization, {}).values()

    def __iter__(self) -> Iterator[CategoryPin]:
        return (pin for pins in self._by_organization.values() for pin in pins.values())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pins) and self._by_organization == other._by_organization

    def __hash__(self) -> int:
        return hash(frozenset(self))

    def __repr__(self) -> str:
        return f"Pins({list(self)!r})"


NO_PINS = Pins()


def in_words(moment: datetime) -> str:
    """A moment in UTC as people write it: the day alone where it begins a day."""
    return f"{moment:%Y-%m-%d}" if moment.time() == time() else f"{moment:%Y-%m-%d %H:%M:%S} UTC"
