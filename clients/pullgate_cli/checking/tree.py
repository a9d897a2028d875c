"""Which files are looked into: what a person names, seen from the root of the repository that it lies in."""

import functools
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pullgate_cli.checking.ignores import FilesNotingIgnores
from pullgate_finders import Place, Trouble, UnreadableFileError
from pullgate_finders.tree import FilesOnDisk


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """What is to be looked into.

    Attributes:
        root: files may lead to others within it.
        paths: of the files, relative to the root, each once.
        named: what a person named: those of them, and directories, relative to the root.
        troubles: directories that could not be looked into.
        is_excluded: whether a file is left out, by its absolute path.
    """

    root: Path
    files: FilesNotingIgnores
    paths: Sequence[str]
    named: Sequence[str]
    troubles: Sequence[Trouble]
    is_excluded: Callable[[Path], bool]


def tree_of(paths: Iterable[Path], here: Path, is_excluded: Callable[[Path], bool]) -> Tree:
    """What these files, and all in these directories, are.

    Args:
        here: the current directory.
    """
    wanted = [Path(os.path.normpath(here / path)) for path in paths]
    root = root_of(wanted, here)
    files = FilesOnDisk(root)
    found: list[str] = []
    named: list[str] = []
    named_files: list[str] = []
    troubles: list[Trouble] = []

    def tell(error: UnreadableFileError) -> None:
        if not is_excluded(root / error.path):
            troubles.append(Trouble(place=Place(error.path, 1, 1, 1, 1), problem=error.problem))

    for path in wanted:
        relative = path.relative_to(root).as_posix()
        named.append(relative)
        if path.is_dir():
            found.extend(files.paths("" if relative == "." else relative, tell))
        else:
            named_files.append(relative)
    kept = [path for path in dict.fromkeys((*named_files, *found)) if not is_excluded(root / path)]
    return Tree(
        root=root,
        files=FilesNotingIgnores(files),
        paths=kept,
        named=named,
        troubles=tuple(dict.fromkeys(troubles)),
        is_excluded=is_excluded,
    )


def root_of(paths: Sequence[Path], here: Path) -> Path:
    """The root of the repository that all of these absolute paths lie in.

    Where there is none it is the current directory if all lie below, so that a file has the same name whichever others
    are named with it, and else the directory that they have in common.
    """
    directories = [path if path.is_dir() else path.parent for path in paths]
    common = Path(os.path.commonpath(directories))
    # In a work tree `.git` is a file.
    repository = (directory for directory in (common, *common.parents) if (directory / ".git").exists())
    return next(repository, here if common.is_relative_to(here) else common)


class Exclusion:
    """Which files are left out.

    A pattern without `/` is held against every name on the way to a file, one with `/` against the path from the
    current directory, or the beginning of it. `*` and `?` stand for characters other than `/`, `**` for any.
    """

    def __init__(self, patterns: Iterable[str], here: Path) -> None:
        self._here = here
        self._names: list[re.Pattern[str]] = []
        self._paths: list[re.Pattern[str]] = []
        for written in patterns:
            pattern = written.removeprefix("./").rstrip("/")
            (self._paths if "/" in pattern else self._names).append(_pattern(pattern))

    def __call__(self, file: Path) -> bool:
        """Whether a file, by its absolute path, is left out."""
        if not self._names and not self._paths:
            return False
        parts = (file.relative_to(self._here) if file.is_relative_to(self._here) else file).parts
        if any(pattern.fullmatch(part) for pattern in self._names for part in parts):
            return True
        return any(
            pattern.fullmatch("/".join(parts[:length]))
            for pattern in self._paths
            for length in range(1, len(parts) + 1)
        )


_WILDCARDS = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}


@functools.cache
def _pattern(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", pattern)
    return re.compile("".join(_WILDCARDS.get(part) or re.escape(part) for part in parts), re.DOTALL)
