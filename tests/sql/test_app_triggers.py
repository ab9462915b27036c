"""Triggers, policies and checks of the app that name things without their schema.

They work for every request of the app's, whose search_path has `public`; so they must for ours.
"""

from collections.abc import Iterator

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.course import Course
from tests.sql.instructor import Instructor
from tests.sql.service import PUBLISH, Service, fact
from tests.sql.test_adopt import adopt, item
from tests.sql.test_lessons_change_type import everything

pytestmark = pytest.mark.stack

TABLES = ("lessons", "mux_asset_tracking", "mux_asset_events")
VERBS = ("insert", "update", "delete")
MADE = f"""
    create table course_log (at timestamptz default now(), what text);
    grant insert on course_log to authenticated, service_role;
    create table enrolments (lesson_id uuid, student_id uuid);
    grant select on enrolments to authenticated, service_role;
    create domain log_entry as text;
    create function note_change() returns trigger language plpgsql as $$
    declare
      entry log_entry := concat_ws(' ', tg_when, tg_op, tg_table_name);
    begin
      insert into course_log (what) values (entry);
      return coalesce(new, old);
    end $$;
    create function is_enrolled(lesson uuid) returns boolean language plpgsql stable as $$ begin
      return exists (
        select from enrolments e where e.lesson_id = lesson and e.student_id = auth.uid());
    end $$;
    create function is_free(lesson uuid) returns boolean language sql stable
    as 'select not exists (select from enrolments where lesson_id = lesson)';
    alter table lessons add constraint lesson_is_free check (is_free(id)) not valid;
    alter table mux_asset_tracking
      add constraint tracking_is_free check (is_free(lesson_id)) not valid;
    create policy "Students see their lessons" on lessons for select to authenticated
      using (is_enrolled(id));
    create policy "Students see how far their lessons are" on mux_asset_tracking
      for select to authenticated using (is_enrolled(lesson_id));
    {
    "".join(
        f"create trigger note_{when} {when} insert or update or delete on {table} "
        "for each row execute function note_change();"
        f"create constraint trigger note_late_{when} after insert or update on {table} "
        "deferrable initially deferred for each row execute function note_change();"
        for table in TABLES
        for when in ("before", "after")
    )
}"""
UNMADE = """
    drop table course_log, enrolments;
    drop function note_change() cascade;
    drop function is_enrolled(uuid) cascade;
    drop function is_free(uuid) cascade;
    drop domain log_entry"""


@pytest.fixture
def busy_app(db: psycopg.Connection) -> Iterator[psycopg.Connection]:
    """Let the app have triggers on all three tables, and policies and checks with functions."""
    db.execute(MADE.encode())
    yield db
    db.execute(UNMADE)


def logged(db: psycopg.Connection) -> set[str]:
    """Give what the app's triggers have noted."""
    return {row[0] for row in db.execute("select distinct what from course_log").fetchall()}


def test_an_app_with_triggers_policies_and_checks_of_its_own_is_served(
    course: Course, service: Service, instructor: Instructor, busy_app: psycopg.Connection
) -> None:
    """All that the worker and the app call does what it does without them."""
    with_them = everything(course, service, instructor)
    expected = {
        f"{when} {verb} {table}"
        for when in ("BEFORE", "AFTER")
        for table in TABLES
        for verb in ("INSERT", "UPDATE", "DELETE")
    }
    never = {
        f"{when} {verb} mux_asset_events"
        for when in ("BEFORE", "AFTER")
        for verb in ("UPDATE", "DELETE")
    }
    assert logged(busy_app) == expected - never
    busy_app.execute(UNMADE)
    without = everything(course, service, instructor)
    busy_app.execute(MADE.encode())
    assert with_them == without


@pytest.mark.parametrize(
    ("query", "table"),
    [
        ("worker_publish(%(verdict)s, null, 'me')", "lessons"),
        ("worker_retry(array[%(lesson)s]::text[], operator => 'me')", "mux_asset_tracking"),
        ("worker_record_refusal(%(verdict)s, '57014', 'too slow')", "mux_asset_tracking"),
    ],
)
def test_what_operators_do_fires_them_too(
    course: Course, service: Service, busy_app: psycopg.Connection, query: str, table: str
) -> None:
    """Each fires the app's triggers on the table that it writes to."""
    lesson = course.tracked_lesson("up1")
    if "retry" in query:
        service.settle({"verdict": "fail", "reason": "asset_errored", "upload_id": "up1"})
    busy_app.execute("delete from course_log")
    values = {
        "lesson": lesson,
        "verdict": Jsonb(fact(PUBLISH, "up1", "as1")),
    }
    service.connection.execute(f"select {query}".encode(), values)
    assert {f"BEFORE UPDATE {table}", f"AFTER UPDATE {table}"} <= logged(busy_app)


def test_an_adoption_fires_them_too(
    course: Course, service: Service, busy_app: psycopg.Connection
) -> None:
    """The row that it inserts is noted, and its check is asked."""
    lesson = course.lesson(mux_asset_id="temp_up1")
    (outcome,) = adopt(service, item(lesson))
    assert outcome["outcome"] == "adopted"
    assert "AFTER INSERT mux_asset_tracking" in logged(busy_app)


def test_old_events_are_removed_under_a_trigger(
    course: Course, service: Service, busy_app: psycopg.Connection
) -> None:
    """The retention runs with the owner's rights, and with the path of a request all the same."""
    course.tracked_lesson("up1")
    busy_app.execute("update mux_asset_events set happened_at = now() - interval '40 days'")
    row = service.connection.execute("select worker_prune_events(30, 10)").fetchone()
    assert row == (1,)
    assert {"BEFORE DELETE mux_asset_events", "AFTER DELETE mux_asset_events"} <= logged(busy_app)
