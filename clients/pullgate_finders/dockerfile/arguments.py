"""Build arguments, as far as FROM sees them: those before the first FROM and those of the platform.

ARG and ENV within a stage never reach a FROM (docs/reference.md, "Understand how ARG and FROM interact").
"""

from collections.abc import Mapping
from dataclasses import replace

from pullgate_finders.dockerfile.expansion import Unset, expand
from pullgate_finders.dockerfile.instructions import Instruction
from pullgate_finders.dockerfile.lines import Span
from pullgate_finders.found import Trouble
from pullgate_finders.values import Known, Text, Unknown

_OF_THE_PLATFORM = frozenset(
    f"{side}{part}" for side in ("BUILD", "TARGET") for part in ("PLATFORM", "OS", "OSVERSION", "ARCH", "VARIANT")
)
_OF_THE_STAGE = "TARGETSTAGE"


class Arguments:
    """What each variable comes to, while the ARGs of a file are read in order.

    Args:
        given: by whoever builds. What no ARG declares is ignored, but for the arguments that are always there.
        stage: what is built, for TARGETSTAGE.
    """

    def __init__(self, given: Mapping[str, Text], escape: str, stage: str) -> None:
        self._given = given
        self._escape = escape
        self._values: dict[str, Text | Unset] = {
            name: Unknown(f"{name} is the platform's: it is known where the image is built, or from a build argument")
            for name in _OF_THE_PLATFORM
        }
        self._values[_OF_THE_STAGE] = Known(stage, (f"{_OF_THE_STAGE} is the stage that is built",), overridable=True)
        self._values.update({name: given[name] for name in self._values if name in given})

    def declare(self, instruction: Instruction) -> list[Trouble]:
        """Takes in an ARG that stands before the first FROM; tells what is wrong with it."""
        troubles = []
        words = instruction.quoted_words(self._escape)
        if not words:
            troubles.append(Trouble(place=instruction.place, problem="ARG is without a name, so the build fails"))
        for word in words:
            name, equals, default = word.text.partition("=")
            if not name:
                troubles.append(Trouble(place=word.place, problem="ARG is without a name, so the build fails"))
                continue
            self._values[name] = self._value(name, default if equals else None, word)
        return troubles

    def lookup(self, name: str) -> Text | Unset:
        """What a variable of a FROM comes to; what is declared nowhere is empty, and no build changes that."""
        if name not in self._values:
            return Unset(how=(f"{name} is empty: no ARG before the first FROM declares it",))
        return self._values[name]

    def expand(self, word: str) -> Text:
        """What a word of a FROM comes to."""
        return expand(word, self._escape, self.lookup)

    def _value(self, name: str, default: str | None, word: Span) -> Text | Unset:
        if name in self._given:
            return self._given[name]
        where = f"{word.place.file}:{word.place.line}"
        if default is None:
            unset = Unset(
                reason=f"build argument {name} ({where}) has no default; give it as a build argument",
                how=(f"build argument {name} is not given ({where})",),
            )
            return self._values.get(name, unset)
        step = f"default of build argument {name} ({where})"
        match self.expand(default):
            case Known(value, how):
                return Known(value, (*how, step), overridable=True)
            case Unknown(how=how) as unknown:
                return replace(unknown, how=(*how, step))
