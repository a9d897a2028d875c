"""The templates of Helm charts, which are no YAML until they are rendered, and so are read line by line."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from pullgate_finders.found import Finding, Kind, found
from pullgate_finders.helm.chart import Chart, chart_of
from pullgate_finders.helm.expressions import ACTION, evaluate
from pullgate_finders.port import Search
from pullgate_finders.source_text import SourceText

_PATH = re.compile(r"(?:.*/)?templates/.+\.(?:ya?ml|tpl)")
_SIGNS = (".Values", ".Chart", ".Release", ".Capabilities", 'include "', 'define "', "{{/*", "{{- /*")
_COMMENT_START = re.compile(r"\{\{(?:- )?/\*")
_MAX_VALUE = 4096
"""Characters of a value that are looked at; the longest reference is shorter."""

_BLOCK = re.compile(r"\{\{-?\s*(if|with|range|define|block|else|end)\b([^{}]*?)-?\}\}")
_IMAGE = re.compile(r"""(?:^[ ]*(?:-[ ]+)*|[{,][ ]*)(?P<key>image|"image"|'image'|reference)[ ]*:(?:[ ]+|$)""")
_KIND = re.compile(r"^kind:\s*[\"']?(\w+)")
_OPAQUE_KINDS = frozenset({"ConfigMap", "Secret", "CustomResourceDefinition"})

_MAX_SHOWN_BLOCKS = 5
"""So many conditions around an image are told, the innermost ones."""


@dataclass(frozen=True, slots=True)
class HelmTemplateFinder:
    """Finds images in the templates of Helm charts, as far as they follow from the chart's own values."""

    name: str = "Helm template"

    def claims(self, path: str) -> bool:
        """YAML and helpers below a directory `templates`."""
        return _PATH.fullmatch(path) is not None

    def recognises(self, text: str) -> bool:
        """A text with expressions as only Helm's templates have; a template without any is plain YAML."""
        return "{{" in text and "image" in text and any(sign in text for sign in _SIGNS)

    def find(self, path: str, text: str, search: Search) -> Iterator[Finding]:
        """The image of each line that gives one."""
        chart = chart_of(path, search.files)
        yield from _Lines(path, _without_comments(text), chart).findings()


def _without_comments(text: str) -> str:
    """The text with spaces instead of comments (text/template, Comments), so that positions stay what they are."""
    parts: list[str] = []
    end = 0
    while start := _COMMENT_START.search(text, end):
        close = text.find("*/", start.end())
        close = text.find("}}", close) if close >= 0 else -1
        if close < 0:
            break
        parts += [text[end : start.start()], re.sub(r"[^\n]", " ", text[start.start() : close + 2])]
        end = close + 2
    return "".join([*parts, text[end:]])


class _Lines:
    """Goes through the lines of a template."""

    def __init__(self, path: str, text: str, chart: Chart) -> None:
        self._source = SourceText(file=path, text=text)
        self._chart = chart
        self._kind = ""
        self._blocks: list[tuple[str, str]] = []

    def findings(self) -> Iterator[Finding]:
        """The images, in order."""
        volume_margin: int | None = None
        for number, written in enumerate(self._source.text.split("\n"), start=1):
            line = written.rstrip("\r")
            self._begin(line)
            if line.strip() and not line.lstrip().startswith("#") and self._kind not in _OPAQUE_KINDS:
                margin = len(line) - len(line.lstrip(" "))
                if volume_margin is not None and margin <= volume_margin:
                    volume_margin = None
                yield from self._in_line(line, number, in_volume=volume_margin is not None)
                if re.fullmatch(r" *(?:- +)*image: *(?:#.*)?", line):
                    volume_margin = margin
            self._nest(line)

    def _begin(self, line: str) -> None:
        if line.startswith("---"):
            self._kind = ""
        elif match := _KIND.match(line):
            self._kind = match[1]

    def _nest(self, line: str) -> None:
        """Keeps which conditions hold for the next line."""
        for block in _BLOCK.finditer(line):
            if block[1] == "end":
                del self._blocks[-1:]
            elif block[1] == "else":
                self._blocks[-1:] = [(begun, f"else{block[2].rstrip()} of {begun}") for begun, _ in self._blocks[-1:]]
            else:
                begun = f"{block[1]}{block[2].rstrip()}"
                self._blocks.append((begun, begun))

    def _in_line(self, line: str, number: int, *, in_volume: bool) -> Iterator[Finding]:
        end = 0
        while match := _IMAGE.search(line, end):
            end = match.end()
            is_reference = match["key"] == "reference"
            if is_reference and not in_volume:
                continue
            start, end = _value_range(line, match.end(), in_flow=match[0].lstrip()[:1] in {"{", ","})
            raw = line[start:end]
            if not raw or (raw[0] in "{[|>&*!" and not raw.startswith("{{")):
                continue
            yield found(
                self._source.place(number, start + 1, number, end + 1),
                Kind.VOLUME if is_reference else Kind.IMAGE,
                raw,
                evaluate(raw, self._chart),
                within=self._kind,
                condition=self._condition(),
            )

    def _condition(self) -> str:
        innermost = self._blocks[-_MAX_SHOWN_BLOCKS:]
        taken = [branch for begun, branch in innermost if not begun.startswith(("define", "block"))]
        return f"only where its template comes to it: {'; '.join(taken)}" if taken else ""


def _value_range(line: str, start: int, *, in_flow: bool) -> tuple[int, int]:
    """Where the value that begins there stands, without quotes and what follows it."""
    while line[start : start + 1] == " ":
        start += 1
    quote = line[start : start + 1]
    closing = quote if quote in {'"', "'"} else ""
    start += len(closing)
    position = start
    while position < min(len(line), start + _MAX_VALUE):
        action = ACTION.match(line, position) if line.startswith("{{", position) else None
        if action is not None:
            position = action.end()
            continue
        character = line[position]
        if character == closing or (not closing and _ends_plain(line, position, in_flow=in_flow)):
            break
        position += 1
    raw = line[start:position]
    return start, start + (len(raw) if closing else len(raw.rstrip()))


def _ends_plain(line: str, position: int, *, in_flow: bool) -> bool:
    """Whether an unquoted value ends there: at a comment, or in braces at what divides them."""
    if line[position] == "#":
        return line[position - 1] == " "
    return in_flow and line[position] in ",}"
