import json
import os
from pathlib import Path
from typing import Any

import pytest

from worker.telemetry.liveness import Liveness, problem_in, remove, write


class Clock:
    """A clock that stands still until it is set."""

    now = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Return a clock."""
    return Clock()


def liveness(clock: Clock, **more: Any) -> Liveness:
    """Return the liveness of a worker that scans every 5 s and whose scans may take 100."""
    return Liveness(5, 100, clock=clock, **more)


def test_the_first_scan_has_its_time(clock: Clock) -> None:
    """Three intervals and the longest scan after the start there is a fault, and not before."""
    alive = liveness(clock)
    clock.now += 115
    assert alive.problem() is None
    clock.now += 1
    assert alive.problem() == "no scan has ended for 116 s; it should within 115 s"


def test_a_scan_that_ends_is_progress(clock: Clock) -> None:
    """The deadline moves."""
    alive = liveness(clock)
    clock.now += 200
    alive.scan_ended(0)
    clock.now += 115
    assert alive.problem() is None


def test_a_long_pause_in_an_outage_is_no_fault(clock: Clock) -> None:
    """A restart would not help against an outage, so the time runs from the end of the pause."""
    alive = liveness(clock)
    alive.scan_ended(3600)
    clock.now += 3600 + 115
    assert alive.problem() is None
    clock.now += 1
    assert alive.problem() is not None


def test_a_scan_that_settles_page_after_page_is_alive(clock: Clock) -> None:
    """However long it takes as a whole; when it stops settling, it is not."""
    alive = liveness(clock)
    for _ in range(10):
        clock.now += 100
        alive.scan_progressed()
        assert alive.problem() is None
    clock.now += 116
    assert alive.problem() is not None


def test_the_file_says_what_the_process_says(clock: Clock, tmp_path: Path) -> None:
    """Until the same moment, and with the end of the pause."""
    file = tmp_path / "alive"
    assert problem_in(file, clock.now) is not None
    alive = liveness(clock, file=file)
    alive.scan_ended(60)
    assert problem_in(file, clock.now + 60 + 115) is None
    assert problem_in(file, clock.now + 60 + 116) == "no scan has ended for 176 s"


def test_after_a_pause_the_file_is_written_at_once(clock: Clock, tmp_path: Path) -> None:
    """A worker that hangs right after an outage is noticed in its usual time, not in an hour."""
    file = tmp_path / "alive"
    alive = liveness(clock, file=file)
    alive.scan_ended(3600)
    alive.scan_ended(0)
    assert problem_in(file, clock.now + 116) is not None


def test_the_file_of_another_boot_or_process_is_a_fault(tmp_path: Path) -> None:
    """Progress in the future, a process that has ended, and no JSON are faults."""
    file = tmp_path / "alive"
    write(file, 500.0, 600.0)
    assert problem_in(file, 100.0) is not None
    assert problem_in(file, 550.0) is None
    file.write_text(file.read_text().replace(str(os.getpid()), "999999999"))
    assert problem_in(file, 550.0) == "the worker with process id 999999999 has ended"
    file.write_text("{")
    assert problem_in(file, 550.0) is not None


def test_a_reader_never_finds_the_file_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it is written it holds the old text; what was longer leaves nothing behind."""
    file, found = tmp_path / "alive", list[str]()
    file.write_text("x" * 1000)
    write(file, 1.0, 2.0)
    really_write = os.write

    def read_and_write(descriptor: int, data: bytes) -> int:
        found.append(file.read_text())
        return really_write(descriptor, data)

    monkeypatch.setattr(os, "write", read_and_write)
    write(file, 1.5, 2.5)
    assert [json.loads(text)["deadline"] for text in (*found, file.read_text())] == [2.0, 2.5]


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """A link in the temporary directory cannot have another file written."""
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "alive").symlink_to(victim)
    write(tmp_path / "alive", 1.0, 2.0)
    assert victim.read_text() == "mine"


def test_only_its_own_file_is_removed(tmp_path: Path) -> None:
    """An old worker that stops leaves the file of the new one alone."""
    file = tmp_path / "alive"
    write(file, 1.0, 2.0)
    file.write_text(file.read_text().replace(str(os.getpid()), "1"))
    remove(file)
    assert file.exists()
    write(file, 1.0, 2.0)
    remove(file)
    assert not file.exists()
