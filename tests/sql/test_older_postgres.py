import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlencode
from uuid import UUID

import psycopg
import pytest

from tests.course import Course
from tests.sql.installing import REPORT, apply_all, catalog, run, undo_all
from tests.sql.service import PUBLISH, Service, fact
from worker.local.account import server_account
from worker.local.databases import LOCAL

pytestmark = pytest.mark.stack

OLDER = sorted(Path("/usr/lib/postgresql").glob("1[5-7]/bin/postgres"))


@contextmanager
def running(programs: Path) -> Iterator[str]:
    """Run a Postgres of the system in a directory of its own; give the dsn of the tables' owner."""
    with TemporaryDirectory(prefix="older-postgres-") as name:
        directory = Path(name)
        directory.chmod(0o777)
        with _served(programs, directory) as dsn:
            yield dsn


@contextmanager
def _served(programs: Path, directory: Path) -> Iterator[str]:
    account = server_account()
    data = directory / "data"

    def call(*command: str | Path) -> None:
        subprocess.run(
            [str(part) for part in command],
            check=True,
            cwd="/",
            stdout=subprocess.DEVNULL,
            **account.popen_arguments(),
        )

    call(programs / "initdb", "-D", data, "-U", "supabase_admin", "--auth=trust", "--no-sync")
    server = f"-h '' -k {directory} -c fsync=off"
    call(programs / "pg_ctl", "-D", data, "-l", directory / "log", "-o", server, "-w", "start")
    try:
        yield f"postgresql://postgres@/postgres?{urlencode({'host': str(directory)})}"
    finally:
        call(programs / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")


@pytest.mark.skipif(not OLDER, reason="no Postgres 15 to 17 in /usr/lib/postgresql")
@pytest.mark.parametrize("program", OLDER, ids=lambda path: path.parts[-3])
def test_sql_works_on_an_older_postgres(program: Path) -> None:
    """Applied twice, undone, applied over the app's own table and used, where Supabase still is."""
    with running(program.parent) as dsn:
        with psycopg.connect(dsn.replace("postgres@", "supabase_admin@"), autocommit=True) as admin:
            admin.execute((LOCAL / "supabase.sql").read_bytes())
        with psycopg.connect(dsn, autocommit=True) as db:
            db.execute((LOCAL / "lessons.sql").read_bytes())
        apply_all(dsn)
        once = catalog(dsn)
        apply_all(dsn)
        assert catalog(dsn) == once
        undo_all(dsn)
        run(dsn, REPORT.read_text())
        apply_all(dsn)
        run(dsn, "truncate lessons cascade")
        assert {**catalog(dsn), "functions": []} == {**once, "functions": []}
        with psycopg.connect(dsn, autocommit=True) as db:
            course = Course(db, anna=UUID(int=1), bert=UUID(int=2))
            lesson = course.tracked_lesson("new1")
            with psycopg.connect(
                dsn.replace("postgres@", "authenticator@"),
                autocommit=True,
                options="-c role=service_role",
            ) as connection:
                service = Service(connection)
                assert [row["upload_id"] for row in service.claim()] == ["new1"]
                assert service.outcomes(fact(PUBLISH, "new1", "as1")) == ["published"]
            assert course.state(lesson)["status"] == "published"
