"""What `list` and `describe` print: golden texts, made after grpcurl's rules (desc/protoprint, sorted and compact)."""

from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto, Edition, FileDescriptorProto, ServiceDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from pgcurl.comments import comment_lines
from pgcurl.describing import describe, find_message, find_method
from pgcurl.listing import list_methods, list_services
from pgcurl.proto_files import compile_protos
from pgcurl.proto_source import file_source
from pgcurl.protosets import FilesSource
from pgcurl.sources import DescriptorSource, SymbolNotFoundError
from tests.pgcurl.descriptors import all_protos, each_source, golden
from tests.pgcurl.streaming_server import LEGACY_SERVICE, TEST_SERVICE

V1, LEGACY, LAYOUT, EDITIONS = (f"pgcurl.testing.{name}" for name in ("v1", "legacy", "layout", "editions"))

DESCRIBED = {
    "service": TEST_SERVICE,
    "service with options": f"{LAYOUT}.LayoutService",
    "service without methods": f"{LAYOUT}.Empty",
    "method": f"{TEST_SERVICE}.Converse",
    "method with options": f"{TEST_SERVICE}.Ping",
    "message": f"{V1}.EchoRequest",
    "message with a leading dot": f".{V1}.Detail",
    "message of proto2": f"{LEGACY}.Legacy",
    "message of an edition": f"{EDITIONS}.Modern",
    "message with long options": f"{LAYOUT}.Layout",
    "nested message": f"{LEGACY}.Legacy.Nested",
    "field": f"{V1}.EchoRequest.text",
    "optional field": f"{V1}.EchoRequest.perhaps",
    "field of a oneof": f"{V1}.EchoRequest.id",
    "map field": f"{V1}.EchoRequest.counts",
    "entry of a map": f"{V1}.EchoRequest.CountsEntry",
    "group field": f"{LEGACY}.Legacy.result",
    "type of a group": f"{LEGACY}.Legacy.Result",
    "extension": f"{LEGACY}.weight",
    "extension within a message": f"{LEGACY}.Legacy.Nested.nested_extension",
    "oneof": f"{V1}.EchoRequest.choice",
    "oneof with options and a group": f"{LEGACY}.Legacy.kind",
    "enum": f"{V1}.Tone",
    "open enum with a negative value": f"{LAYOUT}.Order",
    "closed enum": f"{LEGACY}.Legacy.Colour",
    "enum value": f"{V1}.Tone.TONE_PLAIN",
    "enum value beside its enum": f"{V1}.TONE_PLAIN",
}


@pytest.mark.parametrize("kind", ["protoset", "proto files", "reflection"])
def test_every_kind_of_symbol_is_described(kind: str, tmp_path: Path) -> None:
    """Each kind of symbol is printed as grpcurl prints it, comments included, wherever the descriptors come from."""
    with each_source(kind, tmp_path) as source:
        for name, symbol in DESCRIBED.items():
            assert describe(source, symbol) == golden(f"{name.replace(' ', '_')}.txt"), symbol


def test_all_services_are_described(tmp_path: Path) -> None:
    """Without a symbol, all services are described, in the order of their names."""
    with each_source("reflection", tmp_path) as source:
        assert describe(source, None) == "\n".join(
            describe(source, service) for service in (LEGACY_SERVICE, TEST_SERVICE)
        )


def test_no_services() -> None:
    """A source without services says so, to list and to describe, and a service without methods, too."""
    nothing = FilesSource([])
    assert list_services(nothing) == "(No services)"
    assert describe(nothing, None) == "Server returned an empty list of exposed services"
    assert list_methods(all_protos(), f"{LAYOUT}.Empty") == "(No methods)"


def test_services_and_methods_are_listed() -> None:
    """Services and the methods of one are listed by their full names, sorted."""
    assert list_services(all_protos()).split("\n") == [
        f"{LAYOUT}.Empty",
        f"{LAYOUT}.LayoutService",
        LEGACY_SERVICE,
        TEST_SERVICE,
    ]
    assert list_methods(all_protos(), TEST_SERVICE).split("\n") == [
        f"{TEST_SERVICE}.{method}" for method in ("Converse", "Echo", "Join", "Ping", "Split")
    ]


@pytest.mark.parametrize(
    ("symbol", "problem"),
    [
        ("nobody.knows", "no file that was given declares nobody.knows"),
        ("", "no file that was given declares "),
        (f"{TEST_SERVICE}.Nothing", f"no file that was given declares {TEST_SERVICE}.Nothing"),
    ],
)
def test_unknown_symbols(symbol: str, problem: str) -> None:
    """What nobody declares is refused by its name."""
    for ask in (describe, find_message):
        with pytest.raises(SymbolNotFoundError) as refused:
            ask(all_protos(), symbol)
        assert str(refused.value) == problem


def test_methods_of_what_is_no_service() -> None:
    """Only services have methods to list."""
    with pytest.raises(SymbolNotFoundError, match=f"{V1}.Detail is not a service"):
        list_methods(all_protos(), f"{V1}.Detail")


@pytest.mark.parametrize("name", [f"{TEST_SERVICE}/Converse", f"{TEST_SERVICE}.Converse", f".{TEST_SERVICE}/Converse"])
def test_methods_are_found_with_either_separator(name: str) -> None:
    """A method is named by its service and a slash or a dot."""
    method = find_method(all_protos(), name)
    assert method.full_name == f"{TEST_SERVICE}.Converse"
    assert (method.client_streaming, method.server_streaming) == (True, True)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("Echo", "'Echo' names no method: write service/method or service.method"),
        (f"{TEST_SERVICE}/", "names no method"),
        ("/Echo", "names no method"),
        ("nobody.Knows/Echo", "no file that was given declares nobody.Knows"),
        (f"{V1}.Detail/Echo", f"{V1}.Detail is not a service"),
        (f"{TEST_SERVICE}/Nothing", f"service {TEST_SERVICE} has no method Nothing"),
    ],
)
def test_methods_that_are_not_there(name: str, problem: str) -> None:
    """What names no method is refused with the part that is wrong."""
    with pytest.raises(SymbolNotFoundError, match=problem):
        find_method(all_protos(), name)


@pytest.mark.parametrize(
    ("symbol", "found"),
    [
        (f"{V1}.EchoRequest", True),
        (f".{LEGACY}.Legacy.Nested", True),
        (f"{LEGACY}.Legacy.Result", False),
        (f"{V1}.EchoRequest.CountsEntry", False),
        (TEST_SERVICE, False),
        (f"{V1}.Tone", False),
    ],
)
def test_messages_that_have_a_template(symbol: str, found: bool) -> None:
    """Messages are found as such; what only stands for a field of another one is not."""
    descriptor = find_message(all_protos(), symbol)
    assert (descriptor is not None) is found
    assert descriptor is None or descriptor.full_name == symbol.removeprefix(".")


@pytest.mark.parametrize("name", ["legacy.proto", "layout.proto", "editions.proto"])
def test_whole_files(name: str) -> None:
    """A whole file is written in the order of its source, with all comments around declarations."""
    source = all_protos()
    assert file_source(source.file_named(name), source.pool) == f"{golden(name)}\n"


@pytest.mark.parametrize("comments", [True, False], ids=["with comments", "without"])
def test_written_files_are_the_same_to_protoc(comments: bool, tmp_path: Path) -> None:
    """What is written of a file compiles to the same descriptors, with source info to follow and without: those of
    the test protos and of protobuf's own files.
    """
    source = all_protos()
    for file in source.files():
        bare = FileDescriptorProto()
        bare.CopyFrom(file)
        if not comments:
            bare.ClearField("source_code_info")
        path = tmp_path / file.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file_source(bare, source.pool))
    again = compile_protos([file.name for file in source.files()], [tmp_path])
    for file in source.files():
        assert _meaning(again.file_named(file.name), source) == _meaning(file, source), file.name


def _meaning(file: FileDescriptorProto, source: DescriptorSource) -> Message:
    """A file without source info, and with its custom options as values rather than bytes."""
    known = GetMessageClass(source.pool.FindMessageTypeByName("google.protobuf.FileDescriptorProto"))
    meaning = known.FromString(file.SerializeToString())
    meaning.ClearField("source_code_info")
    if file.syntax == "proto2":
        meaning.ClearField("syntax")
    return meaning


def test_descriptions_without_comments() -> None:
    """Descriptors without source info, as most servers have them, are described without comments."""
    source = FilesSource(
        [FileDescriptorProto(name="a.proto", package="a", service=[ServiceDescriptorProto(name="Service")])]
    )
    assert describe(source, "a.Service") == "a.Service is a service:\nservice Service {\n}"


def test_comments_are_no_commands_to_the_terminal() -> None:
    """A server cannot have the terminal do things by control characters in its comments."""
    file = FileDescriptorProto(name="a.proto", message_type=[DescriptorProto(name="A")])
    file.source_code_info.location.add(path=[4, 0], span=[1, 0, 9], leading_comments=" a\x1b]0;title\x07\r\n\tb\x9b")
    assert describe(FilesSource([file]), "A") == "A is a message:\n// a]0;title\n// \tb\nmessage A {\n}"


def _builds_edition_2024() -> bool:
    """Whether this protobuf makes descriptors of that edition; 6.31 knows its name alone."""
    if "option_dependency" not in FileDescriptorProto.DESCRIPTOR.fields_by_name:
        return False
    edition = Edition.Value("EDITION_2024")
    try:
        pool = DescriptorPool()
        pool.Add(FileDescriptorProto(name="a.proto", syntax="editions", edition=edition))
        pool.FindFileByName("a.proto")
    except TypeError:
        return False
    return True


@pytest.mark.skipif(not _builds_edition_2024(), reason="an older protobuf")
def test_edition_2024() -> None:
    """Imports for options alone, and what is exported, are written to files; custom options are known by the former."""
    options = FileDescriptorProto(name="o.proto", syntax="proto2", dependency=["google/protobuf/descriptor.proto"])
    options.extension.add(name="note", number=50001, label=1, type=9, extendee=".google.protobuf.MessageOptions")
    file = FileDescriptorProto(
        name="a.proto", syntax="editions", edition=Edition.Value("EDITION_2024"), option_dependency=["o.proto"]
    )
    file.message_type.add(name="A", visibility=2).options.MergeFromString(b"\x8a\xb5\x18\x01x")
    file.enum_type.add(name="E", visibility=1).value.add(name="E_ZERO", number=0)
    source = FilesSource([file, options])
    assert describe(source, "A") == 'A is a message:\nmessage A {\n  option (.note) = "x";\n}'
    assert file_source(file, source.pool).split("\n") == [
        'edition = "2024";',
        "",
        'import option "o.proto";',
        "",
        "export message A {",
        '  option (.note) = "x";',
        "}",
        "",
        "local enum E {",
        "  E_ZERO = 0;",
        "}",
        "",
    ]


def test_a_comment_that_is_not_utf_8() -> None:
    """It is shown as far as it can be: descriptors of old compilers hold what stood in the source."""
    assert comment_lines(b" caf\xe9\n") == ["// caf\ufffd"]
