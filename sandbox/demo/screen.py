"""Show the demo: a live table on a terminal, plain lines elsewhere."""

import json
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

COLOURS = {
    "published": "green", "ready": "green", "draft": "yellow", "processing": "yellow",
    "error": "red",
}  # fmt: skip
LINE_COLOURS = {
    "warning": "yellow",
    "error": "red",
    "app": "cyan",
    "lesson.published": "bold green",
}
"""The colours of lines, by the event or else the level of the worker's log."""

CAPTION = "The worker publishes lessons as a simulated Mux encodes their videos."

TitleOf = Callable[[str], str]
"""Return the title of the lesson with this id."""

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

    def __init__(self, console: Console, title_of: TitleOf) -> None:
        self._console = console
        self._title_of = title_of
        self._started_at = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: *Raised) -> None:
        """Do nothing; the lines stay."""

    def show_step(self, text: str) -> None:
        """Print what the app or Mux does."""
        self._print("app   ", text, LINE_COLOURS["app"])

    def log(self, line: str) -> None:
        """Print a line of the worker's log."""
        style, text = format_log_line(line, self._title_of)
        self._print("worker", text, style)

    def update(self, rows: Sequence[LessonRow], state: str) -> None:
        """Do nothing; the lines show every change."""

    def _print(self, source: str, text: str, style: str) -> None:
        seconds = time.monotonic() - self._started_at
        line = Text(f"{seconds:5.1f} s  {source}  {text}", style=style)
        self._console.print(line, soft_wrap=True)


class LiveTable:
    """Draw the lessons as a table, with the latest lines below it."""

    def __init__(self, console: Console, title_of: TitleOf) -> None:
        self._console = console
        self._title_of = title_of
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
        self._add(LINE_COLOURS["app"], text)

    def log(self, line: str) -> None:
        """Add a line of the worker's log."""
        self._add(*format_log_line(line, self._title_of))

    def update(self, rows: Sequence[LessonRow], state: str) -> None:
        """Draw the table."""
        seconds = time.monotonic() - self._started_at
        title = Text.assemble(
            ("  mux-worker demo  ", "bold reverse"), f"  {seconds:4.0f} s   {state}"
        )
        caption = Text(CAPTION, style="dim", no_wrap=True, overflow="ellipsis")
        lines = list(self._lines)[-max(3, self._console.height - len(rows) - 8) :]
        self._live.update(Group(title, caption, lesson_table(rows), *lines), refresh=True)

    def _add(self, style: str, text: str) -> None:
        seconds = time.monotonic() - self._started_at
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


def format_log_line(line: str, title_of: TitleOf) -> tuple[str, str]:
    """Return colour and text of a log line, with the lesson's title first and ids last.

    A line that is no JSON is returned as it is.
    """
    try:
        fields: dict[str, Any] = json.loads(line)
        level, event = fields.pop("level"), fields.pop("event")
    except (ValueError, KeyError, AttributeError):
        return LINE_COLOURS["error"], line.rstrip()
    fields.pop("timestamp", None)
    lesson_id = fields.pop("lesson_id", None)
    title = [f"“{title_of(lesson_id)}”"] if lesson_id else []
    shown = {name: value for name, value in fields.items() if value not in (None, 0)}
    names = sorted(shown, key=lambda name: name.endswith("_id"))
    parts = [f"{name}={_format_value(name, shown[name])}" for name in names]
    style = LINE_COLOURS.get(event, LINE_COLOURS.get(level, ""))
    return style, " ".join([event, *title, *parts])


def _format_value(name: str, value: Any) -> str:
    text = str(value)
    if " " in text:
        return f"“{text}”"
    return f"{text[:8]}…" if name.endswith("_id") and len(text) > 14 else text
