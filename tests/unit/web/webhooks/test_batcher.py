import asyncio
from collections.abc import Sequence

import pytest

from worker.errors import SupabaseUnavailable
from worker.web.webhooks.batcher import EventBatcher


class Settling:
    """Settles batches when the test lets it, and keeps them."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.may_end = asyncio.Event()
        self.fault: Exception | None = None
        self.locked: set[int] = set()

    async def __call__(self, items: Sequence[int]) -> set[int]:
        """Settle a batch."""
        self.batches.append(list(items))
        await self.may_end.wait()
        if self.fault is not None:
            raise self.fault
        return self.locked


async def begun(batcher: EventBatcher[int], *items: int) -> list[asyncio.Task[None]]:
    """Submit items and let them proceed as far as they can."""
    tasks = [asyncio.create_task(batcher.submit(item)) for item in items]
    for _ in range(5):
        await asyncio.sleep(0)
    return tasks


async def test_what_arrives_meanwhile_is_settled_together() -> None:
    """The first at once and alone, the others in batches after it, a hundred at most."""
    settling = Settling()
    batcher = EventBatcher(settling, timeout_seconds=5)
    tasks = await begun(batcher, 0)
    tasks += await begun(batcher, *range(1, 150))
    assert settling.batches == [[0]]
    settling.may_end.set()
    await asyncio.gather(*tasks)
    assert settling.batches == [[0], list(range(1, 101)), list(range(101, 150))]


async def test_each_is_answered_only_after_its_own_batch() -> None:
    """While the first batch is under way, no submitter of the next is answered."""
    settling = Settling()
    batcher = EventBatcher(settling, timeout_seconds=5)
    tasks = [*await begun(batcher, 1), *await begun(batcher, 2)]
    assert [task.done() for task in tasks] == [False, False]
    settling.may_end.set()
    await asyncio.gather(*tasks)


async def test_a_fault_is_raised_to_its_whole_batch_and_no_further() -> None:
    """The next batch is settled as usual."""
    settling = Settling()
    batcher = EventBatcher(settling, timeout_seconds=5)
    settling.fault = SupabaseUnavailable("connection", "down")
    settling.may_end.set()
    results = await asyncio.gather(*await begun(batcher, 1), return_exceptions=True)
    assert results == [settling.fault]
    settling.fault = None
    await asyncio.gather(*await begun(batcher, 2, 3))


async def test_an_item_that_met_a_lock_fails_for_its_submitter_alone() -> None:
    """The others of its batch are settled."""
    settling = Settling()
    batcher = EventBatcher(settling, timeout_seconds=5)
    settling.locked = {2}
    tasks = await begun(batcher, 0)
    tasks += await begun(batcher, 1, 2, 3)
    settling.may_end.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [getattr(one, "reason", None) for one in results] == [None, None, "locked", None]
    assert str(results[2]) == "Another transaction has locked the lesson, or it is refused."


async def test_settling_that_hangs_is_cut_off() -> None:
    """Its batch fails with a timeout."""
    batcher = EventBatcher(Settling(), timeout_seconds=0.01)
    with pytest.raises(SupabaseUnavailable) as raised:
        await batcher.submit(1)
    assert (raised.value.reason, raised.value.message) == (
        "timeout",
        "Supabase did not settle the events in time.",
    )


async def test_an_item_whose_submitter_was_cancelled_is_left_out() -> None:
    """An event whose deadline has passed is not settled: its sender got an error."""
    settling = Settling()
    batcher = EventBatcher(settling, timeout_seconds=5)
    first = await begun(batcher, 1)
    (gone, stays) = await begun(batcher, 2, 3)
    gone.cancel()
    settling.may_end.set()
    await asyncio.gather(*first, stays)
    assert settling.batches == [[1], [3]]


async def test_a_submitter_that_is_cancelled_meanwhile_keeps_no_other_waiting() -> None:
    """The items that come after it in its batch are answered."""
    settling = Settling()
    batcher = EventBatcher(settling, timeout_seconds=5)
    first = await begun(batcher, 1)
    (gone, stays) = await begun(batcher, 2, 3)
    settling.may_end.set()
    settling.may_end.clear()  # for the first batch alone
    await asyncio.gather(*first)
    assert settling.batches == [[1], [2, 3]]
    gone.cancel()
    settling.may_end.set()
    async with asyncio.timeout(30):
        await stays
    assert settling.batches == [[1], [2, 3]]
