"""Three workers' clients ask Mux at once, at the pace on which they agree in the database."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence

import psycopg
import pytest

from sandbox.fault_injection import Fault
from sandbox.mux.rate_limit import RateLimits
from sandbox.mux.request_log import LoggedRequest, peak_per_second
from sandbox.mux.server import MuxSimulator
from sandbox.supabase.stack import LocalSupabase
from tests.strict_rate_limit import StrictRateLimit
from worker.errors import MuxUnavailable
from worker.mux.client import MuxClient
from worker.mux.rate_limit import RateLimiter
from worker.settings import Settings
from worker.supabase.scan import ScanStore

pytestmark = pytest.mark.stack

RATE = 20


@pytest.fixture
async def clients(supabase: LocalSupabase, mux: MuxSimulator) -> AsyncIterator[list[MuxClient]]:
    """Return three clients of one Mux, each with a database connection of its own."""
    settings = Settings.model_validate(
        {
            "supabase_url": supabase.url,
            "supabase_service_role_key": supabase.service_role_key,
            "mux_token_id": mux.token_id,
            "mux_token_secret": mux.token_secret,
            "mux_base_url": mux.url,
            "mux_requests_per_second": RATE,
        }
    )
    stopping = asyncio.Event()
    stores = [await ScanStore.connect(settings, stopping) for _ in range(3)]
    yield [MuxClient(settings, stopping, RateLimiter(RATE, store)) for store in stores]
    for store in stores:
        await store.close()


async def keep_asking(client: MuxClient, until: asyncio.Event) -> None:
    """Send four requests at a time, as the worker does."""

    async def ask() -> None:
        while not until.is_set():
            try:
                await client.upload("up1")
            except MuxUnavailable:
                continue

    await asyncio.gather(*(ask() for _ in range(4)))


async def seen_until(
    mux: MuxSimulator,
    clients: Sequence[MuxClient],
    is_enough: Callable[[list[LoggedRequest]], bool],
) -> list[LoggedRequest]:
    """Let all clients send until Mux has received enough requests; return those."""
    enough, before = asyncio.Event(), len(mux.requests.all())
    asking = [asyncio.create_task(keep_asking(client, enough)) for client in clients]
    async with asyncio.timeout(120):
        while not is_enough(seen := mux.requests.all()[before:]):
            await asyncio.to_thread(mux.requests.wait_for, before + len(seen) + 1)
    enough.set()
    await asyncio.gather(*asking)
    return seen


def is_quick(seen: list[LoggedRequest]) -> bool:
    """Whether nearly the whole rate was used in one second, which a busy machine may delay."""
    return len(seen) >= 2 * RATE and peak_per_second(seen) >= 0.75 * RATE


async def test_workers_share_one_rate_limit(clients: list[MuxClient], mux: MuxSimulator) -> None:
    """With exactly this limit at Mux, no request is refused and every worker sends some."""
    mux.limits = RateLimits(StrictRateLimit(RATE), StrictRateLimit(None))
    seen = await seen_until(mux, clients, lambda seen: len(seen) >= 6 * RATE and is_quick(seen))
    assert {one.status for one in seen} == {404}
    assert min(client.requests for client in clients) >= 6 * RATE / 3 / 3


async def test_a_429_slows_all_workers(
    clients: list[MuxClient], mux: MuxSimulator, db: psycopg.Connection
) -> None:
    """After it all together send at half the rate, and later at the full rate again."""
    mux.faults.add(Fault("answer", status=429), times=1)
    await seen_until(mux, clients[:1], lambda seen: len(seen) >= 1)
    slow_from = time.monotonic()
    slow = await seen_until(mux, clients[1:], lambda seen: len(seen) >= 30)
    # Half the pace, a little more as it comes back, and what was on its way.
    assert len(slow) <= RATE * 0.6 * (slow[-1].at - slow_from) + 4
    db.execute("update mux_private.rate_limit set slowed_at = slowed_at - interval '1 minute'")
    await seen_until(mux, clients, is_quick)
