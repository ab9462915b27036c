"""Apply a plan to lessons: adopt them, then settle what Mux reported."""

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
    "unidentified": "changed",
    "older": "unchanged",
    "disputed": "lesson_mismatch",
}
"""The backfill's kinds for outcomes of `worker_adopt` that have another name there."""


class Settler(Protocol):
    """The call, besides adoption, that applying a plan needs of the database."""

    async def settle(
        self, settlements: Sequence[Settlement], environment_id: str | None
    ) -> list[Outcome]:
        """Settle verdicts in one call."""
        ...


class Applier:
    """Applies steps: adopt, then settle, as two calls for any number of lessons."""

    def __init__(self, store: Settler, lessons: LessonStore, rules: Rules) -> None:
        self._store = store
        self._lessons = lessons
        self._rules = rules
        self.settlements: list[Settlement] = []
        self.outcomes: list[Outcome] = []
        self.adopted: list[Step] = []
        """The steps of the last `apply` that adopted a lesson."""

    async def apply(self, steps: Sequence[Step], environment: str) -> list[Step]:
        """Apply the steps; return one step per lesson, with the kind it ended as."""
        self.settlements, self.outcomes, self.adopted = [], [], []
        results = {step.lesson.id: step for step in steps}
        claims: dict[str, Claim] = {}
        to_adopt = [s for s in steps if s.act == "adopt" or s.may_restore]
        for adopted in await self._adopt(to_adopt):
            lesson_id, outcome = adopted["lesson_id"], adopted["outcome"]
            step = results[lesson_id]
            if outcome == "adopted":
                claims[lesson_id] = Claim.from_json(adopted["claim"])
                self.adopted.append(step)
            elif (step.act == "adopt" and outcome != "tracked") or (
                step.act == "nothing" and outcome == "restored"
            ):
                results[lesson_id] = _not_adopted(step, adopted)
        if to_settle := [s for s in results.values() if s.act != "nothing"]:
            await self._settle(to_settle, claims, environment, results)
        return list(results.values())

    async def _adopt(self, steps: Sequence[Step]) -> list[dict[str, Any]]:
        """Adopt, the oldest lessons first; try locked lessons again."""
        adoptions: dict[str, dict[str, Any]] = {}
        left = sorted(steps, key=lambda s: (s.lesson.created_at or "~", s.lesson.id))
        for attempt in range(BUSY_TRIES):
            if attempt and left:
                await asyncio.sleep(BUSY_PAUSE_SECONDS)
            rows = await self._lessons.adopt([s.adoption() for s in left], LEASE_SECONDS)
            adoptions |= {row["lesson_id"]: row for row in rows}
            left = [s for s in left if adoptions[s.lesson.id]["outcome"] == "busy"]
            if not left:
                break
        return list(adoptions.values())

    async def _settle(
        self,
        steps: Sequence[Step],
        claims: dict[str, Claim],
        environment: str,
        results: dict[str, Step],
    ) -> None:
        claims_of: dict[Observation, list[Claim]] = {}
        for step in steps:
            if step.observation is not None:
                group = claims_of.setdefault(step.observation, [])
                group += [claims[step.lesson.id]] if step.lesson.id in claims else []
        self.settlements = [
            settlement(observed, tuple((c, random.random()) for c in group), self._rules)  # noqa: S311  # jitter
            for observed, group in claims_of.items()
        ]
        self.outcomes = await self._settle_all(environment)
        for outcome in self.outcomes:
            applied = results.get(outcome.lesson_id or "")
            if applied is not None and applied.act != "nothing":
                results[applied.lesson.id] = _settled(applied, outcome)

    async def _settle_all(self, environment: str) -> list[Outcome]:
        """Settle; try locked rows again. A row that stays locked falls due for the scan."""
        outcomes = await self._store.settle(self.settlements, environment)
        for _ in range(BUSY_TRIES - 1):
            busy = {o.lesson_id for o in outcomes if o.name == "busy"}
            if not busy:
                break
            await asyncio.sleep(BUSY_PAUSE_SECONDS)
            ids = {o.upload_id or o.asset_id for o in outcomes if o.name == "busy"}
            again = [
                item
                for item in self.settlements
                if ids & {item.observation.upload_id, item.observation.asset_id}
            ]
            retried = await self._store.settle(again, environment)
            outcomes = [o for o in outcomes if o.name != "busy"]
            outcomes += [o for o in retried if o.lesson_id in busy]
        return outcomes


def _not_adopted(step: Step, adopted: dict[str, Any]) -> Step:
    """Return the result of a lesson that adoption left with nothing to settle."""
    kind = _KINDS.get(adopted["outcome"], adopted["outcome"])
    message = _message(Outcome.from_json(adopted))
    return Step(step.lesson, kind, "nothing", message, step.observation)


def _settled(step: Step, outcome: Outcome) -> Step:
    kind = outcome.name
    if kind == "failed":
        kind = outcome.reason or "failed"
    elif kind in ("waiting", "busy"):
        kind = "followed"  # the row is there and falls due
    elif kind == "unmatched":
        kind = "changed"
    message = _message(outcome) or step.message
    return Step(step.lesson, kind, "nothing", message, step.observation)


def _message(outcome: Outcome) -> str | None:
    """Return an outcome's message, with the app's trigger or constraint that raised it."""
    by = f" (raised by {outcome.raised_by})" if outcome.raised_by else ""
    return f"{outcome.message}{by}" if outcome.message else None
