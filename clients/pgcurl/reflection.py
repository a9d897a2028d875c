"""Descriptors from the server itself: gRPC server reflection, v1 and v1alpha.

Both versions are the same on the wire (grpc/proto/grpc/reflection), so v1alpha's messages serve for both; a server that
has no v1 answers UNIMPLEMENTED and is asked again in v1alpha.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TypeAlias

import grpc
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from grpc_reflection.v1alpha.reflection_pb2 import (
    ExtensionRequest,
    ServerReflectionRequest,
    ServerReflectionResponse,
)

from pgcurl.file_pool import FilePool
from pgcurl.sources import DescriptorSourceError, ReflectionNotSupportedError, SymbolNotFoundError
from pgcurl.symbols import imports_of

Metadata: TypeAlias = Sequence[tuple[str, str | bytes]]

_VERSIONS: tuple[str, ...] = (
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
)

_MOST_FILES = 10_000
"""Files that one question may lead to."""

_CODES = {code.value[0]: code.name for code in grpc.StatusCode}


class _RefusedError(DescriptorSourceError):
    """The server answers a question with an error, other than that it does not know."""


class ReflectionSource:
    """What a server says of itself: a DescriptorSource.

    Calls that the server refuses, or that do not end in time, raise grpc.RpcError. Answers that make no sense raise
    DescriptorSourceError.

    Args:
        channel: to the server.
        metadata: sent with every call.
        deadline: gives the seconds that are left for a call, None for any number; it is asked before each.
    """

    def __init__(self, channel: grpc.Channel, *, metadata: Metadata, deadline: Callable[[], float | None]) -> None:
        self._channel = channel
        self._metadata = tuple(metadata)
        self._deadline = deadline
        self._versions = _VERSIONS
        self._files = FilePool()
        self._stream: Iterator[bytes] = iter(())

    @property
    def pool(self) -> DescriptorPool:
        """Holds every file that was asked for so far."""
        return self._files.pool

    def services(self) -> Sequence[str]:
        """Full names of all services that the server lists, sorted."""
        answer = self._ask_one(ServerReflectionRequest(list_services="*"), "list_services_response")
        return sorted(service.name for service in answer.list_services_response.service)

    def file_of(self, symbol: str) -> FileDescriptorProto:
        """The file that declares a symbol. Raises SymbolNotFoundError.

        Servers written in Python know messages and services by name, but no methods; what is around a symbol is
        therefore asked for when the server does not know the symbol itself.
        """
        asked = symbol
        while asked and self._files.declaring(symbol) is None:
            try:
                self._fetch([ServerReflectionRequest(file_containing_symbol=asked)])
            except SymbolNotFoundError:
                pass
            except _RefusedError:
                if asked == symbol:
                    raise
            asked = asked.rpartition(".")[0]
        if file := self._files.declaring(symbol):
            return file
        raise SymbolNotFoundError(f"the server knows no symbol {symbol}")

    def file_named(self, name: str) -> FileDescriptorProto:
        """The file of that name. Raises SymbolNotFoundError."""
        if name not in self._files:
            self._fetch([ServerReflectionRequest(file_by_filename=name)])
        if file := self._files.named(name):
            return file
        raise SymbolNotFoundError(f"the server knows no file {name}")

    def files(self) -> Sequence[FileDescriptorProto]:
        """The files of all services, and what they import, each after those that it imports."""
        for service in self.services():
            self.file_of(service)
        return self._files.files

    def extensions_of(self, message: str) -> Sequence[str]:
        """Full names of the extensions of a message, sorted. Raises SymbolNotFoundError.

        A server that has no answer to what extends a message, as many have not, counts as one without extensions.
        """
        self.file_of(message)
        request = ServerReflectionRequest(all_extension_numbers_of_type=message)
        try:
            answer = self._ask_one(request, "all_extension_numbers_response")
            numbers = answer.all_extension_numbers_response.extension_number
            extensions = [ExtensionRequest(containing_type=message, extension_number=number) for number in numbers]
            self._fetch([ServerReflectionRequest(file_containing_extension=extension) for extension in extensions])
        except (SymbolNotFoundError, _RefusedError):
            pass
        return self._files.extensions_of(message)

    def _fetch(self, requests: Sequence[ServerReflectionRequest]) -> None:
        """Ask for files, and for what they import, as far as the server has not sent that of its own accord.

        Raises SymbolNotFoundError for what is asked for, not for imports.
        """
        fetched: dict[str, FileDescriptorProto] = {}
        for request, response in zip(requests, self._ask(requests), strict=True):
            fetched.update(_files_of(request, response))
        asked: set[str] = set()
        while imports := _unknown_imports(fetched, self._files) - asked:
            if len(fetched) > _MOST_FILES:
                raise DescriptorSourceError(f"the server's reflection sends more than {_MOST_FILES} files")
            asked |= imports
            by_name = [ServerReflectionRequest(file_by_filename=name) for name in sorted(imports)]
            for request, response in zip(by_name, self._ask(by_name), strict=True):
                try:
                    fetched.update(_files_of(request, response))
                except (SymbolNotFoundError, _RefusedError):
                    continue
        self._files.add(fetched.values())

    def _ask_one(self, request: ServerReflectionRequest, kind: str) -> ServerReflectionResponse:
        (response,) = self._ask([request])
        _check(request, response, kind)
        return response

    def _ask(self, requests: Sequence[ServerReflectionRequest]) -> Sequence[ServerReflectionResponse]:
        """Ask in one stream. Gives an answer to each request, in their order."""
        while requests:
            try:
                answers = self._ask_in(self._versions[0], requests)
            except grpc.RpcError as error:
                if error.code() != grpc.StatusCode.UNIMPLEMENTED:
                    raise
                if len(self._versions) == 1:
                    raise ReflectionNotSupportedError("the server does not offer reflection") from error
                self._versions = self._versions[1:]
            else:
                self._versions = self._versions[:1]
                return answers
        return []

    def _ask_in(self, version: str, requests: Sequence[ServerReflectionRequest]) -> Sequence[ServerReflectionResponse]:
        """Ask in one of the versions.

        What is not read of a stream, as a server may send more or leave it open, ends with the channel.
        """
        self._stream = self._channel.stream_stream(
            version, request_serializer=ServerReflectionRequest.SerializeToString, response_deserializer=None
        )(iter(requests), timeout=self._deadline(), metadata=self._metadata)
        answers: list[bytes] = list(islice(self._stream, len(requests)))
        if len(answers) < len(requests):
            raise DescriptorSourceError(f"the server's reflection gave no answer to: {_told(requests[len(answers)])}")
        try:
            return [ServerReflectionResponse.FromString(answer) for answer in answers]
        except DecodeError as error:
            raise DescriptorSourceError("the server's reflection answered with something that is no answer") from error


def _unknown_imports(files: Mapping[str, FileDescriptorProto], pool: FilePool) -> set[str]:
    imports = {name for file in files.values() for name in imports_of(file)}
    return {name for name in imports if name not in files and name not in pool}


def _files_of(
    request: ServerReflectionRequest, response: ServerReflectionResponse
) -> Iterator[tuple[str, FileDescriptorProto]]:
    _check(request, response, "file_descriptor_response")
    for serialized in response.file_descriptor_response.file_descriptor_proto:
        try:
            file = FileDescriptorProto.FromString(serialized)
        except DecodeError as error:
            raise DescriptorSourceError(
                f"the server's reflection answered with descriptors that cannot be read to: {_told(request)}"
            ) from error
        yield file.name, file


def _check(request: ServerReflectionRequest, response: ServerReflectionResponse, expected: str) -> None:
    """Raise what an answer says that is no answer to the request."""
    kind = response.WhichOneof("message_response")
    if kind == expected:
        return
    if kind != "error_response":
        said = f"with {kind} instead of {expected}" if kind else "with nothing"
        raise DescriptorSourceError(f"the server's reflection answered {said} to: {_told(request)}")
    error = response.error_response
    if error.error_code == grpc.StatusCode.NOT_FOUND.value[0]:
        raise SymbolNotFoundError(f"the server does not know: {_told(request)}")
    code = _CODES.get(error.error_code, f"status {error.error_code}")
    raise _RefusedError(f"the server's reflection answered {code}: {error.error_message}, to: {_told(request)}")


def _told(request: ServerReflectionRequest) -> str:
    """A request in words."""
    kind = request.WhichOneof("message_request")
    match kind:
        case "file_containing_extension":
            extension = request.file_containing_extension
            return f"extension {extension.extension_number} of {extension.containing_type}"
        case "list_services":
            return "list of services"
        case "file_by_filename":
            return f"file {request.file_by_filename}"
        case "file_containing_symbol":
            return f"file of {request.file_containing_symbol}"
        case _:
            return f"extensions of {request.all_extension_numbers_of_type}"
