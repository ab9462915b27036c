import asyncio
from collections.abc import Sequence

import pytest

from worker.errors import SupabaseUnavailable
from worker.web.webhooks.batcher import GroupCommit


class Settling:
    """Settles groups when the test lets it; keeps them."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.may_end = asyncio.Event()
        self.fault: Exception | None = None
        self.busy: set[int] = set()

    async def __call__(self, items: Sequence[int]) -> set[int]:
        """Settle a group."""
        self.groups.append(list(items))
        await self.may_end.wait()
        if self.fault is not None:
            raise self.fault
        return self.busy


async def begun(group: GroupCommit[int], *items: int) -> list[asyncio.Task[None]]:
    """Submit items and let them come as far as they can."""
    tasks = [asyncio.create_task(group.submit(item)) for item in items]
    for _ in range(5):
        await asyncio.sleep(0)
    return tasks


async def test_what_comes_meanwhile_is_settled_together() -> None:
    """The first goes at once and alone, all others in one group after it, a hundred at most."""
    settling = Settling()
    group = GroupCommit(settling, within_seconds=5)
    tasks = await begun(group, 0)
    tasks += await begun(group, *range(1, 150))
    assert settling.groups == [[0]]
    settling.may_end.set()
    await asyncio.gather(*tasks)
    assert settling.groups == [[0], list(range(1, 101)), list(range(101, 150))]


async def test_each_is_answered_only_after_its_own_group() -> None:
    """While the first group is under way nobody of the next is answered."""
    settling = Settling()
    group = GroupCommit(settling, within_seconds=5)
    tasks = [*await begun(group, 1), *await begun(group, 2)]
    assert [task.done() for task in tasks] == [False, False]
    settling.may_end.set()
    await asyncio.gather(*tasks)


async def test_a_fault_is_told_to_all_of_its_group_and_to_nobody_else() -> None:
    """The next group is settled as if nothing had been."""
    settling = Settling()
    group = GroupCommit(settling, within_seconds=5)
    settling.fault = SupabaseUnavailable("connection", "down")
    settling.may_end.set()
    told = await asyncio.gather(*await begun(group, 1), return_exceptions=True)
    assert told == [settling.fault]
    settling.fault = None
    await asyncio.gather(*await begun(group, 2, 3))


async def test_what_could_not_be_settled_is_told_to_its_submitter_alone() -> None:
    """The others of its group are settled all the same."""
    settling = Settling()
    group = GroupCommit(settling, within_seconds=5)
    settling.busy = {2}
    tasks = await begun(group, 0)
    tasks += await begun(group, 1, 2, 3)
    settling.may_end.set()
    told = await asyncio.gather(*tasks, return_exceptions=True)
    assert [getattr(one, "reason", None) for one in told] == [None, None, "busy", None]


async def test_settling_that_hangs_is_cut_off() -> None:
    """Its group is told that Supabase did not answer."""
    group = GroupCommit(Settling(), within_seconds=0.01)
    with pytest.raises(SupabaseUnavailable, match="in time"):
        await group.submit(1)


async def test_who_has_gone_before_its_turn_is_left_out() -> None:
    """An event whose deadline has passed is not settled behind the back of its sender."""
    settling = Settling()
    group = GroupCommit(settling, within_seconds=5)
    first = await begun(group, 1)
    (gone, stays) = await begun(group, 2, 3)
    gone.cancel()
    settling.may_end.set()
    await asyncio.gather(*first, stays)
    assert settling.groups == [[1], [3]]
