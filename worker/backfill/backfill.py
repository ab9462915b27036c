"""Walk over all lessons once and give them their videos, resuming where a run was interrupted."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from worker.backfill.apply import Applier, Settler
from worker.backfill.plan import Options, Step, ending, finding, is_listed, step
from worker.backfill.search import Search
from worker.decide import Rules
from worker.lesson import Lesson
from worker.scan.environment import check_environment
from worker.scan.mux_reader import MuxReader
from worker.supabase.backfill import BackfillStore

CHUNK_LESSONS = 20_000
"""Lessons searched for together: one sweep of Mux's lists serves them, and memory is bounded."""

LESSONS_PER_CALL = 2000


@dataclass(slots=True)
class Progress:
    """The progress of a backfill: the lessons done by kind, of this chunk, and walked over."""

    counts: Counter[str] = field(default_factory=Counter)
    chunk: int = 0
    chunk_done: int = 0
    walked: int = 0
    begun_at: str | None = None
    is_resumed: bool = False
    is_finished: bool = False

    def by_ending(self) -> dict[str, int]:
        """Return how many lessons were processed, updated, skipped and failed."""
        totals = {"processed": self.counts.total(), "updated": 0, "skipped": 0, "failed": 0}
        for kind, count in self.counts.items():
            totals[ending(kind)] += count
        return totals


class Backfill:
    """Walks over all lessons by id, and works on those that wait for a video in chunks."""

    def __init__(
        self,
        mux: MuxReader,
        store: Settler,
        backfill_store: BackfillStore,
        *,
        rules: Rules,
        options: Options,
        stopping: asyncio.Event,
    ) -> None:
        self._mux = mux
        self._store = backfill_store
        self._rules = rules
        self._options = options
        self._stopping = stopping
        self._applier = Applier(store, backfill_store, rules)
        self.progress = Progress()

    async def plan(self, report: Callable[[Step], None]) -> None:
        """Report for each lesson what would be done; nothing is written."""
        await check_environment(self._mux, self._store)
        async for steps, _ in self._steps(None):
            for planned in steps:
                report(planned)
            self._count(steps)
        self.progress.is_finished = not self._stopping.is_set()

    async def apply(self, *, from_start: bool = False) -> None:
        """Do what is to be done for each lesson, resuming an interrupted run."""
        environment = await check_environment(self._mux, self._store)
        run = await self._store.begin(self._options.as_json(), from_start=from_start)
        progress = self.progress
        progress.begun_at, progress.is_resumed = run["begun_at"], run["resumed"]
        progress.counts.update(run["counts"])
        recorded = Counter(progress.counts)
        async for steps, after in self._steps(run["after"]):
            done = await self._applier.apply(steps, environment)
            self._count(done)
            # The others are candidates again after an interruption, and are counted with the chunk.
            findings = [s for s in done if is_listed(s.kind)]
            recorded.update(
                s.kind for s in done if is_listed(s.kind) or ending(s.kind) == "updated"
            )
            if after is not None:
                recorded = Counter(progress.counts)
            if findings or done or after:
                rows = [finding(s) for s in findings]
                await self._store.record_progress(recorded, rows, after)
        if not self._stopping.is_set():
            progress.is_finished = True
            await self._store.record_progress(progress.counts, finished=True)

    def _count(self, steps: Sequence[Step]) -> None:
        self.progress.counts.update(done.kind for done in steps)
        self.progress.chunk_done += len(steps)

    async def _steps(self, after: str | None) -> AsyncIterator[tuple[list[Step], str | None]]:
        """Yield the steps page by page; at the end of a chunk, the id of its last lesson."""
        last_id: str | None = after
        is_last = False
        while not is_last and not self._stopping.is_set():
            lessons, last_id, is_last = await self._next_chunk(last_id)
            self.progress.chunk, self.progress.chunk_done = len(lessons), 0
            left_alone = [lesson for lesson in lessons if self._is_left_alone(lesson)]
            yield [Step(lesson, "has_video") for lesson in left_alone], None
            wanted = [lesson for lesson in lessons if not self._is_left_alone(lesson)]
            rivals = await self._rivals(wanted)
            search = Search(
                wanted, self._mux, self._stopping, to_the_end=self._options.trust_passthrough
            )
            async for page in search.pages():
                yield [step(found, self._rules, self._options, rivals) for found in page], None
            if not self._stopping.is_set():
                yield [], last_id

    async def _next_chunk(self, after: str | None) -> tuple[list[Lesson], str | None, bool]:
        """Return the waiting lessons of a chunk, the id it ends at, and whether it is the last."""
        lessons: list[Lesson] = []
        while len(lessons) < CHUNK_LESSONS and not self._stopping.is_set():
            batch, walked, last_id = await self._store.legacy_lessons(
                after, LESSONS_PER_CALL, self.progress.begun_at
            )
            lessons += batch
            self.progress.walked += walked
            if last_id is None:
                return lessons, after, True
            after = last_id
        return lessons, after, False

    def _is_left_alone(self, lesson: Lesson) -> bool:
        return lesson.is_draft_with_video and not self._options.include_drafts

    async def _rivals(self, lessons: Sequence[Lesson]) -> Mapping[str, Mapping[str, Any]]:
        ids = sorted({target.id for lesson in lessons for target in lesson.targets})
        return await self._store.rivals(ids) if ids else {}
