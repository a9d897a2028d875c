"""Decides: puts together the snapshot, the identity, the reference and what is known of categories."""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pullgate_policy import (
    Category,
    CategoryEvidence,
    CategoryNeeded,
    HubRepository,
    Policy,
    decide,
    parse_reference,
)
from pullgate_policy.answer import Answer
from pullgate_policy.reference import OFFICIAL_NAMESPACE
from pullgate_server.categories.cache import CachedCategory, CategoryCache
from pullgate_server.clock import Clock
from pullgate_server.errors import FieldInvalidError, RevisionNotYetVisibleError
from pullgate_server.identities import Subject
from pullgate_server.snapshot import Snapshot, SnapshotKeeper

NEVER = datetime.max.replace(tzinfo=UTC)
"""When what does not age has to be looked up anew."""

_OFFICIAL = CategoryEvidence(
    category=Category.OFFICIAL, source="namespace", detail="the namespace of Docker Official Images"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedAnswer:
    """An answer, and for how long it can be given again unchanged but for its id.

    Attributes:
        repeatable_until: None where it cannot be given again.
        person_id: of the caller whose token the identity was read from; empty for a stated one.
    """

    answer: Answer
    repeatable_until: datetime | None
    person_id: str = ""


class DecisionIds:
    """Names for answers: unique, the same length always, and cheap to make."""

    LENGTH = 32

    def __init__(self, random_bytes: Callable[[int], bytes]) -> None:
        self._prefix = random_bytes(10).hex()
        self._counter = itertools.count(1)

    def next(self) -> str:
        """A name that no other answer has: 80 random bits of this process, and a counter."""
        return f"{self._prefix}{next(self._counter):012x}"


class Decider:
    """Answers questions. Knows nothing of how they arrive.

    Args:
        cacheable_for: the longest that an answer may be used again without asking.
    """

    def __init__(
        self,
        snapshots: SnapshotKeeper,
        categories: CategoryCache,
        ids: DecisionIds,
        *,
        cacheable_for: timedelta,
        clock: Clock,
    ) -> None:
        self._snapshots = snapshots
        self._categories = categories
        self._ids = ids
        self._cacheable_for = cacheable_for
        self._clock = clock

    @property
    def newest(self) -> Snapshot:
        """The newest snapshot there is."""
        return self._snapshots.current

    async def snapshot(self, min_revision: int, wait: float) -> Snapshot:
        """The snapshot to decide with; raises FieldInvalidError and RevisionNotYetVisibleError."""
        if min_revision < 0:
            raise FieldInvalidError("min_revision", f"{min_revision} is below 0, and revisions are not")
        if min_revision <= self._snapshots.current.revision:
            return self._snapshots.current
        if wait <= 0:
            raise RevisionNotYetVisibleError(min_revision, self._snapshots.current.revision)
        return await self._snapshots.at_least(min_revision, wait)

    async def decide(
        self, snapshot: Snapshot, subject: Subject, reference: str, policies: Mapping[str, Policy] | None = None
    ) -> PreparedAnswer:
        """Decide about one image; raises InvalidReferenceError.

        Args:
            policies: instead of the snapshot's.
        """
        parsed = parse_reference(reference)
        now = self._clock()
        known: dict[HubRepository, CategoryEvidence] = {}
        change_at = subject.valid_until or NEVER
        policies = snapshot.policies if policies is None else policies
        while True:
            decision = decide(subject.organizations, policies, subject.identity, parsed, known, now)
            if not isinstance(decision, CategoryNeeded):
                break
            category = await self._category_of(decision.repository, snapshot)
            known[decision.repository] = category.evidence
            change_at = min(change_at, category.fresh_until)
        change_at = min(change_at, decision.valid_until or NEVER)
        # The same bytes promise the same time, so they can be repeated as long as all of it still lies ahead.
        repeatable_until = change_at - self._cacheable_for
        return PreparedAnswer(
            answer=Answer(
                decision=decision,
                policy_revision=snapshot.revision,
                decision_id=self._ids.next(),
                cacheable_for=max(timedelta(0), min(self._cacheable_for, change_at - now)),
                notes=subject.notes,
                known_as_of=snapshot.known_as_of,
            ),
            repeatable_until=repeatable_until if repeatable_until > now else None,
            person_id=subject.person_id,
        )

    async def _category_of(self, repository: HubRepository, snapshot: Snapshot) -> CachedCategory:
        pinned = snapshot.pinned(repository)
        if pinned is not None:
            return CachedCategory(pinned, NEVER)
        if repository.namespace == OFFICIAL_NAMESPACE:
            return CachedCategory(_OFFICIAL, NEVER)
        return await self._categories.category_of(repository)
