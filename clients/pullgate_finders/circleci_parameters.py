"""Parameters of CircleCI, `<< parameters.name >>` (CircleCI's "Reusable config reference")."""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pullgate_finders.continuous_integration import limited
from pullgate_finders.values import Known, Text, Unknown, joined
from pullgate_finders.yaml_nodes import MappingNode, Node, ScalarNode, SequenceNode

MAX_JOBS = 128
"""How many jobs CircleCI makes of a matrix."""

_EXPRESSION = re.compile(r"(?P<escaped>\\<<)|<<(?P<inside>[^<>]*)>>")
_PARAMETER = re.compile(r"(?P<pipeline>pipeline\.)?parameters\.(?P<name>[\w-]+)", re.ASCII)


@dataclass(frozen=True, slots=True)
class ExecutorUse:
    """An executor with what it is given: `{name: python, tag: "3.12"}`.

    Attributes:
        node: where it is named.
    """

    node: Node
    name: Text
    given: "Arguments" = field(default_factory=dict)


Arguments = Mapping[str, Text | ExecutorUse]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What `<< … >>` may refer to at one place.

    Attributes:
        parameters: of the job or executor.
        pipeline: parameters of the pipeline.
    """

    parameters: Arguments = field(default_factory=dict)
    pipeline: Arguments = field(default_factory=dict)

    def text(self, written: str) -> Text:
        """A text with its parameters replaced."""
        parts: list[Text] = []
        position = 0
        for match in _EXPRESSION.finditer(written):
            parts.append(Known(written[position : match.start()]))
            parts.append(Known("<<") if match["escaped"] else self._value(match["inside"].strip()))
            position = match.end()
        return limited(*parts, Known(written[position:]))

    def argument(self, node: Node) -> Text | ExecutorUse:
        """What a value comes to that is given for a parameter."""
        if isinstance(node, MappingNode):
            return self.executor(node) or Unknown("it is a mapping, where a text is wanted")
        if not isinstance(node, ScalarNode):
            return Unknown("it is a list, where a text is wanted")
        return self.executor(node) or self.text(node.text)

    def executor(self, node: Node) -> ExecutorUse | None:
        """The executor that a value names, by a text or a mapping with `name`; None where it names none."""
        if isinstance(node, MappingNode):
            name = node.scalar("name")
            if name is None:
                return None
            given = {key.text: self.argument(value) for key, value in node.entries if key.text != "name"}
            return ExecutorUse(node, self.text(name.text), given)
        whole = _EXPRESSION.fullmatch(node.text.strip()) if isinstance(node, ScalarNode) else None
        named = self._named(whole["inside"].strip()) if whole and whole["inside"] else None
        return named if isinstance(named, ExecutorUse) else None

    def _value(self, inside: str) -> Text:
        named = self._named(inside)
        return Unknown("an executor stands where a text is wanted") if isinstance(named, ExecutorUse) else named

    def _named(self, inside: str) -> Text | ExecutorUse:
        match = _PARAMETER.fullmatch(inside)
        if match is None:
            return Unknown(f"{inside} is known only when the pipeline runs")
        arguments = self.pipeline if match["pipeline"] else self.parameters
        return arguments.get(match["name"], Unknown(f"there is no parameter {match['name']} here"))


def declared(node: Node | None, given: Arguments | None, scope: Scope) -> Arguments:
    """What declared parameters come to: what is given, else their defaults.

    Args:
        given: by whoever uses what declares them; None where that is not known, so that anything may be given.
    """
    arguments: dict[str, Text | ExecutorUse] = {}
    for key, declaration in node.entries if isinstance(node, MappingNode) else ():
        default = declaration.get("default") if isinstance(declaration, MappingNode) else None
        if given is not None and key.text in given:
            arguments[key.text] = given[key.text]
        elif default is not None:
            argument = scope.argument(default)
            how = f"default of parameter {key.text} ({default.place.file}:{default.place.line})"
            arguments[key.text] = told(argument, how, overridable=given is None)
        else:
            arguments[key.text] = Unknown(f"parameter {key.text} has no default, and is not given here")
    return arguments


def told(argument: Text | ExecutorUse, how: str, *, overridable: bool = False) -> Text | ExecutorUse:
    """The argument with a step of how it was reached."""
    return argument if isinstance(argument, ExecutorUse) else joined(argument, Known("", (how,), overridable))


def arguments_of(node: Node | None, scope: Scope, whose: str) -> Arguments:
    """What a mapping gives for parameters.

    Args:
        whose: what it is given to: `job test`.
    """
    return {
        key.text: told(
            scope.argument(value), f"parameter {key.text} of {whose} ({value.place.file}:{value.place.line})"
        )
        for key, value in (node.entries if isinstance(node, MappingNode) else ())
    }


def matrix_of(node: Node | None, scope: Scope, whose: str) -> list[Arguments] | None:
    """What the jobs of a matrix are given; None where it makes more jobs than are allowed."""
    if not isinstance(node, MappingNode):
        return [{}]
    columns = [
        [(key.text, argument) for argument in _cells(key, values, scope, whose)]
        for key, values in node.pairs("parameters")
    ]
    rows: list[Arguments] = [dict(row) for row in itertools.islice(itertools.product(*columns), MAX_JOBS + 1)]
    if len(rows) > MAX_JOBS:
        return None
    excluded = [_comparable(arguments_of(row, scope, whose)) for row in node.items("exclude")]
    return [row for row in rows if _comparable(row) not in excluded]


def _cells(key: ScalarNode, values: Node, scope: Scope, whose: str) -> Iterator[Text | ExecutorUse]:
    items: Sequence[Node] = values.items if isinstance(values, SequenceNode) else (values,)
    for value in items:
        how = f"matrix value {key.text} of {whose} ({value.place.file}:{value.place.line})"
        yield told(scope.argument(value), how)


def _comparable(arguments: Arguments) -> dict[str, str]:
    return {name: argument.value for name, argument in arguments.items() if isinstance(argument, Known)}
