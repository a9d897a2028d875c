"""TLS: the server's certificate, taken up anew when its files change."""

import stat
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import grpc
import structlog
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from pullgate_server.clock import Clock
from pullgate_server.errors import StartupError

log = structlog.get_logger()

_FileState = tuple[int, int, int] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Identity:
    """What the server shows and trusts, as read at one moment."""

    configuration: grpc.ServerCertificateConfiguration
    expires_at: datetime


class ServerCertificates:
    """The server's certificate and key, and the authorities whose clients it admits, as the files say.

    Args:
        certificate: the chain (PEM), the server's own certificate first.
        key: its private key (PEM), not encrypted.
        client_ca: the authorities (PEM) of clients' certificates. If given, every client must show a certificate.

    Raises:
        StartupError: a file is missing or wrong; names the option and says what to do.
    """

    def __init__(self, certificate: Path, key: Path, client_ca: Path | None = None, *, clock: Clock) -> None:
        self._certificate = certificate
        self._key = key
        self._client_ca = client_ca
        self._clock = clock
        self._seen = self._states()
        self._identity = self._load()

    @property
    def expires_at(self) -> datetime:
        """From when on clients refuse the certificate that is served now."""
        return self._identity.expires_at

    def credentials(self) -> grpc.ServerCredentials:
        """Credentials for a port: each new connection is served with the newest good files."""
        handed_out = self._identity

        # grpc calls this on threads of its own, one at a time. Naming what it already has would make it build its
        # TLS context anew for every connection, and forget the sessions that clients resume.
        def changed_configuration() -> grpc.ServerCertificateConfiguration | None:
            nonlocal handed_out
            newest = self._identity
            if newest is handed_out:
                return None
            handed_out = newest
            return newest.configuration

        return grpc.dynamic_ssl_server_credentials(
            handed_out.configuration,
            changed_configuration,  # type: ignore[arg-type]
            require_client_authentication=self._client_ca is not None,
        )

    async def look(self) -> None:
        """Take in the files if they have changed. Bad ones are logged once, and the former stay in use."""
        states = self._states()
        if states == self._seen:
            return
        self._seen = states
        try:
            self._identity = self._load()
        except StartupError as error:
            expires_at = self.expires_at.isoformat()
            log.error("certificate refused, the former one is served", problem=str(error), expires_at=expires_at)

    def _load(self) -> _Identity:
        key_pem, key = self._read_key()
        certificate_pem, expires_at = self._read_certificate(key)
        authorities = None if self._client_ca is None else self._read_authorities(self._client_ca)
        identity = _Identity(
            configuration=grpc.ssl_server_certificate_configuration(
                [(key_pem, certificate_pem)], root_certificates=authorities
            ),
            expires_at=expires_at,
        )
        log.info("certificate read", file=str(self._certificate), expires_at=expires_at.isoformat())
        return identity

    def _read_key(self) -> tuple[bytes, PrivateKeyTypes]:
        pem, mode = _read("--tls-key", self._key)
        try:
            key = load_pem_private_key(pem, password=None)
        except TypeError:
            raise StartupError(
                f"--tls-key {self._key} is encrypted, and there is nobody to ask for its password; "
                "write it without one, readable by the server alone"
            ) from None
        except (ValueError, UnsupportedAlgorithm) as error:
            raise StartupError(f"--tls-key {self._key} is not a private key as a PEM file") from error
        # With others grpc starts, and then fails every handshake.
        if not isinstance(key, rsa.RSAPrivateKey) and not (
            isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1)
        ):
            raise StartupError(
                f"--tls-key {self._key} is of a kind that gRPC does not serve TLS with; "
                "use an RSA key, or an elliptic curve key on P-256 or P-384"
            )
        if mode & stat.S_IROTH:
            log.warning("the private key can be read by everybody on this machine", file=str(self._key), do="chmod o=")
        return pem, key

    def _read_certificate(self, key: PrivateKeyTypes) -> tuple[bytes, datetime]:
        pem, _ = _read("--tls-cert", self._certificate)
        own = _certificates("--tls-cert", self._certificate, pem)[0]
        if not _belongs(key, own):
            raise StartupError(
                f"--tls-key {self._key} does not belong to the first certificate in --tls-cert {self._certificate}; "
                "give the key that it was made with, and the server's own certificate before its authorities'"
            )
        now = self._clock()
        if now >= own.not_valid_after_utc:
            raise StartupError(f"--tls-cert {self._certificate} expired at {own.not_valid_after_utc}; renew it")
        if now < own.not_valid_before_utc:
            raise StartupError(
                f"--tls-cert {self._certificate} is not valid before {own.not_valid_before_utc}; "
                "wait until then, or check this machine's clock"
            )
        return pem, own.not_valid_after_utc

    def _read_authorities(self, path: Path) -> bytes:
        pem, _ = _read("--tls-client-ca", path)
        _certificates("--tls-client-ca", path, pem)
        return pem

    def _states(self) -> tuple[_FileState, ...]:
        return tuple(_state(path) for path in (self._certificate, self._key, self._client_ca) if path is not None)


def _read(option: str, path: Path) -> tuple[bytes, int]:
    """What the file holds, and its mode."""
    try:
        return path.read_bytes(), path.stat().st_mode
    except OSError as error:
        raise StartupError(f"{option} {path} cannot be read ({error.strerror})") from error


def _certificates(option: str, path: Path, pem: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise StartupError(f"{option} {path} is not a PEM file with a certificate") from error


def _belongs(key: PrivateKeyTypes, certificate: x509.Certificate) -> bool:
    try:
        return key.public_key() == certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return False


def _state(path: Path) -> _FileState:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
