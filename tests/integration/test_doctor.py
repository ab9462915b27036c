import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from tests.course import Course
from tests.worker_process import WorkerProcess
from worker.local.faults import Fault
from worker.local.mux_guard import RateLimits
from worker.local.mux_server import MuxSimulator
from worker.local.stack import LocalSupabase

pytestmark = pytest.mark.stack

Doctor = Callable[..., dict[str, dict[str, str]]]


@pytest.fixture
def doctor(environment: dict[str, str]) -> Doctor:
    """Give the command: it asserts the exit status and gives the checks by name."""

    def run(status: int, **settings: str) -> dict[str, dict[str, str]]:
        result = subprocess.run(
            [sys.executable, "-m", "worker", "doctor", "--json"],
            env={**environment, **settings},
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
        )
        output = result.stdout + result.stderr
        for name in ("SUPABASE_SERVICE_ROLE_KEY", "MUX_TOKEN_ID", "MUX_TOKEN_SECRET"):
            assert {**environment, **settings}[name] not in output
        assert "Traceback" not in output
        checks: list[dict[str, str]] = json.loads(result.stdout)
        assert result.returncode == status, output
        return {check.pop("name"): check for check in checks}

    return run


def health(checks: dict[str, dict[str, str]]) -> dict[str, str]:
    """Give only how each check went."""
    return {name: check["health"] for name, check in checks.items()}


GOOD = {
    "settings": "warning",  # the tests ask quicker than Mux allows
    "road to Supabase": "warning",  # the stack of one machine has no TLS
    "database": "ok",
    "key": "ok",
    "schema": "ok",
    "lessons": "ok",
    "row security": "ok",
    "functions": "ok",
    "anon": "ok",
    "clock": "ok",
    "road to Mux": "warning",
    "Mux token": "ok",
    "Mux environment": "ok",
    "Mux rate limit": "skipped",
}


def test_all_is_well(doctor: Doctor) -> None:
    """On a good stack nothing fails, and each check says what it saw."""
    checks = doctor(0)
    assert health(checks) == GOOD
    assert checks["Mux environment"]["seen"].endswith("there is no upload yet to look for")


def test_published_videos_are_looked_for(
    doctor: Doctor, worker: WorkerProcess, course: Course, mux: MuxSimulator
) -> None:
    """Mux is asked about the last ones, and the rest of the rate limit is told."""
    for seeded in mux.state.seed(4):
        course.tracked_lesson(seeded.upload_id)
    worker.start("scan")
    assert worker.wait() == 0
    mux.limits = RateLimits.per_second(50, 5)
    checks = doctor(0)
    assert checks["Mux environment"]["seen"].endswith("knows 4 of our last 4 uploads")
    assert checks["Mux rate limit"]["health"] == "ok"


def test_the_token_of_another_environment_is_found_out(
    doctor: Doctor, worker: WorkerProcess, course: Course, mux: MuxSimulator
) -> None:
    """It is accepted by Mux, and knows none of our videos."""
    course.tracked_lesson(mux.state.create_upload())
    worker.start("scan")
    assert worker.wait() == 0
    mux.state.environment_id = "another"
    checks = doctor(1)
    assert checks["Mux token"]["health"] == "ok"
    assert checks["Mux environment"]["health"] == "failed"
    assert "knows none of our ids" in checks["Mux environment"]["seen"]


def test_a_limit_that_somebody_else_uses_up_is_told(doctor: Doctor, mux: MuxSimulator) -> None:
    """With nothing left of Mux's limit there is a warning."""
    mux.limits = RateLimits.per_second(1, 1)
    assert doctor(0)["Mux rate limit"]["health"] == "warning"


@pytest.mark.parametrize(
    ("harm", "mend", "name", "seen"),
    [
        (
            "grant execute on function worker_settle to anon",
            "revoke execute on function worker_settle from anon",
            "functions",
            "open to browsers: worker_settle",
        ),
        (
            "revoke execute on function worker_claim from service_role",
            "grant execute on function worker_claim to service_role",
            "functions",
            "closed to service_role: worker_claim",
        ),
        (
            "alter table lessons disable row level security",
            "alter table lessons enable row level security",
            "row security",
            "is off on lessons",
        ),
        (
            "grant select (upload_id) on mux_asset_tracking to anon",
            "revoke select (upload_id) on mux_asset_tracking from anon",
            "anon",
            "is granted something on public.mux_asset_tracking",
        ),
        (
            "alter table lessons rename mux_playback_id to playback",
            "alter table lessons rename playback to mux_playback_id",
            "lessons",
            "has no mux_playback_id",
        ),
        (
            "revoke update on lessons from service_role",
            "grant update on lessons to service_role",
            "lessons",
            "service_role may not read it or write its ids",
        ),
        (
            "update mux_private.applied_files set name = '005x' where name >= '009'",
            "update mux_private.applied_files set name = '009_doctor' where name = '005x'",
            "schema",
            "sql/ is applied only up to 008_reports.sql",
        ),
    ],
)
def test_what_is_wrong_in_the_database_fails_alone(
    doctor: Doctor, db: psycopg.Connection, harm: str, mend: str, name: str, seen: str
) -> None:
    """That check fails, with what was seen and what to do; the others are as before."""
    db.execute(harm.encode())
    try:
        checks = doctor(1)
    finally:
        db.execute(mend.encode())
    others = {"anon": "failed"} if harm.endswith("to anon") else {}
    assert health(checks) == {**GOOD, **others, name: "failed"}
    assert checks[name]["seen"] == seen
    assert checks[name]["advice"]


def test_a_database_without_the_doctors_file_is_told(
    doctor: Doctor, db: psycopg.Connection, supabase: LocalSupabase
) -> None:
    """Its function is missing: apply sql/."""
    db.execute("alter function worker_doctor() rename to worker_nurse")
    supabase.reload_schema()
    try:
        checks = doctor(1)
    finally:
        db.execute("alter function worker_nurse() rename to worker_doctor")
        supabase.reload_schema()
    assert checks["database"]["health"] == "failed"
    assert "Apply sql/009_doctor.sql" in checks["database"]["advice"]


def test_a_key_that_supabase_refuses_is_told(doctor: Doctor) -> None:
    """It says which setting to look at, and Mux is examined all the same."""
    checks = doctor(1, SUPABASE_SERVICE_ROLE_KEY="sb_secret_0123456789")
    assert checks["database"]["seen"] == "unauthorized"
    assert "SUPABASE_SERVICE_ROLE_KEY" in checks["database"]["advice"]
    assert checks["Mux token"]["health"] == "ok"


def test_a_token_that_mux_refuses_is_told(doctor: Doctor) -> None:
    """It says which settings to look at."""
    checks = doctor(1, MUX_TOKEN_SECRET="not-the-secret")
    assert (checks["Mux token"]["health"], checks["Mux token"]["seen"]) == ("failed", "http_401")
    assert "MUX_TOKEN_SECRET" in checks["Mux token"]["advice"]


def test_a_mux_that_is_down_is_told(doctor: Doctor, mux: MuxSimulator) -> None:
    """The database was examined before, and is well."""
    mux.faults.add(Fault("answer", status=503))
    checks = doctor(1)
    assert checks["Mux token"]["seen"] == "http_503"
    assert checks["schema"]["health"] == "ok"


@pytest.mark.parametrize(
    ("url", "seen"),
    [
        ("https://nowhere.invalid", "nowhere.invalid has no address"),
        ("http://127.0.0.1:1", "127.0.0.1:1 does not answer: ConnectionRefusedError"),
    ],
)
@pytest.mark.parametrize(
    ("setting", "service", "skipped"),
    [("SUPABASE_URL", "Supabase", "database"), ("MUX_BASE_URL", "Mux", "Mux token")],
)
def test_a_road_that_leads_nowhere_is_told(
    doctor: Doctor, setting: str, service: str, skipped: str, url: str, seen: str
) -> None:
    """The check names the setting, and what would need the road is skipped."""
    checks = doctor(1, **{setting: url})
    road = checks[f"road to {service}"]
    assert (road["health"], road["seen"]) == ("failed", seen)
    assert setting in road["advice"]
    assert checks[skipped]["health"] == "skipped"


def test_a_server_without_tls_is_told(doctor: Doctor, supabase: LocalSupabase) -> None:
    """An https address whose port speaks plain HTTP fails at the handshake."""
    checks = doctor(1, SUPABASE_URL=supabase.url.replace("http:", "https:"))
    assert checks["road to Supabase"]["seen"].startswith("no TLS with 127.0.0.1")


def test_wrong_settings_are_named_and_exit_with_2(environment: dict[str, str]) -> None:
    """Before anything is examined."""
    result = subprocess.run(
        [sys.executable, "-m", "worker", "doctor"],
        env={**environment, "SUPABASE_SERVICE_ROLE_KEY": "sb_publishable_x"},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout) == (2, "")
    assert "SUPABASE_SERVICE_ROLE_KEY is the publishable key" in result.stderr


def printed(environment: dict[str, str], **more: str) -> str:
    """Run the command on a terminal and give what it drew."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "worker", "doctor"],
        env={**environment, **more},
        cwd="/",
        stdout=theirs,
        stderr=theirs,
    )
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
    process.wait(10)
    return drawn.decode().replace("\r\n", "\n")


def test_for_people_it_is_a_line_a_check(environment: dict[str, str]) -> None:
    """Within 80 columns, in colour on a terminal, without where NO_COLOR is set."""
    coloured, plain = printed(environment), printed(environment, NO_COLOR="1")
    assert "\x1b[32mok" in coloured
    assert "\x1b" not in plain
    assert re.sub(r"\x1b\[\d*m", "", coloured).splitlines()[2] == plain.splitlines()[2]
    assert max(map(len, plain.splitlines())) <= 80
    named: list[Any] = re.findall(r"^(?:ok|warn|skip|FAIL) +(\S+(?: \S+)*)  ", plain, re.MULTILINE)
    assert named == list(GOOD)
    assert plain.endswith("10 ok, 3 warning, 1 skipped.\n")
