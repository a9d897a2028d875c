"""What the tests of the gateway share: pullgate, a registry, an Envoy between clients and it, and the clients."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from google.protobuf import json_format
from google.rpc import code_pb2

from pullgate.envoy.v3 import external_authorization_pb2 as messages
from tests.conftest import SOON, ServerProcess, clean_environment, run_pullgate, start_server, stop_server
from tests.envoy import (
    Certificates,
    Configuration,
    Gateway,
    context_extensions,
    deployed_configuration,
    running_envoy,
    with_server,
)
from tests.registry import Registry, running_registry
from tests.server.test_tls import issue

NEEDS_SKOPEO = pytest.mark.skipif(shutil.which("skopeo") is None, reason="needs skopeo (Debian: skopeo)")
NEEDS_PODMAN = pytest.mark.skipif(shutil.which("podman") is None, reason="needs podman (Debian: podman)")

DENIED = "image access denied: community images not allowed"

STRICT = """
organization: acme
image_access:
  enabled: true
  allow: {official_images: true}
"""

CATALOGUE = """
entries:
  - {namespace: someuser, category: COMMUNITY, source: the tests, retrieved_at: 2026-01-01T00:00:00Z}
"""


@dataclass(frozen=True, kw_only=True)
class Pullgate:
    """`pullgate serve` with TLS, in which acme is strict."""

    server: ServerProcess
    certificates: Certificates
    folder: Path

    def run(self, *arguments: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
        """The command line, as the operator."""
        return subprocess.run(
            [sys.executable, "-m", "pullgate_cli", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            env={**self.server.environment(), "PULLGATE_CA": str(self.certificates.ca)},
            timeout=60,
            check=False,
        )

    def apply(self, policy: str) -> None:
        """Write a policy."""
        applied = self.run("policy", "apply", "--yes", "-f", "-", stdin=policy)
        assert applied.returncode == 0, applied.stderr

    def new_token(self, name: str, role: str, *options: str) -> str:
        """A token's secret."""
        created = self.run("token", "create", "--name", name, "--org", "acme", "--role", role, *options)
        assert created.returncode == 0, created.stderr
        return created.stdout.strip()

    def stop(self) -> None:
        """Stop the server, if nobody has."""
        if self.server.process.poll() is None:
            stop_server(self.server)

    def start_again(self) -> "Pullgate":
        """Start it where it was."""
        server = _start(self.folder, self.certificates, self.server.address)
        return Pullgate(server=server, certificates=self.certificates, folder=self.folder)


@contextmanager
def running_pullgate(folder: Path, certificates: Certificates) -> Iterator[Pullgate]:
    """A server of the name pullgate.internal, with a strict acme."""
    (folder / "data").mkdir(parents=True)
    (folder / "data/catalogue.yaml").write_text(CATALOGUE)
    names = (x509.DNSName("pullgate.internal"), x509.DNSName("localhost"))
    issued = issue("pullgate", certificates.authority, names=names)
    for name, content in (("pullgate.crt", issued.pem), ("pullgate.key", issued.key_pem)):
        (folder / name).write_bytes(content)
        (folder / name).chmod(0o600)
    pullgate = Pullgate(server=_start(folder, certificates), certificates=certificates, folder=folder)
    try:
        pullgate.apply(STRICT)
        yield pullgate
    finally:
        pullgate.stop()


def _start(folder: Path, certificates: Certificates, address: str = "localhost:0") -> ServerProcess:
    tls = ("--tls-cert", str(folder / "pullgate.crt"), "--tls-key", str(folder / "pullgate.key"))
    return start_server(folder / "data", "--listen", address, *tls)


@contextmanager
def running_sidecar(pullgate: Pullgate, socket: Path) -> Iterator["subprocess.Popen[str]"]:
    """`pullgate sidecar` with an enforcer's token, on a unix socket, from when it answers."""
    token = pullgate.folder / "sidecar.token"
    token.write_text(pullgate.new_token("sidecar", "enforcer"))
    with (pullgate.folder / "sidecar.log").open("w") as log:
        process = subprocess.Popen(
            [
                sys.executable, "-m", "pullgate_cli", "sidecar", "--upstream", pullgate.server.address,
                "--ca", str(pullgate.certificates.ca), "--token-file", str(token), "--listen", f"unix://{socket}",
                "--state-dir", str(pullgate.folder / "state"),
            ],
            stdout=subprocess.PIPE, stderr=log, text=True, env=clean_environment(),
        )  # fmt: skip
    assert process.stdout is not None
    try:
        assert any(" decide --address " in line for line in process.stdout)
        until(lambda: run_pullgate("decide", "--address", f"unix:{socket}", "--org", "acme", "nginx").returncode == 0)
        yield process
    finally:
        process.terminate()
        process.wait(timeout=SOON)
        process.stdout.close()


@contextmanager
def running_gateway(
    pullgate: Pullgate,
    registry: Registry,
    change: Callable[[Configuration], None] = lambda _: None,
) -> Iterator[Gateway]:
    """An Envoy that asks the server itself, as deploy/envoy/pullgate-server.yaml has it."""
    certificates = pullgate.certificates
    configuration = with_server(
        deployed_configuration(certificates, registry=registry.address),
        certificates,
        server=pullgate.server.address,
        token=pullgate.new_token("gateway", "enforcer"),
    )
    change(configuration)
    with running_envoy(configuration, certificates) as gateway:
        yield gateway


@contextmanager
def registry_with_images(folder: Path) -> Iterator[Registry]:
    """A registry with an official image, a community image, and one of acme's."""
    with running_registry(folder) as registry:
        for repository in ("library/nginx", "someuser/custom-image", "acme/app"):
            registry.push(repository)
        yield registry


@dataclass(frozen=True, kw_only=True)
class Clients:
    """Registry clients of a home directory, which is all that they are configured by."""

    home: Path
    folder: Path
    run: Path

    def configure(self, registries: str, *trusted: Gateway) -> None:
        """Write registries.conf, and what is needed to trust these gateways."""
        configuration = self.home / ".config/containers"
        configuration.mkdir(parents=True, exist_ok=True)
        (configuration / "registries.conf").write_text(registries)
        (self.home / "auth.json").write_text("{}")
        for gateway in trusted:
            certificates = configuration / "certs.d" / gateway.address
            certificates.mkdir(parents=True, exist_ok=True)
            (certificates / "ca.crt").write_bytes(gateway.certificates.authority.pem)

    def skopeo(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """`skopeo …`."""
        return self._run("skopeo", *arguments)

    def podman(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """`podman …`, with images of its own and without a file system of the kernel's."""
        places = ("--root", f"{self.folder}/images", "--runroot", str(self.run), "--tmpdir", str(self.run))
        return self._run("podman", *places, "--storage-driver", "vfs", "--events-backend", "file", *arguments)

    def _run(self, *command: str) -> "subprocess.CompletedProcess[str]":
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "CONTAINERS_"))
        }
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            env={**environment, "HOME": str(self.home), "REGISTRY_AUTH_FILE": str(self.home / "auth.json")},
            timeout=60,
            check=False,
            cwd=self.folder,
        )


@contextmanager
def clients_of(folder: Path) -> Iterator[Clients]:
    """Clients that keep what they keep in `folder`."""
    # podman refuses long paths for what it needs while it runs.
    with tempfile.TemporaryDirectory(prefix="podman-") as run:
        yield Clients(home=folder / "home", folder=folder, run=Path(run))


def until(holds: Callable[[], bool]) -> None:
    """Wait for something that is only a matter of time."""
    deadline = time.monotonic() + SOON
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


@dataclass(frozen=True, kw_only=True)
class Answered:
    """An answer of ext_authz."""

    is_allowed: bool
    facts: Mapping[str, str | float]
    message: str = ""
    detail: str = ""

    @classmethod
    def of(cls, response: messages.CheckResponse) -> "Answered":
        """What clients and access logs make of it."""
        facts = json_format.MessageToDict(response.dynamic_metadata)
        if response.status.code == code_pb2.OK:
            return cls(is_allowed=True, facts=facts)
        (error,) = json.loads(response.denied_response.body)["errors"]
        return cls(is_allowed=False, facts=facts, message=error["message"], detail=error["detail"])


def only_route(configuration: Configuration, extensions: Mapping[str, str]) -> None:
    """Have the configuration's one route say this to pullgate, and nothing else."""
    present = context_extensions(configuration)
    present.clear()
    present.update(extensions)
