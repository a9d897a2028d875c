"""What operators see of a sidecar, with what to conclude from it."""

from collections.abc import Callable
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge

from pullgate_policy.knowledge import Knowledge, KnowledgeStatus
from pullgate_server.clock import Clock


class SidecarMetrics:
    """The figures of a sidecar."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._status = Gauge(
            "pullgate_sidecar_status",
            "1 for the status that holds, 0 for the others. Anything but ready for longer than a few seconds: "
            "the service cannot be reached; fatal: it refuses this sidecar, whose log says why.",
            ["status"],
            registry=registry,
        )
        self._deciding = Gauge(
            "pullgate_sidecar_deciding",
            "1 while decisions are made, 0 while each is refused, because nothing is known or because what is known is "
            "older than --max-age. At 0 everything that asks this sidecar is held up.",
            registry=registry,
        )
        self._failing_open = Gauge(
            "pullgate_sidecar_failing_open",
            "1 while everything is allowed because of --past-max-age open. At 1 no policy is enforced here.",
            registry=registry,
        )
        self._revision = Gauge(
            "pullgate_sidecar_revision",
            "The revision that decisions rest on. Far below other sidecars' of the same service: this one is behind.",
            registry=registry,
        )
        self._age = Gauge(
            "pullgate_sidecar_knowledge_age_seconds",
            "How long ago the service last said that nothing is missing; 0 while it is connected. Compare it with "
            "--max-age, at which decisions end or fail open.",
            registry=registry,
        )
        self.changes = Counter(
            "pullgate_sidecar_changes",
            "Times that what is known, or how it stands, became another. Rising much faster than policies are written "
            "means that the connection to the service comes and goes.",
            registry=registry,
        )
        self.unknown_categories = Counter(
            "pullgate_sidecar_unknown_categories",
            "Questions for a category that the service could not answer in time. Rising steadily means that the "
            "service, or Docker Hub behind it, is slow or away, and policies decide what holds for UNKNOWN.",
            registry=registry,
        )

    def watch(self, knowledge: Callable[[], Knowledge], clock: Clock) -> None:
        """Show from now on how it stands."""
        for status in KnowledgeStatus:
            self._status.labels(status.value.replace(" ", "_")).set_function(partial(_holds, status, knowledge))
        self._deciding.set_function(lambda: float(not knowledge().refusal))
        self._failing_open.set_function(lambda: float(knowledge().fails_open))
        self._revision.set_function(lambda: float(knowledge().state.revision))
        self._age.set_function(lambda: age_of(knowledge(), clock))


def _holds(status: KnowledgeStatus, knowledge: Callable[[], Knowledge]) -> float:
    return float(knowledge().status is status)


def age_of(knowledge: Knowledge, clock: Clock) -> float:
    """How many seconds ago what is known was last said to be the newest."""
    return 0.0 if knowledge.known_as_of is None else (clock() - knowledge.known_as_of).total_seconds()
