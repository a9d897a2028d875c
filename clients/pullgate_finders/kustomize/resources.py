"""The images of a kustomization's resources, as far as they lie in the tree and nothing but `images` changes them."""

import itertools
from collections.abc import Iterator

from pullgate_finders.found import Found, Kind, Place, Trouble
from pullgate_finders.kubernetes.documents import documents
from pullgate_finders.kubernetes.objects import find_in_fragment
from pullgate_finders.kustomize.images import Resources, entries_of
from pullgate_finders.port import Files, UnreadableFileError
from pullgate_finders.tree import directory_of, join
from pullgate_finders.yaml_nodes import MappingNode, Node, ScalarNode

NAMES = ("kustomization.yaml", "kustomization.yml", "Kustomization")
"""The names that kustomize looks for, and no others."""

PATCHES = ("patches", "patchesJson6902", "patchesStrategicMerge")
MAX_KUSTOMIZATIONS = 100
"""So many kustomizations are read for one, those that are named twice counted twice."""

MAX_IMAGES = 1000
"""So many different images are kept of the resources."""

_CHANGING = (
    "components",
    "configurations",
    "generators",
    "helmChartInflationGenerator",
    "helmCharts",
    "replacements",
    "transformers",
    "vars",
)
"""What may add images to those of the resources, or change them, in ways that are not followed here."""


def parts_of_patch(patch: Node) -> tuple[ScalarNode | None, ScalarNode | None]:
    """The text of a patch, or the file it names; the old field for merge patches has either without a key."""
    if isinstance(patch, MappingNode):
        return patch.scalar("patch"), patch.scalar("path")
    if isinstance(patch, ScalarNode):
        return (patch, None) if "\n" in patch.text else (None, patch)
    return None, None


def resources_of(root: MappingNode, path: str, files: Files) -> Resources:
    """The images of the resources of a kustomization before its own `images` change them."""
    return _Reader(files).read(root, path)


class _Reader:
    """Reads the resources of one kustomization and of those below it."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._left = MAX_KUSTOMIZATIONS

    def read(self, root: MappingNode, path: str) -> Resources:
        self._left -= 1
        if self._left < 0:
            return Resources(doubt="there are too many kustomizations below this one, or they name each other")
        images: dict[str, str] = {}
        doubts = list(self._changes(root, path))
        named = [
            item.text for key in ("resources", "bases") for item in root.items(key) if isinstance(item, ScalarNode)
        ]
        for name in dict.fromkeys(named):
            there = self._resource(name, path)
            images |= {text: where for text, where in there.images.items() if text not in images}
            doubts.append(there.doubt)
        if len(images) > MAX_IMAGES:
            doubts.append(f"there are more than {MAX_IMAGES} images")
            images = dict(itertools.islice(images.items(), MAX_IMAGES))
        return Resources(images=images, doubt=next(filter(None, doubts), ""))

    def _changes(self, root: MappingNode, path: str) -> Iterator[str]:
        """Why the images may be others than those of the resources."""
        for key in _CHANGING:
            if root.get(key) is not None:
                yield f"{key} of {path} may give others"
        for key in PATCHES:
            if any(self._may_name_image(patch, path) for patch in root.items(key)):
                yield f"{key} of {path} may give others"

    def _may_name_image(self, patch: Node, path: str) -> bool:
        inline, file = parts_of_patch(patch)
        if file is None:
            return inline is not None and "image" in inline.text
        try:
            return "image" in self._files.read(join(directory_of(path), file.text))
        except UnreadableFileError:
            return True

    def _resource(self, name: str, path: str) -> Resources:
        """The images of a file, or of the kustomization in a directory."""
        named = join(directory_of(path), name)
        if self._files.is_file(named):
            return self._file(named)
        for file in NAMES:
            inner = join(named, file)
            if self._files.is_file(inner):
                return self._kustomization(inner)
        return Resources(doubt=f"resource {name} of {path} is not here")

    def _file(self, path: str) -> Resources:
        images: dict[str, str] = {}
        doubt = ""
        for document in self._documents(path):
            if isinstance(document, Trouble):
                doubt = f"{path} cannot be read: {document.problem}"
                continue
            # Of custom resources kustomize changes the containers only, as of everything else.
            for finding in find_in_fragment(document, ""):
                if isinstance(finding, Found) and finding.kind is Kind.IMAGE:
                    images.setdefault(finding.raw, f"{path}:{finding.place.line}")
        return Resources(images=images, doubt=doubt)

    def _kustomization(self, path: str) -> Resources:
        root = next(self._documents(path), None)
        if not isinstance(root, MappingNode):
            return Resources(doubt=f"{path} cannot be read")
        return self.read(root, path).after(entries_of(root.items("images")))

    def _documents(self, path: str) -> Iterator[Node | Trouble]:
        try:
            text = self._files.read(path)
        except UnreadableFileError as error:
            yield Trouble(place=Place(path, 1, 1, 1, 1), problem=error.problem)
            return
        yield from documents(path, text)
