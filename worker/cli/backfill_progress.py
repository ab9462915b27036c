"""Show how far a backfill is: a bar on a terminal, a log line every ten seconds elsewhere."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from worker.backfill.backfill import Progress
from worker.cli.console import WIDTH
from worker.telemetry.logs import get_logger

LINE_SECONDS = 10.0
DRAW_SECONDS = 0.2

log = get_logger()


@asynccontextmanager
async def progress_shown(progress: Progress, doing: str) -> AsyncIterator[None]:
    """Show progress for as long as the block lasts."""
    show = _draw if sys.stdout.isatty() else _tell
    task = asyncio.create_task(show(progress, doing))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _tell(progress: Progress, doing: str) -> None:
    began = time.monotonic()
    before = progress.counts.total()
    while True:
        await asyncio.sleep(LINE_SECONDS)
        done = progress.counts.total() - before
        rate = done / (time.monotonic() - began)
        left = progress.chunk - progress.chunk_done
        log.info(
            "backfill.progress",
            doing=doing,
            **progress.by_ending(),
            walked=progress.walked,
            of_chunk=progress.chunk,
            lessons_per_second=round(rate, 1),
            seconds_left=round(left / rate) if rate else None,
        )


async def _draw(progress: Progress, doing: str) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    console = Console(width=WIDTH, no_color=bool(os.environ.get("NO_COLOR")))
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    began = time.monotonic()
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task(doing, total=None, rate="")
        while True:
            seconds = max(time.monotonic() - began, 0.001)
            bar.update(
                task,
                completed=progress.chunk_done,
                total=progress.chunk or None,
                rate=f"{progress.counts.total() / seconds:.0f}/s",
            )
            await asyncio.sleep(DRAW_SECONDS)
