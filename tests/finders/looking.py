"""What tests of finders share: looking into files in memory, and whether places are right."""

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from pullgate_finders import Finding, Found, Place, Search, Settings, Trouble
from pullgate_finders.finding import find
from pullgate_finders.formats import FINDERS
from pullgate_finders.tree import FilesInMemory

GARBAGE = (
    "{{",
    "}}",
    "{",
    "[",
    "- ",
    ": ",
    "\t",
    "\n---\n",
    "*a",
    "&a ",
    '"',
    "'",
    "|",
    "\r",
    "\u2028",
    "\x85",
    "é😀",
    "$(",
    "${",
)
"""What breaks texts in YAML, JSON and templates."""


def look(files: dict[str, str], *paths: str, settings: Settings | None = None) -> list[Finding]:
    """What is found in files, or those of them that are named."""
    search = Search(files=FilesInMemory(files), settings=settings or Settings())
    return find(paths or sorted(files), search, FINDERS)


def references(findings: list[Finding]) -> list[Found]:
    """The findings, none of which is trouble."""
    found = [finding for finding in findings if isinstance(finding, Found)]
    assert len(found) == len(findings), findings
    return found


def problems(findings: list[Finding]) -> list[str]:
    """What the trouble among them is."""
    return [finding.problem for finding in findings if isinstance(finding, Trouble)]


def comes_to(findings: list[Finding]) -> list[str]:
    """What the references come to, in order of their places: `?` where that is not known, `!` for trouble."""
    return [_shown(finding) for finding in findings]


def written_at(text: str, place: Place) -> str:
    """What stands at a place."""
    lines = text.split("\n")[place.line - 1 : place.end_line]
    if not lines:
        return ""
    lines[-1] = lines[-1][: place.end_column - 1]
    lines[0] = lines[0][place.column - 1 :]
    return "\n".join(lines)


def is_where_it_says(finding: Found, text: str) -> bool:
    """Whether the raw text stands at the place; a text with escapes or folds stands there as it is written."""
    written = written_at(text, finding.place)
    return finding.raw == written or (len(written) != len(finding.raw) and written[:1] in {'"', "'", ">", "|"})


@st.composite
def damaged(draw: Callable[[st.SearchStrategy], Any], texts: list[str]) -> str:
    """One of the texts with pieces of it taken out, doubled or replaced by what breaks texts."""
    text: str = draw(st.sampled_from(texts))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 40)))
        piece = draw(st.sampled_from(("", text[start:end] * 2, *GARBAGE)))
        text = text[:start] + piece + text[end:]
    return text


def _shown(finding: Finding) -> str:
    if isinstance(finding, Trouble):
        return "!"
    mark = {"default": "~", "conditional": "%"}.get(finding.certainty.value, "")
    return (
        mark + str(finding.reference).removeprefix("docker.io/library/").removesuffix(":latest")
        if finding.reference
        else "?"
    )
