from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from rich.console import RenderableType

from worker.cli.status_view import line, list_view, overview_view
from worker.lesson import Lesson, Publication, Row
from worker.overview import Counts, Day, Delays, LessonPage, Overview
from worker.wording import UNKNOWN_FAILURE, failure

Draw = Callable[[RenderableType, int], str]

NOW = "2026-01-01T02:00:00+00:00"
SINCE = "2026-01-01T00:00:00+00:00"
ID = "03e57586-c42d-4498-b150-8c2a558eb53"


def lesson(number: int, state: str, title: str | None, **row: Any) -> Lesson:
    """Return a lesson that has been in its state for two hours."""
    status = {"failed": "error", "unplayable": "ready"}.get(state, "processing")
    tracking = Row(status, row.pop("error_type", None), **row)
    known: dict[str, Any] = {"title": title, "owner": "anna", "state": state, "since": SINCE}
    return Lesson(
        f"{ID}{number}", "draft", False, None, None, tracking, since_seconds=7200.0, **known
    )


ERRORED = failure("asset_errored", "Mux says: invalid_input: The input file is not a video.")
FAILED = lesson(
    1, "failed", "Sourdough for beginners", error_type="asset_errored", error_message=ERRORED
)
STUCK = lesson(2, "stuck", None, last_checked_at=SINCE, upload_id="up2")
DELETED = lesson(3, "unplayable", "Focaccia", error_type="asset_deleted", last_checked_at=SINCE)
PUBLISHED = replace(
    DELETED,
    state="published",
    row=Row("ready", None),
    publication=Publication("published", NOW, 5.0, "service_role", None, "play1", 70.0, 0.5),
)
NO_DELAYS = Delays(0, None, None, None)
QUIET = Overview(
    NOW,
    Counts(0, 0, 0, 0, 0, None, None),
    Day(0, 0, (), None, NO_DELAYS, NO_DELAYS),
    dict.fromkeys(
        ("unplayable", "failed", "stuck", "waiting", "published"), LessonPage((), None, NOW)
    ),
    None,
)
BUSY = replace(
    QUIET,
    counts=Counts(1, 1234, 1, 2, 3, 400.0, 7200.0),
    day=Day(212, 3, (), None, NO_DELAYS, Delays(212, 0.81, 1.42, 3.0)),
    lists={
        **QUIET.lists,
        "unplayable": LessonPage((DELETED,), None, NOW),
        "failed": LessonPage((FAILED,), "x", NOW),
        "stuck": LessonPage((STUCK,), None, NOW),
    },
)

AT_80 = f"""\
     1  published, plays nothing
 1,234  failed
     1  stuck, the oldest for 2 h
     2  waiting
   212  published in the last day; half of the ready videos within 0.8 s, 95 %
        within 1.4 s

A lesson has been due for 6 min. Check that a worker runs.

Published, plays nothing

  Focaccia  2 h ago
  The video was deleted in Mux.
  Upload it again.
  {ID}3  asset_deleted

Failed

  Sourdough for beginners  2 h ago
  Mux could not process the file. Mux says: invalid_input: The input file is not
  a video.
  Export it again, for example as MP4, and upload it.
  {ID}1  asset_errored

1,233 more: mux-worker status --failed
Once the cause is fixed: mux-worker retry LESSON, or retry --all-failed.

Stuck

  Untitled lesson  for 2 h
  Mux waits for the file.
  If the upload was interrupted, upload the video again.
  {ID}2
"""


def test_the_overview_says_who_needs_somebody_and_what_to_do(drawn: Draw) -> None:
    """At 80 columns within them, and at 140 with whole sentences on a line."""
    assert drawn(overview_view(BUSY), 80) == AT_80
    wide = AT_80.replace("95 %\n        within", "95 % within").replace("is not\n  a", "is not a")
    assert drawn(overview_view(BUSY), 140) == wide


def test_where_nothing_happens_it_says_so(drawn: Draw) -> None:
    """All counts are zero; no lesson needs somebody."""
    assert drawn(overview_view(QUIET), 80) == (
        "     0  published, plays nothing\n     0  failed\n     0  stuck\n     0  waiting\n"
        "     0  published in the last day\n\nNo lesson needs somebody.\n"
    )


def test_a_list_says_the_state_where_lessons_differ(drawn: Draw) -> None:
    """A search lists lessons of all states, without a heading; a limit names how to see more."""
    shown = drawn(list_view("all", [STUCK, DELETED], has_more=True), 80)
    assert (
        shown
        == f"""\
  Untitled lesson  stuck  for 2 h
  Mux waits for the file.
  If the upload was interrupted, upload the video again.
  {ID}2

  Focaccia  published, plays nothing  2 h ago
  The video was deleted in Mux.
  Upload it again.
  {ID}3  asset_deleted

There are more: 2 lessons are listed. Use --limit to list more.
"""
    )


def test_what_was_published_says_how_long_it_took(drawn: Draw) -> None:
    """Or by whom, where an operator did it."""
    shown = drawn(list_view("published", [PUBLISHED], has_more=False), 80)
    assert shown == (f"Published\n\n  Focaccia  5.0 s ago, 70 s after the upload began\n  {ID}3\n")
    assert PUBLISHED.publication is not None
    by_hand = replace(PUBLISHED.publication, reason="by_hand", actor="operator ines")
    done = replace(PUBLISHED, publication=by_hand)
    shown = drawn(list_view("published", [done], has_more=False), 80)
    assert "Focaccia  5.0 s ago, by an operator: ines\n" in shown


@pytest.mark.parametrize(
    ("is_filtered", "said"), [(False, "No lesson has failed."), (True, "No lesson matches.")]
)
def test_an_empty_list_is_a_sentence(drawn: Draw, is_filtered: bool, said: str) -> None:
    """Lessons may have failed that a search does not find."""
    view = list_view("failed", [], has_more=False, is_filtered=is_filtered)
    assert drawn(view, 80) == f"{said}\n"


def test_colours_tell_the_states_apart(
    terminal: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Red for what failed, yellow for what is stuck; a title is bold."""
    from worker.cli.console import show

    show(overview_view(BUSY))
    shown = capsys.readouterr().out
    assert "\x1b[1;31mFailed\x1b[0m" in shown
    assert "\x1b[1;33mStuck\x1b[0m" in shown
    assert "\x1b[1mSourdough for beginners\x1b[0m" in shown


def test_a_line_for_other_programs_has_columns_between_tabs() -> None:
    """One line a lesson, whole; what steers a terminal is shown by its code point."""
    assert line(FAILED).split("\t") == [
        *("failed", f"{ID}1", "Sourdough for beginners", SINCE, "asset_errored", ERRORED)
    ]
    odd = replace(STUCK, title="a\tb\x1b[2J")
    assert line(odd).split("\t")[2] == "a\\u{0009}b\\u{001b}[2J"
    untracked = replace(STUCK, state="untracked", row=None, since=None, title=None)
    assert line(untracked) == f"untracked\t{ID}2\t\t\t\t"


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (Row("processing", None), "The worker has not checked the video yet."),
        (Row("processing", None, last_checked_at=SINCE), "Mux waits for the file."),
        (
            Row("processing", None, last_checked_at=SINCE, asset_id="as1"),
            "Mux is preparing the video.",
        ),
        (
            Row("processing", None, last_checked_at=SINCE, is_missing=True),
            "Mux does not know the video, or has no playback id for it that is accepted.",
        ),
        (
            Row("processing", "refused", "23514: no", last_checked_at=SINCE),
            "The database refuses to save the video of this lesson.",
        ),
    ],
)
def test_what_is_stuck_says_what_it_waits_for(row: Row, why: str) -> None:
    """And always what to do."""
    stuck = replace(STUCK, row=row)
    assert stuck.why == why
    assert stuck.advice
    assert stuck.detail == (row.error_message or "")


def test_a_failure_without_a_type_is_explained_too() -> None:
    """The app may have written it."""
    failed = replace(FAILED, row=Row("error", None, "Encoding failed"))
    assert f"{failed.why} {failed.advice}" == UNKNOWN_FAILURE
    assert failed.detail == "Encoding failed"
