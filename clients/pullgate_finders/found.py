"""What is found: image references at their places, and what stood in the way of finding more."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

from pullgate_finders.values import Known, Text, Unknown
from pullgate_policy import InvalidReferenceError, Reference, parse_reference


class Kind(Enum):
    """What an image is used for."""

    FROM = "from"  # base of a stage of a Dockerfile
    COPY = "copy"  # COPY --from
    MOUNT = "mount"  # RUN --mount=from
    ONBUILD = "onbuild"  # COPY and RUN that fire in builds that are based on this one
    SYNTAX = "syntax"  # the frontend that reads a Dockerfile
    CONTEXT = "context"  # a named context of a build
    CACHE = "cache"  # an image that a build takes layers from
    BUILDER = "builder"  # what builds: BuildKit, a buildpack's builder, kaniko
    GENERATOR = "generator"  # what makes the list of contents (SBOM) of a build
    IMAGE = "image"  # what a service, container, job or step runs in
    SERVICE = "service"  # what runs beside a job of CI
    ACTION = "action"  # a step of CI that is an image itself
    VOLUME = "volume"  # an image that is mounted as files
    FEATURE = "feature"  # an OCI artifact that is installed into a development container
    MODEL = "model"  # an OCI artifact with a model
    INCLUDE = "include"  # an OCI artifact with configuration


class Certainty(Enum):
    """How sure it is that this very reference is pulled."""

    EXACT = "exact"  # it stands there, or follows from what stands in these files alone
    DEFAULT = "default"  # a default that another build or run may override
    CONDITIONAL = "conditional"  # only where `condition` holds, as for a profile that is off by default
    UNRESOLVED = "unresolved"  # it depends on what is not known here


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A range in a file. Lines and columns count from 1; columns are characters (Unicode code points).

    Attributes:
        file: relative to the root of the tree, with `/`.
        end_column: of the first character after the range.
    """

    file: str
    line: int
    column: int
    end_line: int
    end_column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """An image reference in a file.

    Attributes:
        raw: as it stands in the file, before anything is expanded.
        reference: what it comes to; None where that is not known here.
        repository: where `reference` is None, what is known of it all the same: the repository without its tag.
        how: how it was reached, a step each: `default of build argument VERSION (Dockerfile:1)`.
        unresolved: why `reference` is None, in a sentence that begins with a lower-case letter; else empty.
        within: the part of the file it belongs to, as `service web`, `job test` or `stage build`.
        condition: when it is pulled, if not always: `only with profile debug`; else empty.
        overridable: whether another build or run may give another reference, as where a default was taken.
        alone: the file was read on its own, though another may say how it is used, as Compose says which arguments and
            contexts a Dockerfile is built with (see `finding.find` for what becomes of it then).
    """

    place: Place
    kind: Kind
    raw: str
    reference: Reference | None
    how: tuple[str, ...] = ()
    unresolved: str = ""
    within: str = ""
    condition: str = ""
    overridable: bool = False
    alone: bool = False
    repository: Reference | None = None

    @property
    def certainty(self) -> Certainty:
        """How sure it is that this very reference is pulled."""
        if self.reference is None:
            return Certainty.UNRESOLVED
        if self.condition:
            return Certainty.CONDITIONAL
        return Certainty.DEFAULT if self.overridable else Certainty.EXACT

    @property
    def is_image(self) -> bool:
        """Whether an image is pulled here, known or not."""
        return self.reference is not None or bool(self.unresolved)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Why a file, or a part of it, could not be read; references may be missing.

    Attributes:
        problem: what is wrong and what to do, in a sentence that begins with a lower-case letter.
    """

    place: Place
    problem: str


Finding = Found | Trouble


def found(
    place: Place,
    kind: Kind,
    raw: str,
    text: Text,
    *,
    how: Sequence[str] = (),
    within: str = "",
    condition: str = "",
    alone: bool = False,
) -> Found:
    """A reference whose text was worked out, or why it could not be.

    Args:
        raw: as it stands in the file.
        text: what that comes to.
        how: how the place was reached, put before how its text was worked out.
    """
    reference, repository, unresolved = None, None, ""
    match text:
        case Unknown(reason):
            unresolved = reason
            repository = _repository(text.beginning)
        case Known(value):
            try:
                reference = parse_reference(value)
            except InvalidReferenceError as error:
                unresolved = f"this is no image reference: {error.problem}"
                if value != raw:
                    unresolved = f'it comes to "{value}", which is no image reference: {error.problem}'
    return Found(
        place=place,
        kind=kind,
        raw=raw,
        reference=reference,
        how=(*how, *text.how),
        unresolved=unresolved,
        within=within,
        condition=condition,
        overridable=text.overridable,
        alone=alone,
        repository=repository,
    )


def _repository(beginning: str) -> Reference | None:
    """The repository of a reference that begins so, where it ends before what is not known; None where it may go on."""
    name, at, _ = beginning.partition("@")
    path, slash, last = name.rpartition("/")
    last, colon, _ = last.partition(":")
    if not (at or colon):
        return None
    try:
        return replace(parse_reference(f"{path}{slash}{last}"), tag=None, digest=None)
    except InvalidReferenceError:
        return None


def no_image(place: Place, kind: Kind, raw: str, how: Sequence[str] = ()) -> Found:
    """Says that a use of a file has no image at a place, as where a named context stands instead of it.

    It is for `finding.find` alone, which tells nothing of it but makes what the file comes to on its own conditional.

    Args:
        how: which use that is.
    """
    return Found(place=place, kind=kind, raw=raw, reference=None, how=tuple(how))
