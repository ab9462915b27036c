"""Find the lessons that an operator names, and read lists over several pages."""

from collections.abc import Sequence

from worker.errors import UsageError, WorkerError
from worker.lesson import Lesson
from worker.overview import ALL
from worker.supabase.lessons import LessonStore
from worker.text import plain_id
from worker.wording import STATES

MAX_CANDIDATES = 5
LESSONS_PER_PAGE = 500


async def find_lesson(lessons: LessonStore, name: str) -> Lesson:
    """Return the only lesson with this id or title, or whose upload or asset has the id.

    Raises WorkerError where there is none, or more than one, with the lessons that may be meant;
    UsageError for an empty name.
    """
    if not name.strip():
        raise UsageError("A LESSON has no name. Give its id or its title.")
    called = f'"{plain_id(name[:60])}"'
    found = await lessons.find_lessons(name)
    if len(found) == 1:
        return found[0]
    if found:
        raise WorkerError(f"{called} belongs to several lessons:{_candidates(found)}")
    titled, similar = await _titled(lessons, name)
    if len(titled) == 1:
        return titled[0]
    if titled:
        raise WorkerError(f"Several lessons are called {called}:{_candidates(titled)}")
    if similar:
        raise WorkerError(
            f"No lesson is called {called}, but titles contain it:{_candidates(similar)}"
        )
    raise WorkerError(
        f"No lesson, upload or asset has the id or the title {called}. Copy the whole id "
        "from the app's address, from Mux or from the log."
    )


async def read_list(
    lessons: LessonStore,
    state: str,
    limit: int,
    *,
    search: str | None = None,
    error_type: str | None = None,
) -> tuple[list[Lesson], bool]:
    """Return up to `limit` lessons of a list, and whether there are more."""
    found: list[Lesson] = []
    after = None
    while True:
        page = await lessons.list_lessons(
            state,
            search=search,
            error_type=error_type,
            after=after,
            at_most=min(limit + 1 - len(found), LESSONS_PER_PAGE),
        )
        found += page.lessons
        after = page.next
        if after is None or len(found) > limit:
            return found[:limit], len(found) > limit


async def _titled(lessons: LessonStore, title: str) -> tuple[list[Lesson], list[Lesson]]:
    """Return some lessons with this title, in any case, and some whose title contains it."""
    titled: list[Lesson] = []
    similar: list[Lesson] = []
    after, is_last = None, False
    while not is_last and len(titled) <= MAX_CANDIDATES:
        page = await lessons.list_lessons(ALL, search=title, after=after, at_most=LESSONS_PER_PAGE)
        titles = [(lesson, (lesson.title or "").casefold()) for lesson in page.lessons]
        titled += [lesson for lesson, text in titles if text == title.casefold()]
        similar += [lesson for lesson, text in titles if title.casefold() in text]
        after, is_last = page.next, page.next is None
    return titled, similar


def _candidates(lessons: Sequence[Lesson]) -> str:
    """Return lines that name the first of some lessons, and what to do."""
    rows = [
        f"\n  {plain_id(lesson.id)}  {plain_id(lesson.name)} ({STATES[lesson.state]})"
        for lesson in lessons[:MAX_CANDIDATES]
    ]
    more = "\n  and more" if len(lessons) > MAX_CANDIDATES else ""
    return f"{''.join(rows)}{more}\nName one by its id."
