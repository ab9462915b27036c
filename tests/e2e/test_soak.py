import time
from collections.abc import Callable

import pytest

from bench.samples import Samples
from bench.soak import soaking
from bench.soak_traffic import Pace, Traffic
from bench.stage import Stage
from sandbox.mux.server import MuxSimulator
from sandbox.supabase.stack import LocalSupabase

pytestmark = pytest.mark.stack

HURRIED = Pace(
    upload=0.1, visit=0.5, fault=0.2, fault_lasts=0.3, encoding=(0.1, 1.0), lesson_lasts=2.0
)
SETTINGS = {
    "SCAN_INTERVAL_SECONDS": "0.5",
    "MUX_REQUESTS_PER_SECOND": "100",
    "MUX_TIMEOUT_SECONDS": "2",
    "SUPABASE_TIMEOUT_SECONDS": "2",
}
KINDS_OF_FAULTS = 10
REST_SAMPLES = 25
RETURN_SECONDS = 90.0
COUNTED = ("File descriptors", "Sockets", "Threads", "asyncio tasks")
"""What is the worker's own: PostgREST keeps each database connection that was once needed."""

MEMORY = "Resident memory, MiB"
MOST_MIB = 20.0


def work(traffic: Traffic) -> None:
    """Have every kind of fault come once, between uploads and visits."""
    enough = traffic.faults + KINDS_OF_FAULTS
    with traffic.running():
        wait_until(lambda: traffic.faults >= enough, lambda: f"{traffic.faults} faults came")


def wait_until(condition: Callable[[], bool], what: Callable[[], str]) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + RETURN_SECONDS
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.1)


def held(samples: Samples) -> dict[str, float]:
    """Sample once; return what is held."""
    samples.take()
    return {name: points[-1][1] for name, points in samples.points.items()}


def at_rest(samples: Samples) -> dict[str, float]:
    """Return the least that was held in some seconds after the work."""
    seen = []
    for _ in range(REST_SAMPLES):
        seen.append(held(samples))
        time.sleep(0.1)
    return {name: min(sample[name] for sample in seen) for name in seen[0]}


def test_a_worker_holds_no_more_after_twice_the_work(
    supabase: LocalSupabase, mux: MuxSimulator
) -> None:
    """After uploads, visits and ten kinds of faults it comes back to what it held before them."""
    here = Stage(supabase, mux)
    with here.db, soaking(here, HURRIED, **SETTINGS) as (traffic, samples):
        work(traffic)
        before = at_rest(samples)
        work(traffic)
        after = at_rest(samples)

        def returned() -> bool:
            for name, value in held(samples).items():
                after[name] = min(after[name], value)
            return all(after[name] <= before[name] for name in COUNTED)

        wait_until(returned, lambda: f"from {before} to {after}")
        assert after[MEMORY] <= before[MEMORY] + MOST_MIB
    assert traffic.deleted > 0
    assert min(before[name] for name in COUNTED) >= 1
