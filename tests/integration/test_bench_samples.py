import itertools
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from bench.samples import BOUNDS, MIB, Samples, gauges_of_process

MINUTES = 24
STAND_IN = """
import socket, sys, threading
held, forever = [], threading.Event()
leaks = {
    "Resident memory, MiB": lambda: bytearray(b"x" * 2**20),
    "File descriptors": lambda: open("/dev/null"),
    "Sockets": lambda: socket.create_server(("127.0.0.1", 0)),
    "Threads": lambda: threading.Thread(target=forever.wait, daemon=True).start(),
}
for line in sys.stdin:
    if line.strip() in leaks:
        held.append(leaks[line.strip()]())
    print(flush=True)
"""
"""A program that keeps one more of what each line that it reads names."""


@contextmanager
def stand_in() -> Iterator[subprocess.Popen[str]]:
    """Run the program."""
    command = [sys.executable, "-c", STAND_IN]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        yield process
        process.kill()


def samples_of(leak: str) -> Samples:
    """Sample a stand-in once a minute, by the test's clock, while it leaks."""
    minutes = itertools.count()
    with stand_in() as process:
        samples = Samples(
            gauges_of_process(psutil.Process(process.pid)), clock=lambda: 60.0 * next(minutes)
        )
        assert process.stdin is not None
        assert process.stdout is not None
        for _ in range(MINUTES):
            print(leak, file=process.stdin, flush=True)
            process.stdout.readline()
            samples.take()
    return samples


def growing(samples: Samples) -> set[str]:
    """Return what grows."""
    return {name for name, trend in samples.trends().items() if trend.grows(BOUNDS[name])}


@pytest.mark.parametrize(
    ("leak", "found"),
    [
        ("Resident memory, MiB", {"Resident memory, MiB"}),
        ("File descriptors", {"File descriptors"}),
        ("Sockets", {"Sockets", "File descriptors"}),
        ("Threads", {"Threads"}),
    ],
)
def test_a_leak_is_found_and_named(leak: str, found: set[str]) -> None:
    """A stand-in that keeps one more each minute grows by sixty an hour of that."""
    samples = samples_of(leak)
    assert growing(samples) - {"Resident memory, MiB"} == found - {"Resident memory, MiB"}
    assert found <= growing(samples)
    assert samples.trends()[leak].per_hour == pytest.approx(60, rel=0.1)


def test_a_program_that_keeps_nothing_is_flat() -> None:
    """No descriptor, socket or thread more, and less than a MiB."""
    samples = samples_of("nothing")
    assert not growing(samples) & {"File descriptors", "Sockets", "Threads"}
    memory = [value for _, value in samples.points["Resident memory, MiB"]]
    assert 1 < memory[0] < 1024 * MIB
    assert memory[-1] - memory[0] < 1
