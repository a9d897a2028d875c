"""Patterns of `${v#p}`, `${v%p}` and `${v/p/w}`: `*` is any text, `?` any character, and nothing else is special.

Positions in a value are bits of a number, so that a match takes a step for each character of the pattern, however many
`*` it has.
"""

from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

MAX_LENGTH = 1024
"""Characters of pattern and value. No reference has more."""


class InvalidPatternError(Exception):
    """A pattern on which the build fails, or more than is worked out here.

    Attributes:
        problem: why, in a sentence that begins with a lower-case letter.
    """

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem


class _Wildcard(Enum):
    ANY_TEXT = "*"
    ANY_CHARACTER = "?"


@dataclass(frozen=True, slots=True, init=False)
class Pattern:
    """A pattern to be looked for in a value."""

    _tokens: tuple[str | _Wildcard, ...]

    def __init__(self, text: str, value: str) -> None:
        if len(text) > MAX_LENGTH or len(value) > MAX_LENGTH:
            raise InvalidPatternError(f"a pattern or the text it is looked for in has over {MAX_LENGTH:,} characters")
        object.__setattr__(self, "_tokens", _tokens(text))

    def without_beginning(self, value: str, *, longest: bool) -> str:
        """The value without its longest or shortest beginning that matches."""
        ends = self._ends(value, 0)
        if not ends:
            return value
        return value[_highest(ends) if longest else _lowest(ends) :]

    def without_end(self, value: str, *, longest: bool) -> str:
        """The value without its longest or shortest end that matches."""
        starts = self._starts(value, 1 << len(value))
        if not starts:
            return value
        return value[: _lowest(starts) if longest else _highest(starts)]

    def replaced(self, value: str, replacement: str, *, everywhere: bool) -> str:
        """The value with the first match, or with all of them, replaced; each is as long as can be."""
        starts = self._starts(value, (2 << len(value)) - 1)
        result = ""
        copied, last_end = 0, -1
        while starts:
            start = _lowest(starts)
            end = _highest(self._ends(value, start))
            # An empty match right behind another one does not count (Go's regexp.ReplaceAllString).
            if end > start or start != last_end:
                result += value[copied:start] + replacement
                copied = last_end = end
                if not everywhere:
                    break
            following = max(end, start + 1)
            starts = starts >> following << following
        return result + value[copied:]

    def _ends(self, value: str, start: int) -> int:
        """Positions at which a match from `start` may end."""
        within = (2 << len(value)) - 1
        at = 1 << start
        for token in self._tokens:
            if not at:
                break
            match token:
                case _Wildcard.ANY_TEXT:
                    at = within >> _lowest(at) << _lowest(at)
                case _Wildcard.ANY_CHARACTER:
                    at = at << 1 & within
                case character:
                    at = (at & _positions(value, character)) << 1
        return at

    def _starts(self, value: str, ends: int) -> int:
        """Positions from which a match may reach one of `ends`."""
        at = ends
        for token in reversed(self._tokens):
            if not at:
                break
            match token:
                case _Wildcard.ANY_TEXT:
                    at = (2 << _highest(at)) - 1
                case _Wildcard.ANY_CHARACTER:
                    at >>= 1
                case character:
                    at = at >> 1 & _positions(value, character)
        return at


def _tokens(text: str) -> tuple[str | _Wildcard, ...]:
    tokens: list[str | _Wildcard] = []
    characters = iter(text)
    for character in characters:
        match character:
            case "*" | "?":
                tokens.append(_Wildcard(character))
            case "\\":
                escaped = next(characters, "")
                # `}` and `/` are escaped for the sake of the braces around the pattern; others need it not.
                if escaped not in set("*?\\}/"):
                    raise InvalidPatternError(f"a pattern has the invalid escape \\{escaped}")
                tokens.append(escaped)
            case _:
                tokens.append(character)
    return tuple(tokens)


@lru_cache(maxsize=256)
def _positions(value: str, character: str) -> int:
    bits = 0
    at = value.find(character)
    while at >= 0:
        bits |= 1 << at
        at = value.find(character, at + 1)
    return bits


def _lowest(bits: int) -> int:
    return (bits & -bits).bit_length() - 1


def _highest(bits: int) -> int:
    return bits.bit_length() - 1
