from itertools import count
from typing import Any

import pytest

from tests.unit.web.dashboard.test_alerts import NOW, lesson_json
from worker.errors import SupabaseUnavailable, WorkerError
from worker.supabase.lessons import LessonStore
from worker.web.dashboard.bulk_retry import MAX_SECONDS, retry_all
from worker.web.dashboard.lesson_filter import LessonFilter

FAILED = LessonFilter("failed")
BY = ("Ines", None)


class FailedLessons:
    """A database with failed lessons, one a page; it stops to answer after some pages."""

    def __init__(self, lessons: int, answers: int | None = None) -> None:
        self.lessons = lessons
        self.answers = answers
        self.retried: list[str] = []

    async def call(self, function: str, params: dict[str, Any]) -> Any:
        """Answer."""
        if function == "worker_retry":
            self.retried += params["lesson_ids"]
            return params["lesson_ids"]
        assert function == "worker_list_lessons"
        number = int(params["after"] or 0)
        if number == self.answers:
            raise SupabaseUnavailable("timeout", "Supabase did not answer in time.")
        lesson = lesson_json(lesson_id=str(number), state="failed", event=None)
        after = str(number + 1) if number + 1 < self.lessons else None
        return {"now": NOW, "lessons": [lesson], "next": after}


async def test_all_pages_are_retried() -> None:
    """To the end of the list."""
    database = FailedLessons(3)
    done = await retry_all(LessonStore(database.call), FAILED, BY)
    assert done == "3 lessons are due again, as if the upload had just begun."
    assert database.retried == ["0", "1", "2"]


async def test_what_does_not_fit_into_the_time_is_left_for_another_try() -> None:
    """A platform's router would cut the request."""
    ticks = count(0, MAX_SECONDS / 2)
    database = FailedLessons(30)
    done = await retry_all(LessonStore(database.call), FAILED, BY, lambda: next(ticks))
    assert done == (
        "1 lesson is due again, as if the upload had just begun. There are more: retry all again."
    )
    assert database.retried == ["0"]


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        (0, "Supabase did not answer in time."),
        (
            2,
            (
                "2 lessons are due again, as if the upload had just begun. Supabase did not answer "
                "in time. Check SUPABASE_URL and status.supabase.com, then try again."
            ),
        ),
    ],
)
async def test_an_outage_says_what_was_done_before(answers: int, said: str) -> None:
    """Nothing that was retried is kept from the operator."""
    database = FailedLessons(30, answers)
    with pytest.raises(WorkerError) as failed:
        await retry_all(LessonStore(database.call), FAILED, BY)
    assert str(failed.value) == said
    assert len(database.retried) == answers
