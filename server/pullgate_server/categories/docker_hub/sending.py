"""Sending requests to Docker Hub: within the budget, and what the answers say of its limit."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from http import HTTPStatus
from importlib import metadata

import httpx

from pullgate_policy.errors import shown
from pullgate_server.categories.docker_hub.answers import body_of, document_of, moment_in, number_in, words_of
from pullgate_server.categories.docker_hub.requests import (
    Endpoint,
    FailedError,
    LookUp,
    OnRequest,
    OutageError,
    RefusedError,
    Reply,
    RequestOutcome,
    ThrottledError,
)
from pullgate_server.categories.request_budget import RequestBudget
from pullgate_server.clock import Clock

DEFAULT_PAUSE = timedelta(seconds=60)
"""How long to wait when Docker Hub asks to, and does not say how long: the length of its window."""

_OUTCOMES: Mapping[int, RequestOutcome] = {
    HTTPStatus.OK: RequestOutcome.ANSWERED,
    HTTPStatus.NOT_FOUND: RequestOutcome.NOT_FOUND,
}


class Sender:
    """Makes the requests of look-ups, and tells the budget what Docker Hub says of its limit.

    Args:
        base_url: where Docker Hub is, without a slash at the end.
        timeout: seconds for one request, from connecting to the end of the answer.
        proxy: address of a proxy; None leaves it to HTTPS_PROXY and NO_PROXY in the environment.
        monotonic: gives seconds that only grow.
    """

    def __init__(
        self,
        *,
        base_url: str,
        budget: RequestBudget,
        clock: Clock,
        timeout: float,
        proxy: str | None,
        on_request: OnRequest | None,
        monotonic: Callable[[], float],
    ) -> None:
        self._base_url = base_url
        self._budget = budget
        self._clock = clock
        self._timeout = timeout
        self._on_request = on_request
        self._monotonic = monotonic
        self._exchanges: set[asyncio.Task[Reply]] = set()
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

    async def close(self) -> None:
        """Give up what is being asked, look-ups under way included, and close the connections."""
        for task in self._exchanges:
            task.cancel()
        await asyncio.gather(*self._exchanges, return_exceptions=True)
        await self._client.aclose()

    async def send(
        self,
        look_up: LookUp,
        endpoint: Endpoint,
        path: str,
        *,
        token: str | None = None,
        body: Mapping[str, str] | None = None,
    ) -> Reply:
        """One request, a POST if it has a body, from the look-up's turn.

        A failure is said in the look-up's steps, a reply is left to whoever reads it. Raises NoTurnError and
        FailedError.
        """
        look_up.turn.spend()
        look_up.is_unanswered = True
        # A request that is cancelled as it begins would stay in the pool for good (encode/httpcore#1093). So look-ups
        # are cancelled around their requests, which end by themselves.
        exchange = asyncio.ensure_future(self._exchange(look_up, endpoint, path, token, body))
        self._exchanges.add(exchange)
        exchange.add_done_callback(self._exchanges.discard)
        return await asyncio.shield(exchange)

    async def _exchange(
        self, look_up: LookUp, endpoint: Endpoint, path: str, token: str | None, body: Mapping[str, str] | None
    ) -> Reply:
        method = "GET" if body is None else "POST"
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        look_up.steps.append(f"{method} {path}")
        outcome, sent_at, began = RequestOutcome.FAILED, self._clock(), self._monotonic()
        request = self._client.stream(method, self._base_url + path, json=body, headers=headers)
        try:
            async with asyncio.timeout(self._timeout), request as response:
                reply = await self._receive(look_up, endpoint, response, sent_at)
            outcome, look_up.is_unanswered = reply.outcome, False
        except TimeoutError as error:
            raise OutageError(look_up.came_of(f"no answer within {self._timeout:g} s")) from error
        except (httpx.TransportError, httpx.InvalidURL) as error:
            # The library reads the Location of every redirect, and takes a bad one for an answer that is broken.
            if isinstance(error, httpx.InvalidURL) or isinstance(error.__context__, httpx.InvalidURL):
                look_up.is_unanswered = False
                raise FailedError(look_up.came_of(f"a redirect to what is no URL, {shown(str(error))}")) from error
            what = (
                "no connection" if isinstance(error, httpx.ConnectError | httpx.ProxyError) else "the connection broke"
            )
            reason = shown(str(error) or type(error).__name__)
            raise OutageError(look_up.came_of(f"{what}, {reason}")) from error
        except FailedError as error:
            outcome, look_up.is_unanswered = error.outcome, isinstance(error, OutageError)
            raise
        finally:
            if self._on_request is not None:
                self._on_request(endpoint, outcome, self._monotonic() - began)
        return reply

    async def _receive(self, look_up: LookUp, endpoint: Endpoint, response: httpx.Response, sent_at: datetime) -> Reply:
        status, headers = response.status_code, response.headers
        self._take_in_limits(headers)
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            look_up.came_of("429")
            until = self._pause(headers)
            raise ThrottledError(f"Docker Hub asks to wait until {until:%Y-%m-%dT%H:%M:%SZ}", until)
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise OutageError(look_up.came_of(str(status)))
        if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            # Nothing is repeated that was said about a secret.
            words = "" if endpoint is Endpoint.SIGN_IN else f", {await words_of(response)}"
            raise RefusedError(look_up.came_of(f"{status}{words}"), status)
        try:
            if response.has_redirect_location:
                await body_of(response)  # to its end, so that the connection can be used again
                location = headers["Location"]
                return Reply(status=status, outcome=RequestOutcome.REDIRECTED, sent_at=sent_at, location=location)
            if status in _OUTCOMES:
                document = await document_of(response)
                return Reply(status=status, outcome=_OUTCOMES[status], sent_at=sent_at, document=document)
        except ValueError as error:
            raise FailedError(look_up.came_of(f"{status}, {error}")) from error
        raise FailedError(look_up.came_of(str(status)))

    def _take_in_limits(self, headers: httpx.Headers) -> None:
        """Tell the budget what every answer says of it (Docker Hub API reference, "Rate limiting")."""
        remaining = number_in(headers, "X-RateLimit-Remaining")
        if remaining is not None:
            self._budget.observe(remaining, moment_in(headers, "X-RateLimit-Reset", self._clock()))

    def _pause(self, headers: httpx.Headers) -> datetime:
        """Pause as long as the answer asks to; gives the end."""
        now = self._clock()
        asked = (moment_in(headers, name, now) for name in ("X-Retry-After", "Retry-After", "X-RateLimit-Reset"))
        until = next((moment for moment in asked if moment is not None and moment > now), now + DEFAULT_PAUSE)
        self._budget.pause_until(until)
        return self._budget.paused_until or until
