"""What operators can see of categories: each help text says what to conclude."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class CategoryMetrics:
    """The collectors, in a registry of the server's own."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self.questions = Counter(
            "pullgate_category_questions",
            "Questions about a namespace to a remembered source, by what they were answered from: fresh (a hit), stale "
            "(older than its lifetime: the source does not answer, or a refresh is on its way), absent (remembered as "
            "unknown to the source), looked_up (a miss that the source answered in time), unanswered (a miss that "
            "ended as UNKNOWN: people are denied for want of knowledge; see the source's outcomes). Decisions that "
            "are repeated from ready answers ask nothing here.",
            ["source", "answer"],
            registry=registry,
        )
        self.flights = Counter(
            "pullgate_category_flights",
            "Look-ups at a source, each on behalf of all who asked at the time, by outcome: known, absent, failed. "
            "Many more than namespaces in use per lifetime means that the memory is too small (see evictions).",
            ["source", "outcome"],
            registry=registry,
        )
        self.flight_seconds = Histogram(
            "pullgate_category_flight_seconds",
            "How long a look-up took, its turn in the request budget included. Much more than the source's own latency "
            "means that more namespaces are asked for than the budget lets through.",
            ["source"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.requests = Histogram(
            "pullgate_category_source_request_seconds",
            "HTTP requests to a source, by endpoint and outcome. throttled: lower the budget, or give each server its "
            "share of it; not_found in a burst: the source throttles by lying; failed: its address, a proxy, or the "
            "network between.",
            ["source", "endpoint", "outcome"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.changes = Counter(
            "pullgate_category_changes",
            "Namespaces of which something else was said than before. Each drops the ready answers; a rate that stays "
            "high costs speed, and deserves a look at what the source says.",
            ["source"],
            registry=registry,
        )
        self.memory_failures = Counter(
            "pullgate_category_memory_failures",
            "Reads and writes of remembered categories that failed, by memory. Decisions go on from what else is "
            "remembered; servers no longer share what they learn, and a restart would know less.",
            ["memory"],
            registry=registry,
        )

        self.evictions = Counter(
            "pullgate_category_memory_evictions",
            "Namespaces that went from this process's memory for want of room. Growing: raise --category-entries.",
            registry=registry,
        )

    def watch_memory(self, entries: Callable[[], float]) -> None:
        """Show the size of the memory in this process."""
        Gauge(
            "pullgate_category_memory_entries",
            "Namespaces in this process's memory. At the limit (--category-entries) each new one evicts another.",
            registry=self._registry,
        ).set_function(entries)

    def watch_flights(self, source: str, open_flights: Callable[[], float]) -> None:
        """Show how many look-ups are under way."""
        Gauge(
            "pullgate_category_flights_open",
            "Look-ups under way. High and not falling: the source hangs, or the budget is used up.",
            ["source"],
            registry=self._registry,
        ).labels(source).set_function(open_flights)

    def watch_budget(self, source: str, left: Callable[[], float]) -> None:
        """Show what is left of a source's request budget."""
        Gauge(
            "pullgate_category_budget_left",
            "Requests to the source that could be made at once. At or below 0 new namespaces wait for their turn.",
            ["source"],
            registry=self._registry,
        ).labels(source).set_function(left)
