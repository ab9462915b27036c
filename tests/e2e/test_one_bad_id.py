"""Mux fails for one id alone, or for everything but who we are: what the running worker does."""

import json

import psycopg
import pytest

from sandbox.fault_injection import Fault
from sandbox.mux.server import MuxSimulator
from sandbox.mux.timeline import AT_ONCE, AssetSettings
from tests.course import Course
from tests.e2e.evidence import assert_published, assert_works_on, lines, picked, tables
from tests.worker_process import WorkerProcess

OUTAGE = ("mux.unavailable", "mux.unauthorized", "mux.recovered")
ANOTHER = json.dumps({"data": {"id": "another", "status": "ready"}})
FORBIDDEN = json.dumps({"error": {"type": "forbidden", "messages": ["Not this one."]}})
FAULTS = {
    "unreadable": Fault("answer", status=200, body='{"data": {"id": "a'),
    "another id": Fault("answer", status=200, body=ANOTHER),
    "403": Fault("answer", status=403, body=FORBIDDEN),
    "401": Fault("answer", status=401),
    "500": Fault("answer", status=500),
    "timeout": Fault("hang"),
    "reset": Fault("reset"),
}
REASONS = {
    "unreadable": "unreadable",
    "another id": "unreadable",
    "403": "http_403",
    "401": "http_401",
    "500": "http_500",
    "timeout": "timeout",
    "reset": "connection",
}


@pytest.mark.parametrize("kind", FAULTS)
def test_an_id_that_fails_alone_holds_up_its_own_row_and_no_other(
    kind: str, worker: WorkerProcess, course: Course, mux: MuxSimulator
) -> None:
    """Alone it is no outage, nor beside a good lesson; it is told once, and heals by itself."""
    bad = mux.state.create_upload()
    asset_id = mux.state.upload(bad).asset_id or ""
    mux.state.seed(100)  # so that the page that is read for two rows does not have it
    good = mux.state.create_upload()
    mux.faults.add(FAULTS[kind], path=f"/video/v1/assets/{asset_id}")
    held_up = course.tracked_lesson(bad, mux_asset_id=asset_id, check_count=1)
    worker.start(MUX_TIMEOUT_SECONDS="1.5")
    worker.wait_for("mux.id_failed")
    row = course.row(held_up)
    assert picked(row, "status", "missing_count", "error_type") == ("processing", 0, None)

    course.make_due()
    lesson = course.tracked_lesson(good)
    assert_published(worker, course, mux, lesson, good)
    worker.wait_until(lambda: course.row(held_up)["check_count"] >= 3)
    (result,) = lines(worker, "mux.id_failed")
    names = ("level", "lesson_id", "asset_id", "reason")
    assert picked(result, *names) == ("warning", str(held_up), asset_id, REASONS[kind])
    assert lines(worker, *OUTAGE, "lesson.failed") == []

    mux.faults.clear()
    course.make_due()
    assert_published(worker, course, mux, held_up, bad)
    assert_works_on(worker, course, mux)


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("status", [403, 503])
def test_where_only_the_question_who_we_are_is_answered_no_row_is_touched(
    status: int,
    rows: int,
    worker: WorkerProcess,
    db: psycopg.Connection,
    course: Course,
    mux: MuxSimulator,
) -> None:
    """A token without video rights, or an outage of the video API: each is told as an outage."""
    mux.faults.add(Fault("answer", status=status), path="/video/*")
    uploads = [mux.state.create_upload() for _ in range(rows)]
    lessons = [course.tracked_lesson(upload) for upload in uploads]
    for lesson in lessons:
        course.backdate(lesson, 3600)
    before = tables(db)
    worker.start(SCAN_INTERVAL_SECONDS="0.1")
    event = "mux.unauthorized" if status == 403 else "mux.unavailable"
    worker.wait_for(event)
    mux.faults.wait_for_hits(9)  # and the scans that follow find it so, too
    assert tables(db) == before
    assert [line["event"] for line in lines(worker, *OUTAGE, "mux.id_failed")] == [event]

    mux.faults.clear()
    for lesson, upload in zip(lessons, uploads, strict=True):
        assert_published(worker, course, mux, lesson, upload)
    assert_works_on(worker, course, mux)


def test_a_list_that_fails_while_ids_are_answered_costs_only_the_list(
    worker: WorkerProcess, course: Course, mux: MuxSimulator
) -> None:
    """Its rows are asked about one by one, and no outage is told."""
    broken = Fault("answer", status=500)
    mux.faults.add(broken, path="/video/v1/assets", match=lambda r: r.query.get("limit") == "100")
    uploads = [mux.state.create_upload() for _ in range(4)]
    lessons = [course.tracked_lesson(upload) for upload in uploads]
    worker.start()
    for lesson, upload in zip(lessons, uploads, strict=True):
        assert_published(worker, course, mux, lesson, upload)
    assert lines(worker, *OUTAGE, "mux.id_failed") == []
    assert_works_on(worker, course, mux)


def test_an_empty_upload_id_fails_also_beside_a_video_without_an_upload(
    worker: WorkerProcess, course: Course, mux: MuxSimulator
) -> None:
    """It matches nothing, and makes no environment the one of our ids."""
    mux.state.create_asset()
    lost = [course.tracked_lesson(id_) for id_ in ("L" * 44, "M" * 44, "N" * 44)]
    empty = course.tracked_lesson("")
    worker.start()
    worker.wait_for("lesson.failed", lesson_id=str(empty), error_type="invalid_id")
    worker.wait_until(lambda: all(course.row(one)["check_count"] for one in lost))
    assert {course.row(one)["missing_count"] for one in lost} == {0}  # the token is under suspicion
    assert course.row(empty)["mux_asset_id"] is None
    assert course.state(empty)["status"] == "draft"
    worker.wait_for("mux.wrong_environment")
    assert_works_on(worker, course, mux)


def test_a_test_asset_is_published_with_a_warning(
    worker: WorkerProcess, course: Course, mux: MuxSimulator
) -> None:
    """Mux deletes it after a day; its lesson's reference stands in a passthrough that is JSON."""
    lesson = course.lesson()
    settings = AssetSettings.of(["public"], json.dumps({"lessonId": str(lesson)}), None)
    upload = mux.state.add_upload(AT_ONCE, settings, test=True)
    course.track(lesson, upload.id)
    worker.start()
    published = worker.wait_for("lesson.published", lesson_id=str(lesson))
    assert published["level"] == "warning"
    assert published["message"].startswith("This is a test asset. Mux deletes it")
    audit = course.events(lesson)[-1]["observation"]
    assert audit["lesson_references"] == [str(lesson)]
    assert audit["is_test"] is True
    assert_works_on(worker, course, mux)


def test_of_two_assets_of_an_upload_the_one_is_published_that_the_upload_names(
    worker: WorkerProcess, course: Course, mux: MuxSimulator
) -> None:
    """Found in the list, or asked for."""
    uploads = [mux.state.create_upload() for _ in range(4)]
    for upload in uploads:
        mux.state.create_asset(of_upload=upload)
    alone = course.tracked_lesson(uploads[0])
    worker.start()
    assert_published(worker, course, mux, alone, uploads[0])
    lessons = [course.tracked_lesson(upload) for upload in uploads[1:]]
    for lesson, upload in zip(lessons, uploads[1:], strict=True):
        assert_published(worker, course, mux, lesson, upload)
    assert_works_on(worker, course, mux)
