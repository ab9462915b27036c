"""Measure the cost of an idle worker."""

import time
from dataclasses import dataclass

from bench.answers import Answer, Detail, Line, Lines, Row
from bench.relay import Relay
from bench.sizes import Sizes
from bench.stage import WORKER, Stage, stage
from bench.trend import fit

MIB = 1024 * 1024
SETTLE_SECONDS = 15
SAMPLE_SECONDS = 1.0
SCAN_SECONDS = 5.0

HURRY_SECONDS = 0.02
SCANS_AN_HOUR = 3600 / SCAN_SECONDS

HOW = """\
Nothing is due, all settings are the defaults, and {seconds:g} s are measured after the worker has
started. Bytes are those to and from Supabase, headers included. The limit in theory is one call a
scan. The slope of the resident memory is a regression over one sample a second. Minutes are short
for that, so a second worker scans for {hurried:g} s almost without a pause, and its memory is
plotted against the hours that as many scans take at the default interval."""

Memory = tuple[tuple[float, float], ...]
"""Hours of scans, and MiB."""


@dataclass(frozen=True, slots=True)
class Idle:
    """What was seen."""

    seconds: float
    calls: int
    asked: int
    cpu_seconds: float
    sent: int
    received: int
    memory: Memory


def idle(sizes: Sizes) -> Answer:
    """Run a worker without due rows, and measure it."""
    with stage() as here, Relay(here.supabase.url) as relay:
        seen = _watch(here, relay, sizes.idle_seconds)
        hurried = _hurried(here, sizes.hurried_seconds)
    how = HOW.format(seconds=sizes.idle_seconds, hurried=sizes.hurried_seconds)
    flat = tuple((at, hurried[0][1]) for at, _ in (hurried[0], hurried[-1]))
    chart = Lines(
        "Resident memory of an idle worker",
        "hours of scans at the default pace",
        "MiB",
        (Line("worker", hurried, is_ours=True), Line("no growth", flat, is_limit=True)),
    )
    question = "Cost of an idle worker"
    return Answer(question, how, _rows(seen, hurried), (_detail(seen, hurried),), {"idle": chart})


def _rows(seen: Idle, hurried: Memory) -> tuple[Row, ...]:
    title = f"Idle for {seen.seconds:.0f} s"
    kib = (seen.sent + seen.received) / 1024
    trend = fit(hurried)
    return (
        Row(
            f"{title}: RPCs, CPU, traffic",
            f"{seen.calls}, {seen.cpu_seconds:.2f} s ({seen.cpu_seconds / seen.seconds:.2%} of a "
            f"core), {kib:.0f} KiB",
            limit=f"{seen.seconds / SCAN_SECONDS:.0f}, one a scan",
        ),
        Row(
            "Idle: resident memory, and its slope",
            f"{seen.memory[-1][1]:.0f} MiB, {trend.per_hour:+.3f} ± {trend.error:.3f} MiB an hour "
            f"over {hurried[-1][0]:.1f} hours of scans",
            limit="0 MiB an hour",
            is_headline=True,
        ),
    )


def _detail(seen: Idle, hurried: Memory) -> Detail:
    first, last = hurried[0], hurried[-1]
    meanwhile = fit(seen.memory)
    return Detail(
        ("What", "Figure"),
        (
            ("seconds", f"{seen.seconds:.0f}"),
            ("RPCs", str(seen.calls)),
            ("Mux requests", str(seen.asked)),
            ("CPU", f"{seen.cpu_seconds:.2f} s"),
            ("bytes sent", f"{seen.sent:,}"),
            ("bytes received", f"{seen.received:,}"),
            (
                "slope of the memory meanwhile",
                f"{meanwhile.per_hour:+.2f} ± {meanwhile.error:.2f} MiB an hour",
            ),
            ("hurried: scans", f"{(last[0] - first[0]) * SCANS_AN_HOUR:,.0f}"),
            ("hurried: memory", f"from {first[1]:.2f} to {last[1]:.2f} MiB"),
        ),
    )


def _hurried(here: Stage, seconds: float) -> Memory:
    """Measure the memory of a worker that scans with almost no pause."""
    memory: list[tuple[float, float]] = []
    with here.worker(WORKER, SCAN_INTERVAL_SECONDS=str(HURRY_SECONDS)) as process:
        time.sleep(SETTLE_SECONDS)
        here.supabase.requests.clear()
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            scans = here.supabase.requests.count("/rest/v1/rpc/worker_claim")
            memory.append((scans / SCANS_AN_HOUR, process.memory_info().rss / MIB))
            time.sleep(SAMPLE_SECONDS)
    return tuple(memory)


def _watch(here: Stage, relay: Relay, seconds: float) -> Idle:
    with here.worker(WORKER, SUPABASE_URL=relay.url) as process:
        time.sleep(SETTLE_SECONDS)
        here.supabase.requests.clear()
        here.mux.requests.clear()
        sent, received, before = relay.bytes_sent, relay.bytes_received, process.cpu_times()
        memory: list[tuple[float, float]] = []
        began = time.monotonic()
        while (at := time.monotonic() - began) < seconds:
            memory.append((at / 3600, process.memory_info().rss / MIB))
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
