import asyncio
import json
import os
import pty
import re
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from sandbox.fault_injection import Fault
from sandbox.mux.rate_limit import RateLimits
from sandbox.mux.server import MuxSimulator
from sandbox.supabase.databases import find_sql_files
from sandbox.supabase.errors import LocalStackError
from sandbox.supabase.postgres import apply_sql
from sandbox.supabase.stack import LocalSupabase
from tests.commands import run, start
from tests.course import Course
from tests.sql.installing import DOWN
from tests.worker_process import worker_environment
from tests.worker_role import WITH_BOTH_KEYS, WITH_WORKER_ROLE, adapt_the_app
from worker.doctor.checks import REAPPLY, Check
from worker.doctor.doctor import examine
from worker.doctor.grants import RENAME
from worker.mux.client import MuxClient
from worker.mux.rate_limit import LocalBudget, RateLimiter
from worker.settings import Settings
from worker.supabase.errors import REQUIRED_SCHEMA
from worker.supabase.scan import ScanStore

pytestmark = pytest.mark.stack

Checks = dict[str, Check]
Doctor = Callable[..., Checks]

GOOD = {
    "settings": "warning",  # the tests ask quicker than Mux allows
    "Supabase network": "warning",  # the stack of one machine has no TLS
    "database": "ok",
    "key": "ok",
    "schema": "ok",
    "objects": "ok",
    "lessons": "ok",
    "triggers": "ok",
    "row security": "ok",
    "functions": "ok",
    "app functions": "ok",
    "anon": "ok",
    "schedule": "ok",
    "clock": "ok",
    "scan calls": "ok",
    "Mux network": "warning",
    "Mux token": "ok",
    "Mux environment": "ok",
    "Mux rate limit": "skipped",  # and its limits are off
    "webhook": "skipped",  # nor does a worker run
}
OF_DATABASE = list(GOOD)[3:15]
WITHOUT_DATABASE = {
    **GOOD,
    "database": "failed",
    **dict.fromkeys(OF_DATABASE, "skipped"),
    "Mux environment": "skipped",
}
WITHOUT_MUX = {**GOOD, "Mux token": "failed", "Mux environment": "skipped"}
WITHOUT_ROAD = {
    "Supabase": {**WITHOUT_DATABASE, "Supabase network": "failed", "database": "skipped"},
    "Mux": {**WITHOUT_MUX, "Mux network": "failed", "Mux token": "skipped"},
}


async def examined(settings: Settings) -> Checks:
    """Examine with the real parts, and give the checks by name."""
    stopping = asyncio.Event()
    store = await ScanStore.connect(settings, stopping)
    try:
        mux = MuxClient(
            settings, stopping, RateLimiter(settings.mux_requests_per_second, LocalBudget())
        )
        found = [check async for check in examine(settings, mux, store)]
    finally:
        await store.close()
    assert [check.name for check in found] == list(GOOD)
    assert not [check for check in found for secret in settings.secrets if secret in str(check)]
    return {check.name: check for check in found}


@pytest.fixture
def doctor(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Doctor:
    """Give the examination: always the same checks in the same order, never with a secret."""
    monkeypatch.chdir(tmp_path)

    def run(**settings: str) -> Checks:
        for name, value in {**environment, **settings}.items():
            monkeypatch.setenv(name, value)
        return asyncio.run(examined(Settings.load()))

    return run


@pytest.fixture
def safeupdate(db: psycopg.Connection) -> Iterator[None]:
    """Let the database refuse what hosted Supabase would of an earlier worker_acquire_requests."""
    db.execute(
        "create function public.refuse_update() returns trigger language plpgsql as $$ begin "
        "raise cardinality_violation using message = 'UPDATE requires a WHERE clause'; end $$; "
        "create trigger refuse_update before update on mux_private.rate_limit "
        "execute function public.refuse_update()"
    )
    yield
    db.execute("drop function public.refuse_update() cascade")


def command(
    environment: dict[str, str], *arguments: str, **settings: str
) -> subprocess.CompletedProcess[str]:
    """Run the command as its users do."""
    return run("doctor", *arguments, env={**environment, **settings})


def health(checks: Checks) -> dict[str, str]:
    """Give only how each check went."""
    return {name: check.health for name, check in checks.items()}


@WITH_BOTH_KEYS
def test_all_is_well(environment: dict[str, str]) -> None:
    """On a good stack nothing fails, it exits with 0, and JSON is all that is printed."""
    result = command(environment, "--json")
    checks = json.loads(result.stdout)
    assert (result.returncode, result.stderr) == (0, "")
    assert {check["name"]: check["health"] for check in checks} == GOOD
    assert {frozenset(check) for check in checks} == {
        frozenset({"name", "health", "detail", "advice"})
    }
    assert checks[list(GOOD).index("Mux environment")]["detail"].endswith(
        "there is no upload to look up yet"
    )


def test_a_failed_check_exits_with_1_and_repeats_no_secret(
    environment: dict[str, str], mux: MuxSimulator
) -> None:
    """Not even one that a service repeats, nor what would steer a terminal, however folded."""
    said = {"error": {"type": "unauthorized", "messages": [f"bad {mux.token_secret}\x1b[2J"]}}
    mux.faults.add(Fault("answer", status=401, body=json.dumps(said)))
    result = command(environment, PYTHONIOENCODING="ascii")
    drawn = re.sub(r"\s", "", result.stdout)
    assert (result.returncode, result.stderr) == (1, "")
    assert "(bad***\\u{001b}[2J)" in drawn
    assert "\x1b" not in drawn
    secrets = ("SUPABASE_SERVICE_ROLE_KEY", "MUX_TOKEN_ID", "MUX_TOKEN_SECRET")
    assert not [name for name in secrets if environment[name] in drawn]


def test_wrong_settings_are_all_named_and_exit_with_2(environment: dict[str, str]) -> None:
    """Before anything is examined, and without what was found there."""
    wrong = {
        "SUPABASE_URL": "https://127.0.0.1:99999",
        "SUPABASE_SERVICE_ROLE_KEY": "sb_publishable_hush",
        "MUX_BASE_URL": "https://127.0.0.1:whisper",
    }
    result = command(environment, **wrong)
    assert (result.returncode, result.stdout) == (2, "")
    assert re.findall(r"^  (\S+ .*)$", result.stderr, re.MULTILINE) == [
        "SUPABASE_URL must have a port from 1 to 65535, or none (from the environment)",
        (
            "SUPABASE_SERVICE_ROLE_KEY is the publishable key; "
            "it must be the secret key (sb_secret_...) (from the environment)"
        ),
        "MUX_BASE_URL must have a port from 1 to 65535, or none (from the environment)",
    ]


def test_recent_uploads_are_looked_for(
    doctor: Doctor, course: Course, db: psycopg.Connection, mux: MuxSimulator
) -> None:
    """Published or not, but no failed ones nor such as Mux cannot be asked about."""
    for seeded in mux.state.seed(2):
        course.tracked_lesson(seeded.upload_id)
    course.tracked_lesson("migrated", mux_asset_id=mux.state.seed(1)[0].asset_id, status="ready")
    course.tracked_lesson("migrated", mux_asset_id="temp_1")
    course.tracked_lesson("../assets/x")
    db.execute("update mux_asset_tracking set status = 'error' where upload_id = '../assets/x'")
    mux.limits = RateLimits.per_second(50, 5)
    checks = doctor()
    assert health(checks) == {**GOOD, "Mux rate limit": "ok"}
    assert checks["Mux environment"].detail.endswith("knows 3 of the last 3 uploads")


def test_the_token_of_another_environment_is_found_out_at_once(
    doctor: Doctor, course: Course
) -> None:
    """It is accepted by Mux and knows no upload, though none was ever published."""
    course.tracked_lesson("A" * 40)
    checks = doctor()
    assert health(checks) == {**GOOD, "Mux environment": "failed"}
    assert checks["Mux environment"].detail.endswith("knows none of the tracked ids")


def test_deleted_videos_are_no_other_environment(
    doctor: Doctor, course: Course, db: psycopg.Connection, mux: MuxSimulator
) -> None:
    """Where the worker found ids before, the token is right; anywhere else it is not."""
    course.tracked_lesson("A" * 40)
    remember = "update mux_private.worker_state set environment_id = %s"
    db.execute(remember, [mux.state.environment_id])
    checks = doctor()
    assert health(checks) == {**GOOD, "Mux environment": "warning"}
    assert checks["Mux environment"].advice == "Check whether they were deleted in Mux."
    db.execute(remember, ["another"])
    assert health(doctor()) == {**GOOD, "Mux environment": "failed"}


def test_a_change_of_environment_is_warned_of(
    doctor: Doctor, course: Course, db: psycopg.Connection, mux: MuxSimulator
) -> None:
    """It knows our uploads, and yet they were last found in another."""
    course.tracked_lesson(mux.state.create_upload())
    db.execute("update mux_private.worker_state set environment_id = 'another'")
    checks = doctor()
    assert health(checks) == {**GOOD, "Mux environment": "warning"}
    assert checks["Mux environment"].detail.endswith("; ids were last found in another")


def test_a_mux_that_fails_on_the_way_is_told_once(
    doctor: Doctor, course: Course, mux: MuxSimulator
) -> None:
    """The token was accepted and stays so; it is the looking that failed."""
    course.tracked_lesson("A" * 40)
    mux.faults.add(Fault("answer", status=503, headers={"Retry-After": "60"}), path="/video/*")
    checks = doctor()
    assert health(checks) == {**GOOD, "Mux environment": "failed"}
    assert checks["Mux environment"].detail == "http_503"


def test_a_limit_that_somebody_else_uses_up_is_told(doctor: Doctor, mux: MuxSimulator) -> None:
    """With nothing left of Mux's limit there is a warning."""
    mux.limits = RateLimits.per_second(1, 1)
    assert health(doctor()) == {**GOOD, "Mux rate limit": "warning"}


@pytest.mark.parametrize(
    ("harm", "mend", "names", "seen"),
    [
        pytest.param(
            "grant execute on function worker_settle to anon",
            "revoke execute on function worker_settle from anon",
            ["functions", "anon", "objects"],
            "open to browsers: worker_settle",
            id="a function granted to anon",
        ),
        pytest.param(
            "grant execute on function mux_private.publish to public",
            "revoke execute on function mux_private.publish from public",
            ["functions", "anon", "objects"],
            "open to browsers: publish",
            id="a private function granted to everybody",
        ),
        pytest.param(
            "revoke execute on function worker_claim from service_role",
            "grant execute on function worker_claim to service_role",
            ["functions", "objects", "scan calls"],
            "closed to service_role: worker_claim",
            id="a function not granted",
        ),
        pytest.param(
            "revoke execute on function mux_private.settle_row from service_role",
            "grant execute on function mux_private.settle_row to service_role",
            ["functions", "objects"],
            "closed to service_role: settle_row",
            id="a private function not granted",
        ),
        pytest.param(
            "alter function worker_release rename to worker_let_go",
            "alter function worker_let_go rename to worker_release",
            ["functions", "objects", "scan calls"],
            "missing: worker_release",
            id="a function missing",
        ),
        pytest.param(
            "grant execute on function track_upload to anon",
            "revoke execute on function track_upload from anon",
            ["app functions", "anon", "objects"],
            "open to anon: track_upload",
            id="a function of the app granted to anon",
        ),
        pytest.param(
            "revoke execute on function mux_private.app_publish from authenticated",
            "grant execute on function mux_private.app_publish to authenticated",
            ["app functions", "objects"],
            "closed to authenticated: app_publish",
            id="a function of the app not granted",
        ),
        pytest.param(
            "grant execute on function mux_private.app_look_soon to authenticated",
            "revoke execute on function mux_private.app_look_soon from authenticated",
            ["app functions", "objects"],
            "not closed: app_look_soon",
            id="a private function of the app granted",
        ),
        pytest.param(
            "alter function check_asset_status rename to check_status",
            "alter function check_status rename to check_asset_status",
            ["app functions", "objects"],
            "missing: check_asset_status",
            id="a function of the app missing",
        ),
        pytest.param(
            "alter table lessons disable row level security",
            "alter table lessons enable row level security",
            ["row security"],
            "is off on lessons",
            id="row level security off",
        ),
        pytest.param(
            "alter table mux_private.worker_state disable row level security",
            "alter table mux_private.worker_state enable row level security",
            ["row security"],
            "is off on worker_state",
            id="row level security off in the private schema",
        ),
        pytest.param(
            "grant select (upload_id) on mux_asset_tracking to anon",
            "revoke select (upload_id) on mux_asset_tracking from anon",
            ["anon", "objects"],
            "has grants on public.mux_asset_tracking",
            id="a column granted to anon",
        ),
        pytest.param(
            "grant usage on schema mux_private to authenticated",
            "revoke usage on schema mux_private from authenticated",
            ["anon", "objects"],
            "has grants on mux_private (authenticated)",
            id="the private schema opened",
        ),
        pytest.param(
            "alter table lessons rename mux_playback_id to playback",
            "alter table lessons rename playback to mux_playback_id",
            ["lessons"],
            "lessons: column mux_playback_id is missing",
            id="a column missing",
        ),
        pytest.param(
            "alter table lessons alter mux_asset_id type jsonb using null",
            "alter table lessons alter mux_asset_id type text",
            ["lessons"],
            "lessons: column mux_asset_id is jsonb and should be text",
            id="a column of another type",
        ),
        pytest.param(
            "revoke update on lessons from service_role",
            "grant update on lessons to service_role",
            ["lessons"],
            (
                "service_role cannot read lessons or write its ids: "
                "permission denied for table lessons"
            ),
            id="lessons not granted",
        ),
        pytest.param(
            "update mux_private.applied_files set schema_version = 0 where name = '910_snapshot'",
            f"update mux_private.applied_files set schema_version = {REQUIRED_SCHEMA}"
            " where name = '910_snapshot'",
            ["schema"],
            f"version 0 of sql/ is applied, and this worker needs version {REQUIRED_SCHEMA}",
            id="an older schema",
        ),
        pytest.param(
            "delete from mux_private.applied_files"
            " where name in ('052_tracking_triggers', '076_settle')",
            "insert into mux_private.applied_files (name)"
            " values ('052_tracking_triggers'), ('076_settle')",
            ["schema"],
            "sql/ is applied without 052_tracking_triggers.sql, 076_settle.sql",
            id="files left out",
        ),
        pytest.param(
            "alter table lessons drop constraint lesson_status_is_known,"
            " add constraint is_ours check (status in ('draft', 'live'))",
            "alter table lessons drop constraint is_ours, add constraint lesson_status_is_known"
            " check (status in ('draft', 'published', 'archived'))",
            ["lessons"],
            "lessons: check constraint is_ours does not allow status published",
            id="a status that is not allowed any more",
        ),
    ],
)
def test_what_is_wrong_in_the_database_fails_alone(
    doctor: Doctor, db: psycopg.Connection, harm: str, mend: str, names: list[str], seen: str
) -> None:
    """That check fails, with what was seen and what to do; the others are as before."""
    db.execute(harm.encode())
    try:
        checks = doctor()
    finally:
        db.execute(mend.encode())
    assert health(checks) == {**GOOD, **dict.fromkeys(names, "failed")}
    assert checks[names[0]].detail == seen
    assert checks[names[0]].advice


@WITH_WORKER_ROLE
@pytest.mark.parametrize(
    ("harm", "mend", "found"),
    [
        pytest.param(
            "revoke execute on function worker_claim from mux_worker",
            "grant execute on function worker_claim to mux_worker",
            {
                "functions": ("failed", "closed to mux_worker: worker_claim"),
                "objects": ("failed", "revoked: execute on function worker_claim"),
                "scan calls": ("failed", "forbidden"),
            },
            id="a function not granted",
        ),
        pytest.param(
            "revoke update (settled_at) on mux_asset_tracking from mux_worker",
            "grant update (settled_at) on mux_asset_tracking to mux_worker",
            {"objects": ("failed", "revoked: update on column mux_asset_tracking.settled_at")},
            id="a column not granted",
        ),
        pytest.param(
            'alter policy "mux_worker has full access" on mux_private.schedule using (false)',
            'alter policy "mux_worker has full access" on mux_private.schedule using (true)',
            {"objects": ("failed", 'policy "mux_worker has full access" on mux_private.schedule')},
            id="a policy changed",
        ),
        pytest.param(
            "revoke update (mux_asset_id) on lessons from mux_worker",
            "grant update (mux_asset_id) on lessons to mux_worker",
            {"lessons": ("failed", "mux_worker cannot read lessons or write its ids: permission")},
            id="a column of lessons not granted",
        ),
        pytest.param(
            'drop policy "mux_worker can update all rows" on lessons',
            'create policy "mux_worker can update all rows" on lessons for update to mux_worker '
            "using (true) with check (true)",
            {"lessons": ("failed", "lessons: no policy lets mux_worker update all rows")},
            id="a policy of lessons missing",
        ),
        pytest.param(
            'create policy "not archived" on lessons as restrictive using (status <> $$archived$$)',
            'drop policy "not archived" on lessons',
            {"lessons": ("failed", 'the restrictive policy "not archived" applies to mux_worker')},
            id="a policy that restricts everybody",
        ),
        pytest.param(
            "grant execute on function check_asset_status to mux_worker",
            "revoke execute on function check_asset_status from mux_worker",
            {
                "app functions": ("failed", "open to mux_worker: check_asset_status"),
                "objects": ("failed", "granted: execute on function check_asset_status"),
            },
            id="a function of the app granted",
        ),
    ],
)
def test_what_the_workers_own_role_lacks_fails_alone(
    doctor: Doctor, db: psycopg.Connection, harm: str, mend: str, found: dict[str, tuple[str, str]]
) -> None:
    """Each grant and policy that it needs, and what of the app is in its way."""
    db.execute(harm.encode())
    try:
        checks = doctor()
    finally:
        db.execute(mend.encode())
    assert health(checks) == {**GOOD, **{name: word for name, (word, _) in found.items()}}
    for name, (_, part) in found.items():
        assert part in checks[name].detail
        assert checks[name].advice


@WITH_WORKER_ROLE
def test_a_trigger_that_may_refuse_the_workers_own_role_is_warned_of(
    doctor: Doctor, db: psycopg.Connection
) -> None:
    """It names a table that the role does not reach, until it runs with its owner's rights."""
    db.execute("alter function notify_students() security invoker reset search_path")
    try:
        checks = doctor()
    finally:
        adapt_the_app(db)
    assert health(checks) == {**GOOD, "triggers": "warning"}
    assert checks["triggers"].detail == (
        "trigger notify_students of lessons may not insert into notifications"
    )


def test_what_the_schedule_lacks_is_warned_of(
    doctor: Doctor, course: Course, db: psycopg.Connection
) -> None:
    """As after a restore of the app's tables alone; a worker mends it by itself."""
    for upload in ("up1", "up2", "up3"):
        course.tracked_lesson(upload)
    db.execute(
        "delete from mux_private.schedule where tracking_id in "
        "(select id from mux_asset_tracking where upload_id <> 'up3')"
    )
    db.execute("insert into mux_private.schedule (tracking_id) values (gen_random_uuid())")
    try:
        checks = doctor()
    finally:
        db.execute("delete from mux_private.schedule where true")
    assert health(checks) == {**GOOD, "schedule": "warning", "Mux environment": "failed"}
    assert checks["schedule"].detail == (
        "2 rows of mux_asset_tracking wait and are not in the schedule; "
        "1 rows of the schedule belong to no waiting row"
    )
    assert "058_earlier_uploads.sql" in checks["schedule"].advice


def test_a_tracking_table_that_is_gone_is_named(doctor: Doctor, db: psycopg.Connection) -> None:
    """Under another name it is gone as well; what a missing table makes of the rest is said too."""
    db.execute("alter table mux_asset_tracking rename to mux_tracking")
    try:
        checks = doctor()
    finally:
        db.execute("alter table mux_tracking rename to mux_asset_tracking")
    assert checks["schema"].detail == "sql/ is applied without 030_tracking.sql"
    assert checks["row security"].detail == "there is no mux_asset_tracking"
    assert checks["schedule"].health == "skipped"


OBJECTS = "select kind, name, state from mux_private.objects()"


@pytest.mark.parametrize(
    ("harm", "seen"),
    [
        pytest.param(
            "drop trigger start_new_upload on mux_asset_tracking;"
            "drop trigger note_new_upload on mux_asset_tracking;"
            "alter table mux_asset_tracking disable trigger guard_tracking;"
            "drop index idx_mux_asset_tracking_failed",
            "index idx_mux_asset_tracking_failed is missing; "
            "trigger guard_tracking on mux_asset_tracking was changed; "
            "trigger note_new_upload on mux_asset_tracking is missing; "
            "trigger start_new_upload on mux_asset_tracking is missing",
            id="triggers and an index",
        ),
        pytest.param(
            "create or replace function mux_private.is_mux_id(p_id text) returns boolean "
            "language sql immutable return true",
            "function mux_private.is_mux_id(text) was changed",
            id="a function's body",
        ),
        pytest.param(
            'alter policy "Service role has full access" on mux_asset_tracking using (false);'
            "create policy mine on mux_asset_events for select to authenticated using (true);"
            'drop policy "Service role can read all events" on mux_asset_events',
            'policy "Service role can read all events" on mux_asset_events is missing; '
            'policy "Service role has full access" on mux_asset_tracking was changed; '
            'policy "mine" on mux_asset_events was added',
            id="policies",
        ),
        pytest.param(
            "grant update (actor) on mux_asset_events to authenticated;"
            "revoke delete on mux_asset_tracking from service_role",
            "granted: update on column mux_asset_events.actor to authenticated; "
            "revoked: delete on table mux_asset_tracking to service_role",
            id="grants",
        ),
        pytest.param(
            "alter table mux_asset_tracking alter id drop default;"
            "alter table mux_private.upload_history"
            " drop constraint it_is_known_how_it_was_heard_of",
            "column mux_asset_tracking.id was changed; "
            "constraint it_is_known_how_it_was_heard_of on mux_private.upload_history is missing",
            id="columns and constraints",
        ),
    ],
)
def test_what_differs_from_what_sql_made_is_named_and_mended_by_sql(
    supabase: LocalSupabase, harm: str, seen: str
) -> None:
    """Each difference by its name; the files applied again put it right, in any order before."""
    with supabase.connect(autocommit=False) as connection:
        connection.execute(harm.encode())
        differences = connection.execute("select mux_private.differences()").fetchone()
        connection.rollback()
    assert differences == (seen.split("; "),)
    dsn = supabase.create_database("harmed", apply_sql=True)
    try:
        with psycopg.connect(dsn, autocommit=True) as connection:
            objects = set(connection.execute(OBJECTS).fetchall())
            connection.execute(harm.encode())
            some = [f for f in find_sql_files() if f.stem in ("040_access", "060_claim")]
            for files in (find_sql_files(), some):
                apply_sql(dsn, files)
                found = connection.execute("select mux_private.differences()").fetchone()
                assert found == ([],)
                assert objects <= set(connection.execute(OBJECTS).fetchall())
    finally:
        supabase.drop_database("harmed")


def test_what_an_app_adds_to_our_tables_is_no_fault(
    doctor: Doctor, supabase: LocalSupabase
) -> None:
    """Its own indexes, columns and triggers, and a grant to a role of its own."""
    with supabase.connect("supabase_admin") as admin:
        admin.execute(
            "create index of_the_app on mux_asset_tracking (created_at);"
            "alter table mux_asset_tracking add note text;"
            "create trigger notes before update on mux_asset_tracking for each row "
            "execute function suppress_redundant_updates_trigger();"
            "create role app_reader; grant select on mux_asset_tracking to app_reader"
        )
        try:
            assert health(doctor()) == GOOD
        finally:
            admin.execute(
                "drop index of_the_app; drop trigger notes on mux_asset_tracking;"
                "alter table mux_asset_tracking drop note;"
                "drop owned by app_reader; drop role app_reader"
            )


def test_a_missing_snapshot_is_reported(doctor: Doctor, supabase: LocalSupabase) -> None:
    """The last file is missing, and there is nothing to compare with."""
    file = find_sql_files()[-1]
    apply_sql(supabase.dsn(), [DOWN / file.name])
    try:
        checks = doctor()
    finally:
        apply_sql(supabase.dsn(), [file])
    assert health(checks) == {**GOOD, "schema": "failed", "objects": "skipped"}
    assert checks["schema"].detail == "sql/ is applied without 910_snapshot.sql"


def test_an_app_without_the_apps_functions_is_only_warned(
    doctor: Doctor, supabase: LocalSupabase
) -> None:
    """The worker does not need them: it is told, with what to do, and the schema is well."""
    names = ("092_publish_lesson", "090_app")
    apply_sql(supabase.dsn(), [*(DOWN / f"{name}.sql" for name in names), find_sql_files()[-1]])
    try:
        checks = doctor()
    finally:
        apply_sql(supabase.dsn(), find_sql_files())
        supabase.reload_schema()
    assert health(checks) == {**GOOD, "app functions": "warning"}
    seen = "the database has none of track_upload, check_asset_status, publish_lesson"
    assert (checks["app functions"].detail, checks["schema"].detail) == (
        seen,
        f"version {REQUIRED_SCHEMA} of sql/ is applied",
    )
    assert checks["app functions"].advice == f"{REAPPLY} An app may do without them."


@pytest.mark.parametrize(
    ("made", "named"),
    [
        ("publish_lesson(slug int) returns void return null", "publish_lesson(integer)"),
        ("worker_claim(n int) returns void return null", "worker_claim(integer)"),
    ],
)
def test_a_function_that_the_app_makes_under_our_name_is_found(
    doctor: Doctor, db: psycopg.Connection, made: str, named: str
) -> None:
    """PostgREST cannot tell it from ours: the check names it, and what to do."""
    db.execute(f"create function {made}".encode())
    try:
        checks = doctor()
    finally:
        db.execute(f"drop function {named}".encode())
    assert health(checks) == {**GOOD, "functions": "failed"}
    assert checks["functions"] == Check(
        "functions",
        "failed",
        f"created by the app with a name of the worker's: {named}",
        f"{RENAME} {REAPPLY}",
    )


def test_a_function_of_the_apps_in_the_place_of_ours_is_found(
    doctor: Doctor, db: psycopg.Connection, supabase: LocalSupabase
) -> None:
    """Also where it has the very arguments: neither is it taken for ours, nor replaced."""
    theirs = "create or replace function publish_lesson(lesson_id text default null) returns jsonb"
    db.execute(f"{theirs} language sql return '{{}}'::jsonb".encode())
    try:
        checks = doctor()
        with pytest.raises(LocalStackError, match=r"under names that .*: publish_lesson\(text\)"):
            apply_sql(supabase.dsn(), find_sql_files())
    finally:
        db.execute("drop function publish_lesson(text)")
        apply_sql(supabase.dsn(), find_sql_files())
        supabase.reload_schema()
    failed = dict.fromkeys(["functions", "app functions", "objects"], "failed")
    assert health(checks) == {**GOOD, **failed}
    assert checks["objects"].detail == "function publish_lesson(text) was changed"


def test_a_role_of_the_dbas_own_is_only_warned_of(doctor: Doctor, supabase: LocalSupabase) -> None:
    """Somebody meant it, and it opens nothing to browsers."""
    with supabase.connect("supabase_admin") as admin:
        admin.execute("create role reporter; grant execute on function worker_summary to reporter")
        try:
            checks = doctor()
        finally:
            admin.execute("drop owned by reporter; drop role reporter")
    assert health(checks) == {**GOOD, "functions": "warning"}
    assert checks["functions"].detail == "open to reporter too: worker_summary"


def test_where_everything_is_granted_by_default_all_is_well(
    doctor: Doctor, mux: MuxSimulator, shared_postgres: Path
) -> None:
    """sql/ takes back what Supabase's old default gives to browsers."""
    with LocalSupabase(default_grants=True, shared_postgres=shared_postgres) as older:
        assert health(doctor(**worker_environment(older, mux))) == GOOD


def test_a_clock_that_is_off_is_warned_of(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour ahead of the database's."""
    ahead = SimpleNamespace(time=lambda: time.time() + 3600)
    monkeypatch.setattr("worker.doctor.doctor.time", ahead)
    checks = doctor()
    assert health(checks) == {**GOOD, "clock": "warning"}
    assert checks["clock"].detail == "differs from the database's by 3600 s"


def test_a_scan_that_supabase_refuses_is_found_out(
    doctor: Doctor,
    safeupdate: None,
    course: Course,
    mux: MuxSimulator,
    environment: dict[str, str],
) -> None:
    """Where a function of an earlier version updates all rows, as safeupdate forbids, it is said.

    The scan says it, too, with what to do, and does not try again and again.
    """
    course.tracked_lesson(mux.state.create_upload())
    refused = (
        "worker_acquire_requests does not fit the database (21000: UPDATE requires a WHERE "
        "clause). Apply the files of sql/ of this version again, in order."
    )
    checks = doctor()
    assert health(checks) == {**GOOD, "scan calls": "failed"}
    assert (checks["scan calls"].detail, checks["scan calls"].advice) == ("21000", refused)
    scan = run("scan", env=environment)
    assert (scan.returncode, scan.stdout) == (1, "")
    claims = refused.replace("worker_acquire_requests", "worker_claim")  # which calls it
    assert scan.stderr.splitlines()[-1] == claims


def test_the_doctor_leaves_rows_and_leader_as_they_were(
    doctor: Doctor, course: Course, db: psycopg.Connection
) -> None:
    """What it claims stands where it stood, the leader goes on, and no worker waits for a turn."""
    state = (
        b"select array[(select jsonb_agg(t order by t.id) from mux_asset_tracking t), "
        b"(select jsonb_agg(e order by e.id) from mux_asset_events e), "
        b"(select jsonb_agg(s.leader) from mux_private.worker_state s)]"
    )
    is_free = b"select next_request_at < clock_timestamp() from mux_private.rate_limit"
    for upload in ("up1", "up2"):
        course.backdate(course.tracked_lesson(upload), 60)
    db.execute("update mux_private.worker_state set leader = 'a worker', leads_until = 'infinity'")
    db.execute("update mux_private.schedule set next_check_at = now() - interval '30 s'")
    before = db.execute(state).fetchone()
    doctor()
    assert db.execute(state).fetchone() == before
    assert db.execute(is_free).fetchone() == (True,)
    db.execute("update mux_private.worker_state set leads_until = '-infinity'")
    before = db.execute(state).fetchone()
    doctor()
    after = db.execute(
        "select next_check_at < now() - interval '20 s' from mux_private.schedule"
    ).fetchall()
    assert after == [(True,), (True,)]
    free = db.execute("select leads_until <= now() from mux_private.worker_state").fetchone()
    assert free == (True,)


def test_a_database_without_the_doctors_file_is_told(
    doctor: Doctor, db: psycopg.Connection, supabase: LocalSupabase
) -> None:
    """Its function is missing, and it says what to apply."""
    db.execute("alter function worker_doctor() rename to worker_nurse")
    supabase.reload_schema()
    try:
        checks = doctor()
    finally:
        db.execute("alter function worker_nurse() rename to worker_doctor")
        supabase.reload_schema()
    assert health(checks) == WITHOUT_DATABASE
    assert checks["database"].advice == (
        f"There is no worker_doctor. {REAPPLY} "
        "If that was done just now, PostgREST will notice within seconds."
    )


@pytest.mark.parametrize(
    ("status", "said", "seen"),
    [
        (200, {"schema_version": 1}, "worker_doctor has another version"),
        (200, ["what"], "unreadable"),
        (500, {"code": "57014", "message": "timeout"}, "57014"),
        (403, {"code": "42501", "message": "denied"}, "forbidden"),
    ],
)
def test_a_database_that_answers_something_else_is_told(
    doctor: Doctor, supabase: LocalSupabase, status: int, said: Any, seen: str
) -> None:
    """One check fails with the reason, and Mux is examined all the same."""
    supabase.faults.add(Fault("answer", status=status, body=json.dumps(said)))
    checks = doctor()
    assert health(checks) == WITHOUT_DATABASE
    assert checks["database"].detail == seen
    assert checks["database"].advice


def test_a_key_that_supabase_refuses_is_told(doctor: Doctor) -> None:
    """It says which setting to look at, and Mux is examined all the same."""
    checks = doctor(SUPABASE_SERVICE_ROLE_KEY="sb_secret_0123456789")
    assert health(checks) == WITHOUT_DATABASE
    assert checks["database"].detail == "unauthorized"
    assert "SUPABASE_SERVICE_ROLE_KEY" in checks["database"].advice


def test_a_token_that_mux_refuses_is_told(doctor: Doctor) -> None:
    """It says which settings to look at."""
    checks = doctor(MUX_TOKEN_SECRET="not-the-secret")
    assert health(checks) == WITHOUT_MUX
    assert checks["Mux token"].detail == "http_401"
    assert "MUX_TOKEN_SECRET" in checks["Mux token"].advice


def test_a_mux_that_is_down_is_told(doctor: Doctor, mux: MuxSimulator) -> None:
    """The database was examined before, and is well."""
    mux.faults.add(Fault("answer", status=503, headers={"Retry-After": "60"}))
    checks = doctor()
    assert health(checks) == WITHOUT_MUX
    assert checks["Mux token"].detail == "http_503"


@pytest.mark.parametrize(
    ("url", "seen"),
    [
        ("https://nowhere.invalid", "nowhere.invalid has no address"),
        (f"https://{'a' * 64}.invalid", f"{'a' * 64}.invalid has no address"),
        ("http://127.0.0.1:1", "127.0.0.1:1 does not answer: Connection refused"),
    ],
)
@pytest.mark.parametrize(
    ("setting", "service"), [("SUPABASE_URL", "Supabase"), ("MUX_BASE_URL", "Mux")]
)
def test_a_road_that_leads_nowhere_is_told(
    doctor: Doctor, setting: str, service: str, url: str, seen: str
) -> None:
    """The check names the setting, and what would need the road is skipped."""
    checks = doctor(**{setting: url})
    assert health(checks) == WITHOUT_ROAD[service]
    assert checks[f"{service} network"].detail == seen
    assert setting in checks[f"{service} network"].advice


def test_a_server_without_tls_is_told(doctor: Doctor, supabase: LocalSupabase) -> None:
    """An https address whose port speaks plain HTTP fails at the handshake."""
    checks = doctor(SUPABASE_URL=supabase.url.replace("http:", "https:"))
    assert health(checks) == WITHOUT_ROAD["Supabase"]
    assert checks["Supabase network"].detail.startswith("no TLS with 127.0.0.1")


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Make a certificate for 127.0.0.1 that nobody has signed but itself, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "doctor's test")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    file = tmp_path / "certificate.pem"
    pem = serialization.Encoding.PEM
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(private + signed.public_bytes(pem))
    return file


@pytest.fixture
def tls_port(certificate: Path) -> Iterator[int]:
    """Run a server with that certificate, which knows no page."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    server.socket = context.wrap_socket(
        server.socket, server_side=True, do_handshake_on_connect=False
    )
    serving = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    serving.start()
    yield server.server_port
    server.shutdown()
    serving.join()
    server.server_close()


def test_a_certificate_must_be_good(
    doctor: Doctor, certificate: Path, tls_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody's is refused, with the reason; one that this machine trusts is well."""
    url = f"https://127.0.0.1:{tls_port}"
    refused = doctor(SUPABASE_URL=url)
    assert health(refused) == WITHOUT_ROAD["Supabase"]
    assert refused["Supabase network"].detail == "no TLS with 127.0.0.1: self-signed certificate"
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    trusted = doctor(SUPABASE_URL=url)
    assert health(trusted) == {**WITHOUT_DATABASE, "Supabase network": "ok"}


def printed(environment: dict[str, str], **more: str) -> str:
    """Run the command on a terminal and give what it drew."""
    ours, theirs = pty.openpty()
    process = start("doctor", env={**environment, **more}, stdout=theirs, stderr=theirs)
    os.close(theirs)
    drawn = b""
    while True:
        try:
            piece: bytes = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        drawn += piece
    os.close(ours)
    process.wait(60)
    return drawn.decode().replace("\r\n", "\n")


def test_for_people_it_is_a_line_a_check(environment: dict[str, str]) -> None:
    """Within 80 columns, in colour on a terminal, without where NO_COLOR is set."""
    with ThreadPoolExecutor() as pool:
        runs = [pool.submit(printed, environment), pool.submit(printed, environment, NO_COLOR="1")]
    coloured, plain = (run.result() for run in runs)
    assert "\x1b[32mok" in coloured
    assert "\x1b" not in plain
    assert re.sub(r"\x1b\[\d*m", "", coloured).splitlines()[2] == plain.splitlines()[2]
    assert max(map(len, plain.splitlines())) <= 80
    named: list[Any] = re.findall(r"^(?:ok|warn|skip|FAIL) +(\S+(?: \S+)*)  ", plain, re.MULTILINE)
    assert named == list(GOOD)
    assert plain.endswith("15 ok, 3 warnings, 2 skipped.\n")
