import asyncio
from dataclasses import dataclass, field

import pytest
from pytest_mock import MockerFixture

from worker.errors import MuxUnavailable
from worker.model import RequestSlots
from worker.mux.rate_limit import CHECK_PER_SECOND, LocalBudget, RateLimiter


@dataclass
class FakeClock:
    """A clock that only advances by sleeping."""

    now: float = 1000.0

    def monotonic(self) -> float:
        """Return the time."""
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Advance the clock."""
        self.now += seconds


@dataclass
class FakeBudget:
    """Reserves slots a gap apart, like the database, and records the calls."""

    clock: FakeClock
    gap: float = 0.25
    next_at: float = 0.0
    paused_until: float = 0.0
    taken: list[int] = field(default_factory=list)
    slowed: int = 0
    answer_seconds: list[float] = field(default_factory=list)
    """How long the next answers take."""

    async def acquire_requests(self, count: int, per_second: float) -> RequestSlots:
        """Reserve slots."""
        self.taken.append(count)
        first = max(self.clock.now, self.next_at, self.paused_until)
        self.next_at = first + count * (0 if per_second == CHECK_PER_SECOND else self.gap)
        paused = max(0.0, self.paused_until - self.clock.now)
        slots = RequestSlots(first - self.clock.now, self.gap, paused)
        self.clock.now += self.answer_seconds.pop(0) if self.answer_seconds else 0.0
        return slots

    async def slow_down(self, pause_seconds: float) -> None:
        """Count the call."""
        self.slowed += 1
        self.paused_until = self.clock.now + pause_seconds


@pytest.fixture
def clock(mocker: MockerFixture) -> FakeClock:
    """Return the clock of the rate limiter."""
    clock = FakeClock()
    mocker.patch("worker.mux.rate_limit.time.monotonic", clock.monotonic)
    mocker.patch("worker.mux.rate_limit.asyncio.sleep", clock.sleep)
    return clock


@pytest.fixture
def budget(clock: FakeClock) -> FakeBudget:
    """Return a budget of four requests a second."""
    return FakeBudget(clock)


async def send_times(limiter: RateLimiter, clock: FakeClock, count: int) -> list[float]:
    """Acquire slots, and return the seconds from the first to each."""
    times = []
    for _ in range(count):
        await limiter.acquire()
        times.append(clock.now)
    return [round(time - times[0], 3) for time in times]


async def test_requests_are_as_far_apart_as_the_budget_says(
    clock: FakeClock, budget: FakeBudget
) -> None:
    """However many slots are reserved at once."""
    assert await send_times(RateLimiter(10, budget), clock, 6) == [0, 0.25, 0.5, 0.75, 1.0, 1.25]


async def test_while_requests_wait_the_budget_is_called_less_often(
    clock: FakeClock, budget: FakeBudget
) -> None:
    """One, one, two, then a second's worth of slots at once."""
    await send_times(RateLimiter(4, budget), clock, 12)
    assert budget.taken == [1, 1, 2, 4, 4]


async def test_slow_requests_reserve_one_slot_each(clock: FakeClock, budget: FakeBudget) -> None:
    """When responses take longer than the gap, no slot is reserved in advance, and none is lost."""
    limiter = RateLimiter(4, budget)
    for _ in range(5):
        await limiter.acquire()
        clock.now += 0.6
    assert budget.taken == [1] * 5
    assert round(clock.now, 3) == 1003


async def test_a_slot_that_came_with_a_claim_saves_a_call(
    clock: FakeClock, budget: FakeBudget
) -> None:
    """A scan with one request reserves nothing else, and waits until the slot's time."""
    limiter = RateLimiter(4, budget)
    for _ in range(3):
        limiter.add(RequestSlots(0.1, 0.25), 0.0)
        assert await send_times(limiter, clock, 1) == [0]
        clock.now += 0.9
    assert (budget.taken, round(clock.now, 3)) == ([], 1003)


async def test_slots_are_used_in_the_order_in_which_they_were_reserved(
    clock: FakeClock, budget: FakeBudget
) -> None:
    """While requests wait, a claim's slot is another one behind those that are reserved."""
    limiter = RateLimiter(10, budget)
    await send_times(limiter, clock, 3)
    assert budget.taken == [1, 1, 2]
    limiter.add(await budget.acquire_requests(1, 4), 0.0)
    assert await send_times(limiter, clock, 3) == [0, 0.25, 0.5]
    assert budget.taken == [1, 1, 2, 1, 4]


async def test_a_slot_that_has_passed_is_lost(clock: FakeClock, budget: FakeBudget) -> None:
    """After an idle time there is no burst."""
    limiter = RateLimiter(4, budget)
    await send_times(limiter, clock, 5)
    clock.now += 60
    assert await send_times(limiter, clock, 5) == [0, 0.25, 0.5, 0.75, 1.02]


async def test_no_second_holds_more_than_allowed_even_if_the_budget_forgets(
    clock: FakeClock, budget: FakeBudget
) -> None:
    """The limiter counts its own requests: at most five in any second."""
    budget.gap = 0.0
    assert await send_times(RateLimiter(5, budget), clock, 11) == [0] * 5 + [1.02] * 5 + [2.04]


async def test_less_than_one_request_a_second(clock: FakeClock, budget: FakeBudget) -> None:
    """One in ten seconds."""
    budget.gap = 10.0
    assert await send_times(RateLimiter(0.1, budget), clock, 3) == [0, 10.2, 20.4]


async def test_slowing_down_drops_reserved_slots(clock: FakeClock, budget: FakeBudget) -> None:
    """They are those that Mux had too many of; the shared budget is slowed down."""
    limiter = RateLimiter(4, budget)
    await send_times(limiter, clock, 5)
    budget.next_at = clock.now + 30
    await limiter.slow_down()
    before = clock.now
    await limiter.acquire()
    assert (budget.slowed, clock.now - before) == (1, 30)


async def test_no_request_is_sent_before_the_end_of_a_pause(
    clock: FakeClock, budget: FakeBudget
) -> None:
    """It raises how long the pause lasts still, and waits for no more than its last second."""
    one, other = RateLimiter(4, budget), RateLimiter(4, budget)
    await one.slow_down(60)
    for limiter, left in ((one, 60), (other, 45)):
        clock.now = budget.paused_until - left
        limiter.add(await budget.acquire_requests(1, 4), 0.0)  # with a claim
        with pytest.raises(MuxUnavailable) as raised:
            await limiter.acquire()
        assert (raised.value.reason, raised.value.retry_after_seconds) == ("rate_limited", left)
    clock.now = budget.paused_until - 0.5
    await other.acquire()
    assert clock.now >= budget.paused_until


async def test_a_slot_that_was_reserved_long_before_a_pause_is_not_used(
    clock: FakeClock, budget: FakeBudget, mocker: MockerFixture
) -> None:
    """The next seconds belong to other workers, and meanwhile Mux asks one of them for a pause."""

    async def sleep(seconds: float) -> None:
        clock.now += seconds
        budget.paused_until = clock.now + 2

    mocker.patch("worker.mux.rate_limit.asyncio.sleep", sleep)
    budget.next_at = clock.now + 3
    with pytest.raises(MuxUnavailable) as raised:
        await RateLimiter(4, budget).acquire()
    assert raised.value.retry_after_seconds == 2


async def test_slots_whose_answer_came_late_are_not_used(
    clock: FakeClock, budget: FakeBudget
) -> None:
    """Their times have passed, and other workers have those that follow."""
    budget.answer_seconds = [0.1, 0.4]
    limiter = RateLimiter(4, budget)
    await send_times(limiter, clock, 1)
    clock.now += 5
    before = clock.now
    await limiter.acquire()
    assert (budget.taken, round(clock.now - before, 3)) == ([1] * 3, 0.4)
    limiter.add(RequestSlots(0.0, 0.25), 0.6)
    await limiter.acquire()
    assert budget.taken == [1] * 4


async def test_where_all_answers_take_as_long_the_slots_are_used(
    clock: FakeClock, budget: FakeBudget
) -> None:
    """A database that is far away shifts all of them alike."""
    budget.answer_seconds = [0.8, 0.9, 0.7, 0.9]
    limiter = RateLimiter(4, budget)
    await limiter.acquire()
    assert budget.taken == [1] * 3
    clock.now += 5
    await limiter.acquire()
    assert budget.taken == [1] * 4


async def test_a_process_that_stood_still_until_its_slot_had_passed_reserves_another(
    clock: FakeClock, budget: FakeBudget, mocker: MockerFixture
) -> None:
    """It was stopped, or the machine is busy."""
    sleeps = iter([3.0])

    async def sleep(seconds: float) -> None:
        clock.now += next(sleeps, seconds)

    mocker.patch("worker.mux.rate_limit.asyncio.sleep", sleep)
    budget.next_at = clock.now + 0.5
    await RateLimiter(4, budget).acquire()
    assert (budget.taken, clock.now) == ([1, 1, 2], 1003)


async def test_requests_are_sent_in_order(clock: FakeClock, budget: FakeBudget) -> None:
    """The first that waits is sent first."""
    limiter, order = RateLimiter(4, budget), []

    async def send(name: int) -> None:
        await limiter.acquire()
        order.append(name)

    await asyncio.gather(*(send(name) for name in range(8)))
    assert order == list(range(8))


async def test_a_single_process_has_its_own_budget(clock: FakeClock) -> None:
    """As fast as allowed, without a burst after an idle time; slowing down pauses for a second."""
    limiter = RateLimiter(4, LocalBudget())
    assert await send_times(limiter, clock, 4) == [0, 0.25, 0.5, 0.75]
    clock.now += 10
    assert await send_times(limiter, clock, 3) == [0, 0.25, 0.5]
    await limiter.slow_down()
    before = clock.now
    await limiter.acquire()
    assert clock.now - before >= 1
    await limiter.slow_down(60)
    with pytest.raises(MuxUnavailable):
        await limiter.acquire()
