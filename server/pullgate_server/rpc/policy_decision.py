"""PolicyDecisionService: reads the request, has it decided, and sends the answer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import datetime

from pullgate.v1 import policy_decision_pb2 as messages
from pullgate.v1.mapping import identity_from_message
from pullgate_policy import parse_reference
from pullgate_policy.answer import DecisionIds
from pullgate_policy.caller import Caller
from pullgate_policy.errors import FieldInvalidError
from pullgate_policy.subject import Subject
from pullgate_server.clock import Clock
from pullgate_server.deciding import ANSWERING_TAKES, Decider, Patience
from pullgate_server.errors import BatchTooLargeError
from pullgate_server.rpc.gate import Context, Gate
from pullgate_server.rpc.prepared import Asker, ReadyAnswer, ReadyAnswers, field_header
from pullgate_server.rpc.subjects import Subjects
from pullgate_server.snapshot import Snapshot

MAX_WAIT_FOR_REVISION = 5.0
"""Seconds that a call without a deadline waits for min_revision."""

MAX_UNANSWERED = 100
"""Requests of one stream that are read ahead of their answers."""

_DECISION = messages.DecideResponse.DESCRIPTOR.fields_by_name["decision"].number
_BATCH_DECISIONS = messages.BatchDecideResponse.DESCRIPTOR.fields_by_name["decisions"].number
_BATCH_DECISION = messages.BatchDecision.DESCRIPTOR.fields_by_name["decision"].number
_STREAM_DECISION = messages.StreamDecideResponse.DESCRIPTOR.fields_by_name["decision"].number

_SingleQuestion = messages.DecideRequest | messages.StreamDecideRequest
_Question = _SingleQuestion | messages.BatchDecideRequest


class PolicyDecisionService:
    """Handlers for a `Gate`."""

    def __init__(
        self,
        decider: Decider,
        subjects: Subjects,
        ready: ReadyAnswers,
        ids: DecisionIds,
        gate: Gate,
        *,
        max_batch: int,
        clock: Clock,
    ) -> None:
        self._decider = decider
        self._subjects = subjects
        self._ready = ready
        self._ids = ids
        self._gate = gate
        self._max_batch = max_batch
        self._clock = clock

    async def Decide(self, request: messages.DecideRequest, caller: Caller, context: Context) -> bytes:  # noqa: N802
        """One image."""
        asker, decision = await self._decide(request, caller, context)
        header = field_header(_DECISION, len(decision))
        if request.request_id:
            return header + decision + messages.DecideResponse(request_id=request.request_id).SerializeToString()
        if not request.min_revision:
            asker.keep_response(request.SerializeToString(), request.reference, header)
        return header + decision

    def decide_again(self, data: bytes, caller: Caller) -> bytes | None:
        """The response to a DecideRequest of the same bytes as an earlier one, if that still holds."""
        return self._repeated(self._ready.response(caller.id, data))

    async def BatchDecide(  # noqa: N802
        self, request: messages.BatchDecideRequest, caller: Caller, context: Context
    ) -> bytes:
        """Many images under one snapshot; what is wrong with one reference is that reference's answer alone."""
        if len(request.references) > self._max_batch:
            raise BatchTooLargeError(len(request.references), self._max_batch)
        snapshot = await self._fresh(request.min_revision, context)
        asker = self._asker(request, caller)
        subject = None if asker.answers else await self._subject(request, caller, snapshot)
        now = self._clock()
        decisions = [self._repeated(asker.answers.get(reference), now) for reference in request.references]
        new = [index for index, decision in enumerate(decisions) if decision is None]
        errors: dict[int, bytes] = {}
        if new:
            subject = subject or await self._subject(request, caller, snapshot)
            patience = self._decider.patience(context.time_remaining)
            # Together, so that many categories that are not known yet take no longer than one.
            made = await asyncio.gather(
                *(self._decide_new(snapshot, subject, asker, request.references[index], patience) for index in new),
                return_exceptions=True,
            )
            for index, result in zip(new, made, strict=True):
                match result:
                    case bytes():
                        decisions[index] = result
                    case Exception():  # becomes this item's status, a defect's included
                        error = self._gate.status_of(result)
                        errors[index] = messages.BatchDecision(error=error).SerializeToString()
                    case _:
                        raise result
        parts: list[bytes] = []
        for index, decision in enumerate(decisions):
            if decision is None:
                parts += (field_header(_BATCH_DECISIONS, len(errors[index])), errors[index])
                continue
            header = field_header(_BATCH_DECISION, len(decision))
            parts += (field_header(_BATCH_DECISIONS, len(header) + len(decision)), header, decision)
        parts.append(messages.BatchDecideResponse(policy_revision=snapshot.revision).SerializeToString())
        return b"".join(parts)

    async def StreamDecide(  # noqa: N802
        self, requests: AsyncIterator[messages.StreamDecideRequest], caller: Caller, context: Context
    ) -> AsyncIterator[bytes]:
        """Images as they come. At most MAX_UNANSWERED are read ahead, so that a client that does not read is slowed."""
        answers: asyncio.Queue[bytes | None] = asyncio.Queue()
        slots = asyncio.Semaphore(MAX_UNANSWERED)

        async def answer(request: messages.StreamDecideRequest) -> None:
            try:
                _, decision = await self._decide(request, caller, context)
                result = field_header(_STREAM_DECISION, len(decision)) + decision
            except Exception as error:  # noqa: BLE001 - becomes this request's status, a defect's included
                result = messages.StreamDecideResponse(error=self._gate.status_of(error)).SerializeToString()
            if request.request_id:
                result += messages.StreamDecideResponse(request_id=request.request_id).SerializeToString()
            answers.put_nowait(result)

        async def read() -> None:
            failure: Exception | None = None
            try:
                async with asyncio.TaskGroup() as group:
                    try:
                        async for request in requests:
                            await slots.acquire()
                            group.create_task(answer(request))
                    except Exception as error:  # noqa: BLE001 - ends the stream once what was read is answered
                        failure = error
            finally:
                answers.put_nowait(None)
            if failure is not None:
                raise failure

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

    def _asker(self, request: _Question, caller: Caller) -> Asker:
        return self._ready.asker(caller.id, request.identity.SerializeToString(), request.organizations)

    async def _decide(self, request: _SingleQuestion, caller: Caller, context: Context) -> tuple[Asker, bytes]:
        """The ready answer if there is one that still holds, else a new one, which is kept ready.

        Asker and snapshot are taken in one step of the loop, so that what is kept with the one was decided with the
        other.
        """
        if request.min_revision:
            await self._fresh(request.min_revision, context)
        snapshot, asker = self._decider.newest, self._asker(request, caller)
        repeated = self._repeated(asker.answers.get(request.reference))
        if repeated is not None:
            return asker, repeated
        subject = await self._subject(request, caller, snapshot)
        patience = self._decider.patience(context.time_remaining)
        return asker, await self._decide_new(snapshot, subject, asker, request.reference, patience)

    async def _decide_new(
        self, snapshot: Snapshot, subject: Subject, asker: Asker, reference: str, patience: Patience
    ) -> bytes:
        """A new answer, which is kept ready."""
        decided = await self._decider.decide(snapshot, subject, parse_reference(reference), patience)
        return asker.keep(reference, decided)

    def _repeated(self, ready: ReadyAnswer | None, now: datetime | None = None) -> bytes | None:
        """A ready answer under a new id, if it still holds."""
        if ready is None or (now or self._clock()) >= ready.repeatable_until:
            return None
        self._subjects.use(ready.person_id)
        return ready.with_id(self._ids.next())

    async def _subject(self, request: _Question, caller: Caller, snapshot: Snapshot) -> Subject:
        """Whom the decision is about; raises what is wrong with the identity or the organizations."""
        stated = request.identity
        if stated.token and (stated.username or stated.memberships or stated.credential):
            raise FieldInvalidError("identity.token", "is set, so the other fields of identity must be empty")
        identity = stated.token or identity_from_message(stated)
        return await self._subjects.find(identity, request.organizations, caller, snapshot)

    async def _fresh(self, min_revision: int, context: Context) -> Snapshot:
        """A snapshot at `min_revision` or later, within the call's deadline."""
        remaining = context.time_remaining()
        wait = MAX_WAIT_FOR_REVISION
        if remaining is not None:
            wait = min(wait, remaining - ANSWERING_TAKES)
        return await self._decider.snapshot(min_revision, wait)
