"""Decides: puts together the snapshot, the identity, the reference and what is known of categories."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pullgate_policy import (
    Category,
    CategoryEvidence,
    CategoryNeeded,
    HubRepository,
    Identity,
    decide,
    organizations_concerned,
    parse_reference,
)
from pullgate_policy.answer import Answer
from pullgate_policy.errors import shown
from pullgate_policy.names import organization_name
from pullgate_policy.reference import OFFICIAL_NAMESPACE
from pullgate_server.categories.cache import CachedCategory, CategoryCache
from pullgate_server.clock import Clock
from pullgate_server.errors import FieldInvalidError, OrganizationMissingError, RevisionNotYetVisibleError
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
    """

    answer: Answer
    repeatable_until: datetime | None


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

    def organizations(self, identity: Identity, asked: Sequence[str]) -> tuple[str, ...]:
        """Who has a say; raises FieldInvalidError and OrganizationMissingError."""
        for index, organization in enumerate(asked):
            try:
                organization_name(organization)
            except ValueError as error:
                raise FieldInvalidError(f"organizations[{index}]", f"{shown(organization)} {error}") from error
        organizations = organizations_concerned(identity, asked)
        if not organizations:
            raise OrganizationMissingError
        return organizations

    async def decide(
        self, snapshot: Snapshot, identity: Identity, organizations: Sequence[str], reference: str
    ) -> PreparedAnswer:
        """Decide about one image; raises InvalidReferenceError."""
        parsed = parse_reference(reference)
        now = self._clock()
        known: dict[HubRepository, CategoryEvidence] = {}
        change_at = NEVER
        while True:
            decision = decide(organizations, snapshot.policies, identity, parsed, known, now)
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
            ),
            repeatable_until=repeatable_until if repeatable_until > now else None,
        )

    async def _category_of(self, repository: HubRepository, snapshot: Snapshot) -> CachedCategory:
        pinned = snapshot.pinned(repository)
        if pinned is not None:
            return CachedCategory(pinned, NEVER)
        if repository.namespace == OFFICIAL_NAMESPACE:
            return CachedCategory(_OFFICIAL, NEVER)
        return await self._categories.category_of(repository)
