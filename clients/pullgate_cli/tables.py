"""Tables for people: in the terminal's width, and as wide as they are where there is none."""

from collections.abc import Iterable, Sequence

import click

UNBOUNDED = 10_000


def print_table(headers: Sequence[str], rows: Iterable[Sequence[str]], *, whole: Sequence[str], empty: str) -> None:
    """Print rows under headers, or `empty` where there are none.

    Args:
        whole: headers of columns that are never cut or wrapped, because people copy what stands there.
    """
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None)
    for header in headers:
        table.add_column(header, no_wrap=header in whole, overflow="fold")
    for row in rows:
        table.add_row(*map(one_line, row))
    if not table.row_count:
        click.echo(empty)
        return
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = UNBOUNDED
    with console.capture() as capture:
        console.print(table)
    click.echo("\n".join(line.rstrip() for line in capture.get().splitlines()))


def one_line(text: str) -> str:
    """The text without line breaks, which could make one entry look like several."""
    return " ".join(text.split())
