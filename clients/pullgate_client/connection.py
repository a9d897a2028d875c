"""Where the service is, and how to speak to it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import grpc

from pullgate.local import DEFAULT_ADDRESS, OPERATOR_TOKEN_FILE, default_data_directory, is_local
from pullgate_client.errors import ConnectionSettingsError

MAX_RESPONSE_BYTES = 16 * 1024 * 1024
"""A policy may be as large as a request may be, and an answer somewhat larger."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """Settings of a connection.

    Attributes:
        address: HOST:PORT or unix:PATH.
        token: sent as a bearer token; empty for none.
        tls: whether to speak TLS; `ca`, `cert` or `key` imply it.
        ca: certificates (PEM) to trust instead of the system's.
        cert: the client's own certificate (PEM), with `key`.
    """

    address: str = DEFAULT_ADDRESS
    token: str = ""
    tls: bool = False
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Connection":
        """What PULLGATE_ADDRESS, _TOKEN, _TLS, _CA, _CERT and _KEY say, else the server of this machine."""

        def path(name: str) -> Path | None:
            return Path(environment[name]) if environment.get(name) else None

        address = environment.get("PULLGATE_ADDRESS") or DEFAULT_ADDRESS
        token = environment.get("PULLGATE_TOKEN", "").strip()
        if not token and not environment.get("PULLGATE_CERT"):
            # Who shows a certificate of their own means to be known by that.
            token = local_token(address, default_data_directory(environment))
        return cls(
            address=address,
            token=token,
            tls=environment.get("PULLGATE_TLS", "").lower() in {"1", "true", "yes", "on"},
            ca=path("PULLGATE_CA"),
            cert=path("PULLGATE_CERT"),
            key=path("PULLGATE_KEY"),
        )

    @property
    def speaks_tls(self) -> bool:
        """Whether the connection is encrypted."""
        return bool(self.tls or self.ca or self.cert or self.key)

    def open_channel(self) -> grpc.Channel:
        """A channel; raises ConnectionSettingsError."""
        options = [
            ("grpc.primary_user_agent", "pullgate-client"),
            ("grpc.max_receive_message_length", MAX_RESPONSE_BYTES),
        ]
        if not self.speaks_tls:
            return grpc.insecure_channel(self.address, options=options)
        if (self.cert is None) != (self.key is None):
            raise ConnectionSettingsError("a client certificate needs its key, and a key its certificate")
        credentials = grpc.ssl_channel_credentials(
            root_certificates=_read(self.ca), private_key=_read(self.key), certificate_chain=_read(self.cert)
        )
        return grpc.secure_channel(self.address, credentials, options=options)


def local_token(address: str, data_directory: Path) -> str:
    """The operator token that a server on this machine left in its data directory.

    Empty if there is none to read, and for an address on another machine, whose business the token is not.
    """
    try:
        if not is_local(address):
            return ""
        return Path(data_directory, OPERATOR_TOKEN_FILE).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return ""


def _read(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConnectionSettingsError(f"{path} cannot be read: {error.strerror}") from error
