"""The composition root of a sidecar: the server's own parts, around what is told instead of what is stored.

Nothing here may load a database, a driver or an HTTP client: a sidecar stands beside every enforcement point.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

import grpc
import structlog
from prometheus_client import CollectorRegistry

from pullgate.envoy.v3 import external_authorization_pb2
from pullgate.v1 import policy_decision_pb2
from pullgate_policy.answer import DecisionIds
from pullgate_policy.caller import Caller
from pullgate_policy.knowledge import Knowledge, KnowledgeStatus
from pullgate_server.clock import Clock
from pullgate_server.deciding import Decider
from pullgate_server.repeating import repeat
from pullgate_server.rpc.external_authorization import ENVOY_SERVICE, ExternalAuthorizationService
from pullgate_server.rpc.gate import Gate
from pullgate_server.rpc.health import HealthService
from pullgate_server.rpc.policy_decision import PolicyDecisionService
from pullgate_server.rpc.prepared import ReadyAnswers
from pullgate_server.rpc.reflection import ReflectionService, reflection_services
from pullgate_server.rpc.subjects import Subjects
from pullgate_server.sidecar.callers import SidecarCallers
from pullgate_server.sidecar.categories import UpstreamCategories
from pullgate_server.sidecar.configuration import SidecarConfiguration
from pullgate_server.sidecar.metrics import SidecarMetrics, age_of
from pullgate_server.sidecar.snapshots import KnownSnapshots
from pullgate_server.sidecar.upstream import Upstream

log = structlog.get_logger()

TOKEN_POLL_SECONDS = 1.0
FORGET_SECONDS = 600.0

DECISIONS = policy_decision_pb2.DESCRIPTOR.services_by_name["PolicyDecisionService"]
ENVOY = external_authorization_pb2.DESCRIPTOR.services_by_name["ExternalAuthorizationService"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SidecarApplication:
    """The parts that a sidecar registers and runs."""

    handlers: tuple[grpc.GenericRpcHandler, ...]
    health: HealthService
    gate: Gate
    ready: ReadyAnswers
    metrics: CollectorRegistry
    background: tuple[Callable[[], Awaitable[None]], ...]
    upstream: Upstream
    certificates: None = None

    @property
    def is_ready(self) -> bool:
        """Whether decisions may be made."""
        return not self.upstream.knowledge.refusal

    async def end_subscriptions(self) -> None:
        """Nobody subscribes to a sidecar."""


def compose_sidecar(
    configuration: SidecarConfiguration,
    upstream: Upstream,
    *,
    own_token: Callable[[], str] | None,
    clock: Clock,
    random_bytes: Callable[[int], bytes],
) -> SidecarApplication:
    """Put the parts together.

    Args:
        own_token: what callers have to present; None where whoever can connect may call.
    """
    registry = CollectorRegistry()
    metrics = SidecarMetrics(registry)
    ids = DecisionIds(random_bytes)
    ready = ReadyAnswers()
    callers = SidecarCallers(upstream, own_token, clock)
    gate = Gate(
        callers,
        clock,
        max_open_calls=configuration.max_open_calls,
        max_subscribers=0,
        max_message_bytes=configuration.max_message_bytes,
        new_error_id=lambda: random_bytes(8).hex(),
    )
    decider = Decider(
        KnownSnapshots(upstream),
        UpstreamCategories(upstream, metrics, wait=configuration.category_wait),
        ids,
        cacheable_for=timedelta(seconds=configuration.cacheable_for),
        clock=clock,
    )
    subjects = Subjects(callers)
    decisions = PolicyDecisionService(
        decider, subjects, ready, ids, gate, max_batch=configuration.max_batch, clock=clock
    )
    v1, v1alpha = reflection_services()
    names = [DECISIONS.full_name, ENVOY.full_name, v1.full_name, v1alpha.full_name, "grpc.health.v1.Health"]
    reflection = ReflectionService(names)
    health = HealthService([DECISIONS.full_name, ENVOY.full_name, ENVOY_SERVICE])
    standing = _Standing(upstream.knowledge, clock)
    # Metrics are fetched in another thread, and who asks for `upstream.knowledge` may make it change.
    metrics.watch(lambda: standing.knowledge, clock)

    def on_change() -> None:
        knowledge = upstream.knowledge
        # Answers say how old their knowledge is, and so none outlives it.
        ready.clear()
        metrics.changes.inc()
        if standing.follow(knowledge):
            gate.callers_changed()
        health.set_serving(not knowledge.refusal)

    def decide_again(data: bytes, caller: Caller) -> bytes | None:
        # Looked at first, so that nothing is repeated that has become too old just now.
        return decisions.decide_again(data, caller) if not upstream.knowledge.refusal else None

    async def follow_token() -> None:
        callers.follow_token()

    async def forget_callers() -> None:
        callers.used.clear()

    upstream.call_on_change(on_change)
    callers.call_on_change(gate.callers_changed)
    return SidecarApplication(
        handlers=(
            gate.handlers(DECISIONS, [decisions], {"Decide": decide_again}),
            gate.handlers(ENVOY, [ExternalAuthorizationService(decider, subjects, ids)], also_as=ENVOY_SERVICE),
            gate.handlers(v1, [reflection]),
            gate.handlers(v1alpha, [reflection]),
        ),
        health=health,
        gate=gate,
        ready=ready,
        metrics=registry,
        background=(repeat(follow_token, TOKEN_POLL_SECONDS), repeat(forget_callers, FORGET_SECONDS)),
        upstream=upstream,
    )


class _Standing:
    """How it stood last: each other status is said once, when it begins.

    Attributes:
        knowledge: what was known then.
    """

    def __init__(self, knowledge: Knowledge, clock: Clock) -> None:
        self.knowledge = knowledge
        self._clock = clock

    def follow(self, knowledge: Knowledge) -> bool:
        """Log what has changed; returns whether callers decide as somebody else from now on."""
        before, self.knowledge = self.knowledge, knowledge
        if before.status is not knowledge.status:
            if knowledge.status is KnowledgeStatus.READY:
                log.info("follows the service", **facts_of(knowledge, self._clock))
            else:
                log.warning("does not follow the service", **facts_of(knowledge, self._clock))
        return (before.caller, before.fails_open) != (knowledge.caller, knowledge.fails_open)


def facts_of(knowledge: Knowledge, clock: Clock) -> dict[str, object]:
    """How it stands, for the log."""
    facts: dict[str, object] = {"status": knowledge.status.value, "revision": knowledge.state.revision}
    if knowledge.status is not KnowledgeStatus.READY:
        consequence = "decisions are refused" if knowledge.refusal else "decisions go by what is known"
        if knowledge.fails_open:
            consequence = "everything is allowed"
        facts |= {"consequence": consequence, "problem": knowledge.problem}
    if knowledge.known_as_of is not None:
        facts["age"] = f"{age_of(knowledge, clock):.0f}s"
    return facts
