"""Which server is spoken to, and with what credentials."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from pathlib import Path

from pgcurl.errors import FailureError
from pgcurl.headers import Metadata
from pgcurl.options import Options
from pullgate.local import MAX_PORT

SYSTEM_AUTHORITIES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
"""Where systems keep the certificates that they trust, as Go looks for them (crypto/x509/root_linux.go)."""

_SCHEMES = ("unix:", "unix-abstract:", "dns:", "ipv4:", "ipv6:", "xds:", "vsock:")
"""Addresses that are passed on as they are (grpc/doc/naming.md)."""


class Security(Enum):
    """How the connection is protected."""

    PLAINTEXT = "plaintext"
    TLS = "TLS"
    ALTS = "ALTS"


@dataclass(frozen=True, kw_only=True)
class Target:
    """A server.

    Attributes:
        address: as typed, for messages.
        server_name: what stands in for the address as :authority, and as the name in the server's certificate, if
            anything does.
        unverified: TLS that takes any certificate.
        proxied: whether connections other than to this machine go through a proxy (grpc/doc/environment_variables.md).
        key_log: a file to which TLS secrets are appended, as browsers do (SSLKEYLOGFILE).
    """

    address: str
    security: Security = Security.TLS
    unix: bool = False
    server_name: str = ""
    unverified: bool = False
    cacert: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    key_log: str = ""
    proxied: bool = False
    service_accounts: tuple[str, ...] = ()

    @cached_property
    def grpc_name(self) -> str:
        """The address as the gRPC library takes it; raises FailureError."""
        if self.unix:
            return self.address if self.address.startswith("unix:") else f"unix:{self.address}"
        if self.address.startswith(_SCHEMES):
            return self.address
        address = self.address.removeprefix("passthrough:///")
        host, _, port = address.rpartition(":")
        if not host or not port or (":" in host and not host.endswith("]")):
            raise FailureError(
                f'Failed to dial target host "{self.address}": missing port in address (HOST:PORT, or [IPV6]:PORT)'
            )
        if port.isdecimal() and int(port) > MAX_PORT:
            raise FailureError(f'Failed to dial target host "{self.address}": there is no port {port}')
        return address

    @property
    def host_and_port(self) -> tuple[str, str] | None:
        """Where a connection over TCP goes; None where that is not to be seen from the address."""
        name = self.grpc_name.removeprefix("dns:").removeprefix("///")
        host, _, port = name.rpartition(":")
        if name.startswith((*_SCHEMES, "/")) or not host:
            return None
        return host.removeprefix("[").removesuffix("]"), port

    @property
    def socket_path(self) -> str | None:
        """The path of the unix socket, if it is one."""
        if not self.grpc_name.startswith("unix:"):
            return None
        return self.grpc_name.removeprefix("unix:").removeprefix("//")

    @property
    def relayed(self) -> bool:
        """Whether TLS is for `pgcurl.relay` to speak, because the gRPC library cannot do what is asked for."""
        return self.security is Security.TLS and bool(self.unverified or self.key_log)

    @property
    def verified_name(self) -> str:
        """The name that the server's certificate must have."""
        if self.server_name:
            return without_port(self.server_name)
        place = self.host_and_port
        return place[0] if place else "localhost"

    def tls_context(self) -> ssl.SSLContext:
        """Its TLS settings for Python's own TLS; raises FailureError that says which file is wrong, and how."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.set_alpn_protocols(["h2"])
        if self.unverified:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif self.cacert:
            _load_authorities(context, self.cacert)
        else:
            context.load_default_certs()
        if self.cert and self.key:
            _load_own(context, self.cert, self.key)
        if self.key_log:
            try:
                context.keylog_filename = self.key_log
            except OSError as error:
                raise FailureError(f"Could not open SSLKEYLOGFILE {self.key_log}: {error.strerror}") from error
        return context

    def trusted_authorities(self) -> bytes | None:
        """The certificates to trust (PEM), None if the system's are not to be found; raises FailureError."""
        if self.cacert:
            return read_pem("-cacert", self.cacert)
        paths = (ssl.get_default_verify_paths().cafile, *SYSTEM_AUTHORITIES)
        found = next((Path(path) for path in paths if path and Path(path).is_file()), None)
        return found.read_bytes() if found else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A target, and what it is told of the caller if no header does.

    Attributes:
        warnings: sentences for the user about that.
    """

    target: Target
    authorization: Metadata = ()
    warnings: tuple[str, ...] = ()


def typed_target(options: Options, address: str, *, environment: Mapping[str, str]) -> Target:
    """The server at an address of the command line: nothing of the environment but SSLKEYLOGFILE counts."""
    otherwise = Security.PLAINTEXT if options.plaintext else Security.TLS
    return Target(
        address=address,
        security=Security.ALTS if options.alts else otherwise,
        unix=options.unix,
        server_name=options.server_name,
        unverified=options.insecure,
        cacert=Path(options.cacert) if options.cacert else None,
        cert=Path(options.cert) if options.cert else None,
        key=Path(options.key) if options.key else None,
        key_log=environment.get("SSLKEYLOGFILE", ""),
        proxied=is_proxied(environment),
        service_accounts=options.alts_target_service_account,
    )


def is_proxied(environment: Mapping[str, str]) -> bool:
    """Whether the gRPC library goes through a proxy."""
    return any(environment.get(name) for name in ("grpc_proxy", "https_proxy", "http_proxy"))


def without_port(name: str) -> str:
    """A host, of what may have a port."""
    host, colon, port = name.rpartition(":")
    plain = host if colon and port.isdecimal() and (":" not in host or host.endswith("]")) else name
    return plain.removeprefix("[").removesuffix("]")


def read_pem(flag: str, path: Path) -> bytes:
    """A file of the command line; raises FailureError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise FailureError(f"Failed to create TLS config: {flag} {path} cannot be read ({error.strerror})") from error


def _load_authorities(context: ssl.SSLContext, path: Path) -> None:
    read_pem("-cacert", path)
    try:
        context.load_verify_locations(path)
    except ssl.SSLError as error:
        raise FailureError(f"Failed to create TLS config: -cacert {path} is no PEM file with certificates") from error


def _load_own(context: ssl.SSLContext, cert: Path, key: Path) -> None:
    """The client's certificate and key, or what is wrong with them."""
    if b"-----BEGIN CERTIFICATE" not in read_pem("-cert", cert):
        raise FailureError(f"Failed to create TLS config: -cert {cert} is not a PEM file with a certificate")
    if b"PRIVATE KEY-----" not in read_pem("-key", key):
        raise FailureError(f"Failed to create TLS config: -key {key} is not a PEM file with a private key")
    try:
        context.load_cert_chain(cert, key, password=_no_password)
    except _EncryptedKeyError as error:
        raise FailureError(
            f"Failed to create TLS config: -key {key} is encrypted; decrypt it, as with openssl pkey"
        ) from error
    except ssl.SSLError as error:
        problem = (
            f"-key {key} is not the key of -cert {cert}"
            if error.reason == "KEY_VALUES_MISMATCH"
            else f"-cert {cert} or -key {key} is broken"
        )
        raise FailureError(f"Failed to create TLS config: {problem}") from error


class _EncryptedKeyError(Exception):
    """A key that wants a password."""


def _no_password() -> bytes:
    raise _EncryptedKeyError
