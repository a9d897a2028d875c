"""Resume tokens: up to where a subscriber has been told, of which store, and of which view."""

import base64
import binascii
import hashlib
from dataclasses import dataclass
from functools import lru_cache

_VERSION = "1"
_PARTS = 5
MAX_TOKEN_LENGTH = 200
_MAX_REVISION_DIGITS = 18


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumeToken:
    """What a resume token says. Opaque to subscribers, and no secret: whoever shows one is looked at anew.

    Attributes:
        store_id: of the store.
        revision: up to here the subscriber was told everything in its view.
        write: tells the write at this revision from others of its number, as in a store that was restored.
        view: the mark of the view.
    """

    store_id: str
    revision: int
    write: str
    view: str

    def __str__(self) -> str:
        text = ".".join((_VERSION, self.store_id, str(self.revision), self.write, self.view))
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str) -> "ResumeToken":
        """The token that was given out; raises ValueError for anything else."""
        if len(text) > MAX_TOKEN_LENGTH or not text.isascii():
            raise ValueError("is none that an earlier stream gave")
        try:
            parts = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode().split(".")
        except (binascii.Error, UnicodeDecodeError):
            raise ValueError("is none that an earlier stream gave") from None
        if len(parts) != _PARTS or parts[0] != _VERSION or not _is_revision(parts[2]):
            raise ValueError("is none that an earlier stream gave")
        return cls(store_id=parts[1], revision=int(parts[2]), write=parts[3], view=parts[4])


def _is_revision(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= _MAX_REVISION_DIGITS


@lru_cache(maxsize=1024)
def resume_token(store_id: str, revision: int, fingerprint: str, view: str) -> str:
    """The token as it is given out, written once for all who are told the same."""
    return str(ResumeToken(store_id=store_id, revision=revision, write=write_mark(fingerprint), view=view))


def write_mark(fingerprint: str) -> str:
    """A write's fingerprint, short enough for a token."""
    return hashlib.sha256(fingerprint.encode()).hexdigest()[:12]
