"""Hints from an SQLite file: that it changed."""

import asyncio
import os
from pathlib import Path

from pullgate_server.stores.hints import Hint

LOOK_SECONDS = 0.03

_Trace = tuple[int, int] | None


class SqliteHints:
    """Implements `Hints` for processes that share a file.

    Only with `stat`: a descriptor of our own, once closed, would take away the locks that SQLite holds on the file.

    Args:
        writing: held while this process writes. Its own writes are no news, and whoever reads meanwhile holds them up.
    """

    def __init__(self, file: Path, writing: asyncio.Lock) -> None:
        self._writing = writing
        # A transaction is committed when its journal goes, after the database was written; or when the log has grown.
        self._files = (file, file.with_name(f"{file.name}-journal"), file.with_name(f"{file.name}-wal"))
        self._seen = self._traces()

    async def run(self, on_revision: Hint, on_categories: Hint) -> None:
        """Look at the file again and again. It does not say what was written."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            traces = self._seen if self._writing.locked() else self._traces()
            if traces != self._seen:
                self._seen = traces
                on_revision()
                on_categories()

    def forget(self) -> None:
        """Take what has happened to the file for seen, as is right before a look."""
        self._seen = self._traces()

    def _traces(self) -> tuple[_Trace, ...]:
        return tuple(_trace(file) for file in self._files)


def _trace(file: Path) -> _Trace:
    """What changes with the file's contents; None where there are none, as in a log that a reader has just made."""
    try:
        status = os.stat(file)  # noqa: PTH116 - tens of times a second
    except OSError:
        return None
    return (status.st_mtime_ns, status.st_size) if status.st_size else None
