from datetime import datetime, timedelta

import psycopg
import pytest

from tests.course import Course
from tests.sql.conftest import Connections
from tests.sql.service import Json, Service

pytestmark = pytest.mark.stack

TIMES = ("tracked_at", "leased_until", "due_at")


def due_in(db: psycopg.Connection, lesson: object, seconds: float) -> None:
    """Move a row's due time, counted from now."""
    db.execute(
        "update mux_private.schedule set next_check_at = now() + make_interval(secs => %s) "
        "where tracking_id = (select id from mux_asset_tracking where lesson_id = %s)",
        [seconds, lesson],
    )


def test_a_new_row_is_due_at_once(course: Course, service: Service) -> None:
    """A claim hands out all that the worker needs to know of a row, ages in seconds."""
    lesson = course.tracked_lesson("up1")
    course.backdate(lesson, 90)
    was_due_at = course.row(lesson)["next_check_at"]
    (row,) = service.claim(lease=60)
    tracking = course.row(lesson)
    age = row.pop("age_seconds")
    assert 90 <= age < 100
    times = {name: datetime.fromisoformat(row.pop(name)) for name in TIMES}
    assert times == {
        "tracked_at": tracking["tracked_at"],
        "leased_until": tracking["next_check_at"],
        "due_at": was_due_at,
    }
    assert row == {
        "id": str(tracking["id"]),
        "lesson_id": str(lesson),
        "lesson_status": "draft",
        "status": "processing",
        "playback_id": None,
        "upload_id": "up1",
        "asset_id": None,
        "check_count": 0,
        "missing_seconds": None,
        "missing_count": 0,
        "is_backlog": False,
    }


def test_a_claimed_row_is_left_alone_for_the_lease(
    course: Course, service: Service, db: psycopg.Connection
) -> None:
    """A second claim gets nothing until the lease is over, and then the row again."""
    lesson = course.tracked_lesson("up1")
    assert len(service.claim(lease=60)) == 1
    assert service.claim() == []
    left = db.execute(
        "select extract(epoch from next_check_at - now()) from mux_private.schedule"
    ).fetchone()
    assert left is not None
    assert 55 < left[0] <= 60
    due_in(db, lesson, -1)
    assert len(service.claim()) == 1


def test_the_longest_due_come_first_and_no_more_than_asked_for(
    course: Course, service: Service, db: psycopg.Connection
) -> None:
    """Of three due rows a claim of two takes the two that have been due longest, in order."""
    lessons = [course.tracked_lesson(f"up{n}") for n in range(4)]
    for lesson, seconds in zip(lessons, (-10, -30, -20, 30), strict=True):
        due_in(db, lesson, seconds)
    assert [row["upload_id"] for row in service.claim(2)] == ["up1", "up2"]
    assert [row["upload_id"] for row in service.claim(2)] == ["up0"]


@pytest.mark.parametrize("status", ["ready", "error"])
def test_only_what_is_processing_is_claimed(course: Course, service: Service, status: str) -> None:
    """A row that is settled is never handed out."""
    course.tracked_lesson("up1", status=status)
    assert service.claim() == []


def test_two_workers_never_get_the_same_row(course: Course, connections: Connections) -> None:
    """While one claim is not yet committed, another takes other rows and does not wait."""
    for n in range(3):
        course.tracked_lesson(f"up{n}")
    one, other = connections.service(), connections.service()
    first = {row["id"] for row in one.claim(2)}
    second = {row["id"] for row in other.claim(2)}
    assert (len(first), len(second), first & second) == (2, 1, set())


def test_a_temporary_asset_id_is_never_handed_out(course: Course, service: Service) -> None:
    """A temp_ value in the asset's column is no asset id; a real one is."""
    course.tracked_lesson("up1", mux_asset_id="temp_up1")
    course.tracked_lesson("up2", mux_asset_id="as2")
    assert {row["upload_id"]: row["asset_id"] for row in service.claim()} == {
        "up1": None,
        "up2": "as2",
    }


def test_the_environment_of_the_ids_comes_along(course: Course, service: Service) -> None:
    """A claim tells in which Mux environment ids were last found."""
    query = b"select worker_claim(1, 60) ->> 'environment_id'"
    assert service.connection.execute(query).fetchone() == (None,)
    service.settle(environment="env1")
    assert service.connection.execute(query).fetchone() == ("env1",)


def test_a_claim_reserves_the_first_request_to_mux(course: Course, service: Service) -> None:
    """Where it leases rows and is given a rate; the second one's time is a gap later."""

    def slot(per_second: int | None) -> Json | None:
        query = b"select worker_claim(1, 60, requests_per_second => %s) -> 'slot'"
        row = service.connection.execute(query, [per_second]).fetchone()
        assert row is not None
        found: Json | None = row[0]
        return found

    assert slot(4) is None
    for upload in ("up1", "up2", "up3"):
        course.tracked_lesson(upload)
    assert slot(None) is None
    first, second = slot(4), slot(4)
    assert first == {"first_in_seconds": 0, "gap_seconds": 0.2575, "paused_seconds": 0}
    assert second is not None
    assert 0 < second["first_in_seconds"] <= second["gap_seconds"] == 0.2575


@pytest.mark.parametrize("arguments", ["", "0, 60", "1001, 60", "10, 0", "10, 3601", "null, 60"])
def test_wrong_arguments_are_refused(service: Service, arguments: str) -> None:
    """A size or lease that makes no sense is a 400 for PostgREST, with the bounds."""
    with pytest.raises(psycopg.Error, match="1 to 1000") as refused:
        service.connection.execute(f"select worker_claim({arguments})".encode())
    assert refused.value.sqlstate == "PT400"


def test_released_rows_are_due_at_once(course: Course, service: Service) -> None:
    """What is handed back can be claimed again at once."""
    course.tracked_lesson("up1")
    claimed = service.claim()
    assert service.release(claimed) == 1
    assert [row["id"] for row in service.claim()] == [row["id"] for row in claimed]


def test_released_rows_keep_their_place(
    course: Course, service: Service, db: psycopg.Connection
) -> None:
    """What was not looked at comes before what fell due meanwhile, in the order it had."""
    lessons = [course.tracked_lesson(f"up{n}") for n in range(3)]
    for lesson, seconds in zip(lessons, (-30, -40, 60), strict=True):
        course.backdate(lesson, 300)
        due_in(db, lesson, seconds)
    first = service.claim()
    assert service.release(list(reversed(first))) == 2
    due_in(db, lessons[2], -10)
    again = service.claim()
    assert [row["upload_id"] for row in again] == ["up1", "up0", "up2"]
    assert [row["due_at"] for row in again[:2]] == [row["due_at"] for row in first]


@pytest.mark.parametrize(
    "said",
    [{}, {"due_at": None}, {"due_at": "infinity"}, {"due_at": "2999-01-01T00:00:00+00:00"}],
    ids=["nothing", "null", "never", "in time to come"],
)
def test_without_a_place_a_released_row_goes_behind_the_others(
    course: Course, service: Service, db: psycopg.Connection, said: dict[str, str | None]
) -> None:
    """An older worker tells none, and none is in the future: due at once, since now."""
    lessons = [course.tracked_lesson(f"up{n}") for n in range(2)]
    for lesson, seconds in zip(lessons, (-40, 60), strict=True):
        course.backdate(lesson, 300)
        due_in(db, lesson, seconds)
    (claimed,) = service.claim()
    del claimed["due_at"]
    due_in(db, lessons[1], -10)
    assert service.release([{**claimed, **said}]) == 1
    assert [row["upload_id"] for row in service.claim()] == ["up1", "up0"]


def test_a_lease_of_somebody_else_is_not_released(
    course: Course, service: Service, db: psycopg.Connection
) -> None:
    """A worker that was too slow does not hand back what another has claimed since."""
    lesson = course.tracked_lesson("up1")
    slow = service.claim()
    due_in(db, lesson, -1)
    service.claim()
    assert service.release(slow) == 0
    assert service.claim() == []


def test_a_settled_row_is_not_released(course: Course, service: Service) -> None:
    """A row that failed meanwhile stays as it is."""
    lesson = course.tracked_lesson("up1")
    claimed = service.claim()
    course.track(lesson, "up1", status="error")
    assert service.release(claimed) == 0


def test_a_release_does_not_wait_for_a_row_that_is_held(
    course: Course, service: Service, connections: Connections
) -> None:
    """A worker that shuts down hands back what it can, and the lease does the rest."""
    held, _ = course.tracked_lesson("up1"), course.tracked_lesson("up2")
    claimed = service.claim()
    connections.transaction().execute(
        "select 1 from mux_private.schedule where tracking_id = %s for update",
        [course.row(held)["id"]],
    )
    service.connection.execute("set lock_timeout = '1s'")
    assert service.release(claimed) == 1
    assert [row["upload_id"] for row in service.claim()] == ["up2"]


@pytest.mark.parametrize("argument", ["", "null", "'{}'"])
def test_release_needs_an_array(service: Service, argument: str) -> None:
    """Anything but an array is a 400 for PostgREST."""
    with pytest.raises(psycopg.Error, match="an array") as refused:
        service.connection.execute(f"select worker_release({argument})".encode())
    assert refused.value.sqlstate == "PT400"


@pytest.mark.parametrize(
    ("leader", "size", "more"),
    [(None, 2, True), (None, 3, False), (None, 4, False), ("me", 2, True), ("me", 3, False)],
)
def test_whether_more_rows_are_due_is_told(
    course: Course, service: Service, leader: str | None, size: int, more: bool
) -> None:
    """Exactly, so that nobody looks in vain for what is not there; nor does a row to come count."""
    for n in range(3):
        course.tracked_lesson(f"up{n}")
    course.tracked_lesson("later", next_check_at=timedelta(minutes=1))
    row = service.connection.execute("select worker_claim(%s, 60, %s)", [size, leader]).fetchone()
    assert row is not None
    assert (len(row[0]["rows"]), row[0]["more_are_due"]) == (min(size, 3), more)
