"""The status of all lessons, and of one lesson, as rich renders them."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from worker.cli.console import columns
from worker.text import ago, duration, plain_id
from worker.wording import failure

Details = Mapping[str, Any]

STYLES = {
    "ready": "green",
    "published": "green",
    "attached": "green",
    "error": "red",
    "failed": "red",
    "unplayable": "red",
}


def status_view(status: Details) -> RenderableType:
    """Return the counts of all lessons, the delays of the last day, and the failures."""
    counts = columns(12, 9)
    counts.columns[1].justify = "right"
    for name, key, remark in (
        ("processing", "processing", ""),
        ("  due", "due", _oldest("longest due", status["oldest_due_seconds"])),
        ("  stuck", "stuck", _oldest("oldest tracked", status["oldest_processing_seconds"])),
        ("ready", "ready", ""),
        ("failed", "error", ""),
    ):
        counts.add_row(name, f"{status[key]:,}", remark)
    return Group(counts, "", _delays(status["ready_to_published"]), *_failures(status["failures"]))


def _oldest(name: str, seconds: float | None) -> str:
    return "" if seconds is None else f"{name} {ago(seconds)}"


def _delays(delays: Details) -> str:
    if not delays["count"]:
        return "ready to published, the last day: none"
    values = "  ".join(f"{p} {duration(delays[p])}" for p in ("p50", "p95", "p99"))
    return f"ready to published, the last day: at most {values}  of {delays['count']:,}"


def _failures(failures: Sequence[Details]) -> Iterator[RenderableType]:
    if not failures:
        return
    yield "\nfailures, the most recent first"
    table = columns(18, 3, 8)
    table.columns[1].justify = "right"
    for row in failures:
        sentences = failure(row["error_type"], row["last_message"])
        table.add_row(
            Text(plain_id(row["error_type"]), "red"),
            f"{row['count']:,}",
            ago(row["last_seconds"]),
            f"{plain_id(row['last_lesson_id'])}\n{plain_id(sentences)}",
        )
    yield table


def lesson_view(lesson: Details) -> RenderableType:
    """Return one lesson: its columns, its tracking row, what Mux reports, its history."""
    table = columns(9)
    _add(table, "lesson", lesson["lesson_id"])
    if lesson["title"]:
        _add(table, "title", lesson["title"])
    _add(table, "status", lesson["status"] or "none")
    _add(table, "asset", lesson["asset_id"] or "none")
    _add(table, "playback", lesson["playback_id"] or "none")
    table.add_row()
    _add_row(table, lesson["row"])
    table.add_row()
    _add_mux(table, lesson["mux"])
    return Group(table, "", *_history(lesson["events"]))


def _add(table: Table, name: str, value: str) -> None:
    table.add_row(name, Text(plain_id(value), STYLES.get(value, "")))


def _add_row(table: Table, row: Details | None) -> None:
    if row is None:
        _add(table, "tracking", "none")
        return
    _add(table, "tracking", row["status"])
    _add(table, "  upload", row["upload_id"])
    _add(table, "  asset", row["asset_id"] or "none")
    if row["status"] == "error" or row["error_type"]:
        sentences = failure(row["error_type"], row["error_message"])
        _add(table, "  error", f"{row['error_type'] or 'unknown'}: {sentences}")
    checks = "" if row["check_count"] is None else f", {row['check_count']} checks"
    _add(table, "  tracked", f"{ago(row['age_seconds'])}{checks}")


def _add_mux(table: Table, mux: Details | None) -> None:
    if mux is None:
        _add(table, "Mux", "not asked, because the lesson has no id that can be an id of Mux")
        return
    if "unavailable" in mux:
        _add(table, "Mux", mux["unavailable"])
        return
    _add(table, "Mux", mux["status"])
    _add(table, f"  {mux['subject']}", mux.get(f"{mux['subject']}_id") or "?")
    for playback in mux.get("playback_ids", ()):
        _add(table, "  playback", f"{playback['id']} ({playback['policy']})")
    if error := ": ".join(mux[x] for x in ("error_type", "error_message") if mux.get(x)):
        _add(table, "  error", error)


def _history(events: Sequence[Details]) -> Iterator[RenderableType]:
    if not events:
        yield "history    none"
        return
    yield "history"
    table = columns(19, 8, 9)
    table.columns[1].justify = "right"
    previous = None
    for event in events:
        at = datetime.fromisoformat(event["happened_at"])
        since = "" if previous is None else f"+{duration((at - previous).total_seconds())}"
        previous = at
        actor = f"{event['reason'] or ''} by {event['actor']}".strip()
        table.add_row(
            f"{at:%Y-%m-%d %H:%M:%S}",
            since,
            Text(event["event"], STYLES.get(event["event"], "")),
            "\n".join(plain_id(text) for text in (actor, event["message"]) if text),
        )
    yield table
