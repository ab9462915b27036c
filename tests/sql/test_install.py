from pathlib import Path

import pytest

from tests.sql.installing import DOWN, SQL, apply_all, catalog, run, undo_all
from worker.local.databases import find_sql_files
from worker.local.postgres import apply_sql
from worker.local.stack import LocalSupabase
from worker.refusal import REQUIRED_FILE

FILES = sorted([*SQL.glob("*.sql"), *DOWN.glob("*.sql"), SQL / "optional" / "realtime.sql"])
"""All but the optional index, which is built outside of a transaction."""
pytestmark = pytest.mark.stack


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
    assert {*(grant[0] for grant in after_down["column grants"])} <= {"lessons"}  # these stay
    assert {**after_down, "column grants": bare["column grants"]} == bare
    apply_all(database)
    assert catalog(database) == up


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("columns", "alter table mux_asset_tracking alter missing_count set default 1"),
        ("columns", "alter table mux_asset_events alter message set storage external"),
        ("constraints", "alter table mux_private.worker_state drop constraint there_is_one_row"),
        ("indexes", "alter index idx_mux_asset_tracking_due set (fillfactor = 50)"),
        ("functions", "alter function mux_private.note_upload() security invoker"),
        ("functions", "grant execute on function worker_summary() to anon"),
        ("tables", "alter table mux_asset_tracking set (fillfactor = 50)"),
        ("tables", "alter table mux_asset_events set (toast.autovacuum_enabled = false)"),
        ("tables", "grant select on mux_private.upload_history to anon"),
        ("tables", "alter table mux_asset_tracking replica identity full"),
        ("column grants", "grant update (check_count) on mux_asset_tracking to authenticated"),
        ("policies", 'alter policy "Service role has full access" on mux_asset_tracking to anon'),
        ("triggers", "alter table mux_asset_tracking disable trigger guard_tracking"),
        ("types", "alter type mux_asset_status add value 'late'"),
        ("types", "grant usage on type mux_asset_status to anon"),
        ("sequences", "alter sequence mux_asset_events_id_seq cache 5"),
        ("schemas", "grant usage on schema mux_private to anon"),
        ("schemas", "create schema mux_other"),
        ("default privileges", "alter default privileges grant select on tables to anon"),
        ("publications", "create publication changes for table mux_asset_tracking"),
        ("settings", "alter role postgres in database install set work_mem = '8MB'"),
        ("database grants", "grant temporary on database install to anon"),
        ("comments", "comment on trigger note_new_upload on mux_asset_tracking is 'x'"),
        ("comments", "comment on constraint there_is_one_row on mux_private.worker_state is 'x'"),
        (
            "all that is in a schema",
            "create statistics ids on id, reason from mux_asset_events",
        ),
        ("all that is in a schema", 'create collation mux_private.plain from "C"'),
    ],
)
def test_the_comparison_sees_a_change_of_each_kind(database: str, kind: str, change: str) -> None:
    """What the tests here compare would tell, if a file changed any of this."""
    apply_all(database)
    before = catalog(database)
    run(database, change)
    after = catalog(database)
    assert kind in {name for name in before if before[name] != after[name]}


def test_undone_twice_it_is_undone(database: str) -> None:
    """Each down file, alone and in order, may be repeated until the first of all has run."""
    apply_all(database)
    for file in sorted(DOWN.glob("*.sql"), reverse=True):
        apply_sql(database, [file] if file.stem.startswith("001") else [file, file])
    assert "mux_private" not in {schema[0] for schema in catalog(database)["schemas"]}


def test_each_file_can_be_undone_and_applied_alone_from_the_top(database: str) -> None:
    """Going down by one, two, three … files and up again always ends where it began."""
    apply_all(database)
    up = catalog(database)
    down = sorted(DOWN.glob("*.sql"), reverse=True)
    for count in (1, 3, 5):
        apply_sql(database, down[:count])
        apply_sql(database, find_sql_files()[-count:])
        assert catalog(database) == up


def test_every_file_can_be_undone() -> None:
    """sql/down has a file of the same name for each file of sql/."""
    assert [file.name for file in sorted(DOWN.glob("*.sql"))] == [
        file.name for file in find_sql_files()
    ]


@pytest.mark.parametrize("file", FILES, ids=str)
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


def test_it_is_applied_by_no_superuser(supabase: LocalSupabase) -> None:
    """The role by which all of these tests apply sql/ is no superuser."""
    with supabase.connect() as connection:
        row = connection.execute(
            "select rolsuper from pg_roles where rolname = current_user"
        ).fetchone()
    assert row == (False,)
