"""Reads HCL as far as Bake files need it: blocks, attributes, strings, heredocs, lists, maps; comments anywhere.

Source: "HCL Native Syntax Specification". What is not the same in every run is stepped over, not understood: of calls,
conditions, operators and loops only the end is found.
"""

import re
from collections.abc import Iterator
from decimal import Decimal

from pullgate_finders.bake.scanner import BLANK, BLANK_LINES, CLOSED_BY, WORD, Scanner
from pullgate_finders.bake.syntax import (
    TYPES,
    BakeFile,
    Block,
    Expression,
    InvalidBakeError,
    List,
    Literal,
    Map,
    Name,
)
from pullgate_finders.found import Place

MAX_PROBLEMS = 20
"""After so many parts that cannot be read the rest of a file is left."""

_NUMBER = re.compile(r"[0-9]++(?:\.[0-9]++)?(?:[eE][+-]?[0-9]{1,3})?")
_STEP = re.compile(r"\.(?P<attribute>[^\W\d][\w-]*+|[0-9]++)|\[(?:(?P<index>[0-9]++)|\"(?P<key>[^\"\\$%\n]*+)\")\]")
_OPERATOR = re.compile(r"\?|&&|\|\||==|!=|<=|>=|[<>*/%+-]|\[|\.")
_KEYWORDS = {"true": "true", "false": "false", "null": None}
_NEXT_BLOCK = re.compile(rf"^(?:{'|'.join(TYPES)})[ \t]", re.MULTILINE)


def read(path: str, text: str) -> BakeFile:
    """What the file says. Of what it cannot read it tells the place, and goes on with the next block."""
    return _Reader(path, text).file()


def read_expression(text: str) -> Expression:
    """A value that stands in a template, within `${…}`; raises InvalidBakeError. It has no place of its own."""
    reader = _Reader("", text)
    value = reader.within_brackets()
    if reader.index < len(text):
        raise InvalidBakeError("more follows behind the value", reader.index)
    return value


def number(text: str) -> str:
    """A number as the text that it is made into: 1.20 becomes 1.2."""
    shown = format(Decimal(text), "f")
    return shown.rstrip("0").rstrip(".") if "." in shown else shown


class _Reader(Scanner):
    """Reads a text once, from the front."""

    # Blocks and attributes

    def file(self) -> BakeFile:
        blocks: list[Block] = []
        attributes: dict[str, Expression] = {}
        problems: list[tuple[Place, str]] = []
        while True:
            self.skip(BLANK_LINES)
            start = self.index
            if start >= len(self.text):
                return BakeFile(path=self.path, blocks=tuple(blocks), globals=attributes, problems=tuple(problems))
            try:
                self._statement(blocks, attributes)
            except InvalidBakeError as error:
                index = min(error.index, len(self.text))
                problems.append((self.place(index, index), f"not valid HCL: {error.problem}"))
                following = _NEXT_BLOCK.search(self.text, max(start + 1, index))
                self.index = following.start() if following and len(problems) < MAX_PROBLEMS else len(self.text)
                self.depth = 0

    def _statement(self, blocks: list[Block], attributes: dict[str, Expression]) -> None:
        """An attribute or a block; blocks of other types are stepped over, as is what stands in one."""
        name = self.word()
        self.skip(BLANK)
        if self.takes("="):
            attributes[name] = self._expression()
            self._end_of_line()
            return
        labels = list(self._labels())
        self.expect("{")
        content: dict[str, Expression] = {}
        nested: list[Block] = []
        self.deeper()
        while not self.closes("}"):
            self._statement(nested, content)
        self.depth -= 1
        if name in TYPES and len(labels) == 1:
            label, place = labels[0]
            blocks.append(Block(type=name, label=label, place=place, attributes=content))

    def _labels(self) -> Iterator[tuple[str, Place]]:
        while not self.text.startswith("{", self.index):
            start = self.index
            if self.text.startswith('"', start):
                string = self.string()
                yield string.raw, string.place
            else:
                word = self.word()
                yield word, self.place(start, self.index)
            self.skip(BLANK)

    def _end_of_line(self) -> None:
        self.skip(BLANK)
        if self.index < len(self.text) and self.text[self.index] not in "\n}":
            raise InvalidBakeError("a new line is missing behind the value", self.index)

    # Values

    def within_brackets(self) -> Expression:
        """A value in brackets, where line breaks mean nothing."""
        self.skip(BLANK_LINES)
        value = self._expression(over_lines=True)
        self.skip(BLANK_LINES)
        return value

    def _expression(self, *, over_lines: bool = False) -> Expression:
        self.skip(BLANK)
        start = self.index
        self.deeper()
        value = self._term()
        self.depth -= 1
        end = self.index
        self.skip(BLANK_LINES if over_lines else BLANK)
        operator = _OPERATOR.match(self.text, self.index)
        if operator is None or self.text.startswith(("//", "/*"), self.index):
            self.index = end
            return value
        self.skip_rest(over_lines=over_lines)
        by = "a condition" if "?" in self.text[end : self.index] else f"the operator {operator[0]}"
        return self.computed(start, by)

    def _term(self) -> Expression:
        start = self.index
        character = self.text[start : start + 1]
        if character == '"':
            return self.string()
        if character in {"[", "{"}:
            return self._collection(character)
        if character in {"(", "-", "!"}:
            return self._bracketed() if character == "(" else self._negated(character)
        if self.text.startswith("<<", start):
            return self.heredoc()
        digits = _NUMBER.match(self.text, start)
        if digits:
            self.index = digits.end()
            return Literal(place=self.place(start, self.index), raw=digits[0], text=number(digits[0]))
        return self._named()

    def _named(self) -> Expression:
        """A keyword, a call or a variable."""
        start = self.index
        root = self.word("a value")
        if self.text.startswith(("(", "::"), self.index):
            self.index = self.text.find("(", self.index) + 1
            self.skip_balanced(")")
            return self.computed(start, f"function {root}")
        if root in _KEYWORDS:
            return Literal(place=self.place(start, self.index), raw=root, text=_KEYWORDS[root])
        steps: list[str] = []
        while step := _STEP.match(self.text, self.index):
            steps.append(step[step.lastgroup or 0])
            self.index = step.end()
        if self.text.startswith(("[", "."), self.index):
            self.skip_rest(over_lines=False)
            return self.computed(start, "an index")
        return Name(
            place=self.place(start, self.index), raw=self.text[start : self.index], root=root, steps=tuple(steps)
        )

    def _bracketed(self) -> Expression:
        self.index += 1
        value = self.within_brackets()
        self.expect(")")
        return value

    def _negated(self, sign: str) -> Expression:
        start = self.index
        self.index += 1
        self.deeper()
        value = self._term()
        self.depth -= 1
        if sign == "-" and isinstance(value, Literal) and value.text and value.text[0].isdigit():
            raw = self.text[start : self.index]
            return Literal(place=self.place(start, self.index), raw=raw, text=f"-{value.text}")
        return self.computed(start, f"the operator {sign}")

    def _collection(self, opening: str) -> Expression:
        start = self.index
        self.index += 1
        self.skip(BLANK_LINES)
        word = WORD.match(self.text, self.index)
        if word and word[0] == "for" and self.text[word.end() : word.end() + 1] in {" ", "\t", "\n"}:
            self.skip_balanced(CLOSED_BY[opening])
            return self.computed(start, "a loop")
        self.deeper()
        items, entries = self._items(opening)
        self.depth -= 1
        place, raw = self.place(start, self.index), self.text[start : start + 1]
        if opening == "[":
            return List(place=place, raw=raw, items=tuple(items))
        return Map(place=place, raw=raw, entries=tuple(entries))

    def _items(self, opening: str) -> tuple[list[Expression], list[tuple[Expression, Expression]]]:
        items: list[Expression] = []
        entries: list[tuple[Expression, Expression]] = []
        while not self.closes(CLOSED_BY[opening]):
            if opening == "[":
                items.append(self.within_brackets())
            else:
                key = self._key()
                self.skip(BLANK)
                if not self.takes("=") and not self.takes(":"):
                    raise InvalidBakeError('"=" is missing behind the key', self.index)
                self.skip(BLANK_LINES)
                entries.append((key, self._expression()))
            self.skip(BLANK if opening == "{" else BLANK_LINES)
            if not self.takes(",") and self.text[self.index : self.index + 1] not in {CLOSED_BY[opening], "\n"}:
                raise InvalidBakeError('"," is missing', self.index)
        return items, entries

    def _key(self) -> Expression:
        """A plain word is the key itself, not a variable."""
        start = self.index
        word = WORD.match(self.text, start)
        if word is None:
            return self._term()
        self.index = word.end()
        return Literal(place=self.place(start, self.index), raw=word[0], text=word[0])
