"""Named contexts of a build: what stands instead of images and stages (frontend/dockerui/namedcontext.go)."""

from collections.abc import Mapping
from dataclasses import dataclass

from pullgate_finders.values import Known, Text
from pullgate_policy import InvalidReferenceError, parse_reference

_NEVER_REPLACED = frozenset({"scratch", "context"})
_IMAGE = "docker-image://"
_ARCHITECTURES = {"aarch64": "arm64", "x86_64": "amd64", "x86-64": "amd64", "i386": "386"}
_DEFAULT_VARIANTS = {"arm64/v8": "arm64", "amd64/v1": "amd64", "arm": "arm/v7"}


@dataclass(frozen=True, slots=True)
class Context:
    """A named context.

    Attributes:
        name: as it was given.
        image: the image that it is; None where it is something else, as a directory, or is reported elsewhere.
        platform: the only one it is for; empty where it is for all.
    """

    name: str
    image: str | None
    platform: str = ""


@dataclass(frozen=True, slots=True)
class Replacement:
    """What stands instead of an image or a stage, and when. A condition is empty for always.

    Attributes:
        contexts: each with its condition.
        otherwise: when the image or stage itself is taken all the same; None for never.
    """

    contexts: tuple[tuple[Context, str], ...]
    otherwise: str | None


class Contexts:
    """The named contexts of a build.

    Args:
        given: by whoever made the build, who reports the images among them.
        by_option: on the command line; images among them stand in no file but where they are used.
    """

    def __init__(self, given: Mapping[str, Text], by_option: Mapping[str, str]) -> None:
        self._contexts: dict[str, dict[str, Context]] = {}
        for name, value in by_option.items():
            if name not in given:
                image = value.removeprefix(_IMAGE) if value.startswith(_IMAGE) else None
                self._add(name, image if image != "scratch" else None)
        for name in given:
            self._add(name, None)

    def instead_of(self, name: str, platform: str) -> Replacement:
        """What stands instead of an image or a stage: a context for its platform, else one for all platforms.

        Args:
            platform: as of `normalised`; empty where it is not known.
        """
        found = {} if not name or name.lower() in _NEVER_REPLACED else self._contexts.get(_familiar(name), {})
        general = found.get("")
        if platform:
            taken = found.get(platform, general)
            return Replacement(((taken, ""),) if taken else (), None if taken else "")
        special = [context for context in found.values() if context.platform]
        contexts = [(context, f"only for platform {context.platform}") for context in special]
        otherwise = ""
        if special:
            platforms = ", ".join(context.platform for context in special)
            otherwise = f"not for platform {platforms}: a build context stands instead"
        if general is None:
            return Replacement(tuple(contexts), otherwise)
        return Replacement(((general, otherwise), *contexts), None)

    def _add(self, name: str, image: str | None) -> None:
        plain, _, platform = name.partition("::")
        self._contexts.setdefault(_familiar(plain), {})[platform] = Context(name, image, platform)


def as_text(context: Context) -> Text:
    """The image of a context that has one."""
    return Known(context.image or "", (f"build context {context.name} given by option",))


def normalised(platform: str) -> str:
    """A platform as contexts are named for it: `linux/arm64/v8` is `linux/arm64` (containerd's platforms.Normalize).

    Empty where a part of it is left to whoever builds, as in `arm64`.
    """
    system, slash, machine = platform.lower().partition("/")
    architecture, _, variant = machine.partition("/")
    if not slash or not system or not architecture:
        return ""
    architecture = _ARCHITECTURES.get(architecture, architecture)
    machine = f"{architecture}/{variant}" if variant else architecture
    return f"{system}/{_DEFAULT_VARIANTS.get(machine, machine)}"


def _familiar(name: str) -> str:
    """A name as contexts are kept: as Docker shows it, without `:latest`."""
    try:
        return parse_reference(name).familiar.removesuffix(":latest")
    except InvalidReferenceError:
        return name
