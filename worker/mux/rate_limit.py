"""Keep all requests to Mux under its rate limit."""

import asyncio
import math
import time
from collections import deque
from typing import Protocol

from worker.errors import MuxUnavailable
from worker.model import RequestSlots

MAX_SLOTS_AT_ONCE = 200

MAX_LATE_SECONDS = 0.02
"""A reserved slot is still used when it is at most so late."""

MAX_PAUSE_WAITED_SECONDS = 1.0
"""The longest rest of a pause that a request waits for, though its retries may."""

MAX_RESERVED_SECONDS = 1.5
"""How long before its time a slot may have been reserved. Before one that is older is used, the
budget is asked whether a pause has begun since: workers that take turns reserve further ahead.
"""

CHECK_PER_SECOND = 10_000.0
"""The rate at which that check reserves a slot of its own, which then delays others least."""

PAUSED = "Mux has asked all workers for a pause, which is not over yet."

MARGIN = 1.02
"""How much longer than necessary the gaps are. Requests reach Mux a little earlier or later than
they were sent; with a late slot they must not add up to more than the limit allows.
"""


class RequestBudget(Protocol):
    """The limit that all workers share: it reserves slots for requests."""

    async def acquire_requests(self, count: int, per_second: float) -> RequestSlots:
        """Reserve the next slots."""
        ...

    async def slow_down(self, pause_seconds: float) -> None:
        """Lower the rate of all workers for a while, and pause all of them."""
        ...


class LocalBudget:
    """The budget of a single process."""

    def __init__(self) -> None:
        self._next = self._paused_until = 0.0

    async def acquire_requests(self, count: int, per_second: float) -> RequestSlots:
        """Reserve the next slots. Slots that were not used are not saved up."""
        now = time.monotonic()
        paused = max(0.0, self._paused_until - now)
        first = max(now + paused, self._next)
        self._next = first + count / per_second
        return RequestSlots(first - now, 1 / per_second, paused)

    async def slow_down(self, pause_seconds: float) -> None:
        """Pause, for a second at least."""
        now = time.monotonic()
        self._next = max(self._next, now + 1)
        self._paused_until = max(self._paused_until, now + pause_seconds)


class RateLimiter:
    """Lets requests through in order, at most `per_second` of the shared budget.

    While requests have to wait, slots are reserved two, four, eight at a time, up to a second's
    worth: a call to the database costs as much as a request to Mux. A slot that has passed is lost,
    so that a burst after an idle time stays within Mux's limit.
    """

    def __init__(self, per_second: float, budget: RequestBudget) -> None:
        self.per_second = per_second
        self._budget = budget
        self._slots: deque[tuple[float, float]] = deque()
        """The time of each slot, and when it was reserved."""

        self._reserved_at_once = 0
        self._lock = asyncio.Lock()
        # However late the event loop was, this many requests never go out within less time.
        self._window_seconds = MARGIN * max(1, math.floor(per_second)) / per_second
        self._sent_at: deque[float] = deque(maxlen=max(1, math.floor(per_second)))

    async def acquire(self) -> None:
        """Wait until the next request may be sent.

        Raises MuxUnavailable while a pause lasts that Mux asked for, and SupabaseUnavailable if the
        budget is kept there and cannot be reached.
        """
        async with self._lock:
            slot, reserved_at = await self._next_slot()
            if len(self._sent_at) == self._sent_at.maxlen:
                slot = max(slot, self._sent_at[0] + self._window_seconds)
            seconds = slot - time.monotonic()
            if seconds > 0:
                await asyncio.sleep(seconds)
            if time.monotonic() - reserved_at > MAX_RESERVED_SECONDS:
                await self._check_pause()
            self._sent_at.append(time.monotonic())

    def add(self, slot: RequestSlots) -> None:
        """Use a slot that was reserved for one request, unless it follows a pause."""
        if not _is_paused(slot):
            now = time.monotonic()
            self._slots.append((now + slot.first_in_seconds, now))

    async def slow_down(self, pause_seconds: float = 0.0) -> None:
        """Lower the rate of all workers, because Mux's limit is used up or Mux asks for a pause."""
        self._slots.clear()
        await self._budget.slow_down(pause_seconds)

    async def _next_slot(self) -> tuple[float, float]:
        """Return the time of the next slot, and when it was reserved."""
        now = time.monotonic()
        while self._slots:
            slot, reserved_at = self._slots.popleft()
            if slot > now - MAX_LATE_SECONDS:
                return slot, reserved_at
            self._reserved_at_once = 0
        count = min(max(1, 2 * self._reserved_at_once), self._max_at_once())
        slots = await self._budget.acquire_requests(count, self.per_second)
        if _is_paused(slots):
            raise MuxUnavailable("rate_limited", PAUSED, slots.paused_seconds)
        self._reserved_at_once = count if slots.first_in_seconds > 0 else 0
        reserved_at = time.monotonic()
        first = reserved_at + slots.first_in_seconds
        self._slots.extend((first + n * slots.gap_seconds, reserved_at) for n in range(1, count))
        return first, reserved_at

    async def _check_pause(self) -> None:
        """Raise MuxUnavailable if a pause has begun since a slot was reserved."""
        slots = await self._budget.acquire_requests(1, CHECK_PER_SECOND)
        if slots.paused_seconds > 0:
            self._slots.clear()
            raise MuxUnavailable("rate_limited", PAUSED, slots.paused_seconds)

    def _max_at_once(self) -> int:
        return min(MAX_SLOTS_AT_ONCE, max(1, math.ceil(self.per_second)))


def _is_paused(slots: RequestSlots) -> bool:
    return slots.paused_seconds > MAX_PAUSE_WAITED_SECONDS
