"""`GET /metrics`: the worker's numbers, and those of the tables, as they are when asked."""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Protocol

from aiohttp import web

from worker.errors import Unavailable
from worker.telemetry.metrics import Metrics

ASK_WITHIN_SECONDS = 3.0
KEEP_SECONDS = 10.0
"""How long counts of the tables are good: counting reads them whole."""


class CountsRows(Protocol):
    """What the numbers need of the database."""

    async def summary(self) -> dict[str, Any]:
        """Count rows."""
        ...


class Numbers:
    """Answers Prometheus."""

    def __init__(
        self, metrics: Metrics, store: CountsRows, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._metrics = metrics
        self._store = store
        self._clock = clock
        self._asking = asyncio.Lock()
        self._asked_at = float("-inf")

    async def handle(self, _request: web.Request) -> web.Response:
        """Give all numbers; those of the tables are left out while the database does not answer."""
        async with self._asking:
            if self._clock() - self._asked_at > KEEP_SECONDS:
                self._metrics.set_counts(await self._count())
                self._asked_at = self._clock()
        return web.Response(
            body=self._metrics.text(), headers={"Content-Type": self._metrics.content_type}
        )

    async def _count(self) -> dict[str, Any] | None:
        try:
            async with asyncio.timeout(ASK_WITHIN_SECONDS):
                return await self._store.summary()
        except (TimeoutError, Unavailable):
            return None
