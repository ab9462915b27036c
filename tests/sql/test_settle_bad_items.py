"""Items that make no sense: each is refused alone."""

from typing import Any

import psycopg
import pytest

from tests.course import Course
from tests.sql.service import FAIL, PUBLISH, WAIT, Service, fact, looked_at

pytestmark = pytest.mark.stack

GARBAGE: list[Any] = [3, "text", None, True, [], [[]], {}, {"upload_id": {"a": 1}}, {"claimed": {}}]


def seconds_to_due(db: psycopg.Connection, lesson: object) -> float:
    """Give the seconds until a row is due."""
    row = db.execute(
        "select extract(epoch from next_check_at - now())::float from mux_private.schedule "
        "where tracking_id = (select id from mux_asset_tracking where lesson_id = %s)",
        [lesson],
    ).fetchone()
    assert row is not None
    return float(row[0])


@pytest.mark.parametrize("garbage", GARBAGE, ids=str)
def test_what_is_no_item_is_about_no_row(course: Course, service: Service, garbage: Any) -> None:
    """Any JSON in place of an item settles nothing, and what stands beside it is settled."""
    idle, fine = course.tracked_lesson("up1"), course.tracked_lesson("up2")
    before = course.row(idle)
    first, last = service.outcomes(garbage, fact(PUBLISH, "up2", "as2"))
    assert first in {"refused", "unmatched"}
    assert last == "published"
    assert course.row(idle) == before
    assert course.state(fine)["status"] == "published"


@pytest.mark.parametrize("verdict", [None, "", "explode", 3, "PUBLISH"])
def test_a_verdict_that_nobody_knows_is_refused(
    course: Course, service: Service, verdict: Any
) -> None:
    """It is not taken for any of the three, and records no asset."""
    lesson = course.tracked_lesson("up1")
    (outcome,) = service.settle({**fact(WAIT, "up1", "as1"), "verdict": verdict})
    assert (outcome["outcome"], outcome["sqlstate"]) == ("refused", "22023")
    assert course.row(lesson)["mux_asset_id"] is None


@pytest.mark.parametrize(
    "harm",
    [
        {"playback_id": None},
        {"playback_id": ""},
        {"playback_id": "temp_playback_up1"},
        {"asset_id": None},
        {"asset_id": "temp_up1"},
        {"asset_id": ""},
    ],
    ids=str,
)
def test_nothing_is_published_without_real_ids(
    course: Course, service: Service, harm: dict[str, Any]
) -> None:
    """A publish without an asset and a playback id that can be played is refused."""
    lesson = course.tracked_lesson("up1")
    before = course.state(lesson)
    (outcome,) = service.settle({**fact(PUBLISH, "up1", "as1"), **harm})
    assert (outcome["outcome"], outcome["sqlstate"]) == ("refused", "22023")
    assert course.state(lesson) == before
    assert course.row(lesson)["status"] == "processing"


@pytest.mark.parametrize("pause", ["soon", None, -1, "NaN", "Infinity", 1e9, True, {}], ids=str)
def test_a_pause_that_makes_no_sense_is_refused_and_the_row_comes_back(
    course: Course, service: Service, db: psycopg.Connection, pause: Any
) -> None:
    """The row is neither lost for ever nor due at once: it is looked at again in a minute."""
    bad, fine = course.tracked_lesson("up1"), course.tracked_lesson("up2")
    claimed = {row["lesson_id"]: row for row in service.claim(lease=600)}
    row = claimed[str(bad)]
    items = [
        fact(WAIT, "up1", claimed=[looked_at(row, pause_seconds=pause)]),
        fact(PUBLISH, "up2", "as2"),
    ]
    assert service.outcomes(*items) == ["refused", "published"]
    assert course.row(bad)["error_type"] == "refused"
    assert 55 < seconds_to_due(db, bad) <= 60
    assert course.state(fine)["status"] == "published"


@pytest.mark.parametrize(
    "harm", [{"tracked_at": "yesterday or so"}, {"missing": "perhaps"}], ids=str
)
def test_a_claim_that_cannot_be_read_is_refused_without_its_neighbours(
    course: Course, service: Service, harm: dict[str, Any]
) -> None:
    """Of two rows of one fact, the one with the garbled claim waits and the other is settled."""
    bad, fine = course.tracked_lesson("up1"), course.tracked_lesson("up1")
    claimed = {row["lesson_id"]: row for row in service.claim()}
    item = fact(
        WAIT,
        "up1",
        claimed=[looked_at(claimed[str(bad)], **harm), looked_at(claimed[str(fine)], FAIL)],
    )
    assert sorted(service.outcomes(item)) == ["failed", "refused"]
    assert course.row(bad)["error_type"] == "refused"
    assert course.row(fine)["status"] == "error"


def test_a_claim_of_no_row_is_passed_over(course: Course, service: Service) -> None:
    """Garbage for a row's id beside a fact about an upload does not keep the upload waiting."""
    lesson = course.tracked_lesson("up1")
    claimed = [{"id": "no uuid"}, 3, None, {}]
    assert service.outcomes(fact(PUBLISH, "up1", "as1", claimed=claimed)) == ["published"]
    assert course.state(lesson)["status"] == "published"


@pytest.mark.parametrize("harm", [{"tracked_at": None}, {"tracked_at": "infinity"}], ids=str)
def test_a_claim_that_does_not_say_what_it_saw_settles_nothing(
    course: Course, service: Service, harm: dict[str, Any]
) -> None:
    """A fact without ids needs the time since which the row it claimed was tracked."""
    lesson = course.tracked_lesson("../x")
    (row,) = service.claim()
    verdict = {"verdict": "fail", "reason": "invalid_id"}
    item = fact(verdict, None, claimed=[looked_at(row, verdict, **harm)])
    assert service.outcomes(item) == ["unmatched"]
    assert course.row(lesson)["status"] == "processing"
