"""What a profile makes of a Skaffold configuration: what it says itself, and what its patches change.

Source: "Profiles" in Skaffold's documentation: what a profile has replaces what the configuration has, lists as a
whole; then its patches are applied, which are those of RFC 6902 with `replace` where no `op` is given.
"""

from collections.abc import Sequence
from dataclasses import replace

from pullgate_finders.found import Trouble
from pullgate_finders.yaml_nodes import MappingNode, Node, ScalarNode, SequenceNode

_SECTIONS = frozenset({"build", "test", "verify", "deploy", "customActions"})
_AT_END = "-"


class _NoSuchPlaceError(Exception):
    """A patch names what is not there."""


def with_profile(root: MappingNode, profile: MappingNode) -> tuple[MappingNode, Sequence[Trouble]]:
    """The configuration with a profile. What the profile leaves as it is are the same nodes as before."""
    own = tuple((key, value) for key, value in profile.entries if key.text in _SECTIONS)
    changed: Node = _merged(root, MappingNode(profile.place, "", own))
    troubles: list[Trouble] = []
    for patch in profile.items("patches"):
        if isinstance(patch, MappingNode):
            try:
                changed = _patched(changed, patch, root)
            except _NoSuchPlaceError:
                path = patch.scalar("path")
                problem = f"the patch changes nothing: there is no {path.text if path else 'path in it'}"
                troubles.append(Trouble(place=path.place if path else patch.place, problem=problem))
    return (changed if isinstance(changed, MappingNode) else root), troubles


def _merged(lower: MappingNode, upper: MappingNode) -> MappingNode:
    entries = {key.text: (key, value) for key, value in lower.entries}
    for key, value in upper.entries:
        known = entries[key.text][1] if key.text in entries else None
        if isinstance(known, MappingNode) and isinstance(value, MappingNode):
            entries[key.text] = (key, _merged(known, value))
        else:
            entries[key.text] = (key, value)
    return MappingNode(lower.place, lower.tag, tuple(entries.values()))


def _patched(node: Node, patch: MappingNode, root: MappingNode) -> Node:
    path, source = patch.scalar("path"), patch.scalar("from")
    if path is None:
        raise _NoSuchPlaceError
    operation = patch.scalar("op")
    match operation.text if operation is not None else "replace":
        case "add" | "replace" as name:
            return _put(node, _keys(path.text), patch.get("value"), path, is_new=name == "add")
        case "remove":
            return _put(node, _keys(path.text), None, path, is_new=False)
        case "copy" | "move" if source is not None:
            return _put(node, _keys(path.text), _at(root, _keys(source.text)), path, is_new=True)
    return node


def _keys(pointer: str) -> list[str]:
    """The keys of a JSON Pointer (RFC 6901)."""
    return [key.replace("~1", "/").replace("~0", "~") for key in pointer.split("/")[1:]]


def _at(node: Node, keys: Sequence[str]) -> Node:
    for key in keys:
        match node:
            case MappingNode():
                value = node.get(key)
            case SequenceNode(items=items):
                value = items[_index(key, len(items) - 1)]
            case _:
                value = None
        if value is None:
            raise _NoSuchPlaceError
        node = value
    return node


def _put(node: Node, keys: Sequence[str], value: Node | None, at: ScalarNode, *, is_new: bool) -> Node:
    """The node with another value at a path, or without one there; all that lies beside the path stays the same."""
    if not keys:
        raise _NoSuchPlaceError
    key, *rest = keys
    match node:
        case MappingNode(entries=entries):
            old = node.get(key)
            if old is None and (rest or not is_new):
                raise _NoSuchPlaceError
            new = _put(old, rest, value, at, is_new=is_new) if rest and old is not None else value
            kept = [(name, given) for name, given in entries if name.text != key]
            name = next((name for name, _ in entries if name.text == key), replace(at, text=key))
            return MappingNode(node.place, node.tag, (*kept, *([(name, new)] if new is not None else [])))
        case SequenceNode(items=items):
            index = len(items) if key == _AT_END else _index(key, len(items) if is_new and not rest else len(items) - 1)
            if rest:
                changed = [_put(items[index], rest, value, at, is_new=is_new)] if index < len(items) else []
            else:
                changed = [value] if value is not None else []
            following = items[index if is_new and not rest else index + 1 :]
            return SequenceNode(node.place, node.tag, (*items[:index], *changed, *following))
    raise _NoSuchPlaceError


def _index(key: str, last: int) -> int:
    if not (key.isascii() and key.isdecimal()) or len(key) > len(str(last)) or int(key) > last:
        raise _NoSuchPlaceError
    return int(key)
