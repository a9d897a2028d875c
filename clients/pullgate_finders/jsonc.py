"""JSON with comments, made into JSON that `yaml_nodes` reads, every character that stays at its place.

What is allowed beyond JSON is what Visual Studio Code allows in its own files ("JSON with Comments"): comments from
`//` to the end of the line and from `/*` to `*/`, and a comma behind the last value. JSON is YAML (YAML 1.2, section
1.3) but for what is put right here: tabs, which may not stand in front of values, line breaks that only YAML knows, and
characters beyond the Basic Multilingual Plane that are written as two escapes.
"""

import re
from collections.abc import Iterator

from pullgate_finders import yaml_nodes

_STRING_OR_BLANK = re.compile(
    r'"(?:[^"\\\n]|\\.)*+"?+|//[^\n]*+|/\*.*?(?:\*/|\Z)|[\t\r\v\f\x85\u2028\u2029]', re.DOTALL
)
_STRING_OR_LAST_COMMA = re.compile(r'"(?:[^"\\\n]|\\.)*+"?+|,(?=[ \n]*+[\]}])', re.DOTALL)
_VISIBLE = re.compile(r"[^\n]")
_SURROGATE = re.compile(r"(?<!\\)((?:\\\\)*+)\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_LINE_BREAKS = str.maketrans(dict.fromkeys("\r\x85\u2028\u2029", " "))


def load(file: str, text: str) -> Iterator[yaml_nodes.Node]:
    """The one value that is in the file; none where there is nothing but comments.

    Raises:
        yaml_nodes.InvalidYamlError: the text is not JSON, even without its comments.
    """
    yield from yaml_nodes.load(file, blank(text))


def blank(text: str) -> str:
    """The text as JSON: comments and commas behind a last value are blanks, each character at its place."""
    without_comments = _STRING_OR_BLANK.sub(_blanked, text)
    return _STRING_OR_LAST_COMMA.sub(_blanked_comma, without_comments)


def _blanked(match: re.Match[str]) -> str:
    found = match[0]
    return _readable(found) if found.startswith('"') else _VISIBLE.sub(" ", found)


def _blanked_comma(match: re.Match[str]) -> str:
    return " " if match[0] == "," else match[0]


def _readable(string: str) -> str:
    """A string without what JSON allows in one and YAML does not. Half a character can be in no image's name."""
    return _SURROGATE.sub(r"\1\\ufffd", string.translate(_LINE_BREAKS))
