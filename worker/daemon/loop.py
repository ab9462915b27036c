"""Scan again and again, through outages, until the process is asked to stop."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, TypeVar

from apscheduler.schedulers.asyncio import AsyncIOScheduler

from worker.daemon.outage import Outage
from worker.daemon.retention import PAUSE_SECONDS, Retention
from worker.errors import (
    MuxUnauthorized,
    MuxUnavailable,
    SchemaRefused,
    SupabaseUnavailable,
)
from worker.telemetry.hooks import Telemetry
from worker.telemetry.scan_history import OutageState, Service
from worker.telemetry.scan_report import ScanReport

SHARE_FOR_THE_SCAN = 0.5
"""The share of the shutdown's time in which the scan under way may end by itself."""

SECONDS_PER_REQUEST = 1.0
"""How much later the next scan begins for each request to Mux that this one sent."""

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
        """Raise SchemaRefused where files of sql/ are not applied."""
        ...

    async def summary(self) -> dict[str, Any]:
        """Return counts of rows."""
        ...


def seconds_between_scans(report: ScanReport, interval_seconds: float) -> float:
    """Return the seconds from the beginning of a scan to that of the next.

    A second for each request, so that a few uploads in flight cost one request a second, and an
    interval at most. An idle worker scans once an interval, and a full scan is continued at once.
    """
    if report.is_full:
        return 0.0
    if not report.requests:
        return interval_seconds
    return min(report.requests * SECONDS_PER_REQUEST, interval_seconds)


@dataclass(frozen=True, slots=True)
class Timing:
    """The longest time between two scans, and how long the process may take to stop."""

    interval_seconds: float
    shutdown_seconds: float
    clock: Callable[[], float] = time.monotonic


class Daemon:
    """Scans as often as `seconds_between_scans` says, and less often during an outage.

    APScheduler only ticks, when the next scan is due. It uses the wall clock, so the loop also
    wakes by a monotonic timeout, and begins no scan earlier: a clock that is set does no harm.
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
        self._clock = timing.clock
        self._scheduler = AsyncIOScheduler(timezone="UTC")  # it fails over some values of TZ
        self._mux_outage = Outage("mux", timing.interval_seconds, timing.clock)
        self._supabase_outage = Outage("supabase", timing.interval_seconds, timing.clock)
        self._schema_checked_at = -math.inf

    def outages(self) -> Mapping[Service, OutageState]:
        """Return the outages under way."""
        outages = (self._mux_outage, self._supabase_outage)
        return {outage.service: outage.state for outage in outages if outage.state is not None}

    async def run(self, retention: Retention) -> None:
        """Scan until `stopping` is set, then end within the shutdown's time.

        Raises SchemaRefused where the worker must not use the database.
        """
        retention.schedule(self._scheduler)
        self._scheduler.start()
        grace = self._timing.shutdown_seconds * SHARE_FOR_THE_SCAN
        try:
            while not self._stopping.is_set():
                pause = await self._unless_stopped(self._scan_once(), grace) or 0.0
                self._telemetry.scan_ended(pause)
                await self._wait(pause, retention)
        finally:
            self._scheduler.remove_all_jobs()
            await asyncio.sleep(0)  # a tick that has just begun ends without being cancelled
            self._scheduler.shutdown(wait=False)

    def _next_tick(self, seconds: float) -> asyncio.Event:
        """Move the one tick to the next scan's time, and return the event that it sets."""
        tick = asyncio.Event()

        async def on_tick() -> None:  # APScheduler runs plain functions in a thread
            tick.set()

        self._scheduler.add_job(
            on_tick,
            "date",
            run_date=datetime.now(UTC) + timedelta(seconds=seconds),
            id="scan",
            replace_existing=True,
            misfire_grace_time=None,
        )
        return tick

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
        """Scan, record the result, and return the seconds until the next scan begins."""
        began = self._clock()
        try:
            report = await self._scan_through_outage()
        except (MuxUnavailable, MuxUnauthorized) as error:
            self._supabase_outage.end()  # a scan calls Mux only after Supabase has answered
            self._mux_outage.record(error)
            self._telemetry.scan_failed(error)
            return self._mux_outage.seconds_to_next_try
        except SchemaRefused:
            raise
        except SupabaseUnavailable as error:
            self._supabase_outage.record(error)
            self._telemetry.scan_failed(error)
            return self._supabase_outage.seconds_to_next_try
        self._supabase_outage.end()
        self._telemetry.scan_finished(report)
        seconds = seconds_between_scans(report, self._timing.interval_seconds)
        return max(0.0, began + seconds - self._clock())

    async def _scan_through_outage(self) -> ScanReport:
        """Scan, and end the outage of Mux if there was one."""
        if self._clock() - self._schema_checked_at > SCHEMA_CHECK_SECONDS:
            await self._store.check_schema()
            self._schema_checked_at = self._clock()
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
        """Wait until the next scan is due; prune the audit meanwhile."""
        until = self._clock() + seconds
        tick = self._next_tick(seconds)
        while not self._stopping.is_set():
            is_pruning = not self._supabase_outage.is_ongoing and await self._unless_stopped(
                retention.prune_some(), 0.0
            )
            left = until - self._clock()
            if left <= 0:
                return
            await self._wake_within(min(left, PAUSE_SECONDS) if is_pruning else left, tick)

    async def _wake_within(self, seconds: float, tick: asyncio.Event) -> None:
        """Wait for the tick, for a stop, or for these seconds at most."""
        events = [asyncio.create_task(event.wait()) for event in (self._stopping, tick)]
        await asyncio.wait(events, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for event in events:
            event.cancel()
        tick.clear()
