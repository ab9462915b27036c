import re
from pathlib import Path

import psycopg
import pytest

from sandbox.supabase.databases import find_sql_files
from sandbox.supabase.errors import LocalStackError
from sandbox.supabase.postgres import apply_sql
from sandbox.supabase.stack import LocalSupabase
from tests.conftest import ANNA
from tests.sql.installing import DOWN, REPORT, SQL, Catalog, apply_all, catalog, run, undo_all
from worker.supabase.errors import REQUIRED_SCHEMA

OPTIONAL = [SQL / "optional" / "realtime.sql", SQL / "optional" / "worker_role.sql"]
FILES = sorted([*SQL.glob("*.sql"), *DOWN.glob("*.sql"), *OPTIONAL])
"""All but the optional indexes, which are built outside of a transaction."""
pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def bare(shared_supabase: LocalSupabase) -> Catalog:
    """Return the catalog of a database without sql/."""
    found = catalog(shared_supabase.create_database("bare"))
    shared_supabase.drop_database("bare")
    return found


def test_applied_twice_it_changes_nothing(installed: str) -> None:
    """The second time leaves every object, grant and comment as it was."""
    once = catalog(installed)
    apply_all(installed)
    assert catalog(installed) == once


def test_undone_and_applied_again_it_is_the_same(bare: Catalog, installed: str) -> None:
    """Down leaves the app's own objects and nothing of ours; up again equals up."""
    up = catalog(installed)
    undo_all(installed)
    after_down = catalog(installed)
    assert {*(grant[0] for grant in after_down["column grants"])} <= {"lessons"}  # these stay
    assert {**after_down, "column grants": bare["column grants"]} == bare
    apply_all(installed)
    assert catalog(installed) == up


def in_database(statement: str) -> str:
    """Return a statement that fills in the name of the database."""
    return f"do $$ begin execute format($a${statement}$a$, current_database()); end $$"


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("columns", "alter table mux_asset_tracking alter tracked_at set default null"),
        ("columns", "alter table mux_asset_events alter message set storage external"),
        ("constraints", "alter table mux_private.worker_state drop constraint there_is_one_row"),
        ("indexes", "alter index idx_mux_asset_tracking_failed set (fillfactor = 50)"),
        ("functions", "alter function mux_private.note_upload() security invoker"),
        ("functions", "grant execute on function worker_summary() to anon"),
        ("tables", "alter table mux_asset_tracking set (fillfactor = 50)"),
        ("tables", "alter table mux_asset_events set (toast.autovacuum_enabled = false)"),
        ("tables", "grant select on mux_private.upload_history to anon"),
        ("tables", "alter table mux_asset_tracking replica identity full"),
        ("column grants", "grant update (settled_at) on mux_asset_tracking to authenticated"),
        ("policies", 'alter policy "Service role has full access" on mux_asset_tracking to anon'),
        ("triggers", "alter table mux_asset_tracking disable trigger guard_tracking"),
        ("types", "alter type mux_asset_status add value 'late'"),
        ("types", "grant usage on type mux_asset_status to anon"),
        ("sequences", "alter sequence mux_asset_events_id_seq cache 5"),
        ("schemas", "grant usage on schema mux_private to anon"),
        ("schemas", "create schema mux_other"),
        ("default privileges", "alter default privileges grant select on tables to anon"),
        ("publications", "create publication changes for table mux_asset_tracking"),
        ("settings", in_database("alter role postgres in database %I set work_mem = '8MB'")),
        ("database grants", in_database("grant temporary on database %I to anon")),
        ("comments", "comment on trigger note_new_upload on mux_asset_tracking is 'x'"),
        ("comments", "comment on constraint there_is_one_row on mux_private.worker_state is 'x'"),
        (
            "all that is in a schema",
            "create statistics ids on id, reason from mux_asset_events",
        ),
        ("all that is in a schema", 'create collation mux_private.plain from "C"'),
    ],
)
def test_the_comparison_sees_a_change_of_each_kind(installed: str, kind: str, change: str) -> None:
    """What the tests here compare would tell, if a file changed any of this."""
    before = catalog(installed)
    run(installed, change)
    after = catalog(installed)
    assert kind in {name for name in before if before[name] != after[name]}


@pytest.mark.parametrize(
    ("file", "table", "constraint"),
    [
        ("030_tracking", "of_the_app", "a_table_or_a_type"),
        ("034_upload_history", "upload_history", "it_is_known_how_it_was_heard_of"),
        ("036_schedule", "schedule", "looks_are_counted_from_zero"),
        ("036_schedule", "schedule", "what_is_missing_was_looked_for"),
        ("036_schedule", "worker_state", "there_is_one_row"),
    ],
)
def test_a_check_constraint_that_is_gone_comes_back(
    installed: str, file: str, table: str, constraint: str
) -> None:
    """Applying the file again restores it, and touches no other."""
    up = catalog(installed)
    run(installed, f"alter table mux_private.{table} drop constraint {constraint}")
    assert catalog(installed)["constraints"] != up["constraints"]
    apply_sql(installed, [path for path in find_sql_files() if path.stem == file])
    assert catalog(installed) == up


def test_undone_twice_it_is_undone(bare: Catalog, installed: str) -> None:
    """Each down file, alone and in order, may be repeated; so may all of them."""
    for file in sorted(DOWN.glob("*.sql"), reverse=True):
        apply_sql(installed, [file, file])
    undo_all(installed)
    assert {**catalog(installed), "column grants": []} == {**bare, "column grants": []}


@pytest.mark.parametrize(
    "skipped", ["030", "032", "034", "036", "052", "056", "060", "070", "076", "130", "900"]
)
def test_undone_with_a_file_skipped_it_can_be_undone_once_more(
    bare: Catalog, installed: str, skipped: str
) -> None:
    """What others still need stays, with what to do, and the second time nothing is left."""
    refused = []
    with psycopg.connect(installed, autocommit=True) as connection:
        for file in sorted(DOWN.glob("*.sql"), reverse=True):
            if not file.name.startswith(skipped):
                try:
                    connection.execute(file.read_bytes())
                except psycopg.Error as error:
                    connection.rollback()
                    refused.append(str(error))
    assert refused
    assert [words for words in refused if "first, the last one first" not in words] == []
    undo_all(installed)
    assert {**catalog(installed), "column grants": []} == {**bare, "column grants": []}


def test_undone_where_little_was_applied_it_leaves_what_is_the_apps(database: str) -> None:
    """A table, a type, policies and functions of the app by our names stay as they are."""
    run(database, REPORT.read_text())
    run(
        database,
        "create function worker_retry(text) returns void return null;"
        "create function publish_lesson(lesson_id uuid) returns void return null",
    )
    before = catalog(database)
    undo_all(database)
    assert catalog(database) == before


def test_undone_it_leaves_a_trigger_of_the_app_by_our_name(database: str) -> None:
    """On another table it calls the app's own function."""
    run(
        database,
        "create table courses (id int); create function closed() returns trigger language plpgsql "
        "as $$ begin return null; end $$; create trigger close_upload_history after delete "
        "on courses for each row execute function closed()",
    )
    before = catalog(database)
    apply_all(database)
    undo_all(database)
    assert catalog(database)["triggers"] == before["triggers"]


def test_a_table_that_the_app_made_before_is_given_back(database: str) -> None:
    """With its rows and columns, default, comments, policies and grants, and nothing of ours."""
    run(database, REPORT.read_text())
    run(
        database,
        "alter table mux_asset_tracking add progress int, disable row level security;"
        "comment on column mux_asset_tracking.upload_id is 'The app''s own words';"
        "comment on type mux_asset_status is 'And these';"
        "create policy teams on mux_asset_tracking for select to authenticated using (true);"
        "grant select, insert on mux_asset_tracking to authenticated;"
        "grant update (status, progress) on mux_asset_tracking to authenticated;"
        "grant all on mux_asset_tracking to service_role with grant option",
    )
    query = b"select * from mux_asset_tracking order by id"
    with psycopg.connect(database, autocommit=True) as connection:
        before, rows = catalog(database), connection.execute(query).fetchall()
        for _ in range(2):
            apply_all(database)
            apply_all(database)
            undo_all(database)
            after = catalog(database)
            grants = [grant for grant in after["column grants"] if grant[0] != "lessons"]
            assert {**after, "column grants": grants} == before
            assert connection.execute(query).fetchall() == rows


def test_every_public_function_is_known_by_its_name(database: str) -> None:
    """One added to sql/ is in the first file's list, and carries the marks by which it is ours."""
    before = {name for name, *_ in catalog(database)["functions"]}
    apply_all(database)
    made = {str(name) for name, *_ in catalog(database)["functions"] if name not in before}
    with psycopg.connect(database) as connection:
        known = connection.execute(
            "select function::text, is_ours from mux_private.public_functions()"
        ).fetchall()
    assert dict(known) == dict.fromkeys(
        (name for name in made if not name.startswith("mux_private.")), True
    )


def test_every_column_of_the_tracking_table_is_known_by_its_type(installed: str) -> None:
    """The file that makes it looks at each, where an app has a table of that name."""
    [file] = (file for file in find_sql_files() if file.stem == "030_tracking")
    of_lists = dict(re.findall(r"\('(\w+)', '([\w. ]+)', (?:true|false)\)", file.read_text()))
    assert {**of_lists, "lesson_id": "uuid"} == {
        name: "public.mux_asset_status" if kind == "mux_asset_status" else kind
        for table, _, name, kind, *_ in catalog(installed)["columns"]
        if table == "mux_asset_tracking"
    }


def test_each_file_can_be_undone_and_applied_alone_from_the_top(installed: str) -> None:
    """Going down by one, two, three … files and up again always ends where it began."""
    up = catalog(installed)
    down = sorted(DOWN.glob("[0-9]*.sql"), reverse=True)
    for count in (1, 3, 5):
        apply_sql(installed, down[:count])
        apply_sql(installed, find_sql_files()[-count:])
        assert catalog(installed) == up


def test_every_file_can_be_undone() -> None:
    """sql/down has a file of the same name for each file of sql/, and before them the role's."""
    assert [file.name for file in sorted(DOWN.glob("*.sql"))] == [
        *(file.name for file in find_sql_files()),
        "optional_worker_role.sql",
    ]


@pytest.mark.parametrize("file", FILES, ids=str)
def test_no_transaction_of_a_file_waits_for_a_lock_long(file: Path) -> None:
    """Each sets a lock timeout first; the file says at the top what it is, and leaves none open."""
    lines = [line for line in file.read_text().splitlines() if line and not line.startswith("--")]
    assert file.read_text().startswith("-- ")
    outside = []
    while "begin;" in lines:
        begins, ends = lines.index("begin;"), lines.index("commit;")
        assert lines[begins + 1] == "set local lock_timeout = '5s';"
        assert "begin;" not in lines[begins + 1 : ends]
        outside += lines[:begins]
        lines = lines[ends + 1 :]
    assert (outside, lines) in (([], []), ([], ["notify pgrst, 'reload schema';"]))


def test_the_last_file_tells_postgrest() -> None:
    """After it, PostgREST knows the functions."""
    assert find_sql_files()[-1].read_text().rstrip().endswith("notify pgrst, 'reload schema';")


def test_sql_is_the_version_that_the_worker_needs(installed: str) -> None:
    """It is in the last file; while a file of the worker's is not applied, there is no version."""
    optional = {"090_app", "092_publish_lesson"}
    with psycopg.connect(installed) as db:
        assert db.execute("select worker_schema_version()").fetchone() == (REQUIRED_SCHEMA,)
        db.execute("delete from mux_private.applied_files where name = any (%s)", [[*optional]])
        assert db.execute("select worker_schema_version()").fetchone() == (REQUIRED_SCHEMA,)
        db.execute("delete from mux_private.applied_files where name = '034_upload_history'")
        assert db.execute("select worker_schema_version()").fetchone() == (None,)
        db.execute("delete from mux_private.applied_files where true")
        row = db.execute("select mux_private.missing_files()").fetchone()
    assert row is not None
    assert row[0] == [file.stem for file in find_sql_files() if file.stem not in optional]


def test_over_an_earlier_version_the_version_is_of_the_last_file(installed: str) -> None:
    """The files before it leave the earlier one: half an upgrade is not taken for a whole one."""
    *files, last = find_sql_files()
    run(installed, "update mux_private.applied_files set schema_version = 0 where name ~ '^910'")
    for applied, version in ((files, 0), ([last], REQUIRED_SCHEMA)):
        apply_sql(installed, applied)
        with psycopg.connect(installed) as db:
            assert db.execute("select worker_schema_version()").fetchone() == (version,)


def test_it_is_applied_by_no_superuser(supabase: LocalSupabase) -> None:
    """The role by which all of these tests apply sql/ is no superuser."""
    with supabase.connect() as connection:
        row = connection.execute(
            "select rolsuper from pg_roles where rolname = current_user"
        ).fetchone()
    assert row == (False,)


def test_to_make_the_readers_of_lessons_reads_few_of_them(
    supabase: LocalSupabase, installed: str
) -> None:
    """Each is tried once as it is made, which costs the same with a million lessons."""
    [file] = (file for file in find_sql_files() if file.stem == "022_lessons_read")
    run(
        installed,
        f"insert into lessons (creator_id, title) select '{ANNA}', n "
        "from generate_series(1, 1000) n",
    )
    with supabase.connect(database="install", autocommit=False) as db:
        db.execute(file.read_text().replace("\nbegin;", "").replace("\ncommit;", "").encode())
        row = db.execute(
            "select seq_tup_read + idx_tup_fetch from pg_stat_xact_user_tables "
            "where relid = 'lessons'::regclass"
        ).fetchone()
    assert row is not None
    assert row[0] < 10


def test_an_index_that_was_interrupted_is_named(database: str) -> None:
    """What `create index concurrently` leaves behind is there, and finds nothing."""
    apply_sql(database, [file for file in find_sql_files() if file.stem < "031"])
    run(
        database,
        "create index idx_mux_asset_tracking_failed on mux_asset_tracking (settled_at) "
        "where status = 'error'",
    )
    with psycopg.connect(database.replace("postgres@", "supabase_admin@"), autocommit=True) as db:
        db.execute(
            "update pg_index set indisvalid = false "
            "where indexrelid = 'idx_mux_asset_tracking_failed'::regclass"
        )
    with pytest.raises(LocalStackError, match="is invalid: making it concurrently was interrupted"):
        apply_all(database)
    run(database, "drop index idx_mux_asset_tracking_failed")
    apply_all(database)
