"""An old and a new version of the worker run side by side while the database is upgraded."""

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

import pytest

from sandbox.mux.server import MuxSimulator
from sandbox.supabase.databases import find_sql_files
from sandbox.supabase.postgres import apply_sql
from sandbox.supabase.stack import LocalSupabase
from tests.commands import CHECKOUT
from tests.course import Course
from tests.e2e.evidence import picked
from tests.worker_process import WorkerProcess
from worker.cli.exit_codes import WRONG_SCHEMA
from worker.supabase.errors import REQUIRED_SCHEMA

pytestmark = pytest.mark.stack

NEXT = REQUIRED_SCHEMA + 1

REQUESTS = '"requests_per_second": limits.requests_per_second,'
WORKER = {
    "supabase/errors.py": [(f"REQUIRED_SCHEMA = {REQUIRED_SCHEMA}", f"REQUIRED_SCHEMA = {NEXT}")],
    "supabase/scan.py": [(REQUESTS, f'{REQUESTS} "region": "eu",')],
}
"""What the next version of the worker does: it passes a parameter that its own SQL has."""

ADD_COLUMN = "alter table public.mux_asset_tracking add column if not exists language text;"
CLAIM = "create or replace function public.worker_claim("
DROP_CLAIM = (
    "drop function if exists public.worker_claim("
    "integer, double precision, text, double precision, double precision);"
)
LAST_PARAMETER = "requests_per_second double precision default null"
COMMENT = "comment on function public.worker_claim is"
GRANT_CLAIM = """
revoke all on function public.worker_claim from public;
grant execute on function public.worker_claim to service_role;
do $$
begin
  if to_regrole('mux_worker') is not null then
    grant execute on function public.worker_claim to mux_worker;
  end if;
end $$;
"""
SNAPSHOT = "('910_snapshot', {})"
SQL = {
    "030_tracking.sql": [("\ncommit;", f"\n{ADD_COLUMN}\ncommit;")],
    "060_claim.sql": [
        (CLAIM, f"{DROP_CLAIM}\n{CLAIM}"),
        (f"{LAST_PARAMETER}\n)", f"{LAST_PARAMETER}, region text default null\n)"),
        (COMMENT, f"{GRANT_CLAIM}{COMMENT}"),
    ],
    "910_snapshot.sql": [(SNAPSHOT.format(REQUIRED_SCHEMA), SNAPSHOT.format(NEXT))],
}
"""What its SQL adds: a column, and a parameter with a default.

The function is dropped, created and granted in one transaction: there is never none, and never two.
"""

Changes = dict[str, list[tuple[str, str]]]


def rewrite(directory: Path, changes: Changes) -> None:
    """Replace texts in files; each is there exactly once."""
    for name, replacements in changes.items():
        file = directory / name
        text = file.read_text()
        for old, new in replacements:
            assert text.count(old) == 1, f"{name} has {text.count(old)} times: {old}"
            text = text.replace(old, new)
        file.write_text(text)


@pytest.fixture
def new(environment: dict[str, str], tmp_path: Path) -> Iterator[WorkerProcess]:
    """Yield a worker of the next version, not yet started."""
    shutil.copytree(CHECKOUT / "worker", tmp_path / "worker")
    rewrite(tmp_path / "worker", WORKER)
    process = WorkerProcess({**environment, "PYTHONPATH": str(tmp_path)})
    yield process
    process.kill()


@pytest.fixture
def next_sql(tmp_path: Path) -> list[Path]:
    """Return the files of the next version's SQL."""
    directory = tmp_path / "sql"
    directory.mkdir()
    for file in find_sql_files():
        shutil.copy(file, directory)
    rewrite(directory, SQL)
    return find_sql_files(directory)


@pytest.mark.usefixtures("private_database")
def test_old_and_new_workers_run_side_by_side_across_a_migration(
    worker: WorkerProcess,
    new: WorkerProcess,
    next_sql: list[Path],
    course: Course,
    mux: MuxSimulator,
    supabase: LocalSupabase,
) -> None:
    """The old one publishes meanwhile and afterwards, the new one as soon as its SQL is there."""
    lessons: dict[UUID, str] = {}

    def publish_one() -> str:
        upload_id = mux.state.create_upload()
        lesson = course.tracked_lesson(upload_id)
        lessons[lesson] = upload_id
        worker.wait_until(lambda: course.state(lesson)["status"] == "published")
        return str(lesson)

    worker.start()
    worker.wait_for("scan.finished")
    assert new.start().wait() == WRONG_SCHEMA
    needs = f"version {REQUIRED_SCHEMA} of sql/, and this worker needs version {NEXT}."
    assert needs in new.lines[-1]["message"]
    with ThreadPoolExecutor() as pool:
        migration = pool.submit(apply_sql, supabase.dsn(), next_sql)
        while not migration.done():
            publish_one()
        migration.result()
    by_old = [publish_one()]
    new.start()
    new.wait_for("worker.started")
    publish_one()
    assert worker.stop() == 0
    by_new = [publish_one()]
    worker.start()  # as one goes back
    worker.wait_for("worker.started", times=2)
    assert new.stop() == 0
    by_old.append(publish_one())
    assert worker.stop() == 0
    for process, published in ((worker, by_old), (new, by_new)):
        logged = {line["lesson_id"] for line in process.events("lesson.published")}
        assert logged >= set(published)
    assert [line for line in worker.lines if line["level"] != "info"] == []
    assert [line["event"] for line in new.lines if line["level"] != "info"] == ["worker.stopped"]
    for lesson, upload_id in lessons.items():
        asset_id = mux.state.upload(upload_id).asset_id
        assert picked(course.state(lesson), "status", "mux_asset_id") == ("published", asset_id)
        assert [event["event"] for event in course.events(lesson)] == ["tracked", "published"]
