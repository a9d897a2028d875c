"""How a service of a Compose file is built: the images that its build names, and the Dockerfile."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from pullgate_finders import dockerfile
from pullgate_finders.build_options import DEFAULT_GENERATOR
from pullgate_finders.compose.inline import find_inline
from pullgate_finders.compose.interpolation import Variables
from pullgate_finders.compose.loading import directory_at, is_remote
from pullgate_finders.compose.parts import Branch, Leaf
from pullgate_finders.found import Finding, Kind, Place, Trouble, found
from pullgate_finders.port import Search
from pullgate_finders.tree import join
from pullgate_finders.values import Known, Text, Unknown

DEFAULT_DOCKERFILE = "Dockerfile"

_IMAGE_CONTEXT = "docker-image://"
_ON = frozenset({"true", "1", "t", "T", "True", "TRUE"})
_OFF = frozenset({"", "false", "0", "f", "F", "False", "FALSE"})
_FIELD = re.compile(r"(?:^|,)\s*\"?(?P<name>[A-Za-z_-]+)=(?P<value>[^,\"]*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Building:
    """A build of a service.

    Attributes:
        at: where the service's name stands.
        directory: of the project that the service belongs to.
        variables: of the project, for build arguments that are given without a value.
    """

    service: str
    at: Place
    directory: str
    build: Branch
    variables: Variables

    def references(self, search: Search) -> Iterator[Finding]:
        """The images that the build takes: those it names itself, and those of its Dockerfile."""
        contexts = self.build.branch("additional_contexts")
        for leaf in contexts.entries.values() if contexts else ():
            if isinstance(leaf, Leaf):
                yield from self._context(leaf)
        for source in self.build.items("cache_from"):
            if isinstance(source, Leaf):
                yield from self._cache(source)
        yield from self._generator()
        yield from self._dockerfile(search)

    def _context(self, leaf: Leaf) -> Iterator[Finding]:
        """A named context that is an image; what is unknown may be one."""
        text = leaf.text
        start = len(_IMAGE_CONTEXT) if leaf.raw.startswith(_IMAGE_CONTEXT) else 0
        if isinstance(text, Known):
            if not text.value.startswith(_IMAGE_CONTEXT):
                return
            text = replace(text, value=text.value.removeprefix(_IMAGE_CONTEXT))
        elif not start and (leaf.raw.startswith((".", "/", "service:", "oci-layout:")) or is_remote(leaf.raw)):
            return
        yield self._found(leaf, start, len(leaf.raw), Kind.CONTEXT, text)

    def _cache(self, leaf: Leaf) -> Iterator[Finding]:
        """The image of a cache source: `NAME`, or `type=registry,ref=NAME` (docker buildx build --cache-from)."""
        if isinstance(leaf.text, Known) and leaf.text.value == "":
            return
        if "=" not in leaf.raw and not (isinstance(leaf.text, Known) and "=" in leaf.text.value):
            yield self._found(leaf, 0, len(leaf.raw), Kind.CACHE, leaf.text)
            return
        fields = _fields(leaf.text)
        if isinstance(leaf.text, Known) and (fields.get("type", "registry") != "registry" or "ref" not in fields):
            return
        written = _fields(Known(leaf.raw))
        if written.get("type", "registry") == "registry":
            yield self._field(leaf, "ref", Kind.CACHE)

    def _generator(self) -> Iterator[Finding]:
        """What makes the list of contents, where the build asks for one (compose-spec build.md `sbom`)."""
        leaf = self.build.leaf("sbom")
        if leaf is None or (isinstance(leaf.text, Known) and leaf.text.value in _OFF):
            return
        if isinstance(leaf.text, Known) and "generator" not in _fields(leaf.text):
            default = Known(DEFAULT_GENERATOR, ("the generator that BuildKit takes by default",), overridable=True)
            yield self._found(leaf, 0, len(leaf.raw), Kind.GENERATOR, default)
            return
        yield self._field(leaf, "generator", Kind.GENERATOR)

    def _field(self, leaf: Leaf, name: str, kind: Kind) -> Finding:
        """The reference that is a field of a text such as `type=registry,ref=NAME`."""
        text = leaf.text
        if isinstance(text, Known):
            text = replace(text, value=_fields(text)[name])
        for field in _FIELD.finditer(leaf.raw):
            if field["name"].lower() == name:
                return self._found(leaf, field.start("value"), field.end("value"), kind, text)
        return self._found(leaf, 0, len(leaf.raw), kind, text)

    def _found(self, leaf: Leaf, start: int, end: int, kind: Kind, text: Text) -> Finding:
        place, raw = leaf.place_of(start, end), leaf.raw[start:end]
        return found(place, kind, raw, text, how=leaf.scope.how, within=f"service {self.service}")

    def _dockerfile(self, search: Search) -> Iterator[Finding]:
        inline = self.build.leaf("dockerfile_inline")
        if inline is not None:
            yield from find_inline(inline, self._build(), search)
            return
        context, named = self.build.leaf("context"), self.build.leaf("dockerfile")
        said = named or context
        at = said.place if said is not None else self.build.at
        if context is not None and isinstance(context.text, Known) and is_remote(context.text.value):
            problem = f"{context.text.value} is not among these files, so what its Dockerfile pulls is not known here"
            yield Trouble(place=context.place, problem=problem)
            return
        for leaf in (context, named):
            if leaf is not None and isinstance(leaf.text, Unknown):
                yield Trouble(place=leaf.place, problem=f"which Dockerfile is built is not known: {leaf.text.reason}")
                return
        path = self._path(context, named)
        # An override that says no more than the arguments of a build leaves out where the Dockerfile is.
        if said is not None or search.files.is_file(path):
            yield from dockerfile.find_in_build(path, at, search, self._build())

    def _path(self, context: Leaf | None, named: Leaf | None) -> str:
        """Of the Dockerfile; without a context it is in the directory of the project."""
        directory = self.directory
        if context is not None and isinstance(context.text, Known):
            directory = directory_at(context.scope.directory, context.text.value)
        name = named.text.value if named is not None and isinstance(named.text, Known) else ""
        return join(directory, name or DEFAULT_DOCKERFILE)

    def _build(self) -> dockerfile.Build:
        """How the Dockerfile is built; an argument without a value is as good as not given where none is known."""
        arguments: dict[str, Text] = {}
        given = self.build.branch("args")
        for name, leaf in given.entries.items() if given else ():
            if isinstance(leaf, Leaf):
                value = self.variables.get(name) if leaf.is_empty else leaf.text
                step = f"args of service {self.service} ({leaf.place.file}:{leaf.place.line})"
                arguments.update({name: replace(value, how=(step, *value.how))} if value is not None else {})
        contexts = self.build.branch("additional_contexts")
        target = self.build.leaf("target")
        return dockerfile.Build(
            arguments=arguments,
            contexts={
                name: leaf.text
                for name, leaf in (contexts.entries.items() if contexts else ())
                if isinstance(leaf, Leaf)
            },
            target=target.text if target is not None else Known(""),
            how=(f"service {self.service} ({self.at.file}:{self.at.line})",),
        )


def _fields(text: Text) -> dict[str, str]:
    """The fields of a text such as `type=registry,ref=NAME`; none where it is not known."""
    if isinstance(text, Unknown):
        return {}
    return {field["name"].lower(): field["value"].strip() for field in _FIELD.finditer(text.value)}
