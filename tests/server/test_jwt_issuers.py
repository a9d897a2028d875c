"""Callers by signed tokens: who is admitted, what is refused, and keys that come, go and change."""

import asyncio
import base64
import dataclasses
import hashlib
import hmac
import itertools
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest
import structlog
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from pullgate_policy.access_token import CallerRole
from pullgate_policy.caller import Caller
from pullgate_server.errors import IssuerUnavailableError, StartupError, TokenExpiredError, TokenInvalidError
from pullgate_server.jwt_issuers import (
    MAX_KEY_SET_BYTES,
    Issuer,
    JwtIssuers,
    KeySetFetcher,
    read_jwt_issuers,
)
from tests.conftest import SOON, Clock

ISSUER = "https://login.acme.com"

DOCUMENT = """
issuers:
  - issuer: https://login.acme.com
    audience: pullgate
    algorithms: [RS256, ES256, EdDSA]
    jwks: keys.json
    callers:
      - claims: {groups: platform, email_verified: "true"}
        role: policy_manager
        organization: acme
        username: "{preferred_username}"
        name: "{preferred_username} at {iss}"
      - claims: {repository_owner: acme}
        role: enforcer
        organization: acme
        may_assert_roles: true
      - claims: {repository_owner: acme, environment: production}
        role: operator
"""

MAKERS: dict[str, Callable[[], Any]] = {
    "RS256": lambda: rsa.generate_private_key(65537, 2048),
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
}


@cache
def key(algorithm: str, number: int = 1) -> Any:
    """A key to sign with; the same for the same number."""
    return MAKERS[algorithm]()


def published(algorithm: str, number: int = 1, **members: Any) -> dict[str, Any]:
    """What the issuer publishes of a key."""
    public = jwt.get_algorithm_by_name(algorithm).to_jwk(key(algorithm, number).public_key(), as_dict=True)
    public.pop("key_ops", None)
    return {**public, "kid": f"{algorithm}-{number}", **members}


def key_set(*keys: dict[str, Any]) -> bytes:
    """A JSON Web Key Set."""
    return json.dumps({"keys": keys}).encode()


ALL_KEYS = key_set(*(published(algorithm) for algorithm in MAKERS))


def claims(clock: Clock, **changes: Any) -> dict[str, Any]:
    """Claims that are admitted; those changed to None are left out."""
    now = int(clock.now.timestamp())
    held = {
        "iss": ISSUER,
        "aud": "pullgate",
        "sub": "repo:acme/web",
        "exp": now + 600,
        "iat": now,
        "nbf": now,
        "repository_owner": "acme",
        **changes,
    }
    return {name: value for name, value in held.items() if value is not None}


def signed(held: dict[str, Any], algorithm: str = "ES256", number: int = 1, signer: Any = None, **header: Any) -> str:
    """A token; header members that are None are left out."""
    members = {"kid": f"{algorithm}-{number}", **header}
    return raw(
        {"alg": algorithm, **{name: value for name, value in members.items() if value is not None}},
        held,
        lambda message: jwt.get_algorithm_by_name(algorithm).sign(message, signer or key(algorithm, number)),
    )


def raw(header: dict[str, Any], payload: Any, sign: Callable[[bytes], bytes]) -> str:
    """A token that no library would make."""
    message = b".".join(encoded(json.dumps(part).encode()) for part in (header, payload))
    return b".".join((message, encoded(sign(message)))).decode()


def encoded(data: bytes) -> bytes:
    """As tokens have it."""
    return base64.urlsafe_b64encode(data).rstrip(b"=")


@pytest.fixture
def clock() -> Clock:
    """Time that stands still."""
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """DOCUMENT as a file, beside its keys."""
    (tmp_path / "keys.json").write_bytes(ALL_KEYS)
    (tmp_path / "issuers.yaml").write_text(DOCUMENT)
    return tmp_path / "issuers.yaml"


@pytest.fixture
async def issuers(path: Path, clock: Clock) -> JwtIssuers:
    """The issuers of DOCUMENT, with their keys read."""
    issuers = JwtIssuers(read_jwt_issuers(path), clock=clock)
    await issuers.start()
    return issuers


@pytest.mark.parametrize("algorithm", MAKERS)
async def test_a_signed_token_names_a_caller(issuers: JwtIssuers, clock: Clock, algorithm: str) -> None:
    """Who has the claims of a rule is what it grants, until the token expires and the clocks may differ no more."""
    token = signed(claims(clock), algorithm)
    caller = await issuers.verify(token)

    assert JwtIssuers.looks_like_jwt(token)
    assert issuers.verify_now(token) == caller
    assert caller == Caller(
        id=caller.id,
        name="repo:acme/web",
        role=CallerRole.ENFORCER,
        organization="acme",
        may_assert_roles=True,
        expires_at=clock.now + timedelta(seconds=630),
    )


async def test_names_are_made_of_claims(issuers: JwtIssuers, clock: Clock) -> None:
    """A person's name and username are the texts of the claims that the rule names."""
    held = claims(clock, groups=["staff", "platform"], preferred_username="zoë", email_verified=True)
    caller = await issuers.verify(signed(held))

    assert (caller.role, caller.username) == (CallerRole.POLICY_MANAGER, "zoë")
    assert caller.name == f"zoë at {ISSUER}"


@pytest.mark.parametrize(
    ("changes", "role"),
    [
        ({"groups": "platform", "email_verified": True}, CallerRole.POLICY_MANAGER),
        ({"groups": ["platform"], "email_verified": "true"}, CallerRole.POLICY_MANAGER),
        ({"groups": ["platform"], "email_verified": False}, CallerRole.ENFORCER),
        ({"groups": ["platform"]}, CallerRole.ENFORCER),
        ({"groups": ["platform-interns", ["platform"], {"platform": 1}], "email_verified": True}, CallerRole.ENFORCER),
        ({"groups": {"platform": True}, "email_verified": True}, CallerRole.ENFORCER),
        ({"environment": "production"}, CallerRole.ENFORCER),
    ],
)
async def test_the_first_rule_whose_claims_all_match_holds(
    issuers: JwtIssuers, clock: Clock, changes: dict[str, Any], role: CallerRole
) -> None:
    """Claims match whole, as a text or in a list; a later rule does not add to an earlier one."""
    token = signed(claims(clock, preferred_username="alice", **changes))

    assert (await issuers.verify(token)).role is role


async def test_an_id_stands_for_who_somebody_is_and_what_they_may(issuers: JwtIssuers, clock: Clock) -> None:
    """Another token of the same bearer has the same id; another bearer, or another grant, has another one."""

    async def id_of(**changes: Any) -> str:
        return (await issuers.verify(signed(claims(clock, preferred_username="alice", **changes)))).id

    ids = [
        await id_of(),
        await id_of(jti="2", exp=int(clock.now.timestamp()) + 60),
        await id_of(sub="repo:acme/api"),
        await id_of(groups="platform", email_verified=True),
    ]

    assert ids[0] == ids[1]
    assert len(set(ids)) == 3
    assert all(caller_id.startswith("jwt:") and len(caller_id) == 36 for caller_id in ids)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"aud": "other"}, "was issued for another audience (aud); ask for one for pullgate"),
        ({"aud": ["other", "another"]}, "was issued for another audience"),
        ({"aud": {"pullgate": 1}}, "was issued for another audience"),
        ({"aud": []}, "lacks the claim aud"),
        ({"aud": None}, "lacks the claim aud"),
        ({"iss": "https://login.acme.com/"}, 'was issued by "https://login.acme.com/", whose tokens are not accepted'),
        ({"iss": "evil\n"}, "was issued by 'evil\\n', whose"),
        ({"iss": None}, "does not say who issued it"),
        ({"iss": ["https://login.acme.com"]}, "does not say who issued it"),
        ({"exp": None}, "lacks the claim exp"),
        ({"exp": "9999999999"}, "has a claim exp that is not a number"),
        ({"exp": True}, "has a claim exp that is not a number"),
        ({"exp": [1]}, "has a claim exp that is not a number"),
        ({"exp": float("nan")}, "has a claim exp that is out of range"),
        ({"exp": float("inf")}, "has a claim exp that is out of range"),
        ({"exp": 10**400}, "has a claim exp that is out of range"),
        ({"exp": 253402300799}, "has a claim exp that is out of range"),
        ({"nbf": "0"}, "has a claim nbf that is not a number"),
        ({"iat": -(10**18)}, "has a claim iat that is out of range"),
        ({"sub": None}, "lacks the claim sub"),
        ({"sub": 7}, "has a claim of the wrong form"),
        ({"sub": ""}, 'has claims that make the name "", which is empty'),
        ({"sub": "a\x1b[2J"}, "which has characters that cannot be printed"),
        ({"sub": "a" * 256}, "which has 256 characters, and at most 255 are allowed"),
        ({"repository_owner": "acme-evil"}, "none of its issuer's rules admits its claims"),
        ({"repository_owner": "*"}, "none of its issuer's rules admits its claims"),
        ({"repository_owner": None}, "none of its issuer's rules admits its claims"),
        (
            {"groups": "platform", "email_verified": True},
            "has no text in the claim preferred_username, of which its bearer's name is made",
        ),
        ({"groups": "platform", "email_verified": True, "preferred_username": ["alice"]}, "has no text in the claim"),
    ],
)
async def test_claims_that_are_refused(issuers: JwtIssuers, clock: Clock, changes: dict[str, Any], told: str) -> None:
    """A token with a good signature is refused for its claims, in a sentence that says which."""
    token = signed(claims(clock, **changes))
    with pytest.raises(TokenInvalidError) as raised:
        await issuers.verify(token)
    with pytest.raises(TokenInvalidError):
        issuers.verify_now(token)

    assert told in str(raised.value)


async def test_an_audience_may_be_one_of_several(issuers: JwtIssuers, clock: Clock) -> None:
    """A token for others as well is a token for this server."""
    assert (await issuers.verify(signed(claims(clock, aud=["other", "pullgate"])))).organization == "acme"


async def test_times_are_those_of_the_clock_that_is_passed_in(issuers: JwtIssuers, clock: Clock) -> None:
    """A token holds from its first moment up to its last, with the leeway on both sides."""
    start = clock.now
    now = start.timestamp()
    token = signed(claims(clock, nbf=now + 100, iat=now, exp=now + 200.5))
    outcomes: list[type] = []
    for seconds in (-31, 69, 70, 230, 230.4, 230.5, 10**9):
        clock.now = start + timedelta(seconds=seconds)
        try:
            issuers.verify_now(token)
        except (TokenInvalidError, TokenExpiredError) as error:
            outcomes.append(type(error))
        else:
            outcomes.append(Caller)

    early, late = [TokenInvalidError] * 2, [TokenExpiredError] * 2
    assert outcomes == [*early, Caller, Caller, Caller, *late]


async def test_a_token_from_the_future_is_refused(issuers: JwtIssuers, clock: Clock) -> None:
    """What claims to be issued later than now is not believed."""
    with pytest.raises(TokenInvalidError, match="is not valid yet"):
        issuers.verify_now(signed(claims(clock, iat=clock.now.timestamp() + 31)))


def public_pem(algorithm: str) -> bytes:
    """A public key as an attacker has it."""
    return key(algorithm).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[no-any-return]


ATTACKER = ec.generate_private_key(ec.SECP256R1())
ATTACKERS_KEY = {**json.loads(jwt.get_algorithm_by_name("ES256").to_jwk(ATTACKER.public_key())), "kid": "ES256-1"}

NOT_ACCEPTED = "algorithm (alg) that is not accepted"
DOES_NOT_FIT = "signature that does not fit"
NOT_READ = "is not a signed token (JWT) that is read here"

Claims = dict[str, Any]


def unsigned(held: Any, **header: Any) -> str:
    """A token without a signature."""
    return raw({"kid": "ES256-1", **header}, held, lambda _: b"")


def pieced_together(held: Claims, header: str = "", payload: str = "", signature: str | None = None) -> str:
    """A good token with parts of it replaced."""
    good = signed(held).split(".")
    return ".".join([header or good[0], payload or good[1], good[2] if signature is None else signature])


def as_part(text: str) -> str:
    """A text as a part of a token."""
    return encoded(text.encode()).decode()


FORGERIES: dict[str, tuple[Callable[[Claims], str], str]] = {
    "none": (lambda held: unsigned(held, alg="none"), NOT_ACCEPTED),
    "none, in other letters": (lambda held: unsigned(held, alg="nOnE"), NOT_ACCEPTED),
    "no algorithm": (unsigned, NOT_ACCEPTED),
    "an algorithm that is a list": (lambda held: unsigned(held, alg=["ES256"]), NOT_ACCEPTED),
    "HS256 with the public key as secret": (
        lambda held: raw(
            {"alg": "HS256", "kid": "RS256-1"},
            held,
            lambda data: hmac.digest(public_pem("RS256"), data, hashlib.sha256),
        ),
        NOT_ACCEPTED,
    ),
    "an algorithm that is not configured": (
        lambda held: signed(held, "RS512", kid="RS256-1", signer=key("RS256")),
        NOT_ACCEPTED,
    ),
    "no signature": (lambda held: pieced_together(held, signature=""), DOES_NOT_FIT),
    "a changed payload": (
        lambda held: pieced_together(held, payload=as_part(json.dumps({**held, "sub": "admin"}))),
        DOES_NOT_FIT,
    ),
    "another key": (lambda held: signed(held, signer=ATTACKER), DOES_NOT_FIT),
    "a key in the header": (lambda held: signed(held, signer=ATTACKER, jwk=ATTACKERS_KEY), DOES_NOT_FIT),
    "addresses of keys in the header": (
        lambda held: signed(held, signer=ATTACKER, jku="http://127.0.0.1:1/keys", x5u="http://127.0.0.1:1/chain"),
        DOES_NOT_FIT,
    ),
    "a key of another type": (
        lambda held: signed(held, "RS256", kid="ES256-1"),
        "a key that its issuer does not publish for RS256",
    ),
    "a critical extension": (lambda held: signed(held, crit=["exp"], exp=1), NOT_READ),
    "a detached payload": (lambda held: signed(held, crit=["b64"], b64=False), NOT_READ),
    "a payload that is a list": (lambda held: unsigned([held], alg="ES256"), NOT_READ),
    "a payload that is nested deeply": (lambda held: pieced_together(held, payload=as_part("[" * 9000)), NOT_READ),
    "a key id that is a number": (lambda held: signed(held, kid=1), NOT_READ),
}


@pytest.mark.parametrize("name", FORGERIES)
async def test_forged_tokens_are_refused(issuers: JwtIssuers, clock: Clock, name: str) -> None:
    """Nothing that a token says of itself makes up for a signature of the issuer's key."""
    forge, told = FORGERIES[name]
    with pytest.raises(TokenInvalidError) as raised:
        await issuers.verify(forge(claims(clock)))

    assert told in str(raised.value)


@pytest.mark.parametrize("token", ["..", "a.b.c", "e30.e30.", "e30.bnVsbA.x", "." * 2 + "x", "\u00e4.b.c"])
async def test_what_is_no_token_is_refused(issuers: JwtIssuers, token: str) -> None:
    """Texts with two dots that are nothing else are refused as such."""
    with pytest.raises(TokenInvalidError):
        await issuers.verify(token)


async def test_a_token_that_is_too_long_is_not_read(issuers: JwtIssuers, clock: Clock) -> None:
    """A good token with too many characters is refused before anything else."""
    token = signed(claims(clock, groups=["x" * 100] * 200))
    with pytest.raises(TokenInvalidError, match=f"has {len(token)} characters, and at most 16384 are read"):
        issuers.verify_now(token)


@pytest.mark.parametrize("token", ["pullgate_0123", "", "a.b", "a.b.c.d", "\u00e4.b.c"])
def test_other_tokens_do_not_look_like_signed_ones(token: str) -> None:
    """Only three parts with dots between them are for this module."""
    assert not JwtIssuers.looks_like_jwt(token)


def with_keys(path: Path, *keys: dict[str, Any]) -> None:
    """Publish these keys instead."""
    (path.parent / "keys.json").write_bytes(key_set(*keys))


async def test_a_token_without_a_key_id_needs_a_single_key(path: Path, clock: Clock) -> None:
    """Without kid, the one key for the algorithm is meant; where there are two, none is."""
    issuers = JwtIssuers(read_jwt_issuers(path), clock=clock)
    await issuers.start()
    token = signed(claims(clock), kid=None)
    accepted = await issuers.verify(token)
    with_keys(path, published("ES256", kid=None), published("ES256", 2))
    await issuers.look()
    with pytest.raises(TokenInvalidError, match=r"which of its issuer's keys it was signed with \(kid\)"):
        await issuers.verify(token)

    assert accepted.organization == "acme"
    assert issuers.verify_now(token) is None


@pytest.mark.parametrize(
    ("members", "usable"),
    [
        ({}, True),
        ({"use": "sig", "alg": "ES256", "key_ops": ["verify"]}, True),
        ({"use": "enc"}, False),
        ({"alg": "ES384"}, False),
        ({"key_ops": ["sign"]}, False),
        ({"key_ops": "verify"}, False),
        ({"kty": "RSA"}, False),
        ({"crv": "P-384"}, False),
        ({"x": 7}, False),
        ({"kty": "oct", "k": "c2VjcmV0"}, False),
    ],
)
async def test_a_key_is_used_for_what_it_is_published_for(
    path: Path, clock: Clock, members: dict[str, Any], usable: object
) -> None:
    """A key of another use, algorithm, type or curve checks no signature."""
    with_keys(path, published("RS256"), published("ES256", **members))
    issuers = JwtIssuers(read_jwt_issuers(path), clock=clock)
    await issuers.start()

    assert (issuers.verify_now(signed(claims(clock))) is not None) is usable


async def test_a_short_key_is_not_used(path: Path, clock: Clock) -> None:
    """An RSA key that can be broken checks no signature."""
    short = rsa.generate_private_key(65537, 1024)
    public = jwt.get_algorithm_by_name("RS256").to_jwk(short.public_key(), as_dict=True)
    with_keys(path, published("ES256"), {**public, "key_ops": ["verify"], "kid": "RS256-1"})
    issuers = JwtIssuers(read_jwt_issuers(path), clock=clock)
    await issuers.start()

    assert issuers.verify_now(signed(claims(clock), "RS256", signer=short)) is None


async def test_a_changed_file_of_keys_is_read_again(path: Path, issuers: JwtIssuers, clock: Clock) -> None:
    """New keys hold and removed ones do not; a bad file is logged once, and leaves the former keys."""
    changes: list[int] = []
    issuers.call_on_change(lambda: changes.append(1))
    old, new = signed(claims(clock)), signed(claims(clock), number=2)
    with_keys(path, published("ES256", 2))
    await issuers.verify(new)
    with pytest.raises(TokenInvalidError):
        await issuers.verify(old)
    (path.parent / "keys.json").write_text("{}")
    with structlog.testing.capture_logs() as logs:
        await issuers.look()
        await issuers.look()

    assert [entry["problem"] for entry in logs] == ['is not a JSON Web Key Set: it has no list "keys"']
    assert issuers.verify_now(new)
    assert len(changes) == 1


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        (None, "No such file or directory"),
        (b"", "is not JSON"),
        (b"\xff", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[]", 'it has no list "keys"'),
        (b'{"keys": {}}', 'it has no list "keys"'),
        (b'{"keys": [1, {}]}', "has no key that checks signatures with ES256 or EdDSA or RS256"),
        (b" " * (MAX_KEY_SET_BYTES + 1), "has more than 1048576 bytes"),
    ],
)
async def test_a_bad_file_of_keys_ends_the_start(path: Path, clock: Clock, keys: bytes | None, told: str) -> None:
    """It is told whose keys they are, which file, and what is wrong with it."""
    file = path.parent / "keys.json"
    file.unlink() if keys is None else file.write_bytes(keys)
    with pytest.raises(StartupError) as raised:
        await JwtIssuers(read_jwt_issuers(path), clock=clock).start()

    assert f"the keys of issuer {ISSUER}, {file}, cannot be used: " in str(raised.value)
    assert told in str(raised.value)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("RS256, ES256, EdDSA", "HS256", '"HS256" is not a signature algorithm with a public key'),
        ("RS256, ES256, EdDSA", "none", '"none" is not a signature algorithm with a public key'),
        ("RS256, ES256, EdDSA", "", "issuers[0]: algorithms: write at least one"),
        ("    audience: pullgate\n", "", "issuers[0].audience: is missing"),
        ("keys.json", "http://login.acme.com/jwks", "would be read without TLS"),
        ("keys.json", "ftp://login.acme.com/jwks", "is neither an address such as"),
        ("keys.json", "https://user:secret@login.acme.com/jwks", "is neither an address such as"),
        ("keys.json", "https:///jwks", "is neither an address such as"),
        ("keys.json", "keys.json\n    leeway: 61", "leeway: expected seconds from 0 to 60, got the number 61"),
        ("keys.json", "keys.json\n    refresh: true", "refresh: expected seconds from 10 to 86400, got true"),
        ("{repository_owner: acme}", "{}", "issuers[0].callers[1]: claims: is empty, and would admit everybody"),
        ("{repository_owner: acme}", "{repository_owner: 1}", "callers[1].claims.repository_owner: expected a text"),
        ("organization: acme\n        may", "may", "issuers[0].callers[1]: organization: is missing"),
        ("{preferred_username}", "{preferred_username", "has a brace without its counterpart"),
        ('username: "{preferred_username}"', "", "issuers[0].callers[0]: username: is missing"),
    ],
)
def test_a_document_with_problems_ends_the_start(path: Path, old: str, new: str, told: str) -> None:
    """Problems are told with the option, the file and their paths."""
    path.write_text(DOCUMENT.replace(old, new, 1))
    with pytest.raises(StartupError) as raised:
        read_jwt_issuers(path)

    assert f"--jwt-issuers {path} cannot be used" in str(raised.value)
    assert told in str(raised.value)


def test_an_issuer_stands_once(path: Path) -> None:
    """Two entries for one issuer contradict each other."""
    path.write_text(DOCUMENT + DOCUMENT.replace("\nissuers:\n", ""))
    with pytest.raises(StartupError, match=r"issuers: https://login\.acme\.com stands twice; join the callers"):
        read_jwt_issuers(path)


@dataclass
class Address:
    """An address that an issuer publishes keys at, as far as the module is concerned with it."""

    body: bytes = ALL_KEYS
    error: Exception | None = None
    asked: int = 0
    may_answer: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.may_answer.set()

    def __call__(self, _: str) -> bytes:
        """Fetch."""
        self.asked += 1
        assert self.may_answer.wait(SOON)
        if self.error:
            raise self.error
        return self.body


def remote(path: Path, url: str = "https://login.acme.com/jwks") -> list[Issuer]:
    """The issuer of DOCUMENT, with keys at an address."""
    return [dataclasses.replace(issuer, jwks=url) for issuer in read_jwt_issuers(path)]


async def test_keys_at_an_address_are_asked_for_regularly(path: Path, clock: Clock) -> None:
    """They are read at start and every five minutes, and not in between."""
    address = Address()
    issuers = JwtIssuers(remote(path), clock=clock, fetch=address)
    await issuers.start()
    asked = []
    for seconds in (0, 299, 1, 299, 1):
        clock.advance(seconds=seconds)
        await issuers.look()
        asked.append(address.asked)

    assert asked == [1, 1, 2, 2, 3]


async def test_a_key_that_is_not_known_is_asked_for_at_once(path: Path, clock: Clock) -> None:
    """After a rotation the first token has the keys read again; made-up key ids do so once in ten seconds at most."""
    address = Address()
    issuers = JwtIssuers(remote(path), clock=clock, fetch=address)
    await issuers.start()
    clock.advance(seconds=10)
    address.body = key_set(published("ES256", 2))
    token = signed(claims(clock), number=2)
    assert issuers.verify_now(token) is None
    await issuers.verify(token)
    for _ in range(5):
        with pytest.raises(TokenInvalidError, match=r"does not publish for ES256 \(kid \"made-up\"\)"):
            await issuers.verify(signed(claims(clock), kid="made-up"))
    clock.advance(seconds=10)
    with pytest.raises(TokenInvalidError):
        await issuers.verify(signed(claims(clock), kid="made-up"))

    assert address.asked == 3


async def test_calls_share_one_question(path: Path, clock: Clock) -> None:
    """While keys are being read nobody asks again, and who hangs up does not keep the others from the answer."""
    address = Address(key_set(published("ES256", 1)))
    issuers = JwtIssuers(remote(path), clock=clock, fetch=address)
    await issuers.start()
    clock.advance(seconds=10)
    address.may_answer.clear()
    address.body = key_set(published("ES256", 2))
    token = signed(claims(clock), number=2)
    calls = [asyncio.ensure_future(issuers.verify(token)) for _ in range(3)]
    await asyncio.sleep(0)
    calls[0].cancel()
    clock.advance(seconds=20)
    calls.append(asyncio.ensure_future(issuers.verify(token)))
    await asyncio.sleep(0)
    address.may_answer.set()
    async with asyncio.timeout(SOON):
        first, *others = await asyncio.gather(*calls, return_exceptions=True)

    assert isinstance(first, asyncio.CancelledError)
    assert all(isinstance(other, Caller) for other in others)
    assert address.asked == 2


async def test_keys_out_of_reach_leave_the_former_ones(path: Path, clock: Clock) -> None:
    """An outage is logged once, tokens are verified all the same, and its end is logged too."""
    address = Address()
    issuers = JwtIssuers(remote(path), clock=clock, fetch=address)
    await issuers.start()
    address.error = OSError("Connection refused")
    with structlog.testing.capture_logs() as logs:
        for _ in range(4):
            clock.advance(seconds=300)
            await issuers.look()
        caller = issuers.verify_now(signed(claims(clock)))
        address.error = None
        clock.advance(seconds=10)
        await issuers.look()

    assert caller is not None
    assert [entry["event"] for entry in logs] == [
        "keys of an issuer cannot be read",
        "keys of an issuer can be read again",
    ]
    assert (logs[0]["issuer"], logs[0]["problem"]) == (ISSUER, "Connection refused")


async def test_a_start_does_not_need_the_address(path: Path, clock: Clock) -> None:
    """Until the keys could be read for the first time, calls are told to try again; then they are answered."""
    address = Address(error=TimeoutError("timed out"))
    issuers = JwtIssuers(remote(path), clock=clock, fetch=address)
    with structlog.testing.capture_logs() as logs:
        await issuers.start()
    token = signed(claims(clock))
    with pytest.raises(IssuerUnavailableError, match=f"the keys of issuer {ISSUER} are not known yet") as raised:
        await issuers.verify(token)
    asked = address.asked
    address.error = None
    clock.advance(seconds=10)
    caller = await issuers.verify(token)

    assert [entry["log_level"] for entry in logs] == ["warning"]
    assert (asked, raised.value.retry_after) == (1, 5)
    assert caller.organization == "acme"


async def test_closing_gives_up_what_is_being_read(path: Path, clock: Clock) -> None:
    """A server that stops does not wait for keys."""
    address = Address()
    address.may_answer.clear()
    issuers = JwtIssuers(remote(path), clock=clock, fetch=address)
    looking = asyncio.ensure_future(issuers.look())
    await asyncio.sleep(0)
    async with asyncio.timeout(SOON):
        await issuers.close()
        (ended,) = await asyncio.gather(looking, return_exceptions=True)
    address.may_answer.set()

    assert isinstance(ended, asyncio.CancelledError)


Answer = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def web_server(answer: Answer) -> Iterator[str]:
    """A web server on loopback; gives the address of its keys."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/jwks"
        finally:
            server.shutdown()
            thread.join()


def respond(code: int, body: bytes, **headers: str) -> Answer:
    """Answer this."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(code)
        for name, value in headers.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(body)

    return answer


def cut_off(request: BaseHTTPRequestHandler) -> None:
    """Say nothing that HTTP is."""
    request.wfile.write(b"nonsense\r\n\r\n")


async def test_keys_are_read_over_http(path: Path, clock: Clock) -> None:
    """A web server on loopback is read without TLS, whatever proxy the environment names."""
    with web_server(respond(200, ALL_KEYS)) as url, pytest.MonkeyPatch.context() as patch:
        patch.setenv("http_proxy", "http://127.0.0.1:1")
        issuers = JwtIssuers(remote(path, url), clock=clock)
        await issuers.start()

        assert (await issuers.verify(signed(claims(clock)))).organization == "acme"


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (respond(500, ALL_KEYS), "answers 500"),
        (respond(404, b""), "answers 404"),
        (respond(302, b"", location="file:///etc/passwd"), 'answers 302, and points to "file:///etc/passwd"'),
        (respond(301, b"", location="http://127.0.0.1:1/"), "answers 301, and points to"),
        (respond(200, b"<html>Sign in</html>"), "is not JSON"),
        (respond(200, b""), "is not JSON"),
        (respond(200, b" " * (MAX_KEY_SET_BYTES + 1)), "answers with more than 1048576 bytes"),
        (cut_off, "nonsense"),
    ],
)
async def test_what_is_no_key_set_is_not_taken_in(path: Path, clock: Clock, answer: Answer, told: str) -> None:
    """Whatever else the address answers is logged, and leaves the issuer without keys."""
    with web_server(answer) as url, structlog.testing.capture_logs() as logs:
        issuers = JwtIssuers(remote(path, url), clock=clock)
        await issuers.start()
        with pytest.raises(IssuerUnavailableError):
            await issuers.verify(signed(claims(clock)))

    assert [entry["event"] for entry in logs] == ["keys of an issuer cannot be read"]
    assert told in logs[0]["problem"]


@pytest.mark.parametrize("begins", [False, True])
async def test_an_address_that_hangs_is_given_up(path: Path, clock: Clock, begins: object) -> None:
    """A server that does not answer, or does not finish its answer, is like one out of reach."""
    go_on = threading.Event()

    def hang(request: BaseHTTPRequestHandler) -> None:
        if begins:
            respond(200, b"{")(request)
        assert go_on.wait(SOON)

    with web_server(hang) as url, structlog.testing.capture_logs() as logs:
        issuers = JwtIssuers(remote(path, url), clock=clock, fetch=KeySetFetcher(timeout=0.05))
        await issuers.start()
        go_on.set()

    assert [entry["problem"] for entry in logs] == ["timed out"]


def test_an_answer_that_drips_is_given_up() -> None:
    """An answer that goes on and on ends with the time for all of it, and not for each part."""
    seconds = itertools.count(0.0, SOON + 1)
    with (
        web_server(respond(200, b"  ")) as url,
        pytest.raises(TimeoutError, match="timed out"),
    ):
        KeySetFetcher(timeout=SOON, monotonic=lambda: next(seconds))(url)


def test_nobody_listening_is_told_plainly(tmp_path: Path) -> None:
    """The cause is the operating system's sentence, without the library's words around it."""
    with web_server(respond(200, b"")) as url:
        pass
    with pytest.raises(OSError, match=r"^\[Errno \d+\] Connection refused$"):
        KeySetFetcher()(url)
