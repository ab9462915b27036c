"""A worker with lessons to publish, one of its requests that goes wrong, and what Mux asks for."""

import base64
import http.client
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal
from uuid import UUID

import psycopg
from aiohttp import web

from sandbox.fault_injection import Fault, FaultKind, Faults, Match
from sandbox.mux.clock import ManualClock
from sandbox.mux.responses import asset_json
from sandbox.mux.server import MuxSimulator
from sandbox.mux.timeline import AT_ONCE, Timeline
from sandbox.mux.webhooks import event_json, post_webhook, signature
from sandbox.supabase.stack import LocalSupabase
from tests.course import Course
from tests.e2e.evidence import picked
from tests.worker_process import WorkerProcess

INTERVAL_SECONDS, LEASE_SECONDS = 0.2, 1.0

SECRET, TOKEN = "the-webhook-secret", "the-operator's-token"
SETTINGS = {
    "SCAN_INTERVAL_SECONDS": str(INTERVAL_SECONDS),
    "LEASE_SECONDS": str(LEASE_SECONDS),
    "MUX_WEBHOOK_SECRET": SECRET,
    "OPS_TOKEN": TOKEN,
    "OPERATOR": "ines",
}
VIDEO = ("status", "mux_asset_id", "mux_playback_id")

Server = Literal["supabase", "mux"]


@dataclass(frozen=True)
class Crash:
    """What happens at a request; with `kills` its worker dies of it."""

    name: str
    kind: FaultKind
    kills: bool = False

    def fault(self, kill: Callable[[], None]) -> Fault:
        """Return the fault that does it."""
        return Fault(self.kind, before_reset=kill) if self.kills else Fault(self.kind)


CRASHES = (
    Crash("killed before", "reset", kills=True),
    Crash("killed after", "drop_reply", kills=True),
    Crash("reply lost", "drop_reply"),
    Crash("reply truncated", "truncate"),
)


@dataclass(eq=False)
class World:
    """A worker, its services, and the lessons with the upload that each of them is to play."""

    environment: dict[str, str]
    supabase: LocalSupabase
    mux: MuxSimulator
    course: Course
    db: psycopg.Connection
    clock: ManualClock
    uploads: dict[UUID, str] = field(default_factory=dict)
    processes: list[WorkerProcess] = field(default_factory=list)
    has_later_rows: bool = False
    """Whether a row that no worker has leased is due later than a lease would end."""

    def upload(self, timeline: Timeline = AT_ONCE) -> str:
        """Create an upload."""
        return self.mux.state.create_upload(timeline)

    def asset_of(self, upload_id: str) -> str:
        """Return the asset that an upload became."""
        asset_id = self.mux.state.upload(upload_id).asset_id
        assert asset_id is not None
        return asset_id

    def track(self, number: int = 1, timeline: Timeline = AT_ONCE) -> list[UUID]:
        """Create lessons, each with a tracked upload."""
        lessons = []
        for _ in range(number):
            upload_id = self.upload(timeline)
            lessons.append(self.course.tracked_lesson(upload_id))
            self.uploads[lessons[-1]] = upload_id
        return lessons

    def leave_to_webhooks(self, lesson: UUID) -> None:
        """Schedule a row for later."""
        self.db.execute(
            "update mux_private.schedule set next_check_at = now() + interval '1 hour' "
            "where tracking_id = (select id from mux_asset_tracking where lesson_id = %s)",
            [lesson],
        )
        self.has_later_rows = True

    def save_form(self, lesson: UUID, asset_id: str, playback_id: str) -> None:
        """Save ids in a lesson, as the app does."""
        self.db.execute(
            "update lessons set mux_asset_id = %s, mux_playback_id = %s where id = %s",
            [asset_id, playback_id, lesson],
        )

    def request(self, method: str, path: str) -> int | None:
        """Send an operator's request to the worker; return the status, None without a response."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=45)
        credentials = base64.b64encode(f"ines:{TOKEN}".encode()).decode()
        headers = {"Authorization": f"Basic {credentials}"}
        headers["Content-Type"] = "application/x-www-form-urlencoded"
        try:
            connection.request(method, path, headers=headers)
            response = connection.getresponse()
            response.read()
            return response.status
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    def send_event(self, event_type: str, asset_id: str) -> int | None:
        """Send an event of an asset as Mux does; return the status, None without a response."""
        state, now = self.mux.state, self.mux.state.clock.now()
        event = event_json(event_type, now, asset_json(state.asset(asset_id), now), state)
        body = json.dumps(event).encode()
        header = signature(SECRET, time.time(), body)
        return post_webhook(f"127.0.0.1:{self.port}", "/webhooks/mux", body, header)

    @property
    def port(self) -> int:
        """Return the port of the worker."""
        return int(self.environment["PORT"])

    @property
    def worker(self) -> WorkerProcess:
        """Return the process that was started last."""
        return self.processes[-1]

    def start(self, *command: str, module: str = "worker", **settings: str) -> WorkerProcess:
        """Start a command as a new process."""
        self.processes.append(WorkerProcess(self.environment, module))
        return self.worker.start(*command, **settings)

    def kill(self) -> None:
        """Kill the process, from whatever thread."""
        os.kill(self.worker.pid, signal.SIGKILL)

    def faults(self, server: Server) -> Faults:
        """Return the faults of a server."""
        return self.supabase.faults if server == "supabase" else self.mux.faults

    def holds(self, lease_seconds: float) -> list[tuple[str, float]]:
        """Return what keeps other workers from rows for longer than a lease and an interval."""
        rows = self.db.execute(
            "select name, extract(epoch from ends_at - clock_timestamp())::float from ("
            " select 'lease', next_check_at from mux_private.schedule where not %s union all"
            " select 'lead', leads_until from mux_private.worker_state"
            ") hold (name, ends_at) where ends_at is not null",
            [self.has_later_rows],
        ).fetchall()
        return [(name, left) for name, left in rows if left > lease_seconds + INTERVAL_SECONDS]

    def is_settled(self) -> bool:
        """Whether no row waits, and none is missing."""
        row = self.db.execute(
            "select (select count(*) from mux_asset_tracking where status <> 'processing'),"
            " (select count(*) from mux_private.schedule)"
        ).fetchone()
        return row == (len(self.uploads), 0)

    def assert_truth(self) -> None:
        """Assert that lessons, tracking rows and audit are what Mux's uploads ask for."""
        for lesson, upload_id in self.uploads.items():
            asset = self.mux.state.asset(self.asset_of(upload_id))
            video = (asset.id, asset.playback_ids[0].id)
            row, state = self.course.row(lesson), self.course.state(lesson)
            events = Counter(event["event"] for event in self.course.events(lesson))
            endings = {name: events[name] for name in ("published", "failed", "restored")}
            assert row["upload_id"] == upload_id
            if asset.status(self.mux.state.clock.now()) == "ready":
                assert picked(state, *VIDEO) == ("published", *video)
                assert picked(row, *VIDEO, "error_type") == ("ready", *video, None)
                assert endings == {"published": 1, "failed": 0, "restored": 0}
                assert self.course.notified(lesson) == 1
                last = next(e for e in self.course.events(lesson) if e["event"] == "published")
                assert picked(last, "upload_id", "asset_id") == (upload_id, asset.id)
            else:
                assert state["status"] == "draft"
                assert picked(row, "status", "error_type") == ("error", "asset_errored")
                assert endings == {"published": 0, "failed": 1, "restored": 0}


Act = Callable[[World], int | None]
"""Return the status of the worker's response, None where there is none."""

Arrange = Callable[[World], None]


@dataclass(frozen=True)
class Site:
    """A request of the worker, and how a worker comes to send it.

    Without `act` the process sends it by itself, after its start; with it the fault waits for
    what `act` does to a worker that has scanned. Without a 200 that is done again after a kill, as
    Mux repeats an event, and an operator an action. `command` is what the process runs.
    """

    name: str
    server: Server
    path: str
    arrange: Arrange
    act: Act | None = None
    match: Callable[[], Match] | None = None
    command: Sequence[str] = ("run",)
    is_eager: bool = False
    ends: bool = False
    """Whether the process ends by itself."""

    settings: Mapping[str, str] = field(default_factory=dict)
    lease_seconds: float = LEASE_SECONDS
    after: Arrange | None = None
    """What is done until all rows are settled, again and again."""

    @property
    def target(self) -> str:
        """Return the request's kind: the SQL function, or the method of the client for Mux."""
        return self.name.partition(" ")[0]

    def inject(self, world: World, crash: Crash) -> Callable[[], bool]:
        """Have the next request of this kind go wrong; return what tells whether it has."""
        match = None if self.match is None else self.match()
        faults = world.faults(self.server)
        before = len(faults.hits)
        faults.add(crash.fault(world.kill), path=self.path, times=1, match=match)
        return lambda: any(hit.kind == crash.kind for hit in faults.hits[before:])

    def start(self, world: World) -> None:
        """Start what sends the request; where something is to be done to it, let it scan first."""
        module = "tests.e2e.eager_worker" if self.is_eager else "worker"
        world.start(*self.command, module=module, **self.settings)
        if self.act is not None:
            world.worker.wait_for("web.listening")
            world.worker.wait_for("scan.finished")

    def end(self, world: World, crash: Crash, status: int | None) -> None:
        """Wait for the end of a process that was killed, or that ends by itself; start the worker.

        A command that was killed is run again first.
        """
        assert world.worker.wait() == (-signal.SIGKILL if crash.kills else 0), world.worker.output
        assert world.holds(self.lease_seconds) == []
        if self.command == ("run",):
            self.start(world)
        elif crash.kills:
            self.start(world)
            assert world.worker.wait() == 0, world.worker.output
        if self.act is not None and not self.ends and status != 200:
            self.act(world)
        if not (world.worker.is_running or world.is_settled()):
            world.start()


def query(**wanted: str | None) -> Callable[[], Match]:
    """Match requests by their query: each name with its value, None for a name that is absent."""

    def matches(request: web.Request) -> bool:
        return all(request.query.get(name) == value for name, value in wanted.items())

    return lambda: matches


def having(name: str) -> Callable[[], Match]:
    """Match requests whose query has a name."""
    return lambda: lambda request: name in request.query


def nth(number: int) -> Callable[[], Match]:
    """Match the nth request only."""

    def counting() -> Match:
        left = iter(range(number - 1, -1, -1))
        return lambda _request: next(left, None) == 0

    return counting
