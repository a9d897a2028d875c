"""What `-msg-template` shows: a message with something in each field."""

from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

EMPTY_TYPE_URL = "type.googleapis.com/google.protobuf.Empty"
"""The type that stands in an Any, which has no JSON without one."""

_ZEROS: dict[int, Any] = {
    FieldDescriptor.CPPTYPE_STRING: "",
    FieldDescriptor.CPPTYPE_BOOL: False,
    FieldDescriptor.CPPTYPE_FLOAT: 0.0,
    FieldDescriptor.CPPTYPE_DOUBLE: 0.0,
}


def message_template(descriptor: Descriptor) -> Message:
    """A message to copy and fill in: lists and maps hold one element, and messages are there, as deep as they go.

    A message within itself stays empty. Types whose JSON is free, such as google.protobuf.Struct, say so in their
    place.
    """
    return _template(descriptor, ())


def _template(descriptor: Descriptor, around: tuple[str, ...]) -> Message:
    message = GetMessageClass(descriptor)()
    if _free_form(message):
        return message
    if descriptor.full_name in around:
        return message
    around = (*around, descriptor.full_name)
    for field in descriptor.fields:
        if not field.is_repeated:
            if field.message_type:
                part = getattr(message, field.name)
                part.CopyFrom(_template(field.message_type, around))
                part.SetInParent()
        elif field.message_type is None:
            getattr(message, field.name).append(_zero(field))
        elif field.message_type.GetOptions().map_entry:
            _put_entry(getattr(message, field.name), field.message_type, around)
        else:
            getattr(message, field.name).add().CopyFrom(_template(field.message_type, around))
    return message


def _put_entry(entries: Any, entry: Descriptor, around: tuple[str, ...]) -> None:
    key, value = _zero(entry.fields_by_name["key"]), entry.fields_by_name["value"]
    if value.message_type:
        entries[key].CopyFrom(_template(value.message_type, around))
    else:
        entries[key] = _zero(value)


def _zero(field: FieldDescriptor) -> Any:
    if field.type == FieldDescriptor.TYPE_BYTES:
        return b""
    if field.enum_type:
        return 0 if 0 in field.enum_type.values_by_number else field.enum_type.values[0].number
    return _ZEROS.get(field.cpp_type, 0)


def _free_form(message: Any) -> bool:
    """Fill in a message of a type that stands for any JSON. Says whether it was one."""
    match message.DESCRIPTOR.full_name:
        case "google.protobuf.Any":
            message.type_url = EMPTY_TYPE_URL
        case "google.protobuf.Value":
            message.struct_value.fields["google.protobuf.Value"].string_value = "supports arbitrary JSON"
        case "google.protobuf.ListValue":
            inner = message.values.add().struct_value.fields["google.protobuf.ListValue"]
            inner.string_value = "is an array of arbitrary JSON values"
        case "google.protobuf.Struct":
            message.fields["google.protobuf.Struct"].string_value = "supports arbitrary JSON objects"
        case _:
            return False
    return True
