"""A worker that counts what only it can see: `python -m bench.counted run`.

It is the worker itself. Once a second it writes the number of its asyncio tasks, and of the blocks
of memory that Python has given to objects, to the file that `BENCH_COUNTS_FILE` names.
"""

import asyncio
import json
import os
import sys
from pathlib import Path

import worker.app
from worker.cli.main import main
from worker.settings import Settings

FILE_VARIABLE = "BENCH_COUNTS_FILE"
WRITE_EVERY_SECONDS = 1.0

run_uncounted = worker.app.run


async def run(settings: Settings, stopping: asyncio.Event) -> None:
    """Run the daemon, with the count beside it."""
    counting = asyncio.create_task(_count(Path(os.environ[FILE_VARIABLE])))
    await asyncio.sleep(0)  # the first count is written before the worker begins
    try:
        await run_uncounted(settings, stopping)
    finally:
        counting.cancel()


async def _count(file: Path) -> None:
    draft = file.with_suffix(".draft")
    while True:
        tasks = len(asyncio.all_tasks()) - 1
        draft.write_text(json.dumps({"tasks": tasks, "blocks": sys.getallocatedblocks()}))
        draft.replace(file)  # never half written
        await asyncio.sleep(WRITE_EVERY_SECONDS)


if __name__ == "__main__":
    setattr(worker.app, "run", run)  # noqa: B010  # mypy forbids an assignment
    main()
