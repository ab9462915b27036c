from collections.abc import Callable
from typing import Any

import pytest
from rich.console import RenderableType

from worker.cli.console import text_of
from worker.cli.lesson_view import lesson_view
from worker.lesson import Lesson, Row
from worker.wording import UNKNOWN_FAILURE, failure

ROW: dict[str, Any] = {
    "id": "r",
    "status": "error",
    "upload_id": "up1",
    "asset_id": None,
    "age_seconds": 7260.0,
    "check_count": 1,
}
EVENT: dict[str, Any] = {
    "happened_at": "2026-01-01T00:00:00+00:00",
    "event": "tracked",
    "actor": "anna",
    "reason": None,
    "message": None,
}
SAID = failure("asset_errored", "Mux says: invalid_input: no video")
EVENTS = [
    EVENT,
    {
        **EVENT,
        "happened_at": "2026-01-01T00:01:05+00:00",
        "event": "failed",
        "actor": "service_role",
        "reason": "asset_errored",
        "message": SAID,
    },
]


def view(error_type: str | None, message: str | None, **details: Any) -> RenderableType:
    """Return the view of a failed lesson."""
    row = Row("error", error_type, message, upload_id="up1")
    known: dict[str, Any] = {
        "title": "Sourdough",
        "owner": "anna",
        "state": "failed",
        "since_seconds": 7200.0,
    }
    lesson = Lesson("l1", "draft", False, None, None, row, **known)
    given = {**ROW, "error_type": error_type, "error_message": message}
    return lesson_view(lesson, {"row": given, "mux": None, "events": [], **details})


WHOLE = """\
Sourdough
  state       failed 2 h ago
  why         Mux could not process the file. Mux says: invalid_input: no video.
  to do       Export it again, for example as MP4, and upload it.

Lesson
  id          l1
  status      draft
  instructor  anna
  asset       none
  playback    none

Upload
  id          up1
  asset       none
  error       asset_errored
  tracked     2 h ago, 1 check

Mux says now
  asset       as1
  status      errored
  error       invalid_input: no video

History
  2026-01-01 00:00:00           Tracked by the instructor
  2026-01-01 00:01:05    +65 s  Failed by the worker
                                Mux could not process the file. Export it again,
                                for example as MP4, and upload it. Mux says:
                                invalid_input: no video.
"""


def test_a_lesson_is_shown_with_its_state_its_ids_and_its_history(
    drawn: Callable[[RenderableType, int], str],
) -> None:
    """What happened and what to do come first; what the message says already is not repeated."""
    mux = {"subject": "asset", "asset_id": "as1", "status": "errored"}
    mux |= {"error_type": "invalid_input", "error_message": "no video"}
    lesson = view("asset_errored", SAID, mux=mux, events=EVENTS)
    assert drawn(lesson, 80) == WHOLE
    wide = WHOLE.partition("  2026-01-01 00:01:05")[0] + (
        "  2026-01-01 00:01:05    +65 s  Failed by the worker\n"
        "                                Mux could not process the file. Export it again, for "
        "example as MP4, and upload it. Mux says: invalid_input:\n"
        "                                no video.\n"
    )
    assert drawn(lesson, 140) == wide


@pytest.mark.parametrize(
    ("error_type", "message", "shown"),
    [
        (None, None, UNKNOWN_FAILURE),
        (None, "Encoding failed", UNKNOWN_FAILURE.replace(". U", ". Encoding failed U")),
        ("upload_timed_out", None, failure("upload_timed_out")),
        ("gave_up", failure("gave_up"), failure("gave_up")),
    ],
)
def test_a_failed_lesson_always_says_what_happened(
    error_type: str | None, message: str | None, shown: str
) -> None:
    """Also one that the app noted without a text; what the row says already is said once."""
    words = " ".join(text_of(view(error_type, message)).split()).replace(" to do ", " ")
    assert f"why {shown} Lesson id l1" in words
    assert f"error {error_type or 'unknown'} tracked" in words


def test_what_is_not_there_is_called_none_and_mux_is_not_asked() -> None:
    """A lesson may be without a status and a row; its id is printed but for what steers."""
    lesson = Lesson("a [b]\x9b", None, False, None, None, None)
    shown = " ".join(text_of(lesson_view(lesson, {"row": None, "mux": None, "events": []})).split())
    assert shown.startswith(
        "Untitled lesson state not tracked Lesson id a [b]\\u{009b} status none"
    )
    assert "Upload tracked no Mux says now Mux is not asked," in shown
    assert shown.endswith("History none")
    assert "None" not in shown
