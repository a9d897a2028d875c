"""Instructions: their names, flags and arguments, as BuildKit splits them.

Sources: frontend/dockerfile/parser/split_command.go for names and flags, line_parsers.go for arguments.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from pullgate_finders.dockerfile.heredocs import heredocs
from pullgate_finders.dockerfile.lines import SPACES, LineReader, LogicalLine, Span, span
from pullgate_finders.found import Place, Trouble
from pullgate_finders.source_text import SourceText

NAMES = frozenset(
    {"add", "arg", "cmd", "copy", "entrypoint", "env", "expose", "from", "healthcheck", "label", "maintainer"}
    | {"onbuild", "run", "shell", "stopsignal", "user", "volume", "workdir"}
)

FLAGS = {
    "add": frozenset({"checksum", "chmod", "chown", "exclude", "keep-git-dir", "link", "unpack"}),
    "copy": frozenset({"chmod", "chown", "exclude", "from", "link", "parents"}),
    "from": frozenset({"platform"}),
    "run": frozenset({"device", "mount", "network", "security"}),
}
"""The flags of the instructions that images have to do with (docs/reference.md)."""

_WITH_HEREDOCS = frozenset({"add", "copy", "run"})

_BLANKS = re.compile(r"[\t\v\f\r ]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """`--name` or `--name=value`, without quotes and escapes."""

    text: str
    name: str
    value: Span | None
    place: Place


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Instruction:
    """An instruction.

    Attributes:
        name: lower-case.
        start, end: the range of the logical line that it takes.
        arguments_start: where what follows its flags begins in the logical line; it goes up to `end`.
        last_line: of its heredocs, or of the logical line if there are none.
    """

    line: LogicalLine
    start: int
    end: int
    name: str
    flags: tuple[Flag, ...]
    arguments_start: int
    last_line: int

    @property
    def place(self) -> Place:
        """Where its name stands."""
        return self.line.place(self.start, self.start + len(self.name))

    @property
    def rest(self) -> str:
        """What follows its flags."""
        return self.line.text[self.arguments_start : self.end]

    @property
    def json_list(self) -> list[object] | None:
        """Its arguments where they are a list in JSON."""
        if not self.rest.startswith("["):
            return None
        try:
            value = json.loads(self.rest, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            return None
        return value if isinstance(value, list) else None

    def words(self) -> list[Span]:
        """Its arguments, split at blanks; quotes mean nothing here."""
        words = []
        start = self.arguments_start
        for blanks in _BLANKS.finditer(self.line.text, start, self.end):
            words.append(span(self.line, start, blanks.start()))
            start = blanks.end()
        return [*words, span(self.line, start, self.end)] if start < self.end else words

    def quoted_words(self, escape: str) -> list[Span]:
        """Its arguments, split at spaces outside of quotes; the quotes stay."""
        words = []
        start, quote, at = None, "", self.arguments_start
        while at < self.end:
            character = self.line.text[at]
            if start is None:
                start = None if character in SPACES else at
            elif not quote and character in SPACES:
                words.append(span(self.line, start, at))
                start = None
            if start is not None:
                if character == escape and quote != "'":
                    at += 1
                elif character == quote:
                    quote = ""
                elif not quote and character in {"'", '"'}:
                    quote = character
            at += 1
        if start is not None:
            # An escape character at the end escapes nothing and is left out.
            words.append(span(self.line, start, self.end if at == self.end else self.end - 1))
        return [word for word in words if word.text]

    def inner(self) -> "Instruction | None":
        """The instruction that this one takes as its argument; None where there is none."""
        if not self.rest:
            return None
        return _instruction(self.line, self.arguments_start, self.end, self.last_line)

    def announces_heredocs(self) -> bool:
        """Whether texts may follow it."""
        if self.name == "onbuild":
            inner = self.inner()
            return inner is not None and inner.name in _WITH_HEREDOCS and inner.json_list is None
        return self.name in _WITH_HEREDOCS and self.json_list is None


def read_instructions(source: SourceText, escape: str) -> Iterator[Instruction | Trouble]:
    """The instructions of a Dockerfile one after another, and what is wrong with their lines."""
    reader = LineReader(source, escape)
    while (line := reader.read()) is not None:
        for number in line.too_long:
            problem = "the line is longer than 65,535 bytes, which BuildKit refuses; split it"
            yield Trouble(place=source.place(number, 1), problem=problem)
        start = len(line.text) - len(line.text.lstrip(SPACES))
        instruction = _instruction(line, start, len(line.text.rstrip(SPACES)), line.last_line)
        if "<<" in line.text and instruction.announces_heredocs():
            for heredoc in heredocs(line.text):
                if not reader.skip_heredoc(heredoc.name, tabs_stripped=heredoc.tabs_stripped):
                    problem = f'no line "{heredoc.name}" ends the heredoc that begins here, so the build fails'
                    yield Trouble(place=instruction.place, problem=problem)
            instruction = _instruction(line, start, instruction.end, reader.line)
        yield instruction


def _instruction(line: LogicalLine, start: int, end: int, last_line: int) -> Instruction:
    blanks = _BLANKS.search(line.text, start, end)
    name_end, flags_start = (blanks.start(), blanks.end()) if blanks else (end, end)
    flags, arguments_start = _flags(line, flags_start, end)
    while arguments_start < end and line.text[arguments_start] in SPACES:
        arguments_start += 1
    return Instruction(
        line=line,
        start=start,
        end=end,
        name=line.text[start:name_end].lower(),
        flags=tuple(flags),
        arguments_start=arguments_start,
        last_line=last_line,
    )


def _flags(line: LogicalLine, at: int, end: int) -> tuple[list[Flag], int]:
    """The flags, and where what follows them begins. `--` ends them, and is none itself."""
    flags: list[Flag] = []
    while True:
        while at < end and line.text[at] in SPACES:
            at += 1
        if not line.text.startswith("--", at, end):
            return flags, at
        word, at = _flag_word(line, at, end)
        if word.text == "--":
            return flags, at
        name, equals, _ = word.text[2:].partition("=")
        value = word.part(len(name) + 3) if equals else None
        flags.append(Flag(text=word.text, name=name, value=value, place=word.place))


def _flag_word(line: LogicalLine, at: int, end: int) -> tuple[Span, int]:
    r"""A word without quotes and escapes, and where it ends. Its escape character is `\` whatever the file says."""
    offsets = []
    quote = ""
    start = at
    while at < end:
        character = line.text[at]
        if not quote and character in SPACES:
            break
        if character == quote:
            quote = ""
        elif not quote and character in {"'", '"'}:
            quote = character
        elif character == "\\":
            at += 1
            if at < end:
                offsets.append(at)
        else:
            offsets.append(at)
        at += 1
    text = "".join(line.text[offset] for offset in offsets)
    return Span(line, text, tuple(offsets), start), min(at, end)


def _no_constant(name: str) -> object:
    raise ValueError(name)
