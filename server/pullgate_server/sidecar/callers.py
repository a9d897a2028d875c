"""Who may call a sidecar, and as whom it decides."""

import hmac
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import timedelta

from pullgate_policy.caller import Caller, CallerRole
from pullgate_policy.conclusion import NEVER
from pullgate_server.clock import Clock
from pullgate_server.errors import KnowledgeTooOldError, TokenInvalidError, TokenMissingError
from pullgate_server.sidecar.upstream import Upstream

PERSON_HOLDS = timedelta(seconds=60)
"""For how long an answer may rest on whose token one is: the service alone hears when it is revoked."""

_SCHEME = "bearer "

_WHILE_NOTHING_IS_KNOWN = Caller(id="", name="sidecar", role=CallerRole.OPERATOR)
"""Who decides where everything is allowed because nothing is known, not even who the sidecar is: for anybody."""


class SidecarCallers:
    """Implements `Callers` and `Persons`: everybody who may call decides as the sidecar itself may.

    Args:
        own_token: the token that the sidecar has for the service, as it is now, which callers have to present; raises
            OSError where it cannot be read. None where whoever can connect may call.

    Attributes:
        used: the ids of callers and of persons whose tokens were looked at. Nobody asks a sidecar for them.
    """

    def __init__(
        self,
        upstream: Upstream,
        own_token: Callable[[], str] | None,
        clock: Clock,
    ) -> None:
        self._upstream = upstream
        self._own_token = own_token
        self._clock = clock
        self._token = "" if own_token is None else own_token()
        self._on_change: list[Callable[[], None]] = []
        self.used: set[str] = set()

    @property
    def reads_certificates(self) -> bool:
        """Never."""
        return False

    def call_on_change(self, callback: Callable[[], None]) -> None:
        """Call `callback` when another token has to be presented than before."""
        self._on_change.append(callback)

    def follow_token(self) -> None:
        """Read the own token anew. One that cannot be read stays as it was."""
        if self._own_token is None:
            return
        try:
            token = self._own_token()
        except OSError:
            return
        if token and token != self._token:
            self._token = token
            for callback in self._on_change:
                callback()

    def authenticate(self, authorization: str | bytes | None) -> Caller:
        """The sidecar's own caller.

        Raises:
            TokenMissingError, TokenInvalidError: the sidecar's own token has to be presented, and is not.
            KnowledgeTooOldError: who the sidecar is has not been said yet.
        """
        if self._own_token is not None:
            self._check(authorization)
        knowledge = self._upstream.knowledge
        if knowledge.caller is None:
            if not knowledge.fails_open:
                raise KnowledgeTooOldError(knowledge.refusal or knowledge.problem)
            return _WHILE_NOTHING_IS_KNOWN
        # When the token expires the service says so; until then the age of what is known counts.
        return replace(knowledge.caller, expires_at=None)

    async def authenticate_slowly(self, authorization: str) -> Caller:
        """As `authenticate`, which never takes long."""
        return self.authenticate(authorization)

    def caller_of_certificate(self, names: Iterable[str]) -> Caller:  # noqa: ARG002 - the port's
        """Nobody is known by a certificate."""
        raise TokenMissingError

    async def caller_of_slowly(self, secret: str) -> Caller:
        """The person with this token; raises KnowledgeTooOldError, and PullgateError where it is nobody's."""
        try:
            person = await self._upstream.caller_of(secret)
        except ConnectionError as error:
            raise KnowledgeTooOldError(f"whose token the identity has is not known here ({error})") from error
        return replace(person, expires_at=min(person.expires_at or NEVER, self._clock() + PERSON_HOLDS))

    def _check(self, authorization: str | bytes | None) -> None:
        if not isinstance(authorization, str) or authorization[: len(_SCHEME)].lower() != _SCHEME:
            raise TokenMissingError
        presented = authorization[len(_SCHEME) :].strip().encode()
        if self._is_own(presented):
            return
        # Perhaps it has just been replaced.
        self.follow_token()
        if not self._is_own(presented):
            raise TokenInvalidError("is not the one that this sidecar itself has for its service")

    def _is_own(self, presented: bytes) -> bool:
        return hmac.compare_digest(presented, self._token.encode())
