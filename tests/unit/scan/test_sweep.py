import asyncio
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby, zip_longest
from typing import Protocol

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.test_decide import CLAIM
from worker.errors import MuxUnavailable
from worker.model import Claim, MatchedObservation, Observation, Page
from worker.scan.sweep import INITIAL_PAGE_BUDGET, MAX_PAGE_BUDGET, SWEEP_ABOVE, PageBudget, sweep


def claim(upload: str) -> Claim:
    """Claim the row of an upload."""
    return replace(CLAIM, id=f"row-{upload}", upload_id=upload)


def asset(upload: str, name: str | None = None) -> Observation:
    """Observe the asset of an upload in a list."""
    return Observation("asset", "ready", "sweep", upload, name or f"as-{upload}")


class FakeList:
    """A list of Mux's by the page, which counts its pages as they are asked for."""

    def __init__(self, *pages: Sequence[str]) -> None:
        self._pages = pages
        self.asked = 0
        self.fails_at: int | None = None

    async def fetch(self, at: str | None) -> Page:
        """Give a page."""
        number = int(at or 0)
        self.asked += 1
        if number == self.fails_at:
            raise MuxUnavailable("http_500", "down")
        following = str(number + 1) if number + 1 < len(self._pages) else None
        return Page(tuple(asset(upload) for upload in self._pages[number]), following)


class Fetches(Protocol):
    """A list that can be asked for its pages."""

    async def fetch(self, at: str | None) -> Page:
        """Give a page."""
        ...


async def walk(
    listed: Fetches, claims: Sequence[Claim], credit: PageBudget, worth: Sequence[int] = ()
) -> list[list[MatchedObservation]]:
    """Sweep to the end; `worth` is what each page settled beyond the claimed rows."""
    pages: list[list[MatchedObservation]] = []
    async for page in sweep(claims, listed.fetch, credit, asyncio.Event()):
        credit.earn(worth[len(pages)] if len(pages) < len(worth) else 0)
        pages.append(page)
    return pages


def found(pages: Sequence[Sequence[MatchedObservation]]) -> list[str]:
    """Name the claimed rows that were seen, in order."""
    return [c.upload_id for page in pages for sighting in page for c in sighting.claims]


CLAIMS = [claim(f"up{n}") for n in range(20)]


async def test_pages_that_earn_nothing_end_it() -> None:
    """The first credit is all that rows which are not in the list can cost."""
    listed = FakeList(*[["x"] for _ in range(50)])
    assert found(await walk(listed, CLAIMS, PageBudget(20))) == []
    assert listed.asked == INITIAL_PAGE_BUDGET


async def test_each_row_that_is_found_pays_for_a_page() -> None:
    """One row a page keeps it going, beyond the first credit."""
    listed = FakeList(*[[f"up{n}"] for n in range(10)], *[["x"] for _ in range(50)])
    assert found(await walk(listed, CLAIMS, PageBudget(20))) == [f"up{n}" for n in range(10)]
    assert listed.asked == 10 + INITIAL_PAGE_BUDGET


async def test_credit_does_not_pile_up() -> None:
    """A thousand matches buy no more than some pages without any."""
    listed = FakeList(["x"], *[["y"] for _ in range(50)])
    await walk(listed, CLAIMS, PageBudget(20, more_are_due=True), worth=[1000])
    assert listed.asked == 1 + MAX_PAGE_BUDGET


async def test_it_ends_when_only_a_few_are_left() -> None:
    """They cost no more than a page if they are asked for one by one."""
    uploads = [c.upload_id for c in CLAIMS]
    listed = FakeList(uploads[: 20 - SWEEP_ABOVE], ["x"], ["y"])
    await walk(listed, CLAIMS, PageBudget(20))
    assert listed.asked == 1


async def test_while_more_rows_are_due_it_goes_on() -> None:
    """All that were claimed are found, and what the pages are worth to the others counts."""
    listed = FakeList([c.upload_id for c in CLAIMS], ["x"], ["y"], ["z"])
    await walk(listed, CLAIMS, PageBudget(20, more_are_due=True), worth=[100, 100, 100, 100])
    assert listed.asked == 4


async def test_what_a_page_settles_for_others_pays_too() -> None:
    """It is only known after the page is settled, and still in time for the next."""
    listed = FakeList(*[["x"] for _ in range(8)])
    credit = PageBudget(20, pages=1)
    await walk(listed, CLAIMS, credit, worth=[1] * 6)
    assert listed.asked == 7


async def test_an_asset_that_is_listed_twice_is_about_its_row_once() -> None:
    """Pages shift while one walks: what moved to the next page is seen again, without the row."""
    listed = FakeList(["up0", "up1"], ["up1", "up2"])
    pages = await walk(listed, CLAIMS, PageBudget(20))
    assert found(pages) == ["up0", "up1", "up2"]
    assert [len(page) for page in pages] == [2, 2]


async def test_lessons_that_share_an_upload_are_found_together() -> None:
    """One asset is about both rows."""
    twins = [replace(claim("up0"), id="a"), replace(claim("up0"), id="b"), *CLAIMS[1:]]
    ((sighting, *_), *_) = await walk(FakeList(["up0"]), twins, PageBudget(3))
    assert [c.id for c in sighting.claims] == ["a", "b"]


async def test_a_migrated_row_is_found_by_its_asset() -> None:
    """Its upload is not known, and no upload of that name is about it."""
    row = replace(CLAIM, id="m", upload_id="migrated", asset_id="as-up7")
    pages = await walk(FakeList(["migrated", "up7"]), [row, *CLAIMS], PageBudget(21))
    assert [(s.observation.asset_id, [c.id for c in s.claims]) for s in pages[0]] == [
        ("as-migrated", []),
        ("as-up7", ["row-up7", "m"]),
    ]


async def test_a_fault_ends_it_after_what_was_seen() -> None:
    """The first page is given, then the second one's fault is raised."""
    listed = FakeList(["up0"], ["up1"])
    listed.fails_at = 1
    pages = sweep(CLAIMS, listed.fetch, PageBudget(20), asyncio.Event())
    assert found([await anext(pages)]) == ["up0"]
    with pytest.raises(MuxUnavailable):
        await anext(pages)


async def test_a_stop_asks_for_no_further_page() -> None:
    """What is on its way is still given."""
    stopping = asyncio.Event()
    listed = FakeList(*[[f"up{n}"] for n in range(20)])
    pages = sweep(CLAIMS, listed.fetch, PageBudget(20), stopping)
    await anext(pages)
    stopping.set()
    assert len([page async for page in pages]) <= 1
    assert listed.asked <= 2


async def test_the_next_page_is_on_its_way_while_one_is_settled() -> None:
    """It is asked for before the page is given, where it is sure to be wanted."""
    listed = FakeList(["up0", "up1"], ["up2"], ["up3"])
    pages = sweep(CLAIMS, listed.fetch, PageBudget(20), asyncio.Event())
    await anext(pages)
    await asyncio.sleep(0)
    assert listed.asked == 2


async def test_who_stops_listening_leaves_no_request_behind() -> None:
    """The page that was on its way is given up together with the sweep."""
    given_up = asyncio.Event()

    async def fetch(at: str | None) -> Page:
        try:
            if at is not None:
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            given_up.set()
            raise
        return Page((asset("up0"),), "1")

    pages = aiter(sweep(CLAIMS, fetch, PageBudget(20), asyncio.Event()))
    await anext(pages)
    await asyncio.sleep(0)
    assert not given_up.is_set()
    await pages.aclose()  # type: ignore[attr-defined]  # it is a generator
    assert given_up.is_set()


class ShiftingList:
    """A list by page numbers, like Mux's of uploads, that grows and shrinks while one walks.

    So what lies at a page's end is seen twice, or not at all.
    """

    def __init__(self, uploads: Sequence[str], shifts: Sequence[int]) -> None:
        self._uploads = list(uploads)
        self._shifts = list(shifts)
        self.asked = 0

    async def fetch(self, at: str | None) -> Page:
        """Give a page of five, then shift the list."""
        self.asked += 1
        start = int(at or 0)
        page = self._uploads[start : start + 5]
        by = self._shifts.pop(0) if self._shifts else 0
        self._uploads = [f"new{n}" for n in range(by)] + self._uploads[max(0, -by) :]
        return Page(tuple(map(asset, page)), str(start + 5) if len(page) == 5 else None)


@given(
    uploads=st.permutations([f"up{n}" for n in range(20)] + [f"x{n}" for n in range(80)]),
    shifts=st.lists(st.integers(-5, 5), max_size=20),
    worth=st.lists(st.integers(0, 3), max_size=20),
    rows=st.integers(0, 20),
    more_are_due=st.booleans(),
)
async def test_whatever_shifts_nothing_is_given_twice_and_each_page_is_paid_for(
    uploads: list[str], shifts: list[int], worth: list[int], rows: int, more_are_due: bool
) -> None:
    """The first credit, and one page more for each row that the pages found or settled.

    And never more than MAX_PAGE_BUDGET pages in a row that are worth nothing.
    """
    listed = ShiftingList(uploads, shifts)
    pages = await walk(listed, CLAIMS[:rows], PageBudget(rows, more_are_due), worth)
    seen = found(pages)
    assert len(seen) == len(set(seen))
    assert set(seen) <= {c.upload_id for c in CLAIMS[:rows]}
    settled = worth[: len(pages)]
    assert listed.asked == len(pages) <= INITIAL_PAGE_BUDGET + len(seen) + sum(settled)
    gains = map(sum, zip_longest((len(found([page])) for page in pages), settled, fillvalue=0))
    fruitless = [len(list(run)) for gained, run in groupby(gains, bool) if not gained]
    assert max(fruitless, default=0) <= MAX_PAGE_BUDGET


@given(
    pages=st.lists(st.lists(st.integers(0, 60), max_size=8), min_size=1, max_size=40),
    rows=st.sets(st.integers(0, 60), max_size=30),
)
async def test_it_never_costs_more_than_it_finds(pages: list[list[int]], rows: set[int]) -> None:
    """Whatever the lists hold: rows are found once, and pages are paid for by rows and credit."""
    listed = FakeList(*[[f"up{n}" for n in page] for page in pages])
    seen = found(await walk(listed, [claim(f"up{n}") for n in rows], PageBudget(len(rows))))
    assert len(seen) == len(set(seen))
    assert set(seen) <= {f"up{n}" for n in rows}
    assert listed.asked <= INITIAL_PAGE_BUDGET + len(seen)
