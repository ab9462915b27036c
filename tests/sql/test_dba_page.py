import re
import subprocess
import sys

import psycopg
import pytest

from sandbox.supabase.databases import find_sql_files
from sandbox.supabase.stack import LocalSupabase
from tests.sql.dba_page import BLOCKS, names, run_block, section, table
from tests.sql.installing import DOWN, OF_THE_APP, REPORT, SQL, apply_all, catalog, run, undo_all
from tests.sql.test_realtime import PUBLICATION, PUBLISHED, as_superuser

pytestmark = pytest.mark.stack

CHECKOUT = SQL.parent
APPLY, COPY, LIST, REALTIME, UNDO, COPY_UNDO = BLOCKS

GRANTS = f"""
    with tables (oid, name, owner, acl) as (
      select oid, oid::regclass::text, relowner, relacl from pg_class
      where relkind = 'r' and relnamespace in ('public'::regnamespace, 'mux_private'::regnamespace)
        and relname not in {OF_THE_APP}
    ),
    whole as (
      select name, grantee, string_agg(lower(privilege_type), ', ' order by privilege_type) as may
      from tables, aclexplode(acl) where grantee <> owner group by 1, 2
    ),
    columns as (
      select name, grantee,
        string_agg(distinct lower(privilege_type), ', ')
        || ' (' || string_agg(distinct attname, ', ') || ')' as may
      from tables join pg_attribute a on a.attrelid = oid, aclexplode(a.attacl) group by 1, 2
    )
    select name, grantee::regrole::text, string_agg(may, '; ' order by part)
    from (select 1 as part, * from whole union all select 2, * from columns) g
    group by 1, 2""".encode()
CALLABLE = f"""
    select role, array_agg(proname::text order by proname)
    from pg_proc, unnest(array['anon', 'authenticated', 'service_role']) role
    where pronamespace = 'public'::regnamespace and has_function_privilege(role, oid, 'execute')
      and proname not in {OF_THE_APP}
    group by 1""".encode()
DEFINERS = b"""
    select proname::text from pg_proc
    where pronamespace in ('public'::regnamespace, 'mux_private'::regnamespace) and prosecdef"""


def test_every_file_has_its_row() -> None:
    """What is in sql/ and sql/optional/ is in the table, in order, and nothing else."""
    files = [*find_sql_files(), *sorted((SQL / "optional").glob("*.sql"))]
    returned = [name for row in table("The files") for name in names(row[0])]
    assert returned == [str(file.relative_to(SQL)) for file in files]
    assert all(all(row) for row in table("The files"))


def test_the_grants_are_those_of_the_database(database: str) -> None:
    """Table by table and role by role, the page says exactly what is granted."""
    run(database, "revoke all on lessons from anon, authenticated, service_role")
    apply_all(database)
    with psycopg.connect(database) as connection:
        granted = {(name, role): may for name, role, may in connection.execute(GRANTS)}
        callable_: dict[str, list[str]] = dict(connection.execute(CALLABLE).fetchall())
    roles = ("anon", "authenticated", "service_role")
    returned, functions = {}, {}
    for what, *cells in table("Who may do what"):
        for role, cell in zip(roles, cells, strict=True):
            if cell == "execute":
                functions[role] = names(what)
            elif cell and not what.startswith("schema"):
                returned[names(what)[0], role] = cell
    assert returned == granted
    assert functions == callable_


def test_what_runs_with_the_owners_rights_is_named(installed: str) -> None:
    """Each security definer function has its reason on the page, and no other does."""
    with psycopg.connect(installed) as connection:
        definers = {row[0] for row in connection.execute(DEFINERS)}
    reasons = {names(name)[0]: why for name, why in table("What runs with the owner's rights")}
    assert set(reasons) == definers
    assert all(reasons.values())


def test_its_commands_apply_list_and_undo(supabase: LocalSupabase, database: str) -> None:
    """The psql lines do what the text around them says, over the app's own table."""
    run(database, REPORT.read_text())
    run(database, "drop table mux_asset_tracking; drop type mux_asset_status")
    as_superuser(supabase, f"{PUBLICATION} postgres")
    before = catalog(database)
    for block in (APPLY, APPLY, REALTIME):
        assert run_block(block, where=CHECKOUT, dsn=database).returncode == 0
    listed = run_block(LIST, where=CHECKOUT, dsn=database)
    assert re.findall(r"^ (\d\w+)", listed.stdout, re.MULTILINE) == [
        file.stem for file in find_sql_files()
    ]
    with psycopg.connect(database) as connection:
        assert connection.execute(PUBLISHED).fetchall() == [("mux_asset_tracking",)]
    assert run_block(UNDO, where=CHECKOUT, dsn=database).returncode == 0
    assert {**catalog(database), "column grants": []} == {**before, "column grants": []}


def test_a_file_that_fails_ends_the_loop(database: str) -> None:
    """What is wrong is said once, not once more by every later file."""
    run(database, "alter table lessons drop column mux_playback_id")
    result = run_block(APPLY, where=CHECKOUT, dsn=database)
    assert result.stderr.count("ERROR:") == 1
    assert "column mux_playback_id is missing" in result.stderr


def test_undone_as_far_as_wanted_lessons_keep_what_they_have(database: str) -> None:
    """Undoing drops no lesson and no value of one."""
    run(database, REPORT.read_text())
    run(database, "update lessons set status = 'published', mux_asset_id = 'as1'")
    query = b"select * from lessons order by id"
    with psycopg.connect(database, autocommit=True) as connection:
        before = connection.execute(query).fetchall()
        apply_all(database)
        undo_all(database)
        assert connection.execute(query).fetchall() == before


def test_the_measurement_that_it_names_runs() -> None:
    """With few rows, each file is measured when new, over a table, once more, and undone."""
    assert "`python -m bench.locks`" in section("The files")
    command = [sys.executable, "-W", "ignore", "-m", "bench.locks", "10"]
    result = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True)
    files = [*find_sql_files(), *sorted((SQL / "optional").glob("*.sql"))]
    down = sorted(DOWN.glob("*.sql"), reverse=True)
    measured = re.findall(r"^\| `(.*?)` \| ([0-9.]+) \| \S", result.stdout, re.MULTILINE)
    assert [name for name, _ in measured] == [file.name for file in [*files * 3, *down]]
    assert "reads and writes of mux_asset_tracking" in result.stdout
