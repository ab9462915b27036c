"""The report's story on the running worker: a draft with an upload becomes a published lesson."""

import json
import subprocess
from typing import Any

import psycopg
import pytest

from sandbox.fault_injection import Fault
from sandbox.mux.clock import ManualClock
from sandbox.mux.server import MuxSimulator
from sandbox.mux.timeline import Timeline
from sandbox.supabase.stack import LocalSupabase
from tests.commands import run
from tests.course import Course
from tests.e2e.conftest import secrets_in
from tests.e2e.evidence import (
    assert_published,
    assert_works_on,
    lines,
    picked,
    published_line,
    tables,
)
from tests.worker_process import WorkerProcess
from tests.worker_role import WITH_BOTH_KEYS
from worker.wording import failure

IN_BROWSER = Timeline(file_after_seconds=None, prepare_seconds=30)
"""The instructor has begun: the file comes when the browser sends it, then takes half a minute."""


@WITH_BOTH_KEYS
def test_a_draft_follows_its_upload_from_waiting_to_published(
    worker: WorkerProcess, course: Course, mux: MuxSimulator, key_role: str
) -> None:
    """Nothing happens while the upload waits; the asset is noted; when it is ready, published."""
    clock = mux.state.clock = ManualClock()
    upload_id = mux.state.create_upload(IN_BROWSER)
    lesson = course.tracked_lesson(upload_id)
    draft = course.state(lesson)
    worker.start()

    worker.wait_until(lambda: course.row(lesson)["check_count"] >= 1)
    assert picked(course.row(lesson), "status", "mux_asset_id") == ("processing", None)

    asset_id = mux.state.receive_file(mux.state.upload(upload_id).url_token).asset_id
    course.make_due()
    worker.wait_until(lambda: course.row(lesson)["mux_asset_id"] == asset_id)
    assert picked(course.row(lesson), "status", "mux_playback_id") == ("processing", None)
    assert course.state(lesson) == draft

    clock.advance(30)
    course.make_due()
    assert_published(worker, course, mux, lesson, upload_id)
    changed = {"status", "mux_asset_id", "mux_playback_id", "updated_at"}
    state = course.state(lesson)
    assert {name for name, value in state.items() if draft[name] != value} == changed
    happened = [picked(e, "event", "reason", "to_status", "actor") for e in course.events(lesson)]
    assert happened == [
        ("tracked", None, "processing", "postgres"),
        ("waiting", "asset_preparing", "processing", key_role),
        ("published", "asset_ready", "ready", key_role),
    ]
    assert_works_on(worker, course, mux)


def test_a_lesson_of_before_gets_real_ids_in_place_of_temporary_ones(
    worker: WorkerProcess, course: Course, mux: MuxSimulator
) -> None:
    """A lesson that holds temp_ ids, and whose row holds one too, ends with ids that play."""
    upload_id = mux.state.create_upload()
    lesson = course.lesson(
        mux_asset_id=f"temp_{upload_id}", mux_playback_id=f"temp_playback_{upload_id}"
    )
    course.track(lesson, upload_id, mux_asset_id=f"temp_{upload_id}")
    worker.start()
    assert_published(worker, course, mux, lesson, upload_id)
    assert_works_on(worker, course, mux)


def test_lessons_that_share_an_upload_are_published_for_one_question(
    worker: WorkerProcess, course: Course, mux: MuxSimulator
) -> None:
    """Two lessons of one instructor with one upload get the same video; Mux is asked once."""
    upload_id = mux.state.create_upload()
    lessons = [course.tracked_lesson(upload_id) for _ in range(2)]
    worker.start()
    for lesson in lessons:
        assert_published(worker, course, mux, lesson, upload_id)
    assert mux.requests.by_route() == {
        "GET /system/v1/whoami": 1,
        "GET /video/v1/assets": 1,
    }
    assert_works_on(worker, course, mux)


def test_a_migrated_row_is_published_by_its_asset(
    worker: WorkerProcess, course: Course, mux: MuxSimulator
) -> None:
    """Where the upload is not known the asset is looked for, and `migrated` never reaches Mux."""
    asset_id = mux.state.create_asset()
    playback_id = mux.state.asset(asset_id).playback_ids[0].id
    lesson = course.tracked_lesson("migrated", mux_asset_id=asset_id)
    nowhere = course.tracked_lesson("migrated", mux_asset_id="temp_old")
    worker.start()
    worker.wait_for("lesson.published", lesson_id=str(lesson))
    worker.wait_for("lesson.failed", lesson_id=str(nowhere))
    assert lines(worker, "lesson.published", "lesson.failed", lesson_id=str(lesson)) == [
        {
            "level": "info",
            "event": "lesson.published",
            "lesson_id": str(lesson),
            "upload_id": "migrated",
            "asset_id": asset_id,
            "playback_id": playback_id,
        }
    ]
    names = ("status", "mux_asset_id", "mux_playback_id")
    assert picked(course.state(lesson), *names) == ("published", asset_id, playback_id)
    assert picked(course.row(nowhere), "status", "error_type") == ("error", "invalid_id")
    assert [seen.path for seen in mux.requests.all()] == [
        "/system/v1/whoami",
        f"/video/v1/assets/{asset_id}",
    ]
    assert_works_on(worker, course, mux)


def test_what_fails_at_mux_fails_with_its_reason_and_leaves_the_lesson_a_draft(
    worker: WorkerProcess, course: Course, mux: MuxSimulator
) -> None:
    """Each bad end has its own word and Mux's own message; the lesson is not touched."""
    said = "Mux says: invalid_input: The input file is not a video."
    endings = {
        "upload_errored": (Timeline(0, 0, "upload_errored"), said),
        "upload_cancelled": (Timeline(0, 0, "cancelled"), None),
        "asset_errored": (Timeline(0, 0, "asset_errored"), said),
    }
    lessons = {
        reason: course.tracked_lesson(mux.state.create_upload(timeline))
        for reason, (timeline, _) in endings.items()
    }
    drafts = {reason: course.state(lesson) for reason, lesson in lessons.items()}
    worker.start()
    for reason, lesson in lessons.items():
        worker.wait_for("lesson.failed", lesson_id=str(lesson))
        row = course.row(lesson)
        message = failure(reason, endings[reason][1])
        line = {
            "level": "warning",
            "event": "lesson.failed",
            "lesson_id": str(lesson),
            "upload_id": row["upload_id"],
            "asset_id": row["mux_asset_id"],
            "error_type": reason,
            "message": message,
        }
        has_asset = row["mux_asset_id"] is not None
        expected = {k: v for k, v in line.items() if k != "asset_id" or has_asset}
        assert lines(worker, "lesson.failed", lesson_id=str(lesson)) == [expected]
        names = ("status", "error_type", "error_message")
        assert picked(row, *names) == ("error", reason, message)
    assert {r: course.state(lesson) for r, lesson in lessons.items()} == drafts
    assert_works_on(worker, course, mux)


def test_an_upload_that_never_came_times_out(
    worker: WorkerProcess, course: Course, mux: MuxSimulator
) -> None:
    """A tab that was closed before the file went up is a failure that Mux itself declares."""
    clock = mux.state.clock = ManualClock()
    lesson = course.tracked_lesson(mux.state.create_upload(IN_BROWSER, timeout_seconds=60))
    clock.advance(60)
    worker.start()
    worker.wait_for("lesson.failed", lesson_id=str(lesson), error_type="upload_timed_out")
    names = ("status", "error_type", "error_message")
    assert picked(course.row(lesson), *names) == (
        "error",
        "upload_timed_out",
        failure("upload_timed_out"),
    )
    assert course.state(lesson)["status"] == "draft"
    assert_works_on(worker, course, mux)


def test_a_lesson_that_is_no_draft_gets_its_video_and_keeps_its_status(
    worker: WorkerProcess, course: Course, mux: MuxSimulator
) -> None:
    """A lesson that somebody archived in the meantime is not published behind their back."""
    upload_id = mux.state.create_upload()
    lesson = course.lesson(status="archived")
    course.track(lesson, upload_id)
    worker.start()
    worker.wait_for("lesson.attached", lesson_id=str(lesson))
    result = published_line(mux, lesson, upload_id) | {"event": "lesson.attached"}
    assert lines(worker, "lesson.attached", "lesson.published") == [result]
    names = ("status", "mux_asset_id", "mux_playback_id")
    video = (result["asset_id"], result["playback_id"])
    assert picked(course.state(lesson), *names) == ("archived", *video)
    assert_works_on(worker, course, mux)


def _scan(environment: dict[str, str], **settings: str) -> subprocess.CompletedProcess[str]:
    return run("scan", env={**environment, **settings}, timeout=120)


def _split(stderr: str) -> tuple[list[dict[str, Any]], list[str]]:
    """Part log lines from words."""
    texts = stderr.splitlines()
    logged = [json.loads(text) for text in texts if text.startswith("{")]
    return logged, [text for text in texts if not text.startswith("{")]


def test_scan_looks_once_at_what_is_due_and_sums_up(
    environment: dict[str, str], course: Course, mux: MuxSimulator, db: psycopg.Connection
) -> None:
    """One pass: the summary on standard output, the log on standard error, exit status 0."""
    ready, waiting = mux.state.create_upload(), mux.state.create_upload(IN_BROWSER)
    lesson = course.tracked_lesson(ready)
    course.backdate(course.tracked_lesson(waiting), 300)  # not due again before the summary
    course.tracked_lesson("no id")
    ran = _scan(environment)
    logged, words = _split(ran.stderr)
    assert ran.stdout == (
        "Checked 3 lessons: 1 failed, 1 published, 1 waiting.\n"
        "Now 1 waiting, 0 stuck, 0 of them due; 1 failed, 0 unplayable.\n"
    )
    assert ran.returncode == 0
    assert words == []
    assert sorted(line["event"] for line in logged) == ["lesson.failed", "lesson.published"]
    assert course.state(lesson)["status"] == "published"

    # However slow the machine, what waits is not due again yet.
    db.execute("update mux_private.schedule set next_check_at = now() + interval '1 hour'")
    again = _scan(environment)
    assert (again.returncode, again.stderr) == (0, "")
    assert again.stdout == (
        "Checked 0 lessons: nothing was due.\n"
        "Now 1 waiting, 0 stuck, 0 of them due; 1 failed, 0 unplayable.\n"
    )


@pytest.mark.parametrize("down", ["mux", "supabase"])
def test_scan_says_in_one_sentence_what_is_down(
    down: str,
    environment: dict[str, str],
    supabase: LocalSupabase,
    db: psycopg.Connection,
    course: Course,
    mux: MuxSimulator,
) -> None:
    """Exit status 1, one sentence without a traceback, and no row touched."""
    upload_id = mux.state.create_upload()
    course.tracked_lesson(upload_id)
    before = tables(db)
    if down == "mux":
        mux.stop()
    else:
        supabase.stop_postgrest()
    try:
        ran = _scan(environment)
    finally:
        if down == "supabase":
            supabase.start_postgrest()
    _, words = _split(ran.stderr)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert len(words) == 1
    assert words[0].startswith("No answer from Mux: " if down == "mux" else "Supabase ")
    assert secrets_in(ran.stdout + ran.stderr, environment) == []
    assert tables(db) == before

    if down == "mux":
        mux.start()
    assert _scan(environment).stdout.startswith("Checked 1 lesson: 1 published.\n")


@pytest.mark.parametrize("form", ["json", "console"])
def test_no_output_ever_shows_a_secret(
    form: str, worker: WorkerProcess, course: Course, mux: MuxSimulator, supabase: LocalSupabase
) -> None:
    """Not at level debug, and not where Mux and Supabase themselves repeat what was sent."""
    environment = worker.environment
    key, token = environment["SUPABASE_SERVICE_ROLE_KEY"], environment["MUX_TOKEN_SECRET"]
    echo = json.dumps({"error": {"type": "unauthorized", "messages": [f"who is {token}?"]}})
    mux.faults.add(Fault("answer", status=401, body=echo), times=1)
    refusal = json.dumps({"code": "PGRST301", "message": f"no {key}", "hint": None})
    supabase.faults.add(Fault("answer", status=401, body=refusal), times=1)
    upload_id = mux.state.create_upload()
    lesson = course.tracked_lesson(upload_id)
    worker.start(LOG_LEVEL="debug", LOG_FORMAT=form)
    worker.wait_until(lambda: course.state(lesson)["status"] == "published")
    assert worker.stop() == 0
    for event in ("supabase.unavailable", "mux.unauthorized", "lesson.published"):
        assert event in worker.output
    assert worker.output.count("***") == 2
    assert secrets_in(worker.output, environment) == []
