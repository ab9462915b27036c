"""Mux refuses our token or knows no such id: what the running worker does, and what it tells."""

import json
from collections import Counter
from uuid import UUID

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
    tables,
    wait_for_looks,
)
from tests.worker_process import WorkerProcess
from worker.wording import REASONS, failure

WHOAMI = "/system/v1/whoami"
REFUSED = {
    401: "Mux refuses the access token (Unauthorized request): check MUX_TOKEN_ID and "
    "MUX_TOKEN_SECRET, and that the token may read video.",
    403: "Mux refuses the access token (This token may not read video.): check MUX_TOKEN_ID and "
    "MUX_TOKEN_SECRET, and that the token may read video.",
}
OUTAGE = ("mux.retry", "mux.unavailable", "mux.unauthorized", "mux.recovered")


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_token_is_told_once_and_touches_no_row(
    status: int,
    worker: WorkerProcess,
    db: psycopg.Connection,
    course: Course,
    mux: MuxSimulator,
) -> None:
    """The worker asks ever more seldom who it is, and goes on where it was once it may again."""
    worker.start(SCAN_INTERVAL_SECONDS="0.1")
    before_all = mux.state.create_upload()
    assert_published(worker, course, mux, course.tracked_lesson(before_all), before_all)

    credentials = mux.state.credentials
    if status == 401:
        mux.state.credentials = mux.state.new_credentials()
    else:
        said = {"type": "forbidden", "messages": ["This token may not read video."]}
        mux.faults.add(Fault("answer", status=403, body=json.dumps({"error": said})))
    uploads = [mux.state.create_upload() for _ in range(3)]
    lessons = [course.tracked_lesson(upload_id) for upload_id in uploads]
    worker.wait_for("mux.unauthorized")
    before = tables(db)

    def refused(*, asked_who: bool) -> list[float]:
        seen = [s for s in mux.requests.all() if s.status == status]
        return [s.at for s in seen if (s.path == WHOAMI) == asked_who]

    worker.wait_until(lambda: len(refused(asked_who=True)) >= 2)
    assert tables(db) == before
    rows, who = refused(asked_who=False), refused(asked_who=True)
    assert 2 <= len(rows) <= 6  # two probes or a list, and the control question, each tried twice
    assert who[0] - rows[-1] >= 0.6 * 0.8  # six scan intervals, less the jitter
    assert who[1] - who[0] >= 1.2 * 0.8

    mux.state.credentials = credentials
    mux.faults.clear()
    for lesson, upload_id in zip(lessons, uploads, strict=True):
        assert_published(worker, course, mux, lesson, upload_id)
    recovered = worker.wait_for("mux.recovered")
    assert recovered["outage_seconds"] >= 1.2
    assert lines(worker, *OUTAGE[1:], "mux.id_failed") == [
        {
            "level": "error",
            "event": "mux.unauthorized",
            "reason": f"http_{status}",
            "message": REFUSED[status],
        },
        {
            "level": "info",
            "event": "mux.recovered",
            "outage_seconds": recovered["outage_seconds"],
            "rows_waiting": 3,
        },
    ]
    assert_works_on(worker, course, mux)


def test_the_token_of_another_environment_fails_no_lesson(
    worker: WorkerProcess, course: Course, mux: MuxSimulator
) -> None:
    """Every id is a 404 there: rows wait beyond grace and give-up, and it is said once."""
    upload_id, pending = mux.state.create_upload(), mux.state.create_upload()
    worker.start()
    assert_published(worker, course, mux, course.tracked_lesson(upload_id), upload_id)
    assert worker.stop() == 0

    home, mux.state.environment_id = mux.state.environment_id, "elsewhere"
    lesson = course.tracked_lesson(pending)
    course.backdate(lesson, 7200)
    worker.start(GIVE_UP_AFTER_SECONDS="3600")

    wait_for_looks(worker, course, [lesson], 4)
    assert worker.stop() == 0
    waits = ("processing", None, 0, None)
    names = ("status", "missing_since", "missing_count", "error_type")
    assert picked(course.row(lesson), *names) == waits
    assert lines(worker, "mux.wrong_environment", "lesson.stuck", "lesson.failed", *OUTAGE) == [
        {
            "level": "warning",
            "event": "lesson.stuck",
            "lesson_id": str(lesson),
            "upload_id": pending,
            "asset_id": None,
            "lesson_status": "draft",
            "reason": "wrong_environment",
            "message": REASONS["wrong_environment"],
        },
        {
            "level": "error",
            "event": "mux.wrong_environment",
            "environment": "elsewhere",
            "last_found_in": home,
            "message": "Mux knows none of these ids in the token's environment: lessons wait. "
            "Check MUX_TOKEN_ID.",
        },
    ]

    mux.state.environment_id = home
    course.make_due()
    worker.start(GIVE_UP_AFTER_SECONDS="3600")
    assert_published(worker, course, mux, lesson, pending)
    assert_works_on(worker, course, mux)


def test_what_mux_does_not_know_fails_after_ten_minutes_and_three_looks(
    worker: WorkerProcess, course: Course, mux: MuxSimulator
) -> None:
    """A 404, or another 4xx about one id, is not believed at once, and harms nobody else."""
    upload_id = mux.state.create_upload()
    lesson = course.tracked_lesson(upload_id)
    worker.start()
    assert_published(worker, course, mux, lesson, upload_id)

    refused = "Q" * 44
    said = json.dumps({"error": {"type": "invalid_parameters", "messages": ["Not like this."]}})
    path = f"/video/v1/uploads/{refused}"
    mux.faults.add(Fault("answer", status=400, body=said), path=path)
    ends: dict[UUID, tuple[str, str | None]] = {
        course.tracked_lesson("U" * 44): ("upload_not_found", None),
        course.tracked_lesson("migrated", mux_asset_id="A" * 44): ("asset_not_found", None),
        course.tracked_lesson(refused): (
            "mux_rejected",
            "Mux says: invalid_parameters: Not like this.",
        ),
    }
    young = course.tracked_lesson("Y" * 44)

    wait_for_looks(worker, course, [*ends, young], 1)
    for one in ends:
        course.backdate(one, 700)
    wait_for_looks(worker, course, [*ends, young], 3)
    worker.wait_until(lambda: all(course.row(one)["status"] == "error" for one in ends))
    names = ("status", "error_type", "error_message")
    assert {one: picked(course.row(one), *names) for one in ends} == {
        one: ("error", reason, failure(reason, why)) for one, (reason, why) in ends.items()
    }
    looks = Counter(seen.path for seen in mux.requests.all())
    paths = (f"/video/v1/uploads/{'U' * 44}", f"/video/v1/assets/{'A' * 44}", path)
    assert all(looks[one] >= 3 for one in paths)
    assert {course.state(one)["status"] for one in ends} == {"draft"}
    for one, (reason, why) in ends.items():
        worker.wait_for("lesson.failed", lesson_id=str(one))
        row = course.row(one)
        asset = {"asset_id": row["mux_asset_id"]} if row["mux_asset_id"] else {}
        assert lines(worker, "lesson.failed", lesson_id=str(one)) == [
            {
                "level": "warning",
                "event": "lesson.failed",
                "lesson_id": str(one),
                "upload_id": row["upload_id"],
                **asset,
                "error_type": reason,
                "message": failure(reason, why),
            }
        ]
    assert picked(course.row(young), "status", "error_type") == ("processing", None)
    assert course.row(young)["missing_count"] >= 3
    assert lines(worker, *OUTAGE) == []
    assert_works_on(worker, course, mux)
