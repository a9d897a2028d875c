"""How values are written in documents: one definition per field, for reading, checking, writing and JSON Schema.

A document is plain data (dicts, lists, text, booleans, None), as YAML and JSON give it. A `Kind` says how one sort of
value stands in it. Reading never stops at the first problem and never guesses: every problem is noted at its path.
"""

import dataclasses
import difflib
import enum
import inspect
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from pullgate_policy.errors import Problem, shown

if TYPE_CHECKING:
    from typing_extensions import TypeIs

T = TypeVar("T")
E = TypeVar("E", bound=enum.Enum)

Plain = None | bool | int | float | str | list["Plain"] | dict[str, "Plain"]
"""What YAML and JSON can say."""


class Kind(Protocol[T]):
    """How one sort of value is written in a document."""

    def read(self, data: object, path: str, problems: list[Problem]) -> T | None:
        """The value that `data` means; None after noting in `problems` why it means none."""
        ...

    def write(self, value: T) -> Plain:
        """The form that `read` reads as `value`."""
        ...

    def json_schema(self) -> dict[str, Plain]:
        """The JSON Schema (draft 2020-12) of what `read` reads: it may accept more, and never less."""
        ...


def describe(data: object) -> str:
    """`data` as a person would name it in 'expected …, got …'."""
    match data:
        case None:
            return "nothing"
        case bool():
            return "true" if data else "false"
        case str():
            return f"the text {shown(data)}"
        case int() | float():
            return f"the number {data}"
        case list():
            return "a list"
        case dict():
            return "a section with keys"
        case _:
            return f"a {type(data).__name__}"


def suggestion(key: str, known: Iterable[str]) -> str:
    """' (did you mean …?)' if `key` looks like one of `known`, else the list of them."""
    known = sorted(known)
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else f"; known here: {', '.join(known)}"


class Boolean:
    """true or false."""

    def read(self, data: object, path: str, problems: list[Problem]) -> bool | None:
        """A truth value, and nothing that merely looks like one."""
        if not isinstance(data, bool):
            problems.append(Problem(path, f"expected true or false, got {describe(data)}"))
            return None
        return data

    def write(self, value: bool) -> Plain:
        """As it is."""
        return value

    def json_schema(self) -> dict[str, Plain]:
        """A truth value."""
        return {"type": "boolean"}


class OptionalBoolean(Boolean):
    """true, false, or null for 'not said'."""

    def read(self, data: object, path: str, problems: list[Problem]) -> bool | None:
        """None is a value here."""
        return None if data is None else super().read(data, path, problems)

    def write(self, value: bool | None) -> Plain:
        """As it is."""
        return value

    def json_schema(self) -> dict[str, Plain]:
        """A truth value or null."""
        return {"type": ["boolean", "null"]}


class Granted(Boolean):
    """true, or left out: a grant that says false would look like a prohibition and be none."""

    def read(self, data: object, path: str, problems: list[Problem]) -> bool | None:
        """Only true."""
        if data is False:
            problems.append(Problem(path, "a team's grants only widen, so false does nothing; remove it"))
            return None
        return super().read(data, path, problems)

    def json_schema(self) -> dict[str, Plain]:
        """Only true."""
        return {"type": "boolean", "const": True}


class Text(Generic[T]):
    """A text with a meaning of its own.

    Args:
        parse: gives the value, or raises ValueError with a sentence whose subject is the text ('is not a host').
        write: gives the text back.
        keywords: of JSON Schema, such as `pattern` and `examples`; every text that `parse` reads satisfies them.
    """

    def __init__(self, parse: Callable[[str], T], write: Callable[[T], str] = str, **keywords: Plain) -> None:
        self._parse = parse
        self._write = write
        self._keywords = keywords

    def read(self, data: object, path: str, problems: list[Problem]) -> T | None:
        """The parsed text."""
        if not isinstance(data, str):
            hint = "" if data is None or isinstance(data, list | dict) else '; put it in quotes ("…") if it is a text'
            problems.append(Problem(path, f"expected a text, got {describe(data)}{hint}"))
            return None
        try:
            return self._parse(data)
        except ValueError as error:
            problems.append(Problem(path, f"{shown(data)} {error}"))
            return None

    def write(self, value: T) -> Plain:
        """The text."""
        return self._write(value)

    def json_schema(self) -> dict[str, Plain]:
        """A text, as closely as the keywords tell it."""
        return {"type": "string", **self._keywords}


class Choice(Generic[E]):
    """One of an enum's values, as text."""

    def __init__(self, choices: type[E]) -> None:
        self._choices = choices

    def read(self, data: object, path: str, problems: list[Problem]) -> E | None:
        """The member."""
        for member in self._choices:
            if member.value == data:
                return member
        words = [str(member.value) for member in self._choices]
        hint = suggestion(data, words) if isinstance(data, str) else f"; known here: {', '.join(words)}"
        problems.append(Problem(path, f"{describe(data)} is not a choice{hint}"))
        return None

    def write(self, value: E) -> Plain:
        """The member's value."""
        return str(value.value)

    def json_schema(self) -> dict[str, Plain]:
        """One of the words."""
        return {"type": "string", "enum": [str(member.value) for member in self._choices]}


class Timestamp:
    """A moment with its time zone (RFC 3339), or null for never."""

    def read(self, data: object, path: str, problems: list[Problem]) -> datetime | None:
        """The moment in UTC."""
        if data is None:
            return None
        moment = data if isinstance(data, datetime) else None
        if isinstance(data, str):
            try:
                moment = datetime.fromisoformat(data)
            except ValueError:
                moment = None
        if moment is None:
            problems.append(Problem(path, f"{describe(data)} is not a time such as 2027-01-01T00:00:00Z"))
            return None
        if moment.tzinfo is None:
            problems.append(Problem(path, f"{describe(data)} has no time zone; write it as 2027-01-01T00:00:00Z"))
            return None
        try:
            return moment.astimezone(UTC)
        except OverflowError:
            problems.append(Problem(path, f"{describe(data)} is out of range"))
            return None

    def write(self, value: datetime | None) -> Plain:
        """With Z for UTC, the form RFC 3339 and protobuf's JSON share."""
        return None if value is None else value.astimezone(UTC).isoformat().replace("+00:00", "Z")

    def json_schema(self) -> dict[str, Plain]:
        """A text or null. The format is an annotation, as draft 2020-12 has it: `read` reads more of ISO 8601."""
        return {"type": ["string", "null"], "format": "date-time", "examples": ["2027-01-01T00:00:00Z"]}


class ListOf(Generic[T]):
    """A list of one kind; nothing at all is the empty list."""

    def __init__(self, kind: Kind[T]) -> None:
        self._kind = kind

    def read(self, data: object, path: str, problems: list[Problem]) -> tuple[T, ...] | None:
        """The items, in order."""
        if data is None:
            return ()
        if not isinstance(data, list):
            problems.append(Problem(path, f"expected a list, got {describe(data)}"))
            return None
        items = (self._kind.read(item, f"{path}[{index}]", problems) for index, item in enumerate(data))
        return tuple(item for item in items if item is not None)

    def write(self, value: Iterable[T]) -> Plain:
        """The items, in order."""
        return [self._kind.write(item) for item in value]

    def json_schema(self) -> dict[str, Plain]:
        """A list or null."""
        return {"type": ["array", "null"], "items": self._kind.json_schema()}


class SetOf(Generic[T]):
    """A list in which the order says nothing and no item stands twice."""

    def __init__(self, kind: Kind[T]) -> None:
        self._list = ListOf(kind)

    def read(self, data: object, path: str, problems: list[Problem]) -> frozenset[T] | None:
        """The items."""
        items = self._list.read(data, path, problems)
        return None if items is None else frozenset(items)

    def write(self, value: Iterable[T]) -> Plain:
        """The items, sorted as text, so that equal sets are written alike."""
        return self._list.write(sorted(value, key=str))

    def json_schema(self) -> dict[str, Plain]:
        """A list or null; an item may stand twice, which means nothing."""
        return self._list.json_schema()


class MapOf(Generic[T]):
    """A section whose keys are names and whose values are of one kind; nothing at all is the empty one."""

    def __init__(self, name: Text[str], kind: Kind[T]) -> None:
        self._name = name
        self._kind = kind

    def read(self, data: object, path: str, problems: list[Problem]) -> Mapping[str, T] | None:
        """The values by name."""
        if data is None:
            return MappingProxyType({})
        if not _is_section(data, path, problems):
            return None
        values = {}
        for key, item in data.items():
            name = self._name.read(key, f"{path}.{key}", problems)
            value = self._kind.read(item, f"{path}.{key}", problems)
            if name is not None and value is not None:
                values[name] = value
        return MappingProxyType(values)

    def write(self, value: Mapping[str, T]) -> Plain:
        """The values by name."""
        return {name: self._kind.write(item) for name, item in value.items()}

    def json_schema(self) -> dict[str, Plain]:
        """An object of any names, or null."""
        return {
            "type": ["object", "null"],
            "propertyNames": self._name.json_schema(),
            "additionalProperties": self._kind.json_schema(),
        }


class Record(Generic[T]):
    """A section with known keys: the fields of a dataclass that were declared with `written`."""

    def __init__(self, record: type[T], *, omit_defaults: bool = False) -> None:
        self._record = record
        self._omit_defaults = omit_defaults
        self._kinds: dict[str, Kind[Any]] = {
            field.name: field.metadata["kind"]
            for field in dataclasses.fields(record)  # type: ignore[arg-type]
        }
        self._descriptions: dict[str, str] = {
            field.name: field.metadata["description"]
            for field in dataclasses.fields(record)  # type: ignore[arg-type]
        }
        self._defaults = {
            field.name: field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
            for field in dataclasses.fields(record)  # type: ignore[arg-type]
        }

    def read(self, data: object, path: str, problems: list[Problem]) -> T | None:
        """The dataclass; what is left out takes its default, and an unknown key is a problem."""
        if data is None:
            data = {}
        if not _is_section(data, path, problems):
            return None
        before = len(problems)
        values = {}
        for key, item in data.items():
            where = f"{path}.{key}" if path else key
            if key not in self._kinds:
                problems.append(Problem(where, f"unknown key{suggestion(key, self._kinds)}"))
            else:
                values[key] = self._kinds[key].read(item, where, problems)
        for key, default in self._defaults.items():
            if default is dataclasses.MISSING and key not in values:
                problems.append(Problem(f"{path}.{key}" if path else key, "is missing"))
        if len(problems) > before:
            return None
        try:
            return self._record(**values)
        except ValueError as error:
            problems.append(Problem(path, str(error)))
            return None

    def write(self, value: T) -> Plain:
        """All fields, so that a reader sees what holds; only those that differ from their default if so declared."""
        items = {key: getattr(value, key) for key in self._kinds}
        if self._omit_defaults:
            items = {key: item for key, item in items.items() if item != self._defaults[key]}
        return {key: self._kinds[key].write(item) for key, item in items.items()}

    def json_schema(self) -> dict[str, Plain]:
        """An object with the known keys and no others, described as the dataclass is; null if no key is required."""
        required: list[Plain] = [key for key, default in self._defaults.items() if default is dataclasses.MISSING]
        return {
            "type": "object" if required else ["object", "null"],
            "description": " ".join((inspect.getdoc(self._record) or "").partition("\n\n")[0].split()),
            "properties": {key: self._property(key) for key in self._kinds},
            "required": required,
            "additionalProperties": False,
        }

    def _property(self, key: str) -> dict[str, Plain]:
        schema = self._kinds[key].json_schema()
        if self._descriptions[key]:
            schema["description"] = self._descriptions[key]
        # A default that is never written need not be readable: a grant's false is left out, and refused if written.
        if self._defaults[key] is not dataclasses.MISSING and not self._omit_defaults:
            default = self._kinds[key].write(self._defaults[key])
            # A section's default stands at each of its own keys.
            if not isinstance(default, dict):
                schema["default"] = default
        return schema


def written(kind: Kind[Any], description: str = "", **options: Any) -> Any:
    """Declare a dataclass field and how it is written.

    Args:
        kind: how.
        description: a sentence for who writes the document; empty where the kind's own says it.
        options: those of `dataclasses.field`.
    """
    return dataclasses.field(metadata={"kind": kind, "description": description}, **options)


def _is_section(data: object, path: str, problems: list[Problem]) -> "TypeIs[dict[str, object]]":
    if not isinstance(data, dict):
        problems.append(Problem(path, f"expected a section with keys, got {describe(data)}"))
        return False
    wrong = [key for key in data if not isinstance(key, str)]
    problems.extend(Problem(path, f"the key {key!r} is not a text; put it in quotes") for key in wrong)
    return not wrong
