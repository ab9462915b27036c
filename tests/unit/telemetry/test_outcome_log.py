import io
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.log_lines import logged
from tests.unit.test_decide import CLAIM
from worker.model import ClaimVerdict, Observation, Outcome, PlaybackId, Settlement, Verdict
from worker.telemetry.outcome_log import OutcomeLog
from worker.telemetry.scan_report import ScanReport

IDS: dict[str, Any] = {"lesson_id": "l1", "upload_id": "up1", "asset_id": "as1"}


def outcome(name: str, **more: Any) -> Outcome:
    """Make an outcome of one row."""
    return Outcome(name, tracking_id="t1", **IDS, **{"age_seconds": 12.34, **more})


def test_an_id_that_fails_alone_is_logged_once_an_hour(out: io.StringIO) -> None:
    """With its ids, the lesson, and what Mux returned; another id is logged as well."""
    outcome_log = OutcomeLog()
    for asset in ("as1", "as1", "as2"):
        seen = Observation(
            "asset", "fault", "probe", asset_id=asset, error_type="http_500", error_message="500."
        )
        verdict = Verdict("wait", "mux_fault", "Mux does not answer about this asset: 500.")
        claimed = ClaimVerdict(CLAIM, verdict, 5)
        outcome_log.settled([Settlement(seen, verdict, (claimed,))], [outcome("waiting")])
    line = {
        "level": "warning",
        "event": "mux.id_failed",
        "lesson_id": "l1",
        "reason": "http_500",
        "message": "Mux does not answer about this asset: 500.",
    }
    assert logged(out) == [{**line, "asset_id": "as1"}, {**line, "asset_id": "as2"}]


def test_what_an_operator_published_names_the_operator(out: io.StringIO) -> None:
    """The line is that of any publication, with `actor`."""
    outcomes = [outcome(name, playback_id="p1") for name in ("published", "attached")]
    OutcomeLog().settled([], outcomes, actor="operator Ines")
    line = {
        "level": "info",
        **IDS,
        "playback_id": "p1",
        "waited_seconds": 12.3,
        "actor": "operator Ines",
    }
    assert logged(out) == [
        {**line, "event": "lesson.published"},
        {**line, "event": "lesson.attached"},
    ]


def test_a_test_asset_is_published_with_one_warning(out: io.StringIO) -> None:
    """The line of its publication says that it will not last."""
    seen = Observation("asset", "ready", "probe", "up1", "as1", is_test=True)
    settled = Settlement(seen, Verdict("publish", "asset_ready", playback_id="p1"))
    OutcomeLog().settled([settled], [outcome("published", playback_id="p1"), outcome("waiting")])
    assert logged(out) == [
        {
            "level": "warning",
            "event": "lesson.published",
            **IDS,
            "playback_id": "p1",
            "waited_seconds": 12.3,
            "message": "This is a test asset. Mux deletes it a day after it was made: upload the "
            "video without `test`.",
        }
    ]


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (
            outcome("published", playback_id="p1", reason="asset_ready"),
            {
                "level": "info",
                "event": "lesson.published",
                "playback_id": "p1",
                "waited_seconds": 12.3,
            },
        ),
        (
            outcome("attached", playback_id="p1"),
            {
                "level": "info",
                "event": "lesson.attached",
                "playback_id": "p1",
                "waited_seconds": 12.3,
            },
        ),
        (
            outcome("failed", reason="asset_errored", message="no video"),
            {
                "level": "warning",
                "event": "lesson.failed",
                "error_type": "asset_errored",
                "message": "no video",
                "waited_seconds": 12.3,
            },
        ),
        (
            outcome("refused", sqlstate="23514", message="the app says no"),
            {
                "level": "error",
                "event": "lesson.refused",
                "sqlstate": "23514",
                "message": "the app says no",
            },
        ),
        (
            outcome("refused", sqlstate="42P01", message="no table", raised_by="function f()"),
            {
                "level": "error",
                "event": "lesson.refused",
                "sqlstate": "42P01",
                "message": "no table",
                "raised_by": "function f()",
            },
        ),
    ],
)
def test_each_outcome_that_matters_is_a_line(
    out: io.StringIO, given: Outcome, line: dict[str, Any]
) -> None:
    """With the ids, and what an operator needs to act."""
    OutcomeLog().settled([], [given])
    assert logged(out) == [{**line, **IDS}]


def test_what_changes_nothing_is_no_line(out: io.StringIO) -> None:
    """Waiting, unchanged, unmatched and busy are only counted."""
    OutcomeLog().settled([], [outcome(n) for n in ("waiting", "unchanged", "unmatched", "busy")])
    assert logged(out) == []


def test_a_refusal_is_logged_once_an_hour_for_each_sqlstate(out: io.StringIO) -> None:
    """A trigger that refuses a hundred lessons is one line."""
    outcome_log = OutcomeLog()
    for sqlstate in ("23514", "23514", "42883"):
        outcome_log.settled([], [outcome("refused", sqlstate=sqlstate)])
    assert [line["sqlstate"] for line in logged(out)] == ["23514", "42883"]


def waiting(seen: Observation, age: float) -> Settlement:
    """Settle a claimed row of some age as waiting."""
    wait = Verdict("wait", "asset_preparing")
    return Settlement(
        seen, wait, (ClaimVerdict(replace(CLAIM, id="t1", age_seconds=age), wait, 5),)
    )


def test_a_stuck_lesson_is_logged_once(out: io.StringIO) -> None:
    """Not at every scan, and not before half an hour."""
    outcome_log = OutcomeLog()
    seen = Observation("asset", "preparing", "probe", upload_id="up1", asset_id="as1")
    for age in (1799, 1800, 1830):
        outcome_log.settled([waiting(seen, age)], [outcome("waiting")])
    assert logged(out) == [
        {
            "level": "warning",
            "event": "lesson.stuck",
            **IDS,
            "lesson_status": "draft",
            "reason": "asset_preparing",
            "message": None,
            "waited_seconds": 1800,
        }
    ]


def test_an_unknown_value_is_logged_once(out: io.StringIO) -> None:
    """By kind and value, whatever row has it."""
    outcome_log = OutcomeLog()
    seen = Observation("asset", "odd", "probe", playback_ids=(PlaybackId("x", "new"),))
    for _ in range(3):
        outcome_log.settled([waiting(seen, 1)], [])
    assert [(line["kind"], line["value"]) for line in logged(out)] == [
        ("asset_status", "odd"),
        ("policy", "new"),
    ]


def test_idle_scans_are_logged_together(out: io.StringIO) -> None:
    """The first, then those of a minute with the next line."""
    outcome_log = OutcomeLog()
    for _ in range(3):
        outcome_log.scan_finished(ScanReport())
    outcome_log.scan_finished(
        ScanReport(2, 1, Counter({"waiting": 1}), requests=3, seconds=0.12345)
    )
    assert logged(out) == [
        {
            "level": "info",
            "event": "scan.finished",
            "scans": 1,
            "claimed": 0,
            "released": 0,
            "mux_requests": 0,
            "seconds": 0.0,
        },
        {
            "level": "info",
            "event": "scan.finished",
            "scans": 3,
            "claimed": 2,
            "waiting": 1,
            "released": 1,
            "mux_requests": 3,
            "seconds": 0.123,
        },
    ]


def test_scans_that_find_rows_waiting_are_logged_once_a_minute(out: io.StringIO) -> None:
    """There is one each second while an upload is in flight. What settles a row is logged."""
    outcome_log = OutcomeLog()
    for name in ("waiting", "waiting", "published", "waiting"):
        outcome_log.scan_finished(ScanReport(1, 0, Counter({name: 1}), requests=1))
    lines = [(line["scans"], line.get("waiting"), line.get("published")) for line in logged(out)]
    assert lines == [(1, 1, None), (2, None, 1)]
