"""`GET /healthz` and `GET /readyz`: whether the scan loop is alive, and whether it can work."""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from aiohttp import web

from worker.errors import Unavailable
from worker.telemetry.liveness import Liveness
from worker.telemetry.scan_history import ScanHistory

DATABASE_TIMEOUT_SECONDS = 3.0
CACHE_SECONDS = 2.0
"""How long the database's last response answers further requests."""


class SchemaCheck(Protocol):
    """What readiness needs of the database."""

    async def check_schema(self) -> None:
        """Raise SupabaseNeedsOperator if sql/ is not applied."""
        ...


class MuxState(Protocol):
    """What the server shows of Mux's client."""

    requests: int
    rate_limit: tuple[str | None, str | None]


class Health:
    """Answers health checks: 200, or 503 with the reason."""

    def __init__(
        self,
        liveness: Liveness,
        store: SchemaCheck,
        history: ScanHistory,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._liveness = liveness
        self._store = store
        self._history = history
        self._clock = clock
        self._lock = asyncio.Lock()
        self._checked_at = float("-inf")
        self._database_problem: str | None = None

    async def healthz(self, _request: web.Request) -> web.Response:
        """Return whether scans are ending; neither Mux nor the database is called."""
        return _response(self._liveness.problem())

    async def readyz(self, _request: web.Request) -> web.Response:
        """Return whether Supabase answers, the schema fits, and Mux accepts the credentials.

        An error that ended the last scan and needs an operator counts: the database may answer this
        check but refuse the scan. What a person's request to Mux met does not, since no scan would
        find that it has ended.
        """
        return _response(await self._database() or self._last_scan())

    async def _database(self) -> str | None:
        async with self._lock:
            if self._clock() - self._checked_at > CACHE_SECONDS:
                self._database_problem = await self._check_database()
                self._checked_at = self._clock()
            return self._database_problem

    async def _check_database(self) -> str | None:
        try:
            async with asyncio.timeout(DATABASE_TIMEOUT_SECONDS):
                await self._store.check_schema()
        except TimeoutError:
            return "Supabase: timeout"
        except Unavailable as error:
            return f"Supabase: {error.reason}"
        return None

    def _last_scan(self) -> str | None:
        outages = self._history.outages
        supabase, mux = outages.get("supabase"), outages.get("mux")
        if supabase is not None and supabase.needs_operator:
            return f"Supabase: {supabase.reason}"
        return "Mux: unauthorized" if mux is not None and mux.needs_operator else None


def _response(problem: str | None) -> web.Response:
    if problem is None:
        return web.json_response({"status": "ok"})
    return web.json_response({"status": "failing", "reason": problem}, status=503)
