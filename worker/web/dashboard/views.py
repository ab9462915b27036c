"""The operator's pages: how all stands, one lesson's story, and the search."""

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from aiohttp import web

from worker.errors import Unavailable, explain
from worker.supabase.lessons import LessonStore
from worker.web.dashboard.actions import Messages
from worker.web.dashboard.alerts import Standing, headline, troubles
from worker.web.dashboard.auth import Operator
from worker.web.dashboard.chart import draw
from worker.web.dashboard.overview_cache import Overview, within
from worker.web.dashboard.render import Pages, see_other

MOST_FOUND = 20
LONGEST_SEARCH = 300

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


class StatusPage:
    """Answers operators who look; changes nothing."""

    def __init__(
        self,
        pages: Pages,
        books: LessonStore,
        overview: Overview,
        standing: Callable[[], Standing],
        messages: Messages,
    ) -> None:
        self._pages = pages
        self._books = books
        self._overview = overview
        self._standing = standing
        self._messages = messages

    async def index(self, _request: web.Request, operator: Operator) -> web.Response:
        """Show how all stands; what the process knows also while Supabase does not answer."""
        seen = await self._overview.see()
        standing = self._standing()
        told = seen.told
        return self._pages.page(
            "index.html",
            operator=operator,
            standing=standing,
            seen=seen,
            told=told,
            troubles=troubles(standing, seen),
            headline=headline(standing, seen),
            chart=draw(told["hours"], told["counted_seconds"]) if told else None,
        )

    async def lesson(self, request: web.Request, operator: Operator) -> web.Response:
        """Show one lesson: its row, its history, and what can be done."""
        lesson_id = request.match_info["id"].lower()
        if not _UUID.fullmatch(lesson_id):
            return self._no_lesson(operator, request.match_info["id"], [])
        try:
            told = await within(self._books.lesson_or_none(lesson_id))
            if told is None:
                return self._no_lesson(
                    operator, lesson_id, await within(self._books.lesson_events(lesson_id))
                )
        except Unavailable as fault:
            return self._fault(operator, fault)
        is_refresh = "X-Refresh" in request.headers
        said = None if is_refresh else self._messages.take(operator, lesson_id)
        return self._pages.page("story.html", operator=operator, told=told, said=said)

    async def search(self, request: web.Request, operator: Operator) -> web.StreamResponse:
        """Find lessons by the id of a lesson, upload or asset."""
        wanted = request.query.get("q", "").strip()[:LONGEST_SEARCH]
        if not wanted:
            return see_other("/")
        try:
            found = await within(self._books.find_lessons(wanted, MOST_FOUND + 1))
        except Unavailable as fault:
            return self._fault(operator, fault)
        if len(found) == 1:
            return see_other(f"/lessons/{quote(found[0].id)}")
        return self._pages.page(
            "search.html",
            status=200 if found else 404,
            operator=operator,
            wanted=wanted,
            found=found[:MOST_FOUND],
            has_more=len(found) > MOST_FOUND,
        )

    def _no_lesson(
        self, operator: Operator, lesson_id: str, events: list[dict[str, Any]]
    ) -> web.Response:
        return self._pages.page(
            "gone.html", status=404, operator=operator, lesson_id=lesson_id, events=events
        )

    def _fault(self, operator: Operator, fault: Unavailable) -> web.Response:
        return self._pages.page(
            "fault.html",
            status=503,
            operator=operator,
            title="Supabase does not answer",
            message=explain(fault),
            back="/",
        )
