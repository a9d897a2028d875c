"""What a sidecar decides from: what it was told, in the form in which the server decides."""

import dataclasses

from pullgate_policy.knowledge import Knowledge
from pullgate_policy.policy_state import PolicyState
from pullgate_server.errors import KnowledgeTooOldError, RevisionNotYetVisibleError
from pullgate_server.sidecar.upstream import Upstream
from pullgate_server.snapshot import Snapshot

_STATE = tuple(field.name for field in dataclasses.fields(PolicyState))


class KnownSnapshots:
    """Implements `Snapshots`."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._knowledge: Knowledge | None = None
        self._snapshot = Snapshot()

    @property
    def current(self) -> Snapshot:
        """What is known; raises KnowledgeTooOldError where that may not be decided from."""
        knowledge = self._upstream.knowledge
        if knowledge.refusal:
            raise KnowledgeTooOldError(knowledge.refusal)
        if knowledge is not self._knowledge:
            self._knowledge, self._snapshot = knowledge, _snapshot_of(knowledge)
        return self._snapshot

    async def at_least(self, revision: int, wait: float) -> Snapshot:
        """What is known as of `revision` or later; raises RevisionNotYetVisibleError and as `current`."""
        try:
            await self._upstream.at_least(revision, wait)
        except TimeoutError:
            raise RevisionNotYetVisibleError(revision, self._upstream.knowledge.state.revision) from None
        return self.current


def _snapshot_of(knowledge: Knowledge) -> Snapshot:
    return Snapshot(
        **{name: getattr(knowledge.state, name) for name in _STATE},
        known_as_of=knowledge.known_as_of,
        failing_open=knowledge.note if knowledge.fails_open else "",
        followed=knowledge.followed,
    )
