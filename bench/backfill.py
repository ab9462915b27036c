"""Measure the backfill beside the report's script, on the same legacy lessons."""

import subprocess
import sys
import time
from dataclasses import dataclass

from bench.answers import Answer, Detail, Row
from bench.drain import PER_SECOND, script_command
from bench.sizes import Sizes
from bench.stage import INSTRUCTOR, WORKER, Stage, stage

HOW = """\
The lessons are older than the tracking table, and all are drafts: half hold a temporary id that
contains the upload's id, half a real asset id. All videos are ready. Mux's limits hold: 5 GET a
second. `mux-worker backfill --apply` repairs them. The report's script does the same work on a
database of its own, with fewer lessons, as far as it can: it skips those with a temporary id.
Seconds are those of the whole command."""


@dataclass(frozen=True, slots=True)
class Run:
    """What one command did."""

    seconds: float
    asked: int
    published: int


def backfill(sizes: Sizes) -> Answer:
    """Measure both."""
    command = [sys.executable, "-m", WORKER, "backfill", "--apply", "--yes"]
    ours = _run(command, sizes.drain_lessons)
    script = _run(script_command(), sizes.slow_lessons)
    row = Row(
        f"{sizes.drain_lessons:,} lessons older than the worker: repaired; seconds; Mux requests",
        f"{ours.published:,}; {ours.seconds:.0f}; {ours.asked:,}",
        f"script, of {sizes.slow_lessons:,}: {script.published:,}; {script.seconds:.0f}; "
        f"{script.asked:,}",
        f"lessons a second: {_rate(ours) / _rate(script):.0f}",
        f"{sizes.drain_lessons:,}; {sizes.drain_lessons / 100 / PER_SECOND:.0f}; "
        f"{sizes.drain_lessons / 100:.0f}",
    )
    detail = Detail(
        ("Way", "Lessons repaired", "Seconds", "Mux requests"),
        tuple(
            (name, f"{run.published:,}", f"{run.seconds:.1f}", f"{run.asked:,}")
            for name, run in (("backfill", ours), ("report's script", script))
        ),
    )
    return Answer(
        "Backfill: repairing lessons that are older than the worker", HOW, (row,), (detail,)
    )


def _rate(run: Run) -> float:
    return run.published / run.seconds


def _run(command: list[str], lessons: int) -> Run:
    with stage(PER_SECOND) as here:
        _add_legacy_lessons(here, lessons)
        here.mux.requests.clear()
        environment = here.environment(
            NEXT_PUBLIC_SUPABASE_URL=here.supabase.url, MUX_REQUESTS_PER_SECOND=str(PER_SECOND)
        )
        began = time.monotonic()
        subprocess.run(command, env=environment, capture_output=True, check=True)
        seconds = time.monotonic() - began
        return Run(seconds, len(here.mux.requests.all()), here.count("published"))


def _add_legacy_lessons(here: Stage, count: int) -> None:
    with (
        here.db.cursor() as cursor,
        cursor.copy("copy lessons (creator_id, title, mux_asset_id) from stdin") as copy,
    ):
        for number, video in enumerate(here.mux.state.seed(count)):
            held = video.asset_id if number % 2 else f"temp_{video.upload_id}"
            copy.write_row((INSTRUCTOR, "A lesson", held))
