"""How often the client retries a call that fails."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from sandbox.fault_injection import Fault
from sandbox.supabase.error_responses import LASTING, MOMENTARY
from sandbox.supabase.stack import LocalSupabase
from worker.errors import SupabaseNeedsOperator, SupabaseUnavailable
from worker.retry import MAX_ATTEMPTS
from worker.settings import Settings
from worker.supabase.scan import ScanStore

pytestmark = pytest.mark.stack


@pytest.fixture
async def store(supabase: LocalSupabase) -> AsyncIterator[ScanStore]:
    """Yield a store that waits at most two seconds for a response."""
    settings = Settings.model_validate(
        {
            "supabase_url": supabase.url,
            "supabase_service_role_key": supabase.service_role_key,
            "supabase_timeout_seconds": 2,
            "mux_token_id": "id",
            "mux_token_secret": "secret",
        }
    )
    store = await ScanStore.connect(settings, asyncio.Event())
    yield store
    await store.close()


@pytest.mark.parametrize(
    ("fault", "calls"), [(Fault("hang"), 2), (Fault("reset"), MAX_ATTEMPTS)], ids=["hang", "reset"]
)
async def test_a_call_without_a_response_is_retried_within_limits(
    store: ScanStore, supabase: LocalSupabase, fault: Fault, calls: int
) -> None:
    """A reset a few times; a hang once, so that it is reported soon."""
    supabase.faults.add(fault)
    with pytest.raises(SupabaseUnavailable):
        await store.summary()
    assert store.calls == calls


async def test_a_connection_that_hangs_once_is_replaced(
    store: ScanStore, supabase: LocalSupabase
) -> None:
    """The retry uses a new one."""
    supabase.faults.add(Fault("hang"), times=1)
    assert (await store.summary())["processing"] == 0
    assert store.calls == 2


@pytest.mark.parametrize("name", MOMENTARY)
async def test_a_busy_database_is_retried_until_it_answers(
    store: ScanStore, supabase: LocalSupabase, name: str
) -> None:
    """Beyond the usual number of attempts: a conflict, or a clock that is behind."""
    supabase.faults.add(MOMENTARY[name], times=MAX_ATTEMPTS)
    assert (await store.summary())["processing"] == 0
    assert store.calls == MAX_ATTEMPTS + 1


async def test_a_permanent_error_is_not_retried(store: ScanStore, supabase: LocalSupabase) -> None:
    """An operator has to act first."""
    supabase.faults.add(LASTING["a paused project"])
    with pytest.raises(SupabaseNeedsOperator, match=r"^The Supabase project is paused\."):
        await store.summary()
    assert store.calls == 1
