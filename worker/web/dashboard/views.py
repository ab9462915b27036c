"""Answer with the dashboard's pages: the overview, lists, a lesson, and the search."""

from collections.abc import Callable, Mapping

from aiohttp import web

from worker.errors import Unavailable, UsageError, explain
from worker.overview import LessonPage
from worker.supabase.lessons import LessonStore
from worker.text import clean_input
from worker.web.dashboard.actions import Messages
from worker.web.dashboard.alerts import ServiceState, alerts, headline
from worker.web.dashboard.auth import OPERATOR
from worker.web.dashboard.chart import draw
from worker.web.dashboard.lesson_filter import HEADINGS, PATH, LessonFilter
from worker.web.dashboard.lesson_view import LessonView
from worker.web.dashboard.overview_cache import OverviewCache, with_timeout
from worker.web.dashboard.render import Pages, lesson_path, see_other

MAX_FOUND = 20
LESSONS_PER_PAGE = 50
WRONG_PARAMETER = "PT400"
"""The reason of the error that a function raises for a parameter that it cannot read."""

MAX_SEARCH_LENGTH = 300


class Views:
    """Answers requests for pages; changes nothing."""

    def __init__(
        self,
        pages: Pages,
        store: LessonStore,
        overview: OverviewCache,
        state: Callable[[], ServiceState],
        messages: Messages,
        *,
        thumbnails: bool,
    ) -> None:
        self._pages = pages
        self._store = store
        self._overview = overview
        self._state = state
        self._messages = messages
        self._thumbnails = thumbnails

    async def index(self, request: web.Request) -> web.Response:
        """Return the overview; without Supabase, it shows what the process itself knows."""
        snapshot = await self._overview.get()
        state = self._state()
        overview = snapshot.overview
        return self._pages.page(
            "index.html",
            operator=request[OPERATOR],
            state=state,
            snapshot=snapshot,
            overview=overview,
            alerts=alerts(state, snapshot),
            headline=headline(state, snapshot),
            chart=draw(overview.day.hours, overview.day.counted_seconds) if overview else None,
        )

    async def lessons(self, request: web.Request) -> web.Response:
        """Return a page of a list of lessons."""
        operator = request[OPERATOR]
        try:
            chosen = LessonFilter.from_query(request.query)
            page, failures = await with_timeout(self._listed(chosen))
        except UsageError as error:
            return self._wrong(operator, str(error))
        except Unavailable as error:
            if error.reason == WRONG_PARAMETER:
                return self._wrong(operator, "This page of the list does not exist.")
            return self._error(operator, error)
        is_refresh = "X-Refresh" in request.headers
        overview = (await self._overview.get()).overview
        return self._pages.page(
            "lessons.html",
            operator=operator,
            chosen=chosen,
            page=page,
            failures=failures,
            headings=HEADINGS,
            counts=overview.counts if overview else None,
            message=None if is_refresh else self._messages.take(operator, PATH),
        )

    async def _listed(self, chosen: LessonFilter) -> tuple[LessonPage, Mapping[str, int]]:
        """Return a page of a list, and the failures of each type where these are listed."""
        page = await self._store.list_lessons(
            chosen.state,
            search=chosen.search or None,
            error_type=chosen.error_type or None,
            after=chosen.after or None,
            at_most=LESSONS_PER_PAGE,
        )
        is_failed = chosen.state == "failed"
        return page, await self._store.failure_counts() if is_failed else {}

    async def lesson(self, request: web.Request) -> web.Response:
        """Return a lesson's page: its state, its history, and the actions."""
        operator, lesson_id = request[OPERATOR], request.match_info["id"]
        try:
            lesson = await with_timeout(self._store.lesson_or_none(lesson_id))
            if lesson is None:
                events = await with_timeout(self._store.lesson_events(lesson_id))
                return self._pages.page(
                    "no_lesson.html",
                    status=404,
                    operator=operator,
                    lesson_id=lesson_id,
                    events=events,
                )
        except Unavailable as error:
            return self._error(operator, error)
        is_refresh = "X-Refresh" in request.headers
        path = lesson_path(lesson_id)
        message = None if is_refresh else self._messages.take(operator, path)
        view = LessonView.from_json(lesson, self._state().mux_environment)
        return self._pages.page(
            "lesson_detail.html",
            operator=operator,
            view=view,
            thumbnail_url=view.thumbnail_url if self._thumbnails else None,
            message=message,
        )

    async def search(self, request: web.Request) -> web.StreamResponse:
        """Return the lessons with this id of a lesson, upload or asset; redirect to a single one.

        What is no id is searched for in titles.
        """
        query = request.query.get("q", "").strip()[:MAX_SEARCH_LENGTH]
        if not query:
            return see_other("/")
        try:
            found = await with_timeout(self._store.find_lessons(query, MAX_FOUND + 1))
        except Unavailable as error:
            return self._error(request[OPERATOR], error)
        if not found:
            return see_other(LessonFilter(search=clean_input(query)).path())
        if len(found) == 1:
            return see_other(lesson_path(found[0].id))
        return self._pages.page(
            "search.html",
            operator=request[OPERATOR],
            query=query,
            found=found[:MAX_FOUND],
            has_more=len(found) > MAX_FOUND,
        )

    def _wrong(self, operator: str, message: str) -> web.Response:
        return self._pages.page("wrong.html", status=400, operator=operator, message=message)

    def _error(self, operator: str, error: Unavailable) -> web.Response:
        outage = self._state().supabase
        return self._pages.page(
            "error.html",
            status=503,
            operator=operator,
            message=explain(error),
            since=outage.since if outage else None,
        )
