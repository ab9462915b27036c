"""`GET /metrics`: the process's metrics, and counts of the tables taken at the request."""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Protocol

from aiohttp import web

from worker.errors import Unavailable
from worker.telemetry.metrics import Metrics

DATABASE_TIMEOUT_SECONDS = 3.0
CACHE_SECONDS = 10.0
"""How long counts of the tables are reused: counting reads the tables whole."""


class RowCounts(Protocol):
    """What the metrics need of the database."""

    async def summary(self) -> dict[str, Any]:
        """Return counts of rows."""
        ...


class MetricsPage:
    """Answers Prometheus."""

    def __init__(
        self, metrics: Metrics, store: RowCounts, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._metrics = metrics
        self._store = store
        self._clock = clock
        self._lock = asyncio.Lock()
        self._counted_at = float("-inf")

    async def handle(self, _request: web.Request) -> web.Response:
        """Return all metrics; those of the tables are NaN while the database does not answer."""
        async with self._lock:
            if self._clock() - self._counted_at > CACHE_SECONDS:
                self._metrics.set_counts(await self._count())
                self._counted_at = self._clock()
        return web.Response(
            body=self._metrics.text(), headers={"Content-Type": self._metrics.content_type}
        )

    async def _count(self) -> dict[str, Any] | None:
        try:
            async with asyncio.timeout(DATABASE_TIMEOUT_SECONDS):
                return await self._store.summary()
        except (TimeoutError, Unavailable):
            return None
