"""Expressions of GitHub Actions, `${{ … }}`, as far as they follow from what stands in the files.

An expression comes to one or more values: one for each way it may go where its condition is not known here. The rules
are those of GitHub's documentation, "Evaluate expressions in workflows and actions" and "Contexts reference".
"""

import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from pullgate_finders import jsonc
from pullgate_finders.continuous_integration import limited
from pullgate_finders.values import Known, Text, Unknown, worked_out_from
from pullgate_finders.yaml_nodes import InvalidYamlError, MappingNode, Node, ScalarNode, SequenceNode

MAX_VALUES = 64
"""How many values an expression may come to here; more would be of no use to anybody."""

MAX_DEPTH = 50
"""How deeply GitHub lets expressions nest."""

NUMBER = re.compile(r"[-+]?(?:0x[0-9a-fA-F]+|0o[0-7]+|(?:\.\d+|\d+(?:\.\d*)?)(?:[eE][-+]?\d+)?)")
"""A number, in YAML and in expressions."""

_TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<number>[-+]?(?:0x[0-9a-fA-F]+|\.?\d[\w.]*(?:(?<=[eE])[-+]\d+)?))"
    r"|(?P<name>[A-Za-z_][\w-]*)|(?P<sign>\|\||&&|[=!<>]=|[<>!()\[\].,*]))"
)
_FIELD = re.compile(r"\{\{|\}\}|\{(\d{1,3})\}")
_IF_EMPTY = "what is taken if the part before || is empty"
_IF_TRUE = "what is taken if the part before && is true"
_FUNCTIONS = frozenset({"contains", "endswith", "format", "startswith"})
_LITERALS: Mapping[str, bool | None] = MappingProxyType({"true": True, "false": False, "null": None})


@dataclass(frozen=True, slots=True, eq=False)
class Value:
    """A value that an expression may come to.

    Attributes:
        content: a text, number, truth value, nothing; a mapping or sequence as it stands in the file; or unknown.
        how: as of `Known`.
        overridable: as of `Known`.
        or_empty: there are also runs in which it is empty, as an input that only some of the events give.
    """

    content: "str | float | bool | Node | Unknown | None"
    how: tuple[str, ...] = ()
    overridable: bool = False
    or_empty: bool = False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Value) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    @property
    def _identity(self) -> tuple[object, ...]:
        # To Python 1 is true and 0 is false; to GitHub they are other values, of another text.
        return type(self.content), self.content, self.how, self.overridable, self.or_empty

    @property
    def is_empty(self) -> bool:
        """Whether it is known to stand for nothing: null, false, 0 or an empty text."""
        return not isinstance(self.content, Unknown | Node) and not self.content

    @property
    def text(self) -> Text:
        """It as a text, as GitHub writes it into another."""
        match self.content:
            case Unknown():
                return replace(self.content, how=self.how)
            case Node():
                return Unknown("it is a list or a mapping, where a text is wanted", self.how)
            case None:
                written = ""
            case bool():
                written = str(self.content).lower()
            case float():
                written = f"{self.content:.15g}"
            case str():
                written = self.content
        return Known(written, self.how, self.overridable)


Values = tuple[Value, ...]
Lookup = Callable[[tuple[str, ...]], Values]
"""What a path such as `matrix.python` comes to; its parts are in lower case."""


def concatenated(values: Iterable[Value]) -> Value:
    """The values one after another, as a text."""
    values = tuple(values)
    text = limited(*(value.text for value in values))
    content = text.value if isinstance(text, Known) else replace(text, how=())
    overridable = any(value.overridable for value in values)
    return Value(content, text.how, overridable, any(value.or_empty for value in values))


def number(text: str) -> float:
    """The number that is written; the text must match `NUMBER`."""
    unsigned = text.lstrip("+-")
    if unsigned.startswith(("0x", "0o")):
        return float(int(unsigned, 0)) * (-1 if text.startswith("-") else 1)
    return float(text)


def distinct(values: Iterable[Value]) -> Values:
    """The values, each once; one that is unknown where there are too many."""
    taken = list(itertools.islice(values, MAX_VALUES + 1))
    if len(taken) > MAX_VALUES:
        return (Value(Unknown(f"it may come to more than {MAX_VALUES} values")),)
    return tuple(dict.fromkeys(taken))


class _InvalidExpressionError(Exception):
    """An expression that GitHub would refuse."""


def expression(text: str, lookup: Lookup) -> Values:
    """What the inside of `${{ … }}` comes to."""
    try:
        return _Parser(text, lookup).parse()
    except _InvalidExpressionError as error:
        return (Value(Unknown(f"the expression cannot be read: {error}")),)


class _Parser:
    """Reads an expression and works it out at once, by the precedence of GitHub's operators."""

    def __init__(self, text: str, lookup: Lookup) -> None:
        self._tokens = list(_tokens(text))
        self._next = 0
        self._depth = 0
        self._lookup = lookup

    def parse(self) -> Values:
        values = self._or()
        if self._next < len(self._tokens):
            raise _InvalidExpressionError(f'"{self._tokens[self._next]}" is not expected there')
        return values

    def _or(self) -> Values:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _InvalidExpressionError(f"it is nested more than {MAX_DEPTH} deep")
        values = self._and()
        while self._take("||"):
            values = distinct(_first_true(values, self._and()))
        self._depth -= 1
        return values

    def _and(self) -> Values:
        values = self._comparison()
        while self._take("&&"):
            values = distinct(_last_true(values, self._comparison()))
        return values

    def _comparison(self) -> Values:
        values = self._unary()
        while (sign := self._peek()) in {"==", "!=", "<", "<=", ">", ">="}:
            self._next += 1
            pairs = itertools.product(values, self._unary())
            values = distinct(_compared(sign, left, right) for left, right in pairs)
        return values

    def _unary(self) -> Values:
        negations = 0
        while self._take("!"):
            negations += 1
        values = self._operand()
        if not negations:
            return values
        return distinct(
            replace(value, content=replace(value.content, beginning=""))
            if isinstance(value.content, Unknown)
            else replace(value, content=value.is_empty == bool(negations % 2))
            for value in values
        )

    def _operand(self) -> Values:
        token = self._advance()
        if token == "(":
            values = self._or()
            self._expect(")")
            return self._parts_of(values)
        if token.startswith("'"):
            return (Value(token[1:-1].replace("''", "'")),)
        if NUMBER.fullmatch(token):
            return (Value(number(token)),)
        if token.lower() in _LITERALS:
            return (Value(_LITERALS[token.lower()]),)
        if not (token[0].isalpha() or token[0] == "_"):
            raise _InvalidExpressionError(f'"{token}" is not expected there')
        return self._parts_of(self._call(token)) if self._take("(") else self._context(token)

    def _context(self, name: str) -> Values:
        path = [name.lower()]
        constant = True
        while (sign := self._peek()) in {".", "["}:
            self._next += 1
            if sign == ".":
                part = self._advance()
                constant = constant and part != "*"
                # Variables keep their case: those of the job's machine do.
                path.append(part if path == ["env"] else part.lower())
                continue
            keys = self._or()
            self._expect("]")
            key = keys[0].content
            constant = constant and len(keys) == 1 and isinstance(key, str)
            path.append(str(key) if path == ["env"] else str(key).lower())
        if not constant:
            return (Value(Unknown(f"a part of {path[0]} is chosen by what is known only when the workflow runs")),)
        return self._lookup(tuple(path))

    def _parts_of(self, values: Values) -> Values:
        """What a call or something in parentheses comes to, or the part of it that is asked for behind it."""
        while (sign := self._peek()) in {".", "["}:
            self._next += 1
            if sign == ".":
                keys: Values = (Value(self._advance()),)
            else:
                keys = (Value("*"),) if self._take("*") else self._or()
                self._expect("]")
            values = distinct(_part_of(value, key) for value, key in itertools.product(values, keys))
        return values

    def _call(self, name: str) -> Values:
        arguments: list[Values] = []
        while not self._take(")"):
            arguments.append(self._or())
            if self._peek() != ")":
                self._expect(",")
        if name.lower() == "fromjson" and len(arguments) == 1:
            return distinct(map(_from_json, arguments[0]))
        if name.lower() not in _FUNCTIONS:
            return (Value(Unknown(f"what {name}() gives is known only when the workflow runs")),)
        return distinct(_called(name.lower(), choice) for choice in itertools.product(*arguments))

    def _peek(self) -> str:
        return self._tokens[self._next] if self._next < len(self._tokens) else ""

    def _advance(self) -> str:
        token = self._peek()
        if not token:
            raise _InvalidExpressionError("it ends too early")
        self._next += 1
        return token

    def _take(self, sign: str) -> bool:
        taken = self._peek() == sign
        self._next += taken
        return taken

    def _expect(self, sign: str) -> None:
        if not self._take(sign):
            raise _InvalidExpressionError(f'"{sign}" is missing')


def _tokens(text: str) -> Iterator[str]:
    position, end = 0, len(text.rstrip())
    while position < end:
        match = _TOKEN.match(text, position)
        if match is None:
            raise _InvalidExpressionError(f'"{text[position:].strip()[:20]}" is not expected there')
        yield match.group().strip() if match["text"] is None else match["text"]
        position = match.end()


def _first_true(left: Values, right: Values) -> Iterator[Value]:
    """`left || right`: where it is not known whether left is empty, right is what is taken by default."""
    for value in left:
        if isinstance(value.content, Unknown):
            yield from (_after(other, (_IF_EMPTY,), overridable=True) for other in right)
        elif value.is_empty:
            yield from (_after(other, value.how, overridable=value.overridable) for other in right)
        else:
            yield value
            if value.or_empty:
                yield from (_after(other, (_IF_EMPTY,), overridable=True) for other in right)


def _last_true(left: Values, right: Values) -> Iterator[Value]:
    """`left && right`: where left is not known both ways are gone, as in `condition && 'a' || 'b'`."""
    for value in left:
        if isinstance(value.content, Unknown):
            yield from (_after(other, (_IF_TRUE,), overridable=True) for other in right)
            yield Value(content=False, overridable=True)
        elif value.is_empty:
            yield value
        else:
            yield from (_after(other, value.how, overridable=value.overridable) for other in right)


def _after(value: Value, how: tuple[str, ...], *, overridable: bool) -> Value:
    steps = tuple(dict.fromkeys((*how, *value.how)))
    return replace(value, how=steps, overridable=value.overridable or overridable)


def _compared(sign: str, left: Value, right: Value) -> Value:
    """A comparison; of texts without regard to case, as GitHub's is. Others than of equal types are left unknown."""
    how, overridable = (*left.how, *right.how), left.overridable or right.overridable
    one, other = left.content, right.content
    for content in (one, other):
        if isinstance(content, Unknown):
            return Value(worked_out_from(content), how)  # type: ignore[arg-type] # what is made of it is unknown too
    if isinstance(one, str) and isinstance(other, str):
        one, other = one.casefold(), other.casefold()
    if sign in {"==", "!="} and type(one) is type(other):
        return Value((one == other) == (sign == "=="), how, overridable)
    return Value(Unknown(f"what the comparison with {sign} gives is not worked out here"), how)


def _called(name: str, arguments: tuple[Value, ...]) -> Value:
    """What a function gives for texts."""
    if name == "format" and arguments:
        return _formatted(arguments[0], arguments[1:])
    merged = concatenated(arguments)
    if isinstance(merged.content, Unknown):
        return replace(merged, content=Unknown(merged.content.reason))
    texts = [text.value for text in (value.text for value in arguments) if isinstance(text, Known)]
    if len(texts) != 2:  # noqa: PLR2004 - a text, and what to look for in it
        raise _InvalidExpressionError(f"{name} takes two texts")
    text, part = texts[0].casefold(), texts[1].casefold()
    results = {"contains": part in text, "startswith": text.startswith(part), "endswith": text.endswith(part)}
    return replace(merged, content=results[name])


def _formatted(pattern: Value, arguments: tuple[Value, ...]) -> Value:
    """`format('{0}:{1}', …)`; braces are doubled to stand for themselves."""
    merged = concatenated((pattern, *arguments))
    if isinstance(pattern.text, Unknown):
        return replace(merged, content=Unknown(pattern.text.reason))
    parts: list[Value] = []
    position = 0
    for match in _FIELD.finditer(pattern.text.value):
        parts.append(Value(pattern.text.value[position : match.start()]))
        position = match.end()
        if match[1] is None:
            parts.append(Value(match[0][0]))
        elif int(match[1]) < len(arguments):
            parts.append(arguments[int(match[1])])
        else:
            return replace(merged, content=Unknown("format() is given too few arguments"))
    return replace(merged, content=concatenated((*parts, Value(pattern.text.value[position:]))).content)


def _from_json(value: Value) -> Value:
    """What `fromJSON` makes of a text."""
    text = value.text
    if isinstance(text, Unknown):
        return replace(value, content=Unknown(text.reason))
    try:
        json.loads(text.value)
        (node,) = jsonc.load("", text.value)
    except (ValueError, RecursionError, InvalidYamlError):
        return replace(value, content=Unknown("fromJSON() is given what is no JSON"))
    return replace(value, content=_content_of(node))


def _part_of(value: Value, key: Value) -> Value:
    """A part of a mapping or sequence; nothing where it has none, as in GitHub."""
    for content in (value.content, key.content):
        if isinstance(content, Unknown):
            return replace(value, content=Unknown(content.reason))
    if key.content == "*":
        return replace(value, content=Unknown("what all parts of a value come to is not worked out here"))
    part: Node | None = None
    match value.content:
        case MappingNode(entries=entries):
            wanted = str(key.content).lower()
            part = next((item for name, item in reversed(entries) if name.text.lower() == wanted), None)
        case SequenceNode(items=items) if isinstance(key.content, float) and 0 <= key.content < len(items):
            part = items[int(key.content)]
    return replace(value, content=None if part is None else _content_of(part))


def _content_of(node: Node) -> "str | float | bool | Node | Unknown | None":
    """A value of the file or of JSON that no expression stands in."""
    if not isinstance(node, ScalarNode):
        return node
    if "${{" in node.text:
        return Unknown("an expression within another value is not worked out here")
    if node.is_null:
        return None
    return node.text if node.style else plain(node.text)


def plain(text: str) -> str | float | bool:
    """What an unquoted scalar means: GitHub reads 3.10 as the number 3.1."""
    if text.lower() in {"true", "false"}:
        return text.lower() == "true"
    return number(text) if NUMBER.fullmatch(text) else text
