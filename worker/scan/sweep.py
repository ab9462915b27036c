"""Sweep: read Mux's lists, newest first, for as long as the pages are worth their requests."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from worker.model import UPLOAD_UNKNOWN, Claim, MatchedObservation, Observation, Page, is_mux_id

SWEEP_ABOVE = 2
"""Up to this many due rows are probed and not swept for. Measured in docs/sweep.md."""

INITIAL_PAGE_BUDGET = 3
MAX_PAGE_BUDGET = 10


@dataclass(slots=True)
class PageBudget:
    """How many more pages a sweep may read: a page costs one, a matched row earns one.

    `remaining` counts the claimed rows that were not matched yet. The sweep ends when only a few of
    them remain, since to probe those costs no more, unless more rows are due than were claimed.
    """

    remaining: int
    more_are_due: bool = False
    pages: int = INITIAL_PAGE_BUDGET

    def pay(self) -> None:
        """Subtract a page."""
        self.pages -= 1

    def earn(self, rows: int) -> None:
        """Add a page for each row that was settled."""
        self.pages = min(self.pages + rows, MAX_PAGE_BUDGET)

    def match(self, rows: int) -> None:
        """Record claimed rows as matched, which earns pages too."""
        self.remaining -= rows
        self.earn(rows)

    @property
    def allows_page(self) -> bool:
        """Whether another page is worth its request."""
        return self.pages > 0 and (self.more_are_due or self.remaining > SWEEP_ABOVE)


@dataclass(slots=True)
class ClaimIndex:
    """The claims that a sweep looks for, by the ids in the observations that match them."""

    by_upload: dict[str, list[Claim]] = field(default_factory=dict)
    by_asset: dict[str, list[Claim]] = field(default_factory=dict)

    @classmethod
    def of(cls, claims: Iterable[Claim]) -> "ClaimIndex":
        """Index claims by upload, or by asset where the upload is unknown.

        Claims whose id cannot be an id in Mux are left out.
        """
        index = cls()
        for claim in claims:
            if claim.upload_id == UPLOAD_UNKNOWN:
                claims_by_id, mux_id = index.by_asset, claim.asset_id
            else:
                claims_by_id, mux_id = index.by_upload, claim.upload_id
            if mux_id is not None and is_mux_id(mux_id):
                claims_by_id.setdefault(mux_id, []).append(claim)
        return index

    def pop(self, observation: Observation) -> tuple[Claim, ...]:
        """Remove and return the claims that an observation matches."""
        claims: list[Claim] = []
        if observation.upload_id is not None:
            claims += self.by_upload.pop(observation.upload_id, [])
        if observation.asset_id is not None and observation.subject == "asset":
            claims += self.by_asset.pop(observation.asset_id, [])
        return tuple(claims)


async def sweep(
    claims: Iterable[Claim],
    fetch: Callable[[str | None], Awaitable[Page]],
    budget: PageBudget,
    stopping: asyncio.Event,
) -> AsyncIterator[list[MatchedObservation]]:
    """Yield the pages of a list, each observation with the claims that it matches.

    The caller that settles a page adds to `budget` what else it was worth. The next page is fetched
    meanwhile if the budget allows it already.
    """
    index = ClaimIndex.of(claims)
    fetching: asyncio.Task[Page] | None = _start(fetch, None)

    def wants_more(page: Page) -> bool:
        return page.next is not None and budget.allows_page and not stopping.is_set()

    try:
        while fetching is not None:
            page = await fetching
            fetching = None
            budget.pay()
            matched = [MatchedObservation(o, index.pop(o)) for o in _unambiguous(page)]
            budget.match(sum(len(match.claims) for match in matched))
            if wants_more(page):
                fetching = _start(fetch, page.next)
            yield matched
            if fetching is None and wants_more(page):
                fetching = _start(fetch, page.next)
    finally:
        if fetching is not None:
            fetching.cancel()
            await asyncio.gather(fetching, return_exceptions=True)


def _unambiguous(page: Page) -> list[Observation]:
    """Leave out assets of an upload that has several: only the upload tells which one counts."""
    counts = Counter(o.upload_id for o in page.observations if o.upload_id is not None)
    return [o for o in page.observations if counts[o.upload_id or ""] <= 1]


def _start(
    fetch: Callable[[str | None], Awaitable[Page]], cursor: str | None
) -> asyncio.Task[Page]:
    async def page() -> Page:
        return await fetch(cursor)

    return asyncio.create_task(page())
