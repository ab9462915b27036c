"""What signed-in users and visitors may do with the tables, as PostgREST would let them."""

from collections.abc import Iterator
from uuid import UUID

import psycopg
import pytest

from sandbox.supabase.stack import LocalSupabase
from tests.course import Course
from tests.sql.service import FAIL, PUBLISH, Service, fact

pytestmark = pytest.mark.stack


@pytest.fixture
def anna(supabase: LocalSupabase, course: Course) -> Iterator[psycopg.Connection]:
    """Give a connection that is Anna's request, autocommitting."""
    with supabase.connect("authenticated") as connection:
        sign_in(connection, course.anna)
        yield connection


def sign_in(connection: psycopg.Connection, user: UUID) -> None:
    """Set the claims of a signed-in user as PostgREST does."""
    connection.execute(
        "select set_config('request.jwt.claims', %s, false)",
        [f'{{"sub": "{user}", "role": "authenticated"}}'],
    )


def as_instructor(connection: psycopg.Connection, course: Course) -> Course:
    """Give the app's side through that connection."""
    return Course(connection, anna=course.anna, bert=course.bert)


def test_an_instructor_tracks_her_own_upload(course: Course, anna: psycopg.Connection) -> None:
    """The app's own upsert passes row level security and the grants, first and again."""
    lesson = course.lesson()
    hers = as_instructor(anna, course)
    hers.track(lesson, "up1")
    hers.track(lesson, "up2")
    assert hers.tracking(lesson)["upload_id"] == "up2"
    result = [(e["event"], e["actor"], e["upload_id"]) for e in hers.events(lesson)]
    assert result == [("tracked", str(course.anna), "up1"), ("tracked", str(course.anna), "up2")]


def test_an_upload_that_failed_gets_another_look_when_she_saves_again(
    course: Course, anna: psycopg.Connection, service: Service
) -> None:
    """What the trigger clears needs no grant of hers."""
    lesson = course.tracked_lesson("up1")
    service.settle(fact(FAIL, "up1", "as1"))
    as_instructor(anna, course).track(lesson, "up1")
    row = course.row(lesson)
    assert (row["status"], row["error_type"], row["settled_at"]) == ("processing", None, None)


def test_nobody_tracks_an_upload_for_the_lesson_of_another(
    course: Course, anna: psycopg.Connection
) -> None:
    """Row level security refuses a new row and an upsert on one that she cannot see."""
    untouched, tracked = course.lesson(course.bert), course.tracked_lesson("up1", course.bert)
    before = course.row(tracked)
    hers = as_instructor(anna, course)
    for lesson in (untouched, tracked):
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
            hers.track(lesson, "up2")
    assert course.row(tracked) == before
    assert course.events(untouched) == []


def test_an_instructor_reads_and_deletes_her_own_rows_alone(
    course: Course, anna: psycopg.Connection
) -> None:
    """Rows and audit of other instructors do not exist for her."""
    hers, others = course.tracked_lesson("up1"), course.tracked_lesson("up2", course.bert)
    for table in ("mux_asset_tracking", "mux_asset_events"):
        seen = anna.execute(f"select lesson_id from {table}".encode()).fetchall()
        assert seen == [(hers,)]
    assert anna.execute("delete from mux_asset_tracking").rowcount == 1
    assert course.row(others)["upload_id"] == "up2"


@pytest.mark.parametrize(
    "statement",
    [
        "update mux_asset_tracking set mux_asset_id = 'as9'",
        "update mux_asset_tracking set mux_playback_id = 'play9'",
        "update mux_asset_tracking set tracked_at = now()",
        "update mux_asset_tracking set settled_at = now()",
        "select * from mux_private.schedule",
        "update mux_private.schedule set next_check_at = now() where true",
        "truncate mux_asset_tracking",
        "insert into mux_asset_events (actor) values ('me')",
        "delete from mux_asset_events",
        "update mux_asset_events set actor = 'me'",
        "select * from mux_private.upload_history",
        "select mux_private.differences()",
        "select worker_claim(1, 60)",
        "select worker_settle('[]')",
        "select worker_release('[]')",
        "select worker_summary()",
        "select worker_prune_events(90, 1000)",
        "select worker_doctor()",
        "select mux_private.app_publish(null)",
    ],
)
def test_what_is_the_workers_is_out_of_an_instructors_reach(
    course: Course, anna: psycopg.Connection, statement: str
) -> None:
    """She can name no asset, move no clock, write no audit and call no function of the worker."""
    course.tracked_lesson("up1")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        anna.execute(statement.encode())


@pytest.mark.parametrize("table", ["mux_asset_tracking", "mux_asset_events"])
def test_visitors_read_nothing(supabase: LocalSupabase, course: Course, table: str) -> None:
    """The role of who is not signed in has no grant on either table."""
    course.tracked_lesson("up1")
    with (
        supabase.connect("anon") as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(f"select * from {table}".encode())


@pytest.mark.parametrize(
    "statement",
    ["delete from mux_asset_events", "update mux_asset_events set event = 'published'"],
)
def test_the_worker_itself_cannot_rewrite_the_audit(
    course: Course, service: Service, statement: str
) -> None:
    """The audit only grows, through the one function that writes to it."""
    course.tracked_lesson("up1")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        service.connection.execute(statement.encode())


def test_the_audit_cannot_be_read_by_who_has_the_lesson_no_more(
    course: Course, anna: psycopg.Connection, service: Service
) -> None:
    """It outlives the lesson; then only the service role and the owner read it."""
    lesson = course.tracked_lesson("up1")
    service.settle(fact(PUBLISH, "up1", "as1"))
    course.delete(lesson)
    assert anna.execute("select count(*) from mux_asset_events").fetchone() == (0,)
    assert service.connection.execute("select count(*) from mux_asset_events").fetchone() == (2,)
