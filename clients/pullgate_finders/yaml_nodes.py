"""YAML with positions: what a finder needs of a document, safe against documents that are made to explode.

Scalars stay texts, whatever their type would be: `on:` is a key like any other, and `image: 22:22` is no number.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from pullgate_finders.found import Place
from pullgate_finders.source_text import SourceText

MAX_VALUES = 1_000_000
"""How many values a document may have once its aliases are expanded."""

_MERGE = "<<"
_PROPERTIES = re.compile(r"(?:[&!]\S*[ \t]+)*")
"""Anchor and tag, which stand before a value and belong to where PyYAML says that it begins."""

_LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
"""What ends a line in YAML 1.1, and so in PyYAML's positions."""

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_libyaml: Any = getattr(yaml, "_yaml", None)
_Loader: type = yaml.SafeLoader
if _libyaml is not None and _libyaml.get_version() >= (0, 2, 6):
    # One that a distribution has built with an older libyaml would crash on what is nested without end.
    _Loader = yaml.CSafeLoader


class InvalidYamlError(Exception):
    """A text is no YAML, or more than is read of it.

    Attributes:
        problem: what is wrong, in a sentence that begins with a lower-case letter.
        line, column: where, from 1.
    """

    def __init__(self, problem: str, line: int = 1, column: int = 1) -> None:
        super().__init__(problem)
        self.problem = problem
        self.line = line
        self.column = column


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """A value in a document: a scalar, a sequence or a mapping.

    Attributes:
        place: where it stands; of a quoted scalar without the quotes.
        tag: what was written before it, as `!reset`; empty where nothing was.
    """

    place: Place
    tag: str


@dataclass(frozen=True, slots=True, eq=False)
class ScalarNode(Node):
    """A text, number, boolean or nothing.

    Attributes:
        text: its characters, without quotes and escapes.
        style: `"`, `'`, `|`, `>`, or empty for a plain one.
        source: the text with its position, for what is to be read within it.
    """

    text: str
    style: str
    source: SourceText

    @property
    def is_null(self) -> bool:
        """Whether it stands for nothing: empty, `~` or `null`, unquoted."""
        return not self.style and self.text in _NULLS

    def place_within(self, start: int, end: int) -> Place:
        """Where the characters from `start` up to `end` (exclusive) of the text stand."""
        return self.source.place_of(start, end)


@dataclass(frozen=True, slots=True, eq=False)
class SequenceNode(Node):
    """Values in order."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True, eq=False)
class MappingNode(Node):
    """Values by key, those that `<<` merges in included. Of a key that is given twice the last value counts."""

    entries: tuple[tuple[ScalarNode, Node], ...]

    def get(self, *path: str) -> Node | None:
        """The value at a path of keys; None where a part is missing or no mapping."""
        node: Node | None = self
        for key in path:
            if not isinstance(node, MappingNode):
                return None
            node = next((value for name, value in reversed(node.entries) if name.text == key), None)
        return node

    def scalar(self, *path: str) -> ScalarNode | None:
        """The text at a path of keys; None where there is none, or null."""
        node = self.get(*path)
        return node if isinstance(node, ScalarNode) and not node.is_null else None

    def items(self, *path: str) -> tuple[Node, ...]:
        """The values of the sequence at a path of keys; none where there is no sequence."""
        node = self.get(*path)
        return node.items if isinstance(node, SequenceNode) else ()

    def pairs(self, *path: str) -> tuple[tuple[ScalarNode, Node], ...]:
        """The entries of the mapping at a path of keys; none where there is no mapping."""
        node = self.get(*path) if path else self
        return node.entries if isinstance(node, MappingNode) else ()


def load(file: str, text: str) -> Iterator[Node]:
    """The documents of a file, one after another; empty ones are left out.

    Raises:
        InvalidYamlError: when the documents before the faulty one have been given.
    """
    lines: list[str] = []
    loader = _Loader(text)
    try:
        while loader.check_node():
            root = loader.get_node()
            if root is not None:
                lines = lines or _LINE_BREAK.split(text)
                yield _Reader(file, lines).read(root)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise InvalidYamlError(f"not valid YAML: {error.problem or error.context}", line, column) from error
    except yaml.YAMLError as error:
        raise InvalidYamlError(f"not valid YAML: {str(error).splitlines()[0]}") from error
    except RecursionError:
        raise InvalidYamlError("the YAML is nested too deeply to be read") from None
    finally:
        loader.dispose()


def walk(node: Node) -> Iterator[Node]:
    """The node and everything within it."""
    pending = [node]
    while pending:
        current = pending.pop()
        yield current
        match current:
            case MappingNode(entries=entries):
                pending.extend(value for _, value in reversed(entries))
            case SequenceNode(items=items):
                pending.extend(reversed(items))


class _Reader:
    """Makes nodes of what PyYAML composed. Aliases stay shared; what they expand to is counted."""

    def __init__(self, file: str, lines: list[str]) -> None:
        self._file = file
        self._lines = lines
        self._nodes: dict[int, Node] = {}
        self._sizes: dict[int, int] = {}

    def read(self, node: yaml.Node) -> Node:
        known = self._nodes.get(id(node))
        if known is not None:
            return known
        if id(node) in self._sizes:
            raise InvalidYamlError("an alias contains itself", *_start(node))
        self._sizes[id(node)] = 0
        place = Place(self._file, *_start(node), node.end_mark.line + 1, node.end_mark.column + 1)
        tag = node.tag if node.tag.startswith("!") else ""
        made: Node
        size = 1
        match node:
            case yaml.MappingNode():
                made = MappingNode(place, tag, tuple(self._entries(node)))
                size += sum(self._sizes[id(value)] for _, value in node.value)
            case yaml.SequenceNode():
                made = SequenceNode(place, tag, tuple(self.read(item) for item in node.value))
                size += sum(self._sizes[id(item)] for item in node.value)
            case yaml.ScalarNode():
                made = self._scalar(node, place, tag)
            case _:
                raise TypeError(node)
        if size > MAX_VALUES:
            raise InvalidYamlError(f"a document has more than {MAX_VALUES:,} values, aliases expanded", *_start(node))
        self._sizes[id(node)] = size
        self._nodes[id(node)] = made
        return made

    def _entries(self, node: yaml.MappingNode) -> Iterator[tuple[ScalarNode, Node]]:
        """Own entries after the merged ones, so that they win."""
        own = [(key, self.read(key), self.read(value)) for key, value in node.value]
        for key, _, value in own:
            if key.value == _MERGE and not key.style:
                merged = value.items if isinstance(value, SequenceNode) else (value,)
                for part in reversed(merged):
                    yield from part.entries if isinstance(part, MappingNode) else ()
        for key, name, value in own:
            if isinstance(name, ScalarNode) and not (key.value == _MERGE and not key.style):
                yield name, value

    def _scalar(self, node: yaml.ScalarNode, place: Place, tag: str) -> ScalarNode:
        style = node.style or ""
        source = self._source(node, place, style)
        if source.whole is None and style not in {"|", ">"}:
            place = source.place_of(0, len(node.value))
        return ScalarNode(place, tag, node.value, style, source)

    def _source(self, node: yaml.ScalarNode, place: Place, style: str) -> SourceText:
        """The scalar's text with its position: exact where its lines stand in the file as they are."""
        file, text = self._file, node.value
        if style == "|":
            return self._block(node, place)
        line, column = _start(node)
        # Behind a last line of blanks an empty document begins on a line that is not there.
        written = self._lines[line - 1] if line <= len(self._lines) else ""
        properties = _PROPERTIES.match(written, column - 1)
        start = properties.end() if properties else column - 1
        start += 1 if style in {"'", '"'} else 0
        if written[start : start + len(text)] == text and "\n" not in text:
            return SourceText(file=file, text=text, first_line=line, indentation=start)
        return SourceText(file=file, text=text, whole=place)

    def _block(self, node: yaml.ScalarNode, place: Place) -> SourceText:
        """A literal block: its lines stand in the file, after the indicator's line, behind their indentation."""
        text = node.value
        first = place.line  # 0-based index of the line after the indicator
        for number, content in enumerate(text.split("\n")):
            if content.strip():
                written = self._lines[first + number] if first + number < len(self._lines) else ""
                indentation = len(written) - len(written.lstrip(" "))
                indentation -= len(content) - len(content.lstrip(" "))
                if written[indentation:].rstrip("\r") == content:
                    return SourceText(file=self._file, text=text, first_line=first + 1, indentation=indentation)
                break
        return SourceText(file=self._file, text=text, whole=place)


def _start(node: yaml.Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1
