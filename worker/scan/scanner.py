"""One scan, start to finish: claim, observe, decide, settle, tell."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Protocol

from worker.claim_limits import Batching
from worker.decide import Rules, settlement
from worker.errors import Unavailable
from worker.model import Claim, Claimed, Outcome, Settlement, Sighting
from worker.scan.environment import KnowsEnvironment
from worker.scan.observe import AsksMux, Probes, observe
from worker.scan.settling import Settling
from worker.scan.sweep import FEW, Credit
from worker.telemetry.hooks import Telemetry
from worker.telemetry.scan_report import ScanReport

CLAIMS_A_SWEEP = 5
"""The rows of so many claims are looked for in one walk; it is not begun anew for each of them."""

RELEASE_WITHIN_SECONDS = 1.0

MOST_FAULTS = 1000
"""Rows whose faults are counted; with more of them, all begin again with the shortest pause."""


class KnowsMux(AsksMux, KnowsEnvironment, Protocol):
    """What a scan needs of Mux."""

    requests: int


class KeepsRows(Protocol):
    """What a scan needs of the database."""

    async def claim(self, batching: Batching, few: int) -> Claimed:
        """Lease due rows, more than a few only to the one worker that sweeps."""
        ...

    async def settle(
        self, settlements: Sequence[Settlement], environment_id: str | None
    ) -> list[Outcome]:
        """Settle verdicts."""
        ...

    async def release(self, claims: Sequence[Claim]) -> int:
        """Hand rows back."""
        ...


@dataclass(slots=True)
class _UnderWay:
    """What a scan has still to settle, may still spend, and has done."""

    claims: dict[str, Claim]
    credit: Credit | None
    report: ScanReport

    def settled(self, page: Sequence[Sighting], outcomes: Sequence[Outcome]) -> None:
        """Take in what came of a page."""
        for sighting in page:
            for claim in sighting.claims:
                del self.claims[claim.id]
        unasked = _unasked(page, outcomes)
        self.report.unasked += unasked
        if self.credit is not None:
            self.credit.earn(unasked)
        self.report.outcomes.update(outcome.name for outcome in _news(page, outcomes))


class Reconciler:
    """Brings due rows in line with what Mux says, one scan at a time."""

    def __init__(  # noqa: PLR0913  # the parts of a scan, most of them by name
        self,
        mux: KnowsMux,
        store: KeepsRows,
        *,
        batching: Batching,
        rules: Rules,
        stopping: asyncio.Event,
        telemetry: Telemetry | None = None,
        adopt: Callable[[Sequence[str]], Awaitable[None]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._mux = mux
        self._store = store
        self._batching = batching
        self._rules = rules
        self._stopping = stopping
        self._telemetry = telemetry or Telemetry()
        self._adopt = adopt
        self._clock = clock
        self._faults: Counter[str] = Counter()
        """How many looks in a row Mux did not answer about one id alone, by the claim's id."""

    async def scan(self) -> ScanReport:
        """Do one scan.

        Raises Unavailable when Mux or Supabase is; the rows that were claimed and not settled are
        handed back first, as they are when the scan is stopped or cancelled.
        """
        report = ScanReport()
        began, requests = time.monotonic(), self._mux.requests
        claimed = await self._claim()
        report.claimed = len(claimed.claims)
        report.is_full = claimed.more_are_due
        report.left_to_others = claimed.sweep == "others"
        self._rules = replace(self._rules, events_arrive=claimed.events_arrive)
        if claimed.claims:
            credit = (
                Credit(report.claimed, claimed.more_are_due) if claimed.sweep == "ours" else None
            )
            await self._work_off(claimed, credit, report)
            # What the lists did not tell and the probes had no time for is due again at once.
            report.is_full |= report.released > 0 and not self._stopping.is_set()
        report.requests = self._mux.requests - requests
        report.seconds = time.monotonic() - began
        return report

    async def _claim(self) -> Claimed:
        """Lease what is due; for a sweep more than once, since a page answers for all."""
        claimed = await self._store.claim(self._batching, FEW)
        calls, goes_on = 1, claimed.sweep == "ours" and claimed.more_are_due
        while goes_on and calls < CLAIMS_A_SWEEP and not self._stopping.is_set():
            try:
                more = await self._store.claim(self._batching, FEW)
            except BaseException:
                await self._release(claimed.claims, Probes())
                raise
            calls, goes_on = calls + 1, more.more_are_due
            claims = claimed.claims + more.claims
            claimed = replace(claimed, claims=claims, more_are_due=more.more_are_due)
        return claimed

    async def _work_off(self, claimed: Claimed, credit: Credit | None, report: ScanReport) -> None:
        scan = _UnderWay({claim.id: claim for claim in claimed.claims}, credit, report)
        home = claimed.environment_id
        probes = Probes(self._batching.probes, self._batching.probe_seconds, self._clock)
        try:
            environment = await self._mux.environment()
            async with Settling() as settling:
                async for page in observe(
                    claimed.claims, self._mux, self._stopping, credit, probes
                ):
                    # What a list says about ids that nobody asked for proves nothing of ours.
                    if any(sighting.observation.found for sighting in page if sighting.claims):
                        home = environment
                    await settling.room()
                    settling.begin(self._settle(page, environment, home, scan))
                    if credit is not None and not credit.pays:
                        await settling.wait()  # what is under way may have earned another page
        finally:
            if scan.claims:
                report.released = await self._release(scan.claims.values(), probes)

    async def _settle(
        self, page: Sequence[Sighting], environment: str, home: str | None, scan: _UnderWay
    ) -> None:
        """Settle a page, and tell what came of it."""
        rules = replace(self._rules, at_home=environment == home)
        settlements = [
            settlement(
                s.observation,
                tuple((c, random.random()) for c in s.claims),  # noqa: S311  # jitter
                rules,
                self._faults,
            )
            for s in page
        ]
        self._count_faults(page)
        outcomes = await self._store.settle(settlements, home if rules.at_home else None)
        scan.settled(page, outcomes)
        self._telemetry.settled(settlements, outcomes)
        await self._adopt_newer(outcomes)
        self._telemetry.scan_progressed()
        if not rules.at_home:
            self._telemetry.environment_mismatched(settlements, environment, home)

    async def _adopt_newer(self, outcomes: Sequence[Outcome]) -> None:
        """Have those lessons adopted that name what may be newer than their tracked upload.

        If that fails, the adoption that runs from time to time does it.
        """
        named = [o.lesson_id for o in outcomes if o.reason == "names_newer" and o.lesson_id]
        if named and self._adopt is not None:
            with suppress(Unavailable):
                await self._adopt(named)

    def _count_faults(self, page: Sequence[Sighting]) -> None:
        if len(self._faults) > MOST_FAULTS:
            self._faults.clear()
        for sighting in page:
            for claim in sighting.claims:
                if sighting.observation.status == "fault":
                    self._faults[claim.id] += 1
                else:
                    self._faults.pop(claim.id, None)

    async def _release(self, claims: Iterable[Claim], probes: Probes) -> int:
        """Hand back what was not settled; if that fails, the rows fall due with their lease.

        What was asked for without an answer goes behind the others; they keep their place.
        """
        back = [replace(c, due_at=None) if c.id in probes.begun else c for c in claims]
        with suppress(Unavailable, TimeoutError):
            async with asyncio.timeout(RELEASE_WITHIN_SECONDS):
                return await self._store.release(back)
        return 0


def _news(page: Sequence[Sighting], outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Leave out that what a list says of others was known, or is about nobody."""
    claimed = {claim.id for sighting in page for claim in sighting.claims}
    asked = {(s.observation.upload_id, s.observation.asset_id) for s in page if s.claims}
    return [
        outcome
        for outcome in outcomes
        if outcome.name not in ("unmatched", "unchanged", "waiting")
        or outcome.tracking_id in claimed
        or (outcome.tracking_id is None and (outcome.upload_id, outcome.asset_id) in asked)
    ]


def _unasked(page: Sequence[Sighting], outcomes: Sequence[Outcome]) -> int:
    """Count the rows that a page settled without anybody having claimed them."""
    claimed = {claim.id for sighting in page for claim in sighting.claims}
    settled = {o.tracking_id for o in outcomes if o.name in ("published", "attached", "failed")}
    return len(settled - claimed)
