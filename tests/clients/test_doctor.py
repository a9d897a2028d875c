"""`pullgate doctor`: what it finds around a Docker Engine, as a table of what the engine says, and as a command."""

import json
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer
from typing import Any

import pytest

from pullgate_cli.doctor_docker import engine_findings
from pullgate_cli.findings import Health
from pullgate_docker import installing
from tests.conftest import ServerProcess, run_pullgate

NEW = {"ServerVersion": "29.3.1", "RegistryConfig": {"Mirrors": []}}
OLD = {"ServerVersion": "20.10.24+dfsg1", "RegistryConfig": {"Mirrors": ["http://127.0.0.1:5000/"]}}


def healths(facts: Mapping[str, Any], *, is_asked: bool) -> dict[str, Health]:
    """How each thing is."""
    return {finding.about: finding.health for finding in engine_findings(facts, "pullgate", is_asked=is_asked)}


@pytest.mark.parametrize(
    ("facts", "is_asked", "about", "health"),
    [
        (NEW, True, "engine asks plugin", Health.OK),
        (NEW, False, "engine asks plugin", Health.MEND),
        (NEW, True, "engine version", Health.OK),
        ({**NEW, "ServerVersion": "30.0.0-rc.1"}, True, "engine version", Health.OK),
        ({**NEW, "ServerVersion": "29.3.0"}, True, "engine version", Health.NOTE),
        ({**NEW, "ServerVersion": "28.9.9"}, True, "engine version", Health.NOTE),
        (OLD, True, "engine version", Health.NOTE),
        (NEW, True, "registry mirrors", Health.OK),
        (OLD, True, "registry mirrors", Health.NOTE),
        (OLD, False, "registry mirrors", Health.MEND),
        (NEW, True, "builds", Health.NOTE),
        (OLD, True, "builds", Health.NOTE),
    ],
)
def test_engines(facts: Mapping[str, Any], is_asked: bool, about: str, health: Health) -> None:
    """What is to be mended about an engine of this version and configuration, and what is not."""
    assert healths(facts, is_asked=is_asked)[about] is health


@pytest.mark.parametrize("facts", [{}, {"ServerVersion": "dev"}, {"ServerVersion": None, "RegistryConfig": None}])
def test_engines_of_no_known_version(facts: Mapping[str, Any]) -> None:
    """What an engine does not say is not told either."""
    assert {"engine version", "builds"}.isdisjoint(healths(facts, is_asked=True))


def test_everything_to_mend_says_what_to_do() -> None:
    """There is no finding that leaves a person alone with it."""
    for finding in engine_findings(OLD, "pullgate", is_asked=False):
        assert (finding.health is not Health.MEND) or finding.to_do


def test_native_calls_of_buildkit() -> None:
    """From 29.2 on the engine takes BuildKit's calls past its plugins, and the finding says what to do about it."""
    new, old = (
        next(finding for finding in engine_findings(facts, "pullgate", is_asked=True) if finding.about == "builds")
        for facts in (NEW, OLD)
    )

    assert "without asking any plugin" in new.found
    assert "through a gateway alone" in new.to_do
    assert "--builds allow" in old.found


@contextmanager
def answering(path: Path, answers: Mapping[str, tuple[int, Any]]) -> Iterator[None]:
    """Something that answers on a socket: by path, with a status and JSON."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            status, content = answers.get(self.path, (404, {"message": "page not found"}))
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = answer  # noqa: N815 - the names that it calls

        def address_string(self) -> str:
            return "unix"

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    with ThreadingUnixStreamServer(str(path), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


PROBE = f"/distribution/{'0' * 64}/json"
DENIED = (403, {"message": "authorization denied by plugin pullgate: image access denied: x"})
NO_PLUGIN = (403, {"message": "plugin pullgate failed with error: AuthZPlugin.AuthZReq: not found"})


def examine(server: ServerProcess, folder: Path, *options: str) -> tuple[int, dict[str, dict[str, str]]]:
    """The exit code and the findings, by what they are about."""
    sockets = ["--plugin-socket", str(folder / "p.sock"), "--engine-socket", str(folder / "e.sock")]
    result = run_pullgate("doctor", "--json", *sockets, *options, environment=server.environment())
    assert "Traceback" not in result.stderr
    return result.returncode, {finding["about"]: finding for finding in map(json.loads, result.stdout.splitlines())}


def test_all_is_well(server_process: ServerProcess, tmp_path: Path) -> None:
    """With a service, a plugin, and a recent engine that asks it, nothing is to be mended."""
    plugin = answering(tmp_path / "p.sock", {"/Plugin.Activate": (200, {"Implements": ["authz"]})})
    engine = answering(tmp_path / "e.sock", {"/info": (200, NEW), PROBE: DENIED})
    with plugin, engine:
        code, found = examine(server_process, tmp_path)

    assert (code, {finding["health"] for finding in found.values()}) == (0, {"ok", "note"})
    assert list(found) == [
        "service", "plugin", "engine", "engine asks plugin", "engine version", "builds", "registry mirrors",
    ]  # fmt: skip


def test_no_docker_engine(server_process: ServerProcess, tmp_path: Path) -> None:
    """On a machine without an engine there is nothing to mend about one."""
    code, found = examine(server_process, tmp_path)

    assert code == 0
    assert [finding["health"] for finding in found.values()] == ["ok", "skipped", "skipped"]


def test_an_engine_without_its_plugin(server_process: ServerProcess, tmp_path: Path) -> None:
    """An engine that refuses everything because its plugin is gone is told from one that does not answer."""
    with answering(tmp_path / "e.sock", {"/info": NO_PLUGIN}):
        code, found = examine(server_process, tmp_path)

    assert code == 1
    assert found["plugin"]["found"] == f"there is no {tmp_path / 'p.sock'}"
    assert "docker-plugin uninstall --name pullgate" in found["engine"]["to_do"]


def test_an_engine_that_has_ended(server_process: ServerProcess, tmp_path: Path) -> None:
    """Where neither the plugin nor the engine answers, how to go on without the plugin is told."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "e.sock"))
    _, found = examine(server_process, tmp_path)

    assert "docker-plugin uninstall --name pullgate" in found["engine"]["to_do"]


def test_where_the_engine_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plugin is looked for in NAME.spec, and before that at the usual place."""
    usual = tmp_path / "usual.sock"
    monkeypatch.setattr(installing, "default_socket", lambda _: usual)
    (tmp_path / "pullgate.spec").write_text(f"unix://{tmp_path}/elsewhere.sock\n")

    assert installing.expected_socket("pullgate", tmp_path) == tmp_path / "elsewhere.sock"
    usual.touch()
    assert installing.expected_socket("pullgate", tmp_path) == usual


def test_an_engine_that_does_not_ask(server_process: ServerProcess, tmp_path: Path) -> None:
    """An engine that pulls without asking is found by asking it for something that the plugin refuses."""
    with answering(tmp_path / "e.sock", {"/info": (200, OLD), PROBE: (400, {"message": "unknown image reference"})}):
        code, found = examine(server_process, tmp_path)

    assert code == 1
    assert "docker-plugin install" in found["engine asks plugin"]["to_do"]


def test_what_answers_is_no_plugin(server_process: ServerProcess, tmp_path: Path) -> None:
    """Something else on the plugin's socket, and a dead socket, are told."""
    with answering(tmp_path / "p.sock", {"/Plugin.Activate": (200, {"Implements": ["volumedriver"]})}):
        _, other = examine(server_process, tmp_path)
    _, dead = examine(server_process, tmp_path)

    assert "is no authorization plugin" in other["plugin"]["found"]
    assert "Connection refused" in dead["plugin"]["found"]


def test_no_service(server_process: ServerProcess, tmp_path: Path) -> None:
    """A service that does not answer, and one that does not take the token, are told, each with what to do."""
    _, away = examine(server_process, tmp_path, "--address", "127.0.0.1:1")
    code, wrong = examine(server_process, tmp_path, "--token", "wrong")

    assert "no service answers on 127.0.0.1:1" in away["service"]["found"]
    assert (code, wrong["service"]["health"]) == (1, "mend")
    assert wrong["service"]["to_do"]


def test_the_table(server_process: ServerProcess, tmp_path: Path) -> None:
    """For a person the same is a table."""
    result = run_pullgate("doctor", "--engine-socket", str(tmp_path / "x"), environment=server_process.environment())
    head, *rows = result.stdout.splitlines()

    assert head.split() == ["health", "about", "found", "to", "do"]
    assert rows[0].split()[:2] == ["ok", "service"]
