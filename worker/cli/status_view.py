"""The counts of all lessons, and lists of lessons, as the command `status` prints them."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from worker.cli.console import columns
from worker.lesson import Lesson, Publication
from worker.overview import Day, Overview
from worker.text import ago, duration, plain_id
from worker.wording import STATES, actor, count

STYLES = {
    "unplayable": "bold red",
    "failed": "red",
    "stuck": "yellow",
    "waiting": "cyan",
    "published": "green",
    "ready": "green",
    "untracked": "dim",
}
"""The style of each state."""

NEED_SOMEBODY = ("unplayable", "failed", "stuck")

NONE_IN = {
    "unplayable": "Every published lesson has its video.",
    "failed": "No lesson has failed.",
    "stuck": "No lesson is stuck.",
    "waiting": "No lesson waits for its video.",
    "published": "No lesson was published lately.",
}
"""What a list says that is empty."""

RETRY = "Once the cause is fixed: mux-worker retry LESSON, or retry --all-failed."


def overview_view(overview: Overview) -> RenderableType:
    """Return the counts, and the first lessons of each list that needs somebody."""
    parts: list[RenderableType] = [counts_view(overview)]
    for state in NEED_SOMEBODY:
        page = overview.lists[state]
        if page.lessons:
            hidden = (overview.counts.of(state) or 0) - len(page.lessons)
            more = f"{hidden:,} more: mux-worker status --{state}" if hidden > 0 else ""
            parts += ["", _listed(state, page.lessons, more)]
    if len(parts) == 1:
        parts.append("\nNo lesson needs somebody.")
    return Group(*parts)


def list_view(
    state: str, lessons: Sequence[Lesson], *, has_more: bool, is_filtered: bool = False
) -> RenderableType:
    """Return a list of lessons, each in some lines."""
    if not lessons:
        return Group("No lesson matches." if is_filtered else NONE_IN[state])
    return _listed(state, lessons, more_of(lessons) if has_more else "")


def more_of(lessons: Sequence[Lesson]) -> str:
    """Return the sentences that say that a list is not the whole one."""
    shown = count(len(lessons), "lesson is", "lessons are")
    return f"There are more: {shown} listed. Use --limit to list more."


def line(lesson: Lesson) -> str:
    """Return a lesson in one line of columns between tabs, for other programs.

    They are state, id, title, since when, error type, and why and what to do.
    """
    error_type = lesson.row.error_type if lesson.row else None
    since = lesson.publication.happened_at if lesson.publication else lesson.since
    texts = " ".join(filter(None, (lesson.why, lesson.advice, lesson.detail)))
    cells = (lesson.state, lesson.id, lesson.title, since, error_type, texts)
    return "\t".join(plain_id(cell or "") for cell in cells)


def counts_view(overview: Overview) -> RenderableType:
    """Return the counts of all lessons, and how fast ready videos were published."""
    counts, day = overview.counts, overview.day
    table = columns(6)
    table.columns[0].justify = "right"
    for state in ("unplayable", "failed", "stuck", "waiting"):
        number = counts.of(state) or 0
        oldest = counts.oldest_waiting_seconds if state == "stuck" and number else None
        remark = "" if oldest is None else f", the oldest for {duration(oldest)}"
        style = STYLES[state] if number else "dim"
        table.add_row(Text(f"{number:,}", style), f"{STATES[state]}{remark}")
    published = Text(f"{day.published:,}", "green" if day.published else "dim")
    table.add_row(published, f"published in the last day{_delays(day)}")
    if counts.late_seconds is None:
        return table
    late = f"A lesson has been due for {duration(counts.late_seconds)}. Check that a worker runs."
    return Group(table, Text(f"\n{late}", "yellow"))


def _delays(day: Day) -> str:
    delays = day.delays_of_day
    if delays.p50 is None or delays.p95 is None:
        return ""
    return (
        f"; half of the ready videos within {duration(delays.p50)}, "
        f"95 % within {duration(delays.p95)}"
    )


def _listed(state: str, lessons: Sequence[Lesson], more: str) -> RenderableType:
    parts: list[RenderableType] = []
    if state in STATES:
        heading = STATES[state]
        parts.append(Text(f"{heading[0].upper()}{heading[1:]}\n", f"bold {STYLES[state]}"))
    for lesson in lessons:
        parts += [Padding(_block(lesson, state), (0, 0, 0, 2)), ""]
    parts.pop()
    hints = [more, RETRY if state == "failed" else ""]
    if any(hints):
        parts.append(Text("\n" + "\n".join(filter(None, hints)), "dim"))
    return Group(*parts)


def _block(lesson: Lesson, listed_as: str) -> RenderableType:
    """Return a lesson in some lines: its title, since when, why, what to do, and its ids."""
    title = Text(plain_id(lesson.name), "bold")
    if lesson.state != listed_as and not lesson.publication:
        title.append(f"  {STATES[lesson.state]}", f"not bold {STYLES[lesson.state]}")
    if when := _when(lesson):
        title.append(f"  {when}", "not bold dim")
    why = " ".join(filter(None, (lesson.why, plain_id(lesson.detail))))
    ids = [plain_id(lesson.id)]
    if lesson.row is not None and lesson.row.error_type:
        ids.append(plain_id(lesson.row.error_type))
    lines = [title, Text(why), Text(lesson.advice, "italic"), Text("  ".join(ids), "dim")]
    return Group(*(line for line in lines if line.plain))


def _when(lesson: Lesson) -> str:
    if lesson.publication is not None:
        return _when_published(lesson.publication)
    if lesson.since_seconds is None:
        return ""
    if lesson.state in ("waiting", "stuck"):
        return f"for {duration(lesson.since_seconds)}"
    return ago(lesson.since_seconds)


def _when_published(publication: Publication) -> str:
    at = ago(publication.ago_seconds)
    if publication.reason == "by_hand":
        return f"{at}, by {plain_id(actor(publication.actor))}"
    if publication.waited_seconds is None:
        return at
    return f"{at}, {duration(publication.waited_seconds)} after the upload began"
