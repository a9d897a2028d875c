"""Compose files put together to projects: documents, `extends`, `include`, overrides (compose-go parsing.md, loader/).

Each document is read with its own variables; what its services extend is put under them; what it includes is added; and
the result is merged over that of the documents and files before it.
"""

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pullgate_finders.compose import dotenv
from pullgate_finders.compose.interpolation import PROJECT_NAME, Variables, interpolated
from pullgate_finders.compose.parts import (
    OVERRIDE,
    Branch,
    Part,
    Removed,
    Scope,
    is_same,
    merged,
    read_leaf,
    read_models,
    read_service,
)
from pullgate_finders.found import Finding, Kind, Place, Trouble, found
from pullgate_finders.port import Search, UnreadableFileError
from pullgate_finders.tree import join
from pullgate_finders.values import Known, Text, Unknown
from pullgate_finders.yaml_nodes import InvalidYamlError, MappingNode, Node, ScalarNode, SequenceNode, load

MAX_DEPTH = 30
"""Files that include each other, and services that extend each other, one after another."""

MAX_FILES = 200
"""Files that one project includes: files that each include two others twice would be any number."""

OCI = "oci://"
_REMOTE = ("https://", "http://", "git://", "ssh://", "github.com/", "git@")


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """What several files say together.

    Attributes:
        services, models: by name.
        others: services that have the name of another one, so that Compose refuses the project.
        findings: what was found, and what was in the way, while they were put together.
    """

    services: Branch
    models: Branch
    others: tuple[tuple[str, Branch], ...]
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Document:
    """A document of a file; of a service that is given twice the last one counts."""

    file: str
    root: MappingNode
    services: Mapping[str, tuple[ScalarNode, Node]]


@dataclass(slots=True, kw_only=True)
class Loader:
    """Reads projects out of files; a file is parsed once.

    Attributes:
        texts: of files that are read already, by path.
    """

    search: Search
    texts: Mapping[str, str]
    _documents: dict[str, list[_Document]] = field(default_factory=dict)
    _broken: dict[str, Trouble] = field(default_factory=dict)
    _reads: int = 0
    _included_parts: dict[object, tuple[Variables, Branch]] = field(default_factory=dict)
    _others: list[tuple[str, Branch]] = field(default_factory=list)

    def project(self, files: Sequence[str], directory: str, variables: Variables) -> Project:
        """What files say together, the later ones over the earlier ones.

        Args:
            directory: of the project, where relative paths lead from.
        """
        self._others, self._included_parts, self._reads = [], {}, 0
        scope = Scope(variables=self._named(files, variables), directory=directory)
        parts = self._together(files, scope, ())
        return Project(
            services=_branch(parts, "services"),
            models=_branch(parts, "models"),
            others=tuple(self._others),
            findings=tuple(scope.findings),
        )

    def variables(self, files: Sequence[str], outer: Variables, findings: list[Finding]) -> Variables:
        """Variables, and those of `.env` files behind them; of two files the later one counts.

        Args:
            findings: collects what is wrong in the files.
        """
        if not files:
            return outer
        values: dict[str, Text] = {}
        for file in files:
            try:
                text = self.search.files.read(file)
            except UnreadableFileError as error:
                findings.append(Trouble(place=Place(file, 1, 1, 1, 1), problem=error.problem))
                continue
            read, malformed = dotenv.read(file, text, outer.with_defaults(values))
            values.update(read)
            findings.extend(malformed)
        return outer.with_defaults(values)

    def _named(self, files: Sequence[str], variables: Variables) -> Variables:
        """The variables with the project's name, where a file says it; the last one that does counts."""
        names = [
            interpolated(name.text, variables, f"{name.place.file}:{name.place.line}")
            for file in files
            for document in self._documents_of(file)
            if (name := document.root.scalar("name")) is not None
        ]
        return variables.with_defaults({PROJECT_NAME: names[-1]}) if names else variables

    def _together(
        self, files: Sequence[str], scope: Scope, chain: tuple[str, ...], named_at: Place | None = None
    ) -> Branch:
        """The files merged.

        Args:
            chain: the files that include each other, down to this one.
            named_at: where another file names them.
        """
        outcome = Branch(at=Place(files[0], 1, 1, 1, 1), entries={})
        for file in files:
            self._tell_of_broken(file, scope, named_at)
            for document in self._documents_of(file):
                part = merged(outcome, self._document(document, scope, (*chain, file)))
                outcome = part if isinstance(part, Branch) else outcome
        return outcome

    def _document(self, document: _Document, scope: Scope, chain: tuple[str, ...]) -> Branch:
        root = document.root
        entries: dict[str, Part] = {}
        services = root.get("services")
        if services is not None and (scope.is_reset(services) or scope.is_mapping(services, "services")):
            entries["services"] = self._services(document, services, scope)
        models = root.get("models")
        read = read_models(models, models.place, scope) if models is not None else None
        if read is not None:
            entries["models"] = read
        own = Branch(at=root.place, entries=entries)
        include = root.get("include")
        return own if include is None else self._with_included(own, include, scope, chain)

    def _services(self, document: _Document, node: Node, scope: Scope) -> Part:
        if not isinstance(node, MappingNode):
            return Removed()
        services = ((name, self._service(document, name, scope.within(node), ())) for name in document.services)
        entries = {name: service for name, service in services if service is not None}
        return Branch(at=node.place, entries=entries, replaces=node.tag == OVERRIDE)

    def _service(self, document: _Document, name: str, scope: Scope, chain: tuple[tuple[str, str], ...]) -> Part | None:
        """A service with what it extends.

        Args:
            chain: files and names of the services that extend each other, down to this one.
        """
        key, node = document.services[name]
        own = read_service(node, key.place, scope)
        extends = node.get("extends") if isinstance(node, MappingNode) else None
        if extends is None or not isinstance(own, Branch):
            return own
        base = self._extended(document, extends, scope, (*chain, (document.file, name)))
        both = own if base is None else merged(base, own)
        return replace(both, at=key.place, directory=own.directory) if isinstance(both, Branch) else own

    def _extended(
        self, document: _Document, extends: Node, scope: Scope, chain: tuple[tuple[str, str], ...]
    ) -> Part | None:
        """The service that another one extends, or None; tells why there is none."""
        is_short = isinstance(extends, ScalarNode)
        name = extends if is_short else _scalar(extends, "service")
        file = None if is_short else _scalar(extends, "file")
        wanted = self._known(name, scope) if isinstance(name, ScalarNode) else None
        if wanted is None:
            if name is None:
                scope.tell(extends.place, "`extends` has to name a service")
            return None
        documents: Sequence[_Document] = (document,)
        if file is not None:
            path = self._local(file, scope)
            if path is None:
                return None
            documents = self._documents_of(path)
            self._tell_of_broken(path, scope, file.place)
            step = f"extended by service {chain[-1][1]} ({extends.place.file}:{extends.place.line})"
            scope = replace(scope, directory=posixpath.dirname(path), how=(*scope.how, step))
        outcome: Part | None = None
        is_there = False
        for candidate in documents:
            if wanted in candidate.services:
                is_there = True
                if (candidate.file, wanted) in chain or len(chain) > MAX_DEPTH:
                    scope.tell(extends.place, f"the services that {chain[0][1]} extends go round in a circle")
                    return None
                outcome = merged(outcome, self._service(candidate, wanted, scope, chain))
        if not is_there and documents:
            scope.tell(extends.place, f"there is no service {wanted} in {documents[0].file} to be extended")
        return outcome

    def _with_included(self, own: Branch, include: Node, scope: Scope, chain: tuple[str, ...]) -> Branch:
        if not isinstance(include, SequenceNode):
            scope.tell(include.place, "`include` has to be a list of files")
            return own
        outcome = own
        taken: list[Branch] = []
        for entry in include.items:
            included = self._included(entry, scope, chain)
            if included is not None and all(included is not other for other in taken):
                taken.append(included)
                outcome = self._imported(outcome, included, entry.place, scope)
        return outcome

    def _imported(self, outcome: Branch, included: Branch, at: Place, scope: Scope) -> Branch:
        """What is included put beside what is there already; nothing is merged (compose-go loader/include.go)."""
        entries = dict(outcome.entries)
        for group, members in included.branches():
            present = outcome.branch(group)
            together = dict(present.entries) if present else {}
            for name, part in members.branches():
                if name in together and not is_same(together[name], part):
                    problem = f"{name} of {group} is included here and is defined elsewhere too; Compose refuses that"
                    scope.tell(at, problem)
                    self._others.extend([(name, part)] if group == "services" else [])
                together.setdefault(name, part)
            entries[group] = replace(present or members, entries=together)
        return replace(outcome, entries=entries)

    def _included(self, entry: Node, scope: Scope, chain: tuple[str, ...]) -> Branch | None:
        paths = [self._local(path, scope) for path in _texts(entry, "path")]
        if isinstance(entry, MappingNode) and not paths:
            scope.tell(entry.place, "`include` has to name a file as its `path`")
        local = [path for path in paths if path is not None]
        if not local or len(local) < len(paths):
            return None
        inner = self._included_scope(entry, local[0], scope)
        if inner is None:
            return None
        key = (*local, inner.directory, id(inner.variables))
        if key not in self._included_parts:
            self._reads += len(local)
            if local[0] in chain or len(chain) > MAX_DEPTH or self._reads > MAX_FILES:
                scope.tell(entry.place, f"the files that {chain[0]} includes go round in a circle, or are too many")
                return None
            self._included_parts[key] = (inner.variables, self._together(local, inner, chain, entry.place))
        return self._included_parts[key][1]

    def _included_scope(self, entry: Node, first: str, scope: Scope) -> Scope | None:
        """How files are read that are included: in a project directory and with `.env` files of their own."""
        directory = posixpath.dirname(first)
        named = _scalar(entry, "project_directory")
        if named is not None:
            known = self._known(named, scope)
            if known is None:
                return None
            directory = directory_at(scope.directory, known)
        files = (
            [self._known(file, scope) for file in _texts(entry, "env_file")]
            if not isinstance(entry, ScalarNode)
            else []
        )
        env_files = [join(scope.directory, file) for file in files if file is not None and file != "/dev/null"]
        default = join(directory, ".env")
        if not files and self.search.files.is_file(default):
            env_files = [default]
        variables = self.variables(env_files, scope.variables, scope.findings)
        step = f"included by {entry.place.file}:{entry.place.line}"
        return replace(scope, variables=variables, directory=directory, how=(*scope.how, step))

    def _local(self, node: ScalarNode, scope: Scope) -> str | None:
        """The file of the tree that is named; None where it is elsewhere, which is told of."""
        leaf = read_leaf(node, scope)
        path = self._known(node, scope)
        if path is None:
            return None
        if path.startswith(OCI):
            start = len(OCI) if leaf.raw.startswith(OCI) else 0
            text = replace(leaf.text, value=path.removeprefix(OCI)) if isinstance(leaf.text, Known) else leaf.text
            place = leaf.place_of(start, len(leaf.raw))
            scope.findings.append(found(place, Kind.INCLUDE, leaf.raw[start:], text, how=scope.how))
        if path.startswith((OCI, *_REMOTE)):
            scope.tell(node.place, f"{path} is not among these files, so what it pulls is not known here")
            return None
        return join(scope.directory, path)

    def _known(self, node: ScalarNode, scope: Scope) -> str | None:
        """A text that has to be known for going on; tells of it where it is not."""
        match read_leaf(node, scope).text:
            case Unknown(reason):
                scope.tell(node.place, f'what "{node.text}" stands for is not known: {reason}')
                return None
            case Known(value):
                return value

    def _documents_of(self, file: str) -> Sequence[_Document]:
        """The documents of a file, up to the first that cannot be read."""
        if file not in self._documents:
            self._documents[file] = documents = []
            try:
                text = self.texts.get(file)
                for root in load(file, self.search.files.read(file) if text is None else text):
                    if isinstance(root, MappingNode):
                        services = {key.text: (key, value) for key, value in root.pairs("services")}
                        documents.append(_Document(file=file, root=root, services=services))
                    elif not (isinstance(root, ScalarNode) and root.is_null):
                        self._broken[file] = Trouble(place=root.place, problem="a Compose file has to be a mapping")
            except UnreadableFileError as error:
                self._broken[file] = Trouble(place=Place(file, 1, 1, 1, 1), problem=error.problem)
            except InvalidYamlError as error:
                place = Place(file, error.line, error.column, error.line, error.column)
                self._broken[file] = Trouble(place=place, problem=error.problem)
        return self._documents[file]

    def _tell_of_broken(self, file: str, scope: Scope, named_at: Place | None) -> None:
        """Tells why a file cannot be read, where another one names it if there is no such file."""
        self._documents_of(file)
        trouble = self._broken.get(file)
        if trouble is None:
            return
        if named_at is not None and not self.search.files.is_file(file):
            trouble = Trouble(place=named_at, problem=f"{file} {trouble.problem}")
        if trouble not in scope.findings:
            scope.findings.append(trouble)


def directory_at(directory: str, path: str) -> str:
    """A directory that is named in a file of another one; "" for the root of the tree."""
    joined = join(directory, path)
    return "" if joined == "." else joined


def is_remote(path: str) -> bool:
    """Whether a build context is fetched from elsewhere (compose-go paths/context.go)."""
    return path.startswith(_REMOTE)


def _branch(parts: Branch, name: str) -> Branch:
    return parts.branch(name) or Branch(at=parts.at, entries={})


def _scalar(node: Node, key: str) -> ScalarNode | None:
    return node.scalar(key) if isinstance(node, MappingNode) else None


def _texts(entry: Node, key: str) -> Iterator[ScalarNode]:
    """The one text, or the several, that an entry of `include` names; a text alone is the entry's path."""
    value = entry.get(key) if isinstance(entry, MappingNode) else entry
    for node in value.items if isinstance(value, SequenceNode) else (value,):
        if isinstance(node, ScalarNode) and not node.is_null:
            yield node
