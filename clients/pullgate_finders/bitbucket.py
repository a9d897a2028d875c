"""Bitbucket Pipelines: `bitbucket-pipelines.yml` (Atlassian's "Configure bitbucket-pipelines.yml").

A step runs in its own image, else in that of the file, else in Atlassian's default one ("Docker image options"). A
pipe is an image: named by `docker://`, or by the `pipe.yml` of the repository that the pipe is named after ("Write a
pipe for Bitbucket Pipelines"), which is not read here. Out of scope: images that commands name in a shell.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from pullgate_finders.continuous_integration import documents, image_in
from pullgate_finders.found import Finding, Kind, Trouble, found
from pullgate_finders.port import Search
from pullgate_finders.values import Known, Text, Unknown
from pullgate_finders.yaml_nodes import MappingNode, Node, ScalarNode, SequenceNode

_NAME = re.compile(r"(?:.*/)?bitbucket-pipelines\.ya?ml")
_SECTION = re.compile(r"^[\"']?(?:pipelines|definitions)[\"']?\s*:", re.MULTILINE)

_DEFAULT_IMAGE = "atlassian/default-image:latest"
_DOCKER = "docker://"
_PREDEFINED_SERVICE = "docker"
_WITHOUT_DOCKER = frozenset({"linux.shell", "macos", "windows"})
_UNUSED_STEP = "only where a pipeline takes this step"


@dataclass(frozen=True, slots=True)
class BitbucketFinder:
    """Finds references in `bitbucket-pipelines.yml`."""

    name: str = "Bitbucket Pipelines"

    def claims(self, path: str) -> bool:
        """Whether it is named as Bitbucket wants it."""
        return _NAME.fullmatch(path) is not None

    def recognises(self, text: str) -> bool:
        """Whether there are pipelines or definitions."""
        return _SECTION.search(text) is not None

    def find(self, path: str, text: str, search: Search) -> Iterator[Finding]:  # noqa: ARG002 - nothing else is read
        """The references in it."""
        for document in documents(path, text):
            if isinstance(document, Trouble):
                yield document
            elif isinstance(document, MappingNode):
                yield from _Pipelines(document).findings()


@dataclass(slots=True)
class _Pipelines:
    """The pipelines of a file."""

    root: MappingNode
    _steps: set[Node] = field(default_factory=set)
    _told: set[ScalarNode] = field(default_factory=set)

    def findings(self) -> Iterator[Finding]:
        """The references of the pipelines; then those of definitions that none uses."""
        for key, value in self.root.pairs("pipelines"):
            if key.text == "default" or not isinstance(value, MappingNode):
                yield from self._pipeline(value, f"pipeline {key.text}", "")
                continue
            for name, pipeline in value.entries:
                yield from self._pipeline(pipeline, f"pipeline {key.text} {name.text}", "")
        for key, value in self.root.pairs("definitions", "pipelines"):
            yield from self._pipeline(value, f"pipeline {key.text}", "only where a pipeline imports it")
        for key, value in self.root.pairs("definitions"):
            if key.text not in {"services", "pipelines"}:
                yield from self._pipeline(value, f"definition {key.text}", _UNUSED_STEP)
        for key, service in self.root.pairs("definitions", "services"):
            condition = f"only where a step names service {key.text}"
            yield from self._once(image_in(_image_of(service), "name"), Kind.SERVICE, f"service {key.text}", condition)
        condition = "only in a step without an image of its own"
        yield from self._once(image_in(self.root.get("image"), "name"), Kind.IMAGE, "", condition)

    def _pipeline(self, node: Node, within: str, condition: str) -> Iterator[Finding]:
        """The steps of a pipeline, those of parallel groups and stages included; or where it is imported from."""
        imported = node.scalar("import") if isinstance(node, MappingNode) else None
        if imported is not None:
            reason = "the pipeline stands in another repository, and is not read here"
            yield found(
                imported.place, Kind.INCLUDE, imported.text, Unknown(reason), within=within, condition=condition
            )
        for number, (key, step) in enumerate(_steps_below(node), 1):
            # Steps of definitions stand there once more where a pipeline takes them by an alias.
            if step in self._steps and condition:
                continue
            self._steps.add(step)
            yield from self._step(key, step, f"{within}, step {number}", condition)

    def _step(self, key: ScalarNode, step: MappingNode, within: str, condition: str) -> Iterator[Finding]:
        yield from self._environment(key, step, within, condition)
        for name in step.items("services"):
            if isinstance(name, ScalarNode):
                yield from self._service(name, within, condition)
        for command in (*step.items("script"), *step.items("after-script")):
            pipe = command.scalar("pipe") if isinstance(command, MappingNode) else None
            if pipe is not None and (pipe not in self._told or not condition):
                self._told.add(pipe)
                yield _pipe(pipe, within, condition)

    def _environment(self, key: ScalarNode, step: MappingNode, within: str, condition: str) -> Iterator[Finding]:
        """The image that a step runs in: its own, that of the file, or the default one."""
        own, common = image_in(step.get("image"), "name"), image_in(self.root.get("image"), "name")
        if own is not None:
            if own not in self._told or not condition:
                yield from self._image(own, Kind.IMAGE, within, condition)
        elif common is not None:
            if not condition:
                yield from self._image(common, Kind.IMAGE, "", "")
        elif not _runs_without_docker(step):
            text = Known(_DEFAULT_IMAGE, ("what Bitbucket runs a step in that names no image",), overridable=True)
            yield found(key.place, Kind.IMAGE, key.text, text, within=within, condition=condition)

    def _service(self, name: ScalarNode, within: str, condition: str) -> Iterator[Finding]:
        service = self.root.get("definitions", "services", name.text)
        if service is None:
            if name.text != _PREDEFINED_SERVICE:
                problem = f"service {name.text} is not among the definitions"
                yield Trouble(place=name.place, problem=problem)
            return
        image = image_in(_image_of(service), "name")
        if image is not None and not condition:
            yield from self._image(image, Kind.SERVICE, f"{within}, service {name.text}", "")

    def _once(self, image: ScalarNode | None, kind: Kind, within: str, condition: str) -> Iterator[Finding]:
        if image is not None and image not in self._told:
            yield from self._image(image, kind, within, condition)

    def _image(self, image: ScalarNode, kind: Kind, within: str, condition: str) -> Iterator[Finding]:
        self._told.add(image)
        yield found(image.place, kind, image.text, _known(image.text), within=within, condition=condition)


def _known(text: str) -> Text:
    if "$" in text:
        return Unknown("it depends on a variable, which the settings of the repository or of the workspace set")
    return Known(text)


def _pipe(pipe: ScalarNode, within: str, condition: str) -> Finding:
    if not pipe.text.startswith(_DOCKER):
        reason = f"the image stands in the pipe.yml of the repository {pipe.text}, which is not read here"
        return found(pipe.place, Kind.ACTION, pipe.text, Unknown(reason), within=within, condition=condition)
    image = pipe.text.removeprefix(_DOCKER)
    place = pipe.place_within(len(_DOCKER), len(pipe.text))
    return found(place, Kind.ACTION, image, _known(image), within=within, condition=condition)


def _image_of(service: Node) -> Node | None:
    return service.get("image") if isinstance(service, MappingNode) else None


def _steps_below(node: Node) -> Iterator[tuple[ScalarNode, MappingNode]]:
    """The steps in a pipeline, in order, each with the key it stands under."""
    pending = [node]
    while pending:
        current = pending.pop()
        if isinstance(current, SequenceNode):
            pending.extend(reversed(current.items))
        elif isinstance(current, MappingNode):
            for key, value in current.entries:
                if key.text == "step" and isinstance(value, MappingNode):
                    yield key, value
                elif key.text in {"parallel", "stage", "steps"}:
                    pending.append(value)


def _runs_without_docker(step: MappingNode) -> bool:
    """Whether the step runs on a runner that starts no containers (`runs-on`)."""
    runs_on = step.get("runs-on")
    labels = runs_on.items if isinstance(runs_on, SequenceNode) else (runs_on,)
    return any(isinstance(label, ScalarNode) and label.text in _WITHOUT_DOCKER for label in labels)
