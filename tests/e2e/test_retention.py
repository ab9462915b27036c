import asyncio
import io
import json
import time
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from sandbox.fault_injection import Fault
from sandbox.mux.server import MuxSimulator
from sandbox.supabase.stack import LocalSupabase
from tests.course import Course
from tests.worker_role import WITH_BOTH_KEYS
from worker.app import parts
from worker.daemon.loop import Daemon, Timing
from worker.daemon.retention import Retention
from worker.settings import Settings
from worker.telemetry import logs
from worker.telemetry.hooks import Telemetry

pytestmark = pytest.mark.stack

PRUNE = "/rest/v1/rpc/worker_prune_events"


@pytest.fixture
def out() -> io.StringIO:
    """Send the log to a buffer."""
    stream = io.StringIO()
    logs.configure(form="json", stream=stream)
    return stream


def events(out: io.StringIO, event: str) -> list[dict[str, Any]]:
    """Read the lines of an event."""
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    return [line for line in lines if line["event"] == event]


async def work_until(
    condition: Callable[[], bool], environment: dict[str, str], patch: pytest.MonkeyPatch
) -> None:
    """Run the daemon, with its day beginning at once, until something is so."""
    for name, value in environment.items():
        patch.setenv(name, value)
    settings, stopping = Settings.load(), asyncio.Event()
    async with parts(settings, stopping) as (mux, store, reconciler, _):
        daemon = Daemon(
            mux,
            store,
            reconciler.scan,
            Timing(settings.scan_interval_seconds, settings.shutdown_seconds),
            stopping,
            Telemetry(),
        )
        retention = Retention(store, settings.event_retention_days, first_after_seconds=0)
        running = asyncio.create_task(daemon.run(retention))
        deadline = time.monotonic() + 90
        while not await asyncio.to_thread(condition):
            assert time.monotonic() < deadline
            assert not running.done()
        stopping.set()
        await running


@WITH_BOTH_KEYS
async def test_old_audit_rows_go_while_lessons_are_published(
    environment: dict[str, str],
    mux: MuxSimulator,
    course: Course,
    db: psycopg.Connection,
    out: io.StringIO,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """More than two batches older than the setting are removed, the younger ones stay."""
    lesson = course.tracked_lesson(mux.state.create_upload())
    db.execute(
        "insert into mux_asset_events (actor, event, lesson_id, tracking_id, happened_at) "
        "select 'test', 'published', gen_random_uuid(), gen_random_uuid(), "
        "now() - make_interval(days => case when n <= 2100 then 31 else 29 end) "
        "from generate_series(1, 2150) n"
    )

    def is_done() -> bool:
        return bool(events(out, "events.pruned") and events(out, "lesson.published"))

    await work_until(is_done, {**environment, "EVENT_RETENTION_DAYS": "30"}, monkeypatch)
    (line,) = events(out, "events.pruned")
    assert (line["level"], line["count"]) == ("info", 2100)
    rows = db.execute(
        "select actor, event, count(*)::int from mux_asset_events group by 1, 2 order by 1, 2"
    ).fetchall()
    assert ("test", "published", 50) in rows
    assert [event["event"] for event in course.events(lesson)][-1] == "published"


async def test_a_database_that_will_not_prune_is_no_outage(
    environment: dict[str, str],
    supabase: LocalSupabase,
    mux: MuxSimulator,
    course: Course,
    out: io.StringIO,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One warning with the reason, and lessons are published as ever."""
    supabase.faults.add(Fault("answer", status=500, body='{"message": "no"}'), path=PRUNE)
    lesson = course.tracked_lesson(mux.state.create_upload())

    def is_done() -> bool:
        return bool(events(out, "events.pruned") and events(out, "lesson.published"))

    await work_until(is_done, environment, monkeypatch)
    (line,) = events(out, "events.pruned")
    assert (line["level"], line["count"], line["reason"]) == ("warning", 0, "500")
    assert events(out, "supabase.unavailable") == []
    assert course.state(lesson)["status"] == "published"
