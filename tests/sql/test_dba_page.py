import hashlib
import re
import subprocess
import sys
from pathlib import Path

import httpx
import jwt
import psycopg
import pytest

from bench.locks import indexes_first
from sandbox.supabase.databases import find_sql_files
from sandbox.supabase.stack import LocalSupabase
from tests.plain_http import NO_TLS
from tests.sql.dba_page import BLOCKS, names, run_block, section, table, write_program
from tests.sql.installing import DOWN, OF_THE_APP, REPORT, SQL, apply_all, catalog, run, undo_all
from tests.sql.supabase_cli import MISSING, PROGRAM, environment
from tests.sql.test_realtime import PUBLICATION, PUBLISHED, as_superuser
from tests.worker_role import create_worker_role

pytestmark = pytest.mark.stack

CHECKOUT = SQL.parent
APPLY, ONE_FILE, COPY, LIST, REALTIME, UPGRADE, UNDO, COPY_UNDO, *OF_ROLE = BLOCKS
APPLY_ROLE, SIGN_BY_SECRET, GENERATE, SIGN_BY_KEY = OF_ROLE

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
        string_agg(lower(privilege_type), ', ' order by privilege_type)
        || ' (' || columns || ')' as may
      from (
        select name, grantee, privilege_type, string_agg(attname, ', ' order by attname) as columns
        from tables join pg_attribute a on a.attrelid = oid, aclexplode(a.attacl) group by 1, 2, 3
      ) c
      group by 1, 2, columns
    )
    select name, grantee::regrole::text, string_agg(may, '; ' order by part, may)
    from (select 1 as part, * from whole union all select 2, * from columns) g
    group by 1, 2""".encode()
CALLABLE = f"""
    select role, array_agg(proname::text order by proname)
    from pg_proc, unnest(array['anon', 'authenticated', 'service_role', 'mux_worker']) role
    where pronamespace = 'public'::regnamespace and has_function_privilege(role, oid, 'execute')
      and proname not in {OF_THE_APP}
    group by 1""".encode()
FOR_USERS = b"""
    select proname::text from pg_proc
    where pronamespace = 'mux_private'::regnamespace
      and has_function_privilege('authenticated', oid, 'execute')"""
APPLIED = b"select name from mux_private.applied_files order by name"
LARGE = "update pg_class set reltuples = 1000000 where oid = 'mux_asset_tracking'::regclass"
INVALID = b"select indexrelid::regclass::text from pg_index where not indisvalid"
MADE = re.compile(
    r"^\s*create (?:or replace )?(?:function|procedure|table|type)(?: if not exists)? "
    r"(?:mux_private|public)\.(\w+)",
    re.MULTILINE,
)
NAMED = re.compile(r"\b(?:mux_private|public(?!\.lessons\b))\.(\w+)")
"""What a statement names of ours; a function has the name of the app's table."""
DEFINERS = b"""
    select proname::text from pg_proc
    where pronamespace in ('public'::regnamespace, 'mux_private'::regnamespace) and prosecdef"""


def applied(dsn: str) -> list[str]:
    """List the files that are applied."""
    with psycopg.connect(dsn) as connection:
        return [name for (name,) in connection.execute(APPLIED)]


def test_every_file_has_its_row() -> None:
    """What is in sql/ and sql/optional/ is in the table, in order, and nothing else."""
    files = [*find_sql_files(), *sorted((SQL / "optional").glob("*.sql"))]
    returned = [name for row in table("The files") for name in names(row[0])]
    assert returned == [str(file.relative_to(SQL)) for file in files]
    assert all(all(row) for row in table("The files"))


def test_every_file_names_those_that_it_needs() -> None:
    """What another file makes is made by one that "Needs:" names, or that one of those needs."""
    files = {file.stem[:3]: file.read_text() for file in find_sql_files()}
    makers = {name: number for number, text in files.items() for name in MADE.findall(text)}
    needs: dict[str, set[str]] = {}
    for number, text in files.items():
        (line,) = re.findall(r"^-- Needs: (.*)$", text, re.MULTILINE)
        named, _, by_functions = line.partition("(")
        direct = set(needs) if named == "all files before." else set(re.findall(r"\d{3}", named))
        needs[number] = direct.union(*(needs[other] for other in direct))
        statements = re.sub(r"--.*|'(?:[^']|'')*'", "", text)
        used = {makers[name] for name in NAMED.findall(statements) if name in makers}
        assert used <= {number, *needs[number], *re.findall(r"\d{3}", by_functions)}, number


def test_the_grants_are_those_of_the_database(database: str) -> None:
    """Table by table and role by role, the page says exactly what is granted."""
    run(database, "revoke all on lessons from anon, authenticated, service_role")
    apply_all(database)
    assert run_block(APPLY_ROLE, where=CHECKOUT, dsn=database).returncode == 0
    with psycopg.connect(database) as connection:
        granted = {(name, role): may for name, role, may in connection.execute(GRANTS)}
        callable_: dict[str, list[str]] = dict(connection.execute(CALLABLE).fetchall())
        for_users = {name for (name,) in connection.execute(FOR_USERS)}
    roles = ("anon", "authenticated", "service_role", "mux_worker")
    returned, functions = {}, {}
    for what, *cells in table("Who may do what"):
        for role, cell in zip(roles, cells, strict=True):
            if cell == "execute":
                functions[role] = names(what)
            elif cell and not what.startswith("schema"):
                returned[names(what)[0], role] = cell
    assert returned == granted
    assert functions == callable_
    (paragraph,) = re.findall(
        r"^(`authenticated` may execute six .*?)\n\n",
        section("Who may do what"),
        re.DOTALL | re.MULTILINE,
    )
    others = {"authenticated", "mux_private", "--owner none", *callable_["authenticated"]}
    assert (set(names(paragraph)) - others, len(for_users)) == (for_users, 6)


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


def test_the_file_for_review_is_what_is_applied(database: str, tmp_path: Path) -> None:
    """Its checksum is that of all files in their order, and psql applies it whole."""
    variables = {"PATH": write_program(tmp_path / "bin")}
    result = run_block(ONE_FILE, where=tmp_path, dsn=database, variables=variables)
    assert result.returncode == 0, result.stderr
    files = find_sql_files()
    checksum = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    assert result.stdout.startswith(f"{checksum}  all.sql\n")
    assert applied(database) == [file.stem for file in files]


@pytest.mark.parametrize("by", ["the legacy secret", "a signing key"])
def test_the_key_of_the_role_is_signed_as_it_says(
    supabase: LocalSupabase, tmp_path: Path, by: str
) -> None:
    """The gateway takes what is printed beside the publishable key, and not alone."""
    create_worker_role(supabase)
    (tmp_path / "signing-key.json").write_text(supabase.signing_key)
    block = SIGN_BY_SECRET if by == "the legacy secret" else SIGN_BY_KEY
    variables = {"PATH": write_program(tmp_path / "bin")}
    result = run_block(
        block, where=tmp_path, dsn="", variables=variables, said=f"{supabase.jwt_secret}\n"
    )
    key = result.stdout.strip()
    for api_key, status in ((supabase.publishable_key, 200), (key, 401)):
        headers = {"apikey": api_key, "Authorization": f"Bearer {key}"}
        answer = httpx.post(
            f"{supabase.url}/rest/v1/rpc/worker_doctor", headers=headers, verify=NO_TLS
        )
        assert answer.status_code == status
        assert answer.json().get("role") == ("mux_worker" if status == 200 else None)


@pytest.mark.skipif(MISSING is not None, reason=MISSING or "")
def test_a_signing_key_of_the_cli_signs(tmp_path: Path) -> None:
    """What the CLI generates is for its owner alone, and is what the next command reads."""
    variables = environment(tmp_path) | {"PATH": write_program(tmp_path / "bin")}
    generate = GENERATE.replace("npx supabase", str(PROGRAM))
    done = run_block(f"{generate}\n{SIGN_BY_KEY}", where=tmp_path, dsn="", variables=variables)
    assert (tmp_path / "signing-key.json").stat().st_mode & 0o077 == 0
    claims = jwt.decode(done.stdout.strip(), options={"verify_signature": False})
    assert (claims["role"], claims["exp"] - claims["iat"]) == ("mux_worker", 365 * 86_400)


def test_a_large_table_is_upgraded_step_by_step(supabase: LocalSupabase, database: str) -> None:
    """Its indexes are asked for; built as the page says, everything is applied over them."""
    run(database, REPORT.read_text())
    as_superuser(supabase, LARGE)
    stopped = run_block(APPLY, where=CHECKOUT, dsn=database)
    assert "index idx_mux_asset_tracking_unplayable is missing" in stopped.stderr
    assert "psql -f sql/optional/tracking_indexes.sql" in stopped.stderr
    assert applied(database) == [file.stem for file in find_sql_files() if file.stem < "031"]
    upgraded = run_block(UPGRADE, where=CHECKOUT, dsn=database)
    assert (upgraded.returncode, "ERROR" in upgraded.stderr) == (0, False)
    assert applied(database) == [file.stem for file in find_sql_files()]
    with psycopg.connect(database) as connection:
        assert connection.execute(INVALID).fetchall() == []


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
    expected = [*files, *indexes_first(), *files, *down]
    assert [name for name, _ in measured] == [file.name for file in expected]
    assert "reads and writes of mux_asset_tracking" in result.stdout
