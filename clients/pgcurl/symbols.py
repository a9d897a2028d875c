"""What a descriptor file declares: every symbol by its full name, and where in the file it stands."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    EnumValueDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    MethodDescriptorProto,
    OneofDescriptorProto,
    ServiceDescriptorProto,
)
from google.protobuf.message import Message

Element: TypeAlias = (
    DescriptorProto
    | FieldDescriptorProto
    | OneofDescriptorProto
    | EnumDescriptorProto
    | EnumValueDescriptorProto
    | ServiceDescriptorProto
    | MethodDescriptorProto
)

Path: TypeAlias = tuple[int, ...]
"""Field numbers and indices that lead from a FileDescriptorProto to a part of it, as SourceCodeInfo writes them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """A symbol and what declares it.

    Attributes:
        name: fully qualified, without a leading dot. A value of an enum stands beside its enum, not within it, as in
            C++.
        element: the descriptor.
        path: where in the file it is.
        parent: the message, enum or service it stands in; None at the top of the file.
        file: the file it stands in.
    """

    name: str
    element: Element
    path: Path
    parent: "Declaration | None"
    file: FileDescriptorProto

    @property
    def names(self) -> tuple[str, ...]:
        """All names that people call it by: a value of an enum is looked for within its enum, too."""
        if isinstance(self.element, EnumValueDescriptorProto) and self.parent:
            return self.name, f"{self.parent.name}.{self.element.name}"
        return (self.name,)

    @property
    def scope(self) -> str:
        """The full name of what is around it: a message, or the package."""
        return self.name.rpartition(".")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What is around a declaration: a message, or the file.

    Attributes:
        name: full name of the message, or the package.
        path: of the messages in it.
        messages: those that stand in it.
    """

    name: str
    path: Path
    messages: Sequence[DescriptorProto]

    def full_name(self, name: str) -> str:
        """The full name of something in it."""
        return f"{self.name}.{name}" if self.name else name

    def message(self, type_name: str) -> tuple[int, DescriptorProto] | None:
        """The message in it that a field's type names, and which one it is."""
        found = enumerate(self.messages)
        return next(((index, each) for index, each in found if f".{self.full_name(each.name)}" == type_name), None)

    def groups(self, fields: Iterable[FieldDescriptorProto]) -> Iterator[int]:
        """Which messages in it are the types of groups."""
        for field in fields:
            if field.type == FieldDescriptorProto.TYPE_GROUP and (message := self.message(field.type_name)):
                yield message[0]


def scope_of(file: FileDescriptorProto, parent: Declaration | None) -> Scope:
    """What is around the declarations of a message, or of the file."""
    if parent and isinstance(parent.element, DescriptorProto):
        return scope_within(parent.element, parent.name, parent.path)
    return Scope(name=file.package, path=(field_number(file, "message_type"),), messages=file.message_type)


def scope_within(message: DescriptorProto, name: str, path: Path) -> Scope:
    """What is around the declarations of a message.

    Args:
        message: the message.
        name: its full name.
        path: its own.
    """
    return Scope(name=name, path=(*path, field_number(message, "nested_type")), messages=message.nested_type)


def declaration_of(file: FileDescriptorProto, symbol: str) -> Declaration | None:
    """What a file declares by that name."""
    return next((declaration for declaration in declarations(file) if symbol in declaration.names), None)


def declarations(file: FileDescriptorProto) -> Iterator[Declaration]:
    """Everything that a file declares, outer before inner."""
    yield from _within(file, None, file, ("message_type", "enum_type", "extension", "service"))


_PARTS: dict[type[Element], Sequence[str]] = {
    DescriptorProto: ("field", "oneof_decl", "nested_type", "enum_type", "extension"),
    EnumDescriptorProto: ("value",),
    ServiceDescriptorProto: ("method",),
}
"""The fields of a descriptor that hold declarations."""


def _within(
    around: Element | FileDescriptorProto, parent: Declaration | None, file: FileDescriptorProto, parts: Sequence[str]
) -> Iterator[Declaration]:
    path: Path = parent.path if parent else ()
    scope = file.package
    if parent:
        scope = parent.scope if isinstance(parent.element, EnumDescriptorProto) else parent.name
    for part in parts:
        for element_path, element in numbered(around, part, path):
            declaration = Declaration(
                name=f"{scope}.{element.name}" if scope else element.name,
                element=element,
                path=element_path,
                parent=parent,
                file=file,
            )
            yield declaration
            yield from _within(element, declaration, file, _PARTS.get(type(element), ()))


def imports_of(file: FileDescriptorProto) -> list[str]:
    """What a file imports, those of which it only uses options (from edition 2024 on) at the end."""
    return [*file.dependency, *option_imports_of(file)]


def option_imports_of(file: FileDescriptorProto) -> list[str]:
    """What a file imports for its options alone; older releases of protobuf do not know such imports."""
    return list(getattr(file, "option_dependency", ()))


def field_number(message: Message, field: str) -> int:
    """The number of a descriptor's field."""
    return message.DESCRIPTOR.fields_by_name[field].number


def numbered(message: Message, field: str, path: Path) -> list[tuple[Path, Any]]:
    """The elements of a descriptor's list, each with its path.

    Args:
        message: the descriptor.
        field: the name of the list.
        path: of the descriptor.
    """
    number = field_number(message, field)
    return [((*path, number, index), element) for index, element in enumerate(getattr(message, field))]


def message_at(file: FileDescriptorProto, path: Path) -> DescriptorProto:
    """The message that a path leads to."""
    message = file.message_type[path[1]]
    for index in path[3::2]:
        message = message.nested_type[index]
    return message
