"""Files: on disk, within limits and never outside of the tree; and in memory, for tests and for texts at hand."""

import codecs
import os
import posixpath
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from pullgate_finders.port import UnreadableFileError

MAX_FILE_BYTES = 10 * 1024 * 1024
"""Larger files are told of and not read: no file that a person writes is."""

_BEGINNING_BYTES = 64 * 1024

SKIPPED_DIRECTORIES = frozenset({".git", ".hg", ".svn", ".tox", ".venv", "venv", "node_modules", "__pycache__"})
"""Directories that hold what was fetched or made, not what was written; a file in one is read when it is named."""

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def join(directory: str, path: str) -> str:
    """A path as it stands in a file of `directory`, relative to the root of the tree; may begin with `..`."""
    return posixpath.normpath(posixpath.join(directory, path)).removeprefix("./")


def directory_of(path: str) -> str:
    """The directory that a file is in; "" for the root."""
    return posixpath.dirname(path)


class FilesInMemory:
    """A tree whose files are given by path."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts = dict(texts)

    def read(self, path: str) -> str:
        """The text of a file; raises UnreadableFileError."""
        check_inside(path)
        if path not in self._texts:
            raise UnreadableFileError(path, "does not exist")
        return self._texts[path]

    def is_file(self, path: str) -> bool:
        """Whether there is a file of that name."""
        return path in self._texts

    def names(self, directory: str) -> Sequence[str]:
        """The names of the files in a directory, sorted."""
        return sorted(posixpath.basename(path) for path in self._texts if directory_of(path) == directory)

    def directories(self, directory: str) -> Sequence[str]:
        """The names of the directories in a directory, sorted."""
        base = f"{directory}/" if directory else ""
        below = (path.removeprefix(base) for path in self._texts if path.startswith(base))
        return sorted({path.split("/")[0] for path in below if "/" in path})

    def paths(self) -> Iterator[str]:
        """All files, sorted."""
        yield from sorted(self._texts)


class FilesOnDisk:
    """A directory on disk. Symbolic links are followed as long as they stay within it."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._real_root = os.path.realpath(root)

    def read(self, path: str) -> str:
        """The text of a file; raises UnreadableFileError."""
        check_inside(path)
        full = self._root / path
        if not self._is_within(full):
            raise UnreadableFileError(path, "is a symbolic link that leads out of what is checked")
        try:
            # A pipe or a device would hold whoever opens it.
            if not stat.S_ISREG(full.stat().st_mode):
                raise UnreadableFileError(path, "is no regular file")
            with full.open("rb") as file:
                content = file.read(MAX_FILE_BYTES + 1)
        except FileNotFoundError:
            raise UnreadableFileError(path, "does not exist") from None
        except (OSError, ValueError) as error:
            reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
            raise UnreadableFileError(path, f"cannot be read: {reason}") from error
        if len(content) > MAX_FILE_BYTES:
            beginning = content[:_BEGINNING_BYTES].decode("utf-8", "replace")
            raise UnreadableFileError(path, f"is larger than {MAX_FILE_BYTES // 1024 // 1024} MB", beginning=beginning)
        return decode(path, content)

    def is_file(self, path: str) -> bool:
        """Whether there is a file of that name in the tree."""
        full = self._root / path
        try:
            return not path.startswith("..") and full.is_file() and self._is_within(full)
        except (OSError, ValueError):
            return False

    def names(self, directory: str) -> Sequence[str]:
        """The names of the files in a directory, sorted."""
        full = self._root / directory
        if directory.startswith("..") or not self._is_within(full):
            return ()
        try:
            return sorted(entry.name for entry in os.scandir(full) if entry.is_file())
        except OSError:
            return ()

    def directories(self, directory: str) -> Sequence[str]:
        """The names of the directories in a directory, sorted; without links, and without those that are skipped."""
        full = self._root / directory
        if directory.startswith("..") or not self._is_within(full):
            return ()
        try:
            names = {entry.name for entry in os.scandir(full) if entry.is_dir(follow_symlinks=False)}
        except OSError:
            return ()
        return sorted(names - SKIPPED_DIRECTORIES)

    def paths(
        self, start: str = "", on_passed_over: Callable[[UnreadableFileError], None] = lambda _: None
    ) -> Iterator[str]:
        """The files in a directory and below, in order; linked directories are not entered, so there are no cycles.

        Args:
            on_passed_over: called with each directory below which files may be missed: one that cannot be listed, and
                a link to one outside of the tree. One within is met where it lies.
        """
        # Not by recursion, as in os.walk of older Pythons: directories can be nested deeper than that goes.
        pending = [start]
        while pending:
            directory = pending.pop()
            try:
                entries = sorted(os.scandir(self._root / directory), key=lambda entry: entry.name)
            except OSError as error:
                on_passed_over(UnreadableFileError(directory or ".", f"cannot be listed: {error.strerror}"))
                continue
            below = []
            for entry in entries:
                path = join(directory, entry.name)
                if not _is_directory(entry):
                    yield path
                elif not entry.is_symlink() and entry.name not in SKIPPED_DIRECTORIES:
                    below.append(path)
                elif entry.is_symlink() and not self._is_within(self._root / path):
                    problem = "is a symbolic link to a directory outside of what is checked, and is not looked into"
                    on_passed_over(UnreadableFileError(path, problem))
            pending.extend(reversed(below))

    def _is_within(self, path: Path) -> bool:
        try:
            real = os.path.realpath(path)
        except ValueError:  # a NUL
            return False
        return os.path.commonpath([real, self._real_root]) == self._real_root


def _is_directory(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def check_inside(path: str) -> None:
    """Raises UnreadableFileError for a path that leads out of the tree, or is none."""
    if "\0" in path:
        raise UnreadableFileError(path.replace("\0", "\N{REPLACEMENT CHARACTER}"), "is no file name: it contains a NUL")
    if path == ".." or path.startswith(("../", "/")):
        raise UnreadableFileError(path, "lies outside of what is checked")


def decode(path: str, content: bytes) -> str:
    """The text of a file, without a byte order mark; raises UnreadableFileError."""
    encoding = next((name for mark, name in _BOMS if content.startswith(mark)), None)
    if encoding is None and b"\0" in content:
        raise UnreadableFileError(path, "is binary")
    try:
        return content.decode(encoding or "utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        name = (encoding or "utf-8").upper()
        raise UnreadableFileError(
            path,
            f"is not {name}: byte {error.start + 1} cannot be read; save it as UTF-8",
            text=content.decode(encoding or "utf-8", "replace").removeprefix("\ufeff"),
        ) from error
