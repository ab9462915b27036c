"""Every request that the worker sends, each with what makes a worker send it."""

import json
import signal
from typing import Any

from sandbox.fault_injection import Fault
from sandbox.mux.clock import ManualClock
from sandbox.mux.timeline import Timeline
from tests.e2e.crash_world import Act, Arrange, Site, World, having, nth, query
from worker.backfill import publish

WAITING = Timeline(file_after_seconds=3600, prepare_seconds=0)
"""Its file arrives after an hour of the clock."""

SLOW = Timeline(file_after_seconds=0, prepare_seconds=3600)
BROKEN = Timeline(file_after_seconds=0, prepare_seconds=0, ending="asset_errored")

ASSETS, UPLOADS = "/video/v1/assets", "/video/v1/uploads"
COMMAND = {"PORT": ""}


def rpc(function: str) -> str:
    """Return the path of an SQL function."""
    return f"/rest/v1/rpc/{function}"


# What there is when the worker starts.


def some(world: World) -> None:
    """Track three uploads that are ready and one that is broken: a sweep finds them."""
    world.track(3)
    world.track(1, BROKEN)


def one(world: World) -> None:
    """Track one upload that is ready: it is probed."""
    world.track()


def one_with_asset(world: World) -> None:
    """Track one upload whose asset is known."""
    (lesson,) = world.track()
    world.course.track(
        lesson, world.uploads[lesson], mux_asset_id=world.asset_of(world.uploads[lesson])
    )


def one_waiting(world: World) -> None:
    """Track one upload without a file."""
    world.track(1, WAITING)


def several_waiting(world: World) -> None:
    """Track so many uploads without a file that the list of uploads is read."""
    world.track(4, WAITING)


def on_second_page(world: World) -> None:
    """Track uploads, and create so many assets after theirs that these are on the second page."""
    world.track(4)
    world.mux.state.seed(100)


def one_with_fault(world: World) -> None:
    """Track two uploads, of which Mux fails the requests for one, which has no asset."""
    (lesson,) = world.track(1, WAITING)
    world.track()
    failing = Fault("answer", status=500)
    world.mux.faults.add(failing, path=f"{UPLOADS}/{world.uploads[lesson]}", times=2)


def limited(world: World) -> None:
    """Have Mux answer its first list with 429."""
    some(world)
    world.mux.faults.add(Fault("answer", status=429), path=ASSETS, times=1)


def refused_token(world: World) -> None:
    """Have Mux refuse the token once: the scan releases its rows, and an outage begins."""
    some(world)
    world.mux.faults.add(Fault("answer", status=401), path="/system/v1/whoami", times=1)


def slow_to_settle(world: World) -> None:
    """Have the database exceed its statement timeout when it settles one lesson."""
    one(world)
    error = {"code": "57014", "message": "canceling statement due to statement timeout"}
    timeout = Fault("answer", status=500, body=json.dumps(error))
    world.has_later_rows = True  # it backs off for minutes
    world.supabase.faults.add(timeout, path=rpc("worker_settle"), times=1)


def old_audit(world: World) -> None:
    """Insert audit rows that are older than they are kept."""
    some(world)
    world.db.execute(
        "insert into mux_asset_events (actor, event, lesson_id, tracking_id, happened_at) "
        "select 'test', 'published', gen_random_uuid(), gen_random_uuid(), "
        "now() - interval '1 year' from generate_series(1, 5)"
    )


def untracked(world: World) -> None:
    """Create lessons that name uploads which are not tracked."""
    for _ in range(3):
        upload_id = world.upload()
        lesson = world.course.lesson()
        world.save_form(lesson, f"temp_{upload_id}", f"temp_playback_{upload_id}")
        world.uploads[lesson] = upload_id


def named_asset(world: World) -> None:
    """Save an asset in a lesson whose history does not know it, so that Mux is asked about it."""
    (lesson,) = world.track(1, WAITING)
    upload_id = world.upload()
    asset = world.mux.state.asset(world.asset_of(upload_id))
    world.save_form(lesson, asset.id, asset.playback_ids[0].id)
    world.uploads[lesson] = upload_id


def newer_named(world: World) -> None:
    """Save a newer upload in a lesson than the one that is ready."""
    (lesson,) = world.track()
    upload_id = world.upload()
    world.save_form(lesson, f"temp_{upload_id}", f"temp_playback_{upload_id}")
    world.uploads[lesson] = upload_id


def failed(world: World) -> None:
    """Have a lesson failed although its video is ready."""
    upload_id = world.upload()
    lesson = world.course.tracked_lesson(upload_id, status="error", error_type="gave_up")
    world.uploads[lesson] = upload_id


def left_to_webhooks(world: World) -> None:
    """Track one upload that is ready, and that no scan checks soon."""
    (lesson,) = world.track()
    world.leave_to_webhooks(lesson)


# What is done to the worker, or to what it waits for.

FILES_ARRIVED = ManualClock().now() + 3600


def lesson_path(world: World) -> str:
    """Return the page of the first lesson."""
    return f"/lessons/{next(iter(world.uploads))}"


def send_ready(world: World) -> int | None:
    """Send the event of the first lesson's video."""
    asset_id = world.asset_of(next(iter(world.uploads.values())))
    return world.send_event("video.asset.ready", asset_id)


def let_files_arrive(world: World) -> None:
    """Let the files of all uploads arrive, and the worker look."""
    if world.clock.now() < FILES_ARRIVED:
        world.clock.advance(3600)
    world.course.make_due()


def make_due(world: World) -> None:
    """Make all rows due."""
    world.course.make_due()


def stop(world: World) -> None:
    """Stop the worker as a platform does."""
    world.worker.signal(signal.SIGTERM)


def stop_amid_scan(world: World) -> None:
    """Stop the worker while it waits for Mux."""
    world.mux.faults.add(Fault("hang"), times=1)
    hits = len(world.mux.faults.hits)
    one(world)
    world.mux.faults.wait_for_hits(hits + 1)
    stop(world)


def get(path: str) -> Act:
    """Load a page."""
    return lambda world: world.request("GET", path)


def post(action: str) -> Act:
    """Carry out an operator's action on the first lesson."""
    return lambda world: world.request("POST", f"{lesson_path(world)}/{action}")


def show(world: World) -> int | None:
    """Load the page of the first lesson."""
    return world.request("GET", lesson_path(world))


def call(name: str, arrange: Arrange, act: Act | None = None, **options: Any) -> Site:
    """Return a site at which an SQL function is called."""
    return Site(name, "supabase", rpc(name.partition(" ")[0]), arrange, act, **options)


def command(name: str, arrange: Arrange, *arguments: str, **options: Any) -> Site:
    """Return a site at which a command calls an SQL function."""
    return call(name, arrange, command=arguments, settings=COMMAND, ends=True, **options)


BY_HAND: dict[str, Any] = {"lease_seconds": publish.LEASE_SECONDS}
BACKFILL = ("backfill", "--apply", "--yes")
UNKNOWN_LESSON = "/lessons/00000000-0000-4000-8000-000000000000"

CALLS = (
    call("worker_schema_version", some),
    call("worker_schema_version of /readyz", some, get("/readyz")),
    call("worker_claim", some),
    call("worker_acquire_requests", some),
    call("worker_slow_down", limited),
    call("worker_settle", some),
    call("worker_settle of an event", left_to_webhooks, send_ready),
    call("worker_note_events", left_to_webhooks, send_ready),
    call("worker_record_refusal", slow_to_settle, after=make_due),
    call("worker_release of an outage", refused_token),
    call(
        "worker_release of rows at SIGTERM",
        one,
        stop_amid_scan,
        ends=True,
        settings={"SHUTDOWN_SECONDS": "2"},
    ),
    call(
        "worker_release of the lead at SIGTERM",
        one_waiting,
        stop,
        ends=True,
        after=let_files_arrive,
    ),
    call("worker_summary of an outage", refused_token),
    call("worker_summary of /metrics", some, get("/metrics")),
    call("worker_prune_events", old_audit, is_eager=True),
    call("worker_untracked", untracked, is_eager=True),
    call("worker_adopt", untracked, is_eager=True),
    call("worker_doctor of an adoption", named_asset, is_eager=True),
    call("worker_adopt after Mux's answer", named_asset, is_eager=True, match=nth(2)),
    call("worker_adopt of a newer upload", newer_named, settings={"SCAN_INTERVAL_SECONDS": "1"}),
    call("worker_overview", some, get("/")),
    call("worker_lesson", some, show),
    call("worker_lesson_events", some, get(UNKNOWN_LESSON)),
    call("worker_find_lessons", some, get("/search?q=lesson")),
    call("worker_make_due", left_to_webhooks, post("check")),
    call("worker_retry", failed, post("retry")),
    call("worker_adopt by hand", failed, post("publish"), match=nth(2), **BY_HAND),
    call("worker_publish", failed, post("publish"), **BY_HAND),
    command("worker_backfill_begin", untracked, *BACKFILL),
    command("worker_backfill_candidates", untracked, *BACKFILL),
    command("worker_backfill_progress", untracked, *BACKFILL),
    command("worker_backfill_end", untracked, *BACKFILL),
    command("worker_backfill_failures", untracked, *BACKFILL),
    command("worker_doctor of a backfill", untracked, *BACKFILL),
    command("worker_adopt of a backfill", untracked, *BACKFILL, match=nth(2)),
    command("worker_settle of a backfill", untracked, *BACKFILL),
    command("worker_overview of status", some, "status"),
    command("worker_list_lessons", some, "status", "--waiting"),
    command("worker_failures", failed, "retry", "--all-failed", "--type", "gave_up"),
    command("worker_doctor of the doctor", some, "doctor"),
    command("worker_claim of the doctor", some, "doctor"),
)


def asked(name: str, path: str, arrange: Arrange, **options: Any) -> Site:
    """Return a site at which Mux is asked."""
    return Site(name, "mux", path, arrange, **options)


REQUESTS = (
    asked("check", "/system/v1/whoami", some),
    asked("assets", ASSETS, some, match=query(upload_id=None, limit="100")),
    asked("assets of the second page", ASSETS, on_second_page, match=having("cursor")),
    asked("uploads", UPLOADS, several_waiting, after=let_files_arrive),
    asked("upload", f"{UPLOADS}/*", one_waiting, after=let_files_arrive),
    asked("asset", f"{ASSETS}/*", one_with_asset),
    asked("asset_of", ASSETS, one, match=having("upload_id")),
    asked("control", ASSETS, one_with_fault, match=query(limit="1"), after=let_files_arrive),
)

SITES = CALLS + REQUESTS
