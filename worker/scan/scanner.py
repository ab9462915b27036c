"""One scan: claim due rows, observe them, decide, settle, and log the outcomes."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import Protocol

from worker.decide import Rules, settlement
from worker.errors import Unavailable
from worker.model import Claim, MatchedObservation, Outcome, RequestSlots, Settlement
from worker.scan.adopter import Item
from worker.scan.batch import ClaimedBatch, ClaimLimits
from worker.scan.mux_reader import MuxReader
from worker.scan.observe import ProbeLimits, observe
from worker.scan.progress import ScanProgress
from worker.scan.sweep import PageBudget, live_count
from worker.telemetry.hooks import Telemetry
from worker.telemetry.scan_report import ScanReport

CLAIMS_PER_SWEEP = 5
"""The largest number of claims whose rows one sweep looks for."""

RELEASE_TIMEOUT_SECONDS = 2.0

MAX_FAULT_COUNTS = 1000
"""Rows whose faults are counted. Beyond them all counts restart, with the shortest pause."""


def ignore_slot(_slot: RequestSlots, _answer_seconds: float) -> None:
    """Do nothing: the default where requests to Mux are not limited."""


class ScanStore(Protocol):
    """The database's functions that a scan calls."""

    async def claim(self, limits: ClaimLimits) -> ClaimedBatch:
        """Lease due rows, which only the leader is given."""
        ...

    async def settle(
        self, settlements: Sequence[Settlement], environment_id: str | None
    ) -> list[Outcome]:
        """Settle verdicts."""
        ...

    async def release(self, claims: Sequence[Claim]) -> int:
        """Make leased rows due again, and return how many there were."""
        ...


class Scanner:
    """Settles due rows by what Mux returns, one scan at a time."""

    def __init__(  # noqa: PLR0913  # the parts of a scan, most of them by name
        self,
        mux: MuxReader,
        store: ScanStore,
        *,
        limits: ClaimLimits,
        rules: Rules,
        stopping: asyncio.Event,
        telemetry: Telemetry | None = None,
        adopt: Callable[[Sequence[Item]], Awaitable[object]] | None = None,
        use_slot: Callable[[RequestSlots, float], None] = ignore_slot,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._mux = mux
        self._store = store
        self._limits = limits
        self._rules = rules
        self._stopping = stopping
        self._telemetry = telemetry or Telemetry()
        self._adopt = adopt
        self._use_slot = use_slot
        self._clock = clock
        self._fault_counts: Counter[str] = Counter()
        """How many checks in a row ended with a fault of the id alone, by the claim's id."""

    async def scan(self) -> ScanReport:
        """Run one scan and return what it did.

        Raises Unavailable when Mux or Supabase is unavailable. In any case, also when the scan is
        stopped or cancelled, claimed rows that were not settled are released first.
        """
        report = ScanReport()
        started_at, requests = time.monotonic(), self._mux.requests
        batch = await self._claim()
        report.claimed = len(batch.claims)
        report.is_full = batch.more_are_due
        report.left_to_others = batch.left_to_others
        self._rules = replace(self._rules, events_arrive=batch.events_arrive)
        if batch.claims:
            await self._process(batch, report)
            # What the lists did not cover and the probes had no time for is due again at once.
            report.is_full |= report.released > 0 and not self._stopping.is_set()
        report.requests = self._mux.requests - requests
        report.seconds = time.monotonic() - started_at
        return report

    async def _claim(self) -> ClaimedBatch:
        """Lease due rows; for a sweep several times, since its pages cover all live ones."""
        batch = await self._claim_once()
        calls, continues = 1, batch.more_live_are_due
        while continues and calls < CLAIMS_PER_SWEEP and not self._stopping.is_set():
            try:
                more = await self._claim_once()
            except BaseException:
                await self._release(batch.claims, ProbeLimits())
                raise
            calls, continues = calls + 1, more.more_live_are_due
            claims = batch.claims + more.claims
            batch = replace(batch, claims=claims, more_are_due=more.more_are_due)
        return batch

    async def _claim_once(self) -> ClaimedBatch:
        began = time.monotonic()
        batch = await self._store.claim(self._limits)
        if batch.slot is not None:
            self._use_slot(batch.slot, time.monotonic() - began)
        return batch

    async def _process(self, batch: ClaimedBatch, report: ScanReport) -> None:
        """Observe and settle the rows of a batch, and release those that are left."""
        budget = _page_budget(batch)
        scan = ScanProgress({claim.id: claim for claim in batch.claims}, budget, report)
        limits = ProbeLimits(self._limits.max_probes, self._limits.probe_seconds, self._clock)
        try:
            environment = await self._mux.environment()
            queries = [claim.query for claim in batch.claims]
            pages = observe(queries, self._mux, self._stopping, budget, limits)
            async with asyncio.TaskGroup() as tasks:
                try:
                    await self._settle_pages(pages, environment, batch.environment_id, scan, tasks)
                except Exception as error:  # noqa: BLE001  # raised when the last pages are settled
                    scan.errors.append(error)
            if scan.errors:
                raise scan.errors[0]
        finally:
            if scan.claims:
                report.released = await self._release(scan.claims.values(), limits)

    async def _settle_pages(
        self,
        pages: AsyncGenerator[list[MatchedObservation]],
        environment: str,
        recorded: str | None,
        scan: ScanProgress,
        tasks: asyncio.TaskGroup,
    ) -> None:
        """Start settling each page while the next one is observed, until one of them fails."""

        async def settle(page: Sequence[MatchedObservation], recorded: str | None) -> None:
            try:
                await self._settle(page, environment, recorded, scan)
            except Exception as error:  # noqa: BLE001  # raised when the scan has ended
                scan.errors.insert(0, error)  # a database that fails matters more than Mux
            finally:
                scan.slots.release()

        async with aclosing(pages):
            async for page in pages:
                # What a list says about unclaimed ids proves nothing about ours.
                if any(match.observation.found for match in page if match.queries):
                    recorded = environment
                await scan.slots.acquire()
                if scan.errors:
                    return
                tasks.create_task(settle(page, recorded))
                await scan.wait_for_budget()
                if scan.errors:
                    return

    async def _settle(
        self,
        page: Sequence[MatchedObservation],
        environment: str,
        recorded: str | None,
        scan: ScanProgress,
    ) -> None:
        """Settle a page and log its outcomes."""
        rules = replace(self._rules, environment_matches=environment == recorded)
        settlements = [
            settlement(
                match.observation,
                tuple((scan.claims[q.key], random.random()) for q in match.queries),  # noqa: S311  # jitter
                rules,
                self._fault_counts,
            )
            for match in page
        ]
        self._count_faults(page)
        outcomes = await self._store.settle(
            settlements, recorded if rules.environment_matches else None
        )
        scan.record(page, outcomes)
        self._telemetry.settled(settlements, outcomes)
        await self._adopt_newer(outcomes)
        self._telemetry.scan_progressed()
        if not rules.environment_matches:
            self._telemetry.environment_mismatched(settlements, environment, recorded)

    async def _adopt_newer(self, outcomes: Sequence[Outcome]) -> None:
        """Adopt the lessons that name an upload that may be newer than their tracked one.

        If that fails, the periodic adoption does it.
        """
        newer = [{"lesson_id": o.lesson_id} for o in outcomes if o.reason == "names_newer"]
        if newer and self._adopt is not None:
            with suppress(Unavailable):
                await self._adopt(newer)

    def _count_faults(self, page: Sequence[MatchedObservation]) -> None:
        if len(self._fault_counts) > MAX_FAULT_COUNTS:
            self._fault_counts.clear()
        for match in page:
            for query in match.queries:
                if match.observation.status == "fault":
                    self._fault_counts[query.key] += 1
                else:
                    self._fault_counts.pop(query.key, None)

    async def _release(self, claims: Iterable[Claim], limits: ProbeLimits) -> int:
        """Release rows that were not settled; if that fails, they are due when their lease ends.

        They keep their place, but for those whose request was sent and got no response: these go
        behind all other due rows.
        """
        released = [replace(c, due_at=None) if c.id in limits.begun else c for c in claims]
        with suppress(Unavailable, TimeoutError):
            async with asyncio.timeout(RELEASE_TIMEOUT_SECONDS):
                return await self._store.release(released)
        return 0


def _page_budget(batch: ClaimedBatch) -> PageBudget | None:
    """Return the budget of a sweep, or None where all rows of the batch are probed."""
    count = live_count(claim.query for claim in batch.claims)
    budget = PageBudget(count, batch.more_live_are_due)
    return budget if budget.allows_first_page else None
