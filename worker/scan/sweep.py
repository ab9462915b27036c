"""Walk Mux's lists, newest first, for as long as the pages earn what they cost."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from worker.model import UPLOAD_UNKNOWN, Claim, Observation, Page, Sighting, is_mux_id

FEW = 2
"""So many due rows are not worth a page; figures in docs/performance.md."""

FIRST_CREDIT = 3
MOST_CREDIT = 10


@dataclass(slots=True)
class Credit:
    """What a sweep may still spend: a page costs one, a match earns one.

    `sought` counts the claimed rows that were not seen yet. Unless more rows are due than were
    claimed, credit beyond their number is of no use: asking for each costs no more than that.
    """

    sought: int
    more_are_due: bool = False
    left: int = FIRST_CREDIT

    def pay(self) -> None:
        """Pay for a page."""
        self.left -= 1

    def earn(self, matches: int) -> None:
        """Take in what a page was worth in rows."""
        self.left = min(self.left + matches, MOST_CREDIT)

    def found(self, rows: int) -> None:
        """Note that claimed rows were seen, which earns as well."""
        self.sought -= rows
        self.earn(rows)

    @property
    def pays(self) -> bool:
        """Whether another page is worth its cost."""
        return self.left > 0 and (self.more_are_due or self.sought > FEW)


@dataclass(slots=True)
class Sought:
    """The claimed rows that a sweep looks for, by the ids that a fact about them would carry."""

    by_upload: dict[str, list[Claim]] = field(default_factory=dict)
    by_asset: dict[str, list[Claim]] = field(default_factory=dict)

    @classmethod
    def of(cls, claims: Iterable[Claim]) -> "Sought":
        """Index claims; those whose upload is not known by their asset.

        What cannot be an id is looked for nowhere.
        """
        sought = cls()
        for claim in claims:
            if claim.upload_id == UPLOAD_UNKNOWN:
                index, mux_id = sought.by_asset, claim.asset_id
            else:
                index, mux_id = sought.by_upload, claim.upload_id
            if mux_id is not None and is_mux_id(mux_id):
                index.setdefault(mux_id, []).append(claim)
        return sought

    def take(self, seen: Observation) -> tuple[Claim, ...]:
        """Give the claims that a fact is about; each is given once."""
        found: list[Claim] = []
        if seen.upload_id is not None:
            found += self.by_upload.pop(seen.upload_id, [])
        if seen.asset_id is not None and seen.subject == "asset":
            found += self.by_asset.pop(seen.asset_id, [])
        return tuple(found)


async def sweep(
    claims: Iterable[Claim],
    fetch: Callable[[str | None], Awaitable[Page]],
    credit: Credit,
    stopping: asyncio.Event,
) -> AsyncIterator[list[Sighting]]:
    """Give page after page of a list, with the claimed rows that its facts are about.

    Whoever settles a page tells `credit` what else it was worth. The next page is fetched
    meanwhile where it is sure to be wanted.
    """
    sought = Sought.of(claims)
    coming: asyncio.Task[Page] | None = _fetched(fetch, None)
    try:
        while coming is not None:
            page = await coming
            coming = None
            credit.pay()
            sightings = [Sighting(seen, sought.take(seen)) for seen in _unambiguous(page)]
            credit.found(sum(len(sighting.claims) for sighting in sightings))
            if page.next is not None and credit.pays and not stopping.is_set():
                coming = _fetched(fetch, page.next)
            yield sightings
            if coming is None and page.next is not None and credit.pays and not stopping.is_set():
                coming = _fetched(fetch, page.next)
    finally:
        if coming is not None:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)


def _unambiguous(page: Page) -> list[Observation]:
    """Leave out the assets of an upload that has several: the upload says which of them counts."""
    of_upload = Counter(seen.upload_id for seen in page.observations if seen.upload_id is not None)
    return [seen for seen in page.observations if of_upload[seen.upload_id or ""] <= 1]


def _fetched(fetch: Callable[[str | None], Awaitable[Page]], at: str | None) -> asyncio.Task[Page]:
    async def page() -> Page:
        return await fetch(at)

    return asyncio.create_task(page())
