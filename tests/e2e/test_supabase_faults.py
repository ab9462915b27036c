import psycopg
import pytest

from sandbox.fault_injection import Fault
from sandbox.mux.server import MuxSimulator
from sandbox.supabase.stack import LocalSupabase
from tests.conftest import ANNA, BERT
from tests.course import Course
from tests.e2e.evidence import (
    SUPABASE_RECOVERED,
    assert_published,
    assert_works_on,
    lines,
    supabase_out,
    supabase_outages,
)
from tests.e2e.tcp_proxy import TcpProxy
from tests.worker_process import WorkerProcess
from worker.cli.exit_codes import WRONG_SCHEMA
from worker.retry import MAX_ATTEMPTS
from worker.supabase.errors import REQUIRED_SCHEMA

pytestmark = pytest.mark.stack

NO_POSTGREST = "name resolution failed"
"""What the gateway says when there is nobody behind it."""


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
    assert_works_on(worker, course, mux)
    message = f"Supabase failed worker_schema_version (503: {NO_POSTGREST})."
    began = supabase_out("503", message)
    assert supabase_outages(worker) == [began, SUPABASE_RECOVERED]


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
    message = f"Supabase failed worker_claim (503: {NO_POSTGREST})."
    began = supabase_out("503", message)
    assert supabase_outages(worker) == [began, SUPABASE_RECOVERED]
    assert_works_on(worker, course, mux)


def test_postgres_may_be_restarted_in_the_middle(
    private_stack: LocalSupabase, worker: WorkerProcess, mux: MuxSimulator
) -> None:
    """Between claim and settle the database goes: nothing is lost, and when it is back, done."""
    worker.start(LEASE_SECONDS="1")
    worker.wait_for("scan.finished")
    upload_id = mux.state.create_upload()
    mux.faults.add(Fault("answer", status=503, delay_seconds=0.5))
    with private_stack.connect() as db:
        lesson = Course(db, anna=ANNA, bert=BERT).tracked_lesson(upload_id)
        mux.faults.wait_for_hits(1)
    private_stack.stop_postgres()
    try:
        mux.faults.clear()
        worker.wait_for("supabase.unavailable")
    finally:
        private_stack.start_postgres()
    with private_stack.connect() as db:
        course = Course(db, anna=ANNA, bert=BERT)
        assert_published(worker, course, mux, lesson, upload_id)
        assert [e["event"] for e in course.events(lesson)] == ["tracked", "published"]
        assert_works_on(worker, course, mux)
    first, last = lines(worker, "supabase.unavailable", "supabase.recovered")
    assert (first["level"], last["event"]) == ("warning", "supabase.recovered")


def test_a_grant_that_is_taken_away_is_named(
    worker: WorkerProcess, course: Course, mux: MuxSimulator, db: psycopg.Connection, key_role: str
) -> None:
    """For real: the line says which function may not be called, and the grant heals it."""
    worker.start()
    worker.wait_for("scan.finished")
    db.execute(f"revoke execute on function worker_claim from {key_role}".encode())
    try:
        worker.wait_for("supabase.unavailable")
    finally:
        db.execute(f"grant execute on function worker_claim to {key_role}".encode())
    message = (
        "The key may not call worker_claim (42501: permission denied for function worker_claim). "
        "Apply the files of sql/ again, in order; if it is of the role mux_worker, "
        "sql/optional/worker_role.sql as well."
    )
    assert supabase_outages(worker) == [
        supabase_out("forbidden", message, "error"),
        SUPABASE_RECOVERED,
    ]
    assert_works_on(worker, course, mux)


def test_a_function_that_is_gone_is_named(
    worker: WorkerProcess,
    course: Course,
    mux: MuxSimulator,
    supabase: LocalSupabase,
    db: psycopg.Connection,
) -> None:
    """For real: the line says which one, and which files of sql/ bring it; then it goes on."""
    worker.start()
    worker.wait_for("scan.finished")
    db.execute("alter function worker_claim rename to worker_claim_gone")
    try:
        supabase.reload_schema()
        worker.wait_for("supabase.unavailable")
    finally:
        db.execute("alter function worker_claim_gone rename to worker_claim")
        supabase.reload_schema()
    message = (
        "The database has no function worker_claim. Apply all files of sql/ again, in order; "
        "if you have just done that, wait until PostgREST notices."
    )
    assert supabase_outages(worker) == [
        supabase_out("function_missing", message, "error"),
        SUPABASE_RECOVERED,
    ]
    assert_works_on(worker, course, mux)


@pytest.mark.parametrize(
    ("harm", "mend", "found"),
    [
        (
            "update mux_private.applied_files set schema_version = 0 where name = '910_snapshot'",
            (
                f"update mux_private.applied_files set schema_version = {REQUIRED_SCHEMA}"
                " where name = '910_snapshot'"
            ),
            f"The database has version 0 of sql/, and this worker needs version {REQUIRED_SCHEMA}.",
        ),
        (
            "delete from mux_private.applied_files where name = '076_settle'",
            "insert into mux_private.applied_files (name) values ('076_settle')",
            "The database lacks sql/076_settle.sql.",
        ),
    ],
    ids=["an older version", "a missing file"],
)
def test_a_schema_that_does_not_fit_says_what_to_apply(
    worker: WorkerProcess,
    course: Course,
    mux: MuxSimulator,
    db: psycopg.Connection,
    harm: str,
    mend: str,
    found: str,
) -> None:
    """Every command stops with a status of its own and touches nothing; later the worker works."""
    lesson = course.tracked_lesson(mux.state.create_upload())
    message = f"{found} Apply all files of sql/ again, in order."
    db.execute(harm.encode())
    try:
        assert worker.start().wait() == WRONG_SCHEMA
        once = WorkerProcess(worker.environment).start("scan")
        assert (once.wait(), once.output) == (WRONG_SCHEMA, f"{message}\n")
    finally:
        db.execute(mend.encode())
    assert worker.lines[-1].items() >= {"event": "worker.stopped", "message": message}.items()
    assert lines(worker, "supabase.unavailable", "scan.finished") == []
    assert course.row(lesson)["check_count"] == 0
    worker.start()
    worker.wait_for("lesson.published", lesson_id=str(lesson))
    assert_works_on(worker, course, mux)


def test_a_worker_that_runs_stops_when_the_schema_is_taken_back(
    worker: WorkerProcess, course: Course, mux: MuxSimulator, db: psycopg.Connection
) -> None:
    """At its next check, which is a minute later; what it has claimed is handed back before."""
    worker = WorkerProcess(worker.environment, module="tests.e2e.eager_worker").start()
    try:
        worker.wait_for("scan.finished")
        db.execute("delete from mux_private.applied_files where name = '076_settle'")
        assert worker.wait() == WRONG_SCHEMA
    finally:
        db.execute("insert into mux_private.applied_files (name) values ('076_settle')")
        worker.kill()
    assert worker.lines[-1]["event"] == "worker.stopped"


def test_a_connection_that_was_closed_while_idle_is_no_fault(
    worker: WorkerProcess, course: Course, mux: MuxSimulator, supabase: LocalSupabase
) -> None:
    """A gateway that closes connections between two scans is not even noticed."""
    with TcpProxy(supabase.url) as proxy:
        worker.start(SUPABASE_URL=proxy.url)
        worker.wait_for("scan.finished")
        for _ in range(3):
            proxy.wait_for_connections(proxy.close_connections() + 1)
        assert_works_on(worker, course, mux)
    assert [line for line in worker.lines if line["level"] != "info"] == []


def test_a_connection_that_the_road_forgot_is_replaced(
    worker: WorkerProcess, course: Course, mux: MuxSimulator, supabase: LocalSupabase
) -> None:
    """What a NAT forgot leads nowhere, without a word: the call times out, and is repeated."""
    with TcpProxy(supabase.url) as proxy:
        worker.start(SUPABASE_URL=proxy.url, SUPABASE_TIMEOUT_SECONDS="3", LEASE_SECONDS="1")
        worker.wait_for("scan.finished")
        proxy.wait_for_connections(proxy.silence_connections() + 1)
        assert_works_on(worker, course, mux)
    assert [line for line in worker.lines if line["level"] != "info"] == []


def test_a_locked_lesson_is_left_for_later(
    worker: WorkerProcess, course: Course, mux: MuxSimulator, supabase: LocalSupabase
) -> None:
    """While somebody holds it the others are published; then it is, without anybody's doing."""
    held_upload, upload_id = mux.state.create_upload(), mux.state.create_upload()
    held = course.tracked_lesson(held_upload)
    with supabase.connect(autocommit=False) as holder:
        holder.execute("select 1 from lessons where id = %s for update", [held])
        worker.start()
        worker.wait_for("scan.finished", busy=1)
        other = course.tracked_lesson(upload_id)
        assert_published(worker, course, mux, other, upload_id)
        assert course.state(held)["status"] == "draft"
        holder.rollback()
    assert_published(worker, course, mux, held, held_upload)
    assert_works_on(worker, course, mux)
    assert [line for line in worker.lines if line["level"] != "info"] == []


def test_an_outage_of_settling_alone_is_one_outage(
    worker: WorkerProcess, course: Course, mux: MuxSimulator, supabase: LocalSupabase
) -> None:
    """However often claiming goes well meanwhile; it ends with what it kept from being settled."""
    hits = len(supabase.faults.hits)
    supabase.faults.add(Fault("reset"), path="/rest/v1/rpc/worker_settle")
    upload_id = mux.state.create_upload()
    lesson = course.tracked_lesson(upload_id)
    worker.start(LEASE_SECONDS="1", SCAN_INTERVAL_SECONDS="0.1")
    supabase.faults.wait_for_hits(hits + 3 * MAX_ATTEMPTS)
    supabase.faults.clear()
    assert_published(worker, course, mux, lesson, upload_id)
    began = supabase_out("connection", "Supabase did not answer: the connection was closed.")
    assert supabase_outages(worker) == [began, SUPABASE_RECOVERED]
    assert_works_on(worker, course, mux)
