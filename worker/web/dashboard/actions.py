"""Carry out an operator's action on a lesson: check now, retry or publish."""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from urllib.parse import parse_qs

from aiohttp import web

from worker.backfill import publish
from worker.decide import Rules
from worker.errors import SupabaseUnavailable, WorkerError, explain
from worker.lesson import Lesson
from worker.scan.mux_reader import MuxReader
from worker.supabase.lessons import By, LessonStore
from worker.telemetry.hooks import Telemetry
from worker.text import clean_input
from worker.web.dashboard.auth import OPERATOR, is_browser
from worker.web.dashboard.overview_cache import OverviewCache, with_timeout
from worker.web.dashboard.render import lesson_path, see_other

PUBLISH_TIMEOUT_SECONDS = 10.0
MAX_MESSAGES = 100
MAX_FIELDS = 10

Form = dict[str, list[str]]
"""The fields of a form, each with its values."""

BUSY = "Another process is working on the lesson. Try again in a moment."


@dataclass(frozen=True, slots=True)
class Message:
    """The result of an action, for the operator."""

    text: str
    is_done: bool


class Messages:
    """Keeps the result of an action until the operator's next view of its page."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, str], Message] = OrderedDict()

    def keep(self, operator: str, path: str, message: Message) -> None:
        """Keep a message; the oldest is dropped when there are many."""
        self._kept[operator, path] = message
        if len(self._kept) > MAX_MESSAGES:
            self._kept.popitem(last=False)

    def take(self, operator: str, path: str) -> Message | None:
        """Return a message once."""
        return self._kept.pop((operator, path), None)


class LessonActions:
    """Carries out an operator's actions; the audit records the name and the reason."""

    def __init__(
        self,
        store: LessonStore,
        mux: MuxReader,
        rules: Rules,
        overview: OverviewCache,
        messages: Messages,
        telemetry: Telemetry,
    ) -> None:
        self._store = store
        self._mux = mux
        self._rules = rules
        self._overview = overview
        self._messages = messages
        self._telemetry = telemetry

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Carry out an action; redirect a browser to the lesson, answer others in one line."""
        lesson_id, action = request.match_info["id"], request.match_info["action"]
        reason = clean_input((await read_form(request)).get("reason", [""])[-1])
        by = (request[OPERATOR], reason or None)
        try:
            message = Message(await self._act(action, lesson_id, by), is_done=True)
        except WorkerError as error:
            message = Message(explain(error), is_done=False)
        self._overview.invalidate()
        path = lesson_path(lesson_id)
        return reply(request, self._messages, path, message, path)

    async def _act(self, action: str, lesson_id: str, by: By) -> str:
        match action:
            case "check":
                return await with_timeout(self._check(lesson_id, by))
            case "retry":
                return await with_timeout(self._retry(lesson_id, by))
            case _:
                return await self._publish(lesson_id, by)

    async def _check(self, lesson_id: str, by: By) -> str:
        match (await self._store.make_due(lesson_id, by))["outcome"]:
            case "made_due":
                return "The next scan checks the lesson."
            case "busy":
                raise WorkerError(BUSY)
            case _:
                raise WorkerError("The lesson does not wait for a video. There is nothing to do.")

    async def _retry(self, lesson_id: str, by: By) -> str:
        if await self._store.retry([lesson_id], None, None, by):
            return "The lesson is due again, as if its upload had just begun."
        lesson = await self._store.lesson_or_none(lesson_id)
        if lesson is not None and (lesson["row"] or {}).get("status") == "error":
            raise WorkerError(BUSY)
        raise WorkerError("The lesson has not failed. There is nothing to retry.")

    async def _publish(self, lesson_id: str, by: By) -> str:
        try:
            async with asyncio.timeout(PUBLISH_TIMEOUT_SECONDS):
                found = await self._store.lesson_or_none(lesson_id)
                if found is None:
                    raise WorkerError("There is no such lesson. There is nothing to publish.")
                lesson = Lesson.from_json(found)
                done = await publish.publish(
                    lesson, self._mux, self._store, self._rules, by, self._telemetry
                )
                return str(done)
        except TimeoutError as error:
            raise SupabaseUnavailable(
                "timeout",
                "Mux or Supabase took too long. The lesson may be published: load the page again.",
            ) from error


def reply(
    request: web.Request, messages: Messages, page: str, message: Message, path: str
) -> web.Response:
    """Redirect a browser to a path, whose page shows the message; answer others in one line."""
    if not is_browser(request):
        return web.Response(status=200 if message.is_done else 409, text=f"{message.text}\n")
    messages.keep(request[OPERATOR], page, message)
    return see_other(path)


async def read_form(request: web.Request, max_fields: int = MAX_FIELDS) -> Form:
    """Return the fields of a form.

    Raises HTTPUnsupportedMediaType or HTTPBadRequest.
    """
    if request.content_type != "application/x-www-form-urlencoded":
        raise web.HTTPUnsupportedMediaType(text="not a form\n")
    body = (await request.read()).decode(errors="replace")
    try:
        return parse_qs(body, keep_blank_values=True, max_num_fields=max_fields)
    except ValueError as error:
        raise web.HTTPBadRequest(text="not a form of this page\n") from error
