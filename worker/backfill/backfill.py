"""Give the lessons from before the tracking table their videos, as far as anything is known."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from worker.backfill.apply import Carrier, Settles
from worker.backfill.plan import Options, Step, ending, finding, is_listed, step
from worker.backfill.search import Search
from worker.decide import Rules
from worker.lesson import Lesson
from worker.scan.environment import check_environment
from worker.scan.mux_reader import MuxReader
from worker.supabase.lessons import Books

CHUNK = 20_000
"""Lessons looked for together: one walk of Mux's list serves them all, and memory stays bounded."""

WALK = 2000


@dataclass(slots=True)
class Progress:
    """How far a backfill is: lessons done by kind, those of this chunk, lessons walked over."""

    counts: Counter[str] = field(default_factory=Counter)
    chunk: int = 0
    chunk_done: int = 0
    walked: int = 0
    begun_at: str | None = None
    goes_on: bool = False
    is_finished: bool = False

    def by_ending(self) -> dict[str, int]:
        """Count as the report's script did."""
        told = {"processed": self.counts.total(), "updated": 0, "skipped": 0, "failed": 0}
        for kind, count in self.counts.items():
            told[ending(kind)] += count
        return told


class Backfill:
    """Goes over all lessons once, by id, a chunk of those that wait at a time."""

    def __init__(
        self,
        mux: MuxReader,
        store: Settles,
        books: Books,
        *,
        rules: Rules,
        options: Options,
        stopping: asyncio.Event,
    ) -> None:
        self._mux = mux
        self._books = books
        self._rules = rules
        self._options = options
        self._stopping = stopping
        self._carrier = Carrier(store, books, rules)
        self.progress = Progress()

    async def plan(self, tell: Callable[[Step], None]) -> None:
        """Tell for each lesson what would be done; nothing is written."""
        await check_environment(self._mux, self._books)
        async for steps, _ in self._steps(None):
            for one in steps:
                tell(one)
            self._count(steps)
        self.progress.is_finished = not self._stopping.is_set()

    async def apply(self, *, anew: bool = False) -> None:
        """Do it, going on where an interrupted one was."""
        environment = await check_environment(self._mux, self._books)
        begun = await self._books.begin(self._options.as_json(), anew=anew)
        progress = self.progress
        progress.begun_at, progress.goes_on = begun["begun_at"], begun["goes_on"]
        progress.counts.update(begun["counts"])
        noted = Counter(progress.counts)
        async for steps, after in self._steps(begun["after"]):
            done = await self._carrier.carry_out(steps, environment)
            self._count(done)
            # What is not listed will not be a candidate again, or is counted with its chunk.
            findings = [s for s in done if is_listed(s.kind)]
            noted.update(s.kind for s in done if is_listed(s.kind) or ending(s.kind) == "updated")
            if after is not None:
                noted = Counter(progress.counts)
            if findings or done or after:
                await self._books.note(noted, [finding(s) for s in findings], after)
        if not self._stopping.is_set():
            progress.is_finished = True
            await self._books.note(progress.counts, finished=True)

    def _count(self, steps: Sequence[Step]) -> None:
        self.progress.counts.update(one.kind for one in steps)
        self.progress.chunk_done += len(steps)

    async def _steps(self, after: str | None) -> AsyncIterator[tuple[list[Step], str | None]]:
        """Give page after page of what to do; the last of a chunk comes with where it ends."""
        at: str | None = after
        is_last = False
        while not is_last and not self._stopping.is_set():
            lessons, at, is_last = await self._chunk(at)
            self.progress.chunk, self.progress.chunk_done = len(lessons), 0
            left_alone = [x for x in lessons if self._is_left_alone(x)]
            yield [Step(lesson, "has_video") for lesson in left_alone], None
            wanted = [x for x in lessons if not self._is_left_alone(x)]
            rivals = await self._rivals(wanted)
            search = Search(
                wanted, self._mux, self._stopping, to_the_end=self._options.trust_passthrough
            )
            async for page in search.pages():
                yield [step(found, self._rules, self._options, rivals) for found in page], None
            if not self._stopping.is_set():
                yield [], at

    async def _chunk(self, after: str | None) -> tuple[list[Lesson], str | None, bool]:
        lessons: list[Lesson] = []
        while len(lessons) < CHUNK and not self._stopping.is_set():
            some, walked, at = await self._books.legacy_lessons(after, WALK, self.progress.begun_at)
            lessons += some
            self.progress.walked += walked
            if at is None:
                return lessons, after, True
            after = at
        return lessons, after, False

    def _is_left_alone(self, lesson: Lesson) -> bool:
        return lesson.is_draft_with_video and not self._options.include_drafts

    async def _rivals(self, lessons: Sequence[Lesson]) -> Any:
        ids = sorted({target.id for lesson in lessons for target in lesson.targets})
        return await self._books.rivals(ids) if ids else {}
