"""Three workers' clients ask Mux at once, at the pace on which they agree in the database."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import psycopg
import pytest

from sandbox.fault_injection import Fault
from sandbox.mux.auth import RateLimits
from sandbox.mux.request_log import Seen, busiest
from sandbox.mux.server import MuxSimulator
from sandbox.supabase.stack import LocalSupabase
from tests.tight import Tight
from worker.errors import MuxUnavailable
from worker.mux.client import Mux
from worker.mux.rate_limit import Pace
from worker.settings import Settings
from worker.supabase.scan import ScanStore

pytestmark = pytest.mark.stack

RATE = 20


@pytest.fixture
async def clients(supabase: LocalSupabase, mux: MuxSimulator) -> AsyncIterator[list[Mux]]:
    """Give three clients of one Mux, each with a database connection of its own."""
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
    yield [Mux(settings, stopping, Pace(RATE, store)) for store in stores]
    for store in stores:
        await store.close()


async def keep_asking(client: Mux, until: asyncio.Event) -> None:
    """Ask four questions at a time, as the worker does."""

    async def ask() -> None:
        while not until.is_set():
            try:
                await client.upload("up1")
            except MuxUnavailable:
                continue

    await asyncio.gather(*(ask() for _ in range(4)))


async def seen_in(mux: MuxSimulator, clients: Sequence[Mux], number: int) -> list[Seen]:
    """Have all ask until so many more questions have come; give those."""
    enough, before = asyncio.Event(), len(mux.requests.all())
    asking = [asyncio.create_task(keep_asking(client, enough)) for client in clients]
    await asyncio.to_thread(mux.requests.wait_for, before + number)
    enough.set()
    await asyncio.gather(*asking)
    return mux.requests.all()[before : before + number]


async def test_together_they_use_what_one_may_and_no_more(
    clients: list[Mux], mux: MuxSimulator
) -> None:
    """At a Mux that allows just as much, nobody is refused and nobody comes away empty."""
    mux.limits = RateLimits(Tight(RATE), Tight(None))
    seen = await seen_in(mux, clients, 6 * RATE)
    assert {one.status for one in seen} == {404}
    assert busiest(seen) >= 0.75 * RATE  # nearly all of it where nothing else runs here
    assert min(client.requests for client in clients) >= 6 * RATE / 3 / 3


async def test_what_one_is_refused_slows_all_of_them(
    clients: list[Mux], mux: MuxSimulator, db: psycopg.Connection
) -> None:
    """One gets a 429; then all together go at half the pace, and later at the whole again."""
    mux.faults.add(Fault("answer", status=429), times=1)
    await seen_in(mux, clients[:1], 1)
    slow = await seen_in(mux, clients[1:], 30)
    # Half the pace, a little more as it comes back, and what was on its way.
    assert len(slow) <= RATE * 0.6 * (slow[-1].at - slow[0].at) + 4
    db.execute("update mux_private.rate_limit set slowed_at = slowed_at - interval '1 minute'")
    quick = await seen_in(mux, clients, 2 * RATE)
    assert busiest(quick) >= 0.75 * RATE
