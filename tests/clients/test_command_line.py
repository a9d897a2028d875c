"""The command line against a server process: what a person reads, what a program reads, and the exit codes."""

import json
import os
import pty
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pullgate_cli.decide import reason_in_words
from pullgate_policy import Decision, Effect, Reason, parse_reference
from tests.conftest import SOON, ServerProcess, clean_environment, run_pullgate, start_server, stop_server

OFFICIAL_IMAGES = Path(__file__).parent.joinpath("official_images.txt").read_text().split()
CATALOGUE = """
entries:
  - {namespace: someuser, category: COMMUNITY, source: seen on Docker Hub, retrieved_at: 2026-01-01T00:00:00Z}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with a catalogue in its data directory, and the preset strict for acme."""
    data = tmp_path_factory.mktemp("server") / "data"
    data.mkdir()
    (data / "catalogue.yaml").write_text(CATALOGUE)
    server = start_server(data)
    preset = run_pullgate("policy", "preset", "strict", "--org", "acme").stdout
    applied = run_pullgate("policy", "apply", "--yes", "-f", "-", environment=server.environment(), stdin=preset)
    assert applied.returncode == 0, applied.stderr
    yield server
    stop_server(server)


def pullgate(server: ServerProcess, *arguments: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
    """Run a command against the server."""
    return run_pullgate(*arguments, environment=server.environment(), stdin=stdin)


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["nginx"], 0, ["ALLOW  docker.io/library/nginx:latest", "official images are allowed by organization acme"]),
        (
            ["someuser/custom-image"],
            1,
            [
                "DENY   docker.io/someuser/custom-image:latest",
                "image access denied: community images not allowed",
                "community, says catalogue: seen on Docker Hub (2026-01-01)",
                "image_access.allow.community_images of acme at revision 1",
            ],
        ),
        (["ghcr.io/a/b"], 0, ["ALLOW  ghcr.io/a/b:latest", "not an image of Docker Hub"]),
        (["Bad/Name"], 2, ['ERROR  Bad/Name\n           ^ "N" is uppercase, and a repository name must be lowercase']),
        (["nginx", "someuser/x", "Bad/Name"], 2, ["ALLOW  docker.io", "DENY   docker.io", "ERROR  Bad/Name"]),
        (["--role", "owner", "someuser/x"], 0, ["owners of organization acme are exempt"]),
        (["--credential", "organization_access_token", "nginx"], 1, ["use a personal access token"]),
        (["--org", "initech", "nginx"], 0, ["official images are allowed by organization acme"]),
    ],
)
def test_decide(server: ServerProcess, arguments: list[str], code: int, told: list[str]) -> None:
    """The answer, the reason in words, how the category is known, and an exit code for scripts."""
    result = pullgate(server, "decide", "--org", "acme", "--user", "dev", *arguments)

    assert code == result.returncode
    for text in told:
        assert text in result.stdout


def test_decide_for_nobody(server: ServerProcess) -> None:
    """--anonymous asks the named organization's policy about nobody, and goes with no identity."""
    allowed = pullgate(server, "decide", "--anonymous", "--org", "acme", "someuser/x")
    refused = pullgate(server, "decide", "--anonymous", "--user", "dev", "--org", "acme", "someuser/x")

    assert (allowed.returncode, refused.returncode) == (0, 2)
    assert "not signed in with organization acme, which does not require it" in allowed.stdout
    assert "--anonymous is nobody" in refused.stderr


def test_decide_as_json(server: ServerProcess) -> None:
    """One object a line: the input and the decision's fields, or the input and an error."""
    result = pullgate(server, "decide", "--org", "acme", "--user", "dev", "--json", "someuser/x", "Bad/Name")
    decision, error = map(json.loads, result.stdout.splitlines())

    assert result.returncode == 2
    assert {"input": "Bad/Name", "error": {"code": "INVALID_ARGUMENT", "message": error["error"]["message"]}} == error
    assert re.fullmatch("[0-9a-f]{32}", decision.pop("decision_id"))
    assert decision == {
        "input": "someuser/x",
        "effect": "DENY",
        "policy_effect": "DENY",
        "enforced": True,
        "reason": "CATEGORY_NOT_ALLOWED",
        "message": "image access denied: community images not allowed",
        "help": "",
        "category": "COMMUNITY",
        "evidence": {
            "source": "catalogue",
            "detail": "seen on Docker Hub",
            "checked_at": "2026-01-01T00:00:00Z",
            "stale": False,
            "refresh_at": None,
            "community_class": None,
        },
        "reference": "docker.io/someuser/x:latest",
        "repository": "docker.io/someuser/x",
        "organization": "acme",
        "matched_rule": "image_access.allow.community_images",
        "policy_revision": 1,
        "cacheable_for": "60s",
        "notes": [],
        "known_as_of": None,
    }


def test_every_official_image_in_one_run(server: ServerProcess) -> None:
    """The whole list of Docker Official Images is allowed under the preset strict, read from standard input."""
    result = pullgate(
        server, "decide", "--org", "acme", "--user", "dev", "-", stdin="\n".join(OFFICIAL_IMAGES) + "\n\n"
    )

    assert len(OFFICIAL_IMAGES) == 144
    assert result.returncode == 0
    assert [line.split()[1] for line in result.stdout.splitlines()] == OFFICIAL_IMAGES
    assert "144 allowed, 0 denied, 0 without a decision; asked in " in result.stderr


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_words(reason: Reason) -> None:
    """Whatever reason an ALLOW comes with, as from a newer service, there are words for it."""
    decision = Decision(
        effect=Effect.ALLOW,
        policy_effect=Effect.ALLOW,
        enforced=True,
        reason=reason,
        message="",
        help="",
        evidence=None,
        reference=parse_reference("nginx"),
        repository=None,
        organization="acme",
        matched_rule="",
        valid_until=None,
    )

    assert reason_in_words(decision)


def test_more_than_a_batch(server: ServerProcess) -> None:
    """More references than fit one batch are all answered, in their order."""
    references = [f"image{index}" for index in range(1203)]
    result = pullgate(server, "decide", "--org", "acme", "--user", "dev", "--json", "-", stdin="\n".join(references))

    assert references == [json.loads(line)["input"] for line in result.stdout.splitlines()]


def test_nothing_to_ask_is_not_allowed(server: ServerProcess) -> None:
    """Empty standard input is wrong usage, so that a broken pipe in a pipeline does not read as ALLOW."""
    result = pullgate(server, "decide", "--org", "acme", "--user", "dev", "-", stdin="\n\n")

    assert result.returncode == 2
    assert "standard input holds no references" in result.stderr


def test_a_server_with_small_batches(tmp_path: Path) -> None:
    """A service that takes smaller batches gets them."""
    server = start_server(tmp_path / "data", "--max-batch", "100")
    references = "\n".join(f"image{index}" for index in range(333))
    result = pullgate(server, "decide", "--org", "acme", "--user", "dev", "--json", "-", stdin=references)
    stop_server(server)

    assert (result.returncode, len(result.stdout.splitlines())) == (0, 333)


def test_the_local_token_stays_on_this_machine(server: ServerProcess) -> None:
    """The operator token of this machine's server is not sent to an address elsewhere."""
    from pullgate_client.connection import local_token

    addresses = ["127.0.0.1:1", "localhost:1", "[::1]:1", "unix:/x", "example.com:1", "10.0.0.1:1", "nonsense"]
    sent = [bool(local_token(address, server.data_dir)) for address in addresses]

    assert sent == [True, True, True, True, False, False, False]


@pytest.mark.parametrize("token", ["pullgate_é", "pull\ngate"])
def test_a_token_that_is_none_is_told(server: ServerProcess, token: str) -> None:
    """A token with characters that none has is refused before it is sent; white space around one does not matter."""
    result = pullgate(server, "decide", "--org", "acme", "--token", token, "nginx")
    good = (server.data_dir / "operator.token").read_text()
    allowed = pullgate(server, "decide", "--org", "acme", "--token", f" {good}", "nginx")

    assert (result.returncode, allowed.returncode) == (2, 0)
    assert "the token has characters that no token has" in result.stderr


def test_without_an_organization(server: ServerProcess) -> None:
    """An operator who names no organization is told to."""
    result = pullgate(server, "decide", "--user", "dev", "nginx")

    assert result.returncode == 2
    assert "name an organization" in result.stderr


def test_a_stopped_server_is_no_decision(tmp_path: Path) -> None:
    """When nothing answers, the exit code is 3 and the message says what to do; a bad reference still explains."""
    environment = {**clean_environment(), "PULLGATE_ADDRESS": "127.0.0.1:1", "PULLGATE_DATA_DIR": str(tmp_path)}
    asked = run_pullgate("decide", "--org", "acme", "nginx", environment=environment)
    bad = run_pullgate("decide", "--org", "acme", "Bad/Name", environment=environment)

    assert (asked.returncode, bad.returncode) == (3, 2)
    assert "no service answers on 127.0.0.1:1; start one with 'pullgate serve'" in asked.stderr
    assert "uppercase" in bad.stdout


def test_what_concerns_all_references_is_told_once(tmp_path: Path) -> None:
    """Why there is no answer at all stands on standard error, once, and not among the answers."""
    environment = {**clean_environment(), "PULLGATE_ADDRESS": "127.0.0.1:1", "PULLGATE_DATA_DIR": str(tmp_path)}
    references = ("nginx", "redis", "postgres")
    result = run_pullgate("decide", "--org", "acme", "--user", "dev", *references, environment=environment)

    assert (result.returncode, result.stdout) == (3, "")
    assert result.stderr.count("no service answers on 127.0.0.1:1") == 1


def test_a_stopped_server_as_json(tmp_path: Path) -> None:
    """With --json every input has its object also when nothing answers."""
    environment = {**clean_environment(), "PULLGATE_ADDRESS": "127.0.0.1:1", "PULLGATE_DATA_DIR": str(tmp_path)}
    result = run_pullgate("decide", "--org", "acme", "--json", "nginx", "Bad/Name", "redis", environment=environment)
    told = [(item["input"], item["error"]["code"]) for item in map(json.loads, result.stdout.splitlines())]

    assert result.returncode == 3
    assert told == [("nginx", "UNAVAILABLE"), ("Bad/Name", "INVALID_ARGUMENT"), ("redis", "UNAVAILABLE")]
    assert "no service answers on 127.0.0.1:1" in result.stdout


def test_without_or_with_a_wrong_token(server: ServerProcess, tmp_path: Path) -> None:
    """No token and a wrong token are no decision, and the message says where a token comes from."""
    environment = {**server.environment(), "PULLGATE_DATA_DIR": str(tmp_path)}
    without = run_pullgate("decide", "--org", "acme", "nginx", environment=environment)
    wrong = run_pullgate("decide", "--org", "acme", "--token", "pullgate_00", "nginx", environment=environment)

    assert (without.returncode, wrong.returncode) == (3, 3)
    assert "a token is required: say --token" in without.stderr
    assert "the token is not known here" in wrong.stderr
    assert "pullgate_00" not in wrong.stdout + wrong.stderr


def test_reference() -> None:
    """A reference is taken apart without asking anybody."""
    result = run_pullgate("reference", "--json", "index.docker.io/nginx", "ghcr.io/a/b:1", "Bad/Name")
    nginx, other, bad = map(json.loads, result.stdout.splitlines())

    assert result.returncode == 2
    assert nginx == {
        "input": "index.docker.io/nginx",
        "registry": "docker.io",
        "repository": "docker.io/library/nginx",
        "namespace": "library",
        "tag": "latest",
        "digest": None,
        "normalized": "docker.io/library/nginx:latest",
        "docker_hub": True,
    }
    assert (other["namespace"], other["docker_hub"]) == (None, False)
    assert "uppercase" in bad["error"]


def test_reference_for_a_person() -> None:
    """Every part has a line, and what is wrong has a mark under it."""
    result = run_pullgate("reference", "-", stdin="nginx\nnginx:-\n")

    assert "normalized  docker.io/library/nginx:latest" in result.stdout
    assert 'ERROR  nginx:-\n             ^ "-" is not allowed at the start of a tag' in result.stdout


def test_a_policy_is_applied_got_and_listed(server: ServerProcess, tmp_path: Path) -> None:
    """Apply shows the change and writes it; get prints a document that applies unchanged; list shows who wrote it."""
    file = tmp_path / "globex.yaml"
    file.write_text("organization: globex\nimage_access: {enabled: true, help: Ask us.}\n")
    applied = pullgate(server, "policy", "apply", "--yes", "-f", str(file), "--comment", "begin")
    got = pullgate(server, "policy", "get", "globex")
    again = pullgate(server, "policy", "apply", "-f", "-", stdin=got.stdout)
    listed = pullgate(server, "policy", "list")
    as_json = json.loads(pullgate(server, "policy", "get", "--json", "globex").stdout)

    assert applied.returncode == 0
    assert "globex: has no policy yet" in applied.stdout
    assert '  ~ image_access.help  "" → "Ask us."' in applied.stdout
    assert re.search(r"^globex: written as revision \d+$", applied.stdout, re.MULTILINE)
    assert "globex: unchanged, at revision" in again.stdout
    assert re.search(r"globex +enforce +any +\d+ +operator", listed.stdout)
    assert (as_json["comment"], as_json["author"]) == ("begin", "operator")


def test_apply_shows_what_changes_and_asks(server: ServerProcess, tmp_path: Path) -> None:
    """On a terminal apply asks first; no is exit code 1 and changes nothing; with nobody to ask it wants --yes."""
    file = tmp_path / "initech.yaml"
    file.write_text("organization: initech\nimage_access: {enabled: true}\n")
    unasked = pullgate(server, "policy", "apply", "-f", str(file))
    said_no = on_a_terminal(server, ["policy", "apply", "-f", str(file)], "n\n")
    absent = pullgate(server, "policy", "get", "initech")
    said_yes = on_a_terminal(server, ["policy", "apply", "-f", str(file)], "y\n")

    assert unasked.returncode == 2
    assert "say --yes" in unasked.stderr
    assert (said_no[0], absent.returncode, said_yes[0]) == (1, 2, 0)
    assert "organization initech has no policy" in absent.stderr
    assert "\x1b[32m\x1b[1mpolicy\x1b[0m\r\n      initech gets a policy" in said_no[1]
    assert "initech: written as revision" in said_yes[1]


def on_a_terminal(server: ServerProcess, arguments: list[str], typed: str) -> tuple[int, str]:
    """Run a command on a terminal of its own, type, and give its exit code and what it printed."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "pullgate_cli", *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**server.environment(), "TERM": "xterm"},
    )
    os.close(theirs)
    os.write(ours, typed.encode())
    printed = b""
    while True:
        try:
            chunk = os.read(ours, 4096)
        except OSError:
            break
        if not chunk:
            break
        printed += chunk
    os.close(ours)
    return process.wait(timeout=SOON), printed.decode()


def test_a_policy_with_problems_is_not_sent(server: ServerProcess, tmp_path: Path) -> None:
    """Every problem is told with its path, before anything is asked of the server."""
    file = tmp_path / "bad.yaml"
    file.write_text("organization: acme\nimage_access: {enabled: yes, alow: {}}\n")
    result = pullgate(server, "policy", "apply", "-f", str(file))

    assert result.returncode == 2
    assert 'image_access.enabled: expected true or false, got the text "yes"' in result.stderr
    assert "image_access.alow: unknown key; did you mean allow?" in result.stderr


@pytest.mark.parametrize("name", ["strict", "standard", "open"])
def test_presets(name: str) -> None:
    """A preset is printed as a document for the named organization."""
    result = run_pullgate("policy", "preset", name, "--org", "globex")

    assert result.returncode == 0
    assert "organization: globex" in result.stdout


def test_pins(server: ServerProcess) -> None:
    """A pin holds at once, is listed, and can be taken back."""
    pinned = pullgate(server, "category", "pin", "vendor/agent", "verified_publisher", "--reason", "contract")
    listed = pullgate(server, "category", "pins")
    decided = pullgate(server, "decide", "--org", "acme", "--user", "dev", "vendor/agent")
    unpinned = pullgate(server, "category", "unpin", "vendor/agent")
    again = pullgate(server, "category", "unpin", "vendor/agent")

    assert tuple(result.returncode for result in (pinned, listed, decided, unpinned, again)) == (0, 0, 1, 0, 2)
    assert re.search(r"- +vendor/agent +verified publisher +never +operator", listed.stdout)
    assert "verified publisher, says pin: pinned by operator: contract" in decided.stdout
    assert '"vendor/agent" is not pinned for every organization' in again.stderr


def test_healthcheck(server: ServerProcess) -> None:
    """Healthcheck is for probes: 0 and a word when serving, 3 when nothing answers; it needs no token."""
    environment = {**clean_environment(), "PULLGATE_ADDRESS": server.address, "PULLGATE_DATA_DIR": "/nowhere"}
    serving = run_pullgate("healthcheck", environment=environment)
    nothing = run_pullgate("healthcheck", "--address", "127.0.0.1:1")

    assert (serving.returncode, serving.stdout, nothing.returncode) == (0, "SERVING\n", 3)


def test_version() -> None:
    """The version is that of the installed distribution."""
    from importlib.metadata import version

    assert f"pullgate {version('pullgate')} " in run_pullgate("version").stdout
    assert version("grpcio") == json.loads(run_pullgate("version", "--json").stdout)["grpcio"]


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["serve"],
        ["decide"],
        ["reference"],
        ["policy"],
        ["policy", "apply"],
        ["policy", "get"],
        ["policy", "list"],
        ["policy", "preset"],
        ["category"],
        ["category", "pin"],
        ["healthcheck"],
        ["version"],
    ],
    ids=" ".join,
)
def test_every_command_has_help(command: list[str]) -> None:
    """--help explains every command, with its exit codes or examples where it has them."""
    result = run_pullgate(*command, "--help")

    assert result.returncode == 0
    assert "Usage: " in result.stdout


def test_a_mistyped_command_is_told() -> None:
    """The nearest command is named."""
    result = run_pullgate("decde", "nginx")

    assert result.returncode == 2
    assert "there is no command decde; did you mean decide?" in result.stderr


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl to make a certificate")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert],
        check=True, capture_output=True,
    )  # fmt: skip
    return cert, key


def test_tls(certificate: tuple[Path, Path], tmp_path: Path) -> None:
    """A server with a certificate answers who trusts it, and neither plaintext nor who does not."""
    cert, key = certificate
    server = start_server(tmp_path / "data", "--tls-cert", str(cert), "--tls-key", str(key))
    try:
        trusted = pullgate(server, "decide", "--org", "acme", "--user", "dev", "--ca", str(cert), "nginx")
        healthy = pullgate(server, "healthcheck", "--ca", str(cert))
        plain = pullgate(server, "decide", "--org", "acme", "--user", "dev", "nginx")
        untrusted = pullgate(server, "decide", "--org", "acme", "--user", "dev", "--tls", "nginx")
        half = pullgate(server, "decide", "--org", "acme", "--cert", str(cert), "nginx")
    finally:
        stop_server(server)

    assert tuple(result.returncode for result in (trusted, healthy, plain, untrusted, half)) == (0, 0, 3, 3, 2)
    assert "a client certificate needs its key" in half.stderr


def test_a_server_keeps_what_it_was_told(tmp_path: Path) -> None:
    """After a restart on the same data directory policies and the operator token hold; a stop is exit code 0."""
    data = tmp_path / "data"
    server = start_server(data)
    token = (data / "operator.token").read_text()
    preset = run_pullgate("policy", "preset", "open", "--org", "acme").stdout
    pullgate(server, "policy", "apply", "--yes", "-f", "-", stdin=preset)
    codes = [stop_server(server)]
    server = start_server(data)
    got = pullgate(server, "policy", "get", "acme")
    codes.append(stop_server(server))

    assert codes == [0, 0]
    assert token == (data / "operator.token").read_text()
    assert "community_images: true" in got.stdout
    assert (data / "operator.token").stat().st_mode & 0o777 == 0o600
    assert data.stat().st_mode & 0o777 == 0o700
    events = [json.loads(line)["event"] for line in server.log.read_text().splitlines()]
    assert events[:4] == ["database brought up to date", "token key created", "operator token created", "serving"]
    assert events.count("token key created") == 1
    assert events.count("operator token created") == 1
    assert token.strip() not in server.log.read_text()
