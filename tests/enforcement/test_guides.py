"""docs/envoy.md and docs/enforcement.md: what they tell people to write, tried with the clients that it is for.

Each configuration is taken out of the page. Where the page says `gateway.internal` there is a real gateway, and where
it says `registry-1.docker.io` a second registry, which lets everybody pull everything, as Docker Hub does.
"""

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import threading
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from pullgate_cli.sidecar import sidecar
from pullgate_server.rpc.envoy_route import read_route
from tests.conftest import SOON
from tests.docker_engine import NEEDS_ENGINE, running_docker
from tests.enforcement.gateways import (
    DENIED,
    NEEDS_PODMAN,
    NEEDS_SKOPEO,
    STRICT,
    Clients,
    Pullgate,
    clients_of,
    registry_with_images,
    running_gateway,
    running_pullgate,
    until,
)
from tests.envoy import DEPLOYED, NEEDS_ENVOY, Certificates, Configuration, Gateway, connection_manager
from tests.registry import NEEDS_REGISTRY, Registry
from tests.test_deploy import given

pytestmark = [NEEDS_ENVOY, NEEDS_REGISTRY]

NEEDS_CONTAINERD = pytest.mark.skipif(
    os.geteuid() != 0 or any(shutil.which(name) is None for name in ("containerd", "ctr")),
    reason="needs containerd (Debian: containerd), and root to run one of its own",
)

DOCS = Path(__file__).parent.parent.parent / "docs"

OFFICIAL, COMMUNITY = "docker.io/library/nginx:latest", "docker.io/someuser/custom-image:latest"


def blocks(page: str, heading: str, language: str) -> list[str]:
    """What a section of a page shows in a language, in order."""
    return blocks_of((DOCS / page).read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0], language)


def blocks_of(section: str, language: str) -> list[str]:
    """What a text shows in a language, without the indentation that lists give it."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```", section, re.DOTALL | re.MULTILINE)
    return [re.sub(rf"^{indent}", "", text, flags=re.MULTILINE) for indent, text in found]


@dataclass(frozen=True, kw_only=True)
class Place:
    """What the pages are about: a gateway, the registry behind it, and a Docker Hub that clients may get to."""

    pullgate: Pullgate
    gateway: Gateway
    registry: Registry
    docker_hub: Registry

    def written(self, text: str) -> str:
        """A configuration out of a page, with the addresses of this place."""
        plain = f'location = "{self.docker_hub.address}"\ninsecure = true'
        for name, here in (
            ('location = "registry-1.docker.io"\n\n[[registry.mirror', f"{plain}\n\n[[registry.mirror"),
            ("https://registry-1.docker.io", self.docker_hub.url),
            ("gateway.internal", self.gateway.address),
            ("/etc/containerd/gateway-ca.crt", str(self.gateway.certificates.ca)),
        ):
            text = text.replace(name, here)
        return text

    def pulled(self, registry: Registry, since: int) -> bool:
        """Whether the registry has served anything of the community image since."""
        return any("/someuser/custom-image/" in request.target for request in registry.requests[since:])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """With the same images in both registries."""
    certificates = Certificates(folder=tmp_path_factory.mktemp("certificates"))
    with (
        registry_with_images(tmp_path_factory.mktemp("registry")) as registry,
        registry_with_images(tmp_path_factory.mktemp("docker-hub")) as docker_hub,
        running_pullgate(tmp_path_factory.mktemp("pullgate") / "server", certificates) as pullgate,
        running_gateway(pullgate, registry) as gateway,
    ):
        yield Place(pullgate=pullgate, gateway=gateway, registry=registry, docker_hub=docker_hub)


@pytest.fixture
def clients(tmp_path: Path) -> Iterator[Clients]:
    """Clients that are not configured yet."""
    with clients_of(tmp_path) as made:
        yield made


@dataclass(kw_only=True)
class Proxy:
    """A proxy that lets nobody out, and remembers where they wanted to go."""

    address: str
    asked: list[str] = field(default_factory=list)

    def as_environment(self, patch: pytest.MonkeyPatch) -> None:
        """Have the programs that are started from now on use it, but for what is on this machine."""
        for name, value in (("HTTPS_PROXY", f"http://{self.address}"), ("NO_PROXY", "127.0.0.1")):
            for spelling in (name, name.lower()):
                patch.setenv(spelling, value)


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    """As companies have one that blocks what nobody may ask for."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        made = Proxy(address=address)

        def refuse() -> None:
            while True:
                connection, _ = listener.accept()
                with connection:
                    request = connection.recv(4096)
                    if not request:
                        return
                    made.asked.append(request.split(b" ")[1].decode())
                    connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=refuse)
        thread.start()
        yield made
        socket.create_connection(("127.0.0.1", listener.getsockname()[1])).close()
        thread.join(SOON)


class Containerd:
    """A containerd of its own, and `ctr`."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "containerd.sock"
        self.hosts = folder / "certs.d"
        self.configuration = folder / "config.toml"
        self.configuration.write_text(
            f'version = 2\nroot = "{folder}/root"\nstate = "{folder}/state"\n'
            'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
            f'[grpc]\naddress = "{self.socket}"\n[ttrpc]\naddress = "{folder}/ttrpc.sock"\n'
        )

    def trusts(self, text: str) -> None:
        """Write the hosts.toml of docker.io."""
        folder = self.hosts / "docker.io"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "hosts.toml").write_text(text)

    def fetch(self, image: str) -> "subprocess.CompletedProcess[str]":
        """All of an image's content, as a pull gets it; unpacking it would need a kernel that lets us."""
        command = ["ctr", "--address", str(self.socket), "content", "fetch", "--hosts-dir", str(self.hosts), image]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def containerd(tmp_path: Path) -> Iterator[Containerd]:
    """A running one."""
    made = Containerd(tmp_path)
    with (tmp_path / "containerd.log").open("w") as log:
        process = subprocess.Popen(["containerd", "--config", made.configuration], stdout=log, stderr=log)
    try:
        until(made.socket.exists)
        yield made
    finally:
        process.terminate()
        process.wait(timeout=SOON)


ENFORCED, NOT_ENFORCED = 0, 1
"""Which of a section's configurations is which."""


@pytest.mark.parametrize(
    "client", [pytest.param("podman", marks=NEEDS_PODMAN), pytest.param("skopeo", marks=NEEDS_SKOPEO)]
)
def test_podman_and_skopeo(place: Place, clients: Clients, client: str) -> None:
    """With the gateway as `location` a denied image is not to be had; a mirror only sends people on to Docker Hub."""

    def pull(image: str) -> "subprocess.CompletedProcess[str]":
        return (
            clients.podman("pull", image)
            if client == "podman"
            else clients.skopeo("inspect", "--no-tags", f"docker://{image}")
        )

    enforced, not_enforced = blocks("enforcement.md", "podman, skopeo and buildah", "toml")
    before = len(place.docker_hub.requests)
    clients.configure(place.written(enforced), place.gateway)
    allowed, denied = pull(OFFICIAL), pull(COMMUNITY)
    other_names = ("registry-1.docker.io", "registry.hub.docker.com", "index.docker.io")
    by_other_names = [pull(f"{name}/someuser/custom-image").stderr for name in other_names]
    reached = place.docker_hub.requests[before:]
    clients.configure(place.written(not_enforced), place.gateway)
    got_around = pull(COMMUNITY)

    assert allowed.returncode == 0, allowed.stderr
    assert f"denied: {DENIED}" in denied.stderr
    assert ["blocked" in printed for printed in by_other_names] == [True, True, False], by_other_names
    assert f"denied: {DENIED}" in by_other_names[2]
    assert reached == ()
    assert got_around.returncode == 0, got_around.stderr
    assert place.pulled(place.docker_hub, before)


@NEEDS_PODMAN
def test_short_names(place: Place, clients: Clients) -> None:
    """A name without a registry goes through the gateway too."""
    enforced, _ = blocks("enforcement.md", "podman, skopeo and buildah", "toml")
    clients.configure(place.written(enforced), place.gateway)
    before = len(place.registry.requests)
    pulled = clients.podman("pull", "nginx")
    denied = clients.podman("pull", "someuser/custom-image")

    assert pulled.returncode == 0, pulled.stderr
    assert any("/library/nginx/" in request.target for request in place.registry.requests[before:])
    assert DENIED in denied.stderr


@NEEDS_SKOPEO
@pytest.mark.parametrize(
    "command",
    [
        "list-tags docker://docker.io/library/nginx",
        "inspect docker://docker.io/library/nginx",
        "copy {} docker://docker.io/acme/new",
    ],
)
def test_what_skopeo_asks_docker_hub_itself(
    place: Place, clients: Clients, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """Lists of tags and pushes go to Docker Hub whatever registries.conf says, so that egress has to be blocked."""
    enforced, _ = blocks("enforcement.md", "podman, skopeo and buildah", "toml")
    clients.configure(place.written(enforced), place.gateway)
    assert clients.skopeo("copy", f"docker://{OFFICIAL}", f"dir:{clients.folder}/image").returncode == 0
    proxy.as_environment(monkeypatch)
    result = clients.skopeo(*command.format(f"dir:{clients.folder}/image").split())

    assert result.returncode != 0
    assert set(proxy.asked) == {"registry-1.docker.io:443"}
    at_the_gateway = clients.skopeo("list-tags", f"docker://{place.gateway.address}/library/nginx")
    assert at_the_gateway.returncode == 0, at_the_gateway.stderr


@NEEDS_CONTAINERD
@pytest.mark.parametrize("which", [ENFORCED, NOT_ENFORCED])
def test_containerd(place: Place, containerd: Containerd, which: int) -> None:
    """With the gateway as `server` a denied image is not to be had; as a `host` alone it sends containerd on."""
    before = len(place.docker_hub.requests)
    containerd.trusts(place.written(blocks("enforcement.md", "containerd and Kubernetes", "toml")[which]))
    allowed, denied = containerd.fetch(OFFICIAL), containerd.fetch(COMMUNITY)

    assert allowed.returncode == 0, allowed.stderr
    if which == ENFORCED:
        assert denied.returncode != 0
        assert "403 Forbidden" in denied.stderr
        assert "x509" not in denied.stderr
        assert place.docker_hub.requests[before:] == ()
    else:
        assert denied.returncode == 0, denied.stderr
        assert place.pulled(place.docker_hub, before)


@NEEDS_CONTAINERD
@pytest.mark.parametrize("rest", ["", "[host"], ids=["server alone", "malformed"])
def test_containerd_ignores_a_file_without_hosts(
    place: Place, containerd: Containerd, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, rest: str
) -> None:
    """Containerd 1.6 ignores a hosts.toml that has `server` alone or is malformed, and asks Docker Hub."""
    enforced = blocks("enforcement.md", "containerd and Kubernetes", "toml")[ENFORCED]
    containerd.trusts(place.written(enforced).split("[host")[0] + rest)
    proxy.as_environment(monkeypatch)
    result = containerd.fetch(COMMUNITY)
    if "failed to decode hosts.toml" not in result.stderr:
        pytest.skip("this containerd reads a hosts.toml without [host], which older ones ignore")

    assert result.returncode != 0
    assert set(proxy.asked) == {"registry-1.docker.io:443"}


@NEEDS_ENGINE[0]
@NEEDS_ENGINE[1]
def test_dockerd(place: Place, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is allowed comes through the gateway alone; what is denied there is asked of Docker Hub next."""
    proxy.as_environment(monkeypatch)
    configuration = tmp_path / "daemon.json"
    (mirrors,) = blocks("enforcement.md", "dockerd", "json")
    configuration.write_text(place.written(mirrors))
    before = len(place.registry.requests)
    with running_docker(tmp_path / "docker", "--config-file", str(configuration)) as docker:
        docker("pull", "nginx")
        asked_for_what_is_allowed = list(proxy.asked)
        message = docker.refused("pull", "someuser/custom-image")
        by_name = docker.refused("pull", f"{place.gateway.address}/someuser/custom-image")

    assert asked_for_what_is_allowed == []
    assert set(proxy.asked) == {"registry-1.docker.io:443"}
    assert 'Get "https://registry-1.docker.io/v2/": Forbidden' in message
    assert f"repository does not exist or may require 'docker login': denied: {DENIED}" in by_name
    assert not place.pulled(place.registry, before)


@NEEDS_SKOPEO
def test_the_first_page_of_the_gateway(place: Place, clients: Clients) -> None:
    """registries.conf as written, and the first two commands, print what the page says they do."""
    (registries,) = blocks("envoy.md", "Setting it up", "toml")
    clients.configure(place.written(registries), place.gateway)
    shown = re.findall(r"```console\n(\$.*?)```", (DOCS / "envoy.md").read_text(), re.DOTALL)[0]
    allowed, denied, printed = place.written(shown).strip().splitlines()

    assert clients.skopeo(*shlex.split(allowed)[2:]).returncode == 0
    assert printed in clients.skopeo(*shlex.split(denied)[2:]).stderr


def test_setting_up_the_gateway(place: Place) -> None:
    """The token is made by the command as written, the sidecar takes its options, and the policy of the page is one."""
    (make_token,) = blocks("envoy.md", "Setting it up", "sh")
    create, _, _ = make_token.strip().partition(" > ")
    token = place.pullgate.run(*shlex.split(create)[1:])
    (run_sidecar, *_) = blocks("envoy.md", "Setting it up", "console")
    (policy,) = blocks("envoy.md", "Setting it up", "yaml")
    options = given(sidecar, [*shlex.split(run_sidecar)[2:], "--socket-mode", "0660"])
    planned = place.pullgate.run("policy", "plan", "-f", "-", stdin=policy)

    assert re.fullmatch(r"pullgate_[0-9a-f]{64}\n", token.stdout), token.stderr
    assert options["listen"].removeprefix("unix://") in (DEPLOYED / "envoy.yaml").read_text()
    assert "sign_in.required" in planned.stdout


def test_the_routes_of_the_page() -> None:
    """What the page shows for context_extensions is what pullgate reads, and so are the names in its table."""
    for text in blocks("envoy.md", "Who pulls", "yaml"):
        assert read_route(yaml.safe_load(text)).registry == "docker.io"
    for name in re.findall(r"`pullgate\.(user\w*)`", (DOCS / "envoy.md").read_text()):
        assert getattr(read_route({"pullgate.registry": "docker.io", f"pullgate.{name}": "x"}), name) == "x"


def test_the_access_log_of_the_page(place: Place) -> None:
    """A denial is logged with what the page shows."""
    (shown,) = blocks("envoy.md", "The access log", "json")
    line = place.gateway.logged(place.gateway.ask("GET", "/v2/someuser/custom-image/manifests/latest"))

    assert {name: line[name] for name in json.loads(shown)} == json.loads(shown)


def test_monitor_mode_in_the_access_log(place: Place) -> None:
    """With monitor mode a denial is let through, and the log says both."""
    try:
        place.pullgate.apply(STRICT.replace("enabled: true", "enabled: true\n  mode: monitor"))
        line = place.gateway.logged(place.gateway.ask("GET", "/v2/someuser/custom-image/manifests/latest"))
    finally:
        place.pullgate.apply(STRICT)

    assert (line["status"], line["effect"], line["policy_effect"]) == (200, "ALLOW", "DENY")


def test_the_routes_user_is_governed_whoever_is_listed(place: Place) -> None:
    """With the first member on the organization's list the deployed route denies what it denied before."""
    blocked = "/v2/someuser/custom-image/manifests/latest"
    assert place.pullgate.run("member", "set", "--org", "acme", "ada", "--role", "member").returncode == 0
    try:
        line = place.gateway.logged(place.gateway.ask("GET", blocked))
    finally:
        place.pullgate.run("member", "remove", "--org", "acme", "ada")

    assert (line["status"], line["reason"]) == (403, "CATEGORY_NOT_ALLOWED")


def test_a_path_that_is_not_asked_about(place: Place) -> None:
    """A registry's own path gets a route as the page shows it, and then reaches the registry without a decision."""

    def change(configuration: Configuration) -> None:
        (shown,) = blocks("envoy.md", "What is decided", "yaml")
        (host,) = connection_manager(configuration)["route_config"]["virtual_hosts"]
        host["routes"][:0] = yaml.safe_load(shown)

    before = len(place.registry.requests)
    with running_gateway(place.pullgate, place.registry, change) as gateway:
        line = gateway.logged(gateway.ask("GET", "/service/token?scope=x"))

    assert "/service/token?scope=x" in [request.target for request in place.registry.requests[before:]]
    assert line["decision_id"] is None


def test_the_pages_are_well_formed() -> None:
    """Each configuration in TOML, JSON and YAML can be read, and each link leads somewhere."""
    for page in ("envoy.md", "enforcement.md"):
        text = (DOCS / page).read_text()
        for language, read in (("toml", tomllib.loads), ("json", json.loads), ("yaml", yaml.safe_load)):
            for block in blocks_of(text, language):
                assert read(block), block
        for target, heading in re.findall(r"\]\(([^)#]*)#?([^)]*)\)", text):
            file = DOCS / target if target else DOCS / page
            assert file.exists(), target
            headings = [
                re.sub(r"[^\w -]", "", line.lower()).replace(" ", "-")
                for line in re.findall(r"^#+ (.*)", file.read_text(), re.MULTILINE)
            ]
            assert not heading or heading in headings, (target, heading)
