"""Descriptors from descriptor sets, from .proto files, from both these and a server, and written to files again."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse

from pgcurl.composite import CompositeSource
from pgcurl.describing import describe, find_message, find_method
from pgcurl.listing import list_services
from pgcurl.proto_files import compile_protos
from pgcurl.protosets import FilesSource, ProtosetSource
from pgcurl.sources import (
    DescriptorSource,
    DescriptorSourceError,
    ReflectionNotSupportedError,
    SymbolNotFoundError,
)
from pgcurl.writing import write_proto_files, write_protoset
from tests.pgcurl.descriptors import all_protos, each_source, reflected, without_comments
from tests.pgcurl.streaming_server import (
    LEGACY_SERVICE,
    PROTOS,
    SERVICES,
    TEST_SERVICE,
    Reflection,
    all_files,
    honest_answer,
    write_testing_protoset,
)

LEGACY = "pgcurl.testing.legacy.Legacy"


@pytest.mark.parametrize("kind", ["protoset", "proto files", "reflection"])
def test_all_sources_know_the_same(kind: str, tmp_path: Path) -> None:
    """Services, symbols, files and extensions are the same wherever they come from."""
    with each_source(kind, tmp_path) as source:
        assert set(SERVICES) <= set(source.services())
        assert list(source.services()) == sorted(source.services())
        assert source.file_of(TEST_SERVICE).name == "test_service.proto"
        assert source.file_of(f"{TEST_SERVICE}.Echo").name == "test_service.proto"
        assert source.file_of(f"{LEGACY}.Colour.COLOUR_RED").name == "legacy.proto"
        assert source.file_named("options.proto") in all_files()
        assert f"{LEGACY[:-6]}weight" in source.extensions_of(LEGACY)
        assert {"test_service.proto", "legacy.proto", "options.proto"} <= {file.name for file in source.files()}
        assert source.pool.FindServiceByName(TEST_SERVICE).methods_by_name["Echo"].name == "Echo"
        for ask in (source.file_of, source.file_named, source.extensions_of):
            with pytest.raises(SymbolNotFoundError, match="nobody"):
                ask("nobody")


def test_protosets_add_up(tmp_path: Path) -> None:
    """Several descriptor sets count together; of files that are in both the later one counts."""
    write_testing_protoset(tmp_path / "a", "test_service.proto", comments=False)
    write_testing_protoset(tmp_path / "b", "legacy.proto")
    write_testing_protoset(tmp_path / "c", "test_service.proto")
    source = ProtosetSource([tmp_path / "a", tmp_path / "b", tmp_path / "c"])
    assert list_services(source).split("\n") == sorted(SERVICES)
    assert "// Answers with the request." in describe(source, TEST_SERVICE)


def protoset(path: Path, *files: FileDescriptorProto) -> Path:
    """A descriptor set of these files."""
    path.write_bytes(FileDescriptorSet(file=files).SerializeToString())
    return path


def test_protosets_that_cannot_be_read(tmp_path: Path) -> None:
    """A descriptor set that is not there, is none, or does not hold together says which and why."""
    (tmp_path / "garbage").write_bytes(b"\xff\xff\xff")
    lacking = [file for file in all_files() if file.name == "legacy.proto"]
    lacking += [file for file in all_files() if file.name == "google/protobuf/descriptor.proto"]
    uses = FileDescriptorProto(name="a.proto", dependency=["b.proto"])
    uses.message_type.add(name="A").field.add(name="b", number=1, label=1, type=11, type_name=".B")
    cases = [
        (tmp_path / "nothing", "cannot read the descriptor set .*/nothing: No such file or directory"),
        (tmp_path, "cannot read the descriptor set .*: Is a directory"),
        (tmp_path / "garbage", "garbage is not a descriptor set; write one with protoc --include_imports"),
        (
            protoset(tmp_path / "lacking", uses),
            "a.proto cannot be used: .*it imports b.proto, which is not to be found",
        ),
    ]
    for path, problem in cases:
        with pytest.raises(DescriptorSourceError, match=problem):
            ProtosetSource([path])
    assert ProtosetSource([protoset(tmp_path / "unused", *lacking)]).services() == [LEGACY_SERVICE]


def test_proto_files_without_import_paths(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without import paths, files and what they import are found beside them, and from the working directory."""
    assert compile_protos([str(PROTOS / "legacy.proto")], []).services() == [LEGACY_SERVICE]
    monkeypatch.chdir(PROTOS.parent)
    assert compile_protos(["protos/legacy.proto"], []).services() == [LEGACY_SERVICE]
    monkeypatch.chdir(PROTOS)
    assert compile_protos(["legacy.proto", "test_service.proto"], []).services() == sorted(SERVICES)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "-odd.proto").write_text('syntax = "proto3";\nservice Odd {}\n')
    assert compile_protos(["-odd.proto"], []).services() == ["Odd"]


def test_proto_files_that_do_not_compile(tmp_path: Path) -> None:
    """What protoc says of a file is told, with the line."""
    (tmp_path / "broken.proto").write_text('syntax = "proto3";\nmessage A {\n  int32 = 1;\n}\n')
    for name, problem in [
        ("broken.proto", r"protoc cannot compile the files:\n.*broken\.proto:3:9: .*"),
        ("nowhere.proto", r"protoc cannot compile the files:\n.*nowhere\.proto"),
    ]:
        with pytest.raises(DescriptorSourceError, match=problem):
            compile_protos([name], [tmp_path])


def test_no_protoc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without grpcio-tools, the error says what to install and what to do instead."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(DescriptorSourceError, match=r"pip install 'pullgate\[pgcurl\]'"):
        compile_protos(["a.proto"], [])


class Unreachable:
    """A source whose server cannot be reached."""

    def __getattr__(self, name: str) -> object:
        raise grpc.RpcError


def local_file(*imports: str) -> FileDescriptorProto:
    """A file with a message that no server knows."""
    local = FileDescriptorProto(name="local.proto", package="local", dependency=imports)
    local.message_type.add(name="Local")
    return local


def test_reflection_comes_before_files() -> None:
    """Services are the server's alone; symbols are the server's, or else those of the files."""
    files = FilesSource([*map(without_comments, all_files()), local_file("test_service.proto")])
    with reflected() as (reflection, _):
        source = CompositeSource(reflection, files)
        assert list_services(source).split("\n") == sorted(SERVICES)
        assert "// Answers with the request." in describe(source, f"{TEST_SERVICE}.Echo")
        assert "// Answers with the request." not in describe(files, f"{TEST_SERVICE}.Echo")
        assert describe(source, "local.Local") == "local.Local is a message:\nmessage Local {\n}"
        assert source.file_named("local.proto") == local_file("test_service.proto")
        assert find_method(source, f"{TEST_SERVICE}/Echo").input_type.full_name == "pgcurl.testing.v1.EchoRequest"
        assert {"local.proto", "editions.proto", "legacy.proto"} <= {file.name for file in source.files()}
        with pytest.raises(SymbolNotFoundError, match=r"the server knows no symbol nobody\.Knows"):
            source.file_of("nobody.Knows")


def test_files_stand_in_for_a_server_without_reflection() -> None:
    """Where the server does not offer reflection, symbols are those of the files; services are still asked of it."""
    with reflected(reflection=Reflection.NONE) as (reflection, _):
        source = CompositeSource(reflection, all_protos())
        assert find_method(source, f"{TEST_SERVICE}/Echo").name == "Echo"
        with pytest.raises(ReflectionNotSupportedError):
            source.services()
        with pytest.raises(ReflectionNotSupportedError):
            source.file_of("nobody.Knows")


def test_files_stand_in_for_a_server_that_cannot_be_reached() -> None:
    """A server that fails is the reason only for what the files do not know."""
    source = CompositeSource(Unreachable(), all_protos())  # type: ignore[arg-type]
    assert describe(source, TEST_SERVICE) == describe(all_protos(), TEST_SERVICE)
    assert "pgcurl.testing.legacy.weight" in source.extensions_of(LEGACY)
    with pytest.raises(grpc.RpcError):
        source.file_of("nobody.Knows")


def test_extensions_of_either() -> None:
    """Extensions are those that the server knows and those of the files."""
    more = FileDescriptorProto(name="more.proto", package="more", dependency=["legacy.proto"], syntax="proto2")
    more.extension.add(name="further", number=150, label=1, type=9, extendee=f".{LEGACY}")
    with reflected() as (reflection, _):
        source = CompositeSource(reflection, FilesSource([*all_files(), more]))
        assert {"more.further", "pgcurl.testing.legacy.weight"} <= set(source.extensions_of(LEGACY))


def test_a_file_with_another_name(tmp_path: Path) -> None:
    """What the server calls by one name and the files by another is the same, and files of one may use it."""
    (tmp_path / "extra.proto").write_text(
        'syntax = "proto3";\npackage extra;\nimport "protos/test_service.proto";\n'
        "message Extra { pgcurl.testing.v1.Detail detail = 1; }\n"
    )
    files = compile_protos(["extra.proto"], [tmp_path, PROTOS.parent])
    with reflected() as (reflection, _):
        source = CompositeSource(reflection, files)
        source.file_of(TEST_SERVICE)
        extra = find_message(source, "extra.Extra")
        assert extra is not None
        assert extra.fields_by_name["detail"].message_type is source.pool.FindMessageTypeByName(
            "pgcurl.testing.v1.Detail"
        )
        write_protoset(tmp_path / "out", source, ["extra.Extra", TEST_SERVICE])
    assert describe(ProtosetSource([tmp_path / "out"]), "extra.Extra").startswith("extra.Extra is a message")


@pytest.mark.parametrize("kind", ["protoset", "proto files", "reflection"])
def test_written_protosets(kind: str, tmp_path: Path) -> None:
    """A written descriptor set has the files of the symbols and what they import, imports first, with comments."""
    out = tmp_path / "below" / "out.protoset"
    with each_source(kind, tmp_path) as source:
        write_protoset(out, source, [TEST_SERVICE, f".{TEST_SERVICE}.Echo", LEGACY])
    files = FileDescriptorSet.FromString(out.read_bytes()).file
    names = [file.name for file in files]
    assert len(names) == len(set(names))
    assert {"test_service.proto", "legacy.proto", "options.proto", "google/protobuf/any.proto"} <= set(names)
    assert "editions.proto" not in names
    assert all(names.index(name) < names.index(file.name) for file in files for name in file.dependency)
    assert describe(ProtosetSource([out]), None) == describe(some_protos(names), None)


def some_protos(names: Sequence[str]) -> DescriptorSource:
    """Some of the test protos."""
    return FilesSource(file for file in all_files() if file.name in names)


def test_written_proto_files(tmp_path: Path) -> None:
    """Written .proto files stand below the directory by their names, and compile."""
    with reflected() as (source, _):
        write_proto_files(tmp_path / "out", source, [LEGACY_SERVICE])
    written = sorted(str(path.relative_to(tmp_path / "out")) for path in tmp_path.glob("out/**/*.proto"))
    assert written == ["google/protobuf/descriptor.proto", "legacy.proto", "options.proto"]
    again = compile_protos(["legacy.proto"], [tmp_path / "out"])
    assert describe(again, LEGACY) == describe(all_protos(), LEGACY)


@pytest.mark.parametrize(
    "name",
    [
        "../evil.proto",
        ".git/hooks/post-checkout",
        "/tmp/evil.proto",
        "a/../../evil.proto",
        "",
        "a\\b.proto",
        "a\x1b[2J.proto",
    ],
)
def test_names_that_lead_elsewhere(name: str, tmp_path: Path) -> None:
    """A server cannot make us write outside of the directory."""
    evil = FileDescriptorProto(name=name, package="evil")
    evil.message_type.add(name="Evil")

    def answer(request: ServerReflectionRequest) -> ServerReflectionResponse:
        response = honest_answer(request)
        if request.WhichOneof("message_request") == "file_containing_symbol":
            response.Clear()
            response.file_descriptor_response.file_descriptor_proto.append(evil.SerializeToString())
        return response

    with (
        reflected(answer=answer) as (source, _),
        pytest.raises(DescriptorSourceError, match=r"is not a name for a .proto file below .*; nothing is written"),
    ):
        write_proto_files(tmp_path / "out", source, ["evil.Evil"])
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_written(tmp_path: Path) -> None:
    """A file that cannot be written is named; what is not known is not written."""
    (tmp_path / "file").write_text("")
    with pytest.raises(DescriptorSourceError, match=r"cannot write .*/file/out: "):
        write_protoset(tmp_path / "file" / "out", all_protos(), [LEGACY])
    with pytest.raises(SymbolNotFoundError):
        write_protoset(tmp_path / "out", all_protos(), ["nobody.Knows"])
    assert not (tmp_path / "out").exists()
