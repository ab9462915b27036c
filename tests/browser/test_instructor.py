"""The report's cases in a real browser, with the real worker."""

from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import psycopg
import pytest
from playwright.sync_api import BrowserContext, Dialog, expect

from sandbox.app.server import SampleApp
from sandbox.fault_injection import Fault
from sandbox.mux.clock import ManualClock
from sandbox.mux.server import MuxSimulator
from sandbox.mux.timeline import Asset
from sandbox.supabase.stack import LocalSupabase
from tests.browser.instructor import (
    CUT_OFF,
    REFUSAL,
    VIDEO,
    Instructor,
    big_file,
    playback_id,
    status,
    video,
)
from tests.course import Course
from tests.worker_process import WorkerProcess
from worker.wording import failure

pytestmark = pytest.mark.stack

GIVEN_UP = failure("upload_timed_out")
BROKEN = failure("asset_errored", "Mux says: invalid_input: The input file is not a video.")
PROCESSING = "The video is being processed. You may close this tab."
WAITS_FOR_FILE = (
    "The video is being processed. "
    "If the page was closed before the file was sent, upload it again."
)
STUCK = "The video has been processing for more than half an hour."
NEWER = (
    "the lesson has a newer video than this one. To go back to the older video, delete the "
    "lesson's row of mux_asset_tracking, then publish again."
)


@pytest.fixture
def mux(driven_mux: MuxSimulator) -> MuxSimulator:
    """Return a Mux whose clock the test moves."""
    return driven_mux


@pytest.fixture(autouse=True)
def running(sample_app: SampleApp, worker: WorkerProcess) -> WorkerProcess:
    """Run the worker."""
    return worker.start()


@pytest.fixture
def stage(
    db: psycopg.Connection, course: Course, mux: MuxSimulator, mux_clock: ManualClock
) -> "Stage":
    """Return Mux and the database behind the page."""
    return Stage(db, course, mux, mux_clock)


class Stage:
    """Mux, and the database behind the page."""

    def __init__(
        self, db: psycopg.Connection, course: Course, mux: MuxSimulator, clock: ManualClock
    ) -> None:
        self._db = db
        self._course = course
        self._mux = mux
        self._clock = clock

    def pass_time(self, seconds: float) -> None:
        """Move Mux's clock forward and make the rows due."""
        self._clock.advance(seconds)
        self._course.make_due()

    def asset(self, title: str) -> Asset:
        """Return the asset of the lesson's upload."""
        row = self._db.execute(
            "select t.upload_id from lessons l join mux_asset_tracking t on t.lesson_id = l.id "
            "where l.title = %s",
            [title],
        ).fetchone()
        assert row is not None
        return self._mux.state.asset(self._mux.state.upload(row[0]).asset_id or "")

    def progress(self, title: str) -> int | None:
        """Return how far the worker knows the lesson's video to be encoded, in per cent."""
        row = self._db.execute(
            "select s.progress from lessons l join mux_asset_tracking t on t.lesson_id = l.id "
            "join mux_private.schedule s on s.tracking_id = t.id where l.title = %s",
            [title],
        ).fetchone()
        return None if row is None else row[0]

    def stop_tracking(self, title: str) -> None:
        """Delete the lesson's tracking row, as the app does to go back to an older video."""
        self._db.execute(
            "delete from mux_asset_tracking t using lessons l "
            "where l.id = t.lesson_id and l.title = %s",
            [title],
        )

    def lesson(self, title: str) -> dict[str, Any]:
        """Read a lesson's status and ids."""
        row = self._db.execute(
            "select status, mux_asset_id, mux_playback_id from lessons where title = %s", [title]
        ).fetchone()
        assert row is not None
        return dict(zip(("status", "asset", "playback"), row, strict=True))


def test_a_lesson_is_published_when_its_video_is_ready(
    anna: Instructor, running: WorkerProcess, stage: Stage
) -> None:
    """Created with a file it is a draft in processing, then published with the real id."""
    card = anna.create("Scales", "plays", description="For beginners", price="9.99")
    expect(status(card)).to_have_text("Draft")
    expect(video(card)).to_have_text(PROCESSING)
    expect(playback_id(card)).to_be_hidden()
    stage.pass_time(8)
    running.wait_for("lesson.published")
    anna.look()
    expect(status(card)).to_have_text("Published")
    expect(video(card)).to_have_text("The video is ready.")
    asset = stage.asset("Scales")
    playback = asset.playback_ids[0].id
    expect(playback_id(card)).to_be_hidden()
    card.get_by_text("Mux ids").click()
    expect(playback_id(card)).to_be_visible()
    expect(playback_id(card)).to_have_text(playback)
    expect(card).to_contain_text(f"https://stream.mux.com/{playback}.m3u8")
    expect(card).to_contain_text("For beginners")
    expect(card).to_contain_text("Price 9.99")
    assert stage.lesson("Scales") == {
        "status": "published",
        "asset": asset.id,
        "playback": playback,
    }
    assert anna.unexpected() == []


def test_a_broken_file_shows_why(anna: Instructor, running: WorkerProcess, stage: Stage) -> None:
    """A lesson whose file is broken stays a draft with Mux's message; a new file publishes it."""
    card = anna.create("Chords", "broken")
    expect(video(card)).to_have_text(PROCESSING)
    stage.pass_time(4)
    running.wait_for("lesson.failed", error_type="asset_errored")
    anna.look()
    expect(video(card)).to_have_text(BROKEN)
    expect(status(card)).to_have_text("Draft")
    anna.upload(card, "plays")
    expect(video(card)).to_have_text(PROCESSING)
    stage.pass_time(8)
    running.wait_for("lesson.published")
    anna.look()
    expect(status(card)).to_have_text("Published")
    assert anna.unexpected() == []


def test_the_second_upload_wins_while_the_first_is_encoded(
    anna: Instructor, running: WorkerProcess, stage: Stage
) -> None:
    """After a second upload the first video does not publish the lesson; the second does."""
    card = anna.create("Arpeggios", "plays")
    expect(video(card)).to_have_text(PROCESSING)
    first = stage.asset("Arpeggios")
    stage.pass_time(4)
    anna.upload(card, "plays")
    expect(video(card)).to_have_text(PROCESSING)
    second = stage.asset("Arpeggios")
    assert second.id != first.id
    stage.pass_time(5)  # the first is ready now, the second is not
    running.wait_for("scan.finished", claimed=1, waiting=1)
    anna.look()
    expect(status(card)).to_have_text("Draft")
    stage.pass_time(3)
    running.wait_for("lesson.published")
    anna.look()
    expect(playback_id(card)).to_have_text(second.playback_ids[0].id)
    assert anna.unexpected() == []


def test_a_tab_closed_while_the_file_is_sent_loses_no_lesson(
    anna: Instructor,
    running: WorkerProcess,
    stage: Stage,
    mux: MuxSimulator,
    tmp_path: Path,
) -> None:
    """An upload without a file is tracked; it is shown after a reload, and it fails.

    The browser asks before it leaves the page while the file is on its way, and only then.
    """
    asked: list[str] = []

    def leave(dialog: Dialog) -> None:
        asked.append(dialog.type)
        dialog.accept()

    anna.page.on("dialog", leave)
    mux.faults.add(Fault("hang"), method="PUT", path="/direct-uploads/*")
    card = anna.create("Trills", "plays", file=big_file(tmp_path))
    expect(video(card)).to_have_text("Uploading the file to Mux. Keep this page open.")
    bar = card.get_by_role("progressbar", name="Sent of “Trills”")
    expect(bar).to_be_visible()
    expect(bar).not_to_have_attribute("value", "0")
    assert 0 < float(bar.get_attribute("value") or 0) < 1
    expect(card.locator("[data-part=done]")).to_contain_text("% of 64 MB")
    running.wait_until(lambda: bool(mux.state.uploads()))
    assert stage.lesson("Trills")["status"] == "draft"
    mux.faults.clear()

    anna.page.reload()  # the user stays logged in
    card = anna.card("Trills")
    expect(video(card)).to_have_text(WAITS_FOR_FILE)
    assert asked == ["beforeunload"]
    expect(status(card)).to_have_text("Draft")
    stage.pass_time(61)
    running.wait_for("lesson.failed", error_type="upload_timed_out")
    anna.look()
    expect(video(card)).to_have_text(GIVEN_UP)
    anna.upload(card, "plays")
    expect(video(card)).to_have_text(PROCESSING)
    stage.pass_time(8)
    running.wait_for("lesson.published")
    anna.look()
    expect(status(card)).to_have_text("Published")
    anna.page.reload()
    expect(status(card)).to_have_text("Published")
    assert asked == ["beforeunload"]
    assert anna.unexpected(CUT_OFF) == []


def test_a_tab_closed_while_mux_encodes_is_not_missed(
    anna: Instructor,
    running: WorkerProcess,
    stage: Stage,
    sample_app: SampleApp,
    new_window: Callable[..., BrowserContext],
) -> None:
    """The lesson is published while no page is open, and another browser shows it."""
    expect(video(anna.create("Octaves", "plays"))).to_have_text(PROCESSING)
    anna.page.close()
    stage.pass_time(8)
    running.wait_for("lesson.published")
    elsewhere = Instructor(new_window(), sample_app).log_in("Anna")
    card = elsewhere.card("Octaves")
    expect(status(card)).to_have_text("Published")
    expect(video(card)).to_have_text("The video is ready.")
    expect(playback_id(card)).to_have_text(stage.asset("Octaves").playback_ids[0].id)


def test_an_abandoned_upload_ends(anna: Instructor, running: WorkerProcess, stage: Stage) -> None:
    """Without a file the lesson fails after Mux's timeout, with a message."""
    card = anna.create("Left alone", "abandoned")
    expect(video(card)).to_contain_text("No file was sent")
    stage.pass_time(61)
    running.wait_for("lesson.failed", error_type="upload_timed_out")
    anna.look()
    expect(video(card)).to_have_text(GIVEN_UP)
    expect(status(card)).to_have_text("Draft")
    assert anna.unexpected() == []


def test_a_stuck_lesson_is_published_by_hand_before_its_video(
    anna: Instructor, running: WorkerProcess, stage: Stage
) -> None:
    """After half an hour the instructor can publish manually; the playback id follows."""
    card = anna.create("Rhythm", "stuck")
    expect(video(card)).to_have_text(PROCESSING)
    expect(card.get_by_test_id("manual-publish-control")).to_be_hidden()
    running.wait_until(lambda: bool(stage.asset("Rhythm")))
    stage.pass_time(1)
    running.wait_for("scan.finished", waiting=1)
    card.get_by_role("button", name="Let half an hour pass").click()
    expect(video(card)).to_have_text(STUCK)
    card.get_by_role("button", name="Publish manually").click()
    answer = card.get_by_test_id("publish-success-message")
    expect(answer).to_have_text("Published. The video follows when it is ready.")
    expect(status(card)).to_have_text("Published")
    expect(card.get_by_test_id("manual-publish-control")).to_be_hidden()
    expect(playback_id(card)).to_be_hidden()
    asset = stage.asset("Rhythm")
    asset.timeline = replace(asset.timeline, prepare_seconds=0)
    stage.pass_time(1)
    running.wait_for("lesson.attached")
    anna.look()
    expect(playback_id(card)).to_have_text(asset.playback_ids[0].id)
    assert anna.unexpected() == []


def test_a_stuck_lesson_goes_back_to_the_video_it_has_on_purpose_only(
    anna: Instructor, running: WorkerProcess, stage: Stage
) -> None:
    """An unpublished lesson with a new upload is not published with its old video.

    The refusal says how to go back: once the row of the new video is deleted, it is.
    """
    card = anna.create("Cadences", "plays")
    expect(video(card)).to_have_text(PROCESSING)
    stage.pass_time(8)
    running.wait_for("lesson.published")
    anna.look()
    old = stage.asset("Cadences").playback_ids[0].id
    expect(playback_id(card)).to_have_text(old)
    card.get_by_role("button", name="Unpublish").click()
    expect(status(card)).to_have_text("Draft")
    anna.upload(card, "stuck")
    expect(video(card)).to_have_text(PROCESSING)
    card.get_by_role("button", name="Let half an hour pass").click()
    expect(video(card)).to_have_text(STUCK)
    card.get_by_role("button", name="Publish manually").click()
    expect(card.get_by_role("alert")).to_have_text(NEWER)
    expect(status(card)).to_have_text("Draft")
    stage.stop_tracking("Cadences")
    card.get_by_role("button", name="Publish manually").click()
    expect(card.get_by_test_id("publish-success-message")).to_have_text("Published.")
    expect(status(card)).to_have_text("Published")
    expect(playback_id(card)).to_have_text(old)
    assert anna.unexpected(REFUSAL) == []


def test_a_stuck_lesson_without_a_video_is_refused(anna: Instructor, stage: Stage) -> None:
    """Without a file manual publishing is refused, and the message says what to do."""
    card = anna.create("Nothing yet", "abandoned")
    card.get_by_role("button", name="Let half an hour pass").click()
    expect(video(card)).to_contain_text("No file was sent")
    button = card.get_by_test_id("manual-publish-button")
    button.click()
    refusal = "the lesson has no video yet. Upload one and track its upload."
    expect(card.get_by_role("alert")).to_have_text(refusal)
    expect(status(card)).to_have_text("Draft")
    expect(button).to_be_focused()
    assert stage.lesson("Nothing yet") == {"status": "draft", "asset": None, "playback": None}
    assert anna.unexpected(REFUSAL) == []


def test_a_second_instructor_sees_no_drafts(
    anna: Instructor,
    running: WorkerProcess,
    stage: Stage,
    sample_app: SampleApp,
    new_window: Callable[..., BrowserContext],
) -> None:
    """Bert can read what Anna published, and sees none of her drafts."""
    anna.create("Secret draft")
    card = anna.create("Open lesson", "plays")
    expect(video(card)).to_have_text(PROCESSING)
    bert = Instructor(new_window(), sample_app).log_in("Bert")
    expect(bert.page.locator("#no-others")).to_be_visible()
    stage.pass_time(8)
    running.wait_for("lesson.published")
    bert.look()
    playback = stage.asset("Open lesson").playback_ids[0].id
    other = bert.page.locator("#others li")
    expect(other).to_have_text([f"Open lesson by Anna Playback id {playback}"])
    expect(other.locator("code")).to_be_hidden()
    other.locator("summary").click()
    bert.look()
    expect(other.locator("code")).to_be_visible()
    assert bert.own == []
    assert "Secret draft" not in bert.page.content()
    assert bert.unexpected() == []


def test_a_refused_file_is_sent_again(
    anna: Instructor, mux: MuxSimulator, mux_clock: ManualClock
) -> None:
    """If Mux refuses an upload, the file is sent to a new one, and need not be chosen again.

    Meanwhile the page does not say that the tab may be closed.
    """
    mux.faults.add(Fault("answer", status=403), method="PUT", path="/direct-uploads/*", times=1)
    card = anna.create("Scales", "plays")
    expect(card.get_by_role("alert")).to_have_text("Mux did not accept the file: HTTP 403.")
    expect(video(card)).to_have_text("The file has not arrived at Mux.")
    card.get_by_role("button", name="Try again").click()
    expect(video(card)).to_have_text(PROCESSING)
    expect(card.get_by_role("alert")).to_be_hidden()
    statuses = [upload.status(mux_clock.now()) for upload in mux.state.uploads()]
    assert statuses == ["asset_created", "waiting"]
    assert anna.unexpected(REFUSAL) == []


def test_a_file_is_sent_through_interruptions(
    anna: Instructor, mux: MuxSimulator, mux_clock: ManualClock, tmp_path: Path
) -> None:
    """UpChunk sends in pieces; what is cut off, refused or lost is sent again, and arrives once."""
    file = tmp_path / "scales.mp4"
    file.write_bytes(bytes(range(256)) * (20 * 2**20 // 256))
    path = "/direct-uploads/*"
    cut = Fault("cut", after_bytes=3 * 2**20)
    for fault in (cut, Fault("answer", status=503), Fault("drop_reply")):
        mux.faults.add(fault, method="PUT", path=path, times=1)
    clock = anna.page.clock
    clock.pause_at(anna.page.evaluate("Date.now()") / 1000 + 60)  # until the page has said so
    card = anna.create("Scales", "plays", file=file)
    mux.faults.wait_for_hits(1)
    interrupted = "The connection to Mux was interrupted. The page tries again."
    expect(video(card)).to_have_text(interrupted)
    clock.resume()  # Chromium itself repeats a lost reply on a kept connection: the page sees none
    expect(video(card)).to_have_text(PROCESSING)
    (upload,) = mux.state.uploads()
    assert upload.status(mux_clock.now()) == "asset_created"
    assert upload.file is not None
    assert upload.file.sha256 == sha256(file.read_bytes()).hexdigest()
    sent = [r.status for r in mux.requests.all() if r.route.startswith("PUT /direct")]
    assert sent == [None, 503, None, 308, 308, 200]
    assert anna.unexpected(CUT_OFF, REFUSAL) == []


def test_a_file_waits_while_the_browser_is_offline(
    anna: Instructor, mux: MuxSimulator, mux_clock: ManualClock, tmp_path: Path
) -> None:
    """The page says that it is offline, and then goes on by itself, with the piece that was cut.

    A piece that is still on its way when the browser is online again is not mixed with the next.
    """
    file = tmp_path / "scales.mp4"
    file.write_bytes(bytes(range(256)) * (20 * 2**20 // 256))
    cut = Fault("drop_reply", delay_seconds=2)
    mux.faults.add(cut, method="PUT", path="/direct-uploads/*", times=1)
    card = anna.create("Scales", "plays", file=file)
    mux.faults.wait_for_hits(1)
    anna.page.context.set_offline(True)
    banner = anna.page.locator("#problem")
    expect(banner).to_have_text("You are offline. This page continues when you are online again.")
    expect(video(card)).to_have_text(
        "You are offline. The upload continues when you are online again."
    )
    anna.page.context.set_offline(False)
    expect(banner).to_be_hidden()
    expect(video(card)).to_have_text(PROCESSING)
    (upload,) = mux.state.uploads()
    assert upload.status(mux_clock.now()) == "asset_created"
    assert upload.file is not None
    assert upload.file.sha256 == sha256(file.read_bytes()).hexdigest()
    assert anna.unexpected(CUT_OFF) == []


def test_an_empty_file_is_not_sent(anna: Instructor, mux: MuxSimulator) -> None:
    """The page says that the file is empty, and creates no upload."""
    card = anna.create("Scales", "plays", file={**VIDEO, "buffer": b""})
    expect(card.get_by_role("alert")).to_have_text("The file is empty. Choose another file.")
    assert mux.state.uploads() == []


def test_the_encoding_is_shown(anna: Instructor, running: WorkerProcess, stage: Stage) -> None:
    """While Mux encodes, a bar shows how far it is, also after a reload."""
    card = anna.create("Scales", "plays")
    expect(video(card)).to_have_text(PROCESSING)
    bar = card.get_by_role("progressbar", name="Encoded of “Scales”")
    expect(bar).to_be_visible()
    stage.pass_time(4)
    running.wait_until(lambda: stage.progress("Scales") == 50)
    anna.look()
    expect(card.locator("[data-part=done]")).to_have_text("50%")
    assert bar.get_attribute("value") == "0.5"
    anna.page.reload()
    expect(card.locator("[data-part=done]")).to_have_text("50%")
    expect(video(card)).to_have_text(PROCESSING)
    stage.pass_time(4)
    running.wait_for("lesson.published")
    anna.look()
    expect(bar).to_be_hidden()
    expect(card.locator("[data-part=media]")).to_have_text("0:24 · 1080p · 16:9")
    assert anna.unexpected() == []


def test_without_mux_the_lesson_waits_for_its_upload(
    anna: Instructor, mux: MuxSimulator, stage: Stage, supabase: LocalSupabase
) -> None:
    """If Mux creates no upload, the lesson exists and the file can be sent again.

    Beside a problem, the page does not say that the tab may be closed.
    """
    mux.faults.add(Fault("answer", status=500), method="POST")
    card = anna.create("Scales", "plays")
    expect(card.get_by_role("alert")).to_have_text(
        "The upload did not start: Mux answered with HTTP 500. Try again in a moment."
    )
    assert stage.lesson("Scales")["status"] == "draft"
    mux.faults.clear()
    card.get_by_role("button", name="Try again").click()
    expect(video(card)).to_have_text(PROCESSING)
    supabase.faults.add(Fault("answer", 503, '{"message": "down"}'), path="/rest/v1/lessons")
    anna.look()
    expect(video(card)).to_have_text("The video is being processed.")
    supabase.faults.clear()
    anna.look()
    expect(video(card)).to_have_text(PROCESSING)
    assert anna.unexpected(REFUSAL) == []
