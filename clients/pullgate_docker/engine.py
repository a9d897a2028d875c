"""What the Docker Engine says of an image that it has, and which names that makes it answer for."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self
from urllib.parse import quote

import aiohttp

from pullgate_docker.requests import RefusedRequestError, reference_of
from pullgate_policy import Reference
from pullgate_policy.errors import shown
from pullgate_policy.reference import is_image_id


class EngineUnavailableError(Exception):
    """The engine could not be asked; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineImage:
    """An image that the engine has.

    Attributes:
        image_id: `sha256:…`.
        tags: names with tags that it has here, by whomever they were given.
        digests: `repository@sha256:…` for each repository that it was pulled from or pushed to.
        tells_origin: whether that is what the engine says. With the containerd image store it gives a digest to every
            name, wherever the image is from (moby daemon/containerd, collectRepoTagsAndDigests).
    """

    image_id: str
    tags: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()
    tells_origin: bool = True


class Engine(Protocol):
    """Knows the images that containers can be started from."""

    async def image(self, name: str) -> EngineImage | None:
        """What `name`, a reference or an ID in full or in part, stands for; None for nothing.

        Raises:
            EngineUnavailableError: the engine did not say.
            RefusedRequestError: the engine takes it for no name, nor for an ID.
        """
        ...


@dataclass(kw_only=True)
class FakeEngine:
    """An engine for tests: it has these images by these names, or cannot be asked."""

    images: Mapping[str, EngineImage] = field(default_factory=dict)
    problem: str = ""
    asked: list[str] = field(default_factory=list)

    async def image(self, name: str) -> EngineImage | None:
        """The image that was put there."""
        self.asked.append(name)
        if self.problem:
            raise EngineUnavailableError(self.problem)
        return self.images.get(name)


class DockerEngine:
    """The engine behind a unix socket. Close it, or use it in an `async with` statement.

    The engine asks the plugin about these requests too, which therefore has to answer while it waits for one of them.
    """

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._session = aiohttp.ClientSession(connector=aiohttp.UnixConnector(path=str(socket)))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def image(self, name: str) -> EngineImage | None:
        """What the engine answers to `docker image inspect`."""
        try:
            address = f"http://docker/images/{quote(name, safe='')}/json"
            async with self._session.get(address, allow_redirects=False) as response:
                if response.status == HTTPStatus.NOT_FOUND:
                    return None
                if response.status == HTTPStatus.BAD_REQUEST:
                    raise RefusedRequestError(f"{shown(name)} is no name of an image to the Docker Engine")
                if response.status != HTTPStatus.OK:
                    raise EngineUnavailableError(f"it answered with status {response.status}")
                description = await response.json()
        except aiohttp.ClientConnectorError as error:
            raise EngineUnavailableError(f"{self._socket}: {error.os_error.strerror}") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise EngineUnavailableError(f"{self._socket}: {str(error) or type(error).__name__}") from error
        match description:
            case {"Id": str(image_id), "RepoTags": list() | None as tags, "RepoDigests": list() | None as digests}:
                # A descriptor comes with the containerd image store alone (Engine API 1.48, ImageInspect).
                of_containerd = bool(description.get("Descriptor"))
                names, origins = _names(tags), _names(digests)
                return EngineImage(image_id=image_id, tags=names, digests=origins, tells_origin=not of_containerd)
        raise EngineUnavailableError(f"{self._socket}: what it says of an image is not understood")


def _names(names: Sequence[object] | None) -> tuple[str, ...]:
    """Names without those that say that there is none."""
    return tuple(str(name) for name in names or () if not str(name).startswith("<none>"))


def references_of(asked: str, image: EngineImage | None, *, local_images: bool) -> tuple[str, ...]:
    """The references that all have to be allowed before a container may start from what was asked for.

    An image answers for every repository that it was pulled from, whatever it is called here: for the tags that it has
    of that repository, or for its digest if it has none. Asked for by name it answers for that name too. An image that
    was never in a registry answers for its name, or, asked for by ID, for all its names.

    Args:
        asked: a name or an image ID.
        image: what the engine has under it; None for nothing, and then it will be pulled by this name, if at all.
        local_images: whether images that were never in a registry may be used.

    Raises:
        RefusedRequestError: there is no name that could be decided about.
    """
    if image is None:
        if is_image_id(asked):
            raise RefusedRequestError(
                f"the engine has no image {shown(asked)}, and an ID says nothing of where it is from"
            )
        return (str(reference_of(asked)),)
    tags, digests = [reference_of(tag) for tag in image.tags], [reference_of(digest) for digest in image.digests]
    by_id = _is_by_id(asked, image, tags)
    references = [] if by_id else [reference_of(asked)]
    for digest in digests:
        references += [tag for tag in tags if tag.repository == digest.repository] or [digest]
    if not local_images and not image.tells_origin:
        raise RefusedRequestError(
            "this engine's image store does not tell images of registries from those that were made or loaded here, so "
            "that none is used (pullgate docker-plugin --local-images allow)"
        )
    if not digests and not local_images:
        raise RefusedRequestError(
            f"the image {shown(asked)} was made or loaded here and is from no registry, and such images are refused "
            "here (pullgate docker-plugin --local-images allow)"
        )
    if not digests and by_id:
        references += tags
    if not references:
        raise RefusedRequestError(
            f"the image {shown(asked)} has no name to decide about; give it one with 'docker tag', and use that"
        )
    return tuple(dict.fromkeys(map(str, references)))


def _is_by_id(asked: str, image: EngineImage, tags: Sequence[Reference]) -> bool:
    """Whether it was found by its ID, perhaps the beginning of it. Names come first, as for the engine."""
    match = re.fullmatch("(?:sha256:)?([0-9a-f]+)", asked)
    if match is None or not image.image_id.removeprefix("sha256:").startswith(match[1]):
        return False
    return is_image_id(asked) or reference_of(asked) not in tags
