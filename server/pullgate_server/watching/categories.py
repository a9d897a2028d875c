"""The categories that subscribers' decisions depend on: what was found for an organization, and when it is another."""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Iterator

from pullgate_policy import Category, CategoryEvidence, HubRepository
from pullgate_policy.category_lookup import KnownCategory, Outcome
from pullgate_server.categories.chain import Categories, CategoryFinding
from pullgate_server.watching.subscription import Subscription
from pullgate_server.watching.view import View

MAX_KNOWN = 50_000
"""Findings that are followed, for all organizations together; the least recently used are forgotten."""

_Key = tuple[str, str]


class CategoryFeed:
    """Tells subscribers of categories."""

    def __init__(self, categories: Categories) -> None:
        self._categories = categories
        self._known: OrderedDict[_Key, CategoryEvidence] = OrderedDict()
        self._divided = categories.divided
        self._subscribers: set[Subscription] = set()
        self._outdated = asyncio.Event()
        categories.call_on_found(self._found)

    def subscribe(self, subscription: Subscription) -> None:
        """Tell this subscriber from now on, if it asked for categories."""
        if subscription.view.includes_categories:
            self._subscribers.add(subscription)

    def unsubscribe(self, subscription: Subscription) -> None:
        """Tell this subscriber no more."""
        self._subscribers.discard(subscription)

    def known_to(self, view: View) -> Iterator[KnownCategory]:
        """What was found for the organizations in view, and first which namespaces are no whole."""
        yield from map(_no_whole, sorted(self._divided))
        for (organization, name), evidence in self._known.items():
            if view.shows(organization):
                yield KnownCategory(name=name, evidence=evidence)

    def something_changed(self) -> None:
        """Look soon whether what was found is still so."""
        self._outdated.set()

    async def look(self) -> None:
        """Wait until something has changed, and look at all that was found for those who are told."""
        await self._outdated.wait()
        self._outdated.clear()
        self._look_at_namespaces()
        shown: dict[str, bool] = {}
        for organization, name in list(self._known):
            if organization not in shown:
                shown[organization] = any(item.view.shows(organization) for item in self._subscribers)
            if shown[organization]:
                repository = HubRepository(name)
                # As it is known by now: nobody has asked, so no look-up is made.
                self._take_in(organization, repository, await self._categories.at_hand(repository))
                await asyncio.sleep(0)

    def _look_at_namespaces(self) -> None:
        """Have what is known of a whole namespace forgotten once single repositories of it may differ."""
        former, self._divided = self._divided, self._categories.divided
        told = list(map(_no_whole, sorted(self._divided - former)))
        for subscription in self._subscribers:
            subscription.push_categories(told)

    def _found(self, organization: str, repository: HubRepository, finding: CategoryFinding) -> None:
        self._take_in(organization, repository, finding)
        key = (organization, repository.path)
        if key in self._known:
            self._known.move_to_end(key)
        while len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)

    def _take_in(self, organization: str, repository: HubRepository, finding: CategoryFinding) -> None:
        key, evidence = (organization, repository.path), finding.evidence
        former = self._known.get(key)
        failed = {step.source for step in finding.steps if step.outcome is Outcome.FAILED}
        if former is not None and former.source in failed:
            # What was known goes on while whoever said it cannot be asked.
            return
        if former is None and failed and evidence.category is Category.UNKNOWN:
            # That is nothing to know.
            return
        self._known[key] = evidence
        is_known = former is not None and former.names_the_same_as(evidence) and former.stale == evidence.stale
        if self._subscribers and not is_known:
            self._tell(organization, [KnownCategory(name=repository.path, evidence=evidence)])

    def _tell(self, organization: str, categories: Iterable[KnownCategory]) -> None:
        for subscription in self._subscribers:
            if subscription.view.shows(organization):
                subscription.push_categories(categories)


def _no_whole(namespace: str) -> KnownCategory:
    """Says that nothing is known of a namespace as a whole."""
    detail = "single repositories of it are of categories of their own"
    return KnownCategory(name=namespace, evidence=CategoryEvidence(category=Category.UNKNOWN, detail=detail))
