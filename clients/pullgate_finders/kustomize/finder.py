"""kustomization.yaml: the images that are put instead of others, and those in patches.

Fields are those of kustomize's api/types/kustomization.go. Resources are files of their own, read as what they are.
"""

import posixpath
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pullgate_finders.found import Finding, Kind, Trouble, found
from pullgate_finders.helm.chart import Chart
from pullgate_finders.helm.images import find_in_values
from pullgate_finders.kubernetes.documents import documents, documents_within, put_at
from pullgate_finders.kubernetes.objects import find_in_fragment, find_in_object
from pullgate_finders.kustomize.images import find_in_images
from pullgate_finders.kustomize.resources import NAMES, PATCHES, parts_of_patch, resources_of
from pullgate_finders.port import Search, UnreadableFileError
from pullgate_finders.tree import directory_of, join
from pullgate_finders.values import Known
from pullgate_finders.yaml_nodes import MappingNode, Node, ScalarNode, SequenceNode


@dataclass(frozen=True, slots=True)
class KustomizeFinder:
    """Finds the images that kustomizations put instead of others."""

    name: str = "Kustomize"

    def claims(self, path: str) -> bool:
        """The names that kustomize looks for, and no others."""
        return posixpath.basename(path) in NAMES

    def recognises(self, text: str) -> bool:
        """A file of such a name that speaks of images or patches."""
        return "image" in text or "patch" in text

    def find(self, path: str, text: str, search: Search) -> Iterator[Finding]:
        """The images, and those of patches; also of JSON patches in files, which do not say what they are."""
        for document in documents(path, text):
            if isinstance(document, Trouble):
                yield document
            elif isinstance(document, MappingNode):
                yield from _in_kustomization(document, path, search)


def _in_kustomization(root: MappingNode, path: str, search: Search) -> Iterator[Finding]:
    api_version = root.scalar("apiVersion")
    if api_version is not None and not api_version.text.startswith("kustomize.config.k8s.io/"):
        # Flux gives its own objects this kind, and often this file name.
        yield from find_in_object(root)
        return
    yield from find_in_images(root.items("images"), "images", lambda: resources_of(root, path, search.files))
    for field in PATCHES:
        for patch in root.items(field):
            yield from _in_patch(patch, path, search)
    for chart in root.items("helmCharts"):
        values = chart.get("valuesInline") if isinstance(chart, MappingNode) else None
        if isinstance(chart, MappingNode) and isinstance(values, MappingNode):
            name = chart.scalar("name")
            within = f"chart {name.text}" if name is not None else "chart"
            yield from find_in_values(values, Chart.unknown("the chart is not here"), within)


def _in_patch(patch: Node, path: str, search: Search) -> Iterator[Finding]:
    inline, file = parts_of_patch(patch)
    if inline is not None:
        yield from put_at(_in_documents(documents_within(inline)), inline.source.whole)
    if file is not None and "://" not in file.text:
        named = join(directory_of(path), file.text)
        try:
            text = search.files.read(named)
        except UnreadableFileError as error:
            yield Trouble(place=file.place, problem=f"this patch cannot be read: {error}")
            return
        # A merge patch is found in its own file, for it looks like an object.
        yield from _json_patches(documents(named, text))


def _in_documents(patches: Iterable[Node | Trouble]) -> Iterator[Finding]:
    for patch in patches:
        if isinstance(patch, MappingNode):
            yield from find_in_object(patch)
        else:
            yield from _json_patches([patch])


def _json_patches(patches: Iterable[Node | Trouble]) -> Iterator[Finding]:
    """The images that operations of JSON patches (RFC 6902) put in."""
    for patch in patches:
        if isinstance(patch, Trouble):
            yield patch
        for operation in patch.items if isinstance(patch, SequenceNode) else ():
            if isinstance(operation, MappingNode):
                yield from _operation(operation)


def _operation(operation: MappingNode) -> Iterator[Finding]:
    name, pointer, value = operation.scalar("op"), operation.scalar("path"), operation.get("value")
    if name is None or pointer is None or value is None or name.text not in {"add", "replace"}:
        return
    keys = pointer.text.split("/")
    if isinstance(value, ScalarNode):
        is_volume = keys[-2:] == ["image", "reference"] and "volumes" in keys
        if value.text and (keys[-1] == "image" or is_volume):
            kind = Kind.VOLUME if is_volume else Kind.IMAGE
            yield found(value.place, kind, value.source.text, Known(value.text), within=f"patch of {pointer.text}")
        return
    # The value with the keys that lead to it, so that it is seen for what it is: `containers: [...]`.
    named = [key for key in keys if key and key != "-" and not key.isdecimal()]
    if named and keys[-1] != named[-1]:
        value = SequenceNode(value.place, "", (value,))
    if named:
        value = MappingNode(value.place, "", ((_key(pointer, named[-1]), value),))
    yield from find_in_fragment(value, f"patch of {pointer.text}")


def _key(pointer: ScalarNode, text: str) -> ScalarNode:
    return ScalarNode(pointer.place, "", text, "", pointer.source)
