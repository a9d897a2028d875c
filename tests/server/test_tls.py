"""TLS as clients meet it: real certificates, a real server, and files that change under it."""

import ipaddress
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from pullgate_server.certificate_callers import certificate_names
from pullgate_server.clock import system_clock
from pullgate_server.errors import StartupError
from pullgate_server.tls import ServerCertificates
from tests.conftest import SOON, Clock

LOCALHOST = (x509.DNSName("localhost"),)


@dataclass(frozen=True, kw_only=True)
class Issued:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: Any

    @property
    def pem(self) -> bytes:
        """The certificate."""
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """The key."""
        return bytes(self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def issue(
    common_name: str,
    authority: Issued | None = None,
    *,
    names: tuple[x509.GeneralName, ...] = (),
    key: Any = None,
    begins: datetime | None = None,
    ends: datetime | None = None,
) -> Issued:
    """Make a certificate; without an authority, one that signs itself. Valid now, if nothing else is said."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else [])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(authority.certificate.subject if authority else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins or datetime.now(UTC) - timedelta(days=1))
        .not_valid_after(ends or datetime.now(UTC) + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=authority is None, path_length=None), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    signer = authority.key if authority else key
    digest = None if isinstance(signer, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return Issued(certificate=builder.sign(signer, digest), key=key)


@dataclass(frozen=True, kw_only=True)
class Files:
    """The files of a server."""

    directory: Path

    @property
    def certificate(self) -> Path:
        """For --tls-cert."""
        return self.directory / "server.pem"

    @property
    def key(self) -> Path:
        """For --tls-key."""
        return self.directory / "server.key"

    @property
    def client_ca(self) -> Path:
        """For --tls-client-ca."""
        return self.directory / "clients.pem"

    def write(self, server: Issued, client_authority: Issued | None = None) -> None:
        """Put these in place, each as a new file, as those who renew certificates do."""
        self.put(self.key, server.key_pem)
        self.put(self.certificate, server.pem)
        if client_authority:
            self.put(self.client_ca, client_authority.pem)

    def put(self, path: Path, data: bytes) -> None:
        """Replace one file."""
        new = path.with_suffix(".new")
        new.write_bytes(data)
        new.chmod(0o600)
        new.replace(path)

    def read(self, *, mutual: bool = False, clock: Any = system_clock) -> ServerCertificates:
        """What a server makes of them."""
        return ServerCertificates(self.certificate, self.key, self.client_ca if mutual else None, clock=clock)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """An empty directory for a server's files."""
    return Files(directory=tmp_path)


class Port:
    """A server that tells its callers the names in their certificates."""

    def __init__(self) -> None:
        self.server = grpc.aio.server()
        handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(self.names)
        self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", {"Names": handler}),))
        self.port = 0

    async def names(self, _: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        """The names, a line each."""
        return "\n".join(certificate_names(context.auth_context())).encode()

    def channel(self, trusted: Issued, client: Issued | None = None) -> grpc.aio.Channel:
        """A channel that trusts servers of one authority."""
        own = (client.key_pem, client.pem) if client else (None, None)
        return grpc.aio.secure_channel(f"localhost:{self.port}", grpc.ssl_channel_credentials(trusted.pem, *own))

    async def ask(self, trusted: Issued, client: Issued | None = None) -> list[str]:
        """The names that a new connection has."""
        async with self.channel(trusted, client) as channel:
            return await ask(channel)


async def ask(channel: grpc.aio.Channel) -> list[str]:
    """The names that the server sees on a channel."""
    method: Any = channel.unary_unary("/test/Names")
    return list((await method(b"", timeout=SOON)).decode().splitlines())


@pytest.fixture
async def port() -> AsyncIterator[Port]:
    """A server without a port yet."""
    port = Port()
    yield port
    await port.server.stop(None)


async def listen(port: Port, certificates: ServerCertificates) -> None:
    """Serve with these."""
    port.port = port.server.add_secure_port("localhost:0", certificates.credentials())
    await port.server.start()


async def test_a_new_certificate_is_served_without_a_restart(files: Files, port: Port) -> None:
    """After the files changed, new connections get the new chain and those that are open go on."""
    old, new = issue("old authority"), issue("new authority")
    files.write(issue("server", old, names=LOCALHOST))
    certificates = files.read()
    await listen(port, certificates)
    async with port.channel(old) as open_before:
        assert await ask(open_before) == []
        files.write(issue("server", new, names=LOCALHOST, ends=datetime.now(UTC) + timedelta(days=9)))
        with structlog.testing.capture_logs() as logs:
            await certificates.look()
            await certificates.look()

        assert [entry["event"] for entry in logs] == ["certificate read"]
        assert logs[0]["expires_at"] == certificates.expires_at.isoformat()
        assert certificates.expires_at > datetime.now(UTC) + timedelta(days=8)
        assert await port.ask(new) == []
        assert await ask(open_before) == []
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await port.ask(old)
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_new_authorities_of_clients_hold_at_once(files: Files, port: Port) -> None:
    """After the file of authorities changed, clients of the new one are admitted and those of the old one are not."""
    own, old, new = issue("own"), issue("old"), issue("new")
    files.write(issue("server", own, names=LOCALHOST), old)
    certificates = files.read(mutual=True)
    await listen(port, certificates)
    before, after = issue("before", old), issue("after", new)
    assert await port.ask(own, before) == ["cn:before"]
    files.put(files.client_ca, new.pem)
    await certificates.look()

    assert await port.ask(own, after) == ["cn:after"]
    with pytest.raises(grpc.aio.AioRpcError):
        await port.ask(own, before)


async def test_who_has_no_good_certificate_is_refused(files: Files, port: Port) -> None:
    """With client authorities, nobody gets in without a certificate of theirs that is valid now."""
    own, clients = issue("own"), issue("clients")
    files.write(issue("server", own, names=LOCALHOST), clients)
    await listen(port, files.read(mutual=True))
    now, day = datetime.now(UTC), timedelta(days=1)
    refused = {
        "none": None,
        "expired": issue("x", clients, begins=now - 2 * day, ends=now - day),
        "not yet valid": issue("x", clients, begins=now + day, ends=now + 2 * day),
        "of the server's authority": issue("x", own),
        "of an authority of the same name": issue("x", issue("clients")),
        "signed by itself": issue("x"),
    }
    for client in refused.values():
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await port.ask(own, client)
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE

    assert await port.ask(own, issue("good", clients)) == ["cn:good"]


@pytest.mark.parametrize(
    ("common_name", "names", "seen"),
    [
        ("", (x509.DNSName("Proxy.acme.internal"),), ["dns:proxy.acme.internal"]),
        (
            "proxy",
            (
                x509.DNSName("b.internal"),
                x509.DNSName("*.internal"),
                x509.UniformResourceIdentifier("spiffe://acme/ci"),
                x509.UniformResourceIdentifier("https://acme/Ci"),
                x509.RFC822Name("a@acme.com"),
                x509.IPAddress(ipaddress.ip_address("10.0.0.1")),
            ),
            ["uri:spiffe://acme/ci", "uri:https://acme/Ci", "dns:b.internal", "dns:*.internal", "cn:proxy"],
        ),
        ("uri:spiffe://acme/ci", (), ["cn:uri:spiffe://acme/ci"]),
        ("", (x509.DNSName("uri:spiffe://acme/ci"),), ["dns:uri:spiffe://acme/ci"]),
    ],
)
async def test_the_names_in_a_client_certificate(
    files: Files, port: Port, common_name: str, names: tuple[x509.GeneralName, ...], seen: list[str]
) -> None:
    """URIs, DNS names and the common name are told apart; no name passes for one of another kind."""
    own = issue("own")
    files.write(issue("server", own, names=LOCALHOST), own)
    await listen(port, files.read(mutual=True))

    assert await port.ask(own, issue(common_name, own, names=names)) == seen


async def test_a_bad_renewal_leaves_the_former_certificate(files: Files, port: Port) -> None:
    """Files that do not fit together are logged once for each change, and served is what was good."""
    own = issue("own")
    first, second = (issue("server", own, names=LOCALHOST) for _ in range(2))
    files.write(first)
    certificates = files.read()
    await listen(port, certificates)
    with structlog.testing.capture_logs() as logs:
        files.put(files.certificate, second.pem)
        for _ in range(3):
            await certificates.look()
        files.certificate.unlink()
        for _ in range(3):
            await certificates.look()
    await port.ask(own)
    files.write(second)
    with structlog.testing.capture_logs() as later:
        await certificates.look()

    assert [(entry["log_level"], entry["event"]) for entry in logs] == [
        ("error", "certificate refused, the former one is served")
    ] * 2
    assert "does not belong to the first certificate" in logs[0]["problem"]
    assert "cannot be read (No such file or directory)" in logs[1]["problem"]
    assert [entry["event"] for entry in later] == ["certificate read"]
    await port.ask(own)


def encrypted(key: Any) -> bytes:
    """A key that needs a password."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("file", "data", "told"),
    [
        ("key", None, "--tls-key {file} cannot be read (No such file or directory)"),
        ("key", b"", "--tls-key {file} is not a private key"),
        ("key", b"-----BEGIN PRIVATE KEY-----\nnonsense\n-----END PRIVATE KEY-----\n", "is not a private key"),
        ("key", encrypted(ec.generate_private_key(ec.SECP256R1())), "--tls-key {file} is encrypted"),
        ("key", issue("other").key_pem, "does not belong to the first certificate in --tls-cert"),
        ("certificate", None, "--tls-cert {file} cannot be read (No such file or directory)"),
        ("certificate", b"nonsense", "--tls-cert {file} is not a PEM file with a certificate"),
        ("certificate", issue("other").key_pem, "--tls-cert {file} is not a PEM file with a certificate"),
        ("client_ca", None, "--tls-client-ca {file} cannot be read (No such file or directory)"),
        ("client_ca", b"", "--tls-client-ca {file} is not a PEM file with a certificate"),
    ],
)
def test_bad_files_end_the_start(files: Files, file: str, data: bytes | None, told: str) -> None:
    """What is wrong is told with the option and the file."""
    own = issue("own")
    files.write(issue("server", own), own)
    path: Path = getattr(files, file)
    if data is None:
        path.unlink()
    else:
        files.put(path, data)
    with pytest.raises(StartupError) as raised:
        files.read(mutual=True)

    assert told.format(file=path) in str(raised.value)


@pytest.mark.parametrize(
    "key",
    [
        ed25519.Ed25519PrivateKey.generate(),
        ec.generate_private_key(ec.SECP521R1()),
        ec.generate_private_key(ec.SECP256K1()),
    ],
)
def test_a_key_that_grpc_cannot_serve_with_ends_the_start(files: Files, key: Any) -> None:
    """Keys with which every handshake would fail are refused before there is one."""
    files.write(issue("server", key=key))
    with pytest.raises(StartupError, match="use an RSA key, or an elliptic curve key on P-256 or P-384"):
        files.read()


@pytest.mark.parametrize("key", [rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP384R1())])
async def test_keys_that_are_served_with(files: Files, port: Port, key: Any) -> None:
    """RSA keys and those on the larger curve serve as well."""
    own = issue("server", key=key, names=LOCALHOST)
    files.write(own)
    await listen(port, files.read())

    assert await port.ask(own) == []


def test_a_certificate_is_served_while_it_is_valid(files: Files) -> None:
    """It is refused before its first moment and from its last on, by the clock that is passed in."""
    clock = Clock()
    begins, ends = clock.now, clock.now + timedelta(days=1)
    files.write(issue("server", begins=begins, ends=ends))

    assert files.read(clock=clock).expires_at == ends
    clock.advance(seconds=-1)
    with pytest.raises(StartupError, match=r"--tls-cert \S+ is not valid before 2026-06-01 00:00:00\+00:00"):
        files.read(clock=clock)
    clock.now = ends
    with pytest.raises(StartupError, match=r"--tls-cert \S+ expired at 2026-06-02 00:00:00\+00:00; renew it"):
        files.read(clock=clock)


@pytest.mark.parametrize(("mode", "warned"), [(0o600, False), (0o640, False), (0o644, True), (0o604, True)])
def test_a_key_that_everybody_can_read_is_warned_of(files: Files, mode: int, *, warned: bool) -> None:
    """The log says so, and what to do; the server starts all the same."""
    files.write(issue("server"))
    os.chmod(files.key, mode)  # noqa: PTH101
    with structlog.testing.capture_logs() as logs:
        files.read()

    warnings = [entry for entry in logs if entry["log_level"] == "warning"]
    assert [entry["file"] for entry in warnings] == [str(files.key)] * warned
