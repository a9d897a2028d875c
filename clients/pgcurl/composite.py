"""Descriptors from a server's reflection, and from files for what reflection does not know (`-use-reflection`)."""

from collections.abc import Callable, Sequence

from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool

from pgcurl.file_pool import FilePool
from pgcurl.sources import SOURCE_ERRORS, DescriptorSource, SymbolNotFoundError
from pgcurl.symbols import imports_of


class CompositeSource:
    """Services are those of reflection; symbols are looked for there first, then in the files: a DescriptorSource."""

    def __init__(self, reflection: DescriptorSource, files: DescriptorSource) -> None:
        self._reflection = reflection
        self._given = files
        self._files = FilePool()

    @property
    def pool(self) -> DescriptorPool:
        """Holds every file that was asked for so far, and what these import, of either source."""
        return self._files.pool

    def services(self) -> Sequence[str]:
        """Full names of all services that the server lists, sorted."""
        return self._reflection.services()

    def file_of(self, symbol: str) -> FileDescriptorProto:
        """The file that declares a symbol. Raises SymbolNotFoundError."""
        if file := self._files.declaring(symbol):
            return file
        return self._add(*self._first(lambda source: source.file_of(symbol)))

    def file_named(self, name: str) -> FileDescriptorProto:
        """The file of that name. Raises SymbolNotFoundError."""
        if file := self._files.named(name):
            return file
        return self._add(*self._first(lambda source: source.file_named(name)))

    def files(self) -> Sequence[FileDescriptorProto]:
        """All files of the server's services, and those that were given."""
        for source in (self._reflection, self._given):
            for file in source.files():
                self._add(file, source)
        return self._files.files

    def extensions_of(self, message: str) -> Sequence[str]:
        """Full names of the extensions of a message that either knows, sorted. Raises SymbolNotFoundError."""
        self.file_of(message)
        for source in (self._reflection, self._given):
            try:
                for extension in source.extensions_of(message):
                    self._add(source.file_of(extension), source)
            except SOURCE_ERRORS:
                continue
        return self._files.extensions_of(message)

    def _first(
        self, ask: Callable[[DescriptorSource], FileDescriptorProto]
    ) -> tuple[FileDescriptorProto, DescriptorSource]:
        """The answer of the server, or else that of the files.

        When neither has one, what went wrong with the server is the reason, unless it just did not know.
        """
        try:
            return ask(self._reflection), self._reflection
        except SOURCE_ERRORS as error:
            try:
                return ask(self._given), self._given
            except SymbolNotFoundError:
                raise error from None

    def _add(self, file: FileDescriptorProto, source: DescriptorSource) -> FileDescriptorProto:
        """Take a file and what it imports from the source that has it."""
        wanted, found = [file], {file.name: file}
        while wanted:
            for name in imports_of(wanted.pop()):
                if name not in found and name not in self._files:
                    try:
                        found[name] = source.file_named(name)
                    except SymbolNotFoundError:
                        continue
                    wanted.append(found[name])
        self._files.add(found.values())
        return self._files.named(file.name) or file
