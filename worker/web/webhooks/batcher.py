"""Settle what comes in together: one call under way, all that comes meanwhile in the next one."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Generic, TypeVar

from worker.errors import SupabaseUnavailable

MOST_TOGETHER = 100

T = TypeVar("T")


class GroupCommit(Generic[T]):
    """Hands items over in groups, in the order they came, never two groups at a time.

    An item whose submitter has gone before its turn is left out. `settle` gives back the items that
    could not be settled now.
    """

    def __init__(
        self, settle: Callable[[Sequence[T]], Awaitable[Collection[T]]], *, within_seconds: float
    ) -> None:
        self._settle = settle
        self._within = within_seconds
        self._waiting: deque[tuple[T, asyncio.Future[None]]] = deque()
        self._work: asyncio.Task[None] | None = None

    async def submit(self, item: T) -> None:
        """Return once the item is settled; raises what its settling did.

        Raises SupabaseUnavailable for an item that could not be settled now.
        """
        settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, settled))
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._work_off())
        await settled

    async def _work_off(self) -> None:
        while self._waiting:
            group: list[tuple[T, asyncio.Future[None]]] = []
            while self._waiting and len(group) < MOST_TOGETHER:
                entry = self._waiting.popleft()
                if not entry[1].done():
                    group.append(entry)
            if group:
                await self._settle_group(group)

    async def _settle_group(self, group: Sequence[tuple[T, asyncio.Future[None]]]) -> None:
        fault: Exception | None = None
        busy: Collection[T] = ()
        try:
            async with asyncio.timeout(self._within):
                busy = await self._settle([item for item, _ in group])
        except TimeoutError:
            fault = SupabaseUnavailable("timeout", "Supabase did not settle the events in time.")
        except Exception as error:  # noqa: BLE001  # raised again by each that waits for it
            fault = error
        for item, settled in group:
            if settled.done():
                continue
            if fault is not None:
                settled.set_exception(fault)
            elif item in busy:
                settled.set_exception(SupabaseUnavailable("busy", "Somebody has its row locked."))
            else:
                settled.set_result(None)
