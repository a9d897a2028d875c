"""Reads Bake files in JSON into what those in HCL say. Source: "HCL JSON Syntax Specification"."""

import re
from collections.abc import Iterator

from pullgate_finders import jsonc
from pullgate_finders.bake.hcl import number
from pullgate_finders.bake.syntax import TYPES, BakeFile, Block, Expression, List, Literal, Map, Template
from pullgate_finders.found import Place
from pullgate_finders.yaml_nodes import InvalidYamlError, MappingNode, Node, ScalarNode, SequenceNode

_NUMBER = re.compile(r"-?[0-9]{1,40}(?:\.[0-9]{1,40})?(?:[eE][+-]?[0-9]{1,2})?")
_COMMENT = "//"
"""A property of this name is left out (HCL JSON Syntax Specification, "Bodies")."""


def read(path: str, text: str) -> BakeFile:
    """What the file says; problems where it cannot be read."""
    try:
        roots = [root for root in jsonc.load(path, text) if isinstance(root, MappingNode)]
    except InvalidYamlError as error:
        place = Place(path, error.line, error.column, error.line, error.column)
        return BakeFile(path=path, blocks=(), globals={}, problems=((place, error.problem.replace("YAML", "JSON")),))
    entries = [entry for root in roots for entry in root.pairs()]
    return BakeFile(
        path=path,
        blocks=tuple(block for key, value in entries if key.text in TYPES for block in _blocks(key.text, value)),
        globals={key.text: _expression(value) for key, value in entries if key.text not in {*TYPES, _COMMENT}},
    )


def _blocks(block_type: str, node: Node) -> Iterator[Block]:
    """A block's label is a key. Where a block may stand more than once, a list of them may stand."""
    for part in node.items if isinstance(node, SequenceNode) else (node,):
        for label, body in part.pairs() if isinstance(part, MappingNode) else ():
            for content in body.items if isinstance(body, SequenceNode) else (body,):
                if isinstance(content, MappingNode) and label.text != _COMMENT:
                    attributes = {key.text: _expression(value) for key, value in content.pairs()}
                    yield Block(type=block_type, label=label.text, place=label.place, attributes=attributes)


def _expression(node: Node) -> Expression:
    match node:
        case SequenceNode(items=items):
            return List(place=node.place, raw="[", items=tuple(_expression(item) for item in items))
        case MappingNode():
            entries = tuple(
                (_expression(key), _expression(value)) for key, value in node.pairs() if key.text != _COMMENT
            )
            return Map(place=node.place, raw="{", entries=entries)
        case ScalarNode(text=text) if node.style:
            return Template(place=node.place, raw=text, source=node.source, escaped=False)
        case ScalarNode(text=text) if node.is_null:
            return Literal(place=node.place, raw=text, text=None)
        case ScalarNode(text=text):
            return Literal(place=node.place, raw=text, text=number(text) if _NUMBER.fullmatch(text) else text)
    raise TypeError(node)
