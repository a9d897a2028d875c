"""One run of the command: the server, the descriptors and the headers, each made when it is first needed."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TextIO

import grpc

from pgcurl.composite import CompositeSource
from pgcurl.dialling import Deadline, dialled
from pgcurl.errors import FailureError
from pgcurl.formats import Format, Formatter, TypeResolver
from pgcurl.headers import Metadata, read_headers, says
from pgcurl.options import Options
from pgcurl.probing import NOBODY_LISTENS
from pgcurl.reflection import ReflectionSource
from pgcurl.requests import BinaryReader
from pgcurl.sources import SOURCE_ERRORS, DescriptorSource, ReflectionNotSupportedError
from pgcurl.statuses import status_of
from pgcurl.target import Server, typed_target
from pgcurl.terminal import shown
from pgcurl.verbose import Timing

NO_DEFAULT_SERVER = "; 'pullgate serve' starts the default server, and an address or PULLGATE_ADDRESS names another"


@dataclass(frozen=True, slots=True, kw_only=True)
class Streams:
    """Where a command reads and prints."""

    stdin: BinaryReader
    stdout: TextIO
    stderr: TextIO


class Session:
    """What a command needs, while `stack` is open.

    Args:
        version: for the user agent.
    """

    def __init__(
        self,
        options: Options,
        *,
        streams: Streams,
        environment: Mapping[str, str],
        version: Callable[[], str],
        deadline: Deadline,
        stack: contextlib.ExitStack,
    ) -> None:
        self.options = options
        self.streams = streams
        self.deadline = deadline
        self.timing = Timing()
        self._environment = environment
        self._version = version
        self.stack = stack

    def warn(self, warnings: Sequence[str]) -> None:
        """Say what is odd."""
        for warning in warnings:
            self.streams.stderr.write(f"Warning: {shown(warning)}\n")

    def print(self, text: str) -> None:
        """A line of output, or several, at once."""
        self.streams.stdout.write(f"{shown(text)}\n")
        self.streams.stdout.flush()

    @cached_property
    def server(self) -> Server:
        """The server; one that was typed is sent no token."""
        if self.options.address is None:
            from pgcurl.defaults import default_server

            server = default_server(self.options, self._environment)
            self.warn(server.warnings)
            return server
        return Server(target=typed_target(self.options, self.options.address, environment=self._environment))

    @cached_property
    def channel(self) -> grpc.Channel:
        """A connection; raises FailureError."""
        user_agent = f"pgcurl/{self._version()}"
        if self.options.user_agent:
            user_agent = f"{self.options.user_agent} {user_agent}"
        if self.options.alts_handshaker_service:
            raise FailureError("The -alts-handshaker-service argument has no counterpart in the gRPC library of Python")
        try:
            return self.stack.enter_context(
                dialled(
                    self.server.target,
                    self.options,
                    user_agent=user_agent,
                    deadline=self.deadline,
                    timing=self.timing,
                )
            )
        except FailureError as error:
            if self.options.address is None and NOBODY_LISTENS in str(error):
                raise FailureError(f"{error}{NO_DEFAULT_SERVER}") from error
            raise

    @cached_property
    def source(self) -> DescriptorSource:
        """Where descriptors come from; raises FailureError."""
        files = self._files()
        if not self.options.reflects and files is not None:
            return files
        metadata = self.metadata(self.options.reflect_headers)
        reflection = ReflectionSource(self.channel, metadata=metadata, deadline=self.deadline.seconds_left)
        return reflection if files is None else CompositeSource(reflection, files)

    @cached_property
    def resolver(self) -> TypeResolver:
        """Types of messages, for google.protobuf.Any."""
        return TypeResolver(self.source)

    def metadata(self, headers: Sequence[str]) -> Metadata:
        """Those of -H, and these; and the token of the default server, if nothing else says who calls."""
        read = self.read_headers((*self.options.headers, *headers))
        return read if says(read, "authorization") else (*self.server.authorization, *read)

    def shown(self, metadata: Metadata) -> Metadata:
        """Metadata as -v shows them: without the token of the default server, which nobody typed."""
        hidden = self.server.authorization
        return tuple((name, "Bearer …") if (name, value) in hidden else (name, value) for name, value in metadata)

    def read_headers(self, headers: Sequence[str]) -> Metadata:
        """Headers as metadata; raises FailureError."""
        return read_headers(headers, environment=self._environment if self.options.expand_headers else None)

    def formatter(self, *, separate: bool = False, emit_defaults: bool | None = None) -> Formatter:
        """As the flags say."""
        return Formatter(
            format=Format(self.options.format),
            resolver=self.resolver,
            emit_defaults=self.options.emit_defaults if emit_defaults is None else emit_defaults,
            keep_proto_names=self.options.keep_proto_names,
            separate=separate,
        )

    def _files(self) -> DescriptorSource | None:
        if self.options.protoset:
            with failing("Failed to process proto descriptor sets"):
                from pgcurl.protosets import ProtosetSource

                return ProtosetSource([Path(path) for path in self.options.protoset])
        if self.options.proto:
            with failing("Failed to process proto source files"):
                from pgcurl.proto_files import compile_protos

                return compile_protos(self.options.proto, [Path(path) for path in self.options.import_path])
        return None


@contextlib.contextmanager
def failing(what: str) -> Iterator[None]:
    """Turn what descriptors fail of into a FailureError that begins with `what`."""
    try:
        yield
    except SOURCE_ERRORS as error:
        raise FailureError(f"{what}: {reason(error)}") from error
    except OSError as error:
        raise FailureError(f"{what}: {error.filename}: {error.strerror}") from error


def reason(error: BaseException) -> str:
    """Why descriptors could not be had."""
    if isinstance(error, grpc.RpcError):
        return str(status_of(error))
    if isinstance(error, ReflectionNotSupportedError):
        return "server does not support the reflection API"
    return str(error)
