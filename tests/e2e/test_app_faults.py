"""The app changes things at a bad moment, or writes nonsense: what the worker makes of it."""

import threading
from collections.abc import Iterator
from uuid import UUID

import psycopg
import pytest
from aiohttp import web

from sandbox.fault_injection import Fault
from sandbox.mux.server import MuxSimulator
from sandbox.mux.timeline import Timeline
from tests.course import Course
from tests.e2e.evidence import assert_published, assert_works_on, lines, picked, tables
from tests.worker_process import WorkerProcess
from worker.text import quoted
from worker.wording import failure

VIDEO = ("status", "mux_asset_id", "mux_playback_id")


class Gate:
    """Holds Mux's real answer back until somebody opens the gate."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self._opened = threading.Event()

    def __call__(self, _request: web.Request) -> bool:
        """Stand in for a fault's match that never fits, and takes its time to say so."""
        self.reached.set()
        self._opened.wait(20)
        return False

    def open(self) -> None:
        """Let the answer go out, and all others from now on."""
        self._opened.set()


@pytest.fixture
def gate(mux: MuxSimulator) -> Iterator[Gate]:
    """Hold back what Mux says about any asset: the row is claimed then, and not settled."""
    one = Gate()
    mux.faults.add(Fault("answer"), path="/video/v1/assets*", match=one)
    yield one
    one.open()


def _start_up_to(gate: Gate, worker: WorkerProcess) -> None:
    worker.start(MUX_TIMEOUT_SECONDS="20")
    worker.wait_until(gate.reached.is_set)


def test_a_lesson_deleted_in_the_middle_is_nothing_to_talk_about(
    worker: WorkerProcess,
    db: psycopg.Connection,
    course: Course,
    mux: MuxSimulator,
    gate: Gate,
) -> None:
    """Deleted between claim and settle: nothing is written, nothing fails, the others go on."""
    lesson = course.tracked_lesson(mux.state.create_upload())
    upload_id = mux.state.create_upload()
    other = course.tracked_lesson(upload_id)
    _start_up_to(gate, worker)
    db.execute("delete from lessons where id = %s", [lesson])
    gate.open()
    assert_published(worker, course, mux, other, upload_id)
    finished = worker.wait_for("scan.finished")
    counts = picked(finished, "claimed", "published", "unmatched", "released")
    assert counts == (2, 1, 1, 0)
    assert lines(worker, "lesson.failed", "lesson.refused", "lesson.stuck") == []
    assert [row["lesson_id"] for row in tables(db)["tracking"]] == [other]
    assert [event["event"] for event in course.events(lesson)] == ["tracked"]
    assert_works_on(worker, course, mux)


def test_the_old_video_never_lands_once_a_new_one_is_uploaded(
    worker: WorkerProcess, course: Course, mux: MuxSimulator, gate: Gate
) -> None:
    """Uploaded again between claim and settle: the old fact is about no row; the new one counts."""
    lesson = course.tracked_lesson(mux.state.create_upload())
    draft = course.state(lesson)
    _start_up_to(gate, worker)
    new = mux.state.create_upload(Timeline(file_after_seconds=None, prepare_seconds=0))
    course.track(lesson, new)
    gate.open()
    finished = worker.wait_for("scan.finished")
    assert picked(finished, "claimed", "unmatched") == (1, 1)
    assert "published" not in finished

    worker.wait_until(lambda: course.row(lesson)["check_count"] >= 1)
    row = course.row(lesson)
    assert picked(row, "upload_id", *VIDEO) == (new, "processing", None, None)
    assert course.state(lesson) == draft
    mux.state.receive_file(mux.state.upload(new).url_token)
    course.make_due()
    assert_published(worker, course, mux, lesson, new)
    assert [e["event"] for e in course.events(lesson)] == ["tracked", "tracked", "published"]
    assert_works_on(worker, course, mux)


def test_the_same_upload_saved_again_after_publishing_changes_nothing(
    worker: WorkerProcess, course: Course, mux: MuxSimulator
) -> None:
    """The app's upsert says `processing` once more: it is ready all the same, and Mux not asked."""
    upload_id = mux.state.create_upload()
    lesson = course.tracked_lesson(upload_id)
    worker.start()
    assert_published(worker, course, mux, lesson, upload_id)
    asked = len(mux.requests.all())
    before = course.state(lesson), course.events(lesson), course.row(lesson)
    course.track(lesson, upload_id)
    assert_works_on(worker, course, mux)
    row = course.row(lesson)
    assert row["updated_at"] > before[2]["updated_at"]  # the app's own word
    assert (course.state(lesson), course.events(lesson)) == before[:2]
    assert row | {"updated_at": None} == before[2] | {"updated_at": None}
    assert len(mux.requests.all()) == asked + 1  # the asset of the other lesson
    assert len(lines(worker, "lesson.published", lesson_id=str(lesson))) == 1


POISON = {
    "a path": "../assets/x",
    "an escaped path": "%2e%2e%2fassets",
    "nothing": "",
    "a space": "no id",
    "a query": "x?limit=1",
    "a line's end": "abc\n",
    "control characters": "a\x01b\x1b[2J",
    "right-to-left marks": "\u202eabc\u200f",
    "digits of another script": "\uff11\uff12",
    "256 characters": "a" * 256,
    "10,000 characters": "a" * 10_000,
}


def test_what_cannot_be_an_id_fails_alone_and_never_reaches_mux(
    worker: WorkerProcess, course: Course, mux: MuxSimulator
) -> None:
    """Each poison row ends as `invalid_id`; one of 255 characters may be an id: it is asked."""
    lessons = {kind: course.tracked_lesson(text) for kind, text in POISON.items()}
    lessons["an asset"] = course.tracked_lesson("migrated", mux_asset_id="../uploads/x")
    longest = course.tracked_lesson("b" * 255)
    uploads = [mux.state.create_upload() for _ in range(2)]
    good = course.tracked_lesson(uploads[0])
    beside = course.tracked_lesson(uploads[1], mux_asset_id="../assets/y")
    drafts = {kind: course.state(lesson) for kind, lesson in lessons.items()}
    worker.start()
    assert_published(worker, course, mux, good, uploads[0])
    assert_published(worker, course, mux, beside, uploads[1])
    for kind, lesson in lessons.items():
        worker.wait_for("lesson.failed", lesson_id=str(lesson))
        row = course.row(lesson)
        line = lines(worker, "lesson.failed", lesson_id=str(lesson))
        assert picked(row, "status", "error_type") == ("error", "invalid_id")
        assert row["error_message"] == _why(kind)
        asset = {"asset_id": row["mux_asset_id"]} if row["mux_asset_id"] else {}
        assert line == [
            {
                "level": "warning",
                "event": "lesson.failed",
                "lesson_id": str(lesson),
                "upload_id": row["upload_id"][:300],
                **asset,
                "error_type": "invalid_id",
                "message": row["error_message"],
            }
        ]
    assert {kind: course.state(lesson) for kind, lesson in lessons.items()} == drafts
    worker.wait_until(lambda: course.row(longest)["missing_count"] >= 1)
    assert course.row(longest)["status"] == "processing"
    alone = {f"/video/v1/{kind}/{'b' * 255}" for kind in ("uploads", "assets")}
    alone |= {f"/video/v1/assets?limit=2&upload_id={'b' * 255}"}
    asked = {f"{seen.path}?{seen.query}".removesuffix("?") for seen in mux.requests.all()}
    assert asked == {"/system/v1/whoami", "/video/v1/assets?limit=100"} | alone
    assert "\x1b" not in worker.output
    assert_works_on(worker, course, mux)


def _why(kind: str) -> str:
    if kind == "an asset":
        return failure("invalid_id", "Neither an upload nor an asset is known.")
    return failure("invalid_id", f"{quoted(POISON[kind])} cannot be the id of an upload.")


def test_nobody_gets_the_video_of_another_instructor(
    worker: WorkerProcess, course: Course, mux: MuxSimulator
) -> None:
    """Who tracked it first has it; a name in the asset of a lesson that never had it is no harm."""
    berts = course.lesson(course.bert)
    named = {
        "nothing": mux.state.create_upload(),
        "her own lesson": mux.state.create_upload(passthrough=str(course.lesson())),
        "a lesson of his": mux.state.create_upload(external_id=str(berts)),
        "no lesson": mux.state.create_upload(passthrough="a title"),
    }
    hers = {name: course.tracked_lesson(upload_id) for name, upload_id in named.items()}
    copies = [course.tracked_lesson(upload_id, course.bert) for upload_id in named.values()]
    drafts = [course.state(copy) for copy in copies]
    worker.start()
    for name, lesson in hers.items():
        assert_published(worker, course, mux, lesson, named[name])
    for copy in copies:
        _assert_mismatch(worker, course, mux, copy)
    assert [course.state(copy) for copy in copies] == drafts
    assert_works_on(worker, course, mux)


def _assert_mismatch(
    worker: WorkerProcess, course: Course, mux: MuxSimulator, lesson: UUID
) -> None:
    worker.wait_for("lesson.failed", lesson_id=str(lesson))
    row = course.row(lesson)
    message = failure("lesson_mismatch")
    names = ("status", "error_type", "error_message", "mux_playback_id")
    assert picked(row, *names) == ("error", "lesson_mismatch", message, None)
    assert lines(worker, "lesson.failed", lesson_id=str(lesson)) == [
        {
            "level": "warning",
            "event": "lesson.failed",
            "lesson_id": str(lesson),
            "upload_id": row["upload_id"],
            "asset_id": mux.state.upload(row["upload_id"]).asset_id,
            "error_type": "lesson_mismatch",
            "message": message,
        }
    ]
