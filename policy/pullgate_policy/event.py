"""Administrative events: who changed what, when, and from where."""

import enum
from dataclasses import dataclass
from datetime import datetime

from pullgate_policy.document import Plain


class EventSubject(enum.Enum):
    """What sort of thing an administrative write changes."""

    POLICY = "policy"
    """An organization's policy."""

    CATEGORY_PIN = "category_pin"
    """A pin."""

    MEMBERS = "members"
    """An organization's member list; before and after hold the entries that changed."""

    TOKEN = "token"
    """A token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdministrativeEvent:
    """One administrative write. Written in the transaction of the write itself, and never changed.

    Attributes:
        revision: the one that the write made.
        organization: whose the thing is; empty for what belongs to none.
        name: which one: the organization of a policy or member list, the pinned name, or the token's id.
        before: as it was, as plain data; None where it was not there.
        after: as it is since; None where it is gone.
        author: the name of the caller that wrote it.
        caller_id: that caller's id.
        origin: the network address that the call came from.
        documents_left_out: whether before and after were too large for a message, and are kept by the service alone.
    """

    revision: int
    subject: EventSubject
    organization: str
    name: str
    before: dict[str, Plain] | None
    after: dict[str, Plain] | None
    author: str
    caller_id: str
    origin: str
    comment: str
    written_at: datetime
    documents_left_out: bool = False
