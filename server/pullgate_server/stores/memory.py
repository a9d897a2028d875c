"""A store in memory: nothing survives the process. For tests and for trying things out."""

import dataclasses
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from pullgate_policy import Policy
from pullgate_policy.event import AdministrativeEvent, EventSubject
from pullgate_policy.members import MemberList
from pullgate_policy.pins import CategoryPin, PinKey
from pullgate_policy.stored_policy import StoredPolicy
from pullgate_server.errors import RequestIdReusedError, StoreUnavailableError
from pullgate_server.stores.documents import (
    Document,
    changed_entries,
    contents_of_events,
    event_of,
    fingerprint,
    first_event,
    pin_document,
    pin_of_event,
    policy_document,
    policy_of_event,
    token_document,
)
from pullgate_server.stores.port import (
    Authorship,
    EventFilter,
    StoreContents,
    StoredToken,
    WriteRequest,
    Written,
)


class MemoryStore:
    """Implements `Store`.

    Attributes:
        available: set to False to behave like a database that cannot be reached.
    """

    def __init__(self) -> None:
        self.available = True
        self._policies: dict[str, StoredPolicy] = {}
        self._pins: dict[PinKey, CategoryPin] = {}
        self._members: dict[str, MemberList] = {}
        self._tokens: dict[str, StoredToken] = {}
        self._events: list[AdministrativeEvent] = []
        self._requests: dict[tuple[str, str], tuple[WriteRequest, AdministrativeEvent]] = {}
        self._key_check = ""
        self._identity = uuid.uuid4().hex

    async def read(self, since: int | None) -> StoreContents:
        """What was written after `since`, or everything."""
        self._reach()
        if since is None:
            return StoreContents(
                revision=self._revision(),
                newest=fingerprint(self._events[-1] if self._events else None),
                at_since="",
                policies=dict(self._policies),
                pins=dict(self._pins),
                members=dict(self._members),
                tokens=dict(self._tokens),
            )
        events = [event for event in self._events if event.revision >= since]
        return contents_of_events(self._revision(), since, events, self._tokens)

    async def identity(self) -> str:
        """Names the store."""
        self._reach()
        return self._identity

    async def revision(self) -> int:
        """The revision of the newest write."""
        self._reach()
        return self._revision()

    async def write_policy(
        self, organization: str, change: Callable[[StoredPolicy | None], Policy | None], authorship: Authorship
    ) -> Written:
        """Write an organization's policy, or take it away."""
        if done := self._done(authorship):
            return done
        current = self._policies.get(organization)
        policy = change(current)
        before = None if current is None else policy_document(current.policy)
        after = None if policy is None else policy_document(policy)
        written = self._note(EventSubject.POLICY, organization, organization, before, after, authorship)
        if policy is None:
            self._policies.pop(organization, None)
        else:
            self._policies[organization] = policy_of_event(written.event)
        return written

    async def write_pin(
        self,
        organization: str,
        name: str,
        change: Callable[[CategoryPin | None], CategoryPin | None],
        authorship: Authorship,
    ) -> Written:
        """Set a pin, or take it back."""
        if done := self._done(authorship):
            return done
        current = self._pins.get((organization, name))
        pin = change(current)
        before, after = (None if item is None else pin_document(item) for item in (current, pin))
        written = self._note(EventSubject.CATEGORY_PIN, organization, name, before, after, authorship)
        if pin is None:
            self._pins.pop((organization, name), None)
        else:
            self._pins[organization, name] = pin_of_event(written.event)
        return written

    async def write_members(
        self, organization: str, change: Callable[[MemberList], MemberList], authorship: Authorship
    ) -> Written | None:
        """Write an organization's member list."""
        if done := self._done(authorship):
            return done
        current = self._members.get(organization, {})
        members = change(current)
        before, after = changed_entries(current, members)
        if not after:
            return None
        self._members[organization] = dict(members)
        if not members:
            del self._members[organization]
        return self._note(EventSubject.MEMBERS, organization, organization, before, after, authorship)

    async def write_token(
        self, token_id: str, change: Callable[[StoredToken | None], StoredToken], authorship: Authorship
    ) -> Written:
        """Write a token."""
        if done := self._done(authorship):
            return done
        current = self._tokens.get(token_id)
        token = self._tokens[token_id] = change(current)
        before = None if current is None else token_document(current)
        whose = token.token.organization
        return self._note(EventSubject.TOKEN, whose, token_id, before, token_document(token), authorship)

    async def begin(self, token: StoredToken) -> bool:
        """Keep the first token."""
        self._reach()
        if self._tokens or any(event.revision == 0 for event in self._events):
            return False
        self._tokens[token.token.id] = token
        self._events.insert(0, first_event(token))
        return True

    async def adopt_token_key(self, check: str, rehash: Callable[[str], str]) -> str:  # noqa: ARG002 - nothing is older
        """Bind the store to a key."""
        self._reach()
        self._key_check = self._key_check or check
        return self._key_check

    async def events(self, wanted: EventFilter, limit: int) -> Sequence[AdministrativeEvent]:
        """Events that fit."""
        self._reach()
        fitting = [event for event in self._events if wanted.admits(event)]
        return fitting[:limit] if wanted.after is not None else fitting[::-1][:limit]

    async def event_sizes(self, wanted: EventFilter, limit: int) -> Sequence[int]:
        """About how large they are."""
        return [len(str(event.before)) + len(str(event.after)) for event in await self.events(wanted, limit)]

    async def tokens_used(self, used: Mapping[str, datetime]) -> None:
        """Note when tokens were last used."""
        self._reach()
        for token_id, moment in used.items():
            if stored := self._tokens.get(token_id):
                token = dataclasses.replace(stored.token, last_used_at=moment)
                self._tokens[token_id] = dataclasses.replace(stored, token=token)

    async def tokens(self) -> Sequence[StoredToken]:
        """All tokens."""
        self._reach()
        return sorted(self._tokens.values(), key=lambda stored: (stored.token.created_at, stored.token.id))

    async def close(self) -> None:
        """Nothing to let go of."""

    def _reach(self) -> None:
        if not self.available:
            raise StoreUnavailableError

    def _revision(self) -> int:
        return self._events[-1].revision if self._events else 0

    def _done(self, authorship: Authorship) -> Written | None:
        """The write that the same request made before."""
        self._reach()
        request = authorship.request
        done = self._requests.get((authorship.caller_id, request.id)) if request else None
        if done is None:
            return None
        if done[0] != request:
            raise RequestIdReusedError
        return Written(event=done[1], repeated=True)

    def _note(
        self,
        subject: EventSubject,
        organization: str,
        name: str,
        before: Document | None,
        after: Document | None,
        authorship: Authorship,
    ) -> Written:
        event = event_of(self._revision() + 1, subject, organization, name, before, after, authorship)
        follows = fingerprint(self._events[-1] if self._events else None)
        self._events.append(event)
        if authorship.request is not None:
            self._requests[authorship.caller_id, authorship.request.id] = (authorship.request, event)
        return Written(event=event, follows=follows)
