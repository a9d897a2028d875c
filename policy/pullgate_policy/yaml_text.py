"""YAML as plain data, without surprises.

The YAML 1.2 core schema decides what is a boolean, a number or nothing: `no` and `on` are texts, and so are dates.
Refused are keys that stand twice (the first would be lost without a word), anchors and aliases (a few lines can stand
for a billion), and documents that are too long or nested too deeply.
"""

import re
from collections.abc import Sequence
from typing import Any

import yaml
from yaml.error import MarkedYAMLError

from pullgate_policy.errors import PullgateError, shown

MAX_YAML_CHARACTERS = 4 * 1024 * 1024
"""Room for an allowlist of some 50,000 entries."""

MAX_YAML_DEPTH = 20


class InvalidYamlError(PullgateError):
    """The text is not YAML that pullgate reads; the message says where."""


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML 1.2 core schema; duplicate keys are errors."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML copies it on the first add_implicit_resolver

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001,FBT002
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _problem("a key is not a plain text", key.start_mark)
            if key.value in seen:
                raise _problem(f"the key {shown(key.value)} stands twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)  # type: ignore[no-any-return]


_RESOLVERS = {
    "tag:yaml.org,2002:null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "tag:yaml.org,2002:bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "tag:yaml.org,2002:int": (r"[-+]?[0-9]+", list("-+0123456789")),
    "tag:yaml.org,2002:float": (r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", list("-+.0123456789")),
}
for _tag, (_pattern, _first) in _RESOLVERS.items():
    _Loader.add_implicit_resolver(_tag, re.compile(rf"^(?:{_pattern})\Z", re.ASCII), _first)
_Loader.add_constructor("tag:yaml.org,2002:int", lambda _loader, node: int(node.value))
_Loader.add_constructor("tag:yaml.org,2002:float", lambda _loader, node: float(node.value))


def load_yaml(text: str, *, max_characters: int = MAX_YAML_CHARACTERS) -> object:
    """The one document in `text` as dicts, lists, texts, numbers, booleans and None.

    Raises:
        InvalidYamlError: says what is wrong and in which line.
    """
    documents = load_yaml_documents(text, max_characters=max_characters)
    if len(documents) > 1:
        raise InvalidYamlError(f"there are {len(documents)} documents, and one is read; remove the line ---")
    return documents[0] if documents else None


def load_yaml_documents(text: str, *, max_characters: int = MAX_YAML_CHARACTERS) -> Sequence[object]:
    """The documents in `text`, which lines of --- separate, each as `load_yaml` gives it.

    Raises:
        InvalidYamlError: says what is wrong and in which line.
    """
    if len(text) > max_characters:
        raise InvalidYamlError(f"the document has {len(text)} characters, and at most {max_characters} are read")
    try:
        _check_events(text)
        return list(yaml.load_all(text, Loader=_Loader))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = "" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: "
        raise InvalidYamlError(f"{where}{error.problem or 'not a YAML document'}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise InvalidYamlError(f"not a YAML document: {' '.join(str(error).split())}") from error


def _check_events(text: str) -> None:
    """Refuse, before anything is built, what would grow or nest without bound."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise _problem(
                "anchors and aliases (& and *) are not read; write the value out, or put it in quotes", event.start_mark
            )
        if getattr(event, "tag", None) is not None:
            raise _problem("tags (!) are not read; write the value plainly, or put it in quotes", event.start_mark)
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_YAML_DEPTH:
                raise _problem(f"sections are nested more than {MAX_YAML_DEPTH} deep", event.start_mark)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _problem(description: str, mark: Any) -> MarkedYAMLError:
    return MarkedYAMLError(problem=description, problem_mark=mark)
