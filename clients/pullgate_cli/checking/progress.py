"""What is going on, on a terminal."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from pullgate_cli.checking.report import counted, printable

_EVERY = 64
"""Files between two updates: showing each would cost more than looking at it."""


class Progress(Protocol):
    """Told what goes on."""

    def on_file(self, path: str) -> None:
        """A file is looked into."""

    def on_answer(self, count: int) -> None:
        """So many images are answered."""


class Silence:
    """Tells nobody."""

    def on_file(self, path: str) -> None:
        """Nothing."""

    def on_answer(self, count: int) -> None:
        """Nothing."""


@contextmanager
def progress() -> Iterator[Progress]:
    """Progress on standard error while it lasts, where that is a terminal."""
    if not sys.stderr.isatty():
        yield Silence()
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True)

    class Shown:
        def __init__(self) -> None:
            self.files = 0

        def on_file(self, path: str) -> None:
            if self.files % _EVERY == 0:
                where = f"{counted(self.files, 'file')}, at {printable(path)}"
                status.update(Text(where, no_wrap=True, overflow="ellipsis"))
            self.files += 1

        def on_answer(self, count: int) -> None:
            status.update(Text(f"{counted(self.files, 'file')}, {counted(count, 'image')} answered"))

    with console.status("looking for images") as status:
        yield Shown()
