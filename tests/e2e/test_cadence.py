"""When the running worker looks: a request a second while it waits, none while it is idle."""

from datetime import timedelta

import psycopg
import pytest

from sandbox.mux.clock import ManualClock
from sandbox.mux.server import MuxSimulator
from sandbox.mux.timeline import Timeline
from sandbox.supabase.stack import LocalSupabase
from tests.course import Course
from tests.e2e.evidence import assert_published
from tests.worker_process import WorkerProcess

pytestmark = pytest.mark.stack

LONG = {"SCAN_INTERVAL_SECONDS": "600", "LOG_LEVEL": "debug"}
"""The longest time between two scans: a test that depends on it does not end. Each is logged."""

ENCODING = Timeline(file_after_seconds=0, prepare_seconds=30)


def test_an_upload_in_flight_is_published_by_the_scan_after_it_is_ready(
    worker: WorkerProcess, course: Course, mux: MuxSimulator, supabase: LocalSupabase
) -> None:
    """Each scan sends one request about it, and two to Supabase; the next follows in seconds."""
    clock = mux.state.clock = ManualClock()
    upload_id = mux.state.create_upload(ENCODING)
    lesson = course.tracked_lesson(upload_id)
    worker.start(**LONG)
    worker.wait_for("scan.finished", times=4, claimed=1)
    scans = worker.events("scan.finished")
    assert [scan["mux_requests"] for scan in scans[1:4]] == [1, 1, 1]  # the first asks whoami, too
    calls, looked = len(supabase.requests), len(worker.events("scan.finished"))
    worker.wait_for("scan.finished", times=looked + 2)
    # Two a scan, a claim and a settle call; a scan may be under way at each end.
    assert len(supabase.requests) - calls <= 2 * 2 + 2
    clock.advance(30)
    sent = len(mux.requests.all())
    assert_published(worker, course, mux, lesson, upload_id)
    # One may have been under way when the clock was advanced.
    assert len(mux.requests.all()) - sent <= 2


def test_several_uploads_in_flight_cost_one_request_a_scan(
    worker: WorkerProcess, course: Course, mux: MuxSimulator
) -> None:
    """A page of the list answers for all of them, and the next scan follows within seconds."""
    clock = mux.state.clock = ManualClock()
    uploads = [mux.state.create_upload(ENCODING) for _ in range(5)]
    lessons = [course.tracked_lesson(upload_id) for upload_id in uploads]
    worker.start(**LONG)
    worker.wait_for("scan.finished", times=4, claimed=5)
    scans = worker.events("scan.finished", claimed=5)
    assert [scan["mux_requests"] for scan in scans[1:4]] == [1, 1, 1]
    clock.advance(30)
    for lesson, upload_id in zip(lessons, uploads, strict=True):
        assert_published(worker, course, mux, lesson, upload_id)


def test_an_upload_without_its_file_is_checked_less_often(
    worker: WorkerProcess, course: Course, mux: MuxSimulator
) -> None:
    """After a tenth of its age: while another is checked with each scan, it is not."""
    mux.state.clock = ManualClock()
    old = course.tracked_lesson(mux.state.create_upload(Timeline(file_after_seconds=None)))
    course.backdate(old, 900)
    encoding = course.tracked_lesson(mux.state.create_upload(ENCODING))
    worker.start()
    worker.wait_until(lambda: course.row(encoding)["check_count"] >= 4)
    row = course.row(old)
    assert row["check_count"] == 1
    pause = row["next_check_at"] - row["last_checked_at"]
    assert timedelta(seconds=27) <= pause <= timedelta(seconds=33)


def test_an_idle_worker_asks_mux_nothing(
    worker: WorkerProcess, mux: MuxSimulator, db: psycopg.Connection
) -> None:
    """Not even for the token's environment, and it does not become the leader."""
    worker.start()
    worker.wait_for("scan.finished", claimed=0)
    assert worker.stop() == 0
    assert mux.requests.all() == []
    assert db.execute("select leader from mux_private.worker_state").fetchone() == (None,)
