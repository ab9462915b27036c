"""What the status page asks of the database."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.course import Course
from tests.sql.service import FAIL, PUBLISH, WAIT, Service, fact

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


def lessons(rows: list[dict[str, Any]]) -> list[str]:
    """Name the lessons of a list."""
    return [row["lesson_id"] for row in rows]


def test_an_empty_database_has_nothing_to_show(service: Service) -> None:
    """All lists are empty, all counts zero, and nothing is missing from the answer."""
    result = overview(service)
    assert result.pop("now") is not None
    assert result == {
        **service.summary(),
        "events_seconds": None,
        "waiting": [],
        "stuck_rows": [],
        "failed_rows": [],
        "published": [],
        "hours": [],
        "counted_seconds": None,
    }


def test_the_lists_hold_what_they_are_named_for_the_worst_first(
    service: Service, course: Course, db: psycopg.Connection
) -> None:
    """What waits by when it is due, what is stuck by age, what failed and was published by time."""
    waits = [course.tracked_lesson(f"up{n}") for n in range(3)]
    for n, lesson in enumerate(waits):
        course.backdate(lesson, 3600 * n)
        course.reschedule(lesson, next_check_at=timedelta(seconds=100 * n))
    failed = [course.tracked_lesson(f"bad{n}") for n in range(3)]
    for n in range(3):
        service.settle(fact(FAIL, f"bad{n}"))
    db.execute("update mux_asset_tracking set settled_at = null where upload_id = 'bad2'")
    done = [course.tracked_lesson(f"good{n}") for n in range(2)]
    course.backdate(done[1], 60)
    for n in range(2):
        service.settle(fact(PUBLISH, f"good{n}", f"as{n}"))

    result = overview(service)
    assert lessons(result["waiting"]) == [str(x) for x in waits]
    assert lessons(result["stuck_rows"]) == [str(waits[2]), str(waits[1])]
    assert lessons(result["failed_rows"]) == [str(failed[n]) for n in (1, 0, 2)]
    assert result["failed_rows"][0]["error_message"] == "not a video"
    assert lessons(result["published"]) == [str(done[1]), str(done[0])]
    assert 60 <= result["published"][0]["waited_seconds"] < 65
    assert result["hours"] == [{"hours_ago": 0, "published": 2, "failed": 3}]
    assert (result["processing"], result["stuck"], result["error"]) == (3, 2, 3)
    few = overview(service, 1)
    shown = [len(few[x]) for x in ("waiting", "stuck_rows", "failed_rows", "published")]
    assert shown == [1, 1, 1, 1]


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
    result = overview(service)
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
    result = overview(service)
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
