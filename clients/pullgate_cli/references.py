"""References on the command line: where they come from, and how one that is wrong is shown."""

import sys
from collections.abc import Sequence

import click

from pullgate_policy import InvalidReferenceError


def read_references(arguments: Sequence[str]) -> list[str]:
    """The arguments, with the lines of standard input in place of `-`; empty lines are left out."""
    references: list[str] = []
    for argument in arguments:
        if argument == "-":
            references.extend(line for raw in sys.stdin if (line := raw.rstrip("\r\n")).strip())
        else:
            references.append(argument)
    if not references:
        raise click.UsageError("standard input holds no references")
    return references


def explain_position(error: InvalidReferenceError, indent: int) -> str:
    """The text with a mark under the character that is wrong, on lines of which all but the first are indented."""
    space = " " * indent
    if not error.text or not error.text.isprintable() or len(error.text) > 100:  # noqa: PLR2004 - what fits a line
        return str(error)
    return f"{error.text}\n{space}{' ' * error.position}^ {error.problem}"
