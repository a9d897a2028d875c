"""The jobs of a matrix (GitHub's documentation: "Run variations of jobs in a workflow")."""

import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from pullgate_finders.github_actions.expressions import Value, Values
from pullgate_finders.github_actions.scope import Scope, evaluated
from pullgate_finders.values import Known, Unknown
from pullgate_finders.yaml_nodes import MappingNode, Node, ScalarNode, SequenceNode, walk

MAX_JOBS = 256
"""How many jobs GitHub makes of a matrix."""

_USE = re.compile(r"\bmatrix\s*(?:\.\s*([\w-]+)|\[\s*'([^']*)'\s*\])?", re.IGNORECASE)


_VARYING = re.compile(r"\b(?:matrix|env)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Combination:
    """The values of one job of a matrix.

    Attributes:
        values: by name in lower case.
        otherwise: what other names stand for.
    """

    values: Mapping[str, Values]
    otherwise: Value = Value("")


def combinations(job: MappingNode, scope: Scope) -> tuple[Combination, ...]:
    """The jobs that are made of a job, as far as they differ in what its expressions use."""
    matrix = job.get("strategy", "matrix")
    if matrix is None:
        return (Combination({}),)
    if not isinstance(matrix, MappingNode):
        return (Combination({}, Value(Unknown("the matrix is computed when the workflow runs"))),)
    used = _used(job)
    distinct = {
        (combination.otherwise, *(combination.values.get(name) for name in sorted(used))): combination
        for combination in _expanded(matrix, scope)
    }
    return tuple(distinct.values())


def varies(node: Node) -> bool:
    """Whether expressions in it use the matrix, or variables, which may be set from it."""
    return any(
        isinstance(inner, ScalarNode) and "${{" in inner.text and _VARYING.search(inner.text) for inner in walk(node)
    )


def _used(job: MappingNode) -> set[str]:
    """The names of the matrix that the job's expressions use."""
    texts = (node.text for node in walk(job) if isinstance(node, ScalarNode) and "${{" in node.text)
    return {(match[1] or match[2] or "").lower() for text in texts for match in _USE.finditer(text)}


def _expanded(matrix: MappingNode, scope: Scope) -> list[Combination]:
    vectors = {
        key.text.lower(): _vector(key, node, scope)
        for key, node in matrix.entries
        if key.text not in {"include", "exclude"}
    }
    includes = _rows(matrix.get("include"), scope)
    if math.prod(len(values) for values in vectors.values()) + len(includes or ()) > MAX_JOBS:
        problem = f"the matrix makes more than {MAX_JOBS} jobs, which GitHub refuses"
        return [Combination({}, Value(Unknown(problem)))]
    rows = [dict(zip(vectors, row, strict=True)) for row in itertools.product(*vectors.values())] if vectors else []
    excludes = _rows(matrix.get("exclude"), scope)
    if excludes is None:
        rows = [{name: _may_be_left_out(values) for name, values in row.items()} for row in rows]
    rows = [row for row in rows if not any(_agrees(row, exclude, exclude) for exclude in excludes or ())]
    jobs = [Combination(row) for row in _extended(rows, includes or ())]
    if includes is None:
        reason = "matrix.include is computed when the workflow runs"
        jobs.append(Combination({}, Value(Unknown(reason))))
    return jobs


def _vector(key: ScalarNode, node: Node, scope: Scope) -> list[Values]:
    if isinstance(node, SequenceNode):
        return [_told(key.text, item, scope) for item in node.items]
    return [(Value(Unknown(f"matrix.{key.text} is computed when the workflow runs")),)]


def _told(name: str, node: Node, scope: Scope) -> Values:
    step = f"matrix value {name} ({node.place.file}:{node.place.line})"
    return tuple(replace(value, how=(*value.how, step)) for value in evaluated(node, scope))


def _rows(node: Node | None, scope: Scope) -> list[dict[str, Values]] | None:
    """The entries of `include` or `exclude`; None where they are computed."""
    if node is None:
        return []
    if not isinstance(node, SequenceNode):
        return None
    return [
        {key.text.lower(): _told(key.text, value, scope) for key, value in item.entries}
        for item in node.items
        if isinstance(item, MappingNode)
    ]


def _may_be_left_out(values: Values) -> Values:
    return tuple(replace(value, overridable=True) for value in values)


def _agrees(row: Mapping[str, Values], other: Mapping[str, Values], names: Iterable[str]) -> bool:
    return all(name in row and _comparable(row[name]) == _comparable(other[name]) for name in names)


def _comparable(values: Values) -> list[object]:
    texts = [value.text for value in values]
    return [text.value if isinstance(text, Known) else value.content for text, value in zip(texts, values, strict=True)]


def _extended(
    rows: Sequence[Mapping[str, Values]], includes: Iterable[Mapping[str, Values]]
) -> list[Mapping[str, Values]]:
    """`include` adds to the jobs whose own values it does not change; an entry that suits none is a job of its own."""
    extended = [dict(row) for row in rows]
    added: list[Mapping[str, Values]] = []
    for include in includes:
        suits = [_agrees(row, include, set(row) & set(include)) for row in rows]
        for row, suited in zip(extended, suits, strict=True):
            if suited:
                row.update(include)
        if not any(suits):
            added.append(include)
    return [*extended, *added]
