from dataclasses import replace
from typing import Literal

import pytest

from worker.backfill.publish import PublishResult
from worker.lesson import Lesson

LESSON = Lesson("l1", "anna", "draft", True, False, None, None, None)


@pytest.mark.parametrize(
    ("outcome", "status", "sentence"),
    [
        ("published", "draft", "l1 is published."),
        ("attached", "in review", "l1 has its video. Its status stays in review."),
        ("attached", "f\x1balse", "l1 has its video. Its status stays f\\u{001b}alse."),
        ("attached", None, "l1 has its video."),
    ],
)
def test_what_was_done_is_told_in_the_apps_own_words(
    outcome: Literal["published", "attached"], status: str | None, sentence: str
) -> None:
    """A lesson may be without a status."""
    lesson = replace(LESSON, status=status)
    assert str(PublishResult(outcome, lesson, "as1", "play1")) == sentence


def test_an_id_steers_no_terminal() -> None:
    """It may be any text of the app's."""
    lesson = replace(LESSON, id="a/b\x1b[2J")
    assert str(PublishResult("published", lesson, None, None)) == "a/b\\u{001b}[2J is published."
