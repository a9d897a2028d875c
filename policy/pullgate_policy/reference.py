"""Image references: what a person writes, read as Docker's clients read it.

Grammar and normalisation are those of github.com/distribution/reference (regexp.go, normalize.go and go-digest):

    reference        = name [ ":" tag ] [ "@" digest ]
    name             = [ domain "/" ] path-component *( "/" path-component )
    domain           = host [ ":" port ]
    host             = domain-component *( "." domain-component ) | "[" IPv6 "]"
    path-component   = [a-z0-9]+ ( ( "." | "_" | "__" | "-"+ ) [a-z0-9]+ )*
    tag              = [A-Za-z0-9_] [A-Za-z0-9_.-]{0,127}
    digest           = algorithm ":" hex

The first component is a registry if it is `localhost`, contains `.` or `:`, or has an uppercase letter; else the
registry is docker.io. On top of that grammar, and on purpose (see docs/references.md):

- every spelling of Docker Hub's registry is read as docker.io, so that spelling is no way around a policy;
- an image ID names no repository and is refused, `sha256:…` included;
- a first component that can only be a registry but is no valid host (`my_host.com/x`) is refused, where
  distribution/reference silently reads a name without a registry.

There is no I/O here, and the time taken grows linearly with an input that is itself limited.
"""

import re
from dataclasses import dataclass

from pullgate_policy.errors import InvalidReferenceError, shown

DOCKER_HUB = "docker.io"
"""The name under which all of Docker Hub's registry hosts are known here."""

DOCKER_HUB_HOSTS = frozenset({DOCKER_HUB, "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"})
"""Hosts that serve Docker Hub's images (moby daemon/pkg/registry/config.go; the last one is a legacy alias)."""

OFFICIAL_NAMESPACE = "library"
"""Docker Hub's namespace of Docker Official Images; the one that a bare name stands for."""

DEFAULT_TAG = "latest"

MAX_REFERENCE_LENGTH = 1024
"""Characters. The longest that can name anything is below 800: host, 255 of path, 128 of tag, 135 of digest."""

MAX_PATH_LENGTH = 255
"""distribution/reference RepositoryNameTotalLengthMax: the path, without the domain."""

MAX_TAG_LENGTH = 128

DIGEST_HEX_LENGTHS = {"sha256": 64, "sha384": 96, "sha512": 128}
"""go-digest's registered algorithms and the length of their encoded form."""

_PATH_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_HOST_COMPONENT = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_HOST = rf"(?:{_HOST_COMPONENT}(?:\.{_HOST_COMPONENT})*|\[[a-fA-F0-9:]+\])"
_path_component = re.compile(_PATH_COMPONENT, re.ASCII)
_path = re.compile(rf"{_PATH_COMPONENT}(?:/{_PATH_COMPONENT})*", re.ASCII)
_registry = re.compile(rf"{_HOST}(?::[0-9]+)?", re.ASCII)
_remainder = re.compile(
    rf"(?P<path>{_PATH_COMPONENT}(?:/{_PATH_COMPONENT})*)"
    rf"(?::(?P<tag>[a-zA-Z0-9_][a-zA-Z0-9_.-]{{0,{MAX_TAG_LENGTH - 1}}}))?"
    r"(?:@(?P<digest>(?P<algorithm>[a-z0-9]+):(?P<hex>[a-f0-9]+)))?",
    re.ASCII,
)
_image_id = re.compile(r"[a-f0-9]{64}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A normalised image reference: `str()` gives its full form, and parsing that gives an equal value.

    Attributes:
        registry: the host that is contacted, with its port if one was written; `docker.io` for all of Docker Hub's.
        path: the repository within the registry, as `library/nginx`.
        tag: `latest` where neither tag nor digest was written; None where only a digest was. A reference with neither,
            which no text stands for, means all of the repository.
        digest: as `sha256:…`; where there is one it is what is pulled, whatever the tag says.
    """

    registry: str
    path: str
    tag: str | None
    digest: str | None

    @property
    def repository(self) -> str:
        """The name without tag and digest: `docker.io/library/nginx`."""
        return f"{self.registry}/{self.path}"

    @property
    def is_docker_hub(self) -> bool:
        """Whether the registry is Docker Hub's."""
        return self.registry == DOCKER_HUB

    @property
    def familiar(self) -> str:
        """The short form that Docker shows: `nginx:1.27` for `docker.io/library/nginx:1.27`."""
        name = self.repository
        if self.is_docker_hub:
            official = self.path.removeprefix(f"{OFFICIAL_NAMESPACE}/")
            name = self.path if "/" in official else official
        return self._with_suffixes(name)

    def __str__(self) -> str:
        return self._with_suffixes(self.repository)

    def _with_suffixes(self, name: str) -> str:
        tag = "" if self.tag is None else f":{self.tag}"
        digest = "" if self.digest is None else f"@{self.digest}"
        return f"{name}{tag}{digest}"


def parse_reference(text: str) -> Reference:
    """Read `text` as Docker's clients do.

    Raises:
        InvalidReferenceError: it is not a reference, or is an image ID; says which character is wrong and why.
    """
    if not text:
        raise InvalidReferenceError(text, "it is empty; write an image name such as nginx", 0)
    if len(text) > MAX_REFERENCE_LENGTH:
        problem = f"it has {len(text)} characters, and no reference has more than {MAX_REFERENCE_LENGTH}"
        raise InvalidReferenceError(text, problem, MAX_REFERENCE_LENGTH)
    if is_image_id(text):
        problem = "it is an image ID, which names no repository; write the repository the image came from"
        raise InvalidReferenceError(text, problem, 0)
    registry, start = _split_registry(text)
    match = _remainder.fullmatch(text, start)
    if match is None:
        raise _diagnose_remainder(text, start)
    path, tag, digest = match["path"], match["tag"], match["digest"]
    if registry == DOCKER_HUB and "/" not in path:
        path = f"{OFFICIAL_NAMESPACE}/{path}"
    if len(path) > MAX_PATH_LENGTH:
        problem = f"the repository path has {len(path)} characters, and at most {MAX_PATH_LENGTH} are allowed"
        raise InvalidReferenceError(text, problem, start + MAX_PATH_LENGTH)
    if digest is not None:
        _check_digest(text, match)
    elif tag is None:
        tag = DEFAULT_TAG
    return Reference(registry=registry, path=path, tag=tag, digest=digest)


def is_image_id(text: str) -> bool:
    """Whether `text` is an image ID or a digest alone, which name an image but no repository."""
    algorithm, colon, encoded = text.partition(":")
    if not colon:
        return _image_id.fullmatch(text) is not None
    return DIGEST_HEX_LENGTHS.get(algorithm) == len(encoded) and re.fullmatch(r"[a-f0-9]+", encoded) is not None


def is_read_as_registry(first: str) -> bool:
    """Whether the first of several components is a registry (splitDockerDomain in normalize.go)."""
    return first == "localhost" or "." in first or ":" in first or first.lower() != first


def is_path_component(text: str) -> bool:
    """Whether `text` can stand between two slashes of a repository path, as a namespace does."""
    return len(text) <= MAX_PATH_LENGTH and _path_component.fullmatch(text) is not None


def is_repository_path(text: str) -> bool:
    """Whether `text` is a repository path such as `library/nginx`, without registry, tag and digest."""
    return len(text) <= MAX_PATH_LENGTH and _path.fullmatch(text) is not None


def canonical_registry(host: str) -> str | None:
    """The one spelling under which registries are compared, or None if `host` is no `host[:port]`.

    Lowercase, without the default port (which Go's dialler also reads in `:0443`), and docker.io for every name of
    Docker Hub.
    """
    if len(host) > MAX_REFERENCE_LENGTH or _registry.fullmatch(host) is None:
        return None
    host = host.lower()
    name, colon, port = host.rpartition(":")
    if colon and port.isdigit() and port.lstrip("0") == "443":
        host = name
    return DOCKER_HUB if host in DOCKER_HUB_HOSTS else host


def _split_registry(text: str) -> tuple[str, int]:
    """The registry of `text` and where the rest begins (splitDockerDomain in normalize.go)."""
    first, slash, _ = text.partition("/")
    if not slash or not is_read_as_registry(first):
        return DOCKER_HUB, 0
    if text[len(first) :].startswith("//") and first.endswith(":"):
        problem = "it is a web address; write the image without a scheme, such as docker.io/library/nginx"
        raise InvalidReferenceError(text, problem, 0)
    canonical = canonical_registry(first)
    if canonical is None:
        raise _diagnose_registry(text, first)
    return DOCKER_HUB if canonical == DOCKER_HUB else first, len(first) + 1


def _check_digest(text: str, match: re.Match[str]) -> None:
    algorithm, encoded = match["algorithm"], match["hex"]
    expected = DIGEST_HEX_LENGTHS.get(algorithm)
    if expected is None:
        problem = f"the digest algorithm {shown(algorithm)} is not one of {', '.join(DIGEST_HEX_LENGTHS)}"
        raise InvalidReferenceError(text, problem, match.start("algorithm"))
    if len(encoded) != expected:
        problem = f"a {algorithm} digest has {expected} hexadecimal digits, and this one has {len(encoded)}"
        raise InvalidReferenceError(text, problem, match.start("hex") + min(len(encoded), expected))


def _diagnose_registry(text: str, registry: str) -> InvalidReferenceError:
    """Why `registry`, the first component of `text`, is no `host[:port]`."""
    host, colon, port = registry.partition(":") if not registry.startswith("[") else (registry, "", "")
    if registry.startswith("["):
        end = registry.find("]")
        if end < 0:
            return InvalidReferenceError(text, "the IPv6 address of the registry is not closed with ]", len(registry))
        wrong = _first_not(registry, "abcdefABCDEF0123456789:", 1, end)
        if wrong is not None:
            problem = f"{shown(registry[wrong])} does not belong in an IPv6 address (zones are not allowed)"
            return InvalidReferenceError(text, problem, wrong)
        return InvalidReferenceError(text, "the registry is not [IPv6] or [IPv6]:port", end + 1)
    for index, character in enumerate(host):
        if not (character.isascii() and character.isalnum()) and character not in "-.":
            return InvalidReferenceError(text, f"{shown(character)} is not allowed in a registry's host name", index)
    position = 0
    for component in host.split("."):
        if not component:
            return InvalidReferenceError(text, "the registry's host name has an empty part", position)
        if component.startswith("-"):
            return InvalidReferenceError(text, "a part of the registry's host name begins with -", position)
        position += len(component) + 1
        if component.endswith("-"):
            return InvalidReferenceError(text, "a part of the registry's host name ends with -", position - 2)
    wrong = _first_not(port, "0123456789", 0, len(port)) or 0
    problem = "the registry's port is not a number" if port else "the registry's port is missing after the colon"
    return InvalidReferenceError(text, problem, len(host) + len(colon) + wrong)


def _diagnose_remainder(text: str, start: int) -> InvalidReferenceError:
    """Why what follows the registry is not `path[:tag][@digest]`: the first character that is wrong."""
    before_digest, at, digest = text[start:].partition("@")
    path, colon, tag = before_digest.partition(":")
    after_path = start + len(path) + len(colon)
    after_at = start + len(before_digest) + len(at)
    problem = _path_problem(path, start) or (_tag_problem(tag, after_path) if colon else None)
    description, position = problem or _digest_problem(digest, after_at)
    return InvalidReferenceError(text, description, position)


def _path_problem(path: str, position: int) -> tuple[str, int] | None:
    """What is wrong with a path that begins at `position`, and where."""
    if not path:
        return "the repository name is missing", position
    for component in path.split("/"):
        if not component:
            return "a part of the repository path is empty", position
        match = _path_component.match(component)
        end = 0 if match is None else match.end()
        if end < len(component):
            return _component_problem(component, end), position + end
        position += len(component) + 1
    return None


def _tag_problem(tag: str, position: int) -> tuple[str, int] | None:
    """What is wrong with a tag that begins at `position`, and where."""
    for index, character in enumerate(tag):
        if not (character.isascii() and (character.isalnum() or character in ("_.-" if index else "_"))):
            where = "in" if index else "at the start of"
            return f"{shown(character)} is not allowed {where} a tag", position + index
    if not tag:
        return "the tag is missing after the colon", position
    if len(tag) > MAX_TAG_LENGTH:
        return f"the tag has {len(tag)} characters, and at most {MAX_TAG_LENGTH} are allowed", position + MAX_TAG_LENGTH
    return None


def _digest_problem(digest: str, position: int) -> tuple[str, int]:
    """What is wrong with a digest that begins at `position`, and where."""
    algorithm, _, encoded = digest.partition(":")
    if not algorithm or not encoded:
        return "a digest is written algorithm:hex, such as sha256:…", position
    wrong = _first_not(encoded, "abcdef0123456789", 0, len(encoded))
    if wrong is not None:
        description = f"{shown(encoded[wrong])} is not a lowercase hexadecimal digit of the digest"
        return description, position + len(algorithm) + 1 + wrong
    return f"the digest algorithm {shown(algorithm)} is not one of {', '.join(DIGEST_HEX_LENGTHS)}", position


def _component_problem(component: str, index: int) -> str:
    character = component[min(index, len(component) - 1)]
    if character.isascii() and character.isupper():
        return f"{shown(character)} is uppercase, and a repository name must be lowercase"
    if character.isspace():
        return "white space is not allowed in a reference"
    if character in "._-":
        if index == 0:
            return f"a part of the repository path begins with {shown(character)}"
        if not component[index:].strip("._-"):
            return f"a part of the repository path ends with {shown(character)}"
        return "separators in a repository path are one ., one _, two __, or dashes"
    return f"{shown(character)} is not allowed in a repository name"


def _first_not(text: str, allowed: str, start: int, end: int) -> int | None:
    return next((index for index in range(start, end) if text[index] not in allowed), None)
