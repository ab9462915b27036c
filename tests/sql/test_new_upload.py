from typing import Any

import psycopg
import pytest

from tests.course import Course
from tests.sql.service import FAIL, PUBLISH, WAIT, Service, fact, looked_at

pytestmark = pytest.mark.stack

STARTED = {
    "status": "processing",
    "mux_asset_id": None,
    "mux_playback_id": None,
    "error_type": None,
    "error_message": None,
    "check_count": 0,
    "last_checked_at": None,
    "missing_since": None,
    "missing_count": 0,
    "settled_at": None,
}
"""A row whose upload has just begun, whatever was there before."""


def started(row: dict[str, Any]) -> dict[str, Any]:
    """Give the part of a row that a new upload clears."""
    return {name: row[name] for name in STARTED}


def aged(course: Course, service: Service, lesson: Any) -> dict[str, Any]:
    """Let an hour pass in which the row was looked at and found missing."""
    course.make_due(lesson)
    (claimed,) = [row for row in service.claim() if row["lesson_id"] == str(lesson)]
    missing = looked_at(claimed, missing=True)
    service.settle(fact(WAIT, claimed["upload_id"], claimed=[missing]))
    course.backdate(lesson, 3600)
    return course.row(lesson)


@pytest.mark.parametrize("verdict", [PUBLISH, FAIL, WAIT])
def test_a_new_upload_clears_what_the_old_one_left(
    course: Course, service: Service, verdict: dict[str, str]
) -> None:
    """The app's own upsert, which sets five columns, starts the row anew and its clocks with it."""
    lesson = course.tracked_lesson("up1")
    aged(course, service, lesson)
    service.settle(fact(verdict, "up1", "as1"))
    before = course.row(lesson)
    course.track(lesson, "up2")
    row = course.row(lesson)
    assert started(row) == STARTED
    assert row["tracked_at"] == row["next_check_at"] > before["tracked_at"]
    assert (row["id"], row["created_at"]) == (before["id"], before["created_at"])


def test_a_temporary_id_of_the_old_upload_goes_too(
    course: Course, service: Service, db: psycopg.Connection
) -> None:
    """A statement that changes only the upload id leaves no placeholder of the old one."""
    lesson = course.tracked_lesson("up1")
    db.execute("update mux_asset_tracking set upload_id = 'up2'")
    assert course.row(lesson)["temp_asset_id"] is None


def test_what_the_same_statement_brings_stays(course: Course, service: Service) -> None:
    """Values that differ from the old ones came with the new upload."""
    lesson = course.tracked_lesson("up1")
    service.settle(fact(FAIL, "up1", "as1"))
    course.track(lesson, "up2", mux_asset_id="as2", error_message="new", status="ready")
    row = course.row(lesson)
    assert (row["mux_asset_id"], row["error_message"], row["status"]) == ("as2", "new", "ready")


def test_the_same_upload_once_more_leaves_a_ready_row_ready(
    course: Course, service: Service
) -> None:
    """A form that is saved again after publishing does not start the work again."""
    lesson = course.tracked_lesson("up1")
    service.settle(fact(PUBLISH, "up1", "as1"))
    before = course.row(lesson)
    course.track(lesson, "up1")
    assert course.row(lesson) == {**before, "updated_at": course.row(lesson)["updated_at"]}


def test_the_same_upload_once_more_gives_a_failed_row_another_look(
    course: Course, service: Service
) -> None:
    """It is due at once, with new clocks and without the error."""
    lesson = course.tracked_lesson("up1")
    aged(course, service, lesson)
    service.settle(fact(FAIL, "up1"))
    course.track(lesson, "up1")
    row = course.row(lesson)
    assert started(row) == STARTED
    assert [claimed["upload_id"] for claimed in service.claim()] == ["up1"]
    assert row["next_check_at"] == row["tracked_at"]


def test_the_same_upload_once_more_leaves_a_processing_row_alone(
    course: Course, service: Service
) -> None:
    """Neither its clocks nor what is known of it change."""
    lesson = course.tracked_lesson("up1")
    before = aged(course, service, lesson)
    course.track(lesson, "up1")
    assert course.row(lesson) == {**before, "updated_at": course.row(lesson)["updated_at"]}


def test_a_ready_row_can_be_started_again_on_purpose(
    course: Course, service: Service, db: psycopg.Connection
) -> None:
    """Who sets tracked_at with the status means it: the row is looked at again."""
    lesson = course.tracked_lesson("up1")
    service.settle(fact(PUBLISH, "up1", "as1"))
    db.execute("update mux_asset_tracking set status = 'processing', tracked_at = now()")
    row = course.row(lesson)
    assert (row["status"], row["mux_asset_id"], row["settled_at"]) == ("processing", "as1", None)


def test_each_beginning_is_in_the_audit(course: Course, service: Service) -> None:
    """A new row, a new upload and another look are told with the status before."""
    lesson = course.tracked_lesson("up1")
    course.track(lesson, "up1")
    course.track(lesson, "up2")
    service.settle(fact(FAIL, "up2"))
    course.track(lesson, "up2")
    result = [(e["event"], e["upload_id"], e["from_status"]) for e in course.events(lesson)]
    assert result == [
        ("tracked", "up1", None),
        ("tracked", "up2", "processing"),
        ("failed", "up2", "processing"),
        ("tracked", "up2", "error"),
    ]


def test_the_audit_names_the_instructor(course: Course, db: psycopg.Connection) -> None:
    """What the app writes for a signed-in user is told as done by that user."""
    db.execute(
        "select set_config('request.jwt.claims', %s, false)",
        [f'{{"sub": "{course.anna}", "role": "authenticated"}}'],
    )
    lesson = course.tracked_lesson("up1")
    assert [event["actor"] for event in course.events(lesson)] == [str(course.anna)]


@pytest.mark.parametrize("upload", ["../assets/x", "", "x" * 256, "a b", "ü"])
def test_an_id_that_cannot_be_one_belongs_to_nobody(
    course: Course, db: psycopg.Connection, upload: str
) -> None:
    """It can be tracked (and will fail), but nobody is remembered as its owner."""
    course.tracked_lesson(upload)
    owners = remembered_owners(db)
    assert owners == 0


def remembered_owners(db: psycopg.Connection) -> int:
    """Count the remembered owners."""
    row = db.execute("select count(*) from mux_private.upload_history").fetchone()
    assert row is not None
    return int(row[0])
