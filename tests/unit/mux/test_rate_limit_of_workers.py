"""Several workers, whose database answers late now and then, on a clock that skips all waiting."""

import asyncio
import random
import selectors
from bisect import bisect_left

from pytest_mock import MockerFixture

from worker.model import RequestSlots
from worker.mux.rate_limit import RateLimiter

RATE = 4
MUX_LIMIT = 5
WORKERS, REQUESTS_AT_ONCE = 3, 2
SECONDS = 600.0
LATE_SHARE = 0.05
GAP_SECONDS = 1.03 / RATE
"""As in sql/110_rate_limit.sql."""


class SkippingSelector(selectors.SelectSelector):
    """Counts the time of a wait, and does not wait."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what is ready."""
        self.now += timeout or 0.0
        return super().select(0)


class SkippingLoop(asyncio.SelectorEventLoop):
    """An event loop on its selector's clock."""

    def __init__(self) -> None:
        self.clock = SkippingSelector()
        super().__init__(self.clock)

    def time(self) -> float:
        """Return the seconds that were waited."""
        return self.clock.now


class SlowDatabase:
    """Reserves slots as the database does. Every twentieth answer is late on its way back."""

    def __init__(self, loop: SkippingLoop) -> None:
        self._loop = loop
        self._chance = random.Random(1)
        self._next = 0.0
        self._was_late = False

    async def acquire_requests(self, count: int, per_second: float) -> RequestSlots:
        """Reserve slots."""
        now = self._loop.time()
        first = max(now, self._next)
        self._next = first + count * 1.03 / per_second
        self._was_late = not self._was_late and self._chance.random() < LATE_SHARE
        late = self._chance.uniform(0.2, 2.0) if self._was_late else 0.0
        await asyncio.sleep(self._chance.uniform(0.001, 0.01) + late)
        return RequestSlots(first - now, GAP_SECONDS)

    async def slow_down(self, pause_seconds: float) -> None:
        """Nothing asks for less."""
        raise NotImplementedError


def test_no_second_has_more_requests_than_mux_allows(mocker: MockerFixture) -> None:
    """Not even where single answers about slots take seconds."""
    loop, sent = SkippingLoop(), list[float]()
    mocker.patch("worker.mux.rate_limit.time.monotonic", loop.time)

    async def keep_sending(limiter: RateLimiter, response_seconds: float) -> None:
        while loop.time() < SECONDS:
            await limiter.acquire()
            sent.append(loop.time())
            await asyncio.sleep(response_seconds)

    async def work() -> None:
        database = SlowDatabase(loop)
        limiters = [RateLimiter(RATE, database) for _ in range(WORKERS)]
        await asyncio.gather(
            *(
                keep_sending(limiter, 0.05 + number / 10)
                for limiter in limiters
                for number in range(REQUESTS_AT_ONCE)
            )
        )

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(work())
    most = max(bisect_left(sent, at + 1.0) - index for index, at in enumerate(sent))
    assert most <= MUX_LIMIT
    assert len(sent) > 0.75 * RATE * SECONDS
