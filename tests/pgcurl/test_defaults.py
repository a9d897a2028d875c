"""The default server: found without an address, given its token, and nobody else is."""

import json
from pathlib import Path

import pytest

from pgcurl.options import read_options
from pgcurl.target import Security
from pullgate.local import OPERATOR_TOKEN_FILE
from tests.conftest import ServerProcess
from tests.pgcurl.running import SERVICE, finish, pgcurl, pgcurl_process
from tests.pgcurl.streaming_server import StreamingServer, running_server

ECHO = f"{SERVICE}/Echo"
DECIDE = "pullgate.v1.PolicyDecisionService/Decide"
QUESTION = '{"identity": {"username": "dev", "memberships": [{"organization": "acme"}]}, "reference": "nginx"}'


def sent(server: StreamingServer, method: str = "Echo") -> list[str | bytes]:
    """The authorization of the last call."""
    return server.last_call(method).values("authorization")


def test_our_own_server_just_answers(server_process: ServerProcess) -> None:
    """list, describe and a call need no flag and no token on the command line."""
    environment = server_process.environment()
    services = pgcurl("list", environment=environment).out.split()
    decided = finish(pgcurl_process("-d", QUESTION, DECIDE, environment=environment))

    assert "pullgate.v1.PolicyDecisionService" in services
    assert "rpc Decide" in pgcurl("describe", "pullgate.v1.PolicyDecisionService", environment=environment).out
    assert json.loads(decided.out)["decision"]["effect"] == "EFFECT_ALLOW"


def test_a_typed_address_gets_no_token(server_process: ServerProcess) -> None:
    """Even that of the default server: what is typed is as with grpcurl."""
    environment = server_process.environment()
    refused = pgcurl("-plaintext", "-d", QUESTION, server_process.address, DECIDE, environment=environment)
    token = Path(server_process.data_dir, OPERATOR_TOKEN_FILE).read_text().strip()
    told = pgcurl(
        "-plaintext", "-H", "authorization: Bearer ${T}", "-expand-headers", "-d", QUESTION, server_process.address,
        DECIDE, environment={"T": token},
    )  # fmt: skip

    assert "Unauthenticated" in refused.err
    assert told.code == 0


@pytest.mark.parametrize(
    ("flags", "environment", "call", "reflection"),
    [
        ((), {}, [], []),
        ((), {"PULLGATE_TOKEN": "t"}, ["Bearer t"], ["Bearer t"]),
        (("-H", "Authorization: mine"), {"PULLGATE_TOKEN": "t"}, ["mine"], ["mine"]),
        (("-rpc-header", "authorization: mine"), {"PULLGATE_TOKEN": "t"}, ["mine"], ["Bearer t"]),
        (("-reflect-header", "authorization: mine"), {"PULLGATE_TOKEN": "t"}, ["Bearer t"], ["mine"]),
        (("-H", "other: 1"), {"PULLGATE_TOKEN": "t"}, ["Bearer t"], ["Bearer t"]),
        (("-plaintext",), {"PULLGATE_TOKEN": "t"}, ["Bearer t"], ["Bearer t"]),
    ],
)
def test_whose_token_is_sent(
    flags: tuple[str, ...], environment: dict[str, str], call: list[str], reflection: list[str]
) -> None:
    """That of PULLGATE_TOKEN goes to PULLGATE_ADDRESS, unless a header says who calls."""
    with running_server() as server:
        outcome = pgcurl(*flags, ECHO, environment={"PULLGATE_ADDRESS": server.address, **environment})

    assert outcome.code == 0, outcome.err
    assert (sent(server), sent(server, "ServerReflectionInfo")) == (call, reflection)


def test_no_variable_speaks_for_a_typed_address() -> None:
    """Neither PULLGATE_TOKEN nor PULLGATE_TLS counts where the address is typed."""
    environment = {"PULLGATE_TOKEN": "secret", "PULLGATE_TLS": "1", "PULLGATE_CA": "/missing"}
    with running_server() as server:
        outcome = pgcurl("-plaintext", server.address, ECHO, environment={**environment, "PULLGATE_ADDRESS": "x:1"})

    assert outcome.code == 0, outcome.err
    assert [call for call in server.calls if call.values("authorization")] == []


def test_the_token_is_not_printed() -> None:
    """-v shows that one is sent, and what was typed as it was typed, but no secret that the user never wrote down."""
    with running_server() as server:
        environment = {"PULLGATE_ADDRESS": server.address, "PULLGATE_TOKEN": "secret"}
        outcome = pgcurl("-v", ECHO, environment=environment)
        typed = pgcurl("-v", "-H", "authorization: typed", ECHO, environment=environment)

    assert "Request metadata to send:\nauthorization: Bearer …\n" in outcome.out
    assert "secret" not in outcome.out
    assert "Request metadata to send:\nauthorization: typed\n" in typed.out


def test_the_token_in_a_file(tmp_path: Path) -> None:
    """PULLGATE_TOKEN_FILE is read; a file that is missing is told."""
    path = tmp_path / "token"
    path.write_text("from-a-file\n")
    with running_server() as server:
        environment = {"PULLGATE_ADDRESS": server.address, "PULLGATE_TOKEN_FILE": str(path)}
        pgcurl(ECHO, environment=environment)
        assert sent(server) == ["Bearer from-a-file"]
        path.unlink()
        outcome = pgcurl(ECHO, environment=environment)

    assert outcome.code == 1
    assert outcome.err.startswith("Failed to read the token of the default server: ")


@pytest.mark.parametrize(
    ("flags", "environment"),
    [(("-plaintext",), {"PULLGATE_TLS": "1"}), (("-plaintext",), {"PULLGATE_CA": "ca.pem"})],
)
def test_a_weakened_connection_carries_no_token(flags: tuple[str, ...], environment: dict[str, str]) -> None:
    """Where the environment asks for TLS and the command line for none, the token stays, and that is said."""
    with running_server() as server:
        outcome = pgcurl(
            *flags, ECHO, environment={"PULLGATE_ADDRESS": server.address, "PULLGATE_TOKEN": "t", **environment}
        )

    assert outcome.code == 0, outcome.err
    assert "Warning: The token of the default server is not sent, because -plaintext weakens" in outcome.err
    assert [call for call in server.calls if call.values("authorization")] == []


@pytest.mark.parametrize(
    ("flags", "environment", "security", "unverified"),
    [
        ((), {}, Security.PLAINTEXT, False),
        ((), {"PULLGATE_TLS": "1"}, Security.TLS, False),
        ((), {"PULLGATE_CA": "x"}, Security.TLS, False),
        (("-insecure",), {}, Security.TLS, True),
        (("-cacert", "x"), {}, Security.TLS, False),
        (("-plaintext",), {"PULLGATE_TLS": "1"}, Security.PLAINTEXT, False),
        (("-alts",), {}, Security.ALTS, False),
    ],
)
def test_how_the_default_server_is_spoken_to(
    flags: tuple[str, ...], environment: dict[str, str], security: Security, *, unverified: bool
) -> None:
    """As the environment says, unless a flag says otherwise."""
    from pgcurl.defaults import default_server

    target = default_server(read_options((*flags, "list")), environment).target

    assert (target.address, target.security, target.unverified) == ("127.0.0.1:50051", security, unverified)


def test_no_default_server_is_running() -> None:
    """What can be done is told; where the address was typed, there is nothing to add."""
    told = "pullgate serve' starts the default server, and an address or PULLGATE_ADDRESS names another\n"

    assert pgcurl("list", environment={"PULLGATE_ADDRESS": "127.0.0.1:1"}).err.endswith(told)
    assert pgcurl("-plaintext", "127.0.0.1:1", "list").err.endswith("nothing listens there\n")


@pytest.mark.parametrize("name", ["PULLGATE_CERT", "PULLGATE_KEY"])
def test_half_of_a_client_certificate(name: str) -> None:
    """A certificate without its key, or the other way round, is told before the gRPC library meets it and aborts."""
    outcome = finish(pgcurl_process("list", environment={name: "/some/file"}))

    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err == "PULLGATE_CERT and PULLGATE_KEY belong together: the one is set, the other is not\n"


def test_details_of_a_refusal_without_reflection(server_process: ServerProcess) -> None:
    """What reflection refuses to tell of them is known all the same: a wrong token is told with its reason."""
    environment = {**server_process.environment(), "PULLGATE_TOKEN": "wrong"}
    outcome = pgcurl("-format-error", "-d", QUESTION, DECIDE, environment=environment)
    (detail,) = json.loads(outcome.err)["details"]

    assert outcome.code == 80
    assert detail["reason"] == "TOKEN_INVALID"
