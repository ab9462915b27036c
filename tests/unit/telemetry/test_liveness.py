import os
from pathlib import Path
from typing import Any

import pytest

from worker.telemetry.liveness import Pulse, fault_in, remove, write


class Clock:
    """A clock that stands still until it is set."""

    now = 1000.0

    def __call__(self) -> float:
        """Give the time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Give a clock."""
    return Clock()


def pulse(clock: Clock, **more: Any) -> Pulse:
    """Give the pulse of a worker that scans every 5 s and whose passes may take 100."""
    return Pulse(5, 100, clock=clock, **more)


def test_the_first_pass_has_its_time(clock: Clock) -> None:
    """Three intervals and the longest pass after the start all is well, then it is not."""
    sign = pulse(clock)
    clock.now += 115
    assert sign.fault() is None
    clock.now += 1
    assert sign.fault() == "no pass has ended for 116 s; it should within 115 s"


def test_a_pass_that_ends_is_a_sign_of_life(clock: Clock) -> None:
    """From then on the time runs anew."""
    sign = pulse(clock)
    clock.now += 200
    sign.ended(0)
    clock.now += 115
    assert sign.fault() is None


def test_a_long_rest_in_an_outage_is_no_fault(clock: Clock) -> None:
    """A restart would not help against an outage, so the time runs from the end of the rest."""
    sign = pulse(clock)
    sign.ended(3600)
    clock.now += 3600 + 115
    assert sign.fault() is None
    clock.now += 1
    assert sign.fault() is not None


def test_a_pass_that_settles_page_after_page_is_alive(clock: Clock) -> None:
    """However long it takes as a whole; when it stops settling, it is not."""
    sign = pulse(clock)
    for _ in range(10):
        clock.now += 100
        sign.progressed()
        assert sign.fault() is None
    clock.now += 116
    assert sign.fault() is not None


def test_the_file_tells_what_the_pulse_tells(clock: Clock, tmp_path: Path) -> None:
    """Until the same moment, and with the end of the rest."""
    file = tmp_path / "alive"
    assert fault_in(file, clock.now) is not None
    sign = pulse(clock, file=file)
    sign.ended(60)
    assert fault_in(file, clock.now + 60 + 115) is None
    assert fault_in(file, clock.now + 60 + 116) == "no pass has ended for 176 s"


def test_after_a_rest_the_file_is_written_at_once(clock: Clock, tmp_path: Path) -> None:
    """A worker that hangs right after an outage is noticed in its usual time, not in an hour."""
    file = tmp_path / "alive"
    sign = pulse(clock, file=file)
    sign.ended(3600)
    sign.ended(0)
    assert fault_in(file, clock.now + 116) is not None


def test_the_file_of_another_boot_or_of_nobody_is_no_sign(tmp_path: Path) -> None:
    """A beat in the future, a process that has ended, and what is no JSON are faults."""
    file = tmp_path / "alive"
    write(file, 500.0, 600.0)
    assert fault_in(file, 100.0) is not None
    assert fault_in(file, 550.0) is None
    file.write_text(file.read_text().replace(str(os.getpid()), "999999999"))
    assert fault_in(file, 550.0) == "the worker with process id 999999999 has ended"
    file.write_text("{")
    assert fault_in(file, 550.0) is not None


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """Whoever lays a link in the temporary directory cannot have another file written."""
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "alive").symlink_to(victim)
    write(tmp_path / "alive", 1.0, 2.0)
    assert victim.read_text() == "mine"


def test_only_its_own_file_is_taken_away(tmp_path: Path) -> None:
    """An old worker that stops leaves the file of the new one alone."""
    file = tmp_path / "alive"
    write(file, 1.0, 2.0)
    file.write_text(file.read_text().replace(str(os.getpid()), "1"))
    remove(file)
    assert file.exists()
    write(file, 1.0, 2.0)
    remove(file)
    assert not file.exists()
