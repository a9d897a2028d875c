"""What -v and -vv print around the responses."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TextIO

from google.protobuf.message import Message

from pgcurl.formats import Formatter
from pgcurl.headers import Metadata, metadata_text
from pgcurl.terminal import shown

_UNITS = ((1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns"))
_MINUTE = 60 * 10**9


class Report:
    """Prints a call as it goes: a `pgcurl.invoking.Listener`.

    Args:
        verbosity: 0 for the responses alone, 1 for metadata as well, 2 for sizes.

    Attributes:
        responses: how many there were so far.
    """

    def __init__(self, out: TextIO, formatter: Formatter, *, verbosity: int) -> None:
        self.responses = 0
        self._out = out
        self._formatter = formatter
        self._verbosity = verbosity

    def method(self, text: str) -> None:
        """The method, as proto source."""
        self._section("Resolved method descriptor", text)

    def sent(self, metadata: Metadata) -> None:
        """The request headers."""
        self._section("Request metadata to send", metadata_text(metadata))

    def headers(self, metadata: Metadata) -> None:
        """The response headers."""
        self._section("Response headers received", metadata_text(metadata))

    def response(self, message: Message) -> None:
        """A response."""
        self.responses += 1
        if self._verbosity > 1:
            self._out.write(f"\nEstimated response size: {message.ByteSize()} bytes\n")
        if self._verbosity:
            self._out.write("\nResponse contents:\n")
        self._out.write(f"{self._formatter.response(message)}\n")
        self._out.flush()

    def trailers(self, metadata: Metadata) -> None:
        """The response trailers."""
        self._section("Response trailers received", metadata_text(metadata))

    def counts(self, requests: int) -> None:
        """How many messages went in both directions."""
        if self._verbosity:
            sent, received = counted(requests, "request"), counted(self.responses, "response")
            self._out.write(f"Sent {sent} and received {received}\n")

    def _section(self, title: str, text: str) -> None:
        if self._verbosity:
            self._out.write(f"\n{title}:\n{shown(text)}\n")
            self._out.flush()


@dataclass(kw_only=True)
class Timing:
    """How long something took, and its parts.

    Attributes:
        nanoseconds: known when it has ended.
        clock: gives nanoseconds.
    """

    title: str = "Timing Data"
    clock: Callable[[], int] = time.perf_counter_ns
    nanoseconds: int = 0
    parts: list["Timing"] = field(default_factory=list)

    @contextlib.contextmanager
    def part(self, title: str) -> Iterator["Timing"]:
        """Measure a part of it."""
        part = Timing(title=title, clock=self.clock)
        self.parts.append(part)
        with part.measured():
            yield part

    @contextlib.contextmanager
    def measured(self) -> Iterator[None]:
        """Measure all of it."""
        began = self.clock()
        try:
            yield
        finally:
            self.nanoseconds = self.clock() - began

    def lines(self, depth: int = 0) -> Iterator[str]:
        """A line for it and each of its parts, indented."""
        yield f"{'  ' * depth}{self.title}: {duration_text(self.nanoseconds)}"
        for part in self.parts:
            yield from part.lines(depth + 1)


def duration_text(nanoseconds: int) -> str:
    """A duration as Go writes it: 1.5ms, 1m2.25s (time.Duration.String)."""
    if nanoseconds == 0:
        return "0s"
    minutes, rest = divmod(nanoseconds, _MINUTE)
    if minutes:
        hours, minutes = divmod(minutes, 60)
        return f"{f'{hours}h' if hours else ''}{minutes}m{_decimal(rest / 1e9)}s"
    size, unit = next((size, unit) for size, unit in _UNITS if nanoseconds >= size)
    return f"{_decimal(nanoseconds / size)}{unit}"


def _decimal(number: float) -> str:
    return f"{number:.9f}".rstrip("0").rstrip(".")


def counted(number: int, noun: str) -> str:
    """'1 request', '2 requests'."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
