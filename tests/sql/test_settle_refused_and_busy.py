from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID

import psycopg
import pytest

from tests.course import Course
from tests.sql.conftest import Connections
from tests.sql.service import FAIL, PUBLISH, WAIT, Service, fact, looked_at

pytestmark = pytest.mark.stack


@pytest.fixture
def app_trigger(db: psycopg.Connection) -> Iterator[psycopg.Connection]:
    """Give the app a trigger on lessons that raises the SQLSTATE in the lesson's title."""
    db.execute("""
        create function public.stubborn() returns trigger language plpgsql as $$
        begin
          if new.title ~ '^[0-9A-Z]{5}$' then
            raise exception using errcode = new.title, message = 'the app says no';
          end if;
          return new;
        end $$;
        create trigger stubborn before update on lessons for each row
        execute function public.stubborn()
    """)
    yield db
    db.execute("drop function public.stubborn() cascade")


def seconds_to_due(db: psycopg.Connection) -> float:
    """Give the seconds until the only row is due."""
    row = db.execute(
        "select extract(epoch from next_check_at - now())::float from mux_private.schedule"
    ).fetchone()
    assert row is not None
    return float(row[0])


def stubborn_lesson(course: Course, upload: str, sqlstate: str) -> UUID:
    """Create a lesson that the app's trigger will not let be published."""
    lesson = course.lesson(title=sqlstate)
    course.track(lesson, upload)
    return lesson


def test_what_the_app_refuses_does_not_touch_the_others(
    app_trigger: psycopg.Connection, course: Course, service: Service
) -> None:
    """A trigger that raises makes that row refused, with its SQLSTATE; the rest is published."""
    stubborn_lesson(course, "up1", "23514")
    fine = course.tracked_lesson("up2")
    refused, published = service.settle(fact(PUBLISH, "up1", "as1"), fact(PUBLISH, "up2", "as2"))
    assert (refused["outcome"], refused["sqlstate"], refused["message"]) == (
        "refused",
        "23514",
        "the app says no",
    )
    assert published["outcome"] == "published"
    assert course.state(fine)["status"] == "published"


@pytest.mark.parametrize(("pause_seconds", "expected"), [(30, 30), (0.5, 5)])
def test_a_refused_row_backs_off_and_says_why(
    app_trigger: psycopg.Connection,
    course: Course,
    service: Service,
    pause_seconds: float,
    expected: float,
) -> None:
    """It stays processing, is due after the pause of its claim or 5 s, and holds the refusal."""
    lesson = stubborn_lesson(course, "up1", "23514")
    (claimed,) = service.claim(lease=600)
    publish = looked_at(claimed, PUBLISH, pause_seconds=pause_seconds)
    assert service.outcomes(fact(PUBLISH, "up1", "as1", claimed=[publish])) == ["refused"]
    row = course.row(lesson)
    assert (row["status"], row["error_type"], row["error_message"], row["check_count"]) == (
        "processing",
        "refused",
        "23514: the app says no (raised by function stubborn(), trigger stubborn on lessons)",
        1,
    )
    assert expected - 3 < seconds_to_due(app_trigger) <= expected


def test_passing_facts_pass_over_a_refused_row_until_it_is_due(
    app_trigger: psycopg.Connection, course: Course, service: Service
) -> None:
    """A page or an event does not try again before its time; then it does, once for the audit."""
    lesson = stubborn_lesson(course, "up1", "23514")
    service.settle(fact(PUBLISH, "up1", "as1"))
    assert service.outcomes(fact(PUBLISH, "up1", "as1")) == ["waiting"]
    course.make_due()
    assert service.outcomes(fact(PUBLISH, "up1", "as1")) == ["refused"]
    events = [event["event"] for event in course.events(lesson)]
    assert events == ["tracked", "refused"]


def test_a_refusal_is_forgotten_once_the_cause_is_mended(
    app_trigger: psycopg.Connection, course: Course, service: Service
) -> None:
    """The next look publishes and clears what the refusal left."""
    lesson = stubborn_lesson(course, "up1", "23514")
    service.settle(fact(PUBLISH, "up1", "as1"))
    app_trigger.execute("alter table lessons disable trigger stubborn")
    course.make_due()
    assert service.outcomes(fact(PUBLISH, "up1", "as1")) == ["published"]
    row = course.row(lesson)
    assert (row["error_type"], row["error_message"]) == (None, None)


def test_a_refusal_is_forgotten_once_the_row_only_waits(
    app_trigger: psycopg.Connection, course: Course, service: Service
) -> None:
    """A claimed look by which the video is not ready any more clears what the refusal left."""
    lesson = stubborn_lesson(course, "up1", "23514")
    service.settle(fact(PUBLISH, "up1", "as1"))
    course.make_due()
    (claimed,) = service.claim()
    item = fact(WAIT, "up1", "as1", claimed=[looked_at(claimed)])
    assert service.outcomes(item) == ["waiting"]
    row = course.row(lesson)
    assert (row["status"], row["error_type"], row["error_message"]) == ("processing", None, None)


def test_a_refusal_of_many_words_is_cut(course: Course, service: Service) -> None:
    """What is told and what is kept have at most 500 characters."""
    lesson = course.tracked_lesson("up1")
    (outcome,) = service.settle({**fact(WAIT, "up1", "as1"), "verdict": "x" * 5000})
    kept = course.row(lesson)["error_message"]
    assert (outcome["outcome"], len(outcome["message"]), len(kept)) == ("refused", 500, 500)


@pytest.mark.parametrize("sqlstate", ["40001", "40P01", "55P03"])
def test_what_passes_by_itself_ends_the_whole_call(
    app_trigger: psycopg.Connection, course: Course, service: Service, sqlstate: str
) -> None:
    """Serialization failures, deadlocks and lock timeouts are for the worker to repeat."""
    fine = course.tracked_lesson("up2")
    stubborn_lesson(course, "up1", sqlstate)
    with pytest.raises(psycopg.Error) as raised:
        service.settle(fact(PUBLISH, "up2", "as2"), fact(PUBLISH, "up1", "as1"))
    assert raised.value.sqlstate == sqlstate
    assert course.state(fine)["status"] == "draft"


@pytest.mark.parametrize(
    "harm",
    [
        {"claims": 3},
        {"claimed": [{"id": "no uuid", "tracked_at": "now"}], "upload_id": None},
        {"claimed": "no list"},
        {"verdict": None},
    ],
)
def test_a_malformed_item_harms_nobody(
    course: Course, service: Service, harm: dict[str, object]
) -> None:
    """An item that makes no sense settles nothing wrongly and leaves the others alone."""
    course.tracked_lesson("up1")
    fine = course.tracked_lesson("up2")
    bad = {**fact(PUBLISH, "up1", None), "asset_id": None, **harm}
    outcomes = service.outcomes(bad, fact(PUBLISH, "up2", "as2"))
    assert outcomes[-1] == "published"
    assert set(outcomes[:-1]) <= {"refused", "unmatched", "waiting"}
    assert course.state(fine)["status"] == "published"


@pytest.mark.parametrize(("pause_seconds", "expected"), [(None, 300), (20, 300), (400, 400)])
def test_what_takes_too_long_backs_off_for_five_minutes_or_more(
    course: Course, service: Service, db: psycopg.Connection, pause_seconds: int, expected: int
) -> None:
    """Each of its rows holds the refusal, as if it had been refused while it was settled."""
    lesson = course.tracked_lesson("up1")
    claimed = [looked_at(row, PUBLISH, pause_seconds=pause_seconds) for row in service.claim()]
    item = fact(PUBLISH, "up1", "as1", claimed=claimed if pause_seconds else [])
    (outcome,) = service.record_refusal(item)
    row = course.row(lesson)
    assert outcome == {
        "outcome": "refused",
        "tracking_id": str(row["id"]),
        "lesson_id": str(lesson),
        "upload_id": "up1",
        "asset_id": "as1",
        "sqlstate": "57014",
        "message": "too slow",
        "raised_by": None,
    }
    assert (row["status"], row["error_type"], row["error_message"], row["check_count"]) == (
        "processing",
        "refused",
        "57014: too slow",
        1,
    )
    assert expected - 5 < seconds_to_due(db) <= expected
    assert [event["event"] for event in course.events(lesson)] == ["tracked", "refused"]


def test_what_backs_off_is_not_tried_until_it_is_due(
    app_trigger: psycopg.Connection, course: Course, service: Service
) -> None:
    """A page or event that carries it costs no second cut-off, nor does it refuse it anew."""
    lesson = stubborn_lesson(course, "up1", "57014")
    fine = course.tracked_lesson("up2")
    with pytest.raises(psycopg.errors.QueryCanceled):
        service.settle(fact(PUBLISH, "up1", "as1"))
    service.record_refusal(fact(PUBLISH, "up1", "as1"))
    page = (fact(PUBLISH, "up1", "as1"), fact(PUBLISH, "up2", "as2"))
    assert service.outcomes(*page) == ["waiting", "published"]
    assert [one["outcome"] for one in service.record_refusal(page[0])] == ["waiting"]
    assert (course.row(lesson)["check_count"], course.state(fine)["status"]) == (1, "published")
    course.make_due()
    with pytest.raises(psycopg.errors.QueryCanceled):
        service.settle(*page)


def test_what_backs_off_is_not_even_locked(
    app_trigger: psycopg.Connection,
    course: Course,
    service: Service,
    connections: Connections,
    db: psycopg.Connection,
) -> None:
    """A page that comes while somebody holds the lesson does not make its row due in 5 s."""
    lesson = stubborn_lesson(course, "up1", "23514")
    service.settle(fact(PUBLISH, "up1", "as1"))
    holder = connections.transaction()
    holder.execute("select 1 from lessons where id = %s for update", [lesson])
    assert service.outcomes(fact(PUBLISH, "up1", "as1")) == ["waiting"]
    assert seconds_to_due(db) > 50


def test_a_refusal_is_told_of_rows_that_need_it(course: Course, service: Service) -> None:
    """What has been settled meanwhile stays so, and there may be nobody left to refuse."""
    lesson = course.tracked_lesson("up1")
    service.settle(fact(PUBLISH, "up1", "as1"))
    assert [one["outcome"] for one in service.record_refusal(fact(PUBLISH, "up1", "as1"))] == [
        "unchanged"
    ]
    assert [one["outcome"] for one in service.record_refusal(fact(PUBLISH, "up2", "as2"))] == [
        "unmatched"
    ]
    row = course.row(lesson)
    assert (row["status"], row["error_type"]) == ("ready", None)


@pytest.mark.parametrize("arguments", ["", "'[]', '57014', 'x'", "'{}', null, 'x'", "'{}', 'x'"])
def test_a_refusal_needs_its_verdict_and_why(service: Service, arguments: str) -> None:
    """Anything less is a 400 for PostgREST."""
    with pytest.raises(psycopg.Error, match="worker_record_refusal needs") as refused:
        service.connection.execute(f"select worker_record_refusal({arguments})".encode())
    assert refused.value.sqlstate == "PT400"


def test_a_locked_lesson_is_busy_and_the_others_go_on(
    course: Course, service: Service, connections: Connections, db: psycopg.Connection
) -> None:
    """Settling does not wait for a lesson that somebody holds; its row is due again in 5 s."""
    held = course.tracked_lesson("up1")
    holder = connections.transaction()
    holder.execute("select 1 from lessons where id = %s for update", [held])
    service.claim(lease=600)
    assert service.outcomes(fact(PUBLISH, "up1", "as1")) == ["busy"]
    assert 3 < seconds_to_due(db) <= 5
    fine = course.tracked_lesson("up2")
    assert service.outcomes(fact(PUBLISH, "up2", "as2")) == ["published"]
    holder.rollback()
    assert service.outcomes(fact(PUBLISH, "up1", "as1")) == ["published"]
    assert course.state(held)["status"] == course.state(fine)["status"] == "published"


def test_a_locked_tracking_row_is_busy(
    course: Course, service: Service, connections: Connections
) -> None:
    """Nor does it wait for a tracking row; nothing is half done."""
    lesson = course.tracked_lesson("up1")
    connections.transaction().execute("select 1 from mux_asset_tracking for update")
    assert service.outcomes(fact(PUBLISH, "up1", "as1")) == ["busy"]
    assert service.outcomes(fact(WAIT, "up1", "as1")) == ["busy"]
    assert service.outcomes(fact(FAIL, "up1", "as1")) == ["busy"]
    assert course.state(lesson)["status"] == "draft"


@pytest.mark.parametrize("what", ["lessons", "mux_asset_tracking"])
def test_a_row_that_is_left_to_webhooks_is_due_again_after_a_lock(
    what: str, course: Course, service: Service, connections: Connections, db: psycopg.Connection
) -> None:
    """So that the event, which is answered, need not come again."""
    course.tracked_lesson("up1", next_check_at=timedelta(minutes=5))
    connections.transaction().execute(f"select 1 from {what} for update".encode())
    (outcome,) = service.settle(fact(PUBLISH, "up1", "as1"))
    assert (outcome["outcome"], outcome.get("reason")) == ("busy", None)
    assert 3 < seconds_to_due(db) <= 5


@pytest.mark.parametrize("what", ["lessons", "mux_asset_tracking"])
def test_an_event_has_to_come_again_where_the_schedule_is_locked_too(
    what: str, course: Course, service: Service, connections: Connections
) -> None:
    """The app may undo the upload that it begins: then the row is left to webhooks as before."""
    course.tracked_lesson("up1", next_check_at=timedelta(minutes=5))
    other = connections.transaction()
    for table in (what, "mux_private.schedule"):
        other.execute(f"select 1 from {table} for update".encode())
    (outcome,) = service.settle(fact(PUBLISH, "up1", "as1"))
    assert (outcome["outcome"], outcome["reason"]) == ("busy", "not_due")


@pytest.mark.parametrize("what", ["lessons", "mux_asset_tracking"])
def test_an_event_about_a_failed_row_that_meets_a_lock_has_to_come_again(
    what: str, course: Course, service: Service, connections: Connections
) -> None:
    """No scan looks at it; a row that is processing is looked at by the next one."""
    failed = course.tracked_lesson("up1", status="error", error_type="upload_not_found")
    waiting = course.tracked_lesson("up2")
    other = connections.transaction()
    other.execute(f"select 1 from {what} for update".encode())
    outcomes = service.settle(fact(PUBLISH, "up1", "as1"), fact(PUBLISH, "up2", "as2"))
    assert {
        outcome["lesson_id"]: (outcome["outcome"], outcome.get("reason")) for outcome in outcomes
    } == {str(failed): ("busy", "not_scanned"), str(waiting): ("busy", None)}


def test_what_an_event_says_in_passing_does_not_end_a_refusal(
    app_trigger: psycopg.Connection, course: Course, service: Service
) -> None:
    """That Mux encodes another asset of the upload says nothing of what the database refused."""
    lesson = stubborn_lesson(course, "up1", "23514")
    service.settle(fact(PUBLISH, "up1", "as1"))
    course.make_due()
    refusal = course.row(lesson)["error_message"]
    assert service.outcomes(fact(WAIT, "up1", "as2")) == ["waiting"]
    row = course.row(lesson)
    assert (row["mux_asset_id"], row["error_type"], row["error_message"]) == (
        "as2", "refused", refusal,
    )  # fmt: skip
