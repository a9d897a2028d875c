"""Request messages, read from text no sooner than they are wanted, so that each is sent as soon as it is written."""

import codecs
import contextlib
import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from google.protobuf import json_format, text_format
from google.protobuf.message import Message

from pgcurl.errors import FailureError, RequestDataError
from pgcurl.formats import TypeResolver
from pgcurl.json_values import OWN_FORM

CHUNK_BYTES = 65536
RECORD_SEPARATOR = "\x1e"
"""Stands between messages in the text format."""

_LONG = 40
"""Characters of what is wrong that are shown at most."""

_SPACE = " \t\r\n"
_OUTSIDE_TEXT = re.compile(r'["{}\[\]]')
_INSIDE_TEXT = re.compile(r'["\\]')
_END_OF_SCALAR = re.compile(r'[ \t\r\n{\["]')


class BinaryReader(Protocol):
    """Where request data come from."""

    def read(self, size: int, /) -> bytes | None:
        """At most so many bytes: as soon as there are any, and none at the end."""


class RequestReader:
    """The messages in request data, as an iterator that raises RequestDataError.

    Attributes:
        count: how many were read so far.
    """

    def __init__(
        self,
        source: BinaryReader,
        *,
        text: bool,
        new_message: Callable[[], Message],
        resolver: TypeResolver,
        allow_unknown_fields: bool = False,
    ) -> None:
        self.count = 0
        self._texts = text_records(decoded(source)) if text else json_values(decoded(source))
        self._parse = self._parse_text if text else self._parse_json
        self._new_message = new_message
        self._resolver = resolver
        self._allow_unknown_fields = allow_unknown_fields

    def __iter__(self) -> Iterator[Message]:
        return self

    def __next__(self) -> Message:
        text = next(self._texts)
        self.count += 1
        message = self._new_message()
        try:
            self._parse(text, message)
        except (json_format.ParseError, text_format.ParseError) as error:
            raise _refused(f"message {self.count}: {str(error).rstrip('.')}") from error
        incomplete: Any = message  # typeshed leaves out the method
        if missing := incomplete.FindInitializationErrors():
            raise _refused(f"message {self.count} lacks required fields: {', '.join(missing)}")
        return message

    def _parse_json(self, text: str, message: Message) -> None:
        if message.DESCRIPTOR.full_name not in OWN_FORM and not text.startswith("{"):
            raise json_format.ParseError(f"a JSON object is expected, as {{...}}, not {_beginning(text)}")
        json_format.Parse(
            text, message, ignore_unknown_fields=self._allow_unknown_fields, descriptor_pool=self._resolver.as_pool
        )

    def _parse_text(self, text: str, message: Message) -> None:
        text_format.Parse(text, message, descriptor_pool=self._resolver.as_pool)


def _beginning(text: str) -> str:
    return text if len(text) <= _LONG else f"{text[:_LONG]}…"


def _refused(problem: str) -> RequestDataError:
    return RequestDataError(f"error getting request data: {problem}")


def open_data(data: str, standard_input: BinaryReader, stack: contextlib.ExitStack) -> BinaryReader:
    """What -d says: '@' for standard input, '@FILE' for a file, else the data themselves. Raises FailureError.

    A file is closed with the stack.
    """
    if data == "@":
        return standard_input
    if not data.startswith("@"):
        return io.BytesIO(data.encode("utf-8", "surrogateescape"))
    path = Path(data.removeprefix("@"))
    try:
        return stack.enter_context(path.open("rb", buffering=0))
    except OSError as error:
        raise FailureError(f"Failed to read request data: {path} cannot be read ({error.strerror})") from error


def decoded(source: BinaryReader) -> Iterator[str]:
    """UTF-8 as it comes in; raises RequestDataError."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    try:
        while data := source.read(CHUNK_BYTES):
            yield decoder.decode(data)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise _refused(f"the data are not UTF-8 (byte {error.object[error.start]:#04x})") from error
    except OSError as error:
        raise _refused(f"the data cannot be read ({error.strerror})") from error
    except ValueError:
        return  # closed, because the call has ended meanwhile


def text_records(chunks: Iterator[str]) -> Iterator[str]:
    """What stands between record separators; one record more than there are of these."""
    parts: list[str] = []
    for chunk in chunks:
        first, *others = chunk.split(RECORD_SEPARATOR)
        parts.append(first)
        for other in others:
            yield "".join(parts)
            parts = [other]
    yield "".join(parts)


def json_values(chunks: Iterator[str]) -> Iterator[str]:
    """The text of each JSON value as soon as it is complete.

    Objects, arrays and strings are complete at their last character, others at what follows them. What is incomplete at
    the end, or no JSON, is given as it is: the parser says what is wrong.
    """
    scanner = _JsonScanner()
    for chunk in chunks:
        yield from scanner.complete_values(chunk)
    if rest := scanner.rest():
        yield rest


class _JsonScanner:
    """Finds where values end, looking at each character once, however the text is cut into chunks."""

    def __init__(self) -> None:
        self._parts: list[str] = []  # of a value that goes on in the next chunk
        self._depth = 0
        self._in_text = False
        self._escaped = False

    def complete_values(self, chunk: str) -> Iterator[str]:
        start = self._begin(chunk, 0)
        while (end := self._end_of_value(chunk, start)) is not None:
            yield "".join((*self._parts, chunk[start:end]))
            self._parts = []
            start = self._begin(chunk, end)
        if start < len(chunk):
            self._parts.append(chunk[start:])

    def rest(self) -> str:
        return "".join(self._parts).strip(_SPACE)

    def _begin(self, chunk: str, position: int) -> int:
        """Where a value begins or goes on."""
        while not self._parts and chunk[position : position + 1] in set(_SPACE):
            position += 1
        return position

    def _end_of_value(self, chunk: str, position: int) -> int | None:
        """Where the value that is at this position ends, None if that is not known yet."""
        if position == len(chunk):
            return None
        if (self._parts[0][0] if self._parts else chunk[position]) not in '{["':
            match = _END_OF_SCALAR.search(chunk, position)
            return match.start() if match else None
        if self._escaped:
            position, self._escaped = position + 1, False
        while match := (_INSIDE_TEXT if self._in_text else _OUTSIDE_TEXT).search(chunk, position):
            position = match.end()
            if match[0] == "\\":
                self._escaped = position == len(chunk)
                position += 1
                continue
            self._step(match[0])
            if not self._depth and not self._in_text:
                return position
        return None

    def _step(self, character: str) -> None:
        if character == '"':
            self._in_text = not self._in_text
        else:
            self._depth += 1 if character in "{[" else -1


def json_texts(value: Any) -> BinaryReader:
    """A value, or each of a list of values, as JSON request data."""
    values = value if isinstance(value, list) else [value]
    return io.BytesIO("\n".join(json.dumps(each) for each in values).encode())
