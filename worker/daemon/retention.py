"""Remove old audit rows once a day, in small batches between the scans."""

import random
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from worker.errors import SupabaseUnavailable
from worker.telemetry.logs import get_logger

BATCH = 1000
PAUSE_SECONDS = 0.2
"""Between two batches, so that other work gets its turn in the database."""

FIRST_AFTER_SECONDS = (300.0, 3900.0)
"""Bounds of the delay before the first run: short, since a platform may restart the worker every
day, and random, so that replicas do not run at the same time."""

log = get_logger()


class PrunesEvents(Protocol):
    """What retention needs of the database."""

    async def prune_events(self, older_than_days: int, at_most: int) -> int:
        """Remove the oldest audit rows; return how many were removed."""
        ...


class Retention:
    """Removes audit rows older than `days`, once a day until none is left.

    An error of Supabase ends the run; the rest is removed the next day.
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
        """Schedule a run every day."""
        first_after = self._first_after
        if first_after is None:
            first_after = random.uniform(*FIRST_AFTER_SECONDS)  # noqa: S311  # jitter
        scheduler.add_job(
            self.begin,
            "interval",
            days=1,
            next_run_time=datetime.now(UTC) + timedelta(seconds=first_after),
            coalesce=True,
            misfire_grace_time=None,
        )

    async def begin(self) -> None:
        """Begin a run; a coroutine, since APScheduler runs plain functions in a thread."""
        if self._began is None:
            self._began, self._count = self._clock(), 0

    async def prune_some(self) -> bool:
        """Remove one batch if a run is under way; return whether there may be more."""
        if self._began is None:
            return False
        try:
            pruned = await self._store.prune_events(self._days, BATCH)
        except SupabaseUnavailable as error:
            self._end(log.warning, reason=error.reason, message=error.message)
            return False
        self._count += pruned
        if pruned:
            return True
        self._end(log.info)
        return False

    def _end(self, write: Callable[..., Any], **fields: str) -> None:
        seconds = self._clock() - (self._began or 0.0)
        self._began = None
        write("events.pruned", count=self._count, seconds=round(seconds, 3), **fields)
