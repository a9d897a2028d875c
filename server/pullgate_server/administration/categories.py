"""What is known of categories: looked up with all who were asked, asked for anew, and listed."""

import asyncio
import heapq
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from pullgate_policy import CategoryEvidence, HubRepository
from pullgate_policy.category_lookup import CategoryLookup, KnownCategory, LookupStep, Outcome
from pullgate_policy.decision import known_without_sources
from pullgate_policy.errors import FieldInvalidError, shown
from pullgate_policy.names import hub_name, without_docker_hub
from pullgate_server.administration.paging import page_size
from pullgate_server.categories.catalogue import Catalogue
from pullgate_server.categories.chain import Categories
from pullgate_server.categories.remembering import RememberedSource
from pullgate_server.clock import Clock
from pullgate_server.snapshot import SnapshotKeeper

MAX_NAMES = 100
"""Names in one request."""


class CategoryAdministration:
    """Explains categories."""

    def __init__(self, categories: Categories, snapshots: SnapshotKeeper, clock: Clock) -> None:
        self._categories = categories
        self._snapshots = snapshots
        self._clock = clock

    async def look_up(
        self, names: Sequence[str], organization: str, wait: float, *, anew: bool = False, sources_only: bool = False
    ) -> Sequence[CategoryLookup]:
        """What is known of names, in their order; raises FieldInvalidError.

        Args:
            organization: whose own namespaces and pins count; empty for nobody's.
            wait: seconds after which the sources are not waited for any more.
            anew: whether sources are asked whatever is remembered.
            sources_only: whether own namespaces and pins are left aside.
        """
        if len(names) > MAX_NAMES:
            raise FieldInvalidError("names", f"has {len(names)} entries, and at most {MAX_NAMES} are looked up at once")
        repositories = [_repository(index, name) for index, name in enumerate(names)]
        # Together, so that many that are not known yet take no longer than one.
        return await asyncio.gather(
            *(
                self._look_up(repository, organization, wait, anew=anew, sources_only=sources_only)
                for repository in repositories
            )
        )

    async def page(self, asked: int, after: str) -> tuple[Sequence[KnownCategory], str]:
        """What the sources have said, by name, of each name what is believed; and where to go on ("" at the end).

        Raises:
            FieldInvalidError: a page cannot be so large.
            StoreUnavailableError: what is remembered cannot be read.
        """
        size = page_size(asked)
        # One more than a page of each source, merged: enough to fill the page, and to see whether there is another.
        said = [await self._said_by(source, after, size + 1) for source in self._categories.sources]
        known = list(islice(_first_of_each(heapq.merge(*said, key=lambda item: item.name)), size + 1))
        page = known[:size]
        return page, page[-1].name if len(known) > size else ""

    async def _look_up(
        self, repository: HubRepository, organization: str, wait: float, *, anew: bool, sources_only: bool
    ) -> CategoryLookup:
        known = None if sources_only else self._known_without_sources(repository, organization)
        if known is not None:
            return known
        found = await self._categories.category_of(repository, organization, wait, anew=anew)
        steps = tuple(
            LookupStep(source=step.source, outcome=step.outcome, detail=step.detail, actions=step.actions)
            for step in found.steps
        )
        return CategoryLookup(
            name=repository.path,
            evidence=found.evidence,
            steps=steps,
            whole_namespace=not any(
                isinstance(source, Catalogue) and repository.namespace in source.divided
                for source in self._categories.sources
            ),
        )

    def _known_without_sources(self, repository: HubRepository, organization: str) -> CategoryLookup | None:
        snapshot = self._snapshots.current
        policy = snapshot.policies.get(organization)
        own = policy.namespaces if policy is not None else frozenset({organization})
        evidence, _ = known_without_sources(organization, own, repository, snapshot.pin_index, self._clock())
        if evidence is None:
            return None
        step = LookupStep(source=evidence.source, outcome=Outcome.KNOWN, detail=evidence.detail)
        return CategoryLookup(name=repository.path, evidence=evidence, steps=(step,))

    async def _said_by(self, source: Catalogue | RememberedSource, after: str, limit: int) -> Iterable[KnownCategory]:
        said: Iterable[tuple[str, CategoryEvidence]] = (
            source.entries_after(after, limit) if isinstance(source, Catalogue) else await source.page(after, limit)
        )
        return [KnownCategory(name=name, evidence=evidence) for name, evidence in said]


def _repository(index: int, name: str) -> HubRepository:
    """The repository, or a namespace as one, that is asked about."""
    name = without_docker_hub(name)
    try:
        return HubRepository(hub_name(name))
    except ValueError as error:
        raise FieldInvalidError(f"names[{index}]", f"{shown(name)} {error}") from error


def _first_of_each(known: Iterable[KnownCategory]) -> Iterator[KnownCategory]:
    """Of several sources' words on a name the first, which is the one that is believed."""
    name = None
    for item in known:
        if item.name != name:
            yield item
        name = item.name
