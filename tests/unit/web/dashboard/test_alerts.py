import re
from dataclasses import replace
from html import unescape
from typing import Any

import pytest

from worker.errors import SupabaseUnavailable
from worker.overview import Counts, Day, Delays, Overview
from worker.telemetry.scan_history import OutageState
from worker.web.dashboard.alerts import ServiceState, alerts, headline
from worker.web.dashboard.chart import HEIGHT, HOURS, MARGIN_TOP, draw
from worker.web.dashboard.lesson_view import LessonView
from worker.web.dashboard.overview_cache import Snapshot
from worker.web.dashboard.render import Pages
from worker.wording import FAILURES, UNKNOWN_FAILURE

NOW = "2026-01-01T00:00:00+00:00"
WELL = ServiceState(None, 1.0, 0.0, (), None, None, 3, ("5", "4"), accepts_webhooks=False)
COUNTS = Counts(0, 2, 0, 4, 0, None, None)
NO_DELAYS = Delays(0, None, None, None)
DAY = Day(0, 0, (), None, NO_DELAYS, NO_DELAYS)
SUPABASE = SupabaseUnavailable("timeout", "Supabase did not answer in time.")


def snapshot(error: str | None = None, **counts: Any) -> Snapshot:
    """Return an overview with these counts."""
    return Snapshot(Overview(NOW, replace(COUNTS, **counts), DAY, {}, None), 1.0, error, 0.01, 60.0)


def lesson_json(**more: Any) -> dict[str, Any]:
    """Return a lesson as the database describes it."""
    lesson: dict[str, Any] = dict.fromkeys(
        ("title", "asset_id", "playback_id", "row", "since", "since_seconds", "environment_id")
    )
    lesson |= {"lesson_id": "l1", "status": "draft", "owner": "anna", "is_published": False}
    return {**lesson, "state": "untracked", "now": NOW, "events": [], **more}


def test_the_chart_has_one_scale() -> None:
    """Published up, failed down, between round numbers; a missing hour is empty."""
    chart = draw(
        [
            {"hours_ago": 0, "published": 6, "failed": 0},
            {"hours_ago": 5, "published": 3, "failed": 2},
        ]
    )
    assert (len(chart.bars), chart.published, chart.failed) == (HOURS, 9, 2)
    last, fifth = chart.bars[-1], chart.bars[-6]
    assert last.up == pytest.approx(HEIGHT * 6 / 8)
    assert fifth.up == pytest.approx(last.up / 2)
    assert fifth.down == pytest.approx(last.up / 3)
    assert [tick.value for tick in chart.ticks] == [6, 4, 2, 0, 2]
    assert chart.ticks[0].y == pytest.approx(chart.base - last.up) == MARGIN_TOP
    assert chart.ticks[-1].y == pytest.approx(chart.base + fifth.down) == MARGIN_TOP + HEIGHT
    assert chart.description == ("Most in one hour: 6 published, the last hour; 2 failed, 5 h ago.")
    assert chart.is_complete


def test_a_single_lesson_among_many_is_visible() -> None:
    """However high the other bars are."""
    chart = draw(
        [
            {"hours_ago": 0, "published": 100_000, "failed": 1},
            {"hours_ago": 1, "published": 1, "failed": 0},
        ]
    )
    assert (chart.bars[-1].down, chart.bars[-2].up) == (2.0, 2.0)


@pytest.mark.parametrize(
    ("published", "failed", "scale"),
    [
        (1, 0, [1, 0]),
        (0, 3, [1, 0, 1, 2, 3]),
        (7, 1, [10, 5, 0, 5]),
        (8, 0, [8, 6, 4, 2, 0]),
        (21, 0, [30, 20, 10, 0]),
        (1001, 30, [1500, 1000, 500, 0, 500]),
    ],
)
def test_the_scale_has_few_round_numbers(published: int, failed: int, scale: list[int]) -> None:
    """At most four steps, and no bar is beyond it."""
    chart = draw([{"hours_ago": 0, "published": published, "failed": failed}])
    assert [tick.value for tick in chart.ticks] == scale
    assert chart.bars[-1].up <= chart.base - MARGIN_TOP


def test_an_empty_day_is_a_chart() -> None:
    """Its description says so."""
    chart = draw([])
    assert {(bar.up, bar.down) for bar in chart.bars} == {(0.0, 0.0)}
    assert chart.description == "Nothing was published and nothing failed in the last day."


def test_hours_that_were_not_counted_are_marked() -> None:
    """Two and a half hours were counted: the third hour counts, older ones do not."""
    chart = draw([], counted_seconds=9000)
    assert [bar.hours_ago for bar in chart.bars if bar.is_counted] == [2, 1, 0]
    assert not chart.is_complete


def test_when_all_is_well_there_is_no_alert() -> None:
    """The headline counts."""
    assert alerts(WELL, snapshot()) == []
    assert headline(WELL, snapshot()) == "2 failed, 4 waiting."
    assert headline(WELL, snapshot(waiting=1, stuck=1)) == "2 failed, 1 stuck, 1 waiting."
    assert headline(WELL, snapshot(waiting=0, failed=0)) == "No lesson waits, and none has failed."
    assert headline(WELL, Snapshot(None, 1.0, None, 0.0)) == "The lessons are not known."


@pytest.mark.parametrize(
    ("changes", "error", "counts", "said"),
    [
        ({"loop_problem": "no pass"}, None, {}, "The scan loop hangs: no pass."),
        (
            {"supabase": OutageState(1, "paused", "Gone.", True)},
            "x",
            {},
            "Supabase has not answered since 1970-01-01 00:00:01 UTC.",
        ),
        ({}, "Slow.", {}, "Supabase has not answered this page since 1970-01-01 00:01:00 UTC."),
        (
            {"mux": OutageState(1, "http_401", "Refused.", True)},
            None,
            {},
            "Mux refuses the credentials.",
        ),
        (
            {"mux": OutageState(1, "http_503", "Down.", False)},
            None,
            {},
            "Mux has not answered since 1970-01-01 00:00:01 UTC. Down.",
        ),
        (
            {},
            None,
            {"oldest_due_seconds": 400.0},
            "A lesson has been due for 6 min. The worker is behind.",
        ),
    ],
)
def test_each_alert_says_what_to_do(
    changes: dict[str, Any], error: str | None, counts: dict[str, Any], said: str
) -> None:
    """An error is the headline, too."""
    state = replace(WELL, **changes)
    (found,) = alerts(state, snapshot(error, **counts))
    assert found.message == said
    assert found.advice
    assert (headline(state, snapshot(error, **counts)) == said) == (found.severity == "bad")


def test_errors_come_before_warnings() -> None:
    """Services come before lessons."""
    state = replace(WELL, mux=OutageState(1, "http_503", "Down.", needs_operator=False))
    found = alerts(state, snapshot(oldest_due_seconds=400.0))
    assert [t.severity for t in found] == ["bad", "warn"]


def test_lessons_that_need_somebody_are_no_alert() -> None:
    """They have tiles and lists, which is enough."""
    assert alerts(WELL, snapshot(stuck=3, unplayable=2, failed=1)) == []


@pytest.mark.parametrize(
    ("known", "said"),
    [
        (
            True,
            (
                "The lessons are shown as they were at 2026-01-01 00:00:00 UTC; what changed since "
                "is not known."
            ),
        ),
        (False, "This worker has not read the lessons yet, so none are shown."),
    ],
)
def test_during_an_outage_it_says_what_is_known_since_when(known: bool, said: str) -> None:
    """In sentences, and whether it ends by itself."""
    shown = snapshot("Slow.") if known else Snapshot(None, 1.0, "Slow.", 0.01, 60.0)
    (found,) = alerts(WELL, shown)
    assert found.advice == (
        f"Slow. {said} The worker tries again by itself, and no lesson is lost. "
        "See status.supabase.com."
    )
    paused = replace(WELL, supabase=OutageState(1, "paused", "It is paused.", needs_operator=True))
    (found,) = alerts(paused, shown)
    assert found.advice == f"It is paused. {said} This does not resolve by itself."


@pytest.mark.parametrize(
    ("error_type", "message", "shown"),
    [
        (None, None, f"{UNKNOWN_FAILURE} unknown"),
        (None, "Encoding failed", f"{UNKNOWN_FAILURE} unknown Encoding failed"),
        ("gave_up", None, f"{FAILURES['gave_up']} gave_up"),
        ("gave_up", f"{FAILURES['gave_up']} Why.", f"{FAILURES['gave_up']} gave_up Why."),
    ],
)
def test_a_failed_lesson_always_says_what_happened(
    error_type: str | None, message: str | None, shown: str
) -> None:
    """Also one that the app recorded without a text; a repeated sentence is shown once."""
    row: dict[str, Any] = dict.fromkeys(
        (
            *("asset_id", "temp_asset_id", "playback_id", "last_checked_at", "next_check_at"),
            *("settled_at", "progress"),
        )
    )
    row |= {"status": "error", "upload_id": "up1", "age_seconds": 1.0, "check_count": 1}
    row |= {"tracked_at": NOW, "error_type": error_type, "error_message": message}
    result = lesson_json(state="failed", row={**row, "is_missing": False})
    page = Pages().page(
        "lesson_detail.html",
        view=LessonView.from_json(result),
        message=None,
        operator="Ines",
        thumbnail_url=None,
    )
    assert isinstance(page.body, bytes)
    words = " ".join(unescape(re.sub(r"<[^>]*>", " ", page.body.decode())).split())
    assert f"State {shown} Actions" in words
