"""A category source whose answers are remembered: how a decision gets what is known, as fresh as it can be had in time.

    fresh      younger than its lifetime. Used at once; when most of the lifetime is over, the first use has it looked
               up anew in the background, so that what is in use does not become stale.
    stale      older, by at most `max_stale`. Whoever comes first waits for the look-up, for as long as a decision may;
               where the source does not answer, or is known not to, the stale answer is used and says so.
    nothing    never known, too old, or only known to be unknown: the look-up is waited for in any case.

However many ask, a namespace is looked up once at a time. A look-up first reads the memories that servers share. What
failed, was cancelled or came too late is never remembered as an answer.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from random import Random

import structlog
from prometheus_client import Counter as Prometheus

from pullgate_policy import Category, CategoryEvidence
from pullgate_server.categories.freshness import Age, Lifetimes, Span
from pullgate_server.categories.metrics import CategoryMetrics
from pullgate_server.categories.port import AskedBy, CategorySource, Outcome, SourceAnswer
from pullgate_server.categories.single_flight import Flight, SingleFlight
from pullgate_server.categories.tolerance import TolerantMemory
from pullgate_server.clock import Clock
from pullgate_server.errors import RetryableError
from pullgate_server.stores.category_knowledge import CategoryKnowledge, CategoryMemory, Remembered

log = structlog.get_logger()

FLIGHT_SECONDS = 30.0
"""The longest that one look-up may take, its turn in the source's budget included."""

MAX_FLIGHTS = 200
"""Look-ups that may be under way on behalf of one organization."""

REFRESHING = timedelta(seconds=1)
"""For how long an answer is repeated without a look at what came of the refresh that is under way."""

RETRY = timedelta(seconds=30)
"""About when a refresh that failed is tried again."""

RECALL_PATIENCE = 0.1
"""Seconds after which the source is asked though shared memories have not answered."""

SLOW_SECONDS = 0.1
"""A source that has not answered for so long while somebody waited in vain is in trouble."""

CLOSING_SECONDS = 2.0

BACKGROUND = ""
"""On whose behalf what is in use is refreshed."""

MAX_UNWRITTEN = 100_000
"""Namespaces that wait for the lasting memory to be back."""

MAX_CHANGES = 1000
"""Changes that other servers made that are taken in at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFinding:
    """What one source contributes to a decision.

    Attributes:
        evidence: what it knows, if it does.
        detail: in the source's words; why nothing is known, otherwise.
        actions: what was done to find out; empty for what was remembered.
        changes_at: until when others may be promised that it stays so.
        recheck_at: from when on it is to be asked for here again; a moment in the past for what must not be repeated.
    """

    source: str
    outcome: Outcome
    evidence: CategoryEvidence | None = None
    detail: str = ""
    actions: tuple[str, ...] = ()
    changes_at: datetime
    recheck_at: datetime


@dataclass(frozen=True, slots=True)
class _Learnt:
    """What came of a look-up.

    Attributes:
        remembered: what is known now; None if nothing is.
        answer: the source's; None where a shared memory had a fresh one.
    """

    remembered: Remembered | None
    answer: SourceAnswer | None

    @property
    def is_absent(self) -> bool:
        """Whether the source answered that it does not know."""
        return self.answer is not None and self.answer.outcome is Outcome.ABSENT


@dataclass(frozen=True, slots=True)
class _Recalled:
    """What all memories together say.

    Attributes:
        is_complete: whether the lasting one could be asked.
    """

    remembered: Remembered | None
    is_complete: bool


_UNDER_WAY = "has not answered yet; the look-up goes on"

_TOO_MANY = _Learnt(
    None,
    SourceAnswer(outcome=Outcome.FAILED, detail=f"{MAX_FLIGHTS} other look-ups are under way for this organization"),
)


class RememberedSource:
    """A source behind memories: the one in this process, those that servers share, and the lasting one.

    Args:
        memory: in this process.
        shared: what servers share besides the lasting one, and asked together with it.
        lasting: what survives restarts.
        on_change: called when something else is known of a namespace than was known before.
        has_evicted: whether the memory in this process has forgotten anything for want of room.
    """

    def __init__(
        self,
        source: CategorySource,
        *,
        memory: CategoryMemory,
        shared: Sequence[CategoryMemory],
        lasting: CategoryKnowledge,
        lifetimes: Lifetimes,
        on_change: Callable[[], None],
        has_evicted: Callable[[], bool],
        metrics: CategoryMetrics,
        random: Random,
        clock: Clock,
    ) -> None:
        self._source = source
        self._memory = memory
        self._lasting = lasting
        self._lifetimes = lifetimes
        self._on_change = on_change
        self._has_evicted = has_evicted
        self._metrics = metrics
        self._random = random
        self._clock = clock
        self._recalls: SingleFlight[str, _Recalled] = SingleFlight()
        self._flights: SingleFlight[str, _Learnt] = SingleFlight()
        self._asked_by: dict[str, AskedBy] = {}
        self._open: Counter[str] = Counter()
        self._retry_at: dict[str, datetime] = {}
        self._unwritten: dict[str, Remembered] = {}
        self._background: set[asyncio.Task[None]] = set()
        self._counters: dict[str, Prometheus] = {}
        self._in_trouble = False
        self._failing = False
        self._seen: int | None = None

        def count_failure(name: str) -> None:
            metrics.memory_failures.labels(name).inc()

        self._tolerant = [TolerantMemory(item, clock=clock, on_failure=count_failure) for item in (*shared, lasting)]
        metrics.watch_flights(source.name, lambda: len(self._flights))

    @property
    def name(self) -> str:
        """The source in a word."""
        return self._source.name

    @property
    def identity(self) -> str:
        """What the source's answers are remembered under."""
        return self._source.identity

    async def find(self, namespace: str, asked_by: str, wait: float, *, known_elsewhere: bool = False) -> SourceFinding:
        """What is known of a namespace, after at most about `wait` seconds.

        Args:
            asked_by: the organization on whose behalf a look-up is made, if one is.
            known_elsewhere: whether somebody else could tell, so that a source in trouble need not be waited for.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait
        remembered = await self._remembered(namespace, min(wait, RECALL_PATIENCE))
        if remembered is not None:
            age = self._lifetimes.span(namespace, remembered).age(self._clock())
            if age is Age.FRESH or (age is not Age.TOO_OLD and not self._may_ask(namespace)):
                return self._use(namespace, remembered)
            if age is Age.DUE:
                self._look_up(namespace, BACKGROUND)
                return self._use(namespace, remembered)
            if age is Age.STALE:
                # What is refreshed already, or cannot be, is not waited for: what is known is given as quickly as ever.
                first = namespace not in self._flights
                flight = self._look_up(namespace, asked_by)
                if flight is None or not first or self._in_trouble:
                    return self._use(namespace, remembered)
                learnt = await self._landed(namespace, flight, deadline - loop.time())
                return self._use(namespace, (learnt and learnt.remembered) or remembered, looked_up=learnt)
        if known_elsewhere and self._in_trouble:
            deadline = loop.time()
        return await self._learn(namespace, asked_by, deadline)

    async def at_hand(self, namespace: str) -> SourceFinding:
        """What is remembered of a namespace; FAILED where the source would have to be asked, which it is not."""
        remembered = await self._remembered(namespace, RECALL_PATIENCE)
        now = self._clock()
        if remembered is not None and self._lifetimes.span(namespace, remembered).age(now) is not Age.TOO_OLD:
            return self._finding(namespace, remembered)
        return SourceFinding(
            source=self.name, outcome=Outcome.FAILED, detail="was not asked", changes_at=now, recheck_at=now
        )

    async def refresh(self, namespace: str, asked_by: str, wait: float) -> SourceFinding:
        """Ask the source itself, whatever is remembered, and tell what is known then.

        FAILED with evidence means that the source has not said anything new, and that what was known goes on.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait
        before = await self._remembered(namespace, wait)
        while namespace in self._flights and loop.time() < deadline:
            # One that began before somebody wanted it anew.
            await self._flights.join(namespace, lambda: self._fly(namespace)).landed(deadline - loop.time())
        flight = self._look_up(namespace, asked_by, anew=True)
        learnt = _TOO_MANY if flight is None else await self._landed(namespace, flight, deadline - loop.time())
        answer = None if learnt is None else learnt.answer
        if learnt is not None and learnt.remembered is not None and answer is not None:
            if answer.outcome is Outcome.KNOWN:
                return self._use(namespace, learnt.remembered, looked_up=learnt)
            before = learnt.remembered
        if before is None or not self._is_usable(namespace, before):
            return self._outcome(namespace, learnt)
        known = self._use(namespace, before)
        detail = _UNDER_WAY if answer is None else answer.detail
        actions = () if answer is None else answer.steps
        return replace(known, outcome=Outcome.FAILED, detail=detail, actions=actions)

    async def page(self, after: str, limit: int) -> Sequence[tuple[str, CategoryEvidence]]:
        """What is known of at most `limit` namespaces after `after`, in their order; raises StoreUnavailableError.

        As the lasting memory has it, which may be moments behind. What is too old to be used is left out.
        """
        now = self._clock()
        known: list[tuple[str, CategoryEvidence]] = []
        while len(known) < limit:
            page, after = await self._lasting.page(self.identity, after, limit)
            for item in page:
                if self._lifetimes.is_usable_category(item.namespace, item.remembered, now):
                    span = self._lifetimes.span(item.namespace, item.remembered)
                    evidence = self._evidence(
                        item.remembered, self._next_look(item.namespace, span, now), stale=now >= span.fresh_until
                    )
                    known.append((item.namespace, evidence))
            if not after:
                break
        return known[:limit]

    async def follow(self) -> None:
        """Take in what other servers have learnt, and write what could not be written.

        The lasting memory is where servers meet: whoever polls it sees every change, whatever else fails. While it is
        out of reach there is nothing to take in.
        """
        with suppress(RetryableError):
            await self._follow()

    async def forget(self) -> None:
        """Let the lasting memory forget what is too old to be used, and this process what has no use any more."""
        now = self._clock()
        self._retry_at = {name: moment for name, moment in self._retry_at.items() if moment > now}
        with suppress(RetryableError):
            await self._lasting.forget(now - self._lifetimes.known - self._lifetimes.max_stale)

    async def _follow(self) -> None:
        newest = await self._lasting.newest_change()
        if self._seen is None:
            self._seen = newest
        elif newest < self._seen:
            # A backup was put in place, whose changes are counted from an earlier number.
            self._seen = 0
        changed = False
        while self._seen < newest:
            seen, changes = await self._lasting.changes(self._seen, MAX_CHANGES)
            for change in changes:
                if change.source == self.identity:
                    changed = True
                    await self._take_in(change.namespace, change.remembered)
            self._seen = seen if seen > self._seen else newest
        if changed and self._has_evicted():
            # What was forgotten for want of room may have changed, while answers rest on it.
            self._on_change()
        for namespace, remembered in list(self._unwritten.items()):
            await self._write_late(namespace, remembered)

    async def _write_late(self, namespace: str, remembered: Remembered) -> None:
        """Write what could not be written; raises RetryableError if it still cannot."""
        try:
            await self._lasting.put(self.identity, namespace, remembered, self._keep_for(namespace, remembered))
            # Another server may have learnt something later meanwhile, which then stays.
            there = await self._lasting.get(self.identity, namespace)
        except RetryableError:
            raise
        except Exception as error:
            log.error("what is known of a category cannot be written", namespace=namespace, exc_info=error)
            there = None
        if self._unwritten.get(namespace) is remembered:
            del self._unwritten[namespace]
        if there is not None:
            await self._take_in(namespace, there)

    async def settled(self) -> None:
        """Wait until what was learnt so far is told to the memories that servers share."""
        await asyncio.gather(*self._background)

    async def close(self) -> None:
        """Give up what is under way, and wait a little for what was learnt to be written."""
        await self._flights.close()
        await self._recalls.close()
        if self._background:
            await asyncio.wait(self._background, timeout=CLOSING_SECONDS)
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)

    # What is remembered, and how old it is.

    def _keep_for(self, namespace: str, remembered: Remembered) -> float:
        usable_until = self._lifetimes.span(namespace, remembered).usable_until
        return max(1.0, (usable_until - self._clock()).total_seconds())

    def _use(self, namespace: str, remembered: Remembered, *, looked_up: _Learnt | None = None) -> SourceFinding:
        """The finding that answers a question from what is remembered."""
        actions = () if looked_up is None or looked_up.answer is None else looked_up.answer.steps
        stale = self._clock() >= self._lifetimes.span(namespace, remembered).fresh_until
        known = remembered.category is not Category.UNKNOWN
        self._count("looked_up" if actions and not stale else "stale" if stale else "fresh" if known else "absent")
        return self._finding(namespace, remembered, actions)

    def _finding(self, namespace: str, remembered: Remembered, actions: tuple[str, ...] = ()) -> SourceFinding:
        """The finding that what is remembered gives now."""
        now = self._clock()
        span = self._lifetimes.span(namespace, remembered)
        stale = now >= span.fresh_until
        known = remembered.category is not Category.UNKNOWN
        next_look = self._next_look(namespace, span, now)
        changes_at = span.usable_until if stale else span.fresh_until
        return SourceFinding(
            source=self.name,
            outcome=Outcome.KNOWN if known else Outcome.ABSENT,
            evidence=self._evidence(remembered, next_look, stale=stale) if known else None,
            detail=remembered.detail,
            actions=actions,
            changes_at=changes_at,
            recheck_at=next_look if next_look > now else min(now + REFRESHING, changes_at),
        )

    def _evidence(self, remembered: Remembered, next_look: datetime, *, stale: bool) -> CategoryEvidence:
        return CategoryEvidence(
            category=remembered.category,
            community_class=remembered.community_class,
            source=self.name,
            detail=remembered.detail,
            checked_at=remembered.checked_at,
            stale=stale,
            refresh_at=next_look,
        )

    def _next_look(self, namespace: str, span: Span, now: datetime) -> datetime:
        """When the source is asked again: at the earliest now, where that is under way."""
        return max(span.refresh_at, self._retry_at.get(namespace, span.refresh_at), now)

    def _count(self, answer: str) -> None:
        """Count what a question was answered from. Counters are looked up once, because questions are many."""
        counter = self._counters.get(answer)
        if counter is None:
            counter = self._counters[answer] = self._metrics.questions.labels(self.name, answer)
        counter.inc()

    def _may_ask(self, namespace: str) -> bool:
        retry_at = self._retry_at.get(namespace)
        return retry_at is None or self._clock() >= retry_at

    # Look-ups.

    async def _remembered(self, namespace: str, wait: float) -> Remembered | None:
        """What this process remembers, or else the memories that it shares, if they say so in time."""
        remembered: Remembered | None = await self._memory.get(self.identity, namespace)
        if remembered is None:
            recall = self._recalls.join(namespace, lambda: self._recall(namespace))
            if await recall.landed(wait) and not recall.task.cancelled():
                remembered = recall.task.result().remembered
        elif remembered.is_of_the_future(self._clock()):
            return None
        return remembered

    async def _recall(self, namespace: str) -> _Recalled:
        """What all memories together say, which this process remembers from now on.

        All are asked, because the quick one may have been away while the lasting one learnt better.
        """
        answers = await asyncio.gather(*(memory.get(self.identity, namespace) for memory in self._tolerant))
        current = await self._memory.get(self.identity, namespace)
        words = [current, *(remembered for _, remembered in answers)]
        found = self._lifetimes.believed(namespace, words, self._clock())
        if found is not None and found is not current:
            await self._adopt(namespace, current, found)
        lasting_reached, _ = answers[-1]
        return _Recalled(found, is_complete=lasting_reached)

    async def _adopt(self, namespace: str, former: Remembered | None, learnt: Remembered) -> None:
        """Remember something in place of what was remembered, and tell if it is something else."""
        await self._memory.put(self.identity, namespace, learnt, self._keep_for(namespace, learnt))
        self._retry_at.pop(namespace, None)
        if former is not None and not learnt.says_the_same_as(former):
            self._changed(namespace, former, learnt)

    async def _learn(self, namespace: str, asked_by: str, deadline: float) -> SourceFinding:
        """Wait for a look-up, and once more for another if it fails, as long as the deadline lets."""
        loop = asyncio.get_running_loop()
        learnt: _Learnt | None = None
        for _ in range(2):
            flight = self._look_up(namespace, asked_by)
            learnt = _TOO_MANY if flight is None else await self._landed(namespace, flight, deadline - loop.time())
            if flight is None:
                # The source is not asked, which is no reason not to hear what is known already.
                await self._remembered(namespace, deadline - loop.time())
            if flight is None or learnt is None or learnt.remembered is not None or learnt.is_absent:
                break
        if learnt is None or learnt.remembered is None:
            # A memory may have answered meanwhile.
            recalled: Remembered | None = await self._memory.get(self.identity, namespace)
            if recalled is not None and self._is_usable(namespace, recalled):
                return self._use(namespace, recalled)
        return self._outcome(namespace, learnt)

    def _outcome(self, namespace: str, learnt: _Learnt | None) -> SourceFinding:
        """The finding that a look-up gives; None for one that has not landed in time."""
        if learnt is not None and learnt.remembered is not None:
            return self._use(namespace, learnt.remembered, looked_up=learnt)
        self._count("unanswered")
        answer = None if learnt is None else learnt.answer
        now = self._clock()
        return SourceFinding(
            source=self.name,
            outcome=Outcome.FAILED,
            detail=_UNDER_WAY if answer is None else answer.detail,
            actions=() if answer is None else answer.steps,
            changes_at=now,
            recheck_at=now,
        )

    def _look_up(self, namespace: str, asked_by: str, *, anew: bool = False) -> Flight[_Learnt] | None:
        """The look-up that is under way, or a new one; None where too many are."""
        if namespace in self._flights:
            self._asked_by[namespace].join(asked_by)
            return self._flights.join(namespace, lambda: self._fly(namespace, anew=anew))
        if self._open[asked_by] >= MAX_FLIGHTS:
            return None
        self._asked_by[namespace] = AskedBy(asked_by)
        self._open[asked_by] += 1
        flight = self._flights.join(namespace, lambda: self._fly(namespace, anew=anew))
        # With the flight's own entry, and not a moment before: others join as long as that is there.
        flight.task.add_done_callback(lambda _: self._close_books(namespace, asked_by))
        return flight

    def _close_books(self, namespace: str, asked_by: str) -> None:
        del self._asked_by[namespace]
        self._open[asked_by] -= 1
        if not self._open[asked_by]:
            del self._open[asked_by]

    async def _landed(self, namespace: str, flight: Flight[_Learnt], wait: float) -> _Learnt | None:
        """What the look-up brings, if it does so in time."""
        if await flight.landed(wait) and not flight.task.cancelled():
            return flight.task.result()
        asked = self._asked_by.get(namespace)
        if asked is not None and asked.began_at is not None:
            # It has had its turn, so it is the source that takes long.
            self._in_trouble |= asyncio.get_running_loop().time() - asked.began_at > SLOW_SECONDS
        return None

    async def _fly(self, namespace: str, *, anew: bool = False) -> _Learnt:
        try:
            former: Remembered | None = await self._memory.get(self.identity, namespace)
            # Another server may have asked meanwhile. A memory that is slow is not waited for here, but below.
            recall = self._recalls.join(namespace, lambda: self._recall(namespace))
            if await recall.landed(RECALL_PATIENCE) and not anew:
                recalled = recall.task.result().remembered
                if recalled is not None and recalled is not former and self._is_fresh(namespace, recalled):
                    return _Learnt(recalled, None)
            with self._metrics.flight_seconds.labels(self.name).time():
                answer = await self._ask(namespace, self._asked_by[namespace])
            # From here on it is not the source that takes long.
            self._asked_by[namespace].began_at = None
            self._metrics.flights.labels(self.name, answer.outcome.value).inc()
            return await self._take(namespace, answer, recall)
        except Exception as error:
            # Whatever it is, decisions go on from what else is known.
            log.error("a look-up broke", source=self.name, namespace=namespace, exc_info=error)
            return _Learnt(
                None, SourceAnswer(outcome=Outcome.FAILED, detail="an error of pullgate's own, which is in its log")
            )

    def _is_fresh(self, namespace: str, remembered: Remembered) -> bool:
        return self._lifetimes.span(namespace, remembered).age(self._clock()) is Age.FRESH

    async def _ask(self, namespace: str, on_behalf: AskedBy) -> SourceAnswer:
        try:
            async with asyncio.timeout(FLIGHT_SECONDS):
                return await self._source.look_up(namespace, on_behalf)
        except TimeoutError:
            detail = f"no answer within {FLIGHT_SECONDS:g} seconds"
            return SourceAnswer(outcome=Outcome.FAILED, detail=detail, asked=on_behalf.began_at is not None)

    async def _take(self, namespace: str, answer: SourceAnswer, recall: Flight[_Recalled]) -> _Learnt:
        """Remember an answer, if it is one."""
        if answer.asked:
            self._note(namespace, answer)
        if answer.outcome is not Outcome.KNOWN:
            return await self._take_no_category(namespace, answer, recall)
        now = self._clock()
        learnt = _remembered(answer, now)
        current, is_complete = await self._current(namespace, recall)
        # It may have been taken in from a memory or another server meanwhile.
        if current is not None and self._lifetimes.believed(namespace, [current, learnt], now) is not learnt:
            return _Learnt(current, answer)
        await self._adopt(namespace, current, learnt)
        if current is None and self._has_evicted() and not is_complete:
            # What was known before may have been forgotten for want of room, while answers rest on it.
            self._on_change()
        self._spread(namespace, learnt)
        return _Learnt(learnt, answer)

    async def _current(self, namespace: str, recall: Flight[_Recalled]) -> tuple[Remembered | None, bool]:
        """What is known by now, and whether the lasting memory had a say in it."""
        recalled = recall.task.result() if recall.task.done() else _Recalled(None, is_complete=False)
        current: Remembered | None = await self._memory.get(self.identity, namespace)
        known = self._lifetimes.believed(namespace, [current, recalled.remembered], self._clock())
        return known, recalled.is_complete

    async def _take_no_category(self, namespace: str, answer: SourceAnswer, recall: Flight[_Recalled]) -> _Learnt:
        """What is known after an answer that told no category.

        Throttled clients are told that nothing is there, so that is no reason to forget a category, and it is not
        remembered before all memories have said that they know of none.
        """
        await recall.task
        absent = answer.outcome is Outcome.ABSENT
        current, _ = await self._current(namespace, recall)
        is_complete = False
        if absent and not self._is_usable(namespace, current):
            # The look-up may have taken long, and another server may have learnt the category meanwhile.
            again = await self._recall(namespace)
            current, is_complete = again.remembered or current, again.is_complete
        if current is not None and self._is_usable(namespace, current):
            now = self._clock()
            wait = self._lifetimes.unknown if absent else RETRY * self._random.uniform(0.5, 1.5)
            self._retry_at[namespace] = max(now + wait, answer.retry_at or now)
            return _Learnt(current, answer)
        if not absent or not is_complete:
            return _Learnt(None, answer)
        learnt = _remembered(answer, self._clock())
        await self._adopt(namespace, current, learnt)
        self._spread(namespace, learnt)
        return _Learnt(learnt, answer)

    def _is_usable(self, namespace: str, remembered: Remembered | None) -> bool:
        return remembered is not None and self._lifetimes.is_usable_category(namespace, remembered, self._clock())

    def _note(self, namespace: str, answer: SourceAnswer) -> None:
        """Know whether the source answers, and log it when that changes: in an outage every look-up fails."""
        failed = answer.outcome is Outcome.FAILED
        self._in_trouble = failed
        if failed and not self._failing:
            log.warning("category source fails", source=self.name, namespace=namespace, problem=answer.detail)
        if not failed and self._failing:
            log.info("category source answers again", source=self.name)
        self._failing = failed

    def _changed(self, namespace: str, former: Remembered, learnt: Remembered) -> None:
        self._metrics.changes.labels(self.name).inc()
        log.info(
            "category changed",
            source=self.name,
            namespace=namespace,
            before=f"{former.category.value}, {former.detail}",
            after=f"{learnt.category.value}, {learnt.detail}",
        )
        self._on_change()

    async def _take_in(self, namespace: str, remembered: Remembered) -> None:
        """Know what another server has learnt."""
        former: Remembered | None = await self._memory.get(self.identity, namespace)
        if former is None and namespace not in self._flights:
            # Nobody has used it here.
            return
        if self._lifetimes.believed(namespace, [former, remembered], self._clock()) is remembered:
            await self._adopt(namespace, former, remembered)

    def _spread(self, namespace: str, remembered: Remembered) -> None:
        """Tell the shared memories, without keeping anybody waiting."""
        task = asyncio.ensure_future(self._tell(namespace, remembered))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _tell(self, namespace: str, remembered: Remembered) -> None:
        *shared, lasting = self._tolerant
        lifetime = self._keep_for(namespace, remembered)
        # That somebody is unknown is not worth lasting: whoever asks for names that are none would fill the database.
        if remembered.category is not Category.UNKNOWN and not await lasting.put(
            self.identity, namespace, remembered, lifetime
        ):
            self._unwritten[namespace] = remembered
            if len(self._unwritten) > MAX_UNWRITTEN:
                del self._unwritten[next(iter(self._unwritten))]
        for memory in shared:
            await memory.put(self.identity, namespace, remembered, lifetime)


def _remembered(answer: SourceAnswer, now: datetime) -> Remembered:
    evidence = answer.evidence
    if evidence is None:
        return Remembered(Category.UNKNOWN, None, answer.detail, now)
    return Remembered(evidence.category, evidence.community_class, evidence.detail, evidence.checked_at or now)
