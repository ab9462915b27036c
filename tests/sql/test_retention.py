from uuid import UUID, uuid4

import psycopg
import pytest

from sandbox.supabase.stack import LocalSupabase
from tests.course import Course
from tests.sql.conftest import Connections
from tests.sql.service import PUBLISH, Service, fact

pytestmark = pytest.mark.stack

DAY = 86_400


def happened(db: psycopg.Connection, *seconds_ago: float) -> UUID:
    """Write audit rows of one lesson that happened so long ago, in this order."""
    lesson = uuid4()
    for seconds in seconds_ago:
        db.execute(
            "insert into mux_asset_events (actor, event, lesson_id, tracking_id, happened_at) "
            "values ('test', 'published', %(id)s, %(id)s, now() - make_interval(secs => %(s)s))",
            {"id": lesson, "s": seconds},
        )
    return lesson


def ages(db: psycopg.Connection, lesson: UUID) -> list[int]:
    """Give the ages of a lesson's audit rows in whole days, in the order of their ids."""
    rows = db.execute(
        "select round(extract(epoch from now() - happened_at) / 86400)::int "
        "from mux_asset_events where lesson_id = %s order by id",
        [lesson],
    ).fetchall()
    return [row[0] for row in rows]


def prune(service: Service, days: int | None, at_most: int | None = 1000) -> int:
    """Call the function."""
    row = service.connection.execute(
        "select worker_prune_events(%s, %s)", [days, at_most]
    ).fetchone()
    assert row is not None
    count: int = row[0]
    return count


def test_what_is_old_enough_goes_and_the_rest_stays(
    db: psycopg.Connection, service: Service
) -> None:
    """A row is removed once it is older than the days given, and not a minute before."""
    lesson = happened(db, 100 * DAY, 90 * DAY + 60, 90 * DAY - 60, 2 * DAY, 0)
    assert prune(service, 90) == 2
    assert ages(db, lesson) == [90, 2, 0]
    assert prune(service, 90) == 0
    assert ages(db, lesson) == [90, 2, 0]


def test_the_oldest_go_first_and_no_more_than_asked_for(
    db: psycopg.Connection, service: Service
) -> None:
    """Batch by batch, until nothing is left to remove."""
    lesson = happened(db, *((100 - n) * DAY for n in range(7)))
    left = []
    while prune(service, 90, 3):
        left.append(ages(db, lesson))
    assert left == [[97, 96, 95, 94], [94], []]


def test_a_row_with_a_clock_that_was_ahead_holds_nothing_up(
    db: psycopg.Connection, service: Service
) -> None:
    """It stays, the old ones behind it go."""
    lesson = happened(db, 100 * DAY, -DAY, 99 * DAY)
    assert prune(service, 90) == 2
    assert ages(db, lesson) == [-1]


@pytest.mark.parametrize(
    ("days", "at_most"),
    [(None, 10), (29, 10), (-1, 10), (36_501, 10), (30, None), (30, 0), (30, 1001)],
)
def test_a_request_that_makes_no_sense_is_refused(
    db: psycopg.Connection, service: Service, days: int | None, at_most: int | None
) -> None:
    """Less than 30 days, or more than a thousand at once, removes nothing."""
    lesson = happened(db, 100 * DAY)
    with pytest.raises(psycopg.Error) as refused:
        prune(service, days, at_most)
    assert refused.value.sqlstate == "PT400"
    assert ages(db, lesson) == [100]


def test_a_month_is_the_least_that_is_kept(db: psycopg.Connection, service: Service) -> None:
    """Nothing younger goes, for any caller: neither from the audit nor from the upload history."""
    lesson = happened(db, 30 * DAY + 60, 30 * DAY - 60, 0)
    assert prune(service, 30) == 1
    assert ages(db, lesson) == [30, 0]


def test_it_removes_no_lesson_and_no_tracking_row(
    db: psycopg.Connection, course: Course, service: Service
) -> None:
    """Only the audit gets shorter; what it told of is as it was."""
    lesson = course.tracked_lesson("up1")
    assert service.outcomes(fact(PUBLISH, "up1", "as1")) == ["published"]
    before = (course.state(lesson), course.row(lesson))
    db.execute("update mux_asset_events set happened_at = now() - interval '91 days'")
    assert prune(service, 90) == 2
    assert (course.state(lesson), course.row(lesson)) == before
    assert course.events(lesson) == []


@pytest.mark.parametrize(
    ("role", "statement"),
    [
        ("service_role", "delete from mux_asset_events"),
        ("service_role", "truncate mux_asset_events"),
        ("authenticated", "select worker_prune_events(90, 1000)"),
        ("anon", "select worker_prune_events(90, 1000)"),
        ("authenticated", "select mux_private.prune_events(90, 1000)"),
        ("anon", "select mux_private.prune_events(90, 1000)"),
    ],
)
def test_there_is_no_other_way_to_remove_audit_rows(
    supabase: LocalSupabase, db: psycopg.Connection, role: str, statement: str
) -> None:
    """Not even the service role may delete what it likes, and browsers may not prune."""
    lesson = happened(db, 100 * DAY)
    with (
        supabase.connect(role) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(statement.encode())
    assert ages(db, lesson) == [100]


def test_two_workers_at_once_remove_each_row_once(
    db: psycopg.Connection, connections: Connections
) -> None:
    """What the one is removing the other waits for, and then finds gone."""
    lesson = happened(db, *([100 * DAY] * 4))
    one, other = connections.service(), connections.service()
    assert prune(one, 90, 3) == 3
    other.connection.execute("set lock_timeout = '50ms'")
    with pytest.raises(psycopg.errors.LockNotAvailable):
        prune(other, 90, 3)
    other.connection.rollback()
    one.connection.commit()
    assert prune(other, 90, 3) == 1
    other.connection.commit()
    assert ages(db, lesson) == []


def test_what_a_lesson_played_before_its_first_upload_is_not_forgotten(
    db: psycopg.Connection, course: Course, service: Service
) -> None:
    """A form that was left open may save it again, however long after; it is older all the same."""
    lesson = course.lesson(status="published", mux_asset_id="as1", mux_playback_id="play1")
    course.track(lesson, "up2")
    db.execute("update mux_private.upload_history set heard_at = now() - interval '91 days'")
    assert prune(service, 90) == 0
    known = db.execute("select mux_id from mux_private.upload_history order by id").fetchall()
    assert known == [("as1",), ("up2",)]


def test_an_old_entry_of_the_history_that_somebody_holds_keeps_no_other_from_being_removed(
    db: psycopg.Connection, course: Course, service: Service, connections: Connections
) -> None:
    """The call does not wait for a request of the app."""
    for upload in ("up1", "up2"):
        lesson = course.tracked_lesson(upload)
        course.track(lesson, f"{upload}-new")
    db.execute("update mux_private.upload_history set heard_at = now() - interval '91 days'")
    connections.transaction().execute(
        "select from mux_private.upload_history where mux_id = 'up1' for update"
    )
    service.connection.execute("set lock_timeout = '1s'")
    prune(service, 90)
    known = db.execute("select mux_id from mux_private.upload_history order by id").fetchall()
    assert known == [("up1",), ("up1-new",), ("up2-new",)]
