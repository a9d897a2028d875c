"""values.yaml and its like: the defaults of Helm charts, and what is given instead of them."""

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass

from pullgate_finders.found import Finding, Place, Trouble
from pullgate_finders.helm.chart import chart_of
from pullgate_finders.helm.images import find_in_values
from pullgate_finders.port import Search
from pullgate_finders.yaml_nodes import InvalidYamlError, MappingNode, load

_NAME = re.compile(r"values[^/]*\.ya?ml|[^/]*[-._]values\.ya?ml")
_ANY_IMAGE = re.compile(r"[iI]mage|repository:")
_OBJECT = re.compile(r"^apiVersion\s*:", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class HelmValuesFinder:
    """Finds images in the values of Helm charts."""

    name: str = "Helm values"

    def claims(self, path: str) -> bool:
        """`values.yaml`, `values-production.yaml`, `ci/kind-values.yaml`."""
        return _NAME.fullmatch(posixpath.basename(path)) is not None

    def recognises(self, text: str) -> bool:
        """Anything called an image, in a file that is no Kubernetes object."""
        return _ANY_IMAGE.search(text) is not None and not _OBJECT.search(text)

    def find(self, path: str, text: str, search: Search) -> Iterator[Finding]:
        """The images in the first document, which is all that Helm reads."""
        chart = chart_of(path, search.files)
        try:
            document = next(load(path, text), None)
        except InvalidYamlError as error:
            place = Place(path, error.line, error.column, error.line, error.column + 1)
            yield Trouble(place=place, problem=error.problem)
            return
        if isinstance(document, MappingNode):
            yield from find_in_values(document, chart)
