"""The sign-in to Docker Hub: whom to ask as, and the access token."""

import asyncio
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import structlog

from pullgate_server.categories.docker_hub.requests import Endpoint, FailedError, LookUp, RefusedError, ThrottledError
from pullgate_server.categories.docker_hub.sending import Sender
from pullgate_server.clock import Clock

log = structlog.get_logger()

SIGN_IN_AGAIN = timedelta(minutes=1)
"""The shortest time between two sign-ins."""

SIGN_IN_AGAIN_REFUSED = timedelta(minutes=15)
"""The same after a refused one: too many of those lock the username for ten minutes (docker/hub-feedback#2201)."""

_TOKEN = re.compile(r"[!-~]{1,16384}")


@dataclass(frozen=True, slots=True, kw_only=True)
class HubCredentials:
    """A Docker Hub account to ask as.

    Attributes:
        secret: a personal access token, an organization's, or the password.
    """

    username: str
    secret: str = field(repr=False)


class Session:
    """The sign-in, one for all look-ups. Where there is none they ask as anybody.

    POST /v2/auth/token gives an access token for ten minutes (Docker Hub API reference, "Create access token").
    """

    def __init__(self, credentials: HubCredentials, clock: Clock, sender: Sender) -> None:
        self._credentials = credentials
        self._clock = clock
        self._sender = sender
        self._token: str | None = None
        self._again_at = datetime.min.replace(tzinfo=UTC)
        self._lock = asyncio.Lock()
        self._is_forbidden_told = False

    async def token(self, look_up: LookUp, *, instead_of: str | None = None) -> str | None:
        """The access token, or None; another one than `instead_of`, which has expired.

        Raises NoTurnError and ThrottledError; a sign-in that fails in another way gives None.
        """
        async with self._lock:
            if self._token == instead_of:
                self._token = None
            if self._token is None and self._clock() >= self._again_at:
                # Set before the request, so that look-ups that are given up meanwhile do not repeat it.
                self._again_at = self._clock() + SIGN_IN_AGAIN
                self._token = await self._sign_in(look_up)
            return self._token

    def tell_forbidden(self, problem: str) -> None:
        """Log once that the account may not ask for what anybody may."""
        if not self._is_forbidden_told:
            self._is_forbidden_told = True
            log.warning(
                "docker hub forbids the account what is then asked as anybody",
                username=self._credentials.username,
                problem=problem,
            )

    async def _sign_in(self, look_up: LookUp) -> str | None:
        username = self._credentials.username
        body = {"identifier": username, "secret": self._credentials.secret}
        try:
            reply = await self._sender.send(look_up, Endpoint.SIGN_IN, "/v2/auth/token", body=body)
        except RefusedError as error:
            self._again_at = self._clock() + SIGN_IN_AGAIN_REFUSED
            log.error("docker hub refuses the sign-in, and is asked as anybody", username=username, status=error.status)
            return None
        except ThrottledError:
            raise
        except FailedError as error:
            log.warning("docker hub: no sign-in, it is asked as anybody", username=username, problem=str(error))
            return None
        token = reply.document.get("access_token")
        look_up.came_of(str(reply.status))
        # What is no header's value would be quoted by the error that it leads to.
        if isinstance(token, str) and _TOKEN.fullmatch(token):
            return token
        log.warning("docker hub: a sign-in without a token, it is asked as anybody", username=username)
        return None
