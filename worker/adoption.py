"""Adopt, every five minutes, the lessons whose temporary ids nobody tracked, a few at a time.

The app saved the form before, or without, tracking the upload; or it saved a form that was left
open, with temporary ids again, over a lesson that had its video.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from worker.backfill import KnowsMux
from worker.books import Books
from worker.carry import Carrier
from worker.decide import Rules
from worker.errors import StatementTimeout, Unavailable
from worker.find import Search
from worker.legacy import Lesson
from worker.logs import Sparingly, get_logger
from worker.pausing import pause
from worker.repair import Options, Step, ending, finding, is_listed, step
from worker.report import HOUR_SECONDS, Reporter

if TYPE_CHECKING:
    from worker.settings import Settings
    from worker.store import Store

FIRST_AFTER = 6
EVERY = 60
"""In scan intervals: first after half a minute, then every five, at the default of 5 s."""

LONGEST_PAUSE_SECONDS = 300.0

LONGEST_WALK, SHORTEST_WALK = 2000, 20
"""In lessons; where the database cuts a pass off, the next one goes a tenth of the way."""

LESSONS_PER_FOUND = 40

log = get_logger()


class Adoption:
    """Looks at a few lessons a pass; what Mux does not know it leaves alone for a day."""

    def __init__(
        self, mux: KnowsMux, store: "Store", settings: "Settings", stopping: asyncio.Event
    ) -> None:
        self._mux = mux
        self._books = books = Books(store.call)
        self._rules = rules = Rules(settings.playback_policies, settings.give_up_after_seconds)
        self._interval_seconds = settings.scan_interval_seconds
        self._stopping = stopping
        self._carrier = Carrier(store, books, rules)
        self._reporter = Reporter()
        self._walk = LONGEST_WALK
        self._cut_off = Sparingly(HOUR_SECONDS)

    @asynccontextmanager
    async def beside(self) -> AsyncIterator[None]:
        """Adopt from time to time for as long as the block lasts.

        A fault of our own stops the worker, and is raised at the end of the block.
        """
        task = asyncio.create_task(self._run())
        task.add_done_callback(lambda _: self._stopping.set())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _run(self) -> None:
        await self._pause(FIRST_AFTER)
        while not self._stopping.is_set():
            await self._adopt_what_can_be()
            await self._pause(EVERY)

    async def _adopt_what_can_be(self) -> None:
        """Do one pass; go in smaller steps past what is too much for one statement."""
        try:
            await self.adopt()
            self._walk = min(self._walk * 10, LONGEST_WALK)
        except StatementTimeout as fault:
            self._walk = max(self._walk // 10, SHORTEST_WALK)
            if self._cut_off.may_say("cut off"):
                log.warning(
                    "adoption.failed",
                    reason=fault.reason,
                    message=f"{fault.message} The next pass looks at {self._walk} lessons.",
                )
        except Unavailable:
            pass  # the scan tells of an outage

    async def _pause(self, intervals: float) -> None:
        await pause(min(intervals * self._interval_seconds, LONGEST_PAUSE_SECONDS), self._stopping)

    async def adopt(self) -> None:
        """Do one pass.

        Raises Unavailable when Mux or Supabase is; what was not adopted then has its turn later.
        """
        lessons = await self._books.untracked(self._walk, self._walk // LESSONS_PER_FOUND or 1)
        if not lessons:
            return
        environment = await self._mux.environment()
        if await self._books.home() not in (None, environment):
            return  # every id would seem unknown; the scan says so
        ready = [lesson for lesson in lessons if _was_ready(lesson)]
        if ready:
            await self._carry_out(
                [Step(lesson, "given_back", "adopt") for lesson in ready], environment
            )
        rest = [lesson for lesson in lessons if not _was_ready(lesson)]
        rivals = await self._books.rivals(_ids(rest)) if rest else {}
        search = Search([x for x in rest if not x.is_draft_with_video], self._mux, self._stopping)
        async for page in search.pages():
            steps = [step(found, self._rules, Options(), rivals) for found in page]
            await self._carry_out(steps, environment)
        await self._note([Step(x, "has_video") for x in rest if x.is_draft_with_video])

    async def _carry_out(self, steps: list[Step], environment: str) -> None:
        done = await self._carrier.carry_out(steps, environment)
        for one in self._carrier.adopted:
            log.info(
                "lesson.adopted",
                lesson_id=one.lesson.id,
                lesson_status=one.lesson.status,
                **_named(one),
            )
        self._reporter.tell(self._carrier.settlements, self._carrier.outcomes)
        for one in done:
            if one.kind == "given_back":
                log.info(
                    "lesson.given_back",
                    lesson_id=one.lesson.id,
                    lesson_status=one.lesson.status,
                    **_named(one),
                )
        settled = {outcome.lesson_id for outcome in self._carrier.outcomes}
        answered = [x for x in done if x.kind != "mux_fault"]  # which may be another answer soon
        hopeless = [x for x in answered if is_listed(x.kind) and x.lesson.id not in settled]
        for one in hopeless:
            if ending(one.kind) == "failed":
                log.warning(
                    "lesson.unrecoverable",
                    lesson_id=one.lesson.id,
                    reason=one.kind,
                    message=one.message,
                    **_named(one),
                )
        await self._note(hopeless)

    async def _note(self, hopeless: list[Step]) -> None:
        if hopeless:
            await self._books.note(None, [finding(one) for one in hopeless])


def _was_ready(lesson: Lesson) -> bool:
    """Tell whether the lesson had its video, and holds only placeholders of the same upload."""
    return lesson.row is not None and lesson.row.status == "ready" and not lesson.holds_newer


def _ids(lessons: list[Lesson]) -> list[str]:
    return sorted({target.id for lesson in lessons for target in lesson.targets()})


def _named(one: Step) -> dict[str, str]:
    about = one.observation or one.lesson.row
    ids = {"upload_id": about.upload_id, "asset_id": about.asset_id} if about else {}
    return {name: value for name, value in ids.items() if value is not None}
