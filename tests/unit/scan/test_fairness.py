"""Faults of one row do not delay other rows, with a fake clock."""

from collections import Counter

import pytest

from bench.sweep_world import FakeMux, Row, World
from worker.errors import MuxUnauthorized, MuxUnavailable
from worker.model import Observation, OnSent, Page, ignore


class FailsOnOne(FakeMux):
    """A Mux that fails for one upload, and counts its requests."""

    def __init__(self, world: World, bad: str) -> None:
        super().__init__(world)
        self._bad = bad
        self.sent: Counter[str] = Counter()

    async def upload(self, upload_id: str, on_sent: OnSent = ignore) -> Observation:
        """Return an upload, or fail."""
        self.sent[upload_id] += 1
        seen = await super().upload(upload_id, on_sent)
        if upload_id == self._bad:
            raise MuxUnavailable("http_500", "Mux answered with 500.")
        return seen

    async def asset_of(self, upload_id: str, on_sent: OnSent = ignore) -> Observation | None:
        """Return the asset of an upload."""
        await self.upload(upload_id, on_sent)
        return await super().asset_of(upload_id, on_sent)


@pytest.mark.parametrize("others", [0, 1, 2, 9])
async def test_an_id_that_fails_does_not_delay_other_rows(others: int) -> None:
    """In a minute, which is twelve scans, the others are published, and the row backs off."""
    world = World()
    published: list[float] = []
    world.when_published = lambda _row: published.append(world.now)
    world.track([world.add(has_asset=False), *(world.add(ready_at=9) for _ in range(others))])
    mux = FailsOnOne(world, "u0")
    await world.work(until=60, mux=mux)
    assert len(published) == others
    assert max(published, default=0) < 20
    assert 4 <= mux.sent["u0"] <= 7
    assert world.rows["u0"].check_count == mux.sent["u0"]


class RefusesVideo(FakeMux):
    """A Mux that answers whoami and refuses everything else."""

    async def upload(self, upload_id: str, on_sent: OnSent = ignore) -> Observation:
        """Refuse an upload."""
        await super().upload(upload_id, on_sent)
        raise MuxUnauthorized("http_403", "Mux refuses the access token.")

    async def asset_of(self, upload_id: str, on_sent: OnSent = ignore) -> Observation | None:
        """Refuse the asset of an upload."""
        return await self.upload(upload_id, on_sent)

    async def assets(self, cursor: str | None) -> Page:
        """Refuse a page."""
        await super().assets(cursor)
        raise MuxUnauthorized("http_403", "Mux refuses the access token.")

    async def control(self) -> None:
        """Refuse the control request."""
        await self.assets(None)


@pytest.mark.parametrize("rows", [1, 2, 9])
async def test_an_hour_of_refused_requests_touches_no_row(rows: int) -> None:
    """However many rows are due."""
    world = World()
    world.track([world.add() for _ in range(rows)])
    mux = RefusesVideo(world)
    while world.now < 3600:
        with pytest.raises(MuxUnauthorized):
            await world.work(until=3600, mux=mux)
        world.now += 5
    assert {row.check_count for row in world.rows.values()} == {0}
    await world.work(until=world.now + 5)
    assert {row.is_processing for row in world.rows.values()} == {False}


@pytest.mark.parametrize("begins_at", [0, 30, 100])
@pytest.mark.parametrize("garbage", [400, 2000])
async def test_hundreds_of_unknown_ids_do_not_delay_another_upload(
    begins_at: int, garbage: int
) -> None:
    """It takes 20 s to encode, and is published within three intervals of that."""
    world = World()
    world.track([world.add(is_known=False) for _ in range(garbage)])
    published: dict[str, float] = {}

    def note(row: Row) -> None:
        published[row.video.upload_id] = world.now

    world.when_published = note
    begun: list[str] = []

    def begin() -> None:
        if world.now >= begins_at and not begun:
            video = world.add(ready_at=world.now + 20)
            begun.append(video.upload_id)
            world.track([video])

    world.when_asked = begin
    await world.work(until=begins_at + 120)
    assert published[begun[0]] - begins_at <= 20 + 15


async def test_unknown_ids_are_checked_a_few_times_before_they_fail() -> None:
    """Five checks in fourteen minutes; the sixth finds the grace over."""
    world = World()
    world.track([world.add(is_known=False)])
    await world.work(until=1200)
    (row,) = world.rows.values()
    assert (row.is_processing, row.check_count) == (False, 5)
