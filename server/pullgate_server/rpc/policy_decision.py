"""PolicyDecisionService: reads the request, has it decided, and sends the answer."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress

from pullgate.v1 import policy_decision_pb2 as messages
from pullgate.v1.identity_pb2 import Identity as IdentityMessage
from pullgate.v1.mapping import identity_from_message
from pullgate_policy import Identity
from pullgate_server.callers import Caller
from pullgate_server.clock import Clock
from pullgate_server.deciding import Decider, DecisionIds
from pullgate_server.errors import BatchTooLargeError, FieldInvalidError, IdentityTokenInvalidError
from pullgate_server.rpc.gate import Context, Gate
from pullgate_server.rpc.prepared import Asker, ReadyAnswers, field_header
from pullgate_server.snapshot import Snapshot

MAX_WAIT_FOR_REVISION = 5.0
"""Seconds that a call without a deadline waits for min_revision."""

ANSWERING_TAKES = 0.05
"""Seconds before the deadline at which waiting ends, so that the answer still arrives."""

MAX_UNANSWERED = 100
"""Requests of one stream that are read ahead of their answers."""

_DECISION = messages.DecideResponse.DESCRIPTOR.fields_by_name["decision"].number
_BATCH_DECISIONS = messages.BatchDecideResponse.DESCRIPTOR.fields_by_name["decisions"].number
_BATCH_DECISION = messages.BatchDecision.DESCRIPTOR.fields_by_name["decision"].number
_STREAM_DECISION = messages.StreamDecideResponse.DESCRIPTOR.fields_by_name["decision"].number


class PolicyDecisionService:
    """Handlers for a `Gate`."""

    def __init__(
        self,
        decider: Decider,
        ready: ReadyAnswers,
        ids: DecisionIds,
        gate: Gate,
        *,
        max_batch: int,
        clock: Clock,
    ) -> None:
        self._decider = decider
        self._ready = ready
        self._ids = ids
        self._gate = gate
        self._max_batch = max_batch
        self._clock = clock

    async def Decide(self, request: messages.DecideRequest, caller: Caller, context: Context) -> bytes:  # noqa: N802
        """One image."""
        decision = await self._decide(request, caller, _time_to_wait(context))
        answer = field_header(_DECISION, len(decision)) + decision
        if request.request_id:
            answer += messages.DecideResponse(request_id=request.request_id).SerializeToString()
        return answer

    async def BatchDecide(  # noqa: N802
        self, request: messages.BatchDecideRequest, caller: Caller, context: Context
    ) -> bytes:
        """Many images under one snapshot; what is wrong with one reference is that reference's answer alone."""
        if len(request.references) > self._max_batch:
            raise BatchTooLargeError(len(request.references), self._max_batch)
        snapshot = await self._decider.snapshot(request.min_revision, _time_to_wait(context))
        question = _Question(self._decider, request.identity, request.organizations)
        asker = self._ready.asker(caller.id, question.identity_bytes, request.organizations)
        if not asker.answers:
            question.check()
        parts = []
        now = self._clock()
        for reference in request.references:
            ready = asker.answers.get(reference)
            if ready is not None and now < ready.repeatable_until:
                decision = ready.with_id(self._ids.next())
            else:
                try:
                    decision = await self._prepare(question, asker, snapshot, reference)
                except Exception as error:  # noqa: BLE001 - becomes this item's status, a defect's included
                    item = messages.BatchDecision(error=self._gate.status_of(error)).SerializeToString()
                    parts += (field_header(_BATCH_DECISIONS, len(item)), item)
                    continue
            header = field_header(_BATCH_DECISION, len(decision))
            parts += (field_header(_BATCH_DECISIONS, len(header) + len(decision)), header, decision)
        parts.append(messages.BatchDecideResponse(policy_revision=snapshot.revision).SerializeToString())
        return b"".join(parts)

    async def StreamDecide(  # noqa: N802
        self, requests: AsyncIterator[messages.StreamDecideRequest], caller: Caller, _context: Context
    ) -> AsyncIterator[bytes]:
        """Images as they come. At most MAX_UNANSWERED are read ahead, so that a client that does not read is slowed."""
        answers: asyncio.Queue[bytes | None] = asyncio.Queue()
        slots = asyncio.Semaphore(MAX_UNANSWERED)

        async def answer(request: messages.StreamDecideRequest) -> None:
            try:
                decision = await self._decide(request, caller, MAX_WAIT_FOR_REVISION)
                result = field_header(_STREAM_DECISION, len(decision)) + decision
            except Exception as error:  # noqa: BLE001 - becomes this request's status, a defect's included
                result = messages.StreamDecideResponse(error=self._gate.status_of(error)).SerializeToString()
            if request.request_id:
                result += messages.StreamDecideResponse(request_id=request.request_id).SerializeToString()
            answers.put_nowait(result)

        async def read() -> None:
            try:
                async with asyncio.TaskGroup() as group:
                    async for request in requests:
                        await slots.acquire()
                        group.create_task(answer(request))
            finally:
                answers.put_nowait(None)

        reader = asyncio.ensure_future(read())
        try:
            while (result := await answers.get()) is not None:
                yield result
                slots.release()
            await reader
        finally:
            reader.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await reader

    async def _decide(
        self, request: messages.DecideRequest | messages.StreamDecideRequest, caller: Caller, time_to_wait: float
    ) -> bytes:
        snapshot = await self._decider.snapshot(request.min_revision, time_to_wait)
        question = _Question(self._decider, request.identity, request.organizations)
        asker = self._ready.asker(caller.id, question.identity_bytes, request.organizations)
        ready = asker.answers.get(request.reference)
        if ready is not None and self._clock() < ready.repeatable_until:
            return ready.with_id(self._ids.next())
        return await self._prepare(question, asker, snapshot, request.reference)

    async def _prepare(
        self, question: "_Question", asker: Asker, snapshot: Snapshot, reference: str
    ) -> bytes:
        identity, organizations = question.check()
        prepared = await self._decider.decide(snapshot, identity, organizations, reference)
        return self._ready.keep(asker, reference, prepared)


class _Question:
    """Who is asked about, checked only when there is no ready answer."""

    __slots__ = ("_asked", "_checked", "_decider", "_identity", "identity_bytes")

    def __init__(self, decider: Decider, identity: IdentityMessage, asked: Sequence[str]) -> None:
        self._decider = decider
        self._identity = identity
        self._asked = asked
        self._checked: tuple[Identity, tuple[str, ...]] | None = None
        self.identity_bytes = identity.SerializeToString()

    def check(self) -> tuple[Identity, tuple[str, ...]]:
        """The identity and the organizations that have a say; raises what is wrong with either."""
        if self._checked is None:
            identity = read_identity(self._identity)
            self._checked = identity, self._decider.organizations(identity, self._asked)
        return self._checked


def read_identity(message: IdentityMessage) -> Identity:
    """The identity of a request; raises InvalidIdentityError, FieldInvalidError and IdentityTokenInvalidError."""
    if message.token:
        if message.username or message.memberships or message.credential:
            raise FieldInvalidError("identity.token", "is set, so the other fields of identity must be empty")
        raise IdentityTokenInvalidError
    return identity_from_message(message)


def _time_to_wait(context: Context) -> float:
    remaining = context.time_remaining()
    return MAX_WAIT_FOR_REVISION if remaining is None else min(MAX_WAIT_FOR_REVISION, remaining - ANSWERING_TAKES)
