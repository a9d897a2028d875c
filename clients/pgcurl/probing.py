"""Why there is no connection: the gRPC library says little of it, so the same is tried once more, step by step."""

import contextlib
import socket
import ssl
from dataclasses import replace

from pgcurl.target import Security, Target

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
"""What a client of HTTP/2 says first: the preface and empty SETTINGS (RFC 9113, section 3.4)."""

NOBODY_LISTENS = "connection refused: nothing listens there"
_CLOSED = "the server closed the connection"

_SETTINGS = 0x04
_FRAME_HEADER_BYTES = 9
_TLS_RECORDS = (b"\x15\x03", b"\x16\x03")
"""How alerts and handshakes begin in TLS."""

_NOT_TLS = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE"})


def why_unreachable(target: Target, seconds: float) -> str | None:
    """What keeps a connection from being made, in words; None if nothing does, or if that cannot be found out."""
    if target.security is Security.ALTS or (target.host_and_port is None and target.socket_path is None):
        return None
    try:
        with _connect(target, seconds) as connection:
            problem = _try_http2(target, connection)
    except TimeoutError:
        return "the server accepts the connection, but says nothing"
    except OSError as error:
        problem = connection_words(target, error)
    if problem == _CLOSED and _speaks_tls(target, seconds):
        return "the server speaks TLS there; leave out -plaintext"
    return problem


def _closed_words(target: Target) -> str:
    """Servers of gRPC close connections without a word when the client has no certificate, or not a good one."""
    if target.security is not Security.TLS:
        return _CLOSED
    if target.cert:
        return f"{_CLOSED}; it may not accept the client certificate"
    return f"{_CLOSED}; it may demand a client certificate: -cert and -key"


def _speaks_tls(target: Target, seconds: float) -> bool:
    try:
        with _connect(replace(target, security=Security.TLS, unverified=True), seconds):
            return True
    except OSError as error:
        return isinstance(error, ssl.SSLError) and "ALERT" in (error.reason or "")


def connection_words(target: Target, error: OSError) -> str:
    """An error of a connection or of its TLS, in words."""
    match error:
        case ssl.SSLCertVerificationError():
            return _certificate_words(target, error)
        case ssl.SSLError():
            return tls_words(error)
        case socket.gaierror():
            host, port = target.host_and_port or (target.address, "")
            unknown = f"port {port}" if error.errno == socket.EAI_SERVICE else f"name {host}"
            return f"the {unknown} is not known ({error.strerror})"
        case ConnectionRefusedError():
            return NOBODY_LISTENS
        case FileNotFoundError():
            return "there is no such socket"
        case PermissionError():
            return "permission denied: the socket is not for this user"
        case ConnectionResetError() | BrokenPipeError():
            return _closed_words(target)
        case TimeoutError():
            return "no answer in time: the server is off, or a firewall drops what is sent to it"
    return error.strerror or str(error)


def tls_words(error: ssl.SSLError) -> str:
    """What TLS failed of, other than the server's certificate."""
    reason = error.reason or ""
    if reason in _NOT_TLS:
        return "the server does not speak TLS there; -plaintext does without"
    if "CERTIFICATE_REQUIRED" in reason:
        return "the server demands a client certificate: -cert and -key"
    if "ALERT_UNKNOWN_CA" in reason:
        return "the server does not trust the authority of the client certificate"
    if "ALERT_CERTIFICATE_EXPIRED" in reason:
        return "the server says that the client certificate has expired"
    if "CERTIFICATE" in reason and "ALERT" in reason:
        return "the server refuses the client certificate"
    if "HANDSHAKE_FAILURE" in reason:
        return "the server refused the TLS handshake; it may demand a client certificate: -cert and -key"
    if "NO_APPLICATION_PROTOCOL" in reason:
        return "the server offers TLS, but no HTTP/2 (ALPN h2), and so no gRPC"
    if "EOF" in reason or isinstance(error, ssl.SSLEOFError):
        return "the server closed the connection during the TLS handshake; it may not speak TLS: -plaintext"
    return f"TLS failed: {reason.lower().replace('_', ' ') or error}"


def _certificate_words(target: Target, error: ssl.SSLCertVerificationError) -> str:
    reason = error.verify_message or str(error)
    hint = ""
    if "mismatch" in reason:
        hint = f"; -authority names what stands in the certificate instead of {target.verified_name}"
    elif "self-signed" in reason or "self signed" in reason or "unable to get" in reason:
        hint = "; -cacert names the authority to trust"
    return f"the server's certificate is not to be trusted: {reason.rstrip('.')}{hint}"


def _connect(target: Target, seconds: float) -> socket.socket:
    if target.socket_path is not None:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(seconds)
        try:
            connection.connect(target.socket_path)
        except OSError:
            connection.close()
            raise
    else:
        try:
            connection = socket.create_connection(target.host_and_port or ("", ""), timeout=seconds)
        except TimeoutError as error:
            raise OSError("no answer in time: the server is off, or a firewall drops what is sent to it") from error
    if target.security is not Security.TLS:
        return connection
    try:
        return target.tls_context().wrap_socket(connection, server_hostname=target.verified_name)
    except OSError:
        connection.close()
        raise


def _try_http2(target: Target, connection: socket.socket) -> str | None:
    if isinstance(connection, ssl.SSLSocket) and connection.selected_alpn_protocol() != "h2":
        return "the server offers TLS, but no HTTP/2 (ALPN h2), and so no gRPC"
    with contextlib.suppress(OSError):  # why the server closed the connection is still to be read
        connection.sendall(PREFACE)
    said = b""
    while len(said) < _FRAME_HEADER_BYTES and (more := connection.recv(_FRAME_HEADER_BYTES - len(said))):
        said += more
    if said[3:4] == bytes([_SETTINGS]) and not said.startswith(_TLS_RECORDS):
        return None
    if said.startswith(_TLS_RECORDS):
        return "the server speaks TLS there; leave out -plaintext"
    if said.startswith(b"HTTP/1"):
        return "the server speaks HTTP/1.1 there, not gRPC"
    if not said:
        return _closed_words(target)
    return "what the server says is not HTTP/2, and so not gRPC"
