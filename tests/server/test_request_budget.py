"""The budget of requests to an upstream: how many there are, whose turn it is, and what the upstream says of it."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pullgate_server.categories.port import AskedBy
from pullgate_server.categories.request_budget import ALLOWANCE, MAX_PAUSE, NoTurnError, RequestBudget, Turn
from tests.conftest import SOON, Clock


@dataclass(kw_only=True)
class Line:
    """A budget in time that stands still, and those who wait in it.

    Attributes:
        of_each: the requests that each look-up makes at once.
        holding: whether look-ups go on until they are ended.
        made: when each request was made.
    """

    per_minute: float = 60
    of_each: int = 2
    holding: bool = False
    clock: Clock = field(default_factory=Clock)
    seconds: float = 0.0
    served: list[str] = field(default_factory=list)
    made: list[float] = field(default_factory=list)
    waiting: "list[asyncio.Task[None]]" = field(default_factory=list)
    turns: list[tuple[Turn, asyncio.Event]] = field(default_factory=list)
    under_way: AsyncExitStack = field(default_factory=AsyncExitStack)

    def __post_init__(self) -> None:
        self.budget = RequestBudget(per_minute=self.per_minute, clock=self.clock, now=lambda: self.seconds)

    def use_up_allowances(self, *names: str) -> None:
        """Leave these organizations nothing beyond the bucket."""
        for name in names:
            self.budget._allowances.take(name, ALLOWANCE)

    def empty(self) -> None:
        """Leave no request in the budget."""
        self.budget.observe(0, None)

    async def begin(self) -> Turn:
        """Have a turn that goes on, in a budget in which nobody waits."""
        turn = await self.under_way.enter_async_context(self.budget.turn(AskedBy("")))
        await settle()
        return turn

    async def ask(self, *names: str, times: int = 1) -> "asyncio.Task[None]":
        """Come to wait on behalf of these; gives the last one who does."""
        for _ in range(times):
            asked_by = AskedBy(names[0])
            for name in names[1:]:
                asked_by.join(name)
            await self.wait_as(asked_by)
        return self.waiting[-1]

    async def wait_as(self, asked_by: AskedBy) -> None:
        """Come to wait."""

        async def wait() -> None:
            async with self.budget.turn(asked_by) as turn:
                self.served.append("+".join(asked_by.names))
                for _ in range(self.of_each):
                    self.spend(turn)
                if self.holding:
                    ended = asyncio.Event()
                    self.turns.append((turn, ended))
                    await ended.wait()

        self.waiting.append(asyncio.ensure_future(wait()))
        await settle()

    def spend(self, turn: Turn) -> None:
        """Make a request."""
        turn.spend()
        self.made.append(self.seconds)

    async def advance(self, seconds: float) -> None:
        """Let time go on, and hand out what is due."""
        self.seconds += seconds
        self.budget.grant()
        await settle()

    async def leave(self) -> None:
        """Give up what still waits."""
        for task in self.waiting:
            task.cancel()
        await asyncio.gather(*self.waiting, return_exceptions=True)
        await self.under_way.aclose()


async def settle() -> None:
    """Let everybody go on who can."""
    for _ in range(4):
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("per_minute", "of_each", "at_once"),
    [(120, 2, 15), (120, 1, 29), (60, 2, 7), (60, 1, 14), (8, 2, 1), (4, 1, 1), (1, 1, 1)],
)
async def test_a_quarter_of_a_minute_may_be_used_at_once(per_minute: float, of_each: int, at_once: int) -> None:
    """A budget begins full, and holds a quarter of its minute or one request; a turn needs two where there may be."""
    line = Line(per_minute=per_minute, of_each=of_each)
    await line.advance(3600)
    for _ in range(at_once + 3):
        await line.ask("acme")

    assert len(line.served) == at_once
    await line.leave()


async def test_the_rest_comes_in_evenly() -> None:
    """Once what was saved is used up, turns come one after the other at the pace of the minute."""
    line = Line(per_minute=60)
    line.empty()
    line.use_up_allowances("acme")
    await line.ask("acme", times=5)
    served = []
    for seconds in (1, 0.5, 0.5, 2, 4):
        await line.advance(seconds)
        served.append(len(line.served))

    assert served == [0, 0, 1, 2, 4]
    await line.leave()


@pytest.mark.parametrize("name", ["acme", ""])
async def test_turns_come_by_themselves(name: str) -> None:
    """Whoever waits is served by the event loop, without anybody calling `grant`."""
    budget = RequestBudget(per_minute=60_000, clock=Clock())
    budget.observe(0, None)

    async def look_up() -> None:
        async with budget.turn(AskedBy(name)) as turn:
            turn.spend()
            turn.spend()

    async with asyncio.timeout(SOON):
        await asyncio.gather(*(look_up() for _ in range(10)))


async def test_one_question_does_not_wait_for_a_thousand() -> None:
    """An organization with a single question is served next, however many another one has in line."""
    line = Line()
    line.empty()
    line.use_up_allowances("busy", "single")
    await line.ask("busy", times=1000)
    await line.ask("single")
    await line.advance(4)

    assert line.served == ["busy", "single"]
    await line.leave()


async def test_a_flood_does_not_hold_up_anybody_else() -> None:
    """While an organization asks for 300 names, the first look-ups of others have their turn at once."""
    line = Line(per_minute=120)
    await line.ask("acme", times=300)
    flooded = list(line.served)
    for name in ("beta", "gamma", "delta", "epsilon"):
        await line.ask(name)

    assert flooded == ["acme"] * 15
    assert line.served[15:] == ["beta", "gamma", "delta", "epsilon"]
    assert line.budget.left == pytest.approx(-8)
    await line.advance(5)
    assert line.served[19:] == ["acme"]
    await line.leave()


async def test_an_allowance_is_for_some_requests_a_minute() -> None:
    """While the bucket stays empty, an organization has three turns of two requests, and then one in 20 seconds."""
    line = Line(per_minute=60)
    line.empty()
    await line.ask("acme", times=10)
    served = [len(line.served)]
    for _ in range(60):
        line.seconds += 1
        line.empty()
        await line.advance(0)
        served.append(len(line.served))

    assert [served[second] for second in (0, 19, 20, 39, 40, 59, 60)] == [3, 3, 4, 4, 5, 5, 6]
    await line.leave()


async def test_a_lane_that_must_wait_is_skipped() -> None:
    """Work on behalf of nobody has no allowance: it keeps its place, and others go before it meanwhile."""
    line = Line()
    line.empty()
    for name in ("", "acme", "beta"):
        await line.ask(name)
    early = list(line.served)
    await line.ask("acme", times=4)
    await line.advance(10)

    assert early == ["acme", "beta"]
    assert line.served == ["acme", "beta", "acme", "", "acme"]
    await line.leave()


async def test_unused_allowance_comes_back() -> None:
    """Look-ups that take one request have the allowance for as many as there are requests, and a busy one no more."""
    line = Line(of_each=1)
    line.empty()
    for _ in range(6):
        await line.ask("acme")
    used_up = len(line.served)
    line.use_up_allowances("acme")
    await line.advance(10)
    await line.ask("acme")

    assert used_up == 5
    assert line.budget._allowances.left("acme") == pytest.approx(0)
    await line.leave()


async def test_allowances_are_forgotten_when_they_are_full() -> None:
    """Of a million organizations those alone are kept that had a turn within a minute."""
    line = Line()
    for number in range(500):
        await line.ask(f"org-{number}")
        await line.advance(2)

    assert len(line.served) == 500
    assert len(line.budget._allowances) <= 31
    await line.ask("")
    await line.advance(60)
    assert len(line.budget._allowances) == 0


async def test_lanes_are_served_in_turn() -> None:
    """Each organization has a turn before one has its second; work on behalf of nobody has a lane too."""
    line = Line()
    line.empty()
    line.use_up_allowances("a", "b")
    for name, times in (("a", 3), ("b", 2), ("", 1)):
        await line.ask(name, times=times)
    await line.advance(12)

    assert line.served == ["a", "b", "", "a", "b", "a"]


async def test_who_joins_may_be_served_first() -> None:
    """A look-up that a second organization joins stands in its lane too, and has one turn in all."""
    line = Line()
    line.empty()
    line.use_up_allowances("busy", "single")
    await line.ask("busy", times=3)
    shared = AskedBy("busy")
    await line.wait_as(shared)
    shared.join("single")
    await line.advance(4)
    early = list(line.served)
    await line.advance(10)
    shared.join("late")

    assert early == ["busy", "busy+single"]
    assert line.served == ["busy", "busy+single", "busy", "busy"]
    assert line.budget._lanes == {}


async def test_who_joins_brings_an_allowance() -> None:
    """A look-up that waits in a flood has its turn at once when an organization joins that asked for nothing else."""
    line = Line()
    line.empty()
    line.use_up_allowances("busy")
    await line.ask("busy", times=3)
    shared = AskedBy("busy")
    await line.wait_as(shared)
    shared.join("single")
    await settle()

    assert line.served == ["busy+single"]
    await line.leave()


async def test_who_gives_up_leaves_nothing_behind() -> None:
    """A look-up that is cancelled while it waits takes no turn, and its lanes are gone with it."""
    line = Line(of_each=1)
    line.empty()
    line.use_up_allowances("a", "b", "c")
    task = await line.ask("a", "b")
    await line.ask("c")
    task.cancel()
    await settle()
    lanes = set(line.budget._lanes)
    await line.advance(2)

    assert lanes == {"c"}
    assert line.served == ["c"]
    assert line.budget.left == pytest.approx(1)


async def test_a_turn_that_is_given_up_goes_to_the_next() -> None:
    """A look-up that is cancelled in the moment it gets its turn gives it back."""
    line = Line()
    line.empty()
    line.use_up_allowances("b")
    task = await line.ask("")
    await line.ask("b")
    line.seconds += 2
    line.budget.grant()
    task.cancel()
    await settle()

    assert task.cancelled()
    assert line.served == ["b"]
    assert line.budget.left == pytest.approx(0)


async def test_a_look_up_that_is_given_up_gives_back_what_it_did_not_use() -> None:
    """Where a look-up ends after its first request, the second one goes to those who wait."""
    line = Line(per_minute=8, of_each=1, holding=True)
    task = await line.ask("acme")
    await line.ask("")
    held = (list(line.served), line.budget.left)
    task.cancel()
    await line.advance(0)
    given_back = line.budget.left
    await line.advance(7.5)

    assert held == (["acme"], 0)
    assert given_back == pytest.approx(1)
    assert line.served == ["acme", ""]
    await line.leave()


async def test_what_is_paid_for_is_not_saved_up_again() -> None:
    """While a look-up has requests that it did not make yet, the bucket holds as many less: they may come at once."""
    line = Line(per_minute=8)
    turn = await line.begin()
    await line.advance(3600)
    unused = line.budget.left
    line.spend(turn)
    await line.advance(3600)

    assert (unused, line.budget.left) == (0, 1)
    await line.leave()
    assert line.budget.left == 2


async def test_further_requests_are_taken_at_once_and_paid_back() -> None:
    """A look-up under way need not wait for its further requests; the next turn waits until they are made up for."""
    line = Line()
    turn = await line.begin()
    line.empty()
    for _ in range(5):
        line.spend(turn)
    await line.ask("")
    await line.advance(6.5)
    early = list(line.served)
    await line.advance(0.5)

    assert (early, line.served) == ([], [""])
    await line.leave()


async def test_the_debt_has_a_bound() -> None:
    """Further requests are refused when as many were taken ahead as may be used at once; says when there is one."""
    line = Line(per_minute=60)
    turn = await line.begin()
    line.empty()
    for _ in range(15):
        line.spend(turn)
    with pytest.raises(NoTurnError, match=r"^is asked as often as it may be until 2026-06-01T00:00:01Z$") as raised:
        line.spend(turn)
    line.seconds += 1
    line.spend(turn)

    assert raised.value.is_ours
    assert raised.value.retry_at == line.clock() + timedelta(seconds=1)
    assert line.budget.left == pytest.approx(-15)
    await line.leave()


async def test_allowances_end_where_the_debt_does() -> None:
    """However many organizations come for the first time, half of the debt is left to look-ups that are under way."""
    line = Line(per_minute=60)
    line.empty()
    for number in range(20):
        await line.ask(f"org-{number}")
    served = len(line.served)
    await line.advance(1)

    assert served == 3
    assert line.budget.left == pytest.approx(-7)
    assert len(line.served) == 4
    await line.leave()


async def test_reading_what_is_left_changes_nothing() -> None:
    """The thread that shows figures reads what is left, and never writes what the event loop counts with."""
    line = Line()
    line.empty()
    counted = line.budget._counted
    line.seconds += 3

    assert line.budget.left == pytest.approx(3)
    assert line.budget._counted is counted


@pytest.mark.parametrize(
    ("remaining", "reset_in", "left", "pause"),
    [
        (170, 30, 15, None),
        (4, 30, 4, None),
        (0, None, 0, None),
        (0, -5, 0, None),
        (0, 30, 0, 30),
        (-1, 30, 0, 30),
        (0, 1_000_000_000, 0, 3600),
    ],
)
def test_what_the_upstream_says_goes_before(
    remaining: int, reset_in: float | None, left: float, pause: float | None
) -> None:
    """Never is more left than the upstream says, and with nothing left there is a pause until it counts anew."""
    line = Line(per_minute=60)
    now = line.clock()
    line.budget.observe(remaining, None if reset_in is None else now + timedelta(seconds=reset_in))

    assert line.budget.left == left
    assert line.budget.paused_until == (None if pause is None else now + timedelta(seconds=pause))


async def test_a_pause_answers_all_at_once() -> None:
    """While the upstream asks to wait nobody stands in line: those who do are told until when, and so is who comes."""
    line = Line()
    turn = await line.begin()
    line.empty()
    line.use_up_allowances("a", "b")
    first = await line.ask("a", "b")
    until = line.clock() + timedelta(seconds=30)
    line.budget.pause_until(until)
    second = await line.ask("c")
    with pytest.raises(NoTurnError, match=r"^asks to wait until 2026-06-01T00:00:30Z$"):
        line.spend(turn)
    await line.advance(30)
    line.clock.advance(seconds=30)
    await line.ask("d")

    for task in (first, second):
        error = task.exception()
        assert isinstance(error, NoTurnError)
        assert error.retry_at == until
        assert not error.is_ours
    assert line.served == ["d"]
    assert line.budget.paused_until is None
    await line.leave()


@pytest.mark.parametrize(
    ("asked", "paused"),
    [
        ([timedelta(days=400)], MAX_PAUSE),
        ([timedelta(seconds=40), timedelta(seconds=20)], timedelta(seconds=40)),
        ([timedelta(seconds=20), timedelta(seconds=40)], timedelta(seconds=40)),
        ([timedelta(seconds=-1)], None),
    ],
)
def test_a_pause_is_the_longest_asked_for_and_has_a_bound(asked: list[timedelta], paused: timedelta | None) -> None:
    """A senseless moment pauses for an hour at most, and one that is over not at all."""
    line = Line()
    for duration in asked:
        line.budget.pause_until(line.clock() + duration)

    assert line.budget.paused_until == (None if paused is None else line.clock() + paused)


def test_a_clock_that_was_set_back_does_not_prolong_a_pause() -> None:
    """A pause that would last longer than any may is over."""
    line = Line()
    line.budget.pause_until(line.clock() + MAX_PAUSE)
    line.clock.advance(seconds=-1)

    assert line.budget.paused_until is None


async def _ask(line: Line, number: int) -> None:
    await line.ask(f"org-{number % 3}", *(["org-3"] if number % 2 else []), times=number)


async def _give_up(line: Line, number: int) -> None:
    for task in line.waiting[::number]:
        task.cancel()
    await settle()


async def _spend(line: Line, number: int) -> None:
    for turn, _ in line.turns[:number]:
        for _ in range(number):
            try:
                line.spend(turn)
            except NoTurnError:
                return


async def _end(line: Line, number: int) -> None:
    for _, ended in line.turns[:number]:
        ended.set()
    del line.turns[:number]
    await settle()


async def _observe(line: Line, number: int) -> None:
    line.budget.observe(number - 1, None)


async def _pause(line: Line, number: int) -> None:
    line.budget.pause_until(line.clock() + timedelta(seconds=number))
    await settle()


async def _advance(line: Line, number: int) -> None:
    for _ in range(number):
        line.clock.advance(seconds=number / 2)
        await line.advance(number / 2)


STEPS: list[Callable[[Line, int], object]] = [_ask, _give_up, _spend, _end, _observe, _pause, _advance]


@given(st.sampled_from([4, 24, 120]), st.lists(st.tuples(st.sampled_from(STEPS), st.integers(1, 9)), max_size=40))
def test_no_minute_sees_more_than_the_bucket_allows(
    per_minute: int, steps: list[tuple[Callable[..., object], int]]
) -> None:
    """Whatever happens, a minute sees one and a half times what it may in the long run; nothing is kept for ever."""

    async def run() -> None:
        line = Line(per_minute=per_minute, of_each=0, holding=True)
        most = per_minute / 4
        for step, number in steps:
            await step(line, number)  # type: ignore[misc]
            assert -most - 1e-6 <= line.budget.left <= most
            assert all(line.budget._lanes.values())
        await line.leave()
        for index, began in enumerate(line.made):
            assert sum(made - began < 60 for made in line.made[index:]) <= 1.5 * per_minute
        assert line.budget._lanes == {}
        assert line.budget._prepaid == 0
        await line.advance(60)
        assert len(line.budget._allowances) == 0

    asyncio.run(run())


@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.integers(1, 60), st.integers(1, 4), st.floats(0, 20)), min_size=1, max_size=30
    )
)
def test_the_default_makes_180_requests_a_minute_at_most(asked: list[tuple[int, int, int, float]]) -> None:
    """However organizations ask, and however many requests their look-ups take, no minute sees more than 180."""

    async def run() -> None:
        line = Line(per_minute=120)
        for organization, times, line.of_each, seconds in asked:
            await line.ask(f"org-{organization}", times=times)
            for _ in range(4):
                await line.advance(seconds / 4)
        await line.leave()
        for index, began in enumerate(line.made):
            assert sum(made - began < 60 for made in line.made[index:]) <= 180

    asyncio.run(run())


@given(st.lists(st.integers(1, 6), min_size=1, max_size=6))
def test_nobody_is_served_twice_before_everybody_once(questions: list[int]) -> None:
    """While organizations have questions in line, the numbers of their turns differ by one at most."""

    async def run() -> None:
        line = Line()
        line.empty()
        line.use_up_allowances(*(f"org-{index}" for index in range(len(questions))))
        for index, count in enumerate(questions):
            await line.ask(f"org-{index}", times=count)
        for turns in range(1, sum(questions) + 1):
            await line.advance(2.000001)
            assert len(line.served) == turns
            waiting = [f"org-{index}" for index, count in enumerate(questions)]
            served = [line.served.count(name) for name in waiting]
            unfinished = [count for count, all_of_them in zip(served, questions, strict=True) if count < all_of_them]
            assert not unfinished or max(served) - min(unfinished) <= 1

    asyncio.run(run())


def test_a_moment_is_told_in_utc() -> None:
    """The message of a refusal can be read by people."""
    error = NoTurnError("asks to wait", datetime.fromisoformat("2026-06-01T10:00:00+00:00"), is_ours=False)

    assert str(error) == "asks to wait until 2026-06-01T10:00:00Z"
