"""`pullgate check` against a service: what is asked, for whom, and what happens where there is no answer."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import grpc
import pytest

import pullgate_client
from pullgate_policy import parse_reference
from tests.check.checking import ACME, BY_REPOSITORY, CATALOGUE, run, write
from tests.conftest import ServerProcess, clean_environment, run_pullgate, start_server, stop_server


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[ServerProcess]:
    """A server with the policy and the catalogue that the offline tests have."""
    data = tmp_path_factory.mktemp("server") / "data"
    write(data, {"catalogue.yaml": CATALOGUE})
    server = start_server(data)
    applied = run_pullgate("policy", "apply", "--yes", "-f", "-", environment=server.environment(), stdin=ACME)
    assert applied.returncode == 0, applied.stderr
    yield server
    stop_server(server)


@pytest.fixture
def asked(monkeypatch) -> list[list[str]]:
    """The references of each question to the service."""
    questions: list[list[str]] = []
    decide_all = pullgate_client.Client.decide_all

    def recorded(self, identity, references, **options):
        questions.append(list(references))
        return decide_all(self, identity, references, **options)

    monkeypatch.setattr(pullgate_client.Client, "decide_all", recorded)
    return questions


def online(server, *arguments):
    """Run it for a member of acme."""
    return run("--org", "acme", "--user", "dev", *arguments, environment=server.environment())


def test_the_service_is_asked_about_each_image_once(repository, server, asked):
    """However often an image is used it is asked about once; so is then what could stand in place of the denied."""
    write(
        repository,
        {
            "a.images": "image nginx\nimage nginx:latest\nimage bitnami/nginx:1\nimage bitnami/nginx:2",
            "b.images": "image docker.io/library/nginx\nunknown $X | no X\nimage someuser/loki",
        },
    )
    result = online(server)

    assert result.exit_code == 1
    assert asked == [
        [
            "docker.io/library/nginx:latest",
            "docker.io/bitnami/nginx:1",
            "docker.io/bitnami/nginx:2",
            "docker.io/someuser/loki:latest",
        ],
        ["docker.io/library/nginx:latest", "docker.io/grafana/loki:latest"],
    ]
    assert "instead   nginx, the official image of that name" in result.stdout
    assert "instead   grafana/loki, which is on the allowlist of organization acme" in result.stdout


def test_the_decision_is_that_of_pullgate_decide(repository, server):
    """A finding carries the very fields that `pullgate decide --json` prints."""
    write(repository, {"x.images": "image someuser/x"})
    (finding,) = json.loads(online(server, "--format", "json").stdout)["findings"]
    asked = run_pullgate(
        "decide", "--org", "acme", "--user", "dev", "--json", "someuser/x", environment=server.environment()
    )
    decision = json.loads(asked.stdout)

    assert decision.pop("input") == "someuser/x"
    assert {**finding["decision"], "decision_id": ""} == {**decision, "decision_id": ""}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--org", "acme", "--user", "dev"], 1),
        (["--org", "acme", "--user", "dev", "--team", "data-science"], 0),
        (["--org", "acme", "--user", "dev", "--role", "owner"], 0),
        (["--anonymous", "--org", "acme"], 0),
        (["--org", "acme", "--user", "dev", "--credential", "organization_access_token"], 1),
    ],
)
def test_for_whom(repository, server, arguments, code):
    """The options say who pulls, as those of `pullgate decide` do."""
    write(repository, {"x.images": "image someuser/x"})

    assert run(*arguments, environment=server.environment()).exit_code == code


def test_more_images_than_a_batch(repository, server):
    """More images than fit a batch are answered in several, each where it belongs."""
    lines = [f"image someuser/x{number}" if number % 2 else f"image library/x{number}" for number in range(1201)]
    write(repository, {"x.images": "\n".join(lines)})
    data = json.loads(online(server, "--format", "json").stdout)

    assert (data["summary"]["denied"], data["summary"]["allowed"]) == (600, 601)
    assert all(finding["decision"]["reference"] == finding["reference"] for finding in data["findings"])


def test_a_service_that_cannot_be_reached(repository, tmp_path):
    """It is said once why there is no answer, the report has it for each image, and the end is 3."""
    write(repository, {"x.images": "image nginx\nimage redis\nunknown $X | no X"})
    environment = {"PULLGATE_ADDRESS": f"unix:{tmp_path}/nobody.sock", "PULLGATE_TOKEN": "x"}
    result = run("--org", "acme", "--user", "dev", "--report", "json=x.json", environment=environment)
    errors = [finding["error"] for finding in json.loads((repository / "x.json").read_text())["findings"]]

    assert result.exit_code == 3
    assert result.stderr == (
        f"error: no service answers on unix:{tmp_path}/nobody.sock; start one with 'pullgate serve', or say --address\n"
    )
    assert "NO ANSWER" not in result.stdout
    assert (
        result.stdout.splitlines()[-1] == "3 image references in 1 file: 0 allowed, 2 without an answer, 1 unresolved"
    )
    assert [error and error["code"] for error in errors] == ["UNAVAILABLE", "UNAVAILABLE", None]
    assert run("--exit-zero", "--org", "acme", environment=environment).exit_code == 3


def test_a_baseline_is_not_written_without_answers(repository, tmp_path):
    """What nobody answered may be anything, so no baseline is written that leaves it out."""
    write(repository, {"x.images": "image nginx"})
    environment = {"PULLGATE_ADDRESS": f"unix:{tmp_path}/nobody.sock", "PULLGATE_TOKEN": "x"}
    result = run("--org", "acme", "--baseline", "b.json", "--write-baseline", environment=environment)

    assert result.exit_code == 3
    assert "b.json is not written: there is no answer about 1 image reference" in result.stderr
    assert not (repository / "b.json").exists()


def test_a_token_that_is_none(repository, server):
    """A token that is refused is no decision."""
    write(repository, {"x.images": "image nginx"})
    result = run("--org", "acme", "--user", "dev", "--token", "wrong", environment=server.environment())

    assert result.exit_code == 3
    assert result.stderr.startswith("error: ")


def test_who_may_not_read_the_policy_is_told_less(repository, server, monkeypatch):
    """Where the policy cannot be read official images can still be named, and nothing of what stands in the policy."""

    def refuse(self, organization):
        raise pullgate_client.PermissionDeniedError(grpc.StatusCode.PERMISSION_DENIED, "no")

    monkeypatch.setattr(pullgate_client.Client, "get_policy", refuse)
    write(repository, {"x.images": "image someuser/nginx\nimage someuser/loki"})
    result = online(server)

    assert result.exit_code == 1, result.output
    assert "instead   nginx, the official image of that name" in result.stdout
    assert result.stdout.count("instead ") == 1


WATCHED = """
import sys
events = []
def note(event, arguments):
    if event.startswith("socket."):
        events.append((event, [argument for argument in arguments if isinstance(argument, (str, bytes, tuple))]))
sys.addaudithook(note)
from pullgate_cli.check import check
try:
    check(sys.argv[1:])
except SystemExit as end:
    code = end.code
import os
print(code, events)
os._exit(0)
"""


def test_offline_nothing_is_sent(repository, server):
    """With --policy no socket is made, no name looked up, and no token needed or read; with the service one is."""
    write(repository, {"Dockerfile": "ARG X\nFROM nginx AS a\nFROM someuser/nginx AS b\nFROM someuser/x:$X\n"})
    environment = {**clean_environment(), **server.environment()}

    def sent(*arguments, **more):
        command = [sys.executable, "-c", WATCHED, "--output", "../report.txt", *arguments]
        result = subprocess.run(
            command, capture_output=True, text=True, timeout=60, check=True, env={**environment, **more}
        )
        return result.stdout

    assert sent("--policy", "../acme.yaml", PULLGATE_TOKEN_FILE="/nowhere") == "1 []\n"
    # The service is asked by C code, of which the hook sees no sockets; to be told by what happens without a service.
    assert sent("--org", "acme", "--user", "dev", PULLGATE_ADDRESS="unix:/nowhere").startswith("3 ")


@pytest.mark.parametrize(
    "arguments", [["--address", "localhost:1"], ["--token", "x"], ["--token-file", "x"], ["--tls"]]
)
def test_what_says_how_to_ask_is_wrong_where_nothing_is_asked(repository, arguments):
    """Typed beside --policy it is told; from the environment, where it may stand for other commands, it is not."""
    result = run("--policy", "../acme.yaml", *arguments)

    assert result.exit_code == 2
    assert f"with --policy nothing is asked, so {arguments[0]} says nothing" in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("organization", "text", "warned"),
    [
        ("nonexist", "image nginx\nimage someuser/x", True),
        ("nonexist", "unknown someuser/x:$X | no X", True),
        ("nonexist", "unknown $X | no X", False),
        ("acme", "image nginx", False),
    ],
)
def test_an_organization_that_restricts_nothing_is_told(repository, server, organization, text, warned):
    """A name that is misspelled allows all, which is no error and is told once."""
    write(repository, {"x.images": text})
    result = run("--org", organization, "--user", "dev", "--report", "json=../x.json", environment=server.environment())
    warnings = ["organization nonexist restricts nothing; is --org right?"] if warned else []

    assert result.exit_code == 0
    assert result.stderr == "".join(f"warning: {warning}\n" for warning in warnings)
    assert json.loads((repository.parent / "x.json").read_text())["warnings"] == warnings


def test_a_tag_that_is_not_known_is_decided_by_its_repository(repository, server, asked):
    """The service is asked about the repository; what is denied whatever the tag is denied."""
    write(repository, {"x.images": "".join(f"unknown {image}:$X | no X\n" for image, *_ in BY_REPOSITORY)})
    result = online(server, "--report", "json=../x.json")
    findings = json.loads((repository.parent / "x.json").read_text())["findings"]

    assert result.exit_code == 1
    assert asked[0] == [str(replace(parse_reference(image), tag=None)) for image, *_ in BY_REPOSITORY]
    told = [(item["status"], item["reason"]) for item in findings]
    assert told == [(status, reason) for _, status, reason in BY_REPOSITORY]


def test_a_repository_is_not_denied_by_a_policy_that_may_not_be_read(repository, server, monkeypatch):
    """Where it is not known whether some tags are on the allowlist it stays unresolved, and the reason says so."""

    def refuse(self, organization):
        raise pullgate_client.PermissionDeniedError(grpc.StatusCode.PERMISSION_DENIED, "no")

    monkeypatch.setattr(pullgate_client.Client, "get_policy", refuse)
    write(repository, {"x.images": "unknown someuser/x:$X | no X"})
    result = online(server)

    assert result.exit_code == 0
    assert (
        "no X; its repository docker.io/someuser/x is denied (image access denied: community images not allowed), "
        "unless the policy of organization acme, which may not be read here, allows the tag" in result.stdout
    )


def test_a_repository_that_nobody_answers_about_is_not_known(repository, tmp_path):
    """Where the service is out of reach what could be denied whatever the tag is without an answer."""
    write(repository, {"x.images": "unknown someuser/x:$X | no X"})
    environment = {"PULLGATE_ADDRESS": f"unix:{tmp_path}/nobody.sock", "PULLGATE_TOKEN": "x"}

    assert run("--org", "acme", "--user", "dev", environment=environment).exit_code == 3
