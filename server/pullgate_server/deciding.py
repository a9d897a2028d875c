"""Decides: puts together the snapshot, the identity, the reference and what is known of categories."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from pullgate_policy import Policy, Reference
from pullgate_policy.answer import Answer, DecisionIds
from pullgate_policy.conclusion import Conclusion, FoundCategory, concluding
from pullgate_policy.docker_hub import HubRepository
from pullgate_policy.errors import FieldInvalidError
from pullgate_policy.knowledge import allowed_by_failing_open
from pullgate_policy.subject import Subject
from pullgate_server.clock import Clock
from pullgate_server.errors import RevisionNotYetVisibleError
from pullgate_server.snapshot import Snapshot

ANSWERING_TAKES = 0.05
"""Seconds before a call's deadline at which waiting ends, so that the answer still arrives."""

_NOW = timedelta(0)


class Snapshots(Protocol):
    """Where the newest snapshot is."""

    @property
    def current(self) -> Snapshot:
        """The newest one; raises RetryableError where nothing may be decided."""
        ...

    async def at_least(self, revision: int, wait: float) -> Snapshot:
        """One at `revision` or later; raises RevisionNotYetVisibleError if none arrives within `wait` seconds."""
        ...


class CategoryFinder(Protocol):
    """Where categories are found out."""

    @property
    def wait(self) -> float:
        """The longest that a decision waits for what is not known yet, in seconds and in all."""
        ...

    async def category_of(self, repository: HubRepository, asked_by: str, wait: float) -> FoundCategory:
        """What is known after at most about `wait` seconds, on behalf of an organization."""
        ...


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
        snapshots: Snapshots,
        categories: CategoryFinder,
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
        """The newest snapshot there is; raises RetryableError where nothing may be decided."""
        return self._snapshots.current

    async def snapshot(self, min_revision: int, wait: float) -> Snapshot:
        """The snapshot to decide with; raises FieldInvalidError, RevisionNotYetVisibleError and as `newest`."""
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
        reference: Reference,
        patience: Patience,
        policies: Mapping[str, Policy] | None = None,
    ) -> PreparedAnswer:
        """Decide about one image.

        Args:
            patience: for how long categories that are not known yet are waited for.
            policies: instead of the snapshot's.
        """
        steps = concluding(
            subject,
            snapshot.policies if policies is None else policies,
            snapshot.pin_index,
            reference,
            self._clock(),
            self._cacheable_for,
        )
        try:
            repository = next(steps)
            while True:
                repository = steps.send(
                    await self._categories.category_of(
                        repository, asked_by=subject.organizations[0], wait=patience.left()
                    )
                )
        except StopIteration as end:
            conclusion: Conclusion = end.value
        decision, notes, cacheable_for = conclusion.decision, subject.notes, conclusion.cacheable_for
        if snapshot.failing_open:
            # Nobody may be promised that for longer than it takes to know better.
            decision, notes, cacheable_for = allowed_by_failing_open(decision), (*notes, snapshot.failing_open), _NOW
        return PreparedAnswer(
            answer=Answer(
                decision=decision,
                policy_revision=snapshot.revision,
                decision_id=self._ids.next(),
                cacheable_for=cacheable_for,
                notes=notes,
                known_as_of=snapshot.known_as_of,
            ),
            repeatable_until=conclusion.repeatable_until,
            person_id=subject.person_id,
        )
