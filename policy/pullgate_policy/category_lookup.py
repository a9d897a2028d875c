"""What is known of a namespace or repository, and who was asked: the explanation of a category."""

import enum
from dataclasses import dataclass

from pullgate_policy.category import CategoryEvidence


class Outcome(enum.Enum):
    """What came of asking."""

    KNOWN = "known"
    """The category is known."""

    ABSENT = "absent"
    """An answer, and no knowledge."""

    FAILED = "failed"
    """No answer, or none yet. Never kept as if it were one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LookupStep:
    """One that was asked.

    Attributes:
        source: who, in a word.
        detail: in the source's own words.
        actions: what was done to find out, each in a sentence.
    """

    source: str
    outcome: Outcome
    detail: str
    actions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoryLookup:
    """What is known of one name.

    Attributes:
        name: a namespace of Docker Hub or one of its repositories.
        steps: who was asked, in order.
        whole_namespace: whether the same holds for all repositories of the namespace, but for those that have pins.
    """

    name: str
    evidence: CategoryEvidence
    steps: tuple[LookupStep, ...]
    whole_namespace: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownCategory:
    """What a source has said of one name."""

    name: str
    evidence: CategoryEvidence
