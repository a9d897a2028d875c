"""`pullgate docker-plugin` as a person types it, and what it writes for the Docker Engine."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pullgate_cli.docker_plugin import docker_plugin
from pullgate_docker import installing
from pullgate_docker.asking import ask
from pullgate_docker.installing import ConfigurationUnusableError, Installation, default_socket
from tests.conftest import SOON, clean_environment, run_pullgate


@pytest.fixture
def plugin_socket(tmp_path: Path) -> Iterator[Path]:
    """The socket of a plugin whose service is away."""
    path = tmp_path / "plugin.sock"
    command = ["docker-plugin", "--organization", "acme", "--socket", str(path), "--address", "127.0.0.1:1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "pullgate_cli", *command],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=clean_environment(),
    )  # fmt: skip
    assert process.stdout is not None
    announced = ""
    for line in process.stdout:
        announced += line
        if "docker-plugin install" in line:
            break
    assert f"answers on {path}; asks 127.0.0.1:1 about {socket.gethostname()} of acme" in announced
    assert announced.strip().endswith(f"docker-plugin install --name plugin --socket {path}")
    yield path
    process.terminate()
    assert process.wait(timeout=SOON) == 0
    process.stdout.close()


def test_it_answers_until_it_is_stopped(plugin_socket: Path) -> None:
    """It says where it answers and what to type next, answers as a plugin, and ends with 0 on SIGTERM."""
    assert ask(plugin_socket, "POST", "/Plugin.Activate") == {"Implements": ["authz"]}


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ([], "say with --organization whose policy holds on this host"),
        (["--organization", "acme", "--socket", "/dev/null"], "is no socket; see --socket"),
        (["--organization", "acme", "--socket", "/proc/x/y.sock"], "cannot be listened on"),
        (["--organization", "acme", "--socket", f"/tmp/{'x' * 200}.sock"], "cannot be listened on"),
        (["--organization", "acme", "--ca", "/no/such/file"], "/no/such/file cannot be read"),
        (["--organization", "acme", "--user-map", "ada"], "is not of the form CN=NAME"),
        (["--organization", "acme", "--user-map", "=ada"], "is not of the form CN=NAME"),
        (["--organization", "ACME corp"], "memberships[0].organization"),
        (["--organization", "acme", "--organization", "acme"], "is named twice"),
        (["--organization", "acme", "--timeout", "0"], "is not in the range"),
        (["--organization", "acme", "--local", "--state-dir", "/dev/null/x"], "see --state-dir"),
    ],
)
def test_what_cannot_start_says_why(options: list[str], problem: str, tmp_path: Path) -> None:
    """Wrong options end the start with 2 and a sentence."""
    if "--socket" not in options:
        options = [*options, "--socket", str(tmp_path / "plugin.sock")]
    result = run_pullgate("docker-plugin", *options)

    assert result.returncode == 2
    assert problem in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr


def test_without_its_part_it_says_what_to_install() -> None:
    """With the SDK alone the plugin says which extra it needs; what the engine needs can be written without it."""
    script = (
        "import sys; sys.modules['aiohttp'] = None\n"
        "from pullgate_cli.main import main\nmain(['docker-plugin', *sys.argv[1:]])"
    )

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-c", script, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=clean_environment())

    start, install = run("--organization", "acme"), run("install", "--name", "nowhere")

    assert start.returncode == 2
    assert "pip install 'pullgate[docker-plugin]'" in start.stderr
    assert "no plugin answers" in install.stderr


# What the engine needs.

FORMER = '{\n  "registry-mirrors": ["https://mirror.acme.io"],\n  "authorization-plugins": ["other"],\n  "é": 1.50\n}\n'


def installation(folder: Path, **options: Any) -> Installation:
    """An installation in a folder."""
    return Installation(
        **{
            "name": "pullgate",
            "socket": default_socket("pullgate"),
            "configuration": folder / "daemon.json",
            "specifications": folder / "plugins",
            **options,
        }
    )


def test_install_and_uninstall(tmp_path: Path) -> None:
    """The plugin's name joins those that are there, nothing else changes, the former text is kept; all is undone."""
    made = installation(tmp_path)
    made.configuration.write_text(FORMER)
    made.configuration.chmod(0o640)
    (done,) = made.install()
    installed = json.loads(made.configuration.read_text())
    again = made.install()

    assert installed == {**json.loads(FORMER), "authorization-plugins": ["other", "pullgate"]}
    assert list(installed) == list(json.loads(FORMER))
    assert done.startswith(f"added pullgate to authorization-plugins in {made.configuration}")
    assert made.backup.read_text() == FORMER
    assert {file.stat().st_mode & 0o777 for file in (made.configuration, made.backup)} == {0o640}
    assert again == []
    (undone,) = made.uninstall()
    assert undone.startswith("took pullgate out of authorization-plugins")
    assert json.loads(made.configuration.read_text()) == json.loads(FORMER)
    assert made.uninstall() == []
    assert sorted(file.name for file in tmp_path.iterdir()) == ["daemon.json", "daemon.json.before-pullgate"]


@pytest.mark.parametrize("former", [None, "", "{}", '{"authorization-plugins": null}', '{"authorization-plugins": []}'])
def test_where_there_was_no_plugin(tmp_path: Path, former: str | None) -> None:
    """A configuration without plugins, an empty one, and none at all get the one; undone it names none."""
    made = installation(tmp_path / "etc")
    if former is not None:
        made.configuration.parent.mkdir()
        made.configuration.write_text(former)
    made.install()

    assert json.loads(made.configuration.read_text()) == {"authorization-plugins": ["pullgate"]}
    made.uninstall()
    assert json.loads(made.configuration.read_text()) == {}


@pytest.mark.parametrize(
    ("former", "problem"),
    [
        ("{", "is no JSON"),
        ("[]", "is no JSON object"),
        ('{"a": 1, "a": 2}', "has a setting twice"),
        ('{"authorization-plugins": "other"}', "is not a list of names"),
        ('{"authorization-plugins": [1]}', "is not a list of names"),
        ("\xff", "cannot be read"),
    ],
)
def test_configurations_that_are_left_alone(tmp_path: Path, former: str, problem: str) -> None:
    """What is not understood is not touched."""
    made = installation(tmp_path)
    made.configuration.write_bytes(former.encode("latin-1"))
    for change in (made.install, made.uninstall):
        with pytest.raises(ConfigurationUnusableError, match=problem):
            change()

    assert made.configuration.read_bytes() == former.encode("latin-1")
    assert [file.name for file in tmp_path.iterdir()] == ["daemon.json"]


def test_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    """Where nothing can be written a sentence says so."""
    made = installation(tmp_path, configuration=Path("/proc/nowhere/daemon.json"))
    with pytest.raises(ConfigurationUnusableError, match="/proc/nowhere"):
        made.install()


def test_a_link_stays_one(tmp_path: Path) -> None:
    """A configuration that is a link to a file elsewhere is changed there."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "daemon.json").write_text("{}")
    made = installation(tmp_path)
    made.configuration.symlink_to(tmp_path / "elsewhere" / "daemon.json")
    made.install()

    assert made.configuration.is_symlink()
    assert json.loads((tmp_path / "elsewhere" / "daemon.json").read_text()) == {"authorization-plugins": ["pullgate"]}


def test_a_socket_elsewhere(tmp_path: Path) -> None:
    """Where the engine would not find the socket by the plugin's name, a file tells it; undone the file is gone."""
    made = installation(tmp_path, socket=Path("/run/pullgate/docker.sock"))
    specification = tmp_path / "plugins" / "pullgate.spec"
    wrote, _ = made.install()

    assert specification.read_text() == "unix:///run/pullgate/docker.sock\n"
    assert str(specification) in wrote
    assert made.install() == []
    assert made.uninstall()[1] == f"removed {specification}"
    assert not specification.exists()


def test_what_cannot_be_used_leaves_nothing(tmp_path: Path) -> None:
    """With a configuration that cannot be used no other file is written either."""
    made = installation(tmp_path, socket=tmp_path / "elsewhere.sock")
    made.configuration.write_text("{")
    with pytest.raises(ConfigurationUnusableError):
        made.install()

    assert [file.name for file in tmp_path.iterdir()] == ["daemon.json"]


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="needs a second file system: /dev/shm")
def test_a_link_to_another_file_system(tmp_path: Path) -> None:
    """A configuration that is a link to another file system is changed there."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as elsewhere:
        file = Path(elsewhere, "daemon.json")
        file.write_text("{}")
        made = installation(tmp_path)
        made.configuration.symlink_to(file)
        made.install()

        assert json.loads(file.read_text()) == {"authorization-plugins": ["pullgate"]}
        assert [other.name for other in Path(elsewhere).iterdir()] == ["daemon.json"]


def test_a_dead_socket_where_the_engine_looks_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket that was left there is removed when the plugin answers elsewhere, and one that is in use is refused."""
    usual = tmp_path / "usual.sock"
    monkeypatch.setattr(installing, "default_socket", lambda _: usual)
    made = installation(tmp_path, socket=tmp_path / "elsewhere.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(usual))
        listener.listen()
        with pytest.raises(ConfigurationUnusableError, match="somebody answers"):
            made.install()
        assert [file.name for file in tmp_path.iterdir()] == ["usual.sock"]
    removed, *_ = made.install()

    assert removed.startswith(f"removed {usual}, on which nobody answered")
    assert not usual.exists()


NOBODY = 65534
WITHOUT_PRIVILEGES = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
"""Runs a command that permissions of files apply to, though it is root, whose Python perhaps nobody else may read."""


@pytest.mark.skipif(os.geteuid() != 0, reason="a directory of another user's needs root")
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv (Debian: util-linux)")
@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("docker-plugin --organization acme --socket {folder}/x.sock", "cannot be listened on: Permission denied"),
        ("docker-plugin install --socket {folder}/x.sock", "may not be opened by this user; run this as root"),
        ("docker-plugin uninstall --config {folder}/daemon.json", "Permission denied; do this as root"),
        ("doctor --plugin-socket {folder}/x.sock --engine-socket {folder}/e.sock", "run this as root"),
    ],
)
def test_who_is_not_root_is_told(command: str, problem: str) -> None:
    """Where the directories are somebody else's, sentences say so."""
    with tempfile.TemporaryDirectory() as folder:
        os.chown(folder, NOBODY, NOBODY)
        arguments = command.format(folder=folder).split()
        result = subprocess.run(
            [*WITHOUT_PRIVILEGES, sys.executable, "-m", "pullgate_cli", *arguments],
            capture_output=True,
            text=True,
            check=False,
            env=clean_environment(),
            timeout=60,
        )

    told = " ".join((result.stdout + result.stderr).split())
    assert problem in told
    assert "Traceback" not in told
    assert "never awaited" not in told


def test_what_systemd_is_told(tmp_path: Path) -> None:
    """Where systemd asks for it, it is told that the plugin answers, and again and again that it goes on."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(SOON)
        process = subprocess.Popen(
            [
                sys.executable, "-m", "pullgate_cli", "docker-plugin", "--organization", "acme",
                "--socket", str(tmp_path / "p.sock"), "--address", "127.0.0.1:1",
            ],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env={**clean_environment(), "NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "100000"},
        )  # fmt: skip
        try:
            told = {systemd.recv(100)}
            while b"READY=1" not in told:
                told.add(systemd.recv(100))
            answer = ask(tmp_path / "p.sock", "POST", "/Plugin.Activate")
            after = [systemd.recv(100) for _ in range(2)]
        finally:
            process.terminate()
            code = process.wait(timeout=SOON)

    assert answer == {"Implements": ["authz"]}
    assert after == [b"WATCHDOG=1"] * 2
    assert code == 0


def test_install_refuses_without_a_plugin(plugin_socket: Path, tmp_path: Path) -> None:
    """`install` does nothing while no plugin answers, unless told to; how to go on and back is printed."""
    configuration = tmp_path / "daemon.json"
    options = ["--name", "nowhere", "--config", str(configuration)]
    nobody = run_pullgate("docker-plugin", "install", *options)
    written = configuration.exists()
    forced = run_pullgate("docker-plugin", "install", *options, "--force")
    undone = run_pullgate("docker-plugin", "uninstall", *options)
    nothing = run_pullgate("docker-plugin", "uninstall", *options)

    assert (nobody.returncode, written) == (2, False)
    assert "an engine that cannot reach its plugin ends when it reads that" in nobody.stderr
    assert forced.returncode == 0
    assert "No plugin answers" in forced.stdout
    for told in ("systemctl reload docker", f"docker-plugin uninstall --name nowhere --config {configuration}"):
        assert told in forced.stdout
    assert undone.stdout.startswith("took nowhere out of authorization-plugins")
    assert (nothing.returncode, "nothing was changed" in nothing.stdout) == (0, True)


@pytest.mark.parametrize("name", ["", "../x", "a b", "a.b/c"])
def test_names_of_plugins(name: str) -> None:
    """A name that could be a path is refused."""
    result = run_pullgate("docker-plugin", "install", "--name", name)

    assert result.returncode == 2
    assert "cannot be a plugin's name" in result.stderr


def test_the_document_has_the_options() -> None:
    """The table in docs/docker-engine.md has every option of the command with its default, and no other."""
    document = (Path(__file__).parent.parent.parent / "docs/docker-engine.md").read_text()
    table = document.split("## Options")[1].split("\n## ")[0]
    parameters = {name: parameter for parameter in docker_plugin.params for name in parameter.opts}

    assert set(re.findall(r"`(--[a-z-]+)`", table)) == parameters.keys() - {"--data-dir", "--help"}
    for row in table.strip().splitlines()[2:]:
        names, defaults, _ = (cell.strip() for cell in row.strip("|").split(" | ", 2))
        for default in re.findall("`([^`]+)`", defaults):
            assert default in {str(parameters[name].default) for name in re.findall("`(--[a-z-]+)`", names)}, row
