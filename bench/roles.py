"""Measure the CPU time of each part of the stage."""

import psutil

from bench.stage import Stage

PROGRAMS = {"postgres": "Postgres", "postgrest": "PostgREST"}


class Roles:
    """Read the CPU seconds of the worker, the servers, and the threads that simulate a server."""

    def __init__(self, here: Stage, worker: psutil.Process) -> None:
        self._here = here
        self._worker = worker
        self._this = psutil.Process()

    def cpu_seconds(self) -> dict[str, float]:
        """Return the CPU seconds of each since its start."""
        seconds = {"worker": _used(self._worker)}
        for child in self._this.children(recursive=True):
            if (role := PROGRAMS.get(child.name())) is not None:
                seconds[role] = seconds.get(role, 0.0) + _used(child)
        threads = {t.id: t.user_time + t.system_time for t in self._this.threads()}
        return seconds | {name: threads[number] for name, number in self._here.threads.items()}


def _used(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
