"""Finds the references in a Dockerfile: what is left of its words when stages and named contexts are taken away."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from pullgate_finders.dockerfile import directives
from pullgate_finders.dockerfile.build import Build
from pullgate_finders.dockerfile.contexts import Contexts, Replacement, as_text
from pullgate_finders.dockerfile.lines import Span
from pullgate_finders.dockerfile.reading import Reading
from pullgate_finders.dockerfile.stages import Stage, StageError, Stages, Use, source_text
from pullgate_finders.found import Finding, Found, Kind, Place, Trouble, found, no_image
from pullgate_finders.port import Search, Settings, UnreadableFileError
from pullgate_finders.source_text import SourceText
from pullgate_finders.values import Known, Text, Unknown

_SCRATCH = "scratch"
_SYNTAX_ARGUMENT = "BUILDKIT_SYNTAX"
_BUILT_IN_FRONTEND = "dockerfile.v0"
_NAME = re.compile(r"(?:.*\.)?(?:docker|container)file(?:[-_.+0-9].*)?", re.IGNORECASE)
_OTHER_NAME = re.compile(
    r".*(?:ignore|~|\.(?:md|rst|adoc|html|py|go|rs|rb|js|ts|java|kt|cs|c|h|php|sh|ps1|json|ya?ml|toml|lock|swp|orig|rej))",
    re.IGNORECASE,
)
"""Programs, documents and what editors leave behind, which may have lines that look like instructions."""

_SIGN = re.compile(
    r"^[^\S\n]*(?:FROM|ARG|COPY|ADD|RUN|ONBUILD)\b|^(?:#|//)[^\S\n]*syntax\b|\"syntax\"", re.IGNORECASE | re.MULTILINE
)


class DockerfileFinder:
    """Dockerfiles and Containerfiles."""

    name = "Dockerfile"

    def claims(self, path: str) -> bool:
        """Whether the file is named as Dockerfiles are."""
        name = path.rpartition("/")[2]
        return _NAME.fullmatch(name) is not None and _OTHER_NAME.fullmatch(name) is None

    def recognises(self, text: str) -> bool:
        """Whether there is an instruction or a directive in the text that may have to do with images."""
        return _SIGN.search(text) is not None

    def find(self, path: str, text: str, search: Search) -> Iterator[Finding]:
        """The references in a Dockerfile that is built with what is given by option."""
        build = Build(target=Known(search.settings.target))
        for finding in find_in_text(SourceText(file=path, text=text), build, search.settings):
            yield replace(finding, alone=True) if isinstance(finding, Found) else finding


def find_in_build(path: str, named_at: Place, search: Search, build: Build) -> Iterator[Finding]:
    """The references in a Dockerfile that another file builds; trouble at `named_at` if it cannot be read.

    Args:
        path: of the Dockerfile, relative to the root of the tree (see `tree.join`).
        named_at: where the other file names it, or the build.
    """
    try:
        text = search.files.read(path)
    except UnreadableFileError as error:
        yield Trouble(place=named_at, problem=str(error))
        return
    yield from find_in_text(SourceText(file=path, text=text), build, search.settings)


def find_in_text(source: SourceText, build: Build, settings: Settings | None = None) -> Iterator[Finding]:
    """The references in the text of a Dockerfile that is built so; also of one within another file.

    Args:
        settings: build arguments and contexts given by option; those of `build` win. Its target is not looked at.
    """
    settings = settings or Settings()
    given: dict[str, Text] = {
        name: Known(value, (f"build argument {name} given by option",))
        for name, value in settings.build_arguments.items()
    }
    given.update(build.arguments)
    syntax = directives.syntax(source)
    yield from _frontend(source, build, given.get(_SYNTAX_ARGUMENT), syntax)
    if syntax is not None and not syntax.is_dockerfile:
        problem = (
            f"the frontend {syntax.image} reads this file, which is no Dockerfile; what else it pulls is not known"
        )
        yield Trouble(place=syntax.place, problem=problem)
        return
    escape, troubles = directives.escape(source)
    yield from troubles
    target = build.target.value if isinstance(build.target, Known) else ""
    reading = Reading(source, escape, given, target)
    yield from reading.troubles
    contexts = Contexts(build.contexts, settings.build_contexts)
    yield from _Finding(source, build, reading, contexts).find()


def _frontend(
    source: SourceText, build: Build, argument: Text | None, syntax: directives.Syntax | None
) -> Iterator[Finding]:
    """The frontend, where it is an image: the build argument wins over the directive."""
    if argument is None:
        if syntax is not None:
            yield found(syntax.place, Kind.SYNTAX, syntax.raw, Known(syntax.image), how=build.how)
        return
    if isinstance(argument, Known):
        argument = replace(argument, value=argument.value.strip().partition(" ")[0])
        if argument.value == _BUILT_IN_FRONTEND:
            return
    start = source.place(1, 1, 1, 1)
    raw = argument.value if isinstance(argument, Known) else ""
    place, raw = (syntax.place, syntax.raw) if syntax is not None else (start, raw)
    yield found(place, Kind.SYNTAX, raw, argument, how=build.how)


class _Finding:
    """The references in the stages of a file."""

    def __init__(self, source: SourceText, build: Build, reading: Reading, contexts: Contexts) -> None:
        self._source = source
        self._build = build
        self._contexts = contexts
        self._loose = reading.loose
        self._replacements = [contexts.instead_of(stage.name, stage.platform) for stage in reading.stages]
        replaced = (index for index, instead in enumerate(self._replacements) if instead.otherwise is None)
        self._stages = Stages(reading.stages, frozenset(replaced))

    def find(self) -> Iterator[Finding]:
        for use in self._loose:
            if use.number is None:
                text = source_text(use)
                if use.may_be_stage:
                    text = Unknown(f"{use.source.text} may be a stage: what this is a part of is not known here")
                yield from self._image(use.kind, use.source, text, "", "")
        stages = list(self._stages)
        if not stages:
            return
        target = stages[-1]
        name = self._build.target
        if isinstance(name, Known) and name.value:
            named = self._stages.named(name.value)
            if named is None:
                problem = f'there is no stage "{name.value}" to be built; it is read as if the last stage were'
                yield Trouble(place=self._source.place(1, 1), problem=problem)
            target = named or target
        conditions = self._conditions(stages, target)
        for stage in stages:
            yield from self._of_stage(stage, conditions[stage.index])
            yield from self._of_triggers(stage, target, conditions)

    def _conditions(self, stages: Sequence[Stage], target: Stage) -> Mapping[int, str]:
        """When each stage is built: empty for always."""
        reached = self._stages.reached_from(target)
        last_with_choice = self._stages.last_with_choice(reached)
        name = self._build.target
        by = f"target {target.name}" if isinstance(name, Known) and name.value and target.name else "the last stage"
        conditions = {}
        for stage in stages:
            why = f"{by} does not use it"
            if stage.name and stage.index < last_with_choice:
                why = f"{by} may use it, given other build arguments"
            if isinstance(name, Unknown):
                why = f"which stage is built is not known here: {name.reason}"
            is_always = stage.index in reached and not isinstance(name, Unknown)
            conditions[stage.index] = "" if is_always else f"only if {stage.label} is built: {why}"
        return conditions

    def _of_stage(self, stage: Stage, condition: str) -> Iterator[Finding]:
        within = stage.label
        instead = self._replacements[stage.index]
        if stage.name_span is not None:
            yield from self._in_contexts(instead, stage.name_span, within, condition)
        if instead.otherwise is None:
            if stage.base_span is not None:
                yield no_image(stage.base_span.place, Kind.FROM, stage.base_span.text, self._build.how)
            # BuildKit looks up what the commands of such a stage name, though it does not carry them out.
            condition = condition or f"only to be looked up: a build context stands instead of {within}"
        else:
            condition = _both(condition, instead.otherwise)
            if stage.base_span is not None and self._stages.base_of(stage) is None:
                yield from self._image(Kind.FROM, stage.base_span, stage.base, within, condition, stage.platform)
        for use in stage.uses:
            yield from self._of_use(use, use.kind, stage, within, condition)

    def _of_use(self, use: Use, kind: Kind, stage: Stage, within: str, condition: str) -> Iterator[Finding]:
        """What a use comes to in a stage: nothing where it is another stage."""
        try:
            source = None if use.has_variable else self._stages.source_of(use, stage)
        except StageError as error:
            if error.always or not condition:
                yield Trouble(place=use.source.place, problem=error.problem)
            return
        if source is None:
            yield from self._image(kind, use.source, source_text(use), within, condition)

    def _of_triggers(self, stage: Stage, target: Stage, conditions: Mapping[int, str]) -> Iterator[Finding]:
        """What fires in stages of this file that begin with `stage`, and in builds that are based on its image."""
        children = self._stages.based_on(stage)
        # What holds for the first of those that are built holds for the others.
        child = min(children, key=lambda child: (bool(conditions[child.index]), child.index), default=None)
        for use in stage.triggers:
            here: list[Finding] = []
            if child is not None:
                here.extend(self._of_use(use, Kind.ONBUILD, child, stage.label, conditions[child.index]))
            yield from here
            is_exported = stage is target or child is None
            if is_exported and use.number is None and not here:
                condition = "only in builds that are based on this image"
                if use.may_be_stage:
                    condition += ", where they have no stage of that name"
                if use.source.text != _SCRATCH:
                    yield self._found(Kind.ONBUILD, use.source, source_text(use), stage.label, condition)

    def _image(
        self, kind: Kind, span: Span, text: Text, within: str, condition: str, platform: str = ""
    ) -> Iterator[Finding]:
        """A reference that is no stage: nothing, what a named context stands for, or an image.

        Args:
            platform: that FROM asks for; empty for the one that is built for, which is not known here.
        """
        if isinstance(text, Known):
            if text.value == _SCRATCH:
                return
            instead = self._contexts.instead_of(text.value, platform)
            yield from self._in_contexts(instead, span, within, condition)
            if instead.otherwise is None:
                yield no_image(span.place, kind, span.text, self._build.how)
                return
            condition = _both(condition, instead.otherwise)
        yield self._found(kind, span, text, within, condition)

    def _in_contexts(self, instead: Replacement, span: Span, within: str, condition: str) -> Iterator[Finding]:
        for context, only in instead.contexts:
            if context.image is not None:
                yield self._found(Kind.CONTEXT, span, as_text(context), within, _both(condition, only))

    def _found(self, kind: Kind, span: Span, text: Text, within: str, condition: str) -> Found:
        return found(span.place, kind, span.raw, text, how=self._build.how, within=within, condition=condition)


def _both(*conditions: str) -> str:
    """Conditions that hold together; an empty one always does."""
    return ", ".join(condition for condition in conditions if condition)
