"""The port of the list of subscribers, which servers on one database share, and a list in memory.

Not part of any revision: what is lost with a server is told anew by the subscribers that come back.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

FORGOTTEN_AFTER = timedelta(seconds=60)
"""What a server has left behind that was not seen for so long is taken away, and so are subscribers that left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriberRecord:
    """A subscription as it is kept.

    Attributes:
        caller_id: who may report on it.
        watched: the organizations that were asked for; empty for all that the caller may watch.
        waiting_since: since when there has been a revision that it does not say it has applied.
        applied_revision: 0 where it has said nothing.
        left_at: since when it has not been connected any more.
    """

    id: str
    server: str
    name: str
    caller_id: str
    caller: str
    organization: str
    watched: tuple[str, ...]
    connected_at: datetime
    sent_revision: int
    waiting_since: datetime | None
    applied_revision: int
    applied_at: datetime | None
    error: str
    left_at: datetime | None = None

    def with_report_of(self, other: "SubscriberRecord") -> "SubscriberRecord":
        """This record with what the subscriber said last, if another server was told later."""
        if other.applied_at is None or (self.applied_at is not None and self.applied_at >= other.applied_at):
            return self
        has_applied = other.applied_revision >= self.sent_revision
        return replace(
            self,
            applied_revision=max(self.applied_revision, other.applied_revision),
            applied_at=other.applied_at,
            error=other.error,
            waiting_since=None if has_applied else self.waiting_since,
        )


class SubscriberList(Protocol):
    """Keeps who subscribes. Every method raises StoreUnavailableError when the database cannot be reached."""

    async def keep(
        self, server: str, now: datetime, records: Sequence[SubscriberRecord], gone: Collection[str]
    ) -> None:
        """Note that a server is there, and what it knows newer; forget servers that are not seen.

        Args:
            records: its own subscribers that are not as they were; and with what they said here, other servers'.
            gone: its own that are to be forgotten.
        """
        ...

    async def find(self, subscription_ids: Collection[str]) -> Mapping[str, SubscriberRecord]:
        """What is kept of subscriptions, of which some may be known to nobody."""
        ...

    async def all(self, organization: str | None, now: datetime) -> Sequence[SubscriberRecord]:
        """Those of an organization, or (None) all, in the order of their names, but for those of forgotten servers."""
        ...


def merged(
    server: str, records: Iterable[SubscriberRecord], known: Mapping[str, SubscriberRecord]
) -> Mapping[str, SubscriberRecord]:
    """What is to be kept of subscriptions after a server has said what it knows newer."""
    kept: dict[str, SubscriberRecord] = {}
    for record in records:
        former = known.get(record.id)
        if record.server == server:
            kept[record.id] = record if former is None else record.with_report_of(former)
        elif former is not None:
            # The rest is its own server's to say, also that it is gone.
            kept[record.id] = former.with_report_of(record)
    return kept


class MemorySubscriberList:
    """Implements `SubscriberList` for servers in one process."""

    def __init__(self) -> None:
        self._records: dict[str, SubscriberRecord] = {}
        self._seen: dict[str, datetime] = {}

    async def keep(
        self, server: str, now: datetime, records: Sequence[SubscriberRecord], gone: Collection[str]
    ) -> None:
        """Note that a server is there, and what it knows newer."""
        self._seen[server] = now
        self._records.update(merged(server, records, self._records))
        for subscription_id in gone:
            self._records.pop(subscription_id, None)
        self._seen = {name: seen for name, seen in self._seen.items() if seen > now - FORGOTTEN_AFTER}
        self._records = {name: item for name, item in self._records.items() if item.server in self._seen}

    async def find(self, subscription_ids: Collection[str]) -> Mapping[str, SubscriberRecord]:
        """What is kept of subscriptions."""
        return {name: self._records[name] for name in subscription_ids if name in self._records}

    async def all(self, organization: str | None, now: datetime) -> Sequence[SubscriberRecord]:
        """Those of an organization, or all."""
        records = (
            item
            for item in self._records.values()
            if organization in {None, item.organization} and self._seen[item.server] > now - FORGOTTEN_AFTER
        )
        return sorted(records, key=lambda item: (item.name, item.id))
