"""Stages: which image each begins with, where it takes files from, and which are reached from the one that is built.

The rules are those of frontend/dockerfile/dockerfile2llb/convert.go.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from pullgate_finders.dockerfile.lines import Span
from pullgate_finders.found import Kind
from pullgate_finders.values import Known, Text, Unknown

_NUMBER = re.compile(r"[+-]?[0-9]{1,9}", re.ASCII)
_STAGE = re.compile(r"[a-zA-Z][a-zA-Z0-9_.-]*")
_VARIABLE = re.compile(r"\$.")


class StageError(Exception):
    """A use of a stage on which the build fails.

    Attributes:
        problem: why, in a sentence that begins with a lower-case letter.
        always: also where the stage that has it is not built.
    """

    def __init__(self, problem: str, *, always: bool) -> None:
        super().__init__(problem)
        self.problem = problem
        self.always = always


@dataclass(frozen=True, slots=True, eq=False)
class Use:
    """Where files come from: the value of `COPY --from`, or of `from` in `RUN --mount`."""

    kind: Kind
    source: Span

    @property
    def number(self) -> int | None:
        """The index of the stage it names; a mount names none by index."""
        is_number = self.kind is Kind.COPY and _NUMBER.fullmatch(self.source.text) is not None
        return int(self.source.text) if is_number else None

    @property
    def may_be_stage(self) -> bool:
        """Whether a stage may have that name."""
        return _STAGE.fullmatch(self.source.text) is not None

    @property
    def has_variable(self) -> bool:
        """Whether it has a variable, which is expanded in neither of the two."""
        return _VARIABLE.search(self.source.text) is not None


@dataclass(slots=True, eq=False)
class Stage:
    """A FROM with the instructions that follow it.

    Attributes:
        name: lower-case; empty where it has none.
        name_span: where the name stands.
        base_span: where the base stands; None where FROM is without it.
        base: what that comes to.
        platform: that FROM asks for, as of `contexts.normalised`; empty where that is left to the build or not known.
        uses: in its COPY and RUN.
        triggers: in its ONBUILD: they fire in stages and builds that are based on it.
    """

    index: int
    name: str
    name_span: Span | None
    base_span: Span | None
    base: Text
    platform: str = ""
    uses: list[Use] = field(default_factory=list)
    triggers: list[Use] = field(default_factory=list)

    @property
    def label(self) -> str:
        """What it is called."""
        return f"stage {self.name or self.index}"


class Stages:
    """The stages of a Dockerfile.

    Args:
        replaced: indexes of those that a named context stands instead of.
    """

    def __init__(self, stages: Sequence[Stage], replaced: frozenset[int]) -> None:
        self._stages = stages
        self._replaced = replaced
        self._by_name = {stage.name: stage for stage in stages if stage.name}
        self._bases = list(self._find_bases())
        self._based_on: dict[int, list[Stage]] = {}
        for stage, base in zip(stages, self._bases, strict=True):
            if base is not None:
                self._based_on.setdefault(base.index, []).append(stage)

    def __iter__(self) -> Iterator[Stage]:
        return iter(self._stages)

    def named(self, name: str) -> Stage | None:
        """The stage of that name in any case; of several the last one."""
        return self._by_name.get(name.lower())

    def is_replaced(self, stage: Stage) -> bool:
        """Whether a named context stands instead of it."""
        return stage.index in self._replaced

    def base_of(self, stage: Stage) -> Stage | None:
        """The stage that it begins with; None where that is an image, or not known."""
        return self._bases[stage.index]

    def based_on(self, stage: Stage) -> list[Stage]:
        """The stages that begin with it, in order."""
        return self._based_on.get(stage.index, [])

    def source_of(self, use: Use, within: Stage) -> Stage | None:
        """The stage that files come from; None where it is an image.

        Raises:
            StageError: it is not finished when `within` is built, or there is none of that number.
        """
        source = self._source_anywhere(use)
        if source is None and use.number is not None:
            raise StageError(f"there is no stage {use.number}, so the build fails; they count from 0", always=True)
        if source is not None and source.index >= within.index:
            when = "is this very stage" if source is within else "comes later"
            problem = f"{source.label} {when}, and files come from earlier stages only, so the build fails"
            raise StageError(problem, always=source is within)
        return source

    def reached_from(self, target: Stage) -> frozenset[int]:
        """Indexes of the stages that are built for `target`."""
        reached: set[int] = set()
        fired: set[int] = set()
        pending = [target]
        while pending:
            stage = pending.pop()
            if stage.index not in reached:
                reached.add(stage.index)
                pending.extend(self._needed_by(stage, fired))
        return frozenset(reached)

    def last_with_choice(self, reached: frozenset[int]) -> int:
        """The index of the last of the stages that are reached that might begin with others, given other arguments."""
        with_choice = (stage.index for stage in self._stages if stage.index in reached and stage.base.overridable)
        return max((index for index in with_choice if index not in self._replaced), default=-1)

    def _find_bases(self) -> Iterator[Stage | None]:
        """Names of bases are compared as they are, unlike those of sources of files, with the stages before."""
        by_name: dict[str, Stage] = {}
        for stage in self._stages:
            is_known = isinstance(stage.base, Known) and not self.is_replaced(stage)
            yield by_name.get(stage.base.value) if is_known and isinstance(stage.base, Known) else None
            if stage.name:
                by_name[stage.name] = stage

    def _source_anywhere(self, use: Use) -> Stage | None:
        """The stage that a use names, wherever it stands."""
        if use.number is None:
            return self.named(use.source.text)
        return self._stages[use.number] if 0 <= use.number < len(self._stages) else None

    def _needed_by(self, stage: Stage, fired: set[int]) -> Iterator[Stage]:
        """Its base and the sources of its files; `fired` are the stages whose triggers were looked at before."""
        uses = list(stage.uses)
        base = self.base_of(stage)
        if base is not None:
            yield base
            if base.index not in fired:
                fired.add(base.index)
                uses.extend(base.triggers)
        for use in uses:
            source = None if use.has_variable else self._source_anywhere(use)
            if source is not None:
                yield source


def source_text(use: Use) -> Text:
    """What the source of files is, if it is an image."""
    if use.has_variable:
        where = "COPY --from" if use.kind is Kind.COPY else "RUN --mount from"
        return Unknown(f"{where} takes no variables, so the build fails; name a stage that begins FROM it instead")
    return Known(use.source.text)
