import asyncio
from copy import deepcopy

from tests.unit.backfill.fake_database import Database, Stored, left_alone, naming
from tests.unit.backfill.listed_mux import ListedMux, listed, waiting
from tests.unit.backfill.test_backfill import backfill, drafts, kinds
from worker.backfill.result import Result


async def test_a_plan_reports_every_lesson_once_and_writes_nothing() -> None:
    """What a scan would do, by what Mux says now; the database is only read."""
    lessons = drafts(3) | {
        "l8": Stored({"outcome": "ask", "upload_id": "bad"}, then={"outcome": "unchanged"}),
        "m1": naming("new"),
        "m2": naming("gone"),
        "m3": Stored({"outcome": "tracked", "upload_id": "u7"}),
        "m4": left_alone("left_alone", "names_nothing"),
        "m5": left_alone("restored"),
        "m6": left_alone("disputed", "several_instructors"),
        "m7": Stored({"outcome": "ask", "asset_id": "a9"}, then={"outcome": "unchanged"}),
    }
    mux = ListedMux(*(listed(n) for n in range(10)), uploads=(waiting("new"),))
    mux.faults = {"bad"}
    database = Database(lessons, mux)
    before = deepcopy(lessons)
    work, reported = backfill(database), list[Result]()
    await work.plan(reported.append)
    assert kinds(reported) == dict.fromkeys(drafts(3), "published") | {
        "l8": "mux_fault",
        "m1": "waiting",
        "m2": "upload_not_found",
        "m3": "attached",
        "m4": "names_nothing",
        "m5": "restored",
        "m6": "several_instructors",
        "m7": "unchanged",
    }
    assert (lessons, database.run, database.settled, database.scans) == (before, None, [], 0)
    assert {name for name, _ in database.calls} == {
        "worker_doctor",
        "worker_backfill_candidates",
        "worker_adopt",
    }
    assert database.items(dry_run=False) == []
    assert work.progress.is_finished
    assert (work.progress.chunk, work.progress.chunk_done) == (11, 11)


async def test_a_plan_that_is_stopped_says_so() -> None:
    """It has not gone over all lessons."""
    stopping = asyncio.Event()
    stopping.set()
    work = backfill(Database(drafts(3), ListedMux()), stopping=stopping)
    await work.plan(lambda _: None)
    assert not work.progress.is_finished
