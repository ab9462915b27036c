from datetime import timedelta
from typing import Any

import psycopg
import pytest

from tests.course import Course
from tests.sql.conftest import Connections
from tests.sql.service import PUBLISH, WAIT, Service, fact, looked_at

pytestmark = pytest.mark.stack


def claim(service: Service, name: str | None) -> tuple[str, int]:
    """Claim as a worker of some name; return who leads, and how many rows came."""
    row = service.connection.execute("select worker_claim(100, 60, %s)", [name]).fetchone()
    assert row is not None
    return row[0]["leader"], len(row[0]["rows"])


def lease(db: psycopg.Connection) -> tuple[Any, Any]:
    """Return the leader, and for how many seconds more it leads."""
    row = db.execute(
        "select leader, extract(epoch from leads_until - now())::float "
        "from mux_private.worker_state"
    ).fetchone()
    assert row is not None
    return row[0], row[1]


def due(course: Course, count: int) -> None:
    """Track some uploads."""
    for n in range(count):
        course.tracked_lesson(f"up{n}")


@pytest.mark.parametrize("count", [1, 2, 3])
def test_rows_are_for_one_worker(
    course: Course, service: Service, db: psycopg.Connection, count: int
) -> None:
    """Also one or two: the first to ask leads and gets them all, and the other gets none."""
    due(course, count)
    assert claim(service, "one") == ("ours", count)
    course.make_due()
    assert claim(service, "other") == ("others", 0)
    assert claim(service, "one") == ("ours", count)
    assert lease(db) == ("one", pytest.approx(15, abs=2))


def test_a_row_that_falls_due_meanwhile_is_for_the_leader(course: Course, service: Service) -> None:
    """So that Mux is not asked by two workers at the same time."""
    due(course, 3)
    claim(service, "one")
    course.tracked_lesson("new")
    assert claim(service, "other") == ("others", 0)
    assert claim(service, "one") == ("ours", 1)


def test_where_nothing_is_due_no_worker_leads(
    course: Course, service: Service, db: psycopg.Connection
) -> None:
    """An idle worker writes nothing, and the one that finds the first row leads."""
    course.tracked_lesson("later", next_check_at=timedelta(minutes=1))
    assert claim(service, "one") == ("none", 0)
    assert lease(db) == (None, None)
    course.make_due()
    assert claim(service, "other") == ("ours", 1)


def test_a_leader_for_which_nothing_is_due_goes_on(course: Course, service: Service) -> None:
    """Its lease lasts, though it does not prolong it."""
    due(course, 1)
    claim(service, "one")
    assert claim(service, "one") == ("none", 0)
    course.make_due()
    assert claim(service, "other") == ("others", 0)


def test_nothing_is_left_for_a_worker_that_does_not_lead(course: Course, service: Service) -> None:
    """If it read that more rows are due, it would claim again and again."""
    due(course, 3)
    claim(service, "one")
    course.make_due()
    row = service.connection.execute("select worker_claim(1, 60, 'other')").fetchone()
    assert row is not None
    assert (row[0]["leader"], row[0]["more_are_due"]) == ("others", False)


def test_a_leader_that_is_gone_is_followed_by_another(
    course: Course, service: Service, db: psycopg.Connection
) -> None:
    """When its lease has ended."""
    due(course, 3)
    claim(service, "one")
    course.make_due()
    db.execute("update mux_private.worker_state set leads_until = now() - interval '1 ms'")
    assert claim(service, "other") == ("ours", 3)
    course.make_due()
    assert claim(service, "one") == ("others", 0)


@pytest.mark.parametrize(
    ("name", "left", "kept"), [("one", 3, 15), ("one", 12, 12), ("other", 3, 3)]
)
def test_a_page_that_is_settled_prolongs_the_lead(
    course: Course, service: Service, db: psycopg.Connection, name: str, left: int, kept: int
) -> None:
    """The leader's own, where it is about to end: no long sweep is taken over in the middle."""
    due(course, 3)
    claim(service, "one")
    db.execute(
        "update mux_private.worker_state set leads_until = now() + make_interval(secs => %s)",
        [left],
    )
    service.connection.execute("select worker_settle('[]', null, %s)", [name])
    assert lease(db) == ("one", pytest.approx(kept, abs=1))


def test_a_worker_with_short_leases_leads_no_longer_than_they_last(
    course: Course, service: Service, db: psycopg.Connection
) -> None:
    """Claiming and settling both prolong the lead by what the worker says."""
    due(course, 3)
    service.connection.execute("select worker_claim(100, 4, 'one', 4)")
    assert lease(db) == ("one", pytest.approx(4, abs=1))
    db.execute("update mux_private.worker_state set leads_until = now() + interval '1 s'")
    service.connection.execute("select worker_settle('[]', null, 'one', 4)")
    assert lease(db) == ("one", pytest.approx(4, abs=1))


@pytest.mark.parametrize(("name", "then"), [("one", ("ours", 3)), ("stranger", ("others", 0))])
def test_a_leader_that_stops_is_followed_at_once(
    course: Course, service: Service, name: str, then: tuple[str, int]
) -> None:
    """At a deploy, say: the new worker waits for no lease. Only the leader can give it up."""
    due(course, 3)
    claim(service, "one")
    course.make_due()
    service.connection.execute("select worker_release('[]', %s)", [name])
    assert claim(service, "other") == then


def test_without_a_name_rows_are_given_as_ever(course: Course, service: Service) -> None:
    """A claim without a name gets what is due, whichever worker leads."""
    due(course, 3)
    claim(service, "one")
    course.make_due()
    assert claim(service, None) == ("none", 3)


def test_two_that_ask_at_once_agree(
    course: Course, connections: Connections, db: psycopg.Connection
) -> None:
    """The second does not wait for the first one's answer: that one is about to lead."""
    due(course, 3)
    one, other = connections.service(), connections.service()
    assert claim(one, "one") == ("ours", 3)
    other.connection.execute("set local lock_timeout = '50ms'")
    assert claim(other, "other") == ("others", 0)


def stored(db: psycopg.Connection) -> list[Any]:
    """Read where each row's version lies and who locked it."""
    return db.execute("select id, ctid, xmin, xmax from mux_asset_tracking order by id").fetchall()


def test_rows_that_are_neither_claimed_nor_changed_are_not_written(
    course: Course, service: Service, db: psycopg.Connection
) -> None:
    """A page about a row that waits or has settled leaves it as it lies, not even locked."""
    for status in ("processing", "ready", "error"):
        lesson = course.tracked_lesson(f"up-{status}")
        db.execute(
            "update mux_asset_tracking set status = %s, mux_asset_id = %s where lesson_id = %s",
            [status, f"as-{status}", lesson],
        )
    before = stored(db)
    facts = [fact(WAIT, f"up-{s}", f"as-{s}") for s in ("processing", "ready", "error")]
    assert service.outcomes(*facts) == ["waiting", "unchanged", "unchanged"]
    assert stored(db) == before


def test_a_page_of_a_hundred_is_told_apart(course: Course, service: Service) -> None:
    """ClaimedBatch, waited for by somebody else, and not ours at all, in one call and in order."""
    due(course, 2)
    (first, second) = service.claim()
    assert first["upload_id"] == "up0"
    items = [fact(WAIT, f"stranger{n}", f"as{n}") for n in range(98)]
    items.insert(50, fact(WAIT, "up0", "as-up0", claimed=[looked_at(first, WAIT)]))
    items.insert(10, fact(WAIT, "up1", "as-up1"))
    result = service.settle(*items)
    assert [o["outcome"] for o in result] == [
        "waiting" if n in (10, 51) else "unmatched" for n in range(100)
    ]
    assert result[10]["tracking_id"] == second["id"]


def test_the_word_migrated_is_no_upload(service: Service, db: psycopg.Connection) -> None:
    """A thousand rows whose upload is not known, and a fact that carries that word: none."""
    db.execute(
        "with l as (insert into lessons (creator_id, title) "
        "select gen_random_uuid(), 'x' from generate_series(1, 1000) returning id) "
        "insert into mux_asset_tracking (lesson_id, upload_id, mux_asset_id) "
        "select id, 'migrated', 'as' || id from l"
    )
    assert service.outcomes(fact(PUBLISH, "migrated", "as2")) == ["unmatched"]
    assert db.execute("select count(*) from lessons where status = 'draft'").fetchone() == (1000,)


def test_a_lead_that_is_prolonged_forgets_no_environment(
    course: Course, service: Service, db: psycopg.Connection
) -> None:
    """A page on which none of our ids was found names none."""
    due(course, 3)
    claim(service, "one")
    service.connection.execute("select worker_settle('[]', 'env1', 'one')")
    db.execute("update mux_private.worker_state set leads_until = now() + interval '3 s'")
    service.connection.execute("select worker_settle('[]', null, 'one')")
    recorded = db.execute("select environment_id from mux_private.worker_state").fetchone()
    assert recorded == ("env1",)
    assert lease(db) == ("one", pytest.approx(15, abs=1))
