"""Connections without TLS: where they go, and in words why there is none."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import SOON
from tests.pgcurl.running import SERVICE, finish, pgcurl, pgcurl_process
from tests.pgcurl.streaming_server import StreamingServer, running_server

ECHO = f"{SERVICE}/Echo"


@pytest.mark.parametrize("prefix", ["", "unix:", "unix://"])
def test_a_unix_socket(tmp_path: Path, prefix: str) -> None:
    """-unix takes a path, and an address that says unix: needs no flag."""
    path = tmp_path / "s"
    with running_server(address=f"unix:{path}") as server:
        outcome = pgcurl("-plaintext", *([] if prefix else ["-unix"]), f"{prefix}{path}", ECHO)
        assert outcome.code == 0, outcome.err
        assert server.last_call("Echo").method == f"/{ECHO}"


@pytest.mark.parametrize("prefix", ["", "dns:", "dns:///", "passthrough:///"])
def test_names_with_a_scheme(server: StreamingServer, prefix: str) -> None:
    """Addresses may say how names are looked up; the scheme that grpcurl has by default is taken too."""
    assert pgcurl("-plaintext", f"{prefix}{server.address}", ECHO).code == 0


def test_an_address_of_ipv6() -> None:
    """It stands in brackets."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    with running_server(address="[::1]:0") as server:
        assert pgcurl("-plaintext", server.address, ECHO).code == 0
        free = server.address
    assert "connection refused" in pgcurl("-plaintext", free, ECHO).err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("127.0.0.1:{free}",), "connection refused: nothing listens there"),
        (("name.invalid:1",), "the name name.invalid is not known"),
        (("localhost",), "missing port in address"),
        (("localhost:99999",), "there is no port 99999"),
        (("localhost:nothing",), "the port nothing is not known"),
        (("::1",), "missing port in address"),
        (("-unix", "/nonexistent"), "there is no such socket"),
    ],
)
def test_why_there_is_no_connection(arguments: tuple[str, ...], told: str) -> None:
    """The address and the reason, with exit code 1, and no waiting for the time-out."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        free = listener.getsockname()[1]
    given = [argument.format(free=free) for argument in arguments]
    outcome = pgcurl("-plaintext", *given, "list")

    assert outcome.code == 1
    assert outcome.err.startswith(f'Failed to dial target host "{given[-1]}": {told}')


def answering(said: bytes) -> tuple[str, threading.Thread]:
    """A server that is no gRPC server: it says one thing to each of two connections."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with listener:
            for _ in range(2):
                connection, _ = listener.accept()
                with connection:
                    connection.recv(1000)
                    connection.sendall(said)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    return f"127.0.0.1:{listener.getsockname()[1]}", thread


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "the server speaks HTTP/1.1 there, not gRPC"),
        (b"\x15\x03\x01\x00\x02\x02\x0a\x00\x00", "the server speaks TLS there; leave out -plaintext"),
        (b"220 mail.invalid ESMTP\r\n", "what the server says is not HTTP/2, and so not gRPC"),
        (b"", "the server closed the connection"),
    ],
)
def test_what_is_no_grpc_server(said: bytes, told: str) -> None:
    """What the other side speaks is told as far as it can be seen."""
    address, thread = answering(said)
    outcome = pgcurl("-plaintext", address, "list")
    thread.join(20)

    assert (outcome.code, outcome.err) == (1, f'Failed to dial target host "{address}": {told}\n')


def test_a_server_that_says_nothing() -> None:
    """-connect-timeout ends the waiting, and it is told that somebody is there."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        outcome = pgcurl("-plaintext", "-connect-timeout", "0.3", address, "list")

    assert outcome.code == 1
    assert outcome.err == (
        f'Failed to dial target host "{address}": context deadline exceeded: no connection within 0.3 s: '
        "the server accepts the connection, but says nothing\n"
    )


def test_no_time_to_connect(server: StreamingServer) -> None:
    """A -max-time that is over before there is a connection is told as what it is, not as the server's fault."""
    outcome = pgcurl("-plaintext", "-max-time", "1e-9", server.address, "list")

    assert (outcome.code, outcome.err) == (
        1,
        f'Failed to dial target host "{server.address}": context deadline exceeded: no connection within 0 s: '
        "it came too late\n",
    )


@contextlib.contextmanager
def proxy(server: StreamingServer, answer: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """An HTTP proxy that is asked once, and leads to a server whatever it is asked for; gives what it was asked."""
    listener = socket.create_server(("127.0.0.1", 0))
    asked: list[bytes] = []

    def carry(source: socket.socket, to: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                to.sendall(data)
            to.shutdown(socket.SHUT_WR)

    def serve() -> None:
        connection, _ = listener.accept()
        host, _, port = server.address.rpartition(":")
        with listener, connection, socket.create_connection((host, int(port))) as far:
            asked.append(connection.recv(65536).splitlines()[0])
            connection.sendall(answer)
            back = threading.Thread(target=carry, args=(far, connection))
            back.start()
            carry(connection, far)
            back.join()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", asked
    finally:
        thread.join(SOON)


def test_a_proxy(server: StreamingServer) -> None:
    """The gRPC library goes through the one that the environment names, but not to this machine itself."""
    with proxy(server, b"HTTP/1.1 200 OK\r\n\r\n") as (url, asked):
        environment = {"https_proxy": url}
        local = finish(pgcurl_process("-plaintext", server.address, ECHO, environment=environment))
        far = finish(pgcurl_process("-plaintext", "server.invalid:50051", ECHO, environment=environment))

    assert (local.code, far.code) == (0, 0), (local.err, far.err)
    assert [line.split()[:2] for line in asked] == [[b"CONNECT", b"server.invalid:50051"]]


def test_a_proxy_that_is_not_there() -> None:
    """What the library says of it is told."""
    process = pgcurl_process(
        "-plaintext", "server.invalid:50051", ECHO, environment={"https_proxy": "http://127.0.0.1:1"}
    )
    outcome = finish(process)

    assert outcome.code == 1
    assert 'Failed to dial target host "server.invalid:50051": ' in outcome.err
    assert "127.0.0.1:1" in outcome.err


def test_alts_is_for_google_cloud(server: StreamingServer) -> None:
    """Elsewhere there is no connection, and an address for the handshakes cannot be given."""
    account = ("-alts", "-alts-target-service-account", "a@b", "-connect-timeout", "0.3")
    assert pgcurl(*account, server.address, "list").code == 1
    handshaker = pgcurl("-alts", "-alts-handshaker-service", "a:1", server.address, "list")
    assert (handshaker.code, handshaker.err) == (
        1,
        "The -alts-handshaker-service argument has no counterpart in the gRPC library of Python\n",
    )
