"""Adopt lessons: track the upload that a lesson names, or restore the video that it had.

A lesson is not tracked where the app saved it before, or without, tracking the upload. It may also
have lost its video to a form that was left open. The database decides which upload is the newest,
and whose it is.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Protocol

from worker.errors import MuxUnauthorized, MuxUnavailable, StatementTimeout, Unavailable
from worker.model import Outcome
from worker.scan.environment import environment_matches
from worker.scan.mux_reader import MuxReader
from worker.scan.probe import Control
from worker.shutdown import sleep_unless_stopping
from worker.telemetry.hooks import Telemetry

FIRST_AFTER = 6
EVERY = 60
"""In scan intervals: first after half a minute, then every five, at the default of 5 s."""

MAX_PAUSE_SECONDS = 300.0

MAX_LESSONS, MIN_LESSONS = 2000, 20
"""Lessons looked at in one run; after a statement timeout a tenth of them."""

LESSONS_PER_FOUND = 40


class AdoptionStore(Protocol):
    """What adopting needs of the database."""

    async def recorded_environment(self) -> str | None:
        """Return the Mux environment in which our ids were last found."""
        ...

    async def adopt(self, items: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Adopt lessons, and return the outcome of each."""
        ...

    async def untracked(self, walk: int, at_most: int) -> list[str]:
        """Return those of the next `walk` lessons that may name an untracked upload or asset."""
        ...


class Adopter:
    """Adopts given lessons; asks Mux only about ids that are new to a lesson."""

    def __init__(
        self, mux: MuxReader, store: AdoptionStore, telemetry: Telemetry | None = None
    ) -> None:
        self._mux = mux
        self._store = store
        self._telemetry = telemetry or Telemetry()

    async def adopt(self, lesson_ids: Sequence[str]) -> None:
        """Adopt lessons.

        Raises Unavailable when Mux or Supabase is; what was not adopted then is found again later.
        """
        rows = await self._store.adopt([{"lesson_id": id_} for id_ in lesson_ids])
        unidentified = [row for row in rows if row["outcome"] == "unidentified"]
        if unidentified and await environment_matches(self._mux, self._store):
            rows += await self._store.adopt(await self._identify_all(unidentified))
        outcomes = [outcome for row in rows for outcome in (row, row.get("restored")) if outcome]
        self._telemetry.settled([], [Outcome.from_json(outcome) for outcome in outcomes])

    async def _identify_all(self, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return what Mux knows about each id; a lesson whose id alone fails waits."""
        control, known = Control(self._mux), []
        for row in rows:
            lesson_id, id_, kind = row["lesson_id"], row["id"], row["kind"]
            try:
                known.append(await self._identify(lesson_id, id_, kind))
            except (MuxUnavailable, MuxUnauthorized) as error:
                await control.check(error)
                self._telemetry.id_failed(
                    {"asset_id" if kind == "asset" else "upload_id": id_},
                    lesson_id,
                    error.reason,
                    "Mux does not answer about the id that this lesson names.",
                )
        return known

    async def _identify(self, lesson_id: str, id_: str, kind: str) -> dict[str, Any]:
        """Return whether Mux knows an id as an upload's or an asset's."""
        known = {"lesson_id": lesson_id, "id": id_}
        if kind == "either":
            upload = await self._mux.upload(id_)
            if upload.found:
                return {**known, "upload_id": id_, "asset_id": upload.asset_id}
        asset = await self._mux.asset(id_)
        if asset.found:
            return {**known, "upload_id": asset.upload_id, "asset_id": id_}
        return {**known, "missing": [id_]}


class PeriodicAdoption:
    """Looks for lessons to adopt every five minutes, a few thousand at a time.

    An outage is reported by the scan. An error that only the adoption meets, and that lasts until
    an operator acts, is reported here, such as a missing grant on one of its functions.
    """

    def __init__(
        self,
        adopter: Adopter,
        store: AdoptionStore,
        interval_seconds: float,
        stopping: asyncio.Event,
        scans_are_well: Callable[[], bool],
        telemetry: Telemetry | None = None,
    ) -> None:
        self._adopter = adopter
        self._store = store
        self._interval_seconds = interval_seconds
        self._stopping = stopping
        self._scans_are_well = scans_are_well
        self._telemetry = telemetry or Telemetry()
        self._lessons = MAX_LESSONS
        self._reported: str | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Adopt periodically while the block runs.

        A programming error stops the worker, and is raised at the end of the block.
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
            await self._adopt_once()
            await self._pause(EVERY)

    async def _pause(self, intervals: float) -> None:
        seconds = min(intervals * self._interval_seconds, MAX_PAUSE_SECONDS)
        await sleep_unless_stopping(seconds, self._stopping)

    async def _adopt_once(self) -> None:
        """Adopt once; look at fewer lessons after a statement timeout."""
        try:
            await self.adopt()
            self._lessons = min(self._lessons * 10, MAX_LESSONS)
            self._reported = None
        except StatementTimeout as error:
            self._lessons = max(self._lessons // 10, MIN_LESSONS)
            message = f"{error.message} The next run looks at {self._lessons} lessons."
            self._telemetry.adoption_failed(error, message)
        except Unavailable as error:
            # Reported once if it needs an operator and scans do not meet it.
            is_new = error.needs_operator and error.reason != self._reported
            if is_new and self._scans_are_well():
                self._reported = error.reason
                self._telemetry.adoption_failed(error, error.message)

    async def adopt(self) -> None:
        """Adopt what the next lessons name.

        Raises Unavailable when Mux or Supabase is; what was not adopted then is found again later.
        """
        at_most = self._lessons // LESSONS_PER_FOUND or 1
        if lesson_ids := await self._store.untracked(self._lessons, at_most):
            await self._adopter.adopt(lesson_ids)
