"""Comments and places of a file's declarations, as its source info has them."""

from collections.abc import Sequence

from google.protobuf.descriptor_pb2 import FileDescriptorProto, SourceCodeInfo

from pgcurl.option_source import indented
from pgcurl.symbols import Path
from pgcurl.terminal import CONTROLS

_NOWHERE = (2**31,)
"""The place of what has no place in the source: after all that has."""

_SPANS = (3, 4)
"""Numbers of a span: start line, start column, end line unless it is the same, end column."""

_CONTROLS = {ord(control): None for control in CONTROLS}


class SourceInfo:
    """Where declarations stand, and what comments belong to them. Descriptors of most servers come without.

    Args:
        file: with or without source info.
        all_comments: whether to keep more than those that belong to what follows them.
    """

    def __init__(self, file: FileDescriptorProto, *, all_comments: bool) -> None:
        self._all_comments = all_comments
        self._locations: dict[Path, list[SourceCodeInfo.Location]] = {}
        self._first_below: dict[Path, Path] = {}
        for location in file.source_code_info.location:
            if len(location.span) not in _SPANS:
                continue
            path = tuple(location.path)
            self._locations.setdefault(path, []).append(location)
            for length in range(len(path) + 1):
                self._first_below.setdefault(path[:length], path)

    def place(self, path: Path) -> tuple[int, ...]:
        """Sorts by line and column."""
        found = self._locations.get(path)
        return tuple(found[0].span[:2]) if found else _NOWHERE

    def located(self, *paths: Path) -> Path:
        """The first of the paths with a place, or where none is its own, that of a part of it; else the last path.

        The place of an option may be that of a part of its value.
        """
        return next((self._first_below[path] for path in paths if path in self._first_below), paths[-1])

    def statement_around(self, path: Path, statement: Path) -> int | None:
        """Which of the statements at one path has the declaration in it: `extend` blocks share theirs."""
        start = self.place(path)
        for index, location in enumerate(self._locations.get(statement, ())):
            line, column, *end_line, end_column = location.span
            if (line, column) <= start <= (*(end_line or [line]), end_column):
                return index
        return None

    def commented(self, lines: Sequence[str], path: Path, index: int = 0) -> list[str]:
        """Lines of source with the comments that belong to them."""
        found = self._locations.get(path, ())[index : index + 1]
        if not found:
            return list(lines)
        (location,) = found
        leading = comment_lines(location.leading_comments)
        if not self._all_comments:
            return [*leading, *lines]
        detached = [line for text in location.leading_detached_comments for line in (*comment_lines(text), "")]
        return [*detached, *leading, *_trailed(lines, comment_lines(location.trailing_comments))]


def comment_lines(text: str | bytes) -> list[str]:
    """A comment as line comments, without what terminals would take for commands; bytes are one that is not UTF-8."""
    if isinstance(text, bytes):
        text = text.decode(errors="replace")
    lines = text.translate(_CONTROLS).split("\n")
    if not lines[0]:
        lines = lines[1:]
    if lines and not lines[-1]:
        lines = lines[:-1]
    return [f"//{line if line.startswith(' ') or not line else f' {line}'}".rstrip(" \t") for line in lines]


def _trailed(lines: Sequence[str], trailing: Sequence[str]) -> list[str]:
    """Lines with the comment that follows them: within a block at its start, as a protobuf parser attaches them."""
    if not trailing:
        return list(lines)
    if lines[0].endswith("{"):
        return [lines[0], *indented([*trailing, ""]), *lines[1:]]
    if len(trailing) == 1:
        return [*lines[:-1], f"{lines[-1]} {trailing[0]}"]
    return [*lines, *trailing, ""]
