"""Do the faults of a plan, each at its time, and note when each began and ended."""

import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from uuid import UUID

import psycopg
from aiohttp import web

from sandbox.fault_injection import Fault as HttpFault
from sandbox.fault_injection import Faults
from sandbox.mux.server import MuxSimulator
from sandbox.mux.timeline import Timeline
from sandbox.supabase.stack import LocalSupabase
from tests.chaos.plan import Fault
from tests.chaos.replicas import LEASE_SECONDS, Replica, leader_of
from tests.chaos.world import Life, World

SHARE_OF_REQUESTS = 0.7
"""How many requests meet a fault of a service while it lasts: others pass, which is worse."""

RETRY_AFTER_SECONDS = 3
RESTART_SECONDS = 0.5
HTML = "<html><body><h1>Something went wrong</h1></body></html>"
INVALID_KEY = '{"message": "Invalid API key", "hint": "Double check your Supabase API key."}'
GARBAGE = '{"data": {"id": 7, "status": ["garbage"], "playback_ids": "none"}}'

_HTTP = {
    "reset": HttpFault("reset"),
    "drop_reply": HttpFault("drop_reply"),
    "truncate": HttpFault("truncate"),
    "trickle": HttpFault("trickle", status=200),
    "hang": HttpFault("hang"),
    "500": HttpFault("answer", status=500, body=HTML, content_type="text/html"),
    "503": HttpFault("answer", status=503, body=HTML, content_type="text/html"),
    "403": HttpFault("answer", status=403, body='{"error": {"type": "forbidden", "messages": []}}'),
    "garbage": HttpFault("answer", status=200, body=GARBAGE),
    "429": HttpFault(
        "answer",
        status=429,
        body='{"errors": ["Too many requests, retry later."]}',
        headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
    ),
    "key refused": HttpFault("answer", status=401, body=INVALID_KEY),
}


@dataclass(frozen=True, slots=True)
class Happened:
    """A fault as it happened, in unix seconds; `lesson` is the only one that it concerns.

    A dead or stopped worker's fault ends as it begins: from then on the others have its work.
    """

    kind: str
    began_at: float
    ended_at: float
    lesson: UUID | None = None


class FaultRunner:
    """Does the faults of a plan in threads of their own, since they overlap."""

    def __init__(
        self, supabase: LocalSupabase, mux: MuxSimulator, world: World, replicas: list[Replica]
    ) -> None:
        self._supabase = supabase
        self._mux = mux
        self._world = world
        self._replicas = replicas
        self._database = threading.Lock()
        self._token = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._planned: tuple[Fault, ...] = ()
        self._done: list[Fault] = []
        self.happened: list[Happened] = []
        self.thawed_at: list[float] = []

    def start(self, faults: tuple[Fault, ...], began_at: float) -> None:
        """Do each fault at its time."""
        self._planned = faults
        for fault in faults:
            thread = threading.Thread(target=self._do_at, args=(fault, began_at), daemon=True)
            self._threads.append(thread)
            thread.start()

    def join(self, seconds: float) -> None:
        """Wait until all faults are over."""
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        undone = [fault for fault in self._planned if fault not in self._done]
        assert not undone, f"these faults did not end: {undone}"

    def _do_at(self, fault: Fault, began_at: float) -> None:
        time.sleep(max(0.0, began_at + fault.at - time.time()))
        if (happened := self._do(fault)) is not None:
            self.happened.append(happened)
        self._done.append(fault)

    def _do(self, fault: Fault) -> Happened | None:
        """Do a fault; return None if there was nothing that it could hit."""
        service, _, kind = fault.kind.partition(": ")
        match service:
            case "kill" | "terminate" | "freeze" | "clock":
                hit_at = self._hit_replica(fault)
                return Happened(fault.kind, hit_at, hit_at)
            case "restart postgres" | "kill postgrest" | "terminate backends":
                with self._database:
                    began = time.time()
                    self._hit_database(fault)
                    return Happened(fault.kind, began, time.time())
        began = time.time()
        if service in ("lock a lesson", "one id"):
            lesson = self._hit_a_lesson(fault, service, kind)
            return None if lesson is None else Happened(fault.kind, began, time.time(), lesson)
        self._hit_requests(fault, service, kind)
        return Happened(fault.kind, began, time.time())

    # Workers.

    def _hit_replica(self, fault: Fault) -> float:
        """Hit a worker, the leader in half of all cases; return when."""
        if fault.kind == "clock":
            return self._step_clock(fault)
        replica = self._replicas[fault.number % len(self._replicas)]
        if fault.number % 2:
            replica = leader_of(self._replicas) or replica
        with replica.lock:
            hit_at = time.time()
            match fault.kind:
                case "kill":
                    replica.kill()
                case "terminate":
                    replica.terminate()
                case "freeze":
                    replica.freeze()
                    time.sleep(LEASE_SECONDS + fault.seconds)
                    self.thawed_at.append(time.time())
                    replica.thaw()
            if fault.kind != "freeze":
                time.sleep(RESTART_SECONDS)
                replica.start()
        return hit_at

    def _step_clock(self, fault: Fault) -> float:
        """Step the clock of one worker by an hour, and back later."""
        stepped_at = time.time()
        (clock,) = (replica.clock for replica in self._replicas if replica.clock is not None)
        clock.write_text("3600" if fault.number % 2 else "-3600")
        time.sleep(fault.seconds)
        clock.write_text("0")
        return stepped_at

    # The database.

    def _hit_database(self, fault: Fault) -> None:
        match fault.kind:
            case "restart postgres":
                self._supabase.stop_postgres()
                time.sleep(RESTART_SECONDS)
                self._supabase.start_postgres()
            case "kill postgrest":
                self._supabase.kill_postgrest()
                time.sleep(RESTART_SECONDS)
                self._supabase.start_postgrest()
            case "terminate backends":
                with suppress(psycopg.OperationalError):
                    self._terminate_backends()

    def _terminate_backends(self) -> None:
        with self._supabase.connect("supabase_admin") as db:
            db.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where datname = current_database() and pid <> pg_backend_pid()"
            )

    # One lesson.

    def _hit_a_lesson(self, fault: Fault, service: str, kind: str) -> UUID | None:
        """Hit a lesson whose video Mux encodes; return it, or None if there is none."""
        lives = self._world.in_flight()
        if not lives:
            return None
        life = lives[fault.number % len(lives)]
        if service == "one id":
            self._hit_one_id(fault, kind, life)
        else:
            self._lock_a_lesson(fault, life)
        return life.story.lesson

    def _lock_a_lesson(self, fault: Fault, life: Life) -> None:
        """Begin an upload in a transaction of the app that takes its time and is undone.

        It holds the lesson, its row, and its place in the schedule.
        """
        claims = json.dumps({"sub": str(life.story.owner), "role": "authenticated"})
        with (
            suppress(psycopg.OperationalError),
            self._supabase.connect("authenticated", autocommit=False) as db,
        ):
            db.execute("select set_config('request.jwt.claims', %s, true)", [claims])
            values = [life.story.lesson, self._mux.state.create_upload(Timeline(None))]
            db.execute("select track_upload(%s::text, %s, null)", values)
            time.sleep(fault.seconds)
            db.rollback()

    def _hit_one_id(self, fault: Fault, kind: str, life: Life) -> None:
        """Let requests about one upload and its asset meet a fault for a while."""
        upload = life.newest
        ids = {upload.id, upload.asset_id} if upload else set()

        def is_about_it(request: web.Request) -> bool:
            in_path = request.path.rpartition("/")[2] in ids
            return in_path or request.query.get("upload_id") in ids

        with injected(self._mux.faults, _HTTP[kind], is_about_it):
            time.sleep(fault.seconds)

    # Requests.

    def _hit_requests(self, fault: Fault, service: str, kind: str) -> None:
        """Let requests to a service meet a fault for a while."""
        if (service, kind) == ("mux", "down"):
            self._mux.stop()
            time.sleep(fault.seconds)
            self._mux.start()
        elif (service, kind) == ("mux", "token refused"):
            self._refuse_token(fault)
        else:
            faults = self._mux.faults if service == "mux" else self._supabase.faults
            share = 1.0 if kind in ("key refused", "slow") else SHARE_OF_REQUESTS
            is_once = kind == "429"
            with injected(faults, _http_fault(fault, kind), _some(fault, share), is_once=is_once):
                time.sleep(fault.seconds)

    def _refuse_token(self, fault: Fault) -> None:
        """Rotate the token: for a while Mux knows another one than the workers have."""
        state = self._mux.state
        with self._token:
            known, state.credentials = state.credentials, state.new_credentials()
            time.sleep(fault.seconds)
            state.credentials = known


def _http_fault(fault: Fault, kind: str) -> HttpFault:
    return HttpFault("delay", delay_seconds=fault.seconds / 3) if kind == "slow" else _HTTP[kind]


def _some(fault: Fault, share: float) -> Callable[[web.Request], bool]:
    rng = random.Random(fault.number)
    return lambda _: rng.random() < share


@contextmanager
def injected(
    faults: Faults,
    fault: HttpFault,
    match: Callable[[web.Request], bool],
    *,
    is_once: bool = False,
) -> Iterator[None]:
    """Inject a fault into the requests that match, while the block lasts."""
    is_over = threading.Event()
    faults.add(
        fault, match=lambda r: not is_over.is_set() and match(r), times=1 if is_once else None
    )
    try:
        yield
    finally:
        is_over.set()
