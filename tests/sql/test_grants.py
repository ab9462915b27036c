import psycopg
import pytest

from sandbox.supabase.stack import LocalSupabase
from tests.sql.installing import OF_THE_APP, apply_all, undo_all

pytestmark = pytest.mark.stack

PRIVILEGES = f"""
    with roles (role) as (values ('anon'), ('authenticated'), ('service_role')),
    ours as (
      select oid, relkind from pg_class
      where relnamespace in ('public'::regnamespace, to_regnamespace('mux_private'))
        and relkind in ('r', 'S') and relname <> 'lessons'
        and relname not in {OF_THE_APP}
    )
    select role, oid::regclass::text, privilege
    from roles, ours, unnest(array['select', 'insert', 'update', 'references']) privilege
    where relkind = 'r' and has_any_column_privilege(role, oid, privilege)
    union all
    select role, oid::regclass::text, privilege
    from roles, ours, unnest(array['delete', 'truncate', 'trigger']) privilege
    where relkind = 'r' and has_table_privilege(role, oid, privilege)
    union all
    select role, oid::regclass::text, privilege
    from roles, ours, unnest(array['usage', 'select', 'update']) privilege
    where relkind = 'S' and has_sequence_privilege(role, oid, privilege)
    order by 1, 2, 3""".encode()

EXPECTED = [
    ("authenticated", "mux_asset_events", "select"),
    ("authenticated", "mux_asset_tracking", "delete"),
    ("authenticated", "mux_asset_tracking", "insert"),
    ("authenticated", "mux_asset_tracking", "select"),
    ("authenticated", "mux_asset_tracking", "update"),
    ("service_role", "mux_asset_events", "select"),
    ("service_role", "mux_asset_tracking", "delete"),
    ("service_role", "mux_asset_tracking", "insert"),
    ("service_role", "mux_asset_tracking", "select"),
    ("service_role", "mux_asset_tracking", "update"),
    ("service_role", "mux_private.adoption_walk", "select"),
    ("service_role", "mux_private.adoption_walk", "update"),
    ("service_role", "mux_private.applied_files", "select"),
    ("service_role", "mux_private.backfill_findings", "delete"),
    ("service_role", "mux_private.backfill_findings", "insert"),
    ("service_role", "mux_private.backfill_findings", "select"),
    ("service_role", "mux_private.backfill_findings", "update"),
    ("service_role", "mux_private.backfill_runs", "select"),
    ("service_role", "mux_private.backfill_runs", "update"),
    ("service_role", "mux_private.rate_limit", "select"),
    ("service_role", "mux_private.rate_limit", "update"),
    ("service_role", "mux_private.snapshot", "select"),
    ("service_role", "mux_private.worker_state", "select"),
    ("service_role", "mux_private.worker_state", "update"),
]

FUNCTIONS = f"""
    select role, p.pronamespace::regnamespace::text, array_agg(p.proname::text order by p.proname)
    from pg_proc p, unnest(array['anon', 'authenticated', 'service_role']) role
    where p.pronamespace in ('public'::regnamespace, 'mux_private'::regnamespace)
      and has_function_privilege(role, p.oid, 'execute') and p.proname not in {OF_THE_APP}
    group by 1, 2 order by 1, 2""".encode()

CALLABLE = [
    ("authenticated", "mux_private", ["app_lock_lesson", "app_publish", "app_track_upload"]),
    ("authenticated", "public", ["check_asset_status", "publish_lesson", "track_upload"]),
    (
        "service_role",
        "mux_private",
        [
            "actor",
            "adopt",
            "as_written",
            "back_off",
            "begin_to_track",
            "busy",
            "can_write_without_waiting",
            "contradicts",
            "differences",
            "enter_upload",
            "entry_of",
            "events_arrive",
            "fail",
            "first_event_since",
            "first_instructors",
            "is_left_to_events",
            "is_mux_id",
            "is_of_another",
            "is_superseded",
            "is_temporary",
            "is_unplayable",
            "key_of",
            "learn",
            "lesson_created_at",
            "lesson_json",
            "lesson_title",
            "lessons_problems",
            "lessons_refuse",
            "make_due",
            "mark_deleted",
            "mark_unplayable",
            "may_sweep",
            "named_by",
            "named_id",
            "names_newer",
            "newest_entry",
            "newest_playable",
            "note_columns",
            "note_fact",
            "note_holders",
            "note_restored",
            "note_video",
            "objects",
            "outcome",
            "overview_row",
            "pass_over",
            "pause_of",
            "plays",
            "prune_events",
            "public_functions",
            "publish",
            "raised_by",
            "rate_share",
            "recheck",
            "record_event",
            "record_refusal",
            "restore",
            "rows_about",
            "set_operator",
            "settle_recheck",
            "settle_row",
            "targets",
            "tracks",
            "wait",
            "wants_adoption",
            "was_deleted",
            "write_video",
        ],
    ),
    (
        "service_role",
        "public",
        [
            *("worker_acquire_requests", "worker_adopt", "worker_backfill_begin"),
            *("worker_backfill_findings", "worker_backfill_note", "worker_claim"),
            *("worker_doctor", "worker_find_lessons", "worker_legacy_lessons"),
            *("worker_lesson", "worker_lesson_events", "worker_make_due"),
            *("worker_note_events", "worker_overview", "worker_prune_events"),
            *("worker_publish", "worker_record_refusal", "worker_release"),
            *("worker_retry", "worker_rivals", "worker_schema_version"),
            *("worker_settle", "worker_slow_down", "worker_status"),
            *("worker_summary", "worker_take_note", "worker_untracked"),
        ],
    ),
]


@pytest.mark.parametrize("default_grants", [False, True], ids=["closed", "open"])
def test_each_role_has_what_it_needs_whatever_was_granted_by_default(
    supabase: LocalSupabase, default_grants: bool
) -> None:
    """Where every new object is open to all roles, ours end up as closed as anywhere else."""
    dsn = supabase.create_database("grants", default_grants=default_grants, apply_sql=True)
    try:
        with psycopg.connect(dsn) as connection:
            assert connection.execute(PRIVILEGES).fetchall() == EXPECTED
            assert connection.execute(FUNCTIONS).fetchall() == CALLABLE
    finally:
        supabase.drop_database("grants")


@pytest.mark.parametrize("column", ["status", "mux_asset_id", "mux_playback_id", "updated_at"])
def test_the_service_role_may_change_what_the_worker_writes_of_a_lesson(
    supabase: LocalSupabase, database: str, column: str
) -> None:
    """An app that grants lessons to no worker gets the grants from sql/, column by column."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("revoke all on lessons from service_role")
        apply_all(database)
        query = b"select has_column_privilege('service_role', 'lessons', %s, 'update')"
        assert connection.execute(query, [column]).fetchone() == (True,)
        assert connection.execute(query, ["title"]).fetchone() == (False,)


def test_undoing_the_access_file_closes_the_tables(installed: str) -> None:
    """Down to the file before it, nobody but the owner reaches either table."""
    undo_all(installed, downto="005")
    with psycopg.connect(installed) as connection:
        found = connection.execute(PRIVILEGES).fetchall()
    assert found == [("service_role", "mux_private.applied_files", "select")]
