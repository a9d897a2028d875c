"""Variables and inputs of GitLab CI (GitLab's documentation: "CI/CD variables", "CI/CD inputs").

    $NAME ${NAME}                  a variable, when a job starts
    $$                             a dollar sign
    $[[ inputs.name ]]             an input, when the file is read
    $[[ inputs.name | function ]]  what a function makes of it

A variable of a file may always be another when a pipeline runs: those of the project, of its groups and of whoever
starts the pipeline stand above it.
"""

import re
from collections import ChainMap
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pullgate_finders.continuous_integration import limited
from pullgate_finders.values import Known, Text, Unknown, joined, worked_out_from
from pullgate_finders.yaml_nodes import MappingNode, Node, ScalarNode

MAX_DEPTH = 50
"""How deeply variables may stand in the values of others."""

_VARIABLE = re.compile(r"\$(?:(?P<escaped>\$)|(?P<plain>[A-Za-z_]\w*)|\{(?P<braced>[A-Za-z_]\w*)\})", re.ASCII)
_INPUT = re.compile(r"\$\[\[\s*inputs\.(?P<name>[\w-]+)\s*(?P<functions>(?:\|[^|\]]*)*)\]\]", re.ASCII)
_TRUNCATE = re.compile(r"truncate\(\s*(\d{1,4})\s*,\s*(\d{1,4})\s*\)")
_NOT_ESCAPED = re.compile(r"[A-Za-z0-9_.,:+/@-]+")
"""What means nothing to a shell, so that `posix_escape` leaves it as it is (Shellwords.shellescape of Ruby)."""

_PREDEFINED = ("CI_", "GITLAB_", "CHAT_", "TRIGGER_PAYLOAD")
_SETTINGS = "the settings of the project or whoever starts the pipeline may set it"

Inputs = Mapping[str, Text]


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable as a file defines it.

    Attributes:
        text: its value, in which further variables may stand.
        how: where it stands.
        is_expanded: whether variables in it are replaced.
    """

    text: Text
    how: str
    is_expanded: bool = True


Variables = Mapping[str, Variable]


def variables_of(node: Node | None, text_of: Callable[[ScalarNode], Text]) -> Variables:
    """The variables that a mapping defines: `NAME: value` or `NAME: {value: …, expand: …}`."""
    defined: dict[str, Variable] = {}
    for key, value in node.entries if isinstance(node, MappingNode) else ():
        scalar = value.get("value") if isinstance(value, MappingNode) else value
        expand = value.scalar("expand") if isinstance(value, MappingNode) else None
        if isinstance(scalar, ScalarNode):
            text = Known("") if scalar.is_null else text_of(scalar)
            how = f"variable {key.text} ({scalar.place.file}:{scalar.place.line})"
            defined[key.text] = Variable(text, how, expand is None or expand.text.lower() != "false")
    return defined


def layered(*layers: Variables) -> Variables:
    """The variables of several layers as one; of a name the first layer that has it counts."""
    return ChainMap(*layers)  # type: ignore[arg-type] # nothing is written to it


def expanded(text: Text, variables: Variables) -> Text:
    """A text with its variables replaced, and those in their values."""
    return _expanded(text, variables, {}, 0)


def _expanded(text: Text, variables: Variables, known: dict[str, Text], depth: int) -> Text:
    """As `expanded`.

    Args:
        known: what variables come to, as far as that is worked out.
        depth: in how many variables, one within the other, it stands.
    """
    if isinstance(text, Unknown) or "$" not in text.value:
        return text
    parts: list[Text] = []
    position = 0
    for match in _VARIABLE.finditer(text.value):
        parts.append(Known(text.value[position : match.start()]))
        name = match["plain"] or match["braced"]
        parts.append(_value(name, variables, known, depth) if name else Known("$"))
        position = match.end()
    parts.append(Known(text.value[position:]))
    return limited(Known("", text.how, text.overridable), *parts)


def _value(name: str, variables: Variables, known: dict[str, Text], depth: int) -> Text:
    if name in known:
        return known[name]
    variable = variables.get(name)
    if variable is None:
        if name.startswith(_PREDEFINED):
            return Unknown(f"variable {name} is set by GitLab when the pipeline runs")
        return Unknown(f"variable {name} is not set in these files; {_SETTINGS}")
    if depth > MAX_DEPTH:
        return Unknown(f"variable {name} stands more than {MAX_DEPTH} variables deep")
    known[name] = Unknown(f"variable {name} refers to itself")
    text = _expanded(variable.text, variables, known, depth + 1) if variable.is_expanded else variable.text
    known[name] = joined(Known("", (variable.how,), overridable=True), text)
    return known[name]


def with_inputs(text: str, inputs: Inputs) -> Text:
    """A text of a file with its inputs replaced."""
    if "$[[" not in text:
        return Known(text)
    parts: list[Text] = []
    position = 0
    for match in _INPUT.finditer(text):
        parts.append(Known(text[position : match.start()]))
        given = inputs.get(match["name"], Unknown(f"there is no input {match['name']} in this file"))
        parts.append(_applied(given, match["functions"]))
        position = match.end()
    rest = text[position:]
    parts.append(Unknown("the interpolation $[[ … ]] cannot be read") if "$[[" in rest else Known(rest))
    return limited(*parts)


def _applied(text: Text, functions: str) -> Text:
    for function in filter(None, map(str.strip, functions.split("|"))):
        cut = _TRUNCATE.fullmatch(function)
        if function == "expand_vars":
            continue  # variables are replaced later in any case
        if isinstance(text, Unknown):
            return worked_out_from(text)
        if cut:
            start, length = int(cut[1]), int(cut[2])
            text = Known(text.value[start : start + length], text.how, text.overridable)
        elif function != "posix_escape" or not _NOT_ESCAPED.fullmatch(text.value):
            return Unknown(f"what {function} makes of an input is not worked out here", text.how)
    return text
