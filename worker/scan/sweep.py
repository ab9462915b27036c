"""Sweep: read Mux's lists, newest first, for as long as the pages are worth their requests."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass, field

from worker.errors import MuxUnavailable
from worker.model import UPLOAD_UNKNOWN, MatchedObservation, Observation, Page, Query

SWEEP_FROM = 2
"""From this many due rows on, a page is read. It mostly has all of them, where they are few."""

SWEEP_ABOVE = 2
"""No further page is read for this many rows: they are probed. Measured in docs/performance.md."""

INITIAL_PAGE_BUDGET = 3
MAX_PAGE_BUDGET = 10


@dataclass(slots=True)
class PageBudget:
    """How many more pages a sweep may read: a page costs one, a matched row earns one.

    Only live rows count: a backfill has read the lists before it entered the rows of the backlog.
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
        self.pages = max(self.pages, min(self.pages + rows, MAX_PAGE_BUDGET))

    def match(self, rows: int) -> None:
        """Record claimed rows as matched, which earns pages too.

        Pages that cost more than to probe what remains are not read.
        """
        self.remaining -= rows
        self.earn(rows)
        if not self.more_are_due:
            self.pages = min(self.pages, max(self.remaining, MAX_PAGE_BUDGET))

    @property
    def allows_first_page(self) -> bool:
        """Whether there is a sweep at all."""
        return self.pages > 0 and (self.more_are_due or self.remaining >= SWEEP_FROM)

    @property
    def allows_page(self) -> bool:
        """Whether another page is worth its request."""
        return self.pages > 0 and (self.more_are_due or self.remaining > SWEEP_ABOVE)


@dataclass(slots=True)
class QueryIndex:
    """The queries of a sweep, by the ids in the observations that answer them."""

    by_upload: dict[str, list[Query]] = field(default_factory=dict)
    by_asset: dict[str, list[Query]] = field(default_factory=dict)

    @classmethod
    def of(cls, queries: Iterable[Query]) -> "QueryIndex":
        """Index queries by upload, or by asset where the upload is unknown.

        Queries whose id cannot be an id in Mux are left out.
        """
        index = cls()
        for query in queries:
            by_id = index.by_asset if query.upload_id == UPLOAD_UNKNOWN else index.by_upload
            if query.listed_id is not None:
                by_id.setdefault(query.listed_id, []).append(query)
        return index

    def pop(self, observation: Observation) -> tuple[Query, ...]:
        """Remove and return the queries that an observation answers.

        An app may have stored an asset's id where an upload's belongs, so an asset answers a query
        for an upload by its own id too. Ids in Mux are random: no two things have the same.
        """
        queries: list[Query] = []
        if observation.upload_id is not None:
            queries += self.by_upload.pop(observation.upload_id, [])
        if observation.asset_id is not None and observation.subject == "asset":
            queries += self.by_upload.pop(observation.asset_id, [])
            queries += self.by_asset.pop(observation.asset_id, [])
        return tuple(queries)


def live_count(queries: Iterable[Query]) -> int:
    """Count the queries that a list is read for, and that it may answer."""
    return sum(
        query.listed_id is not None and not query.is_backlog and not query.is_recheck
        for query in queries
    )


async def sweep(
    queries: Iterable[Query],
    fetch: Callable[[str | None], Awaitable[Page]],
    budget: PageBudget,
    stopping: asyncio.Event,
) -> AsyncIterator[list[MatchedObservation]]:
    """Yield the pages of a list, each observation with the queries that it answers.

    The caller that settles a page adds to `budget` what else it was worth. The next page is fetched
    meanwhile if the budget allows it already. Raises MuxUnavailable if the list leads back to a
    page that was read.
    """
    index = QueryIndex.of(queries)
    fetch_once = _without_loops(fetch)

    def wants_more(page: Page) -> bool:
        return page.next is not None and budget.allows_page and not stopping.is_set()

    fetching: asyncio.Task[Page] | None = asyncio.create_task(fetch_once(None))
    try:
        while fetching is not None:
            page = await fetching
            fetching = None
            budget.pay()
            matched = [MatchedObservation(o, index.pop(o)) for o in _unambiguous(page)]
            budget.match(sum(live_count(match.queries) for match in matched))
            if wants_more(page):
                fetching = asyncio.create_task(fetch_once(page.next))
            yield matched
            if fetching is None and wants_more(page):
                fetching = asyncio.create_task(fetch_once(page.next))
    finally:
        if fetching is not None:
            fetching.cancel()
            await asyncio.gather(fetching, return_exceptions=True)


def _without_loops(
    fetch: Callable[[str | None], Awaitable[Page]],
) -> Callable[[str | None], Coroutine[None, None, Page]]:
    """Return a function that fetches each page of a list once."""
    cursors: set[str | None] = set()

    async def fetch_once(cursor: str | None) -> Page:
        if cursor in cursors:
            raise MuxUnavailable("unreadable", "Mux's list repeats a cursor.")
        cursors.add(cursor)
        return await fetch(cursor)

    return fetch_once


def _unambiguous(page: Page) -> list[Observation]:
    """Leave out assets of an upload that has several: only the upload tells which one counts."""
    counts = Counter(o.upload_id for o in page.observations if o.upload_id is not None)
    return [o for o in page.observations if counts[o.upload_id or ""] <= 1]
