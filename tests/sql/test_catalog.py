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
MAY_CALL = {
    "anon": set(),
    "authenticated": {
        "check_asset_status(uuid)",
        "publish_lesson(uuid)",
        "track_upload(uuid,text,text)",
        "mux_private.app_publish(uuid)",
        "mux_private.app_lock_lesson(uuid)",
        "mux_private.app_track_upload(uuid,text,text)",
        "mux_private.is_owner(uuid,text)",
    },
    "service_role": {
        "worker_claim(integer,double precision,text,integer,double precision,integer)",
        "worker_note_events(text,boolean)",
        "worker_take_note(jsonb)",
        "mux_private.events_arrive()",
        "mux_private.is_left_to_events(mux_asset_tracking)",
        "mux_private.note_fact(jsonb,uuid,uuid)",
        "worker_doctor()",
        "worker_prune_events(integer,integer)",
        "worker_record_refusal(jsonb,text,text)",
        "worker_release(jsonb,text)",
        "worker_schema_version()",
        "worker_settle(jsonb,text,text)",
        "worker_slow_down()",
        "worker_summary()",
        "worker_acquire_requests(integer,double precision,boolean)",
        "worker_adopt(jsonb,double precision)",
        "worker_backfill_begin(jsonb,boolean)",
        "worker_backfill_findings(timestamp with time zone,uuid,integer)",
        "worker_backfill_note(uuid,jsonb,jsonb,boolean)",
        "worker_find_lessons(text,integer)",
        "worker_legacy_lessons(uuid,integer,timestamp with time zone)",
        "worker_lesson(uuid,integer)",
        "worker_make_due(uuid,text,text)",
        "worker_overview(integer)",
        "worker_lesson_events(uuid,integer)",
        "mux_private.first_event_since(timestamp with time zone,bigint)",
        "mux_private.overview_row(mux_asset_tracking)",
        "worker_retry(uuid[],text,uuid,integer,text,text)",
        "worker_rivals(text[])",
        "worker_status()",
        "worker_untracked(integer,integer)",
        "mux_private.first_instructors(text[])",
        "mux_private.is_temporary(text)",
        "mux_private.lesson_created_at(uuid)",
        "mux_private.lesson_json(uuid,mux_asset_tracking)",
        "mux_private.lesson_title(uuid)",
        "mux_private.set_operator(text,text)",
        "mux_private.actor()",
        "mux_private.differences()",
        "mux_private.lessons_problems()",
        "mux_private.lessons_refuse(text,boolean)",
        "mux_private.is_owner(uuid,text)",
        "mux_private.lesson(uuid)",
        "mux_private.lesson_key(text)",
        "mux_private.lesson_options()",
        "mux_private.lessons(uuid[])",
        "mux_private.lessons_after(uuid,integer)",
        "mux_private.lessons_holding(text[],integer)",
        "mux_private.lessons_table()",
        "mux_private.lock_lesson(uuid,boolean)",
        "mux_private.lock_lesson_key(uuid)",
        "mux_private.owner_of(uuid)",
        "mux_private.waiting_lessons_after(uuid,integer)",
        "mux_private.objects()",
        "mux_private.public_functions()",
        "mux_private.fail(mux_asset_tracking,text,text,jsonb)",
        "mux_private.is_mux_id(text)",
        "mux_private.may_sweep(text,double precision)",
        "mux_private.can_write_without_waiting(mux_asset_tracking)",
        "mux_private.contradicts(jsonb,mux_asset_tracking)",
        "mux_private.is_unplayable(mux_asset_tracking)",
        "mux_private.mark_unplayable(mux_asset_tracking,text,text,text,text,jsonb)",
        "mux_private.plays(mux_asset_tracking)",
        "mux_private.recheck(uuid,jsonb)",
        "mux_private.settle_recheck(mux_asset_tracking,text,jsonb,jsonb)",
        "mux_private.outcome(text,mux_asset_tracking,text,text)",
        "mux_private.rate_share(mux_private.rate_limit,timestamp with time zone)",
        "mux_private.pause_of(jsonb)",
        "mux_private.back_off(uuid,double precision,text)",
        "mux_private.prune_events(integer,integer)",
        "mux_private.publish(mux_asset_tracking,text,jsonb)",
        "mux_private.record_event(text,mux_asset_tracking,mux_asset_status,text,text,text,text,jsonb)",
        "mux_private.rows_about(jsonb)",
        "mux_private.settle_row(jsonb,uuid,uuid,jsonb)",
        "mux_private.tracks(mux_asset_tracking,text,text,jsonb)",
        "mux_private.raised_by(text,text,text)",
        "mux_private.record_refusal(jsonb,uuid,uuid,double precision,text,text,text)",
        "mux_private.wait(mux_asset_tracking,jsonb,jsonb)",
        "mux_private.adopt(jsonb,jsonb,double precision)",
        "mux_private.as_written(text)",
        "mux_private.busy(uuid)",
        (
            "mux_private.begin_to_track(mux_private.lesson,mux_asset_tracking,text,text,"
            "timestamp with time zone)"
        ),
        "mux_private.make_due(uuid)",
        "mux_private.enter_upload(uuid,text,uuid,text)",
        "mux_private.entry_of(uuid,text)",
        "mux_private.is_of_another(mux_asset_tracking,uuid,text,text,jsonb)",
        "mux_private.is_superseded(uuid,text,text,text)",
        "mux_private.key_of(text,text)",
        "mux_private.learn(jsonb)",
        "mux_private.mark_deleted(text,text)",
        "mux_private.named_by(text,text)",
        "mux_private.named_id(text)",
        "mux_private.names_newer(mux_asset_tracking,text,text,text,text)",
        "mux_private.newest_entry(uuid)",
        "mux_private.newest_playable(uuid)",
        "mux_private.note_columns(uuid,text)",
        "mux_private.note_holders(text)",
        "mux_private.note_restored(bigint)",
        "mux_private.pass_over(uuid,text)",
        "mux_private.note_video(uuid,text,text,text,boolean)",
        "mux_private.restore(mux_private.lesson,mux_asset_tracking)",
        "mux_private.targets(uuid,text,text,mux_asset_tracking)",
        "mux_private.wants_adoption(uuid,text,text)",
        "mux_private.was_deleted(text)",
        "mux_private.write_video(uuid,boolean,text,text)",
        "worker_publish(jsonb,text,text,text)",
    },
}
"""Every function that a role of requests is granted, whether it can reach its schema or not."""


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
        *("key_of", "named_by", "named_id", "rate_share", "pause_of", "public_functions"),
    }
    for signature, body in bodies(db).items():
        if signature.removeprefix("mux_private.").partition("(")[0] in closed:
            assert {table for table in body.tables if not table.startswith("pg_")} == set()
            assert body.calls & paths.keys() <= closed


def test_what_scans_by_index_alone_is_not_compiled(db: psycopg.Connection) -> None:
    """Before Postgres 18 a scan that is switched off is so dear that jit sets in, at each call."""
    query = f"""select name from {FUNCTIONS}
        where array_to_string(proconfig, ',') ~ 'enable_' and not 'jit=off' = any(proconfig)"""
    assert names(db, query) == []


def test_no_security_definer_is_in_public(db: psycopg.Connection) -> None:
    """What runs with its owner's rights is out of the API's reach."""
    query = f"select name from {FUNCTIONS} where schema = 'public' and prosecdef"
    assert names(db, query) == []


@pytest.mark.parametrize("role", MAY_CALL)
def test_each_role_may_call_exactly_what_is_meant_for_it(db: psycopg.Connection, role: str) -> None:
    """Visitors nothing, signed-in users the app's functions, the service role the worker's."""
    query = f"""select name::text from {FUNCTIONS}
        where has_function_privilege('{role}', oid, 'execute')"""
    assert set(names(db, query)) == MAY_CALL[role]


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
        "insert into mux_asset_tracking (lesson_id, upload_id, status, tracked_at, next_check_at) "
        "select id, 'up' || n, (case when n <= 3 then 'ready' when n = 4 then 'error' "
        "else 'processing' end)::mux_asset_status, now() - make_interval(mins => n * 5), "
        "now() + make_interval(secs => case when n <= 6 then -n else n end) from l"
    )
    summary = service.summary()
    oldest_due, oldest = summary.pop("oldest_due_seconds"), summary.pop("oldest_processing_seconds")
    assert 6 <= oldest_due < 8
    assert 3000 <= oldest < 3010
    assert summary == {
        "processing": 6,
        "error": 1,
        "due": 2,
        "stuck": 5,
    }
