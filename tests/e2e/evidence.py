"""Read the tables and log lines of a running worker, without the values that vary."""

import json
from collections.abc import Collection
from functools import partial
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

from sandbox.fault_injection import Fault
from sandbox.mux.server import MuxSimulator
from tests.course import Course
from tests.worker_process import Line, WorkerProcess

Tables = dict[str, list[dict[str, Any]]]

_READ = {
    "lessons": b"select * from lessons order by id",
    "tracking": b"select * from mux_asset_tracking order by id",
    "schedule": b"select tracking_id, check_count, missing_since, missing_count, is_recheck "
    b"from mux_private.schedule order by tracking_id",
    "audit": b"select * from mux_asset_events order by id",
}


def tables(db: psycopg.Connection) -> Tables:
    """Return all rows that the worker may write, but for when each is due."""
    with db.cursor(row_factory=dict_row) as cursor:
        return {name: cursor.execute(query).fetchall() for name, query in _READ.items()}


def refuse_lists(mux: MuxSimulator) -> None:
    """Make Mux reject its lists, so that the worker probes each row."""
    error = {"type": "invalid_parameters", "messages": ["No lists here."]}
    rejected = Fault("answer", status=400, body=json.dumps({"error": error}))
    for kind in ("assets", "uploads"):
        mux.faults.add(rejected, method="GET", path=f"/video/v1/{kind}")


def picked(row: dict[str, Any], *names: str) -> tuple[Any, ...]:
    """Return some columns of a row."""
    return tuple(row[name] for name in names)


def lines(worker: WorkerProcess, *events: str, **fields: Any) -> list[Line]:
    """Return the log lines of these events with these fields, in order, without their times."""
    return [
        {name: value for name, value in line.items() if name not in ("timestamp", "waited_seconds")}
        for line in worker.lines
        if line["event"] in events
        and all(line.get(name) == value for name, value in fields.items())
    ]


def published_line(mux: MuxSimulator, lesson: UUID, upload_id: str) -> Line:
    """Return the `lesson.published` line, with the first public playback id."""
    asset = mux.state.asset(mux.state.upload(upload_id).asset_id or "")
    return {
        "level": "info",
        "event": "lesson.published",
        "lesson_id": str(lesson),
        "upload_id": upload_id,
        "asset_id": asset.id,
        "playback_id": next(p.id for p in asset.playback_ids if p.policy == "public"),
    }


def assert_published(
    worker: WorkerProcess, course: Course, mux: MuxSimulator, lesson: UUID, upload_id: str
) -> None:
    """Wait until a lesson is published; assert that it has its own video and one log line.

    The app's trigger must have sent one notification.
    """
    worker.wait_for("lesson.published", lesson_id=str(lesson))
    expected = published_line(mux, lesson, upload_id)
    video = (expected["asset_id"], expected["playback_id"])
    assert lines(worker, "lesson.published", lesson_id=str(lesson)) == [expected]
    names = ("status", "mux_asset_id", "mux_playback_id")
    assert picked(course.state(lesson), *names) == ("published", *video)
    assert picked(course.row(lesson), *names, "error_type") == ("ready", *video, None)
    assert course.notified(lesson) == 1


def assert_works_on(worker: WorkerProcess, course: Course, mux: MuxSimulator) -> None:
    """Assert that the worker publishes a new lesson, and then stops with exit status 0."""
    upload_id = mux.state.create_upload()
    lesson = course.tracked_lesson(upload_id)
    assert_published(worker, course, mux, lesson, upload_id)
    assert worker.stop() == 0
    assert worker.events("worker.crashed") == []


def wait_for_looks(
    worker: WorkerProcess, course: Course, lessons: Collection[UUID], number: int
) -> None:
    """Have the worker look at rows until each that waits was looked at this many times.

    Each time they are made due only once: a look that meets that is not counted.
    """
    for count in range(1, number + 1):
        worker.wait_until(partial(_were_looked_at, course, lessons, count))
        if count < number:
            course.make_due()


def _were_looked_at(course: Course, lessons: Collection[UUID], number: int) -> bool:
    rows = [course.row(lesson) for lesson in lessons]
    return all(row["status"] != "processing" or row["check_count"] >= number for row in rows)


SUPABASE_RECOVERED: Line = {"level": "info", "event": "supabase.recovered"}


def supabase_out(reason: str, message: str, level: str = "warning") -> Line:
    """Return the log line that starts an outage of Supabase."""
    event = {"level": level, "event": "supabase.unavailable"}
    return {**event, "reason": reason, "message": message}


def supabase_outages(worker: WorkerProcess, number: int = 1) -> list[Line]:
    """Wait for the end of `number` outages of Supabase; return their lines, without seconds."""
    worker.wait_for("supabase.recovered", times=number)
    outages = lines(worker, "supabase.unavailable", "supabase.recovered")
    for line in outages:
        assert line.pop("outage_seconds", 1) > 0
    return outages
