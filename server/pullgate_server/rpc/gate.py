"""What every call passes, in this order: authentication, the limit of open calls, the size, the parse; and on the way
out, the status of what went wrong.

Handlers are wrapped once for each caller, when it first calls, and found again by the call's method and its
`authorization`. grpc's interceptors would build their chain anew for every call, and asking the context for metadata
that grpc has already read converts all of it once more (docs/performance.md).
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, NoReturn, TypeVar

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import status_pb2

from pullgate_server.callers import Authenticator, Caller
from pullgate_server.errors import (
    MessageInvalidError,
    MessageTooLargeError,
    ServerStoppingError,
    ServiceError,
    TooManyCallsError,
)
from pullgate_server.rpc.statuses import status_of

Request = TypeVar("Request", bound=Message)
Context = grpc.aio.ServicerContext[Any, Any]
UnaryHandler = Callable[[Any, Caller, Context], Awaitable[Message | bytes]]
Shortcut = Callable[[bytes, Caller], bytes | None]
StreamHandler = Callable[[AsyncIterator[Any], Caller, Context], AsyncIterator[Message | bytes]]

HandlerMaker = Callable[[Caller | ServiceError], "grpc.RpcMethodHandler[Any, Any]"]

MAX_MADE = 10_000
"""Handlers of callers that are kept for each service: far more than methods times tokens, and a bound all the same."""

_CODES = {code.value[0]: code for code in grpc.StatusCode}


class Gate:
    """Wraps the handlers of services, and knows how many calls are open.

    A service is an object with a method for each of its methods' names: `async def Decide(self, request, caller,
    context)` for a unary one, an async generator for a stream. Both may give serialized messages.
    """

    def __init__(
        self,
        authenticator: Authenticator,
        *,
        max_open_calls: int,
        max_message_bytes: int,
        new_error_id: Callable[[], str],
    ) -> None:
        self._authenticator = authenticator
        self._max_open_calls = max_open_calls
        self._max_message_bytes = max_message_bytes
        self._new_error_id = new_error_id
        self._open_calls = 0
        self._idle = asyncio.Event()
        self._streams: set[_Requests] = set()
        self._stopping = False

    def handlers(
        self, service: ServiceDescriptor, servicer: object, shortcuts: Mapping[str, Shortcut] = MappingProxyType({})
    ) -> grpc.GenericRpcHandler:
        """The handlers to register for `service`.

        Args:
            shortcuts: by a unary method's name, what may know the response to a request by its bytes alone.
        """
        makers = {
            f"/{service.full_name}/{method.name}": partial(
                self._handler, method, getattr(servicer, method.name), shortcuts.get(method.name)
            )
            for method in service.methods
        }
        return _HandlersByCaller(makers, self._authenticator)

    def stop_streams(self) -> None:
        """Read no more from streams: each ends once it has answered what it had read."""
        self._stopping = True
        for requests in self._streams:
            requests.stop()

    async def idle(self) -> None:
        """Wait until no call is open, their clean-up included. Only after `stop_streams`."""
        if self._open_calls:
            await self._idle.wait()

    def status_of(self, error: Exception) -> status_pb2.Status:
        """The status that an error inside an answer travels as, as if the call had ended with it."""
        return status_of(error, self._new_error_id)

    def _handler(
        self, method: MethodDescriptor, handler: Any, shortcut: Shortcut | None, caller: Caller | ServiceError
    ) -> "grpc.RpcMethodHandler[Any, Any]":
        """The handler of a method for one caller, or for those who are refused as callers."""
        request_type = GetMessageClass(method.input_type)
        if method.client_streaming and method.server_streaming:
            return grpc.stream_stream_rpc_method_handler(self._stream(handler, request_type, caller))
        if method.client_streaming or method.server_streaming:
            raise NotImplementedError(f"{method.full_name}: streams in one direction have no wrapper yet")
        return grpc.unary_unary_rpc_method_handler(self._unary(handler, request_type, shortcut, caller))

    def _unary(
        self,
        handler: UnaryHandler,
        request_type: type[Message],
        shortcut: Shortcut | None,
        caller: Caller | ServiceError,
    ) -> Callable[..., Awaitable[bytes]]:
        async def call(data: bytes, context: Context) -> bytes:
            self._open_calls += 1
            try:
                admitted = self._admit(caller)
                if shortcut is not None and (response := shortcut(data, admitted)) is not None:
                    return response
                return _serialized(await handler(self._parse(request_type, data), admitted, context))
            except Exception as error:  # noqa: BLE001 - the catch-all: nothing internal reaches the caller
                await self._end(context, error)
            finally:
                self._leave()

        return call

    def _stream(
        self, handler: StreamHandler, request_type: type[Message], caller: Caller | ServiceError
    ) -> Callable[..., Awaitable[None]]:
        async def call(data: AsyncIterator[bytes], context: Context) -> None:
            self._open_calls += 1
            requests = _Requests(data, lambda message: self._parse(request_type, message))
            self._streams.add(requests)
            try:
                admitted = self._admit(caller)
                if self._stopping:
                    requests.stop()
                async for answer in handler(requests, admitted, context):
                    await context.write(_serialized(answer))
                if requests.stopped:
                    raise ServerStoppingError
            except Exception as error:  # noqa: BLE001 - the catch-all: nothing internal reaches the caller
                await self._end(context, error)
            finally:
                self._streams.discard(requests)
                self._leave()

        return call

    def _admit(self, caller: Caller | ServiceError) -> Caller:
        """The caller, if it is one and there is room for its call."""
        if isinstance(caller, ServiceError):
            raise caller
        if self._open_calls > self._max_open_calls:
            raise TooManyCallsError(self._max_open_calls)
        return caller

    def _leave(self) -> None:
        self._open_calls -= 1
        if self._stopping and not self._open_calls:
            self._idle.set()

    def _parse(self, request_type: type[Request], data: bytes) -> Request:
        if len(data) > self._max_message_bytes:
            raise MessageTooLargeError(len(data), self._max_message_bytes)
        try:
            return request_type.FromString(data)
        except DecodeError:
            raise MessageInvalidError(request_type.DESCRIPTOR.full_name) from None

    async def _end(self, context: Context, error: Exception) -> NoReturn:
        """End the call with the error's status."""
        if isinstance(error, grpc.aio.AbortError):
            raise error
        status = self.status_of(error)
        await context.abort(
            _CODES[status.code],
            status.message,
            trailing_metadata=(("grpc-status-details-bin", status.SerializeToString()),),
        )
        raise AssertionError("abort raises")


def _serialized(answer: Message | bytes) -> bytes:
    return answer if isinstance(answer, bytes) else answer.SerializeToString()


class _HandlersByCaller(grpc.GenericRpcHandler):
    """The handlers of one service: those of a caller are made at its first call. grpc asks here at every call."""

    def __init__(self, makers: Mapping[str, HandlerMaker], authenticator: Authenticator) -> None:
        self._makers = makers
        self._authenticator = authenticator
        self._made: dict[tuple[str, str], grpc.RpcMethodHandler[Any, Any]] = {}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any] | None":
        """The handler for this call, or None if the method is of another service."""
        method = handler_call_details.method
        maker = self._makers.get(method)
        if maker is None:
            return None
        authorization = next(
            (value for key, value in handler_call_details.invocation_metadata if key == "authorization"), None
        )
        handler = self._made.get((method, authorization))  # type: ignore[arg-type]
        if handler is not None:
            return handler
        try:
            caller = self._authenticator.authenticate(authorization)
        except ServiceError as error:
            return maker(error)
        handler = maker(caller)
        if len(self._made) < MAX_MADE:
            self._made[method, str(authorization)] = handler
        return handler


class _Requests:
    """The requests of one stream, until the client has no more or the server stops."""

    def __init__(self, data: AsyncIterator[bytes], parse: Callable[[bytes], Message]) -> None:
        self.stopped = False
        self._data = data
        self._iterator: AsyncIterator[bytes] | None = None
        self._parse = parse
        self._reader: asyncio.Task[Any] | None = None

    def stop(self) -> None:
        """End the iteration, also for who waits for the next request right now."""
        self.stopped = True
        if self._reader is not None:
            self._reader.cancel()

    def __aiter__(self) -> AsyncIterator[Message]:
        return self

    async def __anext__(self) -> Message:
        if self.stopped:
            raise StopAsyncIteration
        # Not before the first read: grpc minds an iterator that is made and not used.
        self._iterator = self._iterator or aiter(self._data)
        self._reader = asyncio.current_task()
        try:
            return self._parse(await anext(self._iterator))
        except asyncio.CancelledError:
            if self.stopped and self._reader is not None:
                self._reader.uncancel()
                raise StopAsyncIteration from None
            raise
        finally:
            self._reader = None
