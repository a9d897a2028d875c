"""The budget of requests to an upstream: how many there are, whose turn it is, and what the upstream says of it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pullgate_server.categories.port import AskedBy
from pullgate_server.categories.request_budget import MAX_PAUSE, NoTurnError, RequestBudget
from tests.conftest import SOON, Clock


@dataclass(kw_only=True)
class Line:
    """A budget in time that stands still, and those who wait in it."""

    per_minute: float = 60
    clock: Clock = field(default_factory=Clock)
    seconds: float = 0.0
    served: list[str] = field(default_factory=list)
    waiting: "list[asyncio.Task[None]]" = field(default_factory=list)

    def __post_init__(self) -> None:
        self.budget = RequestBudget(per_minute=self.per_minute, clock=self.clock, now=lambda: self.seconds)

    def empty(self) -> None:
        """Leave no request in the budget."""
        self.budget.observe(0, None)

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
            await self.budget.turn(asked_by)
            self.served.append("+".join(asked_by.names))

        self.waiting.append(asyncio.ensure_future(wait()))
        await settle()

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


async def settle() -> None:
    """Let everybody go on who can."""
    for _ in range(4):
        await asyncio.sleep(0)


@pytest.mark.parametrize(("per_minute", "at_once"), [(120, 30), (60, 15), (4, 1), (1, 1)])
async def test_a_quarter_of_a_minute_may_be_used_at_once(per_minute: float, at_once: int) -> None:
    """A budget begins full, and holds a quarter of its minute, or one request where that is less."""
    line = Line(per_minute=per_minute)
    await line.advance(3600)
    await line.ask("acme", times=at_once + 3)

    assert len(line.served) == at_once
    await line.leave()


async def test_the_rest_comes_in_evenly() -> None:
    """Once what was saved is used up, turns come one after the other at the pace of the minute."""
    line = Line(per_minute=60)
    line.empty()
    await line.ask("acme", times=5)
    served = []
    for seconds in (0.5, 0.25, 0.25, 1, 2):
        await line.advance(seconds)
        served.append(len(line.served))

    assert served == [0, 0, 1, 2, 4]
    await line.leave()


async def test_turns_come_by_themselves() -> None:
    """Whoever waits is served by the event loop, without anybody calling `grant`."""
    budget = RequestBudget(per_minute=60_000, clock=Clock())
    budget.observe(0, None)
    async with asyncio.timeout(SOON):
        await asyncio.gather(*(budget.turn(AskedBy("acme")) for _ in range(5)))


async def test_one_question_does_not_wait_for_a_thousand() -> None:
    """An organization with a single question is served next, however many another one has in line."""
    line = Line()
    line.empty()
    await line.ask("busy", times=1000)
    await line.ask("single")
    await line.advance(2)

    assert line.served == ["busy", "single"]
    await line.leave()


async def test_lanes_are_served_in_turn() -> None:
    """Each organization has a turn before one has its second; work on behalf of nobody has a lane too."""
    line = Line()
    line.empty()
    for name, times in (("a", 3), ("b", 2), ("", 1)):
        await line.ask(name, times=times)
    await line.advance(6)

    assert line.served == ["a", "b", "", "a", "b", "a"]


async def test_who_joins_may_be_served_first() -> None:
    """A look-up that a second organization joins stands in its lane too, and has one turn in all."""
    line = Line()
    line.empty()
    await line.ask("busy", times=3)
    shared = AskedBy("busy")
    await line.wait_as(shared)
    shared.join("single")
    await line.advance(2)
    early = list(line.served)
    await line.advance(10)
    shared.join("late")

    assert early == ["busy", "busy+single"]
    assert line.served == ["busy", "busy+single", "busy", "busy"]
    assert line.budget._lanes == {}


async def test_who_gives_up_leaves_nothing_behind() -> None:
    """A look-up that is cancelled while it waits takes no turn, and its lanes are gone with it."""
    line = Line()
    line.empty()
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
    task = await line.ask("a")
    await line.ask("b")
    line.seconds += 1
    line.budget.grant()
    task.cancel()
    await settle()

    assert task.cancelled()
    assert line.served == ["b"]
    assert line.budget.left == pytest.approx(0)


async def test_further_requests_are_taken_at_once_and_paid_back() -> None:
    """A look-up under way need not wait for its further requests; the next turn waits until they are made up for."""
    line = Line()
    line.empty()
    for _ in range(3):
        line.budget.spend()
    await line.ask("acme")
    await line.advance(3.5)
    early = list(line.served)
    await line.advance(0.5)

    assert (early, line.served) == ([], ["acme"])


async def test_the_debt_has_a_bound() -> None:
    """Further requests are refused when as many were taken ahead as may be used at once; says when there is one."""
    line = Line(per_minute=60)
    line.empty()
    for _ in range(15):
        line.budget.spend()
    with pytest.raises(NoTurnError, match=r"^is asked as often as it may be until 2026-06-01T00:00:01Z$") as raised:
        line.budget.spend()
    line.seconds += 1
    line.budget.spend()

    assert raised.value.retry_at == line.clock() + timedelta(seconds=1)
    assert line.budget.left == pytest.approx(-15)


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
    line.empty()
    first = await line.ask("a", "b")
    until = line.clock() + timedelta(seconds=30)
    line.budget.pause_until(until)
    second = await line.ask("c")
    with pytest.raises(NoTurnError, match=r"^asks to wait until 2026-06-01T00:00:30Z$"):
        line.budget.spend()
    await line.advance(30)
    line.clock.advance(seconds=30)
    await line.ask("d")

    for task in (first, second):
        error = task.exception()
        assert isinstance(error, NoTurnError)
        assert error.retry_at == until
    assert line.served == ["d"]
    assert line.budget.paused_until is None


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
    for _ in range(number):
        try:
            line.budget.spend()
        except NoTurnError:
            return
        line.served.append("")


async def _observe(line: Line, number: int) -> None:
    line.budget.observe(number - 1, None)


async def _pause(line: Line, number: int) -> None:
    line.budget.pause_until(line.clock() + timedelta(seconds=number))
    await settle()


async def _advance(line: Line, number: int) -> None:
    line.clock.advance(seconds=number / 2)
    await line.advance(number / 2)


STEPS: list[Callable[[Line, int], object]] = [_ask, _give_up, _spend, _observe, _pause, _advance]


@given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(1, 9)), max_size=40))
def test_no_more_is_ever_handed_out_than_the_bucket_allows(steps: list[tuple[Callable[..., object], int]]) -> None:
    """Whatever happens, requests stay below what was saved, what came in and the bounded debt; lanes are not kept."""

    async def run() -> None:
        line = Line(per_minute=24)
        for step, number in steps:
            await step(line, number)  # type: ignore[misc]
            assert len(line.served) <= 6 + 0.4 * line.seconds + 6 + 1e-6
            assert line.budget.left <= 6
            assert all(line.budget._lanes.values())
        await line.leave()
        assert line.budget._lanes == {}

    asyncio.run(run())


@given(st.lists(st.integers(1, 6), min_size=1, max_size=6))
def test_nobody_is_served_twice_before_everybody_once(questions: list[int]) -> None:
    """While organizations have questions in line, the numbers of their turns differ by one at most."""

    async def run() -> None:
        line = Line()
        line.empty()
        for index, count in enumerate(questions):
            await line.ask(f"org-{index}", times=count)
        for turns in range(1, sum(questions) + 1):
            await line.advance(1.000001)
            assert len(line.served) == turns
            waiting = [f"org-{index}" for index, count in enumerate(questions)]
            served = [line.served.count(name) for name in waiting]
            unfinished = [count for count, all_of_them in zip(served, questions, strict=True) if count < all_of_them]
            assert not unfinished or max(served) - min(unfinished) <= 1

    asyncio.run(run())


def test_a_moment_is_told_in_utc() -> None:
    """The message of a refusal can be read by people."""
    error = NoTurnError("asks to wait", datetime.fromisoformat("2026-06-01T10:00:00+00:00"))

    assert str(error) == "asks to wait until 2026-06-01T10:00:00Z"
