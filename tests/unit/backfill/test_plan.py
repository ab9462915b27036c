from dataclasses import replace

import pytest

from worker.backfill.plan import Options, ending, is_listed, step
from worker.backfill.search import Found
from worker.decide import Rules
from worker.lesson import Lesson, Row, Target
from worker.model import Observation, PlaybackId
from worker.wording import BACKFILL_RESULTS, FAILURES

READY = Observation("asset", "ready", "sweep", "up", "as", (PlaybackId("play", "public"),))
PREPARING = replace(READY, status="preparing", playback_ids=())
BROKEN = replace(READY, status="errored", error_message="no video")
GONE = Observation("upload", "missing", "probe", upload_id="up")
ROW = Row("r", "up", None, None, None, "processing", "2024-01-01")
UP = Target("either", "up", "")
DRAFT = Lesson("l", "anna", "draft", True, False, "temp_up", None, None, (UP,))


def done(
    lesson: Lesson,
    seen: Observation | None,
    options: Options | None = None,
    claimed_by: tuple[Observation, ...] = (),
    *,
    is_whole: bool = True,
) -> tuple[str, str]:
    """Give the kind of a step and what carries it out."""
    found = Found(lesson, seen, UP if seen else None, claimed_by, is_whole)
    one = step(found, Rules(), options or Options(), {})
    return one.kind, one.act


@pytest.mark.parametrize(
    ("status", "seen", "expected"),
    [
        (None, READY, ("published", "adopt")),
        ("processing", READY, ("published", "settle")),
        ("error", READY, ("published", "settle")),
        ("ready", READY, ("restored", "adopt")),
        (None, PREPARING, ("followed", "adopt")),
        ("processing", PREPARING, ("followed", "settle")),
        ("error", PREPARING, ("followed", "adopt")),
        (None, BROKEN, ("asset_errored", "adopt")),
        ("processing", BROKEN, ("asset_errored", "settle")),
        ("error", BROKEN, ("asset_errored", "nothing")),
        ("ready", BROKEN, ("asset_errored", "nothing")),
        (None, replace(READY, playback_ids=()), ("no_playback_id", "nothing")),
        (None, GONE, ("upload_not_found", "nothing")),
        (None, replace(GONE, status="rejected"), ("mux_rejected", "nothing")),
        (None, replace(GONE, status="fault"), ("mux_fault", "nothing")),
        ("processing", replace(GONE, status="fault"), ("mux_fault", "nothing")),
        (None, None, ("unreadable_id", "nothing")),
    ],
)
def test_what_follows_by_row_and_fact(
    status: str | None, seen: Observation | None, expected: tuple[str, str]
) -> None:
    """A row is begun, begun anew, left as it is or restored; what is hopeless gets none."""
    row = replace(ROW, status=status) if status else None
    assert done(replace(DRAFT, row=row), seen) == expected


def test_a_row_of_another_upload_is_left_to_the_database() -> None:
    """Whatever its status: which upload is the newest is decided where the history is."""
    for status in ("processing", "error", "ready"):
        row = replace(ROW, upload_id="other", status=status)
        assert done(replace(DRAFT, row=row), READY) == ("published", "adopt")


def test_who_is_no_draft_keeps_the_status() -> None:
    """It is attached; and a draft that could be played is published only as a whole, anew."""
    assert done(replace(DRAFT, status="archived", is_draft=False), READY) == ("attached", "adopt")
    unpublished = replace(
        DRAFT, asset_id="as", playback_id="play", row=replace(ROW, status="ready")
    )
    assert done(unpublished, READY, Options(include_drafts=True)) == ("published", "adopt")


def test_a_claim_is_taken_only_if_trusted_alone_and_all_was_read() -> None:
    """One asset that names the lesson is evidence; two are none."""
    empty, trust = replace(DRAFT, asset_id=None), Options(trust_passthrough=True)
    assert done(empty, None) == ("no_video", "nothing")
    assert done(empty, None, claimed_by=(READY,)) == ("claimed", "nothing")
    assert done(empty, None, trust, (READY,), is_whole=False) == ("claimed", "nothing")
    assert done(empty, None, trust, (READY,)) == ("published", "adopt")
    assert done(DRAFT, GONE, trust, (READY,)) == ("published", "adopt")
    assert done(empty, None, trust, (READY, BROKEN)) == ("claimed_twice", "nothing")
    assert done(DRAFT, PREPARING, trust, (READY,)) == ("followed", "adopt")


def test_an_adoption_carries_ids_and_no_judgement() -> None:
    """What Mux was asked for, what that is, and what counted before and is missing."""
    new = Target("either", "new", "temporary id")
    lesson = replace(DRAFT, targets=(new, UP), row=replace(ROW, status="ready"))
    one = step(Found(lesson, READY, UP), Rules(), Options(), {})
    assert one.adoption() == {
        "lesson_id": "l",
        "compared": True,
        "disputed": False,
        "id": "up",
        "upload_id": "up",
        "asset_id": "as",
        "missing": ["new"],
        "trusted": False,
        "by_hand": False,
    }


def test_an_asset_that_names_the_lesson_is_adopted_as_trusted() -> None:
    """Nothing was asked for, so there is no id."""
    lesson = replace(DRAFT, asset_id=None, targets=())
    found = Found(lesson, None, None, (READY,), is_whole=True)
    one = step(found, Rules(), Options(trust_passthrough=True), {})
    assert one.adoption() == {
        "lesson_id": "l",
        "compared": True,
        "disputed": False,
        "id": None,
        "upload_id": "up",
        "asset_id": "as",
        "missing": [],
        "trusted": True,
        "by_hand": False,
    }


def test_a_draft_that_could_be_played_is_adopted_by_hand() -> None:
    """An operator asked for it with `--include-drafts`, or by its name."""
    lesson = replace(DRAFT, asset_id="as", playback_id="play")
    one = step(Found(lesson, READY, UP), Rules(), Options(include_drafts=True), {})
    assert (one.kind, one.act, one.by_hand) == ("published", "adopt", True)
    assert one.adoption()["by_hand"] is True


def test_a_lesson_of_the_instructor_whose_it_is_has_it() -> None:
    """Each of hers; nobody else's."""
    found = Found(DRAFT, READY, UP)
    for creator, kind in (("bert", "lesson_mismatch"), ("anna", "published")):
        rivals = {"up": {"lesson_id": "other", "owner": creator, "is_disputed": False}}
        assert step(found, Rules(), Options(), rivals).kind == kind


def test_of_a_disputed_id_nobody_gets_the_video() -> None:
    """Somebody has to say whose it is; the message says what to do."""
    rivals = {"up": {"lesson_id": None, "owner": None, "is_disputed": True}}
    one = step(Found(DRAFT, READY, UP), Rules(), Options(), rivals)
    said = (
        f"{FAILURES['lesson_mismatch']} Lessons of several instructors hold the id up. An operator "
        "has to clear the ids of the wrong lesson."
    )
    assert (one.kind, one.act, one.message) == ("lesson_mismatch", "nothing", said)


def test_every_kind_has_its_words_and_its_end() -> None:
    """What failed is listed; so is what an option would take."""
    kinds = [*BACKFILL_RESULTS, *FAILURES]
    assert {kind for kind in kinds if ending(kind) == "failed"} <= set(filter(is_listed, kinds))
    assert is_listed("has_video")
    assert not is_listed("followed")
    assert (ending("busy"), is_listed("busy")) == ("skipped", True)
    assert ending("something new") == "failed"
