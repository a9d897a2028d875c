"""Where the service is, and how to speak to it."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from pullgate.local import DEFAULT_ADDRESS, OPERATOR_TOKEN_FILE, default_data_directory, is_local
from pullgate.v1 import policy_admin_pb2, policy_decision_pb2
from pullgate_client.errors import ConnectionSettingsError

MAX_RESPONSE_BYTES = 16 * 1024 * 1024
"""A policy may be as large as a request may be, and an answer somewhat larger."""

MAX_ATTEMPTS = 5
"""grpc tries no more often, whatever it is told."""

KEEPALIVE_TIMEOUT = 10.0
"""Seconds after which a ping without an answer means that nobody is there."""

MIN_RECONNECT_PAUSE = 0.1
"""Seconds between the first attempts to connect: grpc's own second is longer than a call is repeated, and each attempt
of a call would meet the same failed connection."""

MAX_RECONNECT_PAUSE = 10.0
"""Seconds between two attempts to connect at most. grpc's own two minutes would keep a client from a service that has
long been back."""

HEALTH_CHECK = "/grpc.health.v1.Health/Check"
WATCH = "/pullgate.v1.PolicyWatchService/Watch"

Authorization = tuple[tuple[str, str], ...]
"""The metadata that says who calls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """Settings of a connection.

    Attributes:
        address: HOST:PORT or unix:PATH.
        token: sent as a bearer token; empty for none.
        token_file: holds the token instead. It is read for every call, so that a token may be replaced at any time, as
            Kubernetes does with those it mounts.
        tls: whether to speak TLS; `ca`, `cert` or `key` imply it.
        ca: certificates (PEM) to trust instead of the system's.
        cert: the client's own certificate (PEM), with `key`.
        attempts: how often a call is made while the service is UNAVAILABLE, within its deadline; 1 for no second time.
        keepalive: seconds of silence during a call after which the connection is tried, so that what lies in between
            does not take it for idle, and a service that is gone is noticed; 0 for never.
    """

    address: str = DEFAULT_ADDRESS
    token: str = field(default="", repr=False)
    token_file: Path | None = None
    tls: bool = False
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    attempts: int = 3
    keepalive: float = 30.0

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Connection":
        """What PULLGATE_ADDRESS, _TOKEN, _TOKEN_FILE, _TLS, _CA, _CERT and _KEY say, else this machine's server."""

        def path(name: str) -> Path | None:
            return Path(environment[name]) if environment.get(name) else None

        address = environment.get("PULLGATE_ADDRESS") or DEFAULT_ADDRESS
        token, token_file = environment.get("PULLGATE_TOKEN", "").strip(), path("PULLGATE_TOKEN_FILE")
        if not token and token_file is None and not environment.get("PULLGATE_CERT"):
            # Who shows a certificate of their own means to be known by that.
            token = local_token(address, default_data_directory(environment))
        return cls(
            address=address,
            token=token,
            token_file=token_file,
            tls=environment.get("PULLGATE_TLS", "").lower() in {"1", "true", "yes", "on"},
            ca=path("PULLGATE_CA"),
            cert=path("PULLGATE_CERT"),
            key=path("PULLGATE_KEY"),
        )

    @property
    def speaks_tls(self) -> bool:
        """Whether the connection is encrypted."""
        return bool(self.tls or self.ca or self.cert or self.key)

    def current_token(self) -> str:
        """The token as it is now, empty for none; raises ConnectionSettingsError."""
        token, source = self.token, "the token"
        if self.token_file is not None:
            token, source = _read(self.token_file).decode("utf-8", "replace").strip(), f"the token in {self.token_file}"
            if not token:
                raise ConnectionSettingsError(f"{self.token_file} is empty; a token is expected there")
        if not token.isascii() or not token.isprintable():
            raise ConnectionSettingsError(f"{source} has characters that no token has; was it copied whole?")
        return token

    def authorization(self) -> Authorization:
        """What a call says of its caller, as it is now; raises ConnectionSettingsError."""
        token = self.current_token()
        return (("authorization", f"Bearer {token}"),) if token else ()

    def open_channel(self) -> grpc.Channel:
        """A channel, whose unary calls are repeated while the service is UNAVAILABLE: let writes have a request id.

        Raises:
            ConnectionSettingsError: a file cannot be read, or settings contradict each other.
        """
        credentials = self._credentials()
        if credentials is None:
            return grpc.insecure_channel(self.address, options=self._options())
        return grpc.secure_channel(self.address, credentials, options=self._options())

    def open_async_channel(self) -> grpc.aio.Channel:
        """The same as `open_channel`, for the event loop that is running."""
        credentials = self._credentials()
        if credentials is None:
            return grpc.aio.insecure_channel(self.address, options=self._options())
        return grpc.aio.secure_channel(self.address, credentials, options=self._options())

    def _credentials(self) -> grpc.ChannelCredentials | None:
        if (self.cert is None) != (self.key is None):
            raise ConnectionSettingsError("a client certificate needs its key, and a key its certificate")
        if not self.speaks_tls:
            return None
        return grpc.ssl_channel_credentials(
            root_certificates=None if self.ca is None else _read(self.ca),
            private_key=None if self.key is None else _read(self.key),
            certificate_chain=None if self.cert is None else _read(self.cert),
        )

    def _options(self) -> Sequence[tuple[str, Any]]:
        if self.token and self.token_file is not None:
            raise ConnectionSettingsError("there is a token and a file with a token; say one of them")
        if not 1 <= self.attempts <= MAX_ATTEMPTS:
            raise ConnectionSettingsError(f"attempts is {self.attempts}, and must be 1 to {MAX_ATTEMPTS}")
        if self.keepalive < 0:
            raise ConnectionSettingsError(f"keepalive is {self.keepalive:g}, and must be 0 or more seconds")
        options: list[tuple[str, Any]] = [
            ("grpc.primary_user_agent", "pullgate-client"),
            ("grpc.max_receive_message_length", MAX_RESPONSE_BYTES),
            ("grpc.initial_reconnect_backoff_ms", int(MIN_RECONNECT_PAUSE * 1000)),
            ("grpc.max_reconnect_backoff_ms", int(MAX_RECONNECT_PAUSE * 1000)),
        ]
        if self.attempts > 1:
            options += [
                ("grpc.service_config", _service_config(self.attempts)),
                # What is larger is sent once only, and a policy may be as large as a message.
                ("grpc.per_rpc_retry_buffer_size", MAX_RESPONSE_BYTES),
            ]
        if self.keepalive:
            # Without a call in flight nothing is lost with the connection, so nothing is sent then: that is grpc's
            # default.
            options += [
                ("grpc.keepalive_time_ms", int(self.keepalive * 1000)),
                ("grpc.keepalive_timeout_ms", int(KEEPALIVE_TIMEOUT * 1000)),
                # A stream on which nothing happens has no data for hours; grpc would stop after two pings.
                ("grpc.http2.max_pings_without_data", 0),
            ]
        return options


def local_token(address: str, data_directory: Path) -> str:
    """The operator token that a server on this machine left in its data directory.

    Empty if there is none to read, and for an address on another machine or a socket that is somebody else's, whose
    business the token is not.
    """
    try:
        if not is_local(address) or not _is_ours(address):
            return ""
        return Path(data_directory, OPERATOR_TOKEN_FILE).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return ""


def repeatable_methods() -> list[tuple[str, str]]:
    """Service and method of all calls that may be made again: those that ask, and writes, whose request id they carry.

    Streams are not among them: what they have said already would be said twice.
    """
    services = (
        policy_decision_pb2.DESCRIPTOR.services_by_name["PolicyDecisionService"],
        policy_admin_pb2.DESCRIPTOR.services_by_name["PolicyAdminService"],
    )
    _, health, check = HEALTH_CHECK.split("/")
    return [
        (health, check),
        *(
            (service.full_name, method.name)
            for service in services
            for method in service.methods
            if not method.client_streaming and not method.server_streaming
        ),
    ]


def _service_config(attempts: int) -> str:
    """How grpc repeats calls (https://github.com/grpc/proposal/blob/master/A6-client-retries.md)."""
    return json.dumps(
        {
            "methodConfig": [
                {
                    "name": [{"service": service, "method": method} for service, method in repeatable_methods()],
                    "retryPolicy": {
                        "maxAttempts": attempts,
                        # Short, so that who is told that there is no service is told soon; and no two clients wait for
                        # the same time, because grpc varies it.
                        "initialBackoff": "0.1s",
                        "maxBackoff": "1s",
                        "backoffMultiplier": 2,
                        "retryableStatusCodes": ["UNAVAILABLE"],
                    },
                }
            ]
        }
    )


def _is_ours(address: str) -> bool:
    """Whether whoever listens is this user or root, as far as that can be seen: a socket says whose it is."""
    if not address.startswith("unix:"):
        return True
    path = Path(address.removeprefix("unix:").removeprefix("//"))
    return not path.exists() or path.stat().st_uid in {0, os.geteuid()}


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConnectionSettingsError(f"{path} cannot be read: {error.strerror}") from error
