"""The targets of Bake files: merged over files, with what they inherit, one for each combination of a matrix.

Source: "Bake file reference" and "Inheritance in Bake" of the documentation of Docker Build, and Target.Merge of Buildx
(bake/bake.go) for which attributes are added to and which are replaced.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pullgate_finders.bake.evaluation import Definition, Many, Named, Scalar, Scope, Value
from pullgate_finders.bake.syntax import BakeFile, Block
from pullgate_finders.found import Place, Trouble
from pullgate_finders.values import Known, Unknown

MAX_COMBINATIONS = 1_000
"""Targets that one matrix is read as."""

MAX_CHAIN = 50
"""Targets that may inherit from each other in a row."""

_SINGLE = ("context", "dockerfile", "dockerfile-inline", "target")
_KEYED = ("args", "contexts")
_LISTED = ("cache-from", "attest", "inherits")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribute:
    """A value of a target, and what its names stand for."""

    value: Value
    scope: Scope


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What one `docker build` is told.

    Attributes:
        place: where the name is said, the last time.
        single: of `_SINGLE`, by name.
        keyed: of `_KEYED`, by name and key.
        listed: of `_LISTED`, by name; of a list that is not known, the value itself.
    """

    name: str
    place: Place
    single: Mapping[str, Attribute] = field(default_factory=dict)
    keyed: Mapping[str, Mapping[str, Attribute]] = field(default_factory=dict)
    listed: Mapping[str, Sequence[Attribute]] = field(default_factory=dict)

    def over(self, lower: "Target") -> "Target":
        """This target's values where it has them, else those of the other; lists are added."""
        return Target(
            name=self.name,
            place=self.place,
            single={**lower.single, **self.single},
            keyed={name: {**lower.keyed.get(name, {}), **self.keyed.get(name, {})} for name in _KEYED},
            listed={name: (*lower.listed.get(name, ()), *self.listed.get(name, ())) for name in _LISTED},
        )

    def parents(self) -> Iterator[Scalar]:
        """The names of the targets that it inherits from."""
        for attribute in self.listed.get("inherits", ()):
            if isinstance(attribute.value, Scalar):
                yield attribute.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """The targets of some files together.

    Attributes:
        resolved: with what they inherit.
        names: of all there are, services included.
        only_inherited: names of those that others inherit from and no group, default or context names.
        troubles: what of them could not be read.
    """

    resolved: tuple[Target, ...]
    names: frozenset[str]
    only_inherited: frozenset[str]
    troubles: tuple[Trouble, ...]


def targets_of(files: Sequence[BakeFile], given: Mapping[str, str], services: Mapping[str, Target]) -> Targets:
    """The targets of files, of which a later one is merged over those before it.

    Args:
        given: variables that were given.
        services: targets that others may be merged over or inherit from, which are themselves found elsewhere.
    """
    scope = Scope(definitions=_definitions(files), given=given)
    troubles: list[Trouble] = []
    merged: dict[str, Target] = dict(services)
    own: dict[str, None] = {}
    blocks = [block for file in files for block in file.blocks]
    for block in blocks:
        if block.type == "target":
            for target in _combinations(block, scope, troubles):
                own[target.name] = None
                merged[target.name] = target.over(merged[target.name]) if target.name in merged else target
    resolver = _Resolver(merged, troubles)
    resolved = tuple(resolver.resolve(name) for name in own)
    named = {"default", *_in_groups(blocks, scope), *_in_contexts(resolved)}
    inherited = {name for target in merged.values() for name in _names(target.parents())}
    return Targets(
        resolved=resolved,
        only_inherited=frozenset(inherited - named),
        names=frozenset(merged),
        troubles=tuple(dict.fromkeys(troubles)),
    )


def _definitions(files: Iterable[BakeFile]) -> Mapping[str, Definition]:
    """Variables and global attributes; the last definition of a name counts."""
    definitions: dict[str, Definition] = {}
    for file in files:
        for name, value in file.globals.items():
            definitions[name] = Definition(default=value, place=value.place, is_overridable=False)
        for block in file.blocks:
            if block.type == "variable":
                default = block.attributes.get("default")
                definitions[block.label] = Definition(default=default, place=block.place, is_overridable=True)
    return definitions


def _combinations(block: Block, scope: Scope, troubles: list[Trouble]) -> Iterator[Target]:
    """The target of a block, or one for each combination of the values in its matrix."""
    matrix = block.attributes.get("matrix")
    if matrix is None:
        yield _target(block.label, block, scope)
        return
    value = scope.value(matrix)
    axes = value.entries if isinstance(value, Named) else {}
    lists = [axis.items for axis in axes.values() if isinstance(axis, Many)]
    if not axes or len(lists) < len(axes):
        problem = f"the matrix of target {block.label} is not known here, so neither are its targets"
        troubles.append(Trouble(place=matrix.place, problem=problem))
        return
    for number, combination in enumerate(itertools.product(*lists)):
        if number >= MAX_COMBINATIONS:
            problem = f"the matrix has more than {MAX_COMBINATIONS:,} combinations; the others are not looked at"
            troubles.append(Trouble(place=matrix.place, problem=problem))
            return
        local = scope.with_local(dict(zip(axes, combination, strict=True)))
        yield _target(_name(block, local) or f"{block.label} {number + 1}", block, local)


def _name(block: Block, scope: Scope) -> str:
    name = block.attributes.get("name")
    value = scope.value(name) if name is not None else None
    return value.text.value if isinstance(value, Scalar) and isinstance(value.text, Known) else ""


def _target(name: str, block: Block, scope: Scope) -> Target:
    values = {
        key: Attribute(value=scope.value(expression), scope=scope)
        for key, expression in block.attributes.items()
        if key in {*_SINGLE, *_KEYED, *_LISTED}
    }
    return Target(
        name=name,
        place=block.place,
        single={key: values[key] for key in _SINGLE if key in values and not _is_null(values[key].value)},
        keyed={key: dict(_entries(values[key])) for key in _KEYED if key in values},
        listed={key: tuple(_items(values[key])) for key in _LISTED if key in values},
    )


def _entries(attribute: Attribute) -> Iterator[tuple[str, Attribute]]:
    """Null leaves what is inherited as it is. Of a map that is not known no key is, so its value stands for all."""
    match attribute.value:
        case Named(entries=entries):
            for key, value in entries.items():
                if not _is_null(value):
                    yield key, Attribute(value=value, scope=attribute.scope)
        case Scalar(text=Unknown()):
            yield "", attribute


def _items(attribute: Attribute) -> Iterator[Attribute]:
    match attribute.value:
        case Many(items=items):
            for item in items:
                if not _is_null(item):
                    yield Attribute(value=item, scope=attribute.scope)
        case Scalar(text=Unknown()):
            yield attribute


def _is_null(value: Value) -> bool:
    return isinstance(value, Scalar) and value.text is None


def _names(values: Iterable[Value]) -> Iterator[str]:
    for value in values:
        if isinstance(value, Scalar) and isinstance(value.text, Known):
            yield value.text.value


def _in_groups(blocks: Iterable[Block], scope: Scope) -> Iterator[str]:
    for block in blocks:
        if block.type == "group" and "targets" in block.attributes:
            value = scope.value(block.attributes["targets"])
            yield from _names(value.items if isinstance(value, Many) else ())


def _in_contexts(targets: Iterable[Target]) -> Iterator[str]:
    for target in targets:
        for name in _names(attribute.value for attribute in target.keyed.get("contexts", {}).values()):
            if name.startswith("target:"):
                yield name.removeprefix("target:")


class _Resolver:
    """Puts targets over those that they inherit from; of several the later one wins."""

    def __init__(self, merged: Mapping[str, Target], troubles: list[Trouble]) -> None:
        self._merged = merged
        self._troubles = troubles
        self._resolved: dict[str, Target] = {}
        self._open: list[str] = []

    def resolve(self, name: str) -> Target:
        if name not in self._resolved:
            own = self._merged[name]
            self._open.append(name)
            lower = Target(name=name, place=own.place)
            for parent in own.parents():
                lower = self._parent(parent, own).over(lower)
            self._open.pop()
            self._resolved[name] = own.over(lower)
        return self._resolved[name]

    def _parent(self, parent: Scalar, own: Target) -> Target:
        nothing = Target(name=own.name, place=own.place)
        problem = ""
        match parent.text:
            case Unknown(reason):
                problem = f"what target {own.name} inherits from is not known: {reason}"
            case Known(name) if name in self._open:
                problem = f"target {own.name} inherits from {name}, which inherits from it"
            case Known(name) if len(self._open) >= MAX_CHAIN:
                problem = f"more than {MAX_CHAIN} targets inherit from each other"
            case Known(name) if name in self._merged:
                return self.resolve(name)
            case Known(name):
                problem = f"target {own.name} inherits from {name}, which is not defined here"
        self._troubles.append(Trouble(place=parent.at.place, problem=problem))
        return nothing
