"""Who asks: callers by bearer token, by the signed JWT of a configured issuer, or by client certificate."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from pullgate_policy import Role
from pullgate_policy.access_token import CallerRole
from pullgate_policy.caller import Caller, caller_of_token
from pullgate_policy.errors import RoleNotPermittedError
from pullgate_policy.members import Member
from pullgate_server.certificate_callers import CertificateCallers
from pullgate_server.clock import Clock
from pullgate_server.errors import TokenExpiredError, TokenInvalidError, TokenMissingError, TokenRevokedError
from pullgate_server.jwt_issuers import JwtIssuers
from pullgate_server.snapshot import Snapshot
from pullgate_server.stores.port import StoredToken
from pullgate_server.token_secrets import SecretHasher

_SCHEME = "bearer "

_RANK = {CallerRole.MEMBER: Role.MEMBER, CallerRole.POLICY_MANAGER: Role.POLICY_MANAGER, CallerRole.OWNER: Role.OWNER}
_BY_RANK = tuple(_RANK)
"""The roles of persons, the lesser first."""


class Authenticator:
    """Knows callers by the metadata of their calls.

    Attributes:
        used: the ids of tokens that were used since somebody emptied it.
    """

    def __init__(
        self,
        hasher: SecretHasher,
        clock: Clock,
        *,
        issuers: JwtIssuers | None = None,
        certificates: CertificateCallers | None = None,
    ) -> None:
        self._hasher = hasher
        self._clock = clock
        self._issuers = issuers
        self._certificates = certificates
        self._tokens: Mapping[str, StoredToken] = {}
        self._by_hash: dict[str, StoredToken] = {}
        self._members: Mapping[str, Mapping[str, Member]] = {}
        self.used: set[str] = set()

    @property
    def reads_certificates(self) -> bool:
        """Whether a call without a token may be known by its client certificate."""
        return self._certificates is not None

    def follow(self, snapshot: Snapshot) -> bool:
        """Take tokens and member lists from a snapshot; returns whether callers may be others than before."""
        if snapshot.tokens is self._tokens and snapshot.members is self._members:
            return False
        if snapshot.tokens is not self._tokens:
            self._by_hash = dict(_by_hash(snapshot.tokens.values()))
        self._tokens, self._members = snapshot.tokens, snapshot.members
        return True

    def authenticate(self, authorization: str | bytes | None) -> Caller | None:
        """The caller with this `authorization` metadata; None where only `authenticate_slowly` can tell.

        Raises:
            TokenMissingError: there is none, or it has another scheme than Bearer.
            TokenInvalidError: the token is not known.
            TokenExpiredError, TokenRevokedError: it was, once.
            RoleNotPermittedError: its person is not on the organization's member list.
        """
        if not isinstance(authorization, str) or authorization[: len(_SCHEME)].lower() != _SCHEME:
            raise TokenMissingError
        return self.caller_of(authorization[len(_SCHEME) :].strip())

    def caller_of(self, secret: str) -> Caller | None:
        """The caller that presents this token; raises and returns as `authenticate` does."""
        hashed = self._hasher.hash(secret)
        stored = self._by_hash.get(hashed)
        if stored is not None:
            return self._caller_of_token(stored, hashed)
        if self._issuers is None or not self._issuers.looks_like_jwt(secret):
            raise TokenInvalidError
        caller = self._issuers.verify_now(secret)
        return None if caller is None else self._at_most_as_listed(caller)

    async def authenticate_slowly(self, authorization: str) -> Caller:
        """As `authenticate`, waiting for what that takes."""
        return await self.caller_of_slowly(authorization[len(_SCHEME) :].strip())

    async def caller_of_slowly(self, secret: str) -> Caller:
        """As `caller_of`, asking the issuer for new keys if it has to."""
        caller = self.caller_of(secret)
        if caller is None:
            if self._issuers is None:
                raise TokenInvalidError
            caller = self._at_most_as_listed(await self._issuers.verify(secret))
        return caller

    def caller_of_certificate(self, names: Iterable[str]) -> Caller:
        """The caller with this client certificate; raises CertificateUnknownError, TokenMissingError."""
        if self._certificates is None:
            raise TokenMissingError
        return self._at_most_as_listed(self._certificates.caller_of(tuple(names)))

    def _caller_of_token(self, stored: StoredToken, hashed: str) -> Caller:
        now, token = self._clock(), stored.token
        if token.revoked_at is not None:
            raise TokenRevokedError
        expires_at = token.expires_at
        if hashed == stored.former_hash:
            expires_at = _earlier(expires_at, stored.former_until)
        if expires_at is not None and now >= expires_at:
            raise TokenExpiredError
        return self._at_most_as_listed(replace(caller_of_token(token), expires_at=expires_at))

    def _at_most_as_listed(self, caller: Caller) -> Caller:
        """Where the organization has a member list a person's role is at most the one it says there."""
        members = self._members.get(caller.organization)
        if members is None or not caller.role.is_person:
            return caller
        member = members.get(caller.username)
        if member is None:
            raise RoleNotPermittedError(
                f"{caller.username} is not on the member list of organization {caller.organization}"
            )
        listed = next(role for role, rank in _RANK.items() if rank is member.role)
        role = min(caller.role, listed, key=_BY_RANK.index)
        return caller if role is caller.role else replace(caller, role=role)


def _by_hash(tokens: Iterable[StoredToken]) -> Iterable[tuple[str, StoredToken]]:
    for stored in tokens:
        yield stored.secret_hash, stored
        if stored.former_hash:
            yield stored.former_hash, stored


def _earlier(first: datetime | None, second: datetime | None) -> datetime | None:
    moments = [moment for moment in (first, second) if moment is not None]
    return min(moments, default=None)
