"""The road of webhooks: the real worker, the real stack, and a Mux that tells by itself."""

import http.client
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest

from sandbox.fault_injection import Fault
from sandbox.http_server import free_port
from sandbox.mux.clock import ManualClock
from sandbox.mux.responses import asset_json
from sandbox.mux.server import MuxSimulator
from sandbox.mux.state import MuxState
from sandbox.mux.timeline import Timeline
from sandbox.mux.webhooks import MuxWebhooks, event_json, post_webhook, signature
from sandbox.supabase.stack import LocalSupabase
from tests.course import Course
from tests.e2e.evidence import picked, published_line
from tests.e2e.test_two_workers import due_at_once
from tests.worker_process import WorkerProcess
from tests.worker_role import WITH_BOTH_KEYS
from worker.wording import FAILURES, failure

pytestmark = pytest.mark.stack

SECRET = "the-webhook-secret"
PATH = "/webhooks/mux"


@dataclass
class Hooked:
    """A worker that takes webhooks, and its port."""

    worker: WorkerProcess
    mux: MuxSimulator
    port: int

    @property
    def url(self) -> str:
        """The address that Mux's webhooks are pointed at."""
        return f"http://127.0.0.1:{self.port}{PATH}"

    def send(self, kind: str, asset_id: str, secret: str = SECRET) -> int | None:
        """Send the event of an asset as Mux would; give the status of the answer."""
        return self.post(self.event(kind, asset_id), secret)

    def event(self, kind: str, asset_id: str, state: MuxState | None = None) -> dict[str, Any]:
        """Give the event of an asset as it is now, to be sent later."""
        state = state or self.mux.state
        now = state.clock.now()
        return event_json(kind, now, asset_json(state.asset(asset_id), now), state)

    def post(self, result: dict[str, Any], secret: str = SECRET) -> int | None:
        """Send an event as Mux would; give the status of the answer."""
        body = json.dumps(result).encode()
        return post_webhook(
            f"127.0.0.1:{self.port}", PATH, body, signature(secret, time.time(), body)
        )

    def get(self, path: str) -> tuple[int, str]:
        """Ask the worker something."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=45)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def asset_of(self, upload_id: str) -> str:
        """Give the asset that an upload became."""
        return self.mux.state.upload(upload_id).asset_id or ""

    @contextmanager
    def telling(self, **how: Any) -> Iterator[MuxWebhooks]:
        """Let Mux tell of all that happens meanwhile."""
        with MuxWebhooks(self.mux.state, self.url, SECRET, **how) as webhooks:
            yield webhooks


@pytest.fixture
def hooked(worker: WorkerProcess, mux: MuxSimulator) -> Hooked:
    """Give a worker that takes webhooks and has scanned once."""
    port = free_port()
    worker.start(PORT=str(port), HOST="127.0.0.1", MUX_WEBHOOK_SECRET=f"old,{SECRET}")
    worker.wait_for("scan.finished")
    return Hooked(worker, mux, port)


@pytest.fixture
def arriving(db: psycopg.Connection) -> None:
    """Let webhooks have arrived just now, so that the scan leaves new uploads to them."""
    db.execute("update mux_private.worker_state set events_at = now()")


def settled(course: Course, lesson: UUID) -> tuple[Any, ...]:
    """Give where lesson and row stand."""
    row = course.row(lesson)
    return course.state(lesson)["status"], row["status"], row["error_type"]


def source(course: Course, lesson: UUID) -> str:
    """Give the source of the fact that settled a lesson last."""
    result: str = course.events(lesson)[-1]["observation"]["source"]
    return result


@WITH_BOTH_KEYS
def test_a_lesson_is_published_when_its_event_is_answered(
    hooked: Hooked, course: Course, arriving: None
) -> None:
    """With the right video, the same log line as a scan's, and no request to Mux at all."""
    upload = hooked.mux.state.create_upload()
    lesson = course.tracked_lesson(upload)
    hooked.mux.requests.clear()
    assert hooked.send("video.asset.ready", hooked.asset_of(upload)) == 200
    assert settled(course, lesson) == ("published", "ready", None)
    result = published_line(hooked.mux, lesson, upload)
    names = ("asset_id", "playback_id")
    state = course.state(lesson)
    assert (state["mux_asset_id"], state["mux_playback_id"]) == picked(result, *names)
    line = hooked.worker.wait_for("lesson.published", lesson_id=str(lesson))
    assert {name: line[name] for name in result} == result
    assert source(course, lesson) == "webhook"
    assert sum(hooked.mux.requests.by_route().values()) == 0


@pytest.mark.parametrize("how", [{}, {"copies": 3}, {"newest_first": True}])
def test_mux_tells_of_every_ending(
    hooked: Hooked, course: Course, arriving: None, how: dict[str, Any]
) -> None:
    """Once, thrice, or in the wrong order: each lesson ends as its upload did."""
    quick = {"file_after_seconds": 0.3, "prepare_seconds": 0.3}
    with hooked.telling(**how):
        lessons = {}
        for ending in ("ready", "asset_errored", "upload_errored", "cancelled"):
            timeline = Timeline(ending=ending, **quick)  # type: ignore[arg-type]
            lessons[ending] = course.tracked_lesson(hooked.mux.state.create_upload(timeline))
        hooked.worker.wait_for("lesson.published")
        hooked.worker.wait_for("lesson.failed", times=3)
    assert {ending: settled(course, lesson) for ending, lesson in lessons.items()} == {
        "ready": ("published", "ready", None),
        "asset_errored": ("draft", "error", "asset_errored"),
        "upload_errored": ("draft", "error", "upload_errored"),
        "cancelled": ("draft", "error", "upload_cancelled"),
    }
    reason = course.row(lessons["upload_errored"])["error_message"]
    said = "Mux says: invalid_input: The input file is not a video."
    assert reason == failure("upload_errored", said)
    assert len([e for e in course.events(lessons["ready"]) if e["event"] == "published"]) == 1


def test_while_webhooks_arrive_a_lesson_that_encodes_costs_no_request(
    hooked: Hooked, course: Course, supabase: LocalSupabase, arriving: None
) -> None:
    """From its upload to its video, also where encoding takes longer than the first minute."""
    clock = hooked.mux.state.clock = ManualClock()
    upload = hooked.mux.state.create_upload(Timeline(file_after_seconds=5, prepare_seconds=240))
    lesson = course.tracked_lesson(upload)
    hooked.mux.requests.clear()

    def pass_time(seconds: float) -> None:
        next_check_at = course.row(lesson)["next_check_at"] - timedelta(seconds=seconds)
        course.reschedule(lesson, next_check_at=next_check_at)
        clock.advance(seconds)

    def scans() -> int:
        return supabase.requests.count("/rest/v1/rpc/worker_claim")

    with hooked.telling():
        pass_time(5)
        hooked.worker.wait_until(
            lambda: course.row(lesson)["mux_asset_id"] == hooked.asset_of(upload)
        )
        pass_time(200)  # the minute in which it began is over
        before = scans()
        hooked.worker.wait_until(lambda: scans() >= before + 3)
        pass_time(40)
        hooked.worker.wait_for("lesson.published", lesson_id=str(lesson))
    assert source(course, lesson) == "webhook"
    assert sum(hooked.mux.requests.by_route().values()) == 0


def test_an_event_before_its_row_is_not_lost(hooked: Hooked, course: Course) -> None:
    """The app tracks the upload only after Mux has told of it: the scan finds it."""
    upload = hooked.mux.state.create_upload()
    assert hooked.send("video.asset.ready", hooked.asset_of(upload)) == 200
    lesson = course.tracked_lesson(upload)
    course.backdate(lesson, 60)
    hooked.worker.wait_for("lesson.published", lesson_id=str(lesson))
    assert source(course, lesson) in ("probe", "sweep")


def test_nobody_but_mux_publishes(hooked: Hooked, course: Course, arriving: None) -> None:
    """A signature of another secret is refused with 401, and the lesson stays a draft."""
    upload = hooked.mux.state.create_upload()
    lesson = course.tracked_lesson(upload)
    assert hooked.send("video.asset.ready", hooked.asset_of(upload), secret="guessed") == 401
    assert post_webhook(f"127.0.0.1:{hooked.port}", PATH, b"{}", None) == 401
    assert settled(course, lesson) == ("draft", "processing", None)
    assert hooked.send("video.asset.ready", hooked.asset_of(upload), secret="old") == 200
    assert settled(course, lesson) == ("published", "ready", None)


def test_an_old_event_does_not_overwrite_what_is_newer(
    hooked: Hooked, course: Course, arriving: None
) -> None:
    """After a new upload the event of the old one, late or repeated, is about no lesson."""
    first, second = hooked.mux.state.create_upload(), hooked.mux.state.create_upload()
    lesson = course.tracked_lesson(first)
    assert hooked.send("video.asset.ready", hooked.asset_of(first)) == 200
    course.track(lesson, second)
    assert hooked.send("video.asset.ready", hooked.asset_of(second)) == 200
    after = course.state(lesson)
    for _ in range(2):
        assert hooked.send("video.asset.ready", hooked.asset_of(first)) == 200
        assert hooked.send("video.asset.deleted", hooked.asset_of(first)) == 200
    assert course.state(lesson) == after
    assert after["mux_asset_id"] == hooked.asset_of(second)
    assert hooked.worker.events("lesson.unplayable") == []


@WITH_BOTH_KEYS
def test_the_deletion_of_a_published_video_is_told(
    hooked: Hooked, course: Course, arriving: None
) -> None:
    """As a warning, in the row, in the audit, and in the numbers, once."""
    upload = hooked.mux.state.create_upload()
    lesson = course.tracked_lesson(upload)
    assert hooked.send("video.asset.ready", hooked.asset_of(upload)) == 200
    for _ in range(2):
        assert hooked.send("video.asset.deleted", hooked.asset_of(upload)) == 200
    line = hooked.worker.wait_for("lesson.unplayable")
    names = ("level", "lesson_id", "error_type", "message")
    assert [line[name] for name in names] == [
        "warning", str(lesson), "asset_deleted", FAILURES["asset_deleted"],
    ]  # fmt: skip
    assert len(hooked.worker.events("lesson.unplayable")) == 1
    assert settled(course, lesson) == ("published", "ready", "asset_deleted")
    assert [e["event"] for e in course.events(lesson)] == ["tracked", "published", "unplayable"]
    counted = 'mux_worker_outcomes_total{outcome="unplayable",source="webhook"} 1.0'
    assert counted in hooked.get("/metrics")[1]


def test_a_lesson_that_somebody_holds_is_left_due(
    hooked: Hooked, course: Course, supabase: LocalSupabase, arriving: None
) -> None:
    """The event is answered with 200 all the same, since the scan will see to it."""
    upload = hooked.mux.state.create_upload()
    lesson = course.tracked_lesson(upload)
    with supabase.connect(autocommit=False) as holder:
        holder.execute("select from lessons where id = %s for update", [lesson])
        assert hooked.send("video.asset.ready", hooked.asset_of(upload)) == 200
        assert settled(course, lesson)[1] == "processing"
        holder.rollback()
    course.make_due(lesson)
    hooked.worker.wait_for("lesson.published", lesson_id=str(lesson))


def test_an_event_in_an_outage_of_supabase_comes_again(
    hooked: Hooked, course: Course, supabase: LocalSupabase, arriving: None
) -> None:
    """It is answered with 503 within Mux's 5 s, and when Mux repeats it the lesson is published."""
    upload = hooked.mux.state.create_upload()
    lesson = course.tracked_lesson(upload)
    supabase.faults.add(Fault("hang"))
    assert hooked.send("video.asset.ready", hooked.asset_of(upload)) == 503  # None after 5 s
    supabase.faults.clear()
    assert hooked.send("video.asset.ready", hooked.asset_of(upload)) == 200
    assert settled(course, lesson) == ("published", "ready", None)


def test_health_stays_good_in_an_outage(
    hooked: Hooked, supabase: LocalSupabase, mux: MuxSimulator
) -> None:
    """A restart would not help, so /healthz is 200 and /readyz says what is out."""
    assert (hooked.get("/healthz")[0], hooked.get("/readyz")[0]) == (200, 200)
    supabase.faults.add(Fault("answer", status=503, body="down"))
    hooked.worker.wait_for("supabase.unavailable")
    hooked.worker.wait_until(lambda: hooked.get("/readyz")[0] == 503)
    assert json.loads(hooked.get("/readyz")[1])["reason"].startswith("Supabase: ")
    assert hooked.get("/healthz")[0] == 200


def test_the_port_is_open_before_the_first_scan(
    worker: WorkerProcess, mux: MuxSimulator, supabase: LocalSupabase
) -> None:
    """While the first pass hangs in Supabase, health is told and webhooks are answered."""
    supabase.faults.add(Fault("hang"))
    port = free_port()
    worker.start(PORT=str(port), HOST="127.0.0.1", MUX_WEBHOOK_SECRET=SECRET)
    worker.wait_for("web.listening")
    hooked = Hooked(worker, mux, port)
    assert hooked.get("/healthz")[0] == 200
    assert worker.events("scan.finished") == []


def test_without_a_port_none_is_open(worker: WorkerProcess) -> None:
    """The worker listens nowhere, and does not even load a server."""
    worker.start_python(MUX_WEBHOOK_SECRET=SECRET)
    worker.wait_for("scan.finished")
    assert worker.events("web.listening") == []
    with open(f"/proc/{worker.pid}/maps") as maps:  # noqa: PTH123
        assert "aiohttp" not in maps.read()


@pytest.mark.parametrize("with_port", [True, False])
def test_the_health_command_says_what_health_is(
    worker: WorkerProcess, environment: dict[str, str], tmp_path: Path, with_port: bool
) -> None:
    """0 while the worker works; 1 with a reason before it has begun and when it is gone."""
    settings = {"PORT": str(free_port()), "HOST": "127.0.0.1"} if with_port else {}
    settings |= {"TMPDIR": str(tmp_path)}
    asking = WorkerProcess(environment)

    def asked() -> tuple[int, str]:
        asking.start("health", **settings)
        code = asking.wait()
        return code, asking.output.splitlines()[-1]

    assert asked()[0] == 1
    worker.start(**settings)
    worker.wait_for("scan.finished")
    worker.wait_until(lambda: with_port or any(f.stat().st_size for f in tmp_path.iterdir()))
    assert asked() == (0, "The worker works.")
    assert worker.stop() == 0
    assert asked()[0] == 1


def waits_for_a_lock(db: psycopg.Connection, function: str) -> bool:
    """Whether a call of a function waits for another transaction."""
    waiting = (
        "select exists (select from pg_stat_activity where datname = current_database() "
        "and wait_event_type = 'Lock' and query like %s)"
    )
    return db.execute(waiting.encode(), [f"%{function}%"]).fetchone() == (True,)


def test_a_worker_that_stops_answers_what_is_under_way(
    hooked: Hooked, course: Course, supabase: LocalSupabase, db: psycopg.Connection, arriving: None
) -> None:
    """An event that came before SIGTERM is settled and answered, and the worker ends with 0."""
    upload = hooked.mux.state.create_upload()
    lesson = course.tracked_lesson(upload)
    with supabase.connect(autocommit=False) as holder:
        holder.execute("lock table mux_private.worker_state")
        body = json.dumps(
            event_json(
                "video.asset.ready",
                time.time(),
                asset_json(hooked.mux.state.asset(hooked.asset_of(upload)), time.time()),
                hooked.mux.state,
            )
        ).encode()
        connection = http.client.HTTPConnection("127.0.0.1", hooked.port, timeout=45)
        header = {"mux-signature": signature(SECRET, time.time(), body)}
        connection.request("POST", PATH, body, header)
        hooked.worker.wait_until(lambda: waits_for_a_lock(db, "worker_settle"))
        os.kill(hooked.worker.pid, signal.SIGTERM)
        holder.rollback()
    with closing(connection):
        assert connection.getresponse().status == 200
    assert settled(course, lesson) == ("published", "ready", None)
    assert hooked.worker.wait() == 0


def test_the_doctor_sends_itself_events(
    hooked: Hooked, environment: dict[str, str], course: Course
) -> None:
    """The running worker takes the signed one, refuses the forged one, and publishes nothing."""
    lesson = course.tracked_lesson("nothing")
    asking = WorkerProcess(environment)
    settings = {"PORT": str(hooked.port), "HOST": "127.0.0.1", "MUX_WEBHOOK_SECRET": SECRET}
    asking.start("doctor", "--json", **settings)
    asking.wait()
    (check,) = [c for c in json.loads(asking.output) if c["name"] == "webhook"]
    assert check["health"] == "ok", check
    assert course.state(lesson)["status"] == "draft"


def test_a_deletion_that_meets_a_locked_row_is_to_be_sent_again(
    hooked: Hooked, course: Course, supabase: LocalSupabase
) -> None:
    """And no event of another lesson is."""
    lessons, assets = [], []
    for _ in range(2):
        upload = hooked.mux.state.create_upload()
        lessons.append(course.tracked_lesson(upload))
        assets.append(hooked.asset_of(upload))
        assert hooked.send("video.asset.ready", assets[-1]) == 200
    with closing(supabase.connect(autocommit=False)) as holder:
        holder.execute(
            "select from mux_asset_tracking where lesson_id = %s for update", [lessons[0]]
        )
        assert hooked.send("video.asset.deleted", assets[0]) == 503
        assert hooked.send("video.asset.deleted", assets[1]) == 200
    assert hooked.send("video.asset.deleted", assets[0]) == 200
    for lesson in lessons:
        hooked.worker.wait_for("lesson.unplayable", lesson_id=str(lesson))
    hooked.worker.wait_for("webhook.rejected", reason="locked")


def test_a_deletion_that_meets_a_lock_on_a_copy_of_its_id_is_to_be_sent_again(
    hooked: Hooked, course: Course, supabase: LocalSupabase
) -> None:
    """The lesson that plays the video says so at once all the same, and only once."""
    upload = hooked.mux.state.create_upload()
    lesson, asset = course.tracked_lesson(upload), hooked.asset_of(upload)
    assert hooked.send("video.asset.ready", asset) == 200
    course.tracked_lesson(asset, course.bert)
    with closing(supabase.connect(autocommit=False)) as holder:
        holder.execute(
            "select from mux_private.upload_history where mux_id = %s for update", [asset]
        )
        assert hooked.send("video.asset.deleted", asset) == 503
        assert settled(course, lesson) == ("published", "ready", "asset_deleted")
    assert hooked.send("video.asset.deleted", asset) == 200
    assert len(hooked.worker.events("lesson.unplayable")) == 1


def test_an_event_of_a_failed_lesson_that_is_locked_is_to_be_sent_again(
    hooked: Hooked, course: Course, supabase: LocalSupabase
) -> None:
    """Since no scan looks at it; then the lesson is published."""
    upload = hooked.mux.state.create_upload()
    lesson = course.tracked_lesson(upload, status="error")
    with closing(supabase.connect(autocommit=False)) as holder:
        holder.execute("select from mux_asset_tracking for update")
        assert hooked.send("video.asset.ready", hooked.asset_of(upload)) == 503
    assert hooked.send("video.asset.ready", hooked.asset_of(upload)) == 200
    assert settled(course, lesson) == ("published", "ready", None)


def replace_playback_id(mux: MuxSimulator, asset_id: str) -> tuple[str, str]:
    """Give an asset another playback id; return the old one and the new one."""
    (old,) = mux.state.asset(asset_id).playback_ids
    new = mux.state.add_playback_id(asset_id)
    mux.state.remove_playback_id(asset_id, old.id)
    return old.id, new.id


@pytest.mark.parametrize("how", [{}, {"copies": 3}, {"newest_first": True}])
@WITH_BOTH_KEYS
def test_a_published_lesson_follows_its_replaced_playback_id(
    hooked: Hooked, course: Course, arriving: None, how: dict[str, Any]
) -> None:
    """Once, whatever the events' order, and however late an old one comes."""
    upload = hooked.mux.state.create_upload()
    lesson, asset = course.tracked_lesson(upload), hooked.asset_of(upload)
    old_event = hooked.event("video.asset.ready", asset)
    assert hooked.post(old_event) == 200
    with hooked.telling(**how):
        _, new = replace_playback_id(hooked.mux, asset)
        line = hooked.worker.wait_for("lesson.updated", lesson_id=str(lesson))
    assert line["playback_id"] == new
    after = course.state(lesson)
    assert (after["status"], after["mux_playback_id"]) == ("published", new)

    def looks() -> int:
        return hooked.mux.requests.by_route()["GET /video/v1/assets/{asset_id}"]

    before = looks()
    assert hooked.post(old_event) == 200
    hooked.worker.wait_until(lambda: looks() > before)
    hooked.worker.wait_until(lambda: course.row(lesson)["next_check_at"] is None)
    assert course.state(lesson) == after
    assert len(hooked.worker.events("lesson.updated")) == 1
    assert source(course, lesson) == "webhook"  # of the old event, which had it looked at again


def test_a_lesson_whose_playback_id_was_withdrawn_says_so_until_one_comes_back(
    hooked: Hooked, course: Course, arriving: None
) -> None:
    """In the log and the row, with a sentence; the lesson is left as it is."""
    upload = hooked.mux.state.create_upload()
    lesson, asset = course.tracked_lesson(upload), hooked.asset_of(upload)
    assert hooked.send("video.asset.ready", asset) == 200
    before = course.state(lesson)
    (old,) = hooked.mux.state.asset(asset).playback_ids
    with hooked.telling():
        hooked.mux.state.remove_playback_id(asset, old.id)
        line = hooked.worker.wait_for("lesson.unplayable", lesson_id=str(lesson))
        assert line["message"] == FAILURES["playback_ids_withdrawn"]
        assert course.state(lesson) == before
        assert settled(course, lesson) == ("published", "ready", "playback_ids_withdrawn")
        new = hooked.mux.state.add_playback_id(asset)
        hooked.worker.wait_for("lesson.updated", playback_id=new.id)
    assert settled(course, lesson) == ("published", "ready", None)


def test_a_page_that_passes_finds_a_replaced_playback_id(
    worker: WorkerProcess, mux: MuxSimulator, course: Course, supabase: LocalSupabase
) -> None:
    """Without webhooks: what the list says of a published lesson has it looked at once more."""
    upload = mux.state.create_upload()
    lesson = course.tracked_lesson(upload)
    worker.start()
    worker.wait_for("lesson.published", lesson_id=str(lesson))
    _, new = replace_playback_id(mux, mux.state.upload(upload).asset_id or "")
    due_at_once(supabase, mux, 4)  # too many to be probed one by one
    line = worker.wait_for("lesson.updated", lesson_id=str(lesson))
    assert (line["playback_id"], course.state(lesson)["mux_playback_id"]) == (new, new)


def test_events_of_another_mux_environment_do_not_slow_our_lessons(
    hooked: Hooked, course: Course, db: psycopg.Connection
) -> None:
    """They are answered and told once, and new uploads are looked at as without webhooks."""
    first = course.tracked_lesson(hooked.mux.state.create_upload())
    hooked.worker.wait_for("lesson.published", lesson_id=str(first))
    elsewhere = MuxState()
    for _ in range(2):
        asset = elsewhere.create_asset()
        assert hooked.post(hooked.event("video.asset.ready", asset, elsewhere)) == 200
    line = hooked.worker.wait_for("webhook.wrong_environment")
    names = ("level", "environment", "recorded")
    assert [line[name] for name in names] == [
        "warning", elsewhere.environment_id, hooked.mux.state.environment_id,
    ]  # fmt: skip
    assert len(hooked.worker.events("webhook.wrong_environment")) == 1
    assert db.execute("select events_at from mux_private.worker_state").fetchone() == (None,)
    lesson = course.tracked_lesson(hooked.mux.state.create_upload())
    hooked.worker.wait_for("lesson.published", lesson_id=str(lesson))
    assert source(course, lesson) == "probe"
