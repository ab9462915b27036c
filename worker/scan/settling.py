"""Settle pages beside the observing: while the database works, the next page is got ready."""

import asyncio
from collections import deque
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self

AT_ONCE = 2
"""Pages that are being settled at the same time: while one is told of, the database has another."""


class Settling:
    """Runs a few jobs at a time; whoever leaves the block waits for those under way.

    A job's fault is raised by whichever call comes next, or at the end of the block, where it goes
    before a fault of the block. If the block is cancelled, so are the jobs.
    """

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._at_once = at_once
        self._jobs: deque[asyncio.Task[None]] = deque()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(exc, asyncio.CancelledError):
            await self._cancel()
            return
        try:
            await self.wait()
        finally:
            await self._cancel()

    async def room(self) -> None:
        """Wait until one more job may begin."""
        while len(self._jobs) >= self._at_once:
            await self._wait_for_first()

    def begin(self, job: Coroutine[Any, Any, None]) -> None:
        """Begin a job; there must be room."""
        self._jobs.append(asyncio.create_task(job))

    async def wait(self) -> None:
        """Wait until no job is under way."""
        while self._jobs:
            await self._wait_for_first()

    async def _wait_for_first(self) -> None:
        # It stays in the queue while it is waited for, so that a cancellation finds it there.
        await asyncio.wait({self._jobs[0]})
        self._jobs.popleft().result()

    async def _cancel(self) -> None:
        for job in self._jobs:
            job.cancel()
        await asyncio.gather(*self._jobs, return_exceptions=True)
        self._jobs.clear()
