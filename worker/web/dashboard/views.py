"""Answer with the dashboard's pages: the overview, a lesson, and the search."""

from collections.abc import Callable

from aiohttp import web

from worker.errors import Unavailable, explain
from worker.supabase.lessons import LessonStore
from worker.web.dashboard.actions import Messages
from worker.web.dashboard.alerts import ServiceState, alerts, headline
from worker.web.dashboard.auth import OPERATOR
from worker.web.dashboard.chart import draw
from worker.web.dashboard.overview_cache import OverviewCache, with_timeout
from worker.web.dashboard.render import Pages, lesson_path, see_other

MAX_FOUND = 20
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
    ) -> None:
        self._pages = pages
        self._store = store
        self._overview = overview
        self._state = state
        self._messages = messages

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
        message = None if is_refresh else self._messages.take(operator, lesson_id)
        return self._pages.page(
            "lesson_detail.html", operator=operator, lesson=lesson, message=message
        )

    async def search(self, request: web.Request) -> web.StreamResponse:
        """Return the lessons with the id of a lesson, upload or asset; redirect to a single one."""
        query = request.query.get("q", "").strip()[:MAX_SEARCH_LENGTH]
        if not query:
            return see_other("/")
        try:
            found = await with_timeout(self._store.find_lessons(query, MAX_FOUND + 1))
        except Unavailable as error:
            return self._error(request[OPERATOR], error)
        if len(found) == 1:
            return see_other(lesson_path(found[0].id))
        return self._pages.page(
            "search.html",
            status=200 if found else 404,
            operator=request[OPERATOR],
            query=query,
            found=found[:MAX_FOUND],
            has_more=len(found) > MAX_FOUND,
        )

    def _error(self, operator: str, error: Unavailable) -> web.Response:
        return self._pages.page("error.html", status=503, operator=operator, message=explain(error))
