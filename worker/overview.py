"""The state of all lessons, as the commands and the dashboard show it: counts, day and lists."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from worker.lesson import Lesson

LISTS = ("unplayable", "failed", "stuck", "waiting", "published")
"""The states of which there are lists; the first three need somebody."""

LATE_SECONDS = 300.0
"""How long a lesson may be due while the worker keeps up."""

ALL = "all"
"""The list of all lessons, in the order of their ids."""


@dataclass(frozen=True, slots=True)
class Counts:
    """How many lessons are in each state; `due` may be waiting or stuck. Ages are in seconds."""

    unplayable: int
    failed: int
    stuck: int
    waiting: int
    due: int
    oldest_due_seconds: float | None
    oldest_waiting_seconds: float | None

    @classmethod
    def from_json(cls, summary: Mapping[str, Any]) -> Self:
        """Return the counts as `worker_summary` describes them."""
        return cls(
            summary["unplayable"],
            summary["error"],
            summary["stuck"],
            summary["processing"] - summary["stuck"],
            summary["due"],
            summary["oldest_due_seconds"],
            summary["oldest_processing_seconds"],
        )

    @property
    def late_seconds(self) -> float | None:
        """How long a lesson has been due, where that is too long."""
        due = self.oldest_due_seconds
        return due if due is not None and due > LATE_SECONDS else None

    def of(self, state: str) -> int | None:
        """Return the count of a state; None where that is not counted."""
        return getattr(self, state) if state in LISTS[:4] else None


@dataclass(frozen=True, slots=True)
class Delays:
    """How long ready videos waited until they were published, at most, in seconds."""

    count: int
    p50: float | None
    p95: float | None
    p99: float | None


@dataclass(frozen=True, slots=True)
class Day:
    """The last day: what was published, which lessons failed, in all and in each hour.

    `counted_seconds` is how far back was counted where that is not the whole day.
    """

    published: int
    failed: int
    hours: tuple[Mapping[str, int], ...]
    counted_seconds: float | None
    delays_of_hour: Delays
    delays_of_day: Delays

    @classmethod
    def from_json(cls, day: Mapping[str, Any]) -> Self:
        """Return the day as `mux_private.day` describes it."""
        hour, whole = (
            Delays(**{name: day["ready_to_published"][period][name] for name in Delays.__slots__})
            for period in ("hour", "day")
        )
        return cls(
            day["published"],
            day["failed"],
            tuple(day["hours"]),
            day["counted_seconds"],
            hour,
            whole,
        )


@dataclass(frozen=True, slots=True)
class LessonPage:
    """A page of a list; `next` names the next one, and is None on the last."""

    lessons: tuple[Lesson, ...]
    next: str | None
    now: str

    @classmethod
    def from_json(cls, page: Mapping[str, Any]) -> Self:
        """Return a page as `worker_list_lessons` describes it."""
        return cls(tuple(map(Lesson.from_json, page["lessons"])), page["next"], page["now"])


@dataclass(frozen=True, slots=True)
class Overview:
    """The counts, the day, the first page of each list, and when the last webhook came."""

    now: str
    counts: Counts
    day: Day
    lists: Mapping[str, LessonPage]
    events_seconds: float | None

    @classmethod
    def from_json(cls, overview: Mapping[str, Any]) -> Self:
        """Return the overview as `worker_overview` describes it."""
        return cls(
            overview["now"],
            Counts.from_json(overview["counts"]),
            Day.from_json(overview["day"]),
            {state: LessonPage.from_json(overview["lists"][state]) for state in LISTS},
            overview["events_seconds"],
        )

    @property
    def headline(self) -> str:
        """The counts in a sentence, those that need somebody first."""
        counts = ((state, self.counts.of(state)) for state in LISTS)
        named = [f"{number:,} {state}" for state, number in counts if number]
        return f"{', '.join(named)}." if named else "No lesson waits, and none has failed."
