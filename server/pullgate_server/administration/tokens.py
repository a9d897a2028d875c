"""Tokens: made, listed, revoked, rotated. A secret is shown once, when it is made."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog

from pullgate_policy.access_token import AccessToken, CallerRole
from pullgate_policy.caller import Caller
from pullgate_policy.errors import FieldInvalidError, shown
from pullgate_policy.members import user_name
from pullgate_policy.names import organization_name
from pullgate_server.administration.authoring import WriteCall
from pullgate_server.administration.paging import page_size
from pullgate_server.authorization import scope
from pullgate_server.clock import Clock
from pullgate_server.errors import (
    LockedOutError,
    RetryableError,
    StoreUnavailableError,
    TokenAlreadyShownError,
    TokenNotFoundError,
)
from pullgate_server.snapshot import SnapshotKeeper
from pullgate_server.stores.port import Store, StoredToken
from pullgate_server.token_secrets import SecretHasher, new_secret, new_token_id

log = structlog.get_logger()

MAX_LIFETIME = timedelta(days=3650)
AN_OPERATOR_FOR = timedelta(days=1)
"""How long another operator's token has to be valid yet for one to be revoked."""

MAX_OVERLAP = timedelta(days=30)
"""How long the secret before a rotation may go on: rotating is for ending it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedToken:
    """A token as it is asked for.

    Attributes:
        expires_in: None for never.
    """

    name: str
    role: CallerRole
    organization: str
    username: str
    may_assert_roles: bool
    expires_in: timedelta | None


class TokenAdministration:
    """Manages tokens.

    Args:
        used: the ids of tokens used since the last `note_use`; emptied there.
    """

    def __init__(
        self,
        store: Store,
        snapshots: SnapshotKeeper,
        hasher: SecretHasher,
        used: set[str],
        *,
        random_bytes: Callable[[int], bytes],
        clock: Clock,
    ) -> None:
        self._store = store
        self._snapshots = snapshots
        self._hasher = hasher
        self._used = used
        self._random_bytes = random_bytes
        self._clock = clock

    @property
    def known_as_of(self) -> datetime | None:
        """While the store is out of reach: when what is read was last known to be the newest."""
        return self._snapshots.current.known_as_of

    async def create(self, call: WriteCall, wanted: WantedToken) -> tuple[str, AccessToken]:
        """Make a token; returns its secret and what is kept.

        Raises:
            FieldInvalidError: what is asked for contradicts itself.
            TokenAlreadyShownError: the same request made it before.
        """
        _check(wanted)
        now = self._clock()
        secret = new_secret(self._random_bytes)
        token = AccessToken(
            id=new_token_id(self._random_bytes),
            name=wanted.name,
            role=wanted.role,
            organization=wanted.organization,
            username=(wanted.username or wanted.name) if wanted.role.is_person else "",
            may_assert_roles=wanted.may_assert_roles,
            created_at=now,
            created_by=call.caller.name,
            expires_at=None if wanted.expires_in is None else now + wanted.expires_in,
        )
        stored = StoredToken(token=token, secret_hash=self._hasher.hash(secret))
        write = self._store.write_token(token.id, lambda _: stored, call.authorship(now))
        written = await self._snapshots.carry_out(write, lambda: {token.id: stored})
        if written.repeated:
            raise TokenAlreadyShownError(written.event.name)
        log.info("token created", id=token.id, name=token.name, role=token.role.value, author=call.caller.name)
        return secret, token

    async def list(
        self, caller: Caller, organization: str, *, include_ended: bool, asked: int, page_token: str
    ) -> tuple[Sequence[AccessToken], str]:
        """A page of the tokens that the caller may manage, in the order of their making."""
        size, only, now = page_size(asked), scope(caller, organization), self._clock()
        tokens = [token for token in await self._all() if only is None or token.organization == only]
        if page_token:
            places = [index for index, token in enumerate(tokens) if token.id == page_token]
            if not places:
                raise FieldInvalidError("page_token", "is none that an earlier answer gave; begin anew")
            tokens = tokens[places[0] + 1 :]
        wanted = [token for token in tokens if include_ended or token.is_valid(now)]
        page = wanted[:size]
        return page, page[-1].id if len(wanted) > size else ""

    async def revoke(self, call: WriteCall, token_id: str) -> AccessToken:
        """End a token; one that has been revoked stays so. Raises TokenNotFoundError and LockedOutError."""
        stored = await self._own(call.caller, token_id)
        if stored.token.revoked_at is not None:
            return stored.token
        now = self._clock()
        self._leave_an_operator(token_id, now)

        def revoked(current: StoredToken) -> StoredToken:
            return replace(current, token=replace(current.token, revoked_at=current.token.revoked_at or now))

        token, _ = await self._change(call, stored, revoked, now)
        log.info("token revoked", id=token_id, name=token.name, author=call.caller.name)
        return token

    async def rotate(
        self, call: WriteCall, token_id: str, *, overlap: timedelta, expires_in: timedelta | None
    ) -> tuple[str, AccessToken]:
        """Give a token a new secret; raises TokenNotFoundError, FieldInvalidError and TokenAlreadyShownError."""
        if not timedelta(0) <= overlap <= MAX_OVERLAP:
            raise FieldInvalidError("overlap", f"is not between 0 and {MAX_OVERLAP.days} days")
        _check_lifetime(expires_in)
        stored = await self._own(call.caller, token_id)
        now, secret = self._clock(), new_secret(self._random_bytes)
        if expires_in is None and not stored.token.is_valid(now):
            raise FieldInvalidError("expires_in", "is needed: the token has expired")

        def rotated(current: StoredToken) -> StoredToken:
            token = current.token
            if token.revoked_at is not None:
                raise FieldInvalidError("id", "names a token that was revoked; make a new one")
            if expires_in is not None:
                token = replace(token, expires_at=now + expires_in)
            return StoredToken(
                token=token,
                secret_hash=self._hasher.hash(secret),
                former_hash=current.secret_hash,
                former_until=now + overlap,
            )

        token, repeated = await self._change(call, stored, rotated, now)
        if repeated:
            raise TokenAlreadyShownError(token_id)
        log.info("token rotated", id=token_id, name=token.name, author=call.caller.name)
        return secret, token

    async def note_use(self) -> None:
        """Write down which tokens were used since the last time, to the minute."""
        tokens = self._snapshots.current.tokens
        used = {token_id for token_id in self._used if token_id in tokens}
        self._used.clear()
        if not used:
            return
        moment = self._clock().replace(second=0, microsecond=0)
        try:
            await self._store.tokens_used(dict.fromkeys(used, moment))
        except RetryableError:
            self._used.update(used)

    async def _change(
        self, call: WriteCall, known: StoredToken, change: Callable[[StoredToken], StoredToken], now: datetime
    ) -> tuple[AccessToken, bool]:
        """Write a token that is there; returns it as it is since, and whether that had been done before."""
        stored = known

        def changed(current: StoredToken | None) -> StoredToken:
            nonlocal stored
            stored = change(current or known)
            return stored

        write = self._store.write_token(known.token.id, changed, call.authorship(now))
        written = await self._snapshots.carry_out(write, lambda: {known.token.id: stored})
        return self._snapshots.current.tokens.get(known.token.id, stored).token, written.repeated

    async def _all(self) -> Sequence[AccessToken]:
        """All tokens, from the store because it alone knows of their use on other servers, else from the snapshot."""
        await self.note_use()
        try:
            stored = await self._store.tokens()
        except StoreUnavailableError:
            known: Mapping[str, StoredToken] = self._snapshots.current.tokens
            stored = sorted(known.values(), key=lambda item: (item.token.created_at, item.token.id))
        return [item.token for item in stored]

    async def _own(self, caller: Caller, token_id: str) -> StoredToken:
        if token_id not in self._snapshots.current.tokens:
            # Another server may have made it a moment ago.
            await self._snapshots.look()
        stored = self._snapshots.current.tokens.get(token_id)
        only = scope(caller, "")
        if stored is None or (only is not None and stored.token.organization != only):
            raise TokenNotFoundError(token_id)
        return stored

    def _leave_an_operator(self, token_id: str, now: datetime) -> None:
        """Refuse to revoke the last operator's token.

        Two at the same moment may pass each other by; then the next start of a server makes a new one.
        """
        tokens = {item.token.id: item.token for item in self._snapshots.current.tokens.values()}
        operators = {token.id for token in tokens.values() if token.role is CallerRole.OPERATOR}
        if token_id in operators and not any(
            tokens[other].is_valid(now + AN_OPERATOR_FOR) for other in operators - {token_id}
        ):
            raise LockedOutError(
                f"{token_id} is the last token of an operator that is valid for more than a day; make another one first"
            )


def _check(wanted: WantedToken) -> None:
    for path, text in (("name", wanted.name), ("username", wanted.username)):
        if path == "username" and not text:
            continue
        try:
            user_name(text)
        except ValueError as error:
            raise FieldInvalidError(
                path, f"{shown(text)} {error}".replace("is not a username", "cannot be kept")
            ) from error
    if wanted.role is CallerRole.OPERATOR:
        if wanted.organization:
            raise FieldInvalidError("organization", "is set, and operators belong to none")
    else:
        try:
            organization_name(wanted.organization)
        except ValueError as error:
            raise FieldInvalidError("organization", f"{shown(wanted.organization)} {error}") from error
    if wanted.username and not wanted.role.is_person:
        raise FieldInvalidError("username", f"is set, and a token with the role {wanted.role.value} is no person's")
    if wanted.may_assert_roles and wanted.role is not CallerRole.ENFORCER:
        raise FieldInvalidError("may_assert_roles", "is for tokens with the role enforcer")
    _check_lifetime(wanted.expires_in)


def _check_lifetime(expires_in: timedelta | None) -> None:
    if expires_in is not None and not timedelta(0) < expires_in <= MAX_LIFETIME:
        raise FieldInvalidError("expires_in", f"is not above 0 and at most {MAX_LIFETIME.days} days")
