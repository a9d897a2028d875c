"""Pages of events, as large as a server can read at once and a client can receive."""

from collections.abc import Sequence

from pullgate_policy.event import AdministrativeEvent
from pullgate_server.stores.port import EventFilter, Store

MAX_PAGE_CHARACTERS = 2 * 1024 * 1024
"""What the events of a page have together, unless a single one has more."""


async def page_of_events(store: Store, wanted: EventFilter, limit: int) -> tuple[Sequence[AdministrativeEvent], bool]:
    """At most `limit` events, as the store gives them, and whether there are more."""
    sizes = await store.event_sizes(wanted, limit + 1)
    number = total = 0
    for size in sizes[:limit]:
        total += size
        if number and total > MAX_PAGE_CHARACTERS:
            break
        number += 1
    events = await store.events(wanted, number) if number else []
    return events, number < len(sizes)
