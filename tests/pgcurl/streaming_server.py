"""A gRPC server that is not pullgate's: it answers in all four ways of calling, and fails when it is asked to.

It serves pgcurl.testing.v1.TestService and pgcurl.testing.legacy.LegacyService of tests/pgcurl/protos. Request headers
say how a call goes:

- `header-NAME: VALUE` and `trailer-NAME: VALUE` come back as header and trailer NAME (also with -bin);
- `fail-early: CODE` ends the call with that status before it answers anything, `fail-late: CODE` after all answers;
- `fail-details: yes` puts an ErrorInfo and a message of a type that nobody knows into the details of the failure;
- `hold: early` and `hold: late` keep the call before the first and after the last answer until the caller leaves.
"""

import functools
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import any_pb2
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2, status_pb2
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse
from grpc_status import rpc_status

PROTOS = Path(__file__).parent / "protos"
TEST_SERVICE = "pgcurl.testing.v1.TestService"
LEGACY_SERVICE = "pgcurl.testing.legacy.LegacyService"
SERVICES = (LEGACY_SERVICE, TEST_SERVICE)
REFLECTION_V1 = "grpc.reflection.v1.ServerReflection"
REFLECTION_V1ALPHA = "grpc.reflection.v1alpha.ServerReflection"

FAILURE = "told to fail"
"""The message of the statuses that headers ask for."""

Answer = Callable[[ServerReflectionRequest], ServerReflectionResponse | None]
"""What reflection says to a request; None for nothing at all."""


class Reflection(Enum):
    """Which versions of reflection a server has."""

    BOTH = (REFLECTION_V1, REFLECTION_V1ALPHA)
    V1 = (REFLECTION_V1,)
    V1ALPHA = (REFLECTION_V1ALPHA,)
    NONE = ()


@dataclass(frozen=True, kw_only=True)
class Call:
    """A call that the server was asked for."""

    method: str
    metadata: tuple[tuple[str, str | bytes], ...]

    def values(self, name: str) -> list[str | bytes]:
        """What the caller sent as this header."""
        return [value for key, value in self.metadata if key == name]


@dataclass(kw_only=True)
class StreamingServer:
    """A running server.

    Attributes:
        address: HOST:PORT or unix:PATH.
        calls: all that came in so far, in order, those of reflection among them.
    """

    address: str
    calls: list[Call] = field(default_factory=list)

    def last_call(self, method: str) -> Call:
        """The last call of a method, by its last name."""
        return next(call for call in reversed(self.calls) if call.method.rpartition("/")[2] == method)


@functools.cache
def all_files() -> Sequence[FileDescriptorProto]:
    """All of the test protos and what they import, imports first, with comments."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "all.protoset")
        write_testing_protoset(path)
        return tuple(FileDescriptorSet.FromString(path.read_bytes()).file)


def write_testing_protoset(path: Path, *names: str, comments: bool = True) -> None:
    """Write a descriptor set of test protos (all, when none is named) and what they import."""
    subprocess.run(
        [
            sys.executable,
            "-m",
            "grpc_tools.protoc",
            f"-I{PROTOS}",
            "--include_imports",
            f"--descriptor_set_out={path}",
            *(["--include_source_info"] if comments else []),
            *(names or sorted(file.name for file in PROTOS.glob("*.proto"))),
        ],
        check=True,
    )


@functools.cache
def descriptor_pool() -> DescriptorPool:
    """All of the test protos."""
    pool = DescriptorPool()
    for file in all_files():
        pool.Add(file)
    return pool


def new_message(name: str, **fields: Any) -> Message:
    """A message of a test proto, by its full name."""
    return GetMessageClass(descriptor_pool().FindMessageTypeByName(name))(**fields)


@contextmanager
def running_server(
    *,
    reflection: Reflection = Reflection.BOTH,
    answer: Answer | None = None,
    address: str = "127.0.0.1:0",
    credentials: grpc.ServerCredentials | None = None,
) -> Iterator[StreamingServer]:
    """Serve until the block ends.

    Args:
        reflection: which versions of it there are.
        answer: what reflection says, instead of the truth.
        address: HOST:PORT, or unix:PATH.
        credentials: of TLS; plaintext without.
    """
    running = StreamingServer(address=address)
    server = grpc.server(ThreadPoolExecutor(max_workers=16))
    server.add_generic_rpc_handlers([_handlers(service, running) for service in SERVICES])
    reflect = _reflection_handler(answer or honest_answer, running)
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": reflect}) for name in reflection.value]
    )
    port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    if not address.startswith("unix:"):
        running.address = f"{address.rpartition(':')[0]}:{port}"
    server.start()
    try:
        yield running
    finally:
        server.stop(grace=None).wait()


def _handlers(service: str, running: StreamingServer) -> grpc.GenericRpcHandler:
    methods: Sequence[MethodDescriptor] = descriptor_pool().FindServiceByName(service).methods
    return grpc.method_handlers_generic_handler(service, {method.name: _handler(method, running) for method in methods})


def _handler(method: MethodDescriptor, running: StreamingServer) -> Any:
    respond = _RESPONSES[method.name]
    response = GetMessageClass(method.output_type)

    def stream(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Message]:
        metadata = _start(running, f"/{method.containing_service.full_name}/{method.name}", context)
        _misbehave("early", metadata, context)
        yield from respond(response, requests)
        _misbehave("late", metadata, context)

    def behaviour(request: Any, context: grpc.ServicerContext) -> Any:
        responses = stream(request if method.client_streaming else iter([request]), context)
        if method.server_streaming:
            return responses
        (only,) = responses
        return only

    kinds: dict[tuple[bool, bool], Any] = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }
    return kinds[method.client_streaming, method.server_streaming](
        behaviour,
        request_deserializer=GetMessageClass(method.input_type).FromString,
        response_serializer=response.SerializeToString,
    )


def _start(running: StreamingServer, method: str, context: grpc.ServicerContext) -> dict[str, str | bytes]:
    """Write down a call, and answer with the headers and trailers that it asks for."""
    metadata = tuple((key, value) for key, value in context.invocation_metadata())
    running.calls.append(Call(method=method, metadata=metadata))
    context.send_initial_metadata(_named("header-", metadata))
    context.set_trailing_metadata(_named("trailer-", metadata))
    return dict(metadata)


def _named(prefix: str, metadata: Sequence[tuple[str, str | bytes]]) -> tuple[tuple[str, str | bytes], ...]:
    return tuple((key.removeprefix(prefix), value) for key, value in metadata if key.startswith(prefix))


def _misbehave(when: str, metadata: dict[str, str | bytes], context: grpc.ServicerContext) -> None:
    if metadata.get("hold") == when:
        left = threading.Event()
        if context.add_callback(left.set):
            left.wait()
    if code := metadata.get(f"fail-{when}"):
        status = status_pb2.Status(code=int(code), message=FAILURE)
        if "fail-details" in metadata:
            details = status.details.add()
            details.Pack(error_details_pb2.ErrorInfo(reason="TOLD_TO", domain="pgcurl.testing"))
            status.details.append(any_pb2.Any(type_url="type.googleapis.com/nobody.knows.This", value=b"\x08\x01"))
            context.abort_with_status(_with_trailers(rpc_status.to_status(status), metadata))
        context.abort(_STATUS_CODES[int(code)], FAILURE)


def _with_trailers(status: Any, metadata: dict[str, str | bytes]) -> Any:
    """The status, whose trailers stand in for those that were set."""
    trailers = (*status.trailing_metadata, *_named("trailer-", tuple(metadata.items())))
    return status._replace(trailing_metadata=trailers)


_STATUS_CODES = {code.value[0]: code for code in grpc.StatusCode}
_LOUD = 2


def _echo(response: type[Any], requests: Iterator[Any]) -> Iterator[Message]:
    for position, request in enumerate(requests, start=1):
        loud = request.tone == _LOUD
        yield response(
            request=request, text=request.text.upper() if loud else request.text, position=position, loud=loud
        )


def _split(response: type[Any], requests: Iterator[Any]) -> Iterator[Message]:
    for request in requests:
        for position, word in enumerate(request.text.split(), start=1):
            yield response(text=word, position=position)


def _join(response: type[Any], requests: Iterator[Any]) -> Iterator[Message]:
    texts = [request.text for request in requests]
    yield response(text=" ".join(texts), messages=len(texts))


def _ping(response: type[Any], requests: Iterator[Any]) -> Iterator[Message]:
    yield from (response() for _ in requests)


def _get(_: type[Any], requests: Iterator[Any]) -> Iterator[Message]:
    yield from requests


_RESPONSES: dict[str, Callable[[type[Any], Iterator[Any]], Iterator[Message]]] = {
    "Echo": _echo,
    "Split": _split,
    "Join": _join,
    "Converse": _echo,
    "Ping": _ping,
    "Get": _get,
}


def honest_answer(request: ServerReflectionRequest) -> ServerReflectionResponse:
    """What reflection says of the test protos, comments included; unlike grpcio's own, one file at a time."""
    response = ServerReflectionResponse(original_request=request)
    match request.WhichOneof("message_request"):
        case "list_services":
            for service in SERVICES:
                response.list_services_response.service.add(name=service)
        case "file_by_filename":
            _describe(response, request.file_by_filename)
        case "file_containing_symbol":
            _describe(response, _file_of(request.file_containing_symbol))
        case "file_containing_extension":
            asked = request.file_containing_extension
            _describe(response, _extensions(asked.containing_type).get(asked.extension_number))
        case "all_extension_numbers_of_type":
            response.all_extension_numbers_response.base_type_name = request.all_extension_numbers_of_type
            numbers = sorted(_extensions(request.all_extension_numbers_of_type))
            response.all_extension_numbers_response.extension_number.extend(numbers)
    return response


def _describe(response: ServerReflectionResponse, name: str | None) -> None:
    found = [file for file in all_files() if file.name == name]
    if found:
        response.file_descriptor_response.file_descriptor_proto.append(found[0].SerializeToString())
    else:
        response.error_response.error_code = grpc.StatusCode.NOT_FOUND.value[0]
        response.error_response.error_message = "not found"


def _file_of(symbol: str) -> str | None:
    for name in (symbol, symbol.rpartition(".")[0]):  # the pool knows no methods
        try:
            return str(descriptor_pool().FindFileContainingSymbol(name).name)
        except KeyError:
            continue
    return None


def _extensions(message: str) -> dict[int, str]:
    try:
        found = descriptor_pool().FindAllExtensions(descriptor_pool().FindMessageTypeByName(message))
    except KeyError:
        return {}
    return {extension.number: _file_of(extension.full_name) or "" for extension in found}


def _reflection_handler(answer: Answer, running: StreamingServer) -> Any:
    def reflect(
        requests: Iterator[ServerReflectionRequest], context: grpc.ServicerContext
    ) -> Iterator[ServerReflectionResponse]:
        metadata = _start(running, "/grpc.reflection/ServerReflectionInfo", context)
        _misbehave("early", metadata, context)
        yield from (response for request in requests if (response := answer(request)))
        _misbehave("late", metadata, context)

    return grpc.stream_stream_rpc_method_handler(
        reflect,
        request_deserializer=ServerReflectionRequest.FromString,
        response_serializer=ServerReflectionResponse.SerializeToString,
    )
