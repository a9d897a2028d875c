"""The category sources in the order in which they are believed: what a decision asks, and what explains its answer."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pullgate_policy import Category, CategoryEvidence, HubRepository
from pullgate_policy.conclusion import NEVER
from pullgate_server.categories.catalogue import Catalogue
from pullgate_server.categories.port import Outcome
from pullgate_server.categories.remembering import REFRESHING, RememberedSource, SourceFinding
from pullgate_server.clock import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoryFinding:
    """What is known of a repository's category, and how it was found.

    Attributes:
        evidence: UNKNOWN, with the reason, where nobody can tell.
        changes_at: until when others may be promised that it stays so.
        recheck_at: until when the answer may be repeated here.
        steps: what each source said, in the order in which they were asked.
    """

    evidence: CategoryEvidence
    changes_at: datetime
    recheck_at: datetime
    steps: tuple[SourceFinding, ...]


OnFound = Callable[[str, HubRepository, CategoryFinding], None]


class Categories:
    """Asks the sources in their order; the first that knows is believed.

    Args:
        wait: the longest that a decision waits for what is not known yet, in all.
    """

    def __init__(self, sources: Sequence[Catalogue | RememberedSource], *, wait: timedelta, clock: Clock) -> None:
        self.sources = tuple(sources)
        self.wait = wait.total_seconds()
        self._clock = clock
        self._on_found: list[OnFound] = []

    @property
    def divided(self) -> frozenset[str]:
        """The namespaces of which one repository may be of another category than the next."""
        return frozenset().union(*(source.divided for source in self.sources if isinstance(source, Catalogue)))

    def call_on_found(self, callback: OnFound) -> None:
        """Call `callback` with what is found, for which organization and repository."""
        self._on_found.append(callback)

    async def category_of(
        self, repository: HubRepository, asked_by: str, wait: float, *, anew: bool = False
    ) -> CategoryFinding:
        """What is known after at most about `wait` seconds.

        Args:
            asked_by: the organization on whose behalf sources are asked.
            anew: whether they are asked whatever is remembered.
        """
        finding = await self._ask(repository, asked_by, wait, anew=anew)
        for callback in self._on_found:
            callback(asked_by, repository, finding)
        return finding

    async def at_hand(self, repository: HubRepository) -> CategoryFinding:
        """What is known without any look-up being made; nobody is called back."""
        steps: list[SourceFinding] = []
        for source in self.sources:
            step = (
                self._looked_up(source, repository)
                if isinstance(source, Catalogue)
                else await source.at_hand(repository.namespace)
            )
            steps.append(step)
            if step.evidence is not None:
                return self._found(step.evidence, steps)
        return self._unknown(steps)

    async def _ask(self, repository: HubRepository, asked_by: str, wait: float, *, anew: bool) -> CategoryFinding:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait
        steps: list[SourceFinding] = []
        for index, source in enumerate(self.sources):
            if isinstance(source, Catalogue):
                step = self._looked_up(source, repository)
            elif anew:
                step = await source.refresh(repository.namespace, asked_by, deadline - loop.time())
            else:
                known_elsewhere = any(
                    isinstance(later, Catalogue) and later.evidence_of(repository) is not None
                    for later in self.sources[index + 1 :]
                )
                step = await source.find(
                    repository.namespace, asked_by, deadline - loop.time(), known_elsewhere=known_elsewhere
                )
            steps.append(step)
            if step.evidence is not None:
                return self._found(step.evidence, steps)
        return self._unknown(steps)

    def _looked_up(self, catalogue: Catalogue, repository: HubRepository) -> SourceFinding:
        evidence = catalogue.evidence_of(repository)
        return SourceFinding(
            source=catalogue.name,
            outcome=Outcome.ABSENT if evidence is None else Outcome.KNOWN,
            evidence=evidence,
            detail="no entry" if evidence is None else evidence.detail,
            changes_at=NEVER,
            recheck_at=NEVER,
        )

    def _found(self, evidence: CategoryEvidence, steps: Sequence[SourceFinding]) -> CategoryFinding:
        # One who could not be asked would be believed more, and may answer soon.
        soon = self._clock() + REFRESHING
        return CategoryFinding(
            evidence=evidence,
            changes_at=min(soon if step.outcome is Outcome.FAILED else step.changes_at for step in steps),
            recheck_at=min(soon if step.outcome is Outcome.FAILED else step.recheck_at for step in steps),
            steps=tuple(steps),
        )

    def _unknown(self, steps: Sequence[SourceFinding]) -> CategoryFinding:
        failed = [f"{step.source}: {step.detail}" for step in steps if step.outcome is Outcome.FAILED]
        if failed:
            detail = f"could not be found out ({'; '.join(failed)})"
        elif steps:
            detail = f"nobody knows ({'; '.join(f'{step.source}: {step.detail}' for step in steps)})"
        else:
            detail = "there are no category sources"
        now = self._clock()
        return CategoryFinding(
            evidence=CategoryEvidence(category=Category.UNKNOWN, detail=detail),
            changes_at=min((step.changes_at for step in steps), default=NEVER),
            recheck_at=now if failed else min((step.recheck_at for step in steps), default=NEVER),
            steps=tuple(steps),
        )
