"""From due rows to observations: sweep what is cheap by the page, probe the rest."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from worker.errors import MuxUnauthorized, MuxUnavailable
from worker.model import Claim, Observation, Page, Sighting, is_mux_id
from worker.scan.probe import AnswersProbes, Control, IdFault, has_upload, probe
from worker.scan.sweep import FEW, Credit, sweep

PROBES_AT_ONCE = 4
"""Questions under way at the same time: enough to fill Mux's rate limit at 800 ms an answer."""

PAGE_SIZE = 100
PAGE_SECONDS = 0.5
"""How long a sighting may wait for others to make a page with."""


class AsksMux(AnswersProbes, Protocol):
    """What observing needs of Mux: to probe, and to sweep."""

    async def assets(self, at: str | None) -> Page:
        """Ask for a page of assets, the first or one that a page named as its next."""
        ...

    async def uploads(self, at: str | None) -> Page:
        """Ask for a page of uploads."""
        ...


@dataclass(slots=True)
class Probes:
    """How many rows may be probed, and until how many seconds after the first probe."""

    most: int | None = None
    seconds: float = math.inf
    clock: Callable[[], float] = time.monotonic
    begun: set[str] = field(default_factory=set)
    """The claims of rows for which a request has gone out, by their ids."""


async def observe(
    claims: Sequence[Claim],
    mux: AsksMux,
    stopping: asyncio.Event,
    credit: Credit | None = None,
    probes: Probes | None = None,
) -> AsyncIterator[list[Sighting]]:
    """Observe every claimed row and give what was seen by the page, in whatever order it comes.

    With credit, Mux's lists are walked first, as far as it lasts, and what they say about other
    rows is given too; of the rows that are left, the first `probes.most` are probed, as far as the
    time for it goes, and the others stay unobserved. Ends early, leaving rows unobserved, when
    `stopping` is set. A fault of one id, or of the lists, is its own while Mux answers the control
    question. An outage ends it: what was observed until then is given first, then it is raised.
    """
    left = {claim.id: claim for claim in claims}
    probes, control = probes or Probes(), Control(mux)
    if credit is not None:
        # What a list says may be old; a row that is ready is asked for itself.
        waiting = [claim for claim in claims if claim.status == "processing"]
        try:
            async for page in sweep(waiting, mux.assets, credit, stopping):
                _strike_off(left, page)
                yield page
            async for page in _sweep_uploads(left, mux, stopping):
                yield page
        except (MuxUnavailable, MuxUnauthorized) as fault:
            await control.ask(fault)
    if not stopping.is_set():
        async for page in _probe(list(left.values()), probes, mux, control, stopping):
            yield page


def _strike_off(left: dict[str, Claim], page: Iterable[Sighting]) -> None:
    for sighting in page:
        for claim in sighting.claims:
            del left[claim.id]


async def _sweep_uploads(
    left: dict[str, Claim], mux: AsksMux, stopping: asyncio.Event
) -> AsyncIterator[list[Sighting]]:
    """Walk the uploads for rows without an asset; one that has an asset by now is left to probe."""
    without = [c for c in left.values() if not is_mux_id(c.asset_id) and has_upload(c)]
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
    claims: Sequence[Claim],
    probes: Probes,
    mux: AsksMux,
    control: Control,
    stopping: asyncio.Event,
) -> AsyncIterator[list[Sighting]]:
    """Put each different question to Mux once."""
    questions = iter(_questions(claims[: probes.most]))
    inbox: asyncio.Queue[Sighting | Exception | None] = asyncio.Queue()
    ends_at = probes.clock() + probes.seconds

    async def look(group: tuple[Claim, ...]) -> Observation:
        def sent() -> None:
            probes.begun.update(claim.id for claim in group)

        try:
            return await probe(group[0], mux, sent)
        except IdFault as fault:
            await control.ask(fault.fault)
            return fault.observation

    async def work() -> None:
        try:
            for group in questions:
                if stopping.is_set() or probes.clock() >= ends_at:
                    break
                inbox.put_nowait(Sighting(await look(group), group))
        except Exception as error:  # noqa: BLE001  # raised again by whoever reads the inbox
            inbox.put_nowait(error)
        inbox.put_nowait(None)

    tasks = [asyncio.create_task(work()) for _ in range(min(PROBES_AT_ONCE, len(claims)))]
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
