"""Carry out what follows for lessons: adopt them, then settle what was seen."""

import asyncio
import random
from collections.abc import Sequence
from typing import Any, Protocol

from worker.backfill.plan import Step
from worker.decide import Rules, settlement
from worker.model import Claim, Observation, Outcome, Settlement
from worker.supabase.lessons import LessonStore

LEASE_SECONDS = 20.0
BUSY_TRIES = 3
BUSY_PAUSE_SECONDS = 1.0

_KINDS = {
    "gone": "changed",
    "ask": "changed",
    "left_alone": "changed",
    "older": "unchanged",
    "disputed": "lesson_mismatch",
}
"""Outcomes of `worker_adopt` that have another name among the backfill's kinds."""


class Settles(Protocol):
    """What carrying out needs of the database, besides the books."""

    async def settle(
        self, settlements: Sequence[Settlement], environment_id: str | None
    ) -> list[Outcome]:
        """Settle verdicts."""
        ...


class Carrier:
    """Carries steps out: adopt, then settle, as two calls for any number of lessons."""

    def __init__(self, store: Settles, books: LessonStore, rules: Rules) -> None:
        self._store = store
        self._books = books
        self._rules = rules
        self.settlements: list[Settlement] = []
        self.outcomes: list[Outcome] = []
        self.adopted: list[Step] = []
        """What was settled and adopted last, for whoever tells of it."""

    async def carry_out(self, steps: Sequence[Step], environment: str) -> list[Step]:
        """Do what the steps say; give them as they came out."""
        self.settlements, self.outcomes, self.adopted = [], [], []
        told = {one.lesson.id: one for one in steps}
        claims: dict[str, Claim] = {}
        to_adopt = [s for s in steps if s.act == "adopt" or s.may_restore]
        for adopted in await self._adopt(to_adopt):
            lesson_id, outcome = adopted["lesson_id"], adopted["outcome"]
            acted = told[lesson_id]
            if outcome == "adopted":
                claims[lesson_id] = Claim.from_json(adopted["claim"])
                self.adopted.append(acted)
            elif (acted.act == "adopt" and outcome != "tracked") or (
                acted.act == "nothing" and outcome == "restored"
            ):
                told[lesson_id] = _came_out(acted, adopted)
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
    kind = _KINDS.get(adopted["outcome"], adopted["outcome"])
    return Step(one.lesson, kind, "nothing", _why(Outcome.from_json(adopted)), one.observation)


def _settled(one: Step, outcome: Outcome) -> Step:
    kind = outcome.name
    if kind == "failed":
        kind = outcome.reason or "failed"
    elif kind in ("waiting", "busy"):
        kind = "followed"  # the row is there and falls due
    elif kind == "unmatched":
        kind = "changed"
    return Step(one.lesson, kind, "nothing", _why(outcome) or one.message, one.observation)


def _why(outcome: Outcome) -> str | None:
    """Give an outcome's message, and what of the app the database would not because of."""
    by = f" (raised by {outcome.raised_by})" if outcome.raised_by else ""
    return f"{outcome.message}{by}" if outcome.message else None
