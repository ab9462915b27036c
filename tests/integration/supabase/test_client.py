"""How long the client of Supabase repeats a call that gets no answer."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from sandbox.fault_injection import Fault
from sandbox.supabase.error_responses import LASTING, MOMENTARY
from sandbox.supabase.stack import LocalSupabase
from worker.errors import SupabaseNeedsOperator, SupabaseUnavailable
from worker.settings import Settings
from worker.supabase.client import ATTEMPTS
from worker.supabase.scan import ScanStore

pytestmark = pytest.mark.stack


@pytest.fixture
async def store(supabase: LocalSupabase) -> AsyncIterator[ScanStore]:
    """Give a client that waits a second for an answer."""
    settings = Settings.model_validate(
        {
            "supabase_url": supabase.url,
            "supabase_service_role_key": supabase.service_role_key,
            "supabase_timeout_seconds": 1,
            "mux_token_id": "id",
            "mux_token_secret": "secret",
        }
    )
    store = await ScanStore.connect(settings, asyncio.Event())
    yield store
    await store.close()


@pytest.mark.parametrize(
    ("fault", "calls"), [(Fault("hang"), 2), (Fault("reset"), ATTEMPTS)], ids=["hang", "reset"]
)
async def test_a_call_that_gets_no_answer_is_repeated_for_as_long_as_that_is_worth_it(
    store: ScanStore, supabase: LocalSupabase, fault: Fault, calls: int
) -> None:
    """What fails at once a few times more; what hangs once more, so that it is soon told."""
    supabase.faults.add(fault)
    with pytest.raises(SupabaseUnavailable):
        await store.summary()
    assert store.calls == calls


async def test_a_connection_that_hangs_once_is_not_noticed(
    store: ScanStore, supabase: LocalSupabase
) -> None:
    """The repeat goes over a new one."""
    supabase.faults.add(Fault("hang"), times=1)
    assert (await store.summary())["processing"] == 0
    assert store.calls == 2


@pytest.mark.parametrize("name", MOMENTARY)
async def test_what_passes_within_seconds_is_not_noticed(
    store: ScanStore, supabase: LocalSupabase, name: str
) -> None:
    """A clock that is behind, or others at work: the call is repeated until it is answered."""
    supabase.faults.add(MOMENTARY[name], times=ATTEMPTS)
    assert (await store.summary())["processing"] == 0
    assert store.calls == ATTEMPTS + 1


async def test_what_lasts_is_not_repeated(store: ScanStore, supabase: LocalSupabase) -> None:
    """Not even once: an operator has to act first."""
    supabase.faults.add(LASTING["a paused project"])
    with pytest.raises(SupabaseNeedsOperator, match=r"^The Supabase project is paused\."):
        await store.summary()
    assert store.calls == 1
