"""What every call passes, in this order: who calls, whether its role may call the method, the limit of open calls, the
size, the parse, whether it may for the organization that the request names; and on the way out, the status of what went
wrong.

Handlers are wrapped once for each caller, when it first calls, and found again by the call's method and its
`authorization`, until callers change. grpc's interceptors would build their chain anew for every call, and asking the
context for metadata that grpc has already read converts all of it once more (docs/performance.md).
"""

import asyncio
import dataclasses
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from types import MappingProxyType
from typing import Any, Generic, NoReturn, Protocol, TypeVar

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import status_pb2

from pullgate_policy.caller import Caller
from pullgate_policy.errors import PullgateError, RoleNotPermittedError
from pullgate_server.authorization import METHODS, MethodRule
from pullgate_server.certificate_callers import certificate_names
from pullgate_server.clock import Clock
from pullgate_server.errors import (
    MessageInvalidError,
    MessageTooLargeError,
    ServerStoppingError,
    TokenInvalidError,
    TooManyCallsError,
    TooManySubscribersError,
)
from pullgate_server.rpc.statuses import status_of

T = TypeVar("T")
Request = TypeVar("Request", bound=Message)
Context = grpc.aio.ServicerContext[Any, Any]
UnaryHandler = Callable[[Any, Caller, Context], Awaitable[Message | bytes]]
Shortcut = Callable[[bytes, Caller], bytes | None]
BothWaysHandler = Callable[[AsyncIterator[Any], Caller, Context], AsyncGenerator[Message | bytes]]
AnswersHandler = Callable[[Any, Caller, Context], AsyncGenerator[Message | bytes]]

HandlerMaker = Callable[["_Known"], "grpc.RpcMethodHandler[Any, Any]"]

MAX_MADE = 10_000
"""Handlers of callers that are kept for each service: far more than methods times tokens. When full it begins anew."""

EXPIRY_POLL_SECONDS = 0.05
"""The shortest time between two looks at whether a caller has expired."""

_CODES = {code.value[0]: code for code in grpc.StatusCode}


class Callers(Protocol):
    """Who may call: the authenticator of the server, or of a sidecar.

    Attributes:
        used: the ids of callers that called since somebody emptied it.
        reads_certificates: whether a call without a token may be known by its client certificate.
    """

    used: set[str]

    @property
    def reads_certificates(self) -> bool: ...  # noqa: D102

    def authenticate(self, authorization: str | bytes | None) -> Caller | None:
        """The caller with this `authorization` metadata; None where only `authenticate_slowly` can tell.

        Raises:
            PullgateError: why it is nobody.
        """
        ...

    async def authenticate_slowly(self, authorization: str) -> Caller:
        """As `authenticate`, waiting for what that takes."""
        ...

    def caller_of_certificate(self, names: Iterable[str]) -> Caller:
        """The caller with a certificate of these names; raises as `authenticate` does."""
        ...


class Gate:
    """Wraps the handlers of services, and knows how many calls are open.

    A service is an object with a method for each of its methods' names: `async def Decide(self, request, caller,
    context)` for a unary one, an async generator for a stream. Both may give serialized messages.
    """

    def __init__(
        self,
        authenticator: Callers,
        clock: Clock,
        *,
        max_open_calls: int,
        max_subscribers: int,
        max_message_bytes: int,
        new_error_id: Callable[[], str],
    ) -> None:
        self._authenticator = authenticator
        self._clock = clock
        self._max_open_calls = max_open_calls
        self._max_subscribers = max_subscribers
        self._max_message_bytes = max_message_bytes
        self._new_error_id = new_error_id
        self._open_calls = 0
        self._subscribers = 0
        self._idle = asyncio.Event()
        self._handlers: list[_HandlersByCaller] = []
        self._streams: dict[_Stoppable[Any], _Standing] = {}
        self._generation = 0
        self._stopping = False

    def handlers(
        self,
        service: ServiceDescriptor,
        servicers: Sequence[object],
        shortcuts: Mapping[str, Shortcut] = MappingProxyType({}),
        *,
        also_as: str = "",
    ) -> grpc.GenericRpcHandler:
        """The handlers to register for `service`, whose methods the servicers have between them.

        Args:
            shortcuts: by a unary method's name, what may know the response to a request by its bytes alone.
            also_as: another name that the service is called by.
        """
        makers: dict[str, HandlerMaker] = {}
        for method in service.methods:
            (servicer,) = (servicer for servicer in servicers if hasattr(servicer, method.name))
            maker = partial(
                self._handler,
                method,
                METHODS[method.full_name],
                getattr(servicer, method.name),
                shortcuts.get(method.name),
            )
            for name in filter(None, (service.full_name, also_as)):
                makers[f"/{name}/{method.name}"] = maker
        handlers = _HandlersByCaller(makers, self._authenticator, self._clock, lambda: self._generation)
        self._handlers.append(handlers)
        return handlers

    def callers_changed(self) -> None:
        """Look anew at who calls, from the next message on; end the streams of those who may no longer call."""
        self._generation += 1
        for handlers in self._handlers:
            handlers.forget()
        for stream, standing in self._streams.items():
            self._end_if_over(stream, standing)

    def stop_streams(self) -> None:
        """Read no more from streams: each ends once it has answered what it had read."""
        self._stopping = True
        for stream in self._streams:
            stream.stop(ServerStoppingError())

    async def idle(self) -> None:
        """Wait until no call is open, their clean-up included. Only after `stop_streams`."""
        while self._open_calls or self._subscribers:
            self._idle.clear()
            await self._idle.wait()

    def status_of(self, error: Exception) -> status_pb2.Status:
        """The status that an error inside an answer travels as, as if the call had ended with it."""
        return status_of(error, self._new_error_id)

    def _handler(
        self, method: MethodDescriptor, rule: MethodRule, handler: Any, shortcut: Shortcut | None, known: "_Known"
    ) -> "grpc.RpcMethodHandler[Any, Any]":
        """The handler of a method for one caller, or for one that has still to be found out."""
        request_type = GetMessageClass(method.input_type)
        if known.caller is not None and known.caller.role not in rule.roles:
            known = dataclasses.replace(known, caller=None)
        if method.client_streaming and method.server_streaming:
            return grpc.stream_stream_rpc_method_handler(self._both_ways(handler, request_type, rule, known))
        if method.server_streaming:
            return grpc.unary_stream_rpc_method_handler(self._answers(handler, request_type, rule, known))
        if method.client_streaming:
            raise NotImplementedError(f"{method.full_name}: streams of requests with one answer have no wrapper yet")
        return grpc.unary_unary_rpc_method_handler(self._unary(handler, request_type, shortcut, rule, known))

    def _unary(
        self,
        handler: UnaryHandler,
        request_type: type[Message],
        shortcut: Shortcut | None,
        rule: MethodRule,
        known: "_Known",
    ) -> Callable[..., Awaitable[bytes]]:
        async def call(data: bytes, context: Context) -> bytes:
            self._open_calls += 1
            try:
                # The message may come long after the metadata, and so may the end of the caller.
                caller = self._still(known) or (await self._find_out(known, rule, context)).caller
                self._make_room(rule)
                if shortcut is not None and (response := shortcut(data, caller)) is not None:
                    return response
                request = self._parse(request_type, data)
                rule.admit_request(caller, request)
                return _serialized(await handler(request, caller, context))
            except Exception as error:  # noqa: BLE001 - the catch-all: nothing internal reaches the caller
                await self._end(context, error)
            finally:
                self._leave(rule)

        return call

    def _both_ways(
        self, handler: BothWaysHandler, request_type: type[Message], rule: MethodRule, known: "_Known"
    ) -> Callable[..., Awaitable[None]]:
        async def call(data: AsyncIterator[bytes], context: Context) -> None:
            def read(message: bytes) -> Message:
                standing.check()
                request = self._parse(request_type, message)
                rule.admit_request(standing.caller, request)
                return request

            self._open_calls += 1
            requests = _Stoppable(data, read)
            try:
                standing = await self._find_out(known, rule, context)
                self._make_room(rule)
                async with aclosing(handler(requests, standing.caller, context)) as answers:
                    await self._run(requests, standing, answers, context)
            except Exception as error:  # noqa: BLE001 - the catch-all: nothing internal reaches the caller
                await self._end(context, error)
            finally:
                self._leave(rule)

        return call

    def _answers(
        self, handler: AnswersHandler, request_type: type[Message], rule: MethodRule, known: "_Known"
    ) -> Callable[..., Awaitable[None]]:
        async def call(data: bytes, context: Context) -> None:
            if rule.subscribes:
                self._subscribers += 1
            else:
                self._open_calls += 1
            try:
                standing = await self._find_out(known, rule, context)
                self._make_room(rule)
                request = self._parse(request_type, data)
                rule.admit_request(standing.caller, request)
                # Tells the client that it is heard, though the first answer may be long in coming.
                await context.send_initial_metadata(())
                async with aclosing(handler(request, standing.caller, context)) as made:
                    answers = _Stoppable(made, lambda answer: answer)
                    await self._run(answers, standing, answers, context)
            except Exception as error:  # noqa: BLE001 - the catch-all: nothing internal reaches the caller
                await self._end(context, error)
            finally:
                self._leave(rule)

        return call

    async def _run(
        self,
        stream: "_Stoppable[Any]",
        standing: "_Standing",
        answers: AsyncIterator[Message | bytes],
        context: Context,
    ) -> None:
        """Write answers until there are no more, or the server stops, or the caller is nobody any more."""
        self._streams[stream] = standing
        expiry = asyncio.ensure_future(self._end_in_time(stream, standing))
        try:
            if self._stopping:
                stream.stop(ServerStoppingError())
            self._end_if_over(stream, standing)
            async for answer in answers:
                standing.check()
                await context.write(_serialized(answer))
            if stream.stopped_by is not None:
                raise stream.stopped_by
        finally:
            expiry.cancel()
            del self._streams[stream]

    async def _end_in_time(self, stream: "_Stoppable[Any]", standing: "_Standing") -> None:
        """End a stream when its caller expires, whenever that comes to be."""
        while stream.stopped_by is None:
            standing.changed.clear()
            expires_at = standing.caller.expires_at
            # Timers may be early, and the clock may be set: what counts is what it says afterwards.
            left = None if expires_at is None else (expires_at - self._clock()).total_seconds()
            with suppress(TimeoutError):
                async with asyncio.timeout(None if left is None else max(left, EXPIRY_POLL_SECONDS)):
                    await standing.changed.wait()
            self._end_if_over(stream, standing)

    def _end_if_over(self, stream: "_Stoppable[Any]", standing: "_Standing") -> None:
        try:
            standing.check()
        except PullgateError as error:
            stream.stop(error)

    def _still(self, known: "_Known") -> Caller | None:
        """The caller, if it is known and nothing has happened since that could make it another."""
        caller = known.caller
        if caller is None or known.generation != self._generation:
            return None
        return caller if caller.expires_at is None or self._clock() < caller.expires_at else None

    async def _find_out(self, known: "_Known", rule: MethodRule, context: Context) -> "_Standing":
        """Who calls, looked at now; raises why that is nobody, or nobody who may call the method."""
        authorization = known.authorization
        if authorization is None and self._authenticator.reads_certificates:
            names = certificate_names(context.auth_context())
            again: Callable[[], Caller | None] = partial(self._authenticator.caller_of_certificate, names)
            caller = again()
        else:
            again = partial(self._authenticator.authenticate, authorization)
            caller = again() or await self._authenticator.authenticate_slowly(str(authorization))
        if caller is None:
            raise TokenInvalidError
        rule.admit(caller)
        return _Standing(caller, again, self._clock, lambda: self._generation)

    def _make_room(self, rule: MethodRule) -> None:
        if rule.subscribes:
            if self._subscribers > self._max_subscribers:
                raise TooManySubscribersError(self._max_subscribers)
        elif self._open_calls > self._max_open_calls:
            raise TooManyCallsError(self._max_open_calls)

    def _leave(self, rule: MethodRule) -> None:
        if rule.subscribes:
            self._subscribers -= 1
        else:
            self._open_calls -= 1
        if self._stopping and not self._open_calls and not self._subscribers:
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

    def __init__(
        self,
        makers: Mapping[str, HandlerMaker],
        authenticator: Callers,
        clock: Clock,
        generation: Callable[[], int],
    ) -> None:
        self._makers = makers
        self._authenticator = authenticator
        self._clock = clock
        self._generation = generation
        self._used = authenticator.used
        self._made: dict[tuple[str, Any], _Made] = {}

    def forget(self) -> None:
        """Make handlers anew, because callers are others than before."""
        self._made.clear()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any] | None":
        """The handler for this call, or None if the method is of another service."""
        method = handler_call_details.method
        maker = self._makers.get(method)
        if maker is None:
            return None
        authorization = next(
            (value for key, value in handler_call_details.invocation_metadata if key == "authorization"), None
        )
        made = self._made.get((method, authorization))
        if made is not None:
            handler, caller_id, expires_at = made
            if expires_at is None or self._clock() < expires_at:
                self._used.add(caller_id)
                return handler
        try:
            caller = self._authenticator.authenticate(authorization)
        except PullgateError:
            # The call itself will find that out again, and say it.
            caller = None
        handler = maker(_Known(authorization=authorization, caller=caller, generation=self._generation()))
        if caller is not None:
            self._used.add(caller.id)
            if len(self._made) >= MAX_MADE:
                self._made.clear()
            self._made[method, authorization] = (handler, caller.id, caller.expires_at)
        return handler


_Made = tuple["grpc.RpcMethodHandler[Any, Any]", str, datetime | None]
"""A handler, whose it is, and until when it may be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What is known of a caller when grpc asks for the handler.

    Attributes:
        authorization: the metadata of this name.
        caller: None where the call itself has to find out.
        generation: of the callers that it was looked up among.
    """

    authorization: str | bytes | None
    caller: Caller | None
    generation: int


class _Standing:
    """Whether the caller of an open stream may still have it.

    Attributes:
        caller: as it was last found.
        changed: set when it was found to be another one.
    """

    def __init__(
        self,
        caller: Caller,
        again: Callable[[], Caller | None],
        clock: Clock,
        generation: Callable[[], int],
    ) -> None:
        self.caller = caller
        self._again = again
        self._clock = clock
        self._generation = generation
        self._found_at = generation()
        self.changed = asyncio.Event()

    def check(self) -> None:
        """Raise what ended the caller, or made it another, if anything has."""
        expires_at = self.caller.expires_at
        if self._found_at == self._generation() and (expires_at is None or self._clock() < expires_at):
            return
        caller = self._again()
        if caller is None:
            raise TokenInvalidError("is signed with a key that its issuer has withdrawn")
        if (caller.id, caller.role) != (self.caller.id, self.caller.role):
            raise RoleNotPermittedError(f"{caller.name} is no longer what it was when this stream began; call again")
        self.caller, self._found_at = caller, self._generation()
        self.changed.set()


class _Stoppable(Generic[T]):
    """An iterator that can be stopped from outside.

    Attributes:
        stopped_by: why it was stopped; None while it was not.
    """

    def __init__(self, data: AsyncIterator[Any], read: Callable[[Any], T]) -> None:
        self.stopped_by: PullgateError | None = None
        self._data = data
        self._iterator: AsyncIterator[Any] | None = None
        self._read = read
        self._reader: asyncio.Task[Any] | None = None

    def stop(self, reason: PullgateError) -> None:
        """End the iteration, also for who waits for the next item right now."""
        self.stopped_by = self.stopped_by or reason
        if self._reader is not None:
            self._reader.cancel()

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        if self.stopped_by is not None:
            raise StopAsyncIteration
        # Not before the first read: grpc minds an iterator that is made and not used.
        self._iterator = self._iterator or aiter(self._data)
        self._reader = asyncio.current_task()
        try:
            return self._read(await anext(self._iterator))
        except asyncio.CancelledError:
            if self.stopped_by is not None and self._reader is not None:
                self._reader.uncancel()
                raise StopAsyncIteration from None
            raise
        finally:
            self._reader = None
