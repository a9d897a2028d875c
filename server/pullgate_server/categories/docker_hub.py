"""Docker Hub as a category source: the badge of a namespace, as Docker Hub's own pages show it.

    GET /v2/orgs/<namespace>/   an organization: "badge" is "verified_publisher", "open_source" or empty; a user's
                                namespace is redirected to the other address
    GET /v2/users/<namespace>/  a user; an organization's namespace is redirected to the first address

The badge is not part of the documented API (https://docs.docker.com/reference/api/hub/latest/), and the limits of
requests and the sign-in are. So every answer is read strictly: what is not plainly a category is a failure.

Clients that ask too much have been served 404 for what exists (docker/hub-feedback#2252). So a 404 never makes a
namespace community: only an answer that is about it does.
"""

import asyncio
import enum
import json
import re
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from importlib import metadata
from random import Random
from typing import Protocol

import httpx
import structlog

from pullgate.local import is_local
from pullgate_policy import Category, CategoryEvidence, CommunityClass
from pullgate_policy.errors import shown
from pullgate_policy.names import namespace_name
from pullgate_server.categories.port import AskedBy, Outcome, SourceAnswer
from pullgate_server.categories.request_budget import NoTurnError, RequestBudget
from pullgate_server.clock import Clock

log = structlog.get_logger()

DEFAULT_BASE_URL = "https://hub.docker.com"

MAX_BODY_BYTES = 64 * 1024
"""What is read of an answer: the real ones have less than 1 KiB."""

MAX_REDIRECTS = 3

MAX_RETRIES = 2
"""How often a look-up repeats requests that were not answered."""

RETRY_WAIT = 0.2
"""Seconds before the first repetition, at most; doubled for the next one."""

DEFAULT_PAUSE = timedelta(seconds=60)
"""How long to wait when Docker Hub asks to, and does not say how long: the length of its window."""

OUTAGES_BEFORE_CIRCUIT = 3
"""Look-ups in succession that Docker Hub does not answer, before it is asked less."""

SHORTEST_BREAK = 0.5
LONGEST_BREAK = 60.0

SIGN_IN_AGAIN = timedelta(minutes=1)
"""The shortest time between two sign-ins."""

SIGN_IN_AGAIN_REFUSED = timedelta(minutes=15)
"""The same after a refused one: too many of those lock the username for ten minutes (docker/hub-feedback#2201)."""

LATEST_SECONDS = 1_000_000
"""Numbers below are seconds from now, as in Retry-After; others are moments in Unix time, as in X-Retry-After."""

_DIGITS = re.compile(r"[0-9]{1,11}")
_TOKEN = re.compile(r"[!-~]{1,16384}")


class Endpoint(enum.Enum):
    """What Docker Hub is asked for."""

    ORGANIZATIONS = "orgs"
    USERS = "users"
    SIGN_IN = "auth/token"


class RequestOutcome(enum.Enum):
    """What came of one request, for figures."""

    ANSWERED = "answered"
    REDIRECTED = "redirected"
    NOT_FOUND = "not_found"
    THROTTLED = "throttled"
    REFUSED = "refused"
    FAILED = "failed"


OnRequest = Callable[[Endpoint, RequestOutcome, float], None]
"""Is told of every request when it has ended, with the seconds it took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HubCredentials:
    """A Docker Hub account to ask as.

    Attributes:
        secret: a personal access token, an organization's, or the password.
    """

    username: str
    secret: str = field(repr=False)


class _FailedError(Exception):
    """The look-up failed; the message says why."""

    outcome = RequestOutcome.FAILED

    def __init__(self, detail: str, retry_at: datetime | None = None) -> None:
        super().__init__(detail)
        self.retry_at = retry_at


class _OutageError(_FailedError):
    """Docker Hub cannot be reached, or is out of order: the same request may be answered soon."""


class _ThrottledError(_FailedError):
    """Docker Hub asks to wait."""

    outcome = RequestOutcome.THROTTLED


class _RefusedError(_FailedError):
    """Docker Hub does not want to say: 401 or 403."""

    outcome = RequestOutcome.REFUSED

    def __init__(self, detail: str, status: int) -> None:
        super().__init__(detail)
        self.status = status


@dataclass(slots=True)
class _LookUp:
    """One look-up under way, and what was done for it."""

    namespace: str
    steps: list[str] = field(default_factory=list)
    retries: int = 0

    def path(self, endpoint: Endpoint) -> str:
        return f"/v2/{endpoint.value}/{self.namespace}/"

    def came_of(self, what: str) -> str:
        """Say what came of the last request; gives the whole sentence."""
        self.steps[-1] += f": {what}"
        return self.steps[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reply:
    """An answer that says something: a document, or another place (`location`)."""

    status: int
    outcome: RequestOutcome
    sent_at: datetime
    document: Mapping[str, object] = field(default_factory=dict)
    location: str = ""


class _Send(Protocol):
    """Makes one request of a look-up."""

    async def __call__(
        self,
        look_up: _LookUp,
        endpoint: Endpoint,
        path: str,
        *,
        token: str | None = None,
        body: Mapping[str, str] | None = None,
    ) -> _Reply:
        """The reply; raises NoTurnError and _FailedError."""
        ...


class _Circuit:
    """Keeps look-ups from a Docker Hub that does not answer, and lets one at a time try whether it does again."""

    def __init__(self, clock: Clock, random: Random) -> None:
        self._clock = clock
        self._random = random
        self._outages = 0
        self._again_at = datetime.min.replace(tzinfo=UTC)
        self._is_trying = False

    def check(self) -> None:
        """Raise _FailedError if Docker Hub is not to be asked now."""
        if not self._is_open:
            return
        # A clock that was set back must not make the break longer than any may be.
        if timedelta() < self._again_at - self._clock() <= timedelta(seconds=LONGEST_BREAK):
            again_at = f"{self._again_at:%Y-%m-%dT%H:%M:%SZ}"
            raise _FailedError(f"Docker Hub does not answer, and is asked again from {again_at} on", self._again_at)
        if self._is_trying:
            raise _FailedError("Docker Hub does not answer, and another look-up tries whether it does again")

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Around what asks Docker Hub; raises _FailedError if it is not to be asked now."""
        self.check()
        is_trial = self._is_open
        self._is_trying |= is_trial
        try:
            yield
        except _OutageError:
            self._count()
            raise
        except _FailedError:
            self._close()
            raise
        else:
            self._close()
        finally:
            if is_trial:
                self._is_trying = False

    @property
    def _is_open(self) -> bool:
        return self._outages >= OUTAGES_BEFORE_CIRCUIT

    def _count(self) -> None:
        self._outages += 1
        if not self._is_open:
            return
        if self._outages == OUTAGES_BEFORE_CIRCUIT:
            log.warning("docker hub does not answer, and is asked less")
        longest = min(LONGEST_BREAK, 2.0 ** min(self._outages, 10))
        seconds = max(SHORTEST_BREAK, self._random.uniform(0, longest))
        self._again_at = self._clock() + timedelta(seconds=seconds)

    def _close(self) -> None:
        if self._is_open:
            log.info("docker hub answers again")
        self._outages = 0


class _Session:
    """The sign-in, one for all look-ups. Where there is none they ask as anybody.

    POST /v2/auth/token gives an access token for ten minutes (Docker Hub API reference, "Create access token").
    """

    def __init__(self, credentials: HubCredentials, clock: Clock, send: _Send) -> None:
        self._credentials = credentials
        self._clock = clock
        self._send = send
        self._token: str | None = None
        self._again_at = datetime.min.replace(tzinfo=UTC)
        self._lock = asyncio.Lock()

    async def token(self, look_up: _LookUp, *, instead_of: str | None = None) -> str | None:
        """The access token, or None; another one than `instead_of`, which has expired."""
        async with self._lock:
            if self._token == instead_of:
                self._token = None
            if self._token is None and self._clock() >= self._again_at:
                # Set before the request, so that look-ups that are given up meanwhile do not repeat it.
                self._again_at = self._clock() + SIGN_IN_AGAIN
                self._token = await self._sign_in(look_up)
            return self._token

    async def _sign_in(self, look_up: _LookUp) -> str | None:
        username = self._credentials.username
        body = {"identifier": username, "secret": self._credentials.secret}
        try:
            reply = await self._send(look_up, Endpoint.SIGN_IN, "/v2/auth/token", body=body)
        except _RefusedError as error:
            self._again_at = self._clock() + SIGN_IN_AGAIN_REFUSED
            log.error("docker hub refuses the sign-in, and is asked as anybody", username=username, status=error.status)
            return None
        except _ThrottledError:
            raise
        except _FailedError as error:
            log.warning("docker hub: no sign-in, it is asked as anybody", username=username, problem=str(error))
            return None
        token = reply.document.get("access_token")
        look_up.came_of(str(reply.status))
        # What is no header's value would be quoted by the error that it leads to.
        if isinstance(token, str) and _TOKEN.fullmatch(token):
            return token
        log.warning("docker hub: a sign-in without a token, it is asked as anybody", username=username)
        return None


class DockerHubSource:
    """Implements `CategorySource` over Docker Hub's HTTP API.

    Args:
        base_url: where Docker Hub is, or a double of it.
        budget: how often it may be asked; what Docker Hub says of its limit is told to it.
        random: spreads repetitions.
        timeout: seconds for one request, from connecting to the end of the answer.
        proxy: address of a proxy; None leaves it to HTTPS_PROXY and NO_PROXY in the environment.
        credentials: whom to ask as; None asks as anybody.
        sleep: waits for some seconds.
        monotonic: gives seconds that only grow.

    Raises:
        ValueError: credentials would be sent without TLS to another machine.
    """

    name = "docker-hub"

    def __init__(
        self,
        *,
        budget: RequestBudget,
        clock: Clock,
        base_url: str = DEFAULT_BASE_URL,
        random: Random,
        timeout: float = 5.0,
        proxy: str | None = None,
        credentials: HubCredentials | None = None,
        on_request: OnRequest | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._base_url = str(httpx.URL(base_url)).rstrip("/")
        if credentials is not None and not _is_private(httpx.URL(base_url)):
            raise ValueError("the secret of the Docker Hub account would be sent without TLS; write https://")
        self._budget = budget
        self._clock = clock
        self._random = random
        self._timeout = timeout
        self._on_request = on_request
        self._sleep = sleep
        self._monotonic = monotonic
        self._exchanges: set[asyncio.Task[_Reply]] = set()
        self._circuit = _Circuit(clock, random)
        self._session = None if credentials is None else _Session(credentials, clock, self._send)
        self._client = httpx.AsyncClient(
            proxy=proxy,
            headers={
                "User-Agent": f"pullgate/{metadata.version('pullgate')}",
                "Accept": "application/json",
                "Accept-Encoding": "identity",
            },
            timeout=None,  # noqa: S113 - time is limited for a request as a whole
            # Look-ups are limited where they start.
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=8),
        )

    @property
    def identity(self) -> str:
        """This Docker Hub, or the double of it."""
        return f"{self.name} {self._base_url}"

    async def close(self) -> None:
        """Give up what is being asked, look-ups under way included, and close the connections."""
        for task in self._exchanges:
            task.cancel()
        await asyncio.gather(*self._exchanges, return_exceptions=True)
        await self._client.aclose()

    async def look_up(self, namespace: str, asked_by: AskedBy) -> SourceAnswer:
        """What Docker Hub says of the namespace now; failures are answers, and nothing is raised. May be cancelled."""
        look_up = _LookUp(namespace)
        try:
            answer = await self._look_up(look_up, asked_by)
        except NoTurnError as error:
            answer = _failed(f"Docker Hub {error}", error.retry_at)
        except _FailedError as error:
            answer = _failed(str(error), error.retry_at)
        except Exception as error:
            log.error("docker hub: a look-up broke", namespace=namespace, exc_info=error)
            answer = _failed("an error of pullgate's own, which is in its log")
        return replace(answer, steps=tuple(look_up.steps))

    async def _look_up(self, look_up: _LookUp, asked_by: AskedBy) -> SourceAnswer:
        try:
            namespace_name(look_up.namespace)
        except ValueError as error:
            raise _FailedError(f"the name {error}") from error
        self._circuit.check()
        await self._budget.turn(asked_by)
        with self._circuit.attempt():
            answer = await self._ask(look_up, Endpoint.ORGANIZATIONS)
            if answer is None:
                answer = await self._ask(look_up, Endpoint.USERS)
        if answer is None:
            return SourceAnswer(outcome=Outcome.ABSENT, detail="Docker Hub knows no such namespace")
        return answer

    async def _ask(self, look_up: _LookUp, endpoint: Endpoint) -> SourceAnswer | None:
        """What an endpoint says, or the other one that it points to; None where it does not know the namespace."""
        asked, path = endpoint, look_up.path(endpoint)
        for _ in range(1 + MAX_REDIRECTS):
            reply = await self._get(look_up, endpoint, path)
            if reply.outcome is RequestOutcome.REDIRECTED:
                endpoint, path = self._followed(look_up, path, reply)
            elif reply.outcome is RequestOutcome.ANSWERED:
                return _read(look_up, endpoint, reply)
            elif endpoint is asked:
                look_up.came_of("404")
                return None
            else:
                raise _FailedError(look_up.came_of("404, where Docker Hub itself pointed to"))
        raise _FailedError(f"Docker Hub redirects more than {MAX_REDIRECTS} times")

    def _followed(self, look_up: _LookUp, path: str, reply: _Reply) -> tuple[Endpoint, str]:
        target = str(httpx.URL(self._base_url + path).join(reply.location))
        for endpoint in (Endpoint.ORGANIZATIONS, Endpoint.USERS):
            if target.removesuffix("/") == self._base_url + look_up.path(endpoint).removesuffix("/"):
                path = target.removeprefix(self._base_url)
                look_up.came_of(f"{reply.status}, to {path}")
                return endpoint, path
        raise _FailedError(look_up.came_of(f"{reply.status}, to {shown(target)}, which is not followed"))

    async def _get(self, look_up: _LookUp, endpoint: Endpoint, path: str) -> _Reply:
        """The reply to a GET, with repetitions: nothing changes by them."""
        while True:
            try:
                return await self._get_once(look_up, endpoint, path)
            except _OutageError:
                if look_up.retries == MAX_RETRIES:
                    raise
            # Full jitter: clients that failed together do not come back together.
            await self._sleep(self._random.uniform(0, RETRY_WAIT * 2**look_up.retries))
            look_up.retries += 1

    async def _get_once(self, look_up: _LookUp, endpoint: Endpoint, path: str) -> _Reply:
        if self._session is None:
            return await self._send(look_up, endpoint, path)
        token = await self._session.token(look_up)
        try:
            return await self._send(look_up, endpoint, path, token=token)
        except _RefusedError as error:
            if token is None or error.status != HTTPStatus.UNAUTHORIZED:
                raise
        token = await self._session.token(look_up, instead_of=token)
        return await self._send(look_up, endpoint, path, token=token)

    async def _send(
        self,
        look_up: _LookUp,
        endpoint: Endpoint,
        path: str,
        *,
        token: str | None = None,
        body: Mapping[str, str] | None = None,
    ) -> _Reply:
        """One request, a POST if it has a body, within the budget.

        A failure is said in the look-up's steps, a reply is left to whoever reads it.
        """
        if look_up.steps:  # the first request is what the look-up had its turn for
            self._budget.spend()
        # A request that is cancelled as it begins would stay in the pool for good (encode/httpcore#1093). So look-ups
        # are cancelled around their requests, which end by themselves.
        exchange = asyncio.ensure_future(self._exchange(look_up, endpoint, path, token, body))
        self._exchanges.add(exchange)
        exchange.add_done_callback(self._exchanges.discard)
        return await asyncio.shield(exchange)

    async def _exchange(
        self, look_up: _LookUp, endpoint: Endpoint, path: str, token: str | None, body: Mapping[str, str] | None
    ) -> _Reply:
        method = "GET" if body is None else "POST"
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        look_up.steps.append(f"{method} {path}")
        outcome, sent_at, began = RequestOutcome.FAILED, self._clock(), self._monotonic()
        request = self._client.stream(method, self._base_url + path, json=body, headers=headers)
        try:
            async with asyncio.timeout(self._timeout), request as response:
                reply = await self._receive(look_up, endpoint, response, sent_at)
            outcome = reply.outcome
        except TimeoutError as error:
            raise _OutageError(look_up.came_of(f"no answer within {self._timeout:g} s")) from error
        except httpx.TransportError as error:
            what = (
                "no connection" if isinstance(error, httpx.ConnectError | httpx.ProxyError) else "the connection broke"
            )
            reason = shown(str(error) or type(error).__name__)
            raise _OutageError(look_up.came_of(f"{what}, {reason}")) from error
        except _FailedError as error:
            outcome = error.outcome
            raise
        finally:
            if self._on_request is not None:
                self._on_request(endpoint, outcome, self._monotonic() - began)
        return reply

    async def _receive(
        self, look_up: _LookUp, endpoint: Endpoint, response: httpx.Response, sent_at: datetime
    ) -> _Reply:
        status, headers = response.status_code, response.headers
        self._take_in_limits(headers)
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            look_up.came_of("429")
            until = self._pause(headers)
            raise _ThrottledError(f"Docker Hub asks to wait until {until:%Y-%m-%dT%H:%M:%SZ}", until)
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise _OutageError(look_up.came_of(str(status)))
        if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            # Nothing is repeated that was said about a secret.
            words = "" if endpoint is Endpoint.SIGN_IN else f", {await _words(response)}"
            raise _RefusedError(look_up.came_of(f"{status}{words}"), status)
        try:
            if response.has_redirect_location:
                await _body(response)  # to its end, so that the connection can be used again
                location = headers["Location"]
                return _Reply(status=status, outcome=RequestOutcome.REDIRECTED, sent_at=sent_at, location=location)
            if status in _OUTCOMES:
                document = await _document(response)
                return _Reply(status=status, outcome=_OUTCOMES[status], sent_at=sent_at, document=document)
        except ValueError as error:
            raise _FailedError(look_up.came_of(f"{status}, {error}")) from error
        raise _FailedError(look_up.came_of(str(status)))

    def _take_in_limits(self, headers: httpx.Headers) -> None:
        """Tell the budget what every answer says of it (Docker Hub API reference, "Rate limiting")."""
        remaining = headers.get("X-RateLimit-Remaining", "")
        if _DIGITS.fullmatch(remaining):
            self._budget.observe(int(remaining), _moment(headers, "X-RateLimit-Reset", self._clock()))

    def _pause(self, headers: httpx.Headers) -> datetime:
        """Pause as long as the answer asks to; gives the end."""
        now = self._clock()
        asked = (_moment(headers, name, now) for name in ("X-Retry-After", "Retry-After", "X-RateLimit-Reset"))
        until = next((moment for moment in asked if moment is not None and moment > now), now + DEFAULT_PAUSE)
        self._budget.pause_until(until)
        return self._budget.paused_until or until


_OUTCOMES: Mapping[int, RequestOutcome] = {
    HTTPStatus.OK: RequestOutcome.ANSWERED,
    HTTPStatus.NOT_FOUND: RequestOutcome.NOT_FOUND,
}


def _failed(detail: str, retry_at: datetime | None = None) -> SourceAnswer:
    return SourceAnswer(outcome=Outcome.FAILED, detail=detail, retry_at=retry_at)


def _is_private(url: httpx.URL) -> bool:
    """Whether nobody on the way reads what is sent there."""
    return url.scheme == "https" or is_local(f"{url.host}:{url.port or 80}")


def _moment(headers: httpx.Headers, name: str, now: datetime) -> datetime | None:
    """The moment in a header: in seconds from now, in Unix time, or as a date; None where there is none."""
    text = headers.get(name, "")
    if _DIGITS.fullmatch(text):
        number = int(text)
        return now + timedelta(seconds=number) if number < LATEST_SECONDS else datetime.fromtimestamp(number, UTC)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


async def _body(response: httpx.Response) -> bytes:
    """All of the body; raises ValueError if it is long."""
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise ValueError(f"more than {MAX_BODY_BYTES} bytes")
    return bytes(body)


async def _document(response: httpx.Response) -> Mapping[str, object]:
    """The JSON object of an answer; raises ValueError saying what there is instead."""
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding.lower() != "identity":
        raise ValueError(f"compressed as {shown(encoding)}, which was not asked for")
    kind = response.headers.get("Content-Type", "")
    if kind.partition(";")[0].strip().lower() != "application/json":
        raise ValueError(f"{shown(kind)} in place of application/json")
    body = await _body(response)
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise ValueError("a body that is not JSON") from None
    if not isinstance(document, dict):
        raise ValueError("JSON that is no object")  # noqa: TRY004 - of what was read
    return document


async def _words(response: httpx.Response) -> str:
    """What a refusal says of itself."""
    try:
        document = await _document(response)
    except ValueError as error:
        return f"{error}, as clients get that are taken for robots"
    words = document.get("message", document.get("detail"))
    return shown(words) if isinstance(words, str) else "without a reason"


def _read(look_up: _LookUp, endpoint: Endpoint, reply: _Reply) -> SourceAnswer:
    """What an answer says; raises _FailedError if it is not wholly what it should be."""
    try:
        answer, what = _meaning(look_up.namespace, endpoint, reply)
    except ValueError as error:
        raise _FailedError(look_up.came_of(f"200, {error}")) from error
    look_up.came_of(f"200, {what}")
    return answer


def _meaning(namespace: str, endpoint: Endpoint, reply: _Reply) -> tuple[SourceAnswer, str]:
    """What a document means, and in words; raises ValueError saying what is wrong with it."""
    document = reply.document
    of_users = endpoint is Endpoint.USERS
    kind = document.get("type", "User" if of_users else "Organization")
    is_user = of_users and kind == "User"
    if not is_user and kind != "Organization":
        raise ValueError(f"of type {shown(str(kind))}")
    name = document.get("username" if is_user or (of_users and "username" in document) else "orgname")
    if not isinstance(name, str) or name.casefold() != namespace.casefold():
        raise ValueError(f"of another namespace, {shown(str(name))}")
    if is_user:
        return _known(reply, "a user's namespace", Category.COMMUNITY)
    if "badge" not in document:
        raise ValueError("without a badge, and without saying that there is none")
    match document["badge"]:
        case "verified_publisher" as badge:
            return _known(reply, f"badge {badge}", Category.VERIFIED_PUBLISHER)
        case "open_source" as badge:
            return _known(reply, f"badge {badge}", Category.COMMUNITY, CommunityClass.SPONSORED_OPEN_SOURCE)
        case "" | "none" | None:
            return _known(reply, "an organization without a badge", Category.COMMUNITY)
        case str() as badge:
            detail = f"the badge {shown(badge)} is not known to this version"
            return SourceAnswer(outcome=Outcome.ABSENT, detail=detail), f"badge {shown(badge)}"
        case _:
            raise ValueError("with a badge that is no text")


def _known(
    reply: _Reply, detail: str, category: Category, community_class: CommunityClass | None = None
) -> tuple[SourceAnswer, str]:
    evidence = CategoryEvidence(
        category=category,
        community_class=community_class,
        source=DockerHubSource.name,
        detail=detail,
        checked_at=reply.sent_at,
    )
    return SourceAnswer(outcome=Outcome.KNOWN, evidence=evidence), detail
