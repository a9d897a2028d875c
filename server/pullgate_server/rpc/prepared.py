"""Answers that are ready to be sent: serialized once, and repeated with a new decision id as long as they hold.

Building and serializing an answer costs several times what the rest of a warm call does (docs/performance.md has the
figures). What is kept rests on one snapshot and one state of the categories; when either changes all of it goes at
once. Answers that time is about to change are not kept.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pullgate.v1 import decision_pb2
from pullgate.v1.mapping import answer_to_message

from pullgate_server.deciding import DecisionIds, PreparedAnswer

MAX_KEPT = 50_000
"""Answers kept; each takes about a kilobyte."""

MAX_ASKER_BYTES = 4096
"""A larger identity is answered all the same, and not kept."""

_DECISION_ID = decision_pb2.Decision.DESCRIPTOR.fields_by_name["decision_id"].number
_LENGTH_DELIMITED = 2


@dataclass(frozen=True, slots=True)
class ReadyAnswer:
    """A serialized Decision, cut where its id goes.

    Attributes:
        repeatable_until: from this moment on it is no longer right.
    """

    before_id: bytes
    after_id: bytes
    repeatable_until: datetime

    def with_id(self, decision_id: str) -> bytes:
        """The serialized Decision under another id."""
        return self.before_id + decision_id.encode() + self.after_id


class Asker:
    """The answers kept for one identity as one caller states it."""

    __slots__ = ("answers",)

    def __init__(self) -> None:
        self.answers: dict[str, ReadyAnswer] = {}


class ReadyAnswers:
    """What is kept, by asker and reference as written.

    The key of an asker holds all that a decision depends on besides the reference: the caller, the identity's bytes
    and the organizations asked about, each an item of its own in a tuple.
    """

    def __init__(self) -> None:
        self._askers: dict[tuple[str, bytes, tuple[str, ...]], Asker] = {}
        self._kept = 0

    def clear(self) -> None:
        """Forget everything. Who is preparing an answer right now puts it where nobody will look."""
        self._askers = {}
        self._kept = 0

    def asker(self, caller_id: str, identity: bytes, organizations: Sequence[str]) -> Asker:
        """What is kept for these inputs; what is put into it is kept as long as the inputs hold."""
        key = (caller_id, identity, tuple(organizations))
        asker = self._askers.get(key)
        if asker is None:
            asker = Asker()
            if len(identity) <= MAX_ASKER_BYTES:
                self._askers[key] = asker
        return asker

    def keep(self, asker: Asker, reference: str, prepared: PreparedAnswer) -> bytes:
        """Serialize an answer, and keep it if it may be repeated."""
        serialized = answer_to_message(prepared.answer).SerializeToString()
        if prepared.repeatable_until is not None:
            if self._kept >= MAX_KEPT:
                self.clear()
            before, _, after = serialized.partition(_id_field(prepared.answer.decision_id))
            asker.answers[reference] = ReadyAnswer(before + _id_field(""), after, prepared.repeatable_until)
            self._kept += 1
        return serialized


@functools.lru_cache(maxsize=4096)
def field_header(field_number: int, length: int) -> bytes:
    """What goes before the bytes of a length-delimited field (protobuf.dev, Encoding, 'Length-Delimited Records')."""
    header = bytearray([field_number << 3 | _LENGTH_DELIMITED])
    while length > 0x7F:  # noqa: PLR2004 - seven bits a byte
        header.append(length & 0x7F | 0x80)
        length >>= 7
    header.append(length)
    return bytes(header)


def _id_field(decision_id: str) -> bytes:
    return field_header(_DECISION_ID, DecisionIds.LENGTH) + decision_id.encode()
