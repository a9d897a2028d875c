"""A finder of references in one format, and what it may look at."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

from pullgate_finders.found import Finding

_NOTHING: Mapping[str, str] = MappingProxyType({})


class UnreadableFileError(Exception):
    """A file cannot be read.

    Attributes:
        path: the file.
        problem: why, in a sentence that begins with a lower-case letter: `is larger than 10 MB`.
        beginning: of one that is too large, what it begins with; None where nothing of it can be read.
        text: of one that has bytes that are no characters, all of it, with U+FFFD in their place; else None.
    """

    def __init__(self, path: str, problem: str, *, beginning: str | None = None, text: str | None = None) -> None:
        super().__init__(f"{path} {problem}")
        self.path = path
        self.problem = problem
        self.beginning = beginning
        self.text = text


class Files(Protocol):
    """The files of a tree. Paths are relative to its root, with `/`, and normalised (`tree.join` does that)."""

    def read(self, path: str) -> str:
        """The text of a file, without a byte order mark; raises UnreadableFileError, also for what is outside."""

    def is_file(self, path: str) -> bool:
        """Whether there is a file of that name in the tree."""

    def names(self, directory: str) -> Sequence[str]:
        """The names of the files in a directory ("" is the root), sorted; none where there is no such directory."""

    def directories(self, directory: str) -> Sequence[str]:
        """The names of the directories in a directory, sorted; without links, so that there are no cycles."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What is said by option of how the files are used.

    Attributes:
        build_arguments: `--build-arg`, for every Dockerfile.
        build_contexts: `--build-context`, for every Dockerfile: by name, as `docker-image://alpine` or a path.
        variables: `--env`, for what Compose and Bake interpolate; they win over `.env`.
        target: `--target`, the stage that is built; empty for the last one.
    """

    build_arguments: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    build_contexts: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    variables: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    target: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What a finder is given besides the file it looks into."""

    files: Files
    settings: Settings = field(default_factory=Settings)


class Finder(Protocol):
    """Finds references in files of one format.

    Of the finders that claim a file's name and recognise its text the first one in `formats.FINDERS` reads it.
    A finder never raises for what is in a file: what it cannot read it tells as Trouble, and goes on where it can.
    """

    @property
    def name(self) -> str:
        """What the format is called, as `Dockerfile` or `GitHub Actions`."""

    def claims(self, path: str) -> bool:
        """Whether the file may be of this format, by its name alone."""

    def recognises(self, text: str) -> bool:
        """Whether the text may be of this format. It is asked of thousands of files, so it parses nothing."""

    def find(self, path: str, text: str, search: Search) -> Iterator[Finding]:
        """What is found, in any order. The same may be found twice; `finding.find` tells it once."""
