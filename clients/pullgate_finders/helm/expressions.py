"""The simple ones of the expressions in Helm's templates, worked out from the defaults of a chart.

What is read: fields of `.Values` and `.Chart`, texts, parentheses, pipes, and the functions below, as Go's
text/template, sprig and Helm define them. Whatever else there is makes the text unknown; nothing is guessed.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pullgate_finders.helm.chart import Chart, value_text
from pullgate_finders.values import Known, Text, Unknown, joined
from pullgate_finders.yaml_nodes import ScalarNode

MAX_DEPTH = 20
"""How deep parentheses and templates in values may be nested."""

ACTION = re.compile(r"\{\{(?:\"(?:[^\"\\\n]|\\.)*\"|`[^`]*`|[^\"`{}]|\{(?!\{)|\}(?!\}))*\}\}")
_TOKEN = re.compile(
    r"\s*(?:(?P<text>\"(?:[^\"\\]|\\.)*\"|`[^`]*`)|(?P<field>\$?\.[\w.]*|\$)|(?P<number>-?\d+(?:\.\d+)?)"
    r"|(?P<word>[A-Za-z_]\w*)|(?P<mark>[()|]))\s*"
)
_VERB = re.compile(r"%[-+# 0]*[0-9.]*[A-Za-z%]")
_ADVICE = "check what `helm template` makes of the chart"
_MISSING = "has no value in the chart's own files"


class _NotSimpleError(Exception):
    """An expression is more than what is read."""


@dataclass(frozen=True, slots=True)
class _Missing:
    """A value that the chart does not give."""

    name: str


_Value = Known | Unknown | _Missing


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str


def evaluate(text: str, chart: Chart, depth: int = 0) -> Text:
    """What a text with `{{ … }}` in it comes to by the defaults of its chart."""
    parts: list[Text] = []
    end = 0
    for action in ACTION.finditer(text):
        parts += [Known(text[end : action.start()]), _action(action[0], chart, depth)]
        end = action.end()
    rest = text[end:]
    if "{{" in rest:
        parts.append(Unknown(f"its template is not closed on this line; {_ADVICE}"))
    return joined(*parts, Known(rest))


def _action(action: str, chart: Chart, depth: int) -> Text:
    expression = action[2:-2].removeprefix("-").removesuffix("-").strip()
    try:
        value = _Parser(_tokens(expression), chart, depth).expression()
    except _NotSimpleError as error:
        return Unknown(f"it is made by a template, {error}; {_ADVICE}")
    if isinstance(value, _Missing):
        why = chart.missing or f"{value.name} {_MISSING}"
        return Unknown(f"it is made by a template, and {why}; {_ADVICE}")
    return value


def _tokens(expression: str) -> list[_Token]:
    tokens: list[_Token] = []
    position = 0
    while position < len(expression):
        match = _TOKEN.match(expression, position)
        if match is None or match.lastgroup is None:
            raise _NotSimpleError(f"{{{{ {expression} }}}}")
        tokens.append(_Token(match.lastgroup, match[match.lastgroup]))
        position = match.end()
    return tokens


class _Parser:
    """Reads and works out one expression: `pipeline = command ("|" command)*`."""

    def __init__(self, tokens: Sequence[_Token], chart: Chart, depth: int) -> None:
        self._tokens = tokens
        self._chart = chart
        self._depth = depth
        self._position = 0

    def expression(self) -> _Value:
        """The value of all of it."""
        value = self._pipeline()
        if self._position < len(self._tokens):
            raise _NotSimpleError(f"with `{self._tokens[self._position].text}` in it")
        return value

    def _pipeline(self) -> _Value:
        value = self._command(())
        while self._next_is("|"):
            self._position += 1
            value = self._command((value,))
        return value

    def _command(self, piped: tuple[_Value, ...]) -> _Value:
        """A value, or a function with its arguments; what is piped in is the last of them."""
        if self._position >= len(self._tokens):
            raise _NotSimpleError("with an empty expression in it")
        token = self._tokens[self._position]
        if token.kind != "word":
            if piped:
                raise _NotSimpleError(f"that pipes into `{token.text}`")
            return self._operand()
        self._position += 1
        if token.text in {"include", "template", "tpl", "index"}:
            return self._special(token.text, piped)
        arguments = [*self._operands(), *piped]
        function = _FUNCTIONS.get(token.text)
        if function is None:
            raise _NotSimpleError(f"with `{token.text}` in it")
        return function(arguments)

    def _special(self, name: str, piped: tuple[_Value, ...]) -> _Value:
        first = self._tokens[self._position] if self._position < len(self._tokens) else None
        if name == "index" and first is not None and first.text in {".Values", "$.Values"} and not piped:
            self._position += 1
            return self._value(tuple(_known(argument) for argument in self._operands()))
        if name == "tpl" and first is not None and not piped and self._depth < MAX_DEPTH:
            text = self._operand()
            if self._position < len(self._tokens) and self._tokens[self._position].text in {".", "$"}:
                self._position += 1
                return self._rendered(text)
        named = f" {first.text}" if first is not None and first.kind == "text" else ""
        raise _NotSimpleError(f"by {name}{named}")

    def _rendered(self, text: _Value) -> _Value:
        if not isinstance(text, Known):
            return text
        return joined(Known("", text.how, text.overridable), evaluate(text.value, self._chart, self._depth + 1))

    def _operands(self) -> list[_Value]:
        values: list[_Value] = []
        while self._position < len(self._tokens) and self._tokens[self._position].text not in {"|", ")"}:
            values.append(self._operand())
        return values

    def _operand(self) -> _Value:
        token = self._tokens[self._position]
        self._position += 1
        match token.kind:
            case "text":
                return Known(_unquoted(token.text))
            case "number":
                return Known(token.text)
            case "field":
                return self._field(token.text)
            case "mark" if token.text == "(":
                return self._parenthesised()
            case _:
                raise _NotSimpleError(f"with `{token.text}` in it")

    def _parenthesised(self) -> _Value:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _NotSimpleError("nested too deeply")
        value = self._pipeline()
        if not self._next_is(")"):
            raise _NotSimpleError("with a parenthesis that is not closed")
        self._position += 1
        if self._position < len(self._tokens) and self._tokens[self._position].text.startswith("."):
            raise _NotSimpleError("with a field of an expression")
        return value

    def _field(self, text: str) -> _Value:
        root, *path = text.removeprefix("$").removeprefix(".").split(".")
        if root == "Values" and path:
            return self._value(tuple(path))
        if root == "Chart" and len(path) == 1:
            key = path[0][:1].lower() + path[0][1:]
            return self._chart.text(key) or _Missing(text)
        # The dot may be anything, unless it leads to what every template is given.
        return _Missing(text) if root == "Values" else _raise_for_field(text)

    def _value(self, path: tuple[str, ...]) -> _Value:
        node = self._chart.value(path)
        name = ".Values." + ".".join(path)
        if node is None:
            return _Missing(name)
        if not isinstance(node, ScalarNode):
            raise _NotSimpleError(f"and {name} is no text")
        return value_text(node, path)

    def _next_is(self, mark: str) -> bool:
        return self._position < len(self._tokens) and self._tokens[self._position] == _Token("mark", mark)


def _raise_for_field(text: str) -> _Value:
    raise _NotSimpleError(f"and what `{text}` is depends on where the template is used")


def _default(arguments: Sequence[_Value]) -> _Value:
    """`default FALLBACK VALUE`: the fallback where the value is missing or empty."""
    if len(arguments) != 2:  # noqa: PLR2004 - it takes two
        raise _NotSimpleError("with `default` of other than two values")
    return _coalesce(arguments[::-1])


def _coalesce(arguments: Sequence[_Value]) -> _Value:
    """The first value that is not empty; a chart may be given another for what is empty by default."""
    for value in arguments:
        if isinstance(value, Unknown):
            return value
        if isinstance(value, Known) and value.value not in {"", "false", "0"}:
            is_first = value is arguments[0]
            return value if is_first else Known(value.value, value.how, overridable=True)
    return arguments[-1]


def _printf(arguments: Sequence[_Value]) -> _Value:
    """`printf FORMAT VALUE…` with `%s`, `%v` and `%d`, all of which print a text or number as it is."""
    pattern, values = _known(arguments[0]) if arguments else "", list(arguments[1:])
    verbs = _VERB.findall(pattern)
    if any(verb not in {"%s", "%v", "%d"} for verb in verbs) or len(verbs) != len(values):
        raise _NotSimpleError(f'with printf "{pattern}" in it')
    parts: list[Text] = []
    for literal, value in zip(_VERB.split(pattern), [*values, Known("")], strict=True):
        if isinstance(value, _Missing):
            return value
        parts += [Known(literal), value]
    return joined(*parts)


def _changed(change: Callable[[str], str]) -> Callable[[Sequence[_Value]], _Value]:
    """A function of one text."""

    def function(arguments: Sequence[_Value]) -> _Value:
        if len(arguments) != 1:
            raise _NotSimpleError("with a function of other than one value")
        value = arguments[0]
        return Known(change(value.value), value.how, value.overridable) if isinstance(value, Known) else value

    return function


def _without(remove: Callable[[str, str], str]) -> Callable[[Sequence[_Value]], _Value]:
    """A function that takes something away: `trimPrefix "v" TEXT`."""

    def function(arguments: Sequence[_Value]) -> _Value:
        if len(arguments) != 2:  # noqa: PLR2004 - it takes two
            raise _NotSimpleError("with a function of other than two values")
        what, value = _known(arguments[0]), arguments[1]
        return Known(remove(value.value, what), value.how, value.overridable) if isinstance(value, Known) else value

    return function


def _required(arguments: Sequence[_Value]) -> _Value:
    """`required MESSAGE VALUE`: rendering fails where the value is missing or empty."""
    value = arguments[-1] if arguments else Known("")
    return _Missing("a required value") if isinstance(value, Known) and not value.value else value


def _known(value: _Value) -> str:
    if not isinstance(value, Known):
        raise _NotSimpleError("with a part that is not known")
    return value.value


def _unquoted(literal: str) -> str:
    if literal.startswith("`"):
        return literal[1:-1]
    return re.sub(r"\\(.)", lambda match: {"n": "\n", "t": "\t"}.get(match[1], match[1]), literal[1:-1])


_FUNCTIONS: Mapping[str, Callable[[Sequence[_Value]], _Value]] = {
    "coalesce": _coalesce,
    "default": _default,
    "lower": _changed(str.lower),
    "printf": _printf,
    "print": _changed(str),
    # Quotes around a whole value are YAML's again once it is rendered.
    "quote": _changed(str),
    "squote": _changed(str),
    "required": _required,
    "toString": _changed(str),
    "trim": _changed(str.strip),
    "trimPrefix": _without(str.removeprefix),
    "trimSuffix": _without(str.removesuffix),
}
