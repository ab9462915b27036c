import re
from pathlib import Path

import psycopg
import pytest

from sandbox.supabase.errors import LocalStackError
from sandbox.supabase.postgres import apply_sql
from sandbox.supabase.stack import LocalSupabase
from tests.course import Course
from tests.sql.installing import SQL, apply_all, catalog, run
from tests.sql.service import WAIT, Service, fact, looked_at

pytestmark = pytest.mark.stack

FILE: Path = SQL / "optional" / "realtime.sql"
PUBLICATION = "create publication supabase_realtime; alter publication supabase_realtime owner to "
PUBLISHED = b"select tablename from pg_publication_tables where pubname = 'supabase_realtime'"


@pytest.fixture
def installed(supabase: LocalSupabase, installed: str) -> str:
    """Give the dsn of a database with sql/ and with the publication as Supabase has it."""
    as_superuser(supabase, f"{PUBLICATION} postgres")
    return installed


def as_superuser(supabase: LocalSupabase, statements: str) -> None:
    """Run statements as Supabase itself."""
    with supabase.connect("supabase_admin", "install") as connection:
        connection.execute(statements.encode())


def published(dsn: str) -> list[tuple[str]]:
    """List the tables whose changes are published."""
    with psycopg.connect(dsn) as connection:
        return connection.execute(PUBLISHED).fetchall()


def test_changes_of_tracking_rows_are_published(installed: str) -> None:
    """The table is added, beside what is there; applying it again changes nothing."""
    run(installed, "alter publication supabase_realtime add table lessons")
    for _ in range(2):
        apply_sql(installed, [FILE])
        assert sorted(published(installed)) == [("lessons",), ("mux_asset_tracking",)]


def test_its_header_says_how_to_undo_it(installed: str) -> None:
    """The statement behind "Undo:" leaves the database as it was."""
    before = catalog(installed)
    apply_sql(installed, [FILE])
    assert catalog(installed) != before
    (undo,) = re.findall(r"^-- Undo: (.*;)$", FILE.read_text(), re.MULTILINE)
    run(installed, undo)
    assert catalog(installed) == before


def test_a_publication_of_all_tables_is_enough(supabase: LocalSupabase, database: str) -> None:
    """Where everything is published already there is nothing to add."""
    apply_all(database)
    as_superuser(supabase, "create publication supabase_realtime for all tables")
    before = catalog(database)
    apply_sql(database, [FILE])
    assert catalog(database) == before


def test_without_realtime_it_says_what_to_do(database: str) -> None:
    """A missing publication is named, and nothing is changed."""
    apply_all(database)
    before = catalog(database)
    with pytest.raises(LocalStackError) as refused:
        apply_sql(database, [FILE])
    assert "publication supabase_realtime does not exist" in str(refused.value)
    assert "HINT:  It comes with Supabase Realtime: is Realtime switched on? Where" in str(
        refused.value
    )
    assert catalog(database) == before


def test_before_the_other_files_it_says_what_to_do(supabase: LocalSupabase, database: str) -> None:
    """A missing table is named."""
    as_superuser(supabase, f"{PUBLICATION} postgres")
    with pytest.raises(LocalStackError, match=r"Apply the files of sql/ first\."):
        apply_sql(database, [FILE])


def test_another_owner_of_the_publication_is_named(supabase: LocalSupabase, database: str) -> None:
    """Whoever may not change the publication learns who may."""
    apply_all(database)
    as_superuser(supabase, f"{PUBLICATION} supabase_admin")
    with pytest.raises(LocalStackError, match="Apply the file as its owner, supabase_admin"):
        apply_sql(database, [FILE])


def test_a_look_in_vain_sends_nothing(course: Course, service: Service) -> None:
    """As its header says of what it costs: it is written in the schedule alone."""
    lesson = course.tracked_lesson("up1")
    versions = [version(service, lesson)]
    (row,) = service.claim()
    versions.append(version(service, lesson))
    service.settle(fact(WAIT, "up1", claimed=[looked_at(row)]))
    versions.append(version(service, lesson))
    assert len(set(versions)) == 1


def version(service: Service, lesson: object) -> object:
    """Identify the version of a lesson's tracking row."""
    return service.connection.execute(
        "select ctid::text, xmin::text from mux_asset_tracking where lesson_id = %s", [lesson]
    ).fetchone()
