"""What docs/sidecar.md tells people to type runs as written, and prints what it says."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pullgate_cli.sidecar import sidecar as sidecar_command
from tests.conftest import SOON, ServerProcess, clean_environment, start_server, stop_server

DOCUMENT = (Path(__file__).parent.parent.parent / "docs/sidecar.md").read_text()
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", DOCUMENT, re.DOTALL)


class Reader:
    """Somebody who types what the document says, with a home and a server of their own."""

    def __init__(self, home: Path, server: ServerProcess) -> None:
        self._home = home
        self._environment = {
            **clean_environment(),
            "HOME": str(home),
            "PULLGATE_ADDRESS": server.address,
            "PULLGATE_UPSTREAM": server.address,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }
        for name in ("XDG_DATA_HOME", "XDG_STATE_HOME"):
            self._environment.pop(name, None)

    def types(self, script: str) -> str:
        """What is printed."""
        result = subprocess.run(
            ["bash", "-c", script],
            capture_output=True, text=True, check=False, env=self._environment, timeout=60, cwd=self._home,
        )  # fmt: skip
        assert "Traceback" not in result.stderr
        return result.stdout + result.stderr

    @contextmanager
    def leaves_running(self, script: str) -> Iterator[None]:
        """A program in another terminal, from when it says what to type next until it is stopped."""
        process = subprocess.Popen(
            ["bash", "-c", f"exec {script}"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=self._environment,
        )  # fmt: skip
        assert process.stdout is not None
        try:
            assert any(" decide --address " in line for line in process.stdout)
            yield
        finally:
            process.terminate()
            assert process.wait(timeout=SOON) == 0
            process.stdout.close()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An empty home."""
    return tmp_path


def test_the_five_minutes(home: Path) -> None:
    """The first steps do what the document says, with the server there and with the server gone."""
    policy, start, ask, asked, again, known = [text for _, text in BLOCKS[:6]]
    server = start_server(home / ".local/share/pullgate", environment={**clean_environment(), "HOME": str(home)})
    try:
        reader = Reader(home, server)
        assert "written as revision 1" in reader.types(policy)
        with reader.leaves_running(start):
            answered = ""
            while not answered.startswith("SERVING"):
                answered = reader.types(ask)
            stop_server(server)
            later = reader.types(again)
            while known.strip() not in later:
                later = reader.types(again)
        with reader.leaves_running(start):
            restarted = reader.types(again)
    finally:
        if server.process.poll() is None:
            stop_server(server)

    assert answered.startswith(asked)
    assert later.startswith("ALLOW")
    assert known.strip() in restarted


def test_the_token_that_it_tells_to_make(home: Path) -> None:
    """The command prints a token alone, with which a sidecar may follow."""
    (create,) = [text for _, text in BLOCKS if text.startswith("pullgate token create")]
    (start,) = [text for _, text in BLOCKS if "--token-file token" in text]
    server = start_server(home / ".local/share/pullgate", environment={**clean_environment(), "HOME": str(home)})
    try:
        reader = Reader(home, server)
        reader.types(create)
        here = start.replace("pullgate.internal:50051 --tls", server.address).replace("/run/pullgate/", f"{home}/")
        here = here.replace("token-file token", f"token-file {home}/token")
        with reader.leaves_running(here.strip() + f" --state-dir {home}/state"):
            ask = f"pullgate decide --address unix:{home}/pullgate.sock --user dev nginx"
            answered = reader.types(ask)
            while "no policy is known yet" in answered:
                answered = reader.types(ask)
    finally:
        stop_server(server)

    assert answered.startswith("ALLOW")


def test_the_options_are_the_commands() -> None:
    """The table has every option of the command with its default, and none that it does not have."""
    table = DOCUMENT.split("## Options")[1].split("\n## ")[0]
    told = set(re.findall(r"`(--[a-z-]+)`", table))
    options = {name for parameter in sidecar_command.params for name in parameter.opts}

    assert told == options - {"--data-dir", "--help"}
