"""The value of `RUN --mount`: fields as in a line of CSV (frontend/dockerfile/instructions/commands_runmount.go)."""

from dataclasses import dataclass

from pullgate_finders.dockerfile.lines import Span


class InvalidMountError(Exception):
    """A mount on which the build fails.

    Attributes:
        problem: why, in a sentence that begins with a lower-case letter.
    """

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Mount:
    """What is mounted while a RUN goes on.

    Attributes:
        kind: lower-case, `bind` where none is given.
        source: the stage or image it comes from; None where it comes from the build's context, or from nothing.
    """

    kind: str
    source: Span | None


def mount(value: Span) -> Mount:
    """Reads a mount; raises InvalidMountError. Keys are read whatever their case, and the last of equal ones counts."""
    kind = "bind"
    source = None
    if not value.text:
        raise InvalidMountError("a mount is empty")
    for field in _fields(value):
        key, equals, rest = field.text.partition("=")
        if not equals:
            continue
        match key.lower():
            case "type":
                kind = rest.lower()
            case "from":
                source = field.part(len(key) + 1)
    return Mount(kind, source if source is not None and source.text else None)


def _fields(value: Span) -> list[Span]:
    """The fields of a line of CSV, as Go's encoding/csv reads them."""
    fields = []
    start = 0
    while start <= len(value.text):
        if value.text.startswith('"', start):
            field, end = _quoted(value, start)
        else:
            end = value.text.find(",", start)
            end = len(value.text) if end < 0 else end
            field = value.part(start, end)
            if '"' in field.text:
                raise InvalidMountError("a quote stands within a field of a mount")
        fields.append(field)
        start = end + 1
    return fields


def _quoted(value: Span, start: int) -> tuple[Span, int]:
    """A field in quotes, and where it ends; a quote in it is written twice."""
    kept: list[int] = []
    at = start + 1
    while True:
        quote = value.text.find('"', at)
        if quote < 0:
            raise InvalidMountError("a field of a mount is without the quote that ends it")
        kept.extend(range(at, quote))
        if not value.text.startswith('"', quote + 1):
            break
        kept.append(quote)
        at = quote + 2
    if quote + 1 < len(value.text) and value.text[quote + 1] != ",":
        raise InvalidMountError("a quote stands within a field of a mount")
    text = "".join(value.text[index] for index in kept)
    return Span(value.line, text, tuple(value.offsets[index] for index in kept), value.offsets[start]), quote + 1
