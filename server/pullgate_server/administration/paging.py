"""Pages of lists: how large they may be, and where the next one begins."""

from collections.abc import Sequence

from pullgate_policy.errors import FieldInvalidError

DEFAULT_PAGE_SIZE = 100
MAX_PAGE_SIZE = 1000

MAX_DIGITS = 18
"""Digits of a revision: as many as surely fit into 64 bits."""


def page_size(asked: int) -> int:
    """How many entries a page has; raises FieldInvalidError."""
    if not 0 <= asked <= MAX_PAGE_SIZE:
        raise FieldInvalidError("page_size", f"{asked} is not between 0 and {MAX_PAGE_SIZE}")
    return asked or DEFAULT_PAGE_SIZE


def page_of_names(names: Sequence[str], asked: int, after: str) -> tuple[Sequence[str], str]:
    """The names that come after `after`, in their order, and where to go on ("" at the end)."""
    size = page_size(asked)
    following = sorted(name for name in names if name > after)
    page = following[:size]
    return page, page[-1] if len(following) > size else ""


def revision_of_token(page_token: str) -> int | None:
    """The revision that a page token of a list of revisions names; raises FieldInvalidError."""
    if not page_token:
        return None
    if not (page_token.isascii() and page_token.isdecimal() and len(page_token) <= MAX_DIGITS):
        raise FieldInvalidError("page_token", "is none that an earlier answer gave")
    return int(page_token)
