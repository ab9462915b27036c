"""Measure what the worker itself can do where Mux sets no limit, and what it is bound by then."""

import json
import os
import statistics
import time
from dataclasses import dataclass

from bench.answers import Answer, Bar, Bars, Detail, Row, middle
from bench.roles import Roles
from bench.sizes import Sizes
from bench.stage import WORKER, Stage, stage
from worker.decide import Rules, settlement
from worker.model import Observation, PlaybackId
from worker.supabase.scan import SETTLEMENTS_PER_CALL
from worker.supabase.serialize import settlement_json

MIB = 1024 * 1024

HOW = """\
Neither Mux nor the worker limits the rate (`MUX_REQUESTS_PER_SECOND=10000`,
`SCAN_BATCH_SIZE=1000`), and every lesson's video is ready from the start. The time includes the
worker's start. CPU is what each process used in that time, as a share of one core, on a machine
with {cores} cores; the gateway and the simulated Mux stand in for remote services. The limit in
theory is Postgres alone: the same verdicts passed to `worker_settle`, a hundred a call, over one
connection, without worker, PostgREST or Mux. The two are measured in turn."""


@dataclass(frozen=True, slots=True)
class Run:
    """One heap worked off."""

    per_second: float
    shares: dict[str, float]
    memory_mib: float


def unlimited(sizes: Sizes) -> Answer:
    """Measure the worker and Postgres alone by turns."""
    runs, alone = [], []
    for _ in range(sizes.rounds):
        with stage() as here:
            runs.append(_worker(here, sizes.drain_lessons))
        with stage() as here:
            alone.append(_postgres_alone(here, sizes.drain_lessons))
    return _answer(sizes, runs, alone)


def _worker(here: Stage, lessons: int) -> Run:
    here.add_lessons(lessons)
    began = time.monotonic()
    with here.worker(WORKER, MUX_REQUESTS_PER_SECOND="10000", SCAN_BATCH_SIZE="1000") as process:
        roles = Roles(here, process)
        before = roles.cpu_seconds()
        here.wait_until_published(lessons)
        seconds, after = time.monotonic() - began, roles.cpu_seconds()
        memory = process.memory_info().rss / MIB
    shares = {role: (after[role] - before.get(role, 0.0)) / seconds for role in after}
    return Run(lessons / seconds, shares, memory)


def _postgres_alone(here: Stage, lessons: int) -> float:
    """Give the lessons a second that worker_settle takes with nothing around it."""
    verdicts = [
        settlement_json(
            settlement(
                Observation(
                    "asset",
                    "ready",
                    "sweep",
                    lesson.video.upload_id,
                    lesson.video.asset_id,
                    tuple(PlaybackId(id_, "public") for id_ in lesson.video.playback_ids),
                ),
                (),
                Rules(),
            )
        )
        for lesson in here.add_lessons(lessons)
    ]
    pages = [
        json.dumps(verdicts[start : start + SETTLEMENTS_PER_CALL])
        for start in range(0, lessons, SETTLEMENTS_PER_CALL)
    ]
    with here.supabase.connect("service_role") as connection:
        began = time.monotonic()
        for page in pages:
            connection.execute("select public.worker_settle(verdicts => %s::jsonb)", [page])
        seconds = time.monotonic() - began
    assert here.count("published") == lessons
    return lessons / seconds


def _answer(sizes: Sizes, runs: list[Run], alone: list[float]) -> Answer:
    rates = [run.per_second for run in runs]
    shares = {
        role: statistics.median(run.shares.get(role, 0.0) for run in runs)
        for role in runs[0].shares
    }
    busiest = sorted(shares, key=lambda role: -shares[role])
    count = f"{sizes.drain_lessons:,} ready lessons, no rate limit"
    rows = (
        Row(
            f"{count}: lessons a second",
            middle(rates, ".0f"),
            "CPU: " + ", ".join(f"{role} {shares[role]:.0%}" for role in busiest[:3]),
            "",
            f"Postgres alone: {middle(alone, '.0f')}",
        ),
        Row(
            f"{count}: resident memory of the worker at the end",
            middle([run.memory_mib for run in runs], ".0f", "MiB"),
        ),
    )
    bars = tuple(Bar(role, 100 * shares[role], role == "worker") for role in busiest)
    cores = os.cpu_count() or 1
    chart = Bars(f"{count}: CPU by process", "% of a core", bars, 100.0 * cores, f"{cores} cores")
    detail = Detail(
        ("Round", "Lessons a second", "Postgres alone", *busiest),
        tuple(
            (
                str(number + 1),
                f"{run.per_second:.0f}",
                f"{only:.0f}",
                *(f"{run.shares.get(role, 0.0):.0%}" for role in busiest),
            )
            for number, (run, only) in enumerate(zip(runs, alone, strict=True))
        ),
    )
    return Answer(
        "Throughput without Mux's limits, and the bottleneck",
        HOW.format(cores=cores),
        rows,
        (detail,),
        {"unlimited": chart},
    )
