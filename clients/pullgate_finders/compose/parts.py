"""The parts of Compose files that may name images, with variables filled in, in one shape however they are written.

What has a short and a long form is brought to the long one before files are merged, as Compose does (compose-go
transform/ and override/merge.go). Everything else in a file is left out.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from pullgate_finders.compose.interpolation import Piece, Variables, interpolate, text_of
from pullgate_finders.compose.numbers import as_compose_writes
from pullgate_finders.found import Finding, Place, Trouble
from pullgate_finders.values import Known, Text
from pullgate_finders.yaml_nodes import MappingNode, Node, ScalarNode, SequenceNode

RESET = "!reset"
OVERRIDE = "!override"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """How a file is read.

    Attributes:
        variables: what its values are filled in with.
        directory: where its relative paths lead from.
        how: how the file was reached; empty for the one that is asked for.
        is_replacing: whether this is within what replaces something as a whole, where tags mean nothing.
        findings: collects what is found, and what is wrong, while files are read.
    """

    variables: Variables
    directory: str
    how: tuple[str, ...] = ()
    is_replacing: bool = False
    findings: list[Finding] = field(default_factory=list)

    def is_reset(self, node: Node) -> bool:
        """Whether a node takes away what earlier files say."""
        return node.tag == RESET and not self.is_replacing

    def within(self, node: Node) -> "Scope":
        """How what is below a node is read."""
        return replace(self, is_replacing=True) if node.tag == OVERRIDE else self

    def is_mapping(self, node: Node, what: str) -> bool:
        """Whether a node is a mapping; tells of it if it is neither that nor nothing."""
        if isinstance(node, MappingNode):
            return True
        if not (isinstance(node, ScalarNode) and node.is_null) and not self.is_reset(node):
            self.tell(node.place, f"{what} has to be a mapping")
        return False

    def tell(self, place: Place, problem: str) -> None:
        """Notes what is wrong."""
        self.findings.append(Trouble(place=place, problem=problem))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Part:
    """A value.

    Attributes:
        replaces: whether it replaces what earlier files say, instead of being merged with that (`!override`).
    """

    replaces: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Removed(Part):
    """What earlier files say is taken away (`!reset`)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Leaf(Part):
    """A text.

    Attributes:
        start: where in the node's text it begins, as after `name=` in a list.
        is_empty: nothing is written: for a build argument, that its value comes from the environment.
    """

    node: ScalarNode
    scope: Scope
    pieces: tuple[Piece, ...]
    start: int = 0
    is_empty: bool = False

    @property
    def text(self) -> Text:
        """What it comes to."""
        return text_of(self.pieces)

    @property
    def raw(self) -> str:
        """It as it is written."""
        return self.node.text[self.start :]

    @property
    def place(self) -> Place:
        """Where it is written."""
        return self.place_of(0, len(self.raw))

    def place_of(self, start: int, end: int) -> Place:
        """Where the characters of `raw` from `start` up to `end` (exclusive) are written."""
        return self.node.place_within(self.start + start, self.start + end)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Branch(Part):
    """Parts by name.

    Attributes:
        at: where its own name is written.
        directory: where relative paths lead from where it is written.
    """

    at: Place
    entries: Mapping[str, Part]
    directory: str = ""

    def leaf(self, name: str) -> Leaf | None:
        """The text of a name, if it has one that is not empty."""
        part = self.entries.get(name)
        return part if isinstance(part, Leaf) and not part.is_empty else None

    def branch(self, name: str) -> "Branch | None":
        """The parts below a name."""
        part = self.entries.get(name)
        return part if isinstance(part, Branch) else None

    def items(self, name: str) -> tuple[Part, ...]:
        """The list of a name."""
        part = self.entries.get(name)
        return part.parts if isinstance(part, Items) else ()

    def branches(self) -> Iterator[tuple[str, "Branch"]]:
        """The names that have parts below them."""
        for name, part in self.entries.items():
            if isinstance(part, Branch):
                yield name, part


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Items(Part):
    """Parts in order."""

    parts: tuple[Part, ...]


def merged(base: Part | None, over: Part | None) -> Part | None:
    """What an earlier file says with what a later one says; with `base` None, what the first one says.

    Texts are replaced, lists are joined, mappings are merged; nothing replaces nothing (compose-go override/merge.go).
    """
    match over:
        case None:
            return base
        case Removed():
            return None
        case Branch():
            below = base.entries if isinstance(base, Branch) and not over.replaces else {}
            entries = dict(below)
            for name, part in over.entries.items():
                outcome = merged(below.get(name), part)
                entries.pop(name, None) if outcome is None else entries.update({name: outcome})
            first = base if isinstance(base, Branch) and not over.replaces else over
            return replace(over, entries=entries, at=first.at, directory=first.directory)
        case Items(parts=parts) if isinstance(base, Items) and not over.replaces:
            return replace(over, parts=(*base.parts, *parts))
    return over


def is_same(one: Part | None, other: Part | None) -> bool:
    """Whether two parts say the same, wherever that is written."""
    if one is other:
        return True
    match one, other:
        case Leaf(), Leaf():
            return one.text == other.text or one.node is other.node
        case Items(), Items():
            return len(one.parts) == len(other.parts) and all(map(is_same, one.parts, other.parts))
        case Branch(), Branch():
            names = {*one.entries, *other.entries}
            return all(is_same(one.entries.get(name), other.entries.get(name)) for name in names)
    return False


Reader = Callable[[Node, Place, Scope], Part | None]


def read_service(node: Node, at: Place, scope: Scope) -> Part | None:
    """What a service says, without what it extends; None where it says nothing."""
    return _SERVICE(node, at, scope)


def read_models(node: Node, at: Place, scope: Scope) -> Part | None:
    """The top-level `models`."""
    return _each("models", _fields("a model", {"model": _leaf}))(node, at, scope)


def read_leaf(node: ScalarNode, scope: Scope) -> Leaf:
    """A text with its variables filled in."""
    where = f"{node.place.file}:{node.place.line}"
    return Leaf(
        node=node,
        scope=scope,
        pieces=interpolate(node.text, scope.variables, where),
        is_empty=node.is_null,
        replaces=node.tag == OVERRIDE,
    )


def _leaf(node: Node, at: Place, scope: Scope) -> Part | None:
    if scope.is_reset(node):
        return Removed()
    if not isinstance(node, ScalarNode):
        scope.tell(at, "the value of this key has to be a text")
        return None
    return None if node.is_null else read_leaf(node, scope)


def _fields(what: str, readers: Mapping[str, Reader], short: str = "") -> Reader:
    """A mapping of which these fields count.

    Args:
        short: the field that a plain text stands for; empty where there is no short form.
    """

    def read(node: Node, at: Place, scope: Scope) -> Part | None:
        if scope.is_reset(node):
            return Removed()
        if short and isinstance(node, ScalarNode) and not node.is_null:
            return Branch(at=at, entries={short: read_leaf(node, scope)}, replaces=node.tag == OVERRIDE)
        if not isinstance(node, MappingNode):
            scope.is_mapping(node, what)
            return None
        last = {name.text: (name, value) for name, value in node.entries if name.text in readers}
        parts = {name.text: readers[name.text](value, name.place, scope.within(node)) for name, value in last.values()}
        entries = {name: part for name, part in parts.items() if part is not None}
        return Branch(at=at, entries=entries, replaces=node.tag == OVERRIDE, directory=scope.directory)

    return read


def _each(what: str, reader: Reader) -> Reader:
    """A mapping of which every value is read alike."""

    def read(node: Node, at: Place, scope: Scope) -> Part | None:
        if scope.is_reset(node):
            return Removed()
        if not isinstance(node, MappingNode):
            scope.is_mapping(node, what)
            return None
        parts = {name.text: reader(value, name.place, scope.within(node)) for name, value in node.entries}
        entries = {name: part for name, part in parts.items() if part is not None}
        return Branch(at=at, entries=entries, replaces=node.tag == OVERRIDE)

    return read


def _list(reader: Reader) -> Reader:
    """A list of which every item is read alike."""

    def read(node: Node, at: Place, scope: Scope) -> Part | None:
        if scope.is_reset(node):
            return Removed()
        if not isinstance(node, SequenceNode):
            if not (isinstance(node, ScalarNode) and node.is_null):
                scope.tell(at, "the value of this key has to be a list")
            return None
        parts = (reader(item, item.place, scope.within(node)) for item in node.items)
        return Items(
            parts=tuple(part for part in parts if part and not isinstance(part, Removed)), replaces=node.tag == OVERRIDE
        )

    return read


def _pairs(node: Node, at: Place, scope: Scope) -> Part | None:
    """Names and values, as a mapping or as a list of `name=value`."""
    if isinstance(node, SequenceNode) and not scope.is_reset(node):
        pairs = (_pair(item, scope) for item in node.items if isinstance(item, ScalarNode))
        return Branch(at=at, entries=dict(pairs), replaces=node.tag == OVERRIDE)
    return _each("the value of this key", _number_or_text)(node, at, scope)


def _pair(node: ScalarNode, scope: Scope) -> tuple[str, Part]:
    leaf = read_leaf(node, scope)
    name, equals, _ = node.text.partition("=")
    where = f"{node.place.file}:{node.place.line}"
    if "$" not in name:
        start = len(name) + len(equals)
        pieces = interpolate(node.text[start:], scope.variables, where)
        return name, replace(leaf, start=start, pieces=pieces, is_empty=not equals)
    match leaf.text:
        case Known(text) as known:
            name, equals, value = text.partition("=")
            piece = Piece(0, len(node.text), replace(known, value=value))
            return name, replace(leaf, pieces=(piece,), is_empty=not equals)
    return name, leaf


def _number_or_text(node: Node, at: Place, scope: Scope) -> Part | None:
    """A value that Compose takes as YAML's number or boolean where it is one: `3.10` is 3.1."""
    if isinstance(node, ScalarNode) and node.is_null and not scope.is_reset(node):
        return read_leaf(node, scope)
    part = _leaf(node, at, scope)
    if isinstance(part, Leaf) and not part.node.style:
        written = as_compose_writes(part.raw)
        if written != part.raw:
            how = (f"{part.raw} is the number {written} in YAML ({at.file}:{at.line})",)
            return replace(part, pieces=(Piece(0, len(part.raw), Known(written, how)),))
    return part


def _volume(node: Node, at: Place, scope: Scope) -> Part | None:
    if isinstance(node, ScalarNode):
        return _leaf(node, at, scope)
    return _fields("a volume", {"type": _leaf, "source": _leaf, "target": _leaf})(node, at, scope)


_BUILD = _fields(
    "build",
    {
        "context": _leaf,
        "dockerfile": _leaf,
        "dockerfile_inline": _leaf,
        "target": _leaf,
        "args": _pairs,
        "additional_contexts": _pairs,
        "cache_from": _list(_leaf),
        "sbom": _leaf,
    },
    short="context",
)
_SERVICE = _fields(
    "a service",
    {
        "image": _leaf,
        "pull_policy": _leaf,
        "profiles": _list(_leaf),
        "build": _BUILD,
        "volumes": _list(_volume),
        "pre_start": _list(_fields("a hook", {"image": _leaf})),
        "provider": _fields("provider", {"type": _leaf, "options": _fields("options", {"model": _leaf})}),
    },
)
