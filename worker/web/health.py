"""`GET /healthz` and `GET /readyz`: whether the loop is alive, and could do its work now."""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from aiohttp import web

from worker.errors import Unavailable
from worker.telemetry.liveness import Liveness
from worker.telemetry.scan_history import ScanHistory

ASK_WITHIN_SECONDS = 3.0
KEEP_SECONDS = 2.0
"""How long an answer of the database is good for others who ask whether it answers."""


class ChecksStore(Protocol):
    """What readiness needs of the database."""

    async def check_schema(self) -> None:
        """Make sure that sql/ is applied."""
        ...


class WasRefused(Protocol):
    """What readiness needs of Mux."""

    is_refused: bool
    """Whether the credentials were refused when they were used last."""


class Health:
    """Answers platforms: 200 where all is well, else 503 with the reason."""

    def __init__(
        self,
        liveness: Liveness,
        store: ChecksStore,
        mux: WasRefused,
        history: ScanHistory,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._liveness = liveness
        self._store = store
        self._mux = mux
        self._history = history
        self._clock = clock
        self._asking = asyncio.Lock()
        self._asked_at = float("-inf")
        self._database_fault: str | None = None

    async def healthz(self, _request: web.Request) -> web.Response:
        """Tell whether passes are really ending; asks nobody."""
        return _answer(self._liveness.fault())

    async def readyz(self, _request: web.Request) -> web.Response:
        """Tell whether Supabase answers, the schema fits, and Mux took the credentials last.

        What ended the last scan and needs an operator counts too: the database may answer the
        question and refuse the scan.
        """
        return _answer(await self._database() or self._last_scan() or self._credentials())

    async def _database(self) -> str | None:
        async with self._asking:
            if self._clock() - self._asked_at > KEEP_SECONDS:
                self._database_fault = await self._ask()
                self._asked_at = self._clock()
            return self._database_fault

    async def _ask(self) -> str | None:
        try:
            async with asyncio.timeout(ASK_WITHIN_SECONDS):
                await self._store.check_schema()
        except TimeoutError:
            return "Supabase: timeout"
        except Unavailable as fault:
            return f"Supabase: {fault.reason}"
        return None

    def _last_scan(self) -> str | None:
        fault = self._history.outages.get("supabase")
        return f"Supabase: {fault.reason}" if fault and fault.needs_operator else None

    def _credentials(self) -> str | None:
        return "Mux: unauthorized" if self._mux.is_refused else None


def _answer(fault: str | None) -> web.Response:
    if fault is None:
        return web.json_response({"status": "ok"})
    return web.json_response({"status": "failing", "reason": fault}, status=503)
