"""What the buttons of a lesson's page do: look again now, retry, publish by hand."""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass

from aiohttp import web

from worker.backfill import publish
from worker.decide import Rules
from worker.errors import SupabaseUnavailable, WorkerError, explain
from worker.supabase.lessons import By, LessonStore
from worker.telemetry.logs import get_logger
from worker.text import clean_input
from worker.web.dashboard.auth import Form, Operator
from worker.web.dashboard.overview_cache import Overview, within
from worker.web.dashboard.render import see_other

PUBLISH_WITHIN_SECONDS = 10.0
"""A connection is closed after 15 s."""

MOST_MESSAGES = 100

log = get_logger()


@dataclass(frozen=True, slots=True)
class Said:
    """What came of a button."""

    text: str
    is_good: bool


class Messages:
    """Keeps what came of a button until the page after it shows it, once."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, str], Said] = OrderedDict()

    def keep(self, operator: Operator, lesson_id: str, said: Said) -> None:
        """Keep a message for an operator's next look at a lesson."""
        if operator.session is not None:
            self._kept[operator.session.id, lesson_id] = said
            if len(self._kept) > MOST_MESSAGES:
                self._kept.popitem(last=False)

    def take(self, operator: Operator, lesson_id: str) -> Said | None:
        """Give a message, and forget it."""
        if operator.session is None:
            return None
        return self._kept.pop((operator.session.id, lesson_id), None)


class Buttons:
    """Does to one lesson what an operator asks for, in her name."""

    def __init__(
        self,
        books: LessonStore,
        mux: publish.MuxApi,
        rules: Rules,
        overview: Overview,
        messages: Messages,
    ) -> None:
        self._books = books
        self._mux = mux
        self._rules = rules
        self._overview = overview
        self._messages = messages

    async def press(
        self, request: web.Request, operator: Operator, form: Form
    ) -> web.StreamResponse:
        """Do it, and lead back to the lesson, where it is told what came of it."""
        lesson_id, action = request.match_info["id"].lower(), request.match_info["action"]
        by = (operator.name, clean_input(form.get("reason", "")) or None)
        try:
            said = Said(await self._do(action, lesson_id, by), is_good=True)
        except WorkerError as error:
            said = Said(explain(error), is_good=False)
        log.info("lesson.by_hand", lesson_id=lesson_id, action=action, operator=operator.name,
                 is_done=said.is_good, message=said.text)  # fmt: skip
        self._overview.forget()
        if operator.session is None:
            return web.Response(status=200 if said.is_good else 409, text=f"{said.text}\n")
        self._messages.keep(operator, lesson_id, said)
        return see_other(f"/lessons/{lesson_id}")

    async def _do(self, action: str, lesson_id: str, by: By) -> str:
        match action:
            case "look":
                return await within(self._look(lesson_id, by))
            case "retry":
                return await within(self._retry(lesson_id, by))
            case _:
                return await self._publish(lesson_id, by)

    async def _look(self, lesson_id: str, by: By) -> str:
        told = await self._books.make_due(lesson_id, by)
        if told["outcome"] == "busy":
            raise WorkerError("Somebody is at work on it just now: try again in a moment.")
        if told["outcome"] != "made_due":
            raise WorkerError("It does not wait for a video, so there is nothing to look for.")
        return "It is looked at next."

    async def _retry(self, lesson_id: str, by: By) -> str:
        if lesson_id not in await self._books.retry([lesson_id], None, None, by):
            told = await self._books.lesson_or_none(lesson_id)
            if told is not None and (told["row"] or {}).get("status") == "error":
                raise WorkerError("Somebody is at work on it just now: try again in a moment.")
            raise WorkerError("It has not failed, so there is nothing to retry.")
        return "It is looked at again, as if its upload had just begun."

    async def _publish(self, lesson_id: str, by: By) -> str:
        try:
            async with asyncio.timeout(PUBLISH_WITHIN_SECONDS):
                lesson = await publish.find_lesson(self._books, lesson_id)
                return str(await publish.publish(lesson, self._mux, self._books, self._rules, by))
        except TimeoutError as error:
            raise SupabaseUnavailable(
                "timeout", "Mux or Supabase took too long; perhaps it is published all the same."
            ) from error
