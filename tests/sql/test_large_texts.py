"""What an instructor may write into a lesson is not bounded; what is read of it is."""

from collections.abc import Callable, Iterator
from contextlib import closing

import psycopg
import pytest

from sandbox.supabase.stack import LocalSupabase
from tests.course import Course

pytestmark = pytest.mark.stack

LARGE = "(select string_agg(md5(n::text), '') from generate_series(1, 60000) n)"
"""Two megabytes that cannot be compressed, and so lie in a thousand pieces."""

CALLS = {
    "untracked": "select worker_untracked()",
    "candidates": "select worker_backfill_candidates()",
    "holders": "select mux_private.holders(array['up1'])",
    "adopt": "select worker_adopt(jsonb_agg(jsonb_build_object('lesson_id', id)), true) "
    "from lessons",
    "overview": "select worker_overview()",
    "lesson": "select worker_lesson(id::text) from lessons",
    "find": "select worker_find_lessons('up1')",
}


@pytest.fixture
def connection(supabase: LocalSupabase) -> Iterator[psycopg.Connection]:
    """Give a connection of the worker's whose transaction is undone at the end."""
    with closing(supabase.connect("service_role", autocommit=False)) as connection:
        yield connection


def pieces_read(connection: psycopg.Connection, run: Callable[[], object]) -> int:
    """Run something, and count the pieces of large texts of lessons that were read."""
    query = b"""select idx_tup_fetch from pg_stat_xact_all_tables
        where relid = (select reltoastrelid from pg_class where oid = 'lessons'::regclass)"""
    (before,) = connection.execute(query).fetchone() or (0,)
    run()
    (after,) = connection.execute(query).fetchone() or (0,)
    return int(after - before)


def call(connection: psycopg.Connection, name: str) -> Callable[[], object]:
    """Give what makes a call and reads its answer."""
    return lambda: connection.execute(CALLS[name].encode()).fetchall()


@pytest.mark.parametrize("name", CALLS)
def test_a_large_text_beside_it_is_not_read_at_all(
    course: Course, db: psycopg.Connection, connection: psycopg.Connection, name: str
) -> None:
    """Of a lesson only the columns that are told of are looked at."""
    course.track(course.lesson(mux_asset_id="temp_up1"), "up0")
    course.lesson(mux_playback_id="temp_playback_up1")
    db.execute(f"update lessons set description = {LARGE}".encode())
    assert pieces_read(connection, call(connection, name)) == 0


@pytest.mark.parametrize("column", ["mux_asset_id", "mux_playback_id", "title"])
@pytest.mark.parametrize("name", CALLS)
def test_of_a_large_text_only_the_beginning_is_read(
    course: Course, db: psycopg.Connection, connection: psycopg.Connection, name: str, column: str
) -> None:
    """No id is longer than 255 characters, and no title is shown whole."""
    course.track(course.lesson(mux_asset_id="temp_up1"), "up0")
    course.lesson(mux_playback_id="temp_playback_up1")
    db.execute(f"update lessons set {column} = 'temp_' || {LARGE}".encode())
    assert pieces_read(connection, call(connection, name)) < 60


def test_a_table_without_a_title_is_read_all_the_same(
    supabase: LocalSupabase, course: Course
) -> None:
    """What the app does not keep is null, also when it was dropped after sql/ was applied."""
    course.track(course.lesson(mux_asset_id="temp_up1"), "up0")
    course.lesson(mux_playback_id="temp_playback_up1")
    with closing(supabase.connect("supabase_admin", autocommit=False)) as connection:
        (lesson,) = connection.execute("select id from lessons limit 1").fetchone() or (None,)
        for drop in (b"select 1", b"alter table lessons drop column title"):
            connection.execute(drop)
            for query in CALLS.values():
                connection.execute(query.encode())
        result = connection.execute(b"select mux_private.lesson_title(%s)", [lesson])
        assert result.fetchone() == (None,)
