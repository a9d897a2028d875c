"""Options and their values, as they stand in proto source."""

import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

INDENT = "  "

_LONG = 50
"""Characters above which options and values get lines of their own, as grpcurl lays them out."""

_MANY = 3
"""Options above which each gets a line of its own."""

_UNINTERPRETED = 999
"""The field of options that only parsers fill."""

_ANY = "google.protobuf.Any"

_ESCAPES = {ord(character): f"\\{escape}" for character, escape in zip('\n\r\t"\\', 'nrt"\\', strict=True)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """An option with its value.

    Attributes:
        name: as it is written; those of our own in parentheses, fully qualified.
        value: on a single line.
        lines: the value on as many lines as it needs.
        number: of the field that holds it in the options.
        index: which of several values of that field it is.
    """

    name: str
    value: str
    lines: Sequence[str]
    number: int = 0
    index: int = 0


def options_of(options: Message, pool: DescriptorPool) -> list[Option]:
    """The options that are set, by name, the standard ones first.

    Args:
        options: such as MessageOptions.
        pool: knows the extensions that declare options of one's own; others cannot be shown.
    """
    found = [
        option
        for field, value in _in_pool(options, pool).ListFields()
        for option in _options_of_field(field, value, pool)
    ]
    return sorted(found, key=by_name)


def by_name(option: Option) -> tuple[bool, str]:
    """Sorts options: the standard ones first."""
    return option.name.startswith("("), option.name


def _in_pool(options: Message, pool: DescriptorPool) -> Message:
    """The same options as a message whose extensions the pool knows."""
    try:
        known = pool.FindMessageTypeByName(options.DESCRIPTOR.full_name)
        return GetMessageClass(known).FromString(options.SerializeToString())
    except (KeyError, DecodeError):
        return options


def _options_of_field(field: FieldDescriptor, value: Any, pool: DescriptorPool) -> Iterator[Option]:
    if field.number == _UNINTERPRETED:
        return
    name = f"(.{field.full_name})" if field.is_extension else field.name
    values = list(_entries(field, value)) if _is_map(field) else list(value) if field.is_repeated else [value]
    for index, one in enumerate(values):
        compact = _value(field, one, pool)
        lines = _long_message(one, pool) if isinstance(one, Message) else [compact]
        yield Option(name=name, value=compact, lines=lines, number=field.number, index=index)


def in_brackets(options: Sequence[Option]) -> list[str]:
    """Options after a field, a value of an enum or a range: on one line if they are short, else a line each."""
    if not options:
        return [""]
    compact = ", ".join(f"{option.name} = {option.value}" for option in options)
    if len(options) <= _MANY and len(compact.encode()) <= _LONG:
        return [f" [{compact}]"]
    lines = [" ["]
    for option in options:
        lines += indented(assigned(option))
        lines[-1] += ","
    lines[-1] = lines[-1].removesuffix(",")
    return [*lines, "]"]


def assigned(option: Option, prefix: str = "") -> list[str]:
    """`name = value`, on as many lines as it needs."""
    return [f"{prefix}{option.name} = {option.lines[0]}", *option.lines[1:]]


def indented(lines: Sequence[str]) -> list[str]:
    """The lines one step further in."""
    return [INDENT + line if line else line for line in lines]


def quoted(text: str) -> str:
    """A string literal. What cannot be printed is escaped."""
    return f'"{"".join(map(_character, text))}"'


def _character(character: str) -> str:
    if escape := _ESCAPES.get(ord(character)):
        return escape
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\{code:03o}" if code < 0x80 else f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}"  # noqa: PLR2004


def quoted_bytes(data: bytes) -> str:
    """A bytes literal, in ASCII."""
    characters = (_ESCAPES.get(byte) or (chr(byte) if 0x20 <= byte < 0x7F else f"\\{byte:03o}") for byte in data)  # noqa: PLR2004
    return f'"{"".join(characters)}"'


def number_literal(value: float, *, single: bool = False) -> str:
    """A number: six decimal places, or as many as it takes to be the same number again.

    Args:
        value: the number.
        single: whether it is one of 32 bits.
    """
    if isinstance(value, int):
        return str(value)
    fixed = f"{value:f}"
    if math.isnan(value) or (_single(float(fixed)) == _single(value) if single else float(fixed) == value):
        return fixed
    return f"{value:.9g}" if single else repr(value)


def _single(value: float) -> float:
    """The nearest number of 32 bits."""
    return float(struct.unpack("<f", struct.pack("<f", value))[0])


def _value(field: FieldDescriptor, value: Any, pool: DescriptorPool) -> str:
    """One value of a field, on one line."""
    if isinstance(value, Message):
        return _message(value, pool)
    if field.enum_type:
        known = field.enum_type.values_by_number.get(value)
        return known.name if known else str(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, bytes):
        return quoted_bytes(value)
    return number_literal(value, single=field.cpp_type == FieldDescriptor.CPPTYPE_FLOAT)


def _message(message: Message, pool: DescriptorPool) -> str:
    """A message on one line."""
    fields = [f"{name}: {_field(field, value, pool)}" for name, field, value in _fields(message, pool)]
    return f"{{ {', '.join(fields)} }}" if fields else "{ }"


def _field(field: FieldDescriptor | None, value: Any, pool: DescriptorPool) -> str:
    if field is None:
        return _message(value, pool)
    if not field.is_repeated:
        return _value(field, value, pool)
    values = _entries(field, value) if _is_map(field) else value
    return f"[ {', '.join(_value(field, one, pool) for one in values)} ]"


def _long_message(message: Message, pool: DescriptorPool) -> list[str]:
    """A message on as many lines as it needs."""
    compact = _message(message, pool)
    if _fits(compact):
        return [compact]
    parts = []
    for name, field, value in _fields(message, pool):
        first, *rest = _long_field(field, value, pool)
        parts.append([f"{name}: {first}", *rest])
    return ["{", *_separated(parts), "}"]


def _long_field(field: FieldDescriptor | None, value: Any, pool: DescriptorPool) -> list[str]:
    if field is not None and field.is_repeated:
        compact = _field(field, value, pool)
        if _fits(compact, countable=not _is_map(field)):
            return [compact]
        values = _entries(field, value) if _is_map(field) else value
        parts = [_long_message(one, pool) if isinstance(one, Message) else [_value(field, one, pool)] for one in values]
        return ["[", *_separated(parts), "]"]
    return _long_message(value, pool) if isinstance(value, Message) else [_field(field, value, pool)]


def _fits(compact: str, *, countable: bool = True) -> bool:
    """Whether a value stays on one line: it is short, or holds too little to be spread."""
    return len(compact.encode()) <= _LONG or (countable and compact.count(",") <= 1 and compact.count("{") == 1)


def _separated(parts: Sequence[Sequence[str]]) -> list[str]:
    lines: list[str] = []
    for part in parts:
        lines += indented(part)
        lines[-1] += ","
    if lines:
        lines[-1] = lines[-1].removesuffix(",")
    return lines


def _fields(message: Message, pool: DescriptorPool) -> Iterator[tuple[str, FieldDescriptor | None, Any]]:
    """What is set in a message: name, field and value; for an Any of a known type the message that it holds."""
    if held := _held(message, pool):
        yield f"[{message.type_url}]", None, held  # type: ignore[attr-defined]
        return
    for field, value in message.ListFields():
        yield f"[{field.full_name}]" if field.is_extension else field.name, field, value


def _held(message: Message, pool: DescriptorPool) -> Message | None:
    if message.DESCRIPTOR.full_name != _ANY:
        return None
    try:
        descriptor = pool.FindMessageTypeByName(message.type_url.rpartition("/")[2])  # type: ignore[attr-defined]
        return GetMessageClass(descriptor).FromString(message.value)  # type: ignore[attr-defined]
    except (KeyError, DecodeError):
        return None


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _entries(field: FieldDescriptor, values: Mapping[Any, Any]) -> Iterator[Message]:
    """The entries of a map, by key."""
    entry = GetMessageClass(cast("Descriptor", field.message_type))
    for key in sorted(values):
        yield entry(key=key, value=values[key])
