import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.course import Course
from tests.sql.conftest import Connections
from tests.sql.service import FAIL, PUBLISH, WAIT, Service, fact, looked_at

pytestmark = pytest.mark.stack


class InBackground:
    """Runs a statement that has to wait, and tells when it is seen to wait."""

    def __init__(self, connection: psycopg.Connection, work: Callable[[], Any]) -> None:
        self._pid = connection.info.backend_pid
        self._error: BaseException | None = None
        self._work = work
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._work()
        except psycopg.Error as error:
            self._error = error

    def is_seen_to_wait(self, db: psycopg.Connection) -> None:
        """Return once Postgres says that it waits for a lock."""
        deadline = time.monotonic() + 60
        query = "select wait_event_type from pg_stat_activity where pid = %s"
        while db.execute(query, [self._pid]).fetchone() != ("Lock",):
            assert time.monotonic() < deadline, "it does not wait"

    def ends(self) -> None:
        """Return once it is done; raises what it raised."""
        self._thread.join(60)
        assert not self._thread.is_alive()
        if self._error is not None:
            raise self._error


def test_a_delete_waits_for_a_settle_and_then_deletes(
    course: Course, connections: Connections, db: psycopg.Connection
) -> None:
    """The lesson is published, then gone; its audit stays."""
    lesson = course.tracked_lesson("up1")
    settler, app = connections.service(), connections.transaction()
    assert settler.outcomes(fact(PUBLISH, "up1", "as1")) == ["published"]
    delete = InBackground(app, lambda: app.execute("delete from lessons where id = %s", [lesson]))
    delete.is_seen_to_wait(db)
    settler.connection.commit()
    delete.ends()
    app.commit()
    assert db.execute("select count(*) from mux_asset_tracking").fetchone() == (0,)
    assert [event["event"] for event in course.events(lesson)] == ["tracked", "published"]


@pytest.mark.parametrize("verdict", [PUBLISH, FAIL, WAIT])
def test_a_settle_does_not_wait_for_a_delete(
    course: Course, service: Service, connections: Connections, verdict: dict[str, str]
) -> None:
    """While a delete is under way the row is busy; afterwards nothing tracks the upload."""
    lesson = course.tracked_lesson("up1")
    app = connections.transaction()
    app.execute("delete from lessons where id = %s", [lesson])
    assert service.outcomes(fact(verdict, "up1", "as1")) == ["busy"]
    app.commit()
    assert service.outcomes(fact(verdict, "up1", "as1")) == ["unmatched"]


@pytest.mark.parametrize("order", [1, -1])
def test_of_several_facts_about_a_row_the_one_that_says_most_is_settled(
    course: Course, service: Service, order: int
) -> None:
    """Written again in one transaction, a row would wait for a lesson that is being deleted."""
    lesson = course.tracked_lesson("up1")
    facts = [fact(WAIT, "up1", "as0"), fact(FAIL, "up1"), fact(PUBLISH, "up1", "as1")][::order]
    assert service.outcomes(*facts) == ["unchanged", "unchanged", "published"][::order]
    assert [event["event"] for event in course.events(lesson)] == ["tracked", "published"]
    assert course.row(lesson)["mux_asset_id"] == "as1"


@pytest.mark.parametrize("verdict", [PUBLISH, FAIL, WAIT])
def test_a_row_that_became_ready_since_it_was_matched_is_unchanged(
    course: Course, service: Service, db: psycopg.Connection, verdict: dict[str, str]
) -> None:
    """Another worker settled it between the statement that found the row and its lock."""
    lesson = course.tracked_lesson("up1")
    assert service.outcomes(fact(PUBLISH, "up1", "as1")) == ["published"]
    before = course.row(lesson), course.state(lesson), course.events(lesson)
    outcome = db.execute(
        "select mux_private.settle_row(mux_private.fact_of(%s), t.id, t.lesson_id, null)"
        " ->> 'outcome' from mux_asset_tracking t",
        [Jsonb(fact(verdict, "up1", "as2"))],
    ).fetchone()
    assert outcome == ("unchanged",)
    assert (course.row(lesson), course.state(lesson), course.events(lesson)) == before


def test_a_new_upload_waits_for_a_settle_and_then_starts_anew(
    course: Course, connections: Connections, db: psycopg.Connection
) -> None:
    """The old video is published first, and replaced when the new one is ready."""
    lesson = course.tracked_lesson("up1")
    settler, app = connections.service(), connections.transaction()
    settler.outcomes(fact(PUBLISH, "up1", "as1"))
    anna = Course(app, anna=course.anna, bert=course.bert)
    upload = InBackground(app, lambda: anna.track(lesson, "up2"))
    upload.is_seen_to_wait(db)
    settler.connection.commit()
    upload.ends()
    app.commit()
    row = course.row(lesson)
    assert (row["upload_id"], row["status"], row["mux_asset_id"]) == ("up2", "processing", None)
    assert settler.outcomes(fact(PUBLISH, "up2", "as2")) == ["attached"]
    settler.connection.commit()
    assert course.state(lesson)["mux_playback_id"] == "play-as2"


def test_a_settle_does_not_publish_the_video_before_the_new_upload(
    course: Course, service: Service, connections: Connections
) -> None:
    """A row that is just being uploaded to again is busy, and then no longer about the old fact."""
    lesson = course.tracked_lesson("up1")
    app = connections.transaction()
    Course(app, anna=course.anna, bert=course.bert).track(lesson, "up2")
    assert service.outcomes(fact(PUBLISH, "up1", "as1")) == ["busy"]
    app.commit()
    assert service.outcomes(fact(PUBLISH, "up1", "as1")) == ["unmatched"]
    assert course.state(lesson)["mux_asset_id"] is None


def test_two_settles_of_one_fact_publish_once(course: Course, connections: Connections) -> None:
    """The second finds the lesson locked and says busy; after the first, unchanged."""
    lesson = course.tracked_lesson("up1")
    one, other = connections.service(), connections.service()
    assert one.outcomes(fact(PUBLISH, "up1", "as1")) == ["published"]
    assert other.outcomes(fact(PUBLISH, "up1", "as1")) == ["busy"]
    one.connection.commit()
    other.connection.rollback()
    assert other.outcomes(fact(PUBLISH, "up1", "as1")) == ["unchanged"]
    other.connection.commit()
    assert [event["event"] for event in course.events(lesson)] == ["tracked", "published"]


def test_settles_of_the_same_lessons_in_opposite_order_never_deadlock(
    course: Course, connections: Connections
) -> None:
    """Two pages that hold the same lessons skip what the other has, whatever their order."""
    course.tracked_lesson("up1")
    course.tracked_lesson("up2")
    one, other = connections.service(), connections.service()
    assert one.outcomes(fact(PUBLISH, "up1", "as1")) == ["published"]
    assert other.outcomes(fact(PUBLISH, "up2", "as2")) == ["published"]
    assert one.outcomes(fact(PUBLISH, "up2", "as2")) == ["busy"]
    assert other.outcomes(fact(PUBLISH, "up1", "as1")) == ["busy"]
    one.connection.commit()
    other.connection.commit()


def test_a_claim_passes_over_what_is_being_settled(
    course: Course, connections: Connections
) -> None:
    """While a settle is under way, a claim neither waits nor takes the row."""
    course.tracked_lesson("up1")
    settler, claimer = connections.service(), connections.service()
    settler.outcomes(fact(FAIL, "up1"))
    assert claimer.claim() == []


def test_a_claim_under_way_makes_the_row_busy(course: Course, connections: Connections) -> None:
    """A settle finds the row locked by a claim, and the claim's own settle then passes."""
    course.tracked_lesson("up1")
    claimer, settler = connections.service(), connections.service()
    (row,) = claimer.claim()
    assert settler.outcomes(fact(FAIL, "up1")) == ["busy"]
    claimer.connection.commit()
    settler.connection.rollback()
    assert settler.outcomes(fact(FAIL, "up1", claimed=[looked_at(row, FAIL)])) == ["failed"]
