"""Which names an image answers for, whatever it is called on this machine: a table of what the engine says."""

import pytest

from pullgate_docker.engine import EngineImage, references_of
from pullgate_docker.requests import RefusedRequestError

ID = f"sha256:{'ab12' * 16}"
ONE, OTHER = f"sha256:{'1' * 64}", f"sha256:{'2' * 64}"

NGINX = EngineImage(image_id=ID, tags=("nginx:latest",), digests=(f"nginx@{ONE}",))
RETAGGED = EngineImage(image_id=ID, tags=("nginx:latest", "evil/x:1"), digests=(f"evil/x@{ONE}",))
UNTAGGED = EngineImage(image_id=ID, tags=("nginx:latest",), digests=(f"evil/x@{ONE}",))
BOTH = EngineImage(image_id=ID, tags=("nginx:1", "evil/x:1"), digests=(f"nginx@{ONE}", f"evil/x@{OTHER}"))
BY_DIGEST = EngineImage(image_id=ID, digests=(f"evil/x@{ONE}",))
PUSHED = EngineImage(image_id=ID, tags=("mine:latest",), digests=(f"registry.acme.io:5000/mine@{ONE}",))
BUILT = EngineImage(image_id=ID, tags=("acme/mine:1", "acme/mine:latest"))
NAMELESS = EngineImage(image_id=ID)
NAMED_AS_ID = EngineImage(image_id=ID, tags=("ab12:latest",), digests=(f"ab12@{ONE}",))


@pytest.mark.parametrize(
    ("asked", "image", "references"),
    [
        # Not here: it would be pulled.
        ("nginx", None, ["docker.io/library/nginx:latest"]),
        (f"evil/x@{ONE}", None, [f"docker.io/evil/x@{ONE}"]),
        ("abc123", None, ["docker.io/library/abc123:latest"]),
        # From a registry, under its own name, by ID and by digest.
        ("nginx", NGINX, ["docker.io/library/nginx:latest"]),
        ("docker.io/library/nginx:latest", NGINX, ["docker.io/library/nginx:latest"]),
        (f"nginx@{ONE}", NGINX, [f"docker.io/library/nginx@{ONE}", "docker.io/library/nginx:latest"]),
        (ID, NGINX, ["docker.io/library/nginx:latest"]),
        (ID.removeprefix("sha256:"), NGINX, ["docker.io/library/nginx:latest"]),
        ("ab12ab12ab12", NGINX, ["docker.io/library/nginx:latest"]),
        ("sha256:ab12", NGINX, ["docker.io/library/nginx:latest"]),
        # Under another name: the repository that it is from counts too.
        ("nginx", RETAGGED, ["docker.io/library/nginx:latest", "docker.io/evil/x:1"]),
        ("nginx", UNTAGGED, ["docker.io/library/nginx:latest", f"docker.io/evil/x@{ONE}"]),
        (ID, RETAGGED, ["docker.io/evil/x:1"]),
        ("nginx:1", BOTH, ["docker.io/library/nginx:1", "docker.io/evil/x:1"]),
        (ID, BOTH, ["docker.io/library/nginx:1", "docker.io/evil/x:1"]),
        (ID, BY_DIGEST, [f"docker.io/evil/x@{ONE}"]),
        ("mine", PUSHED, ["docker.io/library/mine:latest", f"registry.acme.io:5000/mine@{ONE}"]),
        # A name that looks like an ID is a name where there is one, for the engine too.
        ("ab12", NAMED_AS_ID, ["docker.io/library/ab12:latest"]),
        ("ab12ab12", NAMED_AS_ID, ["docker.io/library/ab12:latest"]),
        ("ab12:latest", NAMED_AS_ID, ["docker.io/library/ab12:latest"]),
        # What is neither a name of it nor its ID is taken for a name, in addition.
        ("evil/x:ab12ab12ab12", NGINX, ["docker.io/evil/x:ab12ab12ab12", "docker.io/library/nginx:latest"]),
        ("cd34", NGINX, ["docker.io/library/cd34:latest", "docker.io/library/nginx:latest"]),
        # Never in a registry.
        ("acme/mine", BUILT, ["docker.io/acme/mine:latest"]),
        (ID, BUILT, ["docker.io/acme/mine:1", "docker.io/acme/mine:latest"]),
        ("nginx", NAMELESS, ["docker.io/library/nginx:latest"]),
    ],
)
def test_references(asked: str, image: EngineImage | None, references: list[str]) -> None:
    """All of these have to be allowed."""
    assert list(references_of(asked, image, local_images=True)) == references


@pytest.mark.parametrize(
    ("asked", "image", "local_images", "problem"),
    [
        (ID, None, True, "the engine has no image"),
        ("a" * 64, None, True, "the engine has no image"),
        (ID, NAMELESS, True, "has no name to decide about"),
        ("ab12ab12ab12", NAMELESS, True, "has no name to decide about"),
        ("acme/mine", BUILT, False, "--local-images allow"),
        (ID, BUILT, False, "--local-images allow"),
        (
            "nginx",
            EngineImage(image_id=ID, tags=("nginx:latest",), digests=(f"nginx@{ONE}",), tells_origin=False),
            False,
            "does not tell images of registries",
        ),
        ("nginx", EngineImage(image_id=ID, tags=("Bad:1",), digests=(f"nginx@{ONE}",)), True, "must be lowercase"),
    ],
)
def test_refusals(asked: str, image: EngineImage | None, local_images: bool, problem: str) -> None:
    """Where there is no name to decide about, or the image may not be used, nothing is decided."""
    with pytest.raises(RefusedRequestError, match=problem):
        references_of(asked, image, local_images=local_images)


def test_images_from_a_registry_are_no_local_images() -> None:
    """--local-images deny does not concern what has been in a registry."""
    assert references_of("nginx", NGINX, local_images=False) == ("docker.io/library/nginx:latest",)
