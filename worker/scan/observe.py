"""Observe what is looked up: sweep for many ids by the page, and probe the rest."""

import asyncio
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from worker.errors import MuxUnauthorized, MuxUnavailable
from worker.model import MatchedObservation, Observation, Query, is_mux_id
from worker.scan.mux_reader import MuxReader
from worker.scan.probe import Control, IdFault, probe
from worker.scan.sweep import PageBudget, live_count, sweep

CONCURRENT_PROBES = 4
"""Enough to use Mux's rate limit when a response takes 800 ms."""

PAGE_SIZE = 100
PAGE_SECONDS = 0.5
"""How long a probe's observation waits for others to be settled in one page."""


@dataclass(slots=True)
class ProbeLimits:
    """How many queries may be probed, and for how many seconds new probes may begin."""

    max_probes: int | None = None
    seconds: float = math.inf
    clock: Callable[[], float] = time.monotonic
    begun: set[str] = field(default_factory=set)
    """The keys of queries for which a request was sent."""


async def observe(
    queries: Sequence[Query],
    mux: MuxReader,
    stopping: asyncio.Event,
    budget: PageBudget | None = None,
    limits: ProbeLimits | None = None,
) -> AsyncGenerator[list[MatchedObservation]]:
    """Yield observations that answer the queries by the page, in any order.

    With a page budget Mux's lists are swept first; observations that answer no query are yielded
    too. Then the remaining queries are probed, as far as the limits allow; the others stay
    unanswered, as they do when `stopping` is set. No two queries have the same key.

    A fault of one id becomes an observation, and an error of the lists is ignored, while Mux
    answers the control request. Otherwise it is an outage: what was observed before is yielded,
    then the error is raised.
    """
    remaining = {query.key: query for query in queries}
    limits, control = limits or ProbeLimits(), Control(mux)
    if budget is not None:
        waiting = [query for query in queries if not query.is_recheck]
        try:
            async for page in sweep(waiting, mux.assets, budget, stopping):
                _remove(remaining, page)
                yield page
            async for page in _sweep_uploads(remaining, mux, stopping):
                yield page
        except (MuxUnavailable, MuxUnauthorized) as error:
            await control.check(error)
    if not stopping.is_set():
        probing = _probe(list(remaining.values()), limits, mux, control, stopping)
        async with aclosing(probing):
            async for page in probing:
                yield page


def _remove(remaining: dict[str, Query], page: Iterable[MatchedObservation]) -> None:
    for match in page:
        for query in match.queries:
            del remaining[query.key]


async def _sweep_uploads(
    remaining: dict[str, Query], mux: MuxReader, stopping: asyncio.Event
) -> AsyncIterator[list[MatchedObservation]]:
    """Sweep the uploads for queries without an asset. If the upload has one now, it is probed."""
    queries = [q for q in remaining.values() if not is_mux_id(q.asset_id) and q.has_upload]
    budget = PageBudget(live_count(queries))
    if not budget.allows_page or stopping.is_set():
        return
    async for page in sweep(queries, mux.uploads, budget, stopping):
        to_probe = [m for m in page if m.queries and m.observation.status == "asset_created"]
        for match in to_probe:
            for query in match.queries:
                remaining[query.key] = replace(query, asset_id=match.observation.asset_id)
        # Not settled beside the probe, which would then find its row locked.
        settleable = [match for match in page if match not in to_probe]
        _remove(remaining, settleable)
        yield settleable


async def _probe(
    queries: Sequence[Query],
    limits: ProbeLimits,
    mux: MuxReader,
    control: Control,
    stopping: asyncio.Event,
) -> AsyncGenerator[list[MatchedObservation]]:
    """Probe the queries in order, queries for the same ids once."""
    groups = iter(_grouped(queries[: limits.max_probes]))
    queue: asyncio.Queue[MatchedObservation | Exception | None] = asyncio.Queue()
    ends_at = limits.clock() + limits.seconds

    async def observe_group(group: tuple[Query, ...]) -> Observation:
        def on_sent() -> None:
            limits.begun.update(query.key for query in group)

        try:
            return await probe(group[0], mux, on_sent)
        except IdFault as fault:
            await control.check(fault.error)
            return fault.observation

    async def work() -> None:
        try:
            for group in groups:
                if stopping.is_set() or limits.clock() >= ends_at:
                    break
                queue.put_nowait(MatchedObservation(await observe_group(group), group))
        except Exception as error:  # noqa: BLE001  # raised again by the reader of the queue
            queue.put_nowait(error)
        queue.put_nowait(None)

    tasks = [asyncio.create_task(work()) for _ in range(min(CONCURRENT_PROBES, len(queries)))]
    try:
        async for page in _pages(queue, len(tasks)):
            yield page
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _pages(
    queue: asyncio.Queue[MatchedObservation | Exception | None], running: int
) -> AsyncIterator[list[MatchedObservation]]:
    """Yield the items of the queue in pages, when a page is full or its first item has waited."""
    page: list[MatchedObservation] = []
    deadline: float | None = None
    while running:
        try:
            async with asyncio.timeout_at(deadline):
                item = await queue.get()
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


def _grouped(queries: Iterable[Query]) -> list[tuple[Query, ...]]:
    """Return the queries grouped by their ids, in order: one probe serves a group."""
    groups: dict[tuple[str, str | None], list[Query]] = {}
    for query in queries:
        groups.setdefault((query.upload_id, query.asset_id), []).append(query)
    return [tuple(group) for group in groups.values()]
