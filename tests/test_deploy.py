"""What `deploy/` holds: valid for those who read it, and in step with the command line and the container's image."""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import kubernetes_validate
import pytest
import yaml

from pullgate_cli.docker_plugin import docker_plugin
from pullgate_cli.healthcheck import healthcheck
from pullgate_cli.sidecar import sidecar

ROOT = Path(__file__).parent.parent
UNIT = ROOT / "deploy/systemd/pullgate-sidecar.service"
DOCKER_UNIT = ROOT / "deploy/systemd/pullgate-docker-plugin.service"
DOCKER_DROP_IN = ROOT / "deploy/systemd/docker.service.d-pullgate.conf"
MANIFEST = ROOT / "deploy/kubernetes/sidecar.yaml"

KUBERNETES = "1.33"
"""The version whose schema the manifest is held against."""


def given(command: click.Command, arguments: list[str]) -> dict[str, Any]:
    """The options that an invocation of a command gives it; raises for what the command does not take."""
    with command.make_context(command.name, list(arguments), resilient_parsing=False) as context:
        return dict(context.params)


@pytest.fixture(scope="module")
def pod() -> dict[str, Any]:
    """The manifest's pod."""
    (document,) = yaml.safe_load_all(MANIFEST.read_text())
    return dict(document["spec"]["template"]["spec"])


@pytest.fixture(scope="module")
def container(pod: dict[str, Any]) -> dict[str, Any]:
    """The sidecar's container."""
    (made,) = pod["initContainers"]
    return dict(made)


def service(unit: Path) -> Iterator[tuple[str, str]]:
    """The settings of a unit."""
    for line in unit.read_text().splitlines():
        if match := re.fullmatch(r"(\w+)=(.*)", line):
            yield match[1], match[2]


def test_kubernetes_accepts_the_manifest() -> None:
    """Every field of the manifest is one that Kubernetes knows, of the right kind, and none is missing."""
    for document in yaml.safe_load_all(MANIFEST.read_text()):
        kubernetes_validate.validate(document, KUBERNETES, strict=True)


def test_a_wrong_manifest_is_seen() -> None:
    """The schema that the manifest is held against refuses a misspelt field."""
    document = yaml.safe_load(MANIFEST.read_text().replace("startupProbe:", "startProbe:"))

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(document, KUBERNETES, strict=True)


def test_the_container_runs_what_the_command_line_takes(container: dict[str, Any]) -> None:
    """The container's arguments and probes are invocations that the commands accept, about the same socket."""
    name, *arguments = container["args"]
    options = given(sidecar, arguments)
    probes = [container[probe]["exec"]["command"] for probe in ("startupProbe", "readinessProbe")]

    assert name == "sidecar"
    assert options["listen"] == "unix:///run/pullgate/pullgate.sock"
    for program, command, *rest in probes:
        assert (program, command) == ("pullgate", "healthcheck")
        assert given(healthcheck, rest)["address"] == "unix:/run/pullgate/pullgate.sock"


def test_what_the_container_uses_is_mounted(pod: dict[str, Any], container: dict[str, Any]) -> None:
    """Each path of the container's options lies in a volume of the pod, and the application has the socket's."""
    options = given(sidecar, container["args"][1:])
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    volumes = {volume["name"] for volume in pod["volumes"]}
    paths = [
        Path(options["listen"].removeprefix("unix://")).parent,
        options["state_dir"],
        options["token_file"].parent,
        options["ca"].parent,
    ]
    (application,) = pod["containers"]

    assert sorted(map(str, paths)) == sorted(mounts)
    assert set(mounts.values()) == volumes
    assert mounts["/run/pullgate"] in {mount["name"] for mount in application["volumeMounts"]}
    assert {"name": "PULLGATE_ADDRESS", "value": "unix:/run/pullgate/pullgate.sock"} in application["env"]


def test_the_container_is_the_images(pod: dict[str, Any], container: dict[str, Any]) -> None:
    """The pod runs as the image's own user, with a root file system that is read-only, and the image's entry point."""
    dockerfile = (ROOT / "Dockerfile").read_text()
    user = pod["securityContext"]

    assert f"USER {user['runAsUser']}:{user['runAsGroup']}" in dockerfile
    assert 'ENTRYPOINT ["pullgate"]' in dockerfile
    assert "command" not in container
    assert user["runAsNonRoot"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert container["restartPolicy"] == "Always"


@pytest.mark.parametrize("given_unit", [UNIT, DOCKER_UNIT], ids=lambda unit: unit.name)
def test_systemd_accepts_the_unit(given_unit: Path, tmp_path: Path) -> None:
    """`systemd-analyze verify` has nothing to say about the unit, with the program where it is on this machine."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed (Debian: systemd), so the unit was not verified")
    unit = tmp_path / given_unit.name
    program = Path(sys.executable).parent / "pullgate"
    unit.write_text(given_unit.read_text().replace("ExecStart=/opt/pullgate/bin/pullgate", f"ExecStart={program}"))
    result = subprocess.run([analyze, "verify", unit], capture_output=True, text=True, check=False)

    assert (result.returncode, result.stdout + result.stderr) == (0, "")


def test_systemd_accepts_the_drop_in(tmp_path: Path) -> None:
    """`systemd-analyze verify` has nothing to say about an engine's unit with the drop-in, and reads it."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed (Debian: systemd), so the drop-in was not verified")
    unit = tmp_path / "pullgate-test-engine.service"
    unit.write_text("[Service]\nExecStart=/bin/true\n")
    drop_in = tmp_path / f"{unit.name}.d" / "pullgate.conf"
    drop_in.parent.mkdir()

    def verify(text: str) -> str:
        drop_in.write_text(text)
        result = subprocess.run([analyze, "verify", unit], capture_output=True, text=True, check=False)
        return result.stdout + result.stderr

    text = DOCKER_DROP_IN.read_text()
    assert "Unknown key" in verify(text.replace("StartLimitIntervalSec", "StartLimitSec"))
    assert verify(text) == ""


@pytest.mark.parametrize("unit", [UNIT, DOCKER_UNIT], ids=lambda unit: unit.name)
def test_the_unit_is_hardened(unit: Path) -> None:
    """`systemd-analyze security` finds the service little exposed."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed (Debian: systemd), so the unit was not looked at")
    result = subprocess.run(
        [analyze, "security", "--offline=true", "--threshold=20", unit], capture_output=True, text=True, check=False
    )

    assert result.returncode == 0, result.stdout + result.stderr


def test_the_unit_runs_what_the_command_line_takes() -> None:
    """The unit's command is one that the command line accepts, with paths in the directories that systemd makes."""
    settings = dict(service(UNIT))
    program, name, *arguments = shlex.split(settings["ExecStart"])
    options = given(sidecar, arguments)

    assert (program, name) == ("/opt/pullgate/bin/pullgate", "sidecar")
    assert options["listen"] == f"unix:///run/{settings['RuntimeDirectory']}/pullgate.sock"
    assert str(options["state_dir"]) == f"%S/{settings['StateDirectory']}"
    assert str(options["token_file"]) == f"%d/{settings['LoadCredential'].partition(':')[0]}"
    assert settings["Environment"].startswith("PULLGATE_UPSTREAM=")


def test_the_docker_unit_runs_what_the_command_line_takes() -> None:
    """The plugin's unit runs what the command line accepts, always comes back, and tells how it is installed."""
    lines = DOCKER_UNIT.read_text().splitlines()
    settings = dict(service(DOCKER_UNIT))
    program, name, *arguments = shlex.split(settings["ExecStart"])
    options = given(docker_plugin, arguments)
    (installing,) = [line.removeprefix("#") for line in lines if "docker-plugin install --socket" in line]
    _, group, command, *install_arguments = shlex.split(installing)

    assert (program, name) == ("/opt/pullgate/bin/pullgate", "docker-plugin")
    assert str(options["path"]) == f"/run/{settings['RuntimeDirectory']}/pullgate.sock"
    assert str(options["state_dir"]) == f"%S/{settings['StateDirectory']}"
    assert str(options["token_file"]) == f"%d/{settings['LoadCredential'].partition(':')[0]}"
    assert options["organizations"] == ("${PULLGATE_ORGANIZATION}",)
    assert "Environment=PULLGATE_ORGANIZATION=acme" in lines
    assert (settings["Restart"], settings["Before"]) == ("always", "docker.service")
    assert (settings["Type"], settings["WatchdogSec"]) == ("notify", "20s")
    assert (group, command) == ("docker-plugin", "install")
    assert given(docker_plugin.commands["install"], install_arguments)["path"] == options["path"]


def test_envoy_asks_where_the_sidecar_answers() -> None:
    """The gateway's configuration names the socket that the unit's sidecar makes (tests/enforcement runs all of it)."""
    settings = dict(service(UNIT))
    options = given(sidecar, shlex.split(settings["ExecStart"])[2:])
    resources = yaml.safe_load((ROOT / "deploy/envoy/envoy.yaml").read_text())["static_resources"]
    (asked,) = [cluster["load_assignment"] for cluster in resources["clusters"] if cluster["name"] == "pullgate"]
    (endpoint,) = asked["endpoints"][0]["lb_endpoints"]

    assert options["listen"] == f"unix://{endpoint['endpoint']['address']['pipe']['path']}"
