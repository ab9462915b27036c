from collections.abc import Callable, Iterator
from functools import partial

import psycopg
import pytest

from sandbox.fault_injection import Fault
from sandbox.mux.server import MuxSimulator
from sandbox.supabase.error_responses import MOMENTARY, page, postgrest_error
from sandbox.supabase.stack import LocalSupabase
from tests.course import Course
from tests.e2e.evidence import (
    SUPABASE_RECOVERED,
    assert_published,
    assert_works_on,
    lines,
    supabase_out,
    supabase_outages,
)
from tests.worker_process import Line, WorkerProcess
from worker.retry import MAX_ATTEMPTS

pytestmark = pytest.mark.stack

SETTLE, CLAIM = "*/rpc/worker_settle", "*/rpc/worker_claim"
REFUSE = "*/rpc/worker_record_refusal"


NOT_JSON = supabase_out("unreadable", "Supabase's response is not JSON.")
NOT_OURS = supabase_out("unreadable", "Supabase's response does not have the expected form.")
TOO_LATE = supabase_out("timeout", "Supabase did not answer in time.")


NO_ANSWER = {
    "an error page": (
        page(503),
        supabase_out("503", "Supabase failed worker_claim (503: Service Unavailable)."),
    ),
    "a page where JSON should be": (page(200), NOT_OURS),
    "broken JSON": (Fault("answer", status=200, body="[1, 2"), NOT_OURS),
    "JSON without an end": (Fault("answer", status=200, body="[" * 100_000), NOT_JSON),
    "other JSON": (Fault("answer", status=200, body='{"rows": [7]}'), NOT_OURS),
    "half an answer": (
        Fault("truncate"),
        supabase_out(
            "connection",
            "Supabase did not answer: peer closed connection without sending complete message body",
        ),
    ),
    "a reset": (
        Fault("reset"),
        supabase_out("connection", "Supabase did not answer: the connection was closed."),
    ),
    "a hang": (Fault("hang"), TOO_LATE),
    "an answer without end": (Fault("trickle", status=200), TOO_LATE),
}
"""What may come in place of an answer to a claim, and the line that tells of it."""

NO_ROWS = {
    "a database with too many connections": (
        postgrest_error("53300", "too many connections", 503),
        supabase_out("53300", "Supabase failed worker_claim (53300: too many connections)."),
    ),
    "a claim that takes too long": (
        postgrest_error("57014", "canceling statement"),
        supabase_out("57014", "worker_claim exceeds the statement timeout."),
    ),
    "an UPDATE of all rows, of an earlier sql/": (
        postgrest_error("21000", "UPDATE requires a WHERE clause", 400),
        supabase_out(
            "21000",
            "worker_claim does not fit the database (21000: UPDATE requires a WHERE clause). Apply "
            "the files of sql/ of this version again, in order.",
            "error",
        ),
    ),
    "others at work, all the time": (
        postgrest_error("40P01", "deadlock detected"),
        supabase_out(
            "40P01", "worker_claim conflicts with other transactions (40P01: deadlock detected)."
        ),
    ),
}
"""What Supabase may say to a claim in place of rows, and the line that tells of it."""


@pytest.mark.parametrize("cases", [NO_ANSWER, NO_ROWS], ids=["no answer", "no rows"])
def test_each_fault_is_one_line_at_each_end(
    worker: WorkerProcess,
    course: Course,
    mux: MuxSimulator,
    supabase: LocalSupabase,
    cases: dict[str, tuple[Fault, Line]],
) -> None:
    """One process lives through one after the other, and what came meanwhile is published."""
    worker.start(SUPABASE_TIMEOUT_SECONDS="1.5", LEASE_SECONDS="1")
    worker.wait_for("scan.finished")
    for number, (fault, _) in enumerate(cases.values(), start=1):
        supabase.faults.add(fault, path=CLAIM)
        worker.wait_for("supabase.unavailable", times=number)
        upload_id = mux.state.create_upload()
        lesson = course.tracked_lesson(upload_id)
        supabase.faults.clear()
        assert_published(worker, course, mux, lesson, upload_id)
        assert [e["event"] for e in course.events(lesson)] == ["tracked", "published"]
    result = supabase_outages(worker, len(cases))
    for line in result[::2]:  # how many bytes came depends on what there was to say
        line["message"] = line["message"].partition(" (received")[0]
    expected = {name: beginning for name, (_, beginning) in cases.items()}
    assert dict(zip(cases, result[::2], strict=True)) == expected
    assert result[1::2] == [SUPABASE_RECOVERED] * len(cases)
    assert_works_on(worker, course, mux)


def test_what_passes_by_itself_is_repeated_in_silence(
    worker: WorkerProcess, course: Course, mux: MuxSimulator, supabase: LocalSupabase
) -> None:
    """Serialization failures, deadlocks, lock timeouts and clocks that differ are no news."""
    hits = len(supabase.faults.hits)
    worker.start()
    for fault in MOMENTARY.values():
        supabase.faults.add(fault, path=SETTLE, times=MAX_ATTEMPTS)
        upload_id = mux.state.create_upload()
        lesson = course.tracked_lesson(upload_id)
        assert_published(worker, course, mux, lesson, upload_id)
    assert len(supabase.faults.hits) == hits + MAX_ATTEMPTS * len(MOMENTARY)
    assert_works_on(worker, course, mux)
    assert [line for line in worker.lines if line["level"] != "info"] == []


def test_a_settle_that_takes_too_long_is_halved(
    worker: WorkerProcess, course: Course, mux: MuxSimulator, supabase: LocalSupabase
) -> None:
    """Cut off by the statement timeout, the same rows go in smaller calls; nobody is told."""
    lessons = [course.tracked_lesson(seeded.upload_id) for seeded in mux.state.seed(8)]
    supabase.faults.add(postgrest_error("57014", "canceling statement"), path=SETTLE, times=3)
    worker.start()
    worker.wait_for("lesson.published", times=8)
    assert {course.state(lesson)["status"] for lesson in lessons} == {"published"}
    assert lines(worker, "supabase.unavailable") == []
    assert supabase.requests.count("/rest/v1/rpc/worker_settle") > 4
    assert_works_on(worker, course, mux)


@pytest.fixture
def slow(db: psycopg.Connection) -> Iterator[Callable[[], object]]:
    """Cut off every statement that publishes the lesson `slow`; give what mends that."""
    db.execute("""
        create function public.take_too_long() returns trigger language plpgsql as $$
        begin raise exception using errcode = 'query_canceled'; end $$;
        create trigger take_too_long before update on lessons for each row
        when (new.title = 'slow') execute function public.take_too_long()
    """)
    mend = partial(db.execute, "drop function if exists public.take_too_long() cascade")
    yield mend
    mend()


def test_a_row_that_cannot_be_settled_in_time_alone_backs_off(
    worker: WorkerProcess,
    course: Course,
    mux: MuxSimulator,
    supabase: LocalSupabase,
    slow: Callable[[], object],
) -> None:
    """Said once, with the SQLSTATE; it costs the others one search, and then nothing until due."""
    upload_id = mux.state.create_upload()
    lesson = course.lesson(title="slow")
    course.track(lesson, upload_id)
    others = [course.tracked_lesson(seeded.upload_id) for seeded in mux.state.seed(7)]
    worker.start()
    worker.wait_for("lesson.published", times=7)
    worker.wait_for("lesson.refused")
    later = [course.tracked_lesson(mux.state.create_upload()) for _ in range(3)]
    worker.wait_for("lesson.published", times=10)
    assert {course.state(one)["status"] for one in others + later} == {"published"}
    message = "Settling this video alone exceeds the database's statement timeout."
    assert lines(worker, "lesson.refused", "supabase.unavailable") == [
        {
            "level": "error",
            "event": "lesson.refused",
            "lesson_id": str(lesson),
            "upload_id": upload_id,
            "asset_id": mux.state.upload(upload_id).asset_id,
            "sqlstate": "57014",
            "message": message,
        }
    ]
    assert supabase.requests.count("/rest/v1/rpc/worker_record_refusal") == 1
    row = course.row(lesson)
    assert (row["error_type"], row["error_message"]) == ("refused", f"57014: {message}")
    slow()
    course.make_due(lesson)
    assert_published(worker, course, mux, lesson, upload_id)
    events = [event["event"] for event in course.events(lesson)]
    assert events == ["tracked", "refused", "published"]
    assert_works_on(worker, course, mux)


def test_a_refusal_that_cannot_be_kept_is_told_all_the_same(
    worker: WorkerProcess, course: Course, mux: MuxSimulator, supabase: LocalSupabase
) -> None:
    """Said once, though the database has no time for anything; a lease later it goes on."""
    upload_id = mux.state.create_upload()
    lesson = course.tracked_lesson(upload_id)
    supabase.faults.add(postgrest_error("57014"), path=SETTLE, times=2)
    supabase.faults.add(postgrest_error("57014"), path=REFUSE, times=2)
    worker.start(LEASE_SECONDS="1")
    assert_published(worker, course, mux, lesson, upload_id)
    assert lines(worker, "lesson.refused", "supabase.unavailable") == [
        {
            "level": "error",
            "event": "lesson.refused",
            "upload_id": upload_id,
            "asset_id": mux.state.upload(upload_id).asset_id,
            "sqlstate": "57014",
            "message": "Settling this video alone exceeds the database's statement timeout.",
        }
    ]
    assert_works_on(worker, course, mux)


def test_a_reply_of_claim_that_is_lost_costs_one_lease(
    worker: WorkerProcess, course: Course, mux: MuxSimulator, supabase: LocalSupabase
) -> None:
    """Nobody knows of the rows that it leased, and they fall due by themselves."""
    upload_id = mux.state.create_upload()
    lesson = course.tracked_lesson(upload_id)
    supabase.faults.add(Fault("drop_reply"), path=CLAIM, times=1)
    worker.start(LEASE_SECONDS="1")
    assert_published(worker, course, mux, lesson, upload_id)
    assert [e["event"] for e in course.events(lesson)] == ["tracked", "published"]
    assert_works_on(worker, course, mux)
    assert [line for line in worker.lines if line["level"] != "info"] == []
