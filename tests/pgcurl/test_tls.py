"""TLS in every combination of flags, and in words why it fails."""

import contextlib
import ipaddress
import json
import socket
import ssl
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from tests.conftest import SOON
from tests.pgcurl.running import SERVICE, Outcome, finish, pgcurl, pgcurl_process
from tests.pgcurl.streaming_server import StreamingServer, running_server, write_testing_protoset
from tests.server.test_tls import LOCALHOST, Issued, issue

ECHO = f"{SERVICE}/Echo"
DAY = timedelta(days=1)
ADDRESS = (x509.IPAddress(ipaddress.ip_address("127.0.0.1")),)


@dataclass(frozen=True, kw_only=True)
class Papers:
    """Authorities, and a directory with files that flags name."""

    directory: Path
    servers: Issued
    clients: Issued

    def file(self, name: str, data: bytes) -> str:
        """The path of a new file."""
        path = self.directory / name
        path.write_bytes(data)
        return str(path)

    def client(self, issued: Issued, name: str = "client") -> tuple[str, ...]:
        """Flags with a certificate and its key."""
        return "-cert", self.file(f"{name}.pem", issued.pem), "-key", self.file(f"{name}.key", issued.key_pem)

    def credentials(self, server: Issued, *, demands_client: bool = False) -> grpc.ServerCredentials:
        """What a server shows, and asks for."""
        return grpc.ssl_server_credentials(
            [(server.key_pem, server.pem)],
            root_certificates=self.clients.pem if demands_client else None,
            require_client_auth=demands_client,
        )


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    """Two authorities, one for servers and one for clients, with files of both."""
    directory = tmp_path_factory.mktemp("papers")
    papers = Papers(directory=directory, servers=issue("servers"), clients=issue("clients"))
    papers.file("ca.pem", papers.servers.pem)
    papers.file("other.pem", issue("servers").pem)
    papers.client(issue("client", papers.clients))
    return papers


@pytest.fixture(scope="module")
def server(papers: Papers) -> Iterator[StreamingServer]:
    """A server with a certificate for localhost."""
    issued = issue("server", papers.servers, names=LOCALHOST)
    with running_server(address="localhost:0", credentials=papers.credentials(issued)) as server:
        yield server


@pytest.fixture(scope="module")
def strict(papers: Papers) -> Iterator[StreamingServer]:
    """The same, for clients with a certificate alone."""
    issued = issue("server", papers.servers, names=LOCALHOST)
    credentials = papers.credentials(issued, demands_client=True)
    with running_server(address="localhost:0", credentials=credentials) as server:
        yield server


def flags_of(papers: Papers, flags: str) -> list[str]:
    """Flags, in which @FILE stands for a file of the papers."""
    return [flag.replace("@", f"{papers.directory}/") for flag in flags.split()]


@pytest.mark.parametrize(
    "flags",
    [
        "-cacert @ca.pem",
        "-cacert=@ca.pem -cert @client.pem -key @client.key",
        "-insecure",
        "-insecure -cacert @missing",
        "-insecure -cert @client.pem -key @client.key",
        "-cacert @ca.pem -authority localhost",
        "-cacert @ca.pem -authority localhost:443",
        "-cacert @ca.pem -servername localhost",
        "-cacert @ca.pem -servername localhost -authority localhost",
        "-insecure -authority elsewhere.invalid",
        "-insecure -servername elsewhere.invalid",
    ],
)
def test_combinations_that_work(papers: Papers, server: StreamingServer, flags: str) -> None:
    """A server is trusted by its authority, or unseen; a client certificate that is not asked for does no harm."""
    outcome = pgcurl(*flags_of(papers, flags), "-format", "jsonl", "-d", '{"text": "a"}', server.address, ECHO)

    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["text"] == "a"


@pytest.mark.parametrize("flags", ["-cacert @ca.pem", "-insecure"])
def test_a_client_certificate(papers: Papers, strict: StreamingServer, flags: str) -> None:
    """A server that demands one is content with -cert and -key, whether or not it is itself verified."""
    known = pgcurl(*flags_of(papers, f"{flags} -cert @client.pem -key @client.key"), strict.address, ECHO)
    unknown = pgcurl(*flags_of(papers, flags), strict.address, ECHO)

    assert known.code == 0, known.err
    closed = "the server closed the connection; it may demand a client certificate: -cert and -key"
    assert (unknown.code, unknown.err) == (1, refusal(strict, closed))


def refusal(server: StreamingServer, reason: str) -> str:
    """How a connection that fails is told."""
    return f'Failed to dial target host "{server.address}": {reason}\n'


@pytest.mark.parametrize(
    ("method", "data", "answers"),
    [("Echo", "{}", 1), ("Split", '{"text": "a b c"}', 3), ("Join", "{} {}", 1), ("Converse", "{} {} {} {}", 4)],
)
def test_every_kind_of_call_without_verification(server: StreamingServer, method: str, data: str, answers: int) -> None:
    """-insecure carries streams in both directions, and statuses and metadata as they are."""
    flags = ("-insecure", "-v", "-format", "jsonl", "-rpc-header", "trailer-x: 1")
    good = pgcurl(*flags, "-d", data, server.address, f"{SERVICE}/{method}")
    bad = pgcurl(*flags, "-rpc-header", "fail-late: 9", "-d", data, server.address, f"{SERVICE}/{method}")

    assert (good.code, good.out.count("Response contents:")) == (0, answers)
    assert "Response trailers received:\nx: 1\n" in good.out
    assert bad.code == 73


def test_a_conversation_without_verification(server: StreamingServer) -> None:
    """What is written is carried at once, in both directions."""
    process = pgcurl_process("-insecure", "-format", "jsonl", "-d", "@", server.address, f"{SERVICE}/Converse")
    assert process.stdin is not None
    assert process.stdout is not None
    texts = []
    for text in ("one", "two"):
        process.stdin.write(json.dumps({"text": text}))
        process.stdin.flush()
        texts.append(json.loads(process.stdout.readline())["text"])

    assert texts == ["one", "two"]
    assert finish(process).code == 0


def test_much_without_verification(server: StreamingServer) -> None:
    """Large messages in both directions arrive whole."""
    data = "".join(json.dumps({"text": str(number) * 300_000}) for number in range(10))
    outcome = pgcurl(
        "-insecure", "-format", "jsonl", "-d", "@", server.address, f"{SERVICE}/Converse", stdin=data.encode()
    )

    assert [len(json.loads(line)["text"]) for line in outcome.out.splitlines()] == [300_000] * 10


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ("", "the server's certificate is not to be trusted: unable to get local issuer certificate; -cacert names"),
        ("-cacert @other.pem", "the server's certificate is not to be trusted: "),
        (
            "-cacert @ca.pem -authority elsewhere.invalid",
            "the server's certificate is not to be trusted: Hostname mismatch, certificate is not valid for "
            "'elsewhere.invalid'; -authority names what stands in the certificate instead of elsewhere.invalid",
        ),
        ("-cacert @ca.pem -servername elsewhere.invalid", "the server's certificate is not to be trusted: Hostname"),
        ("-plaintext", "the server speaks TLS there; leave out -plaintext"),
    ],
)  # fmt: skip
def test_why_the_server_is_not_trusted(papers: Papers, server: StreamingServer, flags: str, told: str) -> None:
    """The reason, and the flag that helps, with exit code 1."""
    outcome = pgcurl(*flags_of(papers, flags), server.address, ECHO)

    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.startswith(f'Failed to dial target host "{server.address}": {told}')


@pytest.mark.parametrize(
    ("issued", "told"),
    [
        ({"names": ADDRESS}, "Hostname mismatch, certificate is not valid for 'localhost'"),
        ({"names": LOCALHOST, "begins": -2, "ends": -1}, "certificate has expired"),
        ({"names": LOCALHOST, "begins": 1, "ends": 2}, "certificate is not yet valid"),
        ({"names": ()}, "Hostname mismatch, certificate is not valid for 'localhost'"),
    ],
)
def test_what_is_wrong_with_a_certificate(papers: Papers, issued: dict[str, Any], told: str) -> None:
    """The wrong name, and the wrong time, each in words; -insecure takes it all the same."""
    moments = {name: datetime.now(UTC) + issued[name] * DAY for name in ("begins", "ends") if name in issued}
    certificate = issue("server", papers.servers, names=issued["names"], **moments)
    with running_server(address="localhost:0", credentials=papers.credentials(certificate)) as server:
        refused = pgcurl("-cacert", f"{papers.directory}/ca.pem", server.address, ECHO)
        taken = pgcurl("-insecure", server.address, ECHO)

    assert refused.code == 1
    assert f"the server's certificate is not to be trusted: {told}" in refused.err
    assert taken.code == 0, taken.err


def test_an_address_in_a_certificate(papers: Papers) -> None:
    """A server at an IP address is verified by that, and not by another."""
    certificate = issue("server", papers.servers, names=ADDRESS)
    with running_server(credentials=papers.credentials(certificate)) as server:
        assert pgcurl("-cacert", f"{papers.directory}/ca.pem", server.address, ECHO).code == 0
    named = issue("server", papers.servers, names=LOCALHOST)
    with running_server(credentials=papers.credentials(named)) as server:
        assert "IP address mismatch" in pgcurl("-cacert", f"{papers.directory}/ca.pem", server.address, ECHO).err


@pytest.mark.parametrize("verification", ["-cacert @ca.pem", "-insecure"])
def test_a_client_certificate_that_a_grpc_server_refuses(
    papers: Papers, strict: StreamingServer, verification: str
) -> None:
    """The gRPC library's servers do not say why, so what is likely is told."""
    client = papers.client(issue("client", papers.servers), name="refused")
    outcome = pgcurl(*flags_of(papers, verification), *client, strict.address, ECHO)

    closed = "the server closed the connection; it may not accept the client certificate"
    assert (outcome.code, outcome.err) == (1, refusal(strict, closed))


@pytest.mark.parametrize(
    ("issued", "told"),
    [
        (None, "the server demands a client certificate: -cert and -key"),
        ({"authority": "servers"}, "the server does not trust the authority of the client certificate"),
        ({"authority": None}, "the server does not trust the authority of the client certificate"),
        ({"authority": "clients", "begins": -2, "ends": -1}, "the server says that the client certificate has expired"),
    ],
)
@pytest.mark.parametrize("verification", ["-cacert @ca.pem", "-insecure"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_certificate_that_is_refused_with_a_reason(
    papers: Papers,
    issued: dict[str, Any] | None,
    told: str,
    verification: str,
    version: ssl.TLSVersion,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Other servers say what they have against it, and that is told, and nothing else."""
    client: tuple[str, ...] = ()
    if issued is not None:
        moments = {name: datetime.now(UTC) + issued[name] * DAY for name in ("begins", "ends") if name in issued}
        authority = getattr(papers, issued["authority"]) if issued["authority"] else None
        client = papers.client(issue("client", authority, **moments), name="refused")
    with tls_server(papers, protocol="h2", clients=papers.clients, version=version) as address:
        outcome = pgcurl(*flags_of(papers, verification), *client, address, ECHO)

    assert caplog.records == []
    if issued is None and version is ssl.TLSVersion.TLSv1_2:
        told = "the server refused the TLS handshake; it may demand a client certificate: -cert and -key"
    assert (outcome.code, outcome.err) == (1, f'Failed to dial target host "{address}": {told}\n')


def encrypted(issued: Issued) -> bytes:
    """A key that needs a password."""
    return bytes(issued.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")))


BROKEN_PEM = b"-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n"
BROKEN_KEY = b"-----BEGIN PRIVATE KEY-----\nnonsense\n-----END PRIVATE KEY-----\n"


@pytest.mark.parametrize(
    ("flag", "data", "told"),
    [
        ("-cacert", None, "-cacert {file} cannot be read (No such file or directory)"),
        ("-cacert", b"", "-cacert {file} is no PEM file with certificates"),
        ("-cacert", b"nonsense", "-cacert {file} is no PEM file with certificates"),
        ("-cacert", BROKEN_PEM, "-cacert {file} is no PEM file with certificates"),
        ("-cert", None, "-cert {file} cannot be read (No such file or directory)"),
        ("-cert", b"nonsense", "-cert {file} is not a PEM file with a certificate"),
        ("-cert", issue("other").key_pem, "-cert {file} is not a PEM file with a certificate"),
        ("-cert", BROKEN_PEM, "-cert {file} or -key {directory}/client.key is broken"),
        ("-key", None, "-key {file} cannot be read (No such file or directory)"),
        ("-key", b"nonsense", "-key {file} is not a PEM file with a private key"),
        ("-key", BROKEN_KEY, "-cert {directory}/client.pem or -key {file} is broken"),
        ("-key", issue("other").key_pem, "-key {file} is not the key of -cert {directory}/client.pem"),
        ("-key", encrypted(issue("other")), "-key {file} is encrypted; decrypt it, as with openssl pkey"),
    ],
)
@pytest.mark.parametrize("insecure", [False, True])
def test_files_that_are_wrong(
    papers: Papers, server: StreamingServer, tmp_path: Path, flag: str, data: bytes | None, told: str, *, insecure: bool
) -> None:
    """The flag, the file and what is wrong with it, before anything is connected to."""
    path = tmp_path / "file"
    if data is not None:
        path.write_bytes(data)
    flags = {"-cacert": "@ca.pem", "-cert": "@client.pem", "-key": "@client.key", flag: str(path)}
    given = flags_of(papers, " ".join(f"{name} {value}" for name, value in flags.items()))
    outcome = pgcurl(*(["-insecure"] if insecure else []), *given, server.address, ECHO)

    if insecure and flag == "-cacert":
        assert outcome.code == 0, outcome.err
    else:
        reason = told.format(file=path, directory=papers.directory)
        assert (outcome.code, outcome.err) == (1, f"Failed to create TLS config: {reason}\n")


@pytest.mark.parametrize("flags", [(), ("-insecure",)])
def test_tls_against_plaintext(flags: tuple[str, ...]) -> None:
    """The flag that is missing is named."""
    with running_server() as server:
        outcome = pgcurl(*flags, server.address, ECHO)

    assert (outcome.code, outcome.err) == (
        1,
        refusal(server, "the server does not speak TLS there; -plaintext does without"),
    )


@contextlib.contextmanager
def tls_server(
    papers: Papers, *, protocol: str, clients: Issued | None = None, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
) -> Iterator[str]:
    """A server that shakes hands and then says nothing. It may demand certificates of an authority."""
    issued = issue("server", papers.servers, names=LOCALHOST)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = version
    files = papers.client(issued, name="tls")
    context.load_cert_chain(files[1], files[3])
    context.set_alpn_protocols([protocol])
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=clients.pem.decode())
    listener = socket.create_server(("127.0.0.1", 0))
    stopped = threading.Event()

    def serve() -> None:
        while not stopped.is_set():
            connection, _ = listener.accept()
            with contextlib.suppress(OSError), connection:
                context.wrap_socket(connection, server_side=True).close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    port = listener.getsockname()[1]
    try:
        yield f"localhost:{port}"
    finally:
        stopped.set()
        socket.create_connection(("127.0.0.1", port)).close()
        thread.join(SOON)
        listener.close()


@pytest.mark.parametrize("flags", ["-cacert @ca.pem", "-insecure"])
def test_a_web_server_without_http2(papers: Papers, flags: str) -> None:
    """A server that speaks TLS, but no HTTP/2, is told as that."""
    with tls_server(papers, protocol="http/1.1") as address:
        outcome = pgcurl(*flags_of(papers, flags), address, ECHO)

    assert (outcome.code, outcome.err) == (
        1,
        f'Failed to dial target host "{address}": the server offers TLS, but no HTTP/2 (ALPN h2), and so no gRPC\n',
    )


def test_nobody_listens() -> None:
    """A refused connection is told as with plaintext, verified or not."""
    for flags in ((), ("-insecure",)):
        outcome = pgcurl(*flags, "127.0.0.1:1", ECHO)
        assert outcome.err == 'Failed to dial target host "127.0.0.1:1": connection refused: nothing listens there\n'


def test_the_systems_authorities(papers: Papers, server: StreamingServer) -> None:
    """Without -cacert the system's certificates count, as SSL_CERT_FILE names them."""
    environment = {"SSL_CERT_FILE": f"{papers.directory}/ca.pem"}
    outcome = finish(pgcurl_process(server.address, ECHO, environment=environment))

    assert outcome.code == 0, outcome.err


def test_the_secrets_of_a_connection(papers: Papers, server: StreamingServer, tmp_path: Path) -> None:
    """SSLKEYLOGFILE gets them, for who looks at packets; the server is verified as ever."""
    path = tmp_path / "keys"
    environment = {"SSLKEYLOGFILE": str(path)}
    good = pgcurl("-cacert", f"{papers.directory}/ca.pem", server.address, ECHO, environment=environment)
    bad = pgcurl("-cacert", f"{papers.directory}/other.pem", server.address, ECHO, environment=environment)
    unwritable = pgcurl("-insecure", server.address, ECHO, environment={"SSLKEYLOGFILE": "/missing/keys"})

    assert good.code == 0, good.err
    assert "TRAFFIC_SECRET" in path.read_text()
    assert "the server's certificate is not to be trusted" in bad.err
    assert unwritable.err == "Could not open SSLKEYLOGFILE /missing/keys: No such file or directory\n"


def test_tls_over_a_unix_socket(papers: Papers, tmp_path: Path) -> None:
    """The certificate must be for localhost there, or for -authority."""
    issued = issue("server", papers.servers, names=(x509.DNSName("pullgate.test"),))
    path = tmp_path / "s"
    with running_server(address=f"unix:{path}", credentials=papers.credentials(issued)):
        flags = ["-cacert", f"{papers.directory}/ca.pem", "-unix"]
        named = pgcurl(*flags, "-authority", "pullgate.test", str(path), ECHO)
        unnamed = pgcurl(*flags, str(path), ECHO)
        unverified = pgcurl("-insecure", "-unix", str(path), ECHO)
    local = issue("server", papers.servers, names=LOCALHOST)
    with running_server(address=f"unix:{path}", credentials=papers.credentials(local)):
        usual = pgcurl(*flags, str(path), ECHO)

    assert (named.code, unverified.code, usual.code) == (0, 0, 0), (named.err, unverified.err, usual.err)
    assert "certificate is not valid for 'localhost'" in unnamed.err


@pytest.mark.parametrize(
    ("flags", "authority"),
    [
        ("-plaintext", "{address}"),
        ("-plaintext -authority a.test:1", "a.test:1"),
        ("-cacert @ca.pem", "{address}"),
        ("-cacert @ca.pem -authority a.test", "a.test"),
        ("-cacert @ca.pem -authority a.test:1", "a.test:1"),
        ("-cacert @ca.pem -servername a.test", "a.test"),
        ("-insecure", "{address}"),
        ("-insecure -authority a.test:1", "a.test:1"),
    ],
)
def test_the_authority_that_the_server_is_told(papers: Papers, tmp_path: Path, flags: str, authority: str) -> None:
    """It is the address, or what -authority says, as it is."""
    protoset = tmp_path / "test.protoset"
    write_testing_protoset(protoset, "test_service.proto")
    told = []

    def echo(_request: bytes, context: Any) -> bytes:
        told.append(context._rpc_event.call_details.host.decode())
        return b""

    handler: Any = grpc.unary_unary_rpc_method_handler(echo)
    served = grpc.server(ThreadPoolExecutor(max_workers=1))
    served.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Echo": handler}),))
    issued = issue("server", papers.servers, names=(*LOCALHOST, x509.DNSName("a.test")))
    if "-plaintext" in flags:
        address = f"localhost:{served.add_insecure_port('localhost:0')}"
    else:
        address = f"localhost:{served.add_secure_port('localhost:0', papers.credentials(issued))}"
    served.start()
    try:
        outcome = pgcurl(*flags_of(papers, flags), "-protoset", str(protoset), address, ECHO)
    finally:
        served.stop(None).wait()

    assert outcome.code == 0, outcome.err
    assert told == [authority.format(address=address)]


def test_the_token_of_the_default_server_is_not_given_to_whoever_answers(
    papers: Papers, server: StreamingServer
) -> None:
    """With -insecure nobody knows who that is; over verified TLS it is sent."""
    environment = {"PULLGATE_ADDRESS": server.address, "PULLGATE_TOKEN": "t"}
    unverified: Outcome = pgcurl("-insecure", ECHO, environment=environment)
    assert unverified.code == 0, unverified.err
    assert "because -insecure weakens" in unverified.err
    assert server.last_call("Echo").values("authorization") == []

    verified = pgcurl(ECHO, environment={**environment, "PULLGATE_CA": f"{papers.directory}/ca.pem"})
    assert verified.code == 0, verified.err
    assert server.last_call("Echo").values("authorization") == ["Bearer t"]


def test_a_directory_for_temporary_files_that_is_too_deep(
    server: StreamingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A socket has to fit there; it is told, rather than waited for."""
    deep = tmp_path / ("x" * 120)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    outcome = pgcurl("-insecure", server.address, ECHO)

    assert outcome.code == 1
    assert outcome.err.startswith("Failed to listen on a unix socket in ")
    assert outcome.err.endswith("TMPDIR may name a directory with a shorter path\n")
