"""A real Envoy with the deployed configuration between real clients and a real registry, decided by a real service."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

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
    running_sidecar,
    until,
)
from tests.envoy import (
    NEEDS_ENVOY,
    Certificates,
    Configuration,
    Gateway,
    connection_manager,
    deployed_configuration,
    running_envoy,
    validated,
    with_server,
)
from tests.registry import NEEDS_REGISTRY, Registry

pytestmark = [NEEDS_ENVOY, NEEDS_REGISTRY]

ALLOWED, BLOCKED = "/v2/library/nginx/manifests/latest", "/v2/someuser/custom-image/manifests/latest"

MANIFEST = {"Accept": "application/vnd.docker.distribution.manifest.v2+json"}


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """With images of three categories."""
    with registry_with_images(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Of the gateway that the tests share."""
    return Certificates(folder=tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def pullgate(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[Pullgate]:
    """The service that the tests share; who writes a policy puts the strict one back."""
    with running_pullgate(tmp_path_factory.mktemp("pullgate") / "server", certificates) as running:
        yield running


@pytest.fixture(scope="module")
def gateway(pullgate: Pullgate, registry: Registry) -> Iterator[Gateway]:
    """Envoy before the registry, asking the service."""
    with running_gateway(pullgate, registry) as running:
        yield running


@pytest.fixture
def clients(tmp_path: Path, gateway: Gateway) -> Iterator[Clients]:
    """Clients for which docker.io is the gateway."""
    with clients_of(tmp_path) as made:
        made.configure(through(gateway), gateway)
        yield made


def through(gateway: Gateway) -> str:
    """The registries.conf that makes the gateway binding."""
    return f'[[registry]]\nprefix = "docker.io"\nlocation = "{gateway.address}"\n'


def asked_of(registry: Registry, since: int, repository: str = "") -> list[str]:
    """Methods and targets that reached the registry about a repository, or about any, after the first `since`."""
    return [
        f"{request.method} {request.target}"
        for request in registry.requests[since:]
        if f"/{repository}/" in request.target and request.target not in {"/v2/", "/v1/_ping"}
    ]


def test_the_deployed_configuration_is_valid(certificates: Certificates, tmp_path: Path) -> None:
    """Envoy accepts deploy/envoy/envoy.yaml, with a sidecar and with the cluster of pullgate-server.yaml."""
    configuration = deployed_configuration(certificates, registry="127.0.0.1:5000", sidecar="/run/pullgate.sock")
    direct = with_server(configuration, certificates, server="127.0.0.1:50051", token="pullgate_00")

    for held in (configuration, direct):
        result = validated(held, tmp_path)
        assert (result.returncode, result.stderr) == (0, "")


def test_a_wrong_configuration_is_seen(certificates: Certificates, tmp_path: Path) -> None:
    """What the configuration is held against refuses a misspelt field."""
    configuration = deployed_configuration(certificates, registry="127.0.0.1:5000", sidecar="/run/pullgate.sock")
    connection_manager(configuration)["http_filters"][0]["typed_config"]["failure_mode_alow"] = False

    assert validated(configuration, tmp_path).returncode != 0


@NEEDS_SKOPEO
def test_skopeo_inspects_and_copies_what_is_allowed(clients: Clients, registry: Registry) -> None:
    """An official image is inspected and copied as if there was no gateway."""
    inspected = clients.skopeo("inspect", "--no-tags", "docker://docker.io/library/nginx")
    copied = clients.skopeo("copy", "docker://docker.io/library/nginx", f"dir:{clients.folder}/nginx")
    digest = registry.ask("HEAD", ALLOWED, headers=MANIFEST)[0].headers["Docker-Content-Digest"]

    assert (inspected.returncode, copied.returncode) == (0, 0), inspected.stderr + copied.stderr
    assert json.loads(inspected.stdout)["Digest"] == digest
    assert Path(clients.folder, "nginx/manifest.json").exists()


@NEEDS_SKOPEO
@pytest.mark.parametrize("command", [("inspect", "--no-tags"), ("inspect", "--raw"), ("copy",)], ids=" ".join)
def test_skopeo_says_why_an_image_is_denied(clients: Clients, registry: Registry, command: tuple[str, ...]) -> None:
    """A community image is denied, the client prints our message, and nothing was asked of the registry about it."""
    before = len(registry.requests)
    destination = [f"dir:{clients.folder}/denied"] if command[0] == "copy" else []
    denied = clients.skopeo(*command, "docker://docker.io/someuser/custom-image", *destination)

    assert denied.returncode != 0
    assert f"denied: {DENIED}" in denied.stderr
    assert asked_of(registry, before) == []


@NEEDS_PODMAN
def test_podman_pulls_and_says_why_not(clients: Clients, registry: Registry) -> None:
    """Podman pulls the official image, and prints our message for the community image."""
    before = len(registry.requests)
    pulled = clients.podman("pull", "docker.io/library/nginx")
    denied = clients.podman("pull", "docker.io/someuser/custom-image")

    assert pulled.returncode == 0, pulled.stderr
    assert denied.returncode != 0
    assert f"denied: {DENIED}" in denied.stderr
    assert asked_of(registry, before, "someuser/custom-image") == []


@NEEDS_SKOPEO
def test_pushes_are_decided_as_pulls_are(clients: Clients, gateway: Gateway, registry: Registry) -> None:
    """An image of acme's is pushed, and one of somebody else's is not; of a push the client prints no reason."""
    image = f"dir:{clients.folder}/image"
    clients.skopeo("copy", "docker://docker.io/library/nginx", image)
    before = len(registry.requests)
    pushed = clients.skopeo("copy", image, f"docker://{gateway.address}/acme/pushed:1")
    denied = clients.skopeo("copy", image, f"docker://{gateway.address}/someuser/custom-image:mine")

    assert pushed.returncode == 0, pushed.stderr
    assert registry.ask("HEAD", "/v2/acme/pushed/manifests/1", headers=MANIFEST)[0].status == 200
    assert denied.returncode != 0
    assert "403 (Forbidden)" in denied.stderr
    assert asked_of(registry, before, "someuser/custom-image") == []


@NEEDS_SKOPEO
def test_an_image_that_is_put_on_the_allowlist_is_let_through(clients: Clients, pullgate: Pullgate) -> None:
    """After `pullgate policy apply` with the repository on the allowlist the very same command passes."""
    command = ("inspect", "--no-tags", "docker://docker.io/someuser/custom-image")
    denied = clients.skopeo(*command)
    try:
        pullgate.apply(f"{STRICT}  allowlist: {{repositories: [{{repository: someuser/custom-image}}]}}\n")
        allowed = clients.skopeo(*command)
    finally:
        pullgate.apply(STRICT)

    assert denied.returncode != 0
    assert allowed.returncode == 0, allowed.stderr
    assert clients.skopeo(*command).returncode != 0


def test_an_allowlist_of_tags_covers_no_digests(gateway: Gateway, pullgate: Pullgate, registry: Registry) -> None:
    """Where an allow is narrowed to tags the tag's manifest is served, and neither what it names nor its blobs are."""
    image = registry.push("someuser/tool", "amd64")
    registry.push_list("someuser/tool", "1.0", image)
    (configuration, _) = registry.blobs("someuser/tool", image)
    asked = ("manifests/1.0", f"manifests/{image}", f"blobs/{configuration}", "tags/list", "manifests/2.0")
    try:
        pullgate.apply(f'{STRICT}  allowlist: {{repositories: [{{repository: "someuser/tool:1.*"}}]}}\n')
        statuses = [gateway.ask("GET", f"/v2/someuser/tool/{target}").status for target in asked]
    finally:
        pullgate.apply(STRICT)

    assert statuses == [200, 403, 403, 403, 403]


def test_what_a_denial_looks_like(gateway: Gateway) -> None:
    """403, and JSON in the form of the distribution API with the message, and the decision's id in body and header."""
    answer = gateway.ask("GET", BLOCKED)
    head = gateway.ask("HEAD", BLOCKED)
    (error,) = json.loads(answer.body)["errors"]

    assert (answer.status, answer.headers["content-type"]) == (403, "application/json")
    assert (error["code"], error["message"]) == ("DENIED", DENIED)
    assert answer.headers["x-pullgate-decision-id"] in error["detail"]
    assert answer.headers["x-pullgate-reason"] == "CATEGORY_NOT_ALLOWED"
    assert (head.status, head.body, head.headers["x-pullgate-reason"]) == (403, b"", "CATEGORY_NOT_ALLOWED")


@pytest.mark.parametrize("image", ["library/nginx", "someuser/custom-image"])
def test_the_access_log_says_what_was_decided(gateway: Gateway, pullgate: Pullgate, image: str) -> None:
    """A line of the access log has every fact of the decision, as `pullgate decide` tells them, allowed or not."""
    answer = gateway.ask("GET", f"/v2/{image}/manifests/latest")
    line = gateway.logged(answer)
    decided = json.loads(pullgate.run("decide", "--org", "acme", "--user", "gateway", "--json", image).stdout)

    assert {name: line[name] for name in ("effect", "policy_effect", "reason", "organization", "reference")} == {
        name: decided[name] for name in ("effect", "policy_effect", "reason", "organization", "reference")
    }
    assert line["category"] == decided["category"]
    assert line["policy_revision"] == int(decided["policy_revision"])
    assert line["decision_id"]
    assert line["status"] == answer.status
    assert answer.headers.get("x-pullgate-decision-id", line["decision_id"]) == line["decision_id"]


def test_what_is_not_of_the_api_is_refused(gateway: Gateway, registry: Registry) -> None:
    """The version check passes; the catalogue of all repositories and what no client asks for do not."""
    before = len(registry.requests)
    statuses = {
        target: gateway.ask("GET", target).status for target in ("/v2/", "/v2/_catalog", "/v2/x/y/z", "/", "/v1/_ping")
    }

    assert statuses == {"/v2/": 200, "/v2/_catalog": 403, "/v2/x/y/z": 403, "/": 403, "/v1/_ping": 403}
    assert asked_of(registry, before) == []


def test_another_registry_than_the_routes_is_refused(gateway: Gateway) -> None:
    """A client that says which registry it means is served where that is the route's."""
    statuses = [gateway.ask("GET", f"{ALLOWED}?ns={name}").status for name in ("docker.io", "ghcr.io")]

    assert statuses == [200, 403]


def test_without_the_service_nothing_is_let_through(tmp_path: Path, registry: Registry) -> None:
    """While the service is away, and while it hangs, every request is answered by 503 and none reaches the registry."""
    own = Certificates(folder=tmp_path)

    def hurry(configuration: Configuration) -> None:
        authorization = connection_manager(configuration)["http_filters"][0]["typed_config"]
        assert authorization["grpc_service"]["timeout"] == "5s"
        authorization["grpc_service"]["timeout"] = "0.2s"

    with (
        running_pullgate(tmp_path / "pullgate", own) as pullgate,
        running_gateway(pullgate, registry, hurry) as gateway,
    ):
        until(lambda: gateway.ask("GET", ALLOWED).status == 200)
        before = len(registry.requests)
        pullgate.server.process.send_signal(signal.SIGSTOP)
        hanging = [gateway.ask("GET", target).status for target in (ALLOWED, BLOCKED)]
        pullgate.server.process.send_signal(signal.SIGCONT)
        pullgate.stop()
        gone = [gateway.ask("GET", target) for target in ("/v2/", ALLOWED, BLOCKED)]
        reached = asked_of(registry, before)
        again = pullgate.start_again()
        try:
            until(lambda: gateway.ask("GET", ALLOWED).status == 200)
        finally:
            again.stop()

    assert hanging == [503, 503]
    assert [answer.status for answer in gone] == [503, 503, 503]
    assert gone[0].message == "pullgate made no decision about this image, so it is not served; try again later"
    assert gone[0].headers["retry-after"] == "5"
    assert reached == []


@NEEDS_SKOPEO
def test_a_client_tells_an_outage_from_a_denial(
    tmp_path: Path, clients: Clients, registry: Registry, certificates: Certificates
) -> None:
    """With the service stopped skopeo prints 503, and no denial."""
    configuration = deployed_configuration(certificates, registry=registry.address, sidecar=f"{tmp_path}/nobody.sock")
    before = len(registry.requests)
    with running_envoy(configuration, Certificates(folder=tmp_path, authority=certificates.authority)) as gateway:
        clients.configure(through(gateway), gateway)
        failed = clients.skopeo("inspect", "--no-tags", "docker://docker.io/library/nginx")

    assert failed.returncode != 0
    assert "invalid status code from registry 503 (Service Unavailable)" in failed.stderr
    assert "denied" not in failed.stderr
    assert asked_of(registry, before) == []


def test_who_may_not_ask_pullgate_serves_nothing(pullgate: Pullgate, registry: Registry, tmp_path: Path) -> None:
    """With a token that is nobody's everything is 503."""
    own = Certificates(folder=tmp_path, authority=pullgate.certificates.authority)
    configuration = with_server(
        deployed_configuration(own, registry=registry.address), own, server=pullgate.server.address, token="pullgate_00"
    )
    with running_envoy(configuration, own) as gateway:
        statuses = [gateway.ask("GET", target).status for target in ("/v2/", ALLOWED, BLOCKED)]

    assert statuses == [503, 503, 503]


def test_a_sidecar_decides_while_the_service_is_away(tmp_path: Path, registry: Registry) -> None:
    """With a sidecar Envoy follows the policy, also without the server; without the sidecar nothing is served."""
    own = Certificates(folder=tmp_path)
    socket = tmp_path / "pullgate.sock"
    configuration = deployed_configuration(own, registry=registry.address, sidecar=str(socket))
    with running_pullgate(tmp_path / "pullgate", own) as pullgate, running_envoy(configuration, own) as gateway:
        with running_sidecar(pullgate, socket):
            until(lambda: gateway.ask("GET", ALLOWED).status == 200)
            denied = gateway.ask("GET", BLOCKED)
            pullgate.apply(f"{STRICT}  allowlist: {{repositories: [{{repository: someuser/custom-image}}]}}\n")
            until(lambda: gateway.ask("GET", BLOCKED).status == 200)
            pullgate.apply(STRICT)
            until(lambda: gateway.ask("GET", BLOCKED).status == 403)
            pullgate.stop()
            away = [gateway.ask("GET", target).status for target in (ALLOWED, BLOCKED)]
        before = len(registry.requests)
        gone = [gateway.ask("GET", target).status for target in ("/v2/", ALLOWED, BLOCKED)]
        reached = asked_of(registry, before)

    assert (denied.status, denied.message) == (403, DENIED)
    assert away == [200, 403]
    assert gone == [503, 503, 503]
    assert reached == []
