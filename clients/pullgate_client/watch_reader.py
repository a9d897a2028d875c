"""Reads a stream of PolicyWatchService/Watch: the messages become values, and what is incomplete is refused."""

import hashlib
from collections.abc import Iterable
from dataclasses import replace

from google.protobuf.message import DecodeError

from pullgate.v1 import mapping, policy_watch_pb2
from pullgate_client.errors import BrokenStreamError, UnusableUpdateError
from pullgate_policy import PullgateError
from pullgate_policy.members import Member
from pullgate_policy.pins import CategoryPin, PinKey
from pullgate_policy.policy_state import PolicyState, StateChange
from pullgate_policy.stored_policy import StoredPolicy
from pullgate_policy.watch import Bookmark, Changed, SnapshotEnd, SnapshotPart, WatchEvent


class WatchReader:
    """Reads one stream, message by message."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._count = 0
        self._begun: policy_watch_pb2.Change | None = None

    def read(self, data: bytes) -> WatchEvent | None:
        """What a message says; None where more of it follows, or where it is nothing that is known here.

        Raises:
            BrokenStreamError: something is missing.
            UnusableUpdateError: it says something that cannot be used here.
        """
        try:
            message = policy_watch_pb2.WatchResponse.FromString(data)
        except DecodeError as error:
            raise BrokenStreamError("a message of the stream cannot be read") from error
        match message.WhichOneof("event"):
            case "snapshot_chunk":
                self._digest.update(data)
                chunk = message.snapshot_chunk
                self._count += len(chunk.policies) + len(chunk.members) + len(chunk.pins)
            case "snapshot_end":
                self._check(message.snapshot_end)
            case "change":
                continues = message.change.continues
                if self._begun is not None:
                    self._begun.MergeFrom(message.change)
                    message.change.CopyFrom(self._begun)
                self._begun = message.change if continues else None
                if continues:
                    return None
        try:
            return mapping.watch_event_from_message(message)
        except PullgateError as error:
            raise UnusableUpdateError(
                f"the service sent what cannot be used here; is it newer than this client? {error}"
            ) from error

    def _check(self, end: policy_watch_pb2.SnapshotEnd) -> None:
        if self._count != end.count:
            raise BrokenStreamError(f"a snapshot of {end.count} entries arrived with {self._count}")
        if self._digest.digest() != end.digest:
            raise BrokenStreamError("a snapshot arrived otherwise than it was sent: its digest is another one")
        self._digest, self._count = hashlib.sha256(), 0


class WatchedState:
    """What a subscriber was told, put together: always whole, as of one revision.

    Attributes:
        state: the newest.
        resume_token: to go on from there; empty for a beginning.
    """

    def __init__(self, state: PolicyState | None = None, resume_token: str = "") -> None:
        self.state = state or PolicyState()
        self.resume_token = resume_token
        self._parts: list[SnapshotPart] = []

    def take(self, event: WatchEvent) -> None:
        """Take in what was told next; raises BrokenStreamError if something before it is missing."""
        match event:
            case SnapshotPart():
                self._parts.append(event)
            case SnapshotEnd():
                self.state = PolicyState().with_change(_joined(self._parts, event.revision))
                self._parts = []
                self.resume_token = event.resume_token
            case Changed():
                if event.prev_revision != self.state.revision:
                    raise BrokenStreamError(
                        f"revision {event.change.revision} follows {event.prev_revision}, and "
                        f"{self.state.revision} was the last that arrived"
                    )
                self.state = self.state.with_change(event.change)
                self.resume_token = event.resume_token
            case Bookmark():
                if event.revision < self.state.revision:
                    raise BrokenStreamError(f"a bookmark says {event.revision} after {self.state.revision}")
                if event.revision > self.state.revision:
                    self.state = replace(self.state, revision=event.revision)
                self.resume_token = event.resume_token or self.resume_token
            case _:
                pass

    def forget_where(self) -> None:
        """Begin with a snapshot next time."""
        self.resume_token = ""

    def interrupted(self) -> None:
        """Forget what was told of a snapshot whose end did not come."""
        self._parts = []


def _joined(parts: Iterable[SnapshotPart], revision: int) -> StateChange:
    policies: dict[str, StoredPolicy | None] = {}
    pins: dict[PinKey, CategoryPin | None] = {}
    members: dict[str, dict[str, Member | None]] = {}
    for part in parts:
        policies.update((stored.policy.organization, stored) for stored in part.policies)
        pins.update(((pin.organization, pin.name), pin) for pin in part.pins)
        for organization, member in part.members:
            members.setdefault(organization, {})[member.username] = member
    return StateChange(revision=revision, policies=policies, pins=pins, members=members)
