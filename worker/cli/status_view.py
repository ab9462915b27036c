"""Write the status for people: within 80 columns, in colour only on a terminal."""

import textwrap
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from worker.cli.console import WIDTH, coloured
from worker.text import ago, duration
from worker.text import plain_id as clean
from worker.wording import failure, kind

Told = Mapping[str, Any]
GOOD, BAD, DIM = "32", "31", "2"
HUES = {
    "ready": GOOD,
    "published": GOOD,
    "attached": GOOD,
    "error": BAD,
    "failed": BAD,
    "unplayable": BAD,
}


def table_lines(told: Told) -> list[str]:
    """Write the table of all lessons."""
    waits = told["ready_to_published"]
    lines = [
        f"{'processing':<12}{told['processing']:>9,}",
        f"{'  due':<12}{told['due']:>9,}  {_oldest('longest due', told['oldest_due_seconds'])}",
        f"{'  stuck':<12}{told['stuck']:>9,}  "
        + _oldest("oldest tracked", told["oldest_processing_seconds"]),
        f"{'ready':<12}{told['ready']:>9,}",
        f"{'failed':<12}{told['error']:>9,}",
        "",
    ]
    if waits["count"]:
        spread = "  ".join(f"{p} {duration(waits[p])}" for p in ("p50", "p95", "p99"))
        lines.append(f"ready to published, the last day: at most {spread}  of {waits['count']:,}")
    else:
        lines.append("ready to published, the last day: none")
    if told["failures"]:
        lines += ["", "failures, the last first"]
    for one in told["failures"]:
        head = (
            f"  {clean(one['error_type'])[:24]:<24}{one['count']:>7,}  {ago(one['last_seconds'])}"
        )
        lines.append(coloured(head[:WIDTH], BAD))
        lines.append(f"    {one['last_lesson_id']}")
        lines += folded(failure(one["error_type"], one["last_message"]), 4)
    return [line.rstrip() for line in lines]


def lesson_lines(told: Told) -> list[str]:
    """Write one lesson: itself, its tracking row, what Mux says, its history."""
    lines = [f"lesson     {told['lesson_id']}"]
    if told["title"]:
        lines += labelled("title", told["title"])
    lines += labelled("status", told["status"])
    lines += labelled("asset", told["asset_id"] or "none")
    lines += labelled("playback", told["playback_id"] or "none")
    lines += ["", "tracking", *_row_lines(told["row"]), "", "Mux", *_mux_lines(told["mux"])]
    if told["finding"]:
        finding = told["finding"]
        lines += ["", f"backfill   {finding['kind']}"]
        lines += folded(kind(finding["kind"], finding["message"]), 11)
    return [*lines, "", "history", *_history(told["events"])]


def _row_lines(row: Told | None) -> list[str]:
    if row is None:
        return ["  none"]
    lines = labelled("  status", row["status"])
    lines += labelled("  upload", row["upload_id"])
    lines += labelled("  asset", row["asset_id"] or "none")
    if row["status"] == "error" or row["error_type"]:
        why = failure(row["error_type"], row["error_message"])
        lines += labelled("  error", f"{row['error_type'] or 'unknown'}: {why}")
    lines += labelled("  tracked", f"{ago(row['age_seconds'])}, {row['check_count']} looks")
    return lines


def _mux_lines(mux: Told | None) -> list[str]:
    if mux is None:
        return ["  was not asked: there is no id that could be one of Mux's"]
    if "unavailable" in mux:
        return folded(mux["unavailable"], 2)
    lines = labelled("  " + mux["subject"], mux.get(f"{mux['subject']}_id") or "?")
    lines += labelled("  status", mux["status"])
    for one in mux.get("playback_ids", ()):
        lines += labelled("  plays as", f"{one['id']} ({one['policy']})")
    if said := ": ".join(mux[x] for x in ("error_type", "error_message") if mux.get(x)):
        lines += labelled("  says", said)
    return lines


def _history(events: list[Told]) -> list[str]:
    if not events:
        return ["  none"]
    lines, before = [], None
    for event in events:
        at = datetime.fromisoformat(event["happened_at"])
        since = "" if before is None else f"+{duration((at - before).total_seconds())}"
        before = at
        hue = HUES.get(event["event"], "")
        said = f"{at:%Y-%m-%d %H:%M:%S} {since:>11}  {event['event']:<10}"
        who = clean(f"{event['reason'] or ''} by {event['actor']}").strip()
        lines.append(coloured(f"  {said}", hue) + f" {who[: WIDTH - 46]}")
        lines += folded(event["message"], 34)
    return lines


def labelled(name: str, value: str) -> list[str]:
    """Write a value beside its name, folded."""
    hue = HUES.get(value, "")
    pieces = textwrap.wrap(clean(value), WIDTH - 12) or [""]
    return [f"{name if n == 0 else '':<11}{coloured(piece, hue)}" for n, piece in enumerate(pieces)]


def folded(text: str | None, indent: int) -> list[str]:
    """Write a text in as many lines as it takes, three at most."""
    pieces = textwrap.wrap(clean(text or ""), WIDTH - indent, max_lines=3, placeholder=" ...")
    return [" " * indent + piece for piece in pieces]


def _oldest(what: str, seconds: float | None) -> str:
    return "" if seconds is None else f"{what} {ago(seconds)}"
