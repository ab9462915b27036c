"""Triggers and constraints of the app that get in the way: their row is refused, alone."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from tests.course import Course
from tests.sql.service import PUBLISH, Service, fact, looked_at
from tests.sql.test_adopt import adopt, item

pytestmark = pytest.mark.stack


@contextmanager
def app_trigger(
    db: psycopg.Connection, body: str, on: str = "lessons", when: str = "before update"
) -> Iterator[None]:
    """Let the app have a trigger with this body for as long as the block lasts."""
    constraint = "constraint" if when.startswith("after") else ""
    deferred = "deferrable initially deferred" if constraint else ""
    db.execute(
        f"create function public.meddle() returns trigger language plpgsql as $$ {body} $$;"
        f"create {constraint} trigger meddle {when} on {on} {deferred} for each row "
        "execute function public.meddle()".encode()
    )
    try:
        yield
    finally:
        db.execute("drop function public.meddle() cascade")


def publish_both(course: Course, service: Service) -> dict[str, object]:
    """Publish a lesson called `bad`, whose outcome it gives, and one that is not."""
    course.track(course.lesson(title="bad"), "up1")
    course.tracked_lesson("up2")
    refused, published = service.settle(fact(PUBLISH, "up1", "as1"), fact(PUBLISH, "up2", "as2"))
    assert published["outcome"] == "published"
    return refused


IF_BAD = "begin if new.title = 'bad' then {} end if; return new; end"


@pytest.mark.parametrize(
    ("body", "when", "sqlstate"),
    [
        (IF_BAD.format("raise exception 'no';"), "before update", "P0001"),
        (IF_BAD.format("assert false, 'no';"), "before update", "P0004"),
        (IF_BAD.format("perform 1 / 0;"), "before update", "22012"),
        (IF_BAD.format("raise exception 'no';"), "after update", "P0001"),
        (IF_BAD.format("return null;"), "before update", "27000"),
        (IF_BAD.format("new.status := old.status;"), "before update", "27000"),
    ],
    ids=["raises", "asserts", "divides by zero", "raises at commit", "swallows", "reverts"],
)
def test_a_trigger_of_the_app_keeps_its_own_lesson_alone(
    course: Course, service: Service, db: psycopg.Connection, body: str, when: str, sqlstate: str
) -> None:
    """Whatever it does and whenever, the lesson is not called published and the others are."""
    with app_trigger(db, body, when=when):
        refused = publish_both(course, service)
    assert (refused["outcome"], refused["sqlstate"]) == ("refused", sqlstate)
    states = db.execute("select title, status from lessons order by title = 'bad'").fetchall()
    assert states == [("A lesson", "published"), ("bad", "draft")]
    rows = db.execute(
        "select status::text, error_type from mux_asset_tracking order by upload_id"
    ).fetchall()
    assert rows == [("processing", "refused"), ("ready", None)]


HELPER_IN_PLPGSQL = """
    create function helper(why text, n int) returns void language plpgsql set search_path = ''
    as $$ begin raise exception '%', why; end $$"""
HELPER_IN_SQL = """
    create function helper() returns int language sql
    as $$ delete from notifications where id < 0; select 1 / 0 $$"""
NOTIFIES_TWICE = """
    insert into notifications (id, lesson_id, title) overriding system value
    select 1, new.id, 'x' from generate_series(1, 2);
    return new;"""


@pytest.mark.parametrize(
    ("create", "on", "body", "raised_by"),
    [
        ("", "lessons", "insert into nowhere values (1); return new;", "function meddle()"),
        ("", "mux_asset_tracking", "raise exception 'no';", "function meddle()"),
        (
            HELPER_IN_PLPGSQL,
            "lessons",
            "perform helper('no', 1); return new;",
            "function helper(text,integer)",
        ),
        (
            HELPER_IN_SQL,
            "lessons",
            "perform helper(); return new;",
            "function helper",
        ),
        (
            "",
            "lessons",
            NOTIFIES_TWICE,
            "constraint notifications_pkey on notifications, function meddle()",
        ),
    ],
    ids=["no such table", "raises", "a function it calls", "of language sql", "another table's"],
)
def test_what_of_the_app_raised_it_is_said(
    course: Course,
    service: Service,
    db: psycopg.Connection,
    create: str,
    on: str,
    body: str,
    raised_by: str,
) -> None:
    """The innermost function of the app and the trigger, in the outcome, the row and the audit."""
    lesson = course.tracked_lesson("up1")
    condition = "status" if on == "lessons" else "mux_playback_id"
    when = f"before update of {condition}"
    db.execute(create.encode())
    try:
        with app_trigger(db, f"begin {body} end", on=on, when=when):
            (outcome,) = service.settle(fact(PUBLISH, "up1", "as1"))
    finally:
        db.execute("drop function if exists helper(text, int), helper()")
    assert outcome["raised_by"] == f"{raised_by}, trigger meddle on {on}"
    message = course.row(lesson)["error_message"]
    expected = f"{outcome['sqlstate']}: {outcome['message']} (raised by {outcome['raised_by']})"
    assert message == expected
    assert course.events(lesson)[-1]["message"] == expected


def test_a_function_of_a_check_that_fails_is_named(
    course: Course, service: Service, db: psycopg.Connection
) -> None:
    """It is no trigger's, and the constraint is not violated: it cannot be asked."""
    course.tracked_lesson("up1")
    db.execute(
        "create function is_allowed(t text) returns boolean language plpgsql as $$ begin "
        "return not exists (select from forbidden_titles f where f.title = t); end $$; "
        "alter table lessons add constraint title_is_allowed check (is_allowed(title)) not valid"
    )
    try:
        (outcome,) = service.settle(fact(PUBLISH, "up1", "as1"))
    finally:
        db.execute("drop function is_allowed(text) cascade")
    assert (outcome["sqlstate"], outcome["raised_by"]) == ("42P01", "function is_allowed(text)")


def test_an_adoption_that_the_app_refuses_names_what_raised_it(
    course: Course, service: Service, db: psycopg.Connection
) -> None:
    """As settling does."""
    lesson = course.lesson(mux_asset_id="temp_up1")
    adoption = item(lesson)
    with app_trigger(
        db, "begin raise exception 'no'; end", on="mux_asset_tracking", when="before insert"
    ):
        (outcome,) = adopt(service, adoption)
    assert (outcome["outcome"], outcome["raised_by"]) == (
        "refused",
        "function meddle(), trigger meddle on mux_asset_tracking",
    )


def test_a_constraint_of_the_app_keeps_its_own_lesson_alone(
    course: Course, service: Service, db: psycopg.Connection
) -> None:
    """A lesson that may not be published without a price is refused with that constraint's name."""
    db.execute(
        "alter table lessons add constraint bad_is_no_title check "
        "(title <> 'bad' or status = 'draft') not valid"
    )
    try:
        refused = publish_both(course, service)
    finally:
        db.execute("alter table lessons drop constraint bad_is_no_title")
    assert (refused["outcome"], refused["sqlstate"]) == ("refused", "23514")
    assert refused["raised_by"] == "constraint bad_is_no_title on lessons"


def test_a_trigger_on_the_tracking_table_harms_no_lesson_of_the_same_upload(
    course: Course, service: Service, db: psycopg.Connection
) -> None:
    """Even a row that takes no update at all, not even its refusal, does not undo its neighbour."""
    bad, fine = course.tracked_lesson("up1"), course.tracked_lesson("up1")
    body = f"begin if new.lesson_id = '{bad}' then raise exception 'no'; end if; return new; end"
    with app_trigger(db, body, on="mux_asset_tracking"):
        outcomes = service.outcomes(fact(PUBLISH, "up1", "as1"))
    assert sorted(outcomes) == ["published", "refused"]
    assert course.state(fine)["status"] == "published"
    assert course.state(bad)["status"] == "draft"


@pytest.mark.parametrize("sqlstate", ["40001", "40P01", "55P03"])
@pytest.mark.parametrize("on", ["lessons", "mux_asset_tracking"])
def test_what_passes_by_itself_ends_the_call_wherever_it_happens(
    course: Course, service: Service, db: psycopg.Connection, on: str, sqlstate: str
) -> None:
    """Also where it strikes while another refusal is being written down."""
    course.tracked_lesson("up1")
    body = f"begin raise exception using errcode = '{sqlstate}', message = 'later'; end"
    with app_trigger(db, body, on=on), pytest.raises(psycopg.Error) as raised:
        service.settle(fact(PUBLISH, "up1", "as1"))
    assert raised.value.sqlstate == sqlstate


def test_a_deadlock_while_a_refusal_is_written_down_ends_the_call(
    course: Course, service: Service, db: psycopg.Connection
) -> None:
    """The refusal of a row is not kept from the worker, nor is what kept it from being kept."""
    course.tracked_lesson("up1")
    (row,) = service.claim()
    item = fact(PUBLISH, "up1", claimed=[looked_at(row, PUBLISH)])  # names no asset: refused
    body = "begin raise exception using errcode = '40P01', message = 'later'; end"
    with app_trigger(db, body, on="mux_asset_tracking"), pytest.raises(psycopg.Error) as raised:
        service.settle(item)
    assert raised.value.sqlstate == "40P01"
