"""Reads and changes policies and pins.

A write is visible to the next decision before it is acknowledged. Should the store vanish right after the commit, the
write is acknowledged all the same, and becomes visible when the store is back.
"""

from collections.abc import Sequence

import structlog

from pullgate_policy import Policy
from pullgate_policy.names import short_note
from pullgate_policy.pins import CategoryPin
from pullgate_policy.stored_policy import StoredPolicy
from pullgate_server.callers import Caller
from pullgate_server.clock import Clock
from pullgate_server.errors import FieldInvalidError, PolicyNotFoundError
from pullgate_server.snapshot import SnapshotKeeper
from pullgate_server.stores.port import Store

log = structlog.get_logger()

DEFAULT_PAGE_SIZE = 100
MAX_PAGE_SIZE = 1000


class Administration:
    """What the PolicyAdminService does, without gRPC."""

    def __init__(self, store: Store, snapshots: SnapshotKeeper, clock: Clock) -> None:
        self._store = store
        self._snapshots = snapshots
        self._clock = clock

    def get_policy(self, organization: str) -> StoredPolicy:
        """One organization's policy; raises PolicyNotFoundError."""
        stored = self._snapshots.current.stored.get(organization)
        if stored is None:
            raise PolicyNotFoundError(organization)
        return stored

    async def put_policy(
        self, caller: Caller, policy: Policy, *, expected_revision: int | None, comment: str
    ) -> StoredPolicy:
        """Write a policy; raises RevisionStaleError, FieldInvalidError and StoreUnavailableError."""
        if expected_revision is not None and expected_revision < 0:
            raise FieldInvalidError("expected_revision", f"{expected_revision} is below 0, and revisions are not")
        try:
            short_note(comment)
        except ValueError as error:
            raise FieldInvalidError("comment", str(error)) from error
        stored = await self._store.put_policy(
            policy, expected_revision=expected_revision, author=caller.name, comment=comment, now=self._clock()
        )
        await self._snapshots.look()
        log.info("policy written", organization=policy.organization, revision=stored.revision, author=caller.name)
        return stored

    def list_policies(self, page_size: int, after: str) -> tuple[Sequence[StoredPolicy], str]:
        """The policies whose organization's name comes after `after`, and where to go on ("" at the end)."""
        if not 0 <= page_size <= MAX_PAGE_SIZE:
            raise FieldInvalidError("page_size", f"{page_size} is not between 0 and {MAX_PAGE_SIZE}")
        size = page_size or DEFAULT_PAGE_SIZE
        stored = self._snapshots.current.stored
        names = sorted(name for name in stored if name > after)
        page = names[:size]
        return [stored[name] for name in page], page[-1] if len(names) > size else ""

    async def put_pin(self, pin: CategoryPin) -> int:
        """Set a pin; returns the revision."""
        revision = await self._store.put_pin(pin)
        await self._snapshots.look()
        log.info("category pinned", name=pin.name, category=pin.category.name, revision=revision, author=pin.author)
        return revision

    async def delete_pin(self, caller: Caller, name: str) -> int:
        """Take a pin back; raises CategoryPinNotFoundError; returns the revision."""
        revision = await self._store.delete_pin(name, author=caller.name, now=self._clock())
        await self._snapshots.look()
        log.info("category pin taken back", name=name, revision=revision, author=caller.name)
        return revision

    def list_pins(self) -> Sequence[CategoryPin]:
        """All pins, in the order of their names."""
        pins = self._snapshots.current.pins
        return [pins[name] for name in sorted(pins)]
