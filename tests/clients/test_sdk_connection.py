"""Connections of the SDK: tokens that change, TLS, and quiet streams through what lies in between."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest

from pullgate.local import OPERATOR_TOKEN_FILE
from pullgate_client import (
    AsyncClient,
    CallError,
    Client,
    Connection,
    ConnectionSettingsError,
    UnauthenticatedError,
    UnavailableError,
)
from pullgate_client.connection import local_token
from pullgate_policy import Policy
from pullgate_policy.access_token import CallerRole
from tests.clients.either_client import KINDS, either_client, received
from tests.conftest import SOON, ServerProcess, start_server, stop_server
from tests.server.test_tls import LOCALHOST, Files, issue

PING, GOAWAY = 6, 7
"""Types of HTTP/2 frames (RFC 9113, section 6)."""

ACKNOWLEDGED = 1
"""Flag of a PING that answers one."""

PREFACE = 24
"""Bytes with which a client begins."""

IDLE = 6.0
"""Seconds of silence after which the proxy cuts a connection."""

OFTEN = 1.05
"""Seconds between pings: much less than grpc's servers bear by default, and as often as ours say they do."""


def operator_token(server: ServerProcess) -> str:
    """The token that the server left."""
    return Path(server.data_dir, OPERATOR_TOKEN_FILE).read_text().strip()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_token_file_is_read_for_every_call(server_process: ServerProcess, tmp_path: Path, kind: str) -> None:
    """A client that is open calls with what stands in the file now: a wrong token fails, a new one is taken."""
    file = tmp_path / "token"
    file.write_text("wrong")
    environment = {"PULLGATE_ADDRESS": server_process.address, "PULLGATE_TOKEN_FILE": str(file)}
    async with either_client(kind, Connection.from_environment(environment), deadline=SOON) as client:
        with pytest.raises(UnauthenticatedError) as raised:
            await client.who_am_i()
        file.write_text(f"{operator_token(server_process)}\n")
        operator = await client.who_am_i()
        secret, _ = await client.create_token(f"{kind} member", CallerRole.MEMBER, organization="acme", username="dev")
        file.write_text(secret)
        member = await client.who_am_i()
        stream, error = await received(client.stream_events())

    assert raised.value.reason == "TOKEN_INVALID"
    assert (operator.role, member.role, member.username) == (CallerRole.OPERATOR, CallerRole.MEMBER, "dev")
    assert stream == []
    assert isinstance(error, CallError)
    assert error.code is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("content", "problem"),
    [(None, "cannot be read: No such file"), (b" \n", "is empty"), ("ä".encode(), "characters that no token has")],
)
async def test_a_token_file_without_a_token(tmp_path: Path, kind: str, content: bytes | None, problem: str) -> None:
    """It is told with its name, and nothing is sent."""
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    async with either_client(kind, Connection(address="127.0.0.1:1", token_file=file)) as client:
        with pytest.raises(ConnectionSettingsError, match=problem) as raised:
            await client.who_am_i()

    assert str(file) in str(raised.value)


@pytest.mark.parametrize(
    ("connection", "problem"),
    [
        (Connection(token="a", token_file=Path("b")), "say one of them"),
        (Connection(cert=Path("a")), "needs its key"),
        (Connection(key=Path("a")), "needs its key"),
        (Connection(ca=Path("nowhere.pem")), "nowhere.pem cannot be read"),
        (Connection(keepalive=-1), "must be 0 or more"),
    ],
)
async def test_settings_that_cannot_be_used(connection: Connection, problem: str) -> None:
    """Either client refuses them when it is made."""
    for kind in KINDS:
        with pytest.raises(ConnectionSettingsError, match=problem):
            either_client(kind, connection)


def test_a_token_that_was_not_copied_whole() -> None:
    """What cannot be a token is told as such before a call is made, and not by grpc in its words."""
    with (
        Client(Connection(address="127.0.0.1:1", token="a\nb")) as client,
        pytest.raises(ConnectionSettingsError, match="copied whole"),
    ):
        client.who_am_i()


def test_the_environment_says_who_calls(tmp_path: Path) -> None:
    """A token, or a file with one, or a certificate, goes before the token that a server on this machine left."""
    (tmp_path / OPERATOR_TOKEN_FILE).write_text("local")
    here = {"PULLGATE_DATA_DIR": str(tmp_path)}

    def asked(**more: str) -> Connection:
        return Connection.from_environment({**here, **more})

    assert asked().token == "local"
    assert asked(PULLGATE_ADDRESS="pullgate.example:443").token == ""
    assert asked(PULLGATE_TOKEN=" mine\n").token == "mine"
    from_file = asked(PULLGATE_TOKEN_FILE="/run/token")
    assert (from_file.token, from_file.token_file) == ("", Path("/run/token"))
    certain = asked(PULLGATE_CERT="cert.pem", PULLGATE_KEY="key.pem", PULLGATE_CA="ca.pem", PULLGATE_TLS="on")
    assert (certain.token, certain.cert, certain.key, certain.ca, certain.tls) == (
        "",
        Path("cert.pem"),
        Path("key.pem"),
        Path("ca.pem"),
        True,
    )
    assert asked(PULLGATE_CA="ca.pem").speaks_tls


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Certificates of a server that asks for those of its clients, and of a client."""
    directory = tmp_path_factory.mktemp("certificates")
    authority = issue("authority")
    files = Files(directory=directory)
    files.write(issue("server", authority, names=LOCALHOST), authority)
    client = issue("client", authority)
    (directory / "ca.pem").write_bytes(authority.pem)
    (directory / "client.pem").write_bytes(client.pem)
    (directory / "client.key").write_bytes(client.key_pem)
    return files


@pytest.fixture(scope="module")
def tls_server(files: Files, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that speaks TLS."""
    options = ("--tls-cert", files.certificate, "--tls-key", files.key, "--tls-client-ca", files.client_ca)
    server = start_server(tmp_path_factory.mktemp("tls") / "data", *map(str, options))
    yield server
    stop_server(server)


@pytest.mark.parametrize("kind", KINDS)
async def test_tls_from_the_environment(tls_server: ServerProcess, files: Files, kind: str) -> None:
    """With the authority to trust and a certificate of its own a client is answered; without, it reaches nobody."""
    environment = {
        "PULLGATE_ADDRESS": f"localhost:{tls_server.address.rpartition(':')[2]}",
        "PULLGATE_TOKEN": operator_token(tls_server),
        "PULLGATE_CA": str(files.directory / "ca.pem"),
        "PULLGATE_CERT": str(files.directory / "client.pem"),
        "PULLGATE_KEY": str(files.directory / "client.key"),
    }
    async with either_client(kind, Connection.from_environment(environment), deadline=SOON) as client:
        assert (await client.who_am_i()).role is CallerRole.OPERATOR
    without = {name: value for name, value in environment.items() if name != "PULLGATE_CA"} | {"PULLGATE_TLS": "1"}
    async with either_client(kind, Connection.from_environment(without), deadline=SOON) as client:
        with pytest.raises(UnavailableError):
            await client.who_am_i()


@dataclass(kw_only=True)
class Proxy:
    """Relays to a server, and cuts a connection over which nothing has gone for IDLE seconds, as proxies do.

    Attributes:
        frames: of each HTTP/2 frame its type and flags, those of clients and those of the server.
        seen: notified of each.
    """

    upstream: str
    address: str = ""
    frames: dict[str, list[tuple[int, int]]] = field(default_factory=lambda: {"client": [], "server": []})
    seen: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        host, _, port = self.upstream.rpartition(":")
        server_reader, server_writer = await asyncio.open_connection(host, int(port))
        loop, idle = asyncio.get_running_loop(), asyncio.Event()
        timer = loop.call_later(IDLE, idle.set)

        async def pump(side: str, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            nonlocal timer
            pending, skipped = bytearray(), PREFACE if side == "client" else 0
            while data := await source.read(65536):
                timer.cancel()
                timer = loop.call_later(IDLE, idle.set)
                target.write(data)
                pending += data
                del pending[: (skip := min(skipped, len(pending)))]
                skipped -= skip
                while len(pending) >= 9 and len(pending) >= (size := 9 + int.from_bytes(pending[:3])):
                    async with self.seen:
                        self.frames[side].append((pending[3], pending[4]))
                        self.seen.notify_all()
                    del pending[:size]

        tasks = [
            asyncio.ensure_future(work)
            for work in (
                pump("client", reader, server_writer),
                pump("server", server_reader, writer),
                idle.wait(),
            )
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for end in (writer, server_writer):
                end.close()

    def pings(self) -> int:
        """How often clients have pinged."""
        return sum(kind == PING and not flags & ACKNOWLEDGED for kind, flags in self.frames["client"])


@asynccontextmanager
async def proxy_to(upstream: str) -> AsyncIterator[Proxy]:
    """A proxy before a server."""
    proxy = Proxy(upstream=upstream)
    listener = await asyncio.start_server(proxy.relay, "127.0.0.1", 0)
    proxy.address = f"127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        listener.close()


async def test_a_quiet_stream_lives_through_an_idle_proxy(server_process: ServerProcess) -> None:
    """Pings keep it, while one without them is cut; and the server bears them, though grpc's own would not so many."""
    token = operator_token(server_process)
    async with (
        proxy_to(server_process.address) as proxy,
        AsyncClient(Connection(address=proxy.address, token=token, keepalive=OFTEN)) as pinging,
        AsyncClient(Connection(address=proxy.address, token=token, keepalive=0)) as silent,
        AsyncClient(Connection(address=server_process.address, token=token)) as writer,
    ):
        begin = (await writer.put_policy(Policy(organization="quiet"))).revision - 1
        kept = pinging.stream_events(organization="quiet", since_revision=begin)
        cut = silent.stream_events(organization="quiet", since_revision=begin)
        assert (await anext(kept)).revision == (await anext(cut)).revision == begin + 1
        nothing, error = await received(cut)
        async with proxy.seen, asyncio.timeout(SOON):
            await proxy.seen.wait_for(lambda: proxy.pings() >= 5)
        written = await writer.put_policy(Policy(organization="quiet"), comment="once more")
        told = await anext(kept)
        await kept.aclose()

    assert (nothing, type(error)) == ([], UnavailableError)
    assert told.revision == written.revision
    assert GOAWAY not in {kind for kind, _ in proxy.frames["server"]}


def test_the_found_token_is_for_sockets_of_ones_own(tmp_path: Path) -> None:
    """A server's own token is not shown to whoever has put a socket somewhere, and a representation shows none."""
    (tmp_path / "operator.token").write_text("secret")
    path = tmp_path / "pullgate.sock"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        own = local_token(f"unix:{path}", tmp_path)
        if os.geteuid() == 0:
            os.chown(path, 65534, 65534)
            assert local_token(f"unix://{path}", tmp_path) == ""

    assert own == "secret"
    assert "secret" not in repr(Connection(token=own))
