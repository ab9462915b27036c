"""Put the worker's parts together; nobody else makes them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from worker.daemon.adoption import Adopter
from worker.decide import Rules
from worker.model import ClaimLimits
from worker.mux.client import MuxClient
from worker.mux.rate_limit import LocalBudget, RateLimiter
from worker.scan.scanner import Scanner
from worker.settings import Settings
from worker.supabase.lessons import Books
from worker.supabase.scan import Store
from worker.telemetry.hooks import Watch
from worker.telemetry.outcome_log import Reporter

Parts = tuple[MuxClient, Store, Scanner]


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
    store = await Store.connect(settings, stopping, watch)
    budget = LocalBudget() if alone else store
    rate_limiter = RateLimiter(settings.mux_requests_per_second, budget, bulk=bulk)
    mux = MuxClient(settings, stopping, rate_limiter, watch)
    scanner = Scanner(
        mux,
        store,
        limits=ClaimLimits.within_lease(
            settings.scan_batch_size,
            settings.lease_seconds,
            settings.mux_requests_per_second,
            settings.scan_interval_seconds,
        ),
        rules=Rules(settings.playback_policies, settings.give_up_after_seconds),
        stopping=stopping,
        reporter=Reporter(watch),
        adopt=Adopter(mux, Books(store.call)).adopt,
    )
    try:
        yield mux, store, scanner
    finally:
        await store.close()


def bulk_mux(settings: Settings, stopping: asyncio.Event, store: Store, watch: Watch) -> MuxClient:
    """Give a Mux that leaves the larger part of the pace to live work."""
    rate_limiter = RateLimiter(settings.mux_requests_per_second, store, bulk=True)
    return MuxClient(settings, stopping, rate_limiter, watch)
