"""guard_tracking: which values an instructor may write into the tracking rows of her lessons."""

from typing import Any

import psycopg
import pytest

from sandbox.supabase.stack import LocalSupabase
from tests.course import Course
from tests.sql.conftest import Connections
from tests.sql.instructor import Browser, Instructor
from tests.sql.service import FAIL, PUBLISH, WAIT, Service, fact
from tests.sql.test_new_upload import STARTED, started

pytestmark = pytest.mark.stack

OF_WORKER = (
    "42501",
    "status {} is the worker's to write",
    "Write processing: the worker looks at the upload and says what became of it.",
)
MOVED = (
    "42501",
    "lesson_id of a tracking row cannot be changed",
    "Delete the row and insert one for the other lesson.",
)
TOO_LONG = ("22001", "upload_id and temp_asset_id have at most 1000 characters", None)

REPORTS_UPSERT = (
    "insert into mux_asset_tracking (lesson_id, upload_id, temp_asset_id, status, updated_at) "
    "values (%s, %s, %s, %s, now()) on conflict (lesson_id) do update set "
    "lesson_id = excluded.lesson_id, upload_id = excluded.upload_id, "
    "temp_asset_id = excluded.temp_asset_id, status = excluded.status, "
    "updated_at = excluded.updated_at"
)
"""The app's own statement, as PostgREST makes it of supabase-js's upsert."""


def refused(connection: psycopg.Connection, statement: str, *values: Any) -> tuple[Any, ...]:
    """Give SQLSTATE, message and hint with which a statement is refused; it must be."""
    with pytest.raises(psycopg.Error) as caught:
        connection.execute(statement.encode(), values)
    diag = caught.value.diag
    return caught.value.sqlstate, diag.message_primary, diag.message_hint


def rows(db: psycopg.Connection) -> list[Any]:
    """Read all tracking rows."""
    return db.execute("select * from mux_asset_tracking order by lesson_id").fetchall()


@pytest.mark.parametrize("status", ["ready", "error"])
@pytest.mark.parametrize(
    "statement",
    [
        "insert into mux_asset_tracking (lesson_id, upload_id, status) values (%s, 'up1', %s)",
        REPORTS_UPSERT.replace("%s, %s, %s, %s", "%s, 'up1', null, %s"),
    ],
    ids=["insert", "upsert"],
)
def test_a_new_row_is_processing(
    course: Course, instructor: Instructor, db: psycopg.Connection, statement: str, status: str
) -> None:
    """She cannot call an upload ready or failed that nobody has looked at."""
    result = refused(instructor.connection, statement, course.lesson(), status)
    assert result == (OF_WORKER[0], OF_WORKER[1].format(status), OF_WORKER[2])
    assert rows(db) == []


@pytest.mark.parametrize("status", ["ready", "error"])
@pytest.mark.parametrize("upload", ["up1", "up2", "migrated"])
def test_a_row_becomes_ready_or_failed_by_the_worker_alone(
    course: Course,
    instructor: Instructor,
    service: Service,
    db: psycopg.Connection,
    upload: str,
    status: str,
) -> None:
    """Neither with the same upload nor with another, by update or upsert, whatever it was."""
    verdict = FAIL if status == "ready" else PUBLISH
    processing, settled = course.tracked_lesson("up1"), course.tracked_lesson("up9")
    service.settle(fact(verdict, "up9", "as9"))
    before = rows(db)
    update = "update mux_asset_tracking set upload_id = %s, status = %s where lesson_id = %s"
    for lesson in (processing, settled):
        for result in (
            refused(instructor.connection, update, upload, status, lesson),
            refused(instructor.connection, REPORTS_UPSERT, lesson, upload, None, status),
        ):
            assert result == (OF_WORKER[0], OF_WORKER[1].format(status), OF_WORKER[2])
    assert rows(db) == before


@pytest.mark.parametrize("verdict", [PUBLISH, FAIL])
def test_what_leaves_the_status_as_it_is_writes_none(
    course: Course, instructor: Instructor, service: Service, verdict: dict[str, str]
) -> None:
    """A settled row takes another placeholder, and another upload, which begins anew."""
    lesson = course.tracked_lesson("up1")
    service.settle(fact(verdict, "up1", "as1"))
    before = course.row(lesson)
    instructor.connection.execute("update mux_asset_tracking set temp_asset_id = 'temp_1'")
    assert course.row(lesson) == {**before, "temp_asset_id": "temp_1"}
    instructor.connection.execute("update mux_asset_tracking set upload_id = 'up2'")
    assert started(course.row(lesson)) == STARTED


def test_a_row_stays_with_its_lesson(
    course: Course, instructor: Instructor, db: psycopg.Connection
) -> None:
    """Not even another lesson of her own may take it over; a row of that one's own does well."""
    lesson, other = course.tracked_lesson("up1"), course.lesson()
    before = rows(db)
    for target in (other, course.lesson(course.bert)):
        update = "update mux_asset_tracking set lesson_id = %s"
        assert refused(instructor.connection, update, target) == MOVED
    assert rows(db) == before
    instructor.connection.execute("delete from mux_asset_tracking where lesson_id = %s", [lesson])
    instructor.track_upload(other, "up1")
    assert course.row(other)["upload_id"] == "up1"


@pytest.mark.parametrize("column", ["upload_id", "temp_asset_id"])
def test_a_text_has_at_most_a_thousand_characters(
    course: Course, instructor: Instructor, db: psycopg.Connection, column: str
) -> None:
    """A thousand are taken, characters and not bytes; one more is not, old row or new."""
    lesson, longest = course.lesson(), "ü" * 1000
    ids = {"upload_id": "up1", "temp_asset_id": None, column: longest}
    for _ in ("insert", "update"):
        values = [lesson, ids["upload_id"], ids["temp_asset_id"], "processing"]
        instructor.connection.execute(REPORTS_UPSERT.encode(), values)
    assert course.row(lesson)[column] == longest
    before = rows(db)
    ids[column] = longest + "u"
    for target in (lesson, course.lesson()):
        values = [target, ids["upload_id"], ids["temp_asset_id"], "processing"]
        assert refused(instructor.connection, REPORTS_UPSERT, *values) == TOO_LONG
    assert rows(db) == before


@pytest.mark.parametrize(
    ("verdict", "status"), [(None, "processing"), (PUBLISH, "ready"), (FAIL, "processing")]
)
@pytest.mark.parametrize("upload", ["up1", "up2"])
def test_the_apps_own_upsert_goes_on_working(
    course: Course,
    instructor: Instructor,
    service: Service,
    verdict: dict[str, str] | None,
    status: str,
    upload: str,
) -> None:
    """On a new row, a processing, ready or failed one, with the same upload or another."""
    lesson = course.lesson()
    values = [lesson, "up1", "temp_up1", "processing"]
    instructor.connection.execute(REPORTS_UPSERT.encode(), values)
    if verdict is not None:
        service.settle(fact(verdict, "up1", "as1"))
    values = [lesson, upload, f"temp_{upload}", "processing"]
    instructor.connection.execute(REPORTS_UPSERT.encode(), values)
    row = course.row(lesson)
    assert (row["upload_id"], row["temp_asset_id"]) == (upload, f"temp_{upload}")
    assert row["status"] == ("processing" if upload == "up2" else status)


@pytest.mark.parametrize("role", ["service_role", "postgres"])
def test_the_service_role_and_the_owner_are_not_hindered(
    course: Course, supabase: LocalSupabase, role: str
) -> None:
    """They may settle a row, move it, and write whatever text."""
    lesson, other = course.tracked_lesson("up1"), course.lesson()
    with supabase.connect(role) as connection:
        connection.execute("update mux_asset_tracking set status = 'ready'")
        connection.execute("update mux_asset_tracking set lesson_id = %s", [other])
        values = [lesson, "u" * 1001, "t" * 1001, "error"]
        connection.execute(REPORTS_UPSERT.encode(), values)
    moved, made = course.row(other), course.row(lesson)
    assert (moved["upload_id"], moved["status"]) == ("up1", "ready")
    assert (made["upload_id"], made["temp_asset_id"], made["status"]) == (
        *("u" * 1001, "t" * 1001),
        "error",
    )


def test_an_owner_need_not_be_a_member_of_the_service_role(
    course: Course, connections: Connections
) -> None:
    """Elsewhere than on Supabase it may not be; the tables are the owner's all the same."""
    course.tracked_lesson("up1")
    admin = connections.transaction("supabase_admin")
    admin.execute("revoke service_role, authenticator from postgres")
    admin.execute("set local role postgres")
    is_member = "select pg_has_role('postgres', 'service_role', 'member')"
    assert admin.execute(is_member).fetchone() == (False,)
    assert admin.execute("update mux_asset_tracking set status = 'ready'").rowcount == 1


def test_over_http_each_refusal_has_its_status(
    course: Course, browser: Browser, service: Service
) -> None:
    """The upsert of supabase-js is 201 and then 200, a status or a move 403, a long text 400."""
    lesson, table = course.lesson(), "/mux_asset_tracking"
    body = {"lesson_id": str(lesson), "upload_id": "up1", "temp_asset_id": "temp_up1"}
    body |= {"status": "processing", "updated_at": "2026-11-24T12:00:00Z"}

    def upsert(**more: Any) -> tuple[int, Any]:
        return browser.send(
            "POST",
            f"{table}?on_conflict=lesson_id",
            json={**body, **more},
            headers={"Prefer": "resolution=merge-duplicates,return=minimal"},
        )

    assert upsert() == (201, None)
    service.settle(fact(PUBLISH, "up1", "as1"))
    assert upsert() == (200, None)
    assert course.row(lesson)["status"] == "ready"
    assert upsert(status="error") == (403, OF_WORKER[1].format("error"))
    assert upsert(upload_id="u" * 1001) == (400, TOO_LONG[1])
    other = {"lesson_id": str(course.lesson())}
    assert browser.send("PATCH", f"{table}?lesson_id=eq.{lesson}", json=other) == (403, MOVED[1])


def test_a_wait_that_was_noted_is_not_undone_by_the_upsert(
    course: Course, instructor: Instructor, service: Service
) -> None:
    """The asset that the worker learnt stays while the same upload is saved again."""
    lesson = course.tracked_lesson("up1")
    service.settle(fact(WAIT, "up1", "as1"))
    before = course.row(lesson)
    values = [lesson, "up1", "temp_up1", "processing"]
    instructor.connection.execute(REPORTS_UPSERT.encode(), values)
    after = course.row(lesson)
    assert {**after, "updated_at": None} == {**before, "updated_at": None}


TIMES = ["infinity", "-infinity", "0044-03-15 BC", "9999-12-31", "294276-12-31", "2020-01-01"]


@pytest.mark.parametrize("time", TIMES)
def test_when_a_row_changed_is_read_from_the_clock_of_the_database(
    course: Course, instructor: Instructor, service: Service, db: psycopg.Connection, time: str
) -> None:
    """No time of an instructor's is taken: the age of a row from before the worker depends on it.

    Of an infinite time Postgres 15 computes no age, so that no row could be claimed.
    """
    lesson = course.tracked_lesson("up1", tracked_at=None)
    instructor.connection.execute("update mux_asset_tracking set updated_at = %s", [time])
    (row,) = service.claim()
    assert 0 <= row["age_seconds"] < 60

    values = [lesson, "up2", "temp_up2", "processing"]
    upsert = REPORTS_UPSERT.replace("now()", "%s").encode()
    instructor.connection.execute(upsert, [*values, time])
    others = course.lesson()
    instructor.connection.execute(upsert, [others, "up3", "temp_up3", "processing", time])
    recent = "select count(*) from mux_asset_tracking where now() - updated_at < interval '1 min'"
    assert db.execute(recent).fetchone() == (2,)


def test_an_instructor_does_not_keep_the_list_of_unplayable_lessons_from_being_read(
    course: Course, instructor: Instructor, service: Service
) -> None:
    """It is in the order of the time that they may write, of which the page has a place."""
    lesson = course.tracked_lesson("up1")
    service.settle(fact(PUBLISH, "up1", "as1"))
    deleted = {"verdict": "mark_deleted", "reason": "asset_deleted", "message": "It is gone."}
    service.settle(fact(deleted, "up1", "as1"))
    instructor.connection.execute("update mux_asset_tracking set updated_at = 'infinity'")
    query = b"select worker_overview() #>> '{lists,unplayable,lessons,0,lesson_id}'"
    assert service.connection.execute(query).fetchone() == (str(lesson),)
