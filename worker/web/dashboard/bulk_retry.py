"""Retry many failed lessons at once: those that are selected, or all of a list."""

import time
from collections.abc import Callable

from aiohttp import web

from worker.errors import Unavailable, UsageError, WorkerError, explain
from worker.supabase.lessons import RETRIES_PER_CALL, By, LessonStore
from worker.text import clean_input
from worker.web.dashboard.actions import Form, Message, Messages, read_form, reply
from worker.web.dashboard.auth import OPERATOR
from worker.web.dashboard.lesson_filter import PATH, LessonFilter
from worker.web.dashboard.overview_cache import OverviewCache, with_timeout
from worker.wording import count

MAX_SECONDS = 15.0
"""How long new batches are begun: a platform's router waits 30 s for an answer."""

MAX_FIELDS = RETRIES_PER_CALL + 10

AGAIN = "due again, as if the upload had just begun"


class BulkRetry:
    """Retries failed lessons in an operator's name; the audit records the name and the reason."""

    def __init__(self, store: LessonStore, overview: OverviewCache, messages: Messages) -> None:
        self._store = store
        self._overview = overview
        self._messages = messages

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Retry; redirect a browser to the list, answer others in one line."""
        form = await read_form(request, MAX_FIELDS)
        fields = {name: values[-1] for name, values in form.items()}
        by = (request[OPERATOR], clean_input(fields.get("reason", "")) or None)
        chosen = LessonFilter(state="failed")
        try:
            chosen = LessonFilter.from_query({**fields, "state": "failed", "after": ""})
            message = Message(await self._retry(form, chosen, by), is_done=True)
        except WorkerError as error:
            message = Message(explain(error), is_done=False)
        self._overview.invalidate()
        return reply(request, self._messages, PATH, message, chosen.path())

    async def _retry(self, form: Form, chosen: LessonFilter, by: By) -> str:
        match form.get("which", ["selected"])[-1]:
            case "all":
                return await retry_all(self._store, chosen, by)
            case "selected":
                return await self._retry_selected(form.get("lesson", []), by)
        raise UsageError("Choose the selected lessons, or all.")

    async def _retry_selected(self, lesson_ids: list[str], by: By) -> str:
        if not lesson_ids:
            raise UsageError("No lesson is selected. Select lessons, or choose all.")
        retried = await with_timeout(self._store.retry(lesson_ids, None, None, by))
        left = len(set(lesson_ids)) - len(retried)
        if not retried:
            raise WorkerError(
                f"Nothing was retried: {count(left, 'lesson has', 'lessons have')} not failed any "
                "more, or another process is working on it."
            )
        done = f"{count(len(retried), 'lesson is', 'lessons are')} {AGAIN}."
        others = count(left, "other was", "others were")
        return f"{done} {others} left alone: not failed any more, or busy." if left else done


async def retry_all(
    store: LessonStore,
    chosen: LessonFilter,
    by: By,
    clock: Callable[[], float] = time.monotonic,
) -> str:
    """Retry a list in batches, until its end or until the time is up; return what was done.

    Raises WorkerError, which says how many were retried before.
    """
    until = clock() + MAX_SECONDS
    total, after = 0, ""
    while clock() < until:
        try:
            retried, after = await _retry_batch(store, chosen, after, by)
        except Unavailable as error:
            if not total:
                raise
            raise WorkerError(f"{_so_far(total)} {explain(error)}") from error
        total += retried
        if not after:
            break
    if not total and not after:
        raise WorkerError("No lesson of this list has failed. There is nothing to retry.")
    return _so_far(total) + (" There are more: retry all again." if after else "")


async def _retry_batch(
    store: LessonStore, chosen: LessonFilter, after: str, by: By
) -> tuple[int, str]:
    """Retry a page of a list; return how many, and where the next page begins."""
    page = await with_timeout(
        store.list_lessons(
            chosen.state,
            search=chosen.search or None,
            error_type=chosen.error_type or None,
            after=after or None,
            at_most=RETRIES_PER_CALL,
        )
    )
    ids = [lesson.id for lesson in page.lessons]
    retried = await with_timeout(store.retry(ids, None, None, by)) if ids else []
    return len(retried), page.next or ""


def _so_far(total: int) -> str:
    return f"{count(total, 'lesson is', 'lessons are')} {AGAIN}."
