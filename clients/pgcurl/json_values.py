"""Messages as JSON values, as grpcurl prints them.

`json_format` of protobuf puts defaults behind all other fields, knows no way to show fields that are not set, and
refuses a message with an Any of a type that is not known, which a client of any server meets every day. So the mapping
(https://protobuf.dev/programming-guides/json) is written out here; types with a form of their own in JSON are left to
`json_format`.
"""

import base64
import json
import math
import struct
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

from google.protobuf import json_format, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message

from pgcurl.terminal import CONTROLS

OWN_FORM = frozenset(
    f"google.protobuf.{name}"
    for name in (
        "Timestamp", "Duration", "FieldMask", "Struct", "Value", "ListValue", "BoolValue", "StringValue", "BytesValue",
        "Int32Value", "Int64Value", "UInt32Value", "UInt64Value", "FloatValue", "DoubleValue",
    )
)  # fmt: skip
"""Types that are no objects in JSON, or not of their fields."""

_ANY = "google.protobuf.Any"
_CONTROLS = {ord(control): f"\\u{ord(control):04x}" for control in CONTROLS}
"""What JSON may hold as it is, but terminals take for commands."""

_EXPONENT_FROM = 1e21
"""Numbers from here on have an exponent (as in ECMAScript, and in Go)."""


class Defaults(Enum):
    """Which fields are printed that have their default value.

    VALUES: those of which nobody can tell whether they were set; ALL: also null for what is not set, as grpcurl does.
    """

    NONE = "none"
    VALUES = "values"
    ALL = "all"


class JsonPrinter:
    """Turns messages into what `json.dumps` takes.

    Args:
        find_type: a message type by its full name; raises KeyError.
    """

    def __init__(
        self,
        *,
        find_type: Callable[[str], Descriptor],
        defaults: Defaults = Defaults.NONE,
        keep_proto_names: bool = False,
    ) -> None:
        self._find_type = find_type
        self._defaults = defaults
        self._keep_proto_names = keep_proto_names

    def value(self, message: Message) -> Any:
        """One message."""
        name = message.DESCRIPTOR.full_name
        if name == _ANY:
            return self._any(message)
        if name in OWN_FORM:
            return self._own_form(message)
        return self._fields(message)

    def _fields(self, message: Message) -> dict[str, Any]:
        descriptor: Any = message.DESCRIPTOR
        present = {field.number: (field, value) for field, value in message.ListFields()}
        absent = {} if self._defaults is Defaults.NONE else self._absent(descriptor, present)
        fields = sorted((*present.values(), *absent.values()), key=lambda entry: entry[0].number)
        return {self._name(field): self._field(field, value) for field, value in fields}

    def _absent(self, descriptor: Any, present: Mapping[int, Any]) -> dict[int, tuple[FieldDescriptor, Any]]:
        """What else is to be printed of fields that are not there."""
        absent: dict[int, tuple[FieldDescriptor, Any]] = {}
        for field in descriptor.fields:
            if field.number in present or field.containing_oneof is not None:
                continue
            if field.is_repeated:
                absent[field.number] = field, {} if _is_map(field) else []
            elif not field.has_presence:
                absent[field.number] = field, field.default_value
            elif self._defaults is Defaults.ALL:
                absent[field.number] = field, None if field.message_type else field.default_value
        return absent

    def _name(self, field: FieldDescriptor) -> str:
        if field.is_extension:
            return f"[{field.full_name}]"
        if self._keep_proto_names:
            return str(field.name)
        return str(field.json_name)

    def _field(self, field: Any, value: Any) -> Any:
        if value is None:
            return None
        if _is_map(field):
            value_field = field.message_type.fields_by_name["value"]
            keys = sorted(value)  # a map of messages does not give its items without making them
            return {_key(key): self._single(value_field, value[key]) for key in keys}
        if field.is_repeated:
            return [self._single(field, each) for each in value]
        return self._single(field, value)

    def _single(self, field: FieldDescriptor, value: Any) -> Any:
        match field.cpp_type:
            case FieldDescriptor.CPPTYPE_MESSAGE:
                return self.value(value)
            case FieldDescriptor.CPPTYPE_ENUM:
                return _enum_value(field, value)
            case FieldDescriptor.CPPTYPE_INT64 | FieldDescriptor.CPPTYPE_UINT64:
                return str(value)
            case FieldDescriptor.CPPTYPE_FLOAT:
                return _number(_shortest_float(value))
            case FieldDescriptor.CPPTYPE_DOUBLE:
                return _number(value)
            case FieldDescriptor.CPPTYPE_STRING if field.type == FieldDescriptor.TYPE_BYTES:
                return base64.b64encode(value).decode()
            case FieldDescriptor.CPPTYPE_STRING:
                return _text(value)
            case _:
                return value

    def _any(self, message: Any) -> dict[str, Any]:
        if not message.type_url:
            return {}
        name = message.type_url.rpartition("/")[2]
        try:
            content = message_factory.GetMessageClass(self._find_type(name)).FromString(message.value)
        except KeyError:
            return _unknown(message, f"{name} is not recognized; see @value for raw binary message data")
        except DecodeError:
            return _unknown(message, f"what it holds is no {name}; see @value for raw binary message data")
        value = self.value(content)
        if content.DESCRIPTOR.full_name in OWN_FORM | {_ANY}:
            value = {"value": value}
        return {"@type": message.type_url, **value}

    def _own_form(self, message: Message) -> Any:
        try:
            value = json_format.MessageToDict(message)
        except (ValueError, json_format.Error) as error:
            # A time out of range, say: there is no form in JSON for it, yet it is what the server sent.
            return {"@error": str(error), **self._fields(message)}
        return _numbers(value)


def as_json_text(value: object, *, indent: bool) -> str:
    """JSON as people read it, or in one line."""
    text = json.dumps(value, ensure_ascii=False, **({"indent": 2} if indent else {"separators": (",", ":")}))
    return text.translate(_CONTROLS)


def _unknown(message: Any, problem: str) -> dict[str, str]:
    return {"@type": message.type_url, "@error": problem, "@value": base64.b64encode(message.value).decode()}


def _is_map(field: Any) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def _key(key: Any) -> str:
    return str(key).lower() if isinstance(key, bool) else str(_text(key))


def _text(value: Any) -> Any:
    """Strings of proto2 that are not UTF-8 are bytes; JSON has no form for them."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _enum_value(field: Any, number: int) -> str | int | None:
    if field.enum_type.full_name == "google.protobuf.NullValue":
        return None
    known = field.enum_type.values_by_number.get(number)
    return known.name if known else number


def _number(value: float) -> float | int | str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    if value.is_integer() and abs(value) < _EXPONENT_FROM and str(value) != "-0.0":
        return int(value)
    return value


def _numbers(value: Any) -> Any:
    """The numbers in google.protobuf.Value and its like, written in the same way."""
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, list):
        return [_numbers(each) for each in value]
    if isinstance(value, dict):
        return {key: _numbers(value[key]) for key in sorted(value)}
    return value


def _shortest_float(value: float) -> float:
    """The shortest number that is the same 32-bit float."""
    if not math.isfinite(value):
        return value
    for digits in range(6, 9):
        short = float(f"{value:.{digits}g}")
        try:
            if struct.unpack("<f", struct.pack("<f", short))[0] == value:
                return short
        except OverflowError:
            continue
    return float(f"{value:.9g}")
