import psycopg
import pytest

from sandbox.supabase.databases import find_sql_files
from sandbox.supabase.errors import LocalStackError
from sandbox.supabase.stack import LocalSupabase
from tests.sql.installing import apply_all, catalog, run, undo_all

pytestmark = pytest.mark.stack


CHECKS = [file for file in find_sql_files() if file.stem <= "030_tracking"]
"""The files that refuse what cannot be served: the preconditions, the adapter, the tracking."""


def refusal(dsn: str) -> str:
    """Apply the files that check as psql would; return the message and hint of the one that stops.

    That one must leave nothing behind.
    """
    for file in CHECKS:
        before = catalog(dsn)
        with psycopg.connect(dsn, autocommit=True) as connection:
            try:
                connection.execute(file.read_bytes())
            except psycopg.Error as refused:
                assert catalog(dsn) == before
                return f"{refused.diag.message_primary} {refused.diag.message_hint}"
    raise AssertionError("nothing was refused")


@pytest.mark.parametrize(
    ("harm", "result"),
    [
        ("drop table lessons cascade", "public.lessons does not fit: it does not exist"),
        (
            "alter table lessons drop column mux_playback_id, drop column updated_at",
            "column mux_playback_id is missing; column updated_at is missing",
        ),
        (
            "alter table lessons alter updated_at type date using updated_at",
            "column updated_at is date and should be timestamp with time zone or timestamp without",
        ),
        ("alter table lessons drop constraint lessons_pkey", "column id is no primary key"),
        (
            """create type lesson_mood as enum ('draft', 'live');
            alter table lessons drop column status cascade, add status lesson_mood""",
            "column status is lesson_mood and cannot hold published (its words are draft, live)",
        ),
        (
            """create domain word as text check (value in ('new', 'published'));
            alter table lessons drop column status cascade, add status word""",
            "column status is word and cannot hold draft",
        ),
        (
            "alter table lessons drop column status cascade, add status boolean",
            "column status is boolean and cannot hold draft (its words are true, false)",
        ),
        (
            "alter table lessons drop column status cascade, add status timestamptz",
            "column status is timestamp with time zone and should be text, an enum or boolean",
        ),
        (
            "alter table lessons drop creator_id cascade, add creator_id char(36)",
            "column creator_id is character(36) and should be uuid, text, bigint or integer",
        ),
        (
            "alter table lessons drop column status cascade, add status varchar(8)",
            "column status is character varying(8) and cannot hold published",
        ),
        (
            (
                "alter table lessons drop constraint lesson_status_is_known, "
                "add constraint moods check (status in ('draft', 'live'))"
            ),
            "check constraint moods does not allow status published",
        ),
        (
            "alter table lessons add constraint short check (length(mux_asset_id) < 40) not valid",
            "check constraint short does not allow a published lesson with Mux ids",
        ),
        (
            "alter table lessons alter mux_playback_id type varchar(36)",
            "column mux_playback_id is character varying(36) and cannot hold a Mux id of 64",
        ),
        (
            (
                "alter table lessons drop updated_at, "
                "add updated_at timestamptz generated always as (created_at) stored"
            ),
            "column updated_at is generated and cannot be written",
        ),
        (
            (
                "alter table lessons rename to course_lessons; "
                "create view lessons as select * from course_lessons"
            ),
            "it is a view and should be a table",
        ),
        (
            (
                "alter table lessons drop constraint lesson_status_is_known; "
                "insert into lessons (creator_id, title, status) select gen_random_uuid(), 'x', s "
                "from unnest(array['Draft', 'Live']) s"
            ),
            "none of its rows has the status draft or published: they have Draft, Live",
        ),
        (
            "create function publish_lesson(lesson_id text) returns void return null",
            "functions of the app under names that the worker needs: publish_lesson(text)",
        ),
        (
            (
                "create function track_upload(lesson_id uuid, upload_id text, temp_asset_id text) "
                "returns void return null"
            ),
            "that the worker needs: track_upload(uuid,text,text)",
        ),
        (
            (
                "create table mux_asset_tracking (id uuid, lesson_id bigint primary key, "
                "upload_id uuid, temp_asset_id text, mux_asset_id text, mux_playback_id varchar, "
                "status text, error_message text, created_at timestamptz)"
            ),
            (
                "public.mux_asset_tracking does not fit: column id is not unique; "
                "column lesson_id does not refer to lessons with on delete cascade; "
                "column lesson_id is bigint and should be uuid; "
                "column mux_playback_id is character varying and should be text; "
                "column status is text and should be public.mux_asset_status; "
                "column updated_at is missing; column upload_id is uuid and should be text"
            ),
        ),
        ("create view mux_asset_tracking as select 1 as id", "it is no table"),
        ("create table mux_asset_events (id int)", "public.mux_asset_events exists and is not"),
        (
            "create type mux_asset_status as enum ('good', 'bad')",
            "type mux_asset_status has the values {good,bad}",
        ),
    ],
)
def test_what_cannot_be_served_is_named(database: str, harm: str, result: str) -> None:
    """The file that checks it stops with a sentence, and changes nothing."""
    run(database, harm)
    assert result in refusal(database)


@pytest.mark.parametrize(
    "change",
    [
        """create type lesson_mood as enum ('draft', 'live', 'published');
        alter table lessons drop column status cascade, add status lesson_mood""",
        """create domain word as varchar(20) check (value in ('draft', 'published'));
        create domain our_word as word;
        create domain mux_id as text check (value !~ ' ');
        alter table lessons drop column status cascade, add status our_word,
          alter mux_asset_id type mux_id, alter mux_playback_id type varchar(255)""",
        "alter table lessons add check (status <> 'published' or mux_playback_id is not null)",
        "alter table lessons add check (status <> 'published' or price > 0)",
        """insert into lessons (creator_id, title, status)
        values (gen_random_uuid(), 'x', 'archived')""",
        """alter table lessons drop constraint lesson_status_is_known;
        insert into lessons (creator_id, title, status)
        select gen_random_uuid(), 'x', case n when 4000 then 'draft' else 'live' end
        from generate_series(1, 4000) n""",
        """create function publish_lessons(lesson_id text) returns void return null;
        create function worker_heartbeat() returns void return null;
        create schema other;
        create function other.publish_lesson(lesson_id text) returns void return null""",
    ],
)
def test_what_can_be_served_is_not_refused(database: str, change: str) -> None:
    """Other types that hold the words and ids, rules that allow them, functions of other names."""
    run(database, change)
    apply_all(database)
    apply_all(database)


def test_of_a_large_table_a_sample_is_read(database: str) -> None:
    """What its rows have for a status is learned from a thousand of its pages at most."""
    run(
        database,
        "alter table lessons drop constraint lesson_status_is_known;"
        "insert into lessons (creator_id, title, status, description) "
        "select gen_random_uuid(), 'x', 'live', repeat('x', 1900) from generate_series(1, 16000);"
        "analyze lessons",
    )
    read = b"""
        select pg_stat_get_xact_blocks_fetched('lessons'::regclass),
               pg_relation_size('lessons') / current_setting('block_size')::int"""
    assert "none of its rows has the status draft or published" in refusal(database)
    run(database, "update lessons set status = 'draft' where ctid < '(200,1)'")
    apply_all(database)
    with psycopg.connect(database) as connection:
        before = connection.execute(read).fetchone()
        connection.execute("select mux_private.lessons_problems()")
        after = connection.execute(read).fetchone()
    assert before
    assert after
    assert before[1] >= 4000
    assert after[0] - before[0] < 1500


def test_another_database_than_supabases_is_told(supabase: LocalSupabase, database: str) -> None:
    """Without Supabase's own function auth.jwt() nothing is applied."""
    with supabase.connect("supabase_admin", "install") as connection:
        connection.execute("drop function auth.jwt() cascade")
    assert "function auth.jwt() does not exist" in refusal(database)


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
        name = connection.info.dbname
        connection.execute(f"alter database {name} owner to supabase_admin".encode())
    assert f"postgres may not create a schema in database {name}" in refusal(database)


def test_a_role_that_does_not_own_lessons_is_told(supabase: LocalSupabase, database: str) -> None:
    """Whoever may not refer to lessons learns it from the first file."""
    with supabase.connect("supabase_admin", "install") as connection:
        connection.execute("alter table lessons owner to supabase_admin")
    assert "postgres does not own it" in refusal(database)


def test_a_refused_install_leaves_nothing_behind(database: str) -> None:
    """Nothing comes after the file that refuses, and undone the catalog is as before."""
    run(database, "alter table lessons drop column mux_playback_id")
    before = catalog(database)
    with pytest.raises(LocalStackError, match="column mux_playback_id is missing"):
        apply_all(database)
    undo_all(database)
    assert catalog(database) == before
