"""Subscribers that cost next to nothing: HTTP/2 read as frames, so that what is measured is the service.

A thousand real clients on one machine would measure themselves. Run by `benchmarks.watch`; what it prints is there.
"""

import asyncio
import struct
import sys
import time
from collections.abc import Iterator
from functools import partial

from pullgate.v1.policy_watch_pb2 import WatchRequest, WatchResponse

STREAMS_PER_CONNECTION = 100
PATH = "/pullgate.v1.PolicyWatchService/Watch"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RESET, SETTINGS, PING, GO_AWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
ACKNOWLEDGED, END_STREAM, END_HEADERS = 1, 1, 4
MOST = 2**31 - 1
DEFAULT_WINDOW = 65_535


class Arrivals:
    """Says when the last of all subscribers had what."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._arrived: dict[str, int] = {}

    def one(self, what: str) -> None:
        """One more has it."""
        arrived = self._arrived[what] = self._arrived.get(what, 0) + 1
        if arrived == self._number:
            print(what, time.monotonic(), flush=True)


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """An HTTP/2 frame."""
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def header(name: str, value: str) -> bytes:
    """A header, spelled out (RFC 7541, 6.2.2)."""
    return b"\x00" + b"".join(_length(len(text)) + text.encode() for text in (name, value))


def _length(number: int) -> bytes:
    return bytes((number,)) if number < 127 else bytes((127, number - 127))


def call(stream: int, address: str, token: str) -> bytes:
    """A call of Watch."""
    message = WatchRequest(subscriber=f"subscriber {stream}").SerializeToString()
    headers = {
        ":method": "POST", ":scheme": "http", ":path": PATH, ":authority": address, "te": "trailers",
        "content-type": "application/grpc", "authorization": f"Bearer {token}",
    }  # fmt: skip
    block = b"".join(header(*item) for item in headers.items())
    body = struct.pack(">BI", 0, len(message)) + message
    return frame(HEADERS, END_HEADERS, stream, block) + frame(DATA, END_STREAM, stream, body)


class Reader(asyncio.Protocol):
    """One connection of many subscribers."""

    def __init__(self, address: str, token: str, streams: int, arrivals: Arrivals) -> None:
        self._address, self._token, self._streams, self._arrivals = address, token, streams, arrivals
        self._unread = bytearray()
        self._messages: dict[int, bytearray] = {}
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Call, once for each subscriber; there is room for all that is ever sent."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        wide = struct.pack(">HI", 4, MOST)
        window = frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", MOST - DEFAULT_WINDOW))
        calls = (call(2 * index + 1, self._address, self._token) for index in range(self._streams))
        transport.write(PREFACE + frame(SETTINGS, 0, 0, wide) + window + b"".join(calls))

    def data_received(self, data: bytes) -> None:
        """Take in frames."""
        self._unread += data
        for kind, flags, stream, payload in self._frames():
            if kind == DATA:
                self._take(stream, payload)
            elif kind in {SETTINGS, PING} and not flags & ACKNOWLEDGED:
                self._transport.write(frame(kind, ACKNOWLEDGED, 0, payload if kind == PING else b""))
            elif kind in {RESET, GO_AWAY} or (kind == HEADERS and flags & END_STREAM):
                raise AssertionError(f"a subscriber was sent away: {payload!r}")

    def _frames(self) -> Iterator[tuple[int, int, int, bytes]]:
        at = 0
        while len(self._unread) >= at + 9:
            end = at + 9 + int.from_bytes(self._unread[at : at + 3])
            if len(self._unread) < end:
                break
            kind, flags, stream = struct.unpack_from(">BBI", self._unread, at + 3)
            yield kind, flags, stream, bytes(self._unread[at + 9 : end])
            at = end
        del self._unread[:at]

    def _take(self, stream: int, data: bytes) -> None:
        unread = self._messages.setdefault(stream, bytearray())
        unread += data
        while len(unread) >= 5 and len(unread) >= (end := 5 + int.from_bytes(unread[1:5])):
            message = WatchResponse.FromString(bytes(unread[5:end]))
            del unread[:end]
            match message.WhichOneof("event"):
                case "snapshot_end":
                    self._arrivals.one("begun")
                case "change":
                    self._arrivals.one(str(message.change.revision))
                case "go_away":
                    raise AssertionError("a subscriber was sent away")


async def subscribe(number: int, address: str, token: str) -> None:
    """Be so many subscribers, for ever."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: sys.exit(f"{context}"))
    arrivals = Arrivals(number)
    host, _, port = address.rpartition(":")
    for begin in range(0, number, STREAMS_PER_CONNECTION):
        streams = min(STREAMS_PER_CONNECTION, number - begin)
        await loop.create_connection(partial(Reader, address, token, streams, arrivals), host, int(port))
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(subscribe(int(sys.argv[1]), sys.argv[2], sys.stdin.readline().strip()))
