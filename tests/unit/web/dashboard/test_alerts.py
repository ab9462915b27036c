import re
from html import unescape
from typing import Any

import pytest

from worker.telemetry.scan_history import Fault
from worker.web.dashboard.alerts import Standing, headline, troubles
from worker.web.dashboard.chart import HOURS, TALL, TOP, draw
from worker.web.dashboard.overview_cache import Seen
from worker.web.dashboard.render import Pages
from worker.wording import FAILURES, UNKNOWN_FAILURE

NOW = "2026-01-01T00:00:00+00:00"
WELL = Standing(None, 1.0, 0.0, (), None, None, False, 3, ("5", "4"), takes_webhooks=False)
COUNTS = {"processing": 4, "due": 0, "stuck": 0, "error": 2, "oldest_due_seconds": None}


def seen(fault: str | None = None, **counts: Any) -> Seen:
    """Give an overview with these counts."""
    return Seen({**COUNTS, **counts}, 1.0, fault, 0.01)


def test_the_chart_holds_the_day_to_one_scale() -> None:
    """Published up, failed down, the tallest two fill it; what is not told is nothing."""
    chart = draw(
        [
            {"hours_ago": 0, "published": 6, "failed": 0},
            {"hours_ago": 5, "published": 3, "failed": 2},
        ]
    )
    assert (len(chart.bars), chart.published, chart.failed) == (HOURS, 9, 2)
    last, fifth = chart.bars[-1], chart.bars[-6]
    assert last.up == pytest.approx(TALL * 6 / 8)
    assert fifth.up == pytest.approx(last.up / 2)
    assert fifth.down == pytest.approx(last.up / 3)
    assert chart.base - last.up == pytest.approx(TOP)
    assert chart.base + fifth.down == pytest.approx(TOP + TALL)
    assert chart.sentence == (
        "In the last day 9 published and 2 failed. Most in one hour: 6 published, the last hour."
    )
    assert chart.is_whole


def test_a_single_one_among_many_can_be_seen() -> None:
    """However tall the others are."""
    chart = draw(
        [
            {"hours_ago": 0, "published": 100_000, "failed": 1},
            {"hours_ago": 1, "published": 1, "failed": 0},
        ]
    )
    assert (chart.bars[-1].down, chart.bars[-2].up) == (2.0, 2.0)


def test_an_empty_day_is_a_chart_too() -> None:
    """And says so."""
    chart = draw([])
    assert {(bar.up, bar.down) for bar in chart.bars} == {(0.0, 0.0)}
    assert chart.sentence == "Nothing was published and nothing failed in the last day."


def test_hours_that_were_not_counted_are_marked() -> None:
    """Counted for two hours and a half: the hour that is half counted is, those before not."""
    chart = draw([], counted_seconds=9000)
    assert [bar.hours_ago for bar in chart.bars if bar.is_counted] == [2, 1, 0]
    assert not chart.is_whole


def test_when_all_is_well_nothing_needs_anybody() -> None:
    """The headline counts."""
    assert troubles(WELL, seen()) == []
    assert headline(WELL, seen()) == "4 wait, 2 failed."
    assert headline(WELL, seen(processing=1, stuck=1)) == "1 waits, 1 stuck, 2 failed."
    assert headline(WELL, Seen(None, 1.0, None, 0.0)) == "Nothing is known of the lessons."


@pytest.mark.parametrize(
    ("changes", "fault", "counts", "said"),
    [
        ({"loop_fault": "no pass"}, None, {}, "The worker's loop hangs: no pass."),
        ({"supabase": Fault(1, "paused", "Gone.", True)}, "x", {}, "Supabase is out: Gone."),
        ({}, "Slow.", {}, "Supabase does not answer this page: Slow."),
        ({"mux_refuses": True}, None, {}, "Mux refuses the credentials."),
        ({"mux": Fault(1, "http_503", "Down.", False)}, None, {}, "Mux is out: Down."),
        ({}, None, {"stuck": 1}, "1 lesson has waited for over half an hour."),
        (
            {},
            None,
            {"oldest_due_seconds": 400.0},
            "A lesson has been due for 6 min: the worker does not get to it.",
        ),
    ],
)
def test_whatever_is_wrong_is_said_with_what_to_do(
    changes: dict[str, Any], fault: str | None, counts: dict[str, Any], said: str
) -> None:
    """Each alone; and what is grave is the headline."""
    from dataclasses import replace

    standing = replace(WELL, **changes)
    (found,) = troubles(standing, seen(fault, **counts))
    assert found.what == said
    assert found.advice
    assert (headline(standing, seen(fault, **counts)) == said) == (found.gravity == "bad")


def test_the_gravest_is_said_first() -> None:
    """Before lessons come services."""
    from dataclasses import replace

    standing = replace(WELL, mux=Fault(1, "http_503", "Down.", needs_operator=False))
    assert [t.gravity for t in troubles(standing, seen(stuck=3))] == ["bad", "warn"]


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
    """Also one that the app noted without a text; what the row says already is said once."""
    lesson = dict.fromkeys(("title", "asset_id", "playback_id", "finding"))
    lesson |= {"status": "draft", "creator_id": "anna"}
    row: dict[str, Any] = dict.fromkeys(
        ("asset_id", "temp_asset_id", "playback_id", "last_checked_at")
    )
    row |= {"status": "error", "upload_id": "up1", "age_seconds": 1.0, "check_count": 1}
    row |= {"tracked_at": NOW, "error_type": error_type, "error_message": message}
    told: dict[str, Any] = {**lesson, "lesson_id": "l1", "now": NOW, "row": row, "events": []}
    page = Pages().page(
        "story.html", told=told, said=None, operator={"session": None, "form_token": ""}
    )
    assert isinstance(page.body, bytes)
    words = " ".join(unescape(re.sub(r"<[^>]*>", " ", page.body.decode())).split())
    assert f"How it stands {shown} Lesson l1" in words
