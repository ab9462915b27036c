"""A database with lessons that a backfill adopts, as its SQL functions answer."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.unit.backfill.listed_mux import ListedMux
from worker.backfill.backfill import Road
from worker.decide import Rules, settlement
from worker.model import Observation, Outcome, Query, Settlement
from worker.scan.adopter import Adopter
from worker.scan.observe import observe
from worker.supabase.backfill import BackfillStore
from worker.telemetry.hooks import Telemetry
from worker.telemetry.scan_report import ScanReport

Json = dict[str, Any]
STATES = {"publish": "published", "wait": "waiting"}


@dataclass
class Stored:
    """A lesson: what adopting it answers, and the state of its row once it is adopted.

    `then` is the answer after Mux was asked, `busy` how many adoptions find it locked.
    """

    plan: Json
    then: Json | None = None
    busy: int = 0
    state: str | None = None
    adopted_in: str | None = None
    upload_id: str | None = None


def naming(upload_id: str, **fields: Any) -> Stored:
    """Return a draft that names an upload and is not tracked."""
    return Stored({"outcome": "adopted", "upload_id": upload_id, "is_draft": True}, **fields)


def left_alone(outcome: str, reason: str | None = None) -> Stored:
    """Return a lesson for which no upload is tracked."""
    return Stored({"outcome": outcome, "reason": reason})


@dataclass
class Database:
    """Lessons by id, and what was called."""

    lessons: dict[str, Stored]
    mux: ListedMux
    recorded: str | None = "env1"
    run: str | None = None
    runs: int = 0
    calls: list[tuple[str, Json]] = field(default_factory=list)
    settled: list[tuple[str | None, list[Observation]]] = field(default_factory=list)
    scans: int = 0
    rows_per_scan: int = 1000
    most_unanswered: int = 0
    is_leader: bool = False
    on_scan: Callable[[], None] = lambda: None

    async def call(self, function: str, params: Json) -> Any:
        """Answer a call of the store. While lessons are read or adopted, another may lead."""
        is_reading = function in ("worker_adopt", "worker_backfill_candidates")
        assert not (is_reading and self.is_leader)
        self.calls.append((function, params))
        return getattr(self, f"_{function.removeprefix('worker_')}")(**params)

    def _doctor(self) -> Json:
        return {"environment_id": self.recorded}

    def _backfill_begin(self) -> Json:
        is_resumed = self.run is not None
        self.is_leader = False  # another process
        if self.run is None:
            self.runs += 1
            self.run = f"run {self.runs}"
        return {"backfill": self.run, "is_resumed": is_resumed}

    def _backfill_end(self, backfill: str) -> None:
        assert backfill == self.run
        self.run = None

    def _backfill_candidates(self, after: str | None, walk: int) -> Json:
        ids = sorted(id_ for id_ in self.lessons if after is None or id_ > after)[:walk]
        waiting = [id_ for id_ in ids if self.lessons[id_].state != "published"]
        following = ids[-1] if len(ids) == walk else None
        return {"lesson_ids": waiting, "walked": len(ids), "next": following}

    def _backfill_progress(self, backfill: str, after: str | None, walk: int) -> Json:
        rows = {id_: row for id_, row in self.lessons.items() if row.adopted_in == backfill}
        ids = sorted(id_ for id_ in rows if after is None or id_ > after)[:walk]
        counts = dict(Counter(str(rows[id_].state) for id_ in ids))
        return {"counts": counts, "next": ids[-1] if len(ids) == walk else None}

    def _adopt(
        self, adoptions: list[Json], dry_run: bool, backfill: str | None, lease_seconds: None
    ) -> list[Json]:
        answers = [self._adopted(item, dry_run, backfill) for item in adoptions]
        self.most_unanswered = max(self.most_unanswered, self.count("unanswered"))
        return answers

    def _adopted(self, item: Json, dry_run: bool, backfill: str | None) -> Json:
        lesson = self.lessons[item["lesson_id"]]
        is_identified = "upload_id" in item or "is_missing" in item
        answer = lesson.then if lesson.then is not None and is_identified else lesson.plan
        if item.get("is_trusted"):
            answer = {"outcome": "adopted", "is_draft": True}
        if "upload_id" in item:
            answer = answer | {"upload_id": item["upload_id"], "asset_id": item["asset_id"]}
        if not dry_run and lesson.busy:
            lesson.busy -= 1
            answer = {"outcome": "busy"}
        elif not dry_run and answer["outcome"] == "adopted":
            lesson.upload_id, lesson.adopted_in = answer["upload_id"], backfill
            lesson.state = lesson.state or "unanswered"
        return {"lesson_id": item["lesson_id"], **answer}

    async def settle(
        self, settlements: Sequence[Settlement], environment_id: str | None
    ) -> list[Outcome]:
        """Settle verdicts for the rows that track their uploads."""
        self.settled.append((environment_id, [s.observation for s in settlements]))
        for item in settlements:
            for lesson in self.lessons.values():
                if lesson.state and lesson.upload_id == item.observation.upload_id:
                    lesson.state = STATES.get(item.verdict.action, item.verdict.reason)
        return []

    async def scan(self) -> ScanReport:
        """Ask Mux about the rows that have no answer, some of them at a time."""
        self.scans += 1
        self.is_leader = True
        rows = [row for row in self.lessons.values() if row.state == "unanswered"]
        rows = rows[: self.rows_per_scan]
        queries = [Query(str(n), row.upload_id or "", None) for n, row in enumerate(rows)]
        async for page in observe(queries, self.mux, asyncio.Event()):
            for match in page:
                verdict = settlement(match.observation, (), Rules()).verdict
                state = verdict.reason if verdict.grace == "runs" else STATES[verdict.action]
                rows[int(match.queries[0].key)].state = state
        self.on_scan()
        return ScanReport(claimed=len(rows))

    async def stop_leading(self) -> None:
        """Let another worker sweep."""
        self.is_leader = False

    def count(self, state: str) -> int:
        """Return how many lessons are in a state."""
        return sum(lesson.state == state for lesson in self.lessons.values())

    def called(self, function: str) -> list[Json]:
        """Return the parameters of all calls of a function."""
        return [params for name, params in self.calls if name == function]

    def items(self, *, dry_run: bool) -> list[list[Json]]:
        """Return the items of each call that adopts, or that plans it."""
        calls = self.called("worker_adopt")
        return [call["adoptions"] for call in calls if call["dry_run"] == dry_run]

    @property
    def road(self) -> Road:
        """The parts of a backfill over these lessons."""
        lessons, telemetry = BackfillStore(self.call), Telemetry()
        adopter = Adopter(self.mux, lessons, telemetry)
        return Road(self.mux, self, lessons, adopter, self.scan, Rules(), telemetry)
