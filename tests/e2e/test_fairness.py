"""One instructor's tens of thousands of rows do not delay the ready lesson of another."""

import time
from collections.abc import Sequence
from uuid import UUID

import psycopg
import pytest

from sandbox.mux.server import MuxSimulator
from sandbox.supabase.databases import find_sql_files
from sandbox.supabase.postgres import apply_sql
from sandbox.supabase.stack import LocalSupabase
from tests.chaos import journal
from tests.chaos.journal import Entry
from tests.conftest import ANNA
from tests.course import Course
from tests.worker_process import WorkerProcess

pytestmark = pytest.mark.stack

SETTINGS = {
    "SCAN_INTERVAL_SECONDS": "1.5",
    "LEASE_SECONDS": "3",
    "MUX_REQUESTS_PER_SECOND": "20",
    "LOG_LEVEL": "error",
}
"""A scan probes ten rows then, which takes an interval: with the defaults it is about as many."""

REQUESTS_IN_TWO_INTERVALS = 60

BEYOND_THE_LISTS = 1100
"""Assets that are newer than those of the lessons: no list is read as far as that."""

EARLIER_UPLOADS = [file for file in find_sql_files() if file.stem == "058_earlier_uploads"]


@pytest.mark.usefixtures("private_database")
@pytest.mark.parametrize(
    ("rows", "is_backlog"), [(50_000, False), (10_000, True)], ids=["garbage", "backfill"]
)
def test_thousands_of_rows_do_not_delay_another_instructors_lesson(
    worker: WorkerProcess,
    course: Course,
    mux: MuxSimulator,
    supabase: LocalSupabase,
    db: psycopg.Connection,
    rows: int,
    is_backlog: bool,
) -> None:
    """It is published by the scan that is under way or by the next, in two intervals' requests."""
    track_unknown_uploads(supabase, db, rows)
    db.execute("update mux_private.schedule set is_backlog = %s where true", [is_backlog])
    journal.install(supabase)
    first, second = (upload.upload_id for upload in mux.state.seed(2))
    mux.state.seed(BEYOND_THE_LISTS)
    before = course.tracked_lesson(first, course.bert)
    worker.start(**SETTINGS)
    wait_until_published(worker, course, before)
    meanwhile = course.tracked_lesson(second, course.bert)
    wait_until_published(worker, course, meanwhile)
    assert worker.stop() == 0
    for lesson, scans in ((before, 1), (meanwhile, 2)):
        waited = entries_while_waiting(db, lesson)
        assert count_scans(waited) <= scans
        assert count_requests(mux, waited) <= REQUESTS_IN_TWO_INTERVALS
    untouched = "select from mux_private.schedule where check_count = 0"
    assert db.execute(untouched).rowcount > rows - 100


def track_unknown_uploads(supabase: LocalSupabase, db: psycopg.Connection, rows: int) -> None:
    """Track uploads for Anna's lessons that Mux does not know, as of an app that had them before.

    What sql/ does for a table with rows in it takes seconds; the triggers take half a minute.
    """
    db.execute(
        "insert into lessons (creator_id, title) select %s, 'Lesson ' || n "
        "from generate_series(1, %s) n",
        [ANNA, rows],
    )
    db.execute("alter table mux_asset_tracking disable trigger user")
    db.execute(
        "insert into mux_asset_tracking (lesson_id, upload_id, status, updated_at) "
        "select id, 'garbage-' || id, 'processing', now() from lessons"
    )
    db.execute("alter table mux_asset_tracking enable trigger user")
    db.execute("delete from mux_private.applied_files where name = '058_earlier_uploads'")
    apply_sql(supabase.dsn(), EARLIER_UPLOADS)
    scheduled = db.execute("select count(*) from mux_private.schedule").fetchone()
    assert scheduled == (rows,)


def wait_until_published(worker: WorkerProcess, course: Course, lesson: UUID) -> None:
    """Wait until a lesson is published."""
    worker.wait_until(lambda: course.state(lesson)["status"] == "published")


def entries_while_waiting(db: psycopg.Connection, lesson: UUID) -> list[Entry]:
    """Return what the database recorded from the lesson's being tracked to its being ready."""
    entries = journal.read(db, "row", "schedule")
    (tracked, *_, ready) = (n for n, entry in enumerate(entries) if entry.lesson == lesson)
    assert (entries[ready].new or {})["status"] == "ready"
    return entries[tracked : ready + 1]


def count_scans(entries: Sequence[Entry]) -> int:
    """Count the scans that began: each claims rows, several times at once for a sweep."""
    calls = [entry.call for entry in entries if entry.kind == "schedule"]
    return sum(
        call == "worker_claim" != before
        for before, call in zip([None, *calls], calls, strict=False)
    )


def count_requests(mux: MuxSimulator, entries: Sequence[Entry]) -> int:
    """Count the requests to Mux between the first and the last of these entries."""
    offset = time.time() - time.monotonic()
    began, ended = entries[0].at - offset, entries[-1].at - offset
    return sum(began <= request.began_at <= ended for request in mux.requests.all())
