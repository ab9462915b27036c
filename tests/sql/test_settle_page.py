"""A page of Mux's list, settled in one call: what it costs the rows that it does not change."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.course import Course
from tests.sql.service import FAIL, PUBLISH, WAIT, Service, fact, looked_at

pytestmark = pytest.mark.stack

MANY = 3000


def lies(db: psycopg.Connection) -> dict[str, Any]:
    """Read where each tracking row's version lies and who wrote, locked or replaced it."""
    found = db.execute("select upload_id, ctid, xmin, xmax from mux_asset_tracking").fetchall()
    return {upload_id: place for upload_id, *place in found}


def page_of(verdict: dict[str, str], count: int = 100) -> list[dict[str, Any]]:
    """Make a page of facts about the uploads up0, up1 … and their assets."""
    return [fact(verdict, f"up{n}", f"as{n}") for n in range(count)]


@pytest.mark.parametrize("ours", [range(0), range(0, 100, 7), range(100)], ids=len)
@pytest.mark.parametrize("claimed", [False, True], ids=["unclaimed", "claimed"])
def test_a_page_publishes_what_waits_for_it(
    course: Course, service: Service, ours: range, claimed: bool
) -> None:
    """None, some or all of a hundred facts are about rows of ours, claimed or not: in one call."""
    lessons = {n: course.tracked_lesson(f"up{n}") for n in ours}
    rows = {row["upload_id"]: row for row in service.claim()} if claimed else {}
    page = [
        item | ({"claimed": [looked_at(rows[item["upload_id"]], PUBLISH)]} if claimed else {})
        if n in ours
        else item
        for n, item in enumerate(page_of(PUBLISH))
    ]
    result = service.settle(*page)
    assert [(o["outcome"], o["upload_id"], o["asset_id"]) for o in result] == [
        ("published" if n in ours else "unmatched", f"up{n}", f"as{n}") for n in range(100)
    ]
    assert {n: course.state(lesson)["mux_asset_id"] for n, lesson in lessons.items()} == {
        n: f"as{n}" for n in ours
    }
    again = ["unchanged" if n in ours else "unmatched" for n in range(100)]
    assert service.outcomes(*page) == again


def test_of_a_page_only_the_rows_that_change_are_written(
    course: Course, service: Service, db: psycopg.Connection
) -> None:
    """What waits already, has settled or failed stays as it lies, not even locked for a moment."""
    kinds: list[dict[str, Any]] = [
        {"mux_asset_id": "as0"},
        {"status": "ready", "mux_asset_id": "as1"},
        {"status": "error"},
        {},
        {"mux_asset_id": "as4", "next_check_at": "2099-01-01"},
    ]
    for n, columns in enumerate(kinds):
        course.track(course.lesson(), f"up{n}", **columns)
    (claimed,) = [row for row in service.claim() if row["upload_id"] == "up3"]
    before = lies(db)
    page = page_of(WAIT, 5)
    assert service.outcomes(*page[:3], page[4]) == ["waiting", "unchanged", "unchanged", "waiting"]
    assert lies(db) == before
    page[3]["claimed"] = [looked_at(claimed)]
    assert service.outcomes(*page) == ["waiting", "unchanged", "unchanged", "waiting", "waiting"]
    after = lies(db)
    assert {name for name in after if after[name] != before[name]} == {"up3"}


@pytest.mark.parametrize("verdict", [PUBLISH, FAIL, WAIT], ids=lambda verdict: verdict["verdict"])
def test_a_ready_lesson_is_left_as_it_lies_by_whatever_a_list_says(
    course: Course, service: Service, db: psycopg.Connection, verdict: dict[str, str]
) -> None:
    """Each sweep sees the published again: neither row nor lesson is written or locked."""
    course.tracked_lesson("up0")
    service.settle(fact(PUBLISH, "up0", "as0"))
    lesson = "select ctid, xmin, xmax from lessons"
    before = lies(db), db.execute(lesson.encode()).fetchall()
    assert service.outcomes(fact(verdict, "up0", "as0")) == ["unchanged"]
    assert (lies(db), db.execute(lesson.encode()).fetchall()) == before


@pytest.fixture
def crowd(course: Course, db: psycopg.Connection) -> Iterator[None]:
    """Give thousands of rows at the end of the test, of which the planner knows nothing yet."""
    yield
    db.execute("delete from lessons")
    db.execute("analyze lessons, mux_asset_tracking")


def fill(db: psycopg.Connection, upload: str, count: int) -> None:
    """Track many lessons of one instructor, numbered from 0; `%` stands for the number."""
    db.execute(
        "with l as (insert into lessons (creator_id, title) "
        "select 'aaaaaaaa-0000-4000-8000-000000000001', 'x' from generate_series(1, %s) "
        "returning id), n as (select id, row_number() over () - 1 as number from l) "
        "insert into mux_asset_tracking (lesson_id, upload_id, mux_asset_id) "
        "select id, replace(%s, '%%', number::text), 'as' || number from n",
        [count, upload],
    )


def read_through(service: Service, *items: dict[str, Any]) -> int:
    """Settle items; give how many rows Postgres read by going through a whole table."""
    query = (
        "select coalesce(sum(seq_tup_read), 0)::int from pg_stat_xact_user_tables "
        "where schemaname in ('public', 'mux_private') and relname <> 'worker_state'"
    )

    def count() -> int:
        row = service.connection.execute(query.encode()).fetchone()
        assert row is not None
        found: int = row[0]
        return found

    with service.connection.transaction():
        before = count()
        service.settle(*items)
        return count() - before


def test_however_large_the_tables_are_they_are_not_read_through(
    crowd: None, service: Service, db: psycopg.Connection
) -> None:
    """Empty, small, and grown since the connection made its plans: each row is found by index."""
    page = page_of(PUBLISH, 50) + [fact(PUBLISH, f"x{n}", f"y{n}") for n in range(50)]
    read = [read_through(service, *page)]
    fill(db, "small%", 60)
    db.execute("analyze lessons, mux_asset_tracking")
    for start in range(0, 60, 6):  # the sixth plan may be another than the first
        some = [fact(PUBLISH, f"small{n}", f"as{n}") for n in range(start, start + 6)]
        read.append(read_through(service, *some))
    fill(db, "up%", MANY)
    read.append(read_through(service, *page))
    db.execute("analyze lessons, mux_asset_tracking")
    read.append(read_through(service, *page_of(PUBLISH)))
    assert read == [0] * len(read)
    published = db.execute("select count(*) from lessons where status = 'published'").fetchone()
    assert published == (60 + 100,)


@pytest.mark.parametrize("asset_id", [None, "as5"])
def test_the_word_migrated_is_read_as_no_upload(
    crowd: None, service: Service, db: psycopg.Connection, asset_id: str | None
) -> None:
    """Thousands of rows carry it: a fact that does too is about that asset's alone, or none."""
    fill(db, "migrated", MANY)
    db.execute("analyze lessons, mux_asset_tracking")
    before = set(db.execute("select id, xmin, xmax, ctid from mux_asset_tracking"))
    verdict = PUBLISH if asset_id else FAIL
    with service.connection.transaction():
        outcomes = service.outcomes(fact(verdict, "migrated", asset_id))
        (fetched,) = service.connection.execute(
            "select coalesce(sum(seq_tup_read) + sum(idx_tup_fetch), 0)::int "
            "from pg_stat_xact_user_tables where relname = 'mux_asset_tracking'"
        ).fetchone() or (0,)
    assert outcomes == (["published"] if asset_id else ["unmatched"])
    after = set(db.execute("select id, xmin, xmax, ctid from mux_asset_tracking"))
    assert len(before - after) == (1 if asset_id else 0)
    assert fetched < 20
