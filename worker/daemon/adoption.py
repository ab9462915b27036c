"""Adopt lessons while the worker runs: a few of them, every five minutes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Protocol

from worker.errors import StatementTimeout, Unavailable
from worker.scan.adopter import Adopter
from worker.shutdown import sleep_unless_stopping
from worker.telemetry.hooks import Telemetry

FIRST_AFTER = 1
EVERY = 60
"""In scan intervals: beside the first scans, then every five minutes at the default of 5 s."""

MAX_PAUSE_SECONDS = 300.0

MAX_LESSONS, MIN_LESSONS = 2000, 20
"""Lessons looked at in one run; after a statement timeout a tenth of them."""

LESSONS_PER_FOUND = 40


class UntrackedLessons(Protocol):
    """Where the lessons to adopt are found."""

    async def untracked(self, walk: int, at_most: int) -> list[str]:
        """Return those of the next `walk` lessons that may name an untracked upload or asset."""
        ...


class PeriodicAdoption:
    """Looks for lessons to adopt every five minutes, a few thousand at a time.

    An outage is reported by the scan. An error that only the adoption meets, and that lasts until
    an operator acts, is reported here, such as a missing grant on one of its functions.
    """

    def __init__(
        self,
        adopter: Adopter,
        store: UntrackedLessons,
        interval_seconds: float,
        stopping: asyncio.Event,
        scans_are_well: Callable[[], bool],
        telemetry: Telemetry | None = None,
    ) -> None:
        self._adopter = adopter
        self._store = store
        self._interval_seconds = interval_seconds
        self._stopping = stopping
        self._scans_are_well = scans_are_well
        self._telemetry = telemetry or Telemetry()
        self._lessons = MAX_LESSONS
        self._reported: str | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Adopt periodically while the block runs.

        A programming error stops the worker, and is raised at the end of the block.
        """
        task = asyncio.create_task(self._run())
        task.add_done_callback(lambda _: self._stopping.set())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _run(self) -> None:
        await self._pause(FIRST_AFTER)
        while not self._stopping.is_set():
            await self._adopt_once()
            await self._pause(EVERY)

    async def _pause(self, intervals: float) -> None:
        seconds = min(intervals * self._interval_seconds, MAX_PAUSE_SECONDS)
        await sleep_unless_stopping(seconds, self._stopping)

    async def _adopt_once(self) -> None:
        """Adopt once; look at fewer lessons after a statement timeout."""
        try:
            await self.adopt()
            self._lessons = min(self._lessons * 10, MAX_LESSONS)
            self._reported = None
        except StatementTimeout as error:
            self._lessons = max(self._lessons // 10, MIN_LESSONS)
            message = f"{error.message} The next run looks at {self._lessons} lessons."
            self._telemetry.adoption_failed(error, message)
        except Unavailable as error:
            # Reported once if it needs an operator and scans do not meet it.
            is_new = error.needs_operator and error.reason != self._reported
            if is_new and self._scans_are_well():
                self._reported = error.reason
                self._telemetry.adoption_failed(error, error.message)

    async def adopt(self) -> None:
        """Adopt what the next lessons name.

        Raises Unavailable when Mux or Supabase is; what was not adopted then is found again later.
        """
        at_most = self._lessons // LESSONS_PER_FOUND or 1
        if lesson_ids := await self._store.untracked(self._lessons, at_most):
            await self._adopter.adopt([{"lesson_id": id_} for id_ in lesson_ids])
