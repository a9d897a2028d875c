"""Category pins."""

from collections.abc import Sequence

import structlog

from pullgate_policy.pins import CategoryPin
from pullgate_server.administration.authoring import WriteCall
from pullgate_server.clock import Clock
from pullgate_server.errors import CategoryPinNotFoundError
from pullgate_server.snapshot import SnapshotKeeper
from pullgate_server.stores.documents import pin_from_document
from pullgate_server.stores.port import Store

log = structlog.get_logger()


class PinAdministration:
    """Sets pins and takes them back."""

    def __init__(self, store: Store, snapshots: SnapshotKeeper, clock: Clock) -> None:
        self._store = store
        self._snapshots = snapshots
        self._clock = clock

    async def put(self, call: WriteCall, pin: CategoryPin) -> tuple[CategoryPin, int]:
        """Set a pin; returns it as it is kept, and the revision."""
        event = (await self._store.write_pin(pin.name, lambda _: pin, call.authorship(self._clock()))).event
        await self._snapshots.take_in(event)
        log.info("category pinned", name=pin.name, category=pin.category.name, revision=event.revision)
        return pin_from_document(pin.name, event.after or {}, event.author, event.written_at), event.revision

    async def delete(self, call: WriteCall, name: str) -> int:
        """Take a pin back; raises CategoryPinNotFoundError; returns the revision."""

        def gone(current: CategoryPin | None) -> None:
            if current is None:
                raise CategoryPinNotFoundError(name)

        event = (await self._store.write_pin(name, gone, call.authorship(self._clock()))).event
        await self._snapshots.take_in(event)
        log.info("category pin taken back", name=name, revision=event.revision)
        return event.revision

    def list(self) -> Sequence[CategoryPin]:
        """All pins, in the order of their names."""
        pins = self._snapshots.current.pins
        return [pins[name] for name in sorted(pins)]
