"""What a Bake file says, whether it is written in HCL or in JSON.

Source: "HCL Native Syntax Specification" and "HCL JSON Syntax Specification" of HCL 2. Only what is the same in every
run is kept: of what would have to be computed there is but the reason why it is not known.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from pullgate_finders.found import Place
from pullgate_finders.source_text import SourceText

TYPES = ("variable", "function", "group", "target")
"""Types of the blocks there are, all with one label."""


class InvalidBakeError(Exception):
    """A text is no Bake file, or more than is read of one.

    Attributes:
        problem: what is wrong, in a sentence that begins with a lower-case letter.
        index: of the character where that was noticed.
    """

    def __init__(self, problem: str, index: int) -> None:
        super().__init__(problem)
        self.problem = problem
        self.index = index


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Expression:
    """A value as it is written.

    Attributes:
        place: where it stands; of a string without the quotes.
        raw: as it stands there.
    """

    place: Place
    raw: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Literal(Expression):
    """A number or a boolean as the text that it is made into, or null, which is None."""

    text: str | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Template(Expression):
    """A string, which may hold `${…}` and `%{…}`.

    Attributes:
        source: its characters as they are written, with their position.
        escaped: whether a backslash begins an escape.
    """

    source: SourceText
    escaped: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Name(Expression):
    """A variable, and the attributes or indexes that lead into its value: `item.tgt`, `list[0]`."""

    root: str
    steps: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class List(Expression):
    """Values in order."""

    items: tuple[Expression, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Map(Expression):
    """Values by key; a key is an expression too, a plain word being a Literal."""

    entries: tuple[tuple[Expression, Expression], ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Computed(Expression):
    """What Bake computes: a function call, a condition, an operator, a loop.

    Attributes:
        by: what computes it, as `function replace`.
    """

    by: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Block:
    """A target, group, variable or function.

    Attributes:
        place: where its label stands.
        attributes: by name.
    """

    type: str
    label: str
    place: Place
    attributes: Mapping[str, Expression]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BakeFile:
    """One file.

    Attributes:
        globals: attributes that stand in no block, by name. They are as variables that nothing overrides.
        problems: what could not be read, and where; the rest was.
    """

    path: str
    blocks: tuple[Block, ...]
    globals: Mapping[str, Expression]
    problems: tuple[tuple[Place, str], ...] = ()
