"""What do the thresholds of the sweep cost? `python -m bench.sweep` writes it to the docs."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from unittest.mock import patch

import worker.backoff
import worker.scan.observe
import worker.scan.scanner
import worker.scan.sweep
from bench.answers import Answer, Detail, Groups, quantile
from bench.sizes import Sizes
from bench.stage import CHECKOUT
from bench.sweep_cases import CASES, Case, in_flight
from bench.sweep_world import INTERVAL_SECONDS
from bench.writing import replace_block, table
from worker.backoff import WAITING_SECONDS
from worker.scan.scanner import CLAIMS_PER_SWEEP
from worker.scan.sweep import INITIAL_PAGE_BUDGET, MAX_PAGE_BUDGET, SWEEP_ABOVE, PageBudget
from worker.telemetry import logs

DOC = CHECKOUT / "docs" / "performance.md"
WARM_UP_SECONDS = 300.0
STEADY_SECONDS = 900.0
IN_FLIGHT = (200, 1_000)
CADENCE_IN_FLIGHT = (1, 2, 20, 100, 200, 1_000)

HOW = """\
The worker's own scanner looks at eight mixes of due rows, in a Mux and a database that are
plain lists, until every due row has been looked at; the requests to Mux are counted. The two other
columns are one request a row, and the smallest number of requests with perfect knowledge of Mux.
[The sweep's thresholds](#the-sweeps-thresholds) has the thresholds that were tried."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """A choice of worker/scan/sweep.py's three numbers."""

    few: int = SWEEP_ABOVE
    first: int = INITIAL_PAGE_BUDGET
    most: int = MAX_PAGE_BUDGET
    claims: int = CLAIMS_PER_SWEEP
    """How many claims' rows, of 200 each, are looked for in one walk."""

    pause: float = WAITING_SECONDS
    """After how many seconds a row that waits is due again."""

    @property
    def name(self) -> str:
        """What is different from the worker's own choice."""
        own = Thresholds()
        if not self.first:
            return "probes only"
        changed = [
            f"`{constant}` {value:g}"
            for constant, value, usual in (
                ("SWEEP_ABOVE", self.few, own.few),
                ("INITIAL_PAGE_BUDGET", self.first, own.first),
                ("MAX_PAGE_BUDGET", self.most, own.most),
                ("CLAIMS_PER_SWEEP", self.claims, own.claims),
                ("pause", self.pause, own.pause),
            )
            if value != usual
        ]
        return ", ".join(changed) or "**as chosen**"

    @contextmanager
    def chosen(self) -> Iterator[None]:
        """Have the worker go by them inside the block."""
        budget = partial(PageBudget, pages=self.first)
        with ExitStack() as changes:
            changes.enter_context(patch.object(worker.scan.sweep, "SWEEP_ABOVE", self.few))
            for module in (worker.scan.observe, worker.scan.scanner):
                changes.enter_context(patch.object(module, "PageBudget", budget))
            changes.enter_context(patch.object(worker.scan.sweep, "MAX_PAGE_BUDGET", self.most))
            changes.enter_context(
                patch.object(worker.scan.scanner, "CLAIMS_PER_SWEEP", self.claims)
            )
            changes.enter_context(patch.object(worker.backoff, "WAITING_SECONDS", self.pause))
            yield


CHOSEN = Thresholds()
PROBES_ONLY = Thresholds(first=0)
TRIED = (
    CHOSEN,
    *(replace(CHOSEN, few=few) for few in (0, 5, 10)),
    *(replace(CHOSEN, first=first) for first in (1, 2, 5)),
    *(replace(CHOSEN, most=most) for most in (3, 5, 20)),
    *(replace(CHOSEN, claims=claims) for claims in (1, 3)),
    *(replace(CHOSEN, pause=pause) for pause in (8, 15, 30)),
    PROBES_ONLY,
)


@dataclass(frozen=True, slots=True)
class Steady:
    """What some uploads in flight cost, and how long a ready one waits."""

    requests_per_second: float
    half_within: float
    most_within: float

    @property
    def text(self) -> str:
        """Requests a second; within how many seconds half, and 95 %, of the ready ones are seen."""
        rate = f"{self.requests_per_second:.1f} a second"
        return f"{rate}; {self.half_within:.1f} s, {self.most_within:.1f} s"


def steady(thresholds: Thresholds, uploads: int) -> Steady:
    """Let some virtual minutes pass with this number of uploads in flight."""
    waits: list[float] = []
    world = in_flight(uploads, waits.append)
    with thresholds.chosen():
        asyncio.run(world.work(WARM_UP_SECONDS))
        waits.clear()
        began, requests = world.now, world.requests
        asyncio.run(world.work(WARM_UP_SECONDS + STEADY_SECONDS))
    rate = (world.requests - requests) / (world.now - began)
    return Steady(rate, quantile(waits, 0.5), quantile(waits, 0.95))


def requests(case: Case, thresholds: Thresholds) -> int:
    """Count the requests until every due row of a mix has been looked at."""
    world = case.build()
    with thresholds.chosen():
        asyncio.run(world.work())
    return world.requests


def sweep(_sizes: Sizes) -> Answer:
    """Count the requests that the worker makes as it is, without the sweep, and at best."""
    _be_quiet()
    bars = {
        name: tuple(float(requests(case, thresholds)) for case in CASES)
        for name, thresholds in (("worker", CHOSEN), ("one request a row", PROBES_ONLY))
    }
    names = tuple(case.name for case in CASES)
    ideals = tuple(float(case.ideal) for case in CASES)
    detail = Detail(
        ("Mix", "What is due, and what is at Mux", *bars, "at best"),
        tuple(
            (case.name, case.story, *(f"{number:,.0f}" for number in numbers))
            for case, *numbers in zip(CASES, *bars.values(), ideals, strict=True)
        ),
    )
    chart = Groups(
        "Requests to Mux until every due row has been looked at",
        "requests (logarithmic)",
        names,
        bars,
        ideals,
        "at best",
    )
    question = "The sweep: requests saved, and requests wasted"
    return Answer(question, HOW, (), (detail,), {"sweep": chart})


def write_choices() -> None:
    """Try every choice of thresholds and write the table into the document."""
    _be_quiet()
    flights = (f"{uploads:,} in flight" for uploads in IN_FLIGHT)
    heads = ("Thresholds", *(case.name for case in CASES), *flights)
    rows = []
    for thresholds in TRIED:
        print(thresholds.name, "...", file=sys.stderr, flush=True)
        counts = (f"{requests(case, thresholds):,}" for case in CASES)
        flights = (steady(thresholds, uploads).text for uploads in IN_FLIGHT)
        rows.append((thresholds.name, *counts, *flights))
    at_best = (
        f"{uploads / 100 / seconds:.1f} a second; {seconds * 0.5:.1f} s, {seconds * 0.95:.1f} s"
        for uploads in IN_FLIGHT
        for seconds in (min(uploads / 100, INTERVAL_SECONDS),)
    )
    rows.append(("*at best*", *(f"{case.ideal:,}" for case in CASES), *at_best))
    replace_block(DOC, "sweep", table(heads, rows))


def write_cadence() -> None:
    """Write into the document what some uploads in flight cost, and how long a ready one waits."""
    _be_quiet()
    heads = ("Uploads in flight", "Requests a second", "50 % within", "95 % within")
    rows = []
    for uploads in CADENCE_IN_FLIGHT:
        cost = steady(CHOSEN, uploads)
        within = f"{cost.half_within:.1f} s", f"{cost.most_within:.1f} s"
        rows.append((f"{uploads:,}", f"{cost.requests_per_second:.2f}", *within))
    replace_block(DOC, "cadence", table(heads, rows))


def _be_quiet() -> None:
    logs.configure(level="error", form="json", secrets=(), stream=sys.stderr)


if __name__ == "__main__":
    write_cadence()
    write_choices()
