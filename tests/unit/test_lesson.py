from typing import Any

import pytest

from tests.unit.test_decide import CLAIM
from worker.lesson import Adoption, Lesson, Row
from worker.model import UPLOAD_UNKNOWN, Observation, Outcome, Query

READY = Observation("asset", "ready", "probe", "up1", "as1")


def adoption(outcome: str, upload_id: str | None = None, asset_id: str | None = None) -> Adoption:
    """Return the adoption of lesson l1."""
    return Adoption(Outcome(outcome, lesson_id="l1", upload_id=upload_id, asset_id=asset_id))


def test_a_lesson_is_read_with_its_tracking_row() -> None:
    """Fields of a newer database are ignored; a lesson may be without a row."""
    row = dict.fromkeys(Row.__slots__) | {
        "id": "r",
        "upload_id": "up1",
        "status": "error",
        "error_type": "gave_up",
        "is_missing": False,
        "mood": "good",
    }
    lesson: dict[str, Any] = {
        "lesson_id": "l1",
        "title": "Sourdough",
        "owner": "anna",
        "state": "failed",
        "since": "2026-01-01T00:00:00+00:00",
        "since_seconds": 5.0,
        "status": "draft",
        "is_published": False,
        "asset_id": "temp_new",
        "playback_id": None,
        "row": row,
        "mood": "good",
    }
    known = ("Sourdough", "anna", "failed", "2026-01-01T00:00:00+00:00", 5.0)
    failed = Row("error", "gave_up", upload_id="up1")
    assert Lesson.from_json(lesson) == Lesson(
        "l1", "draft", False, "temp_new", None, failed, *known
    )
    untracked = Lesson("l1", "draft", False, "temp_new", None, None, *known)
    assert Lesson.from_json({**lesson, "row": None}) == untracked


def test_an_adoption_is_read_with_what_was_restored_and_its_claim() -> None:
    """Fields of a newer database are ignored."""
    claim = {name: getattr(CLAIM, name) for name in CLAIM.__dataclass_fields__}
    restored = {"outcome": "restored", "lesson_id": "l1", "playback_id": "play1", "mood": "good"}
    answer: dict[str, Any] = {
        "lesson_id": "l1",
        "outcome": "adopted",
        "reason": None,
        "upload_id": "up1",
        "asset_id": None,
        "is_draft": True,
        "restored": restored,
        "claim": {**claim, "mood": "good"},
        "mood": "good",
    }
    assert Adoption.from_json(answer) == Adoption(
        Outcome("adopted", lesson_id="l1", upload_id="up1"),
        Outcome("restored", lesson_id="l1", playback_id="play1"),
        CLAIM,
        is_draft=True,
    )


@pytest.mark.parametrize("restored", [{}, {"restored": None, "claim": None, "is_draft": None}])
def test_most_adoptions_have_neither(restored: dict[str, None]) -> None:
    """A field that is missing is one that is null."""
    answer = {"lesson_id": "l1", "outcome": "busy", **restored}
    assert Adoption.from_json(answer) == Adoption(Outcome("busy", lesson_id="l1"))


@pytest.mark.parametrize(
    ("ids", "mux_id", "query"),
    [
        (("up1", None), "up1", Query("l1", "up1", None)),
        (("up1", "as1"), "up1", Query("l1", "up1", "as1")),
        ((UPLOAD_UNKNOWN, "as1"), "as1", Query("l1", UPLOAD_UNKNOWN, "as1")),
        ((None, "as1"), "as1", Query("l1", UPLOAD_UNKNOWN, "as1")),
        ((None, None), None, None),
    ],
)
@pytest.mark.parametrize("outcome", ["adopted", "tracked", "ask"])
def test_mux_is_asked_about_the_id_that_is_to_be_tracked(
    outcome: str, ids: tuple[str | None, str | None], mux_id: str | None, query: Query | None
) -> None:
    """As an asset's only where no upload is known."""
    asked = adoption(outcome, *ids)
    assert (asked.mux_id, asked.query) == (mux_id, query)


@pytest.mark.parametrize(
    "outcome", ["restored", "unchanged", "disputed", "left_alone", "busy", "refused"]
)
def test_mux_is_not_asked_where_nothing_is_to_be_tracked(outcome: str) -> None:
    """Whatever ids the lesson names."""
    assert adoption(outcome, "up1", "as1").query is None


@pytest.mark.parametrize("outcome", ["adopted", "tracked", "ask"])
def test_an_id_that_mux_knows_is_sent_with_what_it_is(outcome: str) -> None:
    """`id` is the one that Mux was asked about, as the lesson names it."""
    assert adoption(outcome, "as1").item(READY) == {
        "lesson_id": "l1",
        "id": "as1",
        "upload_id": "up1",
        "asset_id": "as1",
    }
    without_upload = Observation("asset", "preparing", "sweep", None, "as1")
    assert adoption(outcome, UPLOAD_UNKNOWN, "as1").item(without_upload) == {
        "lesson_id": "l1",
        "id": "as1",
        "upload_id": None,
        "asset_id": "as1",
    }


@pytest.mark.parametrize("status", ["missing", "rejected"])
def test_an_id_that_mux_does_not_know_counts_for_nothing_beside_a_history(status: str) -> None:
    """Where nothing else is known of the lesson's video, it is tracked, and fails."""
    unknown = Observation("upload", status, "probe", "up1")
    missing = {"lesson_id": "l1", "id": "up1", "is_missing": True}
    assert adoption("ask", "up1").item(unknown) == missing
    for outcome in ("adopted", "tracked"):
        assert adoption(outcome, "up1").item(unknown) == {"lesson_id": "l1"}


def test_a_fault_says_nothing_about_an_id() -> None:
    """The database asks again."""
    fault = Observation("upload", "fault", "probe", "up1")
    assert adoption("ask", "up1").item(fault) == {"lesson_id": "l1"}
