import asyncio
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby, zip_longest
from typing import Protocol

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.errors import MuxUnavailable
from worker.model import MatchedObservation, Observation, Page, Query
from worker.scan.sweep import (
    INITIAL_PAGE_BUDGET,
    MAX_PAGE_BUDGET,
    SWEEP_ABOVE,
    PageBudget,
    QueryIndex,
    sweep,
)


def query(upload: str, key: str | None = None) -> Query:
    """Return the query for an upload's row."""
    return Query(key or f"row-{upload}", upload, None)


def asset(upload: str, name: str | None = None) -> Observation:
    """Return the asset of an upload in a list."""
    return Observation("asset", "ready", "sweep", upload, name or f"as-{upload}")


class FakeList:
    """A list of Mux in pages, which counts the pages that were fetched."""

    def __init__(self, *pages: Sequence[str]) -> None:
        self._pages = pages
        self.fetched = 0
        self.fails_at: int | None = None

    async def fetch(self, cursor: str | None) -> Page:
        """Return a page."""
        number = int(cursor or 0)
        self.fetched += 1
        if number == self.fails_at:
            raise MuxUnavailable("http_500", "down")
        following = str(number + 1) if number + 1 < len(self._pages) else None
        return Page(tuple(asset(upload) for upload in self._pages[number]), following)


class Fetches(Protocol):
    """A list with pages."""

    async def fetch(self, cursor: str | None) -> Page:
        """Return a page."""
        ...


async def sweep_all(
    listed: Fetches, queries: Sequence[Query], budget: PageBudget, worth: Sequence[int] = ()
) -> list[list[MatchedObservation]]:
    """Sweep to the end; `worth` is how many unclaimed rows each page settled."""
    pages: list[list[MatchedObservation]] = []
    async for page in sweep(queries, listed.fetch, budget, asyncio.Event()):
        budget.earn(worth[len(pages)] if len(pages) < len(worth) else 0)
        pages.append(page)
    return pages


def found(pages: Sequence[Sequence[MatchedObservation]]) -> list[str]:
    """Return the uploads of the queries that were answered, in order."""
    return [q.upload_id for page in pages for match in page for q in match.queries]


QUERIES = [query(f"up{n}") for n in range(20)]


async def test_pages_without_a_match_end_the_sweep() -> None:
    """Rows that are not in the list cost the initial budget, and no more."""
    listed = FakeList(*[["x"] for _ in range(50)])
    assert found(await sweep_all(listed, QUERIES, PageBudget(20))) == []
    assert listed.fetched == INITIAL_PAGE_BUDGET


async def test_each_matched_row_earns_a_page() -> None:
    """With one row a page the sweep goes on beyond the initial budget."""
    listed = FakeList(*[[f"up{n}"] for n in range(10)], *[["x"] for _ in range(50)])
    assert found(await sweep_all(listed, QUERIES, PageBudget(20))) == [f"up{n}" for n in range(10)]
    assert listed.fetched == 10 + INITIAL_PAGE_BUDGET


async def test_rows_of_the_backlog_earn_no_page() -> None:
    """They are matched, and the sweep ends as if they were not there."""
    listed = FakeList(*[[f"up{n}"] for n in range(20)])
    backlog = [replace(query, is_backlog=True) for query in QUERIES[:10]]
    pages = await sweep_all(listed, [*backlog, *QUERIES[17:]], PageBudget(3))
    assert found(pages) == [f"up{n}" for n in range(INITIAL_PAGE_BUDGET)]
    assert listed.fetched == INITIAL_PAGE_BUDGET


async def test_the_budget_has_a_maximum() -> None:
    """After a thousand matches the sweep still ends."""
    listed = FakeList(["x"], *[["y"] for _ in range(50)])
    await sweep_all(listed, QUERIES, PageBudget(20, more_are_due=True), worth=[1000])
    assert listed.fetched == 1 + MAX_PAGE_BUDGET


async def test_the_sweep_ends_when_only_a_few_rows_remain() -> None:
    """To probe them costs no more than a page."""
    uploads = [q.upload_id for q in QUERIES]
    listed = FakeList(uploads[: 20 - SWEEP_ABOVE], ["x"], ["y"])
    await sweep_all(listed, QUERIES, PageBudget(20))
    assert listed.fetched == 1


async def test_while_more_rows_are_due_the_sweep_goes_on() -> None:
    """All claimed rows are matched, and unclaimed rows earn pages."""
    listed = FakeList([q.upload_id for q in QUERIES], ["x"], ["y"], ["z"])
    await sweep_all(listed, QUERIES, PageBudget(20, more_are_due=True), worth=[100, 100, 100, 100])
    assert listed.fetched == 4


async def test_unclaimed_rows_earn_pages() -> None:
    """How many there are is known after the page is settled, in time for the next one."""
    listed = FakeList(*[["x"] for _ in range(8)])
    budget = PageBudget(20, pages=1)
    await sweep_all(listed, QUERIES, budget, worth=[1] * 6)
    assert listed.fetched == 7


async def test_an_asset_that_is_listed_twice_matches_its_row_once() -> None:
    """Pages shift meanwhile: an asset that moved to the next page is yielded without its row."""
    listed = FakeList(["up0", "up1"], ["up1", "up2"])
    pages = await sweep_all(listed, QUERIES, PageBudget(20))
    assert found(pages) == ["up0", "up1", "up2"]
    assert [len(page) for page in pages] == [2, 2]


async def test_lessons_that_share_an_upload_are_matched_together() -> None:
    """One asset matches both rows."""
    twins = [query("up0", "a"), query("up0", "b"), *QUERIES[1:]]
    ((match, *_), *_) = await sweep_all(FakeList(["up0"]), twins, PageBudget(3))
    assert [q.key for q in match.queries] == ["a", "b"]


async def test_a_migrated_row_is_matched_by_its_asset() -> None:
    """Its upload is unknown, and an upload called `migrated` does not match it."""
    row = Query("m", "migrated", "as-up7")
    pages = await sweep_all(FakeList(["migrated", "up7"]), [row, *QUERIES], PageBudget(21))
    assert [(s.observation.asset_id, [q.key for q in s.queries]) for s in pages[0]] == [
        ("as-migrated", []),
        ("as-up7", ["row-up7", "m"]),
    ]


async def test_an_asset_answers_a_query_that_has_its_id_as_an_uploads() -> None:
    """Once, together with the query for its upload."""
    mixed_up = query("as-up3", "mixed up")
    pages = await sweep_all(FakeList(["up3", "as-up3"]), [mixed_up, *QUERIES], PageBudget(21))
    assert [[q.key for q in match.queries] for match in pages[0]] == [["row-up3", "mixed up"], []]


@pytest.mark.parametrize("repeated", [1, 2])
async def test_a_list_that_leads_back_is_a_fault(repeated: int) -> None:
    """Every page is yielded once; then the fault is raised, without another request."""
    fetched: list[str | None] = []

    async def fetch(cursor: str | None) -> Page:
        fetched.append(cursor)
        number = len(fetched)
        return Page((asset(f"up{number}"),), str(number if number < 3 else repeated))

    pages = sweep(QUERIES, fetch, PageBudget(20), asyncio.Event())
    assert found([await anext(pages) for _ in range(3)]) == ["up1", "up2", "up3"]
    with pytest.raises(MuxUnavailable, match="repeats a cursor"):
        await anext(pages)
    assert fetched == [None, "1", "2"]


async def test_a_fault_is_raised_after_the_earlier_pages() -> None:
    """The first page is yielded, then the fault of the second one is raised."""
    listed = FakeList(["up0"], ["up1"])
    listed.fails_at = 1
    pages = sweep(QUERIES, listed.fetch, PageBudget(20), asyncio.Event())
    assert found([await anext(pages)]) == ["up0"]
    with pytest.raises(MuxUnavailable):
        await anext(pages)


async def test_after_a_stop_no_further_page_is_fetched() -> None:
    """The page that is being fetched is still yielded."""
    stopping = asyncio.Event()
    listed = FakeList(*[[f"up{n}"] for n in range(20)])
    pages = sweep(QUERIES, listed.fetch, PageBudget(20), stopping)
    await anext(pages)
    stopping.set()
    assert len([page async for page in pages]) <= 1
    assert listed.fetched <= 2


async def test_the_next_page_is_fetched_while_a_page_is_settled() -> None:
    """It starts before the page is yielded, if the budget allows it already."""
    listed = FakeList(["up0", "up1"], ["up2"], ["up3"])
    pages = sweep(QUERIES, listed.fetch, PageBudget(20), asyncio.Event())
    await anext(pages)
    await asyncio.sleep(0)
    assert listed.fetched == 2


async def test_closing_the_sweep_cancels_its_request() -> None:
    """The page that is being fetched is not waited for."""
    cancelled = asyncio.Event()

    async def fetch(cursor: str | None) -> Page:
        try:
            if cursor is not None:
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return Page((asset("up0"),), "1")

    pages = aiter(sweep(QUERIES, fetch, PageBudget(20), asyncio.Event()))
    await anext(pages)
    await asyncio.sleep(0)
    assert not cancelled.is_set()
    await pages.aclose()  # type: ignore[attr-defined]  # it is a generator
    assert cancelled.is_set()


class ShiftingList:
    """A list by page numbers, like that of uploads, which grows and shrinks during the sweep.

    So items at the end of a page are listed twice, or not at all.
    """

    def __init__(self, uploads: Sequence[str], shifts: Sequence[int]) -> None:
        self._uploads = list(uploads)
        self._shifts = list(shifts)
        self.fetched = 0

    async def fetch(self, cursor: str | None) -> Page:
        """Return a page of five, then shift the list."""
        self.fetched += 1
        start = int(cursor or 0)
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
async def test_no_row_is_matched_twice_and_every_page_is_paid_for(
    uploads: list[str], shifts: list[int], worth: list[int], rows: int, more_are_due: bool
) -> None:
    """The pages are the initial budget, and one for each row that was matched or settled.

    There are never more than MAX_PAGE_BUDGET pages in a row without either.
    """
    listed = ShiftingList(uploads, shifts)
    pages = await sweep_all(listed, QUERIES[:rows], PageBudget(rows, more_are_due), worth)
    matched = found(pages)
    assert len(matched) == len(set(matched))
    assert set(matched) <= {q.upload_id for q in QUERIES[:rows]}
    settled = worth[: len(pages)]
    assert listed.fetched == len(pages) <= INITIAL_PAGE_BUDGET + len(matched) + sum(settled)
    gains = map(sum, zip_longest((len(found([page])) for page in pages), settled, fillvalue=0))
    fruitless = [len(list(run)) for gained, run in groupby(gains, bool) if not gained]
    assert max(fruitless, default=0) <= MAX_PAGE_BUDGET


@given(
    pages=st.lists(st.lists(st.integers(0, 60), max_size=8), min_size=1, max_size=40),
    rows=st.sets(st.integers(0, 60), max_size=30),
)
async def test_a_sweep_costs_no_more_than_it_finds(pages: list[list[int]], rows: set[int]) -> None:
    """For any list, rows are matched once, and pages are paid for by rows and the budget."""
    listed = FakeList(*[[f"up{n}" for n in page] for page in pages])
    matched = found(await sweep_all(listed, [query(f"up{n}") for n in rows], PageBudget(len(rows))))
    assert len(matched) == len(set(matched))
    assert set(matched) <= {f"up{n}" for n in rows}
    assert listed.fetched <= INITIAL_PAGE_BUDGET + len(matched)


def test_an_observation_answers_by_each_of_its_ids() -> None:
    """The asset's own upload, its id where an upload's belongs, and its id alone; each once."""
    by_upload, mixed_up, by_asset = query("up1"), query("as1"), Query("m", "migrated", "as1")
    index = QueryIndex.of([by_asset, mixed_up, by_upload, query("up2")])
    assert index.pop(asset("up1", "as1")) == (by_upload, mixed_up, by_asset)
    assert index.pop(asset("up1", "as1")) == ()


def test_an_upload_does_not_answer_for_its_asset() -> None:
    """Whether that is ready only the asset says."""
    index = QueryIndex.of([Query("m", "migrated", "as1"), query("as1"), query("up1")])
    upload = Observation("upload", "asset_created", "sweep", "up1", "as1")
    assert [found.key for found in index.pop(upload)] == ["row-up1"]


@pytest.mark.parametrize("asset_id", [None, ""])
def test_an_asset_without_ids_answers_nothing(asset_id: str | None) -> None:
    """Also queries whose ids cannot be one are not in the index."""
    index = QueryIndex.of([query(""), Query("m", "migrated", asset_id), query("up1")])
    assert (list(index.by_upload), list(index.by_asset)) == (["up1"], [])
    assert index.pop(Observation("asset", "ready", "sweep", None, asset_id)) == ()


async def test_assets_without_an_upload_do_not_exclude_each_other() -> None:
    """However many a page has; two of one upload do."""
    page = Page((*(Observation("asset", "ready", "sweep", asset_id=f"as{n}") for n in range(3)),
                 asset("up1", "as8"), asset("up1", "as9"), asset("up2")), None)  # fmt: skip

    async def fetch(cursor: str | None) -> Page:
        return page

    (seen,) = [p async for p in sweep(QUERIES, fetch, PageBudget(20), asyncio.Event())]
    assert [match.observation.asset_id for match in seen] == ["as0", "as1", "as2", "as-up2"]


async def test_a_list_that_leads_back_is_unreadable() -> None:
    """The reason and the sentence of the log."""

    async def fetch(cursor: str | None) -> Page:
        return Page((asset("up1"),), "1")

    with pytest.raises(MuxUnavailable) as raised:
        async for _ in sweep(QUERIES, fetch, PageBudget(20), asyncio.Event()):
            pass
    assert (raised.value.reason, raised.value.message) == (
        "unreadable",
        "Mux's list repeats a cursor.",
    )


@pytest.mark.parametrize(
    ("remaining", "more_are_due", "before", "after"),
    [
        (5, False, 10, 10),
        (30, False, 20, 20),
        (14, False, 20, 12),
        (12, False, 20, 10),
        (5, False, 20, 10),
        (5, True, 20, 20),
    ],
)
def test_no_more_pages_are_read_than_rows_remain(
    remaining: int, more_are_due: bool, before: int, after: int
) -> None:
    """To probe the rest would cost no more; while more rows are due, the pages may cover those."""
    budget = PageBudget(remaining, more_are_due, pages=before)
    budget.match(2)
    assert (budget.remaining, budget.pages) == (remaining - 2, after)


@pytest.mark.parametrize(
    ("budget", "allows"),
    [
        (PageBudget(SWEEP_ABOVE), False),
        (PageBudget(SWEEP_ABOVE + 1), True),
        (PageBudget(SWEEP_ABOVE + 1, pages=1), True),
        (PageBudget(SWEEP_ABOVE + 1, pages=0), False),
        (PageBudget(0, True), True),
        (PageBudget(0, True, pages=0), False),
    ],
)
def test_a_page_is_worth_its_request_for_more_than_a_few_rows(
    budget: PageBudget, allows: bool
) -> None:
    """Or while more rows are due; and only while pages are left."""
    assert budget.allows_page is allows
