"""What subscribers to policies are told: the values of the watch contract, in the order in which they come.

A stream opens with `Opened`, and a snapshot where it is not resumed: parts, and an end. Then come changes, each whole,
each naming the revision that was told before it, and bookmarks at regular times.
"""

import enum
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from pullgate_policy.caller import Caller
from pullgate_policy.category_lookup import KnownCategory
from pullgate_policy.members import Member
from pullgate_policy.pins import CategoryPin
from pullgate_policy.policy_state import StateChange
from pullgate_policy.stored_policy import StoredPolicy

MISSED_BOOKMARKS = 3
"""Who misses so many bookmarks should take what they know for stale."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """The subscription is open.

    Attributes:
        subscription_id: names it.
        store_id: names the store; another one is another history.
        resumed: whether the stream goes on from the resume token; otherwise a snapshot follows.
        bookmark_interval: how often a bookmark comes.
        caller: who subscribed, as the service sees it.
        newest_revision: of the store.
    """

    subscription_id: str
    store_id: str
    resumed: bool
    bookmark_interval: timedelta
    caller: Caller
    newest_revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotPart:
    """A part of a snapshot.

    Attributes:
        members: each with the organization whose list it is on.
    """

    policies: tuple[StoredPolicy, ...] = ()
    members: tuple[tuple[str, Member], ...] = ()
    pins: tuple[CategoryPin, ...] = ()

    def __len__(self) -> int:
        return len(self.policies) + len(self.members) + len(self.pins)


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotEnd:
    """The end of a snapshot, which holds from here on.

    Attributes:
        revision: all of it is as of this one.
        count: how many policies, members and pins there are.
        digest: SHA-256 over the messages of the parts as they were sent.
    """

    revision: int
    count: int
    resume_token: str
    digest: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """What one revision changed, as far as the subscriber may see it.

    Attributes:
        change: as of which revision, and what.
        prev_revision: the one that the subscriber was told last.
        catch_up: whether these are several revisions in one, each thing as it is at the last of them.
        added: of the organizations with a policy in it, those that had none.
        written_at: of several revisions the last; None where that is not known.
        author: the same.
        comment: the same.
    """

    change: StateChange
    prev_revision: int
    resume_token: str
    catch_up: bool = False
    added: frozenset[str] = field(default_factory=frozenset)
    written_at: datetime | None = None
    author: str = ""
    comment: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoriesFound:
    """Categories that were found, or are others than before."""

    categories: tuple[KnownCategory, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bookmark:
    """Nothing is missing up to here.

    Attributes:
        revision: the newest one of the store.
        server_time: the server's clock.
        known_as_of: while the service's database is out of reach: when this was last known to be the newest revision.
    """

    revision: int
    resume_token: str
    server_time: datetime
    known_as_of: datetime | None = None


class GoAwayReason(enum.Enum):
    """Why a stream ends."""

    AGE = "age"
    """It has been open for long: whoever comes back may reach another server."""

    STOPPING = "stopping"
    """The server stops."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GoAway:
    """The stream ends with this.

    Attributes:
        reason: None for one that is not known here.
        reconnect_after: come back after this time.
    """

    reason: GoAwayReason | None
    reconnect_after: timedelta


WatchEvent = Opened | SnapshotPart | SnapshotEnd | Changed | CategoriesFound | Bookmark | GoAway
"""Anything that a subscriber is told."""
