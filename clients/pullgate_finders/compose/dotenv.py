r"""`.env` files, read as Compose reads them (compose-go dotenv/parser.go).

NAME=value # a comment   `export` before it, spaces around `=`, and `:` instead of `=` are taken
NAME="a $B\n"            escapes and variables are filled in, also where it goes over several lines
NAME='a $B'              taken as it is, but for \'
NAME                     the machine's own value, which is not known here
"""

import re
from collections import ChainMap
from collections.abc import Iterator
from dataclasses import dataclass, replace

from pullgate_finders.compose.interpolation import Variables, interpolated
from pullgate_finders.found import Place, Trouble
from pullgate_finders.values import Known, Text

MAX_STEPS = 10
"""Steps that are told of how a value came about, of variables that refer to others."""

_BLANK = " \t\v\f\r\x85\xa0"
_SKIPPED = re.compile(r"(?:\s+|#[^\n]*)*+")
_EXPORT = re.compile(rf"export[{_BLANK}]+")
_KEY = re.compile(r"(?P<name>[^\W\d][\w.\[\]-]*|\d[\w.\[\]-]*|)" + rf"[{_BLANK}]*(?P<end>[=:\n]|\Z)[{_BLANK}]*")
_DOUBLE_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*+)"', re.DOTALL)
_SINGLE_QUOTED = re.compile(r"'((?:[^'\\]|\\.)*+)'", re.DOTALL)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t", "f": "\f", "v": "\v", "b": "\b", "a": "\a"}
_LITERAL = frozenset("\"'\\")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Statement:
    name: str
    value: Text
    end: int


class _MalformedError(Exception):
    """A statement cannot be read, with the reason in a sentence."""


def read(file: str, text: str, outer: Variables) -> tuple[dict[str, Text], list[Trouble]]:
    """The variables that a file sets, and the lines of it that cannot be read.

    Args:
        outer: variables that win over those of the file, also within its values.
    """
    values: dict[str, Text] = {}
    troubles: list[Trouble] = []
    known = Variables(values=ChainMap(dict(outer.values), values))
    for line, outcome in _statements(file, text, known):
        match outcome:
            case _Statement(name=name, value=value) if name and not name[0].isdigit():
                step = f"variable {name} ({file}:{line})"
                values[name] = replace(value, how=(step, *value.how)[:MAX_STEPS])
            case str():
                troubles.append(Trouble(place=Place(file, line, 1, line, 1), problem=outcome))
    return values, troubles


def _statements(file: str, text: str, variables: Variables) -> Iterator[tuple[int, _Statement | str]]:
    """The statements by line, or what is wrong with one; `variables` grow as they are taken."""
    position, line, counted = 0, 1, 0
    while True:
        position = _end(_SKIPPED.match(text, position), position)
        if position >= len(text):
            return
        line += text.count("\n", counted, position)
        counted = position
        try:
            statement = _statement(text, position, variables, f"{file}:{line}")
        except _MalformedError as error:
            yield line, f"{error}; Compose refuses the file"
            position = _line_end(text, position)
            continue
        position = statement.end
        yield line, statement


def _statement(text: str, start: int, variables: Variables, where: str) -> _Statement:
    key = _KEY.match(text, _end(_EXPORT.match(text, start), start))
    if key is None:
        shown = text[start : min(_line_end(text, start), start + 40)]
        raise _MalformedError(f'"{shown}" does not set a variable: write NAME=value')
    if key["end"] not in {"=", ":"}:
        return _Statement(name="", value=Known(""), end=max(key.end(), start + 1))
    value, end = _value(text, key.end(), variables, where)
    return _Statement(name=key["name"], value=value, end=end)


def _value(text: str, start: int, variables: Variables, where: str) -> tuple[Text, int]:
    """The value that begins at an index, and where the next statement may begin."""
    if text.startswith(("'", '"'), start):
        return _quoted(text, start, variables, where)
    end = _line_end(text, start)
    value = text[start:end].partition(" #")[0].rstrip()
    return interpolated(value, variables, where), end


def _quoted(text: str, start: int, variables: Variables, where: str) -> tuple[Text, int]:
    is_double = text[start] == '"'
    quoted = (_DOUBLE_QUOTED if is_double else _SINGLE_QUOTED).match(text, start)
    if quoted is None:
        raise _MalformedError("the quotation mark that begins the value is not closed")
    end = _line_end(text, quoted.end())
    if not is_double:
        return Known(quoted[1].replace("\\'", "'")), end
    return interpolated(_ESCAPE.sub(_unescaped, quoted[1]), variables, where), end


def _unescaped(escape: re.Match[str]) -> str:
    character = escape[1]
    if character == "$":
        return "$$"
    return character if character in _LITERAL else _ESCAPED.get(character, escape[0])


def _line_end(text: str, start: int) -> int:
    end = text.find("\n", start)
    return len(text) if end < 0 else end


def _end(match: re.Match[str] | None, otherwise: int) -> int:
    return match.end() if match else otherwise
