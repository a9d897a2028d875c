"""What operators see of subscribers, with what to conclude from it."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge


class WatchMetrics:
    """The figures of the watch service."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._subscribers = Gauge(
            "pullgate_watch_subscribers",
            "Subscribers to policies that are connected to this server. A sudden fall means that they cannot reach it.",
            registry=registry,
        )
        self._unapplied = Gauge(
            "pullgate_watch_unapplied_subscribers",
            "Subscribers that do not say that they have applied the newest revision that concerns them. More than none "
            "for longer than a few seconds: see pullgate subscriber list.",
            registry=registry,
        )
        self.catch_ups = Counter(
            "pullgate_watch_catch_ups",
            "Times that a subscriber was too slow to be told each revision on its own, and was told what is newest. "
            "Rising steadily means that a subscriber does not read, or that its network does not keep up.",
            registry=registry,
        )
        self.snapshots = Counter(
            "pullgate_watch_snapshots",
            "Snapshots that were begun. Rising without new subscribers means that some come back without a resume "
            "token, or after more revisions than are kept.",
            registry=registry,
        )

    def watch_subscribers(self, connected: Callable[[], int], unapplied: Callable[[], int]) -> None:
        """Count subscribers from now on: all, and those that have not applied what concerns them."""
        self._subscribers.set_function(connected)
        self._unapplied.set_function(unapplied)
