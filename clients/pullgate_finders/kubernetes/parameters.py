"""Texts that are filled in when a custom resource is run: parameters with defaults, and placeholders without.

    Tekton                 $(params.NAME)               `default` and `value` of `params`
    Argo Workflows         {{inputs.parameters.NAME}}   `default` and `value` of `inputs` of the same template, and
                                                        what is passed where that is called
                           {{workflow.parameters.NAME}} those of `arguments` of the workflow
    OpenShift templates    ${NAME}                      `value` of `parameters`

A name that is given several values is not known: which of them counts depends on who calls what.
"""

import re
from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from pullgate_finders.values import Known, Text, Unknown, joined
from pullgate_finders.yaml_nodes import MappingNode, ScalarNode, SequenceNode, walk

_PLACEHOLDER = re.compile(r"\{\{[^{}]*\}\}|\$\{\{?[^{}$]*\}\}?|\$\([^()$]*\)|\$[A-Za-z_][A-Za-z0-9_]*")
_NAMES = (
    (re.compile(r"\$\((?:inputs\.)?params\.([\w.-]+)\)"), "params"),
    (re.compile(r"""\$\((?:inputs\.)?params\[["']([^"'\[\]]+)["']\]\)"""), "params"),
    (re.compile(r"\{\{\s*inputs\.parameters\.([\w-]+)\s*\}\}"), "inputs"),
    (re.compile(r"\{\{\s*workflow\.parameters\.([\w-]+)\s*\}\}"), "arguments"),
    (re.compile(r"\$\{\{?(\w+)\}\}?"), "template"),
)
_KO = "ko://"

Name = tuple[str, str]
Declaration = tuple[Name, ScalarNode]


@dataclass(frozen=True, slots=True)
class Parameters:
    """The parameters that are declared in an object.

    Attributes:
        values: by the kind of parameter and its name.
        passed: to the inputs of Argo's templates where they are called, by the name of the template.
        inputs: those of the template that is looked into.
    """

    values: Mapping[Name, Text]
    passed: Mapping[str, dict[Name, Text]] = field(default_factory=dict)
    inputs: Mapping[Name, Text] = field(default_factory=dict)

    def within(self, node: MappingNode) -> "Parameters":
        """Those that a part of the object sees: the inputs of one of Argo's templates are its own alone."""
        inputs = node.get("inputs", "parameters")
        if not isinstance(inputs, SequenceNode):
            return self
        name = node.scalar("name")
        passed = self.passed.get(name.text, {}) if name is not None else {}
        own = _values(_named(inputs, "inputs"))
        both = {key: _one_of(value, passed[key], key) for key, value in own.items() if key in passed}
        return replace(self, inputs=ChainMap(both, own, passed))

    def text_of(self, raw: str) -> Text:
        """What a text comes to: parameters by their defaults, unknown where a placeholder has none."""
        if raw.startswith(_KO):
            return Unknown("ko builds this image from Go code and names it; check what `ko resolve` gives")
        parts: list[Text] = []
        end = 0
        for match in _PLACEHOLDER.finditer(raw):
            parts += [Known(raw[end : match.start()]), self._value(match[0])]
            end = match.end()
        return joined(*parts, Known(raw[end:]))

    def _value(self, placeholder: str) -> Text:
        for pattern, kind in _NAMES:
            match = pattern.fullmatch(placeholder)
            values = self.inputs if kind == "inputs" else self.values
            if match and (kind, match[1]) in values:
                return values[kind, match[1]]
        return Unknown(f"{placeholder} is filled in by whatever deploys or runs this, and has no single default here")


NO_PARAMETERS = Parameters({})


def declared(root: MappingNode) -> Parameters:
    """The parameters with a default or value anywhere in an object."""
    return Parameters(_values(_declarations(root)), _passed(root))


def _values(declarations: Iterable[Declaration]) -> dict[Name, Text]:
    values: dict[Name, Text] = {}
    for name, scalar in declarations:
        value: Text = Unknown(f"parameter {name[1]} is given a value that is not known here")
        if not _PLACEHOLDER.search(scalar.text):
            how = f"default of parameter {name[1]} ({scalar.place.file}:{scalar.place.line})"
            value = Known(scalar.text, (how,), overridable=True)
        values[name] = _one_of(values.get(name, value), value, name)
    return values


def _one_of(first: Text, other: Text, name: Name) -> Text:
    """The value that both give."""
    if first is other or (isinstance(first, Known) and isinstance(other, Known) and first.value == other.value):
        return first
    return Unknown(f"parameter {name[1]} is given several values in this object")


def _declarations(root: MappingNode) -> Iterator[Declaration]:
    kind = root.scalar("kind")
    is_template = kind is not None and kind.text == "Template"
    pending: list[tuple[MappingNode | SequenceNode, str]] = [(root, "")]
    while pending:
        node, key = pending.pop()
        if isinstance(node, SequenceNode):
            pending.extend((item, key) for item in node.items if isinstance(item, MappingNode | SequenceNode))
            continue
        for entry, value in node.entries:
            if not isinstance(value, MappingNode | SequenceNode):
                continue
            pending.append((value, entry.text))
            if entry.text == "params":
                yield from _named(value, "params")
            elif entry.text == "parameters" and is_template:
                yield from _named(value, "template")
            elif entry.text == "parameters" and key == "arguments" and value in _workflow_arguments(root):
                # Those of the workflow itself, not those that one of its steps passes on.
                yield from _named(value, "arguments")


def _workflow_arguments(root: MappingNode) -> tuple[object, ...]:
    arguments = ("arguments", "parameters")
    return root.get("spec", *arguments), root.get("spec", "workflowSpec", *arguments)


def _passed(root: MappingNode) -> dict[str, dict[Name, Text]]:
    """What Argo's templates are given where steps and tasks call them, and as the entry to the workflow."""
    passed: dict[str, list[Declaration]] = {}
    for node in walk(root):
        if isinstance(node, MappingNode):
            called = node.scalar("template") or node.scalar("entrypoint")
            arguments = node.get("arguments", "parameters")
            if called is not None and isinstance(arguments, SequenceNode):
                passed.setdefault(called.text, []).extend(_named(arguments, "inputs"))
    return {name: _values(declarations) for name, declarations in passed.items()}


def _named(values: MappingNode | SequenceNode, kind: str) -> Iterator[Declaration]:
    for item in values.items if isinstance(values, SequenceNode) else ():
        if isinstance(item, MappingNode):
            name = item.scalar("name")
            value = item.scalar("value") or item.scalar("default")
            if name is not None and value is not None:
                yield (kind, name.text), value
