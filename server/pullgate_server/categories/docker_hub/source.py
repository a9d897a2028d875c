"""Docker Hub's API as a category source: which addresses are asked of a namespace, and in which order.

    GET /v2/orgs/<namespace>/   an organization: "badge" is "verified_publisher", "open_source" or empty; a user's
                                namespace is redirected to the other address
    GET /v2/users/<namespace>/  a user; an organization's namespace is redirected to the first address

Clients that ask too much have been served 404 for what exists (docker/hub-feedback#2252). So a 404 never makes a
namespace community: only an answer that is about it does.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime
from http import HTTPStatus
from random import Random

import httpx
import structlog

from pullgate.local import is_local
from pullgate_policy.errors import shown
from pullgate_policy.names import namespace_name
from pullgate_server.categories.docker_hub.answers import SOURCE_NAME, answer_of
from pullgate_server.categories.docker_hub.circuit import Circuit
from pullgate_server.categories.docker_hub.requests import (
    Endpoint,
    FailedError,
    LookUp,
    OnRequest,
    OutageError,
    RefusedError,
    Reply,
    RequestOutcome,
)
from pullgate_server.categories.docker_hub.sending import Sender
from pullgate_server.categories.docker_hub.session import HubCredentials, Session
from pullgate_server.categories.port import AskedBy, Outcome, SourceAnswer
from pullgate_server.categories.request_budget import NoTurnError, RequestBudget
from pullgate_server.clock import Clock

log = structlog.get_logger()

DEFAULT_BASE_URL = "https://hub.docker.com"

MAX_REDIRECTS = 3

MAX_RETRIES = 2
"""How often a look-up repeats requests that were not answered."""

RETRY_WAIT = 0.2
"""Seconds before the first repetition, at most; doubled for the next one."""


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

    name = SOURCE_NAME

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
        self._random = random
        self._sleep = sleep
        self._circuit = Circuit(clock, random)
        self._sender = Sender(
            base_url=self._base_url,
            budget=budget,
            clock=clock,
            timeout=timeout,
            proxy=proxy,
            on_request=on_request,
            monotonic=monotonic,
        )
        self._session = None if credentials is None else Session(credentials, clock, self._sender)

    @property
    def identity(self) -> str:
        """This Docker Hub, or the double of it."""
        return f"{self.name} {self._base_url}"

    async def close(self) -> None:
        """Give up what is being asked, look-ups under way included, and close the connections."""
        await self._sender.close()

    async def look_up(self, namespace: str, asked_by: AskedBy) -> SourceAnswer:
        """What Docker Hub says of the namespace now; failures are answers, and nothing is raised. May be cancelled."""
        steps: list[str] = []
        try:
            answer = await self._look_up(namespace, asked_by, steps)
        except NoTurnError as error:
            answer = replace(_failed(f"Docker Hub {error}", error.retry_at), asked=not error.is_ours)
        except FailedError as error:
            answer = _failed(str(error), error.retry_at)
        except Exception as error:
            log.error("docker hub: a look-up broke", namespace=namespace, exc_info=error)
            answer = _failed("an error of pullgate's own, which is in its log")
        return replace(answer, steps=tuple(steps))

    async def _look_up(self, namespace: str, asked_by: AskedBy, steps: list[str]) -> SourceAnswer:
        try:
            namespace_name(namespace)
        except ValueError as error:
            raise FailedError(f"the name {error}") from error
        self._circuit.check()
        async with self._budget.turn(asked_by) as turn:
            look_up = LookUp(namespace=namespace, turn=turn, steps=steps)
            with self._circuit.attempt(look_up):
                asked_by.begin()
                answer = await self._ask(look_up, Endpoint.ORGANIZATIONS)
                if answer is None:
                    answer = await self._ask(look_up, Endpoint.USERS)
        if answer is None:
            return SourceAnswer(outcome=Outcome.ABSENT, detail="Docker Hub knows no such namespace")
        return answer

    async def _ask(self, look_up: LookUp, endpoint: Endpoint) -> SourceAnswer | None:
        """What an endpoint says, or the other one that it points to; None where it does not know the namespace."""
        asked, path = endpoint, look_up.path(endpoint)
        for _ in range(1 + MAX_REDIRECTS):
            reply = await self._get(look_up, endpoint, path)
            if reply.outcome is RequestOutcome.REDIRECTED:
                endpoint, path = self._followed(look_up, path, reply)
            elif reply.outcome is RequestOutcome.ANSWERED:
                return answer_of(look_up, endpoint, reply)
            elif endpoint is asked:
                look_up.came_of("404")
                return None
            else:
                raise FailedError(look_up.came_of("404, where Docker Hub itself pointed to"))
        raise FailedError(f"Docker Hub redirects more than {MAX_REDIRECTS} times")

    def _followed(self, look_up: LookUp, path: str, reply: Reply) -> tuple[Endpoint, str]:
        target = str(httpx.URL(self._base_url + path).join(reply.location))
        for endpoint in (Endpoint.ORGANIZATIONS, Endpoint.USERS):
            if target.removesuffix("/") == self._base_url + look_up.path(endpoint).removesuffix("/"):
                path = target.removeprefix(self._base_url)
                look_up.came_of(f"{reply.status}, to {path}")
                return endpoint, path
        raise FailedError(look_up.came_of(f"{reply.status}, to {shown(target)}, which is not followed"))

    async def _get(self, look_up: LookUp, endpoint: Endpoint, path: str) -> Reply:
        """The reply to a GET, with repetitions: nothing changes by them."""
        while True:
            try:
                return await self._get_once(look_up, endpoint, path)
            except OutageError:
                if look_up.retries == MAX_RETRIES:
                    raise
            # Full jitter: clients that failed together do not come back together.
            await self._sleep(self._random.uniform(0, RETRY_WAIT * 2**look_up.retries))
            look_up.retries += 1

    async def _get_once(self, look_up: LookUp, endpoint: Endpoint, path: str) -> Reply:
        """The reply to one GET as the account, or as anybody: where there is none, or it may not ask for this.

        An organization's access token is answered with 403 at some addresses that anybody may ask.
        """
        expired: str | None = None
        while self._session is not None and not look_up.as_anybody:
            token = await self._session.token(look_up, instead_of=expired)
            try:
                return await self._sender.send(look_up, endpoint, path, token=token)
            except RefusedError as error:
                if token is None or (error.status == HTTPStatus.UNAUTHORIZED and expired is not None):
                    raise
                if error.status == HTTPStatus.UNAUTHORIZED:
                    expired = token
                else:
                    self._session.tell_forbidden(str(error))
                    look_up.as_anybody = True
        return await self._sender.send(look_up, endpoint, path)


def _failed(detail: str, retry_at: datetime | None = None) -> SourceAnswer:
    return SourceAnswer(outcome=Outcome.FAILED, detail=detail, retry_at=retry_at)


def _is_private(url: httpx.URL) -> bool:
    """Whether nobody on the way reads what is sent there."""
    return url.scheme == "https" or is_local(f"{url.host}:{url.port or 80}")
