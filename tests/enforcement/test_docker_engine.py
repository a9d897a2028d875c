"""A real Docker Engine with `pullgate docker-plugin`, a server and a registry: what a person at the engine sees.

Runs where dockerd, docker and docker-registry are installed and this is root; elsewhere it is skipped and says so.
"""

import os
import re
import signal
import socket
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pullgate_docker.asking import asks_plugin
from tests.conftest import SOON, ServerProcess, run_pullgate, start_server, stop_server
from tests.docker_engine import (
    ENGINE_SOON,
    NEEDS_ENGINE,
    Docker,
    Plugin,
    run,
    running_docker,
    start_plugin,
    unique_name,
)
from tests.registry import NEEDS_REGISTRY, Registry, running_registry
from tests.server.test_tls import LOCALHOST, issue

pytestmark = [*NEEDS_ENGINE, NEEDS_REGISTRY]

CATALOGUE = """
entries:
  - {namespace: someuser, category: COMMUNITY, source: seen on Docker Hub, retrieved_at: 2026-01-01T00:00:00Z}
"""

STRICT = """
organization: acme
image_access:
  enabled: true
  allow: {official_images: true}
  help: Ask in the platform channel for an exception.
"""

ALLOWLISTED = """
  allowlist:
    repositories:
      - {repository: someuser/custom-image}
"""

COMMUNITY = "image access denied: community images not allowed"


def apply(server: ServerProcess, policy: str) -> None:
    """Write acme's policy."""
    applied = run_pullgate("policy", "apply", "--yes", "-f", "-", environment=server.environment(), stdin=policy)
    assert applied.returncode == 0, applied.stderr


def start(folder: Path, *options: str) -> ServerProcess:
    """A server that knows what someuser is."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    (folder / "data" / "catalogue.yaml").write_text(CATALOGUE)
    return start_server(folder / "data", *options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all of this module's processes keep what they have."""
    return tmp_path_factory.mktemp("engine")


@pytest.fixture(scope="module")
def registry(folder: Path) -> Iterator[Registry]:
    """A registry that stands for Docker Hub."""
    with running_registry(folder / "registry") as registry:
        for repository in ("library/nginx", "someuser/custom-image", "acme/app"):
            registry.push(repository)
        registry.push("someuser/custom-image", "2.0")
        yield registry


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[ServerProcess]:
    """A server."""
    server = start(folder)
    yield server
    stop_server(server)


@pytest.fixture(scope="module")
def plugin(server: ServerProcess, folder: Path) -> Iterator[Plugin]:
    """A plugin that asks the server."""
    plugin = start_plugin(server, folder, "--engine-socket", str(folder / "docker" / "docker.sock"))
    yield plugin
    plugin.stop()


@pytest.fixture(scope="module")
def engine(plugin: Plugin, registry: Registry, folder: Path) -> Iterator[Docker]:
    """An engine that asks the plugin, and has the registry for Docker Hub."""
    options = (f"--registry-mirror={registry.url}", f"--authorization-plugin={plugin.name}")
    with running_docker(folder / "docker", *options) as docker:
        yield docker


@pytest.fixture
def docker(engine: Docker, server: ServerProcess) -> Docker:
    """The engine without any image, under the strict policy."""
    apply(server, STRICT)
    engine("container", "prune", "--force")
    engine("image", "prune", "--all", "--force")
    assert not engine("image", "ls", "--quiet")
    return engine


@pytest.fixture
def with_custom_image(docker: Docker, server: ServerProcess) -> str:
    """The engine has someuser/custom-image from a time when it was allowed; its image ID."""
    apply(server, STRICT + ALLOWLISTED)
    docker("pull", "someuser/custom-image")
    apply(server, STRICT)
    return docker("image", "inspect", "--format={{.Id}}", "someuser/custom-image").strip()


# What Docker's documentation says of Image Access Management.


def test_what_a_developer_sees(docker: Docker, server: ServerProcess, plugin: Plugin) -> None:
    """Official images are pulled; community images are not until an apply allows one, with nothing restarted."""
    allowed = docker("pull", "nginx")
    denied = docker.refused("pull", "someuser/custom-image")
    apply(server, STRICT + ALLOWLISTED)
    now_allowed = docker("pull", "someuser/custom-image")

    assert "Status: Downloaded newer image for nginx:latest" in allowed
    assert denied.strip().startswith(
        f"Error response from daemon: authorization denied by plugin {plugin.name}: {COMMUNITY}"
    )
    assert re.search(r"\(someuser/custom-image:latest; decision [0-9a-f]{32}\)\. Ask in the platform channel", denied)
    assert "Status: Downloaded newer image for someuser/custom-image:latest" in now_allowed


def test_the_organizations_own_images(docker: Docker) -> None:
    """The organization's own images are pulled and run."""
    assert "Downloaded newer image" in docker("pull", "acme/app")
    assert docker("create", "acme/app").strip()


def test_run(docker: Docker, server: ServerProcess) -> None:
    """`docker run` pulls and starts what is allowed, and is refused what is not, before anything is pulled."""
    ran = docker("run", "--rm", "--network=none", "nginx", "/bin/echo", "hello")
    refused = docker.refused("run", "--rm", "--network=none", "someuser/custom-image")

    assert ran.strip() == "hello"
    assert COMMUNITY in refused
    assert "someuser" not in docker("image", "ls")


def test_by_digest(docker: Docker, registry: Registry) -> None:
    """A pull by digest is decided by its repository."""
    digests = {name: registry.push(name, "pinned") for name in ("library/nginx", "someuser/custom-image")}

    assert "Downloaded newer image" in docker("pull", f"nginx@{digests['library/nginx']}")
    assert COMMUNITY in docker.refused("pull", f"someuser/custom-image@{digests['someuser/custom-image']}")


def test_all_tags(docker: Docker, server: ServerProcess) -> None:
    """All tags of a repository are pulled where it is allowed as a whole; an allowlist entry for some does not do."""
    docker("pull", "--all-tags", "nginx")
    apply(
        server, STRICT + ALLOWLISTED.replace("custom-image", 'custom-image:2.*"').replace(": someuser", ': "someuser')
    )
    by_tag = docker("pull", "someuser/custom-image:2.0")
    refused = docker.refused("pull", "--all-tags", "someuser/custom-image")

    assert "Downloaded newer image" in by_tag
    assert f"{COMMUNITY} (all tags of someuser/custom-image;" in refused


def test_what_is_there_already(docker: Docker, with_custom_image: str) -> None:
    """An image from before is not run any more: not by name, ID, short ID or digest, or as what it is called now."""
    docker("tag", "someuser/custom-image", "nginx")
    docker("tag", "someuser/custom-image", "acme/app:retagged")
    digest = docker("image", "inspect", "--format={{index .RepoDigests 0}}", "nginx").strip()
    short = with_custom_image.removeprefix("sha256:")[:12]

    for name in ("someuser/custom-image", with_custom_image, with_custom_image.removeprefix("sha256:"), short, digest):
        assert COMMUNITY in docker.refused("create", name), name
    assert f"{COMMUNITY} (nginx:latest is someuser/custom-image:latest here;" in docker.refused("create", "nginx")
    assert "(acme/app:retagged is someuser/custom-image:latest here;" in docker.refused("create", "acme/app:retagged")
    assert f"({short}" in docker.refused("create", short)


def test_official_images_by_id(docker: Docker) -> None:
    """Containers are created from an allowed image by its name, ID, short ID and digest, and by another name for it."""
    docker("pull", "nginx")
    docker("tag", "nginx", "acme/web:1")
    image_id = docker("image", "inspect", "--format={{.Id}}", "nginx").strip()
    digest = docker("image", "inspect", "--format={{index .RepoDigests 0}}", "nginx").strip()

    for name in ("nginx", image_id, image_id.removeprefix("sha256:"), image_id[7:19], digest, "acme/web:1"):
        assert docker("create", name).strip(), name


def test_a_name_that_looks_like_an_id(docker: Docker, with_custom_image: str) -> None:
    """A name that is also the beginning of an ID is the name, for the engine as for the plugin."""
    docker("pull", "nginx")
    name = with_custom_image.removeprefix("sha256:")[:12]
    docker("tag", "nginx", name)

    assert docker("create", name).strip()


def test_local_images(docker: Docker, tmp_path: Path) -> None:
    """What was loaded here and was never in a registry is decided by its names; without one it is refused."""
    docker("pull", "nginx")
    container = docker("create", "nginx").strip()
    docker("commit", container, "acme/mine")
    docker("commit", container, "someuser/mine")
    unnamed = docker("commit", container).strip()

    assert docker("create", "acme/mine").strip()
    assert COMMUNITY in docker.refused("create", "someuser/mine")
    assert "has no name to decide about" in docker.refused("create", unnamed)


def test_an_image_that_has_lost_its_name(docker: Docker, with_custom_image: str) -> None:
    """An image whose last name of a repository is removed is for the engine from none: a local image, as documented."""
    docker("tag", "someuser/custom-image", "acme/other")
    docker("image", "rm", "someuser/custom-image")
    inspected = docker("image", "inspect", "--format={{json .RepoDigests}} {{json .RepoTags}}", "acme/other").strip()

    assert inspected == '[] ["acme/other:latest"]'
    assert docker("create", "acme/other").strip()


def test_builds(docker: Docker, tmp_path: Path) -> None:
    """A classic build, whose FROM no plugin is shown, is refused with a sentence that names the option."""
    (tmp_path / "Dockerfile").write_text("FROM someuser/custom-image\n")
    said = docker.refused("build", tmp_path, env={**os.environ, "DOCKER_BUILDKIT": "0"})

    assert "builds are refused here" in said
    assert "--builds allow" in said
    assert "someuser" not in docker("image", "ls")
    for target in ("/session", "/v1.41/grpc", "/build?remote=https://example.com/x.tar"):
        assert docker.ask("POST", target, headers=[("Content-Length", "0")])[0] == 403, target


# Ways around it, with raw HTTP.

CREATE = "/v1.40/images/create"
NGINX = f"{CREATE}?fromImage=nginx&tag=latest"
FORM = b"fromImage=someuser/custom-image&tag=latest"
LENGTH = ("Content-Length", str(len(FORM)))
FORM_TYPE = ("Content-Type", "application/x-www-form-urlencoded")
CHUNKED = b"%x\r\n%s\r\n0\r\n\r\n" % (len(FORM), FORM)
MULTIPART = b'--x\r\nContent-Disposition: form-data; name="fromImage"\r\n\r\nsomeuser/custom-image\r\n--x--\r\n'

PULLS: dict[str, tuple[str, list[tuple[str, str]], bytes]] = {
    "form": (NGINX, [FORM_TYPE, LENGTH], FORM),
    "form and text": (NGINX, [FORM_TYPE, ("Content-Type", "text/plain"), LENGTH], FORM),
    "form and json": (NGINX, [FORM_TYPE, ("Content-Type", "application/json"), LENGTH], FORM),
    "form and nothing": (NGINX, [FORM_TYPE, ("Content-Type", ""), LENGTH], FORM),
    "chunked form": (NGINX, [FORM_TYPE, ("Content-Type", "text/plain"), ("Transfer-Encoding", "chunked")], CHUNKED),
    "chunked form said to be empty": (
        NGINX,
        [FORM_TYPE, ("Content-Length", "0"), ("Transfer-Encoding", "chunked")],
        CHUNKED,
    ),
    "import with a form": (f"{CREATE}?fromSrc=-&repo=x", [FORM_TYPE, ("Content-Type", "text/plain"), LENGTH], FORM),
    "multipart": (
        NGINX,
        [("Content-Type", "multipart/form-data; boundary=x"), ("Content-Length", str(len(MULTIPART)))],
        MULTIPART,
    ),
    "escaped value": (f"{CREATE}?fromImage=some%75ser/custom-image&tag=latest", [], b""),
    "escaped name": (f"{CREATE}?from%49mage=someuser/custom-image&tag=latest", [], b""),
    "escaped path": ("/v1.40/%69mages/create?fromImage=someuser/custom-image&tag=latest", [], b""),
    "escaped slash": ("/v1.40/images%2Fcreate?fromImage=someuser/custom-image&tag=latest", [], b""),
    "no version": ("/images/create?fromImage=someuser/custom-image&tag=latest", [], b""),
    "odd version": ("/v1.40.1..2/images/create?fromImage=someuser/custom-image&tag=latest", [], b""),
    "absolute address": (f"http://docker{CREATE}?fromImage=someuser/custom-image&tag=latest", [], b""),
    "twice": (f"{CREATE}?fromImage=someuser/custom-image&fromImage=nginx&tag=latest", [], b""),
    "twice the other way": (f"{CREATE}?fromImage=nginx&fromImage=someuser/custom-image&tag=latest", [], b""),
    "colon at the end": (f"{CREATE}?fromImage=someuser/custom-image:&tag=", [], b""),
    "tag over tag": (f"{CREATE}?fromImage=someuser/custom-image:latest&tag=2.0", [], b""),
    "with fromSrc": (f"{CREATE}?fromSrc=-&fromImage=someuser/custom-image&tag=latest", [], b""),
    "semicolon": (f"{CREATE}?fromImage=nginx;fromImage=someuser/custom-image&tag=latest", [], b""),
    "another spelling of Docker Hub": (f"{CREATE}?fromImage=index.docker.io/someuser/custom-image&tag=latest", [], b""),
    "another host of Docker Hub": (f"{CREATE}?fromImage=REGISTRY-1.docker.io/someuser/custom-image&tag=2", [], b""),
}


@pytest.mark.parametrize("pull", PULLS)
def test_disguised_pulls(docker: Docker, pull: str) -> None:
    """A pull of a blocked image is refused by the plugin in every disguise, and nothing is pulled."""
    target, headers, body = PULLS[pull]
    headers = headers or [("Content-Length", "0")]
    status, said = docker.ask("POST", target, headers=headers, body=body)

    assert (status, "authorization denied by plugin" in said) == (403, True), said
    assert "someuser" not in docker("image", "ls")


@pytest.mark.parametrize(
    "path", ["//images/create", "/v1.40//images/create", "/v1.40/./images/create", "/v1.40/x/../images/create",
             "/images/create/", "/Images/create", "/images/create%00", "/images/create;x", "/v1.40/v1.40/images/create"]
)  # fmt: skip
def test_paths_that_are_no_route(docker: Docker, path: str) -> None:
    """Other spellings of a path are no routes of the engine: it redirects to the plain one, or knows no such page."""
    status, _ = docker.ask(
        "POST", f"{path}?fromImage=someuser/custom-image&tag=latest", headers=[("Content-Length", "0")]
    )

    assert status in {301, 404}
    assert "someuser" not in docker("image", "ls")


CREATE_CONTAINER = "/v1.40/containers/create"
IMAGE = '"someuser/custom-image"'

CONTAINERS: dict[str, Callable[[Docker], tuple[int, str]]] = {
    "plain": lambda docker: docker.post_json(CREATE_CONTAINER, f'{{"Image": {IMAGE}}}'),
    "lowercase": lambda docker: docker.post_json(CREATE_CONTAINER, f'{{"image": {IMAGE}}}'),
    "twice": lambda docker: docker.post_json(CREATE_CONTAINER, f'{{"Image": "nginx", "Image": {IMAGE}}}'),
    "in two spellings": lambda docker: docker.post_json(CREATE_CONTAINER, f'{{"Image": "nginx", "iMAGE": {IMAGE}}}'),
    "null after it": lambda docker: docker.post_json(CREATE_CONTAINER, f'{{"Image": {IMAGE}, "image": null}}'),
    "escaped": lambda docker: docker.post_json(CREATE_CONTAINER, f'{{"\\u0049mage": {IMAGE}}}'),
    "two bodies": lambda docker: docker.post_json(CREATE_CONTAINER, f'{{"Image": {IMAGE}}} {{"Image": "nginx"}}'),
    "chunked": lambda docker: docker.ask(
        "POST", CREATE_CONTAINER, headers=[("Content-Type", "application/json"), ("Transfer-Encoding", "chunked")],
        body=b'21\r\n{"Image":"someuser/custom-image"}\r\n0\r\n\r\n',
    ),
    "too large": lambda docker: docker.post_json(
        CREATE_CONTAINER, {"Image": "someuser/custom-image", "Labels": {"x": "y" * 5_000_000}}
    ),
    "hidden by its address": lambda docker: docker.post_json(f"{CREATE_CONTAINER}?name=/auth", f'{{"Image": {IMAGE}}}'),
    "no body": lambda docker: docker.ask(
        "POST", CREATE_CONTAINER, headers=[("Content-Type", "application/json"), ("Content-Length", "0")]
    ),
    "said to be empty": lambda docker: docker.ask(
        "POST", CREATE_CONTAINER,
        headers=[("Content-Type", "application/json"), ("Content-Length", "0"), ("Transfer-Encoding", "chunked")],
        body=b'21\r\n{"Image":"someuser/custom-image"}\r\n0\r\n\r\n',
    ),
    "of another type": lambda docker: docker.ask(
        "POST", CREATE_CONTAINER,
        headers=[("Content-Type", "text/plain"), ("Content-Type", "application/json"), ("Content-Length", "33")],
        body=b'{"Image":"someuser/custom-image"}',
    ),
    "as a mount": lambda docker: docker.post_json(
        CREATE_CONTAINER,
        {"Image": "nginx", "HostConfig": {"Mounts": [{"Type": "image", "Source": "someuser/custom-image"}]}},
    ),
    "as a mount beside HostConfig": lambda docker: docker.post_json(
        CREATE_CONTAINER,
        {"Image": "nginx", "mount\u017f": [{"Type": "image", "\u017fource": "someuser/custom-image", "Target": "/x"}]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("how", CONTAINERS)
def test_disguised_containers(docker: Docker, with_custom_image: str, how: str) -> None:
    """A container from a blocked image is refused by the plugin in every disguise, and none is created."""
    before = docker("container", "ls", "--all", "--quiet").split()
    docker("pull", "nginx")
    status, said = CONTAINERS[how](docker)

    assert status in {400, 403}, said
    assert status == 403 or "request body too large" in said, said
    assert docker("container", "ls", "--all", "--quiet").split() == before


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/v1.41/distribution/someuser/custom-image/json"),
        ("GET", "/v1.41/distribution/someuser%2Fcustom-image%2Fjson"),
        ("GET", "/plugins/privileges?remote=someuser/custom-image"),
        ("POST", "/plugins/pull?remote=someuser/custom-image&name=x"),
        ("POST", "/plugins/x/upgrade?remote=someuser/custom-image"),
        ("POST", "/plugins/a%2Fb/upgrade?remote=someuser/custom-image"),
    ],
)
def test_other_routes(docker: Docker, method: str, target: str) -> None:
    """Plugins of the engine are images too, and what a registry says of an image is for those who may use it."""
    headers = [("Content-Length", "0")] if method == "POST" else []
    status, said = docker.ask(method, target, headers=headers)

    assert (status, COMMUNITY in said) == (403, True), said


@pytest.mark.parametrize("target", ["/services/create", "/v1.41/services/x/update?version=1"])
@pytest.mark.parametrize(
    "task",
    [
        {"ContainerSpec": {"Image": "someuser/custom-image"}},
        {"containerspec": {"image": "someuser/custom-image"}},
        {"PluginSpec": {"Remote": "someuser/custom-image"}},
    ],
)
def test_services(docker: Docker, target: str, task: dict[str, Any]) -> None:
    """Services are decided before the engine looks whether it is part of a swarm."""
    status, said = docker.post_json(target, {"Name": "x", "TaskTemplate": task})

    assert (status, COMMUNITY in said) == (403, True), said


def test_what_is_not_about_images(docker: Docker, plugin: Plugin) -> None:
    """Requests that are not about images go on, and leave no line in the log."""
    lines = len(plugin.logged())
    docker("version")
    docker("container", "ls")
    docker("image", "ls")
    docker("volume", "create", "kept")

    assert docker("volume", "ls", "--quiet").strip() == "kept"
    assert len(plugin.logged()) == lines


def test_the_log(docker: Docker, plugin: Plugin) -> None:
    """Each decision is a line with who, what, why and its id; the id is the one that the user was told."""
    docker.refused("pull", "someuser/custom-image:2.0")
    said = docker.refused("pull", "someuser/custom-image:2.0")
    line = plugin.logged()[-1]

    assert (line["event"], line["allow"], line["user"]) == ("denied", "false", "dev")
    assert line["reference"] == "docker.io/someuser/custom-image:2.0"
    assert line["reason"] == "CATEGORY_NOT_ALLOWED"
    assert f"decision {line['decision_id']}" in said


# As configured otherwise.


def test_what_is_let_through(server: ServerProcess, registry: Registry, tmp_path: Path) -> None:
    """Builds and imports go on where they are let through, and local images are refused where they are not."""
    apply(server, STRICT)
    path = tmp_path / "docker" / "docker.sock"
    options = ("--builds", "allow", "--imports", "allow", "--local-images", "deny")
    plugin = start_plugin(server, tmp_path, "--engine-socket", str(path), *options)
    (tmp_path / "context").mkdir()
    (tmp_path / "context" / "Dockerfile").write_text("FROM someuser/custom-image\n")
    build = ("build", "--tag=acme/built", "--cache-from=nginx", tmp_path / "context")
    blocked = ("build", "--cache-from=someuser/custom-image", tmp_path / "context")
    classic = {**os.environ, "DOCKER_BUILDKIT": "0"}
    flags = (f"--registry-mirror={registry.url}", f"--authorization-plugin={plugin.name}")
    try:
        with running_docker(tmp_path / "docker", *flags) as docker:
            built = docker(*build, env=classic)
            cache = docker.refused(*blocked, env=classic)
            imported = docker("import", an_archive(tmp_path), "acme/imported")
            refused = [docker.refused("create", name) for name in ("acme/imported", imported.strip())]
            docker("pull", "nginx")
            docker("create", "nginx")
            form = docker.ask("POST", NGINX, headers=[FORM_TYPE, LENGTH], body=FORM)
    finally:
        plugin.stop()

    assert "Successfully tagged acme/built" in built
    assert COMMUNITY in cache
    assert all("is from no registry" in said for said in refused)
    assert form[0] == 403


def an_archive(folder: Path) -> Path:
    """A file system with one empty file."""
    path = folder / "archive.tar"
    with tarfile.open(path, "w") as tar:
        tar.addfile(tarfile.TarInfo("empty"))
    return path


def test_who_pulls_over_tls(server: ServerProcess, registry: Registry, tmp_path: Path) -> None:
    """A TLS client of the engine is who its certificate says, by the name that it is given; on the socket it is dev."""
    apply(server, STRICT)
    authority = issue("authority")
    for name, issued in (
        ("ca", authority),
        ("server", issue("localhost", authority, names=LOCALHOST)),
        ("cert-ada", issue("cert-ada", authority)),
    ):
        (tmp_path / f"{name}.pem").write_bytes(issued.pem)
        (tmp_path / f"{name}.key").write_bytes(issued.key_pem)
    path = tmp_path / "docker" / "docker.sock"
    plugin = start_plugin(server, tmp_path, "--engine-socket", str(path), "--user-map", "cert-ada=ada")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    flags = (
        f"--host=tcp://127.0.0.1:{port}", "--tlsverify", f"--tlscacert={tmp_path}/ca.pem",
        f"--tlscert={tmp_path}/server.pem", f"--tlskey={tmp_path}/server.key",
        f"--registry-mirror={registry.url}", f"--authorization-plugin={plugin.name}",
    )  # fmt: skip
    client = (
        "-H", f"tcp://localhost:{port}", "--tlsverify", f"--tlscacert={tmp_path}/ca.pem",
        f"--tlscert={tmp_path}/cert-ada.pem", f"--tlskey={tmp_path}/cert-ada.key",
    )  # fmt: skip
    try:
        with running_docker(tmp_path / "docker", *flags) as docker:
            docker("pull", "nginx")
            run("docker", *client, "pull", "nginx")
    finally:
        plugin.stop()

    assert [line["user"] for line in plugin.logged()] == ["dev", "ada"]


# When something is away.


def until_refused_otherwise(docker: Docker, words: str, *arguments: str) -> str:
    """Run a command until what it is refused with has these words."""
    deadline = time.monotonic() + SOON
    while words not in (said := docker.refused(*arguments)):
        assert time.monotonic() < deadline, said
    return said


def test_the_service_is_away(registry: Registry, folder: Path, tmp_path: Path) -> None:
    """Without the service nothing is pulled, and the sentence says so; with --on-error allow it is, and is logged."""
    server = start(tmp_path / "away")
    apply(server, STRICT)
    path = tmp_path / "docker" / "docker.sock"
    strict = start_plugin(server, tmp_path, "--engine-socket", str(path))
    options = (f"--registry-mirror={registry.url}", f"--authorization-plugin={strict.name}")
    try:
        with running_docker(tmp_path / "docker", *options) as docker:
            docker("pull", "nginx")
            stop_server(server)
            refused = docker.refused("pull", "acme/app")
            docker("container", "ls")
            strict.stop()
            open_one = start_plugin(
                server, tmp_path, "--engine-socket", str(path), "--on-error", "allow", name=strict.name
            )
            allowed = docker("pull", "someuser/custom-image")
            refused_still = docker.ask("POST", NGINX, headers=[FORM_TYPE, LENGTH], body=FORM)
            open_one.stop()
    finally:
        strict.stop()

    assert "image access denied: no decision was made: no pullgate service answers on" in refused
    assert "Downloaded newer image" in allowed
    assert open_one.logged()[-2]["event"] == "undecided"
    assert open_one.logged()[-2]["allow"] == "true"
    assert refused_still[0] == 403


def test_the_service_hangs(docker: Docker, server: ServerProcess, tmp_path: Path, registry: Registry) -> None:
    """A service that does not answer is waited for as long as --timeout says, and then there is no decision."""
    path = tmp_path / "docker" / "docker.sock"
    plugin = start_plugin(server, tmp_path, "--engine-socket", str(path), "--timeout", "0.5")
    try:
        with running_docker(tmp_path / "docker", f"--authorization-plugin={plugin.name}") as other:
            server.process.send_signal(signal.SIGSTOP)
            try:
                said = other.refused("pull", "nginx")
            finally:
                server.process.send_signal(signal.SIGCONT)
    finally:
        plugin.stop()

    assert "no decision was made" in said
    assert "in time" in said or "after 0.5 seconds" in said


def test_deciding_here_while_the_service_is_away(registry: Registry, tmp_path: Path) -> None:
    """With --local the plugin decides without the service, and from disk when started while the service is away."""
    server = start(tmp_path / "local")
    apply(server, STRICT)
    path = tmp_path / "docker" / "docker.sock"
    options = ("--engine-socket", str(path), "--local", "--state-dir", str(tmp_path / "state"))
    plugin = start_plugin(server, tmp_path, *options)
    mirror = f"--registry-mirror={registry.url}"
    try:
        with running_docker(tmp_path / "docker", mirror, f"--authorization-plugin={plugin.name}") as docker:
            until_refused_otherwise(docker, COMMUNITY, "pull", "someuser/custom-image")
            stop_server(server)
            denied = docker.refused("pull", "someuser/custom-image")
            allowed = docker("pull", "nginx")
            plugin.stop()
            plugin = start_plugin(server, tmp_path, *options, name=plugin.name)
            from_disk = docker("pull", "acme/app")
            plugin.stop()
    finally:
        plugin.stop()

    assert COMMUNITY in denied
    assert "Downloaded newer image" in allowed
    assert "Downloaded newer image" in from_disk
    assert plugin.logged()[-1]["known_as_of"]


def test_the_plugin_is_stopped(server: ServerProcess, tmp_path: Path) -> None:
    """Without its plugin the engine refuses everything, and goes on as soon as the plugin is back."""
    path = tmp_path / "docker" / "docker.sock"
    plugin = start_plugin(server, tmp_path, "--engine-socket", str(path))
    with running_docker(tmp_path / "docker", f"--authorization-plugin={plugin.name}") as docker:
        docker("container", "ls")
        plugin.stop()
        # The engine looks for its plugin for a while before it gives up.
        refused = docker.refused("container", "ls", timeout=ENGINE_SOON)
        again = start_plugin(server, tmp_path, "--engine-socket", str(path), name=plugin.name)
        docker("container", "ls")
        again.stop()

    assert plugin.name in refused


@pytest.mark.parametrize("elsewhere", [False, True])
def test_installed_and_taken_away(server: ServerProcess, registry: Registry, tmp_path: Path, elsewhere: bool) -> None:
    """`install` makes a running engine ask the plugin at its next reload, `uninstall` undoes it; doctor knows."""
    apply(server, STRICT)
    configuration = tmp_path / "daemon.json"
    configuration.write_text('{\n  "labels": ["kept=yes"]\n}\n')
    path = tmp_path / "docker" / "docker.sock"
    name = unique_name()
    named = ["--name", name, "--config", str(configuration)]
    where = tmp_path / "elsewhere.sock" if elsewhere else None
    install = ["docker-plugin", "install", *named, *(["--socket", str(where)] if where else [])]
    examine = ["doctor", "--plugin", name, "--engine-socket", str(path)]
    examine += ["--plugin-socket", str(where)] if where else []
    refused = run_pullgate(*install)
    plugin = start_plugin(server, tmp_path, "--engine-socket", str(path), name=name, path=where)
    options = (f"--config-file={configuration}", f"--registry-mirror={registry.url}")
    try:
        with running_docker(tmp_path / "docker", *options) as docker:
            before = run_pullgate(*examine, environment=server.environment())
            installed = run_pullgate(*install)
            docker.process.send_signal(signal.SIGHUP)
            until(lambda: asks_plugin(docker.socket, name))
            denied = docker.refused("pull", "someuser/custom-image")
            after = run_pullgate(*examine, environment=server.environment())
            uninstalled = run_pullgate("docker-plugin", "uninstall", *named)
            docker.process.send_signal(signal.SIGHUP)
            until(lambda: not asks_plugin(docker.socket, name))
            free = docker("pull", "someuser/custom-image")
    finally:
        run_pullgate("docker-plugin", "uninstall", *named)
        plugin.stop()

    assert refused.returncode == 2
    assert "ends when it reads that, and does not start" in refused.stderr
    assert installed.returncode == 0, installed.stderr
    assert COMMUNITY in denied
    assert "Downloaded newer image" in free
    assert uninstalled.returncode == 0, uninstalled.stderr
    assert configuration.read_text() == '{\n  "labels": [\n    "kept=yes"\n  ]\n}\n'
    assert not Path(f"/etc/docker/plugins/{name}.spec").exists()
    assert f"the engine does not ask {name}" in before.stdout
    assert "a mirror that refuses is no enforcement" in before.stdout
    assert f"the engine asks {name}" in after.stdout
    assert "the plugin decides before both" in after.stdout


def until(is_so: Callable[[], bool]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + SOON
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_names_with_odd_characters_reach_the_engine(docker: Docker, with_custom_image: str) -> None:
    """The plugin's own question to the engine is about the very name that was asked for, whatever is in it."""
    docker("tag", "someuser/custom-image", "localhost:5000/a/b__c.d:V_1.x-y")

    said = docker.refused("create", "localhost:5000/a/b__c.d:V_1.x-y")

    assert "(localhost:5000/a/b__c.d:V_1.x-y is someuser/custom-image:latest here;" in said
