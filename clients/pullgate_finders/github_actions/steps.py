"""Steps of a job or of a composite action."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pullgate_finders.found import Finding, Kind, Place, found
from pullgate_finders.github_actions.expressions import Value, Values
from pullgate_finders.github_actions.scope import Scope, evaluated, evaluated_text
from pullgate_finders.port import Search
from pullgate_finders.tree import join
from pullgate_finders.values import Known, Text, Unknown
from pullgate_finders.yaml_nodes import MappingNode, Node, ScalarNode, SequenceNode

DOCKER = "docker://"
_CHECKOUT = "actions/checkout"

_OWN_REPOSITORY = re.compile(r"\$\{\{\s*github\.repository\s*\}\}")
_WRITES_VARIABLES = re.compile(r"\bGITHUB_ENV\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A workflow or an action that is being read.

    Attributes:
        root: the directory of the repository within the tree.
        how: how its text was reached; empty where it is read on its own.
        files: those that led here, the first one first; the last one is the one that is read.
    """

    search: Search
    root: str
    files: tuple[str, ...]
    how: tuple[str, ...] = ()

    @property
    def alone(self) -> bool:
        """Whether the file is read on its own, though another may say how it is used."""
        return not self.how

    def tell(self, node: ScalarNode, kind: Kind, values: Values, *, within: str) -> Iterator[Finding]:
        """The references that a scalar comes to; none for a value that is empty, which means that there is none."""
        yield from self.tell_at(node.place, node.text, kind, values, within=within)

    def tell_at(self, place: Place, raw: str, kind: Kind, values: Values, *, within: str) -> Iterator[Finding]:
        """As `tell`, for a part of a scalar."""
        for value in values:
            if not value.is_empty:
                yield self.tell_text(place, raw, kind, value.text, within=within)

    def tell_text(self, place: Place, raw: str, kind: Kind, text: Text, *, within: str) -> Finding:
        """A reference that was worked out."""
        return found(place, kind, raw, text, how=self.how, within=within, alone=self.alone)


@dataclass(frozen=True, slots=True)
class Checkout:
    """A repository that a step put in the workspace.

    Attributes:
        path: where, relative to the workspace; empty for the workspace itself.
        other: which, if it is not the one that is read.
    """

    path: str
    other: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of an input that is a list.

    Attributes:
        written: as it stands in the file.
        values: what it comes to.
        node: the input.
        start: where the line begins in it.
    """

    written: str
    values: Values
    node: ScalarNode
    start: int

    @property
    def place(self) -> Place:
        """Where it stands."""
        return self.place_within(0, len(self.written))

    def place_within(self, start: int, end: int) -> Place:
        """Where the characters from `start` up to `end` of the line stand."""
        return self.node.place_within(self.start + start, self.start + end)

    def rest_of(self, value: Value) -> Text:
        """What follows the first `=` in one of the values."""
        text = value.text
        if isinstance(text, Unknown):
            return replace(text, beginning=text.beginning.partition("=")[2])
        return replace(text, value=text.value.partition("=")[2])


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A step, with what its expressions may refer to.

    Attributes:
        uses: the action it runs.
        inputs: what it gives the action (`with`).
        within: what it is part of, as `job test, step 2`.
        checkouts: what was put in the workspace before.
    """

    uses: ScalarNode
    inputs: MappingNode | None
    scope: Scope
    within: str
    checkouts: Sequence[Checkout] = field(default_factory=tuple)

    @property
    def where(self) -> str:
        """It and its place, as a step of `how`."""
        return f"{self.within} ({self.uses.place.file}:{self.uses.place.line})"

    def input(self, name: str) -> ScalarNode | None:
        """An input as it is written."""
        # The names of inputs are not case-sensitive.
        entries = self.inputs.entries if self.inputs is not None else ()
        node = next((value for key, value in reversed(entries) if key.text.lower() == name), None)
        return node if isinstance(node, ScalarNode) and not node.is_null else None

    def values(self, name: str, default: str = "") -> Values:
        """What an input comes to."""
        node = self.input(name)
        values = (Value(""),) if node is None else evaluated(node, self.scope)
        return tuple(Value(default) if value.is_empty else value for value in values)

    def lines(self, name: str) -> Iterator[Line]:
        """The lines of an input that is a list, without quotes around them."""
        node = self.input(name)
        if node is None:
            return
        start = 0
        for written in node.text.split("\n"):
            begin, end = start + len(written) - len(written.lstrip()), start + len(written.rstrip())
            start += len(written) + 1
            if end - begin > 1 and node.text[begin] == node.text[end - 1] == '"':
                begin, end = begin + 1, end - 1
            if begin < end:
                text = node.text[begin:end]
                yield Line(text, evaluated_text(text, self.scope), node, begin)

    def locate(self, path: str, root: str) -> Text:
        """A path in the workspace as one in the tree; unknown where it leads into another repository."""
        inner = join("", path)
        checkouts = sorted(self.checkouts, key=lambda checkout: len(checkout.path), reverse=True)
        for checkout in checkouts:
            if not checkout.path or f"{inner}/".startswith(f"{checkout.path}/"):
                if checkout.other:
                    return Unknown(f"{path} lies in another repository, {checkout.other}")
                inner = inner.removeprefix(checkout.path).removeprefix("/")
                break
        return Known(join(root, inner or "."))


def steps_of(
    nodes: Sequence[Node], scope: Scope, within: str, is_wanted: Callable[[Node], bool] = lambda _: True
) -> Iterator[Step]:
    """The steps that run an action, with what was checked out and set before them; only those that are wanted."""
    checkouts: list[Checkout] = []
    may_change = False
    prefix = f"{within}, " if within else ""
    for number, node in enumerate(_flat(nodes), 1):
        if not may_change and _WRITES_VARIABLES.search(_text(node.scalar("run"))):
            may_change = True
            scope = with_variables(scope, {name: _may_change(values) for name, values in (scope.env or {}).items()})
        uses = node.scalar("uses")
        is_checkout = uses is not None and action_of(uses) == _CHECKOUT
        if uses is None or not (is_checkout or is_wanted(node)):
            continue
        inputs, env = node.get("with"), node.get("env")
        step = Step(
            uses=uses,
            inputs=inputs if isinstance(inputs, MappingNode) else None,
            scope=scope if env is None else with_variables(scope, variables(env, scope)),
            within=f"{prefix}step {number}",
            checkouts=tuple(checkouts),
        )
        if is_checkout:
            checkouts.append(_checkout(step))
        else:
            yield step


def action_of(uses: ScalarNode) -> str:
    """Which action a step runs, without its version, in lower case: `docker/build-push-action`."""
    return uses.text.partition("@")[0].lower()


def variables(node: Node | None, scope: Scope) -> Mapping[str, Values]:
    """The variables that an `env` sets."""
    entries = node.entries if isinstance(node, MappingNode) else ()
    return {
        key.text: tuple(
            Value(
                value.content, (*value.how, f"env {key.text} ({item.place.file}:{item.place.line})"), value.overridable
            )
            for value in evaluated(item, scope)
        )
        for key, item in entries
    }


def with_variables(scope: Scope, added: Mapping[str, Values]) -> Scope:
    """The scope with more variables, or with others for some."""
    return Scope(
        env={**(scope.env or {}), **added},
        inputs=scope.inputs,
        matrix=scope.matrix,
        matrix_otherwise=scope.matrix_otherwise,
    )


def _flat(nodes: Sequence[Node]) -> Iterator[MappingNode]:
    """Steps in order; those of a `parallel` group in their place."""
    for node in nodes:
        if isinstance(node, MappingNode):
            group = node.get("parallel")
            if isinstance(group, SequenceNode):
                yield from (item for item in group.items if isinstance(item, MappingNode))
            else:
                yield node


def _text(node: ScalarNode | None) -> str:
    return "" if node is None else node.text


def _may_change(values: Values) -> Values:
    """Values that a step may have changed by writing to GITHUB_ENV."""
    return tuple(Value(value.content, value.how, overridable=True) for value in values)


def _checkout(step: Step) -> Checkout:
    path, repository = step.values("path")[0].text, _text(step.input("repository"))
    inside = join("", path.value) if isinstance(path, Known) and path.value else ""
    return Checkout("" if inside == "." else inside, "" if _OWN_REPOSITORY.fullmatch(repository) else repository)
