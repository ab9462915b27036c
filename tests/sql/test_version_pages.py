"""Runs the commands of docs/upgrade.md and docs/uninstall.md as their reader would."""

import csv
import json
import re
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from tests.course import Course
from tests.sql.dba_page import run_block, write_program
from tests.sql.installing import SQL, apply_all, catalog

pytestmark = pytest.mark.stack

OWNER = UUID("aaaaaaaa-0000-4000-8000-000000000001")
INDEXES = SQL / "optional" / "lesson_indexes.sql"
DOCTOR = "mux-worker doctor\n"
"""Needs settings: tests/integration/doctor runs it."""


def blocks(page: str) -> list[str]:
    """Return the commands of a page, block by block."""
    text = (SQL.parent / "docs" / page).read_text()
    return re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def test_an_upgrade_shows_the_options_and_applies_the_sql_again(
    installed: str, tmp_path: Path
) -> None:
    """The options are those of the table, and the same version changes nothing."""
    apply, check = blocks("upgrade.md")
    before = catalog(installed)
    variables = {"PATH": write_program(tmp_path / "bin")}
    result = run_block(apply, where=tmp_path, dsn=installed, variables=variables)
    assert result.returncode == 0, result.stderr
    options = json.loads(result.stdout.rpartition("}")[0] + "}")
    assert (options["table"], options["owner"]) == ("lessons", "creator_id")
    assert catalog(installed) == before
    assert check == DOCTOR


def test_an_uninstalled_worker_leaves_the_lessons_and_a_file_of_the_audit(
    database: str, tmp_path: Path
) -> None:
    """What waits is listed, the audit is kept in a file, and the catalog is what it was."""
    before = catalog(database)
    apply_all(database)
    apply_indexes = f'psql "$DATABASE_URL" -v ON_ERROR_STOP=1 -f {INDEXES}'
    indexes = run_block(apply_indexes, where=tmp_path, dsn=database)
    assert indexes.returncode == 0, indexes.stderr
    with psycopg.connect(database, autocommit=True) as connection:
        course = Course(connection, anna=OWNER, bert=OWNER)
        lesson = course.tracked_lesson("upload1")
    look, undo, drop_indexes = blocks("uninstall.md")
    listed = run_block(look, where=tmp_path, dsn=database)
    assert listed.returncode == 0, listed.stderr
    assert re.search(rf"{lesson} +\| upload1 +\| processing", listed.stdout)
    with (tmp_path / "mux_asset_events.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["event"], row["lesson_id"]) for row in rows] == [("tracked", str(lesson))]
    variables = {"PATH": write_program(tmp_path / "bin")}
    result = run_block(undo, where=tmp_path, dsn=database, variables=variables)
    assert (result.returncode, "ERROR" in result.stderr) == (0, False), result.stderr
    assert catalog(database)["indexes"] != before["indexes"]
    result = run_block(drop_indexes, where=tmp_path, dsn=database)
    assert result.returncode == 0, result.stderr
    assert {**catalog(database), "column grants": []} == {**before, "column grants": []}
    with psycopg.connect(database) as connection:
        assert connection.execute(b"select id, status::text from lessons").fetchall() == [
            (lesson, "draft")
        ]
