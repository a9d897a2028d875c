"""Heredocs: which texts follow an instruction, so that what stands in them is not taken for instructions."""

import re
from dataclasses import dataclass

from pullgate_finders.dockerfile.expansion import ExpansionError, split_words

_HEREDOC = re.compile(r"[0-9]*<<(?P<tabs>-?)[ \t\f\r]*(?P<word>[^<]*)")


@dataclass(frozen=True, slots=True)
class Heredoc:
    """A text that follows an instruction.

    Attributes:
        name: the line that ends it.
        tabs_stripped: whether tabs may stand before that (`<<-`).
    """

    name: str
    tabs_stripped: bool


def heredocs(line: str) -> list[Heredoc]:
    r"""The heredocs that a logical line announces, in order; quoted ones are text.

    A line that cannot be split into words has none (frontend/dockerfile/parser/parser.go, heredocsFromLine). The lexer
    has `\` for its escape there whatever the file says.
    """
    try:
        words = split_words(line, keep_quotes=True, keep_escapes=True)
        announced = (_heredoc(word) for word in words if "<<" in word)
        return [heredoc for heredoc in announced if heredoc is not None]
    except ExpansionError:
        return []


def _heredoc(word: str) -> Heredoc | None:
    match = _HEREDOC.fullmatch(word)
    if match is None:
        return None
    names = split_words(match["word"], keep_quotes=False, keep_escapes=False)
    return Heredoc(names[0], tabs_stripped=bool(match["tabs"])) if len(names) == 1 else None
