"""From due rows to observations: sweep what is cheap by the page, probe the rest."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from worker.model import UPLOAD_UNKNOWN, Claim, Observation, Page, Sighting, is_mux_id
from worker.sweep import FEW, Credit, sweep

PROBES_AT_ONCE = 4
"""Questions under way at the same time: enough to fill Mux's rate limit at 800 ms an answer."""

PAGE_SIZE = 100
PAGE_SECONDS = 0.5
"""How long a sighting may wait for others to make a page with."""


class AsksMux(Protocol):
    """What observing needs of Mux."""

    async def upload(self, upload_id: str) -> Observation:
        """Ask for an upload."""
        ...

    async def asset(self, asset_id: str) -> Observation:
        """Ask for an asset."""
        ...

    async def asset_of(self, upload_id: str) -> Observation | None:
        """Ask for the asset that an upload became; None if there is none."""
        ...

    async def assets(self, at: str | None) -> Page:
        """Ask for a page of assets, the first or one that a page named as its next."""
        ...

    async def uploads(self, at: str | None) -> Page:
        """Ask for a page of uploads."""
        ...


@dataclass(slots=True)
class Probes:
    """How many rows may be asked for alone, and which of them have been, by the id of the claim."""

    most: int | None = None
    begun: set[str] = field(default_factory=set)


async def observe(
    claims: Sequence[Claim],
    mux: AsksMux,
    stopping: asyncio.Event,
    credit: Credit | None = None,
    probes: Probes | None = None,
) -> AsyncIterator[list[Sighting]]:
    """Observe every claimed row and give what was seen by the page, in whatever order it comes.

    With credit, Mux's lists are walked first, as far as it lasts, and what they say about other
    rows is given too; of the rows that are left, the first `probes.most` are asked for, each alone,
    and the others stay unobserved. Ends early, leaving rows unobserved, when `stopping` is set. A
    fault of Mux ends it too: what was observed until then is given first, then it is raised.
    """
    left = {claim.id: claim for claim in claims}
    probes = probes or Probes()
    if credit is not None:
        async for page in sweep(left.values(), mux.assets, credit, stopping):
            _strike_off(left, page)
            yield page
        async for page in _sweep_uploads(left, mux, stopping):
            yield page
    if not stopping.is_set():
        async for page in _probe(list(left.values()), probes, mux, stopping):
            yield page


def _strike_off(left: dict[str, Claim], page: Iterable[Sighting]) -> None:
    for sighting in page:
        for claim in sighting.claims:
            del left[claim.id]


async def _sweep_uploads(
    left: dict[str, Claim], mux: AsksMux, stopping: asyncio.Event
) -> AsyncIterator[list[Sighting]]:
    """Walk the uploads for rows without an asset; one that has an asset by now is left to probe."""
    without = [c for c in left.values() if c.asset_id is None and c.upload_id != UPLOAD_UNKNOWN]
    if len(without) <= FEW or stopping.is_set():
        return
    async for page in sweep(without, mux.uploads, Credit(len(without)), stopping):
        seen = [s for s in page if s.observation.status != "asset_created"]
        _strike_off(left, seen)
        for sighting in page:
            if sighting.observation.status == "asset_created":
                for claim in sighting.claims:
                    left[claim.id] = replace(claim, asset_id=sighting.observation.asset_id)
                seen.append(replace(sighting, claims=()))
        yield seen


async def _probe(
    claims: Sequence[Claim], probes: Probes, mux: AsksMux, stopping: asyncio.Event
) -> AsyncIterator[list[Sighting]]:
    """Put each different question to Mux once."""
    questions = iter(_questions(claims[: probes.most]))
    inbox: asyncio.Queue[Sighting | Exception | None] = asyncio.Queue()

    async def probe() -> None:
        try:
            for group in questions:
                if stopping.is_set():
                    break
                probes.begun.update(claim.id for claim in group)
                inbox.put_nowait(Sighting(await _ask(group[0], mux), group))
        except Exception as error:  # noqa: BLE001  # raised again by whoever reads the inbox
            inbox.put_nowait(error)
        inbox.put_nowait(None)

    tasks = [asyncio.create_task(probe()) for _ in range(min(PROBES_AT_ONCE, len(claims)))]
    try:
        async for page in _pages(inbox, len(tasks)):
            yield page
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _pages(
    inbox: asyncio.Queue[Sighting | Exception | None], running: int
) -> AsyncIterator[list[Sighting]]:
    """Gather what comes in until a page is full or its first sighting has waited long enough."""
    page: list[Sighting] = []
    deadline: float | None = None
    while running:
        try:
            async with asyncio.timeout_at(deadline):
                item = await inbox.get()
        except TimeoutError:
            yield page
            page, deadline = [], None
            continue
        if item is None:
            running -= 1
        elif isinstance(item, Exception):
            if page:
                yield page
            raise item
        else:
            page.append(item)
            deadline = deadline or asyncio.get_running_loop().time() + PAGE_SECONDS
            if len(page) == PAGE_SIZE:
                yield page
                page, deadline = [], None
    if page:
        yield page


def _questions(claims: Iterable[Claim]) -> list[tuple[Claim, ...]]:
    """Group the rows that one and the same question answers, keeping their order."""
    groups: dict[tuple[str, str | None], list[Claim]] = {}
    for claim in claims:
        groups.setdefault((claim.upload_id, claim.asset_id), []).append(claim)
    return [tuple(group) for group in groups.values()]


async def _ask(claim: Claim, mux: AsksMux) -> Observation:
    """Put the cheapest question that tells where this row's upload stands."""
    has_asset = claim.asset_id is not None and is_mux_id(claim.asset_id)
    if claim.upload_id == UPLOAD_UNKNOWN:
        if has_asset:
            return await mux.asset(claim.asset_id or "")
        return _unaskable("The upload is not known and neither is a real asset.")
    if not is_mux_id(claim.upload_id):
        return _unaskable(f"{_shown(claim.upload_id)} cannot be the id of an upload.")
    asset = None
    if has_asset:
        asset = await mux.asset(claim.asset_id or "")
    elif claim.check_count == 0:  # most apps track an upload when its file has arrived
        asset = await mux.asset_of(claim.upload_id)
    if (
        asset is not None
        and asset.found
        and (asset.upload_id is None or claim.upload_id in (asset.upload_id, asset.asset_id))
    ):
        return asset
    # There is none, or it is gone, or came from another upload: the row's own upload tells.
    return await _ask_for_upload(claim.upload_id, asset, mux)


async def _ask_for_upload(upload_id: str, asset: Observation | None, mux: AsksMux) -> Observation:
    """Ask for an upload and, if there is one, for its asset, unless that is known already."""
    upload = await mux.upload(upload_id)
    if not upload.found:  # an app may have stored the id of an asset
        of_id = await mux.asset(upload_id)
        return of_id if of_id.found else upload
    if upload.status != "asset_created" or upload.asset_id is None:
        return upload
    if asset is None or asset.asset_id != upload.asset_id:
        asset = await mux.asset(upload.asset_id)
    return replace(asset, upload_id=upload.upload_id)


def _unaskable(why: str) -> Observation:
    return Observation("none", "unaskable", "probe", error_message=why)


def _shown(text: str) -> str:
    return ascii(text if len(text) <= 60 else f"{text[:60]}…")
