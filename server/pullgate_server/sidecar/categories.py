"""Categories as a sidecar finds them out: by asking the service that it follows."""

from pullgate_policy import Category, HubRepository
from pullgate_policy.conclusion import FoundCategory
from pullgate_server.sidecar.metrics import SidecarMetrics
from pullgate_server.sidecar.upstream import Upstream


class UpstreamCategories:
    """Implements `CategoryFinder`.

    Attributes:
        wait: the longest that a decision waits for what is not known yet, in seconds and in all.
    """

    def __init__(self, upstream: Upstream, metrics: SidecarMetrics, *, wait: float) -> None:
        self.wait = wait
        self._upstream = upstream
        self._metrics = metrics

    async def category_of(self, repository: HubRepository, asked_by: str, wait: float) -> FoundCategory:
        """What is known after at most about `wait` seconds."""
        found = await self._upstream.category_of(repository, asked_by, wait)
        if found.evidence.category is Category.UNKNOWN:
            self._metrics.unknown_categories.inc()
        return found
