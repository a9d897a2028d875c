"""What came out of a check: the value that every format is made of."""

import enum
import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pullgate_cli.checking.ignores import Ignore
from pullgate_cli.decide import reason_in_words
from pullgate_finders import Found, Place, Trouble
from pullgate_policy import Effect
from pullgate_policy.answer import Answer

DENIED = 1
"""Exit code: an image is denied."""

USAGE = 2
"""Exit code: what was asked is wrong."""

UNDECIDED = 3
"""Exit code: it is not known whether all images are allowed."""


class Status(enum.Enum):
    """What there is to say of a finding."""

    ALLOWED = "allowed"
    """The image may be used."""

    MONITORED = "monitored"
    """It may, because the policy that denies it is in monitor mode."""

    DENIED = "denied"
    """It may not."""

    UNRESOLVED = "unresolved"
    """Which image it is, or whether it is one, depends on what is not known here, and so does what holds for it."""

    UNDECIDED = "undecided"
    """There is no answer about it."""

    TROUBLE = "trouble"
    """It is no image, but stands in the way of finding all."""


class FailOn(enum.Enum):
    """Which findings a check fails for."""

    DENIED = "denied"
    """Denied images, and those about which there is no answer."""

    UNRESOLVED = "unresolved"
    """These, and all that could not be found out."""


class MarkedBy(enum.Enum):
    """What has a finding not count."""

    IGNORE = "ignore"
    """A comment in the file."""

    BASELINE = "baseline"
    """It was there before."""


GRAVEST_FIRST = (Status.DENIED, Status.UNDECIDED, Status.UNRESOLVED, Status.TROUBLE, Status.MONITORED)
"""The problems, in the order in which they are kept where there is not room for all."""

_COUNTED = {
    Status.DENIED: "denied",
    Status.UNDECIDED: "without an answer",
    Status.UNRESOLVED: "unresolved",
    Status.MONITORED: "denied in monitor mode",
}
_MARKED = {MarkedBy.IGNORE: "ignored", MarkedBy.BASELINE: "in the baseline"}


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no answer about an image.

    Attributes:
        code: the name of the gRPC status.
        message: for people.
    """

    code: str
    message: str


Result = Answer | Failure
"""The answer about an image, or why there is none."""


@dataclass(frozen=True, slots=True)
class Mark:
    """That a finding does not count, and why."""

    by: MarkedBy
    reason: str


@dataclass(frozen=True, slots=True)
class Advice:
    """What would be allowed in place of an image that is denied.

    Attributes:
        sentence: for people, without a full stop.
        reference: one image that is allowed, as a person writes it; empty where only kinds of images are named.
    """

    sentence: str
    reference: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A finding, and what was decided about it.

    Attributes:
        result: None where there is nothing to decide about. Of what is unresolved it is what holds of its repository
            whatever the tag, or why that is not known.
        about_repository: of what is unresolved and has no result: what is known of its repository all the same, in a
            clause.
        line: the line of the file on which the finding begins; empty where it could not be read.
        fingerprint: stays the same when the finding moves to another line; no two items of a report have the same.
    """

    finding: Found | Trouble
    result: Result | None = None
    about_repository: str = ""
    line: str = ""
    advice: Advice | None = None
    mark: Mark | None = None
    fingerprint: str = ""

    @property
    def place(self) -> Place:
        """Where it is."""
        return self.finding.place

    @property
    def status(self) -> Status:
        """What there is to say of it."""
        if isinstance(self.finding, Trouble):
            return Status.TROUBLE
        if self.finding.reference is None and self.result is None:
            return Status.UNRESOLVED
        if not isinstance(self.result, Answer):
            return Status.UNDECIDED
        decision = self.result.decision
        if decision.effect is Effect.DENY:
            return Status.DENIED
        return Status.ALLOWED if decision.enforced else Status.MONITORED

    @property
    def reason(self) -> str:
        """Why that is so, in a sentence without a full stop."""
        if isinstance(self.finding, Trouble):
            return self.finding.problem
        if self.finding.reference is None and self.result is None:
            return "; ".join(filter(None, (self.finding.unresolved, self.about_repository)))
        if isinstance(self.result, Answer):
            reason, of_all_tags = reason_in_words(self.result.decision), ", whatever its tag"
        else:
            reason, of_all_tags = self.result.message if self.result is not None else "it was not asked about", ""
        if self.finding.reference is None:
            return f"{reason}{of_all_tags} (the tag is not known: {self.finding.unresolved})"
        return reason

    @property
    def subject(self) -> str:
        """The image, as it was read, or as it stands in the file where it could not be; of trouble the file.

        Of what holds whatever the tag it is the repository.
        """
        if isinstance(self.finding, Trouble):
            return self.place.file
        known = self.finding.reference or (self.finding.repository if self.result is not None else None)
        return self.finding.raw if known is None else str(known)

    @property
    def key(self) -> tuple[str, ...]:
        """What tells it from other findings, but for its line and for equal ones in the same file."""
        if isinstance(self.finding, Trouble):
            return (self.place.file, self.status.value, "", self.finding.problem, "")
        reference = "" if self.finding.reference is None else str(self.finding.reference)
        return (self.place.file, self.status.value, self.finding.kind.value, self.finding.raw, reference)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All that came out.

    Attributes:
        items: in the order of their places.
        files: how many files were looked at, most of them by their name alone.
        root: of the tree; the places' files are relative to it.
        here: the directory that people and scripts see the files from.
        outdated: what the baseline lists and is not found any more, in words.
        unread: files and directories that a person named, and of which nothing could be read.
        unused_ignores: comments that would have findings not count, where there are none.
        warnings: what makes it doubtful that the right thing was asked, in sentences without a full stop.
    """

    items: Sequence[Item]
    files: int
    root: Path
    here: Path
    fail_on: FailOn = FailOn.DENIED
    outdated: Sequence[str] = ()
    unread: frozenset[str] = frozenset()
    unused_ignores: Sequence[Ignore] = ()
    warnings: Sequence[str] = ()

    @property
    def images(self) -> Sequence[Item]:
        """The items that are image references."""
        return [item for item in self.items if item.status is not Status.TROUBLE]

    @property
    def troubles(self) -> Sequence[Item]:
        """The items that are none."""
        return [item for item in self.items if item.status is Status.TROUBLE]

    @property
    def problems(self) -> Sequence[Item]:
        """The items that somebody may have to do something about, marked ones included."""
        return [item for item in self.items if item.status is not Status.ALLOWED]

    def count(self, status: Status) -> int:
        """How many items are so, marked ones left out."""
        return sum(item.status is status and item.mark is None for item in self.items)

    def count_marked(self, by: MarkedBy) -> int:
        """How many items that would have counted are marked so."""
        return sum(item.mark is not None and item.mark.by is by for item in self.problems)

    @property
    def summary(self) -> str:
        """How many images there are and what there is to say of them, in a line."""
        if not self.images:
            line = f"no image references in {counted(self.files, 'file')}"
        else:
            words = [f"{self.count(Status.ALLOWED)} allowed"]
            words += [f"{count} {word}" for status, word in _COUNTED.items() if (count := self.count(status))]
            words += [f"{count} {word}" for by, word in _MARKED.items() if (count := self.count_marked(by))]
            files = len({item.place.file for item in self.images})
            line = f"{counted(len(self.images), 'image reference')} in {counted(files, 'file')}: {', '.join(words)}"
        troubles = self.count(Status.TROUBLE)
        return f"{line}; {counted(troubles, 'trouble')}" if troubles else line

    def exit_code(self, item: Item) -> int:
        """What one item has the command end with."""
        if item.mark is not None:
            return 0
        match item.status:
            case Status.DENIED:
                return DENIED
            case Status.UNDECIDED:
                wrong = isinstance(item.result, Failure) and item.result.code == "INVALID_ARGUMENT"
                return USAGE if wrong else UNDECIDED
            case Status.TROUBLE if item.place.file in self.unread:
                return UNDECIDED
            case Status.UNRESOLVED | Status.TROUBLE:
                return UNDECIDED if self.fail_on is FailOn.UNRESOLVED else 0
            case _:
                return 0

    def ends_with(self, *, exit_zero: bool) -> int:
        """The exit code: the highest of all items.

        Args:
            exit_zero: whether only those matter for which the check was not carried out: there was no answer about
                them, or a file that was named could not be read.
        """
        items = self.items
        if exit_zero:
            items = [item for item in items if item.status is Status.UNDECIDED or item.place.file in self.unread]
        return max((self.exit_code(item) for item in items), default=0)

    def name(self, file: str) -> str:
        """A file as people see it from where they are: relative to there if it lies below."""
        full = self.root / file
        return full.relative_to(self.here).as_posix() if full.is_relative_to(self.here) else full.as_posix()


def fingerprints(items: Sequence[Item]) -> list[str]:
    """A fingerprint for each item, of 32 hexadecimal digits, in their order."""
    seen: Counter[tuple[str, ...]] = Counter()
    made = []
    for item in items:
        seen[item.key] += 1
        text = "\0".join((*item.key, str(seen[item.key])))
        made.append(hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32])
    return made


def printable(text: str) -> str:
    """The text in characters that can be shown: all others, which could drive a terminal, are escaped."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def counted(count: int, noun: str) -> str:
    """`1 image`, `2 images`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
