"""The report's way by hand, from a browser, with the running worker behind it."""

from typing import Any
from uuid import UUID

import psycopg
import pytest

from sandbox.mux.clock import ManualClock
from sandbox.mux.server import MuxSimulator
from sandbox.mux.timeline import Timeline
from sandbox.supabase.stack import LocalSupabase
from tests.course import Course
from tests.e2e.evidence import assert_published, assert_works_on, lines, picked, published_line
from tests.sql.instructor import Browser
from tests.worker_process import WorkerProcess
from tests.worker_role import WITH_BOTH_KEYS

pytestmark = pytest.mark.stack

CLAIM = "/rest/v1/rpc/worker_claim"
VIDEO = ("status", "mux_asset_id", "mux_playback_id")


@pytest.fixture
def browser(supabase: LocalSupabase, course: Course) -> Browser:
    """Give Anna's browser, in which she is signed in."""
    return Browser(supabase, supabase.user_token(course.anna))


def by_hand(browser: Browser, lesson: UUID) -> tuple[int, Any]:
    """Press the button."""
    return browser.call("publish_lesson", lesson_id=str(lesson))


def status(browser: Browser, lesson: UUID) -> tuple[Any, ...]:
    """Poll as the report's hook does; give status, playback id and the type of the error."""
    code, result = browser.call("check_asset_status", lesson_id=str(lesson))
    assert code == 200
    return result["status"], result["playbackId"], (result["error"] or {}).get("type")


def assert_attached(
    worker: WorkerProcess, course: Course, mux: MuxSimulator, lesson: UUID, upload_id: str
) -> dict[str, Any]:
    """Wait until the worker has given a lesson its video; it must be told of once, as attached."""
    worker.wait_for("lesson.attached", lesson_id=str(lesson))
    result = published_line(mux, lesson, upload_id) | {"event": "lesson.attached"}
    assert lines(worker, "lesson.attached", "lesson.published", lesson_id=str(lesson)) == [result]
    ids = (result["asset_id"], result["playback_id"])
    assert picked(course.state(lesson), *VIDEO) == ("published", *ids)
    assert picked(course.row(lesson), *VIDEO) == ("ready", *ids)
    return result


@WITH_BOTH_KEYS
def test_a_lesson_published_by_hand_gets_its_playback_id_from_the_worker(
    worker: WorkerProcess,
    course: Course,
    mux: MuxSimulator,
    browser: Browser,
    supabase: LocalSupabase,
    db: psycopg.Connection,
    key_role: str,
) -> None:
    """The next look was an hour away; the button makes it the next scan's."""
    clock = mux.state.clock = ManualClock()
    upload_id = mux.state.create_upload(Timeline(file_after_seconds=0, prepare_seconds=30))
    lesson = course.lesson(
        mux_asset_id=f"temp_{upload_id}", mux_playback_id=f"temp_playback_{upload_id}"
    )
    tracked = {"lesson_id": str(lesson), "upload_id": upload_id}
    assert browser.call("track_upload", **tracked)[0] == 200
    assert by_hand(browser, lesson) == (400, "the lesson has only a temporary asset id")
    worker.start()
    worker.wait_until(lambda: course.row(lesson)["mux_asset_id"] is not None)
    db.execute("update mux_private.schedule set next_check_at = now() + interval '1 hour'")
    # The scan under way may have claimed the row before: it ends before the next claim but one.
    claims = supabase.requests.count(CLAIM)
    worker.wait_until(lambda: supabase.requests.count(CLAIM) >= claims + 2)
    clock.advance(30)

    assert by_hand(browser, lesson) == (200, {"playable": False})
    result = assert_attached(worker, course, mux, lesson, upload_id)
    assert by_hand(browser, lesson) == (200, {"playable": True})
    assert status(browser, lesson) == ("ready", result["playback_id"], None)
    happened = [picked(e, "event", "reason", "actor") for e in course.events(lesson)]
    assert happened == [
        ("tracked", None, str(course.anna)),
        ("waiting", "asset_preparing", key_role),
        ("published", "by_hand", str(course.anna)),
        ("attached", "asset_ready", key_role),
    ]
    assert_works_on(worker, course, mux)


def test_a_lesson_that_nothing_tracked_gets_its_playback_id_from_the_worker(
    worker: WorkerProcess, course: Course, mux: MuxSimulator, browser: Browser
) -> None:
    """All that was known is its real asset; a temporary playback id is replaced."""
    (video,) = mux.state.seed(1)
    lesson = course.lesson(mux_asset_id=video.asset_id, mux_playback_id="temp_playback_1")
    worker.start()
    assert status(browser, lesson) == ("unknown", None, None)
    assert by_hand(browser, lesson) == (200, {"playable": False})
    worker.wait_for("lesson.attached", lesson_id=str(lesson))
    ids = (video.asset_id, video.playback_ids[0])
    assert picked(course.state(lesson), *VIDEO) == ("published", *ids)
    assert status(browser, lesson) == ("ready", video.playback_ids[0], None)
    assert_works_on(worker, course, mux)


def test_a_lesson_that_was_given_up_is_looked_at_again(
    worker: WorkerProcess, course: Course, mux: MuxSimulator, browser: Browser
) -> None:
    """The asset became ready after all."""
    (video,) = mux.state.seed(1)
    lesson = course.lesson()
    asset = {"mux_asset_id": video.asset_id, "status": "error", "error_type": "gave_up"}
    course.track(lesson, video.upload_id, **asset)
    worker.start()
    assert by_hand(browser, lesson) == (200, {"playable": False})
    assert_attached(worker, course, mux, lesson, video.upload_id)
    assert_works_on(worker, course, mux)


def test_a_broken_video_is_refused_until_another_is_uploaded(
    worker: WorkerProcess, course: Course, mux: MuxSimulator, browser: Browser
) -> None:
    """Then the new upload is published without the button."""
    broken = mux.state.create_upload(Timeline(0, 0, ending="asset_errored"))
    lesson = course.tracked_lesson(broken)
    worker.start()
    worker.wait_for("lesson.failed", lesson_id=str(lesson))
    assert status(browser, lesson) == ("error", None, "asset_errored")
    assert by_hand(browser, lesson) == (409, "the video cannot be played")
    assert course.state(lesson)["status"] == "draft"

    upload_id = mux.state.create_upload()
    tracked = {"lesson_id": str(lesson), "upload_id": upload_id}
    assert browser.call("track_upload", **tracked)[0] == 200
    assert_published(worker, course, mux, lesson, upload_id)
    assert_works_on(worker, course, mux)
