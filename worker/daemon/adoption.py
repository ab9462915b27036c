"""Adopt lessons: begin to track what they name, or give them back what they could play.

The app saved the form before, or without, tracking the upload; or it saved a form that was left
open over a lesson that had its video. Which upload is the newest, and whose, the database decides.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from worker import wording
from worker.errors import StatementTimeout, Unavailable
from worker.scan.environment import environment_matches
from worker.scan.mux_reader import MuxReader
from worker.sleep import pause
from worker.supabase.lessons import Books
from worker.telemetry.logs import Sparingly, get_logger
from worker.telemetry.outcome_log import HOUR_SECONDS

if TYPE_CHECKING:
    from worker.settings import Settings

FIRST_AFTER = 6
EVERY = 60
"""In scan intervals: first after half a minute, then every five, at the default of 5 s."""

LONGEST_PAUSE_SECONDS = 300.0

LONGEST_WALK, SHORTEST_WALK = 2000, 20
"""In lessons; where the database cuts a pass off, the next one goes a tenth of the way."""

LESSONS_PER_FOUND = 40

log = get_logger()


class Adopter:
    """Adopts the lessons that it is given; asks Mux only what an id is that is new to a lesson."""

    def __init__(self, mux: MuxReader, books: Books) -> None:
        self._mux = mux
        self._books = books
        self._disputed = Sparingly(HOUR_SECONDS)

    async def adopt(self, lesson_ids: Sequence[str]) -> None:
        """Adopt some lessons.

        Raises Unavailable when Mux or Supabase is; what was not adopted then has its turn later.
        """
        answers = await self._books.adopt([{"lesson_id": id_} for id_ in lesson_ids])
        asked = [answer for answer in answers if answer["outcome"] == "ask"]
        if asked and await environment_matches(self._mux, self._books):
            known = [await self._identify(a["lesson_id"], a["id"], a["kind"]) for a in asked]
            answers += await self._books.adopt(known)
        for answer in answers:
            self._tell(answer)

    async def _identify(self, lesson_id: str, id_: str, kind: str) -> dict[str, Any]:
        """Ask Mux what an id is; what that is worth, the database decides."""
        known = {"lesson_id": lesson_id, "id": id_}
        if kind == "either":
            upload = await self._mux.upload(id_)
            if upload.found:
                return {**known, "upload_id": id_, "asset_id": upload.asset_id}
        asset = await self._mux.asset(id_)
        if asset.found:
            return {**known, "upload_id": asset.upload_id, "asset_id": id_}
        return {**known, "missing": [id_]}

    def _tell(self, answer: dict[str, Any]) -> None:
        restored = answer if answer["outcome"] == "restored" else answer.get("restored")
        if answer["outcome"] == "adopted":
            log.info("lesson.adopted", **_ids(answer))
        if restored:
            log.info("lesson.restored", **_ids(restored), playback_id=restored["playback_id"])
        if answer["outcome"] == "disputed" and self._disputed.may_say(answer["lesson_id"]):
            log.warning(
                "adoption.failed",
                **_ids(answer),
                reason="lesson_mismatch",
                message=wording.failure("lesson_mismatch"),
            )


class Adoption:
    """Adopts a few lessons a pass, every five minutes."""

    def __init__(
        self, adopter: Adopter, books: Books, settings: "Settings", stopping: asyncio.Event
    ) -> None:
        self._adopter = adopter
        self._books = books
        self._interval_seconds = settings.scan_interval_seconds
        self._stopping = stopping
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
        lesson_ids = await self._books.untracked(self._walk, self._walk // LESSONS_PER_FOUND or 1)
        if lesson_ids:
            await self._adopter.adopt(lesson_ids)


def _ids(answer: dict[str, Any]) -> dict[str, str]:
    names = ("lesson_id", "upload_id", "asset_id")
    return {name: answer[name] for name in names if answer.get(name) is not None}
