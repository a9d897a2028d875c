"""The actions that Docker publishes, and the images that they pull without anybody naming them.

Sources: `action.yml` of docker/setup-buildx-action, docker/setup-qemu-action and docker/build-push-action, and
`driver/bkimage/bkimage.go` of docker/buildx.
"""

import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

from pullgate_finders import dockerfile
from pullgate_finders.build_options import (
    DEFAULT_GENERATOR,
    Range,
    image_in_attestation,
    image_in_cache,
    image_in_context,
    image_of_context,
)
from pullgate_finders.dockerfile import Build
from pullgate_finders.found import Finding, Kind
from pullgate_finders.github_actions.expressions import MAX_VALUES, Value
from pullgate_finders.github_actions.scope import evaluated_text
from pullgate_finders.github_actions.steps import Line, Reading, Step
from pullgate_finders.tree import join
from pullgate_finders.values import Known, Text, Unknown, joined

_BUILDKIT = "moby/buildkit:buildx-stable-1"
_BINFMT = "docker.io/tonistiigi/binfmt:latest"

_IMAGE_OPTION = re.compile(r"(?<![\w-])image=((?:\$\{\{[^}]*\}\}|[^\s,\"'$]|\$(?!\{\{))+)")
_DEFAULT_CONTEXT = re.compile(r"\{\{\s*defaultContext\s*\}\}(?::(?P<directory>.*))?")
_REMOTE = re.compile(r"(?:https?|git|ssh)://|git@|github\.com/", re.IGNORECASE)


def find_in_step(step: Step, action: str, reading: Reading) -> Iterator[Finding]:
    """The references that a step comes to which runs one of these actions."""
    find = _ACTIONS.get(action)
    if find is not None:
        yield from find(step, reading)


def _setup_buildx(step: Step, reading: Reading) -> Iterator[Finding]:
    """The image of BuildKit, which the drivers docker-container (the default) and kubernetes run."""
    named = False
    for name in ("driver-opts", "append"):
        node = step.input(name)
        for match in _IMAGE_OPTION.finditer(node.text) if node is not None else ():
            named = named or name == "driver-opts"
            place = node.place_within(*match.span(1)) if node is not None else step.uses.place
            values = evaluated_text(match[1], step.scope)
            yield from reading.tell_at(place, match[1], Kind.BUILDER, values, within=step.within)
    drivers = [value.text for value in step.values("driver", "docker-container")]
    if not named and any(
        isinstance(driver, Unknown) or driver.value in {"docker-container", "kubernetes"} for driver in drivers
    ):
        yield _default(step, reading, Kind.BUILDER, _BUILDKIT)


def _setup_qemu(step: Step, reading: Reading) -> Iterator[Finding]:
    node = step.input("image")
    if node is None:
        yield _default(step, reading, Kind.BUILDER, _BINFMT)
    else:
        yield from reading.tell(node, Kind.BUILDER, step.values("image", _BINFMT), within=step.within)


def _default(step: Step, reading: Reading, kind: Kind, image: str) -> Finding:
    text = Known(image, (f"what {step.uses.text} runs if no other image is named",), overridable=True)
    return reading.tell_text(step.uses.place, step.uses.text, kind, text, within=step.within)


def _build_push(step: Step, reading: Reading) -> Iterator[Finding]:
    contexts: dict[str, Text] = {}
    for line in step.lines("build-contexts"):
        name, equals, value = line.written.partition("=")
        contexts[name.strip()] = line.rest_of(line.values[0])
        written = image_in_context(value)
        if written is None and "${{" in value:
            yield from _computed_context(line, len(name + equals), step, reading)
        yield from _part(line, len(name + equals), written, Kind.CONTEXT, step, reading)
    for line in step.lines("cache-from"):
        yield from _part(line, 0, image_in_cache(line.written), Kind.CACHE, step, reading)
    yield from _generators(step, reading)
    arguments = _arguments(step)
    choices = itertools.product(
        step.values("context"), step.values("file"), step.values("target"), itertools.product(*arguments.values())
    )
    for context, file, target, given in itertools.islice(choices, MAX_VALUES):
        build = Build(
            arguments=dict(zip(arguments, given, strict=True)),
            contexts=contexts,
            target=target.text,
            how=(*reading.how, step.where),
        )
        yield from _dockerfile(context, file, build, step, reading)


def _computed_context(line: Line, start: int, step: Step, reading: Reading) -> Iterator[Finding]:
    """A named context that only its value shows to be an image, or of which it is not known whether it is one."""
    place, raw = line.place_within(start, len(line.written)), line.written[start:]
    for text in map(line.rest_of, line.values):
        image = image_of_context(text)
        if image is not None:
            yield reading.tell_text(place, raw, Kind.CONTEXT, image, within=step.within)


def _generators(step: Step, reading: Reading) -> Iterator[Finding]:
    """The image that lists the contents of what is built: `sbom: generator=…`, `attests: type=sbom,generator=…`."""
    for name, prefix in (("sbom", "type=sbom,"), ("attests", "")):
        for line in step.lines(name):
            asked = line.values[0]
            if not prefix and isinstance(asked.content, Unknown) and "=" not in line.written:
                yield from reading.tell_at(line.place, line.written, Kind.GENERATOR, line.values, within=step.within)
                continue
            if prefix and asked.text == Known("false"):
                continue
            found_range = image_in_attestation(prefix + line.written)
            if found_range == (0, 0):
                yield reading.tell_text(line.place, line.written, Kind.GENERATOR, _generator(asked), within=step.within)
            else:
                yield from _part(line, -len(prefix), found_range, Kind.GENERATOR, step, reading)


def _generator(asked: Value) -> Text:
    if isinstance(asked.content, Unknown):
        return Unknown(f"whether a list of contents is made, and with what, is not known here: {asked.content.reason}")
    return Known(DEFAULT_GENERATOR, ("what lists the contents of an image if no other is named",), overridable=True)


def _part(line: Line, offset: int, at: Range | None, kind: Kind, step: Step, reading: Reading) -> Iterator[Finding]:
    """The reference in a part of a line.

    Args:
        offset: of the part within the line.
        at: where the reference stands in the part; None if there is none.
    """
    if at is not None and at[1] > at[0]:
        start, end = offset + at[0], offset + at[1]
        raw = line.written[start:end]
        values = evaluated_text(raw, step.scope)
        yield from reading.tell_at(line.place_within(start, end), raw, kind, values, within=step.within)


def _dockerfile(context: Value, file: Value, build: Build, step: Step, reading: Reading) -> Iterator[Finding]:
    """The references in the Dockerfile that is built, or why it is not known which one that is."""
    node = step.input("file") or step.input("context") or step.uses
    match _path(context.text, file.text):
        case Unknown(reason):
            yield reading.tell_text(node.place, node.text, Kind.FROM, Unknown(reason), within=step.within)
        case Known(path):
            located = step.locate(path, reading.root)
            if isinstance(located, Unknown):
                yield reading.tell_text(node.place, node.text, Kind.FROM, located, within=step.within)
            else:
                yield from dockerfile.find_in_build(located.value, node.place, reading.search, build)


def _path(context: Text, file: Text) -> Text:
    """The Dockerfile, relative to the workspace. Without a context the action builds the repository itself."""
    if isinstance(file, Unknown):
        return Unknown(f"which Dockerfile is built is not known here: {file.reason}")
    if _REMOTE.match(file.value):
        return Unknown("the Dockerfile that is built is fetched from elsewhere")
    directory = ""
    if isinstance(context, Known):
        own = _DEFAULT_CONTEXT.fullmatch(context.value)
        if own is None and _REMOTE.match(context.value):
            return Unknown("what is built lies in another repository")
        directory = (own["directory"] or "" if own else context.value) or "."
        if own is not None and file.value:
            return Known(join(directory, file.value))
    if file.value:
        return Known(file.value)
    if isinstance(context, Unknown):
        return Unknown(f"which directory is built is not known here: {context.reason}")
    return Known(join(directory, "Dockerfile"))


def _arguments(step: Step) -> Mapping[str, tuple[Text, ...]]:
    """The build arguments: `NAME=value`, or `NAME` for a variable of the step's environment."""
    arguments: dict[str, tuple[Text, ...]] = {}
    for line in step.lines("build-args"):
        name, equals, _ = line.written.partition("=")
        how = f"build-args of {step.within} ({line.place.file}:{line.place.line})"
        if equals:
            texts = tuple(line.rest_of(value) for value in line.values)
        else:
            texts = tuple(value.text for value in step.scope.lookup(("env", name)))
        if equals or all(isinstance(text, Known) for text in texts):
            arguments[name.strip()] = tuple(joined(text, Known("", (how,))) for text in texts)
    return arguments


_ACTIONS: Mapping[str, Callable[[Step, Reading], Iterator[Finding]]] = MappingProxyType(
    {
        "docker/build-push-action": _build_push,
        "docker/setup-buildx-action": _setup_buildx,
        "docker/setup-qemu-action": _setup_qemu,
    }
)
