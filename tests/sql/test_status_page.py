"""What the status page asks of the database."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.course import Course
from tests.sql.service import FAIL, WAIT, Service, fact

pytestmark = pytest.mark.stack


def call(service: Service, query: str, *values: Any) -> Any:
    """Call a function; give its answer."""
    row = service.connection.execute(query.encode(), values).fetchone()
    assert row is not None
    return row[0]


def overview(service: Service, at_most: int = 20) -> dict[str, Any]:
    """Ask for the overview."""
    result: dict[str, Any] = call(service, "select worker_overview(%s)", at_most)
    return result


def make_due(service: Service, lesson: UUID, why: str | None = None) -> dict[str, Any]:
    """Have a lesson looked at next, as Ines."""
    result: dict[str, Any] = call(
        service, "select worker_make_due(%s::text, 'ines', %s)", lesson, why
    )
    return result


def test_an_empty_database_has_nothing_to_show(service: Service) -> None:
    """All lists are empty, all counts zero, and nothing is missing from the answer."""
    result = overview(service)
    now = result.pop("now")
    none = {"count": 0, "p50": None, "p95": None, "p99": None}
    states = ("unplayable", "failed", "stuck", "waiting", "published")
    assert result == {
        "counts": service.summary(),
        "events_seconds": None,
        "day": {
            "published": 0,
            "failed": 0,
            "hours": [],
            "counted_seconds": None,
            "ready_to_published": {"hour": none, "day": none},
        },
        "lists": {state: {"lessons": [], "next": None, "now": now} for state in states},
    }


def test_the_overview_has_the_first_page_of_each_list(service: Service, course: Course) -> None:
    """As worker_list_lessons gives it."""
    for n in range(3):
        course.tracked_lesson(f"up{n}")
        course.tracked_lesson(f"bad{n}")
        service.settle(fact(FAIL, f"bad{n}"))
    lists = overview(service, 2)["lists"]
    for state in ("failed", "waiting"):
        page = call(service, "select worker_list_lessons(%s, at_most => 2)", state)
        assert [x["lesson_id"] for x in lists[state]["lessons"]] == [
            x["lesson_id"] for x in page["lessons"]
        ]
        assert lists[state]["next"] == page["next"] is not None


def test_the_hours_are_those_of_the_last_day(
    service: Service, course: Course, db: psycopg.Connection
) -> None:
    """Counted back from now; what is older, or is no outcome, is not counted."""
    lesson = course.lesson()
    for hours, event in ((30, "failed"), (23.5, "failed"), (23.5, "tracked"), (2.5, "published")):
        db.execute(
            "insert into mux_asset_events (happened_at, actor, event, lesson_id, tracking_id) "
            "values (%s::timestamptz, 'test', %s, %s, %s)",
            [
                (db.execute("select now()").fetchone() or ())[0] - timedelta(hours=hours),
                event,
                lesson,
                lesson,
            ],
        )
    result = overview(service)["day"]
    assert result["hours"] == [
        {"hours_ago": 23, "published": 0, "failed": 1},
        {"hours_ago": 2, "published": 1, "failed": 0},
    ]
    assert result["counted_seconds"] is None


def test_where_more_happened_than_is_counted_it_says_since_when(
    service: Service, db: psycopg.Connection
) -> None:
    """The newest hundred thousand rows of the audit, and how far back these go."""
    db.execute(
        "insert into mux_asset_events (happened_at, actor, event, lesson_id, tracking_id) "
        "select now() - make_interval(secs => 0.5 * (100005 - n)), 'test', 'failed', "
        "gen_random_uuid(), gen_random_uuid() from generate_series(1, 100005) n"
    )
    result = overview(service)["day"]
    assert sum(hour["failed"] for hour in result["hours"]) == 100_000
    assert 50_000 <= result["counted_seconds"] < 50_100


def test_a_lesson_that_is_processing_is_made_due(service: Service, course: Course) -> None:
    """Now, with who did it and why in the audit, and nothing else changed."""
    lesson = course.tracked_lesson("up1")
    service.settle(fact(WAIT, "up1", "as1"))
    service.claim()
    before = course.row(lesson)
    assert make_due(service, lesson, "She asked.") == {
        "outcome": "made_due",
        "status": "processing",
    }
    after = course.row(lesson)
    assert after["next_check_at"] < before["next_check_at"]
    assert {**after, "next_check_at": None} == {**before, "next_check_at": None}
    event = course.events(lesson)[-1]
    assert [event[x] for x in ("event", "actor", "reason", "message")] == [
        "made_due",
        "operator ines",
        "by_hand",
        "She asked.",
    ]
    assert [row["lesson_id"] for row in service.claim()] == [str(lesson)]


def test_a_lesson_that_is_not_processing_is_left_as_it_is(service: Service, course: Course) -> None:
    """Failed, not tracked or not there at all: it says so, and the audit is as it was."""
    failed = course.tracked_lesson("up1", status="error")
    for lesson, status in ((failed, "error"), (course.lesson(), None), (uuid4(), None)):
        before = course.events(lesson)
        assert make_due(service, lesson) == {"outcome": "unchanged", "status": status}
        assert course.events(lesson) == before


def test_a_lesson_that_somebody_has_locked_is_busy(
    service: Service, course: Course, db: psycopg.Connection
) -> None:
    """It is not waited for."""
    lesson = course.tracked_lesson("up1")
    with db.transaction():
        db.execute("select from mux_asset_tracking for update")
        assert make_due(service, lesson)["outcome"] == "busy"


@pytest.mark.parametrize(
    "query",
    [
        "select worker_make_due(null, 'ines')",
        "select worker_make_due(gen_random_uuid()::text, '')",
        "select worker_overview(0)",
        "select worker_overview(101)",
    ],
)
def test_a_call_that_makes_no_sense_says_what_is_needed(service: Service, query: str) -> None:
    """As PT400, for PostgREST."""
    with pytest.raises(psycopg.Error, match="needs") as caught:
        service.connection.execute(query.encode())
    assert caught.value.sqlstate == "PT400"


def test_the_past_of_a_deleted_lesson_remains(service: Service, course: Course) -> None:
    """The last of it, oldest first; of a lesson that never was there is none."""
    lesson = course.tracked_lesson("up1")
    service.settle(fact(FAIL, "up1"))
    course.delete(lesson)
    result = call(service, "select worker_lesson_events(%s::text, 50)", lesson)
    assert [event["event"] for event in result] == ["tracked", "failed"]
    assert [
        x["event"] for x in call(service, "select worker_lesson_events(%s::text, 1)", lesson)
    ] == ["failed"]
    assert call(service, "select worker_lesson_events(%s::text)", uuid4()) == []
