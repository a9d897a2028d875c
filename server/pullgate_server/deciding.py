"""Decides: puts together the snapshot, the identity, the reference and what is known of categories."""

import asyncio
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from pullgate_policy import (
    CategoryEvidence,
    CategoryNeeded,
    HubRepository,
    Policy,
    decide,
    parse_reference,
)
from pullgate_policy.answer import Answer
from pullgate_server.categories.chain import NEVER, Categories
from pullgate_server.clock import Clock
from pullgate_server.errors import FieldInvalidError, RevisionNotYetVisibleError
from pullgate_server.identities import Subject
from pullgate_server.snapshot import Snapshot, SnapshotKeeper

ANSWERING_TAKES = 0.05
"""Seconds before a call's deadline at which waiting ends, so that the answer still arrives."""


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


class Patience:
    """For how long one call waits, in all, for categories that are not known yet. Begins when it is first needed.

    Args:
        wait: seconds.
        time_remaining: until the call's own deadline, in seconds; None for a call without one.
    """

    __slots__ = ("_deadline", "_time_remaining", "_wait")

    def __init__(self, wait: float, time_remaining: Callable[[], float | None]) -> None:
        self._wait = wait
        self._time_remaining = time_remaining
        self._deadline: float | None = None

    def left(self) -> float:
        """The seconds that are left."""
        now = asyncio.get_running_loop().time()
        if self._deadline is None:
            remaining = self._time_remaining()
            wait = self._wait if remaining is None else min(self._wait, remaining - ANSWERING_TAKES)
            self._deadline = now + wait
        return self._deadline - now


class Decider:
    """Answers questions. Knows nothing of how they arrive.

    Args:
        cacheable_for: the longest that an answer may be used again without asking.
    """

    def __init__(
        self,
        snapshots: SnapshotKeeper,
        categories: Categories,
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

    def patience(self, time_remaining: Callable[[], float | None] = lambda: None) -> Patience:
        """The patience of one call, whose own deadline is so far away."""
        return Patience(self._categories.wait, time_remaining)

    async def decide(
        self,
        snapshot: Snapshot,
        subject: Subject,
        reference: str,
        patience: Patience,
        policies: Mapping[str, Policy] | None = None,
    ) -> PreparedAnswer:
        """Decide about one image; raises InvalidReferenceError.

        Args:
            patience: for how long categories that are not known yet are waited for.
            policies: instead of the snapshot's.
        """
        parsed = parse_reference(reference)
        now = self._clock()
        known: dict[HubRepository, CategoryEvidence] = {}
        change_at = recheck_at = subject.valid_until or NEVER
        policies = snapshot.policies if policies is None else policies
        while True:
            decision = decide(
                subject.organizations, policies, subject.identity, parsed, known, now, pins=snapshot.pin_index
            )
            if not isinstance(decision, CategoryNeeded):
                break
            category = await self._categories.category_of(
                decision.repository, asked_by=subject.organizations[0], wait=patience.left()
            )
            known[decision.repository] = category.evidence
            change_at = min(change_at, category.changes_at)
            recheck_at = min(recheck_at, category.recheck_at)
        change_at = min(change_at, decision.valid_until or NEVER)
        # The same bytes promise the same time, so they can be repeated as long as all of it still lies ahead.
        repeatable_until = min(change_at - self._cacheable_for, recheck_at)
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
