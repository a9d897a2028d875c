"""Answers as Docker Hub does for organizations, users and the sign-in, and misbehaves as it is told to.

GET  /v2/orgs/<namespace>/    an organization and its badge; a user's namespace is redirected
GET  /v2/users/<namespace>/   a user; an organization's namespace is redirected
POST /v2/auth/token           an access token for the account's secret
GET  /control                 the fault and the namespaces
PUT  /control                 {"fault": "hang", "delay": 2, "namespaces": {"grafana": "verified_publisher"}}
"""

import asyncio
import enum
import json
import socket
import struct
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any, Self
from urllib.parse import urlsplit

USER = "user"
"""In place of a badge: the namespace is a user's."""

LIMIT = 180


class Fault(enum.Enum):
    """How Docker Hub, or what stands between, may misbehave."""

    THROTTLED = "throttled"
    """429 with X-Retry-After as a moment in Unix time (`reset`)."""

    RETRY_AFTER = "retry_after"
    """429 with the ordinary Retry-After (`retry_after`)."""

    NOT_FOUND_STORM = "not_found_storm"
    """404 for everything, as throttled clients have seen."""

    ORGS_NOT_FOUND = "orgs_not_found"
    """404 for organizations alone."""

    SLOW = "slow"
    """The true answer, after `delay` seconds or `release()`."""

    HANG = "hang"
    """No answer."""

    HTML_PAGE = "html_page"
    """A captive portal's page."""

    BOT_WALL = "bot_wall"
    """403 with a page for people."""

    TRUNCATED_JSON = "truncated_json"
    """The connection ends before the body does."""

    RESET = "reset"
    """The connection is reset."""

    REDIRECT_ELSEWHERE = "redirect_elsewhere"
    """A redirect to another site."""

    HUGE = "huge"
    """The true answer with a megabyte more."""

    SERVER_ERROR = "server_error"
    """503."""


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked; names of headers are in lowercase."""

    method: str
    path: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What is answered. `missing` is how many bytes of the promised body do not come."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    missing: int = 0


def json_answer(document: object, status: int = 200, **headers: str) -> Answer:
    """A document, with further headers, in whose names `_` stands for a dash."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(
        status=status, body=json.dumps(document).encode(), headers={"Content-Type": "application/json", **named}
    )


NOT_FOUND = json_answer({"message": "object not found"}, 404)

_HTML = {"Content-Type": "text/html; charset=utf-8"}

_INSTEAD = {
    Fault.NOT_FOUND_STORM: NOT_FOUND,
    Fault.HTML_PAGE: Answer(body=b"<!doctype html><title>Welcome to the hotel</title>", headers=_HTML),
    Fault.BOT_WALL: Answer(status=403, body=b"<!doctype html><title>Just a moment...</title>", headers=_HTML),
    Fault.REDIRECT_ELSEWHERE: Answer(status=302, headers={"Location": "http://portal.example/login"}),
    Fault.SERVER_ERROR: json_answer({"message": "upstream connect error"}, 503),
}


class DockerHubDouble:
    """`async with DockerHubDouble() as hub` answers at `hub.url` until the block ends.

    Attributes:
        url: where it answers.
        fault: how it misbehaves now.
        delay: seconds for Fault.SLOW; None waits for `release()`.
        reset: X-Retry-After and X-RateLimit-Reset, in Unix time.
        remaining: X-RateLimit-Remaining; None leaves these headers out.
        retry_after: Retry-After for Fault.RETRY_AFTER.
        account: username and secret that may sign in.
        answers: answers for paths, instead of the true ones.
        requests: all that was asked, but for /control.
        connected: how many connections there were.
    """

    def __init__(self, port: int = 0) -> None:
        self.fault: Fault | None = None
        self.delay: float | None = None
        self.reset = 0
        self.remaining: int | None = LIMIT
        self.retry_after = "30"
        self.account = ("", "")
        self.answers: dict[str, Answer] = {}
        self.requests: list[Request] = []
        self.connected = 0
        self._port = port
        self._badges: dict[str, str] = {}
        self._tokens: list[str] = []
        self._signed_in = 0
        self._arrived = asyncio.Condition()
        self._released = asyncio.Event()
        self._connections: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self._port)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def set_badge(self, namespace: str, badge: str) -> None:
        """Know an organization: "verified_publisher", "open_source", or empty for none."""
        self._badges[namespace] = badge

    def add_user(self, namespace: str) -> None:
        """Know a user."""
        self._badges[namespace] = USER

    def remove(self, namespace: str) -> None:
        """Know it no more."""
        self._badges.pop(namespace, None)

    def release(self) -> None:
        """Let go of the answers that Fault.SLOW holds back, and of those to come."""
        self._released.set()

    def expire_tokens(self) -> None:
        """Accept no access token that was given out until now."""
        self._tokens.clear()

    def requested(self, namespace: str) -> int:
        """How often the namespace was asked for."""
        return sum(request.path.rstrip("/").endswith(f"/{namespace}") for request in self.requests)

    async def until_requested(self, count: int) -> None:
        """Wait until there were so many requests in all."""
        async with self._arrived:
            await self._arrived.wait_for(lambda: len(self.requests) >= count)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        self.connected += 1
        # Clients may go away whenever they like, and the block may end at any time.
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while await self._serve(reader, writer):
                pass
        writer.close()
        self._connections.discard(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; whether the connection goes on."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = head[0].split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:-2])}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        request = Request(method, urlsplit(target).path, headers)
        if request.path == "/control":
            await _write(writer, self._control(body))
            return True
        self.requests.append(request)
        async with self._arrived:
            self._arrived.notify_all()
        if self.fault is Fault.HANG:
            await asyncio.Event().wait()
        if self.fault is Fault.RESET:
            # Closing without lingering is what sends a reset.
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
            return False
        if self.fault is Fault.SLOW:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._released.wait(), self.delay)
        answer = self._misbehaving(request, self._answer(request, body))
        await _write(writer, answer, self._limits())
        return not answer.missing

    def _answer(self, request: Request, body: bytes) -> Answer:
        if request.path in self.answers:
            return self.answers[request.path]
        if request.path == "/v2/auth/token":
            return self._sign_in(json.loads(body))
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme and token not in self._tokens:
            return json_answer({"detail": "Token is expired"}, 401)
        return self._namespace(request.path)

    def _namespace(self, path: str) -> Answer:
        _, _, kind, namespace = [*path.rstrip("/").split("/"), "", "", ""][:4]
        badge = self._badges.get(namespace)
        if badge is None or kind not in {"orgs", "users"}:
            return NOT_FOUND
        home = "users" if badge == USER else "orgs"
        if kind != home:
            return Answer(status=302, headers={"Location": f"/v2/{home}/{namespace}/"})
        account = {"id": "0f1e2d3c", "full_name": namespace.title(), "date_joined": "2016-02-03T04:05:06Z"}
        if badge == USER:
            return json_answer({**account, "username": namespace, "type": "User"})
        return json_answer({**account, "orgname": namespace, "type": "Organization", "badge": badge, "is_active": True})

    def _sign_in(self, document: Mapping[str, str]) -> Answer:
        if not self.account[0] or (document["identifier"], document["secret"]) != self.account:
            return json_answer({"detail": "Incorrect authentication credentials"}, 401)
        self._signed_in += 1
        self._tokens.append(f"access-token-{self._signed_in}")
        return json_answer({"access_token": self._tokens[-1]})

    def _misbehaving(self, request: Request, answer: Answer) -> Answer:
        """The answer as the fault has it."""
        limited = {"detail": "Rate limit exceeded", "error": False}
        match self.fault:
            case Fault.THROTTLED:
                return json_answer(limited, 429, X_Retry_After=str(self.reset))
            case Fault.RETRY_AFTER:
                return json_answer(limited, 429, Retry_After=self.retry_after)
            case Fault.ORGS_NOT_FOUND if request.path.startswith("/v2/orgs/"):
                return NOT_FOUND
            case Fault.TRUNCATED_JSON:
                return replace(answer, body=answer.body[: len(answer.body) // 2], missing=len(answer.body) // 2)
            case Fault.HUGE:
                return replace(answer, body=answer.body + b" " * 1024 * 1024)
            case fault if fault in _INSTEAD:
                return _INSTEAD[fault]
            case _:
                return answer

    def _limits(self) -> Mapping[str, str]:
        if self.remaining is None:
            return {}
        figures = {"Limit": LIMIT, "Remaining": self.remaining, "Reset": self.reset}
        return {f"X-RateLimit-{name}": str(figure) for name, figure in figures.items()}

    def _control(self, body: bytes) -> Answer:
        try:
            document: dict[str, Any] = json.loads(body or b"{}")
            if "fault" in document:
                self.fault = None if document["fault"] is None else Fault(document["fault"])
            self.delay, self.reset = document.get("delay", self.delay), document.get("reset", self.reset)
            for namespace, badge in document.get("namespaces", {}).items():
                self.remove(namespace) if badge is None else self.set_badge(namespace, badge)
        except (ValueError, TypeError, AttributeError) as error:
            return json_answer({"message": str(error)}, 400)
        fault = None if self.fault is None else self.fault.value
        return json_answer({"fault": fault, "delay": self.delay, "namespaces": self._badges})


async def _write(writer: asyncio.StreamWriter, answer: Answer, further: Mapping[str, str] | None = None) -> None:
    length = {"Content-Length": str(len(answer.body) + answer.missing)}
    headers = {**length, **(further or {}), **answer.headers}
    lines = [f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    writer.write("\r\n".join([*lines, "", ""]).encode("latin-1") + answer.body)
    await writer.drain()
