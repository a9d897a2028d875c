"""What `pullgate doctor` looks at, and how it says what it found: the one shape of all its checks."""

import enum
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pullgate_client import Connection


class Health(enum.Enum):
    """How what was looked at is."""

    OK = "ok"

    NOTE = "note"
    """Nothing is wrong; it is well to know."""

    MEND = "mend"
    """Something is to be done."""

    SKIPPED = "skipped"
    """It could not be looked at, or is not there to be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was found about one thing.

    Attributes:
        about: what was looked at, in a word or two.
        found: how it is, in a sentence.
        to_do: what to do about it; empty for nothing.
    """

    about: str
    health: Health
    found: str
    to_do: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """What is looked at.

    Attributes:
        connection: to the service.
        plugin: what the Docker Engine calls the plugin.
        plugin_socket: where the plugin answers; None for where the engine looks for it.
        engine_socket: where the engine answers.
    """

    connection: "Connection"
    plugin: str
    plugin_socket: Path | None
    engine_socket: Path


Check = Callable[[Patient], Iterable[Finding]]
"""Looks at something, changes nothing, and raises nothing: what cannot be looked at is a finding too."""
