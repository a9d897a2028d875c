"""What a Helm chart says of itself and of its values, as far as it lies in the tree."""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache

from pullgate_finders.compose.numbers import number
from pullgate_finders.port import Files, UnreadableFileError
from pullgate_finders.tree import directory_of, join
from pullgate_finders.values import Known, Text, Unknown
from pullgate_finders.yaml_nodes import InvalidYamlError, MappingNode, Node, ScalarNode, load

VALUES_FILE = "values.yaml"
_CHART_FILE = "Chart.yaml"
_TEMPLATES = "templates"
_FLOAT = re.compile(r"[-+]?[0-9]{1,8}\.[0-9]{1,7}")
"""Numbers that are as exact in 64 bits as they are written."""

_WITH_EXPONENT = re.compile(r"[-+]?[0-9]+(?:\.[0-9]*)?[eE][-+]?[0-9]+")
_OCTAL = re.compile(r"0[0-7]+")

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A chart, or that there is none.

    Attributes:
        directory: where its Chart.yaml is.
        about: what that says; None where it is not here or cannot be read.
        layers: documents of values with the path of keys under which those of this chart are; the first that has a
            value counts. A chart's values come after those that the charts around it give to it (Helm: Subcharts and
            Global Values).
        missing: why there is no chart, where there is none.
        files: the tree that the chart is in; None where there is no chart.
    """

    directory: str = ""
    about: MappingNode | None = None
    layers: tuple[tuple[MappingNode, Path], ...] = ()
    missing: str = ""
    files: Files | None = None
    _subcharts: "dict[str, Chart | None]" = field(default_factory=dict, repr=False, compare=False)
    _texts: dict[str, str] = field(default_factory=dict, repr=False, compare=False)
    _tables: dict[int, dict[str, Node]] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def unknown(cls, reason: str) -> "Chart":
        """A chart that is not here."""
        return cls(missing=reason)

    def given(self, values: MappingNode) -> "Chart":
        """The chart with values that win over its own."""
        return replace(self, layers=((values, ()), *self.layers), _tables={})

    def value(self, path: Path) -> Node | None:
        """The default value at a path of keys; None where there is none, or null."""
        for values, prefix in self.layers:
            node = self._at(values, path if path[:1] == ("global",) else (*prefix, *path))
            if node is not None and not (isinstance(node, ScalarNode) and node.is_null):
                return node
        return None

    def text(self, key: str) -> Text | None:
        """A text of Chart.yaml, as `appVersion`; None where there is none."""
        scalar = self.about.scalar(key) if self.about is not None else None
        if scalar is None or not scalar.text:
            return None
        return Known(as_helm_prints(scalar), (f"{key} ({_position(scalar)})",), overridable=True)

    def default_tag(self, path: Path) -> Text:
        """The tag of an image that none is given for: the application's version, as `helm create` writes charts.

        Args:
            path: of the image among the values; the version is that of the subchart that it leads into.
        """
        subchart = self.subchart(path[0]) if path else None
        if subchart is not None:
            return subchart.default_tag(path[1:])
        version = self.text("appVersion")
        if version is not None:
            return version
        if self.missing:
            return Unknown(f"no tag is given and {self.missing}; `helm template` shows which tag it comes to")
        return Unknown(f"no tag is given, and {join(self.directory, _CHART_FILE)} has no appVersion")

    def mentions(self, *words: str) -> bool:
        """Whether its templates, or those of charts in it, mention one of some words; also where it has none here."""
        if _TEMPLATES not in self._texts:
            self._texts[_TEMPLATES] = "\n".join(self._templates())
        texts = self._texts[_TEMPLATES]
        return not texts or any(word in texts for word in words)

    def subchart(self, name: str) -> "Chart | None":
        """The chart whose values are under a key of this one's; an unknown one where it is not in the tree."""
        if name not in self._subcharts:
            self._subcharts[name] = self._read_subchart(name)
        return self._subcharts[name]

    def subchart_value(self, path: Path) -> Node | None:
        """What a subchart in the tree has at the path under which the values of this one may override it."""
        subchart = self.subchart(path[0]) if path else None
        if subchart is None:
            return None
        return subchart.own_value(path[1:]) or subchart.subchart_value(path[1:])

    def own_value(self, path: Path) -> Node | None:
        """The value at a path of keys in the chart's own values.yaml, whatever those around it override."""
        values = self.layers[-1][0] if self.layers else None
        return self._at(values, path) if values is not None else None

    def _at(self, values: MappingNode, path: Path) -> Node | None:
        """As `values.get`, in time that does not grow with the number of values; the layers keep the nodes alive."""
        node: Node | None = values
        for key in path:
            if not isinstance(node, MappingNode):
                return None
            if id(node) not in self._tables:
                self._tables[id(node)] = {name.text: value for name, value in node.entries}
            node = self._tables[id(node)].get(key)
        return node

    def _templates(self) -> Iterator[str]:
        pending = [join(self.directory, name) for name in (_TEMPLATES, "charts")] if self.files is not None else []
        while pending and self.files is not None:
            directory = pending.pop()
            pending.extend(join(directory, name) for name in self.files.directories(directory))
            for name in self.files.names(directory):
                if f"/{_TEMPLATES}/" in f"/{directory}/":
                    with contextlib.suppress(UnreadableFileError):
                        yield self.files.read(join(directory, name))

    def _read_subchart(self, name: str) -> "Chart | None":
        if self.files is None or self.about is None:
            return None
        dependencies = [item for item in self.about.items("dependencies") if isinstance(item, MappingNode)]
        aliased = (item.scalar("name") for item in dependencies if _scalar_text(item, "alias") == name)
        original = next((scalar.text for scalar in aliased if scalar is not None), name)
        directory = join(self.directory, f"charts/{original}")
        if "/" not in original and self.files.is_file(join(directory, _CHART_FILE)):
            return _chart_in(directory, self.files)
        if original != name or any(_scalar_text(item, "name") == name for item in dependencies):
            return Chart.unknown(f"chart {original}, which it is for, is not here")
        return None


def chart_of(path: str, files: Files) -> Chart:
    """The chart that a file belongs to: the one in the nearest directory above that has a Chart.yaml."""
    directory = directory_of(path)
    while not files.is_file(join(directory, _CHART_FILE)):
        if not directory:
            return Chart.unknown("there is no Chart.yaml beside or above this file")
        directory = directory_of(directory)
    return _chart_in(directory, files)


def value_text(scalar: ScalarNode, path: Path) -> Known:
    """A default value as a text."""
    how = f"{'.'.join(path)} ({_position(scalar)})"
    return Known(as_helm_prints(scalar), (how,), overridable=True)


def as_helm_prints(scalar: ScalarNode) -> str:
    """A scalar as a template prints it: `1.10` without quotes is a number, and prints as 1.1.

    Helm reads values by way of JSON (sigs.k8s.io/yaml), which formats numbers as short as they can be; `010` is octal
    and prints as 8, and a commit such as `553640e6` is a number that never prints as it is written.
    """
    value = number(scalar.text) if not scalar.style else None
    if value is None:
        return scalar.text
    if _FLOAT.fullmatch(scalar.text):
        return f"{float(scalar.text):.15g}"
    if _WITH_EXPONENT.fullmatch(scalar.text):
        # No tag has a "+". Helm's versions differ in how they print such a number, and none prints what is written.
        return f"{float(scalar.text):+e}"
    return str(int(scalar.text, 8)) if _OCTAL.fullmatch(scalar.text) else scalar.text


def _chart_in(directory: str, files: Files) -> Chart:
    return Chart(
        directory=directory,
        about=_mapping(join(directory, _CHART_FILE), files),
        layers=tuple(_layers(directory, files)),
        files=files,
    )


def _layers(directory: str, files: Files) -> Iterator[tuple[MappingNode, Path]]:
    chain: list[tuple[str, Path]] = [(directory, ())]
    while True:
        parent, charts, name = _split(chain[-1][0])
        if charts != "charts" or not files.is_file(join(parent, _CHART_FILE)):
            break
        chain.append((parent, (name, *chain[-1][1])))
    for place, prefix in reversed(chain):
        values = _mapping(join(place, VALUES_FILE), files)
        if values is not None:
            yield values, prefix


def _split(directory: str) -> tuple[str, str, str]:
    """A directory's grandparent, parent's name and own name."""
    parent, _, name = directory.rpartition("/")
    grandparent, _, charts = parent.rpartition("/")
    return grandparent, charts, name


def _mapping(path: str, files: Files) -> MappingNode | None:
    """The first document of a file. What cannot be read of it is told where the file itself is read."""
    try:
        return _first_document(path, files.read(path))
    except UnreadableFileError:
        return None


@lru_cache(maxsize=16)
def _first_document(path: str, text: str) -> MappingNode | None:
    """Kept, for each template of a chart asks for the same values."""
    try:
        document = next(load(path, text), None)
    except InvalidYamlError:
        return None
    return document if isinstance(document, MappingNode) else None


def _scalar_text(node: MappingNode, key: str) -> str:
    scalar = node.scalar(key)
    return scalar.text if scalar is not None else ""


def _position(scalar: ScalarNode) -> str:
    return f"{scalar.place.file}:{scalar.place.line}"
