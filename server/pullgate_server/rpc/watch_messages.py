"""What subscribers are told, written down: once for all of those who are told the same."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import chain, islice
from typing import Generic, TypeVar

from pullgate.v1 import mapping, policy_watch_pb2
from pullgate_policy.policy_state import StateChange
from pullgate_policy.stored_policy import StoredPolicy
from pullgate_policy.watch import (
    Bookmark,
    CategoriesFound,
    Changed,
    GoAway,
    Opened,
    SnapshotEnd,
    SnapshotPart,
    WatchEvent,
)
from pullgate_server.rpc.prepared import field_header

MAX_MESSAGE_BYTES = 1024 * 1024
"""A larger message is sent in several, so that every client can receive it; a single policy may be larger."""

MAX_SLICE = 500
"""Members or pins that are written down at once."""

MAX_POLICY_BYTES = 32 * 1024 * 1024
MAX_CHANGE_BYTES = 4 * 1024 * 1024
"""What is kept of policies, and of changes, so as not to write it down again."""

OBJECT_BYTES = 2048
"""What is kept of an object besides its bytes: the object itself, which may be held nowhere else any more, about."""

_RESPONSE = policy_watch_pb2.WatchResponse.DESCRIPTOR.fields_by_name
_POLICIES_OF_CHUNK = policy_watch_pb2.SnapshotChunk.DESCRIPTOR.fields_by_name["policies"].number
_POLICIES_OF_CHANGE = policy_watch_pb2.Change.DESCRIPTOR.fields_by_name["policies"].number

T = TypeVar("T")


class _KeptByObject(Generic[T]):
    """The bytes of immutable objects, found again by the very object. Bounded."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[int, tuple[T, tuple[bytes, ...]]] = OrderedDict()
        self._bytes = 0

    def get(self, item: T, write: Callable[[], tuple[bytes, ...]]) -> tuple[bytes, ...]:
        """The bytes of an object, written now if they are not kept."""
        kept = self._kept.get(id(item))
        if kept is not None:
            self._kept.move_to_end(id(item))
            return kept[1]
        written = write()
        # The object is kept too, so that no other one gets its id.
        self._kept[id(item)] = (item, written)
        self._bytes += OBJECT_BYTES + sum(map(len, written))
        while self._bytes > self._most:
            _, (_, forgotten) = self._kept.popitem(last=False)
            self._bytes -= OBJECT_BYTES + sum(map(len, forgotten))
        return written


class WatchMessages:
    """Writes down what subscribers are told."""

    def __init__(self) -> None:
        self._policies: _KeptByObject[StoredPolicy] = _KeptByObject(MAX_POLICY_BYTES)
        self._changes: _KeptByObject[StateChange] = _KeptByObject(MAX_CHANGE_BYTES)
        self._newest: tuple[bytes, ...] = ()
        self._newest_key: tuple[int, int, str, bool] | None = None
        self._newest_change: StateChange | None = None

    def stream(self) -> "WatchStreamMessages":
        """What writes down the events of one stream, in their order."""
        return WatchStreamMessages(self)

    def part(self, part: SnapshotPart) -> Iterator[bytes]:
        """A part of a snapshot, in pieces that fit a message each."""
        policies = (self._policy_field(_POLICIES_OF_CHUNK, stored) for stored in part.policies)
        return _joined(chain(policies, [mapping.snapshot_part_to_message(part).SerializeToString()]))

    def change(self, changed: Changed) -> tuple[bytes, ...]:
        """The messages of a change; the very same for all who were told the same before."""
        key = (id(changed.change), changed.prev_revision, changed.resume_token, changed.catch_up)
        if key != self._newest_key:
            self._newest, self._newest_key = tuple(self._written(changed)), key
            # Held so that no other one gets its id.
            self._newest_change = changed.change
        return self._newest

    def _written(self, changed: Changed) -> Iterator[bytes]:
        bodies = self._bodies(changed)
        for index, body in enumerate(bodies):
            header = policy_watch_pb2.Change(
                revision=changed.change.revision,
                prev_revision=changed.prev_revision,
                resume_token=changed.resume_token,
                catch_up=changed.catch_up,
                continues=index + 1 < len(bodies),
            )
            yield _response("change", header.SerializeToString() + body)

    def _bodies(self, changed: Changed) -> tuple[bytes, ...]:
        """What of a change is the same for everybody, in pieces that fit a message each."""
        return self._changes.get(changed.change, lambda: tuple(_joined(self._fields(changed))))

    def _fields(self, changed: Changed) -> Iterator[bytes]:
        change = changed.change
        for stored in change.policies.values():
            if stored is not None:
                yield self._policy_field(_POLICIES_OF_CHANGE, stored)
        first = replace(changed, change=StateChange(revision=change.revision, policies=change.policies))
        yield mapping.changed_to_message(first).SerializeToString()
        for part in _slices(change):
            rest = Changed(change=part, prev_revision=changed.prev_revision, resume_token=changed.resume_token)
            yield mapping.changed_to_message(rest).SerializeToString()

    def _policy_field(self, number: int, stored: StoredPolicy) -> bytes:
        (data,) = self._policies.get(stored, lambda: (mapping.stored_policy_to_message(stored).SerializeToString(),))
        return field_header(number, len(data)) + data


class WatchStreamMessages:
    """Writes down the events of one stream, in their order."""

    def __init__(self, messages: WatchMessages) -> None:
        self._messages = messages
        self._digest = hashlib.sha256()

    def write(self, event: WatchEvent) -> Iterator[bytes]:
        """The WatchResponse messages of an event."""
        match event:
            case Opened():
                yield _response("opened", mapping.opened_to_message(event).SerializeToString())
            case SnapshotPart():
                for piece in self._messages.part(event):
                    data = _response("snapshot_chunk", piece)
                    self._digest.update(data)
                    yield data
            case SnapshotEnd():
                end = policy_watch_pb2.SnapshotEnd(
                    revision=event.revision,
                    count=event.count,
                    digest=self._digest.digest(),
                    resume_token=event.resume_token,
                )
                self._digest = hashlib.sha256()
                yield _response("snapshot_end", end.SerializeToString())
            case Changed():
                yield from self._messages.change(event)
            case CategoriesFound():
                update = policy_watch_pb2.CategoryUpdate(
                    categories=map(mapping.known_category_to_message, event.categories)
                )
                yield _response("category_update", update.SerializeToString())
            case Bookmark():
                yield _response("bookmark", mapping.bookmark_to_message(event).SerializeToString())
            case GoAway():
                yield _response("go_away", mapping.go_away_to_message(event).SerializeToString())


def _slices(change: StateChange) -> Iterator[StateChange]:
    """The members and pins of a change, some at a time."""
    for organization, members in change.members.items():
        entries = iter(members.items())
        while part := dict(islice(entries, MAX_SLICE)):
            yield StateChange(revision=change.revision, members={organization: part})
    pins = iter(change.pins.items())
    while some := dict(islice(pins, MAX_SLICE)):
        yield StateChange(revision=change.revision, pins=some)


def _joined(fields: Iterable[bytes]) -> Iterator[bytes]:
    """As many fields at a time as fit a message."""
    piece: list[bytes] = []
    size = 0
    for data in fields:
        if piece and size + len(data) > MAX_MESSAGE_BYTES:
            yield b"".join(piece)
            piece, size = [], 0
        piece.append(data)
        size += len(data)
    yield b"".join(piece)


def _response(event: str, data: bytes) -> bytes:
    return field_header(_RESPONSE[event].number, len(data)) + data
