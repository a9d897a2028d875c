"""Keeps the catalogue in memory equal to the operator's file."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from pullgate_policy import InvalidCatalogueError
from pullgate_policy.catalogue import CatalogueEntry
from pullgate_server.categories.catalogue import Catalogue, read_catalogue

log = structlog.get_logger()


class CatalogueFile:
    """Reads the file when it changes. A file that is gone or wrong leaves the former entries in force, and is logged.

    So it is in the moment between a delete and a write. What empties the catalogue is a file with an empty list.
    """

    def __init__(
        self,
        path: Path,
        catalogue: Catalogue,
        on_change: Callable[[], None],
    ) -> None:
        self._path = path
        self._catalogue = catalogue
        self._on_change = on_change
        self._seen: tuple[int, int, int] | None = None
        self._gone = False

    def load(self) -> None:
        """Take in the file as it is; a missing one has no entries. Raises InvalidCatalogueError and OSError."""
        try:
            state = self._state()
        except FileNotFoundError:
            return
        self._take(read_catalogue(self._path))
        self._seen = state

    async def look(self) -> None:
        """Take in the file if it has changed since, or is there again."""
        try:
            await self._look()
        except OSError as error:
            # Where there has been none since the start, none is missed.
            if self._seen is None and isinstance(error, FileNotFoundError):
                return
            if not self._gone:
                log.error("catalogue gone, the former entries hold", file=str(self._path), problem=str(error))
            # Whatever is found next is read, also the same file that was moved back or can be read again.
            self._seen, self._gone = None, True

    async def _look(self) -> None:
        state = self._state()
        if state == self._seen:
            return
        try:
            # A long one takes seconds to read, and decisions go on meanwhile.
            entries = await asyncio.to_thread(read_catalogue, self._path)
        except InvalidCatalogueError as error:
            log.error("catalogue refused, the former entries hold", file=str(self._path), problem=str(error))
        else:
            self._take(entries)
            self._on_change()
        self._seen, self._gone = state, False

    def _take(self, entries: Sequence[CatalogueEntry]) -> None:
        self._catalogue.replace(entries)
        log.info("catalogue read", file=str(self._path), entries=len(entries))

    def _state(self) -> tuple[int, int, int]:
        status = self._path.stat()
        return status.st_mtime_ns, status.st_size, status.st_ino
