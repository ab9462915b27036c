"""Measure the worker and print a Markdown table: `python -m bench`."""

import os
import platform
import random
import statistics
import sys
import time
from dataclasses import dataclass

import psutil

from bench.script import publish_all
from bench.stage import Stage, stage
from worker.local.mux_timeline import Timeline

DRAIN_LESSONS = 10_000
SCRIPT_LESSONS = 100
READY_UPLOADS = 60
IDLE_SECONDS = 60
STARTS = 7
MIB = 1024 * 1024


@dataclass(frozen=True)
class Figure:
    """One row of the table."""

    question: str
    answer: str
    beside: str = ""


def main() -> None:
    """Run every measurement, each on a stage of its own, and print the table."""
    figures: list[Figure] = []
    for measure in (start, idle, drain, ready_to_published):
        print(f"{measure.__name__} ...", file=sys.stderr, flush=True)
        with stage() as here:
            figures += measure(here)
    cores, gib = os.cpu_count(), psutil.virtual_memory().total / MIB / 1024
    print(
        f"{cores} cores and {gib:.0f} GiB, shared with Postgres, PostgREST and the simulated Mux; "
        f"Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}.\n"
    )
    print("| Figure | Worker | Beside it |\n| --- | --- | --- |")
    for figure in figures:
        print(f"| {figure.question} | {figure.answer} | {figure.beside} |")


def start(here: Stage) -> list[Figure]:
    """Measure from process start to the end of the first scan."""
    seconds = sorted(here.seconds_to_first_scan() for _ in range(STARTS))
    return [
        Figure(
            "Process start to first scan",
            f"{statistics.median(seconds):.2f} s ({seconds[0]:.2f} to {seconds[-1]:.2f}, "
            f"{STARTS} starts)",
        )
    ]


def idle(here: Stage) -> list[Figure]:
    """Measure what a worker with nothing to do costs, at the default pace."""
    with here.worker() as process:
        time.sleep(5)
        here.supabase.requests.clear()
        before = process.cpu_times()
        time.sleep(IDLE_SECONDS)
        after = process.cpu_times()
        scans = here.supabase.requests.count("/rest/v1/rpc/worker_claim")
        calls = len(here.supabase.requests)
        memory = process.memory_info().rss / MIB
    cpu = after.user + after.system - before.user - before.system
    return [
        Figure("RPCs for an idle scan", f"{calls / scans:.2f}"),
        Figure("CPU while idle", f"{cpu / IDLE_SECONDS:.2%} of one core"),
        Figure("Resident memory while idle", f"{memory:.0f} MiB"),
    ]


def drain(here: Stage) -> list[Figure]:
    """Measure many ready lessons at once, beside a script that takes them five at a time."""
    here.add_lessons(SCRIPT_LESSONS)
    script = SCRIPT_LESSONS / publish_all(here)
    assert here.count("published") == SCRIPT_LESSONS
    here.add_lessons(DRAIN_LESSONS)
    here.supabase.requests.clear()
    here.mux.requests.clear()
    began = time.monotonic()
    with here.worker(MUX_REQUESTS_PER_SECOND="10000", SCAN_BATCH_SIZE="1000") as process:
        here.wait_until_published(SCRIPT_LESSONS + DRAIN_LESSONS)
        seconds = time.monotonic() - began
        memory = process.memory_info().rss / MIB
    rate = DRAIN_LESSONS / seconds
    calls, asked = len(here.supabase.requests), sum(here.mux.requests.by_route().values())
    return [
        Figure(
            f"{DRAIN_LESSONS:,} ready lessons, no rate limit",
            f"{rate:.0f} lessons a second, start included",
            f"script, five at a time and a second's pause: {script:.1f}; ratio {rate / script:.0f}",
        ),
        Figure("RPCs a lesson", f"{calls / DRAIN_LESSONS:.3f}", "script: 2"),
        Figure("Mux requests a lesson", f"{asked / DRAIN_LESSONS:.2f}", "script: 2"),
        Figure(f"Resident memory after {DRAIN_LESSONS:,} lessons", f"{memory:.0f} MiB"),
    ]


def ready_to_published(here: Stage) -> list[Figure]:
    """Measure how long a video that can be played waits for its lesson, at the default pace."""
    ready_at: dict[str, float] = {}
    with here.worker():
        for _ in range(READY_UPLOADS):
            prepare = random.uniform(5, 40)
            timeline = Timeline(file_after_seconds=0, prepare_seconds=prepare)
            upload = here.mux.state.create_upload(timeline)
            ready_at[upload] = time.time() + prepare
            _track(here, upload)
        here.wait_until_published(READY_UPLOADS)
    rows = here.db.execute(
        "select upload_id, extract(epoch from settled_at) from mux_asset_tracking"
    ).fetchall()
    waits = sorted(float(settled) - ready_at[upload] for upload, settled in rows)
    half, most = statistics.median(waits), waits[int(len(waits) * 0.95)]
    return [
        Figure(
            f"Ready to published, {READY_UPLOADS} uploads of 5 to 40 s at 4 requests a second",
            f"median {half:.1f} s, 95 % within {most:.1f} s",
        )
    ]


def _track(here: Stage, upload: str) -> None:
    here.db.execute(
        "with lesson as (insert into lessons (creator_id, title) "
        "values (gen_random_uuid(), 'A lesson') returning id) "
        "insert into mux_asset_tracking (lesson_id, upload_id) select id, %s from lesson",
        [upload],
    )


if __name__ == "__main__":
    main()
