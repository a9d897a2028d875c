"""Categories for whoever decides in their own process: asked of the service once, and remembered while they hold."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from pullgate_client.aio import AsyncClient
from pullgate_client.errors import ClientError
from pullgate_client.messages import MAX_NAMES
from pullgate_client.state_file import KeptCategory
from pullgate_policy import Category, CategoryEvidence, HubRepository
from pullgate_policy.category_lookup import CategoryLookup, KnownCategory, Outcome

MAX_KNOWN = 100_000
"""Names that are remembered; the least recently found out are forgotten."""

KNOWN_FOR = timedelta(hours=1)
"""How long a category is used that the service says nothing of when it asks again itself."""

UNKNOWN_FOR = timedelta(minutes=1)
"""How long a name stays unknown that nobody knows."""

FAILED_FOR = timedelta(seconds=5)
"""The same where somebody could not be asked."""

LOOK_UP_SECONDS = 10.0
"""How long a look-up may take, whoever waits for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalCategory:
    """What is known of a category; a `FoundCategory`."""

    evidence: CategoryEvidence
    changes_at: datetime
    recheck_at: datetime


class LocalCategories:
    """Remembers what the service said.

    Args:
        on_change: called when a category is another one than was remembered.
    """

    def __init__(self, client: AsyncClient, clock: Callable[[], datetime], on_change: Callable[[], None]) -> None:
        self._client = client
        self._clock = clock
        self._on_change = on_change
        self._known: OrderedDict[str, KeptCategory] = OrderedDict()
        self._failed: OrderedDict[tuple[str, str], KeptCategory] = OrderedDict()
        self._asked: dict[tuple[str, str], asyncio.Future[CategoryEvidence]] = {}
        self._waiting: dict[str, list[str]] = {}
        self._askers: set[asyncio.Task[None]] = set()

    @property
    def known(self) -> Mapping[str, KeptCategory]:
        """What is remembered, by name: repositories, and namespaces for all of theirs."""
        return dict(self._known)

    def remember(self, known: Mapping[str, KeptCategory]) -> None:
        """Know what was kept."""
        self._known.update(known)

    def at_hand(self, repository: HubRepository) -> LocalCategory | None:
        """What is known without asking, and not outdated."""
        kept = self._kept(repository)
        if kept is None or self._clock() >= kept.until:
            return None
        return LocalCategory(evidence=kept.evidence, changes_at=kept.until, recheck_at=kept.until)

    async def find(self, repository: HubRepository, organization: str, wait: float) -> LocalCategory:
        """What is known after at most about `wait` seconds; nothing is raised."""
        at_hand = self.at_hand(repository)
        if at_hand is not None:
            return at_hand
        former, failure = self._stale(repository), self._failure(organization, repository.path)
        if failure is None:
            under_way = (organization, repository.path) in self._asked
            asked = self._ask(repository.path, organization)
            # What is known goes on, as quickly as ever, while somebody else waits already.
            await asyncio.wait({asked}, timeout=0.0 if under_way and former is not None else max(0.0, wait))
            at_hand = self.at_hand(repository)
            if at_hand is not None:
                return at_hand
            failure = (
                asked.result() if asked.done() else _unknown("the service has not answered yet; the look-up goes on")
            )
        # It holds for this once.
        now = self._clock()
        return LocalCategory(evidence=former or failure, changes_at=now, recheck_at=now)

    def take(self, categories: Iterable[KnownCategory]) -> None:
        """Take in what the service tells by itself."""
        for told in categories:
            repository = HubRepository(told.name)
            former = self._kept(repository)
            if former is None and told.evidence.category is Category.UNKNOWN:
                continue
            if former is not None and former.evidence.names_the_same_as(told.evidence):
                continue
            self._known.pop(repository.namespace, None)
            self._known.pop(repository.path, None)
            if told.evidence.category is not Category.UNKNOWN:
                self._keep(told.name, told.evidence, self._until(told.evidence))
            self._on_change()

    async def close(self) -> None:
        """Ask no more."""
        for task in self._askers:
            task.cancel()
        await asyncio.gather(*self._askers, return_exceptions=True)

    def _kept(self, repository: HubRepository) -> KeptCategory | None:
        kept = (self._known.get(name) for name in (repository.path, repository.namespace))
        return max(filter(None, kept), key=lambda item: item.until, default=None)

    def _stale(self, repository: HubRepository) -> CategoryEvidence | None:
        """The category that is known, for as long as nobody can say otherwise."""
        kept = self._kept(repository)
        if kept is None or kept.evidence.category is Category.UNKNOWN:
            return None
        return replace(kept.evidence, stale=True)

    def _failure(self, organization: str, name: str) -> CategoryEvidence | None:
        """Why the last look-up failed, if that was but a moment ago."""
        failed = self._failed.get((organization, name))
        return failed.evidence if failed is not None and self._clock() < failed.until else None

    def _note_failure(self, organization: str, name: str, evidence: CategoryEvidence) -> None:
        now = self._clock()
        self._failed.pop((organization, name), None)
        self._failed[organization, name] = KeptCategory(evidence=evidence, until=now + FAILED_FOR)
        while next(iter(self._failed.values())).until <= now or len(self._failed) > MAX_KNOWN:
            self._failed.popitem(last=False)

    def _ask(self, name: str, organization: str) -> "asyncio.Future[CategoryEvidence]":
        """The answer about a name, asked for once however many wait; what is asked together is one request."""
        asked = self._asked.get((organization, name))
        if asked is None:
            asked = self._asked[organization, name] = asyncio.get_running_loop().create_future()
            waiting = self._waiting.setdefault(organization, [])
            waiting.append(name)
            if len(waiting) == 1:
                task = asyncio.ensure_future(self._look_up(organization))
                self._askers.add(task)
                task.add_done_callback(self._askers.discard)
        return asked

    async def _look_up(self, organization: str) -> None:
        # After those who ask in the same step of the loop.
        await asyncio.sleep(0)
        names = self._waiting.pop(organization)
        await asyncio.gather(
            *(
                self._look_up_some(organization, names[begin : begin + MAX_NAMES])
                for begin in range(0, len(names), MAX_NAMES)
            )
        )

    async def _look_up_some(self, organization: str, names: list[str]) -> None:
        answers: dict[str, CategoryEvidence] = {}
        problem = "the look-up was given up"
        try:
            client = self._client.with_deadline(LOOK_UP_SECONDS)
            async for lookup in client.look_up_categories(names, organization=organization, sources_only=True):
                answers[lookup.name] = self._learn(organization, lookup)
        except ClientError as error:
            problem = f"the service could not be asked: {error}"
        finally:
            for name in names:
                evidence = answers.get(name)
                if evidence is None:
                    evidence = _unknown(problem)
                    self._note_failure(organization, name, evidence)
                asked = self._asked.pop((organization, name))
                if not asked.done():
                    asked.set_result(evidence)

    def _learn(self, organization: str, lookup: CategoryLookup) -> CategoryEvidence:
        repository, evidence, now = HubRepository(lookup.name), lookup.evidence, self._clock()
        if evidence.category is not Category.UNKNOWN:
            until = self._until(evidence)
        elif any(step.outcome is Outcome.FAILED for step in lookup.steps):
            until = now + FAILED_FOR
            if self._kept(repository) is not None:
                self._note_failure(organization, lookup.name, evidence)
                return evidence
        else:
            until = now + UNKNOWN_FOR
        former = self._kept(repository)
        # One place for what is known: whether the namespace is a whole may have changed.
        self._known.pop(repository.namespace, None)
        self._known.pop(repository.path, None)
        self._keep(repository.namespace if lookup.whole_namespace else repository.path, evidence, until)
        if former is not None and not former.evidence.names_the_same_as(evidence):
            self._on_change()
        return evidence

    def _until(self, evidence: CategoryEvidence) -> datetime:
        now = self._clock()
        latest = now + KNOWN_FOR
        if evidence.stale or evidence.refresh_at is None:
            return now + UNKNOWN_FOR if evidence.stale else latest
        return max(now + FAILED_FOR, min(latest, evidence.refresh_at))

    def _keep(self, name: str, evidence: CategoryEvidence, until: datetime) -> None:
        self._known[name] = KeptCategory(evidence=evidence, until=until)
        self._known.move_to_end(name)
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)


def _unknown(detail: str) -> CategoryEvidence:
    return CategoryEvidence(category=Category.UNKNOWN, detail=detail)
