"""Descriptor files that were read, by name and by what they declare, and a pool that makes messages of them."""

import importlib
from collections.abc import Iterable, Mapping, Sequence

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool

from pgcurl.sources import DescriptorSourceError, SymbolNotFoundError
from pgcurl.symbols import declarations, imports_of

_BUNDLED = {
    f"google/protobuf/{name}.proto": f"google.protobuf.{name}_pb2"
    for name in (
        "any", "api", "descriptor", "duration", "empty", "field_mask", "source_context", "struct", "timestamp", "type",
        "wrappers",
    )
}  # fmt: skip
"""Files that come with protobuf, and the modules that hold them."""

_DEEPEST_IMPORT = 200
"""Files that may import one another in a row."""


class FilePool:
    """Files as they were read, comments included, and a pool of the same files."""

    def __init__(self) -> None:
        self.pool = DescriptorPool()
        self._files: dict[str, FileDescriptorProto] = {}
        self._twins: dict[str, Sequence[str]] = {}
        self._declared_in: dict[str, FileDescriptorProto] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._files or name in self._twins

    @property
    def files(self) -> Sequence[FileDescriptorProto]:
        """All files, each after those that it imports."""
        return tuple(self._files.values())

    def named(self, name: str) -> FileDescriptorProto | None:
        """The file of that name, or one that declares the same."""
        return self._files.get(self._twins.get(name, (name,))[0])

    def declaring(self, symbol: str) -> FileDescriptorProto | None:
        """The file that declares a symbol."""
        return self._declared_in.get(symbol)

    def extensions_of(self, message: str) -> Sequence[str]:
        """Full names of the extensions of a message, sorted. Raises SymbolNotFoundError."""
        extensions = self.pool.FindAllExtensions(self._message(message))
        return sorted(extension.full_name for extension in extensions)

    def _message(self, name: str) -> Descriptor:
        try:
            return self.pool.FindMessageTypeByName(name)
        except KeyError:
            raise SymbolNotFoundError(f"there is no message {name}") from None

    def add(self, files: Iterable[FileDescriptorProto]) -> None:
        """Take files in any order. What they import is among them, or is here already, or comes with protobuf.

        An import that is nowhere to be found is passed over as long as nothing of it is used: servers leave out files
        that only hold options. A file whose declarations are all here already, under the name of another file, is that
        other file: what a server calls `a/b.proto` may be `b.proto` to who compiles it.

        Raises DescriptorSourceError for files that do not fit together.
        """
        given = {file.name: file for file in files}
        for name in given:
            self._add(name, given, ())

    def _add(self, name: str, given: Mapping[str, FileDescriptorProto], importers: tuple[str, ...]) -> bool:
        """Whether there is such a file; it is in the pool then."""
        if name in self:
            return True
        if name in importers:
            raise DescriptorSourceError(f"files import each other in a circle: {' -> '.join([*importers, name])}")
        if len(importers) > _DEEPEST_IMPORT:
            raise DescriptorSourceError(f"imports go deeper than {_DEEPEST_IMPORT} files at {name}")
        file = given.get(name) or bundled_file(name)
        if file is None:
            return False
        missing = [import_ for import_ in imports_of(file) if not self._add(import_, given, (*importers, name))]
        declared = list(declarations(file))
        twins = {self._declared_in[each.name].name for each in declared if each.name in self._declared_in}
        if twins and all(each.name in self._declared_in for each in declared):
            self._twins[name] = sorted(twins)
            return True
        file = _with_imports(
            file, [twin for import_ in file.dependency for twin in self._twins.get(import_, [import_])]
        )
        try:
            self.pool.Add(_with_imports(file, [import_ for import_ in file.dependency if import_ not in missing]))
        except (TypeError, KeyError) as error:
            lacking = f"; it imports {', '.join(missing)}, which is not to be found" if missing else ""
            raise DescriptorSourceError(f"the descriptors of {name} cannot be used: {error}{lacking}") from error
        self._files[name] = file
        for declaration in declared:
            for symbol in declaration.names:
                self._declared_in.setdefault(symbol, file)
        return True


def bundled_file(name: str) -> FileDescriptorProto | None:
    """A file that comes with protobuf, such as google/protobuf/any.proto."""
    if name not in _BUNDLED:
        return None
    importlib.import_module(_BUNDLED[name])
    file = FileDescriptorProto()
    descriptor_pool.Default().FindFileByName(name).CopyToProto(file)
    return file


def _with_imports(file: FileDescriptorProto, imports: Sequence[str]) -> FileDescriptorProto:
    """The file with other imports; those that it has already stay public if they are."""
    if list(imports) == list(file.dependency):
        return file
    changed = FileDescriptorProto()
    changed.CopyFrom(file)
    for field in ("dependency", "public_dependency", "weak_dependency"):
        changed.ClearField(field)
    public = {file.dependency[index] for index in file.public_dependency}
    changed.dependency.extend(dict.fromkeys(imports))
    changed.public_dependency.extend(index for index, name in enumerate(changed.dependency) if name in public)
    return changed
