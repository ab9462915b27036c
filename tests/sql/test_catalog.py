from typing import Any

import psycopg
import pytest

from sandbox.supabase.stack import LocalSupabase
from tests.course import Course
from tests.sql.bodies import bodies
from tests.sql.installing import OF_THE_APP
from tests.sql.service import Service

pytestmark = pytest.mark.stack

FUNCTIONS = f"""
    (select p.*, p.oid::regprocedure as name, p.pronamespace::regnamespace::text as schema
     from pg_proc p
     where p.pronamespace in ('public'::regnamespace, 'mux_private'::regnamespace)
       and p.proname not in {OF_THE_APP}) f"""
TABLES = f"""
    (select c.*, c.oid::regclass as name from pg_class c
     where c.relkind = 'r'
       and c.relnamespace in ('public'::regnamespace, 'mux_private'::regnamespace)
       and c.relname <> 'lessons' and c.relname not in {OF_THE_APP}) t"""


def names(db: psycopg.Connection, query: str) -> list[Any]:
    """Give the first column of a query."""
    return [row[0] for row in db.execute(query.encode()).fetchall()]


def test_no_function_is_without_a_search_path(db: psycopg.Connection) -> None:
    """Functions that touch tables have the path of a request, so the app's triggers work."""
    query = f"""select name from {FUNCTIONS}
        where not coalesce(proconfig && array['search_path=""', 'search_path=pg_catalog, pg_temp',
          'search_path=public, extensions, pg_temp'], false)"""
    assert names(db, query) == []


def test_what_touches_a_table_has_the_path_of_a_request(db: psycopg.Connection) -> None:
    """The app's triggers, policies and checks inherit it, and name things without their schema.

    Only what computes, or reads the catalog, is closed to `public`, and calls nothing else.
    """
    query = f"select p.proname, p.proconfig from {FUNCTIONS.replace(') f', ') p')}"
    open_path = "search_path=public, extensions, pg_temp"
    paths = {name: open_path in config for name, config in db.execute(query.encode()).fetchall()}
    closed = {name for name, is_open in paths.items() if not is_open}
    assert closed == {
        *(
            "app_asset",
            "as_written",
            "guard_tracking",
            "is_mux_id",
            "is_temporary",
            "is_unplayable",
        ),
        *(
            "key_of",
            "named_by",
            "named_id",
            "number_of",
            "rate_share",
            "pause_of",
            "public_functions",
            "with_verdict",
        ),
    }
    for signature, body in bodies(db).items():
        if signature.removeprefix("mux_private.").partition("(")[0] in closed:
            assert {table for table in body.tables if not table.startswith("pg_")} == set()
            assert body.calls & paths.keys() <= closed


def test_what_scans_by_index_alone_is_not_compiled(db: psycopg.Connection) -> None:
    """Before Postgres 18 a scan that is switched off is so dear that jit sets in, at each call."""
    query = f"""select name from {FUNCTIONS}
        where array_to_string(proconfig, ',') ~ 'enable_[a-z]+=off'
          and not 'jit=off' = any(proconfig)"""
    assert names(db, query) == []


def test_no_security_definer_is_in_public(db: psycopg.Connection) -> None:
    """What runs with its owner's rights is out of the API's reach."""
    query = f"select name from {FUNCTIONS} where schema = 'public' and prosecdef"
    assert names(db, query) == []


@pytest.mark.parametrize("role", ["anon", "authenticated"])
def test_nobody_from_outside_may_enter_the_private_schema(
    db: psycopg.Connection, role: str
) -> None:
    """Its tables and functions cannot even be named."""
    assert names(db, f"select has_schema_privilege('{role}', 'mux_private', 'usage')") == [False]


def test_every_table_has_row_level_security(db: psycopg.Connection) -> None:
    """In public and in the private schema."""
    assert names(db, f"select name from {TABLES} where not relrowsecurity") == []


def test_everything_has_a_comment(db: psycopg.Connection) -> None:
    r"""A DBA reads in \d+ and \df+ what each table, column and function is for."""
    tables = f"select name from {TABLES} where obj_description(oid) is null"
    columns = f"""select a.attname from {TABLES} join pg_attribute a on a.attrelid = t.oid
        where a.attnum > 0 and not a.attisdropped and col_description(t.oid, a.attnum) is null"""
    functions = f"select name from {FUNCTIONS} where obj_description(oid) is null"
    assert [names(db, query) for query in (tables, columns, functions)] == [[], [], []]


def test_stuck_is_longer_than_half_an_hour(course: Course, service: Service) -> None:
    """A minute less is not stuck; what is settled never is."""
    for upload, minutes, status in (("up1", 29, "processing"), ("up2", 31, "processing")):
        course.backdate(course.tracked_lesson(upload, status=status), minutes * 60)
    course.backdate(course.tracked_lesson("up3", status="error"), 3600)
    assert service.summary()["stuck"] == 1


def test_an_empty_table_has_no_oldest(service: Service) -> None:
    """With no rows all counts are zero and there is no age."""
    assert service.summary() == {
        "processing": 0,
        "error": 0,
        "unplayable": 0,
        "due": 0,
        "stuck": 0,
        "oldest_due_seconds": None,
        "oldest_processing_seconds": None,
    }


def test_the_summary_counts(
    service: Service, db: psycopg.Connection, supabase: LocalSupabase
) -> None:
    """Processing, failed, due, stuck, and the age of the oldest, in seconds."""
    db.execute(
        "with l as (insert into lessons (creator_id, title) select gen_random_uuid(), n::text "
        "from generate_series(1, 10) n returning id, title::int as n) "
        "insert into mux_asset_tracking (lesson_id, upload_id, status, tracked_at) "
        "select id, 'up' || n, (case when n <= 3 then 'ready' when n = 4 then 'error' "
        "else 'processing' end)::mux_asset_status, now() - make_interval(mins => n * 5) from l"
    )
    db.execute(
        "update mux_private.schedule set next_check_at = now() + make_interval("
        "secs => case when substr(upload_id, 3)::int <= 6 then -1 else 1 end "
        "* substr(upload_id, 3)::int) from mux_asset_tracking t where t.id = tracking_id"
    )
    summary = service.summary()
    oldest_due, oldest = summary.pop("oldest_due_seconds"), summary.pop("oldest_processing_seconds")
    assert 6 <= oldest_due < 8
    assert 3000 <= oldest < 3010
    assert summary == {
        "processing": 6,
        "error": 1,
        "unplayable": 0,
        "due": 2,
        "stuck": 5,
    }
