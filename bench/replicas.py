"""Measure three workers beside one: whether they ask more, and keep one pace."""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from bench.answers import Answer, Detail, Row
from bench.drain import PER_SECOND
from bench.sizes import Sizes
from bench.stage import PROBING_WORKER, WORKER, stage
from sandbox.mux.request_log import Seen, busiest

RAMP = 2
"""Requests at the beginning and the end that tell nothing of the use of the pace."""

HOW = """\
Mux's limits hold: 5 GET a second; each worker has `MUX_REQUESTS_PER_SECOND=5`, all other settings
are the defaults. One worker drains a backlog of ready lessons, then three that start at the same
time. Then three workers drain a smaller backlog with the sweep switched off: each lesson costs a
request, so the shared rate limit is the bottleneck. Seconds count from the start of the processes
to the last lesson published. *Busiest second* is the largest number of requests that reached the
simulated Mux within any second; *use* is the number of requests as a share of what the rate limit
allows, without the first and the last few."""


@dataclass(frozen=True, slots=True)
class Run:
    """What came of some workers side by side."""

    workers: int
    way: str
    lessons: int
    seconds: float
    asked: int
    refused: int
    busiest: int
    use: float


def replicas(sizes: Sizes) -> Answer:
    """Measure one worker, three, and three that only probe."""
    one = _run(1, WORKER, sizes.drain_lessons)
    three = _run(3, WORKER, sizes.drain_lessons)
    probing = _run(3, PROBING_WORKER, sizes.slow_lessons)
    return _answer(one, three, probing)


def _run(workers: int, module: str, lessons: int) -> Run:
    with stage(PER_SECOND) as here, ExitStack() as running:
        here.add_lessons(lessons, with_asset_id=module == PROBING_WORKER)
        here.mux.requests.clear()
        began = time.monotonic()
        for _ in range(workers):
            running.enter_context(here.worker(module, MUX_REQUESTS_PER_SECOND=str(PER_SECOND)))
        here.wait_until_published(lessons, timeout=1800)
        seconds, seen = time.monotonic() - began, here.mux.requests.all()
    refused = sum(request.status == 429 for request in seen)
    way = "sweep" if module == WORKER else "one GET a lesson"
    return Run(workers, way, lessons, seconds, len(seen), refused, busiest(seen), use(seen))


def use(seen: Sequence[Seen]) -> float:
    """Give the share of the pace that was used while there was work."""
    at = sorted(one.at for one in seen)[RAMP:-RAMP]
    return (len(at) - 1) / (at[-1] - at[0]) / PER_SECOND


def _answer(one: Run, three: Run, probing: Run) -> Answer:
    count = f"{one.lessons:,} ready lessons"
    rows = (
        Row(
            f"Three workers, {count}: seconds; Mux requests",
            f"{three.seconds:.1f}; {three.asked}",
            f"one worker: {one.seconds:.1f}; {one.asked}",
            f"{three.seconds / one.seconds:.2f}; {three.asked / one.asked:.2f}",
            "1; 1",
        ),
        Row(
            f"Three workers that ask {PER_SECOND} a second together: busiest second; use; refused",
            f"{probing.busiest}; {probing.use:.0%}; {probing.refused}",
            limit=f"{PER_SECOND}; 100%; 0",
        ),
    )
    heads = ("Workers", "Way", "Lessons", "Seconds", "Mux requests", "429", "Busiest second", "Use")
    details = tuple(
        (
            str(run.workers),
            run.way,
            f"{run.lessons:,}",
            f"{run.seconds:.1f}",
            str(run.asked),
            str(run.refused),
            str(run.busiest),
            f"{run.use:.0%}",
        )
        for run in (one, three, probing)
    )
    question = "Replicas: three workers beside one"
    return Answer(question, HOW, rows, (Detail(heads, details),))
