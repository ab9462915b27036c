"""publish_lesson: the way by hand, with the real asset that is known of a lesson."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests.course import Course
from tests.sql.instructor import Instructor, refusal
from tests.sql.service import FAIL, PUBLISH, WAIT, Service, fact, looked_at

pytestmark = pytest.mark.stack

VIDEO = ("status", "mux_asset_id", "mux_playback_id")
TRACKED = ("upload_id", "mux_asset_id", "status", "error_type")
EVENT = ("event", "actor", "reason", "asset_id", "playback_id", "to_status")
OF_LESSON = ("lesson_from_status", "lesson_to_status")
BROKEN = ("asset_errored", "asset_not_found", "mux_rejected", "lesson_mismatch")
MAY_PLAY = ("no_playback_id", "gave_up", "upload_timed_out", "upload_not_found", "invalid_id")
NEWER_VIDEO = ("PT409", "the lesson has a newer video than this one")


def picked(row: dict[str, Any], names: tuple[str, ...]) -> tuple[Any, ...]:
    """Give some columns of a row."""
    return tuple(row[name] for name in names)


def everything(db: psycopg.Connection) -> list[Any]:
    """Read all that publishing may write, but for the times of the next look."""
    queries = (
        b"select * from lessons order by id",
        b"select to_jsonb(t) - 'next_check_at' from mux_asset_tracking t order by id",
        b"select * from mux_asset_events order by id",
        b"select * from mux_private.upload_history order by id",
    )
    return [db.execute(query).fetchall() for query in queries]


def preparing(course: Course, service: Service, **columns: Any) -> UUID:
    """Create a lesson whose upload has become an asset that is not ready, leased by a worker."""
    lesson = course.lesson(**columns)
    course.track(lesson, "up1")
    service.settle(fact(WAIT, "up1", "as1"))
    service.claim(lease=600)
    return lesson


def failed(course: Course, lesson: UUID, error_type: str, **columns: Any) -> None:
    """Let the worker have given the lesson's upload up."""
    values = {"mux_asset_id": "as1", "error_message": "it cannot", **columns}
    course.track(lesson, "up1", status="error", error_type=error_type, **values)


def test_a_draft_is_published_with_the_asset_that_mux_told(
    course: Course, instructor: Instructor, service: Service
) -> None:
    """Not playable yet: the row is due at once, whoever leased it; all else of it stays."""
    lesson = preparing(course, service)
    row, draft = course.row(lesson), course.state(lesson)
    assert instructor.publish_lesson(lesson) == {"playable": False}
    state, now = course.state(lesson), course.row(lesson)
    assert picked(state, VIDEO) == ("published", "as1", None)
    assert {name for name, value in state.items() if draft[name] != value} == {
        "status",
        "mux_asset_id",
        "updated_at",
    }
    assert {**now, "next_check_at": None} == {**row, "next_check_at": None}
    assert now["next_check_at"] == state["updated_at"] < row["next_check_at"]


def test_the_audit_says_who_did_it(
    course: Course, instructor: Instructor, service: Service
) -> None:
    """One row, with the user, the reason by_hand, and what the lesson was before."""
    lesson = preparing(course, service)
    instructor.publish_lesson(lesson)
    event = course.events(lesson)[-1]
    assert picked(event, EVENT) == (
        *("published", str(course.anna), "by_hand"),
        *("as1", None, "processing"),
    )
    assert picked(event, OF_LESSON) == ("draft", "published")
    assert len(course.events(lesson)) == 3  # tracked, waiting, published


def test_the_worker_fills_in_the_playback_id(
    course: Course, instructor: Instructor, service: Service
) -> None:
    """It is handed the row in its next scan, and only the ids are left to write."""
    lesson = preparing(course, service)
    instructor.publish_lesson(lesson)
    (claimed,) = service.claim()
    ready = fact(PUBLISH, "up1", "as1", claimed=[looked_at(claimed, PUBLISH)])
    assert service.outcomes(ready) == ["attached"]
    assert picked(course.state(lesson), VIDEO) == ("published", "as1", "play-as1")
    assert instructor.publish_lesson(lesson) == {"playable": True}


@pytest.mark.parametrize("playback", [None, "temp_playback_up1"])
def test_a_lesson_that_nothing_tracks_is_tracked_from_then_on(
    course: Course, instructor: Instructor, service: Service, playback: str | None
) -> None:
    """By its own real asset id; a playback id that plays nothing is repaired."""
    lesson = course.lesson(mux_asset_id="as1", mux_playback_id=playback)
    assert instructor.publish_lesson(lesson) == {"playable": False}
    assert picked(course.state(lesson), VIDEO) == ("published", "as1", playback)
    assert picked(course.row(lesson), TRACKED) == ("migrated", "as1", "processing", None)
    assert [picked(event, EVENT) for event in course.events(lesson)] == [
        ("tracked", str(course.anna), None, "as1", None, "processing"),
        ("published", str(course.anna), "by_hand", "as1", None, "processing"),
    ]
    (claimed,) = service.claim()
    ready = fact(PUBLISH, "up1", "as1", claimed=[looked_at(claimed, PUBLISH)])
    assert service.outcomes(ready) == ["attached"]
    assert picked(course.state(lesson), VIDEO) == ("published", "as1", "play-as1")


def test_what_is_published_by_hand_is_looked_at_next_also_while_webhooks_arrive(
    course: Course, instructor: Instructor, service: Service, db: psycopg.Connection
) -> None:
    """Its event may have come before: what nothing tracked, and what replaces an upload."""
    untracked = course.lesson(mux_asset_id="as1", mux_playback_id="play1")
    replaced = course.tracked_lesson("up0", next_check_at=timedelta(minutes=5))
    db.execute("update mux_private.worker_state set events_at = now()")
    db.execute(
        "update lessons set mux_asset_id = 'as2', mux_playback_id = 'play2' where id = %s",
        [replaced],
    )
    for lesson in (untracked, replaced):
        assert instructor.publish_lesson(lesson) == {"playable": True}
    assert {claim["asset_id"] for claim in service.claim()} == {"as1", "as2"}


def test_a_playback_id_that_the_lesson_has_with_its_asset_stays(
    course: Course, instructor: Instructor
) -> None:
    """It is playable at once; that nothing tracked it is mended all the same."""
    lesson = course.lesson(mux_asset_id="as1", mux_playback_id="play1")
    assert instructor.publish_lesson(lesson) == {"playable": True}
    assert picked(course.state(lesson), VIDEO) == ("published", "as1", "play1")
    assert picked(course.row(lesson), TRACKED) == ("migrated", "as1", "processing", None)
    assert course.events(lesson)[-1]["playback_id"] == "play1"


def test_a_playback_id_that_came_with_another_asset_is_not_published(
    course: Course, instructor: Instructor, service: Service
) -> None:
    """It would play another video than the one that the lesson now names."""
    lesson = preparing(course, service, mux_asset_id="temp_up1", mux_playback_id="play-other")
    assert instructor.publish_lesson(lesson) == {"playable": False}
    assert picked(course.state(lesson), VIDEO) == ("published", "as1", None)


def test_a_placeholder_stays_until_the_worker_knows_better(
    course: Course, instructor: Instructor, service: Service
) -> None:
    """What plays nothing is no other video; an app may not allow a lesson without any."""
    lesson = preparing(course, service, mux_asset_id="temp_1", mux_playback_id="temp_playback_1")
    assert instructor.publish_lesson(lesson) == {"playable": False}
    assert picked(course.state(lesson), VIDEO) == ("published", "as1", "temp_playback_1")
    assert course.events(lesson)[-1]["playback_id"] is None


def test_a_published_lesson_without_a_video_gets_the_asset(
    course: Course, instructor: Instructor, service: Service
) -> None:
    """The audit calls that attached, as it does where the worker gives ids to no draft."""
    lesson = preparing(course, service, status="published")
    assert instructor.publish_lesson(lesson) == {"playable": False}
    assert picked(course.state(lesson), VIDEO) == ("published", "as1", None)
    event = course.events(lesson)[-1]
    result = ("attached", "by_hand", "published", "published")
    assert (event["event"], event["reason"], *picked(event, OF_LESSON)) == result


@pytest.mark.parametrize("lost", [(None, "x"), ("as1", "temp_1")])
def test_a_lesson_that_lost_its_ids_gets_them_back(
    course: Course,
    instructor: Instructor,
    service: Service,
    db: psycopg.Connection,
    lost: tuple[str | None, str],
) -> None:
    """A ready row knows both, and better than the lesson; the row itself needs no look."""
    lesson = preparing(course, service)
    service.settle(fact(PUBLISH, "up1", "as1"))
    row = course.row(lesson)
    change = "update lessons set status = 'draft', mux_asset_id = %s, mux_playback_id = %s"
    db.execute(change, lost)
    assert instructor.publish_lesson(lesson) == {"playable": True}
    assert picked(course.state(lesson), VIDEO) == ("published", "as1", "play-as1")
    assert course.row(lesson) == row


def test_a_ready_row_without_a_playback_id_is_looked_at_again(
    course: Course, instructor: Instructor
) -> None:
    """As an app may have written it before there was a worker."""
    lesson = course.lesson(mux_asset_id="as1")
    course.track(lesson, "up1", status="ready", mux_asset_id="as1")
    assert instructor.publish_lesson(lesson) == {"playable": False}
    assert picked(course.row(lesson), TRACKED) == ("up1", "as1", "processing", None)


def test_twice_is_the_same_as_once(
    course: Course, instructor: Instructor, service: Service, db: psycopg.Connection
) -> None:
    """Not one column or audit row more, tracked before or not, playable or not."""
    lessons = [
        preparing(course, service),
        course.lesson(mux_asset_id="as2"),
        course.lesson(mux_asset_id="as3", mux_playback_id="play3"),
    ]
    gave_up = course.lesson()
    failed(course, gave_up, "gave_up", mux_asset_id="as4")
    for lesson in (*lessons, gave_up):
        first = instructor.publish_lesson(lesson)
        once = everything(db)
        assert instructor.publish_lesson(lesson) == first
        assert everything(db) == once


def test_an_archived_lesson_is_published(
    course: Course, instructor: Instructor, service: Service
) -> None:
    """Who asks for it by hand means it; the worker alone would leave it archived."""
    lesson = preparing(course, service, status="archived")
    instructor.publish_lesson(lesson)
    assert picked(course.state(lesson), VIDEO) == ("published", "as1", None)
    event = course.events(lesson)[-1]
    assert (event["event"], *picked(event, OF_LESSON)) == ("published", "archived", "published")


@pytest.mark.parametrize("verdict", [WAIT, FAIL])
@pytest.mark.parametrize("status", ["draft", "published"])
def test_the_video_before_is_not_published_by_hand_while_a_newer_one_is_tracked(
    course: Course,
    instructor: Instructor,
    service: Service,
    db: psycopg.Connection,
    status: str,
    verdict: dict[str, str],
) -> None:
    """Whether the newer upload is being prepared or has failed: the call changes nothing."""
    lesson = course.tracked_lesson("up1")
    service.settle(fact(PUBLISH, "up1", "as1"))
    course.track(lesson, "up2")
    service.settle(fact(verdict, "up2", "as2"))
    db.execute("update lessons set status = %s", [status])
    before = everything(db)
    assert refusal(instructor.publish_lesson, lesson) == NEWER_VIDEO
    assert everything(db) == before
    outcome = "published" if status == "draft" else "attached"
    assert service.outcomes(fact(PUBLISH, "up2", "as2")) == [outcome]
    assert picked(course.state(lesson), VIDEO) == ("published", "as2", "play-as2")


def test_an_asset_that_stood_in_the_lesson_before_its_upload_is_not_published_by_hand(
    course: Course, instructor: Instructor
) -> None:
    """It is older; the row goes on waiting for the upload."""
    lesson = course.lesson(mux_asset_id="as0", mux_playback_id="temp_playback_up0")
    course.track(lesson, "up1")
    assert refusal(instructor.publish_lesson, lesson) == NEWER_VIDEO
    assert picked(course.state(lesson), VIDEO) == ("draft", "as0", "temp_playback_up0")
    assert picked(course.row(lesson), TRACKED) == ("up1", None, "processing", None)


@pytest.mark.parametrize("playback", ["play1", None])
@pytest.mark.parametrize("error_type", MAY_PLAY)
def test_an_asset_that_may_yet_play_is_published_and_looked_at_again(
    course: Course,
    instructor: Instructor,
    service: Service,
    error_type: str,
    playback: str | None,
) -> None:
    """What failed was the waiting, or the upload, and nobody said that the asset is broken."""
    lesson = course.lesson(mux_asset_id="as1", mux_playback_id=playback)
    failed(course, lesson, error_type)
    assert instructor.publish_lesson(lesson) == {"playable": playback is not None}
    assert picked(course.state(lesson), VIDEO) == ("published", "as1", playback)
    assert picked(course.row(lesson), TRACKED) == ("up1", "as1", "processing", None)
    assert [row["asset_id"] for row in service.claim()] == ["as1"]


@pytest.mark.parametrize("error_type", [*BROKEN, *MAY_PLAY])
def test_a_failed_upload_does_not_stand_in_the_way_of_an_asset_that_was_saved_later(
    course: Course,
    instructor: Instructor,
    service: Service,
    db: psycopg.Connection,
    error_type: str,
) -> None:
    """It is the newest: it is tracked in place of the upload."""
    lesson = course.lesson()
    failed(course, lesson, error_type, mux_asset_id=None)
    db.execute("update lessons set mux_asset_id = 'as0', mux_playback_id = 'temp_playback_up0'")
    assert instructor.publish_lesson(lesson) == {"playable": False}
    assert picked(course.state(lesson), VIDEO) == ("published", "as0", "temp_playback_up0")
    assert picked(course.row(lesson), TRACKED) == ("migrated", "as0", "processing", None)
    (claimed,) = service.claim()
    ready = fact(PUBLISH, "up0", "as0", claimed=[looked_at(claimed, PUBLISH)])
    assert service.outcomes(ready) == ["attached"]
    assert picked(course.state(lesson), VIDEO) == ("published", "as0", "play-as0")
