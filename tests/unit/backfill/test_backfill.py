import asyncio
from collections import Counter
from itertools import count

import pytest
from pytest_mock import MockerFixture

from tests.unit.backfill.fake_database import Database, Stored, left_alone, naming
from tests.unit.backfill.listed_mux import ListedMux, listed, pages, waiting
from worker.backfill.backfill import BUSY_TRIES, Backfill, Options
from worker.backfill.result import Result
from worker.errors import MuxUnavailable, WorkerError


@pytest.fixture(autouse=True)
def no_pause(mocker: MockerFixture) -> None:
    """Let a backfill go on at once where it would pause."""
    mocker.patch("worker.backfill.backfill.PAUSE_SECONDS", 0)


def backfill(
    database: Database, options: Options | None = None, stopping: asyncio.Event | None = None
) -> Backfill:
    """Return a backfill of a database."""
    return Backfill(database.road, options or Options(), stopping or asyncio.Event())


def drafts(count: int, first: int = 0) -> dict[str, Stored]:
    """Return lessons that name the uploads u0, u1 …, as numbered."""
    return {f"l{n:04}": naming(f"u{n}") for n in range(first, first + count)}


def kinds(reported: list[Result]) -> dict[str, str]:
    """Return the kind of each lesson; each is reported once."""
    assert len({result.lesson_id for result in reported}) == len(reported)
    return {result.lesson_id: result.kind for result in reported}


async def test_a_video_in_muxs_list_is_settled_by_the_page() -> None:
    """The lesson is adopted first. No scan is needed, and none follows."""
    mux = ListedMux(*(listed(n) for n in range(250)))
    database = Database(drafts(250), mux)
    work, reported = backfill(database), list[Result]()
    run = await work.apply(reported.append)
    assert Counter(row.state for row in database.lessons.values()) == {"published": 250}
    assert {row.adopted_in for row in database.lessons.values()} == {run}
    assert (mux.sent, database.scans, reported) == (pages(3), 0, [])
    assert [environment for environment, _ in database.settled] == ["env1"] * 3
    assert {o for _, page in database.settled for o in page} == {listed(n) for n in range(250)}
    assert (work.progress.counts, work.progress.is_finished) == ({"published": 250}, True)
    assert database.run is None


async def test_the_item_of_a_found_video_says_what_it_is() -> None:
    """So the database need not ask what the id is; failed rows are looked at again."""
    database = Database(drafts(3), ListedMux(*(listed(n) for n in range(3))))
    await backfill(database, Options(include_drafts=True)).apply(lambda _: None)
    flags = {"takes_drafts": True, "retries_failed": True}
    assert database.items(dry_run=True) == [[{"lesson_id": id_, **flags} for id_ in drafts(3)]]
    assert database.items(dry_run=False) == [
        [
            {"lesson_id": f"l{n:04}", "id": f"u{n}", "upload_id": f"u{n}", "asset_id": f"a{n}"}
            | flags
            for n in range(3)
        ]
    ]


async def test_what_no_list_has_is_adopted_and_scanned_until_it_has_its_answer() -> None:
    """A run ends when no row that it adopted is without an answer."""
    lessons = {"l1": naming("u1"), "l2": naming("new"), "l3": naming("gone")}
    mux = ListedMux(listed(500), uploads=(waiting("new"), waiting("u1")))
    database = Database(lessons, mux, rows_per_scan=1)
    work = backfill(database)
    await work.apply(lambda _: None)
    assert work.progress.counts == {"waiting": 2, "upload_not_found": 1}
    assert (database.scans, database.run, work.progress.is_finished) == (3, None, True)


async def test_only_a_limited_number_of_rows_is_without_an_answer(mocker: MockerFixture) -> None:
    """The backfill scans before it adopts more, so that it never leaves a heap behind."""
    mocker.patch("worker.backfill.backfill.MAX_UNANSWERED", 6)
    mocker.patch("worker.backfill.backfill.ADOPTIONS_PER_CALL", 2)
    database = Database(drafts(30), ListedMux(), rows_per_scan=1)
    await backfill(database).apply(lambda _: None)
    assert database.most_unanswered == 6
    assert database.count("upload_not_found") == 30


async def test_the_progress_is_read_when_enough_rows_were_scanned(mocker: MockerFixture) -> None:
    """It takes a call for each 5,000 rows of the run, so it is not read after each scan."""
    database = Database(drafts(30), ListedMux(), rows_per_scan=1)
    await backfill(database).apply(lambda _: None)
    assert (database.scans, len(database.called("worker_backfill_progress"))) == (30, 2)


async def test_while_others_scan_the_progress_is_read_for_a_tenth_of_the_time(
    mocker: MockerFixture,
) -> None:
    """To read it takes a second here, and nothing is left to scan here for a while."""
    mocker.patch("worker.backfill.backfill.PAUSE_SECONDS", 1)
    mocker.patch("worker.backfill.backfill.monotonic", side_effect=count())
    paused = mocker.patch("worker.backfill.backfill.sleep_unless_stopping")
    database = Database(drafts(1), ListedMux(), rows_per_scan=0)
    database.on_scan = lambda: setattr(database, "rows_per_scan", 1)
    await backfill(database).apply(lambda _: None)
    assert [call.args[0] for call in paused.call_args_list] == [10]


async def test_while_a_backfill_adopts_another_worker_may_sweep(mocker: MockerFixture) -> None:
    """Else live lessons would wait for as long as it reads lessons and Mux's list."""
    mocker.patch("worker.backfill.backfill.MAX_UNANSWERED", 4)
    mocker.patch("worker.backfill.backfill.ADOPTIONS_PER_CALL", 2)
    mocker.patch("worker.supabase.backfill.LESSONS_PER_CALL", 3)
    mocker.patch("worker.backfill.backfill.CHUNK_LESSONS", 3)
    database = Database(drafts(12), ListedMux(), rows_per_scan=1)
    await backfill(database).apply(lambda _: None)
    assert database.count("upload_not_found") == 12
    assert (database.scans, database.is_leader) == (12, False)


async def test_what_is_planned_in_a_run_is_planned_as_its_continuation() -> None:
    """So what failed in it before is not looked at again; a plan belongs to no run."""
    database = Database(drafts(1), ListedMux())
    run = await backfill(database).apply(lambda _: None)
    await backfill(database).plan(lambda _: None)
    planned = [c["backfill"] for c in database.called("worker_adopt") if c["dry_run"]]
    assert planned == [run, None, None]


async def test_lessons_that_are_locked_are_tried_again() -> None:
    """Those alone; a lesson that stays locked is reported, and the run ends all the same."""
    lessons = drafts(3) | {"l8": naming("u8", busy=BUSY_TRIES - 1), "l9": naming("u9", busy=99)}
    database = Database(lessons, ListedMux())
    work, reported = backfill(database), list[Result]()
    await work.apply(reported.append)
    tried = [[item["lesson_id"] for item in items] for items in database.items(dry_run=False)]
    assert tried == [[*drafts(3), "l8", "l9"], ["l8", "l9"], ["l8", "l9"]]
    assert kinds(reported) == {"l9": "busy"}
    assert work.progress.counts == {"upload_not_found": 4, "busy": 1}
    assert (database.run, work.progress.chunk_done) == (None, 5)


async def test_a_lesson_that_is_locked_when_its_video_is_found_is_settled_later() -> None:
    """Only for the lessons that were adopted is the page settled."""
    lessons = drafts(3) | {"l9": naming("u9", busy=99)}
    database = Database(lessons, ListedMux(*(listed(n) for n in range(20))))
    await backfill(database).apply(lambda _: None)
    assert [set(page) for _, page in database.settled] == [{listed(n) for n in range(3)}]
    assert lessons["l9"].state is None


async def test_what_is_left_alone_is_reported_and_not_adopted() -> None:
    """With the reason; `restored` and `disputed` are known only when the lesson is adopted."""
    lessons = {
        "l1": left_alone("left_alone", "names_nothing"),
        "l2": left_alone("left_alone", "has_video"),
        "l3": left_alone("unchanged"),
        "l4": left_alone("restored"),
        "l5": left_alone("disputed", "lesson_mismatch"),
    }
    database = Database(lessons, ListedMux())
    work, reported = backfill(database), list[Result]()
    await work.apply(reported.append)
    assert kinds(reported) == {
        "l1": "names_nothing",
        "l2": "has_video",
        "l3": "unchanged",
        "l4": "restored",
        "l5": "lesson_mismatch",
    }
    (items,) = database.items(dry_run=False)
    assert [item["lesson_id"] for item in items] == ["l4", "l5"]
    assert database.mux.sent == []


async def test_mux_is_asked_about_an_id_that_is_new_to_a_lesson_with_a_history() -> None:
    """A lesson about whose id Mux does not answer is reported, and stays as it is."""
    ask = {"outcome": "ask", "upload_id": "u1", "is_draft": True}
    lessons = {
        "l1": Stored(ask, then={"outcome": "adopted"}),
        "l2": Stored({**ask, "upload_id": "bad"}, then={"outcome": "adopted"}),
    }
    mux = ListedMux(listed(1))
    mux.faults = {"bad"}
    database, reported = Database(lessons, mux), list[Result]()
    await backfill(database).apply(reported.append)
    assert kinds(reported) == {"l2": "mux_fault"}
    assert (lessons["l1"].state, lessons["l2"].state) == ("published", None)
    (_, answers) = database.items(dry_run=False)
    flags = {"takes_drafts": False, "retries_failed": True}
    assert answers == [
        {"lesson_id": "l1", "id": "u1", "upload_id": "u1", "asset_id": "a1", **flags}
    ]


async def test_a_trusted_asset_is_adopted_and_settled() -> None:
    """For a lesson that names nothing; without the option it is reported."""
    mux = ListedMux(listed(1, lesson_references=("l1",)))
    for options, state in ((Options(), None), (Options(trust_passthrough=True), "published")):
        lessons = {"l1": left_alone("left_alone", "names_nothing")}
        database, reported = Database(lessons, mux), list[Result]()
        await backfill(database, options).apply(reported.append)
        assert lessons["l1"].state == state
        assert kinds(reported) == ({} if state else {"l1": "names_nothing"})


async def test_a_daemon_beside_the_backfill_may_give_the_answers() -> None:
    """Then there is nothing to claim here, and the backfill waits until it has them all."""
    lessons = drafts(2)
    database = Database(lessons, ListedMux(), rows_per_scan=0)

    def answer_one() -> None:
        row = next(row for row in lessons.values() if row.state == "unanswered")
        row.state = "published"

    database.on_scan = answer_one
    await backfill(database).apply(lambda _: None)
    assert (database.count("published"), database.scans, database.run) == (2, 2, None)


async def test_a_run_that_is_stopped_is_not_ended_and_is_continued() -> None:
    """The next one counts what it did, and adopts the rest."""
    stopping = asyncio.Event()
    database = Database(drafts(6), ListedMux(), rows_per_scan=2, on_scan=stopping.set)
    work = backfill(database, stopping=stopping)
    first = await work.apply(lambda _: None)
    assert (work.progress.is_finished, work.progress.is_resumed) == (False, False)
    assert (database.run, database.scans, database.count("unanswered")) == (first, 1, 4)

    database.on_scan = lambda: None
    work = backfill(database)
    assert await work.apply(lambda _: None) == first
    assert (work.progress.is_finished, work.progress.is_resumed) == (True, True)
    assert work.progress.counts == {"upload_not_found": 6}
    assert database.run is None
    assert await backfill(database).apply(lambda _: None) != first


async def test_a_run_that_an_outage_ends_is_continued() -> None:
    """What was adopted before stays in the run."""
    mux = ListedMux(*(listed(n) for n in range(3)))
    database = Database(drafts(3) | {"l9": naming("gone")}, mux)
    database.on_scan = lambda: setattr(mux, "is_down", True)
    mux.is_down = True
    with pytest.raises(MuxUnavailable):
        await backfill(database).apply(lambda _: None)
    assert database.run == "run 1"
    mux.is_down = False
    work = backfill(database)
    assert await work.apply(lambda _: None) == "run 1"
    assert work.progress.counts == {"published": 3, "upload_not_found": 1}


async def test_a_stopped_backfill_reads_and_adopts_no_more(mocker: MockerFixture) -> None:
    """Not even the next lessons."""
    mocker.patch("worker.supabase.backfill.LESSONS_PER_CALL", 2)
    stopping = asyncio.Event()
    stopping.set()
    database = Database(drafts(6), ListedMux())
    work = backfill(database, stopping=stopping)
    await work.apply(lambda _: None)
    assert [name for name, _ in database.calls] == [
        "worker_doctor",
        "worker_backfill_begin",
        "worker_backfill_progress",
    ]
    assert not work.progress.is_finished


async def test_lessons_are_searched_for_in_chunks(mocker: MockerFixture) -> None:
    """One reading of Mux's list serves a chunk; all lessons are read, and each is counted."""
    mocker.patch("worker.supabase.backfill.LESSONS_PER_CALL", 3)
    mocker.patch("worker.backfill.backfill.CHUNK_LESSONS", 6)
    mux = ListedMux(*(listed(n) for n in range(50)))
    database = Database(drafts(10), mux)
    work = backfill(database)
    await work.apply(lambda _: None)
    progress = work.progress
    assert (progress.walked, progress.chunk, progress.chunk_done) == (10, 4, 4)
    assert [call["after"] for call in database.called("worker_backfill_candidates")] == [
        None,
        "l0002",
        "l0005",
        "l0008",
    ]
    assert (mux.sent, database.count("published")) == (pages(1) * 2, 10)


async def test_with_a_token_of_another_environment_nothing_is_done() -> None:
    """There Mux knows none of the ids."""
    database = Database(drafts(3), ListedMux(), recorded="env2")
    for work in (backfill(database).apply, backfill(database).plan):
        with pytest.raises(WorkerError, match="belongs to environment env1"):
            await work(lambda _: None)
    assert {name for name, _ in database.calls} == {"worker_doctor"}
