"""Keep requests to Mux under the rate limit by giving each its turn."""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, Protocol

MOST_AT_ONCE = 200
"""Turns taken from the budget at once, at most."""

LATE_SECONDS = 0.02
MARGIN = 1.02
"""So much later than its moment a turn is still good, and so much rarer than allowed are ours: what
reaches Mux a little sooner or later than it was sent must not add up to more than is allowed.
"""


Sent = Callable[[], None]
"""Called when the turn of a request has come and it goes out."""


def unheard() -> None:
    """Take no note that a request goes out."""


class Turns(NamedTuple):
    """Moments at which Mux may be asked: the first in so many seconds, the others a gap apart."""

    first_in_seconds: float
    gap_seconds: float


class Budget(Protocol):
    """Where all who ask Mux agree on when."""

    async def take_turns(self, count: int, per_second: float, *, bulk: bool) -> Turns:
        """Take the next turns."""
        ...

    async def slow_down(self) -> None:
        """Have everybody ask less often for a while."""
        ...


class OwnBudget:
    """A budget for one process that has nobody to agree with."""

    def __init__(self) -> None:
        self._next = 0.0

    async def take_turns(self, count: int, per_second: float, *, bulk: bool) -> Turns:  # noqa: ARG002  # there is nobody to leave anything to
        """Take the next turns; those that were not taken are not saved up."""
        now = time.monotonic()
        first = max(now, self._next)
        self._next = first + count / per_second
        return Turns(first - now, 1 / per_second)

    async def slow_down(self) -> None:
        """Wait for a second."""
        self._next = max(self._next, time.monotonic() + 1)


class Pace:
    """Gives turns in the order they are asked for, at most `per_second` of the whole budget.

    As long as whoever asks has to wait, turns are taken from the budget in twos, fours, eights, up
    to a second's worth: asking the database costs as much as asking Mux. A turn whose moment has
    passed is lost, so that a burst after a quiet time stays within what Mux allows.
    """

    def __init__(self, per_second: float, budget: Budget, *, bulk: bool = False) -> None:
        self.per_second = per_second
        self._budget = budget
        self._bulk = bulk
        self._turns: deque[float] = deque()
        self._taken_at_once = 0
        self._asking = asyncio.Lock()
        # However late the event loop was for some of them, this many never fall into less.
        self._window_seconds = MARGIN * max(1, math.floor(per_second)) / per_second
        self._last: deque[float] = deque(maxlen=max(1, math.floor(per_second)))

    async def turn(self) -> None:
        """Wait for the next turn.

        Raises SupabaseUnavailable where the budget is kept there and cannot be reached.
        """
        async with self._asking:
            at = await self._next_turn()
            if len(self._last) == self._last.maxlen:
                at = max(at, self._last[0] + self._window_seconds)
            pause = at - time.monotonic()
            if pause > 0:
                await asyncio.sleep(pause)
            self._last.append(time.monotonic())

    async def slow_down(self) -> None:
        """Slow everybody down: Mux said that its patience is used up."""
        self._turns.clear()
        await self._budget.slow_down()

    async def _next_turn(self) -> float:
        now = time.monotonic()
        while self._turns:
            at = self._turns.popleft()
            if at > now - LATE_SECONDS:
                return at
            self._taken_at_once = 0
        most = 1 if self._bulk else min(MOST_AT_ONCE, max(1, math.ceil(self.per_second)))
        count = min(max(1, 2 * self._taken_at_once), most)
        taken = await self._budget.take_turns(count, self.per_second, bulk=self._bulk)
        self._taken_at_once = count if taken.first_in_seconds > 0 else 0
        first = time.monotonic() + taken.first_in_seconds
        self._turns.extend(first + n * taken.gap_seconds for n in range(1, count))
        return first
