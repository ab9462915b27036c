"""Adopt the lessons that are older than the worker, then scan until each has its answer.

A lesson is adopted as the daemon adopts it, and settled as any other row. What the backfill adds is
the order: lessons whose video is in Mux's list are adopted and settled by the page, and only then
the others, a limited number ahead of the scans that ask Mux about each.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Protocol

from worker.backfill.result import UNANSWERED, Progress, Result
from worker.backfill.search import Found, Search
from worker.decide import Rules, settlement
from worker.lesson import Adoption
from worker.model import Outcome, Settlement
from worker.scan.adopter import Adopter, Item
from worker.scan.environment import check_environment
from worker.scan.mux_reader import MuxReader
from worker.shutdown import sleep_unless_stopping
from worker.supabase.backfill import BackfillStore
from worker.supabase.lessons import ADOPTIONS_PER_CALL
from worker.telemetry.hooks import Telemetry
from worker.telemetry.scan_report import ScanReport

CHUNK_LESSONS = 20_000
"""Lessons searched for together: one sweep of Mux's list serves them, and memory is bounded."""

MAX_UNANSWERED = 5000
"""Adopted rows that no scan has looked at yet, at most."""

TRACKED = frozenset({"adopted", "tracked"})
TO_ADOPT = TRACKED | {"ask", "restored", "disputed"}
"""The planned outcomes after which a lesson is adopted: a disputed one may play an older video."""

BUSY_TRIES = 3
PAUSE_SECONDS = 1.0
PAUSES_PER_READING = 10
"""While others scan, the progress is not read for more than a tenth of the time."""


class Settler(Protocol):
    """What settling needs of the database."""

    async def settle(
        self, settlements: Sequence[Settlement], environment_id: str | None
    ) -> list[Outcome]:
        """Settle verdicts."""
        ...

    async def stop_leading(self) -> None:
        """Let another worker lead."""
        ...


@dataclass(frozen=True, slots=True)
class Options:
    """What a backfill includes only if the operator says so."""

    include_drafts: bool = False
    trust_passthrough: bool = False


@dataclass(frozen=True, slots=True)
class Road:
    """The parts by which every lesson is adopted, settled and looked at."""

    mux: MuxReader
    store: Settler
    lessons: BackfillStore
    adopter: Adopter
    scan: Callable[[], Awaitable[ScanReport]]
    rules: Rules
    telemetry: Telemetry


class Backfill:
    """Goes over all lessons by id, and works on those that wait for a video in chunks."""

    def __init__(self, road: Road, options: Options, stopping: asyncio.Event) -> None:
        self.road = road
        self._options = options
        self._stopping = stopping
        self.progress = Progress()

    async def plan(self, report: Callable[[Result], None]) -> None:
        """Report for each lesson what would be done; nothing is written."""
        await check_environment(self.road.mux, self.road.lessons)
        async for chunk in self._chunks():
            search = self._search(chunk, report)
            async for page in search.pages():
                await self._plan(page, report)
            async for page in search.probed():
                await self._plan(page, report)
            for adoption in search.left.values():
                if adoption.query is None:
                    self._report(Result.of(adoption), report)
        self.progress.is_finished = not self._stopping.is_set()

    async def apply(self, report: Callable[[Result], None]) -> str:
        """Adopt lessons, report those that are left alone, and scan until all have their answer.

        Return the run, by which `BackfillStore` knows its rows. A run that was interrupted is
        continued.
        """
        environment = await check_environment(self.road.mux, self.road.lessons)
        run, self.progress.is_resumed = await self.road.lessons.begin()
        async for chunk in self._chunks(run):
            search = self._search(chunk, report)
            async for page in search.pages():
                await self._adopt_found(page, run, environment, report)
            lesson_ids = list(search.left)
            for start in range(0, len(lesson_ids), ADOPTIONS_PER_CALL):
                if not await self._scan_ahead(run):
                    break
                batch = lesson_ids[start : start + ADOPTIONS_PER_CALL]
                adopted = await self._adopt(
                    [self._item({"lesson_id": id_}) for id_ in batch], run, report
                )
                self.progress.adopted[UNANSWERED] += len(adopted)
        self.progress.is_finished = await self._scan_until(0, run)
        if self.progress.is_finished:
            await self.road.lessons.end(run)
        return run

    async def _chunks(self, run: str | None = None) -> AsyncIterator[list[Adoption]]:
        """Yield the lessons that may have to be adopted, with what is planned for each.

        What the run has adopted before is tracked already, also where it failed.
        """
        after, is_last = None, False
        while not is_last and not self._stopping.is_set():
            chunk: list[Adoption] = []
            while len(chunk) < CHUNK_LESSONS and not is_last and not self._stopping.is_set():
                lesson_ids, walked, after = await self.road.lessons.candidates(after)
                items = [self._item({"lesson_id": id_}) for id_ in lesson_ids]
                chunk += await self.road.lessons.adopt(items, dry_run=True, backfill=run)
                self.progress.walked += walked
                is_last = after is None
            self.progress.chunk, self.progress.chunk_done = len(chunk), 0
            yield chunk

    def _search(self, chunk: Sequence[Adoption], report: Callable[[Result], None]) -> Search:
        """Return the search for a chunk, without the lessons for which nothing is to be done."""
        trust_references = self._options.trust_passthrough
        wanted = []
        for adoption in chunk:
            is_nameless = adoption.outcome.reason == "names_nothing"
            if adoption.outcome.name in TO_ADOPT or (is_nameless and trust_references):
                wanted.append(adoption)
            else:
                self._report(Result.of(adoption), report)
        return Search(wanted, self.road.mux, self._stopping, trust_references=trust_references)

    async def _plan(self, page: Sequence[Found], report: Callable[[Result], None]) -> None:
        found = {item.adoption.lesson_id: item.observation for item in page}
        items = [self._item(item.item()) for item in page]
        for adoption in await self.road.lessons.adopt(items, dry_run=True):
            result = Result.of(adoption)
            if adoption.outcome.name in TRACKED:
                result = Result.planned(adoption, found[adoption.lesson_id], self.road.rules)
            self._report(result, report)

    async def _adopt_found(
        self, page: Sequence[Found], run: str, environment: str, report: Callable[[Result], None]
    ) -> None:
        """Adopt lessons whose video was found, and settle what Mux said."""
        items = [self._item(found.item()) for found in page]
        adopted = {a.lesson_id for a in await self._adopt(items, run, report)}
        facts = {f.observation for f in page if f.adoption.lesson_id in adopted}
        if facts:
            settlements = [settlement(fact, (), self.road.rules) for fact in facts]
            outcomes = await self.road.store.settle(settlements, environment)
            self.road.telemetry.settled(settlements, outcomes)

    async def _adopt(
        self, items: Sequence[Item], run: str, report: Callable[[Result], None]
    ) -> list[Adoption]:
        """Adopt lessons, those that are locked a few times; return the adopted ones."""
        adoptions: list[Adoption] = []
        left = {item["lesson_id"]: item for item in items}
        for attempt in range(BUSY_TRIES):
            if left and not (attempt and await self._pause(PAUSE_SECONDS)):
                done = await self.road.adopter.adopt(list(left.values()), backfill=run)
                is_last = attempt == BUSY_TRIES - 1
                adoptions += [a for a in done if a.outcome.name != "busy" or is_last]
                left = {a.lesson_id: left[a.lesson_id] for a in done if a.outcome.name == "busy"}
        tracked = [a for a in adoptions if a.outcome.name in TRACKED]
        for adoption in adoptions:
            if adoption.outcome.name not in TRACKED:
                self._report(Result.of(adoption), report)
        self.progress.chunk_done += len(tracked)
        return tracked

    async def _scan_ahead(self, run: str) -> bool:
        """Scan where too many rows are without an answer to adopt more; False after a stop."""
        if self.progress.adopted[UNANSWERED] <= MAX_UNANSWERED - ADOPTIONS_PER_CALL:
            return not self._stopping.is_set()
        return await self._scan_until(MAX_UNANSWERED // 2, run)

    async def _scan_until(self, unanswered: int, run: str) -> bool:
        """Scan until at most `unanswered` adopted rows are without an answer; False after a stop.

        A daemon beside the backfill scans as well: then there is nothing to claim here. While this
        one does not scan, the daemon is to lead.
        """
        while True:
            began = monotonic()
            self.progress.adopted = await self.road.lessons.progress(run)
            pause = max(PAUSE_SECONDS, PAUSES_PER_READING * (monotonic() - began))
            left = self.progress.adopted[UNANSWERED] - unanswered
            if left <= 0 or self._stopping.is_set():
                await self.road.store.stop_leading()
                return not self._stopping.is_set()
            while left > 0 and not self._stopping.is_set():
                claimed = (await self.road.scan()).claimed
                left -= claimed
                if not claimed:
                    await self._pause(pause)
                    break

    async def _pause(self, seconds: float) -> bool:
        """Pause, and return whether the backfill is to stop."""
        await sleep_unless_stopping(seconds, self._stopping)
        return self._stopping.is_set()

    def _item(self, item: Item) -> Item:
        return {**item, "takes_drafts": self._options.include_drafts, "retries_failed": True}

    def _report(self, result: Result, report: Callable[[Result], None]) -> None:
        self.progress.left_alone[result.kind] += 1
        self.progress.chunk_done += 1
        report(result)
