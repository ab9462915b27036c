"""Keys of lessons that are texts, one of which is longer than any id: an instructor chose it."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from sandbox.supabase.stack import LocalSupabase
from tests.conftest import ANNA
from tests.sql.instructor import Instructor
from tests.sql.lesson_shapes import SHAPES, app_database
from tests.sql.service import Service
from tests.sql.test_lesson_shapes import install, parse

pytestmark = pytest.mark.stack

(TEXT_KEYS,) = (shape for shape in SHAPES if shape.name == "cuid keys")
DATABASE = "shape"
LONG = "l" * 301
KEYS = ["a", "k" * 300, LONG, "m", "z"]
SHORT = [key for key in KEYS if key != LONG]


@pytest.fixture(scope="module")
def app(shared_supabase: LocalSupabase) -> Iterator[psycopg.Connection]:
    """Yield the owner's connection to an app whose untracked lessons have these keys."""
    with app_database(shared_supabase, TEXT_KEYS) as dsn:
        install(dsn, parse(TEXT_KEYS.options))
        with psycopg.connect(dsn, autocommit=True) as db:
            db.execute(
                "insert into lessons (id, creator_id, title, mux_asset_id) "
                "select key, %s, 'A lesson', 'temp_up' || n "
                "from unnest(%s::text[]) with ordinality k (key, n)",
                [ANNA, KEYS],
            )
            yield db


@pytest.fixture
def service(app: psycopg.Connection, shared_supabase: LocalSupabase) -> Iterator[Service]:
    """Yield the worker's functions in that database."""
    with shared_supabase.connect("service_role", DATABASE) as connection:
        yield Service(connection)


def ask(service: Service, query: str, *values: object) -> Any:
    """Return the value of a query."""
    row = service.connection.execute(f"select {query}".encode(), values).fetchone()
    assert row is not None
    return row[0]


def begin_again(app: psycopg.Connection) -> None:
    """Let the adoption walk from the beginning."""
    app.execute("update mux_private.adoption_walk set after = null, rows_after = null")


@pytest.mark.parametrize("walk", [1, 2, 3])
def test_a_backfill_walks_past_a_key_that_is_too_long(service: Service, walk: int) -> None:
    """It would begin again after it, without an end."""
    seen: list[str] = []
    after = None
    for _ in range(2 * len(KEYS)):
        page = ask(service, "worker_backfill_candidates(%s, %s)", after, walk)
        seen += page["lesson_ids"]
        after = page["next"]
        if after is None:
            break
    assert seen == SHORT


@pytest.mark.parametrize("index", [False, True])
def test_the_adoption_walks_past_a_key_that_is_too_long(
    app: psycopg.Connection, service: Service, index: bool
) -> None:
    """It would look at the lessons before it again and again, and never at those after it."""
    if index:
        app.execute(
            "create index idx_lessons_temporary_ids on lessons (id) "
            "where left(mux_asset_id, 5) = 'temp_' or left(mux_playback_id, 5) = 'temp_'"
        )
    begin_again(app)
    seen = [key for _ in SHORT for key in ask(service, "worker_untracked(1, 100)")]
    assert seen == SHORT


def test_the_list_of_all_lessons_goes_on_after_a_key_that_is_too_long(service: Service) -> None:
    """Page by page."""
    seen: list[str] = []
    after = None
    for _ in range(2 * len(KEYS)):
        page = ask(service, "worker_list_lessons(after => %s, at_most => 1)", after)
        seen += [lesson["lesson_id"] for lesson in page["lessons"]]
        after = page["next"]
        if after is None:
            break
    assert seen == SHORT


def test_an_instructor_tracks_no_upload_for_a_key_that_is_too_long(
    service: Service, shared_supabase: LocalSupabase
) -> None:
    """Each claim and page would carry it, and 200 of them might be 200 MB."""
    with shared_supabase.connect("authenticated", DATABASE) as connection:
        instructor = Instructor(connection, ANNA)
        for key in SHORT:
            instructor.track_upload(key, "up1")
        insert = b"insert into mux_asset_tracking (lesson_id, upload_id) values (%s, 'up1')"
        with pytest.raises(psycopg.errors.StringDataRightTruncation) as refused:
            connection.execute(insert, [LONG])
    assert refused.value.diag.message_primary == "lesson_id has at most 300 characters"
    assert {row["lesson_id"] for row in service.claim()} == set(SHORT)


def test_rows_are_compared_with_their_lessons_past_a_key_that_is_too_long(
    app: psycopg.Connection, service: Service
) -> None:
    """The app's own server may have tracked it."""
    begin_again(app)
    app.execute(
        "insert into mux_asset_tracking (lesson_id, upload_id) "
        "select id, 'up1' from lessons on conflict do nothing"
    )
    walk = "select rows_after from mux_private.adoption_walk"
    seen = []
    for _ in range(len(SHORT)):
        ask(service, "worker_untracked(1, 100)")
        seen += app.execute(walk).fetchall()
    assert seen == [(key,) for key in SHORT]
