"""The machines that people run the worker on, and what they do to it."""

import http.client
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from sandbox.http_server import free_port
from sandbox.mux.server import MuxSimulator
from sandbox.mux.timeline import Timeline
from tests.commands import run
from tests.course import Course
from tests.e2e.evidence import assert_published, lines
from tests.e2e.test_process import SIGNALLED_AT_IMPORT, begins_with, stopped_by, stopped_lines
from tests.worker_process import WorkerProcess
from worker.telemetry import liveness

pytestmark = pytest.mark.stack

NOWHERE_TEMPORARY = """
import tempfile

tempfile._candidate_tempdir_list = lambda: ["/proc/none"]
"""
"""What a read-only root without /tmp is to Python; tests run as root, whom modes do not stop."""

FEW_DESCRIPTORS = """
import resource

resource.setrlimit(resource.RLIMIT_NOFILE, ({limit}, {limit}))
"""


def command(
    environment: Mapping[str, str], *arguments: str, **settings: str
) -> subprocess.CompletedProcess[str]:
    """Run a command of the worker as its users do."""
    return run(*arguments, env={**environment, **settings})


@pytest.mark.parametrize("zone", ["UTC0", "CET-1CEST,M3.5.0,M10.5.0/3", ":no/such zone"])
def test_any_time_zone_will_do(worker: WorkerProcess, zone: str) -> None:
    """What TZ holds is nothing to the worker, which counts seconds and writes UTC."""
    worker.start(TZ=zone)
    assert worker.wait_for("scan.finished")["timestamp"].endswith("Z")
    assert worker.stop() == 0
    assert [line for line in worker.lines if line["level"] != "info"] == []


def test_without_a_temporary_directory_it_works_and_says_what_health_lacks(
    worker: WorkerProcess, tmp_path: Path
) -> None:
    """The lessons matter more than the file of the signs of life; `health` names the way out."""
    path = begins_with(NOWHERE_TEMPORARY, tmp_path, worker.environment)
    worker.start(PYTHONPATH=path)
    worker.wait_for("worker.started", level="warning", message=liveness.NO_DIRECTORY)
    worker.wait_for("scan.finished")
    result = command(worker.environment, "health", PYTHONPATH=path)
    assert (result.returncode, result.stdout) == (1, f"{liveness.NO_DIRECTORY}\n")
    assert worker.stop() == 0


def test_with_a_port_no_temporary_directory_is_needed(
    worker: WorkerProcess, tmp_path: Path
) -> None:
    """Health is asked over HTTP then, and there is nothing to complain about."""
    path = begins_with(NOWHERE_TEMPORARY, tmp_path, worker.environment)
    web = {"PORT": str(free_port()), "HOST": "127.0.0.1", "PYTHONPATH": path}
    worker.start(**web)
    worker.wait_for("scan.finished")
    result = command(worker.environment, "health", **web)
    assert (result.returncode, result.stdout) == (0, "The worker works.\n")
    assert worker.stop() == 0
    assert lines(worker, "worker.started")[0]["level"] == "info"


def test_more_silent_connections_than_descriptors_stop_nothing(
    worker: WorkerProcess, course: Course, mux: MuxSimulator, tmp_path: Path
) -> None:
    """Lessons are published, health is answered in its turn, and the log is as it always is."""
    limit = 256
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert most == resource.RLIM_INFINITY or most > 2 * limit
    port = free_port()
    path = begins_with(FEW_DESCRIPTORS.format(limit=limit), tmp_path, worker.environment)
    worker.start(PORT=str(port), HOST="127.0.0.1", PYTHONPATH=path)
    worker.wait_for("web.listening")
    with ExitStack() as stack:
        for _ in range(limit + 50):
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        upload_id = mux.state.create_upload()
        lesson = course.tracked_lesson(upload_id)
        assert_published(worker, course, mux, lesson, upload_id)
        assert health(port) == (200, {"status": "ok"})
    assert worker.stop() == 0
    assert [line["event"] for line in worker.lines if line["level"] != "info"] == ["webhook.off"]


def health(port: int) -> tuple[int, object]:
    """Ask /healthz, patiently."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=90)
    try:
        connection.request("GET", "/healthz")
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def is_process_1_possible() -> bool:
    """Whether this machine lets us give a process a process tree of its own."""
    unshare = shutil.which("unshare")
    return unshare is not None and not subprocess.call(
        [unshare, "--pid", "--fork", "true"], stderr=subprocess.DEVNULL
    )


@pytest.mark.skipif(not is_process_1_possible(), reason="needs unshare, and the right to use it")
@pytest.mark.parametrize("module", ["worker.settings", "worker.daemon.loop"])
def test_as_process_1_it_heeds_a_signal_while_it_starts(
    environment: dict[str, str], tmp_path: Path, module: str
) -> None:
    """A container that is stopped as it starts ends at once, and need not be killed."""
    code = SIGNALLED_AT_IMPORT.format(module=module, number=int(signal.SIGTERM))
    result = subprocess.run(
        ["unshare", "--pid", "--fork", "--kill-child", sys.executable, "-m", "worker", "run"],
        env={**environment, "PYTHONPATH": begins_with(code, tmp_path, environment)},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )
    started = module == "worker.daemon.loop"
    assert result.returncode == (0 if started else 128 + signal.SIGTERM)
    assert ("worker.stopped" in result.stdout) == started
    assert "Traceback" not in result.stdout + result.stderr


def test_a_terminal_that_is_closed_stops_it_as_any_signal_does(worker: WorkerProcess) -> None:
    """SIGHUP hands back what was claimed, says why it ended, and exits with 0."""
    worker.start()
    worker.wait_for("scan.finished")
    worker.signal(signal.SIGHUP)
    assert worker.wait() == 0
    assert stopped_lines(worker) == stopped_by("SIGHUP")


def test_a_port_in_use_is_one_sentence(worker: WorkerProcess) -> None:
    """It says which, why and what to do, without a traceback, and exits with 1."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        worker.start(PORT=str(port), HOST="127.0.0.1", MUX_WEBHOOK_SECRET="secret")
        assert worker.wait() == 1
    assert [line["event"] for line in worker.lines] == ["worker.started", "worker.stopped"]
    assert stopped_lines(worker) == [{"level": "error", "event": "worker.stopped"}]
    assert worker.lines[-1]["message"] == (
        f"Cannot listen on HOST 127.0.0.1, PORT {port}: Address already in use. Stop what uses "
        "that port, or set another."
    )
    assert "Traceback" not in worker.output


@pytest.mark.parametrize("arguments", ["doctor", "status"])
def test_output_that_is_not_read_to_its_end_is_no_traceback(
    environment: dict[str, str], arguments: str
) -> None:
    """`doctor | head -1` prints one line, and the command ends quietly with 1."""
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "worker", arguments],
        env=environment,
        cwd="/",
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(writing)
    os.close(reading)
    _, complaints = process.communicate(timeout=90)
    assert (process.returncode, complaints) == (1, "")


def test_status_shows_its_content_on_an_output_that_knows_ascii_alone(
    environment: dict[str, str], course: Course, mux: MuxSimulator, db: psycopg.Connection
) -> None:
    """What cannot be written there is a question mark; all else is there."""
    upload = mux.state.create_upload(Timeline(file_after_seconds=0, prepare_seconds=3600))
    lesson = course.tracked_lesson(upload)
    db.execute(
        "update mux_asset_tracking set status = 'error', error_type = 'asset_errored',"
        " error_message = 'Größe: 日本'"
    )
    whole = command(environment, "status", str(lesson))
    poor = command(environment, "status", str(lesson), PYTHONIOENCODING="ascii")
    assert (poor.returncode, poor.stderr) == (0, "")
    assert "Gr??e: ??" in poor.stdout
    assert len(poor.stdout.splitlines()) == len(whole.stdout.splitlines())


def test_a_scan_does_not_call_due_what_it_leaves_to_webhooks(
    environment: dict[str, str], course: Course, mux: MuxSimulator, db: psycopg.Connection
) -> None:
    """New uploads are no scan's while webhooks arrive: nothing due, and none due."""
    db.execute("update mux_private.worker_state set events_at = now()")
    for _ in range(3):
        course.tracked_lesson(mux.state.create_upload())
    result = command(environment, "scan")
    assert (result.returncode, result.stdout.splitlines()) == (
        0,
        [
            "Checked 0 lessons: nothing was due.",
            "Now 3 waiting, 0 stuck, 0 of them due; 0 failed, 0 unplayable.",
        ],
    )
