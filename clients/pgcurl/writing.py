"""Descriptors written to files: `-protoset-out` and `-proto-out-dir`."""

from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

from pgcurl.proto_source import file_source
from pgcurl.sources import DescriptorSource, DescriptorSourceError, SymbolNotFoundError
from pgcurl.symbols import imports_of


def write_protoset(path: Path, source: DescriptorSource, symbols: Iterable[str]) -> None:
    """Write a descriptor set of the files that declare the symbols, and of all that they import.

    Raises SymbolNotFoundError, and DescriptorSourceError if the file cannot be written.
    """
    _write(path, FileDescriptorSet(file=_files(source, symbols)).SerializeToString())


def write_proto_files(directory: Path, source: DescriptorSource, symbols: Iterable[str]) -> None:
    """Write the files that declare the symbols, and all that they import, as proto source below a directory.

    Raises SymbolNotFoundError, and DescriptorSourceError if a file cannot be written, or has a name that leads out of
    the directory: the names come from a server.
    """
    files = _files(source, symbols)
    for file in files:
        if not _is_below(file.name):
            raise DescriptorSourceError(
                f"{file.name!r} is not a name for a .proto file below {directory}; nothing is written"
            )
    for file in files:
        _write(directory / file.name, file_source(file, source.pool).encode())


def _files(source: DescriptorSource, symbols: Iterable[str]) -> Sequence[FileDescriptorProto]:
    """The files of the symbols and what they import, each after what it imports."""
    files: dict[str, FileDescriptorProto] = {}
    for symbol in symbols:
        _collect(source.file_of(symbol.removeprefix(".")), source, files, set())
    return list(files.values())


def _collect(
    file: FileDescriptorProto, source: DescriptorSource, files: dict[str, FileDescriptorProto], visited: set[str]
) -> None:
    if file.name in files or file.name in visited:
        return
    visited.add(file.name)
    for name in imports_of(file):
        try:
            imported = source.file_named(name)
        except SymbolNotFoundError:
            continue  # the source does not know all that it imports, and does without
        _collect(imported, source, files, visited)
    files[file.name] = file


def _is_below(name: str | bytes) -> bool:
    """Whether a name leads to a .proto file below a directory, and can be read; bytes are a name that is not UTF-8."""
    if isinstance(name, bytes) or not name.isprintable() or "\\" in name:
        return False
    path = PurePosixPath(name)
    return path.suffix == ".proto" and not path.is_absolute() and ".." not in path.parts


def _write(path: Path, data: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as error:
        raise DescriptorSourceError(f"cannot write {path}: {error.strerror}") from error
