"""The container image, built and started by a real Docker Engine.

Runs where dockerd and debootstrap are installed and this is root; elsewhere it is skipped and says so. The base image
is made from Debian's packages, and Python's packages go into the build as files, because a build has no network here.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docker_engine import Docker, run, running_docker

ROOT = Path(__file__).parent.parent
MISSING = [name for name in ("dockerd", "docker", "debootstrap") if shutil.which(name) is None]
CACHE = ROOT / "build" / "container-test"
"""Kept between runs: the base image and the wheels take minutes to make."""

pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)} (Debian: docker.io, debootstrap)"),
    pytest.mark.skipif(os.geteuid() != 0, reason="a Docker daemon of its own needs root"),
]


@pytest.fixture(scope="module")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Docker]:
    """A Docker Engine of this test."""
    with running_docker(tmp_path_factory.mktemp("docker")) as daemon:
        yield daemon


def debian_mirror() -> str:
    """Where this machine gets Debian's packages from."""
    for path in (Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))):
        found = re.search(r"https?://\S+/debian(?=/?\s)", path.read_text()) if path.is_file() else None
        if found:
            return found[0]
    return "https://deb.debian.org/debian"


@pytest.fixture(scope="module")
def image(docker: Docker) -> str:
    """The image, built from the working tree on a base from Debian's packages."""
    base, wheels = CACHE / "base.tar", ROOT / "build" / "wheels"
    CACHE.mkdir(parents=True, exist_ok=True)
    if not base.exists():
        release = re.search(r"VERSION_CODENAME=(\w+)", Path("/etc/os-release").read_text())
        assert release is not None
        tree = CACHE / "base"
        shutil.rmtree(tree, ignore_errors=True)
        include = "python3,python3-venv,ca-certificates"
        run("debootstrap", "--variant=minbase", f"--include={include}", release[1], tree, debian_mirror())
        run(
            "tar",
            "-C",
            tree,
            "--exclude=./var/cache/apt",
            "--exclude=./proc/*",
            "--exclude=./sys/*",
            "-cf",
            f"{base}.new",
            ".",
        )
        Path(f"{base}.new").rename(base)
        shutil.rmtree(tree)
    docker("import", base, "pullgate-test-base")
    python = run("docker", "-H", f"unix://{docker.socket}", "run", "--rm", "--network=none", "pullgate-test-base",
                 "python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])").strip()  # fmt: skip
    download: list[str | Path] = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--dest",
        wheels,
        "--python-version",
        python,
    ]
    # Redis's client needs async-timeout below Python 3.11.3, and pip reads such conditions for the Python it runs on.
    run(*download, "--only-binary=:all:", "hatchling", "async-timeout", *server_requirements())
    docker(
        "build", "--network=none", "--build-arg", "BASE=pullgate-test-base",
        "--build-arg", "PIP_OPTIONS=--no-index --find-links=/source/build/wheels", "-t", "pullgate-test", ROOT,
        env={**os.environ, "DOCKER_BUILDKIT": "0"},
    )  # fmt: skip
    return "pullgate-test"


def server_requirements() -> list[str]:
    """What the server needs, as pyproject.toml says."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [item.partition(";")[0] for item in (*project["dependencies"], *project["optional-dependencies"]["server"])]


def test_the_image_runs_read_only_as_nobody_in_particular(docker: Docker, image: str) -> None:
    """The image starts without root on a read-only root file system, becomes healthy, decides, and stops cleanly."""
    docker(
        "run", "--detach", "--name=trial", "--network=none", "--read-only", "--cap-drop=ALL",
        "--security-opt=no-new-privileges", "--env=PULLGATE_LISTEN=127.0.0.1:50051", image,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 90
        while (health := docker("inspect", "--format={{.State.Health.Status}}", "trial").strip()) != "healthy":
            assert time.monotonic() < deadline, f"{health}\n{docker('logs', 'trial')}"
            time.sleep(0.5)
        preset = docker("exec", "trial", "pullgate", "policy", "preset", "strict")
        docker("exec", "--interactive", "trial", "pullgate", "policy", "apply", "--yes", "-f", "-", input=preset)
        allowed = docker("exec", "trial", "pullgate", "decide", "--org", "acme", "--user", "dev", "nginx")
        user = docker("exec", "trial", "id", "-u").strip()
        inspected = docker("inspect", "--format={{.HostConfig.ReadonlyRootfs}} {{.Config.User}}", "trial").strip()
        docker("stop", "--time=30", "trial")
        code = docker("inspect", "--format={{.State.ExitCode}}", "trial").strip()
    finally:
        subprocess.run(
            ["docker", "-H", f"unix://{docker.socket}", "rm", "-f", "trial"], capture_output=True, check=False
        )

    assert allowed.startswith("ALLOW  docker.io/library/nginx:latest")
    assert (user, inspected, code) == ("65532", "true 65532:65532", "0")


def test_the_image_does_not_serve_plaintext_to_the_network(docker: Docker, image: str) -> None:
    """As it is, the image listens on all addresses, and so it refuses to start without TLS unless asked to."""
    result = subprocess.run(
        ["docker", "-H", f"unix://{docker.socket}", "run", "--rm", "--network=none", image],
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode == 2
    assert "say --allow-plaintext" in result.stderr
