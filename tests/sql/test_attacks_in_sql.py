"""Bert has a connection as `authenticated`, and makes objects that ours might be taken for."""

from collections.abc import Iterator
from uuid import UUID

import psycopg
import pytest

from tests.sql.crime import Crime
from tests.sql.instructor import Instructor
from tests.sql.service import PUBLISH, fact

pytestmark = pytest.mark.stack

# Whoever calls it is noted, with the rights that were at work.
SPY = b"""
    create temp table loot (who pg_catalog.name, what pg_catalog.text);
    grant all on loot to public;
    create function pg_temp.spy(what pg_catalog.text) returns pg_catalog.bool language plpgsql as $$
    begin
      insert into pg_temp.loot values (current_user, what);
      return true;
    end $$;
    grant execute on function pg_temp.spy to public;"""
TYPES = (
    "text",
    "uuid",
    "jsonb",
    "bool",
    "timestamptz",
    "int4",
    "int8",
    "float8",
    "interval",
    "name",
    "regclass",
    "oid",
)
TABLES = {
    "lessons": "public.lessons",
    "mux_asset_tracking": "public.mux_asset_tracking",
    "mux_asset_events": "public.mux_asset_events",
    "pg_class": "pg_catalog.pg_class",
    "pg_roles": "pg_catalog.pg_roles",
}
FALSE_FRIENDS = b"""
    set search_path = pg_catalog;
    create function pg_temp.now() returns timestamptz language sql
    as $$ select pg_temp.spy('now'); select '2000-01-01'::timestamptz $$;
    create function pg_temp.pg_has_role(name, oid, text) returns bool language sql
    as $$ select pg_temp.spy('pg_has_role') $$;
    create function pg_temp.length(text) returns int4 language sql
    as $$ select pg_temp.spy('length'); select 1 $$;
    create function pg_temp.left(text, int4) returns text language sql
    as $$ select pg_temp.spy('left'); select 'x' $$;
    create function pg_temp.jsonb_build_object(variadic text[]) returns jsonb language sql
    as $$ select pg_temp.spy('jsonb_build_object'); select '{}'::jsonb $$;
    create function pg_temp.equal(text, text) returns bool language sql
    as $$ select pg_temp.spy('=') $$;
    create function pg_temp.equal(uuid, uuid) returns bool language sql
    as $$ select pg_temp.spy('=') $$;
    create operator pg_temp.= (function = pg_temp.equal, leftarg = text, rightarg = text);
    create operator pg_temp.= (function = pg_temp.equal, leftarg = uuid, rightarg = uuid);"""


@pytest.fixture
def bert(crime: Crime) -> Iterator[Instructor]:
    """Give a connection that is Bert's, with pg_temp before everything, full of false friends."""
    with crime.supabase.connect("authenticated") as connection:
        connection.execute(SPY)
        for name, of in TABLES.items():
            connection.execute(f"create temp table {name} (like {of})".encode())
            connection.execute(f"grant all on pg_temp.{name} to public".encode())
        connection.execute(FALSE_FRIENDS)
        for name in TYPES:
            check = f"pg_temp.spy('{name} ' || value::pg_catalog.text)"
            connection.execute(
                f"create domain pg_temp.{name} as pg_catalog.{name} check ({check})".encode()
            )
        connection.execute("set search_path = pg_temp, public")
        instructor = Instructor(connection, crime.course.bert)
        connection.execute("truncate pg_temp.loot")
        yield instructor


def rights_seen(connection: psycopg.Connection) -> set[str]:
    """Give whose rights were at work when something of Bert's was called."""
    return {row[0] for row in connection.execute("select who from pg_temp.loot").fetchall()}


def saves(connection: psycopg.Connection, lesson: UUID, upload: str) -> None:
    """Save a tracking row, and save over it."""
    query = (
        "insert into public.mux_asset_tracking (lesson_id, upload_id) values (%s, %s) "
        "on conflict (lesson_id) do update set upload_id = excluded.upload_id"
    )
    for name in (upload, f"{upload}-again"):
        connection.execute(query.encode(), [lesson, name])


def test_no_object_of_an_instructors_own_runs_with_other_rights(
    crime: Crime, bert: Instructor
) -> None:
    """Neither triggers, nor policies, nor what runs as the owner look into pg_temp first."""
    saves(bert.connection, crime.mine_too, "up9")
    crime.service.settle(fact(PUBLISH, "up9-again", "as9"))
    bert.track_upload(crime.mine, "up8")
    bert.check_asset_status(crime.mine)
    bert.publish_lesson(crime.mine_too)
    bert.connection.execute(
        "update public.lessons set mux_asset_id = 'as7' where id = %s", [crime.mine]
    )
    bert.publish_lesson(crime.mine)
    bert.connection.execute("delete from public.mux_asset_tracking")
    assert rights_seen(bert.connection) <= {"authenticated"}
    for name in TABLES:
        assert bert.connection.execute(f"select * from pg_temp.{name}".encode()).fetchall() == []


def test_the_spy_sees_what_looks_into_pg_temp(crime: Crime, bert: Instructor) -> None:
    """The test above can fail: a function with the owner's rights and an empty path is caught."""
    crime.db.execute(
        "create function public.trap() returns void language plpgsql security definer "
        "set search_path = '' as $$ declare found text := 'x'; begin end $$; "
        "grant execute on function public.trap to authenticated"
    )
    try:
        bert.connection.execute("select public.trap()")
    finally:
        crime.db.execute("drop function public.trap()")
    assert "postgres" in rights_seen(bert.connection)


def test_what_may_run_as_the_owner_names_pg_temp_last(db: psycopg.Connection) -> None:
    """All plpgsql but what only the worker calls: its types are looked up when it first runs."""
    found = db.execute(
        """
        select p.proname::text, p.proconfig
        from pg_proc p join pg_language l on l.oid = p.prolang
        where p.pronamespace = 'mux_private'::regnamespace and l.lanname = 'plpgsql'
          and not has_function_privilege('service_role', p.oid, 'execute')
          or (p.pronamespace = 'mux_private'::regnamespace
              or p.oid in (select f.function from mux_private.public_functions() f where f.is_ours))
          and l.lanname = 'plpgsql' and p.prosecdef
        """
    ).fetchall()
    assert {setting for _, config in found for setting in config if "path" in setting} == {
        "search_path=pg_catalog, pg_temp",
        "search_path=public, extensions, pg_temp",
    }


@pytest.mark.parametrize(
    "statement",
    [
        "create table public.t ()",
        "create function public.auth_uid() returns int language sql return 1",
        "create schema mux_private2",
        "create table mux_private.t ()",
        "create table auth.t ()",
        "set role postgres",
        "set session authorization postgres",
        "alter table public.mux_asset_tracking disable row level security",
        "alter table public.mux_asset_tracking disable trigger guard_tracking",
        'drop policy "Service role has full access" on public.mux_asset_tracking',
        "create policy p on public.mux_asset_tracking using (true)",
        "create trigger t before insert on public.lessons execute function auth.uid()",
        "create trigger t before insert on public.mux_asset_tracking execute function f()",
        "create rule r as on insert to public.mux_asset_tracking do instead nothing",
        "create view public.v as select * from mux_private.upload_history",
        "create function pg_temp.f() returns jsonb return mux_private.app_publish(null)",
        "alter function public.publish_lesson(text) security definer",
        "alter function public.track_upload(text, text, text) set search_path = pg_temp",
        "copy public.mux_asset_tracking to program 'true'",
        "copy mux_private.upload_history to stdout",
        "truncate public.mux_asset_events",
        "select adopted_in from mux_private.upload_history",
        "update mux_private.upload_history set adopted_in = now() where true",
        "select backfill_begun_at from mux_private.worker_state",
        "update mux_private.worker_state set backfill_begun_at = null where true",
        "select mux_private.note_backfill(null, 'up-mine', now())",
        "select mux_private.backfill_rows(now())",
        "select mux_private.holders(array['up-waiting'])",
        "select public.worker_adopt('[]')",
        "select public.worker_backfill_begin()",
        "select pg_catalog.setval('public.mux_asset_events_id_seq', 1)",
        "select pg_catalog.nextval('public.mux_asset_events_id_seq')",
        "comment on table public.mux_asset_tracking is 'mine'",
    ],
)
def test_no_statement_changes_what_protects(crime: Crime, statement: str) -> None:
    """The role of signed-in users owns nothing, makes nothing, and changes nothing."""
    with (
        crime.supabase.connect("authenticated") as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(statement.encode())
