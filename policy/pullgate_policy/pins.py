"""Pins: an operator's word on the category of a namespace or a repository, whatever the sources say."""

from dataclasses import dataclass
from datetime import datetime

from pullgate_policy.category import Category, CategoryEvidence, CommunityClass
from pullgate_policy.errors import PullgateError, shown
from pullgate_policy.names import hub_name, short_note
from pullgate_policy.reference import DOCKER_HUB


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
    """

    name: str
    category: Category
    community_class: CommunityClass | None
    reason: str
    author: str
    written_at: datetime

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
    ) -> "CategoryPin":
        """A pin from what somebody asked for; raises InvalidPinError."""
        name = name.removeprefix(f"{DOCKER_HUB}/")
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
        return cls(
            name=name,
            category=category,
            community_class=community_class,
            reason=reason,
            author=author,
            written_at=written_at,
        )

    @property
    def evidence(self) -> CategoryEvidence:
        """What a decision says of the category."""
        detail = f"pinned by {self.author}" + (f": {self.reason}" if self.reason else "")
        return CategoryEvidence(
            category=self.category,
            community_class=self.community_class,
            source="pin",
            detail=detail,
            checked_at=self.written_at,
        )
