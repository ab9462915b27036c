import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from select import PIPE_BUF
from uuid import UUID

import psycopg
import pytest

from sandbox.fault_injection import Fault
from sandbox.mux.server import MuxSimulator
from sandbox.mux.timeline import Timeline
from sandbox.supabase.stack import LocalSupabase
from tests.commands import start
from tests.course import Course
from tests.e2e.evidence import assert_published, assert_works_on, lines, refuse_lists
from tests.worker_process import WorkerProcess

pytestmark = pytest.mark.stack

PREPARING = Timeline(file_after_seconds=0, prepare_seconds=3600)


def begins_with(code: str, directory: Path, environment: dict[str, str]) -> str:
    """Have a worker's Python run some code before all else; give the PYTHONPATH for that."""
    (directory / "sitecustomize.py").write_text(code)
    return f"{directory}:{environment['PYTHONPATH']}"


def history(course: Course, lesson: UUID) -> list[str]:
    """Name what the audit says about a lesson."""
    return [event["event"] for event in course.events(lesson)]


def is_due(lesson: UUID, db: psycopg.Connection) -> bool:
    """Tell whether a row is due now."""
    row = db.execute(
        "select next_check_at <= now() from mux_private.schedule s "
        "join mux_asset_tracking t on t.id = s.tracking_id where lesson_id = %s",
        [lesson],
    ).fetchone()
    return row == (True,)


def until(condition: Callable[[], bool], timeout: float = 90) -> None:
    """Wait until something is so, looking every 50 ms."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def stopped_lines(worker: WorkerProcess) -> list[dict[str, object]]:
    """Give the lines that say that it stopped, without what varies; the last line is one."""
    assert worker.lines[-1]["event"] == "worker.stopped"
    found = lines(worker, "worker.stopped")
    return [{k: v for k, v in line.items() if k not in ("seconds", "message")} for line in found]


def stopped_by(name: str, **more: object) -> list[dict[str, object]]:
    """Give what `stopped_lines` gives when all is well."""
    return [{"level": "info", "event": "worker.stopped", "signal": name, **more}]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_worker_ends_at_once(worker: WorkerProcess, number: signal.Signals) -> None:
    """It says why it ended, as its last line, and exits with 0."""
    worker.start_python()
    worker.wait_for("scan.finished")
    worker.signal(number)
    assert worker.wait() == 0
    assert stopped_lines(worker) == stopped_by(number.name)
    assert "Traceback" not in worker.output


def test_a_signal_while_it_starts_is_no_accident(
    environment: dict[str, str], tmp_path: Path
) -> None:
    """Before it listens it just ends, without a word; from then on it stops as it always does."""
    signals = (signal.SIGTERM, signal.SIGINT)
    moments = ("worker.settings", "worker.daemon.loop", "supabase")
    started = {}
    for module, number in [(m, s) for m in moments for s in signals]:
        place = tmp_path / f"{module}-{number.name}"
        place.mkdir()
        path = begins_with(
            SIGNALLED_AT_IMPORT.format(module=module, number=int(number)), place, environment
        )
        started[module, number.name] = WorkerProcess(environment).start(PYTHONPATH=path)
    try:
        ended = {moment: (worker.wait(), worker.output) for moment, worker in started.items()}
        assert ended["worker.settings", "SIGTERM"] == (128 + signal.SIGTERM, "")
        assert ended["worker.settings", "SIGINT"] == (1, "")
        for module, name in [(m, s.name) for m in moments[1:] for s in signals]:
            assert ended[module, name][0] == 0, (module, name, ended[module, name][1])
            assert stopped_lines(started[module, name]) == stopped_by(name)
            assert "Traceback" not in ended[module, name][1]
    finally:
        for worker in started.values():
            worker.kill()


SIGNALLED_AT_IMPORT = """
import os, sys

class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), {number})

sys.meta_path.insert(0, Finder)
"""


def test_work_in_flight_is_finished_and_the_rest_handed_back(
    worker: WorkerProcess, course: Course, mux: MuxSimulator, db: psycopg.Connection
) -> None:
    """Requests under way are settled, rows not yet asked about are due at once, nothing is lost."""
    refuse_lists(mux)
    lessons = [course.tracked_lesson(mux.state.create_upload(PREPARING)) for _ in range(30)]
    worker.start(MUX_REQUESTS_PER_SECOND="10", LEASE_SECONDS="600")
    mux.requests.wait_for(9)
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    assert stopped_lines(worker) == stopped_by("SIGTERM")
    assert "Traceback" not in worker.output
    looked = [lesson for lesson in lessons if course.row(lesson)["check_count"] >= 1]
    assert 0 < len(looked) < 30
    assert all(is_due(lesson, db) for lesson in lessons if lesson not in looked)
    assert worker.events("scan.finished")[-1]["released"] == 30 - len(looked)


def test_a_thread_that_hangs_in_a_socket_does_not_hold_it_up(
    worker: WorkerProcess, course: Course, mux: MuxSimulator, db: psycopg.Connection
) -> None:
    """With Mux silent for longer than the shutdown may take, it ends in time with 0."""
    mux.faults.add(Fault("hang"))
    lesson = course.tracked_lesson(mux.state.create_upload())
    worker.start(MUX_TIMEOUT_SECONDS="600", SHUTDOWN_SECONDS="6", LEASE_SECONDS="600")
    mux.faults.wait_for_hits(1)
    worker.signal(signal.SIGINT)
    assert worker.wait() == 0  # 1 past its deadline
    assert stopped_lines(worker) == stopped_by("SIGINT")
    assert is_due(lesson, db)
    assert course.row(lesson)["check_count"] == 0


def test_a_name_lookup_that_hangs_does_not_hold_it_up(
    worker: WorkerProcess, tmp_path: Path
) -> None:
    """A lookup runs in a thread for which Python would wait at its end; the worker does not."""
    asked = tmp_path / "asked"
    path = begins_with(SILENT_NAMES.format(asked=str(asked)), tmp_path, worker.environment)
    worker.start(PYTHONPATH=path, SUPABASE_URL="http://nowhere.internal", SHUTDOWN_SECONDS="6")
    worker.wait_until(asked.exists)
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0  # 1 past its deadline
    assert stopped_lines(worker) == stopped_by("SIGTERM")


SILENT_NAMES = """
import pathlib, socket, time

def getaddrinfo(host, *rest, **options):
    if host in ("nowhere.internal", b"nowhere.internal"):
        pathlib.Path({asked!r}).touch()
        time.sleep(3600)
    return lookup(host, *rest, **options)

lookup, socket.getaddrinfo = socket.getaddrinfo, getaddrinfo
"""


def test_past_the_deadline_it_ends_all_the_same(
    worker: WorkerProcess,
    course: Course,
    mux: MuxSimulator,
    supabase: LocalSupabase,
    db: psycopg.Connection,
) -> None:
    """With Mux and Supabase silent it cannot hand back: it says so, flushes, and exits with 1."""
    mux.faults.add(Fault("hang"))
    lesson = course.tracked_lesson(mux.state.create_upload())
    worker.start(
        MUX_TIMEOUT_SECONDS="600",
        SUPABASE_TIMEOUT_SECONDS="600",
        SHUTDOWN_SECONDS="1.5",
        LEASE_SECONDS="600",
    )
    mux.faults.wait_for_hits(1)
    supabase.faults.add(Fault("hang"))
    began = time.monotonic()
    for number in (signal.SIGINT, signal.SIGTERM):
        worker.signal(number)
    assert worker.wait() == 1
    assert 0.9 < time.monotonic() - began < 90
    (line,) = stopped_lines(worker)
    # Where both are pending, either may be first.
    assert line.pop("signal") in ("SIGINT", "SIGTERM")
    assert line == {"level": "error", "event": "worker.stopped", "forced": True}
    assert (is_due(lesson, db), course.row(lesson)["check_count"]) == (False, 0)
    course.make_due(lesson)
    mux.faults.clear()
    supabase.faults.clear()
    worker.start()
    worker.wait_for("lesson.published", lesson_id=str(lesson))
    assert_works_on(worker, course, mux)


def test_a_second_and_a_third_signal_change_nothing(
    worker: WorkerProcess, course: Course, mux: MuxSimulator, db: psycopg.Connection
) -> None:
    """Platforms may say it more than once, and differently: one line, exit status 0."""
    mux.faults.add(Fault("answer", status=503, delay_seconds=0.5))
    lesson = course.tracked_lesson(mux.state.create_upload())
    worker.start()
    mux.faults.wait_for_hits(1)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):
        worker.signal(number)
    assert worker.wait() == 0
    # Where both are pending, either may be first.
    assert stopped_lines(worker) in (stopped_by("SIGINT"), stopped_by("SIGTERM"))
    assert "Traceback" not in worker.output
    assert is_due(lesson, db)


def test_a_killed_worker_loses_nothing(
    worker: WorkerProcess, environment: dict[str, str], course: Course, mux: MuxSimulator
) -> None:
    """Killed between claim and settle, its row falls due with its lease, and another publishes."""
    mux.faults.add(Fault("hang"))
    upload_id = mux.state.create_upload()
    lesson = course.tracked_lesson(upload_id)
    worker.start(LEASE_SECONDS="1", MUX_TIMEOUT_SECONDS="60")
    mux.faults.wait_for_hits(1)
    worker.kill()
    mux.faults.clear()
    assert history(course, lesson) == ["tracked"]
    other = WorkerProcess(environment).start()
    try:
        assert_published(other, course, mux, lesson, upload_id)
        assert history(course, lesson) == ["tracked", "published"]
        assert_works_on(other, course, mux)
    finally:
        other.kill()


def test_a_reply_of_settle_lost_after_commit_does_no_harm(
    worker: WorkerProcess, course: Course, mux: MuxSimulator, supabase: LocalSupabase
) -> None:
    """The call is repeated, says unchanged, and the lesson was published once."""
    supabase.faults.add(Fault("drop_reply"), path="*/worker_settle", times=1)
    lesson = course.tracked_lesson(mux.state.create_upload())
    worker.start()
    worker.wait_for("scan.finished", unchanged=1)
    assert (course.state(lesson)["status"], course.row(lesson)["status"]) == ("published", "ready")
    assert history(course, lesson) == ["tracked", "published"]
    assert_works_on(worker, course, mux)
    assert [line for line in worker.lines if line["level"] != "info"] == []


def test_a_fault_of_its_own_ends_the_process(
    worker: WorkerProcess,
    course: Course,
    mux: MuxSimulator,
    db: psycopg.Connection,
    tmp_path: Path,
) -> None:
    """It hands back what it claimed, says what happened in one line, and exits with 1."""
    lesson = course.tracked_lesson(mux.state.create_upload())
    path = begins_with(BROKEN_DECISION, tmp_path, worker.environment)
    worker.start(PYTHONPATH=path, LEASE_SECONDS="600")
    assert worker.wait() == 1
    crashed = worker.lines[-1]
    assert (crashed["level"], crashed["event"]) == ("error", "worker.crashed")
    assert crashed["exception"].endswith("ZeroDivisionError: a fault of our own")
    assert [line for line in worker.output.splitlines() if not line.startswith("{")] == []
    assert is_due(lesson, db)


BROKEN_DECISION = """
import worker.decide

def settlement(*_):
    raise ZeroDivisionError("a fault of our own")

worker.decide.settlement = settlement
"""


def test_a_clock_that_is_stepped_by_an_hour_stops_nothing(
    worker: WorkerProcess, course: Course, mux: MuxSimulator, tmp_path: Path
) -> None:
    """The machine's wall clock jumps forth, then back; lessons are published as before."""
    shift = tmp_path / "shift"
    shift.write_text("0")
    path = begins_with(STEPPED_CLOCK.format(file=str(shift)), tmp_path, worker.environment)
    worker.start(PYTHONPATH=path)
    worker.wait_for("scan.finished")
    minutes = [worker.events("scan.finished")[0]["timestamp"][:16]]
    for seconds in (3600, -3600):
        shift.write_text(str(seconds))
        for _ in range(2):
            upload_id = mux.state.create_upload()
            lesson = course.tracked_lesson(upload_id)
            assert_published(worker, course, mux, lesson, upload_id)
        minutes.append(worker.lines[-1]["timestamp"][:16])
    assert len(set(minutes)) == 3
    assert_works_on(worker, course, mux)
    assert [line for line in worker.lines if line["level"] != "info"] == []


STEPPED_CLOCK = """
import datetime, time

_time, _datetime = time.time, datetime.datetime

def _shifted():
    with open({file!r}) as file:
        return _time() + float(file.read() or 0)

class _Stepped(_datetime):
    @classmethod
    def now(cls, tz=None):
        return _datetime.fromtimestamp(_shifted(), tz)

time.time = _shifted
datetime.datetime = _Stepped
"""
"""Shifts the wall clock of a process by the seconds in a file."""


def test_a_worker_whose_log_nobody_reads_works_on(
    environment: dict[str, str], course: Course, mux: MuxSimulator, tmp_path: Path
) -> None:
    """With its standard output gone it publishes, complains to nobody, and exits with 0."""
    complaints = tmp_path / "stderr"
    with complaints.open("wb") as stderr:
        process = start("run", env=environment, stdout=subprocess.PIPE, stderr=stderr)
    try:
        assert process.stdout is not None
        assert "worker.started" in process.stdout.readline()
        process.stdout.close()
        lesson = course.tracked_lesson(mux.state.create_upload())
        until(lambda: course.state(lesson)["status"] == "published")
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(90) == 0
    finally:
        process.kill()
        process.wait()
    assert complaints.read_text() == ""


def test_a_worker_whose_log_is_blocked_ends_at_its_deadline(
    environment: dict[str, str], course: Course, mux: MuxSimulator, tmp_path: Path
) -> None:
    """Whoever reads the log has stopped; the signal is heeded although the loop stands still."""
    log = tmp_path / "log"
    os.mkfifo(log)
    reading = os.open(log, os.O_RDONLY | os.O_NONBLOCK)
    filling = os.open(log, os.O_WRONLY | os.O_NONBLOCK)
    with log.open("wb") as stdout:
        process = start(
            "run",
            env={**environment, "SHUTDOWN_SECONDS": "1"},
            stdout=stdout,
            stderr=subprocess.STDOUT,
        )
    try:
        until(lambda: b"scan.finished" in read(reading))
        for piece in (b" " * PIPE_BUF, b" "):
            with suppress(BlockingIOError):
                while os.write(filling, piece):
                    continue
        lesson = course.tracked_lesson(mux.state.create_upload())
        until(lambda: course.state(lesson)["status"] == "published")
        process.send_signal(signal.SIGTERM)
        assert process.wait(90) == 1
    finally:
        process.kill()
        process.wait()
        os.close(reading)
        os.close(filling)


def read(descriptor: int) -> bytes:
    """Read what there is at the moment."""
    try:
        return os.read(descriptor, 65536)
    except BlockingIOError:
        return b""


def test_the_daemon_starts_without_rich(worker: WorkerProcess) -> None:
    """Structlog and httpx would load it for nothing, since it is installed for the commands."""
    worker.start_python(PYTHONPROFILEIMPORTTIME="1")
    worker.wait_for("scan.finished")
    assert worker.stop() == 0
    imported = {line.rpartition("|")[2].strip() for line in worker.output.splitlines()}
    assert {"structlog", "httpx"} <= imported
    assert {"rich.text", "rich.table"}.isdisjoint(imported)
