"""Jobs of a pipeline and what they run in (GitLab's "CI/CD YAML syntax": `image`, `services`, `default`, `extends`)."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from pullgate_finders.continuous_integration import image_in
from pullgate_finders.found import Finding, Kind, Trouble, found
from pullgate_finders.gitlab_ci.configuration import Configuration, Source, merge
from pullgate_finders.gitlab_ci.variables import Variable, Variables, expanded, layered, variables_of
from pullgate_finders.values import Known
from pullgate_finders.yaml_nodes import MappingNode, Node, ScalarNode, SequenceNode

MAX_DEPTH = 11
"""How many jobs may extend one another in a row."""

MAX_REFERENCES = 10
"""How many `!reference` tags may lead to one another."""

MAX_PARALLEL = 200
"""How many jobs `parallel: matrix` may make of one."""

MAX_VARIANTS = 1000
"""How many sets of variables are looked at for a job."""

_KEYWORDS = frozenset(
    (
        *("after_script", "before_script", "cache", "default", "image", "include"),
        *("services", "spec", "stages", "types", "variables", "workflow"),
    )
)
_REFERENCE = "!reference"


@dataclass(slots=True, kw_only=True)
class Jobs:
    """The jobs of a configuration.

    Attributes:
        whole: the configuration, merged.
        outer: variables that another pipeline gives, which win.
    """

    configuration: Configuration
    whole: MappingNode
    outer: Variables
    _extended: dict[str, MappingNode] = field(default_factory=dict)
    _told: set[ScalarNode] = field(default_factory=set)
    _troubles: list[Trouble] = field(default_factory=list)
    _of_all: Variables | None = None
    _entries: dict[str, Node] | None = None

    def findings(self) -> Iterator[Finding]:
        """The references of all jobs; then those that stand in the files and that no job takes."""
        for key, value in self.whole.entries:
            if key.text not in _KEYWORDS and not key.text.startswith(".") and isinstance(value, MappingNode):
                yield from self._job(key)
        for source in self.configuration.sources:
            yield from self._untold(source)
        yield from self._troubles

    def bridges(self) -> Iterator[tuple[ScalarNode, Node, Variables]]:
        """The jobs that start a child pipeline: the name, what it includes, and the variables that it is given."""
        for key, value in self.whole.entries:
            if key.text in _KEYWORDS or key.text.startswith(".") or not isinstance(value, MappingNode):
                continue
            job = self._extend(key.text, ())
            included = self._resolved(job.get("trigger", "include"))
            if included is not None:
                yield key, included, {**self._variables(job), **self.outer}

    def _job(self, key: ScalarNode) -> Iterator[Finding]:
        job = self._extend(key.text, ())
        if job.get("trigger") is not None:
            return
        variants = self._variants(job)
        within = f"job {key.text}"
        for name in ("image", "services"):
            if job.get(name) is not None:
                yield from self._used(name, job.get(name), variants, within)
            elif self._inherits(job, "default", name):
                default = self._entry("default", name) or self._entry(name)
                yield from self._used(name, default, variants, "default")

    def _used(self, name: str, node: Node | None, variants: Sequence[Variables], within: str) -> Iterator[Finding]:
        """The references of an `image` or of `services`."""
        for item in self._flat(node) if name == "services" else (self._resolved(node),):
            yield from self._container(name, item, variants, within)

    def _container(
        self, name: str, item: Node | None, variants: Sequence[Variables], within: str, condition: str = ""
    ) -> Iterator[Finding]:
        """The reference of an image or of one of the services: a text, or a mapping with `name`.

        A service's own `variables` reach its container, and not its name (GitLab Runner, expandContainerOptions).
        """
        named = self._resolved(item.get("name")) if isinstance(item, MappingNode) else item
        scalar = image_in(named, "name")
        if scalar is not None:
            self._told.add(scalar)
            kind = Kind.IMAGE if name == "image" else Kind.SERVICE
            yield from self._tell(scalar, kind, variants, within, condition)

    def _tell(
        self, node: ScalarNode, kind: Kind, variants: Sequence[Variables], within: str, condition: str
    ) -> Iterator[Finding]:
        configuration = self.configuration
        text = configuration.text_of(node)
        for result in dict.fromkeys(expanded(text, variant) for variant in variants):
            if result != Known("", result.how, result.overridable):
                yield found(
                    node.place,
                    kind,
                    node.text,
                    result,
                    how=configuration.how,
                    within=within,
                    condition=condition,
                    alone=configuration.alone,
                )

    def _untold(self, source: Source) -> Iterator[Finding]:
        """What stands in a file and no job takes."""
        common = {**self._common(), **self.outer}
        for holder in (source.root, source.root.get("default")):
            if isinstance(holder, MappingNode):
                condition = "only in a job that says nothing of its own"
                yield from self._left_over(holder, common, "default", condition)
        for key, job in source.root.entries:
            if key.text not in _KEYWORDS and isinstance(job, MappingNode):
                condition = f"only where nothing else is said of job {key.text}"
                if key.text.startswith("."):
                    condition = f"only where a job takes it from {key.text}"
                variables = {**common, **self._defined(job.get("variables"))}
                yield from self._left_over(job, variables, f"job {key.text}", condition)

    def _left_over(self, holder: MappingNode, variables: Variables, within: str, condition: str) -> Iterator[Finding]:
        for name in ("image", "services"):
            node = holder.get(name)
            if node is None or node.tag == _REFERENCE:
                continue
            services = node.items if isinstance(node, SequenceNode) and name == "services" else (node,)
            for item in services:
                scalar = image_in(item, "name")
                if scalar is not None and scalar not in self._told:
                    yield from self._container(name, item, [variables], within, condition)

    def _variants(self, job: MappingNode) -> list[Variables]:
        """The variables of a job, once for each way they may come.

        One rule of the workflow counts, whose variables stand instead of those of all jobs alone, and one of the
        job's; `parallel: matrix` makes a job of each of its rows ("workflow:rules:variables", "rules:variables").
        """
        own = self._defined(job.get("variables"))
        of_workflow = (self._inherited(job, self._defined(node)) for node in self._rules_of_workflow())
        workflow = [{}, *filter(None, ({k: v for k, v in rule.items() if k not in own} for rule in of_workflow))]
        rows = list(itertools.islice(self._rows(job.get("parallel", "matrix")), MAX_PARALLEL)) or [{}]
        rules = ({}, *map(self._defined, self._rules(job.get("rules"))))
        if len(workflow) * len(rules) * len(rows) > MAX_VARIANTS:
            problem = f"its rules and its matrix give more than {MAX_VARIANTS} sets of variables; not all are looked at"
            self._troubles.append(Trouble(place=job.place, problem=problem))
        common = self._inherited(job, self._common())
        ways = itertools.islice(itertools.product(workflow, rules, rows), MAX_VARIANTS)
        return [layered(rule, row, self.outer, own, of_all, common) for of_all, rule, row in ways]

    def _variables(self, job: MappingNode) -> Variables:
        return layered(self._defined(job.get("variables")), self._inherited(job, self._common()))

    def _inherited(self, job: MappingNode, common: Variables) -> Variables:
        """Those of the variables of all jobs that a job takes (`inherit`)."""
        if job.get("inherit", "variables") is None:
            return common
        return {name: value for name, value in common.items() if self._inherits(job, "variables", name)}

    def _rules_of_workflow(self) -> Iterator[Node]:
        yield from self._rules(self._entry("workflow", "rules"))

    def _common(self) -> Variables:
        """The variables of all jobs."""
        if self._of_all is None:
            self._of_all = self._defined(self._entry("variables"))
        return self._of_all

    def _defined(self, node: Node | None) -> Variables:
        node = self._resolved(node)
        if isinstance(node, MappingNode):
            entries = tuple((key, self._resolved(value) or value) for key, value in node.entries)
            node = MappingNode(node.place, node.tag, entries)
        return variables_of(node, self.configuration.text_of)

    def _rules(self, node: Node | None) -> Iterator[Node]:
        for rule in self._flat(node):
            variables = rule.get("variables") if isinstance(rule, MappingNode) else None
            if variables is not None:
                yield variables

    def _rows(self, node: Node | None) -> Iterator[Variables]:
        for entry in self._flat(node):
            if not isinstance(entry, MappingNode):
                continue
            columns = [
                [(key.text, self._cell(key, value)) for value in self._flat(values) if isinstance(value, ScalarNode)]
                for key, values in entry.entries
            ]
            yield from map(dict, itertools.product(*columns))

    def _cell(self, key: ScalarNode, value: ScalarNode) -> Variable:
        where = f"parallel matrix value {key.text} ({value.place.file}:{value.place.line})"
        return Variable(self.configuration.text_of(value), where)

    def _inherits(self, job: MappingNode, what: str, name: str) -> bool:
        """Whether a job takes a default or a variable (`inherit`)."""
        inherit = job.get("inherit", what)
        if isinstance(inherit, SequenceNode):
            return any(isinstance(item, ScalarNode) and item.text == name for item in inherit.items)
        return not (isinstance(inherit, ScalarNode) and inherit.text.lower() == "false")

    def _extend(self, name: str, within: tuple[str, ...]) -> MappingNode:
        """A job with what it takes from those that it extends."""
        if name in self._extended:
            return self._extended[name]
        job = self._entry(name)
        if not isinstance(job, MappingNode):
            return MappingNode(self.whole.place, "", ())
        extends = self._resolved(job.get("extends"))
        merged: MappingNode | None = None
        for parent in self._flat(extends):
            if isinstance(parent, ScalarNode) and self._may_extend(parent, (*within, name)):
                taken = self._extend(self._name(parent), (*within, name))
                merged = taken if merged is None else merge(merged, taken)
        self._extended[name] = job if merged is None else merge(merged, job)
        return self._extended[name]

    def _entry(self, name: str, *path: str) -> Node | None:
        """What stands at a path of keys in the whole configuration."""
        if self._entries is None:
            self._entries = {key.text: value for key, value in self.whole.entries}
        entry = self._entries.get(name)
        if not path:
            return entry
        return entry.get(*path) if isinstance(entry, MappingNode) else None

    def _name(self, node: ScalarNode) -> str:
        text = self.configuration.text_of(node)
        return text.value if isinstance(text, Known) else node.text

    def _may_extend(self, parent: ScalarNode, within: tuple[str, ...]) -> bool:
        name = self._name(parent)
        problem = ""
        if name in within:
            problem = f"{name} extends itself, by way of {' and '.join(within[within.index(name) :])}"
        elif len(within) > MAX_DEPTH:
            problem = f"more than {MAX_DEPTH} jobs extend one another"
        elif not isinstance(self._entry(name), MappingNode) and self.configuration.is_complete:
            problem = f"there is no job {name} to extend"
        if problem:
            self._troubles.append(Trouble(place=parent.place, problem=problem))
        return not problem

    def _resolved(self, node: Node | None) -> Node | None:
        """The node, or what it leads to by `!reference`."""
        for _ in range(MAX_REFERENCES):
            if not (isinstance(node, SequenceNode) and node.tag == _REFERENCE):
                return node
            path = [item.text for item in node.items if isinstance(item, ScalarNode)]
            target = self._entry(*path) if path else None
            if target is None and self.configuration.is_complete:
                self._troubles.append(Trouble(place=node.place, problem=f"there is nothing at {', '.join(path)}"))
            node = target
        if isinstance(node, SequenceNode) and node.tag == _REFERENCE:
            problem = f"more than {MAX_REFERENCES} references lead to one another"
            self._troubles.append(Trouble(place=node.place, problem=problem))
            return None
        return node

    def _flat(self, node: Node | None) -> Iterator[Node]:
        """The values of a sequence, with those of the sequences that references put into it; or the value alone."""
        node = self._resolved(node)
        if not isinstance(node, SequenceNode):
            yield from () if node is None else (node,)
            return
        for item in node.items:
            value = self._resolved(item)
            if isinstance(value, SequenceNode):
                yield from (inner for inner in map(self._resolved, value.items) if inner is not None)
            elif value is not None:
                yield value
