"""What a check tells, under names that stay: other systems keep what they know of a finding by them."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from pullgate_cli.checking.report import Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A kind of finding.

    Attributes:
        number: never given to another.
        level: `error`, `warning` or `note`, as SARIF calls them.
        title: in a few words.
        summary: in a sentence.
        to_do: what to do about it.
        severity: of a security problem, from 0 to 10, as GitHub reads it; None for what is none.
    """

    number: str
    name: str
    level: str
    title: str
    summary: str
    to_do: str
    severity: float | None = None


RULES: Mapping[Status, Rule] = MappingProxyType(
    {
        Status.DENIED: Rule(
            number="PG001",
            name="DeniedImage",
            level="error",
            title="Image denied",
            summary="The policy denies an image that this repository uses.",
            to_do="Use an image that is allowed, or ask whoever sets the policy for an exception.",
            severity=7.0,
        ),
        Status.UNRESOLVED: Rule(
            number="PG002",
            name="UnresolvedReference",
            level="warning",
            title="Image not known",
            summary="Which image this is depends on what is not known here, so it may or may not be allowed.",
            to_do="Give the missing value a default, or say it with --build-arg or --env.",
            severity=3.0,
        ),
        Status.UNDECIDED: Rule(
            number="PG003",
            name="UndecidedImage",
            level="error",
            title="No answer about an image",
            summary="The service gave no answer, so it is not known whether the image is allowed.",
            to_do="See the message, and check again.",
            severity=3.0,
        ),
        Status.MONITORED: Rule(
            number="PG004",
            name="MonitoredImage",
            level="note",
            title="Image that will be denied",
            summary="The policy denies the image, and lets it pass while it is in monitor mode.",
            to_do="Use an image that is allowed before the policy is enforced.",
        ),
        Status.TROUBLE: Rule(
            number="PG005",
            name="Trouble",
            level="warning",
            title="File not checked as a whole",
            summary="Something stands in the way of checking a file as a whole; images in it may be missing.",
            to_do="Mend what the message says, or leave the file out with --exclude.",
        ),
    }
)
"""For all that is told of but allowed images."""


def sentences(*parts: str) -> str:
    """The parts that are not empty, as sentences: with a full stop each, and a capital from the second one on."""
    written = [part if part.endswith((".", "!", "?")) else f"{part}." for part in parts if part]
    return " ".join([*written[:1], *(f"{part[0].upper()}{part[1:]}" for part in written[1:])])
