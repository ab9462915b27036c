"""publish_lesson: what it refuses, with which status, changing nothing."""

import uuid
from collections.abc import Callable
from uuid import UUID

import psycopg
import pytest

from sandbox.supabase.stack import LocalSupabase
from tests.course import Course
from tests.sql.instructor import NO_SUCH_LESSON, Browser, Instructor, refusal
from tests.sql.service import PUBLISH, WAIT, Service, fact
from tests.sql.test_publish_lesson import BROKEN, VIDEO, everything, failed, picked, preparing
from tests.sql.test_settle_app_interferes import app_trigger
from worker.wording import FAILURES

pytestmark = pytest.mark.stack

NO_VIDEO = ("PT400", "the lesson has no video yet")
TEMPORARY = ("PT400", "the lesson has only a temporary asset id")
OF_ANOTHER = ("PT409", "the video belongs to a lesson of another instructor")


@pytest.mark.parametrize(
    ("of_lesson", "of_row", "refused"),
    [
        (None, None, NO_VIDEO),
        ("", None, NO_VIDEO),
        ("temp_up1", None, TEMPORARY),
        ("temp_up1", "temp_up1", TEMPORARY),
        (None, "temp_up1", NO_VIDEO),
        ("migrated", None, TEMPORARY),
        ("../x", None, TEMPORARY),
    ],
)
@pytest.mark.parametrize("is_tracked", [True, False])
def test_without_a_real_asset_nothing_is_published(
    course: Course,
    instructor: Instructor,
    db: psycopg.Connection,
    of_lesson: str | None,
    of_row: str | None,
    refused: tuple[str, str],
    is_tracked: bool,
) -> None:
    """A placeholder is no video, wherever it stands."""
    lesson = course.lesson(mux_asset_id=of_lesson)
    if is_tracked:
        course.track(lesson, "up1", mux_asset_id=of_row)
    before = everything(db)
    assert refusal(instructor.publish_lesson, lesson) == refused
    assert everything(db) == before


@pytest.mark.parametrize("error_type", BROKEN)
def test_an_asset_that_mux_called_broken_is_refused(
    course: Course, instructor: Instructor, db: psycopg.Connection, error_type: str
) -> None:
    """Whatever the lesson says of the same asset; the hint is the failure's; nothing changes."""
    video = {"mux_asset_id": "as1", "mux_playback_id": "play1"}
    for lesson in (course.lesson(), course.lesson(None, **video)):
        failed(course, lesson, error_type)
        before = everything(db)
        with pytest.raises(psycopg.Error, match="the video cannot be played") as refused:
            instructor.publish_lesson(lesson)
        assert (refused.value.sqlstate, refused.value.diag.message_hint) == ("PT409", "it cannot")
        assert everything(db) == before


def test_a_video_that_was_deleted_before_its_row_knew_it_is_refused(
    course: Course, instructor: Instructor, service: Service, db: psycopg.Connection
) -> None:
    """The event came while the upload waited; then Mux named the asset."""
    lesson = course.tracked_lesson("up1")
    service.settle(fact({"verdict": "mark_deleted", "reason": "asset_deleted"}, "up1", "as1"))
    service.settle(fact(WAIT, "up1", "as1"))
    before = everything(db)
    with pytest.raises(psycopg.Error, match="the video cannot be played") as refused:
        instructor.publish_lesson(lesson)
    assert refused.value.diag.message_hint == FAILURES["asset_deleted"]
    assert everything(db) == before


def of_another_lesson(course: Course, service: Service) -> None:
    """Let Bert's own lesson say that the asset is its video, with nothing tracking it."""
    course.lesson(course.bert, mux_asset_id="as1")


def of_another_upload(course: Course, service: Service) -> None:
    """Let Bert's upload have become the asset."""
    course.tracked_lesson("up9", course.bert)
    service.settle(fact(WAIT, "up9", "as1"))


def of_another_asset(course: Course, service: Service) -> None:
    """Let Bert's lesson be tracked by the asset itself."""
    course.tracked_lesson("migrated", course.bert, mux_asset_id="as1")


def of_another_before(course: Course, service: Service) -> None:
    """Let Bert's lesson have been tracked by it, and be deleted."""
    course.delete(course.tracked_lesson("migrated", course.bert, mux_asset_id="as1"))


@pytest.mark.parametrize(
    "given", [of_another_lesson, of_another_upload, of_another_asset, of_another_before]
)
def test_a_video_of_another_instructor_is_refused(
    course: Course,
    instructor: Instructor,
    service: Service,
    db: psycopg.Connection,
    given: Callable[[Course, Service], None],
) -> None:
    """What a lesson says of itself was written by its instructor, who may have copied it."""
    given(course, service)
    lesson = course.lesson(mux_asset_id="as1", mux_playback_id="play-as1")
    before = everything(db)
    assert refusal(instructor.publish_lesson, lesson) == OF_ANOTHER
    assert everything(db) == before


def test_a_thousand_copies_do_not_hide_the_lesson_that_was_copied(
    course: Course, instructor: Instructor, db: psycopg.Connection
) -> None:
    """No more are read: then it is not known whose the video is."""
    db.execute(
        "insert into lessons (creator_id, title, mux_asset_id) "
        "select %s, 'copy', 'as1' from generate_series(1, 1000)",
        [course.anna],
    )
    course.lesson(course.bert, mux_asset_id="as1")
    lesson = course.lesson(mux_asset_id="as1", mux_playback_id="play-as1")
    assert refusal(instructor.publish_lesson, lesson) == OF_ANOTHER


def stolen(course: Course, service: Service) -> UUID:
    """Let Anna track the upload that Bert had tracked first, and the worker find it out."""
    course.tracked_lesson("up1", course.bert)
    lesson = course.tracked_lesson("up1")
    outcomes = service.settle(fact(PUBLISH, "up1", "as1"))
    assert {o["reason"] for o in outcomes} == {"asset_ready", "lesson_mismatch"}
    assert course.row(lesson)["error_type"] == "lesson_mismatch"
    return lesson


@pytest.mark.parametrize(("upload", "status"), [("up1", "processing"), ("migrated", "error")])
def test_saving_a_video_of_another_once_more_makes_it_no_more_hers(
    course: Course, instructor: Instructor, service: Service, upload: str, status: str
) -> None:
    """The same id gets another look, `migrated` replaces no upload; the asset stays unknown."""
    lesson = stolen(course, service)
    assert refusal(instructor.publish_lesson, lesson) == NO_VIDEO
    Course(instructor.connection, anna=course.anna, bert=course.bert).track(lesson, upload)
    assert (course.row(lesson)["status"], course.row(lesson)["mux_asset_id"]) == (status, None)
    assert refusal(instructor.publish_lesson, lesson) == NO_VIDEO
    assert course.state(lesson)["status"] == "draft"


@pytest.mark.parametrize("upload", ["up1", "migrated"])
def test_a_copy_in_the_lesson_of_another_does_not_stand_in_the_way(
    course: Course, instructor: Instructor, upload: str
) -> None:
    """Who tracked the video first is known, whatever others write into their lessons or rows."""
    lesson = course.lesson()
    course.track(lesson, upload, mux_asset_id="as1")
    course.lesson(course.bert, mux_asset_id="as1")
    course.tracked_lesson("migrated", course.bert, mux_asset_id="as1")
    course.tracked_lesson(upload, course.bert, mux_asset_id="as1")
    assert instructor.publish_lesson(lesson) == {"playable": False}
    assert picked(course.state(lesson), VIDEO) == ("published", "as1", None)


def test_her_own_lessons_may_share_a_video(course: Course, instructor: Instructor) -> None:
    """Tracked or not."""
    course.tracked_lesson("migrated", mux_asset_id="as1")
    for _ in range(2):
        lesson = course.lesson(mux_asset_id="as1")
        assert instructor.publish_lesson(lesson) == {"playable": False}


@pytest.mark.parametrize(
    ("body", "refused"),
    [
        (
            "begin new.status := old.status; return new; end",
            ("PT409", "a rule of the app keeps the lesson draft"),
        ),
        ("begin return null; end", ("PT409", "a rule of the app keeps the lesson draft")),
        ("begin raise exception 'not on Sundays'; end", ("P0001", "not on Sundays")),
    ],
    ids=["reverts", "swallows", "raises"],
)
@pytest.mark.parametrize("is_tracked", [True, False])
def test_a_rule_of_the_app_is_told_and_nothing_changes(
    course: Course,
    instructor: Instructor,
    service: Service,
    db: psycopg.Connection,
    body: str,
    refused: tuple[str, str],
    is_tracked: bool,
) -> None:
    """Neither the lesson, nor what is tracked, nor the audit; an error of its own is passed on."""
    lesson = preparing(course, service) if is_tracked else course.lesson(mux_asset_id="as1")
    before = everything(db)
    with app_trigger(db, body):
        assert refusal(instructor.publish_lesson, lesson) == refused
    assert everything(db) == before


@pytest.mark.parametrize("status", ["draft", "published"])
def test_the_lesson_of_another_is_not_there(
    course: Course, instructor: Instructor, db: psycopg.Connection, status: str
) -> None:
    """Also where it is published and she may read it; and it sounds like one that never was."""
    lesson = course.lesson(course.bert, status=status, mux_asset_id="as1")
    before = everything(db)
    assert refusal(instructor.publish_lesson, lesson) == NO_SUCH_LESSON
    assert refusal(instructor.publish_lesson, uuid.uuid4()) == NO_SUCH_LESSON
    assert everything(db) == before


def test_it_needs_a_lesson_and_somebody_signed_in(course: Course, instructor: Instructor) -> None:
    """Who asks is looked at first."""
    missing = ("PT400", "publish_lesson needs lesson_id")
    assert refusal(instructor.publish_lesson, None) == missing
    instructor.claim(role="authenticated")
    nobody = ("PT401", "publish_lesson needs a signed-in user")
    for lesson in (course.lesson(mux_asset_id="as1"), None):
        assert refusal(instructor.publish_lesson, lesson) == nobody


def test_over_http_each_case_has_its_status(
    course: Course, browser: Browser, supabase: LocalSupabase
) -> None:
    """200, 400, 401, 404 and 409, as the app's own endpoint had them, and one for the broken."""
    lesson = str(course.lesson(mux_asset_id="as1"))
    assert browser.call("publish_lesson", lesson_id=lesson) == (200, {"playable": False})
    temporary = str(course.lesson(mux_asset_id="temp_up2"))
    assert browser.call("publish_lesson", lesson_id=temporary) == (400, TEMPORARY[1])
    assert browser.call("publish_lesson", lesson_id="1")[0] == 404
    assert browser.call("publish_lesson") == (400, "publish_lesson needs lesson_id")
    other = str(course.lesson(course.bert, status="published", mux_asset_id="as2"))
    assert browser.call("publish_lesson", lesson_id=other) == (404, NO_SUCH_LESSON[1])
    copied = str(course.lesson(mux_asset_id="as2"))
    assert browser.call("publish_lesson", lesson_id=copied) == (409, OF_ANOTHER[1])
    assert Browser(supabase).call("publish_lesson", lesson_id=lesson)[0] == 401
    worker = Browser(supabase, supabase.service_role_key)
    assert worker.call("publish_lesson", lesson_id=lesson)[0] == 403
