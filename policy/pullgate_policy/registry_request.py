"""Requests to a container registry: which images one reads or writes.

The API is that of the OCI Distribution Specification 1.1 (opencontainers/distribution-spec, spec.md, "Endpoints"):

    /v2/                                     the version check: reads no image
    /v2/<name>/manifests/<tag or digest>
    /v2/<name>/blobs/<digest>
    /v2/<name>/tags/list
    /v2/<name>/referrers/<digest>
    /v2/<name>/blobs/uploads/                begins an upload; with `mount` and `from` it reads another repository
    /v2/<name>/blobs/uploads/<session>       (blobs/upload/ at ghcr.io)

A name may itself contain `manifests` or `blobs`, so paths are read from the right, as the registries' own greedy
patterns do. What is decided about has to be what the registry behind serves, and how that reads unusual spellings is
not known here. So nothing is repaired: in a path only what a client has a reason to send is accepted, which leaves `:`
as the one character that may come percent-encoded.
"""

import re
from dataclasses import dataclass, replace
from urllib.parse import parse_qsl

from pullgate_policy.errors import InvalidReferenceError, shown
from pullgate_policy.reference import DOCKER_HUB, Reference, canonical_registry, is_repository_path, parse_reference

MAX_TARGET_LENGTH = 8192
"""Characters of a request target with its query; clients of registries send a few hundred."""

MAX_PARAMETERS = 50
"""Parameters of a query."""

READ = frozenset({"GET", "HEAD"})

_VERSION_CHECK = frozenset({"/v2/", "/v2"})

_TAG = r"[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127}"
_DIGEST = r"[a-z0-9]+:[a-f0-9]+"

_tag, _digest = re.compile(_TAG, re.ASCII), re.compile(_DIGEST, re.ASCII)

_ENDPOINTS = tuple(
    (re.compile(rf"/v2/(?P<name>.+)/{pattern}", re.ASCII), methods)
    for pattern, methods in (
        (rf"manifests/(?P<reference>{_TAG}|{_DIGEST})", READ | {"PUT", "DELETE"}),
        (rf"blobs/(?P<reference>{_DIGEST})", READ | {"DELETE"}),
        (r"tags/list", READ),
        (rf"referrers/(?P<reference>{_DIGEST})", READ),
        (r"blobs/uploads/", frozenset({"POST"})),
        (r"blobs/uploads?/(?!\.{1,2}$)[a-zA-Z0-9_.=-]+", frozenset({"GET", "HEAD", "PATCH", "PUT", "DELETE"})),
    )
)

_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")
"""Types of bodies that servers written in Go believe before the query (net/http, Request.FormValue): in such a body an
upload to distribution/distribution can name the repository that it mounts a blob out of."""

_MEANT = frozenset({"ns", "mount", "from"})
"""Parameters that are read here."""

_unusual = re.compile(r"[^a-zA-Z0-9/_.:=-]", re.ASCII)
_encoding = re.compile(r"%(?![0-9a-fA-F]{2})", re.ASCII)


class RefusedRequestError(ValueError):
    """The request is none of those of a registry's API that are let through; the message says why, for its sender."""


@dataclass(frozen=True, slots=True)
class RegistryRequest:
    """What a request is about.

    Attributes:
        images: what it reads or writes, the repository in its path first; none for the version check. References by
            tag and by digest are told apart; one with neither means all of a repository, as `tags/list` does.
        says_docker_hub: whether the client says that it means an image of Docker Hub, at a registry that is another.
    """

    images: tuple[Reference, ...]
    says_docker_hub: bool = False


def read_registry_request(method: str, target: str, registry: str, content_type: str = "") -> RegistryRequest:
    """What a request is about.

    Reading, writing and deleting are all about the repository that is named, and an upload that mounts a blob out of
    another repository is about that one too.

    Args:
        method: as it was sent.
        target: the request target, a path with its query, not decoded.
        registry: the registry that is asked, in its canonical spelling.
        content_type: of the body, as it was sent.

    Raises:
        RefusedRequestError: it is none of the API's requests, or one that must not be let through.
    """
    path, question, query = target.partition("?")
    if path in _VERSION_CHECK and method in READ:
        return RegistryRequest(())
    if len(target) > MAX_TARGET_LENGTH:
        raise RefusedRequestError(f"the request target has {len(target)} characters, and no client needs so many")
    if any(form in content_type.lower() for form in _FORMS):
        raise RefusedRequestError("no request to a registry has a form as its body")
    parameters = _parameters(query) if question else []
    says_docker_hub = _says_docker_hub(parameters, registry)
    path = path.replace("%3A", ":").replace("%3a", ":")
    if unusual := _unusual.search(path):
        raise RefusedRequestError(f"{shown(unusual[0])} is not accepted in the path of a request to a registry")
    for pattern, methods in _ENDPOINTS:
        if match := pattern.fullmatch(path):
            if method not in methods:
                raise RefusedRequestError(f"{shown(method)} is not a method for {shown(path)}")
            image = _image(registry, match["name"], match.groupdict().get("reference"))
            mounted = _mounted(parameters, registry) if method == "POST" else ()
            return RegistryRequest((image, *mounted), says_docker_hub)
    raise RefusedRequestError(f"{shown(path)} is not a path that is let through to registries")


def _parameters(query: str) -> list[tuple[str, str]]:
    # Some servers read `;` as `&`, and some leave out what is not encoded properly.
    if ";" in query or "#" in query or _encoding.search(query) or not query.isascii():
        raise RefusedRequestError("the query of the request is not properly encoded")
    try:
        parameters = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=MAX_PARAMETERS)
    except ValueError:
        raise RefusedRequestError("the query of the request is not properly encoded, or too long") from None
    for key, _ in parameters:
        # There are servers that read names of parameters in any letter case.
        if key not in _MEANT and key.lower() in _MEANT:
            raise RefusedRequestError(f"write the parameter {shown(key)} in lowercase")
    return parameters


def _says_docker_hub(parameters: list[tuple[str, str]], registry: str) -> bool:
    """Whether the client says Docker Hub; one that says another registry than the one that answers here is refused.

    Clients of mirrors say which registry they mean (containerd core/remotes/docker/registry.go, `ns`), which at a
    mirror of Docker Hub under a name of its own is docker.io.
    """
    meant = {value: canonical_registry(value) for key, value in parameters if key == "ns"}
    for value, canonical in meant.items():
        if canonical not in {registry, DOCKER_HUB}:
            raise RefusedRequestError(f"the request asks for registry {shown(value)}, and here is {registry}")
    return registry != DOCKER_HUB and DOCKER_HUB in meant.values()


def _mounted(parameters: list[tuple[str, str]], registry: str) -> tuple[Reference, ...]:
    """What an upload reads out of other repositories."""
    digests = [value for key, value in parameters if key == "mount"]
    names = [value for key, value in parameters if key == "from"]
    if not digests and not names:
        return ()
    # A registry that is not told the repository may look for the blob in all of them (spec.md, "Mounting a blob").
    if len(digests) != 1 or len(names) != 1 or _digest.fullmatch(digests[0]) is None:
        raise RefusedRequestError("an upload mounts one blob, by its digest, out of one repository: ?mount=…&from=…")
    return (_image(registry, names[0], digests[0]),)


def _image(registry: str, name: str, reference: str | None) -> Reference:
    if not is_repository_path(name):
        raise RefusedRequestError(f"{shown(name)} is not the name of a repository")
    if registry == DOCKER_HUB and "/" not in name:
        # It would be decided about library/NAME, while the registry behind is asked for NAME.
        raise RefusedRequestError(
            f"{name} is not a repository of Docker Hub: official images are under library/, as library/{name}"
        )
    if reference is None:
        return replace(parse_reference(f"{registry}/{name}"), tag=None)
    separator = ":" if _tag.fullmatch(reference) else "@"
    try:
        return parse_reference(f"{registry}/{name}{separator}{reference}")
    except InvalidReferenceError as error:
        raise RefusedRequestError(str(error)) from error
