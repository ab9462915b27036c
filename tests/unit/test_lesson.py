from dataclasses import replace
from typing import Any

import pytest

from worker.lesson import Lesson, Row, Target, queries_for
from worker.model import UPLOAD_UNKNOWN, Observation

UP, ASSET = "U" * 44, "A" * 44
ROW = Row("r", UP, None, None, None, "processing", "2024-01-01")
LESSON = Lesson("l", "anna", "draft", True, False, None, None, None)


def test_a_lesson_is_read_with_the_ids_to_ask_for() -> None:
    """The database says which, in its order; fields of a newer one are ignored."""
    row = {
        "id": "r",
        "upload_id": UP,
        "temp_asset_id": None,
        "asset_id": ASSET,
        "playback_id": None,
        "status": "error",
        "tracked_at": "2024-01-02",
        "error_type": "gave_up",
        "mood": "good",
    }
    result: dict[str, Any] = {
        "lesson_id": "l",
        "owner": "anna",
        "is_draft": True,
        "is_published": False,
        "status": "draft",
        "asset_id": "temp_new",
        "playback_id": None,
        "row": row,
        "targets": [
            {"id": "new", "kind": "either", "found_in": "temporary id"},
            {"id": ASSET, "kind": "asset", "found_in": "tracking row"},
        ],
        "mood": "good",
    }
    lesson = Lesson(
        "l",
        "anna",
        "draft",
        True,
        False,
        "temp_new",
        None,
        Row("r", UP, None, ASSET, None, "error", "2024-01-02", "gave_up"),
        (Target("either", "new", "temporary id"), Target("asset", ASSET, "tracking row")),
    )
    assert Lesson.from_json(result) == lesson
    untracked = replace(lesson, row=None, targets=())
    assert Lesson.from_json({**result, "row": None, "targets": []}) == untracked


@pytest.mark.parametrize(
    ("kind", "looks"),
    [
        ("either", [("l/0/u", "x", None), ("l/0/a", UPLOAD_UNKNOWN, "x")]),
        ("asset", [("l/0/a", UPLOAD_UNKNOWN, "x")]),
    ],
)
def test_an_id_is_looked_for_as_what_it_may_be(
    kind: Any, looks: list[tuple[str, str, str | None]]
) -> None:
    """A page tells of both; what is an asset's is never sent as an upload's."""
    found = queries_for(Target(kind, "x", ""), "l/0")
    assert [(look.key, look.upload_id, look.asset_id) for look in found] == looks


def test_which_facts_settle_a_row() -> None:
    """By upload, also where that is an asset's id; by asset where the upload is not known."""
    fact = Observation("asset", "ready", "probe", upload_id=UP, asset_id=ASSET)
    assert ROW.matches(fact)
    assert replace(ROW, upload_id=ASSET).matches(fact)
    assert not replace(ROW, upload_id="other", asset_id=ASSET).matches(fact)
    assert replace(ROW, upload_id=UPLOAD_UNKNOWN, asset_id=ASSET).matches(fact)
    assert not replace(ROW, upload_id=UPLOAD_UNKNOWN).matches(fact)
    by_asset = replace(fact, upload_id=None)
    assert replace(ROW, asset_id=ASSET).matches(by_asset)
    assert replace(ROW, upload_id=ASSET).matches(by_asset)
    assert not ROW.matches(by_asset)


@pytest.mark.parametrize(
    ("is_draft", "playback_id", "expected"),
    [
        (True, "Play", True),
        (True, "temp_playback_x", False),
        (True, "", False),
        (True, None, False),
        (False, "Play", False),
    ],
)
def test_a_draft_with_a_real_playback_id_may_be_meant(
    is_draft: bool, playback_id: str | None, expected: bool
) -> None:
    """Only a draft that could be played; its instructor may have unpublished it."""
    lesson = replace(LESSON, status="in work", is_draft=is_draft, playback_id=playback_id)
    assert lesson.is_draft_with_video is expected


def test_what_tells_of_an_upload() -> None:
    """An id of any kind, or a row."""
    assert not LESSON.may_have_video
    result: list[dict[str, Any]] = [{"asset_id": "temp_"}, {"playback_id": "temp_"}, {"row": ROW}]
    assert all(replace(LESSON, **one).may_have_video for one in result)
