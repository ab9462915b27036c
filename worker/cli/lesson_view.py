"""One lesson with its tracking row, Mux's answer and its history, as `status` prints it."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from worker.cli.console import columns
from worker.cli.status_view import STYLES
from worker.lesson import Lesson
from worker.text import ago, duration, plain_id
from worker.wording import EVENTS, REASONS, STATES, actor, count, failure

Details = Mapping[str, Any]

EVENT_STYLES = {
    "published": "green",
    "attached": "green",
    "updated": "green",
    "restored": "green",
    "failed": "red",
    "refused": "red",
    "unplayable": "red",
}


def lesson_view(lesson: Lesson, details: Details) -> RenderableType:
    """Return one lesson: its state, its columns, its tracking row, what Mux says, its history."""
    table = columns(10)
    _add_state(table, lesson)
    _heading(table, "Lesson")
    _add(table, "id", lesson.id)
    _add(table, "status", lesson.status)
    _add(table, "instructor", lesson.owner)
    _add(table, "asset", lesson.asset_id)
    _add(table, "playback", lesson.playback_id)
    _add_row(table, details["row"])
    _add_mux(table, details["mux"])
    _heading(table, "History")
    title = Text(plain_id(lesson.name), "bold")
    return Group(title, table, *_history(details["events"], lesson.owner))


def _heading(table: Table, text: str) -> None:
    table.add_row()
    table.add_row(Text(text, "bold"))


def _add(table: Table, name: str, value: object) -> None:
    table.add_row(f"  {name}", plain_id("none" if value in (None, "") else value))


def _add_state(table: Table, lesson: Lesson) -> None:
    state = Text(STATES[lesson.state], STYLES[lesson.state])
    if lesson.since_seconds is not None:
        lasts = lesson.state in ("waiting", "stuck", "unplayable")
        age = duration(lesson.since_seconds)
        state.append(f" for {age}" if lasts else f" {age} ago", "default")
    table.add_row("  state", state)
    if lesson.why:
        table.add_row("  why", plain_id(" ".join(filter(None, (lesson.why, lesson.detail)))))
    if lesson.advice:
        table.add_row("  to do", lesson.advice)


def _add_row(table: Table, row: Details | None) -> None:
    _heading(table, "Upload")
    if row is None:
        table.add_row("  tracked", "no")
        return
    _add(table, "id", row["upload_id"])
    _add(table, "asset", row["asset_id"])
    if row["status"] == "error" or row["error_type"]:
        _add(table, "error", row["error_type"] or "unknown")
    checks = "" if row["check_count"] is None else f", {count(row['check_count'], 'check')}"
    _add(table, "tracked", f"{ago(row['age_seconds'])}{checks}")


def _add_mux(table: Table, mux: Details | None) -> None:
    _heading(table, "Mux says now")
    if mux is None:
        table.add_row("", "Mux is not asked, because the lesson has no id that can be one of Mux.")
        return
    if "unavailable" in mux:
        table.add_row("", plain_id(mux["unavailable"]))
        return
    if mux["subject"] == "row":  # no id that Mux could be asked about
        table.add_row("", plain_id(f"Mux is not asked: {mux['error_message']}"))
        return
    _add(table, mux["subject"], mux.get(f"{mux['subject']}_id"))
    _add(table, "status", mux["status"])
    for playback in mux.get("playback_ids", ()):
        _add(table, "playback", f"{playback['id']} ({playback['policy']})")
    if error := ": ".join(mux[x] for x in ("error_type", "error_message") if mux.get(x)):
        _add(table, "error", error)


def _history(events: Sequence[Details], owner: str | None) -> Iterator[RenderableType]:
    if not events:
        yield "  none"
        return
    table = columns(21, 7)
    table.columns[1].justify = "right"
    previous = None
    for event in events:
        at = datetime.fromisoformat(event["happened_at"])
        since = "" if previous is None else f"+{duration((at - previous).total_seconds())}"
        previous = at
        table.add_row(f"  {at:%Y-%m-%d %H:%M:%S}", since, _event(event, owner))
    yield table


def _event(event: Details, owner: str | None) -> Text:
    """Return an event: what happened, by whom, why, and what was said."""
    name, reason = event["event"], event["reason"]
    text = Text(EVENTS.get(name, plain_id(name)), EVENT_STYLES.get(name, ""))
    text.append(f" by {plain_id(actor(event['actor'], owner))}", "dim")
    said = event["message"] or ""
    why = (REASONS.get(reason) or failure(reason)) if reason else ""
    for sentence in ("" if said.startswith(why) else why, said):
        if sentence:
            text.append(f"\n{plain_id(sentence)}", "default")
    return text
