"""The references in one target of a Bake file."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from pullgate_finders import dockerfile
from pullgate_finders.bake.evaluation import Named, Scalar, Scope, as_text, part_of, written
from pullgate_finders.bake.inline import find_in_inline
from pullgate_finders.bake.syntax import Literal
from pullgate_finders.bake.targets import Attribute, Target, Targets
from pullgate_finders.build_options import (
    DEFAULT_GENERATOR,
    Range,
    image_in_attestation,
    image_in_cache,
    image_in_context,
)
from pullgate_finders.dockerfile import Build
from pullgate_finders.found import Finding, Found, Kind, Place, Trouble, found
from pullgate_finders.port import Search
from pullgate_finders.tree import directory_of, join
from pullgate_finders.values import Known, Text, Unknown

_REMOTE = ("https://", "http://", "git://", "ssh://", "git@", "github.com/")
_HERE = "cwd://"


def find_in_target(target: Target, targets: Targets, search: Search) -> Iterator[Finding]:
    """Everything that building the target may pull."""
    yield from _Target(target, targets, search).find()


@dataclass(frozen=True, slots=True)
class _Target:
    target: Target
    targets: Targets
    search: Search

    def find(self) -> Iterator[Finding]:
        for name, attribute in self.target.keyed.get("contexts", {}).items():
            yield from self.context(name, attribute)
        for attribute in self.target.listed.get("cache-from", ()):
            yield from self.cache(attribute)
        yield from self.generator()
        yield from self.dockerfile()

    def context(self, name: str, attribute: Attribute) -> Iterator[Finding]:
        value = attribute.value
        if not isinstance(value, Scalar):
            return
        part = image_in_context(written(value))
        if part is not None:
            yield self.found(Kind.CONTEXT, value, attribute.scope, part)
            return
        match value.text:
            case Unknown() if _may_be_image(written(value)):
                yield self.found(Kind.CONTEXT, value, attribute.scope, (0, len(written(value))))
            case Known(text) if part_of_text := image_in_context(text):
                yield self.found_as(Kind.CONTEXT, value, replace(value.text, value=text[part_of_text[0] :]))
            case Known(text) if text.startswith("target:"):
                linked = text.removeprefix("target:")
                if linked not in self.targets.names:
                    problem = (
                        f"context {name} of target {self.target.name} is target {linked}, which is not defined here"
                    )
                    yield Trouble(place=value.at.place, problem=problem)

    def cache(self, attribute: Attribute) -> Iterator[Finding]:
        """`user/app:cache`, `type=registry,ref=user/app:cache`, or the latter as a map."""
        match attribute.value:
            case Named(entries=entries):
                kind, reference = entries.get("type"), entries.get("ref")
                if kind is not None and as_text(kind) == Known("registry") and isinstance(reference, Scalar):
                    yield self.found(Kind.CACHE, reference, attribute.scope, (0, len(written(reference))))
            case Scalar() as value:
                yield from self.in_entry(Kind.CACHE, value, attribute.scope, image_in_cache(written(value)))

    def generator(self) -> Iterator[Finding]:
        """Of several attestations of one type the last counts (Attests.Normalize)."""
        last: tuple[Found, ...] = ()
        for attribute in self.target.listed.get("attest", ()):
            match attribute.value:
                case Named(entries=entries) if as_text(entries.get("type", _NOTHING)) == Known("sbom"):
                    last = tuple(self.generator_in_map(attribute.value, attribute.scope))
                case Scalar() as value if isinstance(value.text, Unknown) or "sbom" in written(value):
                    part = image_in_attestation(written(value))
                    last = tuple(self.in_entry(Kind.GENERATOR, value, attribute.scope, part))
        yield from last

    def generator_in_map(self, attestation: Named, scope: Scope) -> Iterator[Found]:
        entries = attestation.entries
        generator = entries.get("generator")
        if as_text(entries.get("disabled", _NOTHING)) == Known("true"):
            return
        if isinstance(generator, Scalar):
            yield self.found(Kind.GENERATOR, generator, scope, (0, len(written(generator))))
        elif isinstance(entries["type"], Scalar):
            yield self.found_as(Kind.GENERATOR, entries["type"], _DEFAULT_GENERATOR)

    def in_entry(self, kind: Kind, value: Scalar, scope: Scope, part: Range | None) -> Iterator[Found]:
        """The reference in a part of an entry; in all of it where the entry is not known."""
        if part is None:
            if isinstance(value.text, Unknown) and not written(value):
                yield self.found_as(kind, value, value.text)
        elif part[0] < part[1]:
            yield self.found(kind, value, scope, part)
        else:
            yield self.found_as(kind, value, _DEFAULT_GENERATOR)

    def found(self, kind: Kind, value: Scalar, scope: Scope, part: Range) -> Found:
        raw, text, place = part_of(value, scope, *part)
        return found(place, kind, raw, text, within=self.within)

    def found_as(self, kind: Kind, value: Scalar, text: Text) -> Found:
        return found(value.at.place, kind, value.at.raw, text, within=self.within)

    @property
    def within(self) -> str:
        return f"target {self.target.name}"

    # The Dockerfile

    def dockerfile(self) -> Iterator[Finding]:
        single = self.target.single
        target = single.get("target")
        build = Build(
            arguments=self.texts("args"),
            contexts=self.texts("contexts"),
            target=as_text(target.value) if target is not None else Known(""),
            how=(f"{self.within} ({self.target.place.file}:{self.target.place.line})",),
        )
        inline = single.get("dockerfile-inline")
        if inline is not None and isinstance(inline.value, Scalar):
            if isinstance(inline.value.at, Literal):
                # It is that of a service, and found where the service is.
                return
            yield from find_in_inline(inline.value, inline.scope, build, self.search.settings)
            return
        named = single.get("dockerfile") or single.get("context")
        named_at = named.value.at.place if named is not None else self.target.place
        context, name = (
            as_text(single[key].value) if key in single else Known(default)
            for key, default in (("context", "."), ("dockerfile", "Dockerfile"))
        )
        match context, name:
            case Known(where), Known(file):
                yield from self.dockerfile_in(where, file or "Dockerfile", named_at, build)
            case Unknown(reason), _:
                yield Trouble(place=named_at, problem=f"the context of {self.within} is not known: {reason}")
            case _, Unknown(reason):
                yield Trouble(place=named_at, problem=f"the Dockerfile of {self.within} is not known: {reason}")

    def dockerfile_in(self, context: str, name: str, named_at: Place, build: Build) -> Iterator[Finding]:
        """Paths are relative to where Bake is called: where the file is, or the root of the tree."""
        if context.startswith(_REMOTE) or name.startswith(_REMOTE):
            problem = f"the Dockerfile of {self.within} is fetched from {context}, which is not read"
            yield Trouble(place=named_at, problem=problem)
            return
        path = join("" if name.startswith(_HERE) else context.removeprefix(_HERE), name.removeprefix(_HERE))
        beside = join(directory_of(self.target.place.file), path)
        from_root = join("", path)
        is_at_root = not self.search.files.is_file(beside) and self.search.files.is_file(from_root)
        yield from dockerfile.find_in_build(from_root if is_at_root else beside, named_at, self.search, build)

    def texts(self, key: str) -> dict[str, Text]:
        """Arguments or contexts, each with who gives it."""
        given: dict[str, Text] = {}
        for name, attribute in self.target.keyed.get(key, {}).items():
            if not name:
                continue
            place = attribute.value.at.place
            step = f"{key} of {self.within} ({place.file}:{place.line})"
            text = as_text(attribute.value)
            given[name] = replace(text, how=(*text.how, step))
        return given


_NOTHING = Scalar(None, Literal(place=Place("", 1, 1, 1, 1), raw="", text=None))
_DEFAULT_GENERATOR = Known(DEFAULT_GENERATOR, ("the generator that is taken where none is named",), overridable=True)


def _may_be_image(text: str) -> bool:
    """Whether a context that begins so may be an image: not if it is a path or URL in any case."""
    return not text.startswith((".", "/", "target:", *_REMOTE))
