"""Physical lines and the logical lines that they make up.

The rules are those of BuildKit's frontend/dockerfile/parser/parser.go: a logical line ends where its last physical line
does not end with the escape character; comments and empty lines within it are left out, and nothing else is trimmed but
what stands before its first character.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from pullgate_finders.found import Place
from pullgate_finders.source_text import SourceText

MAX_LINE_BYTES = 65_535
"""Of a physical line without its line feed: BuildKit refuses a file with a longer one (bufio.MaxScanTokenSize)."""

SPACES = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
"""What Go's unicode.IsSpace takes for a space; `str.isspace` takes more."""


@dataclass(frozen=True, slots=True, eq=False)
class LogicalLine:
    """A line with its continuations.

    Attributes:
        starts: indexes into `text` at which the parts begin that stand on different physical lines.
        positions: line and column of the first character of each part, from 1, in the text of the Dockerfile.
        last_line: on which it ends; heredocs that follow are not counted.
        too_long: the physical lines that are longer than BuildKit reads.
    """

    source: SourceText
    text: str
    starts: tuple[int, ...]
    positions: tuple[tuple[int, int], ...]
    first_line: int
    last_line: int
    too_long: tuple[int, ...] = ()

    def place(self, start: int, end: int) -> Place:
        """Where the characters from `start` up to `end` (exclusive) stand in the file."""
        line, column = self._position(start)
        end_line, end_column = self._position(end - 1) if end > start else (line, column - 1)
        return self.source.place(line, column, end_line, end_column + 1)

    def _position(self, index: int) -> tuple[int, int]:
        part = max(bisect_right(self.starts, index) - 1, 0)
        line, column = self.positions[part]
        return line, column + index - self.starts[part]


@dataclass(frozen=True, slots=True, eq=False)
class Span:
    """Characters of a logical line, which may have been taken out of quotes and escapes.

    Attributes:
        offsets: where each character of `text` stands in the line.
        at: where an empty text stands.
    """

    line: LogicalLine
    text: str
    offsets: Sequence[int]
    at: int

    @property
    def raw(self) -> str:
        """The characters as they stand in the file, from the first to the last one."""
        return self.line.text[self.offsets[0] : self.offsets[-1] + 1] if self.offsets else ""

    @property
    def place(self) -> Place:
        """Where they stand."""
        if not self.offsets:
            return self.line.place(self.at, self.at)
        return self.line.place(self.offsets[0], self.offsets[-1] + 1)

    def part(self, start: int, end: int | None = None) -> "Span":
        """Those of the characters from `start` up to `end` (exclusive), or to the last one."""
        offsets = self.offsets[start:end]
        at = self.offsets[start] if start < len(self.offsets) else self.at + len(self.offsets)
        return Span(self.line, self.text[start:end], offsets, at)

    def without_quotes(self) -> "Span":
        """Without the quotes around them, if these are all the quotes there are."""
        inner = self.text[1:-1]
        quote = self.text[:1]
        if quote in {"'", '"'} and len(self.text) > 1 and self.text[-1] == quote and quote not in inner:
            return self.part(1, -1)
        return self


def span(line: LogicalLine, start: int, end: int) -> Span:
    """The characters of a line from `start` up to `end` (exclusive), as they are."""
    return Span(line, line.text[start:end], range(start, end), start)


class LineReader:
    """Reads logical lines from a text, one after another, and the bodies of heredocs between them."""

    def __init__(self, source: SourceText, escape: str) -> None:
        self._source = source
        self._lines = source.text.split("\n")
        if self._lines[-1] == "":
            self._lines.pop()
        self._next = 0
        self._escape = escape

    @property
    def line(self) -> int:
        """The line that was read last, from 1."""
        return self._next

    def read(self) -> LogicalLine | None:
        """The next logical line; None at the end of the text."""
        while self._next < len(self._lines):
            physical = self._lines[self._next]
            content = physical.rstrip("\r").lstrip(SPACES + ("\ufeff" if self._next == 0 else ""))
            self._next += 1
            if content and not content.startswith("#"):
                return self._read_on(content, len(physical.rstrip("\r")) - len(content))
        return None

    def skip_heredoc(self, name: str, *, tabs_stripped: bool) -> bool:
        """Reads up to the line that ends a heredoc; False if there is none."""
        while self._next < len(self._lines):
            content = self._lines[self._next].rstrip("\r")
            self._next += 1
            if (content.lstrip("\t") if tabs_stripped else content) == name:
                return True
        return False

    def _read_on(self, content: str, indentation: int) -> LogicalLine:
        first = self._next
        text, goes_on = self._trimmed(content)
        parts, starts, positions = [text], [0], [(first, indentation + 1)]
        length = len(text)
        too_long = [first] if self._is_too_long(first) else []
        while goes_on and self._next < len(self._lines):
            content = self._lines[self._next].rstrip("\r")
            self._next += 1
            if self._is_too_long(self._next):
                too_long.append(self._next)
            stripped = content.lstrip(SPACES)
            if not stripped or stripped.startswith("#"):
                continue
            text, goes_on = self._trimmed(content)
            parts.append(text)
            starts.append(length)
            positions.append((self._next, 1))
            length += len(text)
        return LogicalLine(
            self._source, "".join(parts), tuple(starts), tuple(positions), first, self._next, tuple(too_long)
        )

    def _trimmed(self, content: str) -> tuple[str, bool]:
        """A physical line without its continuation character, and whether it had one."""
        text = content.rstrip(" \t")
        # Two escape characters do not continue a line.
        if text.endswith(self._escape) and not text.endswith(self._escape * 2):
            return text[:-1], True
        return content, False

    def _is_too_long(self, line: int) -> bool:
        text = self._lines[line - 1]
        return len(text) * 4 > MAX_LINE_BYTES and len(text.encode("utf-8", "replace")) > MAX_LINE_BYTES
