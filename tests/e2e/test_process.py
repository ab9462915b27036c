import signal
import subprocess
import sys
import time
from uuid import UUID

import psycopg
import pytest

from tests.course import Course
from tests.worker_process import WorkerProcess, worker_environment
from worker.local.faults import Fault
from worker.local.mux_server import MuxSimulator
from worker.local.mux_timeline import Timeline
from worker.local.stack import LocalSupabase

pytestmark = pytest.mark.stack

PREPARING = Timeline(file_after_seconds=0, prepare_seconds=3600)
BOTH = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])


def published_events(course: Course, lesson: UUID) -> int:
    """Count how often the audit says that a lesson was published."""
    return [e["event"] for e in course.events(lesson)].count("published")


def is_due(lesson: UUID, db: psycopg.Connection) -> bool:
    """Tell whether a row is due now."""
    row = db.execute(
        "select next_check_at <= now() from mux_asset_tracking where lesson_id = %s", [lesson]
    ).fetchone()
    return row == (True,)


@BOTH
def test_an_idle_worker_ends_at_once(worker: WorkerProcess, number: signal.Signals) -> None:
    """It says why it ended, as its last line, and exits with 0."""
    worker.start()
    worker.wait_for("scan.finished")
    worker.signal(number)
    assert worker.wait() == 0
    assert worker.lines[-1]["event"] == "worker.stopped"
    assert worker.lines[-1]["signal"] == number.name


@BOTH
def test_work_in_flight_is_finished_and_the_rest_handed_back(
    worker: WorkerProcess,
    course: Course,
    mux: MuxSimulator,
    db: psycopg.Connection,
    number: signal.Signals,
) -> None:
    """Requests under way are settled, rows not yet asked about are due at once, nothing is lost."""
    lessons = [course.tracked_lesson(mux.state.create_upload(PREPARING)) for _ in range(30)]
    worker.start(MUX_REQUESTS_PER_SECOND="5", LEASE_SECONDS="600")
    mux.requests.wait_for(6)
    worker.signal(number)
    assert worker.wait() == 0
    assert "Traceback" not in worker.output
    looked = [lesson for lesson in lessons if course.row(lesson)["check_count"] == 1]
    assert 0 < len(looked) < 30
    assert all(is_due(lesson, db) for lesson in lessons if lesson not in looked)
    assert worker.events("scan.finished")[-1]["released"] > 0


@BOTH
def test_a_thread_that_hangs_in_a_socket_does_not_hold_it_up(
    worker: WorkerProcess,
    course: Course,
    mux: MuxSimulator,
    db: psycopg.Connection,
    number: signal.Signals,
) -> None:
    """With Mux silent for longer than the shutdown may take, it ends in time with 0."""
    mux.faults.add(Fault("hang"))
    lesson = course.tracked_lesson(mux.state.create_upload())
    worker.start(MUX_TIMEOUT_SECONDS="60", SHUTDOWN_SECONDS="6", LEASE_SECONDS="600")
    mux.faults.wait_for_hits(1)
    began = time.monotonic()
    worker.signal(number)
    assert worker.wait() == 0
    assert time.monotonic() - began < 6
    assert worker.lines[-1]["event"] == "worker.stopped"
    assert "forced" not in worker.lines[-1]
    assert is_due(lesson, db)


def test_past_the_deadline_it_ends_all_the_same(
    worker: WorkerProcess, course: Course, mux: MuxSimulator, supabase: LocalSupabase
) -> None:
    """With Mux and Supabase silent it cannot hand back: it says so, flushes, and exits with 1."""
    mux.faults.add(Fault("hang"))
    course.tracked_lesson(mux.state.create_upload())
    worker.start(MUX_TIMEOUT_SECONDS="60", SUPABASE_TIMEOUT_SECONDS="60", SHUTDOWN_SECONDS="2")
    mux.faults.wait_for_hits(1)
    supabase.faults.add(Fault("hang"))
    began = time.monotonic()
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 1
    assert 1.5 < time.monotonic() - began < 15
    assert worker.lines[-1]["event"] == "worker.stopped"
    assert worker.lines[-1]["forced"] is True


def test_a_second_signal_changes_nothing(
    worker: WorkerProcess, course: Course, mux: MuxSimulator
) -> None:
    """Platforms may say it more than once, and differently: one line, exit status 0."""
    mux.faults.add(Fault("answer", status=503, delay_seconds=1))
    course.tracked_lesson(mux.state.create_upload())
    worker.start()
    mux.faults.wait_for_hits(1)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
        worker.signal(number)
    assert worker.wait() == 0
    assert len(worker.events("worker.stopped")) == 1
    assert "Traceback" not in worker.output


def test_a_killed_worker_loses_nothing(
    worker: WorkerProcess,
    environment: dict[str, str],
    course: Course,
    mux: MuxSimulator,
) -> None:
    """Killed between claim and settle, its row falls due with its lease, and another publishes."""
    mux.faults.add(Fault("hang"))
    lesson = course.tracked_lesson(mux.state.create_upload())
    worker.start(LEASE_SECONDS="2", MUX_TIMEOUT_SECONDS="60")
    mux.faults.wait_for_hits(1)
    worker.kill()
    mux.faults.clear()
    other = WorkerProcess(environment).start()
    try:
        other.wait_for("lesson.published", lesson_id=str(lesson))
        assert published_events(course, lesson) == 1
        assert other.stop() == 0
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
    assert course.state(lesson)["status"] == "published"
    assert published_events(course, lesson) == 1
    assert worker.stop() == 0
    assert worker.events("supabase.unavailable") == []


def test_two_workers_share_the_work(
    worker: WorkerProcess, environment: dict[str, str], course: Course, mux: MuxSimulator
) -> None:
    """Sixty lessons, two workers: each is published, once, and nobody complains."""
    lessons = [course.tracked_lesson(seeded.upload_id) for seeded in mux.state.seed(60)]
    other = WorkerProcess(environment)
    try:
        worker.start(SCAN_BATCH_SIZE="5")
        other.start(SCAN_BATCH_SIZE="5")
        worker.wait_until(
            lambda: {course.state(lesson)["status"] for lesson in lessons} == {"published"}
        )
        assert (worker.stop(), other.stop()) == (0, 0)
    finally:
        other.kill()
    assert [published_events(course, lesson) for lesson in lessons] == [1] * 60
    told = worker.events("lesson.published") + other.events("lesson.published")
    assert sorted(line["lesson_id"] for line in told) == sorted(map(str, lessons))
    for one in (worker, other):
        assert [line for line in one.lines if line["level"] not in ("info", "debug")] == []


@pytest.mark.parametrize("hours", [1, -1])
def test_a_clock_that_is_stepped_by_an_hour_stops_nothing(
    worker: WorkerProcess,
    course: Course,
    mux: MuxSimulator,
    tmp_path_factory: pytest.TempPathFactory,
    hours: int,
) -> None:
    """The machine's wall clock jumps either way; the next lesson is published as before."""
    place = tmp_path_factory.mktemp("clock")
    (place / "shift").write_text("0")
    (place / "sitecustomize.py").write_text(STEPPED_CLOCK.format(file=str(place / "shift")))
    path = f"{place}:{worker.environment['PYTHONPATH']}"
    worker.start(PYTHONPATH=path)
    worker.wait_for("scan.finished")
    (place / "shift").write_text(str(hours * 3600))
    first = course.tracked_lesson(mux.state.create_upload())
    line = worker.wait_for("lesson.published", lesson_id=str(first))
    second = course.tracked_lesson(mux.state.create_upload())
    worker.wait_for("lesson.published", lesson_id=str(second))
    assert line["timestamp"] != worker.events("worker.started")[0]["timestamp"]
    assert worker.stop() == 0


STEPPED_CLOCK = """
import datetime, time

_time, _datetime = time.time, datetime.datetime

def _shift():
    with open({file!r}) as file:
        return float(file.read() or 0)

def _shifted():
    return _time() + _shift()

class _Stepped(_datetime):
    @classmethod
    def now(cls, tz=None):
        return _datetime.fromtimestamp(_shifted(), tz)

time.time = _shifted
datetime.datetime = _Stepped
"""
"""A sitecustomize that shifts the wall clock of a process by the seconds in a file."""


def test_a_worker_whose_log_nobody_reads_still_ends(
    worker: WorkerProcess, supabase: LocalSupabase, mux: MuxSimulator
) -> None:
    """With standard output closed it does not hang when it is told to stop."""
    process = subprocess.Popen(
        [sys.executable, "-m", "worker", "run"],
        env=worker_environment(supabase, mux),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    assert b"worker.started" in process.stdout.readline()
    process.stdout.close()
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(10)
    finally:
        process.kill()
