"""A call, in all four ways that calls go."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import grpc
from google.protobuf.descriptor import Descriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from pgcurl.errors import RequestDataError
from pgcurl.headers import Metadata
from pgcurl.sources import DescriptorSource
from pgcurl.statuses import Status, status_of


class Listener(Protocol):
    """Is told of what comes back, in this order."""

    def headers(self, metadata: Metadata) -> None:
        """The response headers."""

    def response(self, message: Message) -> None:
        """A response, as soon as it is there."""

    def trailers(self, metadata: Metadata) -> None:
        """The response trailers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What is to be called, and how.

    Attributes:
        seconds_left: how long it may take, None for any time; asked when it begins, as reading request data takes time.
    """

    method: MethodDescriptor
    metadata: Metadata
    seconds_left: Callable[[], float | None]

    @property
    def path(self) -> str:
        """As it stands in the request."""
        return f"/{self.method.containing_service.full_name}/{self.method.name}"


def invoke(channel: grpc.Channel, call: Call, requests: Iterator[Message], listener: Listener) -> Status:
    """Make a call: each message is sent when it can be read from `requests`, and each response told as it comes.

    On the wire the four kinds of calls differ only in how many messages there are, so all go as streams.

    Raises:
        RequestDataError: the request data are wrong; a call under way was cancelled.
    """
    if not call.method.client_streaming:
        requests = iter([_only(call.method, requests)])
    sending = _Sending(requests)
    stream: Any = channel.stream_stream(
        call.path,
        request_serializer=_serialized,
        response_deserializer=GetMessageClass(call.method.output_type).FromString,
    )
    under_way = stream(sending, timeout=call.seconds_left(), metadata=call.metadata)
    sending.begin(under_way)
    try:
        status = _listen(call.method, under_way, listener)
    except BaseException:
        under_way.cancel()
        raise
    if sending.problem is not None:
        raise sending.problem
    listener.trailers(_metadata(under_way.trailing_metadata()))
    return status


def load_extensions(source: DescriptorSource, message: Descriptor) -> None:
    """Have all extensions of a message and of what it holds in the source's pool, so that they are known by name."""
    seen: set[str] = set()
    waiting = [message]
    while waiting:
        descriptor = waiting.pop()
        if descriptor.full_name in seen:
            continue
        seen.add(descriptor.full_name)
        if descriptor.is_extendable:
            source.extensions_of(descriptor.full_name)
        waiting += [field.message_type for field in descriptor.fields if field.message_type is not None]


def _serialized(message: Message) -> bytes:
    return message.SerializeToString()


def _only(method: MethodDescriptor, requests: Iterator[Message]) -> Message:
    """The one message of a call that takes one: an empty one where there is none."""
    request = next(requests, None)
    if request is None:
        empty: Message = GetMessageClass(method.input_type)()
        return empty
    if next(requests, None) is not None:
        kind = "server-streaming" if method.server_streaming else "unary"
        raise RequestDataError(
            f'method "{method.full_name}" is a {kind} RPC, but request data contained more than 1 message'
        )
    return request


class _Sending:
    """The requests, as the gRPC library takes them in a thread of its own.

    Attributes:
        problem: why there are no more, if that is not their end.
    """

    def __init__(self, requests: Iterator[Message]) -> None:
        self.problem: RequestDataError | None = None
        self._requests = requests
        self._begun = threading.Event()
        self._call: grpc.Call | None = None

    def begin(self, call: grpc.Call) -> None:
        """Send them with this call."""
        self._call = call
        self._begun.set()

    def __iter__(self) -> Iterator[Message]:
        return self

    def __next__(self) -> Message:
        try:
            return next(self._requests)
        except RequestDataError as error:
            self.problem = error
            self._begun.wait()
            if self._call is not None:
                self._call.cancel()
            raise StopIteration from error


def _listen(method: MethodDescriptor, under_way: Any, listener: Listener) -> Status:
    responses = 0
    try:
        listener.headers(_metadata(under_way.initial_metadata()))
        for response in under_way:
            responses += 1
            listener.response(response)
    except grpc.RpcError:
        return status_of(under_way)
    if not method.server_streaming and responses != 1:
        return Status(
            code=grpc.StatusCode.INTERNAL,
            message=f"the server sent {responses} responses, where {method.full_name} has one",
        )
    return status_of(under_way)


def _metadata(metadata: Any) -> Metadata:
    return tuple((entry.key, entry.value) for entry in metadata or ())
