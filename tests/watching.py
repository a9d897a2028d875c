"""A subscriber for tests, as strict as the contract: what it is told it puts together, and nothing may be missing."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc

from pullgate.v1 import mapping
from pullgate.v1.policy_watch_pb2 import WatchRequest, WatchResponse
from pullgate_policy.policy_state import PolicyState
from tests.conftest import SOON, Service

WATCH = "/pullgate.v1.PolicyWatchService/Watch"

FLOW_CONTROL = (
    # A window that does not grow, so that a stream whose messages are not read soon stops.
    ("grpc.http2.lookahead_bytes", 65_536),
    ("grpc.http2.bdp_probe", 0),
)
"""Options of a channel on whose streams little is under way."""


@dataclass
class Known:
    """Policies, members and pins, as messages, by what tells them from others of their sort."""

    policies: dict[str, Any] = field(default_factory=dict)
    members: dict[tuple[str, str], Any] = field(default_factory=dict)
    pins: dict[tuple[str, str], Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.policies) + len(self.members) + len(self.pins)

    def put(self, message: Any) -> int:
        """Take in the entries of a chunk or of a change; returns how many there were."""
        self.policies.update((stored.policy.organization, stored) for stored in message.policies)
        self.members.update(((entry.organization, entry.member.username), entry.member) for entry in message.members)
        self.pins.update(((pin.organization, pin.name), pin) for pin in message.pins)
        return len(message.policies) + len(message.members) + len(message.pins)

    def remove(self, message: Any) -> None:
        """Take away what a change says is gone."""
        for organization in message.removed_policies:
            self.policies.pop(organization, None)
        for entry in message.removed_members:
            self.members.pop((entry.organization, entry.username), None)
        for pin in message.removed_pins:
            self.pins.pop((pin.organization, pin.name), None)


def known_of(state: PolicyState, shows: Callable[[str], bool] = lambda _: True) -> Known:
    """What of a server's state is in view."""
    return Known(
        policies={name: mapping.stored_policy_to_message(item) for name, item in state.stored.items() if shows(name)},
        members={
            (organization, username): mapping.member_to_message(member)
            for organization, members in state.members.items()
            if shows(organization)
            for username, member in members.items()
        },
        pins={key: mapping.pin_to_message(pin) for key, pin in state.pins.items() if not key[0] or shows(key[0])},
    )


class Watcher:
    """One subscription: what was told, and what it comes to.

    Attributes:
        told: every message, in order.
        known: what it comes to, as of the newest revision that was told whole.
        revision: that one; 0 before there is any.
        token: the newest resume token.
        categories: the newest word on each name.
    """

    def __init__(self, stream: Any, resumed_from: "Watcher | None" = None) -> None:
        self.stream = stream
        self.told: list[WatchResponse] = []
        self.known: Known = Known() if resumed_from is None else resumed_from.known
        self.revision: int = 0 if resumed_from is None else resumed_from.revision
        self.token = ""
        self.categories: dict[str, Any] = {}
        self._chunks, self._digest, self._count = Known(), hashlib.sha256(), 0
        self._begun: list[Any] = []

    @property
    def opened(self) -> Any:
        """The first message."""
        return self.told[0].opened

    def of(self, sort: str) -> list[Any]:
        """What was told of a sort."""
        return [getattr(message, sort) for message in self.told if message.WhichOneof("event") == sort]

    @property
    def sorts(self) -> list[str | None]:
        """The sorts of all that was told, but for bookmarks."""
        return [sort for message in self.told if (sort := message.WhichOneof("event")) != "bookmark"]

    async def next(self) -> WatchResponse | None:
        """The next message; None at the end. Raises how the stream ended otherwise."""
        async with asyncio.timeout(SOON):
            data = await self.stream.read()
        if data is grpc.aio.EOF:
            return None
        message = WatchResponse.FromString(data)
        self.told.append(message)
        self._take(message, data)
        return message

    async def until(self, sort: str) -> Any:
        """Read up to and with the next message of a sort; returns what it says."""
        while (message := await self.next()) is not None:
            if message.WhichOneof("event") == sort:
                return getattr(message, sort)
        raise AssertionError(f"the stream ended before any {sort}")

    async def up_to(self, revision: int) -> "Watcher":
        """Read until a revision was told, and something before which nothing of it is missing."""
        while self.revision < revision:
            assert await self.next() is not None, f"the stream ended at {self.revision}, before {revision}"
        return self

    async def to_the_end(self) -> "Watcher":
        """Read until the stream ends; raises how, unless it is OK."""
        while await self.next() is not None:
            pass
        return self

    def _take(self, message: WatchResponse, data: bytes) -> None:
        sort = message.WhichOneof("event")
        assert (sort == "opened") == (len(self.told) == 1), "Opened comes first, and once"
        match sort:
            case "snapshot_chunk":
                self._count += self._chunks.put(message.snapshot_chunk)
                self._digest.update(data)
            case "snapshot_end":
                end = message.snapshot_end
                assert self._count == len(self._chunks) == end.count
                assert self._digest.digest() == end.digest
                self.known, self.revision, self.token = self._chunks, end.revision, end.resume_token
                self._chunks, self._digest, self._count = Known(), hashlib.sha256(), 0
            case "change":
                self._begun.append(message.change)
                if not message.change.continues:
                    self._take_change(self._begun)
                    self._begun = []
            case "bookmark":
                assert message.bookmark.revision >= self.revision, "a bookmark went back"
                self.revision = message.bookmark.revision
                self.token = message.bookmark.resume_token or self.token
            case "category_update":
                self.categories.update((known.name, known) for known in message.category_update.categories)
        assert not self._begun or sort == "change", "something came amid a change"

    def _take_change(self, parts: list[Any]) -> None:
        before = set(self.known.policies)
        for part in parts:
            assert part.prev_revision == self.revision < part.revision, f"told {self.revision}, and then {part}"
            self.known.remove(part)
            self.known.put(part)
        if not parts[0].catch_up:
            told = {stored.policy.organization for part in parts for stored in part.policies}
            assert sorted(told - before) == [name for part in parts for name in part.added]
        self.revision, self.token = parts[-1].revision, parts[-1].resume_token


@asynccontextmanager
async def watching(
    service: Service,
    request: WatchRequest | None = None,
    *,
    secret: str = "",
    after: Watcher | None = None,
    channel: grpc.aio.Channel | None = None,
    **fields: Any,
) -> AsyncIterator[Watcher]:
    """Subscribe, with the operator's token if no other is given.

    Args:
        after: the subscription to resume.
        fields: of the request.
    """
    if after is not None:
        fields.setdefault("resume_token", after.token)
    call: Any = (channel or service.channel).unary_stream(WATCH, request_serializer=WatchRequest.SerializeToString)
    stream = call(request or WatchRequest(**fields), metadata=(("authorization", f"Bearer {secret or service.token}"),))
    try:
        yield Watcher(stream, after)
    finally:
        stream.cancel()


async def begun(watcher: Watcher) -> Watcher:
    """The same, once its snapshot is whole."""
    await watcher.until("snapshot_end")
    return watcher
