"""Images in the values of Helm charts.

Charts write them in two ways, neither of which Helm itself knows: as a mapping of `registry`, `repository`, `tag` and
`digest`, and as `image: text`. Both are defaults, which whoever installs the chart may override.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from pullgate_finders.found import Finding, Kind, found
from pullgate_finders.helm.chart import Chart, Path, as_helm_prints, value_text
from pullgate_finders.helm.expressions import evaluate
from pullgate_finders.values import Known, Text, Unknown, joined
from pullgate_finders.yaml_nodes import MappingNode, Node, ScalarNode, SequenceNode

_IMAGE_KEY = re.compile(r".*image", re.IGNORECASE)
_IMAGES_KEY = re.compile(r".*images", re.IGNORECASE)
_TAGS = ("tag", "imageTag", "version")
_SIGNS = ("tag", "imageTag", "digest", "sha", "registry", "pullPolicy", "imagePullPolicy")
_SOURCE_KEYS = frozenset({"git", "repo", "chart", "helm", "source", "dependencies"})
_REFERENCE = re.compile(r"[a-zA-Z0-9\[][^\s{}]*[:/@][^\s{}]*")
_LIKELY = re.compile(rf"{_REFERENCE.pattern}|.*\{{\{{")
_NO_IMAGE = re.compile(r"[-+]?[0-9.]+|true|false|.+\.(?:png|svg|jpe?g|gif|webp|ico|bmp|avif)", re.IGNORECASE)
_REGISTRY_FOR_ALL = ("global", "imageRegistry")
_USES_REGISTRY_FOR_ALL = ("imageRegistry", "common.images")
"""What stands in templates that put it before an image: itself, or Bitnami's common chart."""

_TEMPLATE = "{{"
_RENDERS_VALUES = ("tpl", "common.images")
_HEX = re.compile(r"[0-9a-f]{64}")


def find_in_values(root: MappingNode, chart: Chart, within: str = "") -> Iterator[Finding]:
    """The images in a document of values.

    Args:
        chart: the one they are for; what they do not say stays as it has it.
        within: what they are part of.
    """
    chart = chart.given(root)
    for_all = chart.value(_REGISTRY_FOR_ALL) if chart.mentions(*_USES_REGISTRY_FOR_ALL) else None
    registry = value_text(for_all, _REGISTRY_FOR_ALL) if isinstance(for_all, ScalarNode) and for_all.text else None
    pending: list[tuple[Node, Path]] = [(root, ())]
    while pending:
        node, path = pending.pop()
        if isinstance(node, SequenceNode):
            pending.extend((item, (*path, str(number))) for number, item in enumerate(node.items))
        elif isinstance(node, MappingNode):
            yield from _Values(node, path, chart, registry, within).findings()
            pending.extend((value, (*path, key)) for key, value in _last_values(node))
        elif isinstance(node, ScalarNode) and _is_among_images(path) and _REFERENCE.fullmatch(node.text):
            yield from _Values(root, path[:-1], chart, registry, within).text(node, path[-1])


@dataclass(frozen=True, slots=True)
class _Values:
    """A mapping among values, at its path.

    Attributes:
        registry_for_all: the one that stands instead of those of all images of a chart.
    """

    node: MappingNode
    path: Path
    chart: Chart
    registry_for_all: Known | None
    within: str

    def findings(self) -> Iterator[Finding]:
        """The image that the mapping is, and those that are texts in it."""
        name_key = self._name_key()
        if name_key:
            yield from self._mapping(name_key)
        elif self._is_image and (self._own("tag") or self._own("digest")):
            yield from self._partial()
        for key, value in _last_values(self.node):
            if key != name_key and isinstance(value, ScalarNode) and not value.is_null and value.text:
                is_text = key == "image" or (_IMAGE_KEY.fullmatch(key) and _LIKELY.match(value.text))
                if is_text:
                    yield from self.text(value, key)

    def text(self, value: ScalarNode, key: str) -> Iterator[Finding]:
        """An image that is written as one text; what does not read as one is not reported, for values are free."""
        if _NO_IMAGE.fullmatch(value.text) or "://" in value.text:
            return
        text = self._evaluated(value.text)
        how = (".".join((*self.path, key)),)
        overridable = joined(Known("", overridable=True), text)
        candidate = found(value.place, Kind.IMAGE, value.source.text, overridable, how=how, within=self.within)
        if candidate.reference is not None or isinstance(text, Unknown):
            yield candidate

    def _name_key(self) -> str:
        """The key that the image's name is under; empty where the mapping is no image."""
        if self.path and self.path[-1] in _SOURCE_KEYS:
            return ""
        has_sign = any(self.node.get(key) is not None for key in _SIGNS)
        repository = self._own("repository")
        if repository is not None:
            return "repository" if (has_sign or self._is_image) and "://" not in repository.text else ""
        has_version = any(self._own(key) for key in ("tag", "imageTag", "digest", "sha", "registry"))
        if self._own("image") is not None and has_version:
            return "image"
        is_named = self._own("name") is not None and self._is_image and has_version
        return "name" if is_named else ""

    @property
    def _is_image(self) -> bool:
        key = self.path[-1] if self.path else ""
        return _IMAGE_KEY.fullmatch(key) is not None or _is_among_images(self.path)

    def _mapping(self, name_key: str) -> Iterator[Finding]:
        name = self._own(name_key)
        if name is not None:
            text = self._joined(value_text(name, (*self.path, name_key)))
            yield found(name.place, Kind.IMAGE, name.source.text, text, within=self.within)

    def _partial(self) -> Iterator[Finding]:
        """A tag or digest alone, as where a file overrides that of another one."""
        at = self._own("tag") or self._own("digest")
        if at is None:
            return
        repository = self._value("repository") or self._value("name")
        text: Text = Unknown(
            f"{'.'.join(self.path)} has no repository here, and so stays that of a chart that is not here; "
            "`helm template` shows what it comes to"
        )
        if repository is not None:
            text = self._joined(value_text(repository, (*self.path, "repository")))
        yield found(at.place, Kind.IMAGE, at.source.text, text, within=self.within)

    def _joined(self, name: Known) -> Text:
        """Registry, name, tag and digest as a reference."""
        parts: list[Text] = [*self._registry(name.value), self._filled(name)]
        tag = next((scalar for key in self._tags() if (scalar := self._value(key)) is not None), None)
        digest = self._digest()
        if tag is not None:
            parts += [Known(":"), self._filled(value_text(tag, (*self.path, "tag")))]
        elif not digest and not _has_tag(name.value):
            parts += [Known(":"), self.chart.default_tag(self.path)]
        return joined(*parts, *digest)

    def _tags(self) -> tuple[str, ...]:
        # Beside an image a `version` may be that of anything.
        return _TAGS if self._is_image or self._own("registry") is not None else _TAGS[:2]

    def _registry(self, name: str) -> tuple[Text, ...]:
        """A registry for all of a chart's images goes before that of one (Bitnami's common chart, images.image)."""
        first, slash, _ = name.partition("/")
        has_own = bool(slash) and ("." in first or ":" in first)
        if self.registry_for_all is not None and not has_own:
            return self.registry_for_all, Known("/")
        registry = self._value("registry")
        if registry is None:
            return ()
        return self._filled(value_text(registry, (*self.path, "registry"))), Known("/")

    def _digest(self) -> tuple[Text, ...]:
        digest, sha = self._value("digest"), self._value("sha")
        if digest is not None:
            return Known("@"), self._filled(value_text(digest, (*self.path, "digest")))
        if sha is not None:
            algorithm = "sha256:" if _HEX.fullmatch(sha.text) else ""
            return Known(f"@{algorithm}"), value_text(sha, (*self.path, "sha"))
        return ()

    def _filled(self, value: Known) -> Text:
        """A value may be a template itself, which the chart gives to `tpl`."""
        return joined(Known("", value.how, value.overridable), self._evaluated(value.value))

    def _evaluated(self, text: str) -> Text:
        """A text of the values as the chart prints it."""
        if _TEMPLATE in text and not self.chart.mentions(*_RENDERS_VALUES):
            return Unknown("it is a template, and the chart's own templates do not render values (they have no tpl)")
        return evaluate(text, self.chart)

    def _own(self, key: str) -> ScalarNode | None:
        scalar = self.node.scalar(key)
        return scalar if scalar is not None and as_helm_prints(scalar) else None

    def _value(self, key: str) -> ScalarNode | None:
        """What is given here, or else by the chart or subchart that this overrides."""
        path = (*self.path, key)
        own = self.node.get(key) or self.chart.value(path) or self.chart.subchart_value(path)
        return own if isinstance(own, ScalarNode) and not own.is_null and own.text else None


def _is_among_images(path: Path) -> bool:
    return bool(path[1:]) and _IMAGES_KEY.fullmatch(path[-2]) is not None


def _has_tag(name: str) -> bool:
    return "@" in name or ":" in name.rpartition("/")[2]


def _last_values(node: MappingNode) -> list[tuple[str, Node]]:
    return list({key.text: value for key, value in node.entries}.items())
