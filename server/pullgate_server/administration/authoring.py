"""A write as its caller asked for it."""

from dataclasses import dataclass
from datetime import datetime

from pullgate_policy.caller import Caller
from pullgate_policy.errors import FieldInvalidError
from pullgate_policy.names import short_note
from pullgate_server.stores.port import Authorship, WriteRequest

MAX_REQUEST_ID_LENGTH = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteCall:
    """Who asks for a write, from where, and how it is known again.

    Attributes:
        origin: the network address that the call came from.
        request_id: the caller's own name for the write; empty for none.
        digest: of all that was asked for.
    """

    caller: Caller
    origin: str
    comment: str = ""
    request_id: str = ""
    digest: str = ""

    def authorship(self, now: datetime) -> Authorship:
        """Who writes at this moment; raises FieldInvalidError for a comment or request id that cannot be kept."""
        try:
            short_note(self.comment)
        except ValueError as error:
            raise FieldInvalidError("comment", str(error)) from error
        if len(self.request_id) > MAX_REQUEST_ID_LENGTH or not self.request_id.isprintable():
            raise FieldInvalidError(
                "request_id", f"is not a name of at most {MAX_REQUEST_ID_LENGTH} characters that can be printed"
            )
        return Authorship(
            author=self.caller.name,
            caller_id=self.caller.id,
            origin=self.origin,
            written_at=now,
            comment=self.comment,
            request=WriteRequest(id=self.request_id, digest=self.digest) if self.request_id else None,
        )
