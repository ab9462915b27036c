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
        self.happened: list[Happened] = []
        self.left_out: list[str] = []
        self.thawed_at: list[float] = []

    def start(self, faults: tuple[Fault, ...], began_at: float) -> None:
        """Do each fault at its time."""
        for fault in faults:
            thread = threading.Thread(target=self._do_at, args=(fault, began_at), daemon=True)
            self._threads.append(thread)
            thread.start()

    def join(self, seconds: float) -> None:
        """Wait until all faults are over."""
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
            assert not thread.is_alive(), "a fault does not end"

    def _do_at(self, fault: Fault, began_at: float) -> None:
        time.sleep(max(0.0, began_at + fault.at - time.time()))
        began, lesson = time.time(), None
        service, _, kind = fault.kind.partition(": ")
        match service:
            case "kill" | "terminate" | "freeze":
                began = ended = self._hit_replica(fault)
            case "clock":
                began = ended = self._step_clock(fault)
            case "restart postgres" | "kill postgrest" | "terminate backends":
                with self._database:
                    began = time.time()
                    self._hit_database(fault)
                    ended = time.time()
            case "lock a lesson":
                lesson = self._lock_a_lesson(fault)
                ended = time.time()
            case _:
                lesson = self._hit_requests(fault, service, kind)
                ended = time.time()
        if fault.kind != "clock" or not self.left_out:
            self.happened.append(Happened(fault.kind, began, ended, lesson))

    # Workers.

    def _hit_replica(self, fault: Fault) -> float:
        """Kill, end or stop a worker, the leader in half of all cases; return when."""
        # Under libfaketime a process cannot sleep until its deadline, after which it would end.
        replicas = [r for r in self._replicas if fault.kind != "terminate" or r.clock is None]
        replica = replicas[fault.number % len(replicas)]
        if fault.number % 2:
            replica = leader_of(replicas) or replica
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
        """Step the clock of one worker by an hour, and back later; return when."""
        stepped_at = time.time()
        clocks = [replica.clock for replica in self._replicas if replica.clock is not None]
        if not clocks:
            self.left_out.append("clock steps, since libfaketime is not installed")
            return stepped_at
        clocks[0].write_text("+3600" if fault.number % 2 else "-3600")
        time.sleep(fault.seconds)
        clocks[0].write_text("+0")
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

    def _lock_a_lesson(self, fault: Fault) -> UUID | None:
        """Begin an upload in a transaction of the app that takes its time and is undone.

        It holds the lesson, its row, and its place in the schedule.
        """
        life = self._life_in_flight(fault)
        if life is None:
            return None
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
        return life.story.lesson

    def _life_in_flight(self, fault: Fault) -> Life | None:
        lives = self._world.in_flight()
        return lives[fault.number % len(lives)] if lives else None

    # Requests.

    def _hit_requests(self, fault: Fault, service: str, kind: str) -> UUID | None:
        """Let requests meet a fault for a while; return the lesson if they are about one id."""
        if service == "one id":
            return self._hit_one_id(fault, kind)
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
        return None

    def _refuse_token(self, fault: Fault) -> None:
        """Rotate the token: for a while Mux knows another one than the workers have."""
        state = self._mux.state
        with self._token:
            known, state.credentials = state.credentials, state.new_credentials()
            time.sleep(fault.seconds)
            state.credentials = known

    def _hit_one_id(self, fault: Fault, kind: str) -> UUID | None:
        life = self._life_in_flight(fault)
        upload = life.newest if life else None
        if life is None or upload is None:
            return None

        def is_about_it(request: web.Request) -> bool:
            ids = {upload.id, upload.asset_id}
            in_path = request.path.rpartition("/")[2] in ids
            return in_path or request.query.get("upload_id") in ids

        with injected(self._mux.faults, _HTTP[kind], is_about_it):
            time.sleep(fault.seconds)
        return life.story.lesson


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
