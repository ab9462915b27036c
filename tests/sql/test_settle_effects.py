from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
import pytest

from sandbox.supabase.stack import LocalSupabase
from tests.course import Course
from tests.sql.installing import apply_all
from tests.sql.service import FAIL, PUBLISH, WAIT, Service, fact, looked_at

pytestmark = pytest.mark.stack


def versions(db: psycopg.Connection) -> list[Any]:
    """Give the row versions of all three tables: equal only if nothing was written."""
    return db.execute(
        "select 'l', id::text, xmin::text from lessons union all "
        "select 't', id::text, xmin::text from mux_asset_tracking union all "
        "select 'e', id::text, xmin::text from mux_asset_events order by 1, 2"
    ).fetchall()


def audit(course: Course, lesson: Any) -> list[tuple[Any, ...]]:
    """Give what the audit says of a lesson, from what to what and why."""
    names = ("event", "actor", "from_status", "to_status", "lesson_to_status", "reason", "message")
    return [tuple(event[name] for name in names) for event in course.events(lesson)]


def test_a_draft_is_published_whole(course: Course, service: Service) -> None:
    """Lesson, tracking row and audit change together, and the outcome tells it."""
    lesson = course.tracked_lesson("up1")
    (outcome,) = service.settle(fact(PUBLISH, "up1", "as1"))
    row, state = course.row(lesson), course.state(lesson)
    age = outcome.pop("age_seconds")
    assert 0 <= age < 60
    assert outcome == {
        "outcome": "published",
        "tracking_id": str(row["id"]),
        "lesson_id": str(lesson),
        "upload_id": "up1",
        "asset_id": "as1",
        "playback_id": "play-as1",
        "reason": "asset_ready",
        "message": None,
    }
    assert (row["status"], row["mux_asset_id"], row["mux_playback_id"]) == (
        "ready",
        "as1",
        "play-as1",
    )
    assert row["settled_at"] == row["updated_at"] == state["updated_at"] > state["created_at"]
    assert audit(course, lesson)[1] == (
        "published",
        "service_role",
        "processing",
        "ready",
        "published",
        "asset_ready",
        None,
    )
    seen = course.events(lesson)[1]["observation"]
    looked_before = datetime.fromisoformat(seen.pop("looked_before"))
    assert looked_before == course.events(lesson)[0]["happened_at"]
    assert seen == fact(PUBLISH, "up1", "as1")["observation"]


@pytest.mark.parametrize("status", ["published", "archived"])
def test_a_lesson_that_is_no_draft_keeps_its_status(
    course: Course, service: Service, status: str
) -> None:
    """Its ids are written and nothing else: attached."""
    lesson = course.lesson(status=status, mux_asset_id="old", mux_playback_id="old")
    course.track(lesson, "up1")
    assert service.outcomes(fact(PUBLISH, "up1", "as1")) == ["attached"]
    state = course.state(lesson)
    assert (state["status"], state["mux_asset_id"], state["mux_playback_id"]) == (
        status,
        "as1",
        "play-as1",
    )


@pytest.mark.parametrize("verdict", [PUBLISH, FAIL])
def test_settling_twice_writes_nothing_the_second_time(
    course: Course, service: Service, db: psycopg.Connection, verdict: dict[str, str]
) -> None:
    """The same fact once more says unchanged, and no row has a new version."""
    course.tracked_lesson("up1")
    service.settle(fact(verdict, "up1", "as1"))
    before = versions(db)
    assert service.outcomes(fact(verdict, "up1", "as1")) == ["unchanged"]
    if verdict is FAIL:
        assert versions(db) == before
    else:  # the lesson is locked before its row is looked at; no value of it changes
        assert [v for v in versions(db) if v[0] != "l"] == [v for v in before if v[0] != "l"]


def test_a_failure_is_kept_with_its_reason(course: Course, service: Service) -> None:
    """Type and message stand in the row and in the audit; the lesson is untouched."""
    lesson = course.tracked_lesson("up1")
    before = course.state(lesson)
    assert service.outcomes(fact(FAIL, "up1", "as1")) == ["failed"]
    row = course.row(lesson)
    assert (row["status"], row["error_type"], row["error_message"], row["mux_asset_id"]) == (
        "error",
        "asset_errored",
        "not a video",
        "as1",
    )
    assert course.state(lesson) == before
    assert audit(course, lesson)[1] == (
        "failed",
        "service_role",
        "processing",
        "error",
        None,
        "asset_errored",
        "not a video",
    )


def test_a_passing_fact_leaves_the_asset_id_and_moves_nothing(
    course: Course, service: Service, db: psycopg.Connection
) -> None:
    """Where nobody claimed the row, waiting records the asset once; again, nothing is written."""
    lesson = course.tracked_lesson("up1")
    before = course.row(lesson)
    assert service.outcomes(fact(WAIT, "up1", "as1")) == ["waiting"]
    after = course.row(lesson)
    assert after == {**before, "mux_asset_id": "as1", "updated_at": after["updated_at"]}
    written = versions(db)
    assert service.outcomes(fact(WAIT, "up1", "as1")) == ["waiting"]
    assert versions(db) == written
    assert [event["event"] for event in course.events(lesson)] == ["tracked", "waiting"]


def test_a_claimed_row_that_waits_is_moved_on(
    course: Course, service: Service, db: psycopg.Connection
) -> None:
    """The look is counted and the row is due again after the pause that was decided."""
    lesson = course.tracked_lesson("up1")
    (claimed,) = service.claim(lease=60)
    service.settle(fact(WAIT, "up1", claimed=[looked_at(claimed, pause_seconds=20.5)]))
    row = course.row(lesson)
    assert row["check_count"] == 1
    assert (row["next_check_at"] - row["last_checked_at"]).total_seconds() == 20.5
    assert [event["event"] for event in course.events(lesson)] == ["tracked"]


def test_the_grace_begins_goes_on_stays_and_ends(course: Course, service: Service) -> None:
    """`missing` true begins or goes on, null leaves it as it is, false ends it."""
    lesson = course.tracked_lesson("up1")

    def look(missing: bool | None) -> tuple[Any, int]:
        course.make_due(lesson)
        (claimed,) = service.claim()
        service.settle(fact(WAIT, "up1", claimed=[looked_at(claimed, missing=missing)]))
        row = course.row(lesson)
        return row["missing_since"], row["missing_count"]

    since, count = look(True)
    assert since is not None
    assert count == 1
    assert look(True) == (since, 2)
    assert look(None) == (since, 2)
    assert look(False) == (None, 0)


def test_what_was_missing_and_is_found_is_published(course: Course, service: Service) -> None:
    """A publish in the middle of the grace ends it."""
    lesson = course.tracked_lesson("up1")
    (claimed,) = service.claim()
    service.settle(fact(WAIT, "up1", claimed=[looked_at(claimed, missing=True)]))
    assert service.outcomes(fact(PUBLISH, "up1", "as1")) == ["published"]
    row = course.row(lesson)
    assert (row["status"], row["next_check_at"]) == ("ready", None)


def test_the_environment_is_written_when_it_changes(
    service: Service, db: psycopg.Connection
) -> None:
    """A worker that says the same at every scan writes nothing; without one, it stays known."""
    query = b"select xmin::text, environment_id from mux_private.worker_state"
    service.settle(environment="env1")
    known = db.execute(query).fetchone()
    service.settle(environment="env1")
    service.settle()
    assert db.execute(query).fetchone() == known
    service.settle(environment="env2")
    found = db.execute(query).fetchone()
    assert found is not None
    assert found[1] == "env2"


def test_a_claimed_row_may_fail_where_others_wait(course: Course, service: Service) -> None:
    """One fact, two rows: the claimed one's grace is over, the other only waits."""
    old, new = course.tracked_lesson("up1"), course.tracked_lesson("up1")
    claimed = next(row for row in service.claim() if row["lesson_id"] == str(old))
    gone = {"verdict": "fail", "reason": "upload_not_found"}
    service.settle(fact(WAIT, "up1", claimed=[looked_at(claimed, gone)]))
    assert course.row(old)["error_type"] == "upload_not_found"
    assert course.row(new)["status"] == "processing"


def test_the_status_of_a_lesson_may_be_an_enum(supabase: LocalSupabase) -> None:
    """An app whose lessons.status is an enum is served alike."""
    dsn = supabase.create_database("enum_status")
    try:
        with psycopg.connect(dsn, autocommit=True) as db:
            db.execute(
                "drop trigger notify_students on lessons;"
                "create type lesson_status as enum ('draft', 'published', 'archived');"
                "alter table lessons drop constraint lesson_status_is_known"
            )
            policies = db.execute(
                "select policyname from pg_policies where tablename = 'lessons'"
            ).fetchall()
            for (name,) in policies:
                db.execute(f'drop policy "{name}" on lessons'.encode())
            db.execute(
                "alter table lessons alter status drop default, "
                "alter status type lesson_status using status::lesson_status, "
                "alter status set default 'draft'"
            )
        apply_all(dsn)
        with psycopg.connect(dsn, autocommit=True) as db:
            nobody = UUID(int=1)
            course = Course(db, anna=nobody, bert=nobody)
            lesson = course.tracked_lesson("up1")
            with supabase.connect("service_role", "enum_status") as connection:
                assert Service(connection).outcomes(fact(PUBLISH, "up1", "as1")) == ["published"]
            assert course.state(lesson)["status"] == "published"
    finally:
        supabase.drop_database("enum_status")


def test_more_than_a_hundred_are_refused(service: Service) -> None:
    """A hundred pass, one more is a 400 for PostgREST."""
    items = [fact(WAIT, f"up{n}") for n in range(101)]
    assert service.outcomes(*items[:100]) == ["unmatched"] * 100
    with pytest.raises(psycopg.Error, match="at most 100") as refused:
        service.settle(*items)
    assert refused.value.sqlstate == "PT400"


@pytest.mark.parametrize("argument", ["", "null", "'{}'", "'3'"])
def test_settle_needs_an_array(service: Service, argument: str) -> None:
    """Anything but an array is a 400 for PostgREST."""
    with pytest.raises(psycopg.Error, match="an array") as refused:
        service.connection.execute(f"select worker_settle({argument})".encode())
    assert refused.value.sqlstate == "PT400"


def test_a_failure_without_an_asset_keeps_the_one_that_is_known(
    course: Course, service: Service
) -> None:
    """The app and the operator still see which video it was."""
    lesson = course.tracked_lesson("up1", mux_asset_id="as1")
    (outcome,) = service.settle(fact(FAIL, "up1"))
    assert (outcome["outcome"], outcome["asset_id"]) == ("failed", "as1")
    assert course.row(lesson)["mux_asset_id"] == "as1"
