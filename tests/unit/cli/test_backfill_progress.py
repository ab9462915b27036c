"""The log lines of a backfill whose output is no terminal."""

import asyncio
import io
from collections import Counter

from pytest_mock import MockerFixture

from tests.unit.log_lines import logged
from worker.backfill.result import Progress
from worker.cli import backfill_progress


async def test_off_a_terminal_progress_is_logged_while_the_block_runs(
    out: io.StringIO, mocker: MockerFixture
) -> None:
    """With lessons by ending, since the beginning, and how much is left; not after the block."""
    mocker.patch.object(backfill_progress, "LOG_INTERVAL_SECONDS", 0)
    progress = Progress(left_alone=Counter(has_video=2), chunk=10, walked=12)
    async with backfill_progress.progress_shown(progress, "adopting"):
        for _ in range(3):
            await asyncio.sleep(0)
    lines = logged(out)
    await asyncio.sleep(0)
    assert logged(out) == lines
    assert lines[0] == {
        "level": "info",
        "event": "backfill.progress",
        "doing": "adopting",
        "processed": 2,
        "updated": 0,
        "skipped": 2,
        "failed": 0,
        "walked": 12,
        "of_chunk": 10,
        "lessons_per_second": 0.0,
        "seconds_left": None,
    }
