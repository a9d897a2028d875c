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
from pullgate_policy.answer import DecisionIds
from pullgate_server.deciding import PreparedAnswer

MAX_KEPT_BYTES = 48 * 1024 * 1024
"""What is kept takes at most about this much; at the limit a new generation begins."""

OVERHEAD_BYTES = 300
"""What Python adds to an answer and its keys, roughly; docs/performance.md has the measured sum."""

MAX_ASKER_BYTES = 4096
"""A larger identity is answered all the same, and not kept."""

_DECISION_ID = decision_pb2.Decision.DESCRIPTOR.fields_by_name["decision_id"].number
_LENGTH_DELIMITED = 2


@dataclass(frozen=True, slots=True)
class ReadyAnswer:
    """A serialized Decision, cut where its id goes.

    Attributes:
        repeatable_until: from this moment on it is no longer right.
        person_id: of the caller whose token is used each time that it is given; empty for none.
    """

    before_id: bytes
    after_id: bytes
    repeatable_until: datetime
    person_id: str

    def with_id(self, decision_id: str) -> bytes:
        """The serialized Decision under another id."""
        return self.before_id + decision_id.encode() + self.after_id


_AskerKey = tuple[str, bytes, tuple[str, ...]]


class _Generation:
    """All that rests on one snapshot and one state of the categories. Dropped as a whole."""

    __slots__ = ("askers", "kept_bytes", "responses")

    def __init__(self) -> None:
        self.askers: dict[_AskerKey, Asker] = {}
        self.responses: dict[tuple[str, bytes], ReadyAnswer] = {}
        self.kept_bytes = 0


class Asker:
    """The answers kept for one identity as one caller states it, within one generation.

    Who is deciding while the generation is dropped goes on with this object, and keeps its answer where nobody will
    look for it any more. An asker is listed with its first answer, so that refused requests leave nothing behind.
    """

    __slots__ = ("_generation", "_key", "_key_bytes", "answers")

    def __init__(self, key: _AskerKey, generation: _Generation) -> None:
        self._key = key
        self._generation = generation
        self._key_bytes = len(key[1]) + sum(map(len, key[2]))
        self.answers: dict[str, ReadyAnswer] = {}

    def keep(self, reference: str, prepared: PreparedAnswer) -> bytes:
        """Serialize an answer, and keep it if it may be repeated."""
        serialized = answer_to_message(prepared.answer).SerializeToString()
        if prepared.repeatable_until is not None and self._key_bytes <= MAX_ASKER_BYTES:
            before, _, after = serialized.partition(_id_field(prepared.answer.decision_id))
            if reference not in self.answers:
                self._generation.kept_bytes += len(serialized) + len(reference) + OVERHEAD_BYTES
            self.answers[reference] = ReadyAnswer(
                before + _id_field(""), after, prepared.repeatable_until, prepared.person_id
            )
            if self._key not in self._generation.askers:
                self._generation.askers[self._key] = self
                self._generation.kept_bytes += self._key_bytes + OVERHEAD_BYTES
        return serialized

    def keep_response(self, request: bytes, reference: str, header: bytes) -> None:
        """Keep what answers a request of these very bytes: `header`, and the answer kept about `reference`."""
        answer, key = self.answers.get(reference), (self._key[0], request)
        if answer is not None and len(request) <= MAX_ASKER_BYTES:
            response = ReadyAnswer(
                header + answer.before_id, answer.after_id, answer.repeatable_until, answer.person_id
            )
            if key not in self._generation.responses:
                self._generation.kept_bytes += len(request) + len(response.before_id) + OVERHEAD_BYTES
            self._generation.responses[key] = response


class ReadyAnswers:
    """What is kept, by asker and reference as written, and by a request's very bytes.

    The key of an asker holds all that a decision depends on besides the reference: the caller, the identity's bytes
    and the organizations asked about, each an item of its own in a tuple. A request's bytes hold all of that too.
    """

    def __init__(self) -> None:
        self._generation = _Generation()

    @property
    def kept_bytes(self) -> int:
        """About how much is kept."""
        return self._generation.kept_bytes

    def clear(self) -> None:
        """Begin a new generation."""
        self._generation = _Generation()

    def response(self, caller_id: str, request: bytes) -> ReadyAnswer | None:
        """The response to a request of these very bytes, if one is kept; saves parsing the request."""
        return self._generation.responses.get((caller_id, request))

    def asker(self, caller_id: str, identity: bytes, organizations: Sequence[str]) -> Asker:
        """What is kept for these inputs."""
        if self._generation.kept_bytes >= MAX_KEPT_BYTES:
            self.clear()
        key = (caller_id, identity, tuple(organizations))
        return self._generation.askers.get(key) or Asker(key, self._generation)


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
