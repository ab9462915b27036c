"""Sample what a running worker holds: memory, descriptors, connections, tasks, dead rows."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import psycopg

from bench.trend import Trend, fit, span_means

MIB = 1024 * 1024
HOUR_SECONDS = 3600.0

Gauge = Callable[[], float]

BACKENDS = (
    "select count(*) from pg_stat_activity "
    "where datname = current_database() and usename = 'authenticator'"
)
DEAD_ROWS = (
    "select coalesce(sum(n_dead_tup), 0) from pg_stat_user_tables where relname in "
    "('mux_asset_tracking', 'schedule', 'worker_state', 'rate_limit', 'adoption_walk')"
)
"""Of the tables that have as many rows at any time. The audit and the upload history are to grow,
and with them what autovacuum leaves there."""

BOUNDS = {
    "Resident memory, MiB": 1.0,
    "Blocks of Python objects": 5000.0,
    "File descriptors": 0.5,
    "Sockets": 0.5,
    "Threads": 0.5,
    "asyncio tasks": 0.5,
    "Database connections": 0.5,
    "Dead rows": 50.0,
}
"""What is measured, and the growth an hour that is of no account."""


def gauges_of_process(process: psutil.Process) -> dict[str, Gauge]:
    """Return what the system knows about a process."""
    return {
        "Resident memory, MiB": lambda: process.memory_info().rss / MIB,
        "File descriptors": lambda: float(process.num_fds()),
        "Sockets": lambda: float(len(process.net_connections("inet"))),
        "Threads": lambda: float(process.num_threads()),
    }


def gauges_of_worker(
    process: psutil.Process, counts: Path, db: psycopg.Connection
) -> dict[str, Gauge]:
    """Return all that is measured; `counts` is the file of `bench.counted`."""

    def query(text: str) -> float:
        row = db.execute(text.encode()).fetchone()
        assert row is not None
        return float(row[0])

    return gauges_of_process(process) | {
        "Blocks of Python objects": lambda: float(json.loads(counts.read_text())["blocks"]),
        "asyncio tasks": lambda: float(json.loads(counts.read_text())["tasks"]),
        "Database connections": lambda: query(BACKENDS),
        "Dead rows": lambda: query(DEAD_ROWS),
    }


@dataclass(slots=True)
class Samples:
    """What was seen of each gauge, at which hour since the first sample."""

    gauges: Mapping[str, Gauge]
    clock: Callable[[], float] = time.monotonic
    began: float | None = None
    points: dict[str, list[tuple[float, float]]] = field(default_factory=dict)

    def take(self) -> None:
        """Sample every gauge once."""
        now = self.clock()
        if self.began is None:
            self.began = now
        for name, gauge in self.gauges.items():
            point = ((now - self.began) / HOUR_SECONDS, gauge())
            self.points.setdefault(name, []).append(point)

    def take_for(self, seconds: float, pause_seconds: float) -> None:
        """Sample for some seconds."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.take()
            time.sleep(pause_seconds)

    def trends(self, warm_up_hours: float = 0.0) -> dict[str, Trend]:
        """Return the trend of each gauge, without the samples of the warm-up."""
        return {
            name: fit(span_means([point for point in points if point[0] >= warm_up_hours]))
            for name, points in self.points.items()
        }
