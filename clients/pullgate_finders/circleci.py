"""CircleCI: `.circleci/config.yml` (CircleCI's "Configuration reference").

Jobs and executors are read as the workflows use them, so that what they are given is known. Out of scope: virtual
machines (`machine`, `macos`), which are no container images, and images that commands name in a shell.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from pullgate_finders.circleci_parameters import (
    MAX_JOBS,
    Arguments,
    ExecutorUse,
    Scope,
    arguments_of,
    declared,
    matrix_of,
)
from pullgate_finders.continuous_integration import documents
from pullgate_finders.found import Finding, Kind, Trouble, found
from pullgate_finders.port import Search
from pullgate_finders.values import Text, Unknown
from pullgate_finders.yaml_nodes import MappingNode, Node, ScalarNode

_NAME = re.compile(r"(?:.*/)?\.circleci/[^/]+\.ya?ml")
_SECTION = re.compile(r"^[\"']?(?:jobs|executors|workflows|orbs)[\"']?\s*:", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class CircleCIFinder:
    """Finds references in the configuration of CircleCI, `.circleci/*.yml`."""

    name: str = "CircleCI"

    def claims(self, path: str) -> bool:
        """Whether it lies where CircleCI's configuration does."""
        return _NAME.fullmatch(path) is not None

    def recognises(self, text: str) -> bool:
        """Whether there are jobs, executors, workflows or orbs."""
        return _SECTION.search(text) is not None

    def find(self, path: str, text: str, search: Search) -> Iterator[Finding]:  # noqa: ARG002 - nothing else is read
        """The references in it."""
        for document in documents(path, text):
            if isinstance(document, Trouble):
                yield document
            elif isinstance(document, MappingNode):
                yield from _Configuration(document).findings()


@dataclass(frozen=True, slots=True)
class _Use:
    """Where a job or an executor is used.

    Attributes:
        node: what names it.
        within: as of `Found`.
        condition: as of `Found`.
    """

    node: Node
    within: str
    condition: str = ""


@dataclass(slots=True)
class _Configuration:
    """A configuration, or an orb that is written in one."""

    root: MappingNode
    pipeline: Arguments = field(default_factory=dict)
    told: set[ScalarNode] = field(default_factory=set)
    _sections: dict[str, dict[str, Node]] = field(default_factory=dict)

    def findings(self) -> Iterator[Finding]:
        """The references of what workflows run; then those of what none does."""
        self.pipeline = declared(self.root.get("parameters"), None, Scope())
        has_workflows = False
        for name, workflow in self.root.pairs("workflows"):
            if isinstance(workflow, MappingNode):
                has_workflows = True
                for entry in workflow.items("jobs"):
                    yield from self.entry(entry, name.text)
        build = self.root.get("jobs", "build")
        if not has_workflows and build is not None:
            yield from self.job("build", {}, _Use(build, "job build"))
        yield from self.unused("")

    def entry(self, entry: Node, workflow: str) -> Iterator[Finding]:
        """A job that a workflow runs: its name, or a mapping of that to what it is given."""
        if isinstance(entry, ScalarNode):
            yield from self.job(entry.text, {}, _Use(entry, f"job {entry.text}"))
        for key, config in entry.entries if isinstance(entry, MappingNode) else ():
            scope, whose = Scope(pipeline=self.pipeline), f"job {key.text}"
            given = arguments_of(config, scope, whose)
            if isinstance(config, MappingNode) and config.scalar("type") is not None:
                continue  # an approval, or another one that runs nothing
            rows = matrix_of(config.get("matrix") if isinstance(config, MappingNode) else None, scope, whose)
            if rows is None:
                problem = f"the matrix of {whose} in workflow {workflow} makes more than {MAX_JOBS} jobs"
                yield Trouble(place=key.place, problem=problem)
            for row in rows or ():
                yield from self.job(key.text, {**given, **row}, _Use(key, whose))

    def job(self, name: str, given: Arguments | None, use: _Use) -> Iterator[Finding]:
        """The references of a job that is given parameters; None where it is not known what it is given."""
        orb, is_remote = self._orb(name)
        if orb is not self:
            if orb is not None:
                yield from orb.job(name.partition("/")[2], given, use)
            elif is_remote:
                yield self._elsewhere(name, use)
            else:
                yield Trouble(place=use.node.place, problem=f"there is no orb for {name}")
            return
        job = self.named("jobs", name)
        if not isinstance(job, MappingNode):
            yield Trouble(place=use.node.place, problem=f"there is no job {name}")
            return
        scope = Scope(pipeline=self.pipeline)
        scope = Scope(parameters=declared(job.get("parameters"), given, scope), pipeline=self.pipeline)
        executor = job.get("executor")
        if job.get("docker") is not None:
            yield from self.containers(job, scope, use)
        elif executor is not None:
            named = scope.executor(executor)
            if named is None and isinstance(executor, ScalarNode):
                named = ExecutorUse(executor, scope.text(executor.text))
            if named is not None:
                yield from self.executor(named, _Use(executor, use.within, use.condition))

    def executor(self, named: ExecutorUse, use: _Use) -> Iterator[Finding]:
        """The references of an executor that a job runs in."""
        if isinstance(named.name, Unknown):
            yield self._found(use, _raw(use.node), named.name)
            return
        name = named.name.value
        orb, is_remote = self._orb(name)
        executor = orb.named("executors", name.rpartition("/")[2]) if orb is not None else None
        if orb is not None and isinstance(executor, MappingNode):
            scope = Scope(pipeline=self.pipeline)
            parameters = declared(executor.get("parameters"), named.given, scope)
            yield from orb.containers(executor, Scope(parameters=parameters, pipeline=self.pipeline), use)
        elif is_remote:
            yield self._elsewhere(name, use)
        else:
            yield Trouble(place=use.node.place, problem=f"there is no executor {name}")

    def containers(self, holder: MappingNode, scope: Scope, use: _Use) -> Iterator[Finding]:
        """The images of a job or an executor: it runs in the first, the others run beside it."""
        for number, container in enumerate(holder.items("docker")):
            image = container.scalar("image") if isinstance(container, MappingNode) else None
            if image is not None:
                self.told.add(image)
                kind = Kind.SERVICE if number else Kind.IMAGE
                text = scope.text(image.text)
                yield found(image.place, kind, image.text, text, within=use.within, condition=use.condition)

    def named(self, section: str, name: str) -> Node | None:
        """A job or an executor."""
        if section not in self._sections:
            self._sections[section] = {key.text: value for key, value in self.root.pairs(section)}
        return self._sections[section].get(name)

    def _orb(self, name: str) -> "tuple[_Configuration | None, bool]":
        """The orb that a name such as `node/default` belongs to, and whether it is one that is not written here."""
        alias, slash, _ = name.partition("/")
        if not slash:
            return self, False
        orb = self.root.get("orbs", alias)
        if isinstance(orb, MappingNode):
            return _Configuration(orb, self.pipeline, self.told), False
        return None, isinstance(orb, ScalarNode)

    def _elsewhere(self, name: str, use: _Use) -> Finding:
        orb = self.root.scalar("orbs", name.partition("/")[0])
        source = orb.text if orb is not None else name
        return self._found(use, _raw(use.node), Unknown(f"{name} stands in the orb {source}, which is not read here"))

    def _found(self, use: _Use, raw: str, text: Text) -> Finding:
        named = use.node.scalar("name") if isinstance(use.node, MappingNode) else None
        place = (named or use.node).place
        return found(place, Kind.IMAGE, raw, text, within=use.within, condition=use.condition)

    def unused(self, prefix: str) -> Iterator[Finding]:
        """Jobs, executors and orbs of this one that nothing uses."""
        for key, job in self.root.pairs("jobs"):
            if isinstance(job, MappingNode) and not self._is_told(job):
                name = f"{prefix}{key.text}"
                yield from self.job(key.text, None, _Use(key, f"job {name}", f"only where a workflow runs job {name}"))
        for key, executor in self.root.pairs("executors"):
            if isinstance(executor, MappingNode) and not self._is_told(executor):
                name = f"executor {prefix}{key.text}"
                scope = Scope(pipeline=self.pipeline)
                parameters = declared(executor.get("parameters"), None, scope)
                use = _Use(key, name, f"only where a job uses {name}")
                yield from self.containers(executor, Scope(parameters=parameters, pipeline=self.pipeline), use)
        for key, orb in self.root.pairs("orbs"):
            if isinstance(orb, MappingNode):
                yield from _Configuration(orb, self.pipeline, self.told).unused(f"{prefix}{key.text}/")

    def _is_told(self, holder: MappingNode) -> bool:
        """Whether the images of a job or an executor were told of; one without any is, too."""
        images = [item.scalar("image") for item in holder.items("docker") if isinstance(item, MappingNode)]
        return all(image is None or image in self.told for image in images)


def _raw(node: Node) -> str:
    if isinstance(node, ScalarNode):
        return node.text
    named = node.scalar("name") if isinstance(node, MappingNode) else None
    return "" if named is None else named.text
