"""Put the worker's parts together; nobody else makes them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from worker.claim_limits import Batching
from worker.daemon.adoption import Adopter
from worker.mux.client import Mux
from worker.mux.rate_limit import OwnBudget, Pace
from worker.scan.scanner import Reconciler
from worker.settings import Settings
from worker.supabase.lessons import LessonStore
from worker.supabase.scan import ScanStore
from worker.telemetry.hooks import Watch
from worker.telemetry.outcome_log import Reporter

Parts = tuple[Mux, ScanStore, Reconciler]


@asynccontextmanager
async def parts(
    settings: Settings,
    stopping: asyncio.Event,
    watch: Watch | None = None,
    *,
    alone: bool = False,
    bulk: bool = False,
) -> AsyncIterator[Parts]:
    """Put the worker's parts together; in bulk, most of Mux is left to live work.

    Alone, it asks Mux without agreeing with other workers.
    """
    store = await ScanStore.connect(settings, stopping, watch)
    budget = OwnBudget() if alone else store
    pace = Pace(settings.mux_requests_per_second, budget, bulk=bulk)
    mux = Mux(settings, stopping, pace, watch)
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
        reporter=Reporter(watch),
    )
    reconciler.adopt = Adopter(mux, LessonStore(store.call)).adopt
    try:
        yield mux, store, reconciler
    finally:
        await store.close()


def bulk_mux(settings: Settings, stopping: asyncio.Event, store: ScanStore, watch: Watch) -> Mux:
    """Give a Mux that leaves the larger part of the pace to live work."""
    pace = Pace(settings.mux_requests_per_second, store, bulk=True)
    return Mux(settings, stopping, pace, watch)
