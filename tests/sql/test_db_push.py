import re
from pathlib import Path

import psycopg
import pytest

from sandbox.supabase.databases import find_sql_files
from sandbox.supabase.stack import LocalSupabase
from tests.sql.dba_page import run_block, write_program
from tests.sql.installing import SQL, catalog, run
from tests.sql.lesson_shapes import SHAPES, app_database, create_lesson
from tests.sql.supabase_cli import MISSING, PROGRAM, address, environment, supabase_cli
from tests.sql.test_dba_page import COPY, COPY_UNDO
from worker.cli.main import main

pytestmark = [pytest.mark.stack, pytest.mark.skipif(MISSING is not None, reason=str(MISSING))]

NAMES = [re.sub(r"^\d+", "mux", file.stem) for file in find_sql_files()]
HISTORY = b"select name from supabase_migrations.schema_migrations order by version"
BEFORE_TRACKING = NAMES[: NAMES.index("mux_tracking")]
"""The preconditions and the adapter."""

STEMS = [file.stem for file in find_sql_files()]


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """Return the app's repository: a place for migrations, and the CLI among its modules."""
    (tmp_path / "supabase" / "migrations").mkdir(parents=True)
    write_program(tmp_path / "bin")
    (tmp_path / "node_modules").symlink_to(PROGRAM.parents[1])
    return tmp_path


def push(app: Path, dsn: str, block: str = COPY) -> tuple[int, str]:
    """Run a block of the page in the app's repository; give exit status and output."""
    variables = {**environment(app), "MUX_WORKER": str(SQL.parent)}
    variables["PATH"] = f"{app / 'bin'}:{variables['PATH']}"
    result = run_block(block, where=app, dsn=address(dsn), variables=variables)
    return result.returncode, result.stdout + result.stderr


def history(dsn: str) -> list[str]:
    """List the migrations that the CLI noted."""
    with psycopg.connect(dsn) as connection:
        return [name for (name,) in connection.execute(HISTORY)]


def ours(dsn: str) -> dict[str, list[tuple[object, ...]]]:
    """Read the catalog, the CLI's own schema left out."""
    run(dsn, "drop schema if exists supabase_migrations cascade")
    return catalog(dsn)


def test_a_file_that_fails_is_rolled_back_and_pushed_later(
    supabase: LocalSupabase, database: str, app: Path
) -> None:
    """Those before it stay; once the cause is mended the next push goes on from there.

    What it leaves is what psql leaves, each file noted once.
    """
    with psycopg.connect(database) as busy:
        busy.execute("lock table lessons in row exclusive mode")
        status, output = push(app, database)
    assert status == 1
    assert "lock timeout" in output
    assert history(database) == BEFORE_TRACKING
    with psycopg.connect(database) as connection:
        found = connection.execute("select to_regclass('mux_asset_tracking')").fetchone()
    assert found == (None,)
    status, output = push(app, database)
    assert (status, history(database)) == (0, NAMES), output
    other = supabase.create_database("fresh", apply_sql=True)
    try:
        assert ours(database) == catalog(other)
    finally:
        supabase.drop_database("fresh")


def test_a_later_file_is_pushed_with_grants_and_snapshot_and_all_is_undone(
    database: str, app: Path
) -> None:
    """`--write` writes no file twice; it adds what has changed, and these two with it.

    The files of sql/down/, pushed as the page says, leave the app's own objects.
    """
    before = catalog(database)
    assert push(app, database)[0] == 0
    migrations = app / "supabase" / "migrations"
    written = {*migrations.iterdir()}
    status, output = push(app, database)
    assert status == 0
    assert "Remote database is up to date" in output
    assert {*migrations.iterdir()} == written

    (earlier,) = migrations.glob("*_mux_doctor.sql")
    earlier.write_text("-- as an earlier version had it\n")
    status, output = push(app, database)
    pushed = [*NAMES, "mux_doctor", "mux_grants", "mux_snapshot"]
    assert (status, history(database)) == (0, pushed)
    assert [line for line in output.splitlines() if line.startswith("Applying")] == [
        f"Applying migration {path.name}..." for path in sorted({*migrations.iterdir()} - written)
    ]

    status, output = push(app, database, COPY_UNDO)
    undone = ["undo_optional_worker_role", *(f"undo_{stem}" for stem in reversed(STEMS))]
    assert (status, history(database)) == (0, [*pushed, *undone]), output
    assert {**ours(database), "column grants": []} == {**before, "column grants": []}


def test_the_adapter_for_another_table_is_pushed(shared_supabase: LocalSupabase, app: Path) -> None:
    """The CLI sends the statements one by one, those with quotes within quotes, too."""
    (shape,) = (shape for shape in SHAPES if shape.name == "two parents")
    migrations = app / "supabase" / "migrations"
    write([*shape.options, "--write", str(migrations)])
    for file in sorted(migrations.iterdir())[len(BEFORE_TRACKING) :]:
        file.unlink()
    with app_database(shared_supabase, shape) as dsn:
        result = supabase_cli("db", "push", "--db-url", address(dsn), home=app)
        assert (result.returncode, history(dsn)) == (0, BEFORE_TRACKING), result.stderr
        with psycopg.connect(dsn) as connection:
            lesson = create_lesson(connection, shape)
            owner = connection.execute("select mux_private.owner_of(%s)", [lesson]).fetchone()
    assert owner == (shape.anna,)


def write(arguments: list[str]) -> None:
    """Write migrations by the command."""
    with pytest.raises(SystemExit) as ended:
        main(["sql", *arguments])
    assert ended.value.code == 0
