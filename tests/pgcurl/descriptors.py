"""The test protos as descriptor sources of each kind."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
from google.protobuf.descriptor_pb2 import FileDescriptorProto

from pgcurl.proto_files import compile_protos
from pgcurl.protosets import FilesSource, ProtosetSource
from pgcurl.reflection import Metadata, ReflectionSource
from pgcurl.sources import DescriptorSource
from tests.conftest import SOON
from tests.pgcurl.streaming_server import (
    PROTOS,
    Answer,
    Reflection,
    StreamingServer,
    all_files,
    running_server,
    write_testing_protoset,
)

GOLDEN = Path(__file__).parent / "golden"
NAMES = tuple(sorted(path.name for path in PROTOS.glob("*.proto")))


def golden(name: str) -> str:
    """A text as it is to be printed, without the newline at its end."""
    return (GOLDEN / name).read_text().removesuffix("\n")


def all_protos() -> FilesSource:
    """All test protos, with comments."""
    return FilesSource(all_files())


@contextmanager
def reflected(
    *, reflection: Reflection = Reflection.BOTH, answer: Answer | None = None, metadata: Metadata = ()
) -> Iterator[tuple[ReflectionSource, StreamingServer]]:
    """What a server says of itself, and the server."""
    with (
        running_server(reflection=reflection, answer=answer) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        yield ReflectionSource(channel, metadata=metadata, deadline=lambda: SOON), server


@contextmanager
def each_source(kind: str, directory: Path) -> Iterator[DescriptorSource]:
    """The test protos from a descriptor set, from .proto files, or from a server."""
    match kind:
        case "protoset":
            path = directory / "all.protoset"
            write_testing_protoset(path)
            yield ProtosetSource([path])
        case "proto files":
            yield compile_protos(NAMES, [PROTOS])
        case _:
            with reflected() as (source, _):
                yield source


def without_comments(file: FileDescriptorProto) -> FileDescriptorProto:
    """The same descriptors without source info."""
    copy = FileDescriptorProto()
    copy.CopyFrom(file)
    copy.ClearField("source_code_info")
    return copy
