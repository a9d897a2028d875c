"""The port of category sources: who may know which category a namespace of Docker Hub is of.

Badges belong to namespaces, so sources are asked about namespaces. The catalogue may name single repositories, and is
looked up where it lies (catalogue.py).
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from pullgate_policy import CategoryEvidence
from pullgate_policy.category_lookup import Outcome

__all__ = ["AskedBy", "CategorySource", "Outcome", "SourceAnswer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceAnswer:
    """What a source says.

    Attributes:
        evidence: with KNOWN alone.
        detail: why it does not know, or could not answer.
        steps: what was done to find out, each in a sentence, such as "GET /v2/orgs/grafana/: 200, badge open_source".
        retry_at: with FAILED: before this moment asking again is of no use; None where nothing is said.
        asked: whether the source itself was asked; False where only our own budget kept the question back.
    """

    outcome: Outcome
    evidence: CategoryEvidence | None = None
    detail: str = ""
    steps: tuple[str, ...] = ()
    retry_at: datetime | None = None
    asked: bool = True


class AskedBy:
    """On whose behalf a look-up is made: the organizations that share a source's budget fairly.

    More may join while the look-up waits for its turn. Work in the background is on behalf of nobody, which is the
    empty name.

    Attributes:
        names: the organizations.
        began_at: when the source began to ask, by the clock of the event loop; None while the look-up waits its turn.
    """

    def __init__(self, name: str) -> None:
        self.names = [name]
        self.began_at: float | None = None
        self._on_join: list[Callable[[str], None]] = []

    def join(self, name: str) -> None:
        """Make the look-up on behalf of `name` too."""
        if name not in self.names:
            self.names.append(name)
            for callback in self._on_join:
                callback(name)

    def begin(self) -> None:
        """Note that the source asks now."""
        self.began_at = asyncio.get_running_loop().time()

    def call_on_join(self, callback: Callable[[str], None]) -> None:
        """Call `callback` with the name of each who joins from now on."""
        self._on_join.append(callback)


class CategorySource(Protocol):
    """Somebody who may know of which category a namespace is."""

    @property
    def name(self) -> str:
        """The source in a word, as it stands in evidence."""
        ...

    @property
    def identity(self) -> str:
        """Whom exactly is asked, such as name and address: what one says is not remembered as another's word."""
        ...

    async def look_up(self, namespace: str, asked_by: AskedBy) -> SourceAnswer:
        """What the source says now; failures are answers, and nothing is raised. May be cancelled."""
        ...
