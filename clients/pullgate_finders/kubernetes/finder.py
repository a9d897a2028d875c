"""Finds the images of Kubernetes objects in files."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from pullgate_finders.found import Finding, Trouble
from pullgate_finders.kubernetes.documents import documents
from pullgate_finders.kubernetes.objects import find_in_object
from pullgate_finders.port import Search
from pullgate_finders.yaml_nodes import MappingNode

_ANY_IMAGE = re.compile(r"[iI]mage")


@dataclass(frozen=True, slots=True)
class KubernetesFinder:
    """Finds the images of Kubernetes objects in YAML and JSON files, rendered charts among them."""

    name: str = "Kubernetes"

    def claims(self, path: str) -> bool:
        """Any YAML or JSON file."""
        return path.endswith((".yaml", ".yml", ".json"))

    def recognises(self, text: str) -> bool:
        """A document with `apiVersion` at its top, where something is called an image."""
        if "apiVersion" not in text or "kind" not in text or not _ANY_IMAGE.search(text):
            return False
        return text.lstrip()[:1] in {"{", "["} or _has_object(text)

    def find(self, path: str, text: str, search: Search) -> Iterator[Finding]:
        """The images of every object in the file; trouble for each document that is broken."""
        del search
        for document in documents(path, text):
            if isinstance(document, Trouble):
                yield document
            elif isinstance(document, MappingNode):
                yield from find_in_object(document, text=text)


def _has_object(text: str) -> bool:
    """Whether a document has `apiVersion` as a key at its top, which need not stand at the start of a line."""
    margin: int | None = None
    for line in text.splitlines():
        if line.startswith("---"):
            margin = None
            line = line[3:].lstrip()  # noqa: PLW2901 - a document may begin on that line
        content = line.lstrip(" ")
        if not content or content.startswith(("#", "%")):
            continue
        indentation = len(line) - len(content)
        margin = indentation if margin is None else margin
        if indentation == margin and content.lstrip("\"'{ ").startswith("apiVersion"):
            return True
    return False
