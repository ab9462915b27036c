"""Show the demo: a live table on a terminal, plain lines elsewhere."""

import json
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

COLOURS = {
    "published": "green", "ready": "green", "draft": "yellow", "processing": "yellow",
    "error": "red", "info": "", "warning": "yellow", "error_line": "red", "app": "cyan",
}  # fmt: skip

Raised = tuple[type[BaseException] | None, BaseException | None, TracebackType | None]


@dataclass(frozen=True)
class LessonRow:
    """A lesson as it is in the database; `seconds` count until its upload settled."""

    title: str
    instructor: str
    status: str
    tracking: str
    playback_id: str
    seconds: float


class Screen(Protocol):
    """A view of the demo."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *exc: *Raised) -> None: ...
    def show_step(self, text: str) -> None:
        """Show what the app or Mux does."""
        ...

    def log(self, line: str) -> None:
        """Show a line of the worker's log."""
        ...

    def update(self, rows: Sequence[LessonRow], state: str) -> None:
        """Show the lessons, and the state of Mux."""
        ...


class PlainLines:
    """Print what happens line by line."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started_at = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: *Raised) -> None:
        """Do nothing; the lines stay."""

    def show_step(self, text: str) -> None:
        """Print what the app or Mux does."""
        self._print("app   ", text)

    def log(self, line: str) -> None:
        """Print a line of the worker's log."""
        self._print("worker", format_log_line(line)[1])

    def update(self, rows: Sequence[LessonRow], state: str) -> None:
        """Do nothing; the lines show every change."""

    def _print(self, source: str, text: str) -> None:
        seconds = time.monotonic() - self._started_at
        self._console.print(
            f"{seconds:5.1f} s  {source}  {text}", markup=False, highlight=False, soft_wrap=True
        )


class LiveTable:
    """Draw the lessons as a table, with the latest lines below it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started_at = time.monotonic()
        self._lines: deque[Text] = deque(maxlen=50)
        self._live = Live(console=console, auto_refresh=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *exc: *Raised) -> None:
        self._live.stop()

    def show_step(self, text: str) -> None:
        """Add a line about the app or Mux."""
        self._add("app", text)

    def log(self, line: str) -> None:
        """Add a line of the worker's log."""
        self._add(*format_log_line(line))

    def update(self, rows: Sequence[LessonRow], state: str) -> None:
        """Draw the table."""
        seconds = time.monotonic() - self._started_at
        title = Text.assemble(
            ("  mux-worker demo  ", "bold reverse"), f"  {seconds:4.0f} s   {state}"
        )
        lines = list(self._lines)[-max(3, self._console.height - len(rows) - 7) :]
        self._live.update(Group(title, lesson_table(rows), *lines), refresh=True)

    def _add(self, level: str, text: str) -> None:
        seconds = time.monotonic() - self._started_at
        style = COLOURS.get("error_line" if level == "error" else level, "")
        line = Text(f"{seconds:5.1f} s  {text}", style=style, no_wrap=True, overflow="ellipsis")
        self._lines.append(line)


def lesson_table(rows: Sequence[LessonRow]) -> Table:
    """Return a table of the lessons within 80 columns."""
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for name, width in (("Lesson", 16), ("By", 5), ("Status", 9), ("Tracking", 16)):
        table.add_column(name, width=width, no_wrap=True, overflow="ellipsis")
    table.add_column("Playback id", width=12, no_wrap=True, overflow="ellipsis")
    table.add_column("s", justify="right", width=4)
    for row in rows:
        table.add_row(
            row.title,
            row.instructor,
            Text(row.status, COLOURS.get(row.status, "")),
            Text(row.tracking, COLOURS.get(row.tracking, "red")),
            row.playback_id,
            f"{row.seconds:.0f}",
        )
    return table


def format_log_line(line: str) -> tuple[str, str]:
    """Return level and text of a log line; a line that is no JSON is returned as it is."""
    try:
        fields: dict[str, Any] = json.loads(line)
        level, event = fields.pop("level"), fields.pop("event")
    except (ValueError, KeyError, AttributeError):
        return "error", line.rstrip()
    fields.pop("timestamp", None)
    shown = {name: value for name, value in fields.items() if value not in (None, 0)}
    parts = [f"{name}={_format_value(name, value)}" for name, value in shown.items()]
    return level, " ".join([event, *parts])


def _format_value(name: str, value: Any) -> str:
    text = str(value)
    if " " in text:
        return f"“{text}”"
    return f"{text[:8]}…" if name.endswith("_id") and len(text) > 14 else text
