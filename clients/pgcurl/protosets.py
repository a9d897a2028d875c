"""Descriptors from files that protoc wrote (`--descriptor_set_out`)."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError

from pgcurl.file_pool import FilePool
from pgcurl.sources import DescriptorSourceError, SymbolNotFoundError


class FilesSource:
    """Descriptors of files that are all at hand: a DescriptorSource.

    Args:
        files: in any order; of two with the same name the later one counts.
    """

    def __init__(self, files: Iterable[FileDescriptorProto]) -> None:
        self._files = FilePool()
        self._files.add(files)

    @property
    def pool(self) -> DescriptorPool:
        """Holds every file."""
        return self._files.pool

    def services(self) -> Sequence[str]:
        """Full names of all services, sorted."""
        return sorted(
            f"{file.package}.{service.name}".lstrip(".") for file in self._files.files for service in file.service
        )

    def file_of(self, symbol: str) -> FileDescriptorProto:
        """The file that declares a symbol. Raises SymbolNotFoundError."""
        if file := self._files.declaring(symbol):
            return file
        raise SymbolNotFoundError(f"no file that was given declares {symbol}")

    def file_named(self, name: str) -> FileDescriptorProto:
        """The file of that name. Raises SymbolNotFoundError."""
        if file := self._files.named(name):
            return file
        raise SymbolNotFoundError(f"{name} is not among the files that were given")

    def files(self) -> Sequence[FileDescriptorProto]:
        """Every file, each after those that it imports."""
        return self._files.files

    def extensions_of(self, message: str) -> Sequence[str]:
        """Full names of the extensions of a message, sorted. Raises SymbolNotFoundError."""
        return self._files.extensions_of(message)


class ProtosetSource(FilesSource):
    """Descriptors of one or more descriptor sets.

    Raises DescriptorSourceError if one cannot be read, is none, or lacks a file that another imports.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        super().__init__(file for path in paths for file in read_protoset(path))


def read_protoset(path: Path) -> Sequence[FileDescriptorProto]:
    """The files of a descriptor set. Raises DescriptorSourceError."""
    try:
        return FileDescriptorSet.FromString(path.read_bytes()).file
    except OSError as error:
        raise DescriptorSourceError(f"cannot read the descriptor set {path}: {error.strerror}") from error
    except DecodeError as error:
        raise DescriptorSourceError(
            f"{path} is not a descriptor set; write one with protoc --include_imports --descriptor_set_out={path}"
        ) from error
