"""Give the lessons from before the tracking table their videos, as far as anything is known."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from worker.books import Books
from worker.decide import Rules, settlement
from worker.errors import WorkerError
from worker.find import Search
from worker.legacy import Lesson
from worker.model import Claim, Observation, Outcome, Settlement
from worker.observe import AsksMux
from worker.repair import Options, Step, ending, is_listed, step

CHUNK = 20_000
"""Lessons looked for together: one walk of Mux's list serves them all, and memory stays bounded."""

WALK = 2000
LEASE_SECONDS = 20.0
BUSY_TRIES = 3
BUSY_PAUSE_SECONDS = 1.0


class KnowsMux(AsksMux, Protocol):
    """What a backfill needs of Mux."""

    async def environment(self) -> str:
        """Give the id of the token's environment."""
        ...


class Settles(Protocol):
    """What carrying out needs of the database, besides the books."""

    async def settle(
        self, settlements: Sequence[Settlement], environment_id: str | None
    ) -> list[Outcome]:
        """Settle verdicts."""
        ...


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


class Carrier:
    """Carries steps out: adopt, then settle, as two calls for any number of lessons."""

    def __init__(self, store: Settles, books: Books, rules: Rules) -> None:
        self._store = store
        self._books = books
        self._rules = rules
        self.settlements: list[Settlement] = []
        self.outcomes: list[Outcome] = []
        """What was settled last, for whoever tells of it."""

    async def carry_out(self, steps: Sequence[Step], environment: str) -> list[Step]:
        """Do what the steps say; give them as they came out."""
        self.settlements, self.outcomes = [], []
        told = {one.lesson.id: one for one in steps}
        claims: dict[str, Claim] = {}
        for adopted in await self._adopt([s for s in steps if s.act == "adopt"]):
            lesson_id = adopted["lesson_id"]
            if adopted["outcome"] == "adopted":
                claims[lesson_id] = Claim.from_json(adopted["claim"])
            elif adopted["outcome"] != "tracked":
                told[lesson_id] = _came_out(told[lesson_id], adopted)
        if to_settle := [s for s in told.values() if s.act != "nothing"]:
            await self._settle(to_settle, claims, environment, told)
        return list(told.values())

    async def _adopt(self, steps: Sequence[Step]) -> list[dict[str, Any]]:
        """Adopt, the oldest lessons first, and those again that somebody had locked."""
        told: dict[str, dict[str, Any]] = {}
        left = sorted(steps, key=lambda s: (s.lesson.created_at or "~", s.lesson.id))
        for attempt in range(BUSY_TRIES):
            if attempt and left:
                await asyncio.sleep(BUSY_PAUSE_SECONDS)
            answers = await self._books.adopt([s.adoption() for s in left], LEASE_SECONDS)
            told |= {answer["lesson_id"]: answer for answer in answers}
            left = [s for s in left if told[s.lesson.id]["outcome"] == "busy"]
            if not left:
                break
        return list(told.values())

    async def _settle(
        self,
        steps: Sequence[Step],
        claims: dict[str, Claim],
        environment: str,
        told: dict[str, Step],
    ) -> None:
        about: dict[Observation, list[Claim]] = {}
        for one in steps:
            if one.observation is not None:
                mine = about.setdefault(one.observation, [])
                mine += [claims[one.lesson.id]] if one.lesson.id in claims else []
        self.settlements = [
            settlement(seen, tuple((c, random.random()) for c in mine), self._rules)  # noqa: S311  # jitter
            for seen, mine in about.items()
        ]
        self.outcomes = await self._settle_all(environment)
        for outcome in self.outcomes:
            acted = told.get(outcome.lesson_id or "")
            if acted is not None and acted.act != "nothing":
                told[acted.lesson.id] = _settled(acted, outcome)

    async def _settle_all(self, environment: str) -> list[Outcome]:
        """Settle, and again what somebody had locked; the rest falls due by itself."""
        outcomes = await self._store.settle(self.settlements, environment)
        for _ in range(BUSY_TRIES - 1):
            busy = {o.lesson_id for o in outcomes if o.name == "busy"}
            if not busy:
                break
            await asyncio.sleep(BUSY_PAUSE_SECONDS)
            ids = {o.upload_id or o.asset_id for o in outcomes if o.name == "busy"}
            again = [
                one
                for one in self.settlements
                if ids & {one.observation.upload_id, one.observation.asset_id}
            ]
            told = await self._store.settle(again, environment)
            outcomes = [o for o in outcomes if o.name != "busy"]
            outcomes += [o for o in told if o.lesson_id in busy]
        return outcomes


def _came_out(one: Step, adopted: dict[str, Any]) -> Step:
    """Read what adopting did where nothing is left to settle."""
    kind = adopted["outcome"]
    if adopted.get("adopted") == "given_back":
        kind = "given_back"
    elif kind == "gone":
        kind = "changed"
    return Step(one.lesson, kind, "nothing", adopted.get("message"), one.observation)


def _settled(one: Step, outcome: Outcome) -> Step:
    kind = outcome.name
    if kind == "failed":
        kind = outcome.reason or "failed"
    elif kind in ("waiting", "busy"):
        kind = "followed"  # the row is there and falls due
    elif kind == "unmatched":
        kind = "changed"
    return Step(one.lesson, kind, "nothing", outcome.message or one.message, one.observation)


class Backfill:
    """Goes over all lessons once, by id, a chunk of those that wait at a time."""

    def __init__(
        self,
        mux: KnowsMux,
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
        await self._environment()
        async for steps, _ in self._steps(None):
            for one in steps:
                tell(one)
            self._count(steps)
        self.progress.is_finished = not self._stopping.is_set()

    async def apply(self, *, anew: bool = False) -> None:
        """Do it, going on where an interrupted one was."""
        environment = await self._environment()
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
                await self._books.note(noted, [_finding(s) for s in findings], after)
        if not self._stopping.is_set():
            progress.is_finished = True
            await self._books.note(progress.counts, finished=True)

    def _count(self, steps: Sequence[Step]) -> None:
        self.progress.counts.update(one.kind for one in steps)
        self.progress.chunk_done += len(steps)

    async def _environment(self) -> str:
        """Give the token's environment; in another than ours every id would seem unknown."""
        environment, home = await self._mux.environment(), await self._books.home()
        if home not in (None, environment):
            raise WorkerError(
                f"The Mux token belongs to environment {environment}, and our ids were last found "
                f"in {home}: every lesson would seem lost. Set MUX_TOKEN_ID and MUX_TOKEN_SECRET "
                "of the environment that the app uploads to."
            )
        return environment

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
        ids = sorted({target.id for lesson in lessons for target in lesson.targets()})
        return await self._books.rivals(ids) if ids else {}


def _finding(one: Step) -> dict[str, Any]:
    return {
        "lesson_id": one.lesson.id,
        "kind": one.kind,
        "message": one.message,
        "known": one.known(),
    }
