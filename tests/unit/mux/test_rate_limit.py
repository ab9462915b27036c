import asyncio
from dataclasses import dataclass, field

import pytest
from pytest_mock import MockerFixture

from worker.model import RequestSlots
from worker.mux.rate_limit import LocalBudget, RateLimiter


@dataclass
class FakeClock:
    """A clock that only sleeping moves."""

    now: float = 1000.0

    def monotonic(self) -> float:
        """Give the time."""
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Let the time pass at once."""
        self.now += seconds


@dataclass
class FakeBudget:
    """Hands out turns a gap apart, like the database, and remembers who asked for what."""

    clock: FakeClock
    gap: float = 0.25
    next_at: float = 0.0
    taken: list[tuple[int, bool]] = field(default_factory=list)
    slowed: int = 0

    async def acquire_requests(self, count: int, per_second: float, *, bulk: bool) -> RequestSlots:
        """Hand out turns."""
        self.taken.append((count, bulk))
        first = max(self.clock.now, self.next_at)
        self.next_at = first + count * self.gap
        return RequestSlots(first - self.clock.now, self.gap)

    async def slow_down(self) -> None:
        """Note it."""
        self.slowed += 1


@pytest.fixture
def clock(mocker: MockerFixture) -> FakeClock:
    """Give the clock that the pace goes by."""
    clock = FakeClock()
    mocker.patch("worker.mux.rate_limit.time.monotonic", clock.monotonic)
    mocker.patch("worker.mux.rate_limit.asyncio.sleep", clock.sleep)
    return clock


@pytest.fixture
def budget(clock: FakeClock) -> FakeBudget:
    """Give a budget of four turns a second."""
    return FakeBudget(clock)


async def moments(pace: RateLimiter, clock: FakeClock, count: int) -> list[float]:
    """Take turns; give the seconds from the first to each."""
    at = []
    for _ in range(count):
        await pace.acquire()
        at.append(clock.now)
    return [round(moment - at[0], 3) for moment in at]


async def test_turns_are_as_far_apart_as_the_budget_says(
    clock: FakeClock, budget: FakeBudget
) -> None:
    """However many the budget gives at once."""
    assert await moments(RateLimiter(10, budget), clock, 6) == [0, 0.25, 0.5, 0.75, 1.0, 1.25]


async def test_who_has_to_wait_asks_the_budget_ever_less_often(
    clock: FakeClock, budget: FakeBudget
) -> None:
    """One, one, two, then a second's worth at once; the database is asked as rarely as that."""
    await moments(RateLimiter(4, budget), clock, 12)
    assert budget.taken == [(1, False), (1, False), (2, False), (4, False), (4, False)]


async def test_who_is_slower_than_the_budget_takes_turn_by_turn(
    clock: FakeClock, budget: FakeBudget
) -> None:
    """With answers that take longer than the gap, none is taken in advance, and none is lost."""
    pace = RateLimiter(4, budget)
    for _ in range(5):
        await pace.acquire()
        clock.now += 0.6
    assert budget.taken == [(1, False)] * 5
    assert round(clock.now, 3) == 1003


async def test_a_turn_whose_moment_has_passed_is_lost(clock: FakeClock, budget: FakeBudget) -> None:
    """After a pause there is no burst of what was not used before it."""
    pace = RateLimiter(4, budget)
    await moments(pace, clock, 5)
    clock.now += 60
    assert await moments(pace, clock, 5) == [0, 0.25, 0.5, 0.75, 1.02]


async def test_no_second_holds_more_than_allowed_even_if_the_budget_forgets(
    clock: FakeClock, budget: FakeBudget
) -> None:
    """This process counts its own: five in any second, and a little more than a second for six."""
    budget.gap = 0.0
    assert await moments(RateLimiter(5, budget), clock, 11) == [0] * 5 + [1.02] * 5 + [2.04]


async def test_less_than_one_a_second_is_kept_too(clock: FakeClock, budget: FakeBudget) -> None:
    """One in ten seconds."""
    budget.gap = 10.0
    assert await moments(RateLimiter(0.1, budget), clock, 3) == [0, 10.2, 20.4]


async def test_slowing_down_gives_up_what_was_taken(clock: FakeClock, budget: FakeBudget) -> None:
    """The turns in hand are those that Mux had too many of; everybody is told."""
    pace = RateLimiter(4, budget)
    await moments(pace, clock, 5)
    budget.next_at = clock.now + 30
    await pace.slow_down()
    before = clock.now
    await pace.acquire()
    assert (budget.slowed, clock.now - before) == (1, 30)


async def test_bulk_work_takes_one_turn_at_a_time(clock: FakeClock, budget: FakeBudget) -> None:
    """So that live work never waits for what bulk work has in hand."""
    await moments(RateLimiter(4, budget, bulk=True), clock, 6)
    assert budget.taken == [(1, True)] * 6


async def test_turns_are_given_in_the_order_they_were_asked_for(
    clock: FakeClock, budget: FakeBudget
) -> None:
    """Nobody is overtaken."""
    pace, order = RateLimiter(4, budget), []

    async def ask(name: int) -> None:
        await pace.acquire()
        order.append(name)

    await asyncio.gather(*(ask(name) for name in range(8)))
    assert order == list(range(8))


async def test_a_process_alone_keeps_its_own_budget(clock: FakeClock) -> None:
    """As fast as allowed, with nothing saved up, and slower for a second when told."""
    pace = RateLimiter(4, LocalBudget())
    assert await moments(pace, clock, 4) == [0, 0.25, 0.5, 0.75]
    clock.now += 10
    assert await moments(pace, clock, 3) == [0, 0.25, 0.5]
    await pace.slow_down()
    before = clock.now
    await pace.acquire()
    assert clock.now - before >= 1
