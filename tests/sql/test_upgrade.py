import psycopg
import pytest

from tests.sql.installing import REPORT, apply_all, catalog, run
from tests.sql.service import PUBLISH, Service, fact
from worker.local.stack import LocalSupabase

pytestmark = pytest.mark.stack

APP_COLUMNS = (
    "id, lesson_id, upload_id, temp_asset_id, mux_asset_id, mux_playback_id, status, "
    "error_message, created_at, updated_at"
)


def test_a_table_of_the_app_is_completed_and_keeps_every_value(database: str) -> None:
    """A thousand rows in all states are the same afterwards; the schema is that of a new one."""
    query = f"select {APP_COLUMNS} from mux_asset_tracking order by id".encode()
    run(database, REPORT.read_text())
    with psycopg.connect(database) as connection:
        before = connection.execute(query).fetchall()
    apply_all(database)
    with psycopg.connect(database) as connection:
        assert connection.execute(query).fetchall() == before
        assert connection.execute(
            "select count(*) from mux_asset_tracking where tracked_at <> updated_at"
        ).fetchone() == (0,)
    assert len(before) == 1000


def test_a_completed_table_is_like_a_new_one(supabase: LocalSupabase, database: str) -> None:
    """Object by object; the app's own function for ids is all that is left over."""
    run(database, REPORT.read_text())
    apply_all(database)
    fresh = supabase.create_database("fresh")
    try:
        apply_all(fresh)
        new = catalog(fresh)
    finally:
        supabase.drop_database("fresh")
    completed = catalog(database)
    own = [f for f in completed["functions"] if not str(f[0]).startswith("uuid_generate_v4")]
    assert {**completed, "functions": own} == new


def test_rows_from_before_are_owned_by_whoever_was_first(
    supabase: LocalSupabase, database: str
) -> None:
    """After the upgrade, uploads of two instructors each are published for the older row only."""
    run(database, REPORT.read_text())
    run(
        database,
        "update mux_asset_tracking t "
        "set upload_id = 'shared' || n / 2, status = 'processing', "
        "created_at = now() - make_interval(years => 9 - (n + n / 2) % 2) "
        "from (select id, substr(title, 8)::int as n from lessons) l "
        "where l.id = t.lesson_id and n between 2 and 81",
    )
    apply_all(database)
    with supabase.connect("service_role", "install") as connection:
        facts = [fact(PUBLISH, f"shared{n}", f"as-shared{n}") for n in range(1, 41)]
        outcomes = Service(connection).settle(*facts)
        rows = connection.execute("select id::text, substr(title, 8)::int from lessons").fetchall()
    numbers: dict[str, int] = dict(rows)
    assert {numbers[outcome["lesson_id"]]: outcome["outcome"] for outcome in outcomes} == {
        n: "published" if (n + n // 2) % 2 == 0 else "failed" for n in range(2, 82)
    }
