"""A store in memory: nothing survives the process. For tests and for trying things out."""

from collections.abc import Sequence
from datetime import datetime

from pullgate_policy import Policy
from pullgate_policy.pins import CategoryPin
from pullgate_policy.stored_policy import StoredPolicy
from pullgate_server.callers import StoredToken
from pullgate_server.errors import CategoryPinNotFoundError, RevisionStaleError, StoreUnavailableError
from pullgate_server.stores.port import StoreContents


class MemoryStore:
    """Implements `Store`.

    Attributes:
        available: set to False to behave like a database that cannot be reached.
    """

    def __init__(self) -> None:
        self.available = True
        self._revision = 0
        self._policies: dict[str, StoredPolicy] = {}
        self._pins: dict[str, CategoryPin] = {}
        self._tokens: list[StoredToken] = []

    async def read(self, since: int) -> StoreContents:
        """The policies written after `since`, and all pins."""
        self._reach()
        policies = sorted(self._policies.values(), key=lambda stored: stored.revision)
        return StoreContents(
            revision=self._revision,
            policies=[stored for stored in policies if stored.revision > since],
            pins=[self._pins[name] for name in sorted(self._pins)],
        )

    async def revision(self) -> int:
        """The revision of the newest write."""
        self._reach()
        return self._revision

    async def put_policy(
        self, policy: Policy, *, expected_revision: int | None, author: str, comment: str, now: datetime
    ) -> StoredPolicy:
        """Write a policy as a new revision."""
        self._reach()
        stored = self._policies.get(policy.organization)
        current = stored.revision if stored else 0
        if expected_revision is not None and expected_revision != current:
            raise RevisionStaleError(policy.organization, expected_revision, current)
        self._revision += 1
        written = StoredPolicy(policy=policy, revision=self._revision, author=author, written_at=now, comment=comment)
        self._policies[policy.organization] = written
        return written

    async def put_pin(self, pin: CategoryPin) -> int:
        """Set a pin."""
        self._reach()
        self._revision += 1
        self._pins[pin.name] = pin
        return self._revision

    async def delete_pin(self, name: str, *, author: str, now: datetime) -> int:  # noqa: ARG002 - no history here
        """Take a pin back."""
        self._reach()
        if self._pins.pop(name, None) is None:
            raise CategoryPinNotFoundError(name)
        self._revision += 1
        return self._revision

    async def tokens(self) -> Sequence[StoredToken]:
        """All tokens."""
        self._reach()
        return list(self._tokens)

    async def add_token(self, token: StoredToken) -> None:
        """Keep a token."""
        self._reach()
        self._tokens.append(token)

    async def close(self) -> None:
        """Nothing to let go of."""

    def _reach(self) -> None:
        if not self.available:
            raise StoreUnavailableError
