"""Who asks: authentication of callers by bearer token.

A token is 256 random bits, so a plain hash of it is as good as a slow one: there is nothing to guess. Only the hash
is stored, and a token is shown once, when it is made.
"""

import enum
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from pullgate_server.errors import TokenInvalidError, TokenMissingError

TOKEN_PREFIX = "pullgate_"
"""Makes a leaked token easy to find for secret scanners."""

_SCHEME = "bearer "


class CallerRole(enum.Enum):
    """What a caller may do."""

    OPERATOR = "operator"
    """Everything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """An authenticated API client.

    Attributes:
        id: tells callers apart, also those of one name.
        name: for people; the author of what the caller writes.
    """

    id: str
    name: str
    role: CallerRole


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredToken:
    """What is kept of a token.

    Attributes:
        token_hash: SHA-256 of the token, in hexadecimal.
    """

    token_hash: str
    caller: Caller
    created_at: datetime


def new_token(random_bytes: Callable[[int], bytes]) -> str:
    """A token that nobody can guess."""
    return TOKEN_PREFIX + random_bytes(32).hex()


def token_hash(token: str) -> str:
    """What is stored and looked up instead of the token."""
    return hashlib.sha256(token.encode()).hexdigest()


class Authenticator:
    """Knows callers by the metadata of their calls. Immutable; a change of the tokens makes a new one."""

    def __init__(self, tokens: Iterable[StoredToken]) -> None:
        self._callers = {token.token_hash: token.caller for token in tokens}

    def authenticate(self, authorization: str | bytes | None) -> Caller:
        """The caller with this `authorization` metadata.

        Raises:
            TokenMissingError: there is none, or it has another scheme than Bearer.
            TokenInvalidError: the token is not known.
        """
        if not isinstance(authorization, str) or authorization[: len(_SCHEME)].lower() != _SCHEME:
            raise TokenMissingError
        caller = self._callers.get(token_hash(authorization[len(_SCHEME) :].strip()))
        if caller is None:
            raise TokenInvalidError
        return caller
