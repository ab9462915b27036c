"""The state of one scan: what is left to settle, and what came of the pages."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from worker.model import Claim, MatchedObservation, Outcome
from worker.scan.sweep import PageBudget
from worker.telemetry.scan_report import ScanReport

CONCURRENT_SETTLES = 2
"""Pages that are settled at the same time, while the next one is read from Mux."""


@dataclass(slots=True)
class ScanProgress:
    """The claims that are not settled yet, the budget of the sweep, and the report so far."""

    claims: dict[str, Claim]
    budget: PageBudget | None
    report: ScanReport
    errors: list[Exception] = field(default_factory=list)
    """What ended the scan; the first is raised."""

    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(CONCURRENT_SETTLES))
    """One for each page that is being settled."""

    def record(self, page: Sequence[MatchedObservation], outcomes: Sequence[Outcome]) -> None:
        """Record a settled page."""
        for match in page:
            for query in match.queries:
                del self.claims[query.key]
        unclaimed = _count_unclaimed(page, outcomes)
        self.report.unclaimed += unclaimed
        if self.budget is not None:
            self.budget.earn(unclaimed)
        self.report.outcomes.update(outcome.name for outcome in _reportable(page, outcomes))

    async def wait_for_budget(self) -> None:
        """Wait for the pages being settled while only they can earn another page of the sweep."""
        if self.budget is None or self.budget.allows_page:
            return
        for _ in range(CONCURRENT_SETTLES):
            await self.slots.acquire()
        for _ in range(CONCURRENT_SETTLES):
            self.slots.release()


def _reportable(page: Sequence[MatchedObservation], outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Leave out that an unclaimed item of a list matched nothing or changed nothing."""
    claimed = {query.key for match in page for query in match.queries}
    requested = {(m.observation.upload_id, m.observation.asset_id) for m in page if m.queries}
    return [
        outcome
        for outcome in outcomes
        if outcome.name not in ("unmatched", "unchanged", "waiting")
        or outcome.tracking_id in claimed
        or (outcome.tracking_id is None and (outcome.upload_id, outcome.asset_id) in requested)
    ]


def _count_unclaimed(page: Sequence[MatchedObservation], outcomes: Sequence[Outcome]) -> int:
    """Count the rows that a page settled although they were not claimed."""
    claimed = {query.key for match in page for query in match.queries}
    settled = {o.tracking_id for o in outcomes if o.name in ("published", "attached", "failed")}
    return len(settled - claimed)
