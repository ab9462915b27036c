"""The long-running worker: one pass after another, until a signal asks it to stop."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol, TypeVar

from apscheduler.schedulers.asyncio import AsyncIOScheduler

from worker.daemon.outage import Outage
from worker.daemon.retention import PAUSE_SECONDS, Retention
from worker.errors import MuxUnauthorized, MuxUnavailable, SupabaseUnavailable
from worker.telemetry.outcome_log import Heartbeat, ScanReport
from worker.telemetry.scan_history import Passes

SHARE_FOR_THE_PASS = 0.5
"""Part of the shutdown's time in which the pass under way may end by itself."""

T = TypeVar("T")


class ChecksMux(Protocol):
    """What the daemon needs of Mux."""

    async def check(self) -> object:
        """Ask Mux one harmless question."""
        ...


class ChecksStore(Protocol):
    """What the daemon needs of the database."""

    async def check_schema(self) -> None:
        """Make sure that sql/ is applied."""
        ...

    async def summary(self) -> dict[str, Any]:
        """Count rows."""
        ...


class Daemon:
    """Scans every `interval_seconds`, at once after a full batch, and less while a service is out.

    APScheduler only ticks. It goes by the wall clock, so the loop also wakes by a timeout of its
    own, and a clock that is set back costs nothing.
    """

    def __init__(
        self,
        mux: ChecksMux,
        store: ChecksStore,
        scan: Callable[[], Awaitable[ScanReport]],
        *,
        interval_seconds: float,
        shutdown_seconds: float,
        stopping: asyncio.Event,
    ) -> None:
        self._mux = mux
        self._store = store
        self._scan = scan
        self._interval = interval_seconds
        self._shutdown_seconds = shutdown_seconds
        self._stopping = stopping
        self.on_pass_ended: Callable[[float], None] = lambda _rest_seconds: None
        """Called when a pass has ended, with the seconds until the next one."""
        self.passes = Passes()
        self._tick = asyncio.Event()
        self._mux_outage = Outage("mux", interval_seconds)
        self._supabase_outage = Outage("supabase", interval_seconds)
        self._heartbeat = Heartbeat()
        self._schema_is_checked = False

    async def run(self, retention: Retention) -> None:
        """Work until `stopping` is set, then end within the shutdown's time."""
        scheduler = AsyncIOScheduler(timezone="UTC")  # it fails over what TZ may hold
        scheduler.add_job(
            self._on_tick,
            "interval",
            seconds=self._interval,
            coalesce=True,
            misfire_grace_time=None,
        )
        retention.schedule(scheduler)
        scheduler.start()
        grace = self._shutdown_seconds * SHARE_FOR_THE_PASS
        try:
            while not self._stopping.is_set():
                self._tick.clear()
                pause = await self._unless_stopped(self._pass(), grace) or 0.0
                self.on_pass_ended(pause)
                await self._rest(pause, retention)
        finally:
            scheduler.remove_all_jobs()
            await asyncio.sleep(0)  # a tick that was just begun ends, and is not cut off
            scheduler.shutdown(wait=False)

    async def _on_tick(self) -> None:
        """Wake the loop; a coroutine, since APScheduler runs plain functions in a thread."""
        self._tick.set()

    async def _unless_stopped(self, work: Coroutine[Any, Any, T], grace: float) -> T | None:
        """Do some work; once a stop is asked for, it has so many seconds to end by itself."""
        task = asyncio.create_task(work)
        stop = asyncio.create_task(self._stopping.wait())
        await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if not task.done():
            await asyncio.wait({task}, timeout=grace)
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
        return None if task.cancelled() else task.result()

    async def _pass(self) -> float:
        """Do one pass and give the seconds to rest after it."""
        try:
            if not self._schema_is_checked:
                await self._store.check_schema()
                self._schema_is_checked = True
            if self._mux_outage.is_on:
                await self._mux.check()
            report = await self._scan()
            if self._mux_outage.is_on:
                self._mux_outage.end(await self._rows_waiting(report))
            self._supabase_outage.end()
            self._heartbeat.beat(report)
            self.passes.finished(report)
        except (MuxUnavailable, MuxUnauthorized) as fault:
            self.passes.cut_short(fault)
            self._supabase_outage.end()
            self._mux_outage.note(fault)
            return self._mux_outage.seconds_to_next_try
        except SupabaseUnavailable as fault:
            self.passes.cut_short(fault)
            self._supabase_outage.note(fault)
            return self._supabase_outage.seconds_to_next_try
        return 0.0 if report.is_full else self._interval

    async def _rows_waiting(self, report: ScanReport) -> int:
        """Count the rows that an outage left due: those just looked at, and those still there."""
        summary = await self._store.summary()
        return report.looked_at + int(summary["due"])

    async def _rest(self, seconds: float, retention: Retention) -> None:
        """Wait for the next tick, or for some seconds in an outage, pruning the audit meanwhile."""
        until = time.monotonic() + seconds
        while not self._stopping.is_set():
            is_pruning = not self._supabase_outage.is_on and await self._unless_stopped(
                retention.prune_some(), 0.0
            )
            left = until - time.monotonic()
            if is_pruning:
                left = min(left, PAUSE_SECONDS)
            if left <= 0 or await self._wakes_within(left):
                return

    async def _wakes_within(self, seconds: float) -> bool:
        """Wait some seconds, in an outage for nothing but a stop; tell whether one woke us."""
        in_outage = self._mux_outage.is_on or self._supabase_outage.is_on
        waits = [asyncio.create_task(self._stopping.wait())]
        if not in_outage:
            waits.append(asyncio.create_task(self._tick.wait()))
        woken, _ = await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        return bool(woken)
