"""Dockerfiles that stand in a Bake file as a text, in which Bake replaces variables before Docker reads it."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from pullgate_finders import dockerfile
from pullgate_finders.bake.evaluation import Scalar, Scope, unescaped
from pullgate_finders.bake.scanner import template_parts
from pullgate_finders.bake.syntax import InvalidBakeError, Template
from pullgate_finders.dockerfile import Build
from pullgate_finders.found import Finding, Found, Trouble
from pullgate_finders.port import Settings
from pullgate_finders.source_text import SourceText
from pullgate_finders.values import Known, Text, Unknown, joined

_WORD_WITH_VARIABLE = re.compile(r"(?<![^\s=,])(?:[^\s=,${%]|\$(?!\{))*+(?:\$\{[^{}]*+\}[^\s,${%]*+)++(?![^\s,])")
_NOT_KNOWN = "\ufffd"
"""Stands for what is not known: a character that is in no name of an image."""


def find_in_inline(value: Scalar, scope: Scope, build: Build, settings: Settings) -> Iterator[Finding]:
    """The references in the value of `dockerfile-inline`."""
    if not isinstance(value.at, Template):
        match value.text:
            case Known(text):
                source = SourceText(file=value.at.place.file, text=text, whole=value.at.place)
                filled = _Filled(source, {1: (value.text,)}, {}, value.text)
                yield from (filled.finding(finding) for finding in dockerfile.find_in_text(source, build, settings))
            case Unknown(reason):
                yield Trouble(place=value.at.place, problem=f"the Dockerfile is not known: {reason}")
        return
    try:
        filled = _fill(value.at, scope)
    except InvalidBakeError as error:
        yield Trouble(place=value.at.place, problem=f"${{…}} in it is not valid: {error.problem}")
        return
    yield from (filled.finding(finding) for finding in dockerfile.find_in_text(filled.source, build, settings))


@dataclass(frozen=True, slots=True)
class _Filled:
    """A text in which variables are replaced.

    Attributes:
        put: what was put into each line, by its number.
        written: those lines as they stood.
        everything: what was put into any line.
    """

    source: SourceText
    put: Mapping[int, tuple[Text, ...]]
    written: Mapping[int, str]
    everything: Text

    def finding(self, finding: Finding) -> Finding:
        """A finding with what its line has of the variables; on such a line it stands where the line does."""
        if not isinstance(finding, Found) or not self.put:
            return finding
        line = finding.place.line - self.source.first_line + 1
        put = self.everything
        if self.source.whole is None:
            if line not in self.put:
                return self._explained(finding, put)
            put = joined(*self.put[line])
            start, end = _written_for(finding.raw, self.written[line])
            place = self.source.place(line, start + 1, line, end + 1)
            finding = replace(finding, raw=self.written[line][start:end], place=place)
        return self._explained(
            replace(finding, how=(*finding.how, *put.how), overridable=finding.overridable or put.overridable), put
        )

    def _explained(self, finding: Found, put: Text) -> Found:
        if isinstance(put, Unknown) and finding.reference is None and _NOT_KNOWN in finding.unresolved:
            return replace(finding, unresolved=put.reason)
        return finding


def _written_for(raw: str, line: str) -> tuple[int, int]:
    """Where in a line a reference is: it itself if it is there, else its one word with a variable, else all of it."""
    itself = re.search(rf"(?<![\w./:@$-]){re.escape(raw)}(?![\w./:@${{-])", line)
    if itself:
        return itself.span()
    words = [word.span() for word in _WORD_WITH_VARIABLE.finditer(line)]
    return words[0] if len(words) == 1 else (len(line) - len(line.lstrip()), len(line.rstrip()))


def _fill(template: Template, scope: Scope) -> _Filled:
    source = template.source
    pieces: list[str] = []
    put: dict[int, tuple[Text, ...]] = {}
    line = 1
    is_in_lines = source.whole is None
    for kind, start, end in template_parts(source.text):
        piece = source.text[start:end]
        if kind in {"value", "directive"}:
            text = scope.text_of(f"{'$' if kind == 'value' else '%'}{{{piece}}}", template)
            put[line] = (*put.get(line, ()), text)
            is_in_lines = is_in_lines and "\n" not in piece
            piece = text.value if isinstance(text, Known) else _NOT_KNOWN
            is_in_lines = is_in_lines and "\n" not in piece
        elif kind == "escaped":
            put.setdefault(line, ())
        elif template.escaped:
            piece = unescaped(piece)
        pieces.append(piece)
        line += piece.count("\n")
    text_made = "".join(pieces)
    everything = joined(*(text for texts in put.values() for text in texts))
    if not is_in_lines:
        return _Filled(
            SourceText(file=source.file, text=text_made, whole=source.whole or template.place), put, {}, everything
        )
    lines = source.text.split("\n")
    return _Filled(replace(source, text=text_made), put, {number: lines[number - 1] for number in put}, everything)
