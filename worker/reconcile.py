"""One scan, start to finish: claim, observe, decide, settle, tell."""

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from worker.decide import Rules, settlement
from worker.errors import SupabaseUnavailable, Unavailable
from worker.model import Claim, Outcome, Settlement
from worker.observe import AsksMux, Sighting, observe
from worker.report import Reporter, ScanReport

REQUESTS_A_ROW = 3
"""The most that Mux is asked about one row: its asset, its upload, the upload's asset."""


class KnowsMux(AsksMux, Protocol):
    """What a scan needs of Mux."""

    requests: int

    async def environment(self) -> str:
        """Give the id of the token's environment."""
        ...


class KeepsRows(Protocol):
    """What a scan needs of the database."""

    async def claim(self, batch_size: int, lease_seconds: float) -> Any:
        """Lease due rows."""
        ...

    async def settle(
        self, settlements: Sequence[Settlement], environment_id: str | None
    ) -> list[Outcome]:
        """Settle verdicts."""
        ...

    async def release(self, claims: Sequence[Claim]) -> int:
        """Hand rows back."""
        ...


@dataclass(frozen=True, slots=True)
class Batching:
    """How many rows a scan may claim, and for how long."""

    size: int
    lease_seconds: float

    @classmethod
    def within(cls, size: int, lease_seconds: float, requests_per_second: float) -> "Batching":
        """Claim no more than can be asked about in half a lease."""
        askable = int(lease_seconds / 2 * requests_per_second / REQUESTS_A_ROW)
        return cls(max(1, min(size, askable)), lease_seconds)


class Reconciler:
    """Brings due rows in line with what Mux says, one scan at a time."""

    def __init__(
        self,
        mux: KnowsMux,
        store: KeepsRows,
        *,
        batching: Batching,
        rules: Rules,
        stopping: asyncio.Event,
    ) -> None:
        self._mux = mux
        self._store = store
        self._batching = batching
        self._rules = rules
        self._stopping = stopping
        self._reporter = Reporter()

    async def scan(self) -> ScanReport:
        """Do one scan.

        Raises Unavailable when Mux or Supabase is; the rows that were claimed and not settled are
        handed back first, as they are when the scan is stopped or cancelled.
        """
        report = ScanReport()
        began, requests = time.monotonic(), self._mux.requests
        claimed = await self._store.claim(self._batching.size, self._batching.lease_seconds)
        report.claimed = len(claimed.claims)
        report.is_full = report.claimed == self._batching.size
        if claimed.claims:
            await self._work_off(claimed.claims, claimed.environment_id, report)
        report.requests = self._mux.requests - requests
        report.seconds = time.monotonic() - began
        return report

    async def _work_off(
        self, claims: Sequence[Claim], home: str | None, report: ScanReport
    ) -> None:
        open_claims = {claim.id: claim for claim in claims}
        try:
            environment = await self._mux.environment()
            async for page in observe(claims, self._mux, self._stopping):
                if any(sighting.observation.found for sighting in page):
                    home = environment
                await self._settle(page, environment, home, report)
                for sighting in page:
                    for claim in sighting.claims:
                        del open_claims[claim.id]
        except SupabaseUnavailable:
            open_claims.clear()  # it would not take them back now: they fall due with their lease
            raise
        finally:
            if open_claims:
                report.released = await self._release(list(open_claims.values()))

    async def _settle(
        self, page: Sequence[Sighting], environment: str, home: str | None, report: ScanReport
    ) -> None:
        rules = replace(self._rules, at_home=environment == home)
        settlements = [
            settlement(s.observation, tuple((c, random.random()) for c in s.claims), rules)  # noqa: S311  # jitter
            for s in page
        ]
        outcomes = await self._store.settle(settlements, home if rules.at_home else None)
        report.outcomes.update(outcome.name for outcome in outcomes)
        self._reporter.tell(settlements, outcomes)
        if not rules.at_home:
            self._reporter.tell_environment(settlements, environment, home)

    async def _release(self, claims: Sequence[Claim]) -> int:
        """Hand back what was not settled; if that fails, the rows fall due with their lease."""
        try:
            return await self._store.release(claims)
        except Unavailable:
            return 0
