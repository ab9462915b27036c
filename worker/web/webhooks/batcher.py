"""Settle events in batches: one call at a time; later events form the next batch."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Generic, TypeVar

from worker.errors import SupabaseUnavailable

MAX_BATCH = 100

T = TypeVar("T")
Entry = tuple[T, asyncio.Future[None]]


class EventBatcher(Generic[T]):
    """Settles items in batches, in the order of arrival, never two batches at a time.

    An item whose submitter was cancelled before its batch began is left out. `settle` returns the
    items that must be submitted again.
    """

    def __init__(
        self, settle: Callable[[Sequence[T]], Awaitable[Collection[T]]], *, timeout_seconds: float
    ) -> None:
        self._settle = settle
        self._timeout = timeout_seconds
        self._waiting: deque[Entry[T]] = deque()
        self._worker: asyncio.Task[None] | None = None

    async def submit(self, item: T) -> None:
        """Return once the item is settled; raise what its settling raised.

        Raises SupabaseUnavailable for an item that must be submitted again.
        """
        settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, settled))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._drain())
        await settled

    async def _drain(self) -> None:
        while self._waiting:
            batch: list[Entry[T]] = []
            while self._waiting and len(batch) < MAX_BATCH:
                entry = self._waiting.popleft()
                if not entry[1].done():
                    batch.append(entry)
            if batch:
                await self._settle_batch(batch)

    async def _settle_batch(self, batch: Sequence[Entry[T]]) -> None:
        failure: Exception | None = None
        locked: Collection[T] = ()
        try:
            async with asyncio.timeout(self._timeout):
                locked = await self._settle([item for item, _ in batch])
        except TimeoutError:
            failure = SupabaseUnavailable("timeout", "Supabase did not settle the events in time.")
        except Exception as error:  # noqa: BLE001  # each submitter raises it again
            failure = error
        for item, settled in batch:
            if settled.done():
                continue
            if failure is not None:
                settled.set_exception(failure)
            elif item in locked:
                settled.set_exception(
                    SupabaseUnavailable(
                        "locked", "Another transaction has locked the lesson, or it is refused."
                    )
                )
            else:
                settled.set_result(None)
