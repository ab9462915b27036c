import json
from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests.course import Course
from tests.e2e.evidence import assert_works_on, lines
from tests.worker_process import WorkerProcess
from worker.local.faults import Fault
from worker.local.mux_server import MuxSimulator
from worker.local.stack import LocalSupabase

pytestmark = pytest.mark.stack

SETTLE, CLAIM = "*/rpc/worker_settle", "*/rpc/worker_claim"
OUTAGE = ("supabase.unavailable", "supabase.recovered")


def postgrest_error(code: str, message: str = "a fault", status: int = 500) -> Fault:
    """Answer as PostgREST does."""
    body = {"code": code, "message": message, "details": None, "hint": None}
    return Fault("answer", status=status, body=json.dumps(body))


def assert_one_outage(worker: WorkerProcess, reason: str, level: str = "warning") -> dict[str, Any]:
    """See that the outage was one line at its beginning and one at its end; give the first."""
    worker.wait_for("supabase.recovered")
    first, last = lines(worker, *OUTAGE)
    assert (first["event"], first["level"], first["reason"]) == (OUTAGE[0], level, reason)
    assert last.pop("outage_seconds") > 0
    assert last == {"level": "info", "event": "supabase.recovered"}
    return first


def test_postgrest_may_come_up_after_the_worker(
    worker: WorkerProcess, course: Course, mux: MuxSimulator, supabase: LocalSupabase
) -> None:
    """The worker waits for it, says so once, and then begins."""
    supabase.stop_postgrest()
    try:
        worker.start()
        worker.wait_for("supabase.unavailable")
    finally:
        supabase.start_postgrest()
    assert_one_outage(worker, "gateway")
    assert_works_on(worker, course, mux)


def test_postgrest_may_go_away_in_the_middle(
    worker: WorkerProcess, course: Course, mux: MuxSimulator, supabase: LocalSupabase
) -> None:
    """One line when it goes, one when it is back; what came meanwhile is published."""
    worker.start()
    worker.wait_for("scan.finished")
    supabase.stop_postgrest()
    try:
        worker.wait_for("supabase.unavailable")
        lesson = course.tracked_lesson(mux.state.create_upload())
    finally:
        supabase.start_postgrest()
    worker.wait_for("lesson.published", lesson_id=str(lesson))
    assert_one_outage(worker, "gateway")
    assert_works_on(worker, course, mux)


def test_postgres_may_be_restarted_in_the_middle(
    worker: WorkerProcess, environment: dict[str, str], mux: MuxSimulator, supabase: LocalSupabase
) -> None:
    """Connections break under a call, and the worker goes on when the database is back."""
    worker.start()
    worker.wait_for("scan.finished")
    supabase.stop_postgres()
    try:
        worker.wait_for("supabase.unavailable")
    finally:
        supabase.start_postgres()
    worker.wait_for("supabase.recovered")
    assert len(lines(worker, "supabase.unavailable")) == 1
    with supabase.connect() as db:
        course = Course(db, anna=UUID(int=1), bert=UUID(int=2))
        assert_works_on(worker, course, mux)


@pytest.mark.parametrize("code", ["40001", "40P01", "55P03"])
def test_what_passes_by_itself_is_repeated_in_silence(
    worker: WorkerProcess,
    course: Course,
    mux: MuxSimulator,
    supabase: LocalSupabase,
    code: str,
) -> None:
    """Serialization failures, deadlocks and lock timeouts are no news."""
    supabase.faults.add(postgrest_error(code), path=SETTLE, times=2)
    lesson = course.tracked_lesson(mux.state.create_upload())
    worker.start()
    worker.wait_for("lesson.published", lesson_id=str(lesson))
    assert lines(worker, *OUTAGE) == []
    assert_works_on(worker, course, mux)


def test_a_settle_that_takes_too_long_is_halved(
    worker: WorkerProcess, course: Course, mux: MuxSimulator, supabase: LocalSupabase
) -> None:
    """Cut off by the statement timeout, the same rows go in smaller calls; nobody is told."""
    lessons = [course.tracked_lesson(seeded.upload_id) for seeded in mux.state.seed(8)]
    supabase.faults.add(postgrest_error("57014", "canceling statement"), path=SETTLE, times=3)
    worker.start()
    worker.wait_for("lesson.published", times=8)
    assert {course.state(lesson)["status"] for lesson in lessons} == {"published"}
    assert lines(worker, *OUTAGE) == []
    assert supabase.requests.count("/rest/v1/rpc/worker_settle") > 4
    assert_works_on(worker, course, mux)


def test_a_row_that_cannot_be_settled_in_time_alone_is_refused(
    worker: WorkerProcess, course: Course, mux: MuxSimulator, supabase: LocalSupabase
) -> None:
    """The smallest call is cut off too: said once, with the SQLSTATE, and the others go on."""
    upload = mux.state.create_upload()
    course.tracked_lesson(upload)
    supabase.faults.add(postgrest_error("57014"), path=SETTLE, times=1)
    worker.start(LEASE_SECONDS="1")
    assert worker.wait_for("lesson.refused")["sqlstate"] == "57014"
    worker.wait_for("lesson.published", upload_id=upload)
    assert_works_on(worker, course, mux)


@pytest.mark.parametrize(
    ("fault", "reason", "level"),
    [
        pytest.param(
            Fault("answer", status=503, body="<html>down</html>", content_type="text/html"),
            "503", "warning", id="an error page",
        ),
        pytest.param(
            Fault("answer", status=200, body="<html>hello</html>", content_type="text/html"),
            "unreadable", "warning", id="a page where JSON should be",
        ),
        pytest.param(
            Fault("answer", status=200, body="[1, 2"), "unreadable", "warning", id="broken JSON"
        ),
        pytest.param(
            Fault("answer", status=200, body="null"), "unreadable", "warning", id="null"
        ),
        pytest.param(Fault("reset"), "connection", "warning", id="a reset"),
        pytest.param(Fault("hang"), "timeout", "warning", id="a hang"),
        pytest.param(
            postgrest_error("PGRST301", "JWT expired", 401), "unauthorized", "error",
            id="a key that is no longer good",
        ),
        pytest.param(
            Fault("answer", status=401, body='{"message": "Invalid API key"}'),
            "unauthorized", "error", id="a key that the gateway refuses",
        ),
        pytest.param(
            postgrest_error("42501", "permission denied for function worker_claim", 403),
            "forbidden", "error", id="a grant that is missing",
        ),
        pytest.param(
            postgrest_error("PGRST202", "Could not find the function", 404),
            "function_missing", "error", id="a function that is missing",
        ),
        pytest.param(
            postgrest_error("53300", "too many connections", 503), "53300", "warning",
            id="a database that is full",
        ),
        pytest.param(
            postgrest_error("57014", "canceling statement"), "57014", "warning",
            id="a claim that takes too long",
        ),
    ],
)  # fmt: skip
def test_each_fault_is_one_line_at_each_end(
    worker: WorkerProcess,
    course: Course,
    mux: MuxSimulator,
    supabase: LocalSupabase,
    fault: Fault,
    reason: str,
    level: str,
) -> None:
    """Whatever is wrong with the answers to a claim, it is told once, and the worker goes on."""
    worker.start(SUPABASE_TIMEOUT_SECONDS="0.5" if fault.kind == "hang" else "5")
    worker.wait_for("scan.finished")
    supabase.faults.add(fault, path=CLAIM)
    worker.wait_for("supabase.unavailable")
    lesson = course.tracked_lesson(mux.state.create_upload())
    supabase.faults.clear()
    worker.wait_for("lesson.published", lesson_id=str(lesson))
    assert_one_outage(worker, reason, level)
    assert_works_on(worker, course, mux)


def test_a_grant_that_is_taken_away_is_named(
    worker: WorkerProcess,
    course: Course,
    mux: MuxSimulator,
    supabase: LocalSupabase,
    db: psycopg.Connection,
) -> None:
    """For real: the line says which function may not be called, and the grant heals it."""
    worker.start()
    worker.wait_for("scan.finished")
    db.execute("revoke execute on function worker_claim from service_role")
    try:
        worker.wait_for("supabase.unavailable")
    finally:
        db.execute("grant execute on function worker_claim to service_role")
    told = assert_one_outage(worker, "forbidden", "error")
    assert "worker_claim" in told["message"]
    assert_works_on(worker, course, mux)


def test_a_schema_that_is_too_old_names_the_file(
    worker: WorkerProcess, course: Course, mux: MuxSimulator, db: psycopg.Connection
) -> None:
    """The worker says up to which file sql/ must be applied, touches nothing, and then begins."""
    lesson = course.tracked_lesson(mux.state.create_upload())
    gone = db.execute(
        "delete from mux_private.applied_files where name >= '007' returning name, applied_at"
    ).fetchall()
    try:
        worker.start()
        told = worker.wait_for("supabase.unavailable")
        assert course.row(lesson)["check_count"] == 0
    finally:
        for name, at in gone:
            db.execute("insert into mux_private.applied_files values (%s, %s)", [name, at])
    assert (told["level"], told["reason"]) == ("error", "schema_outdated")
    assert "apply the files after 006_claim.sql" in told["message"]
    worker.wait_for("lesson.published", lesson_id=str(lesson))
    assert_works_on(worker, course, mux)


def test_a_connection_that_was_closed_while_idle_is_no_fault(
    worker: WorkerProcess, course: Course, mux: MuxSimulator, supabase: LocalSupabase
) -> None:
    """A gateway that drops idle connections between two scans is not even noticed."""
    supabase.faults.add(Fault("drop_reply"), path=CLAIM, times=1)
    worker.start()
    worker.wait_for("scan.finished")
    assert lines(worker, *OUTAGE) == []
    assert_works_on(worker, course, mux)


def test_a_locked_lesson_is_left_for_later(
    worker: WorkerProcess, course: Course, mux: MuxSimulator, supabase: LocalSupabase
) -> None:
    """While somebody holds it the others are published; then it is, without anybody's doing."""
    held = course.tracked_lesson(mux.state.create_upload())
    with supabase.connect(autocommit=False) as holder:
        holder.execute("select 1 from lessons where id = %s for update", [held])
        worker.start()
        worker.wait_for("scan.finished", busy=1)
        other = course.tracked_lesson(mux.state.create_upload())
        worker.wait_for("lesson.published", lesson_id=str(other))
        holder.rollback()
    worker.wait_for("lesson.published", lesson_id=str(held))
    assert [line for line in worker.lines if line["level"] == "error"] == []
    assert_works_on(worker, course, mux)
