"""track_upload: starts, or restarts, to wait for the video of a lesson of one's own."""

import uuid
from typing import Any

import psycopg
import pytest

from sandbox.supabase.stack import LocalSupabase
from tests.course import Course
from tests.sql.conftest import Connections
from tests.sql.instructor import NO_SUCH_LESSON, Browser, Instructor, refusal
from tests.sql.service import FAIL, PUBLISH, WAIT, Service, fact, looked_at
from tests.sql.test_check_asset_status import PROCESSING
from tests.sql.test_new_upload import STARTED, started
from tests.sql.test_settle_meets_others import InBackground

pytestmark = pytest.mark.stack

NO_UPLOAD = ("PT400", "upload_id is not the id of a Mux upload")
NO_TEMP = ("PT400", "temp_asset_id does not begin with temp_ or is no id")
VIDEO = ("status", "mux_asset_id", "mux_playback_id")


def written(db: psycopg.Connection) -> tuple[Any, ...]:
    """Give all tracking rows and all of the audit."""
    tables = (b"select * from mux_asset_tracking", b"select * from mux_asset_events order by id")
    return tuple(db.execute(table).fetchall() for table in tables)


def look(course: Course, service: Service, verdict: dict[str, str]) -> None:
    """Let the worker look at the one due row and settle it."""
    course.make_due()
    (claimed,) = service.claim()
    asset = None if verdict is WAIT else "as1"
    service.settle(
        fact(verdict, claimed["upload_id"], asset, claimed=[looked_at(claimed, verdict)])
    )


def test_it_starts_to_track(course: Course, instructor: Instructor, service: Service) -> None:
    """The row is new and due, the answer is that of check_asset_status, the lesson is untouched."""
    lesson = course.lesson()
    before = course.state(lesson)
    assert instructor.track_upload(lesson, "up1", "temp_up1") == PROCESSING
    row = course.row(lesson)
    assert started(row) == STARTED
    assert (row["upload_id"], row["temp_asset_id"]) == ("up1", "temp_up1")
    assert row["tracked_at"] == row["next_check_at"] == row["created_at"] == row["updated_at"]
    assert course.state(lesson) == before
    assert [claimed["id"] for claimed in service.claim()] == [str(row["id"])]


def test_the_audit_names_the_user(course: Course, instructor: Instructor) -> None:
    """One row for each upload that begins, with who began it."""
    lesson = course.lesson()
    for upload in ("up1", "up2"):
        instructor.track_upload(lesson, upload)
    names = ("event", "actor", "upload_id", "from_status", "to_status")
    assert [tuple(event[name] for name in names) for event in course.events(lesson)] == [
        ("tracked", str(course.anna), "up1", None, "processing"),
        ("tracked", str(course.anna), "up2", "processing", "processing"),
    ]


@pytest.mark.parametrize("temp", ["temp_up2", None])
@pytest.mark.parametrize("verdict", [PUBLISH, FAIL, WAIT])
def test_another_upload_starts_anew(
    course: Course,
    instructor: Instructor,
    service: Service,
    verdict: dict[str, str],
    temp: str | None,
) -> None:
    """Whatever became of the old one, nothing of it is left, its placeholder neither."""
    lesson = course.lesson()
    instructor.track_upload(lesson, "up1", "temp_up1")
    look(course, service, verdict)
    before = course.row(lesson)
    assert instructor.track_upload(lesson, "up2", temp) == PROCESSING
    row = course.row(lesson)
    assert started(row) == STARTED
    assert (row["upload_id"], row["temp_asset_id"]) == ("up2", temp)
    assert row["tracked_at"] == row["next_check_at"] > before["tracked_at"]


@pytest.mark.parametrize("status", ["draft", "archived"])
def test_a_published_lesson_plays_its_old_video_until_the_new_one_is_ready(
    course: Course, instructor: Instructor, service: Service, status: str
) -> None:
    """It keeps status and ids while the new upload waits; then it changes over at once."""
    lesson = course.lesson(status=status)
    instructor.track_upload(lesson, "up1")
    look(course, service, PUBLISH)
    old = course.state(lesson)
    instructor.track_upload(lesson, "up2")
    assert course.state(lesson) == old
    look(course, service, WAIT)
    assert course.state(lesson) == old
    assert service.outcomes(fact(PUBLISH, "up2", "as2")) == ["attached"]
    new = course.state(lesson)
    assert tuple(new[name] for name in VIDEO) == (old["status"], "as2", "play-as2")


@pytest.mark.parametrize("has_temp", [True, False])
def test_the_same_upload_again_stays_ready(
    course: Course, instructor: Instructor, service: Service, has_temp: bool
) -> None:
    """The video is the same one: nothing is asked of Mux again, nothing is told again."""
    lesson, temp = course.lesson(), "temp_up1" if has_temp else None
    instructor.track_upload(lesson, "up1", temp)
    look(course, service, PUBLISH)
    row, state, events = course.row(lesson), course.state(lesson), course.events(lesson)
    result = instructor.track_upload(lesson, "up1", temp)
    assert (result["status"], result["playbackId"]) == ("ready", "play-as1")
    assert {**course.row(lesson), "updated_at": row["updated_at"]} == row
    assert (course.state(lesson), course.events(lesson)) == (state, events)
    assert service.claim() == []


def test_the_same_upload_again_gets_another_look_after_an_error(
    course: Course, instructor: Instructor, service: Service
) -> None:
    """What the failure left is cleared, but for the asset; the audit says that it begins again."""
    lesson = course.lesson()
    instructor.track_upload(lesson, "up1")
    look(course, service, FAIL)
    before = course.row(lesson)
    assert instructor.track_upload(lesson, "up1") == PROCESSING
    row = course.row(lesson)
    assert started(row) == {**STARTED, "mux_asset_id": "as1"}
    assert row["next_check_at"] >= row["tracked_at"] > before["tracked_at"]
    assert [claimed["upload_id"] for claimed in service.claim()] == ["up1"]
    last = course.events(lesson)[-1]
    assert (last["event"], last["from_status"], last["to_status"], last["actor"]) == (
        "tracked",
        "error",
        "processing",
        str(course.anna),
    )


def test_the_same_upload_again_changes_nothing_while_it_is_processing(
    course: Course, instructor: Instructor, service: Service
) -> None:
    """Its clocks run on, its looks are counted on, and a worker that leased it keeps the lease."""
    lesson = course.lesson()
    instructor.track_upload(lesson, "up1", "temp_up1")
    look(course, service, WAIT)
    course.backdate(lesson, 3600)
    row, events = course.row(lesson), course.events(lesson)
    result = instructor.track_upload(lesson, "up1", "temp_up1")
    assert (result["status"], result["stuck"]) == ("processing", True)
    assert {**course.row(lesson), "updated_at": row["updated_at"]} == row
    assert course.events(lesson) == events


@pytest.mark.parametrize(
    "upload",
    [
        None,
        "",
        "temp_",
        "temp_up1",
        "migrated",
        "up 1",
        "up1\n",
        "../assets/as1",
        "https://storage.googleapis.com/video?upload_id=up1",
        "ü",
        "u" * 256,
    ],
)
def test_an_upload_id_that_cannot_be_one_is_refused(
    course: Course, instructor: Instructor, db: psycopg.Connection, upload: str | None
) -> None:
    """Missing, a placeholder, or what Mux would never give; nothing is written."""
    untracked, tracked = course.lesson(), course.tracked_lesson("up1")
    before = written(db)
    for lesson in (untracked, tracked):
        assert refusal(instructor.track_upload, lesson, upload) == NO_UPLOAD
    assert written(db) == before


@pytest.mark.parametrize("upload", ["u", "u" * 255, "Migrated", "temp", "-_09azAZ"])
def test_an_upload_id_that_can_be_one_is_taken(
    course: Course, instructor: Instructor, upload: str
) -> None:
    """Letters, digits, _ and -, up to 255 of them."""
    lesson = course.lesson()
    assert instructor.track_upload(lesson, upload) == PROCESSING
    assert course.row(lesson)["upload_id"] == upload


@pytest.mark.parametrize(
    "temp", ["", "temp_", "as1", "Temp_1", "temp_a b", "temp_1\n", f"temp_{'u' * 256}"]
)
def test_a_placeholder_that_is_none_is_refused(
    course: Course, instructor: Instructor, db: psycopg.Connection, temp: str
) -> None:
    """A real asset id is not taken for one either; none at all is well."""
    lesson = course.lesson()
    assert refusal(instructor.track_upload, lesson, "up1", temp) == NO_TEMP
    assert written(db) == ([], [])


@pytest.mark.parametrize("status", ["draft", "published"])
@pytest.mark.parametrize("is_tracked", [True, False])
def test_the_lesson_of_another_is_not_there(
    course: Course,
    instructor: Instructor,
    db: psycopg.Connection,
    status: str,
    is_tracked: bool,
) -> None:
    """Also where it is published and she may read it; and it sounds like one that never was."""
    lesson = course.lesson(course.bert, status=status)
    if is_tracked:
        course.track(lesson, "up1")
    before = written(db)
    assert refusal(instructor.track_upload, lesson, "up2") == NO_SUCH_LESSON
    assert refusal(instructor.track_upload, uuid.uuid4(), "up2") == NO_SUCH_LESSON
    assert written(db) == before


def test_it_needs_a_lesson_and_somebody_signed_in(course: Course, instructor: Instructor) -> None:
    """Who asks is looked at first."""
    missing = ("PT400", "track_upload needs lesson_id")
    assert refusal(instructor.track_upload, None, "up1") == missing
    instructor.claim(role="authenticated")
    nobody = ("PT401", "track_upload needs a signed-in user")
    for lesson, upload in ((course.lesson(), "up1"), (None, None)):
        assert refusal(instructor.track_upload, lesson, upload) == nobody


def test_a_lesson_that_is_deleted_meanwhile_is_not_there(
    course: Course, connections: Connections, db: psycopg.Connection
) -> None:
    """The call waits for the delete, since it locks the lesson first."""
    lesson = course.lesson()
    instructor = Instructor(connections.transaction("authenticated"), course.anna)
    app = connections.transaction()
    app.execute("delete from lessons where id = %s", [lesson])
    refused: list[object] = []
    tracking = InBackground(
        instructor.connection,
        lambda: refused.append(refusal(instructor.track_upload, lesson, "up1")),
    )
    tracking.is_seen_to_wait(db)
    app.commit()
    tracking.ends()
    assert refused == [NO_SUCH_LESSON]


def test_a_missing_grant_is_not_taken_for_a_missing_lesson(
    course: Course, instructor: Instructor, db: psycopg.Connection
) -> None:
    """What a DBA has to mend is told as it is."""
    lesson = course.lesson()
    db.execute("revoke insert on mux_asset_tracking from authenticated")
    db.execute("revoke insert (lesson_id) on mux_asset_tracking from authenticated")
    try:
        result = refusal(instructor.track_upload, lesson, "up1")
    finally:
        db.execute(
            "grant insert (lesson_id, upload_id, temp_asset_id, status, updated_at) "
            "on mux_asset_tracking to authenticated"
        )
    assert result == ("42501", "permission denied for table mux_asset_tracking")


def test_over_http_each_case_has_its_status(
    course: Course, browser: Browser, supabase: LocalSupabase
) -> None:
    """200, 400, 401 and 404, as the app's own endpoint had them."""
    lesson, other = str(course.lesson()), str(course.lesson(course.bert, status="published"))
    good = {"lesson_id": lesson, "upload_id": "up1", "temp_asset_id": "temp_up1"}
    assert browser.call("track_upload", **good) == (200, PROCESSING)
    assert browser.call("track_upload", lesson_id=lesson) == (400, NO_UPLOAD[1])
    assert browser.call("track_upload", lesson_id="1", upload_id="up1")[0] == 404
    assert browser.call("track_upload")[0] == 400
    refused = browser.call("track_upload", lesson_id=other, upload_id="up1")
    assert refused == (404, NO_SUCH_LESSON[1])
    assert Browser(supabase).call("track_upload", **good)[0] == 401
    assert Browser(supabase, supabase.service_role_key).call("track_upload", **good)[0] == 403
