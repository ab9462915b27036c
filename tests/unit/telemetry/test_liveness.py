import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from worker.settings import Settings
from worker.telemetry.liveness import (
    Liveness,
    file_of,
    longest_scan_seconds,
    problem_in,
    remove,
    write,
)


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


def settings(**more: Any) -> Settings:
    """Return the settings of a worker."""
    needed: Any = {
        "supabase_url": "https://a.supabase.co",
        "supabase_service_role_key": "sb_secret_x",
        "mux_token_id": "id1",
        "mux_token_secret": "secret",
    }
    return Settings(**{**needed, **more}, _env_file=None)


def test_the_longest_scan_is_a_row_that_is_tried_as_long_as_can_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Three requests that wait their turn and are repeated, and a settle with its retries."""
    monkeypatch.setenv("MUX_REQUESTS_PER_SECOND", "4")
    monkeypatch.setenv("MUX_TIMEOUT_SECONDS", "7")
    monkeypatch.setenv("SUPABASE_TIMEOUT_SECONDS", "11")
    assert longest_scan_seconds(settings()) == 3 * (0.25 + 30 + 7) + 3 * 11


def test_each_project_of_a_user_has_its_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Named by the user, the project and the token, which cannot be read from the name."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    file, user = file_of(settings()), os.getuid()
    assert file is not None
    digest = hashlib.sha256(b"https://a.supabase.co id1").hexdigest()[:12]
    assert file == tmp_path / f"mux-worker-{user}-{digest}.alive"
    assert file_of(settings(mux_token_id="id2")) != file
    assert file_of(settings(supabase_url="https://b.supabase.co")) != file


def test_where_health_is_asked_over_http_there_is_no_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nor where no directory for temporary files can be written."""
    monkeypatch.setenv("PORT", "8080")
    assert file_of(settings()) is None
    monkeypatch.delenv("PORT")
    monkeypatch.setattr(tempfile, "gettempdir", mocked_failure(FileNotFoundError()))
    assert file_of(settings()) is None


def mocked_failure(error: Exception) -> Callable[..., Any]:
    """Return a function that raises an error."""

    def fail(*_: Any) -> Any:
        raise error

    return fail


def test_the_end_of_a_scan_is_known_in_unix_seconds(clock: Clock) -> None:
    """There is none before the first; a page that is settled is no end."""
    alive, before = liveness(clock), time.time()
    alive.scan_progressed()
    ends = [alive.last_scan_at]
    alive.scan_ended(0)
    ends.append(alive.last_scan_at)
    assert ends[0] is None
    assert before <= (ends[1] or 0.0) <= time.time()


def deadlines(alive: Liveness, clock: Clock, file: Path, *steps: float) -> list[float]:
    """Record progress after each step, and return what the file says then."""
    found = []
    for step in steps:
        clock.now += step
        alive.scan_ended(0)
        found.append(float(json.loads(file.read_text())["deadline"]))
    return found


def test_the_file_is_written_once_a_second(clock: Clock, tmp_path: Path) -> None:
    """A scan a hundredth of a second long writes no more often, and from a second on it does."""
    file = tmp_path / "alive"
    alive = liveness(clock, file=file)
    assert deadlines(alive, clock, file, 0, 0.5, 0.25, 0.25, 0.5) == [
        1115.0, 1115.0, 1115.0, 1116.0, 1116.0,
    ]  # fmt: skip


def test_a_pause_of_a_second_is_no_reason_to_write(clock: Clock, tmp_path: Path) -> None:
    """The next regular line comes soon enough; a longer pause is written at once."""
    file = tmp_path / "alive"
    alive = liveness(clock, file=file)
    alive.scan_ended(0)
    alive.scan_ended(1.0)
    assert json.loads(file.read_text())["deadline"] == 1115.0
    alive = liveness(clock, file=file)
    alive.scan_ended(0)
    alive.scan_ended(1.5)
    assert json.loads(file.read_text())["deadline"] == 1116.5


def test_the_file_is_for_its_user_alone(tmp_path: Path) -> None:
    """No other user reads it, or writes it, whatever the process allows for new files."""
    old = os.umask(0)
    try:
        write(tmp_path / "alive", 1.0, 2.0)
    finally:
        os.umask(old)
    assert (tmp_path / "alive").stat().st_mode & 0o777 == 0o600


def test_the_file_can_be_read_while_it_is_written(tmp_path: Path) -> None:
    """The text comes first, and the spaces behind it."""
    write(tmp_path / "alive", 1.0, 2.0)
    text = (tmp_path / "alive").read_text()
    assert (text[0], len(text)) == ("{", 200)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null", '{"pid": "x"}'])
def test_what_no_worker_wrote_is_left(tmp_path: Path, text: str) -> None:
    """To remove it is no reason to fail at the end."""
    file = tmp_path / "alive"
    remove(None)
    remove(file)
    file.write_text(text)
    remove(file)
    assert file.read_text() == text


def test_without_a_file_there_is_no_worker(tmp_path: Path) -> None:
    """The first seconds of a worker look the same."""
    assert problem_in(tmp_path / "alive", 1.0) == (
        "there is no worker of this user and project here, or its first scan is under way"
    )


def test_a_worker_is_well_in_the_moment_of_its_progress(tmp_path: Path) -> None:
    """And in that of its deadline."""
    write(tmp_path / "alive", 10.0, 20.0)
    problems = [problem_in(tmp_path / "alive", now) for now in (9.5, 10.0, 20.0, 20.5)]
    assert [problem is None for problem in problems] == [False, True, True, False]


def test_a_process_of_another_user_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may not be signalled, but it is there."""
    write(tmp_path / "alive", 10.0, 20.0)
    monkeypatch.setattr(os, "kill", mocked_failure(PermissionError()))
    assert problem_in(tmp_path / "alive", 15.0) is None
