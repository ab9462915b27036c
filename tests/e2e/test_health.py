"""What /healthz and /readyz say when an outage begins, and when it has ended."""

import http.client
import json
import time
from collections.abc import Callable
from datetime import timedelta

import httpx
import pytest

from sandbox.fault_injection import Fault
from sandbox.http_server import free_port
from sandbox.mux.server import MuxSimulator
from sandbox.mux.timeline import Timeline
from sandbox.supabase.stack import LocalSupabase
from tests.course import Course
from tests.worker_process import WorkerProcess

pytestmark = pytest.mark.stack

BOUND_SECONDS = 10
"""Two intervals, at their default."""

OK = (200, "")

Ask = Callable[[str], tuple[int, str]]


def serving(worker: WorkerProcess, interval_seconds: float, **settings: str) -> Ask:
    """Start a worker that serves HTTP; return what asks it, and returns the status and reason."""
    port = free_port()
    settings |= {"PORT": str(port), "HOST": "127.0.0.1"}
    worker.start(**settings, SCAN_INTERVAL_SECONDS=str(interval_seconds))
    worker.wait_for("web.listening")
    worker.wait_for("scan.finished")

    def health(path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=45)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, json.loads(response.read()).get("reason", "")
        finally:
            connection.close()

    return health


def seconds_until(worker: WorkerProcess, condition: Callable[[], bool]) -> float:
    """Wait until a condition holds, and return how long that took."""
    began = time.monotonic()
    worker.wait_until(condition)
    return time.monotonic() - began


def test_ready_follows_supabase_within_two_intervals(
    worker: WorkerProcess, supabase: LocalSupabase
) -> None:
    """When it goes and when it is back, also where no scan has noticed; the loop lives on."""
    ask = serving(worker, 5)
    assert ask("/readyz") == OK
    supabase.stop_postgrest()
    try:
        gone = seconds_until(worker, lambda: ask("/readyz") != OK)
        assert ask("/readyz") == (503, "Supabase: 503")
        worker.wait_for("supabase.unavailable")
        assert ask("/healthz") == OK
    finally:
        supabase.start_postgrest()
    back = seconds_until(worker, lambda: ask("/readyz") == OK)
    assert max(gone, back) < BOUND_SECONDS
    assert ask("/healthz") == OK


def test_ready_follows_mux_by_each_answer(
    worker: WorkerProcess, course: Course, mux: MuxSimulator
) -> None:
    """Refused credentials count from the first response on, and until the first that is none.

    An outage of Mux does not count: the worker takes webhooks, and a restart would not help.
    """
    ask = serving(worker, 1)
    course.tracked_lesson(mux.state.create_upload(Timeline(0, 3600)))
    worker.wait_for("scan.finished", claimed=1)
    mux.faults.add(Fault("answer", status=401))
    refused = seconds_until(worker, lambda: ask("/readyz") != OK)
    assert refused < BOUND_SECONDS
    assert ask("/readyz") == (503, "Mux: unauthorized")
    worker.wait_for("mux.unauthorized")
    assert ask("/healthz") == OK
    mux.faults.clear()
    mux.faults.add(Fault("answer", status=503), path="/video/*")
    answered = len(mux.requests.all())
    mux.requests.wait_for(answered + 1)
    assert seconds_until(worker, lambda: ask("/readyz") == OK) < BOUND_SECONDS
    worker.wait_for("mux.unavailable", reason="http_503")
    assert (ask("/healthz"), ask("/readyz")) == (OK, OK)


def test_ready_does_not_follow_what_a_person_asked(
    worker: WorkerProcess, course: Course, mux: MuxSimulator
) -> None:
    """Where no lesson is due, no scan would find that Mux accepts the token again."""
    token = "a-token-of-the-dashboard"
    ask = serving(worker, 1, OPS_TOKEN=token)
    upload = mux.state.create_upload(Timeline(0, 3600))
    lesson = course.tracked_lesson(upload, next_check_at=timedelta(hours=1))
    mux.faults.add(Fault("answer", status=403), path="/video/*")
    (listening,) = worker.events("web.listening")
    answer = httpx.post(
        f"http://127.0.0.1:{listening['port']}/lessons/{lesson}/publish",
        headers={"Authorization": f"Bearer {token}"},
        data={"operator": "anna"},
    )
    assert answer.status_code == 409
    assert [request.status for request in mux.requests.all()][-1] == 403
    mux.faults.clear()
    assert ask("/readyz") == OK
