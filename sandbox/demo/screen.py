"""What one sees of the demo: a live table on a terminal, plain lines elsewhere."""

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
    """A lesson as the database has it now; `seconds` since its upload began, until it settled."""

    title: str
    instructor: str
    status: str
    tracking: str
    playback_id: str
    seconds: float


class Screen(Protocol):
    """Shows the demo."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *exc: *Raised) -> None: ...
    def tell(self, text: str) -> None:
        """Say what the app or Mux does."""
        ...

    def log(self, line: str) -> None:
        """Show a line of the worker's log."""
        ...

    def show(self, rows: Sequence[LessonRow], state: str) -> None:
        """Show how the lessons stand."""
        ...


class Lines:
    """Prints what happens line by line."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: *Raised) -> None:
        """Leave the lines as they are."""

    def tell(self, text: str) -> None:
        """Print what the app or Mux does."""
        self._print("app   ", text)

    def log(self, line: str) -> None:
        """Print a line of the worker's log."""
        self._print("worker", readable(line)[1])

    def show(self, rows: Sequence[LessonRow], state: str) -> None:
        """Print nothing: the lines tell it."""

    def _print(self, who: str, text: str) -> None:
        seconds = time.monotonic() - self._began
        self._console.print(
            f"{seconds:5.1f} s  {who}  {text}", markup=False, highlight=False, soft_wrap=True
        )


class Board:
    """Draws the lessons as a table with the last lines beneath, four times a second."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()
        self._lines: deque[Text] = deque(maxlen=50)
        self._live = Live(console=console, auto_refresh=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *exc: *Raised) -> None:
        self._live.stop()

    def tell(self, text: str) -> None:
        """Add what the app or Mux does to the lines beneath."""
        self._add("app", text)

    def log(self, line: str) -> None:
        """Add a line of the worker's log to the lines beneath."""
        self._add(*readable(line))

    def show(self, rows: Sequence[LessonRow], state: str) -> None:
        """Draw the table anew."""
        seconds = time.monotonic() - self._began
        head = Text.assemble(
            ("  mux-worker demo  ", "bold reverse"), f"  {seconds:4.0f} s   {state}"
        )
        lines = list(self._lines)[-max(3, self._console.height - len(rows) - 7) :]
        self._live.update(Group(head, lesson_table(rows), *lines), refresh=True)

    def _add(self, level: str, text: str) -> None:
        seconds = time.monotonic() - self._began
        style = COLOURS.get("error_line" if level == "error" else level, "")
        line = Text(f"{seconds:5.1f} s  {text}", style=style, no_wrap=True, overflow="ellipsis")
        self._lines.append(line)


def lesson_table(rows: Sequence[LessonRow]) -> Table:
    """Draw the lessons within 80 columns."""
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


def readable(line: str) -> tuple[str, str]:
    """Give level and words of a line of the log; what is no JSON is given as it is."""
    try:
        fields: dict[str, Any] = json.loads(line)
        level, event = fields.pop("level"), fields.pop("event")
    except (ValueError, KeyError, AttributeError):
        return "error", line.rstrip()
    fields.pop("timestamp", None)
    words = [
        f"{name}={_short(name, value)}" for name, value in fields.items() if value not in (None, 0)
    ]
    return level, " ".join([event, *words])


def _short(name: str, value: Any) -> str:
    text = str(value)
    if " " in text:
        return f"“{text}”"
    return f"{text[:8]}…" if name.endswith("_id") and len(text) > 14 else text
