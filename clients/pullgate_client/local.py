"""Decides in the caller's own process: follows a service's policies, and answers as the service itself would.

async with AsyncLocalDecider(client, state_file=Path("state.json")) as decider:
    await decider.ready(timeout=5)
    answer = await decider.decide(identity, "nginx")
"""

import asyncio
import logging
import os
import threading
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Self

from pullgate_client.aio import AsyncClient
from pullgate_client.errors import (
    ClientError,
    NoKnowledgeError,
    StateFileError,
    UnauthenticatedError,
    UnavailableError,
    UnusableUpdateError,
)
from pullgate_client.following import Follower, FollowerEvent, Interrupted
from pullgate_client.local_categories import LocalCategories, LocalCategory
from pullgate_client.state_file import KeptState, read_state, token_mark, write_state
from pullgate_client.watch_reader import WatchedState
from pullgate_policy import HubRepository, Identity, parse_reference
from pullgate_policy.answer import Answer, DecisionIds
from pullgate_policy.caller import Caller
from pullgate_policy.conclusion import NEVER, Conclusion, FoundCategory, concluding
from pullgate_policy.decision import organizations_concerned
from pullgate_policy.errors import FieldInvalidError
from pullgate_policy.knowledge import Knowledge, KnowledgeStatus, PastMaximumAge, allowed_by_failing_open
from pullgate_policy.policy_state import PolicyState
from pullgate_policy.subject import Subject, identity_of, may_decide_for, subject_of
from pullgate_policy.watch import MISSED_BOOKMARKS, Bookmark, CategoriesFound, Changed, Opened

log = logging.getLogger("pullgate")
standing_log = logging.getLogger("pullgate.standing")
"""How it stands, for those who say it in their own words to switch off."""

MAX_KEPT = 100_000
"""Answers that are kept ready; at the limit they are found anew."""

REPORT_SECONDS = 1.0
"""The shortest time between two reports of what is applied."""

SAVE_SECONDS = 1.0
"""The shortest time between two writes of the state."""

SAVE_AGE = timedelta(seconds=60)
"""How much younger than on disk the state may be known to be while nothing changes."""

TOKEN_SECONDS = 30.0
"""How long it is remembered whose token one is."""

MAX_TOKENS = 10_000

RECONNECTING = timedelta(seconds=5)
"""How much longer than bookmarks may be missed a service may be silent that has asked to come back."""

CLOCKS_DIFFER = timedelta(minutes=5)
"""How far in the future something may be known that was kept, before the clock is not believed."""

DEFECT_SECONDS = 5.0
"""How long to wait after a defect before following anew."""

AGE_POLL_SECONDS = 0.5
"""How often it is looked whether what is known has become too old; whoever decides looks too."""

CLOSING_SECONDS = 5.0


_now = partial(datetime.now, UTC)

_Ready = tuple[Answer, datetime]
"""An answer that is kept ready, and until when it is right."""


class _Asker:
    """The answers kept for one identity and the organizations asked about."""

    __slots__ = ("answers", "identity", "organizations")

    def __init__(self, identity: Identity, organizations: tuple[str, ...]) -> None:
        self.identity = identity
        self.organizations = organizations
        self.answers: dict[str, _Ready] = {}


class _KeptAnswers:
    """All that rests on one state of what is known. Dropped as a whole.

    Threads that decide read the decider's once, and after it what is known: whoever is still answering when that
    becomes another keeps its answer where nobody will look for it any more.

    Attributes:
        by_object: askers by the id of their identity, which they hold, so that no other object gets that id.
    """

    __slots__ = ("_by_value", "_number", "by_object")

    def __init__(self) -> None:
        self.by_object: dict[int, _Asker] = {}
        self._by_value: dict[tuple[Identity, tuple[str, ...]], _Asker] = {}
        self._number = 0

    @property
    def is_full(self) -> bool:
        """Whether no more should be kept here."""
        return self._number >= MAX_KEPT

    def asker(self, identity: Identity, organizations: tuple[str, ...]) -> _Asker:
        """The answers that are kept for an identity; the same for an equal one."""
        asker = self._by_value.get((identity, organizations))
        if asker is None:
            asker = self._by_value[identity, organizations] = _Asker(identity, organizations)
            self._number += 1
        if not organizations and asker.identity is identity:
            self.by_object[id(identity)] = asker
        return asker

    def keep(self, asker: _Asker, reference: str, answer: Answer, until: datetime) -> None:
        """Keep an answer of an asker of these."""
        self._number += reference not in asker.answers
        asker.answers[reference] = (answer, until)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    """A question that is being answered, and what it is answered from."""

    steps: Generator[HubRepository, FoundCategory, Conclusion]
    subject: Subject
    knowledge: Knowledge
    kept: _KeptAnswers
    asker: _Asker
    reference: str


class AsyncLocalDecider:
    """Follows a service, and decides from what it was told. Belongs to the event loop that it is started in.

    Args:
        organizations: follow these alone; empty for all that the token may watch.
        name: the own name, for people who list subscribers.
        state_file: where the last good state is kept; None for nowhere.
        maximum_age: for how long decisions may rest on what is known while the service is away; None for ever.
        past_maximum_age: what holds after that, and where nothing is known.
        category_wait: the longest that a decision waits for the service to tell a category, in seconds.
        cacheable_for: the longest that an answer may be used again without asking.

    Attributes:
        state_problem: why what was kept on disk could not be used; empty if nothing was wrong with it.
    """

    def __init__(
        self,
        client: AsyncClient,
        *,
        organizations: Sequence[str] = (),
        name: str = "",
        state_file: Path | None = None,
        maximum_age: timedelta | None = timedelta(days=1),
        past_maximum_age: PastMaximumAge = PastMaximumAge.CLOSED,
        category_wait: float = 2.0,
        cacheable_for: timedelta = timedelta(seconds=60),
        clock: Callable[[], datetime] = _now,
        random_bytes: Callable[[int], bytes] = os.urandom,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._client = client
        self._organizations = tuple(organizations)
        self._name = name
        self._state_file = state_file
        self._maximum_age = maximum_age
        self._past_maximum_age = past_maximum_age
        self._category_wait = category_wait
        self._cacheable_for = cacheable_for
        self._clock = clock
        self._sleep = sleep
        self._random = Random(random_bytes(16))  # noqa: S311 - for jitter
        self._new_id = DecisionIds(random_bytes).next
        self._categories = LocalCategories(client, clock, self._categories_changed)
        self._follower = Follower(client, random=self._random)
        self._knowledge = Knowledge(problem="nothing has been asked yet")
        self._on_change: list[Callable[[], None]] = []
        self._changed = asyncio.Condition()
        self._kept = _KeptAnswers()
        self._people: dict[str, tuple[Caller, float]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._to_report = asyncio.Event()
        self._to_save = asyncio.Event()
        self._refused = ""
        self._notifying: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.get_ident()
        self._writing = threading.Lock()
        self._opened: Opened | None = None
        self._subscription_id = ""
        self._store_id = ""
        # How it stands with the service.
        self._caller: Caller | None = None
        self._is_current = False
        self._is_fatal = False
        self._is_closed = False
        self._service_known_as_of: datetime | None = None
        self._contact: datetime | None = None
        self._saved_as_of: datetime | None = None
        self._bookmark_interval = timedelta(seconds=10)
        self._state = PolicyState()
        # Of this very state: what was told may be ahead of it, and the two are kept together.
        self._resume_token = ""
        self._look_again_at = NEVER
        self.state_problem = ""

    # Life.

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def start(self) -> None:
        """Know what is on disk, and begin to follow. Does not wait for the service: see `ready`."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        told = await self._read_state()
        self._follower = Follower(
            self._client,
            subscriber=self._name,
            organizations=self._organizations,
            include_categories=True,
            begin=told,
            random=self._random,
            sleep=self._sleep,
        )
        self._assess("the service has not been reached yet")
        for run in (self._follow, self._report, self._save, self._grow_old):
            self._tasks.append(asyncio.ensure_future(self._again_and_again(run)))

    async def close(self) -> None:
        """Follow no more, and keep what is known."""
        self._is_closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        await self._categories.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSING_SECONDS):
                await self._write_state()

    # What is known.

    @property
    def knowledge(self) -> Knowledge:
        """What decisions are made from now, and how it stands."""
        if self._clock() < self._look_again_at:
            return self._knowledge
        if threading.get_ident() == self._thread:
            self._assess(self._knowledge.problem)
            return self._knowledge
        # What is known belongs to the event loop; another thread takes it for as old as it is, and lets the loop know.
        self._in_loop(lambda: self._assess(self._knowledge.problem))
        return self._standing(self._knowledge.problem)[0]

    def call_on_change(self, callback: Callable[[], None]) -> None:
        """Call `callback` whenever `knowledge` was replaced, or a category is another one."""
        self._on_change.append(callback)

    async def ready(self, wait: float | None = None) -> None:
        """Wait until it is connected and was told everything.

        Raises:
            NoKnowledgeError: it is not within `wait` seconds (None: however long it takes), or never will be.
        """
        standing = {KnowledgeStatus.READY, KnowledgeStatus.FATAL}
        with suppress(TimeoutError):
            async with asyncio.timeout(wait), self._changed:
                await self._changed.wait_for(lambda: self._knowledge.status in standing)
        if self._knowledge.status is not KnowledgeStatus.READY:
            raise NoKnowledgeError(f"{self._knowledge.status.value}: {self._knowledge.problem}")

    async def at_least(self, revision: int, wait: float) -> None:
        """Wait until what is known is as of a revision or later; raises TimeoutError."""
        async with asyncio.timeout(wait), self._changed:
            await self._changed.wait_for(lambda: self._knowledge.state.revision >= revision)

    async def category_of(self, repository: HubRepository, organization: str, wait: float) -> LocalCategory:
        """What is known of a category after at most about `wait` seconds."""
        return await self._categories.find(repository, organization, wait)

    async def caller_of(self, token: str) -> Caller:
        """Whose token this is, as the service says; remembered for a short time.

        Raises:
            FieldInvalidError: it is nobody's whose pulls may be decided.
            ConnectionError: the service could not be asked.
        """
        now = asyncio.get_running_loop().time()
        known, until = self._people.get(token, (None, 0.0))
        if known is not None and now < until and (known.expires_at is None or self._clock() < known.expires_at):
            return known
        async with AsyncClient(replace(self._client.connection, token=token, token_file=None)) as client:
            try:
                caller = await client.who_am_i()
            except UnauthenticatedError as error:
                raise FieldInvalidError("identity.token", "is not a token of a person that is known") from error
            except ClientError as error:
                raise ConnectionError(f"the service could not be asked whose token it is: {error}") from error
        person = Caller(
            id=caller.caller_id,
            name=caller.name,
            role=caller.role,
            organization=caller.organization,
            username=caller.username,
            may_assert_roles=caller.may_assert_roles,
            expires_at=caller.expires_at,
        )
        if len(self._people) >= MAX_TOKENS:
            self._people.clear()
        self._people[token] = (person, now + TOKEN_SECONDS)
        return person

    # Deciding.

    async def decide(self, identity: Identity | str, reference: str, *, organizations: Sequence[str] = ()) -> Answer:
        """May `identity` use `reference`? Asks the service for a category that is not known here, and nothing else.

        Args:
            identity: who pulls, or a token of theirs; whose that is the service is asked.
            organizations: who has a say besides the identity's own organizations.

        Raises:
            NoKnowledgeError: nothing is known that is new enough, and it is to fail closed.
            PullgateError: the reference or the identity is wrong, or the caller may not decide for it.
            ConnectionError: the service could not be asked whose token it is.
        """
        if isinstance(identity, str):
            person = await self.caller_of(identity)
            question = self._question(self._kept, self._asker_of(person, tuple(organizations)), reference, person)
        else:
            answer = self.decide_now(identity, reference, organizations=organizations)
            if answer is not None:
                return answer
            kept = self._kept
            question = self._question(kept, kept.asker(identity, tuple(organizations)), reference)
        try:
            repository = next(question.steps)
            while True:
                organization = question.subject.organizations[0]
                repository = question.steps.send(
                    await self._categories.find(repository, organization, self._category_wait)
                )
        except StopIteration as end:
            return self._answer(question, end.value)

    def decide_now(self, identity: Identity, reference: str, *, organizations: Sequence[str] = ()) -> Answer | None:
        """As `decide`, without waiting: None where a category is not known here. From any thread."""
        kept = self._kept
        # The very same identity again is the common case, and found without comparing it.
        asker = None if organizations else kept.by_object.get(id(identity))
        if asker is None:
            asker = kept.asker(identity, tuple(organizations))
        ready = asker.answers.get(reference)
        if ready is not None and self._clock() < ready[1]:
            return ready[0].again(self._new_id())
        question = self._question(kept, asker, reference)
        try:
            repository = next(question.steps)
            while True:
                found = self._categories.at_hand(repository)
                if found is None:
                    return None
                repository = question.steps.send(found)
        except StopIteration as end:
            return self._answer(question, end.value)

    def _asker_of(self, person: Caller, organizations: tuple[str, ...]) -> _Asker:
        caller = self.knowledge.caller
        # Nobody is known to be held against anything where it fails open.
        if not (person.role.is_person if caller is None else may_decide_for(caller, person)):
            raise FieldInvalidError("identity.token", "is not a token of a person that this caller may decide for")
        return _Asker(identity_of(person), organizations)

    def _question(self, kept: _KeptAnswers, asker: _Asker, reference: str, person: Caller | None = None) -> "_Question":
        knowledge = self.knowledge
        if knowledge.refusal:
            raise NoKnowledgeError(knowledge.refusal)
        state = knowledge.state
        if knowledge.caller is None:
            # Fails open, and nobody is known to be held against anything.
            concerned = organizations_concerned(asker.identity, asker.organizations) or ("",)
            subject = Subject(identity=asker.identity, organizations=concerned)
        else:
            subject = subject_of(
                knowledge.caller,
                asker.identity,
                asker.organizations,
                state.members,
                person,
                followed=knowledge.followed,
            )
        steps = concluding(
            subject, state.policies, state.pin_index, parse_reference(reference), self._clock(), self._cacheable_for
        )
        return _Question(
            steps=steps,
            subject=subject,
            knowledge=knowledge,
            kept=kept,
            asker=asker,
            reference=reference,
        )

    def _answer(self, question: "_Question", conclusion: Conclusion) -> Answer:
        knowledge, decision, notes = question.knowledge, conclusion.decision, question.subject.notes
        if knowledge.fails_open:
            decision, notes = allowed_by_failing_open(decision), (*notes, knowledge.note)
        answer = Answer(
            decision=decision,
            policy_revision=knowledge.state.revision,
            decision_id=self._new_id(),
            cacheable_for=timedelta(0) if knowledge.fails_open else conclusion.cacheable_for,
            notes=notes,
            known_as_of=knowledge.known_as_of,
        )
        until = conclusion.repeatable_until
        if until is not None and not knowledge.fails_open:
            if question.kept.is_full:
                self._forget_answers()
            question.kept.keep(question.asker, question.reference, answer, min(until, self._look_again_at))
        return answer

    def _forget_answers(self) -> None:
        """Find all answers anew."""
        self._kept = _KeptAnswers()

    # Following.

    async def _again_and_again(self, run: Callable[[], Awaitable[None]]) -> None:
        """Do what the decider lives by until it is closed. A defect in it is logged, and no reason to stop."""
        while True:
            try:
                await run()
            except Exception:
                log.exception("a defect of the local decider")
            else:
                return
            await asyncio.sleep(DEFECT_SECONDS)

    async def _follow(self) -> None:
        try:
            async with aclosing(self._follower.events()) as events:
                async for event in events:
                    self._take(event)
        finally:
            # Whatever ended it: what is not followed any more is as old as it is.
            self._is_current = False
            self._follower.told.forget_where()
            self._assess(self._knowledge.problem or "the service is not followed any more")

    def _take(self, event: FollowerEvent) -> None:
        match event:
            case Interrupted():
                self._take_interruption(event)
            case Opened():
                self._opened = event
                self._subscription_id = event.subscription_id
                self._bookmark_interval = event.bookmark_interval
            case Bookmark():
                # Only from here on it is known that nothing is missing, of a snapshot too.
                self._is_current = True
                self._service_known_as_of = event.known_as_of
                self._take_state()
            case Changed() if self._is_current:
                self._take_state()
            case CategoriesFound():
                self._categories.take(event.categories)
            case _:
                # Parts and ends of snapshots, and what is told before the first bookmark: that brings them in. After a
                # GoAway comes the interruption.
                pass

    def _take_state(self) -> None:
        """Decide from now on from what was told."""
        now, told = self._clock(), self._follower.told
        is_new, self._contact = told.state is not self._state, now
        self._state, self._resume_token = told.state, told.resume_token
        if self._opened is not None:
            self._caller, self._store_id = self._opened.caller, self._opened.store_id
        if is_new:
            self._refused = ""
        away = self._service_known_as_of is not None
        self._assess("the service's database is out of reach" if away else "")
        self._to_report.set()
        if is_new or self._saved_as_of is None or now - self._saved_as_of >= SAVE_AGE:
            self._to_save.set()

    def _take_interruption(self, event: Interrupted) -> None:
        if event.error is None and event.retry_after is not None:
            # Sent away in peace, to come back soon: no reason to tell everybody that something is wrong. If nothing
            # comes of it, what is known is stale when as many bookmarks have not come as may be missed.
            return
        self._is_current = False
        self._is_fatal = event.retry_after is None
        problem = str(event.error)
        if isinstance(event.error, UnusableUpdateError):
            self._refused = problem
            self._to_report.set()
        if isinstance(event.error, UnavailableError) and not event.error.reason:
            problem = f"no service answers on {self._client.connection.address}"
        if event.begins_anew:
            log.warning("what was told does not hold any more: %s; asking for a snapshot", problem)
        self._assess(problem)

    def _assess(self, problem: str) -> None:
        """See how it stands now, and tell whoever wants to know if that is another way."""
        former = self._knowledge
        knowledge, self._look_again_at = self._standing(problem)
        self._knowledge = knowledge
        if (
            knowledge.state is former.state
            and knowledge.status is former.status
            and knowledge.caller == former.caller
            and knowledge.known_as_of == former.known_as_of
        ):
            return
        if knowledge.status is not former.status:
            is_no_trouble = self._is_closed or knowledge.status is KnowledgeStatus.READY
            level = logging.INFO if is_no_trouble else logging.WARNING
            standing_log.log(
                level, "%s at revision %d%s", knowledge.status.value, knowledge.state.revision, _because(problem)
            )
        self._tell()

    def _standing(self, problem: str) -> tuple[Knowledge, datetime]:
        """How it stands now, and at which moment that is to be looked at again."""
        now, look_again_at = self._clock(), NEVER
        as_of, is_known = self._service_known_as_of or self._contact, self._caller is not None
        oldest = NEVER if self._maximum_age is None or as_of is None else as_of + self._maximum_age
        follows_until = (self._contact or now) + self._bookmark_interval * MISSED_BOOKMARKS + RECONNECTING
        if self._is_fatal:
            status = KnowledgeStatus.FATAL
        elif not is_known:
            status = KnowledgeStatus.NOT_READY
        elif self._is_current and self._service_known_as_of is None and now < follows_until:
            status, look_again_at = KnowledgeStatus.READY, follows_until
        elif now >= oldest or (as_of is not None and as_of > now + CLOCKS_DIFFER):
            # How old it is cannot be told where the clock was put back.
            status = KnowledgeStatus.ERROR
        else:
            status, look_again_at = KnowledgeStatus.STALE, oldest
        if status is KnowledgeStatus.STALE and not problem:
            problem = "the service has said nothing for too long"
        usable = status in {KnowledgeStatus.READY, KnowledgeStatus.STALE} or (
            is_known and self._past_maximum_age is PastMaximumAge.LAST_KNOWN
        )
        fails_open = not usable and self._past_maximum_age is PastMaximumAge.OPEN
        knowledge = Knowledge(
            state=self._state,
            caller=self._caller,
            followed=frozenset(self._organizations) or None,
            status=status,
            known_as_of=as_of if is_known and status is not KnowledgeStatus.READY else None,
            problem=problem,
            refusal="" if usable or fails_open else self._refusal(status, as_of, problem),
            fails_open=fails_open,
        )
        return knowledge, look_again_at

    def _refusal(self, status: KnowledgeStatus, as_of: datetime | None, problem: str) -> str:
        """Why no decision may be made, for people."""
        kept = f"; {self.state_problem}" if self.state_problem else ""
        match status:
            case KnowledgeStatus.NOT_READY:
                return f"no policy is known yet, so nothing can be decided: {problem}{kept}"
            case KnowledgeStatus.FATAL:
                return f"the service has refused to be followed, so nothing is decided any more: {problem}"
            case _:
                age = f"{self._maximum_age.total_seconds():g} seconds" if self._maximum_age is not None else ""
                since = f"{as_of:%Y-%m-%d %H:%M:%S} UTC" if as_of else "an unknown time"
                return f"what is known is as of {since}, and may be used for {age}: {problem}"

    def _categories_changed(self) -> None:
        self._tell()
        self._to_save.set()

    def _tell(self) -> None:
        self._forget_answers()
        for callback in self._on_change:
            try:
                callback()
            except Exception:
                log.exception("what was to be called on a change has failed")
        self._in_loop(self._notify)

    def _in_loop(self, action: Callable[[], None]) -> None:
        # After the loop is closed nobody waits for anything there.
        if self._loop is not None:
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(action)

    def _notify(self) -> None:
        task = asyncio.ensure_future(self._notify_all())
        self._notifying.add(task)
        task.add_done_callback(self._notifying.discard)

    async def _notify_all(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _grow_old(self) -> None:
        while True:
            await asyncio.sleep(AGE_POLL_SECONDS)
            if self._clock() >= self._look_again_at:
                self._assess(self._knowledge.problem)

    async def _report(self) -> None:
        """Tell the service what is applied, not more often than it is worth."""
        reported: tuple[str, int, str] | None = None
        while True:
            await self._to_report.wait()
            self._to_report.clear()
            report = (self._subscription_id, self._state.revision, self._refused)
            if report != reported and self._subscription_id:
                with suppress(ClientError):
                    await self._client.report_applied(report[0], report[1], error=report[2])
                    reported = report
            await asyncio.sleep(REPORT_SECONDS)

    # Keeping.

    async def _read_state(self) -> WatchedState:
        if self._state_file is None:
            return WatchedState()
        try:
            mark = token_mark(self._client.connection.token)
            kept = await asyncio.to_thread(read_state, self._state_file, self._organizations, mark)
        except StateFileError as error:
            self.state_problem = str(error)
            log.error("what was kept is not used: %s", error)
            return WatchedState()
        if kept is None:
            return WatchedState()
        self._caller, self._store_id, self._contact = kept.caller, kept.store_id, kept.known_as_of
        self._saved_as_of, self._state, self._resume_token = kept.known_as_of, kept.state, kept.resume_token
        self._categories.remember(kept.categories)
        return WatchedState(kept.state, kept.resume_token)

    async def _save(self) -> None:
        while True:
            await self._to_save.wait()
            self._to_save.clear()
            await self._write_state()
            await asyncio.sleep(SAVE_SECONDS)

    async def _write_state(self) -> None:
        as_of = self._service_known_as_of or self._contact
        if self._state_file is None or self._caller is None or as_of is None:
            return
        kept = KeptState(
            state=self._state,
            caller=self._caller,
            token_mark=token_mark(self._client.connection.token),
            organizations=self._organizations,
            store_id=self._store_id,
            resume_token=self._resume_token,
            known_as_of=as_of,
            categories=self._categories.known,
        )
        try:
            await asyncio.to_thread(self._put, self._state_file, kept)
        except OSError as error:
            log.warning("the state cannot be kept in %s (%s)", self._state_file, error.strerror)
        else:
            self._saved_as_of = as_of

    def _put(self, path: Path, kept: KeptState) -> None:
        # One after the other: who closes may come while the former write is under way.
        with self._writing:
            write_state(path, kept)


def _because(problem: str) -> str:
    return f": {problem}" if problem else ""
