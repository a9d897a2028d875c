"""What expressions of GitHub Actions may refer to, and what values of the file come to with it."""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from pullgate_finders.github_actions.expressions import (
    Value,
    Values,
    concatenated,
    distinct,
    expression,
    plain,
)
from pullgate_finders.values import Unknown
from pullgate_finders.yaml_nodes import MappingNode, Node, ScalarNode


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What expressions may refer to at one place.

    Attributes:
        env: variables by name; None where GitHub does not offer them.
        inputs: by name in lower case.
        matrix: the values of one job of a matrix, by name in lower case.
        matrix_otherwise: what a name is that is not in `matrix`.
    """

    env: Mapping[str, Values] | None = field(default_factory=dict)
    inputs: Mapping[str, Values] = field(default_factory=dict)
    matrix: Mapping[str, Values] = field(default_factory=dict)
    matrix_otherwise: Value = Value("")

    def lookup(self, path: tuple[str, ...]) -> Values:
        """What a path such as `matrix.python` comes to."""
        match path:
            case ("env", name):
                if self.env is None:
                    return (Value(Unknown("GitHub does not offer env here; use inputs, vars or a matrix")),)
                return self.env.get(name) or (Value(Unknown(f"env.{name} is not set in this file")),)
            case ("inputs", name) | ("github", "event", "inputs", name):
                return self.inputs.get(name) or (Value(Unknown(f"there is no input {name} in this file")),)
            case ("matrix", name, *keys):
                return tuple(self._within(value, keys) for value in self.matrix.get(name, (self.matrix_otherwise,)))
            case ("github", "workspace"):
                return (Value("."),)  # what is built is named from there
        return (Value(Unknown(f"{'.'.join(path)} is known only when the workflow runs")),)

    def _within(self, value: Value, keys: Iterable[str]) -> Value:
        for key in keys:
            if isinstance(value.content, Unknown):
                return value
            node = value.content
            entries = node.entries if isinstance(node, MappingNode) else ()
            child = next((item for name, item in reversed(entries) if name.text.lower() == key), None)
            value = replace(value, content=None) if child is None else replace(evaluated(child, self)[0], how=value.how)
        return value


def evaluated(node: Node, scope: Scope) -> Values:
    """What a value of the file comes to, with its expressions replaced."""
    if not isinstance(node, ScalarNode):
        return (Value(node),)
    if node.is_null:
        return (Value(None),)
    if not node.style and "${{" not in node.text:
        return (Value(plain(node.text)),)
    return evaluated_text(node.text, scope)


def evaluated_text(text: str, scope: Scope) -> Values:
    """What a text comes to, with its expressions replaced. One that is nothing but an expression keeps its type."""
    parts = list(_parts(text))
    if len(parts) == 1 and parts[0][1]:
        return expression(parts[0][0], scope.lookup)
    options = [expression(part, scope.lookup) if computed else (Value(part),) for part, computed in parts]
    return distinct(concatenated(choice) for choice in itertools.product(*options))


def _parts(text: str) -> Iterator[tuple[str, bool]]:
    """The text in pieces, each with whether it is the inside of an expression."""
    position = 0
    while (start := text.find("${{", position)) >= 0:
        if start > position:
            yield text[position:start], False
        end = _end_of_expression(text, start + 3)
        yield text[start + 3 : end], True
        position = end + 2
    if position < len(text) or not text:
        yield text[position:], False


def _end_of_expression(text: str, position: int) -> int:
    """Where the `}}` stands that ends an expression; those in quotes do not."""
    quoted = False
    for index in range(position, len(text)):
        if text[index] == "'":
            quoted = not quoted
        elif not quoted and text.startswith("}}", index):
            return index
    return len(text)
