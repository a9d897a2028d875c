"""What requests to the Docker Engine pull, as tables: read as the engine reads them, or refused."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pullgate_docker.requests import ALL_TAGS, NOTHING, EngineRequest, RefusedRequestError, Unseen, Wanted, wanted
from pullgate_policy import parse_reference

DIGEST = f"sha256:{'a' * 64}"
JSON = {"Content-Type": "application/json"}
BOTH = frozenset(Unseen)


def request(
    method: str, uri: str, headers: Mapping[str, str] | None = None, body: bytes | str | Mapping[str, Any] = b""
) -> EngineRequest:
    """A request as the engine shows it; one with a body is of JSON unless said."""
    if isinstance(body, Mapping):
        body = json.dumps(body)
    if isinstance(body, str):
        body = body.encode()
    return EngineRequest(method=method, uri=uri, headers=headers or (JSON if body else {}), body=body)


@pytest.mark.parametrize(
    ("query", "reference"),
    [
        ("fromImage=nginx&tag=latest", "docker.io/library/nginx:latest"),
        ("fromImage=docker.io%2Flibrary%2Fnginx&tag=1.27", "docker.io/library/nginx:1.27"),
        ("tag=1&fromImage=acme/app", "docker.io/acme/app:1"),
        (f"fromImage=nginx&tag={DIGEST}", f"docker.io/library/nginx@{DIGEST}"),
        (f"fromImage=nginx&tag={DIGEST.replace(':', '%3A')}", f"docker.io/library/nginx@{DIGEST}"),
        (f"fromImage=nginx@{DIGEST}", f"docker.io/library/nginx@{DIGEST}"),
        ("fromImage=nginx:1.27", "docker.io/library/nginx:1.27"),
        ("fromImage=nginx:1.27&tag=1.26", "docker.io/library/nginx:1.26"),
        ("fromImage=nginx", f"docker.io/library/nginx@{ALL_TAGS}"),
        ("fromImage=nginx&tag=", f"docker.io/library/nginx@{ALL_TAGS}"),
        ("fromImage=nginx:", f"docker.io/library/nginx@{ALL_TAGS}"),
        ("fromImage=nginx:&tag=1", "docker.io/library/nginx:1"),
        ("fromImage=localhost:5000/a", f"localhost:5000/a@{ALL_TAGS}"),
        ("fromImage=ghcr.io/a/b&tag=1", "ghcr.io/a/b:1"),
        ("from%49mage=some%75ser/x&tag=1", "docker.io/someuser/x:1"),
        ("fromImage=index.docker.io/someuser/x&tag=1", "docker.io/someuser/x:1"),
        ("fromImage=a/b&tag=1&platform=linux%2Farm64", "docker.io/a/b:1"),
        ("fromImage=a/b&tag=1&fromSrc=-", "docker.io/a/b:1"),
        ("&&fromImage=a/b&tag=1&", "docker.io/a/b:1"),
        ("fromImage=a/b&tag=1&other=%ff", "docker.io/a/b:1"),
        ("fromImage=a/b&tag=1&platform=x&platform=y", "docker.io/a/b:1"),
    ],
)
@pytest.mark.parametrize("path", ["/images/create", "/v1.41/images/create", "/v1.40.1..2/%69mages%2fcreate"])
def test_pulls(path: str, query: str, reference: str) -> None:
    """Name and tag make the reference that the engine would pull, whatever the path looks like."""
    assert wanted(request("POST", f"{path}?{query}")) == Wanted(pulled=(reference,))


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("fromImage=nginx&fromImage=evil&tag=1", "the parameter fromImage is given 2 times"),
        ("fromImage=nginx&tag=1&tag=2", "the parameter tag is given 2 times"),
        ("fromImage=nginx&from%49mage=evil&tag=1", "fromImage is given 2 times"),
        ("fromImage=nginx;fromImage=evil&tag=1", "semicolon"),
        ("fromImage=nginx%zz&tag=1", "begins no escape"),
        ("fromImage=nginx%2&tag=1", "begins no escape"),
        ("fromImage=Nginx&tag=1", "must be lowercase"),
        ("fromImage=a+b&tag=1", "white space"),
        ("fromImage=nginx::&tag=1", "invalid reference"),
        ("fromImage=nginx&tag=a/b", "not allowed in a tag"),
        ("fromImage=nginx&tag=1#x", "not allowed in a tag"),
        (f"fromImage=nginx&tag=1@{DIGEST.removesuffix('a')}", "digest"),
        (f"fromImage=nginx@{DIGEST}&tag=1", "are asked for; say one of them"),
        (f"fromImage=nginx@{DIGEST}&tag={DIGEST}", "are asked for; say one of them"),
        (f"fromImage={'a' * 64}&tag=1", "image ID"),
        ("fromImage=%0anginx&tag=1", "not allowed"),
    ],
)
def test_doubtful_pulls(query: str, problem: str) -> None:
    """What could be read in two ways, or is no reference, is refused, and the sentence says what is wrong."""
    with pytest.raises(RefusedRequestError, match=problem):
        wanted(request("POST", f"/images/create?{query}"))


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "application/x-www-form-urlencoded", "Content-Length": "22"},
        {"Content-Type": "text/plain", "Content-Length": "22"},
        {"Content-Type": "text/plain"},
        {"Content-Type": "", "Content-Length": "22"},
        {"Content-Type": "multipart/form-data; boundary=x", "Content-Length": "99"},
        {"Content-Type": "application/json", "Content-Length": "22"},
    ],
)
@pytest.mark.parametrize(
    ("method", "uri"),
    [
        ("POST", "/images/create?fromImage=nginx&tag=1"),
        ("POST", "/plugins/pull?remote=a/b"),
        ("POST", "/plugins/x/upgrade?remote=a/b"),
        ("POST", "/images/create"),
    ],
)
def test_bodies_that_may_be_forms(method: str, uri: str, headers: Mapping[str, str]) -> None:
    """A body that the engine does not show may be a form, of whatever type it is said to be: refused."""
    with pytest.raises(RefusedRequestError, match="could say something else"):
        wanted(request(method, uri, headers))


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({}, b""),
        ({"Content-Length": "0"}, b""),
        ({"Content-Type": "text/plain", "Content-Length": "0"}, b""),
        ({"Content-Type": "application/x-www-form-urlencoded", "Content-Length": "0"}, b""),
        ({"Content-Type": "application/json", "Content-Length": "3"}, b"[]\n"),
    ],
)
def test_bodies_that_are_no_forms(headers: Mapping[str, str], body: bytes) -> None:
    """No body, an empty one, and JSON that was shown do not change what the address says."""
    asked = EngineRequest(method="POST", uri="/plugins/pull?remote=a/b", headers=headers, body=body)

    assert wanted(asked) == Wanted(pulled=("docker.io/a/b:latest",))


def test_imports() -> None:
    """An archive to import could hide a pull: refused unless let through, where one fetched from an address is not."""
    archive = request("POST", "/images/create?fromSrc=-&repo=a", {"Content-Type": "text/plain"})
    disguised = request("POST", "/images/create?fromSrc=-&from%49mage=evil&tag=1", {"Content-Type": "text/plain"})

    with pytest.raises(RefusedRequestError, match="--imports allow"):
        wanted(archive)
    assert wanted(archive, BOTH) == NOTHING
    assert wanted(request("POST", "/images/create?fromSrc=https://example.com/x.tar")) == NOTHING
    with pytest.raises(RefusedRequestError, match="could say something else"):
        wanted(disguised, BOTH)


@pytest.mark.parametrize(
    ("body", "used"),
    [
        ({"Image": "nginx"}, ("nginx",)),
        ({"image": "nginx"}, ("nginx",)),
        ({"IMAGE": "a/b:1", "Cmd": ["x"]}, ("a/b:1",)),
        ({"Image": DIGEST}, (DIGEST,)),
        ({"Image": "a" * 64}, ("a" * 64,)),
        ({"Image": "abc123"}, ("abc123",)),
        ({"Image": ""}, ()),
        ({"Image": None}, ()),
        ({}, ()),
        ({"Labels": {"a": "1", "A": "2", "image": "x", "Image": "y"}, "Image": "nginx"}, ("nginx",)),
        ({"Image": "nginx", "\u0130mage": "evil"}, ("nginx",)),
        ({"HostConfig": {"Mounts": [{"Type": "image", "Source": "a/b"}]}}, ("a/b",)),
        ({"Image": "nginx", "hostconfig": {"MOUNTS": [{"type": "image", "source": "a/b"}]}}, ("nginx", "a/b")),
        ({"ho\u017ftConfig": {"mount\u017f": [{"Type": "image", "\u017fource": "a/b"}]}}, ("a/b",)),
        ({"Image": "nginx", "Mounts": [{"Type": "image", "Source": "a/b"}]}, ("nginx", "a/b")),
        ({"HostConfig": {"Mounts": [{"Type": "bind", "Source": "/x"}, {"Type": "volume"}]}}, ()),
        ({"HostConfig": {"Mounts": [{"Type": "image", "Source": "nginx"}]}, "Image": "nginx"}, ("nginx",)),
        ({"HostConfig": None, "Mounts": None}, ()),
    ],
)
def test_containers(body: Mapping[str, Any], used: tuple[str, ...]) -> None:
    """A container starts from its image and the images that it mounts, in whatever case the keys are written."""
    assert wanted(request("POST", "/v1.41/containers/create?name=x", body=body)) == Wanted(used=used)


NOT_PLAIN = [
    ("", "did not show the body"),
    ('{"Image": "nginx", "Image": "evil"}', "Image is given 2 times"),
    ('{"Image": "nginx", "image": null}', "Image is given 2 times"),
    ('{"Image": 1}', "Image in the body of this request is not a text"),
    ('{"Image": ["nginx"]}', "is not a text"),
    ('{"Image": {"a": 1}}', "is not a text"),
    ('{"Image": "nginx", "HostConfig": {"Mounts": []}, "hostConfig": {}}', "HostConfig is given 2 times"),
    ('{"HostConfig": []}', "HostConfig in the body of this request is not an object"),
    ('{"HostConfig": {"Mounts": {}}}', "HostConfig.Mounts in the body of this request is not a list"),
    ('{"HostConfig": {"Mounts": ["x"]}}', r"HostConfig.Mounts\[0\] in the body of this request is not an object"),
    ('{"HostConfig": {"Mounts": [{"Type": "image", "Source": "a", "\u017fource": "b"}]}}', "Source is given 2 times"),
    ('{"Image": "nginx"} {"Image": "evil"}', "not one JSON object"),
    ('{"Image": "nginx"', "not one JSON object"),
    ('["Image"]', "not one JSON object"),
    ("null", "not one JSON object"),
    ('\ufeff{"Image": "nginx"}', "not one JSON object"),
    ("[" * 100_000, "not one JSON object"),
    ('{"Image": %s}' % ("1" * 10_000), "not one JSON object"),
    ('{"Image": "Bad/Name"}', "must be lowercase"),
    ('{"Image": "../../info"}', "invalid reference"),
    ('{"Image": "nginx\\u0000"}', "invalid reference"),
    ('{"Image": "\\ud800"}', "invalid reference"),
]


@pytest.mark.parametrize(("body", "problem"), NOT_PLAIN)
def test_containers_that_are_not_plain(body: str, problem: str) -> None:
    """A body that is missing, or that could mean two things, is refused."""
    with pytest.raises(RefusedRequestError, match=problem):
        wanted(request("POST", "/containers/create", JSON, body))


def test_many_images() -> None:
    """Nobody keeps the plugin so busy with images to look for that there is no time to decide."""
    mounts = [{"Type": "image", "Source": f"a/b{number}"} for number in range(101)]

    assert len(wanted(request("POST", "/containers/create", body={"Mounts": mounts[:-1]})).used) == 100
    with pytest.raises(RefusedRequestError, match="101 images in one request are too many"):
        wanted(request("POST", "/containers/create", body={"Mounts": mounts}))


def test_other_encodings() -> None:
    """JSON is UTF-8 for the engine, so that in other encodings is none."""
    for encoding in ("utf-16", "utf-32", "utf-8-sig"):
        with pytest.raises(RefusedRequestError, match="not one JSON object"):
            wanted(request("POST", "/containers/create", JSON, '{"Image": "nginx"}'.encode(encoding)))


@pytest.mark.parametrize("path", ["/services/create", "/v1.41/services/x/update?version=3&rollback=previous"])
@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ({"ContainerSpec": {"Image": "nginx"}}, Wanted(used=("nginx",))),
        ({"containerSpec": {"image": f"nginx:1@{DIGEST}"}}, Wanted(used=(f"nginx:1@{DIGEST}",))),
        ({"ContainerSpec": {"Mounts": [{"Type": "image", "Source": "a/b"}]}}, Wanted(used=("a/b",))),
        ({"PluginSpec": {"Remote": "a/b"}}, Wanted(pulled=("docker.io/a/b:latest",))),
        ({"PluginSpec": {"remote": "a/b"}, "ContainerSpec": {"Image": "c"}},
         Wanted(pulled=("docker.io/a/b:latest",), used=("c",))),
        ({}, NOTHING),
    ],
)  # fmt: skip
def test_services(path: str, task: Mapping[str, Any], expected: Wanted) -> None:
    """A service runs an image or a plugin."""
    assert wanted(request("POST", path, body={"Name": "x", "TaskTemplate": task})) == expected


@pytest.mark.parametrize(
    ("method", "uri", "pulled"),
    [
        ("GET", "/distribution/nginx/json", "docker.io/library/nginx:latest"),
        ("GET", "/v1.41/distribution/someuser%2Fx%3A1/json", "docker.io/someuser/x:1"),
        ("GET", "/distribution/a/json/json", "docker.io/a/json:latest"),
        ("GET", "/plugins/privileges?remote=a/b:1", "docker.io/a/b:1"),
        ("POST", "/plugins/pull?remote=a/b&name=c", "docker.io/a/b:latest"),
        ("POST", "/plugins/x/y:1/upgrade?remote=a/b", "docker.io/a/b:latest"),
    ],
)
def test_what_else_asks_registries(method: str, uri: str, pulled: str) -> None:
    """Plugins are pulled as images are, and a registry is asked about an image."""
    assert wanted(request(method, uri)) == Wanted(pulled=(pulled,))


@pytest.mark.parametrize("uri", ["/build", "/v1.41/build?remote=https://x/y.tar&version=2", "/session", "/v1.40/grpc"])
def test_builds(uri: str) -> None:
    """Builds are refused with the option that lets them through, and go on with it."""
    with pytest.raises(RefusedRequestError, match="--builds allow"):
        wanted(request("POST", uri, {"Content-Type": "application/x-tar"}))
    assert wanted(request("POST", uri, {"Content-Type": "application/x-tar"}), BOTH) == NOTHING


def test_what_is_seen_of_a_build() -> None:
    """Where builds go on, the images that one names as sources of its cache are decided all the same."""
    asked = request("POST", "/build?cachefrom=%5B%22a/b%22%2C%22c%22%5D")

    assert wanted(asked, BOTH) == Wanted(used=("a/b", "c"))
    for value in ("a/b", "%5B1%5D", "%7B%7D", "%5B"):
        with pytest.raises(RefusedRequestError, match="cachefrom is not a list of texts"):
            wanted(request("POST", f"/build?cachefrom={value}"), BOTH)


@pytest.mark.parametrize(
    ("method", "uri"),
    [
        ("GET", "/_ping"),
        ("GET", "/v1.41/images/json"),
        ("GET", "/images/create?fromImage=x"),
        ("GET", "/v1.41/images/someuser/x/json"),
        ("POST", "/images/x/tag?repo=nginx"),
        ("POST", "/images/x/push"),
        ("POST", "/images/load"),
        ("POST", "/commit?container=x"),
        ("POST", "/containers/x/start"),
        ("POST", "/build/prune"),
        ("POST", "/Images/create?fromImage=x"),
        ("POST", "/images/create/?fromImage=x"),
        ("POST", "/v1.41/v1.41/images/create?fromImage=x"),
        ("OPTIONS", "/images/create?fromImage=x"),
        ("DELETE", "/images/x"),
        ("POST", "/auth"),
    ],
)
def test_what_is_not_about_images(method: str, uri: str) -> None:
    """What pulls nothing goes on, and so does what is none of the engine's routes."""
    assert wanted(request(method, uri, {"Content-Type": "text/plain"})) == NOTHING


@pytest.mark.parametrize(
    "uri", ["http://docker/images/create?fromImage=x", "images/create", "", "*", "//images/create",
            "/v1.41/../images/create", "/v1.41/%2e%2e/images/create", "/./images/create", "/images%2F%2Fcreate", "/%zz"]
)  # fmt: skip
def test_addresses_that_are_not_plain(uri: str) -> None:
    """An address that is not a plain path is refused, whatever the engine makes of it."""
    with pytest.raises(RefusedRequestError, match=r"the (address|path) "):
        wanted(request("POST", uri))


@given(
    uri=st.text(st.sampled_from("/v1.40imagescreate?fromImage=x&tag%25620;:@#"), max_size=60),
    body=st.binary(max_size=40),
)
def test_any_request(uri: str, body: bytes) -> None:
    """Whatever a request looks like, it names references that can be decided, or is refused; nothing else happens."""
    for method in ("GET", "POST"):
        for prefix in ("", "/images/create?", "/containers/create", "/distribution/", "/plugins/pull?remote="):
            try:
                found = wanted(EngineRequest(method=method, uri=prefix + uri, headers=JSON, body=body), BOTH)
            except RefusedRequestError:
                continue
            for reference in found.pulled:
                assert str(parse_reference(reference)) == reference


KEYS = st.sampled_from(
    ["Image", "image", "IMAGE", "\u0131mage", "\u0130mage", "Mounts", "mount\u017f", "HostConfig", "x"]
)
VALUES = st.recursive(
    st.none() | st.sampled_from(["nginx", "evil/x", "image"]) | st.integers(0, 1),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


@given(members=st.lists(st.tuples(KEYS, VALUES), max_size=4))
def test_any_body(members: list[tuple[str, Any]]) -> None:
    """Of the keys that are the engine's Image, there is one and it is a text, or the request is refused."""
    text = "{" + ",".join(f"{json.dumps(key)}:{json.dumps(value)}" for key, value in members) + "}"
    images = [value for key, value in members if key.lower() == "image" and key.isascii()]
    try:
        found = wanted(request("POST", "/containers/create", JSON, text))
    except RefusedRequestError:
        return

    assert len(images) <= 1
    assert all(value in found.used for value in images if value is not None)
