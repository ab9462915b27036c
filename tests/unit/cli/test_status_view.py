from collections.abc import Callable
from typing import Any

import pytest
from rich.console import RenderableType

from worker.cli.console import show
from worker.cli.status_view import lesson_view, status_view
from worker.wording import UNKNOWN_FAILURE, failure

ROW = {
    "status": "error",
    "upload_id": "up1",
    "asset_id": None,
    "age_seconds": 60.0,
    "check_count": 1,
}
LESSON: dict[str, Any] = {
    "lesson_id": "l1",
    "title": None,
    "status": "draft",
    "asset_id": None,
    "playback_id": None,
    "mux": None,
    "events": [],
}


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Callable[[RenderableType], str]:
    """Print through a pipe, and return the text without its line breaks."""

    def read(view: RenderableType) -> str:
        show(view)
        return " ".join(capsys.readouterr().out.split())

    return read


@pytest.mark.parametrize(
    ("error_type", "message", "shown"),
    [
        (None, None, f"unknown: {UNKNOWN_FAILURE}"),
        (None, "Encoding failed", f"unknown: {UNKNOWN_FAILURE} Encoding failed."),
        ("upload_timed_out", None, f"upload_timed_out: {failure('upload_timed_out')}"),
        ("gave_up", failure("gave_up", "Why."), f"gave_up: {failure('gave_up', 'Why.')}"),
    ],
)
def test_a_failed_lesson_always_says_what_happened(
    error_type: str | None,
    message: str | None,
    shown: str,
    printed: Callable[[RenderableType], str],
) -> None:
    """Also one that the app noted without a text; what the row says already is said once."""
    row = {**ROW, "error_type": error_type, "error_message": message}
    assert f"error {shown} tracked 60.0 s ago" in printed(lesson_view({**LESSON, "row": row}))


def test_a_row_that_waits_says_nothing_of_an_error(
    printed: Callable[[RenderableType], str],
) -> None:
    """Unless the database refuses its verdict."""
    row: dict[str, Any] = {**ROW, "status": "processing", "error_type": None, "error_message": None}
    assert "error" not in printed(lesson_view({**LESSON, "row": row}))
    row |= {"error_type": "refused", "error_message": "23514: no"}
    refused = f"error refused: {failure('refused', '23514: no')}"
    assert refused in printed(lesson_view({**LESSON, "row": row}))


def test_a_lesson_may_be_without_a_status_and_a_settled_row_without_checks(
    printed: Callable[[RenderableType], str],
) -> None:
    """Its id is printed as it is, but for what steers a terminal."""
    row = {**ROW, "status": "ready", "error_type": None, "check_count": None}
    shown = printed(lesson_view({**LESSON, "lesson_id": "a [b]\x9b", "status": None, "row": row}))
    assert shown.startswith("lesson a [b]\\u{009b} status none asset none")
    assert "tracked 60.0 s ago Mux" in shown


def test_the_table_of_failures_has_a_sentence_for_each_type(
    printed: Callable[[RenderableType], str],
) -> None:
    """Whatever the last message of the type is."""
    counts = dict.fromkeys(("processing", "due", "stuck", "ready", "error"), 1)
    ages = dict.fromkeys(("oldest_due_seconds", "oldest_processing_seconds"))
    last = {"count": 1, "last_seconds": 1.0, "last_lesson_id": "a\x07", "last_message": None}
    failures = [{**last, "error_type": name} for name in ("upload_cancelled", "unknown")]
    result = {**counts, **ages, "ready_to_published": {"count": 0}, "failures": failures}
    shown = printed(status_view(result))
    assert f"a\\u{{0007}} {failure('upload_cancelled')}" in shown
    assert shown.endswith(f"a\\u{{0007}} {UNKNOWN_FAILURE}")
