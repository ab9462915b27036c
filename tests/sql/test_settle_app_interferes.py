"""Triggers and constraints of the app that get in the way: their row is refused, alone."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from tests.course import Course
from tests.sql.service import PUBLISH, Service, fact, looked_at

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
    assert "bad_is_no_title" in str(refused["message"])


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
