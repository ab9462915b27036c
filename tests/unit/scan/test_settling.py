import asyncio

import pytest

from worker.scan.settling import AT_ONCE, Settling


class Job:
    """A job that ends when it is told to, with or without a fault."""

    def __init__(self) -> None:
        self.may_end = asyncio.Event()
        self.fault: Exception | None = None
        self.state = "not begun"

    async def run(self) -> None:
        """Do it."""
        self.state = "under way"
        try:
            await self.may_end.wait()
            if self.fault is not None:
                raise self.fault
        except asyncio.CancelledError:
            self.state = "cancelled"
            raise
        self.state = "done"

    def end(self, fault: Exception | None = None) -> None:
        """Let it end."""
        self.fault = fault
        self.may_end.set()


@pytest.fixture
def jobs() -> list[Job]:
    """Give some jobs."""
    return [Job() for _ in range(AT_ONCE + 1)]


async def begun(settling: Settling, jobs: list[Job]) -> None:
    """Begin jobs and let them get under way."""
    for job in jobs:
        settling.begin(job.run())
    await asyncio.sleep(0)


async def test_there_is_room_again_when_the_first_has_ended(jobs: list[Job]) -> None:
    """So many are under way at a time, and no more."""
    async with Settling() as settling:
        await settling.room()
        await begun(settling, jobs[:AT_ONCE])
        room = asyncio.create_task(settling.room())
        await asyncio.sleep(0)
        assert not room.done()
        jobs[0].end()
        await room
        await begun(settling, jobs[AT_ONCE:])
        assert [job.state for job in jobs] == ["done", *["under way"] * AT_ONCE]
        for job in jobs:
            job.end()


async def test_whoever_leaves_waits_for_all(jobs: list[Job]) -> None:
    """What was begun is not left behind."""

    async def block() -> None:
        async with Settling() as settling:
            await begun(settling, jobs[:AT_ONCE])

    leaving = asyncio.create_task(block())
    await asyncio.sleep(0.01)
    assert not leaving.done()
    for job in jobs:
        job.end()
    await leaving
    assert [job.state for job in jobs[:AT_ONCE]] == ["done"] * AT_ONCE


async def test_a_fault_of_a_job_is_raised_once_the_others_have_ended(jobs: list[Job]) -> None:
    """By the call that comes next."""

    async def block() -> None:
        async with Settling() as settling:
            await begun(settling, jobs[:AT_ONCE])
            jobs[0].end(ValueError("first"))
            await settling.room()

    leaving = asyncio.create_task(block())
    await asyncio.sleep(0.01)
    jobs[1].end()
    with pytest.raises(ValueError, match="first"):
        await leaving
    assert jobs[1].state == "done"


async def test_a_fault_of_a_job_goes_before_one_of_the_block(jobs: list[Job]) -> None:
    """A database that is out of reach decides what may be done with the rest."""

    async def block() -> None:
        async with Settling() as settling:
            await begun(settling, jobs[:1])
            jobs[0].end(ValueError("of the job"))
            raise RuntimeError("of the block")

    with pytest.raises(ValueError, match="of the job"):
        await block()


async def test_a_fault_of_the_block_waits_for_the_jobs(jobs: list[Job]) -> None:
    """What was observed before Mux went away is settled all the same."""

    async def block() -> None:
        async with Settling() as settling:
            await begun(settling, jobs[:1])
            raise RuntimeError("of the block")

    leaving = asyncio.create_task(block())
    await asyncio.sleep(0.01)
    jobs[0].end()
    with pytest.raises(RuntimeError, match="of the block"):
        await leaving
    assert jobs[0].state == "done"


async def test_when_the_block_is_cancelled_so_are_the_jobs(jobs: list[Job]) -> None:
    """A worker that is told to stop does not wait for a database that hangs."""

    async def block() -> None:
        async with Settling() as settling:
            await begun(settling, jobs[:AT_ONCE])
            await asyncio.Event().wait()

    leaving = asyncio.create_task(block())
    await asyncio.sleep(0.01)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert [job.state for job in jobs[:AT_ONCE]] == ["cancelled"] * AT_ONCE


async def test_cancelled_while_it_waits_for_the_jobs_it_cancels_them(jobs: list[Job]) -> None:
    """Also at the end of the block."""

    async def block() -> None:
        async with Settling() as settling:
            await begun(settling, jobs[:AT_ONCE])

    leaving = asyncio.create_task(block())
    await asyncio.sleep(0.01)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert [job.state for job in jobs[:AT_ONCE]] == ["cancelled"] * AT_ONCE
