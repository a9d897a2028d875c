"""Callers by signed tokens and by client certificates, end to end, and configurations that contradict themselves."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509

from pullgate.v1 import access_token_pb2, decision_pb2, identity_pb2
from pullgate.v1 import policy_admin_pb2 as admin
from pullgate.v1 import policy_decision_pb2 as decisions
from pullgate_server.errors import StartupError
from tests.conftest import SOON, Clock, Serve, Service
from tests.server.test_authorization import (
    answer_to,
    ask,
    ended,
    identity_in,
    make_token,
    member,
    open_decisions,
    open_events,
    put_strict,
    told_by,
    write_members,
)
from tests.server.test_jwt_issuers import claims, key_set, published, signed
from tests.server.test_tls import LOCALHOST, Files, Issued, issue

WHO = admin.GetCallerRequest()
EXPIRED = ("UNAUTHENTICATED", "TOKEN_EXPIRED")
UNKNOWN = ("UNAUTHENTICATED", "TOKEN_INVALID")

ISSUERS = """
issuers:
  - issuer: https://login.acme.com
    audience: pullgate
    algorithms: [ES256]
    jwks: keys.json
    leeway: 0
    callers:
      - claims: {groups: owners}
        role: owner
        organization: acme
        username: "{preferred_username}"
      - claims: {groups: staff}
        role: member
        organization: acme
        username: "{preferred_username}"
      - claims: {repository_owner: acme}
        role: enforcer
        organization: acme
        may_assert_roles: true
"""

CALLERS = """
callers:
  - certificate: dns:proxy.acme.internal
    role: enforcer
    organization: acme
    name: the proxy
  - certificate: cn:olivia
    role: owner
    organization: acme
    username: olivia
"""


@pytest.fixture
def issuers(tmp_path: Path) -> Path:
    """ISSUERS as a file, beside the first of the keys."""
    path = tmp_path / "issuers.yaml"
    path.write_text(ISSUERS)
    publish(path, 1)
    return path


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of keys and certificates are looked at so often that nobody waits."""
    monkeypatch.setattr("pullgate_server.composition.CREDENTIAL_POLL_SECONDS", 0.01)


def publish(issuers: Path, *numbers: int) -> None:
    """Have the issuer publish these of its keys, as a new file."""
    new = issuers.with_name("keys.new")
    new.write_bytes(key_set(*(published("ES256", number) for number in numbers)))
    new.replace(issuers.with_name("keys.json"))


def of_person(clock: Clock, group: str, username: str, number: int = 1, **changes: Any) -> str:
    """A signed token of a person."""
    return signed(claims(clock, groups=[group], preferred_username=username, **changes), number=number)


async def until(service: Service, secret: str, expected: tuple[str, str]) -> None:
    """Wait until calls with this token end so."""
    async with asyncio.timeout(SOON):
        while (await ask(service, "GetCaller", WHO, secret)).ending != expected:
            pass


async def test_a_signed_token_is_a_bearer_token(serve: Serve, issuers: Path) -> None:
    """Its bearer decides, and is told who it is and until when; what it may assert counts."""
    async with serve(jwt_issuers=issuers) as service:
        await put_strict(service, "acme")
        token = signed(claims(service.clock))
        caller = await answer_to(service, "GetCaller", WHO, token)
        stated = identity_in("acme", "dev", role=identity_pb2.ROLE_OWNER)
        question = decisions.DecideRequest(identity=stated, reference="a/b")
        answers = [(await answer_to(service, "Decide", question, token)).decision for _ in range(2)]

        assert (caller.name, caller.organization, caller.username) == ("repo:acme/web", "acme", "")
        assert (caller.role, caller.may_assert_roles) == (access_token_pb2.CALLER_ROLE_ENFORCER, True)
        assert caller.expires_at.ToJsonString() == "2026-06-01T00:10:00Z"
        assert [answer.reason for answer in answers] == [decision_pb2.REASON_ORGANIZATION_OWNER] * 2
        foreign = decisions.DecideRequest(identity=identity_in("globex"), reference="a/b")
        assert (await ask(service, "Decide", foreign, token)).code == "PERMISSION_DENIED"


async def test_a_signed_token_expires(serve: Serve, issuers: Path) -> None:
    """From its expiry on calls are refused, also of one that was used before, and its open streams end."""
    async with serve(jwt_issuers=issuers) as service:
        used, unused = signed(claims(service.clock)), signed(claims(service.clock, sub="other"))
        stream = await open_decisions(service, used)
        service.clock.advance(seconds=599)
        assert (await ask(service, "GetCaller", WHO, used)).code == "OK"
        service.clock.advance(seconds=1)
        for token in (used, unused):
            for method, request in (("GetCaller", WHO), ("Decide", decisions.DecideRequest(reference="nginx"))):
                assert (await ask(service, method, request, token)).ending == EXPIRED
        await stream.write(decisions.StreamDecideRequest(reference="nginx"))

        assert (await ended(stream)).ending == EXPIRED


@pytest.mark.parametrize(
    "token",
    [
        signed(claims(Clock()), number=2),
        signed(claims(Clock(), iss="https://login.globex.com")),
        signed(claims(Clock(), aud="other")),
        signed(claims(Clock(), repository_owner="globex")),
        signed(claims(Clock()))[:-4] + "AAAA",
        "a.b.c",
    ],
)
async def test_other_signed_tokens_are_refused(serve: Serve, issuers: Path, token: str) -> None:
    """A token of another key, issuer, audience or bearer, or one that was changed, is nobody's."""
    async with serve(jwt_issuers=issuers) as service:
        told = await ask(service, "GetCaller", WHO, token)
        identity = identity_pb2.Identity(token=token)
        question = decisions.DecideRequest(identity=identity, organizations=["acme"], reference="nginx")

        assert told.ending == UNKNOWN
        assert (await ask(service, "Decide", question)).ending == ("INVALID_ARGUMENT", "IDENTITY_TOKEN_INVALID")


async def test_without_issuers_no_signed_token_is_accepted(serve: Serve) -> None:
    """Where none are configured a signed token is any unknown token."""
    async with serve() as service:
        assert (await ask(service, "GetCaller", WHO, signed(claims(service.clock)))).ending == UNKNOWN


async def test_a_signed_token_says_who_pulls(serve: Serve, issuers: Path) -> None:
    """As an identity's token it stands for its person, whose role is the issuer's word, or the list's."""
    async with serve(jwt_issuers=issuers) as service:
        await put_strict(service, "acme")
        asker = (await make_token(service, "enforcer")).secret
        tokens = [of_person(service.clock, "owners", "olivia"), of_person(service.clock, "staff", "mia")]

        async def reasons() -> list[str]:
            answers = [
                await answer_to(
                    service,
                    "Decide",
                    decisions.DecideRequest(identity=identity_pb2.Identity(token=token), reference="a/b"),
                    asker,
                )
                for token in tokens * 2
            ]
            return [decision_pb2.Reason.Name(answer.decision.reason) for answer in answers]

        owner, unknown = "REASON_ORGANIZATION_OWNER", "REASON_CATEGORY_UNKNOWN"
        assert await reasons() == [owner, unknown] * 2
        await write_members(service, "acme", member("olivia"), member("mia", "owner"))
        assert await reasons() == [unknown, owner] * 2
        enforcers = identity_pb2.Identity(token=signed(claims(service.clock)))
        for told in (
            await ask(service, "Decide", decisions.DecideRequest(identity=enforcers, reference="a/b"), asker),
            await ask(
                service,
                "Decide",
                decisions.DecideRequest(
                    identity=identity_pb2.Identity(token=of_person(service.clock, "owners", "stranger")),
                    reference="a/b",
                ),
                asker,
            ),
        ):
            assert told.ending == ("INVALID_ARGUMENT", "IDENTITY_TOKEN_INVALID")


async def test_the_list_holds_for_signed_tokens(serve: Serve, issuers: Path) -> None:
    """A person that the issuer calls an owner is at most what the list says, on open streams too."""
    async with serve(jwt_issuers=issuers) as service:
        await put_strict(service, "acme")
        token = of_person(service.clock, "owners", "olivia")
        assert (await ask(service, "ListTokens", admin.ListTokensRequest(), token)).code == "OK"
        stream = await open_events(service, token)
        await write_members(service, "acme", member("olivia"))
        denied = ("PERMISSION_DENIED", "ROLE_NOT_PERMITTED")

        assert (await ended(stream)).ending == denied
        assert (await ask(service, "ListTokens", admin.ListTokensRequest(), token)).ending == denied
        assert (await answer_to(service, "GetCaller", WHO, token)).role == access_token_pb2.CALLER_ROLE_MEMBER


async def test_keys_change_without_a_restart(serve: Serve, issuers: Path) -> None:
    """Tokens of a new key are accepted as soon as the file has it, and those of a withdrawn one are not."""
    async with serve(jwt_issuers=issuers) as service:
        old, new = signed(claims(service.clock)), signed(claims(service.clock), number=2)
        assert (await ask(service, "GetCaller", WHO, old)).code == "OK"
        publish(issuers, 1, 2)
        # Asked for by the very call that needs it.
        assert (await ask(service, "GetCaller", WHO, new)).code == "OK"
        assert (await ask(service, "GetCaller", WHO, old)).code == "OK"
        publish(issuers, 2)
        await until(service, old, UNKNOWN)

        assert (await ask(service, "GetCaller", WHO, new)).code == "OK"


async def test_a_withdrawn_key_holds_for_ready_answers(serve: Serve, issuers: Path) -> None:
    """Who is named by a token of a withdrawn key is nobody, also where an answer about them lies ready."""
    async with serve(jwt_issuers=issuers) as service:
        asker = (await make_token(service, "enforcer")).secret
        person = of_person(service.clock, "owners", "olivia")
        question = decisions.DecideRequest(identity=identity_pb2.Identity(token=person), reference="a/b")
        for _ in range(2):
            await answer_to(service, "Decide", question, asker)
        publish(issuers, 2)
        await until(service, person, UNKNOWN)

        told = await ask(service, "Decide", question, asker)
        assert told.ending == ("INVALID_ARGUMENT", "IDENTITY_TOKEN_INVALID")


async def test_a_withdrawn_key_ends_open_streams(serve: Serve, issuers: Path) -> None:
    """Streams of who may no longer call end, also where it is the issuer that took a key back."""
    async with serve(jwt_issuers=issuers) as service:
        await put_strict(service, "acme")
        token = of_person(service.clock, "owners", "olivia")
        stream = await open_events(service, token)
        publish(issuers, 2)
        await until(service, token, UNKNOWN)

        assert (await ended(stream)).code == "UNAUTHENTICATED"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Secured:
    """A server with mutual TLS, and who may connect to it."""

    service: Service
    files: Files
    own: Issued
    clients: Issued

    @asynccontextmanager
    async def connect(self, client: Issued | None, trusted: Issued | None = None) -> AsyncIterator[Service]:
        """The server over a new connection of a client with this certificate."""
        pair = (client.key_pem, client.pem) if client else (None, None)
        credentials = grpc.ssl_channel_credentials((trusted or self.own).pem, *pair)
        async with grpc.aio.secure_channel(self.service.server.address, credentials) as channel:
            yield dataclasses.replace(self.service, channel=channel)

    def client(self, common_name: str = "", *dns: str) -> Issued:
        """A certificate that the authority of clients has issued."""
        return issue(common_name, self.clients, names=tuple(x509.DNSName(name) for name in dns))


@pytest.fixture
async def secured(serve: Serve, tmp_path: Path) -> AsyncIterator[Secured]:
    """A server with mutual TLS and CALLERS."""
    files = Files(directory=tmp_path / "tls")
    files.directory.mkdir()
    own, clients = issue("own"), issue("clients")
    files.write(issue("server", own, names=LOCALHOST), clients)
    callers = files.directory / "callers.yaml"
    callers.write_text(CALLERS)
    async with serve(
        clock=Clock(now=datetime.now(UTC)),
        listen="localhost:0",
        tls_cert=files.certificate,
        tls_key=files.key,
        tls_client_ca=files.client_ca,
        tls_callers=callers,
    ) as service:
        yield Secured(service=service, files=files, own=own, clients=clients)


async def test_a_certificate_is_enough(secured: Secured) -> None:
    """Who has a certificate of a configured name decides without a token, and is that caller."""
    async with secured.connect(secured.client("", "Proxy.acme.internal")) as service:
        caller = (await ask(service, "GetCaller", WHO, metadata=())).answer
        for _ in range(2):
            told = await ask(service, "Decide", decisions.DecideRequest(reference="nginx"), metadata=())
            assert told.answer.decision.organization == "acme"
        streamed = await ask(service, "StreamDecide", decisions.StreamDecideRequest(reference="nginx"), metadata=())
        refused = await ask(service, "ListTokens", admin.ListTokensRequest(), metadata=())

        assert (caller.name, caller.caller_id) == ("the proxy", "certificate:dns:proxy.acme.internal")
        assert caller.role == access_token_pb2.CALLER_ROLE_ENFORCER
        assert streamed.answer.decision.organization == "acme"
        assert refused.ending == ("PERMISSION_DENIED", "ROLE_NOT_PERMITTED")


async def test_the_list_holds_for_certificates(secured: Secured) -> None:
    """A person with a certificate is at most what the list says, on open streams too."""
    async with secured.connect(secured.client("olivia")) as service:
        await put_strict(service, "acme")
        assert (await ask(service, "ListTokens", admin.ListTokensRequest(), metadata=())).code == "OK"
        stream = service.administration.StreamEvents(admin.StreamEventsRequest(since_revision=0))
        await stream.read()
        await write_members(service, "acme", member("olivia"))
        denied = ("PERMISSION_DENIED", "ROLE_NOT_PERMITTED")

        assert (await ended(stream)).ending == denied
        assert (await ask(service, "ListTokens", admin.ListTokensRequest(), metadata=())).ending == denied


@pytest.mark.parametrize("names", [("",), ("stranger",), ("proxy.acme.internal",), ("", "evil-proxy.acme.internal")])
async def test_a_certificate_of_another_name_is_nobodys(secured: Secured, names: tuple[str, ...]) -> None:
    """A good certificate whose names are not configured connects, and is refused with its names."""
    async with secured.connect(secured.client(*names)) as service:
        told = await ask(service, "GetCaller", WHO, metadata=())
        stream = service.decisions.StreamDecide()
        streamed = await ended(stream)

        assert told.ending == streamed.ending == ("UNAUTHENTICATED", "CERTIFICATE_UNKNOWN")
        assert (names[-1] or "without names") in told.status.message


async def test_without_a_certificate_there_is_no_connection(secured: Secured) -> None:
    """Neither without a certificate nor with one of another authority does anybody get in, token or not."""
    for client in (None, issue("olivia"), issue("olivia", secured.own)):
        async with secured.connect(client) as service:
            assert (await ask(service, "GetCaller", WHO)).code == "UNAVAILABLE"


async def test_a_token_goes_before_the_certificate(secured: Secured) -> None:
    """With a token the caller is the token's, and a bad token is not made good by the certificate."""
    async with secured.connect(secured.client("olivia")) as service:
        assert (await answer_to(service, "GetCaller", WHO)).role == access_token_pb2.CALLER_ROLE_OPERATOR
        assert (await ask(service, "GetCaller", WHO, "pullgate_wrong")).ending == UNKNOWN
        basic = (("authorization", "Basic YTpi"),)
        told = await ask(service, "GetCaller", WHO, metadata=basic)
        assert told.ending == ("UNAUTHENTICATED", "TOKEN_MISSING")
    async with secured.connect(secured.client("stranger")) as service:
        assert (await answer_to(service, "GetCaller", WHO)).role == access_token_pb2.CALLER_ROLE_OPERATOR


async def test_renewed_files_are_served_without_a_restart(secured: Secured) -> None:
    """New connections get the new certificate, those that are open go on, and so do the callers."""
    client, renewed = secured.client("", "proxy.acme.internal"), issue("renewed")
    async with secured.connect(client) as before:
        assert (await ask(before, "GetCaller", WHO, metadata=())).code == "OK"
        secured.files.write(issue("server", renewed, names=LOCALHOST))
        async with asyncio.timeout(SOON):
            while True:
                async with secured.connect(client, renewed) as service:
                    told = await ask(service, "GetCaller", WHO, metadata=())
                if told.code != "UNAVAILABLE":
                    break

        assert told.answer.name == "the proxy"
        assert (await ask(before, "GetCaller", WHO, metadata=())).code == "OK"


async def test_certificates_without_callers_are_for_connecting_alone(serve: Serve, tmp_path: Path) -> None:
    """Without --tls-callers a certificate lets in, and a token says who calls."""
    files, own = Files(directory=tmp_path), issue("own")
    files.write(issue("server", own, names=LOCALHOST), own)
    async with serve(
        clock=Clock(now=datetime.now(UTC)),
        listen="localhost:0",
        tls_cert=files.certificate,
        tls_key=files.key,
        tls_client_ca=files.client_ca,
    ) as service:
        secured = Secured(service=service, files=files, own=own, clients=own)
        async with secured.connect(secured.client("olivia")) as connected:
            told = await ask(connected, "GetCaller", WHO, metadata=())

            assert told.ending == ("UNAUTHENTICATED", "TOKEN_MISSING")
            assert (await ask(connected, "GetCaller", WHO)).code == "OK"


async def test_plain_text_does_not_reach_a_server_with_tls(secured: Secured) -> None:
    """A client that does not speak TLS gets nothing, and its token is not looked at."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await secured.service.call(secured.service.administration.GetCaller, WHO)

    assert told_by(raised.value).code == "UNAVAILABLE"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"tls_cert": "server.pem"}, "--tls-cert is given without --tls-key"),
        ({"tls_key": "server.key"}, "--tls-key is given without --tls-cert"),
        ({"tls_client_ca": "clients.pem"}, "--tls-client-ca is given without --tls-cert"),
        ({"tls_callers": "callers.yaml"}, "--tls-callers is given without --tls-client-ca"),
        (
            {"tls_cert": "server.pem", "tls_key": "server.key", "tls_callers": "callers.yaml"},
            "--tls-callers is given without --tls-client-ca",
        ),
        ({"listen": "0.0.0.0:0"}, "can be reached by other machines"),
        ({"tls_cert": "clients.pem", "tls_key": "server.key"}, "does not belong to the first certificate"),
        ({"tls_cert": "server.pem", "tls_key": "none.key"}, "--tls-key .* cannot be read"),
        (
            {
                "tls_cert": "server.pem",
                "tls_key": "server.key",
                "tls_client_ca": "clients.pem",
                "tls_callers": "none.yaml",
            },
            "--tls-callers .* cannot be read",
        ),
        (
            {
                "tls_cert": "server.pem",
                "tls_key": "server.key",
                "tls_client_ca": "clients.pem",
                "tls_callers": "issuers.yaml",
            },
            "--tls-callers .* cannot be used",
        ),
        ({"jwt_issuers": "none.yaml"}, "--jwt-issuers .* cannot be read"),
        ({"jwt_issuers": "callers.yaml"}, "--jwt-issuers .* cannot be used"),
        ({"jwt_issuers": "nokeys.yaml"}, "the keys of issuer .* cannot be used"),
        ({"jwt_issuers": "operator.yaml"}, "an operator belongs to none"),
    ],
)
async def test_what_contradicts_itself_does_not_start(
    serve: Serve, issuers: Path, tmp_path: Path, options: Mapping[str, str], told: str
) -> None:
    """A server whose options do not go together says which, and does not start."""
    files = Files(directory=tmp_path)
    files.write(issue("server"), issue("clients"))
    (tmp_path / "callers.yaml").write_text(CALLERS)
    (tmp_path / "nokeys.yaml").write_text(ISSUERS.replace("keys.json", "none.json"))
    (tmp_path / "operator.yaml").write_text(ISSUERS.replace("role: enforcer", "role: operator"))
    given = {name: value if name == "listen" else tmp_path / value for name, value in options.items()}
    with pytest.raises(StartupError, match=told):
        async with serve(clock=Clock(now=datetime.now(UTC)), **given):
            pass
