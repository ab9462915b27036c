"""What tests of the running worker look at: tables and log lines, without what every run varies."""

import json
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
    "audit": b"select * from mux_asset_events order by id",
}


def tables(db: psycopg.Connection) -> Tables:
    """Read all that the worker may write, but for the due times, which claiming rows moves."""
    with db.cursor(row_factory=dict_row) as cursor:
        found = {name: cursor.execute(query).fetchall() for name, query in _READ.items()}
    for row in found["tracking"]:
        del row["next_check_at"]
    return found


def refuse_lists(mux: MuxSimulator) -> None:
    """Have Mux refuse its lists, for good: each row is asked about alone, as where only few are."""
    said = {"type": "invalid_parameters", "messages": ["No lists here."]}
    refused = Fault("answer", status=400, body=json.dumps({"error": said}))
    for kind in ("assets", "uploads"):
        mux.faults.add(refused, method="GET", path=f"/video/v1/{kind}")


def picked(row: dict[str, Any], *names: str) -> tuple[Any, ...]:
    """Give some columns of a row."""
    return tuple(row[name] for name in names)


def lines(worker: WorkerProcess, *events: str, **fields: Any) -> list[Line]:
    """Give the lines of these events that have these fields, in order, without their times."""
    return [
        {name: value for name, value in line.items() if name not in ("timestamp", "waited_seconds")}
        for line in worker.lines
        if line["event"] in events
        and all(line.get(name) == value for name, value in fields.items())
    ]


def published_line(mux: MuxSimulator, lesson: UUID, upload_id: str) -> Line:
    """Give the line that tells of a lesson's publication with the first public playback id."""
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
    """Wait until a lesson is published; it must have its own video, and be told of once.

    Its students are told once too, by a trigger of the app's.
    """
    worker.wait_for("lesson.published", lesson_id=str(lesson))
    told = published_line(mux, lesson, upload_id)
    video = (told["asset_id"], told["playback_id"])
    assert lines(worker, "lesson.published", lesson_id=str(lesson)) == [told]
    names = ("status", "mux_asset_id", "mux_playback_id")
    assert picked(course.state(lesson), *names) == ("published", *video)
    assert picked(course.row(lesson), *names, "error_type") == ("ready", *video, None)
    assert course.notified(lesson) == 1


def assert_works_on(worker: WorkerProcess, course: Course, mux: MuxSimulator) -> None:
    """See that the worker lives and publishes a lesson that comes now, then stops as it should."""
    upload_id = mux.state.create_upload()
    lesson = course.tracked_lesson(upload_id)
    assert_published(worker, course, mux, lesson, upload_id)
    assert worker.stop() == 0
    assert worker.events("worker.crashed") == []


SUPABASE_RECOVERED: Line = {"level": "info", "event": "supabase.recovered"}


def supabase_out(reason: str, message: str, level: str = "warning") -> Line:
    """Give the line with which an outage of Supabase begins."""
    event = {"level": level, "event": "supabase.unavailable"}
    return {**event, "reason": reason, "message": message}


def supabase_outages(worker: WorkerProcess, number: int = 1) -> list[Line]:
    """Wait for the end of so many outages of Supabase; give their lines, without their seconds."""
    worker.wait_for("supabase.recovered", times=number)
    told = lines(worker, "supabase.unavailable", "supabase.recovered")
    for line in told:
        assert line.pop("outage_seconds", 1) > 0
    return told
