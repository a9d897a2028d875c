"""Descriptors from servers: ours, the one of grpcio, those with one version of reflection or none, and broken ones."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse

from pgcurl.describing import describe, find_method
from pgcurl.listing import list_methods, list_services
from pgcurl.reflection import ReflectionSource
from pgcurl.sources import (
    DescriptorSource,
    DescriptorSourceError,
    ReflectionNotSupportedError,
    SymbolNotFoundError,
)
from tests.conftest import SOON, Serve
from tests.pgcurl.descriptors import reflected, without_comments
from tests.pgcurl.streaming_server import (
    FAILURE,
    LEGACY_SERVICE,
    SERVICES,
    TEST_SERVICE,
    Answer,
    Reflection,
    all_files,
    honest_answer,
    running_server,
)

DECIDE = "pullgate.v1.PolicyDecisionService"


async def test_our_own_server(serve: Serve) -> None:
    """Our server tells its services and methods to who has a token; it is written in Python, and knows no methods by
    their names, so that these are found in their services.
    """
    async with serve() as service:

        def ask() -> None:
            with grpc.insecure_channel(service.server.address) as channel:
                source = ReflectionSource(channel, metadata=service.metadata, deadline=lambda: SOON)
                assert DECIDE in list_services(source).split("\n")
                assert f"{DECIDE}.Decide" in list_methods(source, DECIDE).split("\n")
                assert describe(source, f"{DECIDE}.Decide").split("\n") == [
                    f"{DECIDE}.Decide is a method:",
                    "rpc Decide ( .pullgate.v1.DecideRequest ) returns ( .pullgate.v1.DecideResponse );",
                ]
                assert find_method(source, f"{DECIDE}/Decide").input_type.full_name == "pullgate.v1.DecideRequest"
                assert describe(source, None).count(" is a service:\n") == len(source.services())

        await asyncio.to_thread(ask)


async def test_our_own_server_without_a_token(serve: Serve) -> None:
    """Without a token our server refuses, and that is not taken for a server without reflection."""
    async with serve() as service:

        def ask() -> None:
            with grpc.insecure_channel(service.server.address) as channel:
                list_services(ReflectionSource(channel, metadata=(), deadline=lambda: SOON))

        with pytest.raises(grpc.RpcError) as refused:
            await asyncio.to_thread(ask)
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_the_reflection_of_grpcio() -> None:
    """The reflection that comes with grpcio, which is v1alpha, answers for services, messages and methods."""
    server = grpc.server(ThreadPoolExecutor(max_workers=4))
    health_pb2_grpc.add_HealthServicer_to_server(health.HealthServicer(), server)
    reflection.enable_server_reflection(["grpc.health.v1.Health"], server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            source = ReflectionSource(channel, metadata=(), deadline=lambda: SOON)
            assert list_services(source) == "grpc.health.v1.Health"
            assert "stream" in describe(source, "grpc.health.v1.Health.Watch")
            assert "UNKNOWN = 0;" in describe(source, "grpc.health.v1.HealthCheckResponse.ServingStatus")
    finally:
        server.stop(grace=None).wait()


@pytest.mark.parametrize("versions", [Reflection.BOTH, Reflection.V1, Reflection.V1ALPHA], ids=lambda each: each.name)
def test_versions(versions: Reflection) -> None:
    """A server may have either version of reflection, or both."""
    with reflected(reflection=versions) as (source, _):
        assert list_services(source).split("\n") == sorted(SERVICES)
        assert find_method(source, f"{TEST_SERVICE}/Echo").name == "Echo"


def test_no_reflection() -> None:
    """A server without reflection is told from one that fails."""
    with reflected(reflection=Reflection.NONE) as (source, _):
        for ask in (
            source.services,
            source.files,
            lambda: source.file_of(TEST_SERVICE),
            lambda: source.file_named("a"),
        ):
            with pytest.raises(ReflectionNotSupportedError, match="the server does not offer reflection"):
                ask()


def test_a_file_is_asked_for_once() -> None:
    """Files are fetched with their imports, and not again."""
    with reflected() as (source, server):
        describe(source, f"{TEST_SERVICE}.Echo")
        asked = len(server.calls)
        describe(source, f"{TEST_SERVICE}.Join")
        describe(source, "pgcurl.testing.v1.EchoRequest")
        describe(source, "google.protobuf.Timestamp")
        assert source.file_named("google/protobuf/any.proto").package == "google.protobuf"
        assert len(server.calls) == asked


def test_headers_and_deadlines() -> None:
    """Every call carries the headers, text and bytes, and asks how much time is left."""
    asked: list[float] = []

    def left() -> float:
        asked.append(SOON)
        return SOON

    metadata = (("authorization", "Bearer mine"), ("trace-bin", b"\x00\xff"))
    with running_server() as server, grpc.insecure_channel(server.address) as channel:
        source = ReflectionSource(channel, metadata=metadata, deadline=left)
        source.services()
        source.file_of(TEST_SERVICE)
        source.extensions_of("pgcurl.testing.legacy.Legacy")
        assert {call.values("authorization")[0] for call in server.calls} == {"Bearer mine"}
        assert {call.values("trace-bin")[0] for call in server.calls} == {b"\x00\xff"}
        assert len(asked) == len(server.calls)


def test_no_answer_in_time() -> None:
    """A server that does not answer is left at the deadline."""
    with running_server() as server, grpc.insecure_channel(server.address) as channel:
        source = ReflectionSource(channel, metadata=(("hold", "early"),), deadline=lambda: 0.2)
        with pytest.raises(grpc.RpcError) as late:
            source.services()
        assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_a_server_that_does_not_end_its_answers() -> None:
    """A server that has answered is not waited for, even if it keeps the stream open."""
    with reflected(metadata=(("hold", "late"),)) as (source, _):
        assert list_services(source).split("\n") == sorted(SERVICES)
        assert find_method(source, f"{TEST_SERVICE}/Echo").name == "Echo"


def test_a_server_that_refuses() -> None:
    """A status of the server surfaces as it is."""
    with reflected(metadata=(("fail-early", "7"),)) as (source, _):
        with pytest.raises(grpc.RpcError) as refused:
            source.file_of(TEST_SERVICE)
        assert (refused.value.code(), refused.value.details()) == (grpc.StatusCode.PERMISSION_DENIED, FAILURE)


def test_unknown_to_the_server() -> None:
    """What the server does not know is named."""
    with reflected() as (source, _):
        with pytest.raises(SymbolNotFoundError, match=r"the server knows no symbol nobody\.Knows"):
            source.file_of("nobody.Knows")
        with pytest.raises(SymbolNotFoundError, match=r"the server does not know: file nobody\.proto"):
            source.file_named("nobody.proto")
        with pytest.raises(SymbolNotFoundError, match=r"nobody\.Knows"):
            source.extensions_of("nobody.Knows")


def test_extensions() -> None:
    """Extensions are found wherever they stand, and are in the pool afterwards."""
    with reflected() as (source, _):
        names = ["Legacy.Nested.nested_extension", "labels", "weight"]
        assert source.extensions_of("pgcurl.testing.legacy.Legacy") == [
            f"pgcurl.testing.legacy.{name}" for name in names
        ]
        assert source.extensions_of("pgcurl.testing.v1.Detail") == []
        assert source.pool.FindExtensionByName("pgcurl.testing.legacy.weight").number == 100


def test_all_files() -> None:
    """All files are those of the services and what they import, each after its imports, as the server has them."""
    with reflected() as (source, _):
        files = source.files()
        names = [file.name for file in files]
        assert {"test_service.proto", "legacy.proto", "options.proto", "google/protobuf/any.proto"} <= set(names)
        assert "editions.proto" not in names
        assert all(names.index(name) < names.index(file.name) for file in files for name in file.dependency)
        assert all(file in all_files() for file in files)


def answers(**kinds: Callable[[ServerReflectionResponse], None]) -> Answer:
    """Answers that are wrong for some kinds of requests."""

    def answer(request: ServerReflectionRequest) -> ServerReflectionResponse | None:
        kind = request.WhichOneof("message_request")
        if kind not in kinds:
            return honest_answer(request)
        response = ServerReflectionResponse(original_request=request)
        kinds[kind](response)
        return response

    return answer


def files(*serialized: bytes) -> Callable[[ServerReflectionResponse], None]:
    """An answer with these files."""
    return lambda response: response.file_descriptor_response.file_descriptor_proto.extend(serialized)


def error(code: int, message: str) -> Callable[[ServerReflectionResponse], None]:
    """An answer with an error."""

    def fill(response: ServerReflectionResponse) -> None:
        response.error_response.error_code = code
        response.error_response.error_message = message

    return fill


def file(name: str, *imports: str, **fields: str) -> bytes:
    """A file with a message that has fields of these types."""
    described = FileDescriptorProto(name=name, package="a", dependency=imports)
    message = described.message_type.add(name=name.partition(".")[0].title())
    for number, (field, type_name) in enumerate(fields.items(), start=1):
        message.field.add(
            name=field,
            number=number,
            label=FieldDescriptorProto.LABEL_OPTIONAL,
            type=FieldDescriptorProto.TYPE_MESSAGE,
            type_name=type_name,
        )
    return described.SerializeToString()


WRONG: dict[str, tuple[Answer, type[Exception], str]] = {
    "no answer": (lambda _: None, DescriptorSourceError, "gave no answer to: file of a.One"),
    "an empty answer": (
        answers(file_containing_symbol=lambda _: None),
        DescriptorSourceError,
        "answered with nothing to: file of a.One",
    ),
    "another kind of answer": (
        answers(file_containing_symbol=lambda response: response.list_services_response.service.add(name="a")),
        DescriptorSourceError,
        "answered with list_services_response instead of file_descriptor_response to: file of a.One",
    ),
    "an error": (
        answers(file_containing_symbol=error(13, "out of order")),
        DescriptorSourceError,
        "answered INTERNAL: out of order, to: file of a.One",
    ),
    "an error with a code that nobody knows": (
        answers(file_containing_symbol=error(99, "odd")),
        DescriptorSourceError,
        "answered status 99: odd, to: file of a.One",
    ),
    "no files": (answers(file_containing_symbol=files()), SymbolNotFoundError, "knows no symbol a.One"),
    "bytes that are no file": (
        answers(file_containing_symbol=files(b"\xff\xff")),
        DescriptorSourceError,
        "descriptors that cannot be read to: file of a.One",
    ),
    "a file that declares something else": (
        answers(file_containing_symbol=files(file("other.proto"))),
        SymbolNotFoundError,
        "knows no symbol a.One",
    ),
    "a file that contradicts itself": (
        answers(file_containing_symbol=files(file("one.proto", it="a.Nothing"))),
        DescriptorSourceError,
        "the descriptors of one.proto cannot be used: ",
    ),
    "a file that lacks an import": (
        answers(file_containing_symbol=files(file("one.proto", "two.proto", it=".a.Two"))),
        DescriptorSourceError,
        "it imports two.proto, which is not to be found",
    ),
    "files that import each other": (
        answers(file_containing_symbol=files(file("one.proto", "two.proto"), file("two.proto", "one.proto"))),
        DescriptorSourceError,
        "files import each other in a circle: one.proto -> two.proto -> one.proto",
    ),
    "a file that imports itself": (
        answers(file_containing_symbol=files(file("one.proto", "one.proto"))),
        DescriptorSourceError,
        "in a circle: one.proto -> one.proto",
    ),
    "an import that is in error": (
        answers(
            file_containing_symbol=files(file("one.proto", "two.proto", it=".a.Two")), file_by_filename=error(13, "no")
        ),
        DescriptorSourceError,
        "it imports two.proto, which is not to be found",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_answers(case: str) -> None:
    """Whatever a server answers, there is an error that says what is wrong with it."""
    answer, expected, words = WRONG[case]
    with reflected(answer=answer) as (source, _), pytest.raises(expected) as refused:
        source.file_of("a.One")
    assert words in str(refused.value)


def test_imports_that_are_not_used_may_be_missing() -> None:
    """A server that does not know a file of options is described all the same."""
    answer = answers(file_containing_symbol=files(file("one.proto", "options.proto", "nowhere.proto")))
    with reflected(answer=answer) as (source, _):
        assert describe(source, "a.One") == "a.One is a message:\nmessage One {\n}"


def test_imports_of_protobuf_are_here_anyway() -> None:
    """A server need not know the files that come with protobuf."""
    answer = answers(
        file_containing_symbol=files(file("one.proto", "google/protobuf/any.proto", it=".google.protobuf.Any")),
        file_by_filename=error(5, "not found"),
    )
    with reflected(answer=answer) as (source, _):
        assert ".google.protobuf.Any it = 1;" in describe(source, "a.One")


def test_a_server_that_knows_nothing_of_extensions() -> None:
    """Errors in what extends a message mean that there are no extensions."""
    for wrong in (error(12, "not implemented"), error(5, "not found")):
        with reflected(answer=answers(all_extension_numbers_of_type=wrong)) as (source, _):
            assert source.extensions_of("pgcurl.testing.v1.Detail") == []


def test_endless_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that has always another import is left at some point."""
    monkeypatch.setattr("pgcurl.reflection._MOST_FILES", 20)

    def answer(request: ServerReflectionRequest) -> ServerReflectionResponse:
        number = int(request.file_by_filename.partition(".")[0] or 0)
        response = ServerReflectionResponse()
        files(file(f"{number}.proto", f"{number + 1}.proto"))(response)
        return response

    with reflected(answer=answer) as (source, _), pytest.raises(DescriptorSourceError, match="more than 20 files"):
        source.file_of("a.One")


@contextmanager
def raw_server(response: bytes) -> Iterator[str]:
    """A server whose reflection answers with bytes."""
    handler: Any = grpc.stream_stream_rpc_method_handler(lambda requests, _: (response for _ in requests))
    server = grpc.server(ThreadPoolExecutor(max_workers=4))
    name = "grpc.reflection.v1.ServerReflection"
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": handler})])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(grace=None).wait()


def test_bytes_that_are_no_answer() -> None:
    """Bytes that are no message of reflection are refused."""
    with raw_server(b"\xff\xff") as address, grpc.insecure_channel(address) as channel:
        source: DescriptorSource = ReflectionSource(channel, metadata=(), deadline=lambda: SOON)
        with pytest.raises(DescriptorSourceError, match="something that is no answer"):
            source.services()


def test_nobody_there() -> None:
    """A server that cannot be reached surfaces as UNAVAILABLE."""
    with running_server() as server:
        address = server.address
    with grpc.insecure_channel(address) as channel:
        source = ReflectionSource(channel, metadata=(), deadline=lambda: SOON)
        with pytest.raises(grpc.RpcError) as refused:
            source.services()
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


def test_comments_come_along() -> None:
    """A server that has the comments of its descriptors shows them, as LegacyService does."""
    with reflected() as (source, _):
        described = source.file_of(LEGACY_SERVICE)
        assert described != without_comments(described)
        assert "// For calls with extensions.\n" in describe(source, LEGACY_SERVICE)
