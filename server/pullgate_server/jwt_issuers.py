"""Callers by signed tokens (JWT, RFC 7519) of the issuers that `--jwt-issuers` trusts.

    issuers:
      - issuer: https://token.actions.githubusercontent.com
        audience: pullgate
        algorithms: [RS256]
        jwks: https://token.actions.githubusercontent.com/.well-known/jwks
        callers:
          - claims: {repository_owner: acme}
            role: enforcer
            organization: acme
            name: "{repository}"

Of an issuer's callers, the first whose claims all match holds. A claim matches if it is the text written here, or a
list with it; true and false match the texts "true" and "false". There are no patterns: a `*` that was meant for
`acme/*` and also admits `acme-evil/x` is the classic mistake here, and issuers have claims for what it is wanted for.

Names made of claims are as good as the claims: a username is best made of one that people cannot change themselves.

The document is read at start. Keys are read again, from files when they change, and from addresses every `refresh`
seconds, and when a token names a key that is not known.
"""

import asyncio
import dataclasses
import enum
import hashlib
import json
import re
import time
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.client import HTTPException
from pathlib import Path
from typing import Any, Protocol
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

import jwt
import structlog
from cryptography.exceptions import UnsupportedAlgorithm

from pullgate.local import is_local
from pullgate_policy.caller import Caller
from pullgate_policy.document import ListOf, MapOf, Plain, Record, SetOf, Text, describe, written
from pullgate_policy.errors import Problem, shown
from pullgate_server.caller_rules import CallerGrant, caller_name, read_rules
from pullgate_server.clock import Clock
from pullgate_server.errors import IssuerUnavailableError, StartupError, TokenExpiredError, TokenInvalidError

log = structlog.get_logger()

MAX_TOKEN_LENGTH = 16 * 1024
"""Characters of a token that is looked at: far more than issuers write, and HTTP/2 servers seldom accept more."""

MAX_KEY_SET_BYTES = 1024 * 1024

RETRY_AFTER = timedelta(seconds=10)
"""The shortest time between two questions to one issuer's address."""

MAX_LEEWAY = 60
MAX_REFRESH = 86400


class SignatureAlgorithm(enum.Enum):
    """The algorithms with a public key: with the others, whoever can check a token can also make one."""

    RS256 = "RS256"
    RS384 = "RS384"
    RS512 = "RS512"
    PS256 = "PS256"
    PS384 = "PS384"
    PS512 = "PS512"
    ES256 = "ES256"
    ES384 = "ES384"
    ES512 = "ES512"
    EDDSA = "EdDSA"

    def __str__(self) -> str:
        return self.value


def _algorithm(text: str) -> SignatureAlgorithm:
    try:
        return SignatureAlgorithm(text)
    except ValueError:
        known = ", ".join(map(str, SignatureAlgorithm))
        raise ValueError(f"is not a signature algorithm with a public key; known here: {known}") from None


def _plain_text(text: str) -> str:
    if not text or not text.isprintable():
        raise ValueError("is empty, or has characters that cannot be printed")
    return text


def _is_url(location: str) -> bool:
    return "://" in location


def _key_set_location(text: str) -> str:
    if not _is_url(text):
        return _plain_text(text)
    address = urlsplit(text)
    if not address.hostname or "@" in address.netloc or address.scheme not in {"https", "http"}:
        raise ValueError("is neither an address such as https://login.acme.com/jwks nor the path of a file")
    if address.scheme == "http" and not is_local(f"{address.hostname}:{address.port or 80}"):
        raise ValueError("would be read without TLS, where anybody on the way could put in keys; write https://")
    return text


_PLACEHOLDER = re.compile(r"\{([^{}]+)\}")


def _template(text: str) -> str:
    if set("{}") & set(_PLACEHOLDER.sub("", text)):
        raise ValueError("has a brace without its counterpart; write claims as {sub}")
    return caller_name(text)


class Seconds:
    """A number of seconds up to a limit."""

    def __init__(self, lowest: int, highest: int) -> None:
        self._lowest = lowest
        self._highest = highest

    def read(self, data: object, path: str, problems: list[Problem]) -> timedelta | None:
        """The time."""
        is_number = isinstance(data, int | float) and not isinstance(data, bool)
        if not is_number or not self._lowest <= data <= self._highest:  # type: ignore[operator]
            expected = f"expected seconds from {self._lowest} to {self._highest}"
            problems.append(Problem(path, f"{expected}, got {describe(data)}"))
            return None
        return timedelta(seconds=data)  # type: ignore[arg-type]

    def write(self, value: timedelta) -> Plain:
        """The seconds."""
        return value.total_seconds()

    def json_schema(self) -> dict[str, Plain]:
        """A number within the limits."""
        return {"type": "number", "minimum": self._lowest, "maximum": self._highest}


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRule(CallerGrant):
    """Who has these claims, and what they are. `name` and `username` may hold claims, as `{sub}`."""

    claims: Mapping[str, str] = written(MapOf(Text(_plain_text), Text(_plain_text)))
    name: str = written(Text(_template), default="{sub}")
    username: str = written(Text(_template), default="")

    def __post_init__(self) -> None:
        CallerGrant.__post_init__(self)
        if not self.claims:
            raise ValueError(
                "claims: is empty, and would admit everybody who gets a token of this issuer; name a claim "
                "(iss, with the issuer, if that is what you want)"
            )

    def admits(self, claims: Mapping[str, Any]) -> bool:
        """Whether all claims match."""
        return all(text in _texts(claims.get(name)) for name, text in self.claims.items())


def _texts(claim: object) -> Sequence[str]:
    """The texts that match a claim."""
    if isinstance(claim, list):
        return [text for item in claim if not isinstance(item, list) for text in _texts(item)]
    if isinstance(claim, bool):
        return ["true" if claim else "false"]
    return [claim] if isinstance(claim, str) else []


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """Whose tokens are accepted, for what audience, and who their bearers are.

    Attributes:
        jwks: where its keys are: an address, or the path of a file.
        leeway: how far its clock and this machine's may differ.
        refresh: how often its keys are asked for at an address.
    """

    issuer: str = written(Text(_plain_text))
    audience: str = written(Text(_plain_text))
    algorithms: frozenset[SignatureAlgorithm] = written(SetOf(Text(_algorithm)))
    jwks: str = written(Text(_key_set_location))
    callers: tuple[ClaimRule, ...] = written(ListOf(Record(ClaimRule)))
    leeway: timedelta = written(Seconds(0, MAX_LEEWAY), default=timedelta(seconds=30))
    refresh: timedelta = written(Seconds(int(RETRY_AFTER.total_seconds()), MAX_REFRESH), default=timedelta(minutes=5))

    def __post_init__(self) -> None:
        empty = [name for name in ("algorithms", "callers") if not getattr(self, name)]
        if empty:
            raise ValueError(f"{' and '.join(empty)}: write at least one, as nobody would be admitted")


@dataclass(frozen=True, slots=True, kw_only=True)
class _JwtIssuersDocument:
    issuers: tuple[Issuer, ...] = written(ListOf(Record(Issuer)))

    def __post_init__(self) -> None:
        names = [issuer.issuer for issuer in self.issuers]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"issuers: {', '.join(twice)} stands twice; join the callers")


_document: Record[_JwtIssuersDocument] = Record(_JwtIssuersDocument)


def read_jwt_issuers(path: Path) -> Sequence[Issuer]:
    """The issuers of the document at `path`, with paths of keys made relative to it.

    Raises:
        StartupError: with all that is wrong in it.
    """
    return [
        issuer if _is_url(issuer.jwks) else dataclasses.replace(issuer, jwks=str(path.parent / issuer.jwks))
        for issuer in read_rules(path, "--jwt-issuers", _document).issuers
    ]


Fetch = Callable[[str], bytes]
"""Gives what is at an address; blocks. Raises OSError, HTTPException or ValueError."""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """An address that moves is for a person to follow: keys are trusted by where they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySetFetcher:
    """A `Fetch` over HTTPS with the system's certificate authorities, and over HTTP within this machine.

    Attributes:
        timeout: seconds until it gives up.
        monotonic: gives seconds that only grow.
    """

    timeout: float = 5.0
    monotonic: Callable[[], float] = time.monotonic

    def __call__(self, url: str) -> bytes:
        """What is at `url`, within the limits of time and size; raises OSError, HTTPException or ValueError."""
        # What is read without TLS must not leave this machine by way of a proxy.
        proxies = urllib.request.ProxyHandler({} if url.startswith("http:") else None)
        opener = urllib.request.build_opener(proxies, _NoRedirects)
        give_up_at = self.monotonic() + self.timeout
        body = bytearray()
        try:
            with opener.open(url, timeout=self.timeout) as response:
                while chunk := response.read1(MAX_KEY_SET_BYTES):
                    body += chunk
                    if len(body) > MAX_KEY_SET_BYTES:
                        raise ValueError(f"answers with more than {MAX_KEY_SET_BYTES} bytes")
                    if self.monotonic() > give_up_at:
                        raise TimeoutError("timed out")
        except HTTPError as error:
            with error:
                moved = f", and points to {shown(error.headers['location'])}" if "location" in error.headers else ""
                raise ValueError(f"answers {error.code}{moved}") from error
        except URLError as error:
            raise OSError(str(error.reason)) from error
        return bytes(body)


class KeySource(Protocol):
    """Where an issuer's keys are."""

    is_remote: bool
    """Whether it may come and go without anybody here having made a mistake."""

    def is_due(self, *, eager: bool) -> bool:
        """Whether to read it now; `eager` if something is missing."""
        ...

    def read(self) -> bytes:
        """A JSON Web Key Set; blocks. Raises OSError, HTTPException or ValueError."""
        ...


class KeyFile:
    """Keys in a file; a `KeySource` that is read when it has changed."""

    is_remote = False

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, ...] | None = ()

    def is_due(self, *, eager: bool) -> bool:  # noqa: ARG002 - a file that has not changed says nothing new
        """Whether it has changed since it was read."""
        return self._state() != self._seen

    def read(self) -> bytes:
        """What it holds."""
        self._seen = self._state()
        with self._path.open("rb") as file:
            data = file.read(MAX_KEY_SET_BYTES + 1)
        if len(data) > MAX_KEY_SET_BYTES:
            raise ValueError(f"has more than {MAX_KEY_SET_BYTES} bytes")
        return data

    def _state(self) -> tuple[int, ...] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino


class KeyAddress:
    """Keys at an address; a `KeySource` that is asked regularly, and never in quick succession."""

    is_remote = True

    def __init__(self, url: str, refresh: timedelta, clock: Clock, fetch: Fetch) -> None:
        self._url = url
        self._refresh = refresh
        self._clock = clock
        self._fetch = fetch
        self._asked_at: datetime | None = None

    def is_due(self, *, eager: bool) -> bool:
        """Whether the last time is long enough ago."""
        pause = RETRY_AFTER if eager else self._refresh
        return self._asked_at is None or self._clock() - self._asked_at >= pause

    def read(self) -> bytes:
        """What is there now."""
        self._asked_at = self._clock()
        return self._fetch(self._url)


def usable_keys(data: bytes, algorithms: Iterable[SignatureAlgorithm]) -> tuple[jwt.PyJWK, ...]:
    """The keys of a JSON Web Key Set (RFC 7517) that check signatures of these algorithms, once for each.

    A key is bound to its algorithm here, so that no token can have it used with another one.

    Raises:
        ValueError: there is none, or it is no such set; a sentence whose subject is the set.
    """
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        raise ValueError("is not JSON") from None
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise ValueError('is not a JSON Web Key Set: it has no list "keys"')  # noqa: TRY004 - of what was read
    algorithms = sorted(algorithms, key=str)
    keys = tuple(key for item in listed for algorithm in algorithms if (key := _usable_key(item, algorithm.value)))
    if not keys:
        raise ValueError(f"has no key that checks signatures with {' or '.join(map(str, algorithms))}")
    return keys


def _usable_key(item: object, algorithm: str) -> jwt.PyJWK | None:
    if not isinstance(item, dict):
        return None
    operations = item.get("key_ops", ["verify"])
    is_for_this = item.get("alg", algorithm) == algorithm and item.get("use", "sig") == "sig"
    if not is_for_this or not isinstance(operations, list) or "verify" not in operations:
        return None
    try:
        key = jwt.PyJWK(item, algorithm)
        prepared = key.Algorithm.prepare_key(key.key)
    except (jwt.PyJWTError, UnsupportedAlgorithm, TypeError, ValueError, KeyError):
        return None
    return None if key.Algorithm.check_key_length(prepared) else key


class IssuerKeys:
    """The keys of one issuer, in memory. What cannot be read leaves the former ones in force, and is logged once.

    Attributes:
        problem: why they could not be read the last time; empty if they could.
    """

    def __init__(self, issuer: Issuer, source: KeySource, on_change: Callable[[], None]) -> None:
        self.problem = ""
        self.source = source
        self._issuer = issuer
        self._on_change = on_change
        self._data = b""
        self._keys: tuple[jwt.PyJWK, ...] = ()
        self._flight: asyncio.Task[None] | None = None

    @property
    def are_known(self) -> bool:
        """Whether they could ever be read."""
        return bool(self._keys)

    def find(self, key_id: str | None, algorithm: str) -> jwt.PyJWK | None:
        """The key of this id, or the only one there is for the algorithm."""
        fitting = [key for key in self._keys if key.algorithm_name == algorithm and key_id in (None, key.key_id)]
        return fitting[0] if fitting and (key_id is not None or len(fitting) == 1) else None

    async def look(self, *, eager: bool = False) -> None:
        """Read them if it is time to; `eager` if one is missing. Joins a reading that is under way."""
        if self._flight is None:
            if not self.source.is_due(eager=eager or bool(self.problem)):
                return
            self._flight = asyncio.ensure_future(self._read())
            self._flight.add_done_callback(self._land)
        # Callers may hang up; that must not keep the keys from arriving.
        await asyncio.shield(self._flight)

    async def close(self) -> None:
        """Read no more."""
        if self._flight is not None:
            self._flight.cancel()
            await asyncio.wait([self._flight])

    async def _read(self) -> None:
        try:
            data = await asyncio.to_thread(self.source.read)
            keys = usable_keys(data, self._issuer.algorithms)
        except (OSError, HTTPException, ValueError) as error:
            problem = getattr(error, "strerror", None) or str(error) or type(error).__name__
            if problem != self.problem:
                log.warning(
                    "keys of an issuer cannot be read",
                    issuer=self._issuer.issuer, jwks=self._issuer.jwks, problem=problem, former_keys=len(self._keys),
                )  # fmt: skip
            self.problem = problem
            return
        if data != self._data:
            self._data, self._keys = data, keys
            log.info("keys of an issuer read", issuer=self._issuer.issuer, jwks=self._issuer.jwks, keys=len(keys))
            self._on_change()
        elif self.problem:
            log.info("keys of an issuer can be read again", issuer=self._issuer.issuer, jwks=self._issuer.jwks)
        self.problem = ""

    def _land(self, _: "asyncio.Task[None]") -> None:
        self._flight = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Envelope:
    """What a token says of itself; nothing of it is proven."""

    token: str
    issuer: Issuer
    keys: IssuerKeys
    key_id: str | None
    algorithm: str

    def key(self) -> jwt.PyJWK | None:
        return self.keys.find(self.key_id, self.algorithm)


class JwtIssuers:
    """Knows callers by tokens of the configured issuers.

    Args:
        fetch: reads addresses.
    """

    def __init__(self, issuers: Iterable[Issuer], *, clock: Clock, fetch: Fetch | None = None) -> None:
        self._clock = clock
        self._on_change: list[Callable[[], None]] = []
        fetch = fetch or KeySetFetcher()
        self._issuers = {}
        for issuer in issuers:
            source: KeySource = (
                KeyAddress(issuer.jwks, issuer.refresh, clock, fetch)
                if _is_url(issuer.jwks)
                else KeyFile(Path(issuer.jwks))
            )
            self._issuers[issuer.issuer] = (issuer, IssuerKeys(issuer, source, self._changed))

    def call_on_change(self, callback: Callable[[], None]) -> None:
        """Call `callback` whenever an issuer's keys changed: what was verified before may no longer hold."""
        self._on_change.append(callback)

    @staticmethod
    def looks_like_jwt(token: str) -> bool:
        """Whether a token has the form of a signed one, and so is for `verify`."""
        return token.isascii() and token.count(".") == 2  # noqa: PLR2004 - header, claims and signature

    async def start(self) -> None:
        """Read all keys for the first time. An address out of reach is logged, and asked again by `look`.

        Raises:
            StartupError: a file of keys is missing or wrong.
        """
        await self.look()
        for issuer, keys in self._issuers.values():
            if keys.problem and not keys.source.is_remote:
                raise StartupError(
                    f"the keys of issuer {issuer.issuer}, {issuer.jwks}, cannot be used: {keys.problem}; "
                    "see --jwt-issuers"
                )

    async def look(self) -> None:
        """Read the keys again that are due; what cannot be read is logged, not raised."""
        await asyncio.gather(*(keys.look() for _, keys in self._issuers.values()))

    async def close(self) -> None:
        """Read no more keys."""
        await asyncio.gather(*(keys.close() for _, keys in self._issuers.values()))

    def verify_now(self, token: str) -> Caller | None:
        """The caller with this token, or None if the key for it is not known and only `verify` can tell.

        Raises:
            TokenInvalidError: it is not accepted; says why.
            TokenExpiredError: it was accepted once.
        """
        envelope = self._open(token)
        key = envelope.key()
        return None if key is None else self._caller(envelope, key)

    async def verify(self, token: str) -> Caller:
        """The caller with this token. Asks for the issuer's keys if it names one that is not known.

        Raises:
            TokenInvalidError: it is not accepted; says why.
            TokenExpiredError: it was accepted once.
            IssuerUnavailableError: the issuer's keys could never be read yet.
        """
        envelope = self._open(token)
        if envelope.key() is None:
            await envelope.keys.look(eager=True)
        key = envelope.key()
        if key is not None:
            return self._caller(envelope, key)
        if not envelope.keys.are_known:
            raise IssuerUnavailableError(envelope.issuer.issuer)
        if envelope.key_id is None:
            raise TokenInvalidError("does not say which of its issuer's keys it was signed with (kid)")
        raise TokenInvalidError(
            f"was signed with a key that its issuer does not publish for {envelope.algorithm} "
            f"(kid {shown(envelope.key_id)})"
        )

    def _open(self, token: str) -> _Envelope:
        if len(token) > MAX_TOKEN_LENGTH:
            raise TokenInvalidError(f"has {len(token)} characters, and at most {MAX_TOKEN_LENGTH} are read")
        try:
            header = jwt.get_unverified_header(token)
            name = jwt.decode(token, options={"verify_signature": False}).get("iss")
        except (jwt.PyJWTError, ValueError, RecursionError) as error:
            raise TokenInvalidError("is not a signed token (JWT) that is read here") from error
        if not isinstance(name, str):
            raise TokenInvalidError("does not say who issued it (iss)")
        if name not in self._issuers:
            raise TokenInvalidError(f"was issued by {shown(name)}, whose tokens are not accepted here")
        issuer, keys = self._issuers[name]
        algorithm = header.get("alg")
        if not isinstance(algorithm, str) or algorithm not in map(str, issuer.algorithms):
            raise TokenInvalidError("is signed with an algorithm (alg) that is not accepted for its issuer")
        return _Envelope(token=token, issuer=issuer, keys=keys, key_id=header.get("kid"), algorithm=algorithm)

    def _caller(self, envelope: _Envelope, key: jwt.PyJWK) -> Caller:
        issuer = envelope.issuer
        claims = _proven_claims(envelope, key)
        expires_at = _check_times(claims, issuer.leeway, self._clock())
        for rule in issuer.callers:
            if rule.admits(claims):
                username = _filled(rule.username, claims) if rule.username else ""
                same = [issuer.issuer, claims["sub"], rule.role.value, rule.organization, username]
                digest = hashlib.sha256(json.dumps([*same, rule.may_assert_roles]).encode()).hexdigest()
                return rule.caller(
                    f"jwt:{digest[:32]}", name=_filled(rule.name, claims), username=username, expires_at=expires_at
                )
        raise TokenInvalidError("is good, and none of its issuer's rules admits its claims; see --jwt-issuers")

    def _changed(self) -> None:
        for callback in self._on_change:
            callback()


def _proven_claims(envelope: _Envelope, key: jwt.PyJWK) -> Mapping[str, Any]:
    """The claims, signed by the issuer for the audience. Their times are not looked at."""
    issuer = envelope.issuer
    try:
        return jwt.decode(
            envelope.token,
            key,
            algorithms=[key.algorithm_name],
            audience=issuer.audience,
            issuer=issuer.issuer,
            # Times are checked by the clock that is passed in, which PyJWT cannot be given.
            options={
                "require": ["iss", "aud", "sub", "exp"],
                "verify_exp": False,
                "verify_nbf": False,
                "verify_iat": False,
                "enforce_minimum_key_length": True,
            },
        )
    except jwt.InvalidSignatureError as error:
        raise TokenInvalidError("has a signature that does not fit its issuer's key") from error
    except jwt.InvalidAudienceError as error:
        raise TokenInvalidError(f"was issued for another audience (aud); ask for one for {issuer.audience}") from error
    except jwt.MissingRequiredClaimError as error:
        raise TokenInvalidError(f"lacks the claim {error.claim}") from error
    except (jwt.PyJWTError, RecursionError) as error:
        raise TokenInvalidError("has a claim of the wrong form") from error


def _check_times(claims: Mapping[str, Any], leeway: timedelta, now: datetime) -> datetime:
    """From when on the token is void; raises TokenExpiredError and TokenInvalidError."""
    if any(_moment(claims, name, -leeway) > now for name in ("nbf", "iat") if claims.get(name) is not None):
        raise TokenInvalidError("is not valid yet (nbf, iat); if it was just made, compare the clocks")
    expires_at = _moment(claims, "exp", leeway)
    if now >= expires_at:
        raise TokenExpiredError
    return expires_at


def _moment(claims: Mapping[str, Any], name: str, shift: timedelta) -> datetime:
    seconds = claims[name]
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise TokenInvalidError(f"has a claim {name} that is not a number of seconds since 1970")
    try:
        return datetime.fromtimestamp(seconds, UTC) + shift
    except (OverflowError, ValueError, OSError) as error:
        raise TokenInvalidError(f"has a claim {name} that is out of range") from error


def _filled(template: str, claims: Mapping[str, Any]) -> str:
    def value(placeholder: re.Match[str]) -> str:
        claim = claims.get(placeholder[1])
        if not isinstance(claim, str):
            raise TokenInvalidError(f"has no text in the claim {placeholder[1]}, of which its bearer's name is made")
        return claim

    text = _PLACEHOLDER.sub(value, template)
    try:
        return caller_name(text)
    except ValueError as error:
        raise TokenInvalidError(f"has claims that make the name {shown(text)}, which {error}") from error
