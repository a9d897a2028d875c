"""What `describe` prints, and how symbols are found."""

from google.protobuf.descriptor import Descriptor, MethodDescriptor
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    EnumValueDescriptorProto,
    FieldDescriptorProto,
    MethodDescriptorProto,
    OneofDescriptorProto,
    ServiceDescriptorProto,
)

from pgcurl.proto_source import declaration_source
from pgcurl.sources import DescriptorSource, SymbolNotFoundError
from pgcurl.symbols import Declaration, Element, declaration_of, declarations

_KINDS: dict[type[Element], str] = {
    DescriptorProto: "a message",
    FieldDescriptorProto: "a field",
    OneofDescriptorProto: "a one-of",
    EnumDescriptorProto: "an enum",
    EnumValueDescriptorProto: "an enum value",
    ServiceDescriptorProto: "a service",
    MethodDescriptorProto: "a method",
}


def describe(source: DescriptorSource, symbol: str | None) -> str:
    """What a symbol is, and its source; without a symbol, that of all services. Raises SymbolNotFoundError."""
    symbols = source.services() if symbol is None else [symbol]
    return (
        "\n".join(_described(source, each) for each in symbols) or "Server returned an empty list of exposed services"
    )


def find_message(source: DescriptorSource, symbol: str) -> Descriptor | None:
    """The message that a symbol names; None for anything else, and for what stands for a field.

    Raises SymbolNotFoundError when there is no such symbol.
    """
    declaration = _find(source, symbol)
    if not isinstance(declaration.element, DescriptorProto) or _field_of(declaration):
        return None
    return source.pool.FindMessageTypeByName(declaration.name)


def find_method(source: DescriptorSource, service_and_method: str) -> MethodDescriptor:
    """The method that `service/method` or `service.method` names. Raises SymbolNotFoundError."""
    separator = "/" if "/" in service_and_method else "."
    service, found, method = service_and_method.rpartition(separator)
    if not found or not service or not method:
        raise SymbolNotFoundError(f"{service_and_method!r} names no method: write service/method or service.method")
    declaration = _find(source, service)
    if not isinstance(declaration.element, ServiceDescriptorProto):
        raise SymbolNotFoundError(f"{declaration.name} is not a service")
    descriptor = source.pool.FindServiceByName(declaration.name).methods_by_name.get(method)
    if descriptor is None:
        raise SymbolNotFoundError(f"service {declaration.name} has no method {method}")
    return descriptor


def _find(source: DescriptorSource, symbol: str) -> Declaration:
    """What a symbol declares, with or without a leading dot. Raises SymbolNotFoundError."""
    name = symbol.removeprefix(".")
    if declaration := declaration_of(source.file_of(name), name):
        return declaration
    raise SymbolNotFoundError(f"the file that should declare {name} does not")


def _described(source: DescriptorSource, symbol: str) -> str:
    declaration = _find(source, symbol)
    name, kind = declaration.names[-1], _KINDS[type(declaration.element)]
    if isinstance(declaration.element, FieldDescriptorProto):
        kind = _kind_of_field(declaration.element)
    elif field := _field_of(declaration):
        is_entry = isinstance(declaration.element, DescriptorProto) and declaration.element.options.map_entry
        kind = "the entry type for a map field" if is_entry else "the type of a group field"
        declaration = field
    return f"{name} is {kind}:\n{declaration_source(declaration, source.pool)}"


def _kind_of_field(field: FieldDescriptorProto) -> str:
    if field.type == FieldDescriptorProto.TYPE_GROUP:
        return "a group field"
    return "an extension" if field.extendee else "a field"


def _field_of(declaration: Declaration) -> Declaration | None:
    """The map or group field that a message is the type of, where it stands for that field in the source."""
    message, parent = declaration.element, declaration.parent
    if not isinstance(message, DescriptorProto) or parent is None:
        return None
    for sibling in declarations(declaration.file):
        field = sibling.element
        if isinstance(field, FieldDescriptorProto) and sibling.parent == parent and not field.extendee:
            special = message.options.map_entry or field.type == FieldDescriptorProto.TYPE_GROUP
            if special and field.type_name == f".{declaration.name}":
                return sibling
    return None
