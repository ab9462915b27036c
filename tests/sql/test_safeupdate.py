"""Hosted Supabase refuses an UPDATE or DELETE without WHERE that comes over the API (21000).

Its extension safeupdate does so inside functions too, and cannot be installed here. So each body
is read with Postgres's own parser instead.
"""

from collections.abc import Iterator

import psycopg
import pytest

from sandbox.supabase.stack import LocalSupabase
from tests.sql.bodies import bodies

pytestmark = pytest.mark.stack


@pytest.fixture
def scratch(supabase: LocalSupabase) -> Iterator[psycopg.Connection]:
    """Give a connection of the owner's whose work is undone."""
    with supabase.connect(autocommit=False) as connection:
        yield connection
        connection.rollback()


def test_no_function_of_ours_is_refused_for_want_of_a_where(db: psycopg.Connection) -> None:
    """No statement reaches all rows, and none is put together where it cannot be read.

    Four put statements together: one evaluates the app's constraints and changes nothing, the
    others are called by files of sql/ and sql/down, which no request can.
    """
    read = bodies(db)
    assert len(read) > 60
    assert {name: body.without_where for name, body in read.items() if body.without_where} == {}
    assert {name for name, body in read.items() if body.dynamic} == {
        "mux_private.keep_check(regclass,text,text)",
        "mux_private.lessons_refuse(text,boolean)",
        "mux_private.open_to_worker_role()",
        "mux_private.undo(text,text[],text[],text[])",
    }


SQL = "function mux_private.planted() returns void language sql {}"
PLPGSQL = "function mux_private.planted() returns {} language plpgsql as $$ {} $$"


@pytest.mark.parametrize(
    ("create", "found"),
    [
        (PLPGSQL.format("void", "begin update lessons set title = ''; end"), "update lessons"),
        (PLPGSQL.format("trigger", "begin delete from lessons; end"), "delete lessons"),
        (
            PLPGSQL.format(
                "int",
                "begin return (with a as (select 1 as n), b as (select n from a) "
                "select max(n) from b); exception when others then delete from lessons; end",
            ),
            "delete lessons",
        ),
        (
            PLPGSQL.format(
                "void",
                "declare r record; begin for r in with w as (with v as (delete from lessons "
                "returning id) select id from v) select * from w loop null; end loop; end",
            ),
            "delete lessons",
        ),
        (
            PLPGSQL.format(
                "setof uuid",
                "begin if true then return query update lessons l set title = t.upload_id "
                "from mux_asset_tracking t returning l.id; end if; end",
            ),
            "update lessons",
        ),
        (
            PLPGSQL.format(
                "void",
                "declare walk mux_private.adoption_walk; "
                "begin with d as (delete from lessons returning id) "
                "select d.id into walk.after from d; end",
            ),
            "delete lessons",
        ),
        (
            SQL.format(
                "begin atomic with d as (update lessons set title = '' returning id) "
                "select from d; end"
            ),
            "update lessons",
        ),
        (
            SQL.format("as $$ select 1; delete from lessons $$"),
            "delete lessons",
        ),
        (
            "procedure mux_private.planted() language sql begin atomic delete from lessons; end",
            "delete lessons",
        ),
    ],
)
def test_one_that_would_be_refused_is_found(
    scratch: psycopg.Connection, create: str, found: str
) -> None:
    """In a CTE, an exception's handler, a loop's query, a trigger, whatever the language."""
    scratch.execute(f"create {create}".encode())
    assert bodies(scratch)["mux_private.planted()"].without_where == [found]


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("begin execute 'delete from lessons'; end", "PLpgSQL_stmt_dynexecute"),
        (
            "declare r record; begin for r in execute 'select 1' loop null; end loop; end",
            "PLpgSQL_stmt_dynfors",
        ),
        ("begin return query execute 'select 1'; end", "dynquery"),
        (
            "declare c refcursor; begin open c for execute 'select 1'; return; end",
            "dynquery",
        ),
    ],
)
def test_a_statement_that_cannot_be_read_is_found(
    scratch: psycopg.Connection, body: str, found: str
) -> None:
    """Wherever plpgsql takes one."""
    scratch.execute(f"create {PLPGSQL.format('setof int', body)}".encode())
    assert bodies(scratch)["mux_private.planted()"].dynamic == [found]
