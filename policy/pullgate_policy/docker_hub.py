"""Which repository of Docker Hub a reference stands for, directly or under a declared mirror."""

from dataclasses import dataclass

from pullgate_policy.reference import (
    DOCKER_HUB,
    OFFICIAL_NAMESPACE,
    Reference,
    canonical_registry,
    is_repository_path,
)


@dataclass(frozen=True, slots=True)
class HubRepository:
    """A repository of Docker Hub: `library/nginx`. `str()` gives `docker.io/library/nginx`."""

    path: str

    @property
    def namespace(self) -> str:
        """The first part of the path; Docker Hub's badges belong to it."""
        return self.path.partition("/")[0]

    def __str__(self) -> str:
        return f"{DOCKER_HUB}/{self.path}"


@dataclass(frozen=True, slots=True)
class Mirror:
    """A registry, or a part of one, that serves Docker Hub's images under their own paths.

    Attributes:
        registry: the host in its canonical spelling.
        prefix: the path below which the images lie; empty for the whole registry.
    """

    registry: str
    prefix: str

    @classmethod
    def parse(cls, text: str) -> "Mirror":
        """Read `host` or `host/prefix`; raises ValueError with what is wrong."""
        host, _, prefix = text.partition("/")
        registry = canonical_registry(host)
        if registry is None:
            raise ValueError("is not a registry host, optionally followed by a path, such as harbor.example.com/hub")
        if registry == DOCKER_HUB:
            raise ValueError("is Docker Hub itself, which needs no declaration")
        if "/" in text and not is_repository_path(prefix):
            raise ValueError("does not end in a repository path, such as harbor.example.com/hub")
        return cls(registry, prefix)

    def repository_path(self, registry: str, path: str) -> str | None:
        """The Docker Hub path that `path` on `registry` stands for, or None if it is not under this mirror."""
        if registry != self.registry:
            return None
        if not self.prefix:
            return path
        head, rest = path[: len(self.prefix) + 1], path[len(self.prefix) + 1 :]
        return rest if head == f"{self.prefix}/" else None

    def __str__(self) -> str:
        return f"{self.registry}/{self.prefix}" if self.prefix else self.registry


def hub_repository(reference: Reference, mirrors: tuple[Mirror, ...] = ()) -> HubRepository | None:
    """The Docker Hub repository that `reference` stands for; None if it is none.

    Under a mirror a single name stands for an official image, as it does on Docker Hub: pull-through caches add
    `library/` themselves.
    """
    if reference.is_docker_hub:
        return HubRepository(reference.path)
    if not mirrors:
        return None
    registry = canonical_registry(reference.registry) or reference.registry
    paths = (mirror.repository_path(registry, reference.path) for mirror in mirrors)
    # Of mirrors within each other the innermost counts: it leaves the shortest path.
    path = min((path for path in paths if path is not None), key=len, default=None)
    if path is None:
        return None
    return HubRepository(path if "/" in path else f"{OFFICIAL_NAMESPACE}/{path}")
