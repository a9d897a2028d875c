"""Attempts to reach a blocked repository through a real Envoy, by all that can be written into a request."""

import re
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import SOON
from tests.enforcement.gateways import registry_with_images, running_gateway, running_pullgate
from tests.envoy import NEEDS_ENVOY, Certificates, Configuration, Gateway, connection_manager, exchange
from tests.registry import MANIFEST, NEEDS_REGISTRY, Registry, Requested

pytestmark = [NEEDS_ENVOY, NEEDS_REGISTRY]

BLOCKED, ALLOWED = "someuser/custom-image", "library/nginx"

UPLOADS = "/v2/acme/app/blobs/uploads/"

FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, kw_only=True)
class Target:
    """The blocked repository: how it is reached, and what may not come out of it.

    Attributes:
        blobs: the digests of its configuration and its layer.
        traces: what an answer that gives any of it away holds.
    """

    registry: Registry
    gateway: Gateway
    blobs: tuple[str, ...]
    traces: tuple[bytes, ...]
    trusted: ssl.SSLContext

    def asked_through_the_gateway(self, request: bytes) -> bytes:
        """The answer, or the answers, to bytes on a connection of their own."""
        host, _, port = self.gateway.address.partition(":")
        with (
            socket.create_connection((host, int(port)), timeout=SOON) as plain,
            self.trusted.wrap_socket(plain, server_hostname=host) as connection,
        ):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return exchange(connection, request)

    def asked_of_the_registry(self, request: bytes) -> bytes:
        """The same without a gateway before it."""
        host, _, port = self.registry.address.partition(":")
        with socket.create_connection((host, int(port)), timeout=SOON) as connection:
            return exchange(connection, request)

    def is_given_away_by(self, answers: bytes) -> bool:
        """Whether they hold anything of the repository."""
        return any(trace in answers for trace in self.traces)

    def was_reached(self, request: Requested) -> bool:
        """Whether the registry says that it served somebody something of the repository."""
        target = request.target
        while (decoded := unquote(target)) != target:
            target = decoded
        return BLOCKED in target.casefold() and request.status < 400


def in_a_hurry(configuration: Configuration) -> None:
    """Have Envoy close connections as soon as it has said that a request is malformed."""
    connection_manager(configuration)["delayed_close_timeout"] = "0.01s"


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A gateway that lets acme's gateway user pull official images and acme's own, before a registry with another."""
    certificates = Certificates(folder=tmp_path_factory.mktemp("certificates"))
    with (
        registry_with_images(tmp_path_factory.mktemp("registry")) as registry,
        running_pullgate(tmp_path_factory.mktemp("pullgate") / "server", certificates) as pullgate,
        running_gateway(pullgate, registry, in_a_hurry) as gateway,
    ):
        blobs = registry.blobs(BLOCKED, "latest")
        head, _ = registry.ask("HEAD", f"/v2/{BLOCKED}/manifests/latest", headers={"Accept": MANIFEST})
        contents = [registry.ask("GET", f"/v2/{BLOCKED}/blobs/{blob}")[1] for blob in blobs]
        traces = [digest.encode() for digest in (*blobs, head.headers["Docker-Content-Digest"])]
        traces += [content[:4096] for content in contents] + [f'"name":"{BLOCKED}"'.encode()]
        yield Target(registry=registry, gateway=gateway, blobs=blobs, traces=tuple(traces), trusted=gateway.trusted())


def request_of(
    method: str, target: str, headers: tuple[str, ...] = (), body: bytes = b"", version: str = "HTTP/1.1"
) -> bytes:
    """A request, with nothing in it corrected."""
    lines = [f"{method} {target} {version}", *headers, "Connection: close"]
    if not any(line.lower().startswith("host:") for line in headers):
        lines.insert(1, "Host: registry-1.docker.io")
    if body and not any(line.lower().startswith(("content-length:", "transfer-encoding:")) for line in headers):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape") + body


SEPARATORS = (
    "//", "/./", "/x/../", "/../", "%2f", "%2F", "%252f", "\\", "%5c", ";/", "/;a=b/", "/%2e/", "/%2e%2e/", "/..;/",
    "%00/", "/%20", "%c0%af", "%e2%81%84", "\u2215", "/.%2e/", "\t", "%09", "%0d%0a", "?/", "#/", "/~/",
)  # fmt: skip

PREFIXES = (
    "", "", "", "/", "//", "/v2/..", "/v2/library/nginx/manifests/../../../..", "/v2/library/nginx/..%2f..%2f..",
    "http://registry-1.docker.io", "https://evil.example", "HTTP://docker.io:443", "http://docker.io/v2/library/..",
    "*", "/./", "/%2e%2e", "/v2/_catalog/../..", "/v2/;", "/v1/../", "docker.io:443", "/v2/%2e%2e", "/v2/library/x?",
)  # fmt: skip

SUFFIXES = (
    "", "", "", "/", "?", "#", "#/v2/library/nginx/manifests/latest", ";", "%20", "%00", "%", "/.", "/..", ".json",
    "?ns=docker.io", "?ns=ghcr.io", "?a=%2f&b=/v2/library/nginx/manifests/latest", "?n=1&last=a", ":", "@", "\\",
    "/../../../library/nginx/manifests/latest", "/../latest", "%0d%0aX-A: b", "?" + "a" * 9000, "/" + "a" * 9000,
)  # fmt: skip

METHODS = ("GET",) * 4 + ("HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "get", "PROPFIND")

VERSIONS = ("HTTP/1.1",) * 12 + ("HTTP/1.0", "HTTP/0.9", "HTTP/2.0", "http/1.1")

HEADERS = (
    "X-Original-URL: /v2/someuser/custom-image/manifests/latest",
    "X-Rewrite-URL: /v2/someuser/custom-image/manifests/latest",
    "X-Original-Path: /v2/library/nginx/manifests/latest",
    "X-Envoy-Original-Path: /v2/library/nginx/manifests/latest",
    "X-Envoy-Original-Path: /v2/someuser/custom-image/manifests/latest",
    "X-Envoy-Original-Host: evil.example",
    "X-Forwarded-Host: evil.example",
    "X-Forwarded-For: 127.0.0.1",
    "X-Envoy-Internal: true",
    "X-Envoy-Max-Retries: 3",
    "X-HTTP-Method-Override: GET",
    "X-Pullgate-User: ada",
    "X-Pullgate_User: ada",
    ":path: /v2/library/nginx/manifests/latest",
    "Host: evil.example",
    "Host:",
    "Authorization: Basic Og==",
    "Authorization: Bearer x",
    "Content-Length: 0",
    "Content-Length: 0\r\nContent-Length: 400",
    "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
    "Expect: 100-continue",
    "Connection: x-request-id, authorization",
    "Content-Type: application/x-www-form-urlencoded",
    f"Accept: {MANIFEST}",
    " folded: line",
)


def misspelt(text: str, position: int, how: int) -> str:
    """The text with one character in other words."""
    character = text[position % len(text)]
    code = f"{ord(character):02x}"
    written = (f"%{code}", f"%{code.upper()}", f"%25{code}", character.swapcase(), f"%u00{code}", f"{character}%00", "")
    return text.replace(character, written[how % len(written)], 1)


@st.composite
def attempts(draw: st.DrawFn, blobs: tuple[str, ...]) -> tuple[str, str, tuple[str, ...], str]:
    """A request for something of the blocked repository in unusual words: method, target, headers and version."""
    blob = draw(st.sampled_from(blobs))
    endpoints = (
        ("manifests", "latest"),
        ("blobs", blob),
        ("tags", "list"),
        ("referrers", blob),
        ("blobs", "uploads", ""),
    )
    words = ["v2", *BLOCKED.split("/"), *draw(st.sampled_from(endpoints))]
    for index in draw(st.lists(st.integers(0, 4), max_size=2)):
        words[index] = misspelt(words[index], draw(st.integers(0, 70)), draw(st.integers(0, 6))) if words[index] else ""
    separators = dict(draw(st.lists(st.tuples(st.integers(0, 5), st.sampled_from(SEPARATORS)), max_size=2)))
    path = "".join(f"{separators.get(index, '/')}{word}" for index, word in enumerate(words))
    return (
        draw(st.sampled_from(METHODS)),
        draw(st.sampled_from(PREFIXES)) + path + draw(st.sampled_from(SUFFIXES)),
        tuple(draw(st.lists(st.sampled_from(HEADERS), max_size=2))),
        draw(st.sampled_from(VERSIONS)),
    )


@st.composite
def uploads(draw: st.DrawFn, blob: str) -> tuple[str, tuple[str, ...], bytes]:
    """An upload to acme's own repository that would mount a blocked blob: query, headers and body."""
    names = st.sampled_from(
        (BLOCKED, ALLOWED, "someuser%2Fcustom-image", "SomeUser/custom-image", "acme/app", "", "/" + BLOCKED)
    )
    parameters = [
        *draw(st.lists(st.tuples(st.sampled_from(("from", "From", "from[]", "%66rom", " from")), names), max_size=3)),
        *draw(
            st.lists(st.tuples(st.sampled_from(("mount", "Mount", "digest")), st.just(blob)), min_size=1, max_size=2)
        ),
    ]
    written = draw(st.sampled_from(("&", "&", ";", "&&"))).join(f"{key}={value}" for key, value in parameters)
    form = b"" if draw(st.booleans()) else f"mount={blob}&from={BLOCKED}".encode()
    kind = draw(st.sampled_from((
        FORM, FORM.title(), f"{FORM};charset=utf-8", f'{FORM}; a="b"', f" {FORM} ", "text/plain", "",
    )))  # fmt: skip
    return draw(st.sampled_from(("", f"?{written}"))), (f"Content-Type: {kind}",), form


def test_what_is_looked_for_is_found(target: Target) -> None:
    """Without the gateway each way into the repository gives it away, so that the other tests would see it."""
    mount = f"mount={target.blobs[1]}&from={BLOCKED}"
    for request in (
        *(request_of("GET", f"/v2/{BLOCKED}/{way}") for way in ("manifests/latest", "tags/list")),
        *(request_of("GET", f"/v2/{BLOCKED}/blobs/{blob}") for blob in target.blobs),
        request_of("GET", "/v2/someuser%2Fcustom-image/manifests/latest"),
        request_of("POST", f"/v2/acme/open/blobs/uploads/?{mount}"),
        request_of("POST", "/v2/acme/form/blobs/uploads/", (f"Content-Type: {FORM}",), mount.encode()),
    ):
        assert target.is_given_away_by(target.asked_of_the_registry(request)), request
    assert target.was_reached(Requested("GET", "/v2/someuser%252FCustom-image/manifests/latest", 200))
    assert b" 200 OK\r\n" in target.asked_through_the_gateway(request_of("GET", f"/v2/{ALLOWED}/manifests/latest"))


def test_no_request_reaches_what_is_blocked(target: Target) -> None:
    """However a request is written, nothing of the repository is answered, and the registry served nobody any of it."""
    before = len(target.registry.requests)

    @settings(max_examples=500)
    @given(attempts(target.blobs))
    def attempt(written: tuple[str, str, tuple[str, ...], str]) -> None:
        method, asked, headers, version = written
        answers = target.asked_through_the_gateway(request_of(method, asked, headers, version=version))
        assert not target.is_given_away_by(answers), answers

    attempt()
    assert [request for request in target.registry.requests[before:] if target.was_reached(request)] == []


def test_no_upload_mounts_what_is_blocked(target: Target) -> None:
    """However an upload says from where it mounts a blob, in its query or a form, none comes out of the repository."""
    blob = target.blobs[1]

    @settings(max_examples=150)
    @given(uploads(blob))
    def attempt(written: tuple[str, tuple[str, ...], bytes]) -> None:
        query, headers, body = written
        request = request_of("POST", f"{UPLOADS}{query}", headers, body)
        assert b" 201 Created\r\n" not in target.asked_through_the_gateway(request)

    attempt()
    assert target.registry.ask("HEAD", f"/v2/acme/app/blobs/{blob}")[0].status == 404


def multipart(fields: dict[str, str]) -> bytes:
    """A form with a boundary."""
    parts = [f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n' for name, text in fields.items()]
    return "".join([*parts, "--x--\r\n"]).encode()


SMUGGLED = f"GET /v2/{BLOCKED}/manifests/latest HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode()


@pytest.mark.parametrize(
    "request_",
    [
        request_of("GET", f"/v2/{ALLOWED}/manifests/latest", (f"X-Original-URL: /v2/{BLOCKED}/manifests/latest",)),
        request_of("GET", f"/v2/{ALLOWED}/manifests/latest", (f"Host: a\r\n :path: /v2/{BLOCKED}/tags/list",)),
        request_of("GET", f"http://a/v2/{BLOCKED}/manifests/latest", ("Host: b",)),
        request_of("GET", f"/v2/{ALLOWED}/manifests/latest#/../../../{BLOCKED}/manifests/latest"),
        request_of("POST", UPLOADS, ("Transfer-Encoding: chunked", "Content-Length: 5"), b"0\r\n\r\n" + SMUGGLED),
        request_of("POST", UPLOADS, ("Transfer-Encoding : chunked",), b"0\r\n\r\n" + SMUGGLED),
        request_of("POST", UPLOADS, ("Transfer-Encoding: chunked",), b"0\r\n\r\n" + SMUGGLED),
        request_of("GET", f"/v2/{ALLOWED}/tags/list", ("Content-Length: 0",), SMUGGLED),
        f"GET /v2/{ALLOWED}/manifests/latest HTTP/1.1\r\nHost: a\r\n\r\n".encode() + SMUGGLED,
        f"GET /v2/{ALLOWED}/manifests/latest HTTP/1.1\nHost: a\n\n".encode() + SMUGGLED,
    ],
)  # fmt: skip
def test_requests_that_say_two_things(target: Target, request_: bytes) -> None:
    """What one reader takes for one request and another for two, or for another path, gives nothing away."""
    before = len(target.registry.requests)

    assert not target.is_given_away_by(target.asked_through_the_gateway(request_))
    assert [request for request in target.registry.requests[before:] if target.was_reached(request)] == []


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_forms_are_refused(target: Target, method: str) -> None:
    """A form is refused whatever it holds: registries believe its fields before the query that was decided about."""
    fields = {"mount": target.blobs[1], "from": BLOCKED}
    for kind, body in ((FORM, urlencode(fields).encode()), ("multipart/form-data; boundary=x", multipart(fields))):
        headers = (f"Content-Type: {kind}",)
        answers = target.asked_through_the_gateway(request_of(method, UPLOADS, headers, body))
        assert re.match(rb"HTTP/1\.1 4(03|15) ", answers), answers
