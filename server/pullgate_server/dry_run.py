"""Tries out a policy: what it would change and decide, were it written. Writes nothing."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pullgate_policy import Identity, Policy, PullgateError, Reference, parse_reference
from pullgate_policy.answer import Answer
from pullgate_policy.caller import Caller
from pullgate_policy.changes import SettingChange, policy_changes
from pullgate_policy.subject import Subject, subject_of
from pullgate_server.administration.policies import PolicyAdministration
from pullgate_server.deciding import Decider, Patience
from pullgate_server.errors import BatchTooLargeError, PolicyNotFoundError
from pullgate_server.snapshot import Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRunResult:
    """What would be decided about one image for one identity.

    Attributes:
        identity_index: the identity's place among those asked about.
        answers: without and with the policy that is tried, or why there are none.
    """

    identity_index: int
    reference: str
    answers: tuple[Answer, Answer] | PullgateError


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRun:
    """What a policy would do.

    Attributes:
        against_revision: what it was compared with; 0 for no policy.
    """

    changes: Sequence[SettingChange]
    results: Sequence[DryRunResult]
    against_revision: int


class PolicyTrial:
    """Tries out policies.

    Args:
        max_decisions: the most identities times references of one trial.
    """

    def __init__(self, policies: PolicyAdministration, decider: Decider, *, max_decisions: int) -> None:
        self._policies = policies
        self._decider = decider
        self._max_decisions = max_decisions

    async def run(
        self,
        caller: Caller,
        organization: str,
        draft: Policy | None,
        against_revision: int,
        identities: Sequence[Identity],
        references: Sequence[str],
    ) -> DryRun:
        """Compare a draft (None: the newest policy) with a revision (0: the newest), and what the two decide.

        Raises:
            PolicyNotFoundError, PolicyRevisionNotFoundError: there is nothing to try or to compare with.
            BatchTooLargeError: too many decisions are asked for.
        """
        if len(identities) * len(references) > self._max_decisions:
            raise BatchTooLargeError(len(identities) * len(references), self._max_decisions)
        snapshot = self._decider.newest
        try:
            against = await self._policies.at_revision(organization, against_revision, "against_revision")
        except PolicyNotFoundError:
            if draft is None:
                raise
            against = None
        tried = draft or self._policies.newest(organization).policy
        before = _Side({} if against is None else {organization: against.policy}, against.revision if against else 0)
        after = _Side({organization: tried}, 0 if draft else self._policies.newest(organization).revision)
        subjects = [subject_of(caller, identity, [organization], snapshot.members) for identity in identities]
        patience = self._decider.patience()
        # Together, so that many categories that are not known yet take no longer than one.
        results = await asyncio.gather(
            *(
                self._decide(snapshot, index, subject, reference, before, after, patience)
                for index, subject in enumerate(subjects)
                for reference in references
            )
        )
        return DryRun(
            changes=policy_changes(None if against is None else against.policy, tried),
            results=results,
            against_revision=0 if against is None else against.revision,
        )

    async def _decide(
        self,
        snapshot: Snapshot,
        identity_index: int,
        subject: Subject,
        reference: str,
        before: "_Side",
        after: "_Side",
        patience: Patience,
    ) -> DryRunResult:
        try:
            image = parse_reference(reference)
            answers = (
                await self._answer(snapshot, subject, image, before, patience),
                await self._answer(snapshot, subject, image, after, patience),
            )
        except PullgateError as error:
            return DryRunResult(identity_index=identity_index, reference=reference, answers=error)
        return DryRunResult(identity_index=identity_index, reference=reference, answers=answers)

    async def _answer(
        self, snapshot: Snapshot, subject: Subject, image: Reference, side: "_Side", patience: Patience
    ) -> Answer:
        prepared = await self._decider.decide(snapshot, subject, image, patience, side.policies)
        return replace(prepared.answer, policy_revision=side.revision)


@dataclass(frozen=True, slots=True)
class _Side:
    """The policies that one side of a trial decides with, and their revision; 0 for a draft, and for none."""

    policies: Mapping[str, Policy]
    revision: int
