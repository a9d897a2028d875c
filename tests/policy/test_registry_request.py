"""Requests to registries: which images they are about, and which are refused."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pullgate_policy.reference import is_repository_path
from pullgate_policy.registry_request import RefusedRequestError, RegistryRequest, read_registry_request

DIGEST = f"sha256:{'a' * 64}"
NAME = "someuser/custom-image"

ABOUT = [
    ("GET", "/v2/", []),
    ("HEAD", "/v2/", []),
    ("GET", "/v2", []),
    ("GET", "/v2/?ns=ghcr.io", []),
    ("GET", "/v2/library/nginx/manifests/latest", ["docker.io/library/nginx:latest"]),
    ("HEAD", "/v2/library/nginx/manifests/1.27-alpine", ["docker.io/library/nginx:1.27-alpine"]),
    ("GET", f"/v2/{NAME}/manifests/{DIGEST}", [f"docker.io/{NAME}@{DIGEST}"]),
    ("GET", f"/v2/{NAME}/manifests/{DIGEST.replace(':', '%3A')}", [f"docker.io/{NAME}@{DIGEST}"]),
    ("GET", f"/v2/{NAME}/manifests/{DIGEST.replace(':', '%3a')}", [f"docker.io/{NAME}@{DIGEST}"]),
    ("GET", f"/v2/{NAME}/blobs/{DIGEST}", [f"docker.io/{NAME}@{DIGEST}"]),
    ("GET", f"/v2/{NAME}/tags/list?n=50&last=x", [f"docker.io/{NAME}"]),
    ("GET", f"/v2/{NAME}/referrers/{DIGEST}?artifactType=a%2Fb", [f"docker.io/{NAME}@{DIGEST}"]),
    ("GET", f"/v2/{NAME}/manifests/v1?ns=docker.io", [f"docker.io/{NAME}:v1"]),
    ("GET", f"/v2/{NAME}/manifests/v1?ns=registry-1.docker.io:443", [f"docker.io/{NAME}:v1"]),
    ("PUT", f"/v2/{NAME}/manifests/v1", [f"docker.io/{NAME}:v1"]),
    ("DELETE", f"/v2/{NAME}/manifests/{DIGEST}", [f"docker.io/{NAME}@{DIGEST}"]),
    ("DELETE", f"/v2/{NAME}/blobs/{DIGEST}", [f"docker.io/{NAME}@{DIGEST}"]),
    ("POST", f"/v2/{NAME}/blobs/uploads/", [f"docker.io/{NAME}"]),
    ("POST", f"/v2/{NAME}/blobs/uploads/?digest={DIGEST}", [f"docker.io/{NAME}"]),
    (
        "POST",
        f"/v2/acme/app/blobs/uploads/?mount={DIGEST}&from=someuser%2Fcustom-image",
        ["docker.io/acme/app", f"docker.io/{NAME}@{DIGEST}"],
    ),
    ("PATCH", f"/v2/{NAME}/blobs/uploads/4f-a_b.c=?_state=x%3D%3D", [f"docker.io/{NAME}"]),
    ("PUT", f"/v2/{NAME}/blobs/uploads/4f?digest={DIGEST}", [f"docker.io/{NAME}"]),
    ("PATCH", f"/v2/{NAME}/blobs/upload/4f", [f"docker.io/{NAME}"]),
    # Names that look like paths are read from the right.
    ("GET", "/v2/a/manifests/manifests/b/manifests/v1", ["docker.io/a/manifests/manifests/b:v1"]),
    ("GET", "/v2/a/blobs/uploads/manifests/v1", ["docker.io/a/blobs/uploads:v1"]),
    ("GET", "/v2/a/tags/list/tags/list", ["docker.io/a/tags/list"]),
    ("POST", "/v2/a/manifests/blobs/uploads/", ["docker.io/a/manifests"]),
]

REFUSED = [
    ("GET", "/", "is not a path"),
    ("GET", "", "is not a path"),
    ("GET", "/v2/_catalog", "is not a path"),
    ("GET", "/v2/_catalog?n=1", "is not a path"),
    ("GET", "/v1/search?q=nginx", "is not a path"),
    ("GET", "/token?service=x", "is not a path"),
    ("GET", "/V2/a/b/manifests/v1", "is not a path"),
    ("POST", "/v2/", "is not a path"),
    ("GET", f"/v2/{NAME}/manifests/v1/", "is not a path"),
    ("GET", f"/v2/{NAME}/manifests/", "is not a path"),
    ("GET", f"/v2/{NAME}/blobs/latest", "is not a path"),
    ("GET", f"/v2/{NAME}/blobs/uploads/..", "is not a path"),
    ("GET", f"/v2/{NAME}/blobs/uploads/.", "is not a path"),
    ("GET", f"http://registry/v2/{NAME}/manifests/v1", "is not a path"),
    ("GET", f"//v2/{NAME}/manifests/v1", "is not a path"),
    ("GET", f"/v2//{NAME}/manifests/v1", "is not the name of a repository"),
    ("GET", f"/v2/{NAME}//manifests/v1", "is not the name of a repository"),
    ("GET", f"/v2/acme/../{NAME}/manifests/v1", "is not the name of a repository"),
    ("GET", f"/v2/./{NAME}/manifests/v1", "is not the name of a repository"),
    ("GET", "/v2/someuser/Custom-image/manifests/v1", "is not the name of a repository"),
    ("GET", f"/v2/{'a/' * 128}b/manifests/v1", "is not the name of a repository"),
    ("GET", "/v2/someuser%2Fcustom-image/manifests/v1", '"%" is not accepted'),
    ("GET", "/v2/someuser%252Fcustom-image/manifests/v1", '"%" is not accepted'),
    ("GET", "/v2/someuser/custom%2Dimage/manifests/v1", '"%" is not accepted'),
    ("GET", f"/v2/{NAME}/manifests/v1%00", '"%" is not accepted'),
    ("GET", f"/v2/{NAME}/manifests/v1\0", "is not accepted"),
    ("GET", f"/v2/{NAME};x=1/manifests/v1", '";" is not accepted'),
    ("GET", f"/v2/acme\\..\\{NAME}/manifests/v1", "is not accepted"),
    ("GET", f"/v2/{NAME}/manifests/v1#x", '"#" is not accepted'),
    ("GET", f"/v2/{NAME}/manifests/ｖ1", "is not accepted"),
    ("GET", f"/v2/{NAME}/manifests/v1 ", "is not accepted"),
    ("GET", f"/v2/{NAME}/manifests/v1\n", "is not accepted"),
    ("GET", f"/v2/{NAME}/manifests/v1?ns=ghcr.io", "and here is docker.io"),
    ("GET", f"/v2/{NAME}/manifests/v1?ns=docker.io&ns=ghcr.io", "and here is docker.io"),
    ("GET", f"/v2/{NAME}/manifests/v1?%6es=ghcr.io", "and here is docker.io"),
    ("GET", f"/v2/{NAME}/manifests/v1?ns=", "and here is docker.io"),
    ("GET", f"/v2/{NAME}/manifests/v1?NS=ghcr.io", "in lowercase"),
    ("POST", f"/v2/acme/app/blobs/uploads/?Mount={DIGEST}&From={NAME}", "in lowercase"),
    ("POST", "/v2/acme/app/blobs/upload/", "is not a path"),
    ("GET", f"/v2/{NAME}/blobs/sha256:abc", "a sha256 digest has 64 hexadecimal digits"),
    ("GET", f"/v2/{NAME}/blobs/md5:{'a' * 32}", "is not one of sha256"),
    ("GET", f"/v2/{NAME}/manifests/v1?a=1;ns=ghcr.io", "not properly encoded"),
    ("GET", f"/v2/{NAME}/manifests/v1?ns=%zz", "not properly encoded"),
    ("GET", f"/v2/{NAME}/manifests/v1?a=%ff", "not properly encoded"),
    ("GET", f"/v2/{NAME}/manifests/v1?{'a=1&' * 100}", "not properly encoded, or too long"),
    ("GET", f"/v2/{NAME}/manifests/v1?{'a' * 9000}", "characters, and no client needs so many"),
    ("GET", "/v2/nginx/manifests/latest", "official images are under library/, as library/nginx"),
    ("POST", f"/v2/acme/app/blobs/uploads/?mount={DIGEST}", "mounts one blob, by its digest, out of one repository"),
    ("POST", f"/v2/acme/app/blobs/uploads/?from={NAME}", "mounts one blob"),
    ("POST", f"/v2/acme/app/blobs/uploads/?mount={DIGEST}&from=acme/app&from={NAME}", "mounts one blob"),
    ("POST", f"/v2/acme/app/blobs/uploads/?mount=x&from={NAME}", "mounts one blob"),
    ("POST", f"/v2/acme/app/blobs/uploads/?mount={DIGEST}&from=../x", "is not the name of a repository"),
    ("POST", f"/v2/{NAME}/manifests/v1", "is not a method for"),
    ("TRACE", f"/v2/{NAME}/manifests/v1", "is not a method for"),
    ("get", f"/v2/{NAME}/manifests/v1", "is not a method for"),
    ("PUT", f"/v2/{NAME}/tags/list", "is not a method for"),
    ("GET", f"/v2/{NAME}/blobs/uploads/", "is not a method for"),
]


def names(request: RegistryRequest) -> list[str]:
    """The images of a request."""
    return [str(image) for image in request.images]


@pytest.mark.parametrize(("method", "target", "images"), ABOUT, ids=[f"{item[0]} {item[1][:60]}" for item in ABOUT])
def test_what_a_request_is_about(method: str, target: str, images: list[str]) -> None:
    """Each request of the OCI distribution API names the images that it reads or writes."""
    assert names(read_registry_request(method, target, "docker.io")) == images


@pytest.mark.parametrize(
    ("method", "target", "problem"), REFUSED, ids=[ascii(f"{item[0]} {item[1][:60]}") for item in REFUSED]
)
def test_what_is_refused(method: str, target: str, problem: str) -> None:
    """Everything else is refused, in words for whoever sent it."""
    with pytest.raises(RefusedRequestError, match=re.escape(problem)):
        read_registry_request(method, target, "docker.io")


@pytest.mark.parametrize(
    "content_type",
    [
        "application/x-www-form-urlencoded",
        "Multipart/Form-Data; boundary=x",
        "application/json,application/x-www-form-urlencoded",
    ],
)
def test_forms_are_refused(content_type: str) -> None:
    """A form in the body could name a repository to mount out of, which is not seen here."""
    upload = ("POST", f"/v2/{NAME}/blobs/uploads/", "docker.io")

    with pytest.raises(RefusedRequestError, match="has a form as its body"):
        read_registry_request(*upload, content_type)
    assert names(read_registry_request(*upload, "application/octet-stream")) == [f"docker.io/{NAME}"]


@pytest.mark.parametrize(
    ("registry", "image"),
    [
        ("ghcr.io", "ghcr.io/nginx:v1"),
        ("harbor.acme.io:8443", "harbor.acme.io:8443/nginx:v1"),
        ("localhost:5000", "localhost:5000/nginx:v1"),
    ],
)
def test_other_registries(registry: str, image: str) -> None:
    """The registry is the listener's, and a repository of one part is one there."""
    for target in ("/v2/nginx/manifests/v1", f"/v2/nginx/manifests/v1?ns={registry}"):
        request = read_registry_request("GET", target, registry)

        assert (names(request), request.says_docker_hub) == ([image], False)


def test_a_client_of_a_mirror_says_docker_hub() -> None:
    """A client may mean Docker Hub at a registry of another name, which is told, and no third one."""
    target = "/v2/hub/library/nginx/manifests/v1"
    request = read_registry_request("GET", f"{target}?ns=docker.io", "harbor.acme.io")

    assert (names(request), request.says_docker_hub) == (["harbor.acme.io/hub/library/nginx:v1"], True)
    with pytest.raises(RefusedRequestError, match=r"and here is harbor\.acme\.io"):
        read_registry_request("GET", f"{target}?ns=docker.io&ns=ghcr.io", "harbor.acme.io")


WILD = st.text(alphabet="/av2%3A:.@;?&=#-_\0 Zmanifestsblobsuploads", max_size=60)


@given(
    start=st.sampled_from(["", "/v2/", "/v2/someuser/", "/v2/a/b/manifests/"]),
    rest=WILD,
    method=st.sampled_from(["GET", "POST", "PUT"]),
)
def test_what_is_let_through_is_what_it_says(start: str, rest: str, method: str) -> None:
    """Whatever is accepted has the repository in its path letter for letter, where every server reads it alike."""
    target = start + rest
    try:
        images = names(read_registry_request(method, target, "docker.io"))
    except RefusedRequestError:
        return
    path = target.partition("?")[0]
    assert images or path in {"/v2/", "/v2"}
    for image in images[:1]:
        repository = image.removeprefix("docker.io/").partition("@")[0].partition(":")[0]
        assert is_repository_path(repository)
        assert path.startswith(f"/v2/{repository}/")
        assert "//" not in path
        assert not {".", ".."} & set(path.split("/"))
