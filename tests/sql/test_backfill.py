"""What a backfill asks of the database: its candidates, its run, its progress and its failures."""

from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.types.json import Jsonb

from sandbox.supabase.stack import LocalSupabase
from tests.course import Course
from tests.sql.conftest import Connections
from tests.sql.racing import Action, Scene, Stage
from tests.sql.service import FAIL, PUBLISH, WAIT, Json, Service, fact, looked_at

pytestmark = pytest.mark.stack


def call(service: Service, function: str, *values: object) -> Any:
    """Call one of the backfill's functions."""
    marks = ", ".join(["%s"] * len(values))
    row = service.connection.execute(
        f"select worker_backfill_{function}({marks})".encode(), values
    ).fetchone()
    assert row is not None
    return row[0]


def progress(service: Service, run: str | None) -> Json:
    """Return the counts of a run, which is read in one call."""
    response = call(service, "progress", run)
    assert response["next"] is None
    counts: Json = response["counts"]
    return counts


def begin(service: Service) -> str:
    """Begin a backfill, or continue one; return the run."""
    run: str = call(service, "begin")["backfill"]
    return run


def adopt(service: Service, run: str, *lessons: UUID) -> list[str]:
    """Adopt lessons in a run; return the outcomes' names."""
    items = Jsonb([{"lesson_id": str(id_), "retries_failed": True} for id_ in lessons])
    query = b"select worker_adopt(%s, backfill => %s::timestamptz)"
    row = service.connection.execute(query, [items, run]).fetchone()
    assert row is not None
    return [answer["outcome"] for answer in row[0]]


def adopted(course: Course, service: Service, run: str, *uploads: str) -> dict[str, UUID]:
    """Make lessons with placeholders and adopt them in a run; return them by upload."""
    lessons = {upload: course.lesson(mux_asset_id=f"temp_{upload}") for upload in uploads}
    assert adopt(service, run, *lessons.values()) == ["adopted"] * len(uploads)
    return lessons


def refuse(service: Service, upload: str) -> None:
    """Record that the database would not carry out a verdict."""
    row = next(row for row in service.claim() if row["upload_id"] == upload)
    verdict = fact(PUBLISH, upload, "as1", claimed=[looked_at(row, PUBLISH)])
    (outcome,) = service.record_refusal(verdict, "no, thank you")
    assert outcome["outcome"] == "refused"


def test_the_candidates_are_drafts_and_lessons_with_temporary_ids(
    course: Course, service: Service
) -> None:
    """Whatever they name, tracked or not, in the order of their keys."""
    candidates = [
        course.lesson(),
        course.lesson(mux_asset_id="as1", mux_playback_id="play-as1"),
        course.lesson(status="published", mux_asset_id="temp_up1"),
        course.lesson(status="archived", mux_playback_id="temp_playback_up1"),
        course.tracked_lesson("up2"),
    ]
    others = [
        course.lesson(status="published", mux_asset_id="as2", mux_playback_id="play-as2"),
        course.lesson(status="archived"),
    ]
    assert call(service, "candidates") == {
        "walked": len(candidates + others),
        "next": None,
        "lesson_ids": sorted(map(str, candidates)),
    }


def test_the_candidates_are_read_in_steps(course: Course, service: Service) -> None:
    """A step reads as many lessons as it may, however few of them are candidates."""
    drafts = [UUID(int=n) for n in (1, 2, 7)]
    for n in range(1, 8):
        is_draft = UUID(int=n) in drafts
        course.lesson(id=UUID(int=n), status="draft" if is_draft else "published")
    steps: list[tuple[list[str], int]] = []
    after = None
    while not steps or after is not None:
        step = call(service, "candidates", after, 2)
        after = step["next"]
        steps.append((step["lesson_ids"], step["walked"]))
    assert steps == [
        ([str(UUID(int=1)), str(UUID(int=2))], 2),
        ([], 2),
        ([], 2),
        ([str(UUID(int=7))], 1),
    ]


def test_a_step_that_ends_with_the_table_may_be_followed_by_an_empty_one(
    course: Course, service: Service
) -> None:
    """Whether more lessons come is not known then."""
    lesson = course.lesson()
    step = call(service, "candidates", None, 1)
    assert step == {"walked": 1, "next": str(lesson), "lesson_ids": [str(lesson)]}
    assert call(service, "candidates", step["next"], 1) == {
        "walked": 0,
        "next": None,
        "lesson_ids": [],
    }


@pytest.mark.parametrize("walk", [None, 0, -1, 10001])
def test_a_step_has_a_size(service: Service, walk: int | None) -> None:
    """Too large a one could meet the statement timeout."""
    with pytest.raises(psycopg.Error) as caught:
        call(service, "candidates", None, walk)
    assert caught.value.sqlstate == "PT400"


def test_a_run_is_continued_until_it_ends(service: Service) -> None:
    """Then the next one is new."""
    first = call(service, "begin")
    assert first["is_resumed"] is False
    assert call(service, "begin") == {"backfill": first["backfill"], "is_resumed": True}
    call(service, "end", first["backfill"])
    second = call(service, "begin")
    assert second["is_resumed"] is False
    assert datetime.fromisoformat(second["backfill"]) > datetime.fromisoformat(first["backfill"])
    call(service, "end", first["backfill"])
    assert call(service, "begin") == {"backfill": second["backfill"], "is_resumed": True}


@pytest.mark.parametrize(("days", "is_resumed"), [(6.9, True), (7.1, False)])
def test_after_a_week_a_run_is_not_continued(
    service: Service, db: psycopg.Connection, days: float, is_resumed: bool
) -> None:
    """What it found then says little about the lessons of today."""
    begin(service)
    db.execute(
        "update mux_private.worker_state "
        "set backfill_begun_at = backfill_begun_at - make_interval(secs => 86400 * %s) where true",
        [days],
    )
    assert call(service, "begin")["is_resumed"] is is_resumed


def test_two_processes_that_begin_at_the_same_time_have_the_same_run(
    supabase: LocalSupabase, service: Service
) -> None:
    """The second waits for the first, and continues its run."""
    begins = Action("begin", None, lambda connection, _: call(Service(connection), "begin"))
    with Stage(supabase) as stage:
        assert not stage.one.starts(begins, Scene(None))
        assert stage.other.starts(begins, Scene(None), and_commits=True)
        first = stage.one.result()
        stage.one.connection.commit()
        second = stage.other.result()
    assert second == {"backfill": first["backfill"], "is_resumed": True}
    assert begin(service) == first["backfill"]


def test_a_run_that_began_in_an_undone_transaction_did_not_begin(
    service: Service, connections: Connections
) -> None:
    """The next to begin has a run of its own."""
    other = connections.service()
    begin(other)
    other.connection.rollback()
    assert call(service, "begin")["is_resumed"] is False


def test_the_progress_counts_what_has_become_of_each_upload(
    course: Course, service: Service, db: psycopg.Connection
) -> None:
    """Rows by their state, and those that were replaced or deleted; not those of other runs."""
    run = begin(service)
    lessons = adopted(course, service, run, *(f"up{n}" for n in range(1, 13)))
    assert progress(service, run) == {"unanswered": 12}
    db.execute("update lessons set status = 'archived' where id = %s", [lessons["up2"]])
    service.settle(
        fact(PUBLISH, "up1", "as1"),
        fact(PUBLISH, "up2", "as2"),
        fact(FAIL, "up3"),
        {**fact(FAIL, "up4"), "reason": "upload_not_found"},
    )
    rows = {row["upload_id"]: row for row in service.claim()}
    waits = [fact(WAIT, up, claimed=[looked_at(rows[up])]) for up in ("up5", "up6")]
    assert service.outcomes(*waits) == ["waiting", "waiting"]
    course.reschedule(lessons["up7"], next_check_at="-infinity")
    refuse(service, "up7")
    course.track(lessons["up8"], "new")
    db.execute("delete from mux_asset_tracking where lesson_id = %s", [lessons["up9"]])
    course.delete(lessons["up10"])
    adopted(course, service, "2020-01-01 00:00:00+00", "up20")
    course.tracked_lesson("up21")
    assert progress(service, run) == {
        "published": 1,
        "attached": 1,
        "asset_errored": 1,
        "upload_not_found": 1,
        "waiting": 2,
        "refused": 1,
        "changed": 3,
        "unanswered": 2,
    }
    assert progress(service, "2020-01-01 00:00:00+00") == {"unanswered": 1}
    assert progress(service, "2020-01-02 00:00:00+00") == {}
    assert progress(service, None) == {}


def test_the_progress_counts_assets_whose_upload_is_not_known(
    course: Course, service: Service
) -> None:
    """A row that tracks its asset has not changed when that is found."""
    run = begin(service)
    lesson = course.lesson(mux_asset_id="as1")
    assert adopt(service, run, lesson) == ["adopted"]
    assert progress(service, run) == {"unanswered": 1}
    service.settle(fact(PUBLISH, "up1", "as1"))
    assert progress(service, run) == {"published": 1}


def test_an_upload_that_waited_before_is_counted_with_the_run(
    course: Course, service: Service
) -> None:
    """And one that failed and is looked at once more; of a later run it is no part any more."""
    run = begin(service)
    waiting, failed = course.tracked_lesson("up1"), course.tracked_lesson("up2")
    service.settle(fact(FAIL, "up2"))
    assert adopt(service, run, waiting, failed) == ["tracked", "adopted"]
    assert progress(service, run) == {"unanswered": 2}
    later = "2099-01-01 00:00:00+00"
    assert adopt(service, later, waiting) == ["tracked"]
    assert progress(service, run) == {"unanswered": 1}


def test_the_failures_come_in_pages(course: Course, service: Service) -> None:
    """By lesson: what failed, with its reason, and what the database refuses."""
    run = begin(service)
    lessons = adopted(course, service, run, *(f"up{n}" for n in range(6)))
    uploads = {str(lesson): upload for upload, lesson in lessons.items()}
    service.settle(fact(PUBLISH, "up0", "as0"), *(fact(FAIL, f"up{n}") for n in range(1, 5)))
    refuse(service, "up5")
    course.delete(lessons.pop("up4"))
    del lessons["up0"]

    failures: list[Json] = []
    pages, after = 0, None
    while not pages or after is not None:
        page = call(service, "failures", run, after, 2)
        failures += page["failures"]
        after, pages = page["next"], pages + 1
    assert pages == 3
    assert [failure["lesson_id"] for failure in failures] == sorted(map(str, lessons.values()))
    assert all(failure["upload_id"] == uploads[failure["lesson_id"]] for failure in failures)
    reasons = {
        failure["upload_id"]: (failure["reason"], failure["message"]) for failure in failures
    }
    assert {reasons[f"up{n}"] for n in range(1, 4)} == {("asset_errored", "not a video")}
    reason, message = reasons["up5"]
    assert (reason, "no, thank you" in message) == ("refused", True)
    assert call(service, "failures", run) == {"failures": failures, "next": None}
    assert call(service, "failures", "2020-01-01 00:00:00+00") == {"failures": [], "next": None}


def test_the_progress_is_counted_in_steps(course: Course, service: Service) -> None:
    """A step is about as many lessons as it may be; those that were deleted come with the first."""
    run = begin(service)
    lessons = adopted(course, service, run, *(f"up{n}" for n in range(5)))
    course.delete(lessons["up0"])
    first = min(lesson for upload, lesson in lessons.items() if upload != "up0")
    course.track(first, "new")
    assert adopt(service, run, first) == ["tracked"]
    steps: list[Json] = []
    after = None
    while not steps or after is not None:
        step = call(service, "progress", run, after, 2)
        steps.append(step["counts"])
        after = step["next"]
    assert steps == [{"changed": 2, "unanswered": 1}, {"unanswered": 2}, {"unanswered": 1}]
    assert progress(service, run) == {"changed": 2, "unanswered": 4}
