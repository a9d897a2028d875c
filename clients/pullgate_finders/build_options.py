"""Where the image stands in what a build is told: caches, named contexts and attestations.

The functions look at a text as it is written, so that they tell a place; variables in it are replaced by who asks.
Sources: the reference of `docker buildx build` (--build-context, --cache-from, --attest), "Cache storage backends" and
"SBOM attestations" of the documentation of Docker Build.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

from pullgate_finders.found import Kind
from pullgate_finders.values import Known, Text, Unknown
from pullgate_finders.yaml_nodes import Node, ScalarNode

DEFAULT_GENERATOR = "docker/buildkit-syft-scanner:stable-1"
"""Makes the list of contents (SBOM) where no other generator is named (BuildKit, solver/llbsolver/proc/sbom.go)."""

_IMAGE_CONTEXT = re.compile(r"docker-image:(?://)?")
_FIELD = re.compile(r'(?:\$\{[^}]*+\}|\{\{[^}]*+\}\}|"[^"]*+"|[^,"])++')
_FALSE = frozenset({"0", "f", "false"})

Range = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """An option of `docker build` in a list of its arguments.

    Attributes:
        node: the text that the value stands in.
        start: where in it.
    """

    name: str
    node: ScalarNode
    start: int

    @property
    def key(self) -> str:
        """What stands before the `=` in the value; empty where there is none."""
        key, separator, _ = self.node.text[self.start :].partition("=")
        return key if separator else ""

    @property
    def value(self) -> str:
        """What stands behind the `=` in the value."""
        return self.node.text[self.start :].partition("=")[2]

    @property
    def kind(self) -> Kind:
        """What an image in it is used for."""
        return Kind.CACHE if self.name == "--cache-from" else Kind.CONTEXT

    @property
    def image(self) -> Range | None:
        """Where in the text of the node an image stands."""
        part, start = None, self.start
        match self.name:
            case "--cache-from":
                part = image_in_cache(self.node.text[start:])
            case "--build-context":
                start += len(self.key) + 1
                part = image_in_context(self.node.text[start:])
        return (part[0] + start, part[1] + start) if part else None


def flags_in(words: Sequence[Node]) -> Iterator[Flag]:
    """The options in a list of arguments: `--name=value`, or `--name` with the value as the next one."""
    nodes = [word for word in words if isinstance(word, ScalarNode)]
    for node, following in zip_longest(nodes, nodes[1:]):
        name, separator, _ = node.text.partition("=")
        if separator and name.startswith("--"):
            yield Flag(name=name, node=node, start=len(name) + 1)
        elif node.text.startswith("--") and following is not None:
            yield Flag(name=node.text, node=following, start=0)


def image_in_context(value: str) -> Range | None:
    """Where the image stands in a named context, as `docker-image://alpine`; None for a path, a URL or a target."""
    match = _IMAGE_CONTEXT.match(value)
    return (match.end(), len(value)) if match else None


def image_of_context(text: Text) -> Text | None:
    """The image that the value of a named context is, as far as it is known; None where it is something else."""
    part = image_in_context(text.value if isinstance(text, Known) else text.beginning)
    if isinstance(text, Unknown):
        return replace(text, beginning=text.beginning[slice(*part)] if part else "")
    return replace(text, value=text.value[slice(*part)]) if part else None


def image_in_cache(entry: str) -> Range | None:
    """Where the image stands in an entry of `cache-from`: `user/app:cache` or `type=registry,ref=user/app:cache`."""
    if not entry or "=" not in _without_variables(entry):
        return (0, len(entry)) if entry else None
    fields = _fields(entry)
    return fields.get("ref") if _text(entry, fields, "type") == "registry" else None


def image_in_attestation(entry: str) -> Range | None:
    """Where the generator's image stands in `type=sbom,generator=…`; an empty range where the default one is taken."""
    fields = _fields(entry)
    if _text(entry, fields, "type") != "sbom" or _text(entry, fields, "disabled", "false").lower() not in _FALSE:
        return None
    return fields.get("generator", (0, 0))


def _fields(entry: str) -> dict[str, Range]:
    """Where the values of `key=value,key=value` stand; a quoted field is what stands between its quotes."""
    found: dict[str, Range] = {}
    for match in _FIELD.finditer(entry):
        start, end = match.span()
        if entry[start] == '"' == entry[end - 1] and end - start > 1:
            start, end = start + 1, end - 1
        key, separator, _ = entry[start:end].partition("=")
        if separator:
            found[key.strip().lower()] = (start + len(key) + 1, end)
    return found


def _text(entry: str, fields: dict[str, Range], key: str, default: str = "") -> str:
    start, end = fields.get(key, (0, 0))
    return entry[start:end] if key in fields else default


def _without_variables(entry: str) -> str:
    return re.sub(r"\$\{[^}]*+\}|\{\{[^}]*+\}\}", "", entry)
