"""From a question to what can be answered, and for how long: the decision, and the categories that it asks for.

Nothing here waits: whoever drives a conclusion finds out each category in its own way, in the server from its sources,
elsewhere from the service.
"""

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

from pullgate_policy.category import CategoryEvidence
from pullgate_policy.decision import CategoryNeeded, Decision, decide
from pullgate_policy.docker_hub import HubRepository
from pullgate_policy.pins import Pins
from pullgate_policy.policy import Policy
from pullgate_policy.reference import Reference
from pullgate_policy.subject import Subject

NEVER = datetime.max.replace(tzinfo=UTC)
"""When what does not age changes."""


class FoundCategory(Protocol):
    """What is known of a repository's category.

    Attributes:
        evidence: UNKNOWN, with the reason, where nobody can tell.
        changes_at: until when others may be promised that it stays so.
        recheck_at: until when the answer may be repeated without looking again.
    """

    @property
    def evidence(self) -> CategoryEvidence: ...  # noqa: D102

    @property
    def changes_at(self) -> datetime: ...  # noqa: D102

    @property
    def recheck_at(self) -> datetime: ...  # noqa: D102


@dataclass(frozen=True, slots=True, kw_only=True)
class Conclusion:
    """A decision, and for how long it holds.

    Attributes:
        cacheable_for: for how long others may be promised the same answer.
        repeatable_until: until when it can be given again unchanged; None where it cannot.
    """

    decision: Decision
    cacheable_for: timedelta
    repeatable_until: datetime | None


def concluding(
    subject: Subject,
    policies: Mapping[str, Policy],
    pins: Pins,
    reference: Reference,
    now: datetime,
    cacheable_for: timedelta,
) -> Generator[HubRepository, FoundCategory, Conclusion]:
    """Decide, asking for categories: yields the repository whose category is needed, and is sent what is known of it.

    Args:
        cacheable_for: the longest that an answer may be used again without asking.
    """
    known: dict[HubRepository, CategoryEvidence] = {}
    change_at = recheck_at = subject.valid_until or NEVER
    while True:
        decision = decide(subject.organizations, policies, subject.identity, reference, known, now, pins=pins)
        if not isinstance(decision, CategoryNeeded):
            break
        found = yield decision.repository
        known[decision.repository] = found.evidence
        change_at = min(change_at, found.changes_at)
        recheck_at = min(recheck_at, found.recheck_at)
    change_at = min(change_at, decision.valid_until or NEVER)
    # The same bytes promise the same time, so they can be repeated as long as all of it still lies ahead.
    repeatable_until = min(change_at - cacheable_for, recheck_at)
    return Conclusion(
        decision=decision,
        cacheable_for=max(timedelta(0), min(cacheable_for, change_at - now)),
        repeatable_until=repeatable_until if repeatable_until > now else None,
    )
