"""Connections: made before anything is asked, so that it is told at once, and in words, why there is none."""

import contextlib
import ipaddress
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import grpc

from pgcurl.errors import FailureError
from pgcurl.options import Options
from pgcurl.probing import why_unreachable
from pgcurl.statuses import status_of
from pgcurl.target import Security, Target, read_pem
from pgcurl.verbose import Timing

CONNECT_SECONDS = 10.0
"""How long a connection may take if nothing else is said."""

_STATES = grpc.ChannelConnectivity


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadline:
    """When everything has to be done.

    Attributes:
        at: on the clock, in its seconds; None for never.
    """

    at: float | None = None
    clock: Callable[[], float] = time.monotonic

    def seconds_left(self) -> float | None:
        """How long there is; None for ever, and never less than nothing."""
        return None if self.at is None else max(self.at - self.clock(), 0.0)


@contextlib.contextmanager
def dialled(
    target: Target, options: Options, *, user_agent: str, deadline: Deadline, timing: Timing
) -> Iterator[grpc.Channel]:
    """A channel that is connected, until the block ends. Raises FailureError that says why there is none."""
    with contextlib.ExitStack() as stack:
        problem: Callable[[], str | None] = lambda: None  # noqa: E731
        name = target.grpc_name
        settings = channel_settings(target, options, user_agent=user_agent)
        with timing.part("Dial") as dial:
            with dial.part("TLS Setup") if target.security is Security.TLS else contextlib.nullcontext():
                if target.relayed:
                    from pgcurl.relay import running_relay

                    relay = stack.enter_context(running_relay(target))
                    name, problem = f"unix:{relay.path}", relay.problem
                    credentials = None
                else:
                    credentials = _credentials(target)
            with dial.part("BlockingDial"):
                channel = stack.enter_context(_channel(name, credentials, settings))
                _wait(channel, target, problem, options.connect_timeout or CONNECT_SECONDS, deadline)
        yield channel


def channel_settings(target: Target, options: Options, *, user_agent: str) -> list[tuple[str, Any]]:
    """What the gRPC library is told besides address and credentials (grpc/impl/channel_arg_names.h)."""
    settings: list[tuple[str, Any]] = [("grpc.primary_user_agent", user_agent), ("grpc.enable_retries", 0)]
    settings += _names(target)
    place = target.host_and_port
    if place and _is_loopback(place[0]):
        settings.append(("grpc.enable_http_proxy", 0))
    if options.max_msg_sz:
        settings.append(("grpc.max_receive_message_length", options.max_msg_sz))
    if options.keepalive_time:
        milliseconds = _milliseconds(options.keepalive_time)
        settings += [
            ("grpc.keepalive_time_ms", milliseconds),
            ("grpc.keepalive_timeout_ms", milliseconds),
            ("grpc.http2.max_pings_without_data", 0),
        ]
    return settings


def _names(target: Target) -> Iterator[tuple[str, str]]:
    """What the server is called: in requests, and in its certificate."""
    verifies = target.security is Security.TLS and not target.relayed
    if target.server_name:
        yield "grpc.default_authority", target.server_name
    elif target.relayed and target.host_and_port:
        yield "grpc.default_authority", target.grpc_name
    if verifies and (target.server_name or target.socket_path is not None):
        yield "grpc.ssl_target_name_override", target.verified_name


def _milliseconds(seconds: float) -> int:
    """As much as the library can hold."""
    return int(min(seconds * 1000, 2**31 - 1))


def _is_loopback(host: str) -> bool:
    """Whether no proxy is to stand in between, as Go has it (net/http: ProxyFromEnvironment)."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _credentials(target: Target) -> grpc.ChannelCredentials | None:
    match target.security:
        case Security.PLAINTEXT:
            return None
        case Security.ALTS:
            return grpc.alts_channel_credentials(list(target.service_accounts) or None)
    if target.cacert or target.cert:
        target.tls_context()  # says what is wrong with the files
    return grpc.ssl_channel_credentials(
        root_certificates=target.trusted_authorities(),
        private_key=read_pem("-key", target.key) if target.key else None,
        certificate_chain=read_pem("-cert", target.cert) if target.cert else None,
    )


@contextlib.contextmanager
def _channel(
    name: str, credentials: grpc.ChannelCredentials | None, settings: list[tuple[str, Any]]
) -> Iterator[grpc.Channel]:
    channel = (
        grpc.insecure_channel(name, options=settings)
        if credentials is None
        else grpc.secure_channel(name, credentials, options=settings)
    )
    try:
        yield channel
    finally:
        # The library watches the connection for 0.2 s more before it closes a channel, which need not hold up anyone.
        threading.Thread(target=channel.close, name="pgcurl-closing", daemon=True).start()


def _wait(
    channel: grpc.Channel,
    target: Target,
    problem: Callable[[], str | None],
    seconds: float,
    deadline: Deadline,
) -> None:
    """Until the channel is connected."""
    left = deadline.seconds_left()
    seconds = seconds if left is None else min(seconds, left)
    until = time.monotonic() + seconds
    states: queue.SimpleQueue[grpc.ChannelConnectivity] = queue.SimpleQueue()
    channel.subscribe(states.put, try_to_connect=True)
    try:
        while True:
            match states.get(timeout=max(until - time.monotonic(), 0.0)):
                case _STATES.READY:
                    return
                case _STATES.TRANSIENT_FAILURE | _STATES.SHUTDOWN:
                    reason = problem() or _reason(channel, target, max(until - time.monotonic(), 0.1))
                    if reason:
                        raise FailureError(f'Failed to dial target host "{target.address}": {reason}')
    except queue.Empty:
        reason = problem() or _reason(channel, target, 1.0) or _library_words(channel)
        raise FailureError(
            f'Failed to dial target host "{target.address}": context deadline exceeded: no connection within '
            f"{seconds:g} s: {reason}"
        ) from None
    finally:
        channel.unsubscribe(states.put)


def _reason(channel: grpc.Channel, target: Target, seconds: float) -> str | None:
    """Why there is no connection; behind a proxy nothing can be tried, and the library alone knows."""
    place = target.host_and_port
    if target.proxied and place and not _is_loopback(place[0]):
        return _library_words(channel)
    return why_unreachable(target, seconds)


def _library_words(channel: grpc.Channel) -> str:
    """What the gRPC library says of a connection that it cannot make: it tells that to calls alone.

    Any other status is one of a connection that was made after all.
    """
    call: Any = channel.unary_unary("/grpc.health.v1.Health/Check")
    try:
        call(b"", timeout=1.0)
    except grpc.RpcError as error:
        status = status_of(error)
        if status.code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}:
            return status.message
    return "it came too late"
