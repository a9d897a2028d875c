"""The store port, and the values that pass through it.

Every committed write has a number of its own, its revision, taken inside the transaction: revision order is commit
order. A write and its administrative event are committed together or not at all.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from pullgate_policy import Policy
from pullgate_policy.access_token import AccessToken
from pullgate_policy.event import AdministrativeEvent, EventSubject
from pullgate_policy.members import MemberList
from pullgate_policy.pins import CategoryPin
from pullgate_policy.policy_state import StateChange
from pullgate_policy.stored_policy import StoredPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredToken:
    """A token as it is kept: its secret only as a keyed hash (token_secrets.py).

    Attributes:
        former_hash: of the secret before the last rotation; empty if there is none.
        former_until: until when the former secret is still accepted.
    """

    token: AccessToken
    secret_hash: str
    former_hash: str = ""
    former_until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteRequest:
    """What makes a retried write happen once.

    Attributes:
        id: the caller's own name for the write.
        digest: tells whether it is the same write.
    """

    id: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorship:
    """Who writes, when, and from where.

    Attributes:
        author: the caller's name.
        caller_id: the caller's id.
        origin: the network address of the call.
        request: None for a write that is not to be recognized when it is repeated.
    """

    author: str
    caller_id: str
    origin: str
    written_at: datetime
    comment: str = ""
    request: WriteRequest | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What came of a write.

    Attributes:
        event: the one that the write made.
        follows: the fingerprint of the write before it; empty where there was none, and for a repeated one.
        repeated: whether the write had happened before, under the same request id.
    """

    event: AdministrativeEvent
    follows: str = ""
    repeated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """Which events are wanted: those that fit all of what is not None.

    Attributes:
        before: earlier than this revision.
        after: later than this revision.
    """

    organization: str | None = None
    subject: EventSubject | None = None
    name: str | None = None
    before: int | None = None
    after: int | None = None

    def admits(self, event: AdministrativeEvent) -> bool:
        """Whether the event is wanted."""
        return (
            self.organization in {None, event.organization}
            and self.subject in {None, event.subject}
            and self.name in {None, event.name}
            and (self.before is None or event.revision < self.before)
            and (self.after is None or event.revision > self.after)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionChange(StateChange):
    """What one write changed.

    Attributes:
        fingerprint: tells the write from others of its revision, as in a store that was restored and went on.
        comment: the author's note.
        added: of the organizations with a policy in it, those that had none.
    """

    fingerprint: str
    author: str
    written_at: datetime
    comment: str
    added: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreContents(StateChange):
    """What was written after some revision, all of it as of one revision.

    Attributes:
        revision: of the newest write.
        newest: the fingerprint of the newest write.
        at_since: the same of the write at the revision that was asked from.
        tokens: by id; tokens that have ended stay.
        steps: each write after that revision on its own; none where everything was read.
    """

    newest: str
    at_since: str
    tokens: Mapping[str, StoredToken]
    steps: tuple[RevisionChange, ...] = ()


class Store(Protocol):
    """Keeps policies, pins, member lists, tokens, and the events of their changes.

    Every method raises StoreUnavailableError when the database cannot be reached; then nothing was written. A write
    raises OutcomeUnknownError if the connection breaks during the commit.

    A write is a function from what is there to what is to be there: it is called inside the transaction, after every
    write before it and before every write after it, and what it raises undoes the transaction and takes no revision.
    With a request that was carried out before nothing is written and the former event is given; the same id with
    another digest is a RequestIdReusedError.
    """

    async def read(self, since: int | None) -> StoreContents:
        """What was written after revision `since`, or everything."""
        ...

    async def identity(self) -> str:
        """Names the store; the same for ever, and another for every other store, but for copies of this one."""
        ...

    async def revision(self) -> int:
        """The revision of the newest write; cheap, and a sign of life."""
        ...

    async def write_policy(
        self, organization: str, change: Callable[[StoredPolicy | None], Policy | None], authorship: Authorship
    ) -> Written:
        """Write an organization's policy, or take it away."""
        ...

    async def write_pin(
        self,
        organization: str,
        name: str,
        change: Callable[[CategoryPin | None], CategoryPin | None],
        authorship: Authorship,
    ) -> Written:
        """Set an organization's pin, or one for every organization (empty), or take it back."""
        ...

    async def write_members(
        self, organization: str, change: Callable[[MemberList], MemberList], authorship: Authorship
    ) -> Written | None:
        """Write an organization's member list; None where that changed nothing, and so made no revision."""
        ...

    async def write_token(
        self, token_id: str, change: Callable[[StoredToken | None], StoredToken], authorship: Authorship
    ) -> Written:
        """Write a token."""
        ...

    async def begin(self, token: StoredToken) -> bool:
        """Keep the first token, as part of the store's beginning at revision 0.

        Returns:
            False if there is any token already, or the store has begun before.
        """
        ...

    async def adopt_token_key(self, check: str, rehash: Callable[[str], str]) -> str:
        """Bind the store to the key that token hashes are made with, once.

        Args:
            check: what tells this key from others.
            rehash: from the hash of a token that was kept before there was a key to the keyed one.

        Returns:
            The check that the store is bound to: another one where it was bound before to another key.
        """
        ...

    async def events(self, wanted: EventFilter, limit: int) -> Sequence[AdministrativeEvent]:
        """At most `limit` events: the newest first, or with `after` those after it, the oldest first."""
        ...

    async def event_sizes(self, wanted: EventFilter, limit: int) -> Sequence[int]:
        """About how many characters the events have that `events` gives, each."""
        ...

    async def tokens_used(self, used: Mapping[str, datetime]) -> None:
        """Note when tokens were last used. No revision, no event."""
        ...

    async def tokens(self) -> Sequence[StoredToken]:
        """All tokens, with when they were last used, in the order of their making."""
        ...

    async def close(self) -> None:
        """Let go of connections; the store is not used afterwards."""
        ...
