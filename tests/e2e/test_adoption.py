"""What the running worker does about lessons whose temporary ids nobody tracked."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest

from sandbox.mux.server import MuxSimulator
from tests.course import Course
from tests.e2e.evidence import (
    Tables,
    assert_published,
    assert_works_on,
    lines,
    picked,
    tables,
)
from tests.e2e.test_backfill import SLOW, VIDEO, untracked, video
from tests.worker_process import WorkerProcess
from tests.worker_role import WITH_BOTH_KEYS
from worker import wording

pytestmark = pytest.mark.stack

QUICK = {"SCAN_INTERVAL_SECONDS": "0.05"}
"""A pass of the adoption every 0.2 seconds."""


@pytest.fixture
def worker(environment: dict[str, str]) -> Iterator[WorkerProcess]:
    """Yield a worker whose adoption is not waited for long; it is killed at the end of the test."""
    process = WorkerProcess(environment, module="tests.e2e.eager_worker")
    yield process
    process.kill()


def save_form_again(db: psycopg.Connection, upload_id: str, lesson: UUID | None = None) -> None:
    """Do what the app does when a form that was left open is saved, for one lesson or for all."""
    db.execute(
        "update lessons set status = 'draft', mux_asset_id = %s, mux_playback_id = %s "
        "where %s::uuid is null or id = %s",
        [f"temp_{upload_id}", f"temp_playback_{upload_id}", lesson, lesson],
    )


@WITH_BOTH_KEYS
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
    worker: WorkerProcess, course: Course, db: psycopg.Connection, mux: MuxSimulator
) -> None:
    """Saved after the row was written, it names an upload that the history does not know."""
    old, new = mux.state.create_upload(SLOW), mux.state.create_upload()
    lesson = course.tracked_lesson(old)
    save_form_again(db, new)
    worker.start(**QUICK)
    worker.wait_for("lesson.published", lesson_id=str(lesson))
    assert picked(course.state(lesson), *VIDEO) == ("published", *video(mux, new))
    assert course.row(lesson)["upload_id"] == new


def test_an_older_placeholder_does_not_win_over_what_is_tracked(
    worker: WorkerProcess, course: Course, mux: MuxSimulator
) -> None:
    """It stood there when the upload began to be tracked: that one is published, and stays."""
    old, new = mux.state.create_upload(), mux.state.create_upload()
    lesson = untracked(course, old)
    course.track(lesson, new)
    worker.start(**QUICK)
    assert_published(worker, course, mux, lesson, new)
    assert_works_on(worker, course, mux)
    assert lines(worker, "lesson.adopted", "lesson.restored") == []
    assert picked(course.state(lesson), *VIDEO) == ("published", *video(mux, new))


def test_a_ready_video_is_not_published_over_a_placeholder_that_may_be_newer(
    worker: WorkerProcess, course: Course, db: psycopg.Connection, mux: MuxSimulator
) -> None:
    """The scan that finds it adopts what the lesson names, and the next one publishes that."""
    old, new = mux.state.create_upload(), mux.state.create_upload()
    lesson = course.tracked_lesson(old)
    save_form_again(db, new)
    worker.start(SCAN_INTERVAL_SECONDS="2")  # the adoption that runs beside it comes after 12 s
    assert_published(worker, course, mux, lesson, new)
    result = lines(worker, "lesson.adopted", "lesson.published", lesson_id=str(lesson))
    assert [line["event"] for line in result] == ["lesson.adopted", "lesson.published"]
    happened = [picked(e, "event", "upload_id", "reason") for e in course.events(lesson)]
    assert happened == [
        ("tracked", old, None),
        ("waiting", old, "names_newer"),
        ("tracked", new, None),
        ("published", new, "asset_ready"),
    ]


@WITH_BOTH_KEYS
def test_what_a_form_left_open_overwrote_is_restored(
    worker: WorkerProcess, course: Course, db: psycopg.Connection, mux: MuxSimulator
) -> None:
    """The ids each time, the status once: who unpublishes after that means it."""
    upload = mux.state.create_upload()
    lesson = course.tracked_lesson(upload)
    worker.start(**QUICK)
    worker.wait_for("lesson.published", lesson_id=str(lesson))
    asked = len(mux.requests.all())
    save_form_again(db, upload)
    worker.wait_for("lesson.restored", lesson_id=str(lesson))
    assert picked(course.state(lesson), *VIDEO) == ("published", *video(mux, upload))
    save_form_again(db, upload)
    worker.wait_for("lesson.restored", times=2, lesson_id=str(lesson))
    assert picked(course.state(lesson), *VIDEO) == ("draft", *video(mux, upload))
    events = [picked(e, "event", "lesson_to_status") for e in course.events(lesson)]
    assert events[-2:] == [("restored", "published"), ("restored", "draft")]
    assert len(mux.requests.all()) - asked <= 1  # who we are; nothing about the lesson


def test_an_id_that_mux_does_not_know_is_tracked_and_fails_after_its_grace(
    worker: WorkerProcess, course: Course, db: psycopg.Connection, mux: MuxSimulator
) -> None:
    """As any other upload; with another id the lesson has its video. No id is left alone."""
    course.tracked_lesson(mux.state.create_upload())  # by it the token's environment is known
    lesson = untracked(course, "Gone")
    half = course.lesson(mux_asset_id="temp_")
    worker.start(**QUICK)
    worker.wait_for("lesson.adopted", lesson_id=str(lesson), upload_id="Gone")
    worker.wait_until(lambda: course.row(lesson)["missing_count"] > 0)
    course.reschedule(
        lesson, missing_count=3, next_check_at=timedelta(), missing_since=timedelta(hours=-1)
    )
    worker.wait_for("lesson.failed", lesson_id=str(lesson), error_type="upload_not_found")
    upload = mux.state.create_upload()
    db.execute("update lessons set mux_asset_id = %s where id = %s", [f"temp_{upload}", lesson])
    assert_published(worker, course, mux, lesson, upload)
    adopted = lines(worker, "lesson.adopted")
    assert [picked(line, "lesson_id", "upload_id") for line in adopted] == [
        (str(lesson), "Gone"),
        (str(lesson), upload),
    ]
    assert course.events(half) == []


def test_nobody_gets_anothers_video_by_naming_it(
    worker: WorkerProcess, course: Course, mux: MuxSimulator
) -> None:
    """Anybody can write a placeholder: who tracked it first has the video, if somebody did."""
    upload = mux.state.create_upload()
    theirs = course.tracked_lesson(upload, course.bert)
    mine = untracked(course, upload)
    before = course.state(mine)
    worker.start(**QUICK)
    worker.wait_for("lesson.published", lesson_id=str(theirs))
    worker.wait_for("adoption.failed", lesson_id=str(mine))
    assert_adopts_on(worker, course, mux)
    assert lines(worker, "adoption.failed") == [
        {
            "level": "warning",
            "event": "adoption.failed",
            "lesson_id": str(mine),
            "reason": "lesson_mismatch",
            "message": wording.FAILURES["lesson_mismatch"],
        }
    ]
    assert course.state(mine) == before
    assert course.events(mine) == []


def test_a_second_pass_of_the_adoption_changes_nothing(
    worker: WorkerProcess, course: Course, db: psycopg.Connection, mux: MuxSimulator
) -> None:
    """Neither what it adopted, nor what it restored, nor what waits, fails or plays."""
    ready, slow = mux.state.create_upload(), mux.state.create_upload(SLOW)
    lessons = [untracked(course, ready), untracked(course, slow), course.tracked_lesson(slow)]
    course.tracked_lesson("Lost", status="error", error_type="gave_up")
    course.lesson(mux_asset_id="real", mux_playback_id="real")
    worker.start(**QUICK)
    worker.wait_for("lesson.published", lesson_id=str(lessons[0]))
    worker.wait_for("lesson.adopted", lesson_id=str(lessons[1]))
    save_form_again(db, ready, lessons[0])
    worker.wait_for("lesson.restored", lesson_id=str(lessons[0]))
    worker.wait_until(lambda: all(course.row(x)["mux_asset_id"] for x in lessons))
    before, history = settled(db), history_of(db)
    assert_adopts_on(worker, course, mux)
    for name, rows in settled(db).items():
        assert [row for row in rows if row in before[name]] == before[name]
    assert [entry for entry in history_of(db) if entry in history] == history
    assert len(lines(worker, "lesson.restored")) == 1
    assert len(lines(worker, "lesson.adopted")) == 4


def assert_adopts_on(worker: WorkerProcess, course: Course, mux: MuxSimulator) -> None:
    """Wait until the adoption has gone over all lessons again: a lesson that comes now is adopted.

    Twice, since the first may be adopted by a pass that had begun before.
    """
    for _ in range(2):
        lesson = untracked(course, mux.state.create_upload())
        worker.wait_for("lesson.adopted", lesson_id=str(lesson))


def settled(db: psycopg.Connection) -> Tables:
    """Read the tables without what every look at a waiting row changes."""
    found = tables(db)
    for row in found["schedule"]:
        del row["check_count"]
    return found


def history_of(db: psycopg.Connection) -> list[Any]:
    """Read the upload history."""
    return db.execute("select * from mux_private.upload_history order by id").fetchall()
