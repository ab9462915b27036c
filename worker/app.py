"""Build the worker's parts and connect them: the composition root."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from worker.claim_limits import Batching
from worker.daemon.adoption import Adopter, PeriodicAdoption
from worker.mux.client import Mux
from worker.mux.rate_limit import OwnBudget, Pace
from worker.scan.scanner import Reconciler
from worker.settings import Settings
from worker.supabase.lessons import LessonStore
from worker.supabase.scan import ScanStore
from worker.telemetry import liveness
from worker.telemetry.hooks import Telemetry
from worker.telemetry.liveness import Liveness
from worker.telemetry.outcome_log import OutcomeLog
from worker.telemetry.scan_history import ScanHistory

if TYPE_CHECKING:
    from worker.daemon.loop import Daemon

Parts = tuple[Mux, ScanStore, Reconciler]


@asynccontextmanager
async def parts(
    settings: Settings,
    stopping: asyncio.Event,
    telemetry: Telemetry | None = None,
    *,
    alone: bool = False,
    bulk: bool = False,
) -> AsyncIterator[Parts]:
    """Build the parts of a command, and close their connections at the end of the block.

    With `alone`, requests to Mux are not counted against the budget that all workers share; with
    `bulk`, most of that budget is left to live work.
    """
    telemetry = telemetry or Telemetry(OutcomeLog())
    store = await ScanStore.connect(settings, stopping, telemetry)
    budget = OwnBudget() if alone else store
    pace = Pace(settings.mux_requests_per_second, budget, bulk=bulk)
    mux = Mux(settings, stopping, pace, telemetry)
    reconciler = Reconciler(
        mux,
        store,
        batching=Batching.within(
            settings.scan_batch_size,
            settings.lease_seconds,
            settings.mux_requests_per_second,
            settings.scan_interval_seconds,
        ),
        rules=settings.rules,
        stopping=stopping,
        telemetry=telemetry,
        adopt=Adopter(mux, LessonStore(store.call)).adopt,
    )
    try:
        yield mux, store, reconciler
    finally:
        await store.close()


async def run(settings: Settings, stopping: asyncio.Event) -> None:
    """Run the daemon until `stopping` is set, with the adoption and the HTTP server beside it."""
    from worker.daemon.loop import Daemon, Timing
    from worker.daemon.retention import Retention

    telemetry = Telemetry(OutcomeLog())
    async with parts(settings, stopping, telemetry) as (mux, store, reconciler):
        timing = Timing(settings.scan_interval_seconds, settings.shutdown_seconds)
        daemon = Daemon(mux, store, reconciler.scan, timing, stopping, telemetry)
        adoption = _adoption(settings, stopping, store, daemon, telemetry)
        async with (
            adoption.running(),
            _monitored(settings, telemetry, mux, store, ScanHistory(daemon.outages)),
        ):
            await daemon.run(Retention(store, settings.event_retention_days))


def _adoption(
    settings: Settings,
    stopping: asyncio.Event,
    store: ScanStore,
    daemon: "Daemon",
    telemetry: Telemetry,
) -> PeriodicAdoption:
    """Build the periodic adoption, which leaves most of Mux's budget to scans."""
    pace = Pace(settings.mux_requests_per_second, store, bulk=True)
    lessons = LessonStore(store.call)
    adopter = Adopter(Mux(settings, stopping, pace, telemetry), lessons)
    interval = settings.scan_interval_seconds
    return PeriodicAdoption(adopter, lessons, interval, stopping, lambda: not daemon.outages())


@asynccontextmanager
async def _monitored(
    settings: Settings, telemetry: Telemetry, mux: Mux, store: ScanStore, history: ScanHistory
) -> AsyncIterator[None]:
    """Report liveness while the block runs: over HTTP where PORT is set, else in a file."""
    file = liveness.file_of(settings)
    longest_scan = liveness.longest_scan_seconds(settings)
    alive = Liveness(settings.scan_interval_seconds, longest_scan, file)
    telemetry.subscribe(alive)
    if settings.port is None:
        yield
    else:
        from worker.web.server import served

        telemetry.subscribe(history)
        async with served(settings, telemetry, alive, mux, store, history):
            yield
    liveness.remove(file)
