"""Descriptors as proto source.

`describe` prints them as grpcurl does, whose printer sorts what it prints, gives all names in full with a leading dot
and keeps no comments but those that belong to a declaration (fullstorydev/grpcurl grpcurl.go, GetDescriptorText, and
jhump/protoreflect desc/protoprint). Whole files are written in the order of their source and with the comments
around declarations; protoc makes the same descriptors of them again.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    Edition,
    EnumDescriptorProto,
    EnumValueDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    MethodDescriptorProto,
    OneofDescriptorProto,
    ServiceDescriptorProto,
)
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message

from pgcurl.comments import SourceInfo
from pgcurl.field_source import field_options, is_group, label, type_name
from pgcurl.option_source import assigned, in_brackets, indented, options_of, quoted
from pgcurl.symbols import (
    Declaration,
    Path,
    Scope,
    field_number,
    message_at,
    numbered,
    option_imports_of,
    scope_of,
    scope_within,
)

_LAST_FIELD_NUMBER = 2**29 - 1
_LAST_ENUM_NUMBER = 2**31 - 1
_LAST_IN_MESSAGE_SET = 2**31 - 2

_VISIBILITIES = {1: "local ", 2: "export "}
"""SymbolVisibility of descriptor.proto, which older releases of protobuf do not know."""


def declaration_source(declaration: Declaration, pool: DescriptorPool) -> str:
    """A declaration as `describe` prints it.

    Args:
        declaration: anything that has a name.
        pool: knows the file of the declaration, and what it imports.
    """
    return "\n".join(_Printer(declaration.file, pool, whole=False).declaration(declaration))


def file_source(file: FileDescriptorProto, pool: DescriptorPool) -> str:
    """A whole .proto file."""
    return "\n".join([*_Printer(file, pool, whole=True).everything(), ""])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """Something in a body: its lines, and where it stands in the source."""

    lines: Sequence[str]
    path: Path


class _Printer:
    def __init__(self, file: FileDescriptorProto, pool: DescriptorPool, *, whole: bool) -> None:
        self._file = file
        self._pool = pool
        self._whole = whole
        self._source = SourceInfo(file, all_comments=whole)
        self._syntax = file.syntax or "proto2"

    def declaration(self, declaration: Declaration) -> list[str]:
        """Its lines."""
        scope, path = scope_of(self._file, declaration.parent), declaration.path
        match declaration.element:
            case DescriptorProto() as element:
                return self._message(element, scope.full_name(element.name), path)
            case FieldDescriptorProto(extendee=extendee) as element if extendee:
                return [f"extend {extendee} {{", *indented(self._field(element, scope, path)), "}"]
            case FieldDescriptorProto() as element:
                return self._field(element, scope, path)
            case OneofDescriptorProto():
                return self._oneof(message_at(self._file, path[:-2]), path[-1], scope, path[:-2])
            case EnumDescriptorProto() as element:
                return self._enum(element, declaration.name, path)
            case EnumValueDescriptorProto() as element:
                return self._enum_value(element, path)
            case ServiceDescriptorProto() as element:
                return self._service(element, path)
            case MethodDescriptorProto() as element:
                return self._method(element, path)

    def everything(self) -> list[str]:
        """The lines of the file."""
        file, scope = self._file, scope_of(self._file, None)
        groups = set(scope.groups(file.extension))
        parts = [*self._head(), *self._options(file.options, (field_number(file, "options"),))]
        for index, message in enumerate(file.message_type):
            if index not in groups:
                path = (*scope.path, index)
                parts.append(_Part(lines=self._message(message, scope.full_name(message.name), path), path=path))
        for path, enum in numbered(file, "enum_type", ()):
            parts.append(_Part(lines=self._enum(enum, scope.full_name(enum.name), path), path=path))
        for path, service in numbered(file, "service", ()):
            parts.append(_Part(lines=self._service(service, path), path=path))
        parts += self._extensions(file, scope, ())
        syntax = self._source.commented([self._syntax_line()], (field_number(file, "syntax"),))
        return [*syntax, "", *self._laid_out(parts, grouped=True)]

    def _syntax_line(self) -> str:
        if self._syntax == "editions":
            return f"edition = {quoted(Edition.Name(self._file.edition).removeprefix('EDITION_'))};"
        return f"syntax = {quoted(self._syntax)};"

    def _head(self) -> Iterator[_Part]:
        """Package and imports."""
        file = self._file
        if file.package:
            path: Path = (field_number(file, "package"),)
            yield _Part(lines=self._source.commented([f"package {file.package};"], path), path=path)
        kinds = {**dict.fromkeys(file.weak_dependency, "weak "), **dict.fromkeys(file.public_dependency, "public ")}
        for index, name in enumerate(file.dependency):
            path = (field_number(file, "dependency"), index)
            line = f"import {kinds.get(index, '')}{quoted(name)};"
            yield _Part(lines=self._source.commented([line], path), path=path)
        for name in option_imports_of(file):
            yield _Part(lines=[f"import option {quoted(name)};"], path=(field_number(file, "dependency"),))

    def _laid_out(self, parts: Iterable[_Part], *, grouped: bool = False) -> list[str]:
        """Parts one after the other; in a whole file as in its source, with empty lines between them.

        Args:
            parts: in the order of `describe`.
            grouped: whether statements of one line stand together.
        """
        if not self._whole:
            return [line for part in parts for line in part.lines]
        lines: list[str] = []
        before: _Part | None = None
        for part in sorted(parts, key=lambda part: self._source.place(part.path)):
            together = (
                grouped and before and before.path[0] == part.path[0] and len(before.lines) == len(part.lines) == 1
            )
            if before and not together and lines[-1]:
                lines.append("")
            lines += part.lines
            before = part
        return lines if not lines or lines[-1] else lines[:-1]

    def _message(self, message: DescriptorProto, name: str, path: Path) -> list[str]:
        lines = [
            f"{self._visibility(message)}message {message.name} {{",
            *indented(self._message_body(message, name, path)),
            "}",
        ]
        return self._source.commented(lines, path)

    def _visibility(self, element: DescriptorProto | EnumDescriptorProto) -> str:
        """A word of edition 2024, which `describe` leaves out."""
        return _VISIBILITIES.get(getattr(element, "visibility", 0), "") if self._whole else ""

    def _message_body(self, message: DescriptorProto, name: str, path: Path) -> list[str]:
        scope = scope_within(message, name, path)
        special = {*scope.groups(message.field), *scope.groups(message.extension)}
        special |= {index for index, nested in enumerate(message.nested_type) if nested.options.map_entry}
        parts = [
            *self._options(message.options, (*path, field_number(message, "options"))),
            *self._fields(message, scope, path),
        ]
        nested = [found for found in enumerate(message.nested_type) if found[0] not in special]
        for index, inner in self._by(nested, lambda found: found[1].name):
            inner_path = (*scope.path, index)
            parts.append(_Part(lines=self._message(inner, scope.full_name(inner.name), inner_path), path=inner_path))
        for enum_path, enum in self._by(numbered(message, "enum_type", path), lambda found: found[1].name):
            parts.append(_Part(lines=self._enum(enum, scope.full_name(enum.name), enum_path), path=enum_path))
        parts += self._extension_ranges(message, path)
        parts += self._extensions(message, scope, path)
        last = _LAST_IN_MESSAGE_SET if message.options.message_set_wire_format else _LAST_FIELD_NUMBER
        parts += self._reserved(message, path, last=last, inclusive=False)
        return self._laid_out(parts)

    def _by(self, found: Iterable[Any], key: Callable[[Any], Any]) -> list[Any]:
        """Sorted by a key, or as declared in a whole file."""
        return list(found) if self._whole else sorted(found, key=key)

    def _options(self, options: Message, path: Path) -> list[_Part]:
        """Statements of options."""
        parts = []
        for option in options_of(options, self._pool):
            lines = assigned(option, "option ")
            lines[-1] += ";"
            place = self._source.located((*path, option.number, option.index), (*path, option.number))
            parts.append(_Part(lines=self._source.commented(lines, place) if self._whole else lines, path=place))
        return parts

    def _fields(self, message: DescriptorProto, scope: Scope, path: Path) -> list[_Part]:
        """Fields by number, those of a oneof where its first one stands."""
        parts, seen = [], set()
        for field_path, field in self._by(numbered(message, "field", path), lambda found: found[1].number):
            if not field.HasField("oneof_index") or field.proto3_optional:
                parts.append(_Part(lines=self._field(field, scope, field_path), path=field_path))
            elif field.oneof_index not in seen:
                seen.add(field.oneof_index)
                oneof_path = (*path, field_number(message, "oneof_decl"), field.oneof_index)
                parts.append(_Part(lines=self._oneof(message, field.oneof_index, scope, path), path=oneof_path))
        return parts

    def _oneof(self, message: DescriptorProto, index: int, scope: Scope, path: Path) -> list[str]:
        oneof, oneof_path = message.oneof_decl[index], (*path, field_number(message, "oneof_decl"), index)
        parts = self._options(oneof.options, (*oneof_path, field_number(oneof, "options")))
        for field_path, field in self._by(numbered(message, "field", path), lambda found: found[1].number):
            if field.HasField("oneof_index") and field.oneof_index == index:
                parts.append(_Part(lines=self._field(field, scope, field_path), path=field_path))
        lines = [f"oneof {oneof.name} {{", *indented(self._laid_out(parts)), "}"]
        return self._source.commented(lines, oneof_path)

    def _field(self, field: FieldDescriptorProto, scope: Scope, path: Path) -> list[str]:
        message = scope.message(field.type_name)
        entry = message[1] if message and message[1].options.map_entry else None
        options = in_brackets(field_options(field, self._pool))
        word = label(field, self._syntax, is_map=entry is not None)
        if message and is_group(field, self._syntax):
            index, group = message
            group_path = (*scope.path, index)
            body = self._message_body(group, scope.full_name(group.name), group_path)
            lines = [f"{word}group {group.name} = {field.number}{options[0]}", *options[1:]]
            lines[-1] += " {"
            return self._source.commented([*lines, *indented(body), "}"], group_path)
        type_ = f"map<{', '.join(type_name(part) for part in entry.field)}>" if entry else type_name(field)
        lines = [f"{word}{type_} {field.name} = {field.number}{options[0]}", *options[1:]]
        lines[-1] += ";"
        return self._source.commented(lines, path)

    def _extension_ranges(self, message: DescriptorProto, path: Path) -> list[_Part]:
        """Ranges, those next to each other with the same options in one statement."""
        last = _LAST_IN_MESSAGE_SET if message.options.message_set_wire_format else _LAST_FIELD_NUMBER
        ranges = self._by(numbered(message, "extension_range", path), lambda found: found[1].start)
        parts = []
        for _, grouped in groupby(ranges, key=lambda found: found[1].options.SerializeToString(deterministic=True)):
            together = list(grouped)
            numbers = ", ".join(_range(one.start, one.end - 1, last) for _, one in together)
            options = in_brackets(options_of(together[0][1].options, self._pool))
            lines = [f"extensions {numbers}{options[0]}", *options[1:]]
            lines[-1] += ";"
            parts.append(_Part(lines=lines, path=together[0][0]))
        return parts

    def _extensions(self, around: FileDescriptorProto | DescriptorProto, scope: Scope, path: Path) -> list[_Part]:
        """Extensions by what they extend and by number, one block for each that the source has."""
        statement = (*path, field_number(around, "extension"))
        blocks: dict[tuple[str, int | None], list[tuple[Path, FieldDescriptorProto]]] = {}
        for field_path, field in self._by(
            numbered(around, "extension", path), lambda found: (found[1].extendee, found[1].number)
        ):
            block = field.extendee, self._source.statement_around(field_path, statement)
            blocks.setdefault(block, []).append((field_path, field))
        parts = []
        for (extendee, index), fields in blocks.items():
            body = [_Part(lines=self._field(field, scope, field_path), path=field_path) for field_path, field in fields]
            lines = [f"extend {extendee} {{", *indented(self._laid_out(body)), "}"]
            if index is not None:
                lines = self._source.commented(lines, statement, index)
            parts.append(_Part(lines=lines, path=fields[0][0]))
        return parts

    def _reserved(
        self, around: DescriptorProto | EnumDescriptorProto, path: Path, *, last: int, inclusive: bool
    ) -> list[_Part]:
        parts = []
        ranges = self._by(numbered(around, "reserved_range", path), lambda found: found[1].start)
        if ranges:
            texts = [_range(one.start, one.end - (not inclusive), last) for _, one in ranges]
            parts.append(_Part(lines=[f"reserved {', '.join(texts)};"], path=ranges[0][0]))
        names = self._by(around.reserved_name, str)
        if names:
            texts = names if self._syntax == "editions" else [quoted(name) for name in names]
            place = (*path, field_number(around, "reserved_name"), 0)
            parts.append(_Part(lines=[f"reserved {', '.join(texts)};"], path=place))
        return parts

    def _enum(self, enum: EnumDescriptorProto, name: str, path: Path) -> list[str]:
        parts = self._options(enum.options, (*path, field_number(enum, "options")))
        zero_first = not self._is_closed(name)
        values = self._by(
            numbered(enum, "value", path),
            lambda found: (zero_first and found[1].number != 0, found[1].number, found[1].name),
        )
        parts += [_Part(lines=self._enum_value(value, value_path), path=value_path) for value_path, value in values]
        parts += self._reserved(enum, path, last=_LAST_ENUM_NUMBER, inclusive=True)
        return self._source.commented(
            [f"{self._visibility(enum)}enum {enum.name} {{", *indented(self._laid_out(parts)), "}"], path
        )

    def _is_closed(self, enum: str) -> bool:
        try:
            return self._pool.FindEnumTypeByName(enum).is_closed
        except KeyError:
            return self._syntax == "proto2"

    def _enum_value(self, value: EnumValueDescriptorProto, path: Path) -> list[str]:
        options = in_brackets(options_of(value.options, self._pool))
        lines = [f"{value.name} = {value.number}{options[0]}", *options[1:]]
        lines[-1] += ";"
        return self._source.commented(lines, path)

    def _service(self, service: ServiceDescriptorProto, path: Path) -> list[str]:
        parts = self._options(service.options, (*path, field_number(service, "options")))
        for method_path, method in self._by(numbered(service, "method", path), lambda found: found[1].name):
            parts.append(_Part(lines=self._method(method, method_path), path=method_path))
        return self._source.commented([f"service {service.name} {{", *indented(self._laid_out(parts)), "}"], path)

    def _method(self, method: MethodDescriptorProto, path: Path) -> list[str]:
        request = f"{'stream ' if method.client_streaming else ''}{method.input_type}"
        response = f"{'stream ' if method.server_streaming else ''}{method.output_type}"
        line = f"rpc {method.name} ( {request} ) returns ( {response} )"
        options = self._options(method.options, (*path, field_number(method, "options")))
        lines = [f"{line} {{", *indented(self._laid_out(options)), "}"] if options else [f"{line};"]
        return self._source.commented(lines, path)


def _range(start: int, end: int, last: int) -> str:
    """Numbers from start to end, both included."""
    if start == end:
        return str(start)
    return f"{start} to {'max' if end == last else end}"
