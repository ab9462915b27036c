"""The snippets of docs/app.md with the real supabase-js, against the stack and the worker."""

import json
import re
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest

from sandbox.fault_injection import Fault
from sandbox.mux.clock import ManualClock
from sandbox.mux.server import MuxSimulator
from sandbox.mux.timeline import AT_ONCE, Timeline
from sandbox.mux.webhooks import event_data, event_json, scheduled_events, signature
from sandbox.supabase.stack import LocalSupabase
from sandbox.supabase.typegen import TYPES, database_types
from tests.conftest import ANNA, BERT
from tests.course import Course
from tests.integration.supabase_js import MISSING, PAGE, SNIPPET, App, lay_out, translate
from tests.worker_process import WorkerProcess
from worker.wording import failure

pytestmark = [
    pytest.mark.stack,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
]

CHECK = "/rest/v1/rpc/check_asset_status"
HALF_A_MINUTE = Timeline(file_after_seconds=0, prepare_seconds=30)
BROKEN = Timeline(file_after_seconds=0, prepare_seconds=0, ending="asset_errored")

RECORD_CHANGES = """
    create schema webhooks;
    create table webhooks.changes (id int generated always as identity, body jsonb);
    create function webhooks.record_change() returns trigger
    language plpgsql security definer set search_path = '' as $$
    begin
      insert into webhooks.changes (body) values (jsonb_build_object(
        'type', 'UPDATE', 'schema', tg_table_schema, 'table', tg_table_name,
        'record', to_jsonb(new), 'old_record', to_jsonb(old)));
      return null;
    end $$;
    create trigger record_changes after update on public.mux_asset_tracking
      for each row execute function webhooks.record_change()
"""
"""Record what a Database Webhook sends, in place of sending it."""

NO_SUCH_LESSON = {
    "status": 404,
    "code": "PT404",
    "message": "there is no such lesson of yours",
    "hint": None,
}
NO_UPLOAD_ID = {
    "status": 400,
    "code": "PT400",
    "message": "upload_id is not the id of a Mux upload",
    "hint": "It is the id that Mux gave when the upload was created, "
    "not its URL and not a temp_ id.",
}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the snippets in a directory of their own."""
    directory = tmp_path_factory.mktemp("app")
    lay_out(directory)
    return directory


@pytest.fixture(scope="module")
def types(directory: Path) -> str:
    """Translate them, and give what is wrong with their types."""
    return translate(directory)


@pytest.fixture(scope="module")
def translated(directory: Path, types: str, shared_supabase: LocalSupabase) -> Iterator[App]:
    """Give the app, translated, for the tests of this file."""
    app = App(directory, shared_supabase)
    yield app
    app.close()


@pytest.fixture
def changes(db: psycopg.Connection) -> Iterator[Callable[[], list[str]]]:
    """Give a function that returns all changes of tracking rows, as a Database Webhook has them."""
    db.execute(RECORD_CHANGES)
    yield lambda: [
        body
        for (body,) in db.execute("select body::text from webhooks.changes order by id").fetchall()
    ]
    db.execute("drop schema webhooks cascade")


@pytest.fixture
def app(translated: App, supabase: LocalSupabase) -> Iterator[App]:
    """Give the app with empty tables; what it still plays ends with the test."""
    yield translated
    translated.drop_scene()


def status(name: str, **others: Any) -> dict[str, Any]:
    """Give what check_asset_status answers, of a video that nobody has looked at yet."""
    usual = {
        "playbackId": None, "error": None, "stuck": False, "progress": None, "checkedAt": None,
        "durationSeconds": None, "aspectRatio": None, "maxResolution": None,
    }  # fmt: skip
    return {"status": name, **usual, **others}


def timed(answer: dict[str, Any]) -> dict[str, Any]:
    """Give an answer of check_asset_status with its time read."""
    return {**answer, "checkedAt": datetime.fromisoformat(answer["checkedAt"])}


def test_every_snippet_has_a_name_and_fits_the_types_of_supabase_js(types: str) -> None:
    """All TypeScript of the page is checked against supabase-js and React, strictly."""
    assert len(SNIPPET.findall(PAGE)) == len(re.findall(r"^```tsx?\b", PAGE, re.MULTILINE)) > 0
    assert types == ""


def test_a_lesson_is_published_while_its_instructor_watches(
    app: App, worker: WorkerProcess, course: Course, mux: MuxSimulator, supabase: LocalSupabase
) -> None:
    """Create, track, watch: the draft ends published, with the ids that Mux gave, for anybody."""
    clock = mux.state.clock = ManualClock()
    upload_id = mux.state.create_upload(HALF_A_MINUTE)
    (created,) = app.play("create")
    lesson = UUID(created["id"])
    assert created["status"] == "draft"
    assert app.play("check", lesson=lesson) == status("unknown")
    assert app.play("track", lesson=lesson, upload=upload_id) == status("processing")

    supabase.requests.clear()
    watching = app.begin("watch", lesson=lesson)
    worker.start()
    worker.wait_until(lambda: course.row(lesson)["check_count"] >= 1)
    worker.wait_until(lambda: supabase.requests.count(CHECK) >= 2)
    clock.advance(30)
    course.make_due()
    watched = app.end(watching)

    asset = mux.state.assets(upload_id=upload_id)[0]
    playback_id = asset.playback_ids[0].id
    *before, last = watched["seen"]
    assert {answer["status"] for answer in before} == {"processing"}
    assert timed(last) == status(
        "ready",
        playbackId=playback_id,
        checkedAt=course.row(lesson)["settled_at"],
        durationSeconds=23.8238,
        aspectRatio="16:9",
        maxResolution="1080p",
    )
    assert watched["end"] is None
    assert app.play("lesson", user=None, lesson=lesson) == [
        {"status": "published", "mux_asset_id": asset.id, "mux_playback_id": playback_id}
    ]


def test_the_apps_server_creates_an_upload_for_the_owner_alone(
    app: App, course: Course, mux: MuxSimulator
) -> None:
    """With mux-node: for the app's origin, with a policy and the lesson's id; else 404 or 401."""
    lesson = course.lesson()
    made = app.play("make_upload", lesson=lesson, mux=mux)
    (upload,) = mux.state.uploads()
    url = f"{mux.url}/direct-uploads/{upload.url_token}"
    assert made == {"status": 201, "body": {"id": upload.id, "url": url}}
    assert upload.cors_origin == "https://app.example"
    assert (upload.settings.policies, upload.settings.passthrough) == (("public",), str(lesson))
    refused = {
        BERT: {"status": 404, "body": {"message": NO_SUCH_LESSON["message"], "hint": None}},
        None: {
            "status": 401,
            "body": {"message": "permission denied for function check_asset_status", "hint": None},
        },
    }
    for user, answer in refused.items():
        assert app.play("make_upload", user, lesson=lesson, mux=mux) == answer
    assert mux.state.uploads() == [upload]


def test_the_typed_client_reads_the_users_own_lessons(app: App, course: Course) -> None:
    """Each lesson comes with the status of its video, null without one; the newest is first."""
    failed = course.tracked_lesson("up1", status="error", error_message="It is broken.")
    bare = course.lesson(title="Bare")
    course.lesson(BERT, status="published")
    own = app.play("own", header=ANNA)
    assert [lesson.pop("title") == "Bare" for lesson in own] == [True, False]
    video = {"status": "error", "error_message": "It is broken."}
    columns = {"status": "draft", "mux_playback_id": None}
    assert own == [
        {"id": str(bare), **columns, "mux_asset_tracking": None},
        {"id": str(failed), **columns, "mux_asset_tracking": video},
    ]


def test_the_types_are_those_of_the_database(supabase: LocalSupabase) -> None:
    """docs/database.types.ts is what Supabase's generator writes; else run `make types`."""
    assert database_types(supabase.dsn()) == TYPES.read_text()


def test_following_asks_at_once_and_at_every_change(app: App, course: Course) -> None:
    """Over Realtime: when the subscription stands, and for each change of the lesson's own row."""
    lesson = course.tracked_lesson("up1")
    followed = app.play("follow", lesson=lesson)
    assert followed["seen"] == [status("processing")] * 2
    (asked,) = followed["filters"]
    assert asked == {
        "event": "*",
        "schema": "public",
        "table": "mux_asset_tracking",
        "filter": f"lesson_id=eq.{lesson}",
    }


def test_the_app_is_notified_of_a_failure_and_of_a_publication(
    app: App,
    changes: Callable[[], list[str]],
    worker: WorkerProcess,
    course: Course,
    mux: MuxSimulator,
) -> None:
    """Of all changes of the row, as a Database Webhook sends them, two are news."""
    lesson = course.lesson()
    for timeline in (BROKEN, AT_ONCE):
        app.play("track", lesson=lesson, upload=mux.state.create_upload(timeline))
        assert worker.start("scan").wait() == 0
    settled = [app.play("settled", body=change, mux=mux) for change in changes()]
    message = failure("asset_errored", "Mux says: invalid_input: The input file is not a video.")
    assert len(settled) > 2
    assert [news for one in settled for news in one["news"]] == [
        {"lessonId": str(lesson), "status": "error", "message": message},
        {"lessonId": str(lesson), "status": "ready", "message": None},
    ]
    assert {tuple(one["statuses"]) for one in settled} == {(204, 401)}


def test_muxs_own_library_takes_the_simulated_mux_for_mux(app: App, mux: MuxSimulator) -> None:
    """mux-node creates and reads uploads, assets and playback ids, also page by page."""
    other = mux.state.seed(1)[0]
    mux.state.timeline_for_clients = Timeline(file_after_seconds=None, prepare_seconds=0)
    seen = app.play("mux_node", mux=mux)
    upload, asset = seen["upload"], seen["asset"]
    assert (upload["id"], upload["status"]) == (seen["made"]["id"], "asset_created")
    assert (asset["id"], asset["status"]) == (upload["asset_id"], "ready")
    assert (asset["upload_id"], asset["passthrough"]) == (upload["id"], "a lesson")
    assert [one["policy"] for one in asset["playback_ids"]] == ["public"]
    assert seen["refused"] == 403
    assert seen["listed"] == [asset["id"], other.asset_id]
    assert seen["uploads"] == [upload["id"], other.upload_id]
    owner = {"type": "asset", "id": asset["id"]}
    assert seen["found"] == {"id": seen["added"]["id"], "policy": "signed", "object": owner}
    assert (seen["lost"], seen["gone"]) == (404, 404)


def test_muxs_own_library_accepts_the_simulated_webhooks(app: App, mux: MuxSimulator) -> None:
    """mux-node unwraps an event with the right secret, and refuses another and an old one."""
    mux.state.create_upload(AT_ONCE)
    event = next(one for one in scheduled_events(mux.state) if one.type == "video.asset.ready")
    body = json.dumps(event_json(event.type, event.at, event_data(event), mux.state))
    now = time.time()
    fresh, old = (signature("secret", at, body.encode()) for at in (now, now - 3600))
    unwrapped = app.play("unwrap", mux_secret="secret", body=body, header=fresh)
    assert unwrapped == json.loads(body)
    assert "No signatures found" in app.play("unwrap", mux_secret="x", body=body, header=fresh)
    assert "too old" in app.play("unwrap", mux_secret="secret", body=body, header=old)


def test_a_stuck_lesson_is_published_by_hand_and_its_playback_id_follows(
    app: App, worker: WorkerProcess, course: Course, mux: MuxSimulator
) -> None:
    """It is not playable at once; the worker writes the playback id when Mux has it ready."""
    clock = mux.state.clock = ManualClock()
    upload_id = mux.state.create_upload(HALF_A_MINUTE)
    lesson = course.lesson()
    app.play("track", lesson=lesson, upload=upload_id)
    assert worker.start("scan").wait() == 0
    course.backdate(lesson, 31 * 60)
    asset = mux.state.assets(upload_id=upload_id)[0]
    checked_at = course.row(lesson)["last_checked_at"]
    assert timed(app.play("check", lesson=lesson)) == status(
        "processing", stuck=True, progress=0, checkedAt=checked_at
    )

    assert app.play("publish", lesson=lesson) == {"playable": False}
    by_hand = {"status": "published", "mux_asset_id": asset.id, "mux_playback_id": None}
    assert app.play("lesson", lesson=lesson) == [by_hand]

    clock.advance(30)
    assert worker.start("scan").wait() == 0
    playback_id = asset.playback_ids[0].id
    assert app.play("lesson", lesson=lesson) == [{**by_hand, "mux_playback_id": playback_id}]
    assert app.play("publish", lesson=lesson) == {"playable": True}


def test_a_video_that_fails_says_why_and_cannot_be_published(
    app: App, worker: WorkerProcess, course: Course, mux: MuxSimulator
) -> None:
    """The instructor reads Mux's own words; publishing by hand is 409; a new upload mends it."""
    lesson = course.lesson()
    app.play("track", lesson=lesson, upload=mux.state.create_upload(BROKEN))
    worker.start()
    worker.wait_for("lesson.failed", lesson_id=str(lesson))
    row = course.row(lesson)
    message = failure("asset_errored", "Mux says: invalid_input: The input file is not a video.")
    why = {"message": message, "type": "asset_errored"}
    assert timed(app.play("check", lesson=lesson)) == status(
        "error", error=why, checkedAt=row["settled_at"]
    )
    assert app.play("publish", lesson=lesson) == {
        "status": 409,
        "code": "PT409",
        "message": "the video cannot be played",
        "hint": message,
    }
    again = app.play("track", lesson=lesson, upload=mux.state.create_upload(AT_ONCE))
    assert again == status("processing")
    assert app.play("watch", lesson=lesson)["seen"][-1]["status"] == "ready"


@pytest.mark.parametrize("scene", ["track", "check", "publish"])
def test_a_lesson_of_another_is_not_found_and_nobody_without_a_session_is_let_in(
    app: App, supabase: LocalSupabase, course: Course, scene: str
) -> None:
    """404 for a lesson that is not there or is another's; 401 with no token or an old one."""
    hers = course.tracked_lesson("up1")
    names = {"track": "track_upload", "check": "check_asset_status", "publish": "publish_lesson"}
    nowhere = "00000000-0000-4000-8000-000000000000"
    assert app.play(scene, lesson=nowhere, upload="up2") == NO_SUCH_LESSON
    assert app.play(scene, BERT, lesson=hers, upload="up2") == NO_SUCH_LESSON
    assert app.play(scene, None, lesson=hers, upload="up2") == {
        "status": 401,
        "code": "42501",
        "message": f"permission denied for function {names[scene]}",
        "hint": None,
    }
    expired = supabase.user_token(ANNA, lifetime_seconds=-60)
    late = app.play(scene, lesson=hers, upload="up2", token=expired)
    assert (late["status"], late["code"]) == (401, "PGRST301")
    assert course.row(hers)["upload_id"] == "up1"


def test_what_cannot_be_meant_is_refused_with_the_reason(app: App, course: Course) -> None:
    """400 for ids that are missing or malformed, and for a lesson without a real asset."""
    lesson = course.lesson()
    temporary = course.lesson(mux_asset_id="temp_up1")
    for upload in ("", "temp_up1", "https://storage.example/up1"):
        assert app.play("track", lesson=lesson, upload=upload) == NO_UPLOAD_ID
    assert app.play("track", lesson="nonsense", upload="up1") == NO_SUCH_LESSON
    assert app.play("publish", lesson=lesson) == {
        "status": 400,
        "code": "PT400",
        "message": "the lesson has no video yet",
        "hint": "Upload one and track its upload.",
    }
    assert app.play("publish", lesson=temporary) == {
        "status": 400,
        "code": "PT400",
        "message": "the lesson has only a temporary asset id",
        "hint": "Track its upload: the lesson is published when the video is ready.",
    }
    assert app.play("check", lesson=lesson) == status("unknown")


@pytest.mark.parametrize("scene", ["track", "check", "publish"])
def test_a_call_without_a_lesson_says_what_is_missing(app: App, scene: str) -> None:
    """What a variable that is undefined leaves out is 400, not "no such function"."""
    answer = app.play(scene, upload="up1")
    assert (answer["status"], answer["code"]) == (400, "PT400")
    assert "needs lesson_id" in answer["message"]


def test_the_reports_own_upsert_goes_on_working(
    app: App, worker: WorkerProcess, course: Course, mux: MuxSimulator
) -> None:
    """As it stands in the report, first and again; the worker publishes the lesson."""
    lesson, upload_id = course.lesson(), mux.state.create_upload()
    assert app.play("upsert", lesson=lesson, upload="up1") == {"status": 201}
    assert app.play("upsert", lesson=lesson, upload=upload_id) == {"status": 200}
    refused = app.play("upsert", BERT, lesson=lesson, upload="up3")
    assert (refused["status"], refused["code"]) == (403, "42501")
    assert worker.start("scan").wait() == 0
    (published,) = app.play("lesson", lesson=lesson)
    assert published["mux_playback_id"] == course.row(lesson)["mux_playback_id"]
    assert published["status"] == "published"


def test_what_is_the_workers_cannot_be_written_by_the_app(app: App, course: Course) -> None:
    """The report's update-asset is 403, and so is saying that a video is ready."""
    lesson = course.tracked_lesson("up1")
    before = course.row(lesson)
    assert app.play("update_asset", lesson=lesson) == {
        "status": 403,
        "code": "42501",
        "message": "permission denied for table mux_asset_tracking",
        "hint": None,
    }
    assert app.play("say_ready", lesson=lesson) == {
        "status": 403,
        "code": "42501",
        "message": "status ready is the worker's to write",
        "hint": "Write processing: the worker looks at the upload and says what became of it.",
    }
    assert course.row(lesson) == before


def test_another_instructor_sees_nothing(app: App, course: Course) -> None:
    """Rows, audit and the draft itself do not exist for who is not their instructor."""
    lesson = course.tracked_lesson("up1")
    hers = {"tracking": [{"lesson_id": str(lesson)}], "events": [{"event": "tracked"}]}
    assert app.play("read") == hers
    assert app.play("read", BERT) == {"tracking": [], "events": []}
    assert app.play("lesson", BERT, lesson=lesson) == []


def test_watching_slows_down_and_goes_on_until_it_is_stopped(app: App, course: Course) -> None:
    """Looks at once, then after 5 s and half as long again each time, up to 30 s."""
    lesson = course.tracked_lesson("up1")
    assert app.play("watch_eight_times", lesson=lesson) == {
        "end": None,
        "seen": [status("processing")] * 8,
        "pauses": [5000, 7500, 11250, 16875, 25312.5, 30000, 30000, 30000],
    }


def test_watching_lives_through_an_outage_but_not_through_a_refusal(
    app: App, course: Course, supabase: LocalSupabase
) -> None:
    """Errors of the server and the network pass; what is wrong with the call ends it at once."""
    lesson = course.tracked_lesson("up1", status="error")
    supabase.faults.add(Fault("answer", status=503, body="busy"), path=CHECK, times=1)
    supabase.faults.add(Fault("reset"), path=CHECK, times=1)
    watched = app.play("watch", lesson=lesson)
    assert watched["pauses"] == [5000, 7500]
    assert [seen["status"] for seen in watched["seen"]] == ["error"]
    refused = app.play("watch", BERT, lesson=lesson)
    assert refused == {"end": NO_SUCH_LESSON, "seen": [], "pauses": []}
