"""A selection of the SQL tests, on the versions of Postgres that the sandbox does not run."""

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from sandbox.supabase.errors import LocalStackError
from sandbox.supabase.installation import find_installation

pytestmark = pytest.mark.stack

CHECKOUT = Path(__file__).parents[2]
SELECTION = [
    "test_other_postgres.py::test_the_postgres_that_was_selected_runs",
    "test_install.py::test_applied_twice_it_changes_nothing",
    "test_install.py::test_each_file_can_be_undone_and_applied_alone_from_the_top",
    "test_install.py::test_undone_and_applied_again_it_is_the_same",
    "test_install.py::test_undone_twice_it_is_undone",
    "test_catalog.py",
    "test_grants.py",
    "test_claim.py",
    "test_settle_effects.py",
    "test_adopt.py",
    "test_track_upload.py::test_it_starts_to_track",
    "test_check_asset_status.py::test_what_the_worker_found_is_told",
    "test_publish_lesson.py::test_a_draft_is_published_with_the_asset_that_mux_told",
]


def test_the_postgres_that_was_selected_runs(db: psycopg.Connection) -> None:
    """The server has the version that `--postgres` or the default selects."""
    assert db.info.server_version // 10_000 == int(find_installation().version)


@pytest.mark.parametrize("version", ["15", "18"])
def test_the_sql_works_on_another_postgres(version: str, request: pytest.FixtureRequest) -> None:
    """The SQL can be applied, undone and used; `--postgres` runs the other tests as well."""
    if request.config.getoption("--postgres"):
        pytest.skip("all tests of this run use the Postgres of --postgres")
    try:
        find_installation(version)
    except LocalStackError as error:
        pytest.skip(str(error))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += ["--postgres", version, *(f"tests/sql/{test}" for test in SELECTION)]
    # Without the variables that tell it that it is a worker of this run.
    environment = {name: os.environ[name] for name in os.environ if not name.startswith("PYTEST_")}
    result = subprocess.run(
        command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
