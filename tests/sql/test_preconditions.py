import psycopg
import pytest

from tests.sql.installing import apply_all, catalog, run
from worker.local.databases import find_sql_files
from worker.local.errors import LocalStackError
from worker.local.stack import LocalSupabase

pytestmark = pytest.mark.stack


def refusal(dsn: str) -> str:
    """Apply the first file as psql would, and give its message and hint."""
    first = find_sql_files()[0].read_bytes()
    with psycopg.connect(dsn, autocommit=True) as connection:
        with pytest.raises(psycopg.Error) as refused:
            connection.execute(first)
        return f"{refused.value.diag.message_primary} {refused.value.diag.message_hint}"


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        ("drop table lessons cascade", "table public.lessons does not exist"),
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


def test_missing_roles_are_named(supabase: LocalSupabase, database: str) -> None:
    """Roles belong to all databases, so they are gone only for a transaction that is undone."""
    statements = [
        line
        for line in find_sql_files()[0].read_text().splitlines()
        if line not in ("begin;", "commit;")
    ]
    with supabase.connect("supabase_admin", "install", autocommit=False) as connection:
        connection.execute("alter role anon rename to somebody")
        connection.execute("alter role service_role rename to somebody_else")
        with pytest.raises(psycopg.Error) as refused:
            connection.execute("\n".join(statements).encode())
        connection.rollback()
    assert refused.value.diag.message_primary == "these roles do not exist: anon, service_role"


def test_a_role_that_may_make_no_schema_is_told(supabase: LocalSupabase, database: str) -> None:
    """Whoever owns lessons but not the database learns it before anything is made."""
    with supabase.connect("supabase_admin", "install") as connection:
        connection.execute("alter database install owner to supabase_admin")
    assert "postgres may not create a schema in database install" in refusal(database)


def test_a_role_that_does_not_own_lessons_is_told(supabase: LocalSupabase, database: str) -> None:
    """Whoever may not refer to lessons learns it from the first file."""
    with supabase.connect("supabase_admin", "install") as connection:
        connection.execute("alter table lessons owner to supabase_admin")
    assert "postgres does not own it" in refusal(database)


def test_another_enum_of_that_name_is_refused(database: str) -> None:
    """An unrelated type mux_asset_status is named, not bent."""
    run(database, "create type mux_asset_status as enum ('good', 'bad')")
    with pytest.raises(LocalStackError, match="mux_asset_status has the values"):
        apply_all(database)


def test_a_refused_install_leaves_nothing_behind(database: str) -> None:
    """Nothing comes after the first file, with its message, and the catalog is as before."""
    run(database, "alter table lessons drop column mux_playback_id")
    before = catalog(database)
    with pytest.raises(LocalStackError, match="column mux_playback_id is missing"):
        apply_all(database)
    assert catalog(database) == before
