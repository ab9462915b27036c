"""Mux answers what is no answer, or what nobody has heard of: what the worker makes of it."""

import json
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from sandbox.fault_injection import Fault
from sandbox.mux.server import MuxSimulator
from tests.course import Course
from tests.e2e.evidence import (
    assert_published,
    assert_works_on,
    lines,
    picked,
    refuse_lists,
    tables,
    wait_for_looks,
)
from tests.worker_process import WorkerProcess
from worker.wording import failure

HTML = "<html><body>We are back soon.</body></html>"
TOO_MANY = json.dumps({"errors": ["Too many requests, retry later."]})
HTML_PAGE = "text/html"
NO_ANSWERS = {
    "refusing": (
        ("http_500", Fault("answer", status=500)),
        ("http_503", Fault("answer", status=503, body=HTML, content_type=HTML_PAGE)),
        ("rate_limited", Fault("answer", status=429, body=TOO_MANY)),
        ("http_502", Fault("answer", status=502, body=HTML, content_type=HTML_PAGE)),
    ),
    "silent": (
        ("connection", Fault("reset")),
        ("timeout", Fault("hang")),
        ("timeout", Fault("trickle", status=200, body='{"data": {"id": "')),
        ("timeout", Fault("trickle", status=200)),
    ),
    "garbled": (
        ("unreadable", Fault("answer", status=200, body=HTML, content_type=HTML_PAGE)),
        ("unreadable", Fault("answer", status=200, body='{"data": {"id": "a')),
        ("unreadable", Fault("answer", status=404, body=HTML, content_type=HTML_PAGE)),
        ("unreadable", Fault("answer", status=200, body='{"data": null}')),
    ),
}
"""What is no answer, four of a kind, with the reasons that operators read.

A probe is tried twice, and so is the control question after it.
"""


@pytest.mark.parametrize("kind", NO_ANSWERS)
def test_whatever_is_no_answer_is_an_outage_that_touches_no_row(
    worker: WorkerProcess, db: psycopg.Connection, course: Course, mux: MuxSimulator, kind: str
) -> None:
    """Four bad answers in a row make an outage; then the lesson is published once."""
    for _, fault in NO_ANSWERS[kind]:
        mux.faults.add(fault, path="/video/*", times=1)
    mux.faults.add(NO_ANSWERS[kind][0][1], path="/video/*")
    lesson = course.tracked_lesson(mux.state.create_upload())
    before = tables(db)
    worker.start(MUX_TIMEOUT_SECONDS="2")
    worker.wait_for("mux.unavailable")
    assert tables(db) == before

    mux.faults.clear()
    worker.wait_for("lesson.published", lesson_id=str(lesson))
    worker.wait_for("mux.recovered")
    assert worker.stop() == 0
    found = lines(worker, "mux.retry", "mux.unavailable", "mux.recovered")
    first, _, control, last = [reason for reason, _ in NO_ANSWERS[kind]]
    assert [(line["event"], line.get("reason", "")) for line in found] == [
        *(("mux.retry", reason) for reason in dict.fromkeys([first, control])),
        ("mux.unavailable", last),
        ("mux.recovered", ""),
    ]
    assert len(worker.events("lesson.published")) == 1
    assert lines(worker, "lesson.failed", "worker.crashed") == []


def test_a_fault_that_passes_is_made_up_for_in_the_same_scan(
    worker: WorkerProcess, course: Course, mux: MuxSimulator
) -> None:
    """One bad answer for each of several lessons costs a second, and no outage is told."""
    refuse_lists(mux)
    uploads = [mux.state.create_upload() for _ in range(4)]
    lessons = [course.tracked_lesson(upload_id) for upload_id in uploads]
    faults = [*(faults[0] for faults in NO_ANSWERS.values()), NO_ANSWERS["refusing"][2]]
    for upload_id, (_, fault) in zip(uploads, faults, strict=True):
        mux.faults.add(fault, path=f"/video/v1/uploads/{upload_id}", times=1)
    worker.start()
    for lesson, upload_id in zip(lessons, uploads, strict=True):
        assert_published(worker, course, mux, lesson, upload_id)
    told = lines(worker, "mux.retry", "mux.unavailable", "mux.recovered")
    expected = [("mux.retry", "info", reason, 1) for reason, _ in faults]
    names = ("event", "level", "reason", "attempt")
    assert sorted(picked(line, *names) for line in told) == sorted(expected)
    assert_works_on(worker, course, mux)


def _data(**fields: Any) -> Fault:
    return Fault("answer", status=200, body=json.dumps({"data": fields}))


def _asset_says(mux: MuxSimulator, upload_id: str, **fields: Any) -> str:
    """Let the upload's asset say other things than it would; give its id."""
    asset_id = mux.state.upload(upload_id).asset_id or ""
    said = {"id": asset_id, "upload_id": upload_id, "status": "ready"} | fields
    mux.faults.add(_data(**said), path=f"/video/v1/assets/{asset_id}")
    return asset_id


def test_words_that_nobody_has_heard_of_make_rows_wait_and_are_told_once(
    worker: WorkerProcess, course: Course, mux: MuxSimulator
) -> None:
    """New statuses and policies of Mux fail no lesson; new fields and odd values do no harm."""
    refuse_lists(mux)
    uploads = [mux.state.create_upload() for _ in range(5)]
    lessons = [course.tracked_lesson(upload_id) for upload_id in uploads]
    for upload_id in uploads[:2]:
        said = _data(id=upload_id, status="percolating", mood={"calm": True})
        mux.faults.add(said, path=f"/video/v1/uploads/{upload_id}")
    _asset_says(mux, uploads[2], status="pondering")
    _asset_says(mux, uploads[3], playback_ids=[{"id": "members1", "policy": "members"}])
    asset_id = _asset_says(
        mux,
        uploads[4],
        playback_ids=[
            {"id": "members2", "policy": "members"},
            {"id": 7, "policy": "public"},
            "nonsense",
            {"id": "public1", "policy": "public", "drm_configuration_id": "new"},
        ],
        passthrough=None,
        meta="none",
        errors=[],
        tracks=7,
    )
    worker.start()
    worker.wait_for("lesson.published", lesson_id=str(lessons[4]))
    video = ("published", asset_id, "public1")
    names = ("status", "mux_asset_id", "mux_playback_id")
    assert picked(course.state(lessons[4]), *names) == video

    wait_for_looks(worker, course, lessons[:4], 2)
    told = lines(worker, "mux.unknown_value")
    assert {line["level"] for line in told} == {"warning"}
    assert sorted(picked(line, "kind", "value") for line in told) == [
        ("asset_status", "pondering"),
        ("policy", "members"),
        ("upload_status", "percolating"),
    ]
    assert {course.row(lesson)["status"] for lesson in lessons[:4]} == {"processing"}
    assert lines(worker, "lesson.failed", "mux.unavailable") == []

    mux.faults.clear()
    course.make_due()
    for lesson, upload_id in zip(lessons[:4], uploads[:4], strict=True):
        assert_published(worker, course, mux, lesson, upload_id)
    assert_works_on(worker, course, mux)


@pytest.mark.parametrize("form", ["json", "console"])
def test_what_postgres_takes_in_no_text_is_replaced_and_harms_no_other_row(
    form: str, worker: WorkerProcess, course: Course, mux: MuxSimulator
) -> None:
    """NUL, lone surrogates and a book of a message in what Mux says: all of the page is settled."""
    refuse_lists(mux)
    uploads = [mux.state.create_upload() for _ in range(5)]
    errored, named, broken, odd, plain = (course.tracked_lesson(u) for u in uploads)
    error = {"type": "bad\0", "message": "no \ud800 film\0"}
    said = _data(id=uploads[0], status="errored", error=error)
    mux.faults.add(said, path=f"/video/v1/uploads/{uploads[0]}")
    named_asset = _asset_says(
        mux,
        uploads[1],
        playback_ids=[{"id": "play1", "policy": "public"}],
        passthrough="a\0b\udfff",
        meta={"external_id": "\ud800" * 2000},
    )
    errors = {"type": "invalid", "messages": ["ü" * 50_000]}
    _asset_says(mux, uploads[2], status="errored", errors=errors)
    _asset_says(mux, uploads[3], status="\ud800\0odd")
    worker.start(LOG_FORMAT=form)

    ends: list[tuple[Any, Callable[[dict[str, Any]], bool]]] = [
        (errored, lambda row: row["status"] == "error"),
        (named, lambda row: row["status"] == "ready"),
        (broken, lambda row: row["status"] == "error"),
        (odd, lambda row: row["check_count"] >= 1),
        (plain, lambda row: row["status"] == "ready"),
    ]
    worker.wait_until(lambda: all(has_ended(course.row(one)) for one, has_ended in ends))
    worker.wait_until(lambda: "scan.finished" in worker.output)
    names = ("error_type", "error_message")
    told = failure("upload_errored", "Mux says: bad\ufffd: no \ufffd film\ufffd.")
    assert picked(course.row(errored), *names) == ("upload_errored", told)
    cut = failure("asset_errored", f"Mux says: invalid: {'ü' * 291}...")
    assert course.row(broken)["error_message"] == cut
    assert picked(course.row(odd), "status", *names) == ("processing", None, None)
    ids = ("status", "mux_asset_id", "mux_playback_id")
    assert picked(course.state(named), *ids) == ("published", named_asset, "play1")
    assert course.state(plain)["status"] == "published"
    assert "Traceback" not in worker.output
    assert "Logging error" not in worker.output
    assert worker.output.count("mux.unknown_value") == 1
    assert worker.stop() == 0
    worker.start(LOG_FORMAT="json")
    assert_works_on(worker, course, mux)
