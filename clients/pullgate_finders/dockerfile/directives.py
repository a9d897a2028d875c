"""What stands at the very top of a Dockerfile: its escape character, and the frontend that reads it.

BuildKit looks twice (frontend/dockerfile/parser/directives.go). The parser wants `escape` and minds no indentation.
Before that, whoever chooses the frontend wants `syntax`: it skips a line with `#!`, minds indentation, and understands
`// syntax=` and a file that is one JSON object as well.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from pullgate_finders.dockerfile.lines import SPACES
from pullgate_finders.found import Place, Trouble
from pullgate_finders.source_text import SourceText

DEFAULT_ESCAPE = "\\"

_DIRECTIVE = re.compile(r"(?P<name>[a-zA-Z][a-zA-Z0-9]*)[\t\n\f\r ]*=[\t\n\f\r ]*(?P<value>\S.*)")
_KNOWN = frozenset({"syntax", "escape", "check"})
_JSON_SYNTAX = re.compile(r'"syntax"\s*:\s*"((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, slots=True)
class Syntax:
    """The frontend that reads the file.

    Attributes:
        image: its reference.
        raw: as it stands in the file.
        is_dockerfile: whether the rest of the file can be a Dockerfile.
    """

    image: str
    raw: str
    place: Place
    is_dockerfile: bool


@dataclass(frozen=True, slots=True)
class _Directive:
    name: str
    value: str
    line: int
    column: int


def syntax(source: SourceText) -> Syntax | None:
    """The frontend that the file asks for; None where it leaves that to BuildKit."""
    text = source.text.removeprefix("\ufeff")
    removed = len(source.text) - len(text)
    lines = text.split("\n", maxsplit=len(_KNOWN) + 2)[: len(_KNOWN) + 2]
    first = 1
    if lines[0].startswith("#!"):
        first = 2
        lines = lines[1:]
        text = text.partition("\n")[2]
    for comment in ("#", "//"):
        for directive in _directives(lines, comment, first):
            if directive.name == "syntax":
                image = directive.value.partition(" ")[0]
                column = directive.column + (removed if directive.line == 1 else 0)
                place = source.place(directive.line, column, directive.line, column + len(image))
                return Syntax(image, image, place, is_dockerfile=comment == "#")
    return _json_syntax(source, text)


def escape(source: SourceText) -> tuple[str, list[Trouble]]:
    """The escape character of the file, and what is wrong with its directives."""
    text = source.text.removeprefix("\ufeff")
    lines = [line.lstrip(SPACES) for line in text.split("\n", maxsplit=len(_KNOWN) + 1)[: len(_KNOWN) + 1]]
    found = DEFAULT_ESCAPE
    troubles = []
    seen: set[str] = set()
    for directive in _directives(lines, "#", 1):
        place = source.place(directive.line, 1)
        if directive.name in seen:
            problem = f'the directive "{directive.name}" stands here twice, so the build fails; remove one'
            troubles.append(Trouble(place=place, problem=problem))
        elif directive.name == "escape":
            if directive.value in {"\\", "`"}:
                found = directive.value
            else:
                problem = f"the escape character is \\ or `, so the build fails with {directive.value!r}"
                troubles.append(Trouble(place=place, problem=problem))
        seen.add(directive.name)
    return found, troubles


def _directives(lines: list[str], comment: str, first: int) -> Iterator[_Directive]:
    """The directives that the lines begin with; the first other line ends them."""
    for number, line in enumerate(lines, first):
        content = line.rstrip("\r").removeprefix(comment).lstrip(SPACES)
        match = _DIRECTIVE.fullmatch(content) if line.startswith(comment) else None
        if match is None or match["name"].lower() not in _KNOWN:
            return
        column = line.rstrip("\r").find(content) + match.start("value") + 1
        yield _Directive(match["name"].lower(), match["value"].rstrip("\t\n\f\r "), number, column)


def _json_syntax(source: SourceText, text: str) -> Syntax | None:
    if not text.lstrip().startswith("{"):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    image = value.get("syntax") if isinstance(value, dict) else None
    if not isinstance(image, str):
        return None
    removed = len(source.text) - len(text)
    raw, place = image, source.place(1, 1)
    for match in _JSON_SYNTAX.finditer(text):
        if json.loads(f'"{match[1]}"', strict=False) == image:
            raw = match[1]
            place = source.place_of(match.start(1) + removed, match.end(1) + removed)
    return Syntax(image, raw, place, is_dockerfile=False)
