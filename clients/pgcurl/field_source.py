"""The parts of a field's declaration in proto source."""

from google.protobuf import text_encoding
from google.protobuf.descriptor_pb2 import FieldDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool

from pgcurl.option_source import Option, by_name, number_literal, options_of, quoted, quoted_bytes


def is_group(field: FieldDescriptorProto, syntax: str) -> bool:
    """Whether its message stands in its place. In editions a group is a message with an encoding of its own."""
    return field.type == FieldDescriptorProto.TYPE_GROUP and syntax != "editions"


def label(field: FieldDescriptorProto, syntax: str, *, is_map: bool) -> str:
    """The word before the type with a space after it; nothing where the language has none."""
    if field.proto3_optional:
        return "optional "
    if is_map or field.HasField("oneof_index"):
        return ""
    if field.label == FieldDescriptorProto.LABEL_REPEATED:
        return "repeated "
    if syntax != "proto2":
        return ""
    return "required " if field.label == FieldDescriptorProto.LABEL_REQUIRED else "optional "


def type_name(field: FieldDescriptorProto) -> str:
    """The type, in full."""
    return field.type_name or FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()


def field_options(field: FieldDescriptorProto, pool: DescriptorPool) -> list[Option]:
    """What stands in brackets: options, the default, and a name in JSON that is not the usual one."""
    options = options_of(field.options, pool)
    if field.HasField("default_value"):
        default = _default(field)
        options.append(Option(name="default", value=default, lines=[default]))
    if field.json_name and not field.extendee and field.json_name != _usual_json_name(field.name):
        options.append(Option(name="json_name", value=quoted(field.json_name), lines=[quoted(field.json_name)]))
    return sorted(options, key=by_name)


def _default(field: FieldDescriptorProto) -> str:
    """The default of a field, which its descriptor holds as text (descriptor.proto, FieldDescriptorProto)."""
    match field.type:
        case FieldDescriptorProto.TYPE_STRING:
            return quoted(field.default_value)
        case FieldDescriptorProto.TYPE_BYTES:
            return quoted_bytes(text_encoding.CUnescape(field.default_value))
        case FieldDescriptorProto.TYPE_FLOAT | FieldDescriptorProto.TYPE_DOUBLE:
            return number_literal(float(field.default_value))
        case _:
            return field.default_value


def _usual_json_name(name: str) -> str:
    """The name in JSON of a field that chooses none: without underscores, and a capital after each."""
    first, *others = name.split("_")
    return first + "".join(other[:1].upper() + other[1:] for other in others)
