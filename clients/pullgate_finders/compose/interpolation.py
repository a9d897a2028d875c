"""Variables in the values of Compose files and of `.env`, filled in as Compose does (compose-go template/template.go).

    $NAME  ${NAME}       the value; nothing where it is not set
    ${NAME:-text}        the text where it is not set or empty; `-` alone: where it is not set
    ${NAME:+text}        the text where it is set and not empty; `+` alone: where it is set
    ${NAME:?message}     an error where it is not set or empty; `?` alone: where it is not set
    $$                   one `$`

The text after an operator may hold variables itself. A `$` before anything else stays, but `${` before anything else is
an error. What is "nothing" to Compose is not known here: another machine's environment may have the variable.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from pullgate_finders.values import Known, Text, Unknown, joined

MAX_NESTING = 50
"""Defaults within defaults; what a person writes has two or three."""

MAX_LENGTH = 1_000_000
"""Characters that variables may add to a text: variables that double each other would add any number."""

PROJECT_NAME = "COMPOSE_PROJECT_NAME"
"""Compose always sets it, from the name of a directory on the machine where nothing else says it."""

_NAME = re.compile(r"[_a-zA-Z][_a-zA-Z0-9]*")
_BRACE = re.compile(r"[{}]")
_OPERATOR = re.compile(r":?[-+?]")
_NOTHING: Mapping[str, Text] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Variables:
    """The variables that are known: the machine's environment is not, so that the result does not depend on it."""

    values: Mapping[str, Text] = field(default_factory=lambda: _NOTHING)

    def get(self, name: str) -> Text | None:
        """The value of a variable; None where it is not set."""
        if name == PROJECT_NAME and name not in self.values:
            return Unknown(f"{name} is the name of the project, which the machine's directory gives; write `name:`")
        return self.values.get(name)

    def with_defaults(self, values: Mapping[str, Text]) -> "Variables":
        """These, and others where these do not have one of the name."""
        return Variables(values={**values, **self.values})


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a template and what it comes to.

    Attributes:
        start, end: where it stands in the template, the end exclusive.
    """

    start: int
    end: int
    text: Text


class _InvalidTemplateError(Exception):
    """A template that Compose refuses, with the reason in a sentence."""


def interpolate(template: str, variables: Variables, where: str) -> tuple[Piece, ...]:
    """The pieces of a template, in order and without gaps; one that is unknown where the template is invalid.

    Args:
        where: the file and line of the template, for telling where a default stands: `compose.yaml:4`.
    """
    if "$" not in template:
        return (Piece(0, len(template), Known(template)),)
    try:
        return tuple(_Reading(variables, where).pieces(template, 0))
    except _InvalidTemplateError as error:
        return (Piece(0, len(template), Unknown(str(error))),)


def text_of(pieces: tuple[Piece, ...]) -> Text:
    """What the pieces come to together."""
    return joined(*(piece.text for piece in pieces))


def interpolated(template: str, variables: Variables, where: str) -> Text:
    """What a template comes to."""
    return text_of(interpolate(template, variables, where))


@dataclass(frozen=True, slots=True)
class _Reading:
    variables: Variables
    where: str

    def pieces(self, template: str, nesting: int) -> Iterator[Piece]:
        if nesting > MAX_NESTING:
            raise _InvalidTemplateError(f"its defaults are nested more than {MAX_NESTING} deep")
        position, added = 0, 0
        while (dollar := template.find("$", position)) >= 0:
            if dollar > position:
                yield Piece(position, dollar, Known(template[position:dollar]))
            position, text = self._after_dollar(template, dollar, nesting)
            added += len(text.value) if isinstance(text, Known) else 0
            if added > MAX_LENGTH:
                raise _InvalidTemplateError(f"its variables come to more than {MAX_LENGTH:,} characters")
            yield Piece(dollar, position, text)
        if position < len(template):
            yield Piece(position, len(template), Known(template[position:]))

    def _text(self, template: str, nesting: int) -> Text:
        return joined(*(piece.text for piece in self.pieces(template, nesting + 1)))

    def _after_dollar(self, template: str, dollar: int, nesting: int) -> tuple[int, Text]:
        """Where what begins with the `$` ends, and what it comes to."""
        if template.startswith("$$", dollar):
            return dollar + 2, Known("$")
        if template.startswith("${", dollar):
            return self._braced(template, dollar, nesting)
        name = _NAME.match(template, dollar + 1)
        if name is None:
            return dollar + 1, Known("$")
        return name.end(), self._value(name.group())

    def _braced(self, template: str, dollar: int, nesting: int) -> tuple[int, Text]:
        name = _NAME.match(template, dollar + 2)
        if name and template.startswith("}", name.end()):
            return name.end() + 1, self._value(name.group())
        operator = _OPERATOR.match(template, name.end()) if name else None
        end = _closing_brace(template, dollar, operator.end()) if operator else -1
        if name is None or operator is None or end < 0:
            raise _InvalidTemplateError(
                f'"{template[dollar : dollar + 40]}" is no variable that Compose can fill in; write $$ for a $'
            )
        value, word = self.variables.get(name.group()), template[operator.end() : end]
        return end + 1, self._operated(name.group(), operator.group(), value, word, nesting)

    def _operated(self, name: str, operator: str, value: Text | None, word: str, nesting: int) -> Text:
        if isinstance(value, Unknown):
            return value
        is_set = value is not None and not (operator.startswith(":") and value.value == "")
        match operator[-1]:
            case "-" if not is_set:
                return self._default(name, word, nesting)
            case "+" if is_set and value is not None:
                return joined(Known("", value.how, value.overridable), self._text(word, nesting))
            case "+":
                return Known("", (f"variable {name} is not set ({self.where})",), overridable=True)
            case "?" if not is_set:
                message = self._text(word, nesting)
                said = f": {message.value}" if isinstance(message, Known) and message.value else ""
                return Unknown(f"variable {name} is required and not set{said}; set it with --env or in .env")
        return value if value is not None else self._value(name)

    def _default(self, name: str, word: str, nesting: int) -> Text:
        step = f"default of variable {name} ({self.where})"
        return joined(Known("", (step,), overridable=True), self._text(word, nesting))

    def _value(self, name: str) -> Text:
        value = self.variables.get(name)
        if value is None:
            return Unknown(f"variable {name} is not set and has no default; set it with --env or in .env")
        return value


def _closing_brace(template: str, dollar: int, after: int) -> int:
    """The index of the brace that ends what begins at `dollar`, or -1; it stands on the same line.

    Where braces do not match up Compose takes the line's last one, as in `${A:-$${B}`.
    """
    line_end = template.find("\n", after)
    line_end = len(template) if line_end < 0 else line_end
    depth = 0
    for brace in _BRACE.finditer(template, dollar, line_end):
        depth += 1 if brace.group() == "{" else -1
        if depth == 0:
            return brace.start()
    return template.rfind("}", after, line_end)
