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
    """Reads the file when it changes. A file that cannot be read leaves the former entries in force, and is logged."""

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

    def load(self) -> None:
        """Take in the file as it is; a missing one has no entries. Raises InvalidCatalogueError and OSError."""
        self._seen = self._state()
        self._take(read_catalogue(self._path) if self._seen else ())

    async def look(self) -> None:
        """Take in the file if it has changed since."""
        state = self._state()
        if state == self._seen:
            return
        self._seen = state
        try:
            # A long one takes seconds to read, and decisions go on meanwhile.
            self._take(await asyncio.to_thread(read_catalogue, self._path) if state else ())
        except (InvalidCatalogueError, OSError) as error:
            log.error("catalogue refused, the former entries hold", file=str(self._path), problem=str(error))
            return
        self._on_change()

    def _take(self, entries: Sequence[CatalogueEntry]) -> None:
        self._catalogue.replace(entries)
        if self._seen:
            log.info("catalogue read", file=str(self._path), entries=len(entries))

    def _state(self) -> tuple[int, int, int] | None:
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino
