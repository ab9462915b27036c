from dataclasses import replace

import pytest

from worker.legacy import Lesson, Row, Target, named_in, real
from worker.model import Observation

UP, ASSET = "U" * 44, "A" * 44
ROW = Row("r", UP, None, None, None, "processing", "2024-01-01")
LESSON = Lesson("l", "anna", "2024-01-01", "draft", None, None, None)


@pytest.mark.parametrize(
    ("placeholder", "inside"),
    [
        (f"temp_{UP}", UP),
        (f"temp_playback_{UP}", UP),
        (f"temp_temp_{UP}", UP),
        (f"temp_playback_temp_{UP}", UP),
        ("temp_", None),
        ("temp_playback_", None),
        ("temp_playback", None),
        ("temp_undefined", None),
        ("temp_playback_null", None),
        ("temp_migrated", None),
        ("temp_../assets", None),
        ("temp_ x", None),
        ("temp_" + "x" * 256, None),
    ],
)
def test_the_id_inside_a_placeholder(placeholder: str, inside: str | None) -> None:
    """It is what follows the prefixes; what can be no id is none."""
    assert named_in(placeholder) == inside


@pytest.mark.parametrize("text", [None, "", "temp_x", "migrated", "undefined", "a b", "x" * 256])
def test_what_is_no_real_id(text: str | None) -> None:
    """Placeholders, the word `migrated`, and what Mux could not have made."""
    assert real(text) is None
    assert real(ASSET) == ASSET


def ids(lesson: Lesson) -> list[tuple[str, str]]:
    """Give what is looked for, in order."""
    return [(target.kind, target.id) for target in lesson.targets()]


def test_what_is_looked_for() -> None:
    """Placeholders alone where there are some, else the tracked upload, then the own asset."""
    newer = replace(LESSON, asset_id=f"temp_{UP}", playback_id="temp_playback_Other", row=ROW)
    assert ids(newer) == [("either", UP), ("either", "Other")]
    same = replace(LESSON, asset_id=f"temp_{UP}", playback_id=f"temp_playback_{UP}")
    assert ids(same) == [("either", UP)]
    assert ids(replace(LESSON, asset_id=ASSET, row=ROW)) == [("upload", UP), ("asset", ASSET)]
    migrated = replace(ROW, upload_id="migrated", asset_id=ASSET)
    assert ids(replace(LESSON, asset_id=ASSET, row=migrated)) == [("asset", ASSET)]
    placeholder = replace(ROW, upload_id=f"temp_{UP}")
    assert ids(replace(LESSON, row=placeholder)) == [("either", UP)]
    assert ids(replace(LESSON, asset_id="temp_", row=ROW)) == [("upload", UP)]
    assert ids(LESSON) == []


def test_a_placeholder_is_newer_only_if_it_names_something_else() -> None:
    """What the app cleaned is compared as it was cleaned."""
    lesson = replace(LESSON, asset_id="temp_a_b", row=replace(ROW, upload_id="a-b"))
    assert not lesson.holds_newer
    assert replace(lesson, row=ROW).holds_newer
    assert replace(lesson, row=None).holds_newer
    by_asset = replace(LESSON, playback_id=f"temp_playback_{ASSET}")
    assert not replace(by_asset, row=replace(ROW, asset_id=ASSET)).holds_newer


def test_which_facts_are_about_an_id() -> None:
    """An upload's id never matches an asset, unless it may be either."""
    by_upload = Observation("asset", "ready", "sweep", upload_id="x", asset_id="y")
    by_asset = Observation("asset", "ready", "sweep", upload_id="y", asset_id="x")
    facts = (by_upload, by_asset)
    assert [Target("upload", "x", "").is_of(fact) for fact in facts] == [True, False]
    assert [Target("asset", "x", "").is_of(fact) for fact in facts] == [False, True]
    assert [Target("either", "x", "").is_of(fact) for fact in facts] == [True, True]


def test_which_facts_settle_a_row() -> None:
    """By upload; by asset where the upload is not known, on either side."""
    fact = Observation("asset", "ready", "probe", upload_id=UP, asset_id=ASSET)
    assert ROW.is_about(fact)
    assert not replace(ROW, upload_id="other", asset_id=ASSET).is_about(fact)
    assert replace(ROW, upload_id="migrated", asset_id=ASSET).is_about(fact)
    assert not replace(ROW, upload_id="migrated").is_about(fact)
    assert replace(ROW, asset_id=ASSET).is_about(replace(fact, upload_id=None))


def test_a_real_asset_beside_a_placeholder_is_looked_for_after_it() -> None:
    """Both were saved with the form; where Mux knows nothing of the placeholder's id, it counts."""
    both = replace(LESSON, asset_id=ASSET, playback_id="temp_playback_Other")
    assert [(t.kind, t.id) for t in both.targets()] == [("either", "Other"), ("asset", ASSET)]
    same = replace(LESSON, asset_id=ASSET, playback_id=f"temp_playback_{ASSET}")
    assert [(t.kind, t.id) for t in same.targets()] == [("either", ASSET)]
