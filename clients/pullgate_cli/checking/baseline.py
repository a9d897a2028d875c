"""Findings that were there before: they are told and do not count, so that a check can begin where a repository is.

A baseline is a JSON file that lies in the repository. Its entries say no lines, so a finding may move. As many equal
findings in one file are let pass as there are equal entries.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from pullgate_cli.checking.json_text import json_text
from pullgate_cli.checking.report import Item, MarkedBy, Status, printable

VERSION = 1
"""Of the form of the file."""

FIELDS = ("file", "status", "kind", "raw", "reference")
"""Of an entry, each a text; what does not apply is empty. `file` is relative to the root of the repository."""

KEPT = frozenset({Status.DENIED, Status.UNRESOLVED, Status.TROUBLE})
"""What is written down. An image about which there was no answer may be anything."""

Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Baseline:
    """What was there before.

    Attributes:
        entries: how often each finding is let pass.
    """

    entries: Mapping[Key, int]

    def covered(self, items: Iterable[Item]) -> list[bool]:
        """Of each item, in their order, whether it was there before."""
        left = Counter(self.entries)
        covered = []
        for item in items:
            known = item.status in KEPT and left[item.key] > 0
            left[item.key] -= known
            covered.append(known)
        return covered

    def outdated(self, items: Iterable[Item], looked_at: frozenset[str], root: Path) -> list[str]:
        """What is not found any more in the files that were looked at, or are gone, in words."""
        left = Counter(self.entries)
        left.subtract(item.key for item in items)
        return [
            f"{printable(key[0])}: {printable(key[3])}" + (f" ({count} times)" if count > 1 else "")
            for key, count in sorted(left.items())
            if count > 0 and (key[0] in looked_at or not (root / key[0]).exists())
        ]

    def written_anew(self, items: Iterable[Item], looked_at: frozenset[str], root: Path) -> "Baseline":
        """The baseline of what is there now; of files that were not looked at and are still there it stays."""
        kept = Counter(
            {key: count for key, count in self.entries.items() if key[0] not in looked_at and (root / key[0]).exists()}
        )
        kept.update(item.key for item in items if item.status in KEPT and not _is_ignored(item))
        return Baseline(kept)

    def text(self) -> str:
        """As it is written down: sorted, an entry a line, so that changes of it can be read."""
        entries = [
            dict(zip(FIELDS, key, strict=True)) for key, count in sorted(self.entries.items()) for _ in range(count)
        ]
        lines = ",\n".join(f"    {json_text(entry)}" for entry in entries)
        body = f"[\n{lines}\n  ]" if lines else "[]"
        return f'{{\n  "version": {VERSION},\n  "findings": {body}\n}}\n'


def _is_ignored(item: Item) -> bool:
    return item.mark is not None and item.mark.by is MarkedBy.IGNORE


def read_baseline(path: Path) -> Baseline:
    """What the file holds; raises click.UsageError."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise click.UsageError(
            f"the baseline {path} cannot be read: {error.strerror}; --write-baseline makes one"
        ) from error
    except (ValueError, RecursionError) as error:
        raise click.UsageError(f"the baseline {path} is no JSON: {error}") from error
    if not isinstance(data, dict) or not isinstance(data.get("findings"), list):
        raise click.UsageError(f"{path} is no baseline: it has no list of findings; --write-baseline makes one")
    if data.get("version") != VERSION:
        raise click.UsageError(
            f"{path} is a baseline of version {data.get('version')!r}, and version {VERSION} is read"
        )
    return Baseline(Counter(_key(entry, index, path) for index, entry in enumerate(data["findings"])))


def _key(entry: object, index: int, path: Path) -> Key:
    values: Sequence[object] = [entry.get(field) for field in FIELDS] if isinstance(entry, dict) else [None]
    if not all(isinstance(value, str) for value in values):
        raise click.UsageError(f"{path}: findings[{index}] has not all of {', '.join(FIELDS)} as texts")
    return tuple(str(value) for value in values)
