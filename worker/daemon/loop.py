"""Scan again and again, through outages, until the process is asked to stop."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from apscheduler.schedulers.asyncio import AsyncIOScheduler

from worker.daemon.outage import Outage
from worker.daemon.retention import PAUSE_SECONDS, Retention
from worker.errors import MuxUnauthorized, MuxUnavailable, SupabaseUnavailable
from worker.telemetry.hooks import Telemetry
from worker.telemetry.scan_history import OutageState, Service
from worker.telemetry.scan_report import ScanReport

SHARE_FOR_THE_SCAN = 0.5
"""The share of the shutdown's time in which the scan under way may end by itself."""

SCHEMA_CHECK_SECONDS = 60.0
"""How often the schema is checked: a scan with nothing due does not notice a missing table."""

T = TypeVar("T")


class ChecksMux(Protocol):
    """What the loop needs of Mux."""

    async def check(self) -> object:
        """Send one harmless request."""
        ...


class ChecksStore(Protocol):
    """What the loop needs of the database."""

    async def check_schema(self) -> None:
        """Raise SchemaOutdated where files of sql/ are not applied."""
        ...

    async def summary(self) -> dict[str, Any]:
        """Return counts of rows."""
        ...


@dataclass(frozen=True, slots=True)
class Timing:
    """How often to scan, and how long the process may take to stop."""

    interval_seconds: float
    shutdown_seconds: float


class Daemon:
    """Scans once an interval, at once after a full batch, and less often during an outage.

    APScheduler only ticks. It uses the wall clock, so the loop also wakes by a monotonic timeout,
    and a clock that is set back does no harm.
    """

    def __init__(
        self,
        mux: ChecksMux,
        store: ChecksStore,
        scan: Callable[[], Awaitable[ScanReport]],
        timing: Timing,
        stopping: asyncio.Event,
        telemetry: Telemetry,
    ) -> None:
        self._mux = mux
        self._store = store
        self._scan = scan
        self._timing = timing
        self._stopping = stopping
        self._telemetry = telemetry
        self._tick = asyncio.Event()
        self._mux_outage = Outage("mux", timing.interval_seconds)
        self._supabase_outage = Outage("supabase", timing.interval_seconds)
        self._schema_checked_at = -math.inf

    def outages(self) -> Mapping[Service, OutageState]:
        """Return the outages under way."""
        outages = (self._mux_outage, self._supabase_outage)
        return {outage.service: outage.state for outage in outages if outage.state is not None}

    async def run(self, retention: Retention) -> None:
        """Scan until `stopping` is set, then end within the shutdown's time."""
        scheduler = AsyncIOScheduler(timezone="UTC")  # it fails over some values of TZ
        scheduler.add_job(
            self._on_tick,
            "interval",
            seconds=self._timing.interval_seconds,
            coalesce=True,
            misfire_grace_time=None,
        )
        retention.schedule(scheduler)
        scheduler.start()
        grace = self._timing.shutdown_seconds * SHARE_FOR_THE_SCAN
        try:
            while not self._stopping.is_set():
                self._tick.clear()
                pause = await self._unless_stopped(self._scan_once(), grace) or 0.0
                self._telemetry.scan_ended(pause)
                await self._wait(pause, retention)
        finally:
            scheduler.remove_all_jobs()
            await asyncio.sleep(0)  # a tick that has just begun ends without being cancelled
            scheduler.shutdown(wait=False)

    async def _on_tick(self) -> None:
        """Wake the loop; a coroutine, since APScheduler runs plain functions in a thread."""
        self._tick.set()

    async def _unless_stopped(self, work: Coroutine[Any, Any, T], grace: float) -> T | None:
        """Return the result of `work`; None if it did not end within `grace` of a stop."""
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

    async def _scan_once(self) -> float:
        """Scan, record the result, and return the seconds to pause."""
        try:
            report = await self._scan_through_outage()
        except (MuxUnavailable, MuxUnauthorized) as error:
            self._supabase_outage.end()  # a scan calls Mux only after Supabase has answered
            self._mux_outage.record(error)
            self._telemetry.scan_failed(error)
            return self._mux_outage.seconds_to_next_try
        except SupabaseUnavailable as error:
            self._supabase_outage.record(error)
            self._telemetry.scan_failed(error)
            return self._supabase_outage.seconds_to_next_try
        self._supabase_outage.end()
        self._telemetry.scan_finished(report)
        return 0.0 if report.is_full else self._timing.interval_seconds

    async def _scan_through_outage(self) -> ScanReport:
        """Scan, and end the outage of Mux if there was one."""
        if time.monotonic() - self._schema_checked_at > SCHEMA_CHECK_SECONDS:
            await self._store.check_schema()
            self._schema_checked_at = time.monotonic()
        if self._mux_outage.is_ongoing:
            await self._mux.check()
        report = await self._scan()
        if self._mux_outage.is_ongoing:
            self._mux_outage.end(await self._rows_waiting(report))
        return report

    async def _rows_waiting(self, report: ScanReport) -> int:
        """Count the rows that an outage left due: those of this scan, and those still due."""
        summary = await self._store.summary()
        return report.looked_at + int(summary["due"])

    async def _wait(self, seconds: float, retention: Retention) -> None:
        """Wait for the next tick, or for `seconds` in an outage; prune the audit meanwhile."""
        until = time.monotonic() + seconds
        while not self._stopping.is_set():
            is_pruning = not self._supabase_outage.is_ongoing and await self._unless_stopped(
                retention.prune_some(), 0.0
            )
            left = until - time.monotonic()
            if is_pruning:
                left = min(left, PAUSE_SECONDS)
            if left <= 0 or await self._wakes_within(left):
                return

    async def _wakes_within(self, seconds: float) -> bool:
        """Wait for a tick or a stop, in an outage for a stop only; return whether it came."""
        events = [asyncio.create_task(self._stopping.wait())]
        if not self.outages():
            events.append(asyncio.create_task(self._tick.wait()))
        woken, _ = await asyncio.wait(events, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for event in events:
            event.cancel()
        return bool(woken)
