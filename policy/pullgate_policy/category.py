"""The categories of Docker Hub images, and what is known of a repository's category."""

import enum
from dataclasses import dataclass
from datetime import datetime


class Category(enum.Enum):
    """The kinds of images that a policy tells apart (Docker's Image Access Management)."""

    OFFICIAL = "official"
    """Docker Official Images: the namespace `library`."""

    VERIFIED_PUBLISHER = "verified publisher"
    """Namespaces with the verified publisher badge."""

    ORGANIZATION = "organization"
    """The deciding organization's own namespaces."""

    COMMUNITY = "community"
    """Everybody else's, Docker-Sponsored Open Source included."""

    UNKNOWN = "unknown"
    """No source could say."""


class CommunityClass(enum.Enum):
    """Sub-classes of community images that a policy may treat on their own."""

    SPONSORED_OPEN_SOURCE = "sponsored open source"
    """Docker-Sponsored Open Source, which is community by definition."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoryEvidence:
    """What is known of one repository's category, and how.

    Attributes:
        category: the category.
        community_class: set only for a COMMUNITY category.
        source: who says so: `docker-hub`, `catalogue`, `starter`, `pin` or `namespace`; empty where nobody does.
        detail: the source's own words, such as the page an entry was taken from or why nothing is known.
        checked_at: when the source was last known to say so; None for what does not age.
        stale: whether it is older than it should be and is used for want of better.
        refresh_at: when the source is asked again; None where it is not.
    """

    category: Category
    community_class: CommunityClass | None = None
    source: str = ""
    detail: str = ""
    checked_at: datetime | None = None
    stale: bool = False
    refresh_at: datetime | None = None

    def __post_init__(self) -> None:
        if self.community_class is not None and self.category is not Category.COMMUNITY:
            raise ValueError(f"{self.community_class} is a class of community images, not of {self.category}")

    def names_the_same_as(self, other: "CategoryEvidence") -> bool:
        """Whether both name one category and the same source for it, however old they are."""
        return (self.category, self.community_class, self.source) == (
            other.category,
            other.community_class,
            other.source,
        )
