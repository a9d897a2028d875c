"""Comments in files that have a finding not count: `# pullgate: ignore REASON`, or with `//`.

Such a comment holds for what is found on its own line, and where it has the line for itself for what is found on the
next. The reason is required: an ignore that says none ignores nothing.

Formats differ in what is a comment. What is taken for one here is one in all of them, as far as a line shows it: it
begins the line, or stands behind white space and outside of quotes.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from pullgate_finders import Files, Place, Trouble, UnreadableFileError

_SIGN = "pullgate:"
"""What stands in each of these comments."""

_COMMENT = re.compile(r"(?<!\S)(?:#|//)[ \t]*pullgate:[ \t]*ignore(?=:?(?:\s|$)):?(.*)")
_MAX_LINE = 10_000
"""Characters of a line that are looked at: a comment that a person reads comes before."""

_LEAST_REASON = 2
"""Letters or digits without which there is no reason, as in the end of a comment: `-->`."""


@dataclass(frozen=True, slots=True)
class Ignore:
    """A comment that has findings not count.

    Attributes:
        reason: empty where the comment says none.
    """

    place: Place
    reason: str

    @property
    def trouble(self) -> Trouble:
        """What to say of one without a reason."""
        return Trouble(
            place=self.place,
            problem="this ignores nothing, because it says no reason; write: pullgate: ignore REASON",
        )


@dataclass(frozen=True, slots=True)
class FilesNotingIgnores:
    """Files, of which those that are read and may have such comments are noted: no other need be read again for them.

    Attributes:
        noted: their paths.
    """

    files: Files
    noted: set[str] = field(default_factory=set)

    def read(self, path: str) -> str:
        """The text of a file; raises UnreadableFileError."""
        try:
            text = self.files.read(path)
        except UnreadableFileError as error:
            self._note(path, error.text or "")
            raise
        self._note(path, text)
        return text

    def is_file(self, path: str) -> bool:
        """Whether there is a file of that name."""
        return self.files.is_file(path)

    def names(self, directory: str) -> Sequence[str]:
        """The names of the files in a directory."""
        return self.files.names(directory)

    def directories(self, directory: str) -> Sequence[str]:
        """The names of the directories in a directory."""
        return self.files.directories(directory)

    def _note(self, path: str, text: str) -> None:
        if _SIGN in text:
            self.noted.add(path)


def ignore_for(place: Place, lines: Sequence[str]) -> Ignore | None:
    """The comment that speaks of what is found at a place, if there is one; first those with a reason.

    Args:
        lines: of the file.
    """
    found = list(ignores_for(place, lines))
    return next((ignore for ignore in found if ignore.reason), found[0] if found else None)


def ignores_for(place: Place, lines: Sequence[str]) -> Iterator[Ignore]:
    """All comments that speak of what is found at a place."""
    for number in range(place.line - 1, min(place.end_line, place.line + 100) + 1):
        if not 0 < number <= len(lines):
            continue
        ignore = _ignore_on(place.file, number, lines[number - 1])
        if ignore is not None and (number >= place.line or not lines[number - 1][: ignore.place.column - 1].strip()):
            yield ignore


def ignores_in(file: str, lines: Sequence[str]) -> Iterator[Ignore]:
    """All comments of a file that would have findings not count."""
    for number, line in enumerate(lines, 1):
        ignore = _ignore_on(file, number, line)
        if ignore is not None:
            yield ignore


def _ignore_on(file: str, number: int, whole_line: str) -> Ignore | None:
    if _SIGN not in whole_line:
        return None
    line = whole_line[:_MAX_LINE]
    for match in _COMMENT.finditer(line):
        if _closes_its_quotes(line[: match.start()]):
            reason = match[1].strip()
            if sum(map(str.isalnum, reason)) < _LEAST_REASON:
                reason = ""
            return Ignore(Place(file, number, match.start() + 1, number, len(line.rstrip()) + 1), reason)
    return None


def _closes_its_quotes(text: str) -> bool:
    """Whether no quoted text is open at the end; a backslash escapes within double quotes, as in YAML and JSON."""
    quote = ""
    escaped = False
    for character in text:
        if escaped:
            escaped = False
        elif quote:
            escaped = quote == '"' and character == "\\"
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
    return not quote
