"""check_asset_status: how far the video of a lesson of one's own is, cheap enough to be polled."""

import uuid
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
import pytest

from sandbox.supabase.stack import LocalSupabase
from tests.course import Course
from tests.sql.conftest import Connections
from tests.sql.instructor import NO_SUCH_LESSON, Browser, Instructor, refusal
from tests.sql.service import FAIL, PUBLISH, WAIT, Service, fact, looked_at
from worker.wording import UNKNOWN_FAILURE

pytestmark = pytest.mark.stack

UNKNOWN = {
    "status": "unknown",
    "playbackId": None,
    "error": None,
    "stuck": False,
    "progress": None,
    "checkedAt": None,
    "durationSeconds": None,
    "aspectRatio": None,
    "maxResolution": None,
}
PROCESSING = {**UNKNOWN, "status": "processing"}


def settled(course: Course, service: Service, verdict: dict[str, str], lesson: UUID) -> None:
    """Let the worker look at a lesson's upload up1 and settle it."""
    course.make_due(lesson)
    (claimed,) = service.claim()
    service.settle(fact(verdict, "up1", "as1", claimed=[looked_at(claimed, verdict)]))


def test_a_lesson_that_is_not_tracked_is_unknown(course: Course, instructor: Instructor) -> None:
    """Whatever ids the lesson itself holds."""
    lesson = course.lesson(mux_asset_id="as1", mux_playback_id="play1", status="published")
    assert instructor.check_asset_status(lesson) == UNKNOWN


def test_an_upload_that_was_not_looked_at_is_processing(
    course: Course, instructor: Instructor
) -> None:
    """It is not stuck, and nobody has asked Mux yet."""
    assert instructor.check_asset_status(course.tracked_lesson("up1")) == PROCESSING


@pytest.mark.parametrize(
    ("verdict", "result"),
    [
        (WAIT, {"status": "processing"}),
        (PUBLISH, {"status": "ready", "playbackId": "play-as1"}),
        (FAIL, {"status": "error", "error": {"message": "not a video", "type": "asset_errored"}}),
    ],
)
def test_what_the_worker_found_is_told(
    course: Course,
    instructor: Instructor,
    service: Service,
    verdict: dict[str, str],
    result: dict[str, Any],
) -> None:
    """The status, the playback id once ready, the error if it failed, and when Mux said so."""
    lesson = course.tracked_lesson("up1")
    settled(course, service, verdict, lesson)
    status = instructor.check_asset_status(lesson)
    checked_at = datetime.fromisoformat(status.pop("checkedAt"))
    assert {**status, "checkedAt": None} == {**UNKNOWN, **result}
    row = course.row(lesson)
    assert checked_at == (row["last_checked_at"] or row["settled_at"])


@pytest.mark.parametrize("error_type", [None, "upload_timed_out"])
@pytest.mark.parametrize("text", [None, "", " ", "Encoding failed"])
def test_a_failure_always_says_something(
    course: Course, instructor: Instructor, error_type: str | None, text: str | None
) -> None:
    """Also one that the app itself noted before the worker came, without a text."""
    lesson = course.tracked_lesson("up1", status="error", error_type=error_type, error_message=text)
    result = instructor.check_asset_status(lesson)
    message = text if text and text.strip() else UNKNOWN_FAILURE
    assert result["error"] == {"message": message, "type": error_type}


def test_what_the_old_upload_left_is_not_told_of_the_new_one(
    course: Course, instructor: Instructor, service: Service
) -> None:
    """The lesson plays its old video; what is asked about is the new upload."""
    lesson = course.tracked_lesson("up1")
    settled(course, service, PUBLISH, lesson)
    course.track(lesson, "up2")
    assert course.state(lesson)["mux_playback_id"] == "play-as1"
    assert instructor.check_asset_status(lesson) == PROCESSING


@pytest.mark.parametrize("status", ["processing", "error"])
def test_a_playback_id_is_told_of_a_ready_video_alone(
    course: Course, instructor: Instructor, status: str
) -> None:
    """Before that, whatever stands there may not play."""
    lesson = course.tracked_lesson("up1", status=status, mux_playback_id="play1")
    result = instructor.check_asset_status(lesson)
    assert (result["status"], result["playbackId"]) == (status, None)


def test_a_refusal_of_the_database_is_no_error_of_the_video(
    course: Course, instructor: Instructor, db: psycopg.Connection
) -> None:
    """The row waits for another try, and that is what is told."""
    lesson = course.tracked_lesson("up1")
    db.execute("update mux_asset_tracking set error_type = 'refused', error_message = '23514: no'")
    assert instructor.check_asset_status(lesson) == PROCESSING


@pytest.mark.parametrize(
    ("status", "minutes", "stuck"),
    [
        ("processing", 29, False),
        ("processing", 31, True),
        ("ready", 31, False),
        ("error", 31, False),
    ],
)
def test_stuck_is_processing_for_over_half_an_hour(
    course: Course, instructor: Instructor, status: str, minutes: int, stuck: bool
) -> None:
    """Counted since this upload began; what is settled is not stuck."""
    lesson = course.tracked_lesson("up1", status=status)
    course.backdate(lesson, minutes * 60)
    result = instructor.check_asset_status(lesson)
    assert (result["status"], result["stuck"]) == (status, stuck)


@pytest.mark.parametrize("status", ["draft", "published", "archived"])
@pytest.mark.parametrize("is_tracked", [True, False])
def test_the_lesson_of_another_is_not_there(
    course: Course, instructor: Instructor, status: str, is_tracked: bool
) -> None:
    """Also where it is published and she may read it; and it sounds like one that never was."""
    lesson = course.lesson(course.bert, status=status)
    if is_tracked:
        course.track(lesson, "up1")
    assert refusal(instructor.check_asset_status, lesson) == NO_SUCH_LESSON
    assert refusal(instructor.check_asset_status, uuid.uuid4()) == NO_SUCH_LESSON


def test_it_needs_a_lesson_and_somebody_signed_in(course: Course, instructor: Instructor) -> None:
    """Who asks is looked at first."""
    lesson = course.tracked_lesson("up1")
    missing = ("PT400", "check_asset_status needs lesson_id")
    assert refusal(instructor.check_asset_status, None) == missing
    instructor.claim(role="authenticated")
    nobody = ("PT401", "check_asset_status needs a signed-in user")
    assert refusal(instructor.check_asset_status, lesson) == nobody
    assert refusal(instructor.check_asset_status, None) == nobody


def test_over_http_each_case_has_its_status(
    course: Course, browser: Browser, supabase: LocalSupabase
) -> None:
    """200 by POST and by GET, 400, 401 and 404, as the app's own endpoint had them."""
    function, lesson = "check_asset_status", str(course.tracked_lesson("up1"))
    assert browser.call(function, lesson_id=lesson) == (200, PROCESSING)
    assert browser.send("GET", f"/rpc/{function}?lesson_id={lesson}") == (200, PROCESSING)
    assert browser.call(function) == (400, "check_asset_status needs lesson_id")
    assert browser.call(function, lesson_id="1") == (404, NO_SUCH_LESSON[1])
    other = str(course.lesson(course.bert, status="published"))
    assert browser.call(function, lesson_id=other) == (404, NO_SUCH_LESSON[1])
    expired = supabase.user_token(course.anna, -60)
    for nobody in (Browser(supabase), Browser(supabase, expired)):
        assert nobody.call(function, lesson_id=lesson)[0] == 401
    worker = Browser(supabase, supabase.service_role_key)
    assert worker.call(function, lesson_id=lesson)[0] == 403


@pytest.fixture
def crowd(course: Course, db: psycopg.Connection) -> Iterator[UUID]:
    """Make 6000 tracked lessons, half of them Anna's, as the planner knows; give one of hers."""
    db.execute(
        "with made as (insert into lessons (creator_id, title, status) "
        "select case when n %% 2 = 0 then %s else gen_random_uuid() end, n::text, "
        "case when n %% 3 = 0 then 'published' else 'draft' end "
        "from generate_series(1, 6000) n returning id) "
        "insert into mux_asset_tracking (lesson_id, upload_id) select id, 'up' || id from made",
        [course.anna],
    )
    db.execute("analyze lessons, mux_asset_tracking")
    lesson = course.tracked_lesson("up1")
    yield lesson
    db.execute("delete from lessons")
    db.execute("analyze lessons, mux_asset_tracking")


def read(connection: psycopg.Connection) -> list[tuple[Any, ...]]:
    """Give what this transaction has read of each table until now, as Postgres itself counts it."""
    return connection.execute(
        "select relname, seq_scan, seq_tup_read, idx_tup_fetch from pg_stat_xact_user_tables "
        "where relname in ('lessons', 'mux_asset_tracking') order by 1"
    ).fetchall()


def cost(connection: psycopg.Connection, ask: Callable[[], object]) -> dict[str, tuple[int, ...]]:
    """Ask often, since the sixth plan may be another than the first; give what one more reads."""
    for _ in range(10):
        ask()
    before = read(connection)
    ask()
    after = read(connection)
    return {
        name: tuple(now - then for now, then in zip(counts, old, strict=True))
        for (name, *counts), (_, *old) in zip(after, before, strict=True)
    }


@pytest.mark.parametrize("way", ["function", "select"])
def test_one_look_reads_a_handful_of_rows(
    crowd: UUID, course: Course, connections: Connections, way: str
) -> None:
    """Among thousands of her own lessons and of others: no table is read through, no policy either.

    So it is for the function and for a select of the row by its lesson_id, as PostgREST sends it.
    """
    instructor = Instructor(connections.transaction("authenticated"), course.anna)
    select = (
        "select coalesce(json_agg(t), '[]') from (select mux_asset_tracking.* "
        "from public.mux_asset_tracking where mux_asset_tracking.lesson_id = %s) t"
    )

    def ask() -> object:
        if way == "function":
            return instructor.check_asset_status(crowd)
        return instructor.connection.execute(select, [crowd], prepare=True).fetchall()

    assert cost(instructor.connection, ask) == {
        "lessons": (0, 0, 1),
        "mux_asset_tracking": (0, 0, 1),
    }
