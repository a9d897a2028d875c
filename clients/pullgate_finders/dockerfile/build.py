"""How a Dockerfile is built, as far as whoever builds it says so."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from pullgate_finders.values import Known, Text

_NOTHING: Mapping[str, Text] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """What is given to a build of a Dockerfile.

    Attributes:
        arguments: build arguments by name. The `how` of each says who gives it: `args of service web (compose.yaml:7)`.
        contexts: named contexts by name, each as it is written: `docker-image://alpine`, a path, `target:base`. They
            stand instead of images and stages of that name. Whoever made the Build reports an image among them itself,
            where it is written.
        target: the stage that is built; empty for the last one.
        how: who builds it: `service web (compose.yaml:4)`; empty where the Dockerfile is read on its own.
    """

    arguments: Mapping[str, Text] = field(default_factory=lambda: _NOTHING)
    contexts: Mapping[str, Text] = field(default_factory=lambda: _NOTHING)
    target: Text = Known("")
    how: tuple[str, ...] = ()
