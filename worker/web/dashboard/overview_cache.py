"""Cache the overview of all lessons: one query every few seconds, however many pages are open."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from worker.errors import SupabaseUnavailable, Unavailable
from worker.overview import Overview
from worker.supabase.lessons import LessonStore

TIMEOUT_SECONDS = 5.0
CACHE_SECONDS = 2.0
LESSONS_OF_EACH = 8
MAX_AGE_SECONDS = 86_400.0
"""How long an older overview is shown, with its age, while there is no newer one."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The last overview, its age, and why there is no newer one; `out_since` is in unix seconds."""

    overview: Overview | None
    age_seconds: float
    error: str | None
    query_seconds: float
    out_since: float | None = None


class OverviewCache:
    """Queries the overview with a timeout, and keeps it for all pages."""

    def __init__(
        self,
        store: LessonStore,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._clock = clock
        self._wall_clock = wall_clock
        self._lock = asyncio.Lock()
        self._queried_at = self._received_at = float("-inf")
        self._query_seconds = 0.0
        self._overview: Overview | None = None
        self._error: str | None = None
        self._out_since: float | None = None

    async def get(self) -> Snapshot:
        """Return the overview, at most a few seconds old while the database answers."""
        async with self._lock:
            if self._clock() - self._queried_at > CACHE_SECONDS:
                await self._query()
        age = self._clock() - self._received_at
        overview = self._overview if age < MAX_AGE_SECONDS else None
        return Snapshot(overview, age, self._error, self._query_seconds, self._out_since)

    def invalidate(self) -> None:
        """Query again at the next request, since something was changed."""
        self._queried_at = float("-inf")

    async def _query(self) -> None:
        began = self._clock()
        try:
            self._overview = await with_timeout(self._store.overview(LESSONS_OF_EACH))
            self._received_at = self._clock()
            self._error = self._out_since = None
        except Unavailable as error:
            self._error = error.message
            self._out_since = self._out_since or self._wall_clock()
        self._queried_at = self._clock()
        self._query_seconds = self._queried_at - began


async def with_timeout(work: Awaitable[T], seconds: float = TIMEOUT_SECONDS) -> T:
    """Return the result of a call to the database, for which a person waits.

    Raises SupabaseUnavailable after the time given.
    """
    try:
        async with asyncio.timeout(seconds):
            return await work
    except TimeoutError as error:
        raise SupabaseUnavailable(
            "timeout", f"Supabase did not answer within {seconds:g} s."
        ) from error
