"""A Dockerfile within a Compose file: its variables are filled in by Compose before the build sees it."""

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from pullgate_finders import dockerfile
from pullgate_finders.compose.interpolation import Piece
from pullgate_finders.compose.parts import Leaf
from pullgate_finders.found import Finding, Found, Place
from pullgate_finders.port import Search
from pullgate_finders.source_text import SourceText
from pullgate_finders.values import Known, Unknown

_UNKNOWN = "\N{REPLACEMENT CHARACTER}"
"""Stands for what is not known: no reference, name of a stage or path has it."""


def find_inline(leaf: Leaf, build: dockerfile.Build, search: Search) -> Iterator[Finding]:
    """The references in a Dockerfile that stands in a Compose file, at their places in that file."""
    if "$" not in leaf.raw:
        yield from dockerfile.find_in_text(leaf.node.source, build, search.settings)
        return
    filled = _Filled(leaf)
    for finding in dockerfile.find_in_text(filled.source, build, search.settings):
        yield filled.as_written(finding)


@dataclass(frozen=True, slots=True)
class _Segment:
    """A piece with where it begins in the text that is filled in."""

    start: int
    text: str
    piece: Piece
    is_literal: bool


class _Filled:
    """The text with its variables filled in, and the way back to what is written."""

    def __init__(self, leaf: Leaf) -> None:
        self._raw = leaf.raw
        self._written = leaf.node.source
        self._segments = list(_segments(leaf.pieces, leaf.raw))
        self._starts = [segment.start for segment in self._segments]
        self._reason = next((piece.text.reason for piece in leaf.pieces if isinstance(piece.text, Unknown)), "")
        text = "".join(segment.text for segment in self._segments)
        self._lines = _line_starts(text)
        self._written_lines = _line_starts(leaf.raw)
        # Columns are worked out here; lines are the file's already, for what is told of build arguments.
        self.source = SourceText(file=leaf.place.file, text=text, first_line=leaf.place.line)

    def as_written(self, finding: Finding) -> Finding:
        """A finding at its place in the file, and with the reason where it depends on what is not known."""
        first, last, start, end = self._range(finding.place)
        place = self._written.place(*self._position(start), *self._position(end))
        if not isinstance(finding, Found):
            return replace(finding, place=place)
        texts = [segment.piece.text for segment in self._segments[first : last + 1]]
        is_unknown = _UNKNOWN in finding.raw or _UNKNOWN in finding.unresolved
        return replace(
            finding,
            place=place,
            raw=self._raw[start:end],
            unresolved=self._reason if is_unknown else finding.unresolved,
            how=(*finding.how, *(step for text in texts for step in text.how)),
            overridable=finding.overridable or any(text.overridable for text in texts),
        )

    def _range(self, place: Place) -> tuple[int, int, int, int]:
        """The first and the last segment of a place in the text that is filled in, and the range in what is written."""
        above = self.source.first_line
        start = self._lines[place.line - above] + place.column - 1
        end = self._lines[place.end_line - above] + place.end_column - 1
        first, last = self._index(start), self._index(max(end - 1, start))
        segment = self._segments[first]
        written = segment.piece.start + (start - segment.start if segment.is_literal else 0)
        segment = self._segments[last]
        written_end = segment.piece.start + end - segment.start if segment.is_literal else segment.piece.end
        return first, last, written, max(written_end, written)

    def _index(self, position: int) -> int:
        return max(bisect_right(self._starts, position) - 1, 0)

    def _position(self, index: int) -> tuple[int, int]:
        """Line and column, from 1, of an index into what is written."""
        line = bisect_right(self._written_lines, index)
        return line, index - self._written_lines[line - 1] + 1


def _line_starts(text: str) -> Sequence[int]:
    return [0, *(match.end() for match in re.finditer("\n", text))]


def _segments(pieces: Sequence[Piece], raw: str) -> Iterator[_Segment]:
    start = 0
    for piece in pieces:
        text = piece.text.value if isinstance(piece.text, Known) else _UNKNOWN
        yield _Segment(start, text, piece, is_literal=text == raw[piece.start : piece.end])
        start += len(text)
