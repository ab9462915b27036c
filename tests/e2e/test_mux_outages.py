"""Mux limits us or is gone for a while: what the running worker does, and what it tells."""

import psycopg

from sandbox.fault_injection import Fault
from sandbox.mux.rate_limit import RateLimits
from sandbox.mux.server import MuxSimulator
from tests.course import Course
from tests.e2e.evidence import assert_published, assert_works_on, lines, picked, tables
from tests.worker_process import WorkerProcess

OUTAGE = ("mux.retry", "mux.unavailable", "mux.unauthorized", "mux.recovered")


def test_the_worker_keeps_to_a_limit_that_is_lower_than_its_own(
    worker: WorkerProcess, course: Course, mux: MuxSimulator
) -> None:
    """Set to 200 requests a second where Mux allows 5, it slows down and publishes everything."""
    mux.limits = RateLimits.per_second(get=5, post=1)
    uploads = [mux.state.create_upload() for _ in range(8)]
    lessons = [course.tracked_lesson(upload_id) for upload_id in uploads]
    worker.start()
    for lesson, upload_id in zip(lessons, uploads, strict=True):
        assert_published(worker, course, mux, lesson, upload_id)
    too_many = [seen for seen in mux.requests.all() if seen.status == 429]
    assert len(too_many) <= 8  # four questions at once may each run into it, some twice
    assert lines(worker, "mux.unavailable", "lesson.failed") == []
    mux.limits = RateLimits.per_second(None, None)
    assert_works_on(worker, course, mux)


def test_an_outage_with_three_hundred_rows_due_is_short_to_read_and_quickly_made_up_for(
    worker: WorkerProcess, db: psycopg.Connection, course: Course, mux: MuxSimulator
) -> None:
    """Two lines while it lasts, one when it ends, and then a page of Mux's list for a hundred."""
    seeded = mux.state.seed(300)
    lessons = {course.tracked_lesson(one.upload_id): one for one in seeded}
    before = tables(db)
    mux.stop()
    worker.start()
    worker.wait_for("mux.unavailable")
    assert tables(db) == before
    mux.start()
    recovered = worker.wait_for("mux.recovered")
    worker.wait_for("lesson.published", times=300)

    during = worker.lines[: worker.lines.index(worker.events("lesson.published")[0])]
    assert [line["event"] for line in during] == ["worker.started", "mux.retry", "mux.unavailable"]
    assert picked(during[2], "level", "reason") == ("warning", "connection")
    assert during[2]["message"].startswith("No answer from Mux: ")
    assert recovered["rows_waiting"] == 300
    assert 0 < recovered["outage_seconds"] < 90
    assert len(lines(worker, "mux.recovered", "mux.unavailable")) == 2
    assert {s["id"]: s["mux_playback_id"] for s in tables(db)["lessons"]} == {
        lesson: one.playback_ids[0] for lesson, one in lessons.items()
    }

    asked = mux.requests.by_route()
    assert asked == {"GET /system/v1/whoami": 1, "GET /video/v1/assets": 3}
    assert_works_on(worker, course, mux)


def test_mux_has_not_recovered_before_a_whole_scan_went_well(
    worker: WorkerProcess, course: Course, mux: MuxSimulator
) -> None:
    """Where reads fail though Mux still says who we are, the outage goes on: no false recovery."""
    mux.faults.add(Fault("answer", status=503), path="/video/*", times=5)
    upload_id = mux.state.create_upload()
    lesson = course.tracked_lesson(upload_id)
    worker.start()
    assert_published(worker, course, mux, lesson, upload_id)
    recovered = worker.wait_for("mux.recovered")
    result = lines(worker, *OUTAGE, "lesson.published")
    assert [line["event"] for line in result] == [
        "mux.retry",
        "mux.unavailable",
        "lesson.published",
        "mux.recovered",
    ]
    assert result[1] == {
        "level": "warning",
        "event": "mux.unavailable",
        "reason": "http_503",
        "message": "Mux answered with 503.",
    }
    assert picked(recovered, "level", "rows_waiting") == ("info", 1)
    assert len(mux.faults.hits) == 5
    assert_works_on(worker, course, mux)
