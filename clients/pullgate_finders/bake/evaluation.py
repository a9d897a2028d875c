"""What the values in a Bake file come to, as far as that is the same in every run.

Source: "Variables in Bake" and "Expression evaluation in Bake" of the documentation of Docker Build: a variable has its
default unless the environment gives another value, which is what `settings.variables` stands for.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from pullgate_finders.bake import hcl
from pullgate_finders.bake.scanner import template_parts
from pullgate_finders.bake.syntax import Computed, Expression, InvalidBakeError, List, Literal, Map, Name, Template
from pullgate_finders.found import Place
from pullgate_finders.values import Known, Text, Unknown, joined

MAX_LENGTH = 1_000_000
"""Characters that a text may come to: variables can double each other."""

MAX_CHAIN = 50
"""Variables that may be defined by each other in a row."""

_MAX_PARTS = 3
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\"}
_CODE_LENGTHS = {"u": 4, "U": 8}
_LAST_CHARACTER = 0x10FFFF


@dataclass(frozen=True, slots=True, eq=False)
class Scalar:
    """A text, or null, which is None, and the expression that it stands in."""

    text: Text | None
    at: Expression


@dataclass(frozen=True, slots=True, eq=False)
class Many:
    """Values in order."""

    items: tuple["Value", ...]
    at: Expression


@dataclass(frozen=True, slots=True, eq=False)
class Named:
    """Values by key."""

    entries: Mapping[str, "Value"]
    at: Expression


Value = Scalar | Many | Named


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """A variable: what it is without more, None where nothing is said, and whether the environment overrides that."""

    default: Expression | None
    place: Place
    is_overridable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What names stand for.

    Attributes:
        definitions: variables and global attributes, by name.
        given: values that stand instead of the variables' defaults.
        local: names of a matrix, for one combination of its values.
    """

    definitions: Mapping[str, Definition]
    given: Mapping[str, str]
    local: Mapping[str, Value] = field(default_factory=dict)
    _known: dict[str, Value] = field(default_factory=dict)
    _open: list[str] = field(default_factory=list)

    def with_local(self, local: Mapping[str, Value]) -> "Scope":
        """The scope in which these names come first."""
        return replace(self, local=local)

    def value(self, expression: Expression) -> Value:
        """What an expression comes to."""
        match expression:
            case Literal(text=text):
                return Scalar(None if text is None else Known(text), expression)
            case Template():
                return self._template(expression)
            case Name():
                return self._name(expression)
            case List(items=items):
                return Many(tuple(self.value(item) for item in items), expression)
            case Map(entries=entries):
                return Named({self._key(key): self.value(value) for key, value in entries}, expression)
            case Computed(by=by):
                return Scalar(Unknown(f"it is the result of {by}, which Bake works out when it builds"), expression)
        raise TypeError(expression)

    def text_of(self, written: str, at: Template) -> Text:
        """What a part of a template comes to."""
        parts: list[Text] = []
        length = 0
        try:
            for kind, start, end in template_parts(written):
                piece = written[start:end]
                if kind in {"text", "escaped"}:
                    parts.append(Known(unescaped(piece) if at.escaped else piece))
                elif kind == "value":
                    parts.append(as_text(self.value(hcl.read_expression(piece))))
                else:
                    parts.append(Unknown(f"it is the result of %{{{piece}}}, which Bake works out when it builds"))
                length += len(parts[-1].value) if isinstance(parts[-1], Known) else 0
                if length > MAX_LENGTH:
                    return Unknown(f"it comes to more than {MAX_LENGTH:,} characters")
        except InvalidBakeError as error:
            return Unknown(f"${{…}} in it is not valid: {error.problem}")
        return joined(*parts)

    def _template(self, template: Template) -> Value:
        """A template that is but one `${…}` is what stands in that, be it a text or not."""
        written = template.source.text
        if written.startswith("${") and written.endswith("}"):
            try:
                parts = [part for part in template_parts(written) if part[1] < part[2]]
                if len(parts) == 1 and parts[0][0] == "value":
                    value = self.value(hcl.read_expression(written[parts[0][1] : parts[0][2]]))
                    return Scalar(value.text, template) if isinstance(value, Scalar) else value
            except InvalidBakeError as error:
                return Scalar(Unknown(f"${{…}} in it is not valid: {error.problem}"), template)
        return Scalar(self.text_of(written, template), template)

    def _name(self, name: Name) -> Value:
        value = self.local.get(name.root) or self._variable(name.root)
        for step in name.steps:
            match value:
                case Named(entries=entries) if step in entries:
                    value = entries[step]
                case Many(items=items) if step.isdecimal() and int(step) < len(items):
                    value = items[int(step)]
                case Scalar(text=Unknown()):
                    break
                case _:
                    return Scalar(Unknown(f"{name.raw} does not say anything here"), name)
        return Scalar(value.text, name) if isinstance(value, Scalar) else value

    def _variable(self, name: str) -> Value:
        if name not in self._known:
            at = Name(place=Place("", 1, 1, 1, 1), raw=name, root=name, steps=())
            if name in self._open:
                return Scalar(Unknown(f"variable {name} is defined by itself"), at)
            if len(self._open) >= MAX_CHAIN:
                return Scalar(Unknown(f"more than {MAX_CHAIN} variables are defined by each other"), at)
            self._open.append(name)
            self._known[name] = self._defined(name, at)
            self._open.pop()
        return self._known[name]

    def _defined(self, name: str, at: Name) -> Value:
        definition = self.definitions.get(name)
        if definition is None:
            reason = f"variable {name} is not defined in this file"
            if name.startswith("BAKE_"):
                reason = f"{name} is known only where it is built"
            return Scalar(Unknown(reason), at)
        place = f"{definition.place.file}:{definition.place.line}"
        if definition.is_overridable and name in self.given:
            return Scalar(Known(self.given[name], (f"variable {name} that was given",)), at)
        if definition.default is None:
            return Scalar(Unknown(f"variable {name} ({place}) has no default; give it with --env {name}=…"), at)
        value = self.with_local({}).value(definition.default)
        if not definition.is_overridable:
            return value
        return _as_default(value, f"default of variable {name} ({place})")

    def _key(self, key: Expression) -> str:
        """A key that is not known keeps what is written, so that its value is not lost."""
        value = self.value(key)
        return value.text.value if isinstance(value, Scalar) and isinstance(value.text, Known) else key.raw


def as_text(value: Value) -> Text:
    """A value in a text."""
    match value:
        case Scalar(text=None):
            return Unknown("it is null here")
        case Scalar(text=text) if text is not None:
            return text
    return Unknown("a list or a map is no text")


def part_of(scalar: Scalar, scope: Scope, start: int, end: int) -> tuple[str, Text, Place]:
    """The text between two indexes of what is written, as it is written, what it comes to, and its place.

    Of what is not written as it is read, as the name of a variable or a string with escapes, the indexes are those of
    what it comes to.
    """
    at = scalar.at
    if isinstance(at, Template) and at.source.whole is None:
        raw = at.source.text[start:end]
        text = scope.text_of(raw, at)
        reached = [step for step in _steps(scalar.text) if step not in _steps(scope.text_of(at.source.text, at))]
        if reached and isinstance(text, Known):
            # The template is in the default of a variable.
            text = replace(text, how=(*text.how, *reached), overridable=True)
        return raw, text, at.source.place_of(start, end)
    whole = as_text(scalar)
    return at.raw, replace(whole, value=whole.value[start:end]) if isinstance(whole, Known) else whole, at.place


def _steps(text: Text | None) -> tuple[str, ...]:
    return text.how if text is not None else ()


def written(scalar: Scalar) -> str:
    """What the indexes of `part_of` count in."""
    if isinstance(scalar.at, Template) and scalar.at.source.whole is None:
        return scalar.at.source.text
    return scalar.text.value if isinstance(scalar.text, Known) else ""


def _as_default(value: Value, step: str, depth: int = 0) -> Value:
    """A value as one that may be overridden, what is in it as well, down to where values of a target can be."""
    match value:
        case Many(items=items) if depth < _MAX_PARTS:
            return Many(tuple(_as_default(item, step, depth + 1) for item in items), value.at)
        case Named(entries=entries) if depth < _MAX_PARTS:
            return Named({key: _as_default(item, step, depth + 1) for key, item in entries.items()}, value.at)
        case Scalar(text=Known() as text):
            return Scalar(replace(text, how=(*text.how, step), overridable=True), value.at)
        case Scalar(text=Unknown() as text):
            return Scalar(replace(text, how=(*text.how, step)), value.at)
    return value


def unescaped(piece: str) -> str:
    """A piece of a quoted string with what its escapes stand for."""
    if "\\" not in piece:
        return piece
    made: list[str] = []
    index = 0
    while index < len(piece):
        character, following = piece[index], piece[index + 1 : index + 2]
        if character != "\\":
            made.append(character)
            index += 1
        elif following in _CODE_LENGTHS:
            digits = piece[index + 2 : index + 2 + _CODE_LENGTHS[following]]
            code = int(digits, 16) if digits.isascii() and digits.isalnum() and _is_hexadecimal(digits) else 0xFFFD
            made.append(chr(code) if code <= _LAST_CHARACTER else "\ufffd")
            index += 2 + len(digits)
        else:
            made.append(_ESCAPES.get(following, following))
            index += 2
    return "".join(made)


def _is_hexadecimal(digits: str) -> bool:
    return all(digit in "0123456789abcdefABCDEF" for digit in digits)
