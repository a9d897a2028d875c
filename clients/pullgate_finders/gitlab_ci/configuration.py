"""The configuration of a pipeline: a file with all that it includes (GitLab's "CI/CD YAML syntax", `include`)."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pullgate_finders.continuous_integration import documents
from pullgate_finders.found import Finding, Kind, Trouble, found
from pullgate_finders.gitlab_ci.variables import Inputs, with_inputs
from pullgate_finders.port import Files, Search, UnreadableFileError
from pullgate_finders.tree import join
from pullgate_finders.values import Known, Text, Unknown, joined
from pullgate_finders.yaml_nodes import MappingNode, Node, ScalarNode, SequenceNode, walk

MAX_INCLUDES = 150
"""How many files GitLab includes in a pipeline."""

_ELSEWHERE = {
    "remote": "it is fetched from another server, and not read here",
    "project": "it lies in another project, and is not read here",
    "template": "it is a template that comes with GitLab, and is not read here",
    "component": "it is a component of another project, and is not read here",
    "artifact": "it is made by a job of the pipeline",
}
_URL = re.compile(r"https?://", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Source:
    """A file of a configuration.

    Attributes:
        root: what stands in it, after the header.
        inputs: what the inputs of its header come to.
    """

    file: str
    root: MappingNode
    inputs: Inputs


@dataclass(slots=True, kw_only=True)
class Configuration:
    """A file with all that it includes.

    Attributes:
        root: the directory of the project within the tree.
        sources: the files, those that are included before those that include them; the later ones win.
        findings: what was included from elsewhere, and what could not be read.
        alone: as of `Found`.
        how: as of `Found`.
    """

    search: Search
    root: str
    alone: bool = False
    how: tuple[str, ...] = ()
    sources: list[Source] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    _inputs_of: dict[ScalarNode, Inputs] = field(default_factory=dict)
    _includes: int = 0

    def text_of(self, node: ScalarNode) -> Text:
        """The text of a scalar with the inputs of its file."""
        return with_inputs(node.text, self._inputs_of.get(node, {}))

    @property
    def files(self) -> frozenset[str]:
        """The files that were read."""
        return frozenset(source.file for source in self.sources)

    @property
    def is_complete(self) -> bool:
        """Whether all was read that belongs to it."""
        return not self.findings

    def merged(self) -> MappingNode | None:
        """All of it, as GitLab merges it: mappings key by key, of all else the last."""
        whole: MappingNode | None = None
        for source in self.sources:
            root = self._with_names(source)
            whole = root if whole is None else merge(whole, root)
        return whole

    def _with_names(self, source: Source) -> MappingNode:
        """The root with the inputs in the names of its jobs replaced."""
        entries = []
        for key, value in source.root.entries:
            name = with_inputs(key.text, source.inputs)
            text = name.value if isinstance(name, Known) else key.text
            entries.append((ScalarNode(key.place, key.tag, text, key.style, key.source), value))
        return MappingNode(source.root.place, source.root.tag, tuple(entries))

    def add(self, file: str, text: str, given: Inputs | None, within: tuple[str, ...] = ()) -> None:
        """Reads a file, and before it what it includes.

        Args:
            given: the inputs that whoever includes it gives; None where it may be included or started by others.
            within: the files that include it.
        """
        roots: list[MappingNode] = []
        for document in documents(file, text):
            if isinstance(document, Trouble):
                self.findings.append(document)
            elif isinstance(document, MappingNode):
                roots.append(document)
        if not roots:
            return
        has_header = len(roots) > 1 and roots[0].get("spec") is not None
        inputs = _inputs(roots[0] if has_header else None, given)
        root = roots[1] if has_header else roots[0]
        if inputs:
            scalars = (node for node in walk(root) if isinstance(node, ScalarNode) and "$[[" in node.text)
            self._inputs_of.update(dict.fromkeys(scalars, inputs))
        self.include(root.get("include"), (*within, file))
        self.sources.append(Source(file, root, inputs))

    def include(self, node: Node | None, within: tuple[str, ...]) -> None:
        """Reads what an `include` names."""
        entries = node.items if isinstance(node, SequenceNode) else (node,)
        for entry in entries:
            if isinstance(entry, ScalarNode) and not entry.is_null:
                self._include_from("remote" if _URL.match(entry.text) else "local", entry, {}, within)
            elif isinstance(entry, MappingNode):
                given = self._given(entry.get("inputs"))
                for source in ("local", *_ELSEWHERE):
                    named = entry.scalar(source)
                    if named is not None:
                        self._include_from(source, named, given, within)

    def _given(self, node: Node | None) -> Inputs:
        return {
            key.text: joined(
                self.text_of(value), Known("", (f"input {key.text} ({value.place.file}:{value.place.line})",))
            )
            for key, value in (node.entries if isinstance(node, MappingNode) else ())
            if isinstance(value, ScalarNode)
        }

    def _include_from(self, source: str, named: ScalarNode, given: Inputs, within: tuple[str, ...]) -> None:
        path = self.text_of(named)
        if isinstance(path, Known) and "$" in path.value:
            path = Unknown("its name depends on a variable of the pipeline")
        if source != "local":
            path = Unknown(_ELSEWHERE[source])
        if isinstance(path, Unknown):
            reason = f"what is included here may name images: {path.reason}"
            self.findings.append(
                found(named.place, Kind.INCLUDE, named.text, Unknown(reason), how=self.how, alone=self.alone)
            )
            return
        paths = list(_matching(self.search.files, self.root, path.value))
        if not paths:
            self.findings.append(Trouble(place=named.place, problem=f"no file matches {path.value}"))
        for file in paths:
            self._include_file(file, named, given, within)

    def _include_file(self, file: str, named: ScalarNode, given: Inputs, within: tuple[str, ...]) -> None:
        self._includes += 1
        if self._includes > MAX_INCLUDES:
            if self._includes == MAX_INCLUDES + 1:
                problem = f"more than {MAX_INCLUDES} files are included, which GitLab refuses"
                self.findings.append(Trouble(place=named.place, problem=problem))
            return
        if file in within:
            problem = f"{file} includes itself, by way of {' and '.join(within[within.index(file) :])}"
            self.findings.append(Trouble(place=named.place, problem=problem))
            return
        try:
            text = self.search.files.read(file)
        except UnreadableFileError as error:
            self.findings.append(Trouble(place=named.place, problem=str(error)))
            return
        self.add(file, text, given, within)


def merge(lower: MappingNode, upper: MappingNode) -> MappingNode:
    """Two mappings as one; where both have a key, mappings are merged and of all else the upper one counts."""
    entries: dict[str, tuple[ScalarNode, Node]] = {key.text: (key, value) for key, value in lower.entries}
    for key, value in upper.entries:
        below = entries[key.text][1] if key.text in entries else None
        is_mapping = isinstance(below, MappingNode) and isinstance(value, MappingNode)
        entries[key.text] = (key, merge(below, value) if is_mapping else value)  # type: ignore[arg-type]
    return MappingNode(upper.place, upper.tag, tuple(entries.values()))


def _inputs(header: MappingNode | None, given: Inputs | None) -> Mapping[str, Text]:
    """What the inputs of a header come to: what is given, else their defaults."""
    inputs: dict[str, Text] = {}
    for key, declaration in header.pairs("spec", "inputs") if header is not None else ():
        name = key.text
        default = declaration.get("default") if isinstance(declaration, MappingNode) else None
        if given is not None and name in given:
            inputs[name] = given[name]
        elif isinstance(default, ScalarNode):
            how = f"default of input {name} ({default.place.file}:{default.place.line})"
            inputs[name] = Known("" if default.is_null else default.text, (how,), overridable=given is None)
        elif default is not None:
            inputs[name] = Unknown(f"input {name} is a list, where a text is wanted")
        else:
            inputs[name] = Unknown(f"input {name} has no default; whoever includes this file gives it")
    return inputs


def _matching(files: Files, root: str, pattern: str) -> Iterator[str]:
    """The files that a local include names: `*` stands for any characters but `/`, `**` for any at all."""
    path = join(root, pattern.lstrip("/"))
    if "*" not in path:
        if files.is_file(path):
            yield path
        return
    fixed = path[: path.index("*")].rpartition("/")[0]
    parts = re.split(r"(\*\*|\*)", path)
    yield from (file for file in sorted(_files_below(files, fixed)) if _matches(parts, file))


def _matches(parts: Sequence[str], path: str) -> bool:
    """Whether a path matches a pattern of texts, `*` and `**`; the ends that each part may have are kept."""
    ends = {0}
    for part in parts:
        if part == "**":
            ends = set(range(min(ends), len(path) + 1))
        elif part == "*":
            ends = _up_to_slash(ends, path)
        else:
            ends = {end + len(part) for end in ends if path.startswith(part, end)}
        if not ends:
            return False
    return len(path) in ends


def _up_to_slash(starts: Iterable[int], path: str) -> set[int]:
    ends: set[int] = set()
    for start in sorted(starts):
        end = start
        while end not in ends:
            ends.add(end)
            if end == len(path) or path[end] == "/":
                break
            end += 1
    return ends


def _files_below(files: Files, directory: str) -> Iterator[str]:
    pending = [directory]
    while pending:
        current = pending.pop()
        yield from (join(current, name) for name in files.names(current) if name.endswith((".yml", ".yaml")))
        pending.extend(join(current, name) for name in files.directories(current))
