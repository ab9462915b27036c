"""Measure how long lessons wait after a worker was killed, stopped, or cut off from Mux."""

import signal
import time
from contextlib import ExitStack
from dataclasses import dataclass

import psutil

from bench.answers import Answer, Row
from bench.sizes import Sizes
from bench.stage import stage
from bench.steady import INTERVAL_SECONDS, PER_SECOND, SOON
from bench.traffic import Traffic, fill_up, follow
from sandbox.fault_injection import Fault

IN_FLIGHT = 20
LEASE_SECONDS = 60.0
FILL_SECONDS = 15.0
BEFORE_SECONDS = 15.0
AFTER_SECONDS = 80.0

HOW = """\
{in_flight} uploads are in flight, each ready after a random {soon[0]:g} to {soon[1]:g} s; settings
are the defaults. Then something happens, and the longest time is taken that any lesson waits from
then on, counted from the end of the fault, or from its video's being ready where that is later.
The worker that scans is killed while Mux does not answer it, so that it holds leases, or it is
asked to stop; a second worker runs beside it. Or Mux answers every request with 503 for
{outage:g} s. The three run at the same time, each with its own Postgres, PostgREST and Mux."""


@dataclass(slots=True)
class Trial:
    """A stage with workers and uploads, and when the fault ended."""

    traffic: Traffic
    workers: list[psutil.Process]
    ended_at: float = 0.0

    def kill(self) -> None:
        """Kill the worker that scans in the middle of a scan."""
        faults = self.traffic.here.mux.faults
        hits = len(faults.hits)
        faults.add(Fault("hang"), times=1)
        faults.wait_for_hits(hits + 1)
        self.workers[0].kill()
        self.ended_at = time.time()

    def stop(self) -> None:
        """Ask the worker that scans to stop."""
        self.workers[0].send_signal(signal.SIGTERM)
        self.ended_at = time.time()

    def cut(self) -> None:
        """Cut the workers off from Mux."""
        self.traffic.here.mux.faults.add(Fault("answer", status=503))

    def mend(self) -> None:
        """Let Mux answer again."""
        self.traffic.here.mux.faults.clear()
        self.ended_at = time.time()

    @property
    def longest_wait(self) -> float:
        """Return the longest time that a lesson waited since the end of the fault, in seconds."""
        after = [p for p in self.traffic.published if p.at >= self.ended_at]
        return max(p.at - max(p.ready_at, self.ended_at) for p in after)


def recovery(sizes: Sizes) -> Answer:
    """Measure all three at the same time."""
    with ExitStack() as running:
        killed, stopped, cut = trials = [_trial(running) for _ in range(3)]
        traffic = [trial.traffic for trial in trials]
        fill_up(traffic, FILL_SECONDS)
        follow(traffic, BEFORE_SECONDS)
        cut.cut()
        follow(traffic, sizes.outage_seconds)
        for act in (cut.mend, killed.kill, stopped.stop):
            act()
        follow(traffic, AFTER_SECONDS)
    lease = LEASE_SECONDS + INTERVAL_SECONDS + 1
    title = f"{IN_FLIGHT} in flight: longest wait, in seconds, after"
    rows = (
        Row(f"{title} `kill -9` in the middle of a scan", _seconds(killed), limit=f"{lease:g}"),
        Row(f"{title} SIGTERM", _seconds(stopped)),
        Row(f"{title} {sizes.outage_seconds:g} s without Mux", _seconds(cut)),
    )
    how = HOW.format(in_flight=IN_FLIGHT, soon=SOON, outage=sizes.outage_seconds)
    return Answer("Recovery: killed, stopped, cut off", how, rows)


def _seconds(trial: Trial) -> str:
    return f"{trial.longest_wait:.1f}"


def _trial(running: ExitStack) -> Trial:
    here = running.enter_context(stage(PER_SECOND))
    trial = Trial(Traffic(here, IN_FLIGHT, SOON), [])
    trial.traffic.upload()  # so that the first worker is the one that scans
    for _ in range(2):
        trial.workers.append(running.enter_context(here.worker()))
        follow([trial.traffic], 3.0)
    return trial
