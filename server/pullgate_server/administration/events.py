"""Administrative events, listed and as they are written."""

from collections.abc import AsyncIterator, Sequence

from pullgate_policy.errors import FieldInvalidError
from pullgate_policy.event import AdministrativeEvent, EventSubject
from pullgate_server.administration.event_pages import page_of_events
from pullgate_server.administration.paging import page_size, revision_of_token
from pullgate_server.snapshot import SnapshotKeeper
from pullgate_server.stores.port import EventFilter, Store

_AT_ONCE = 100
"""Events that a stream reads at a time."""


class EventLog:
    """Reads events."""

    def __init__(self, store: Store, snapshots: SnapshotKeeper) -> None:
        self._store = store
        self._snapshots = snapshots

    async def list(
        self, organization: str | None, subject: EventSubject | None, name: str | None, asked: int, page_token: str
    ) -> tuple[Sequence[AdministrativeEvent], str]:
        """A page of events, the newest first."""
        size, before = page_size(asked), revision_of_token(page_token)
        wanted = EventFilter(organization=organization, subject=subject, name=name, before=before)
        page, more = await page_of_events(self._store, wanted, size)
        return page, str(page[-1].revision) if more else ""

    async def follow(self, organization: str | None, since: int | None) -> AsyncIterator[AdministrativeEvent]:
        """Every event after revision `since` (None: from now on), in their order, and then each as it is written."""
        if since is not None and since < -1:
            raise FieldInvalidError("since_revision", f"{since} is no revision")
        snapshot = self._snapshots.current
        told = snapshot.revision if since is None else since
        while True:
            wanted = EventFilter(organization=organization, after=told)
            events, more = await page_of_events(self._store, wanted, _AT_ONCE)
            for event in events:
                yield event
                told = event.revision
            if not more:
                snapshot = await self._snapshots.swapped(max(told, snapshot.revision))
