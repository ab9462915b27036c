"""What the embedded Postgres promises, on the older ones that Supabase still runs."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
import pytest

from sandbox.supabase.databases import OWNER, Databases, find_sql_files
from sandbox.supabase.postgres import SUPERUSER
from sandbox.supabase.service_user import service_user
from tests.conftest import ANNA, BERT
from tests.course import Course
from tests.sql.installing import apply_all
from tests.sql.service import PUBLISH, Service, fact
from tests.sql.test_app_side import sign_in

# ruff: noqa: F401 - pytest finds these here, too, and gives them the fixtures of this file
from tests.sql.test_grants import test_each_role_has_what_it_needs_whatever_was_granted_by_default
from tests.sql.test_install import (
    test_applied_twice_it_changes_nothing,
    test_each_file_can_be_undone_and_applied_alone_from_the_top,
    test_undone_and_applied_again_it_is_the_same,
    test_undone_twice_it_is_undone,
)
from tests.sql.test_upgrade import (
    test_a_completed_table_is_like_a_new_one,
    test_a_table_of_the_app_is_completed_and_keeps_every_value,
    test_no_trigger_of_the_app_fires,
    test_rows_from_before_are_owned_by_whoever_was_first,
    test_the_reports_policies_are_replaced,
    test_the_reports_script_goes_on_working,
    test_the_reports_upsert_works_before_and_after,
    test_what_is_tracked_while_it_is_applied_is_noted_too,
)

OLDER = sorted(Path("/usr/lib/postgresql").glob("1[5-7]/bin/postgres"))
pytestmark = [
    pytest.mark.stack,
    pytest.mark.skipif(not OLDER, reason="no Postgres 15 to 17 in /usr/lib/postgresql"),
]


class OlderSupabase:
    """The databases of a Supabase whose Postgres is the system's, without PostgREST."""

    def __init__(self, directory: Path) -> None:
        self._databases = Databases(directory)
        self._databases.set_up("postgres", default_grants=False)  # makes the roles, too

    def create_database(
        self, name: str, *, default_grants: bool = False, apply_sql: bool = False
    ) -> str:
        """Create a database as LocalSupabase does."""
        files = find_sql_files() if apply_sql else []
        self._databases.create(name, default_grants=default_grants, sql_files=files)
        return self._databases.dsn(database=name)

    def drop_database(self, name: str) -> None:
        """Drop a database."""
        self._databases.drop(name)

    def connect(
        self, role: str = OWNER, database: str = "postgres", *, autocommit: bool = True
    ) -> psycopg.Connection:
        """Connect as any of Supabase's roles."""
        return self._databases.connect(role, database, autocommit=autocommit)


@pytest.fixture(scope="module", params=OLDER, ids=lambda path: path.parts[-3])
def supabase(request: pytest.FixtureRequest) -> Iterator[OlderSupabase]:
    """Run a Postgres of the system, for all tests of this file."""
    with TemporaryDirectory(prefix="older-postgres-") as name:
        directory = Path(name)
        directory.chmod(0o777)
        with served(request.param.parent, directory):
            yield OlderSupabase(directory)


@contextmanager
def served(programs: Path, directory: Path) -> Iterator[None]:
    """Make a server's data in a directory, and run the server meanwhile."""
    user = service_user()
    data = directory / "data"

    def call(*command: str | Path) -> None:
        subprocess.run(
            [str(part) for part in command],
            check=True,
            cwd="/",
            stdout=subprocess.DEVNULL,
            **user.popen_arguments(),
        )

    call(programs / "initdb", "-D", data, "-U", SUPERUSER, "--auth=trust", "--no-sync")
    server = f"-h '' -k {directory} -c fsync=off"
    call(programs / "pg_ctl", "-D", data, "-l", directory / "log", "-o", server, "-w", "start")
    try:
        yield
    finally:
        call(programs / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")


def test_it_is_an_older_one(supabase: OlderSupabase) -> None:
    """The tests of this file do not run on the embedded Postgres."""
    with supabase.connect(SUPERUSER) as connection:
        assert 150000 <= connection.info.server_version < 180000


def test_the_worker_publishes(supabase: OlderSupabase, database: str) -> None:
    """An upload is claimed and settled."""
    apply_all(database)
    with (
        supabase.connect(database="install") as owner,
        supabase.connect("service_role", "install") as connection,
    ):
        course, service = Course(owner, anna=ANNA, bert=BERT), Service(connection)
        lesson = course.tracked_lesson("new1")
        assert [row["upload_id"] for row in service.claim()] == ["new1"]
        assert service.outcomes(fact(PUBLISH, "new1", "as1")) == ["published"]
        assert course.state(lesson)["status"] == "published"


def test_the_apps_functions_work(supabase: OlderSupabase, database: str) -> None:
    """Tracked, asked about and published by hand, in the user's name."""
    apply_all(database)
    with (
        supabase.connect(database="install") as owner,
        supabase.connect("authenticated", "install") as hers,
        supabase.connect("service_role", "install") as connection,
    ):
        course = Course(owner, anna=ANNA, bert=BERT)
        lesson = course.lesson()
        sign_in(hers, ANNA)
        status = hers.execute("select track_upload(%s, 'up1')->>'status'", [lesson]).fetchone()
        assert status == ("processing",)
        Service(connection).settle(fact(PUBLISH, "up1", "as1"))
        owner.execute("update lessons set status = 'draft'")
        playable = hers.execute("select publish_lesson(%s)->'playable'", [lesson]).fetchone()
        assert playable == (True,)
        result = hers.execute("select check_asset_status(%s)", [lesson]).fetchone()
        assert result is not None
        assert (result[0]["status"], result[0]["playbackId"]) == ("ready", "play-as1")
        assert course.state(lesson)["status"] == "published"
