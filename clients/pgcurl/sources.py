"""Where descriptors come from: the port that reflection, descriptor sets and .proto files implement."""

from collections.abc import Sequence
from typing import Protocol

import grpc
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool


class SymbolNotFoundError(Exception):
    """The source knows no such symbol. Its text is a sentence for the user that names the symbol."""


class ReflectionNotSupportedError(Exception):
    """The server does not offer reflection, in any version."""


class DescriptorSourceError(Exception):
    """The source cannot be read: a file is missing or broken, protoc refuses a .proto. Its text says which and why."""


SOURCE_ERRORS = (SymbolNotFoundError, ReflectionNotSupportedError, DescriptorSourceError, grpc.RpcError)
"""What descriptors can fail of."""


class DescriptorSource(Protocol):
    """Knows services and the files that declare symbols.

    A call that the server refuses surfaces as `grpc.RpcError`; everything else as one of this module's errors.
    """

    @property
    def pool(self) -> DescriptorPool:
        """Holds every file that was asked for so far, and what these import."""

    def services(self) -> Sequence[str]:
        """Fully-qualified names of all services, sorted."""

    def file_of(self, symbol: str) -> FileDescriptorProto:
        """The file that declares a symbol (service, method, message, field, enum, ..., fully qualified).

        It comes with what comments the source has; it and its imports are in the pool afterwards. Raises
        SymbolNotFoundError.
        """

    def file_named(self, name: str) -> FileDescriptorProto:
        """The file of that name, as it stands in an import. Raises SymbolNotFoundError."""

    def files(self) -> Sequence[FileDescriptorProto]:
        """Every file that the source knows, each after those that it imports.

        That is all that it was given, or those of all services.
        """

    def extensions_of(self, message: str) -> Sequence[str]:
        """Fully-qualified names of the known extensions of a message, sorted.

        Their files are in the pool afterwards. Raises SymbolNotFoundError for what is no message.
        """
