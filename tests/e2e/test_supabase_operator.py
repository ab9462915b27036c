"""What an operator reads when Supabase does not serve the worker until somebody acts."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import psycopg
import pytest

from sandbox.fault_injection import Fault
from sandbox.http_server import free_port
from sandbox.mux.server import MuxSimulator
from sandbox.supabase.error_responses import LASTING, PASSING
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
from tests.e2e.test_backfill import SLOW
from tests.worker_process import WorkerProcess

pytestmark = pytest.mark.stack

CLAIM = "*/rpc/worker_claim"


def health(port: int, path: str) -> tuple[int, str]:
    """Ask the worker how it is; give the status and the reason."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=45) as answer:
            return answer.status, ""
    except urllib.error.HTTPError as answer:
        return answer.code, json.loads(answer.read())["reason"]


def is_ready(port: int, status: int, reason: str) -> bool:
    """Whether readiness is told like this."""
    return health(port, "/readyz") == (status, reason)


@pytest.mark.parametrize(
    ("faults", "level"), [(LASTING, "error"), (PASSING, "warning")], ids=["lasting", "passing"]
)
def test_each_fault_is_told_once_at_its_level_and_heals_by_itself(
    worker: WorkerProcess,
    course: Course,
    mux: MuxSimulator,
    supabase: LocalSupabase,
    faults: dict[str, Fault],
    level: str,
) -> None:
    """An error where an operator must act, else a warning; ready tells which, healthz stays 200."""
    port = free_port()
    worker.start(PORT=str(port), HOST="127.0.0.1", SCAN_INTERVAL_SECONDS="0.1")
    worker.wait_for("scan.finished")
    worker.wait_until(lambda: is_ready(port, 200, ""))
    for number, fault in enumerate(faults.values(), start=1):
        hits = len(supabase.faults.hits)
        supabase.faults.add(fault, path=CLAIM)
        reason = worker.wait_for("supabase.unavailable", times=number)["reason"]
        supabase.faults.wait_for_hits(hits + 8 if level == "warning" else hits + 2)
        assert health(port, "/healthz") == (200, "")
        result = (503, f"Supabase: {reason}") if level == "error" else (200, "")
        worker.wait_until(partial(is_ready, port, *result))
        supabase.faults.clear()
        worker.wait_for("supabase.recovered", times=number)
    worker.wait_until(lambda: is_ready(port, 200, ""))
    assert [
        (line["level"], line["event"])
        for line in lines(worker, "supabase.unavailable", "supabase.recovered")
    ] == [(level, "supabase.unavailable"), ("info", "supabase.recovered")] * len(faults)
    assert_works_on(worker, course, mux)


def test_the_same_fault_twice_is_two_outages(
    worker: WorkerProcess, course: Course, mux: MuxSimulator, supabase: LocalSupabase
) -> None:
    """Each with its beginning and its end."""
    worker.start()
    worker.wait_for("scan.finished")
    for number in (1, 2):
        supabase.faults.add(LASTING["a wrong key"], path=CLAIM)
        worker.wait_for("supabase.unavailable", times=number)
        supabase.faults.clear()
        worker.wait_for("supabase.recovered", times=number)
    message = (
        "Supabase refuses the API key (401: Invalid API key). Check SUPABASE_SERVICE_ROLE_KEY, and "
        "SUPABASE_PUBLISHABLE_KEY if the former is of the role mux_worker. Then restart the worker."
    )
    pair = [supabase_out("unauthorized", message, "error"), SUPABASE_RECOVERED]
    assert supabase_outages(worker, 2) == pair * 2
    assert_works_on(worker, course, mux)


def test_one_fault_after_another_is_told_too(
    worker: WorkerProcess, course: Course, mux: MuxSimulator, supabase: LocalSupabase
) -> None:
    """A restored project that is restricted then asks for something else to be done."""
    worker.start()
    worker.wait_for("scan.finished")
    names = ("a paused project", "a project that is down", "a full disk", "a read-only database")
    for number, name in enumerate(names, start=1):
        supabase.faults.clear()
        supabase.faults.add({**LASTING, **PASSING}[name])
        worker.wait_for("supabase.unavailable", times=number)
    supabase.faults.clear()
    result = supabase_outages(worker)
    assert [(line["level"], line.get("reason")) for line in result] == [
        ("error", "paused"),
        ("warning", "521"),
        ("error", "disk_full"),
        ("error", "read_only"),
        ("info", None),
    ]
    assert_works_on(worker, course, mux)


@contextmanager
def exposed(supabase: LocalSupabase, schemas: str) -> Iterator[None]:
    """Have PostgREST expose other schemas, as the dashboard's API settings do."""
    with supabase.connect("supabase_admin") as db:
        # Of this database alone: other databases on the server have the role, too.
        setting = f"alter role authenticator in database {db.info.dbname} {{}} pgrst.db_schemas"
        db.execute(f"{setting.format('set')} = '{schemas}'".encode())
        db.execute("notify pgrst, 'reload config'")
        try:
            yield
        finally:
            db.execute(setting.format("reset").encode())
            db.execute("notify pgrst, 'reload config'")
            supabase.reload_schema()


def test_a_schema_that_is_not_exposed_is_named(
    worker: WorkerProcess, course: Course, mux: MuxSimulator, supabase: LocalSupabase
) -> None:
    """For real: the line says where to expose it, and once it is, the worker goes on."""
    upload_id = mux.state.create_upload()
    worker.start()
    worker.wait_for("scan.finished")
    with exposed(supabase, "auth"):
        worker.wait_for("supabase.unavailable")
        lesson = course.tracked_lesson(upload_id)
    message = (
        "The Data API does not expose the schema public. Add public to the exposed schemas in the "
        "dashboard's API settings."
    )
    began = supabase_out("schema_not_exposed", message, "error")
    assert supabase_outages(worker) == [began, SUPABASE_RECOVERED]
    assert_published(worker, course, mux, lesson, upload_id)
    assert_works_on(worker, course, mux)


def test_a_function_of_the_apps_beside_ours_is_named(
    worker: WorkerProcess,
    course: Course,
    mux: MuxSimulator,
    supabase: LocalSupabase,
    db: psycopg.Connection,
) -> None:
    """For real: PostgREST cannot choose between two; with one gone the worker goes on."""
    worker.start()
    worker.wait_for("scan.finished")
    arguments = (
        "batch_size bigint, lease_seconds real, leader varchar default null, "
        "lead_seconds real default 15, requests_per_second real default null"
    )
    db.execute(f"create function worker_claim({arguments}) returns text language sql return 'mine'")
    try:
        supabase.reload_schema()
        worker.wait_for("supabase.unavailable")
    finally:
        db.execute("drop function worker_claim(bigint, real, varchar, real, real)")
        supabase.reload_schema()
    message = (
        "The database has more than one function worker_claim. Drop or rename those that sql/ did "
        "not create."
    )
    began = supabase_out("function_ambiguous", message, "error")
    assert supabase_outages(worker) == [began, SUPABASE_RECOVERED]
    assert_works_on(worker, course, mux)


def test_a_table_that_is_gone_is_named(
    worker: WorkerProcess, course: Course, mux: MuxSimulator, db: psycopg.Connection
) -> None:
    """For real, as soon as something is due: what a function misses, what to apply again."""
    course.tracked_lesson(mux.state.create_upload(SLOW))
    worker.start()
    worker.wait_for("scan.finished")
    db.execute("alter table mux_asset_tracking rename to tracking_gone")
    try:
        worker.wait_for("supabase.unavailable")
    finally:
        db.execute("alter table tracking_gone rename to mux_asset_tracking")
    (began, ended) = supabase_outages(worker)
    assert (began["level"], began["reason"], ended) == ("error", "42P01", SUPABASE_RECOVERED)
    assert began["message"] == (
        'worker_claim does not fit the database (42P01: relation "public.mux_asset_tracking" does '
        "not exist). Apply the files of sql/ of this version again, in order."
    )
    assert_works_on(worker, course, mux)
