"""The schedule: what is in it, whose turn it is, and that polling writes nowhere else."""

from datetime import timedelta
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.course import Course
from tests.sql.conftest import Connections
from tests.sql.instructor import Instructor
from tests.sql.service import FAIL, PUBLISH, WAIT, Service, fact, looked_at

pytestmark = pytest.mark.stack

WRITES = """
    select relname, n_tup_ins + n_tup_upd + n_tup_del from pg_stat_xact_user_tables
    where n_tup_ins + n_tup_upd + n_tup_del > 0
"""


def scheduled(db: psycopg.Connection) -> set[UUID]:
    """Return the ids of the rows in the schedule."""
    return {row[0] for row in db.execute("select tracking_id from mux_private.schedule")}


def many(db: psycopg.Connection, owner: UUID, count: int, prefix: str) -> None:
    """Track uploads of one instructor, all due."""
    db.execute(
        "with made as (insert into lessons (creator_id, title) select %s, %s || n "
        "from generate_series(1, %s) n returning id, title) "
        "insert into mux_asset_tracking (lesson_id, upload_id) select id, title from made",
        [owner, prefix, count],
    )


@pytest.mark.parametrize("verdict", [PUBLISH, FAIL])
def test_only_what_is_processing_is_in_it(
    course: Course, service: Service, db: psycopg.Connection, verdict: dict[str, str]
) -> None:
    """Whoever writes: settling, the app's own update, a delete of the row or of its lesson."""
    lessons = [course.tracked_lesson(f"up{n}") for n in range(4)]
    ids = [course.tracking(lesson)["id"] for lesson in lessons]
    assert scheduled(db) == set(ids)
    service.settle(fact(verdict, "up0", "as0"))
    course.track(lessons[1], "up1", status="error")
    db.execute("delete from mux_asset_tracking where lesson_id = %s", [lessons[2]])
    assert scheduled(db) == {ids[3]}
    course.delete(lessons[3])
    assert scheduled(db) == set()
    course.track(lessons[0], "new")
    assert scheduled(db) == {ids[0]}


def test_a_look_in_vain_writes_the_schedule_alone(course: Course, connections: Connections) -> None:
    """Claimed, looked at and released: no row of the app's tables has a new version."""
    for n in range(3):
        course.tracked_lesson(f"up{n}")
    service = connections.service()
    claimed = service.claim()
    waits = [fact(WAIT, row["upload_id"], claimed=[looked_at(row)]) for row in claimed[:2]]
    assert service.outcomes(*waits) == ["waiting", "waiting"]
    assert service.release(claimed[2:]) == 1
    writes: dict[str, int] = dict(service.connection.execute(WRITES).fetchall())
    assert writes == {"schedule": 3 + 2 + 1}


def test_what_has_become_due_meanwhile_stays_due(course: Course, service: Service) -> None:
    """A look in vain that began before does not put it off."""
    lesson = course.tracked_lesson("up1")
    (row,) = service.claim()
    course.make_due()
    assert service.outcomes(fact(WAIT, "up1", claimed=[looked_at(row)])) == ["waiting"]
    assert len(service.claim()) == 1
    assert course.row(lesson)["check_count"] == 0


def test_owners_take_turns(course: Course, service: Service, db: psycopg.Connection) -> None:
    """One instructor's hundreds, due for longer, leave the others a place near the front."""
    many(db, course.anna, 300, "hers")
    many(db, course.bert, 3, "his")
    db.execute(
        "update mux_private.schedule set next_check_at = now() - interval '1 hour' "
        "where owner = %s",
        [str(course.anna)],
    )
    first = [row["upload_id"] for row in service.claim(10)]
    assert {name for name in first if name.startswith("his")} == {"his1", "his2", "his3"}
    assert [name.startswith("his") for name in first] == [False, True] * 3 + [False] * 4


def test_a_second_worker_gets_a_batch_of_its_own(
    course: Course, connections: Connections, db: psycopg.Connection
) -> None:
    """While the first has not committed, which holds rows of its batch locked."""
    many(db, course.anna, 300, "hers")
    many(db, course.bert, 3, "his")
    one, other = connections.service(), connections.service()
    batches = [{row["id"] for row in worker.claim(50)} for worker in (one, other)]
    assert [len(batch) for batch in batches] == [50, 50]
    assert not batches[0] & batches[1]


def backfilled(db: psycopg.Connection, owners: int, each: int) -> None:
    """Enter the rows of a backfill, of as many owners, all due for an hour."""
    for n in range(owners):
        many(db, uuid4(), each, f"old{n}-")
    db.execute(
        "update mux_private.schedule set is_backlog = true, "
        "next_check_at = now() - interval '1 hour' where true"
    )


def test_a_backfill_delays_no_live_row(
    course: Course, service: Service, db: psycopg.Connection
) -> None:
    """Its rows have been due for longer, and belong to more owners than a batch has places."""
    backfilled(db, owners=30, each=10)
    many(db, course.anna, 15, "live")
    claimed = [(row["is_backlog"], row["upload_id"]) for row in service.claim(20)]
    assert sorted(claimed[:15]) == sorted((False, f"live{n}") for n in range(1, 16))
    assert [is_backlog for is_backlog, _ in claimed[15:]] == [True] * 5


def test_owners_take_turns_in_the_backlog_too(
    course: Course, service: Service, db: psycopg.Connection
) -> None:
    """One school's thousands leave the others a place in each claim."""
    many(db, course.anna, 300, "hers")
    many(db, course.bert, 3, "his")
    db.execute(
        "update mux_private.schedule set is_backlog = true, next_check_at = case "
        "when owner = %s then now() - interval '1 hour' else now() end where true",
        [str(course.anna)],
    )
    first = {row["upload_id"] for row in service.claim(10)}
    assert {"his1", "his2", "his3"} < first


def test_a_second_worker_gets_live_rows_before_the_backlog(
    course: Course, connections: Connections, db: psycopg.Connection
) -> None:
    """Each has a batch of its own, also where the live rows are less than two batches."""
    backfilled(db, owners=5, each=60)
    many(db, course.anna, 80, "live")
    one, other = connections.service(), connections.service()
    batches = [[row["is_backlog"] for row in worker.claim(50)] for worker in (one, other)]
    assert [batch.count(False) for batch in batches] == [50, 30]
    assert [len(batch) for batch in batches] == [50, 50]


def test_another_look_is_live(course: Course, service: Service, db: psycopg.Connection) -> None:
    """A row of a backfill that failed, or gets a new upload, is then like any other."""
    retried, replaced = course.tracked_lesson("up1"), course.tracked_lesson("up2")
    course.reschedule(is_backlog=True)
    claimed = {row["upload_id"]: row["is_backlog"] for row in service.claim()}
    assert claimed == {"up1": True, "up2": True}
    service.settle(fact(FAIL, "up1", "as1"))
    course.track(retried, "up1")
    course.track(replaced, "up3")
    claimed = {row["upload_id"]: row["is_backlog"] for row in service.claim()}
    assert claimed == {"up1": False, "up3": False}


def test_of_one_owner_live_and_found_rows_come_first(course: Course, service: Service) -> None:
    """What a backfill entered comes last, and what Mux did not know before that."""
    lessons = {name: course.tracked_lesson(name) for name in ("backlog", "missing", "live")}
    course.reschedule(lessons["backlog"], is_backlog=True)
    missing = [row for row in service.claim() if row["upload_id"] == "missing"]
    service.settle(fact(WAIT, "missing", claimed=[looked_at(missing[0], missing=True)]))
    course.make_due()
    order = [service.claim(1)[0]["upload_id"] for _ in lessons]
    assert order == ["live", "missing", "backlog"]


def test_a_restore_of_the_apps_tables_alone_heals(
    course: Course, service: Service, db: psycopg.Connection
) -> None:
    """A pass of the adoption enters what waits, and drops what is of nothing."""
    course.tracked_lesson("up1")
    ready = course.tracked_lesson("up2")
    service.settle(fact(PUBLISH, "up2", "as2"))
    waiting = scheduled(db)
    db.execute("delete from mux_private.schedule where true")
    db.execute(
        "insert into mux_private.schedule (tracking_id) values (%s), (%s)",
        [uuid4(), course.tracking(ready)["id"]],
    )
    service.connection.execute("select worker_untracked()")
    assert scheduled(db) == waiting
    assert [row["upload_id"] for row in service.claim()] == ["up1"]


def test_an_upload_from_before_the_worker_is_as_old_as_its_last_change(
    course: Course, service: Service, db: psycopg.Connection, instructor: Instructor
) -> None:
    """When it began is not known; it is claimed, is stuck, and is settled as any other."""
    lesson = course.tracked_lesson("up1")
    db.execute("set session_replication_role = replica")
    db.execute(
        "update mux_asset_tracking set tracked_at = null, updated_at = now() - interval '2 hours'"
    )
    db.execute("set session_replication_role = origin")
    (row,) = service.claim()
    assert row["age_seconds"] > 7100
    assert instructor.check_asset_status(lesson)["stuck"]
    assert service.outcomes(fact(PUBLISH, "up1", "as1", claimed=[looked_at(row, PUBLISH)])) == [
        "published"
    ]


def test_what_a_video_is_like_is_kept_when_it_is_published(
    course: Course, service: Service, instructor: Instructor
) -> None:
    """Its encoding is followed before; a new upload begins with nothing known."""
    lesson = course.tracked_lesson("up1")
    (row,) = service.claim()
    seen = {"source": "probe", "progress": 40.0}
    service.settle({**fact(WAIT, "up1", "as1", claimed=[looked_at(row)]), "observation": seen})
    assert instructor.check_asset_status(lesson)["progress"] == 40
    seen = {
        "source": "webhook", "duration_seconds": 23.5, "aspect_ratio": "16:9",
        "max_resolution": "1080p", "progress": 100,
    }  # fmt: skip
    service.settle({**fact(PUBLISH, "up1", "as1"), "observation": seen})
    names = ("progress", "durationSeconds", "aspectRatio", "maxResolution")
    result = instructor.check_asset_status(lesson)
    assert [result[name] for name in names] == [None, 23.5, "16:9", "1080p"]
    course.track(lesson, "up2")
    result = instructor.check_asset_status(lesson)
    assert [result[name] for name in names] == [None] * 4


def test_a_video_of_which_nothing_sensible_is_said_is_published(
    course: Course, service: Service
) -> None:
    """Values of another type are left out."""
    lesson = course.tracked_lesson("up1")
    odd = {"duration_seconds": "long", "aspect_ratio": {"a": 1}, "max_resolution": "x" * 999}
    item = {**fact(PUBLISH, "up1", "as1"), "observation": odd}
    assert service.outcomes(item) == ["published"]
    row = course.tracking(lesson)
    assert (row["duration_seconds"], row["aspect_ratio"]) == (None, '{"a": 1}')
    assert len(row["max_resolution"]) == 50


def test_of_one_owner_what_mux_does_not_know_comes_after_what_it_may_know(
    course: Course, service: Service
) -> None:
    """Also where the garbage has been due for much longer."""
    hour_ago = timedelta(hours=-1)
    for n in range(3):
        course.tracked_lesson(
            f"gone{n}", missing_count=1, missing_since=hour_ago, next_check_at=hour_ago
        )
    course.tracked_lesson("up1", next_check_at=timedelta())
    order = [service.claim(1)[0]["upload_id"] for _ in range(2)]
    assert (order[0], order[1][:4]) == ("up1", "gone")


def test_a_look_that_says_nothing_of_progress_keeps_it(course: Course, service: Service) -> None:
    """The app shows how far the encoding was."""
    lesson = course.tracked_lesson("up1")
    for progress in ({"progress": 40.0}, {}):
        course.make_due()
        (row,) = service.claim()
        seen = {"source": "probe", "subject": "asset", **progress}
        item = {**fact(WAIT, "up1", "as1", claimed=[looked_at(row)]), "observation": seen}
        assert service.outcomes(item) == ["waiting"]
    assert course.row(lesson)["progress"] == 40.0
