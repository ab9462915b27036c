"""Mux asks one worker for a pause: all of them keep it."""

import time
from collections.abc import Iterator

import pytest

from sandbox.fault_injection import Fault
from sandbox.mux.server import MuxSimulator
from sandbox.supabase.stack import LocalSupabase
from tests.course import Course
from tests.e2e.test_two_workers import (
    assert_each_published_once,
    assert_each_told_once,
    due_at_once,
    wait_for_published,
)
from tests.worker_process import WorkerProcess

pytestmark = pytest.mark.stack

PAUSE_SECONDS = 3


@pytest.fixture
def other(environment: dict[str, str]) -> Iterator[WorkerProcess]:
    """Yield a second worker with the same settings, not yet started."""
    process = WorkerProcess(environment)
    yield process
    process.kill()


@pytest.mark.parametrize("status", [429, 503])
def test_no_replica_asks_mux_before_the_end_of_a_pause(
    worker: WorkerProcess,
    other: WorkerProcess,
    course: Course,
    mux: MuxSimulator,
    supabase: LocalSupabase,
    status: int,
) -> None:
    """Also the one that leads when the lease of the first, which waits, has ended."""
    headers = {"Retry-After": str(PAUSE_SECONDS)}
    mux.faults.add(Fault("answer", status=status, headers=headers), times=1)
    uploads = due_at_once(supabase, mux, 8)
    for one in (worker, other):
        one.start(LEASE_SECONDS="1")
    mux.faults.wait_for_hits(1)
    began = time.monotonic()
    wait_for_published(supabase, worker, len(uploads))
    refused, *later = mux.requests.all()
    assert refused.status == status
    assert min(request.at for request in later) - refused.at >= PAUSE_SECONDS
    assert time.monotonic() - began >= PAUSE_SECONDS
    assert [one.stop() for one in (worker, other)] == [0, 0]
    assert_each_told_once(uploads, worker, other)
    assert_each_published_once(course, mux, uploads)
