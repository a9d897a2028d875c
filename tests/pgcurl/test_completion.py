"""What completes commands in shells."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse

from pgcurl.flags import FLAGS
from tests.conftest import clean_environment
from tests.pgcurl.running import SERVICE, pgcurl
from tests.pgcurl.streaming_server import LEGACY_SERVICE, StreamingServer, honest_answer, running_server


def shell(name: str, script: str, directory: Path, environment: dict[str, str]) -> str:
    """What a shell prints; skips where there is none. `pgcurl` is found on its PATH."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    command = directory / "pgcurl"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m pgcurl "$@"\n')
    command.chmod(0o755)
    variables = {**clean_environment(), **environment}
    result = subprocess.run(
        [path, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={**variables, "PATH": f"{directory}:{variables['PATH']}"},
        timeout=60,
    )
    assert result.stderr == ""
    return result.stdout


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        (("-plain",), {"-plaintext"}),
        (("--emit",), {"--emit-defaults"}),
        (("-format", ""), {"json", "jsonl", "text"}),
        (("--completion", "z"), {"zsh"}),
        (("-cacert", "{directory}/pgc"), {"{directory}/pgcurl"}),
        (("-max-time", ""), set()),
        (("-d", ""), set()),
        (("li",), {"list"}),
        ((f"{SERVICE}/E",), {f"{SERVICE}/Echo"}),
        (("list", "pgcurl.testing.l"), {LEGACY_SERVICE, f"{LEGACY_SERVICE}/Get"}),
    ],
)  # fmt: skip
def test_bash(server: StreamingServer, tmp_path: Path, words: tuple[str, ...], completed: set[str]) -> None:
    """Flags, their values, files, verbs, and the services and methods of the default server."""
    given = " ".join(f"'{word.format(directory=tmp_path)}'" for word in words)
    script = (
        "source <(pgcurl -completion bash)\n"
        f"COMP_WORDS=(pgcurl {given}); COMP_CWORD={len(words)}; _pgcurl\n"
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    printed = shell("bash", script, tmp_path, {"PULLGATE_ADDRESS": server.address})

    assert set(printed.split()) == {word.format(directory=tmp_path) for word in completed}


@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("pgcurl -plain", "-plaintext"),
        ("pgcurl -format js", "json"),
        ("pgcurl li", "list"),
        (f"pgcurl {SERVICE}/E", f"{SERVICE}/Echo"),
    ],
)
def test_fish(server: StreamingServer, tmp_path: Path, line: str, completed: str) -> None:
    """The same, as fish itself completes it."""
    script = f"pgcurl -completion fish | source; complete -C '{line}'"
    printed = shell("fish", script, tmp_path, {"PULLGATE_ADDRESS": server.address})

    assert completed in [entry.partition("\t")[0] for entry in printed.splitlines()]


@pytest.mark.parametrize(("name", "check"), [("bash", "bash -n"), ("zsh", "zsh -n"), ("fish", "fish --no-execute")])
def test_scripts_are_well_formed(tmp_path: Path, name: str, check: str) -> None:
    """The shell itself reads each without complaint."""
    path = tmp_path / "script"
    path.write_text(pgcurl("-completion", name).out)

    shell(name, f"{check} {path}", tmp_path, {})


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_every_flag_is_completed(name: str) -> None:
    """All scripts know all flags."""
    script = pgcurl("-completion", name).out

    assert [flag for flag in FLAGS if not re.search(rf"(?<![\w-])(-|-o ){flag}(?![\w-])", script)] == []


def test_the_words_that_shells_ask_for(server: StreamingServer) -> None:
    """Services and methods of the default server, one a line."""
    words = pgcurl("-completion", "words", environment={"PULLGATE_ADDRESS": server.address}).out.splitlines()

    assert words[:3] == ["pgcurl.testing.legacy.LegacyService", "pgcurl.testing.legacy.LegacyService/Get", SERVICE]
    assert f"{SERVICE}/Converse" in words


def test_completion_without_a_server_is_quiet(tmp_path: Path) -> None:
    """Verbs are completed all the same, and nothing is printed into the command line."""
    script = "source <(pgcurl -completion bash)\nCOMP_WORDS=(pgcurl de); COMP_CWORD=1; _pgcurl\necho ${COMPREPLY[@]}"

    assert shell("bash", script, tmp_path, {"PULLGATE_ADDRESS": "127.0.0.1:1"}) == "describe\n"


def test_a_server_cannot_run_commands_by_the_names_of_its_services(tmp_path: Path) -> None:
    """Bash expands the words of a completion once more, so what is no name is left out; all others are completed."""
    written = tmp_path / "written"

    def answer(request: ServerReflectionRequest) -> ServerReflectionResponse | None:
        response = honest_answer(request)
        if request.WhichOneof("message_request") == "list_services":
            response.list_services_response.service.add(name=f"$(echo>{written})")
            response.list_services_response.service.add(name=f"`echo>{written}`")
        return response

    script = "source <(pgcurl -completion bash)\nCOMP_WORDS=(pgcurl ''); COMP_CWORD=1; _pgcurl\necho ${COMPREPLY[@]}"
    with running_server(answer=answer) as server:
        printed = shell("bash", script, tmp_path, {"PULLGATE_ADDRESS": server.address})

    assert not written.exists()
    assert f"{SERVICE}/Echo" in printed.split()
