"""The store port, and the values that pass through it.

Every committed write has a number of its own, its revision, taken inside the transaction: revision order is commit
order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from pullgate_policy import Policy
from pullgate_policy.pins import CategoryPin
from pullgate_policy.stored_policy import StoredPolicy
from pullgate_server.callers import StoredToken


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreContents:
    """What decisions are made from, all of it as of one revision.

    Attributes:
        revision: of the newest write.
        policies: those written after the revision that was asked from.
        pins: all.
    """

    revision: int
    policies: Sequence[StoredPolicy]
    pins: Sequence[CategoryPin]


class Store(Protocol):
    """Keeps policies, pins and tokens.

    Every method raises StoreUnavailableError when the database cannot be reached; then nothing was written.
    """

    async def read(self, since: int) -> StoreContents:
        """The policies written after revision `since`, and all pins, as of one revision."""
        ...

    async def revision(self) -> int:
        """The revision of the newest write; cheap, and a sign of life."""
        ...

    async def put_policy(
        self, policy: Policy, *, expected_revision: int | None, author: str, comment: str, now: datetime
    ) -> StoredPolicy:
        """Write a policy as a new revision.

        Raises:
            RevisionStaleError: the organization's policy is at another revision than `expected_revision` (0: it has
                none; None: whatever is there).
        """
        ...

    async def put_pin(self, pin: CategoryPin) -> int:
        """Set a pin, in place of one with the same name; returns the revision."""
        ...

    async def delete_pin(self, name: str, *, author: str, now: datetime) -> int:
        """Take a pin back; returns the revision. Raises CategoryPinNotFoundError."""
        ...

    async def tokens(self) -> Sequence[StoredToken]:
        """All tokens."""
        ...

    async def add_token(self, token: StoredToken) -> None:
        """Keep a token."""
        ...

    async def close(self) -> None:
        """Let go of connections; the store is not used afterwards."""
        ...
