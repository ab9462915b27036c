import asyncio
from dataclasses import replace

import pytest

from tests.unit.test_decide import CLAIM
from worker.model import MatchedObservation, Observation, Outcome, Query
from worker.scan.progress import CONCURRENT_SETTLES, ScanProgress
from worker.scan.sweep import PageBudget
from worker.telemetry.scan_report import ScanReport

OURS = Observation("upload", "waiting", "probe", "up1")
FOREIGN = Observation("asset", "ready", "sweep", "up9", "as9")
PAGE = [MatchedObservation(OURS, (Query("t1", "up1", None),)), MatchedObservation(FOREIGN, ())]


def progress(budget: PageBudget | None = None) -> ScanProgress:
    """Return the progress of a scan of two rows."""
    claims = {id_: replace(CLAIM, id=id_) for id_ in ("t1", "t2")}
    return ScanProgress(claims, budget, ScanReport())


def test_rows_of_a_settled_page_are_no_longer_to_be_released() -> None:
    """The others are."""
    scan = progress()
    scan.record(PAGE, [])
    assert list(scan.claims) == ["t2"]


@pytest.mark.parametrize("name", ["published", "attached", "failed"])
def test_a_row_that_a_page_settles_beside_the_claimed_ones_earns_a_page(name: str) -> None:
    """Each row once, and not the claimed ones, which were counted when they were matched."""
    scan = progress(PageBudget(9, pages=1))
    scan.record(PAGE, [Outcome(name, id_) for id_ in ("t1", "o1", "o1", "o2")])
    assert (scan.report.unclaimed, scan.budget and scan.budget.pages) == (2, 3)


@pytest.mark.parametrize("name", ["waiting", "unchanged", "unmatched", "busy", "refused"])
def test_a_row_that_was_not_settled_earns_none(name: str) -> None:
    """A page that only moves rows is worth no other one."""
    scan = progress(PageBudget(9, pages=1))
    scan.record(PAGE, [Outcome(name, "o1")])
    assert (scan.report.unclaimed, scan.budget and scan.budget.pages) == (0, 1)


@pytest.mark.parametrize("name", ["unmatched", "unchanged", "waiting"])
def test_of_what_a_list_has_besides_only_changes_are_reported(name: str) -> None:
    """A claimed row is reported whatever came of it, and so is the id that it was looked up by."""
    scan = progress()
    scan.record(
        PAGE,
        [
            Outcome(name, "t1"),
            Outcome(name, "o1", upload_id="up1"),
            Outcome(name, None, upload_id="up9", asset_id="as9"),
            Outcome(name, None, upload_id="up1"),
            Outcome("busy", "o1"),
        ],
    )
    assert scan.report.outcomes == {name: 2, "busy": 1}


async def test_without_a_page_left_the_pages_under_way_are_waited_for() -> None:
    """Only they can earn one; where pages are left, or none is read, nothing is waited for."""
    for budget in (None, PageBudget(9, pages=1)):
        scan = progress(budget)
        await scan.slots.acquire()
        await scan.wait_for_budget()
    scan = progress(PageBudget(9, pages=0))
    await scan.slots.acquire()
    waiting = asyncio.create_task(scan.wait_for_budget())
    for _ in range(5):
        await asyncio.sleep(0)
    assert not waiting.done()
    scan.slots.release()
    await waiting
    for _ in range(CONCURRENT_SETTLES):
        assert not scan.slots.locked()
        await scan.slots.acquire()
    assert scan.slots.locked()
