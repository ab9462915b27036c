"""Show the progress of a backfill: a bar on a terminal, a log line every ten seconds elsewhere."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from worker.backfill.result import Progress
from worker.cli.console import console
from worker.telemetry.logs import get_logger

LOG_INTERVAL_SECONDS = 10.0
DRAW_INTERVAL_SECONDS = 0.2

log = get_logger()


@asynccontextmanager
async def progress_shown(progress: Progress, activity: str) -> AsyncIterator[None]:
    """Show progress for as long as the block runs."""
    show = _draw if console().is_terminal else _log
    task = asyncio.create_task(show(progress, activity))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _log(progress: Progress, activity: str) -> None:
    began = time.monotonic()
    before = progress.counts.total()
    while True:
        await asyncio.sleep(LOG_INTERVAL_SECONDS)
        rate = (progress.counts.total() - before) / (time.monotonic() - began)
        left = progress.chunk - progress.chunk_done
        log.info(
            "backfill.progress",
            doing=activity,
            **progress.by_ending(),
            walked=progress.walked,
            of_chunk=progress.chunk,
            lessons_per_second=round(rate, 1),
            seconds_left=round(left / rate) if rate else None,
        )


async def _draw(progress: Progress, activity: str) -> None:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    began = time.monotonic()
    with Bar(*columns, console=console(), transient=True) as bar:
        task = bar.add_task(activity, total=None, rate="")
        while True:
            seconds = max(time.monotonic() - began, 0.001)
            bar.update(
                task,
                completed=progress.chunk_done,
                total=progress.chunk or None,
                rate=f"{progress.counts.total() / seconds:.0f}/s",
            )
            await asyncio.sleep(DRAW_INTERVAL_SECONDS)
