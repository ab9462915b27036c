"""Several stacks share one Postgres, and do not meet there."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import httpx
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from sandbox.supabase.databases import Databases, find_sql_files
from sandbox.supabase.errors import LocalStackError
from sandbox.supabase.postgres import SUPERUSER
from sandbox.supabase.shared_postgres import join_postgres
from sandbox.supabase.stack import LocalSupabase

pytestmark = pytest.mark.stack

DATABASES = b"select datname from pg_database order by datname"


@pytest.fixture
def stack(shared_postgres: Path) -> Iterator[LocalSupabase]:
    """Run a stack on the Postgres of all tests, without the worker's SQL."""
    with LocalSupabase(apply_sql=False, shared_postgres=shared_postgres) as stack:
        yield stack


def databases(stack: LocalSupabase) -> set[str]:
    """Return the names of all databases of the server."""
    with stack.connect() as connection:
        return {name for (name,) in connection.execute(DATABASES)}


def test_stacks_share_the_server_and_no_row(stack: LocalSupabase, shared_postgres: Path) -> None:
    """Each has its own database, keys and PostgREST."""
    with LocalSupabase(apply_sql=False, shared_postgres=shared_postgres) as other:
        with other.connect() as connection:
            connection.execute(
                "insert into public.lessons (creator_id, title, status) "
                "values (%s, 'of the other', 'published')",
                [uuid4()],
            )
        titles = [
            httpx.get(
                f"{each.url}/rest/v1/lessons?select=title", headers={"apikey": each.anon_key}
            ).json()
            for each in (stack, other)
        ]
        refused = httpx.get(f"{stack.url}/rest/v1/lessons", headers={"apikey": other.anon_key})
    assert titles == [[], [{"title": "of the other"}]]
    assert refused.status_code == 401


def test_databases_of_one_name_are_each_stacks_own(
    stack: LocalSupabase, shared_postgres: Path
) -> None:
    """A further database is found by its name, created and dropped, beside that of another."""
    with LocalSupabase(apply_sql=False, shared_postgres=shared_postgres) as other:
        more = [each.create_database("more") for each in (stack, other)]
        with psycopg.connect(more[0]) as connection:
            connection.execute("create table public.made ()")
        tables = []
        for each in (stack, other):
            with each.connect(database="more") as connection:
                tables += connection.execute("select to_regclass('public.made')::text").fetchall()
        other.drop_database("more")
        left = databases(stack) & {conninfo_to_dict(dsn)["dbname"] for dsn in more}
    stack.drop_database("more")
    assert tables == [("made",), (None,)]
    assert left == {conninfo_to_dict(more[0])["dbname"]}


def test_a_stack_drops_its_database_at_the_end(stack: LocalSupabase, shared_postgres: Path) -> None:
    """The disk does not fill up while the server runs."""
    with LocalSupabase(apply_sql=False, shared_postgres=shared_postgres) as other:
        with other.connect() as connection:
            name = connection.info.dbname
        during = databases(stack)
    assert (name in during, name in databases(stack)) == (True, False)


@pytest.mark.parametrize("act", ["stop_postgres", "start_postgres", "restart_postgres"])
def test_a_stack_does_not_stop_a_shared_postgres(stack: LocalSupabase, act: str) -> None:
    """Only a stack with a Postgres of its own stops and starts it."""
    with pytest.raises(LocalStackError, match="Postgres is shared"):
        getattr(stack, act)()
    with stack.connect() as connection:
        assert connection.execute("select 1").fetchone() == (1,)


def test_a_template_is_made_once(tmp_path: Path) -> None:
    """Processes that need it at the same time wait for one, which begins anew where one was killed.

    What they get is a copy, with the worker's SQL if it was asked for.
    """
    with (
        join_postgres(tmp_path / "postgres") as first,
        join_postgres(tmp_path / "postgres") as second,
    ):
        with first.connect(SUPERUSER) as connection:
            connection.execute("create database unfinished_template_ungranted")

        def create(databases: Databases, name: str) -> tuple[str, ...] | None:
            databases.create(name, default_grants=False, sql_files=find_sql_files())
            with databases.connect(database=name) as connection:
                return connection.execute(
                    "select max(name) from mux_private.applied_files"
                ).fetchone()

        with ThreadPoolExecutor() as pool:
            newest = list(pool.map(create, (first, second), ("one", "two")))
        first.create("bare", default_grants=False)
        with first.connect(database="bare") as connection:
            bare = connection.execute("select to_regnamespace('mux_private')").fetchone()
            made = [name for (name,) in connection.execute(DATABASES)]
    assert newest == [(find_sql_files()[-1].stem,)] * 2
    assert bare == (None,)
    assert made == [
        *("bare", "one", "postgres", "template0", "template1"),
        *("template_ungranted", "template_ungranted_with_sql", "two"),
    ]
