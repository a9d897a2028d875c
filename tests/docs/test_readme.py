"""What the README tells a newcomer to type runs as written, and prints what the README says."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import SOON, ServerProcess, clean_environment, start_server, stop_server

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text()


def blocks_of(text: str) -> list[tuple[str, str]]:
    """The language and the text of each block."""
    return re.findall(r"```(\w*)\n(.*?)```", text, re.DOTALL)


FIRST_FIVE_MINUTES = README.split("## The first five minutes")[1].split("\n## ")[0]
BLOCKS = blocks_of(FIRST_FIVE_MINUTES)
WHERE_PULLS_HAPPEN = blocks_of(README.split("## Policies where pulls happen")[1].split("\n## ")[0])
WHERE_PULLS_ARE_STOPPED = blocks_of(README.split("## Where pulls are stopped")[1].split("\n## ")[0])
BEFORE_THE_MERGE = blocks_of(README.split("## Before the merge")[1].split("\n## ")[0])
POLICIES_AS_CODE = blocks_of(README.split("## Policies as code")[1].split("\n## ")[0])


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty home."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[ServerProcess]:
    """The server of that home, on a free port."""
    with server_of(home) as server:
        yield server


@contextmanager
def server_of(home: Path) -> Iterator[ServerProcess]:
    """A server whose data lies where it lies for whoever has this home."""
    server = start_server(home / ".local/share/pullgate", environment={**clean_environment(), "HOME": str(home)})
    try:
        yield server
    finally:
        stop_server(server)


def shell(script: str, home: Path, server: ServerProcess) -> str:
    """What a shell prints that runs a block as it stands, but for the port and the place of this test's programs."""
    script = script.replace("127.0.0.1:50051", server.address)
    environment = {
        **clean_environment(),
        "HOME": str(home),
        "PULLGATE_ADDRESS": server.address,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    environment.pop("XDG_DATA_HOME", None)
    result = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, check=False, env=environment, timeout=120, cwd=home
    )
    assert "Traceback" not in result.stderr
    assert "command not found" not in result.stderr
    return result.stdout + result.stderr


def test_the_first_five_minutes(home: Path, server: ServerProcess) -> None:
    """Block after block: each is run as written, and each block of output is what the block before it printed."""
    printed, compared = "", 0
    for language, text in BLOCKS:
        if language == "sh":
            creates, end, rest = text.partition("\nEND\n")
            printed = shell(creates + end, home, server)
            if end:
                wait_for_the_catalogue(server)
                printed = shell(rest, home, server)
        elif language == "":
            for line in text.splitlines():
                assert line in printed, f"{line!r} is not in\n{printed}"
            compared += 1

    assert compared == 3


def test_policies_as_code(tmp_path: Path) -> None:
    """The section on policies as code runs as written after the first five minutes, and prints what it says."""
    with server_of(tmp_path) as server:
        printed, compared = shell(README_STRICT, tmp_path, server), 0
        for language, text in POLICIES_AS_CODE:
            if language == "sh":
                printed = shell(text, tmp_path, server)
            else:
                for line in text.splitlines():
                    assert line in printed, f"{line!r} is not in\n{printed}"
                compared += 1

    assert compared == 3


def test_before_the_merge(tmp_path: Path) -> None:
    """Checking a repository runs as written after the first five minutes, and prints what it says, to the letter."""
    (catalogue,) = (text for language, text in BLOCKS if "cat >" in text)
    (_, check), (_, expected) = BEFORE_THE_MERGE
    with server_of(tmp_path) as server:
        shell(README_STRICT, tmp_path, server)
        shell(catalogue, tmp_path, server)
        wait_for_the_catalogue(server)
        printed = shell(f"{check}echo ended with $?", tmp_path, server)

    assert printed == f"{expected}ended with 1\n"


def test_policies_where_pulls_happen(tmp_path: Path) -> None:
    """Following the policies, on the command line and in Python, runs as written and prints what it says."""
    with server_of(tmp_path) as server:
        printed, compared = shell(README_STRICT, tmp_path, server), 0
        for language, text in WHERE_PULLS_HAPPEN:
            if language == "sh":
                printed = shell(text, tmp_path, server)
            elif language == "python":
                printed = shell(f"python - <<'END'\n{text}END", tmp_path, server)
            else:
                for line in text.splitlines():
                    assert line in printed, f"{line!r} is not in\n{printed}"
                compared += 1

    assert compared == 2


def test_where_pulls_are_stopped(tmp_path: Path) -> None:
    """What can be tried without an engine and without Envoy runs as written, and answers as Envoy would be answered."""
    with server_of(tmp_path) as server:
        shell(README_STRICT, tmp_path, server)
        first, second = [
            shell(text, tmp_path, server) for language, text in WHERE_PULLS_ARE_STOPPED if language == "sh"
        ]

    assert "authorization denied" not in first
    assert "--organization" in first
    assert Path(tmp_path, "token").read_text().startswith("pullgate_")
    assert '"okResponse":{}' in second.replace(" ", "")
    assert '"reason":"CATEGORY_ALLOWED"' in second.replace(" ", "")


README_STRICT = "pullgate policy preset strict --org acme | pullgate policy apply --yes -f -"
"""What the first five minutes have done by then."""


@pytest.mark.parametrize("page", ["callers", "policies", "operations", "categories", "watch", "envoy", "pgcurl"])
def test_the_commands_of_a_page(page: str, tmp_path: Path) -> None:
    """The commands of a page run as written, one after the other, and none fails."""
    with server_of(tmp_path) as server:
        shell(README_STRICT, tmp_path, server)
        for language, text in blocks_of((ROOT / f"docs/{page}.md").read_text()):
            if language == "sh" and not text.startswith("pullgate serve"):
                # What asks is told yes, and what follows for ever is followed in tests of its own.
                endless = re.compile("--follow|^pullgate watch(?!.*--count)")
                lines = [line for line in text.splitlines() if not endless.search(line)]
                lines = [f"{line} --yes" if re.search("policy (rollback|delete)", line) else line for line in lines]
                printed = shell("\n".join(["set -e", *lines, "echo all of it"]), tmp_path, server)
                assert "all of it" in printed, printed


def wait_for_the_catalogue(server: ServerProcess) -> None:
    """Until the server has read the file that was just written."""
    deadline = time.monotonic() + SOON
    while "catalogue read" not in server.log.read_text():
        assert time.monotonic() < deadline, server.log.read_text()
        time.sleep(0.02)


@pytest.mark.parametrize("program", ["pgcurl", "buf curl"])
def test_clients_of_grpc_as_written(program: str, home: Path, server: ServerProcess) -> None:
    """The commands for `pgcurl` and `buf curl` decide, and pgcurl lists and describes."""
    (script,) = (text for language, text in BLOCKS if language == "sh" and program in text)
    printed = shell(script, home, server)

    assert '"effect": "EFFECT_ALLOW"' in printed
    assert program != "pgcurl" or "pullgate.v1.PolicyDecisionService\n" in printed
    assert program != "pgcurl" or "message DecideRequest {" in printed


def test_the_python_example(home: Path, server: ServerProcess) -> None:
    """The example for Python runs."""
    (script,) = (text for language, text in BLOCKS if language == "python")
    printed = shell(f"{sys.executable} - <<'END'\n{script}\nEND", home, server)

    assert "Effect.ALLOW" in printed


def test_every_file_that_the_readme_names_is_there() -> None:
    """Paths and links of the README lead somewhere."""
    links = re.findall(r"\]\((docs/[^)#]*)\)", README)
    paths = re.findall(r"`((?:protos|policy|server|clients|tests|docs|benchmarks)/[\w./]*)`", README)

    assert [path for path in (*links, *paths) if not (ROOT / path).exists()] == []
    file_by_file = README.split("## A Decide request, file by file")[1].split("\n## ")[0]
    short = re.findall(r"`((?:rpc/|stores/|categories/|watching/)?[\w]+\.py|stores/)`", file_by_file)
    assert [path for path in short if not (ROOT / "server/pullgate_server" / path).exists()] == []


def test_the_policy_of_the_documentation_is_valid() -> None:
    """The document in docs/policies.md is a policy."""
    from pullgate_policy import parse_policy_yaml

    (document,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/policies.md").read_text(), re.DOTALL)

    assert parse_policy_yaml(document).organization == "acme"


def test_every_reason_is_documented() -> None:
    """docs/errors.md names every reason of the contract with its status."""
    from pullgate.v1.error_pb2 import ErrorReason
    from pullgate_server.rpc.statuses import ERRORS

    rows = dict(re.findall(r"^\| ([A-Z_]+) \| ([A-Z_, ]+) \|", (ROOT / "docs/errors.md").read_text(), re.MULTILINE))
    for code, reason in ERRORS.values():
        assert ErrorReason.Name(reason).removeprefix("ERROR_REASON_") in rows[code.name].split(", ")
