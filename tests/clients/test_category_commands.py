"""`pullgate category`: what is known of categories. Server, Docker Hub double and command are a process each."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib import request

import pytest

from pullgate_policy.catalogue import parse_catalogue
from tests.conftest import ServerProcess, run_pullgate, start_server, stop_server

ROOT = Path(__file__).parent.parent.parent
NAMES = ["--publisher", "grafana", "--open-source", "fluent", "--user", "someuser"]


@dataclass
class Hub:
    """The double as a program of its own."""

    url: str

    def switch(self, **control: object) -> None:
        """Make it behave otherwise."""
        body = json.dumps(control).encode()
        with request.urlopen(request.Request(f"{self.url}/control", body, method="PUT")) as answer:
            assert answer.status == 200


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    """A Docker Hub with a publisher, a sponsored project and a user."""
    program = [sys.executable, "-m", "tests.docker_hub", "--port", "0", *NAMES]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        found = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
        assert found is not None
        yield Hub(found[0])
        process.terminate()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, hub: Hub) -> Iterator[ServerProcess]:
    """A server that asks it, with the preset standard for acme."""
    data = tmp_path_factory.mktemp("server") / "data"
    sources = ["--category-sources", "catalogue,docker-hub,starter", "--docker-hub-url", hub.url]
    server = start_server(data, *sources, "--category-wait", "20")
    preset = run_pullgate("policy", "preset", "standard", "--org", "acme").stdout
    assert pullgate(server, "policy", "apply", "--yes", "-f", "-", stdin=preset).returncode == 0
    yield server
    stop_server(server)


def pullgate(server: ServerProcess, *arguments: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
    """Run a command against the server."""
    return run_pullgate(*arguments, environment=server.environment(), stdin=stdin)


def test_lookup_tells_all(server: ServerProcess) -> None:
    """A lookup prints what is known, how fresh, and who was asked with what; unknown names make the exit code 1."""
    result = pullgate(server, "category", "lookup", "grafana", "nobody", "library/nginx", "acme", "--org", "acme")

    assert result.returncode == 1
    for line in (
        r"grafana  verified publisher",
        r"  says      docker-hub: badge verified_publisher",
        r"  checked   2\d{3}-\d\d-\d\d \d\d:\d\d UTC",
        r"  next look 2\d{3}-\d\d-\d\d \d\d:\d\d UTC",
        r"  asked     catalogue   absent  no entry",
        r"            docker-hub  known   badge verified_publisher",
        r" +GET /v2/orgs/grafana/: 200, badge verified_publisher",
        r"nobody  unknown",
        r"            docker-hub  absent  Docker Hub knows no such namespace",
        r"library/nginx  official",
        r"acme  organization",
    ):
        assert re.search(f"^{line}$", result.stdout, re.MULTILINE), (line, result.stdout)


def test_lookup_for_programs(server: ServerProcess) -> None:
    """With --json each name is an object a line, with evidence and steps."""
    result = pullgate(server, "category", "lookup", "--json", "fluent", "someuser/tool")
    fluent, someuser = map(json.loads, result.stdout.splitlines())

    assert result.returncode == 0
    assert (fluent["name"], fluent["category"]) == ("fluent", "COMMUNITY")
    assert fluent["evidence"]["community_class"] == "SPONSORED_OPEN_SOURCE"
    assert fluent["evidence"]["refresh_at"] > fluent["evidence"]["checked_at"]
    assert [step["source"] for step in someuser["steps"]] == ["catalogue", "docker-hub"]
    assert someuser["steps"][1] == {
        "source": "docker-hub",
        "outcome": "KNOWN",
        "detail": "a user's namespace",
        "actions": [
            "GET /v2/orgs/someuser/: 302, to /v2/users/someuser/",
            "GET /v2/users/someuser/: 200, a user's namespace",
        ],
    }


def test_decide_tells_when_the_source_is_asked_again(server: ServerProcess) -> None:
    """A decision's evidence has the same moments."""
    result = pullgate(server, "decide", "--json", "--org", "acme", "--user", "dev", "grafana/loki")
    evidence = json.loads(result.stdout)["evidence"]

    assert result.returncode == 0
    assert (evidence["source"], evidence["stale"]) == ("docker-hub", False)
    assert evidence["refresh_at"] > evidence["checked_at"]


def test_refresh_asks_now(server: ServerProcess, hub: Hub) -> None:
    """A refresh sees what has changed; where Docker Hub cannot be asked it says so with exit code 1."""
    pullgate(server, "category", "lookup", "changing")
    hub.switch(namespaces={"changing": "verified_publisher"})
    refreshed = pullgate(server, "category", "refresh", "changing")
    hub.switch(fault="html_page")
    failed = pullgate(server, "category", "refresh", "changing")
    hub.switch(fault=None)

    assert (refreshed.returncode, failed.returncode) == (0, 1)
    assert "changing  verified publisher" in refreshed.stdout
    assert "changing  verified publisher" in failed.stdout
    assert 'docker-hub  failed  GET /v2/orgs/changing/: 200, "text/html' in failed.stdout


def test_list_and_export(server: ServerProcess, tmp_path: Path) -> None:
    """What is known is listed, and exported as a catalogue with which another server decides without Docker Hub."""
    pullgate(server, "category", "lookup", "grafana", "fluent", "someuser")
    listed = pullgate(server, "category", "list")
    as_json = pullgate(server, "category", "list", "--json", "--category", "Verified-Publisher")
    exported = pullgate(server, "category", "export")
    (tmp_path / "exported.yaml").write_text(exported.stdout)
    options = ["--category-sources", "catalogue", "--catalogue", str(tmp_path / "exported.yaml")]
    other = start_server(tmp_path / "other", *options)
    try:
        found = pullgate(other, "category", "lookup", "grafana", "fluent", "someuser")
    finally:
        stop_server(other)

    assert re.search(r"^ ?grafana +verified publisher +docker-hub", listed.stdout, re.MULTILINE), listed.stdout
    assert {json.loads(line)["category"] for line in as_json.stdout.splitlines()} == {"VERIFIED_PUBLISHER"}
    entries = {entry.name: entry for entry in parse_catalogue(exported.stdout)}
    assert entries["grafana"].source == "docker-hub: badge verified_publisher"
    assert f"{len(entries)} entries" in exported.stderr
    assert found.returncode == 0
    assert "says      catalogue: docker-hub: badge verified_publisher" in found.stdout


@pytest.mark.parametrize("arguments", [["lookup"], ["refresh"], ["lookup", "Grafana"], ["list", "--category", "none"]])
def test_wrong_usage(server: ServerProcess, arguments: list[str]) -> None:
    """What is no name or no category ends with 2 and a sentence."""
    result = pullgate(server, "category", *arguments)

    assert result.returncode == 2
    assert result.stderr


def test_names_in_any_letter_case(server: ServerProcess) -> None:
    """Categories are read in any letter case, with dashes or underscores."""
    codes = [
        pullgate(server, "category", "pin", "vendor", word, "--reason", "contract").returncode
        for word in ("VERIFIED_PUBLISHER", "Verified-Publisher", "official", "Sponsored_Open_Source", "publisher")
    ]

    assert codes == [0, 0, 0, 0, 2]


def test_list_has_pins_too(server: ServerProcess) -> None:
    """What is pinned is listed beside what the sources said; who is no operator sees pins alone, and is told so."""
    pin = ("category", "pin", "pinned", "official", "--reason", "contract", "--org", "acme")
    assert pullgate(server, *pin).returncode == 0
    pullgate(server, "category", "lookup", "grafana")
    listed = pullgate(server, "category", "list")
    created = pullgate(
        server, "token", "create", "--name", "petra", "--org", "acme", "--role", "policy_manager", "--json"
    )
    manager = {**server.environment(), "PULLGATE_TOKEN": json.loads(created.stdout)["token"]}
    own = run_pullgate("category", "list", "--json", "--category", "official", environment=manager)

    assert re.search(r"^ ?pinned +official +pin for acme", listed.stdout, re.MULTILINE), listed.stdout
    assert re.search(r"^ ?grafana +verified publisher +docker-hub", listed.stdout, re.MULTILINE)
    assert [(line["name"], line["organization"]) for line in map(json.loads, own.stdout.splitlines())] == [
        ("pinned", "acme")
    ]
    assert (own.returncode, own.stderr) == (0, "pins alone: what the sources have said is for operators\n")
