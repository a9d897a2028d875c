"""How long what a source said is used, and how it ages."""

import enum
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from pullgate_policy import Category
from pullgate_server.stores.category_knowledge import Remembered

REFRESH_AFTER = 0.8
"""The part of a lifetime after which what is in use is looked up anew."""

JITTER = 0.1
"""The part of a lifetime by which it may be shorter, so that what was learnt together is not asked for together."""


class Age(enum.Enum):
    """How what is remembered may be used."""

    FRESH = enum.auto()
    """As it is."""

    DUE = enum.auto()
    """As it is, while it is looked up anew."""

    STALE = enum.auto()
    """For want of better."""

    TOO_OLD = enum.auto()
    """Not at all."""


@dataclass(frozen=True, slots=True)
class Span:
    """The moments in which what is remembered grows older."""

    refresh_at: datetime
    fresh_until: datetime
    usable_until: datetime

    def age(self, now: datetime) -> Age:
        """How old it is."""
        if now < self.fresh_until:
            return Age.FRESH if now < self.refresh_at else Age.DUE
        return Age.STALE if now < self.usable_until else Age.TOO_OLD


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetimes:
    """For how long what a source said is used.

    Attributes:
        known: a category.
        unknown: that the source does not know.
        max_stale: a category, beyond its lifetime, while the source cannot be asked.
        salt: another number in each process, so that of several servers one is the first to ask.
    """

    known: timedelta
    unknown: timedelta
    max_stale: timedelta
    salt: int

    def believed(self, namespace: str, words: Iterable[Remembered | None], now: datetime) -> Remembered | None:
        """Of several memories' words on a namespace the one that counts.

        The latest; but a category that may still be used goes before any word that nothing is known, because throttled
        clients are told that too. What is dated in the future is nobody's word.
        """
        said = [word for word in words if word is not None and not word.is_of_the_future(now)]
        known = [word for word in said if self.is_usable_category(namespace, word, now)]
        return max(known or said, key=lambda word: word.checked_at, default=None)

    def is_usable_category(self, namespace: str, word: Remembered, now: datetime) -> bool:
        """Whether it tells a category, and may still be used."""
        return word.category is not Category.UNKNOWN and now < self.span(namespace, word).usable_until

    def span(self, namespace: str, remembered: Remembered) -> Span:
        """The moments of what is remembered of a namespace."""
        is_known = remembered.category is not Category.UNKNOWN
        lifetime = self.known if is_known else self.unknown
        # Drawn from the name rather than kept beside each of what may be a million entries.
        spread = zlib.crc32(namespace.encode(), self.salt) / 2**32
        fresh_for = lifetime * (1 - JITTER * spread)
        checked_at = remembered.checked_at
        fresh_until = checked_at + fresh_for
        return Span(
            refresh_at=checked_at + fresh_for * REFRESH_AFTER,
            fresh_until=fresh_until,
            usable_until=checked_at + lifetime + self.max_stale if is_known else fresh_until,
        )
