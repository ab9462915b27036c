"""Measure what a worker costs that has nothing to do."""

import statistics
import time
from dataclasses import dataclass

from bench.answers import Answer, Detail, Line, Lines, Row
from bench.relay import Relay
from bench.sizes import Sizes
from bench.stage import WORKER, Stage, stage

MIB = 1024 * 1024
SETTLE_SECONDS = 15
SAMPLE_SECONDS = 1.0
SCAN_SECONDS = 5.0

HOW = """\
Nothing is due, settings are the defaults, and {seconds:g} s are measured after the worker has
settled. Bytes are counted on the way to Supabase, both ways, headers included. The slope is a
regression over the resident memory, looked at once a second. The limit in theory is one call a
scan."""


@dataclass(frozen=True, slots=True)
class Idle:
    """What was seen."""

    seconds: float
    calls: int
    asked: int
    cpu_seconds: float
    sent: int
    received: int
    memory: tuple[tuple[float, float], ...]
    """Seconds and MiB."""

    @property
    def slope(self) -> tuple[float, float]:
        """MiB an hour, and the standard error of that."""
        across, up = zip(*self.memory, strict=True)
        fit = statistics.linear_regression(across, up)
        middle = statistics.fmean(across)
        spread = sum((x - middle) ** 2 for x in across)
        rest = sum((y - fit.intercept - fit.slope * x) ** 2 for x, y in self.memory)
        error = (rest / (len(across) - 2) / spread) ** 0.5
        return 3600 * fit.slope, 3600 * error


def idle(sizes: Sizes) -> Answer:
    """Let a worker do nothing and watch it."""
    with stage() as here, Relay(here.supabase.url) as relay:
        seen = _watch(here, relay, sizes.idle_seconds)
    scans = seen.seconds / SCAN_SECONDS
    slope, error = seen.slope
    kib = (seen.sent + seen.received) / 1024
    title = f"Idle for {seen.seconds:.0f} s"
    rows = (
        Row(f"{title}: RPCs; Mux requests", f"{seen.calls}; {seen.asked}", limit=f"{scans:.0f}; 0"),
        Row(
            f"{title}: CPU, bytes",
            f"{seen.cpu_seconds:.2f} s ({seen.cpu_seconds / seen.seconds:.2%} of a core), "
            f"{kib:.0f} KiB ({kib / seen.calls:.1f} an RPC)",
        ),
        Row(
            f"{title}: resident memory, and its slope",
            f"{seen.memory[-1][1]:.0f} MiB, {slope:+.2f} ± {error:.2f} MiB an hour",
            limit="0 MiB an hour",
        ),
    )
    detail = Detail(
        ("Seconds", "RPCs", "CPU seconds", "Bytes sent", "Bytes received"),
        (
            (
                f"{seen.seconds:.0f}",
                str(seen.calls),
                f"{seen.cpu_seconds:.2f}",
                f"{seen.sent:,}",
                f"{seen.received:,}",
            ),
        ),
    )
    flat = tuple((at, seen.memory[0][1]) for at, _ in (seen.memory[0], seen.memory[-1]))
    chart = Lines(
        "Resident memory of an idle worker",
        "seconds",
        "MiB",
        (Line("worker", seen.memory, is_ours=True), Line("no growth", flat, is_limit=True)),
    )
    return Answer(
        "What does a worker cost that has nothing to do?",
        HOW.format(seconds=sizes.idle_seconds),
        rows,
        (detail,),
        {"idle": chart},
    )


def _watch(here: Stage, relay: Relay, seconds: float) -> Idle:
    with here.worker(WORKER, SUPABASE_URL=relay.url) as process:
        time.sleep(SETTLE_SECONDS)
        here.supabase.requests.clear()
        here.mux.requests.clear()
        sent, received, before = relay.bytes_sent, relay.bytes_received, process.cpu_times()
        memory: list[tuple[float, float]] = []
        began = time.monotonic()
        while (at := time.monotonic() - began) < seconds:
            memory.append((at, process.memory_info().rss / MIB))
            time.sleep(SAMPLE_SECONDS)
        after = process.cpu_times()
        return Idle(
            time.monotonic() - began,
            len(here.supabase.requests),
            len(here.mux.requests.all()),
            after.user + after.system - before.user - before.system,
            relay.bytes_sent - sent,
            relay.bytes_received - received,
            tuple(memory),
        )
