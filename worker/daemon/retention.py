"""Once a day, remove the audit rows that are old enough: in small batches, between the scans."""

import random
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from worker.errors import SupabaseUnavailable
from worker.telemetry.logs import get_logger

BATCH = 1000
PAUSE_SECONDS = 0.2
"""Between two batches, so that the database has time for others."""

FIRST_AFTER_SECONDS = (300.0, 3900.0)
"""When the first day's work begins: soon, since a platform may restart the worker every day, and
at a random moment, so that replicas, which are started together, do not meet."""

log = get_logger()


class PrunesEvents(Protocol):
    """What retention needs of the database."""

    async def prune_events(self, older_than_days: int, at_most: int) -> int:
        """Remove the oldest audit rows; return how many were removed."""
        ...


class Retention:
    """Removes audit rows older than `days` from when APScheduler says so until none is left.

    What Supabase does not answer is left for the next day: nothing depends on it.
    """

    def __init__(
        self,
        store: PrunesEvents,
        days: int,
        *,
        first_after_seconds: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._days = days
        self._first_after = first_after_seconds
        self._clock = clock
        self._began: float | None = None
        self._count = 0

    def schedule(self, scheduler: Any) -> None:
        """Have APScheduler say every day that it is time."""
        first_after = self._first_after
        if first_after is None:
            first_after = random.uniform(*FIRST_AFTER_SECONDS)  # noqa: S311  # apart, not secret
        scheduler.add_job(
            self.begin,
            "interval",
            days=1,
            next_run_time=datetime.now(UTC) + timedelta(seconds=first_after),
            coalesce=True,
            misfire_grace_time=None,
        )

    async def begin(self) -> None:
        """Note that it is time; a coroutine, since APScheduler runs plain functions in a thread."""
        if self._began is None:
            self._began, self._count = self._clock(), 0

    async def prune_some(self) -> bool:
        """Remove one batch, if it is time; tell whether there may be more."""
        if self._began is None:
            return False
        try:
            pruned = await self._store.prune_events(self._days, BATCH)
        except SupabaseUnavailable as fault:
            self._end(log.warning, reason=fault.reason, message=fault.message)
            return False
        self._count += pruned
        if pruned:
            return True
        self._end(log.info)
        return False

    def _end(self, say: Callable[..., Any], **fields: str) -> None:
        seconds = self._clock() - (self._began or 0.0)
        self._began = None
        say("events.pruned", count=self._count, seconds=round(seconds, 3), **fields)
