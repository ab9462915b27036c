"""Keep all requests to Mux under its rate limit."""

import asyncio
import math
import time
from collections import deque
from typing import NamedTuple, Protocol

from worker.errors import MuxUnavailable
from worker.model import RequestSlots

MAX_SLOTS_AT_ONCE = 200

MAX_LATE_SECONDS = 0.02
"""A reserved slot is still used when it is at most so late."""

MAX_HELD_UP_SECONDS = 0.25
"""How much later than its slot a request is sent at most, whatever held it up: a slow answer about
the slot, a busy machine, a stopped process. At the default rate no second has more than five then.
"""

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


class Slot(NamedTuple):
    """The time of a request, when it was reserved, and how late that answer was."""

    at: float
    reserved_at: float
    late_seconds: float


class RateLimiter:
    """Lets requests through in order, at most `per_second` of the shared budget.

    While requests have to wait, slots are reserved two, four, eight at a time, up to a second's
    worth: a call to the database costs as much as a request to Mux. A slot that has passed is lost,
    so that a burst after an idle time stays within Mux's limit.

    The budget counts from its own time, so a slot may have been earlier than it seems by the time
    that the answer took. Where all answers take as long, all slots are shifted alike, which does no
    harm: what counts is how much longer one took than the quicker of the two before it.
    """

    def __init__(self, per_second: float, budget: RequestBudget) -> None:
        self.per_second = per_second
        self._budget = budget
        self._slots: deque[Slot] = deque()
        self._answer_seconds = deque([0.0], maxlen=2)
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
            while not await self._is_in_time(await self._next_slot()):
                continue
            self._sent_at.append(time.monotonic())

    def add(self, slots: RequestSlots, answer_seconds: float) -> None:
        """Use a slot that was reserved for one request, unless it follows a pause.

        `answer_seconds`: how long the call took that reserved it.
        """
        if not _is_paused(slots):
            self._append(slots, 1, answer_seconds)

    async def slow_down(self, pause_seconds: float = 0.0) -> None:
        """Lower the rate of all workers, because Mux's limit is used up or Mux asks for a pause."""
        self._slots.clear()
        await self._budget.slow_down(pause_seconds)

    async def _next_slot(self) -> Slot:
        while True:
            while self._slots:
                slot = self._slots.popleft()
                if slot.at > time.monotonic() - MAX_LATE_SECONDS:
                    return slot
                self._reserved_at_once = 0
            await self._reserve()

    async def _reserve(self) -> None:
        count = min(max(1, 2 * self._reserved_at_once), self._max_at_once())
        began = time.monotonic()
        slots = await self._budget.acquire_requests(count, self.per_second)
        if _is_paused(slots):
            raise MuxUnavailable("rate_limited", PAUSED, slots.paused_seconds)
        self._reserved_at_once = count if slots.first_in_seconds > 0 else 0
        self._append(slots, count, time.monotonic() - began)

    def _append(self, slots: RequestSlots, count: int, answer_seconds: float) -> None:
        """Keep reserved slots, unless the answer was too late for all of them."""
        late = max(0.0, answer_seconds - min(self._answer_seconds))
        self._answer_seconds.append(answer_seconds)
        if late <= MAX_HELD_UP_SECONDS:
            now = time.monotonic()
            first = now + slots.first_in_seconds
            self._slots.extend(Slot(first + n * slots.gap_seconds, now, late) for n in range(count))

    async def _is_in_time(self, slot: Slot) -> bool:
        """Wait until the time of a slot, and return whether a request may still use it."""
        at = slot.at
        if len(self._sent_at) == self._sent_at.maxlen:
            at = max(at, self._sent_at[0] + self._window_seconds)
        seconds = at - time.monotonic()
        if seconds > 0:
            await asyncio.sleep(seconds)
        if time.monotonic() - slot.reserved_at > MAX_RESERVED_SECONDS:
            await self._check_pause()
        return time.monotonic() - at + slot.late_seconds <= MAX_HELD_UP_SECONDS

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
