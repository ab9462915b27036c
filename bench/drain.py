"""Measure how fast a heap of ready lessons is worked off at Mux's limits."""

import json
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bench.answers import Answer, Bar, Bars, Detail, Row, middle
from bench.sizes import Sizes
from bench.stage import CHECKOUT, PROBING_WORKER, WORKER, Stage, stage

PER_SECOND = 5
A_PAGE = 100
SCRIPT = CHECKOUT / "bench" / "report" / "fix-lesson-status.mjs"

HOW = """\
Mux's limits hold: 5 GET a second. Every lesson's video is ready from the start. The worker may
send 5 requests a second (`MUX_REQUESTS_PER_SECOND=5`); all other settings are the defaults. The
same run measures two alternatives in turn with it, on fewer lessons: the report's script, run by
Node with the real supabase-js and mux-node on lessons of the shape that it expects (a real asset
id, a temporary playback id); and one GET a lesson, which is this worker with its sweep switched
off, on rows whose asset id is known. Seconds count from the start of the process to the last
lesson published. The limit in theory is a hundred lessons a request, 5 requests a second."""


@dataclass(frozen=True, slots=True)
class Run:
    """What one way of publishing took for so many lessons."""

    lessons: int
    seconds: float
    asked: int
    refused: int
    calls: int

    @property
    def per_second(self) -> float:
        """Lessons a second."""
        return self.lessons / self.seconds


class Counting:
    """Counts what a stage sees from now on."""

    def __init__(self, here: Stage) -> None:
        self._here = here
        here.supabase.requests.clear()
        here.mux.requests.clear()
        self._began = time.monotonic()

    def run(self, lessons: int) -> Run:
        """Give what was counted, once so many lessons are published."""
        self._here.wait_until_published(lessons, timeout=1800)
        seconds = time.monotonic() - self._began
        seen = self._here.mux.requests.all()
        refused = sum(request.status == 429 for request in seen)
        return Run(lessons, seconds, len(seen), refused, len(self._here.supabase.requests))


def drain(sizes: Sizes) -> Answer:
    """Measure the three ways by turns."""
    ways: dict[str, Callable[[], Run]] = {
        "worker": lambda: _worker(sizes.drain_lessons),
        "report's script": lambda: _script(sizes.slow_lessons),
        "one GET a lesson": lambda: _probes(sizes.slow_lessons),
    }
    runs: dict[str, list[Run]] = {name: [] for name in ways}
    for _ in range(sizes.rounds):
        for name, way in ways.items():
            runs[name].append(way())
    return _answer(sizes, runs)


def _worker(lessons: int) -> Run:
    with _at_the_limit() as here:
        here.add_lessons(lessons)
        counting = Counting(here)
        with here.worker(WORKER, MUX_REQUESTS_PER_SECOND=str(PER_SECOND)):
            return counting.run(lessons)


def _probes(lessons: int) -> Run:
    with _at_the_limit() as here:
        here.add_lessons(lessons, with_asset_id=True)
        counting = Counting(here)
        with here.worker(PROBING_WORKER, MUX_REQUESTS_PER_SECOND=str(PER_SECOND)):
            run = counting.run(lessons)
        assert here.mux.requests.by_route()["GET /video/v1/assets"] == 0
        return run


def _script(lessons: int) -> Run:
    with _at_the_limit() as here:
        here.add_lessons_for_the_script(lessons)
        environment = here.environment(NEXT_PUBLIC_SUPABASE_URL=here.supabase.url)
        counting = Counting(here)
        done = subprocess.run(script_command(), env=environment, stdout=subprocess.PIPE, check=True)
        assert json.loads(done.stdout)["updated"] == lessons
        return counting.run(lessons)


def script_command() -> list[str]:
    """Give the command that runs the report's script."""
    node = shutil.which("node")
    assert node is not None, "the report's script needs Node"
    return [node, str(SCRIPT)]


@contextmanager
def _at_the_limit() -> Iterator[Stage]:
    with stage(PER_SECOND) as here:
        yield here


def _answer(sizes: Sizes, runs: dict[str, list[Run]]) -> Answer:
    rates = {name: [run.per_second for run in many] for name, many in runs.items()}
    limit = A_PAGE * PER_SECOND
    best = statistics.median(rates["worker"])
    others = [name for name in runs if name != "worker"]
    count = f"{sizes.drain_lessons:,} ready lessons"

    def each(number: Callable[[Run], float], form: str) -> tuple[str, str]:
        values = {name: [number(run) for run in many] for name, many in runs.items()}
        beside = (f"{name}: {statistics.median(values[name]):{form}}" for name in others)
        return f"{statistics.median(values['worker']):{form}}", "; ".join(beside)

    asked, asked_beside = each(lambda run: run.asked / run.lessons, ".4g")
    calls, calls_beside = each(lambda run: run.calls / run.lessons, ".3g")
    refused, refused_beside = each(lambda run: run.refused, ".0f")
    rows = (
        Row(
            f"{count} at Mux's limit, lessons a second",
            middle(rates["worker"], ".0f"),
            "; ".join(f"{name}: {middle(rates[name], '.1f')}" for name in others),
            "; ".join(f"{best / statistics.median(rates[name]):.0f}" for name in others),
            f"{limit}",
            is_headline=True,
        ),
        Row(f"Mux requests a lesson, {count}", asked, asked_beside, limit=f"{1 / A_PAGE:g}"),
        Row(f"RPCs a lesson, {count}", calls, calls_beside, limit=f"{1 / A_PAGE:g}"),
        Row(f"Requests that Mux refused, {count}", refused, refused_beside, "", "0"),
    )
    bars = tuple(Bar(name, statistics.median(rates[name]), name == "worker") for name in runs)
    chart = Bars(
        f"{count} at Mux's limits",
        "lessons a second (logarithmic)",
        bars,
        limit,
        f"100 a request, 5 requests a second: {limit}",
        is_logarithmic=True,
    )
    return Answer(
        "Throughput: draining a backlog within Mux's limits",
        HOW,
        rows,
        (_detail(runs),),
        {"drain": chart},
    )


def _detail(runs: dict[str, list[Run]]) -> Detail:
    return Detail(
        ("Round", "Way", "Lessons", "Seconds", "Lessons a second", "Mux requests", "429", "RPCs"),
        tuple(
            (
                str(number + 1),
                name,
                f"{run.lessons:,}",
                f"{run.seconds:.1f}",
                f"{run.per_second:.1f}",
                str(run.asked),
                str(run.refused),
                str(run.calls),
            )
            for name, many in runs.items()
            for number, run in enumerate(many)
        ),
    )
