"""Category pins."""

from collections.abc import Sequence
from datetime import datetime

import structlog

from pullgate_policy.names import without_docker_hub
from pullgate_policy.pins import CategoryPin
from pullgate_server.administration.authoring import WriteCall
from pullgate_server.administration.paging import page_of_names
from pullgate_server.clock import Clock
from pullgate_server.errors import CategoryPinNotFoundError
from pullgate_server.snapshot import SnapshotKeeper
from pullgate_server.stores.documents import pin_of_event
from pullgate_server.stores.port import Store

log = structlog.get_logger()


class PinAdministration:
    """Sets pins and takes them back. One that has expired stays until it is taken back, or another is set in place."""

    def __init__(self, store: Store, snapshots: SnapshotKeeper, clock: Clock) -> None:
        self._store = store
        self._snapshots = snapshots
        self._clock = clock

    @property
    def known_as_of(self) -> datetime | None:
        """While the store is out of reach: when what is read was last known to be the newest."""
        return self._snapshots.current.known_as_of

    async def put(self, call: WriteCall, pin: CategoryPin) -> tuple[CategoryPin, int]:
        """Set a pin; returns it as it is kept, and the revision."""
        authorship = call.authorship(self._clock())
        write = self._store.write_pin(pin.organization, pin.name, lambda _: pin, authorship)
        event = (await self._snapshots.carry_out(write)).event
        kept = pin_of_event(event)
        log.info(
            "category pinned",
            organization=kept.organization,
            name=kept.name,
            category=kept.category.name,
            revision=event.revision,
        )
        return kept, event.revision

    async def delete(self, call: WriteCall, organization: str, name: str) -> int:
        """Take a pin back; raises CategoryPinNotFoundError; returns the revision."""
        name = without_docker_hub(name)

        def gone(current: CategoryPin | None) -> None:
            if current is None:
                raise CategoryPinNotFoundError(organization, name)

        write = self._store.write_pin(organization, name, gone, call.authorship(self._clock()))
        event = (await self._snapshots.carry_out(write)).event
        log.info("category pin taken back", organization=organization, name=name, revision=event.revision)
        return event.revision

    def list(self, organization: str | None, asked: int, after: str) -> tuple[Sequence[CategoryPin], str]:
        """A page of the pins that hold for an organization, those for every one among them, or (None) of all.

        They come in the order of their organizations and names, those for every organization first.
        """
        pins = {
            place(pin): pin
            for pin in self._snapshots.current.pins.values()
            if organization is None or pin.organization in {"", organization}
        }
        page, following = page_of_names(list(pins), asked, after)
        return [pins[name] for name in page], following


def place(pin: CategoryPin) -> str:
    """Where a pin stands in lists: no organization has a space or what comes before it, so these sort as the pairs."""
    return f"{pin.organization} {pin.name}"
