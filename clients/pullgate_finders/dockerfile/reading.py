"""Makes stages of the instructions of a Dockerfile."""

import re
from collections.abc import Iterator, Mapping

from pullgate_finders.dockerfile.arguments import Arguments
from pullgate_finders.dockerfile.contexts import normalised
from pullgate_finders.dockerfile.instructions import FLAGS, NAMES, Instruction, read_instructions
from pullgate_finders.dockerfile.lines import Span
from pullgate_finders.dockerfile.mounts import InvalidMountError, mount
from pullgate_finders.dockerfile.stages import Stage, Use
from pullgate_finders.found import Kind, Trouble
from pullgate_finders.source_text import SourceText
from pullgate_finders.values import Known, Text, Unknown

_STAGE_NAME = re.compile(r"[a-z][a-z0-9_.-]*")
_NO_TRIGGERS = frozenset({"onbuild", "from", "maintainer"})


class Reading:
    """Reads a Dockerfile.

    Args:
        given: build arguments.
        target: the name of the stage that is built; empty for the last one.

    Attributes:
        stages: in order.
        loose: uses that stand before the first FROM, or without one.
        troubles: what is wrong with the file; of unknown instructions the first one.
    """

    def __init__(self, source: SourceText, escape: str, given: Mapping[str, Text], target: str) -> None:
        self.stages: list[Stage] = []
        self.loose: list[Use] = []
        self.troubles: list[Trouble] = []
        self._first_loose: Instruction | None = None
        self._has_unknown = False
        instructions: list[Instruction] = []
        for read in read_instructions(source, escape):
            if isinstance(read, Trouble):
                self.troubles.append(read)
            else:
                instructions.append(read)
        names = [_stage_name(instruction) for instruction in instructions if instruction.name == "from"]
        last = names[-1] if names else None
        self._arguments = Arguments(given, escape, target or (last.text.lower() if last else "default"))
        for instruction in instructions:
            self._read(instruction)
        if not self.stages:
            problem = "there is no FROM in it, so nothing can be built of it"
            self.troubles.append(Trouble(place=source.place(1, 1), problem=problem))
        elif self._first_loose is not None:
            name = self._first_loose.name.upper()
            self._at(self._first_loose, f"{name} stands before the first FROM, so the build fails")

    def _read(self, instruction: Instruction) -> None:
        match instruction.name:
            case "from":
                self._from(instruction)
            case "arg":
                if not self.stages:
                    self.troubles.extend(self._arguments.declare(instruction))
            case "onbuild":
                self._onbuild(instruction)
            case name if name in NAMES:
                uses = self.stages[-1].uses if self.stages else self._before_from(instruction)
                uses.extend(self._uses(instruction))
            case name:
                if not self._has_unknown:
                    problem = f'there is no instruction "{name[:40]}", so the build fails'
                    self.troubles.append(Trouble(place=instruction.place, problem=problem))
                self._has_unknown = True

    def _from(self, instruction: Instruction) -> None:
        words = instruction.words()
        name = _stage_name(instruction)
        base: Text = Unknown("FROM is without a base")
        base_span = words[0].without_quotes() if words else None
        if words:
            base = self._arguments.expand(words[0].text)
        if isinstance(base, Known) and not base.value:
            base = Unknown("it comes to nothing, so the build fails", base.how)
        if len(words) != 1 and name is None:
            problem = 'FROM takes a base, or a base, "AS" and a name, so the build fails with what stands here'
            self.troubles.append(Trouble(place=instruction.place, problem=problem))
        self._check_flags(instruction)
        lower = name.text.lower() if name else ""
        if name is not None and not _STAGE_NAME.fullmatch(lower):
            problem = "the name of a stage is a letter followed by letters, digits, dots, dashes and underscores"
            self.troubles.append(Trouble(place=name.place, problem=problem))
            lower = ""
        self.stages.append(Stage(len(self.stages), lower, name, base_span, base, self._platform(instruction)))

    def _platform(self, instruction: Instruction) -> str:
        """The platform that a FROM asks for, unless another build may ask for another one."""
        asked = [flag.value.text for flag in instruction.flags if flag.name == "platform" and flag.value is not None]
        text = self._arguments.expand(asked[-1]) if asked else Known("")
        return normalised(text.value) if isinstance(text, Known) and not text.overridable else ""

    def _onbuild(self, instruction: Instruction) -> None:
        inner = instruction.inner()
        triggers = self.stages[-1].triggers if self.stages else self._before_from(instruction)
        if inner is None or inner.name in _NO_TRIGGERS:
            problem = "ONBUILD is without an instruction"
            if inner is not None:
                problem = f"ONBUILD takes no {inner.name.upper()}"
            self.troubles.append(Trouble(place=instruction.place, problem=f"{problem}, so the build fails"))
            return
        triggers.extend(self._uses(inner))

    def _before_from(self, instruction: Instruction) -> list[Use]:
        self._first_loose = self._first_loose or instruction
        return self.loose

    def _uses(self, instruction: Instruction) -> Iterator[Use]:
        """What files come from in an instruction; every `--from` there is, though only one is allowed."""
        wanted = {"copy": "from", "run": "mount"}.get(instruction.name)
        flags = [flag for flag in instruction.flags if flag.name == wanted]
        self._check_flags(instruction)
        if instruction.name == "copy" and len(flags) > 1:
            self._at(instruction, "COPY takes one --from, so the build fails with more")
        for flag in flags:
            if flag.value is None:
                self._at(instruction, f"--{flag.name} is without a value, so the build fails")
            elif instruction.name == "run":
                yield from self._mounted(instruction, flag.value)
            elif flag.value.text:
                yield Use(Kind.COPY, flag.value)

    def _check_flags(self, instruction: Instruction) -> None:
        """A build fails on a flag that its instruction does not have; the case of letters counts (bflag.go)."""
        known = FLAGS.get(instruction.name)
        for flag in instruction.flags:
            if known is None or flag.name in known:
                continue
            problem = f"{instruction.name.upper()} takes no --{flag.name[:40]}, so the build fails"
            if flag.name.lower() in known:
                problem += f"; write --{flag.name.lower()}"
            elif flag.name == "from":
                problem += "; COPY does"
            self.troubles.append(Trouble(place=flag.place, problem=problem))

    def _mounted(self, instruction: Instruction, value: Span) -> Iterator[Use]:
        try:
            mounted = mount(value)
        except InvalidMountError as error:
            self._at(instruction, f"{error.problem}, so the build fails")
            return
        if mounted.source is None:
            return
        if mounted.kind == "secret":
            self._at(instruction, "a mount of type secret takes no from, so the build fails")
            return
        yield Use(Kind.MOUNT, mounted.source)

    def _at(self, instruction: Instruction, problem: str) -> None:
        self.troubles.append(Trouble(place=instruction.place, problem=problem))


def _stage_name(instruction: Instruction) -> Span | None:
    """The name in `FROM base AS name`, in the case it is written in."""
    match instruction.words():
        case [_, keyword, name] if keyword.text.lower() == "as":
            return name
    return None
