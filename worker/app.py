"""Build the worker's parts and connect them: the composition root."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

from worker.daemon.adoption import PeriodicAdoption
from worker.mux.client import MuxClient
from worker.mux.rate_limit import LocalBudget, RateLimiter
from worker.scan.adopter import Adopter
from worker.scan.batch import ClaimLimits
from worker.scan.scanner import Scanner
from worker.settings import Settings
from worker.supabase.lessons import LessonStore
from worker.supabase.scan import ScanStore
from worker.telemetry import liveness
from worker.telemetry.hooks import Telemetry
from worker.telemetry.liveness import Liveness
from worker.telemetry.outcome_log import OutcomeLog
from worker.telemetry.scan_history import ScanHistory

if TYPE_CHECKING:
    from worker.backfill.backfill import Road


class Parts(NamedTuple):
    """What a command works with. The adopter has a client of its own, which counts apart."""

    mux: MuxClient
    store: ScanStore
    scanner: Scanner
    adopter: Adopter


@asynccontextmanager
async def parts(
    settings: Settings,
    stopping: asyncio.Event,
    telemetry: Telemetry | None = None,
    *,
    alone: bool = False,
) -> AsyncIterator[Parts]:
    """Build the parts of a command, and close their connections at the end of the block.

    With `alone`, requests to Mux are not counted against the budget that all workers share.
    """
    telemetry = telemetry or Telemetry(OutcomeLog())
    store = await ScanStore.connect(settings, stopping, telemetry)
    budget = LocalBudget() if alone else store
    rate_limiter = RateLimiter(settings.mux_requests_per_second, budget)
    mux = MuxClient(settings, stopping, rate_limiter, telemetry)
    other_mux = MuxClient(settings, stopping, rate_limiter, telemetry)
    adopter = Adopter(other_mux, LessonStore(store.call), telemetry)
    scanner = Scanner(
        mux,
        store,
        limits=ClaimLimits.within_lease(
            settings.scan_batch_size,
            settings.lease_seconds,
            settings.mux_requests_per_second,
            settings.scan_interval_seconds,
        ),
        rules=settings.rules,
        stopping=stopping,
        telemetry=telemetry,
        adopt=adopter.adopt,
        use_slot=rate_limiter.add,
    )
    try:
        yield Parts(mux, store, scanner, adopter)
    finally:
        await store.close()


@asynccontextmanager
async def backfill_road(settings: Settings, stopping: asyncio.Event) -> AsyncIterator["Road"]:
    """Build the parts of a backfill, after a look at the database's schema."""
    from worker.backfill.backfill import Road
    from worker.supabase.backfill import BackfillStore

    telemetry = Telemetry(OutcomeLog())
    async with parts(settings, stopping, telemetry) as (mux, store, scanner, _):
        await store.check_schema()
        lessons = BackfillStore(store.call)
        adopter = Adopter(mux, lessons, telemetry)
        yield Road(mux, store, lessons, adopter, scanner.scan, settings.rules, telemetry)


async def run(settings: Settings, stopping: asyncio.Event) -> None:
    """Run the daemon until `stopping` is set, with the adoption and the HTTP server beside it."""
    from worker.daemon.loop import Daemon, Timing
    from worker.daemon.retention import Retention

    telemetry = Telemetry(OutcomeLog())
    async with parts(settings, stopping, telemetry) as (mux, store, scanner, adopter):
        timing = Timing(settings.scan_interval_seconds, settings.shutdown_seconds)
        daemon = Daemon(mux, store, scanner.scan, timing, stopping, telemetry)
        adoption = PeriodicAdoption(
            adopter,
            LessonStore(store.call),
            settings.scan_interval_seconds,
            stopping,
            lambda: not daemon.outages(),
            telemetry,
        )
        async with (
            adoption.running(),
            _monitored(settings, telemetry, mux, store, ScanHistory(daemon.outages)),
        ):
            await daemon.run(Retention(store, settings.event_retention_days))


@asynccontextmanager
async def _monitored(
    settings: Settings, telemetry: Telemetry, mux: MuxClient, store: ScanStore, history: ScanHistory
) -> AsyncIterator[None]:
    """Report liveness while the block runs: over HTTP where PORT is set, else in a file."""
    file = liveness.file_of(settings)
    longest_scan = liveness.longest_scan_seconds(settings)
    alive = Liveness(settings.scan_interval_seconds, longest_scan, file)
    telemetry.subscribe(alive)
    if settings.port is None:
        yield
    else:
        from worker.web.app import http_server

        telemetry.subscribe(history)
        async with http_server(settings, telemetry, alive, mux, store, history):
            yield
    liveness.remove(file)
