"""The lessons of the demo: when each is uploaded, and how it must end."""

from dataclasses import dataclass
from typing import Any

from sandbox.mux.timeline import Timeline


@dataclass(frozen=True)
class LessonPlan:
    """One lesson of the demo.

    All times are in seconds at speed 1. `second_timeline` is that of a second upload, created
    `second_after_seconds` after the first. `error_type` is None where the lesson must be
    published. `note` explains the result in the summary.
    """

    title: str
    instructor: str
    at: float
    timeline: Timeline
    note: str = ""
    timeout_seconds: float = 3600
    second_timeline: Timeline | None = None
    second_after_seconds: float = 5
    has_placeholders: bool = False
    by_webhook: bool = False
    error_type: str | None = None


def _video(prepare_seconds: float, **more: Any) -> Timeline:
    return Timeline(file_after_seconds=1, prepare_seconds=prepare_seconds, **more)


LESSONS = (
    LessonPlan("Welcome", "Anna", 0.5, _video(3)),
    LessonPlan("Setting up", "Bert", 1.5, _video(5)),
    LessonPlan(
        "A second take", "Anna", 2.5, _video(25),
        "uploaded twice; it has the second video", second_timeline=_video(6),
    ),
    LessonPlan(
        "Left alone", "Bert", 3.5, Timeline(file_after_seconds=None),
        "no file was sent; failed, still a draft", timeout_seconds=12,
        error_type="upload_timed_out",
    ),
    LessonPlan(
        "A broken file", "Anna", 5, _video(3, ending="asset_errored"),
        "Mux could not encode it; failed, still a draft", error_type="asset_errored",
    ),
    LessonPlan(
        "From last year", "Bert", 6.5, _video(2),
        "its temp_ ids were replaced by the real ones", has_placeholders=True,
    ),
    LessonPlan("Variables", "Anna", 8, _video(4)),
    LessonPlan("Loops", "Bert", 10, _video(5), "ready during the outage; published after it"),
    LessonPlan("Functions", "Anna", 12, _video(4), "ready during the outage; published after it"),
    LessonPlan("Files", "Bert", 28.5, _video(3), by_webhook=True),
    LessonPlan("Testing", "Anna", 30, _video(4), by_webhook=True),
    LessonPlan("Goodbye", "Bert", 31, _video(3), by_webhook=True),
)  # fmt: skip
