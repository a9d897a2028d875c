"""The documents of files that may be broken in part, and of texts that stand in other documents."""

import dataclasses
from collections.abc import Iterator

from pullgate_finders import jsonc
from pullgate_finders.found import Finding, Place, Trouble
from pullgate_finders.yaml_nodes import InvalidYamlError, Node, ScalarNode, load

MAX_BROKEN_DOCUMENTS = 20
"""So many broken documents of a file are told of; behind them it is read no further, which is told too."""


def documents(path: str, text: str) -> Iterator[Node | Trouble]:
    """The documents of a YAML or JSON file, and trouble for each that is broken; those after it are read on.

    A line that begins with `---` begins a document whatever stands before it (YAML 1.2, 9.1.2).
    """
    if path.endswith(".json"):
        text = jsonc.blank(text)
    lines: list[str] = []
    begun = 0
    for _ in range(MAX_BROKEN_DOCUMENTS):
        try:
            for document in load(path, text):
                begun = max(begun, document.place.line - 1)
                yield document
        except InvalidYamlError as error:
            yield Trouble(place=_at(path, error.line, error.column), problem=error.problem)
            lines = lines or text.split("\n")
            first = max(begun + 1, error.line - 1)
            next_start = next((number for number in range(first, len(lines)) if lines[number].startswith("---")), None)
            if next_start is None:
                return
            begun = next_start
            # Empty lines stand for those that are done with, so that positions stay those of the file.
            text = "\n" * next_start + "\n".join(lines[next_start:])
        else:
            return
    problem = f"more than {MAX_BROKEN_DOCUMENTS} documents are broken; what follows is not read"
    yield Trouble(place=_at(path, begun + 1, 1), problem=problem)


def documents_within(scalar: ScalarNode) -> Iterator[Node | Trouble]:
    """The documents of a text that stands in another document, with their places in its file."""
    source = scalar.source
    margin = "" if source.whole else " " * source.indentation
    first = 0 if source.whole else source.first_line - 1
    lines = source.text.split("\n")
    starts = [number for number, line in enumerate(lines) if line.startswith("---")]
    for start, end in zip([0, *starts], [*starts, len(lines)], strict=True):
        # Put where it stands in the file, so that places need no conversion; `---` may not be indented.
        written = [
            margin + (line[3:].rjust(len(line)) if line.startswith("---") else line) for line in lines[start:end]
        ]
        yield from documents(source.file, "\n" * (first + start) + "\n".join(written))


def put_at(findings: Iterator[Finding], whole: Place | None) -> Iterator[Finding]:
    """The findings in a text within a document; all of them at its place where its own lines are not the file's."""
    for finding in findings:
        yield finding if whole is None else dataclasses.replace(finding, place=whole)


def _at(path: str, line: int, column: int) -> Place:
    return Place(path, line, column, line, column + 1)
