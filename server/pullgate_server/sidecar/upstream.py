"""The port of a sidecar to the service that it follows."""

from collections.abc import Callable
from typing import Protocol

from pullgate_policy import HubRepository
from pullgate_policy.caller import Caller
from pullgate_policy.conclusion import FoundCategory
from pullgate_policy.knowledge import Knowledge


class Upstream(Protocol):
    """A service that is followed: what it said last, and what it can be asked."""

    @property
    def knowledge(self) -> Knowledge:
        """What is known now: immutable, and another object whenever anything about it has changed."""
        ...

    def call_on_change(self, callback: Callable[[], None]) -> None:
        """Call `callback` in the event loop right after `knowledge` was replaced, or a category is another one."""
        ...

    async def at_least(self, revision: int, wait: float) -> None:
        """Wait until what is known is as of `revision` or later; raises TimeoutError after `wait` seconds."""
        ...

    async def category_of(self, repository: HubRepository, organization: str, wait: float) -> FoundCategory:
        """What is known after at most about `wait` seconds; UNKNOWN, with the reason, where it cannot be told."""
        ...

    async def caller_of(self, token: str) -> Caller:
        """Whose token this is; what the service said is remembered for a short time.

        Raises:
            PullgateError: it is nobody's.
            ConnectionError: the service cannot be asked.
        """
        ...
