import signal
from collections.abc import Iterator
from datetime import datetime, timedelta
from uuid import UUID

import pytest

from sandbox.mux.clock import ManualClock
from sandbox.mux.server import MuxSimulator
from sandbox.mux.timeline import Timeline
from sandbox.supabase.stack import LocalSupabase
from tests.conftest import ANNA, BERT
from tests.course import Course
from tests.e2e.evidence import assert_works_on, picked, refuse_lists
from tests.worker_process import Line, WorkerProcess

pytestmark = pytest.mark.stack

Uploads = dict[UUID, str]

CLOCK = timedelta(seconds=0.1)
"""How exactly the log says when a scan began."""


@pytest.fixture
def other(environment: dict[str, str]) -> Iterator[WorkerProcess]:
    """Give a second worker with the same settings, not yet started."""
    process = WorkerProcess(environment)
    yield process
    process.kill()


def due_at_once(supabase: LocalSupabase, mux: MuxSimulator, number: int) -> Uploads:
    """Track ready uploads of different lessons in one transaction: nobody sees them one by one."""
    with supabase.connect(autocommit=False) as db:
        course = Course(db, anna=ANNA, bert=BERT)
        found = {course.tracked_lesson(s.upload_id): s.upload_id for s in mux.state.seed(number)}
        db.commit()
    return found


def assert_each_published_once(course: Course, mux: MuxSimulator, uploads: Uploads) -> None:
    """Compare lessons, rows and audit: each has its own video, and got it once."""
    for lesson, upload_id in uploads.items():
        asset_id = mux.state.upload(upload_id).asset_id
        assert picked(course.state(lesson), "status", "mux_asset_id") == ("published", asset_id)
        assert picked(course.row(lesson), "status", "mux_asset_id") == ("ready", asset_id)
        assert [e["event"] for e in course.events(lesson)] == ["tracked", "published"]


def assert_each_told_once(uploads: Uploads, *workers: WorkerProcess) -> None:
    """See that one worker, and only one, says of each lesson that it was published."""
    result = [line["lesson_id"] for worker in workers for line in worker.events("lesson.published")]
    assert sorted(result) == sorted(map(str, uploads))


def assert_nobody_complained(*workers: WorkerProcess) -> None:
    """See that all lines are plain news."""
    assert [line for w in workers for line in w.lines if line["level"] != "info"] == []


def wait_for_published(supabase: LocalSupabase, worker: WorkerProcess, number: int) -> None:
    """Wait until so many lessons are published, whoever does it."""
    with supabase.connect() as db:

        def done() -> bool:
            row = db.execute("select count(*) from lessons where status = 'published'").fetchone()
            return row == (number,)

        worker.wait_until(done)


def leader(supabase: LocalSupabase) -> str | None:
    """Return the worker that looks for all, if there is one now."""
    with supabase.connect() as db:
        row = db.execute(
            "select leader from mux_private.worker_state where leads_until > now()"
        ).fetchone()
        return row[0] if row else None


def test_two_workers_do_not_do_the_same_work(
    worker: WorkerProcess,
    other: WorkerProcess,
    course: Course,
    mux: MuxSimulator,
    supabase: LocalSupabase,
) -> None:
    """Sixty lessons, two workers, one page of Mux's list: each is published once, all is quiet."""
    both = [worker, other]
    for one in both:
        one.start(SCAN_BATCH_SIZE="5", MUX_REQUESTS_PER_SECOND="40")
    for one in both:
        one.wait_for("scan.finished")
    uploads = due_at_once(supabase, mux, 60)
    wait_for_published(supabase, worker, 60)
    assert [one.stop() for one in both] == [0, 0]
    asked = mux.requests.by_route()
    assert asked == {"GET /system/v1/whoami": 1, "GET /video/v1/assets": 1}
    assert_nobody_complained(*both)
    assert_each_told_once(uploads, *both)
    assert_each_published_once(course, mux, uploads)


def test_only_one_worker_asks_mux_about_one_row(
    worker: WorkerProcess, other: WorkerProcess, course: Course, mux: MuxSimulator
) -> None:
    """However often it falls due and however often both scan; when that one stops, the other."""
    clock = mux.state.clock = ManualClock()
    upload_id = mux.state.create_upload(Timeline(file_after_seconds=0, prepare_seconds=30))
    lesson = course.tracked_lesson(upload_id)
    both = [worker, other]
    for one in both:
        one.start()
    worker.wait_until(lambda: course.row(lesson)["check_count"] >= 12)
    looked = [one for one in both if one.events("scan.finished", claimed=1)]
    assert len(looked) == 1
    assert mux.requests.by_route()["GET /system/v1/whoami"] == 1
    (the_leader,) = looked
    (the_other,) = (one for one in both if one is not the_leader)
    assert the_leader.stop() == 0
    clock.advance(30)
    the_other.wait_for("lesson.published", lesson_id=str(lesson))
    assert the_other.stop() == 0
    assert_nobody_complained(*both)
    assert_each_told_once({lesson: upload_id}, *both)


def test_a_new_worker_takes_over_from_one_that_stops(
    worker: WorkerProcess,
    other: WorkerProcess,
    course: Course,
    mux: MuxSimulator,
    supabase: LocalSupabase,
) -> None:
    """As at every deploy: the new one publishes what is handed back, and waits for no lease."""
    refuse_lists(mux)
    uploads = due_at_once(supabase, mux, 30)
    worker.start(LEASE_SECONDS="600", MUX_REQUESTS_PER_SECOND="5")
    mux.requests.wait_for(8)
    other.start(LEASE_SECONDS="600")
    other.wait_for("worker.started")
    before = leader(supabase)
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    assert before is not None
    assert leader(supabase) != before
    released = worker.events("scan.finished")[-1]["released"]
    assert 0 < released < 30
    wait_for_published(supabase, other, 30)
    assert other.stop() == 0
    assert len(other.events("lesson.published")) == released
    assert_nobody_complained(worker, other)
    assert_each_told_once(uploads, worker, other)
    assert_each_published_once(course, mux, uploads)


def test_one_of_two_may_be_killed(
    worker: WorkerProcess,
    other: WorkerProcess,
    course: Course,
    mux: MuxSimulator,
    supabase: LocalSupabase,
) -> None:
    """Killed in the middle of its batch, it leaves the rest to the other.

    The first scan that begins after the lease has all of it.
    """
    refuse_lists(mux)
    uploads = due_at_once(supabase, mux, 30)
    other.start(LEASE_SECONDS="2", MUX_REQUESTS_PER_SECOND="5")
    other.wait_for("worker.started")
    mux.requests.wait_for(8)
    other.kill()  # it was the leader
    leased_until = last_lease(supabase)
    worker.start(LOG_LEVEL="debug")
    wait_for_published(supabase, worker, 30)
    worker.wait_until(lambda: any(s["claimed"] for s in worker.events("scan.finished")))
    scans = worker.events("scan.finished")
    takeover = next(scan for scan in scans if scan["claimed"])
    assert began_at(takeover) > leased_until - CLOCK
    assert [s for s in scans[: scans.index(takeover)] if began_at(s) > leased_until + CLOCK] == []
    assert_each_published_once(course, mux, uploads)
    assert takeover["claimed"] == len(worker.events("lesson.published"))
    assert_works_on(worker, course, mux)
    assert [line for line in worker.lines if line["level"] not in ("debug", "info")] == []


def last_lease(supabase: LocalSupabase) -> datetime:
    """Return when the last lease ends, of a row or of the leader."""
    with supabase.connect() as db:
        row = db.execute(
            "select greatest((select max(next_check_at) from mux_private.schedule),"
            " (select leads_until from mux_private.worker_state))"
        ).fetchone()
    assert row is not None
    ends_at: datetime = row[0]
    return ends_at


def began_at(scan: Line) -> datetime:
    """Return when a scan began."""
    return datetime.fromisoformat(scan["timestamp"]) - timedelta(seconds=scan["seconds"])
