"""What the running worker does about lessons whose temporary ids nobody tracked."""

import psycopg
import pytest

from tests.course import Course
from tests.e2e.evidence import lines, picked
from tests.e2e.test_backfill import SLOW, VIDEO, untracked, video
from tests.worker_process import WorkerProcess
from worker.local.mux_server import MuxSimulator

pytestmark = pytest.mark.stack

QUICK = {"SCAN_INTERVAL_SECONDS": "0.05"}
"""A pass of the adoption every three seconds."""


def save_form_again(db: psycopg.Connection, upload_id: str) -> None:
    """Do what the app does when a form that was left open is saved."""
    db.execute(
        "update lessons set status = 'draft', mux_asset_id = %s, mux_playback_id = %s",
        [f"temp_{upload_id}", f"temp_playback_{upload_id}"],
    )


def test_lessons_that_nobody_tracked_are_adopted(
    worker: WorkerProcess, course: Course, mux: MuxSimulator
) -> None:
    """By the upload in the placeholder, or the asset; each is told of, and published."""
    uploads = [mux.state.create_upload() for _ in range(2)]
    asset = video(mux, uploads[1])[0]
    lessons = [untracked(course, uploads[0])]
    lessons.append(course.lesson(mux_playback_id=f"temp_playback_{asset}"))
    waiting = untracked(course, mux.state.create_upload(SLOW))
    worker.start(**QUICK)
    for lesson, upload in zip(lessons, uploads, strict=True):
        worker.wait_for("lesson.published", lesson_id=str(lesson))
        assert picked(course.state(lesson), *VIDEO) == ("published", *video(mux, upload))
    worker.wait_for("lesson.adopted", lesson_id=str(waiting))
    assert course.row(waiting)["status"] == "processing"
    adopted = {line["lesson_id"] for line in lines(worker, "lesson.adopted")}
    assert adopted == {str(x) for x in (*lessons, waiting)}
    assert worker.stop() == 0


def test_a_newer_placeholder_wins_over_what_is_tracked(
    worker: WorkerProcess, course: Course, mux: MuxSimulator
) -> None:
    """The row goes over to the upload that the lesson names."""
    old, new = mux.state.create_upload(SLOW), mux.state.create_upload()
    lesson = untracked(course, new)
    course.track(lesson, old)
    worker.start(**QUICK)
    worker.wait_for("lesson.published", lesson_id=str(lesson))
    assert picked(course.state(lesson), *VIDEO) == ("published", *video(mux, new))
    assert course.row(lesson)["upload_id"] == new


def test_what_a_form_left_open_overwrote_is_given_back(
    worker: WorkerProcess, course: Course, db: psycopg.Connection, mux: MuxSimulator
) -> None:
    """The ids each time, the status once: who unpublishes after that means it."""
    upload = mux.state.create_upload()
    lesson = course.tracked_lesson(upload)
    worker.start(**QUICK)
    worker.wait_for("lesson.published", lesson_id=str(lesson))
    asked = len(mux.requests.all())
    save_form_again(db, upload)
    worker.wait_for("lesson.given_back", lesson_id=str(lesson))
    assert picked(course.state(lesson), *VIDEO) == ("published", *video(mux, upload))
    save_form_again(db, upload)
    worker.wait_for("lesson.given_back", times=2, lesson_id=str(lesson))
    assert picked(course.state(lesson), *VIDEO) == ("draft", *video(mux, upload))
    events = [(e["event"], e["reason"]) for e in course.events(lesson)]
    assert events[-2:] == [("published", "given_back"), ("attached", "given_back")]
    assert len(mux.requests.all()) - asked <= 1  # who we are; nothing about the lesson


def test_what_mux_does_not_know_is_told_once_and_left_alone(
    worker: WorkerProcess, course: Course, db: psycopg.Connection, mux: MuxSimulator
) -> None:
    """No row is made; with other ids it has its turn again."""
    lesson = untracked(course, "Gone")
    half = course.lesson(mux_asset_id="temp_")
    worker.start(**QUICK)
    worker.wait_for("lesson.unrecoverable", lesson_id=str(lesson), reason="upload_not_found")
    worker.wait_for("lesson.unrecoverable", lesson_id=str(half), reason="unreadable_id")
    asked = len(mux.requests.all())
    other = untracked(course, mux.state.create_upload())
    worker.wait_for("lesson.published", lesson_id=str(other))
    assert len(lines(worker, "lesson.unrecoverable")) == 2
    assert not any("Gone" in seen.path for seen in mux.requests.all()[asked:])
    assert db.execute("select count(*) from mux_asset_tracking").fetchone() == (1,)
    upload = mux.state.create_upload()
    db.execute("update lessons set mux_asset_id = %s where id = %s", [f"temp_{upload}", lesson])
    worker.wait_for("lesson.published", lesson_id=str(lesson))


def test_nobody_gets_anothers_video_by_naming_it(
    worker: WorkerProcess, course: Course, mux: MuxSimulator
) -> None:
    """Anybody can write a placeholder: who tracked it first has the video, if somebody did."""
    upload = mux.state.create_upload()
    theirs = course.tracked_lesson(upload, course.bert)
    mine = untracked(course, upload)
    worker.start(**QUICK)
    worker.wait_for("lesson.published", lesson_id=str(theirs))
    worker.wait_for("lesson.failed", lesson_id=str(mine), error_type="lesson_mismatch")
    assert course.state(mine)["status"] == "draft"
