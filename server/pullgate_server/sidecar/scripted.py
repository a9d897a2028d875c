"""A service that says what it is told to: for tests, and for trying things out."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from pullgate_policy import Category, CategoryEvidence, HubRepository
from pullgate_policy.caller import Caller
from pullgate_policy.conclusion import NEVER, FoundCategory
from pullgate_policy.errors import FieldInvalidError
from pullgate_policy.knowledge import Knowledge


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptedCategory:
    """A `FoundCategory` that stays as it is."""

    evidence: CategoryEvidence
    changes_at: datetime = NEVER
    recheck_at: datetime = NEVER


class ScriptedUpstream:
    """Implements `Upstream`.

    Attributes:
        categories: by repository or namespace; what is not here is UNKNOWN.
        people: by their tokens.
        reachable: whether it can be asked whose a token is.
        asked: the repositories that were asked for, and for which organization.
    """

    def __init__(self, knowledge: Knowledge) -> None:
        self.categories: Mapping[str, CategoryEvidence] = {}
        self.people: dict[str, Caller] = {}
        self.reachable = True
        self.asked: list[tuple[str, str]] = []
        self._knowledge = knowledge
        self._on_change: list[Callable[[], None]] = []
        self._changed = asyncio.Condition()

    @property
    def knowledge(self) -> Knowledge:
        """What it was told last."""
        return self._knowledge

    def call_on_change(self, callback: Callable[[], None]) -> None:
        """As the port says."""
        self._on_change.append(callback)

    async def tell(self, **changes: Any) -> None:
        """Let something else be known: fields of `Knowledge`."""
        self._knowledge = replace(self._knowledge, **changes)
        for callback in self._on_change:
            callback()
        async with self._changed:
            self._changed.notify_all()

    async def at_least(self, revision: int, wait: float) -> None:
        """As the port says."""
        async with asyncio.timeout(wait), self._changed:
            await self._changed.wait_for(lambda: self._knowledge.state.revision >= revision)

    async def category_of(self, repository: HubRepository, organization: str, wait: float) -> FoundCategory:  # noqa: ARG002 - it never takes long
        """What it was told to say."""
        self.asked.append((repository.path, organization))
        evidence = self.categories.get(repository.path) or self.categories.get(repository.namespace)
        return ScriptedCategory(
            evidence=evidence or CategoryEvidence(category=Category.UNKNOWN, detail="the script does not say")
        )

    async def caller_of(self, token: str) -> Caller:
        """Whom it was told."""
        if not self.reachable:
            raise ConnectionError("the service could not be asked whose token it is")
        if token not in self.people:
            raise FieldInvalidError("identity.token", "is not a token of a person that is known")
        return self.people[token]
