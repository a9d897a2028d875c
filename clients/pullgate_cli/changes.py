"""Changes of policies as a person reads them: where, from what to what, and what it means."""

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import click

from pullgate_policy.changes import SettingChange
from pullgate_policy.document import Plain

Entry = TypeVar("Entry")

MAX_VALUE_LENGTH = 60
"""Characters of a value in a plan; `--json` has all of it."""


def told(changes: Iterable[SettingChange]) -> Iterator[str]:
    """Each change in two lines, coloured on a terminal: + for what is new, - for what goes, ~ for what changes."""
    for change in changes:
        sign, colour = _sign(change.before, change.after)
        values = f"  {words}" if change.path and (words := _values(change)) else ""
        path = click.style(change.path or "policy", fg=colour, bold=True)
        yield f"  {click.style(sign, fg=colour, bold=True)} {path}{values}"
        yield f"      {change.meaning}"


def told_entry(name: str, before: Entry | None, after: Entry | None, in_words: Callable[[Entry], str]) -> str:
    """What became of an entry of a list, in a line with the same signs."""
    sign, colour = _sign(before, after)
    words = " → ".join(in_words(entry) for entry in (before, after) if entry is not None)
    return f"{click.style(sign, fg=colour, bold=True)} {name}  {words}"


def change_data(change: SettingChange) -> dict[str, Any]:
    """A change as plain data."""
    return {"path": change.path, "before": change.before, "after": change.after, "meaning": change.meaning}


def _sign(before: object, after: object) -> tuple[str, str]:
    if before is None and after is not None:
        return "+", "green"
    if after is None and before is not None:
        return "-", "red"
    return "~", "yellow"


def _values(change: SettingChange) -> str:
    if _is_entry(change.before) or _is_entry(change.after):
        return ""
    return click.style(f"{_value(change.before)} → {_value(change.after)}", dim=True)


def _is_entry(value: Plain) -> bool:
    return isinstance(value, dict | list)


def _value(value: Plain) -> str:
    if isinstance(value, str) and len(value) > MAX_VALUE_LENGTH:
        value = f"{value[:MAX_VALUE_LENGTH]}…"
    return json.dumps(value, ensure_ascii=False)
