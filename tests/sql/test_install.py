from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.sql.installing import DOWN, apply_all, catalog, undo_all
from tests.sql.service import PUBLISH, Service, fact
from worker.local.databases import find_sql_files
from worker.local.stack import LocalSupabase
from worker.store import REQUIRED_FILE

pytestmark = pytest.mark.stack

REPORT = Path(__file__).parent / "report.sql"
APP_COLUMNS = (
    "id, lesson_id, upload_id, temp_asset_id, mux_asset_id, mux_playback_id, status, "
    "error_message, created_at, updated_at"
)


@pytest.fixture
def database(supabase: LocalSupabase) -> Iterator[str]:
    """Give the dsn of a database with the app's lessons and without sql/."""
    yield supabase.create_database("install")
    supabase.drop_database("install")


def run(dsn: str, statements: str) -> None:
    """Run statements as the owner."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(statements.encode())


def refusal(dsn: str) -> str:
    """Apply the first file as psql would, and give its message and hint."""
    first = find_sql_files()[0].read_bytes()
    with psycopg.connect(dsn, autocommit=True) as connection:
        with pytest.raises(psycopg.Error) as refused:
            connection.execute(first)
        return f"{refused.value.diag.message_primary} {refused.value.diag.message_hint}"


def test_applied_twice_it_changes_nothing(database: str) -> None:
    """The second time leaves every object, grant and comment as it was."""
    apply_all(database)
    once = catalog(database)
    apply_all(database)
    assert catalog(database) == once


def test_undone_and_applied_again_it_is_the_same(database: str) -> None:
    """Down leaves the app's own objects and nothing of ours; up again equals up."""
    bare = catalog(database)
    apply_all(database)
    up = catalog(database)
    undo_all(database)
    after_down = catalog(database)
    assert {name: after_down[name] for name in bare if name not in ("tables", "column grants")} == {
        name: bare[name] for name in bare if name not in ("tables", "column grants")
    }
    assert [table[0] for table in after_down["tables"]] == ["lessons"]
    apply_all(database)
    assert catalog(database) == up


def test_every_file_can_be_undone() -> None:
    """sql/down has a file of the same name for each file of sql/."""
    assert [file.name for file in sorted(DOWN.glob("*.sql"))] == [
        file.name for file in find_sql_files()
    ]


@pytest.mark.parametrize("file", [*find_sql_files(), *sorted(DOWN.glob("*.sql"))], ids=str)
def test_each_file_is_one_transaction_that_waits_for_no_lock_long(file: Path) -> None:
    """It begins, sets a lock timeout first, commits once, and says at the top what it is."""
    lines = [line for line in file.read_text().splitlines() if line and not line.startswith("--")]
    assert file.read_text().startswith("-- ")
    assert lines[:2] == ["begin;", "set local lock_timeout = '5s';"]
    assert (lines.count("begin;"), lines.count("commit;")) == (1, 1)
    assert lines[lines.index("commit;") + 1 :] in ([], ["notify pgrst, 'reload schema';"])


def test_the_last_file_tells_postgrest() -> None:
    """After it, PostgREST knows the functions."""
    assert find_sql_files()[-1].read_text().rstrip().endswith("notify pgrst, 'reload schema';")


def test_the_worker_needs_a_file_that_is_there() -> None:
    """The schema version that the worker asks for is one of the files."""
    assert REQUIRED_FILE in {file.stem for file in find_sql_files()}


def test_a_table_of_the_app_is_completed_and_keeps_every_value(database: str) -> None:
    """A thousand rows in all states are the same afterwards; the schema is that of a new one."""
    query = f"select {APP_COLUMNS} from mux_asset_tracking order by id".encode()
    run(database, REPORT.read_text())
    with psycopg.connect(database) as connection:
        before = connection.execute(query).fetchall()
    apply_all(database)
    with psycopg.connect(database) as connection:
        assert connection.execute(query).fetchall() == before
        assert connection.execute(
            "select count(*) from mux_asset_tracking where tracked_at <> updated_at"
        ).fetchone() == (0,)
    assert len(before) == 1000


def test_a_completed_table_is_like_a_new_one(supabase: LocalSupabase, database: str) -> None:
    """Object by object; the app's own function for ids is all that is left over."""
    run(database, REPORT.read_text())
    apply_all(database)
    fresh = supabase.create_database("fresh")
    try:
        apply_all(fresh)
        new = catalog(fresh)
    finally:
        supabase.drop_database("fresh")
    completed = catalog(database)
    own = [f for f in completed["functions"] if not str(f[0]).startswith("uuid_generate_v4")]
    assert {**completed, "functions": own} == new


def test_rows_from_before_are_owned_by_whoever_was_first(
    supabase: LocalSupabase, database: str
) -> None:
    """After the upgrade, an upload of two instructors is published for the older row only."""
    run(database, REPORT.read_text())
    run(
        database,
        "update mux_asset_tracking t set upload_id = 'shared', status = 'processing', "
        "created_at = case when l.title = 'lesson 1' then now() - interval '9 years' "
        "else now() - interval '8 years' end "
        "from lessons l where l.id = t.lesson_id and l.title in ('lesson 1', 'lesson 2')",
    )
    apply_all(database)
    with supabase.connect("service_role", "install") as connection:
        outcomes = Service(connection).settle(fact(PUBLISH, "shared", "as-shared"))
        rows = connection.execute("select id::text, title from lessons").fetchall()
    titles: dict[str, str] = dict(rows)
    assert {titles[outcome["lesson_id"]]: outcome["outcome"] for outcome in outcomes} == {
        "lesson 1": "published",
        "lesson 2": "failed",
    }


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        ("drop table lessons", "table public.lessons does not exist"),
        (
            "alter table lessons drop column mux_playback_id, drop column updated_at",
            "column mux_playback_id is missing; column updated_at is missing",
        ),
        (
            "alter table lessons alter updated_at type timestamp",
            "column updated_at is timestamp without time zone and should be timestamp with time",
        ),
        ("alter table lessons drop constraint lessons_pkey", "column id is no primary key"),
        (
            """create type lesson_mood as enum ('draft', 'live');
            alter table lessons drop column status cascade, add status lesson_mood""",
            "should have draft and published",
        ),
    ],
)
def test_what_is_missing_is_named(database: str, harm: str, told: str) -> None:
    """The first file stops with a sentence, and nothing was changed."""
    run(database, harm)
    before = catalog(database)
    assert told in refusal(database)
    assert catalog(database) == before


def test_another_database_than_supabases_is_told(supabase: LocalSupabase, database: str) -> None:
    """Without Supabase's own function auth.uid() nothing is applied."""
    with supabase.connect("supabase_admin", "install") as connection:
        connection.execute("drop function auth.uid() cascade")
    assert "function auth.uid() does not exist" in refusal(database)


def test_a_role_that_does_not_own_lessons_is_told(supabase: LocalSupabase, database: str) -> None:
    """Whoever may not refer to lessons learns it from the first file."""
    with supabase.connect("supabase_admin", "install") as connection:
        connection.execute("alter table lessons owner to supabase_admin")
    assert "postgres does not own it" in refusal(database)


def test_it_is_applied_by_no_superuser(supabase: LocalSupabase) -> None:
    """The role by which all of these tests apply sql/ is no superuser."""
    with supabase.connect() as connection:
        row = connection.execute(
            "select rolsuper from pg_roles where rolname = current_user"
        ).fetchone()
    assert row == (False,)


def test_another_enum_of_that_name_is_refused(database: str) -> None:
    """An unrelated type mux_asset_status is named, not bent."""
    run(database, "create type mux_asset_status as enum ('good', 'bad')")
    with pytest.raises(Exception, match="mux_asset_status has the values"):
        apply_all(database)
