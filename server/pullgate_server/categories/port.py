"""The port of category sources."""

import enum
from dataclasses import dataclass
from typing import Protocol

from pullgate_policy import CategoryEvidence, HubRepository


class Outcome(enum.Enum):
    """What came of asking a source."""

    KNOWN = "known"
    """It knows the category."""

    ABSENT = "absent"
    """It answered, and does not know."""

    FAILED = "failed"
    """It could not answer. Never kept as if it had."""


@dataclass(frozen=True, slots=True)
class SourceAnswer:
    """What a source says.

    Attributes:
        evidence: with KNOWN alone.
        detail: why it could not answer, with FAILED.
    """

    outcome: Outcome
    evidence: CategoryEvidence | None = None
    detail: str = ""


ABSENT = SourceAnswer(Outcome.ABSENT)


class CategorySource(Protocol):
    """Somebody who may know of which category a repository is."""

    @property
    def name(self) -> str:
        """The source in a word, as it stands in evidence."""
        ...

    async def look_up(self, repository: HubRepository) -> SourceAnswer:
        """What the source says; failures are answers, and nothing is raised."""
        ...
