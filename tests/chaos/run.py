"""Run a plan on a stack of its own, and return the verdict."""

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self
from uuid import UUID

import psycopg

from sandbox.mux.rate_limit import RateLimits
from sandbox.mux.request_log import LoggedRequest
from sandbox.mux.server import MuxSimulator
from sandbox.supabase.postgres import apply_sql
from sandbox.supabase.stack import LocalSupabase
from tests.chaos import journal, records, stepped_clock, verdict
from tests.chaos.faults import FaultRunner, Happened
from tests.chaos.plan import Plan
from tests.chaos.replicas import (
    INTERVAL_SECONDS,
    LEASE_SECONDS,
    TIMEOUT_SECONDS,
    Replica,
    settings,
)
from tests.chaos.verdict import Bounds, Evidence, Recovery, Takeover, Violation
from tests.chaos.webhooks import Webhooks
from tests.chaos.world import World
from tests.worker_process import WorkerProcess
from worker.daemon.adoption import EVERY
from worker.daemon.outage import MAX_PAUSE

READING_SECONDS = 10.0
"""How long reading Mux's lists takes at four requests a second, or at less after a 429."""

TRACKED_SECONDS = (
    max(LEASE_SECONDS, 1.2 * MAX_PAUSE * INTERVAL_SECONDS)
    + INTERVAL_SECONDS
    + 2 * TIMEOUT_SECONDS
    + 1.0
    + READING_SECONDS
)
"""The lease or the longest pause of an outage, one interval, and a request that hangs."""

BOUNDS = Bounds(
    TRACKED_SECONDS,
    TRACKED_SECONDS + EVERY * INTERVAL_SECONDS,
    LEASE_SECONDS,
    LEASE_SECONDS + INTERVAL_SECONDS + 1.0,
)
POLL_SECONDS = 0.5
LONGEST_RUN_SECONDS = 86_400.0


@dataclass(slots=True)
class Result:
    """What a run came to."""

    plan: Plan
    role: str
    violations: list[Violation]
    recoveries: list[Recovery]
    takeovers: list[Takeover]
    happened: list[Happened]
    requests: int
    webhooks: int
    published: int
    log_lines: int
    stop_seconds: list[float]
    seconds: float

    @property
    def kinds(self) -> set[str]:
        """Return the kinds of what is wrong."""
        return {violation.kind for violation in self.violations}


@dataclass(frozen=True, slots=True)
class Setup:
    """How a run differs from the usual one; the tests of the harness itself use it.

    `mutant`: SQL applied over the product's. `module`: what runs in the worker's place. `role`: the
    role of the workers' key.
    """

    mutant: Path | None = None
    module: str = "worker"
    role: str = "service_role"
    shared_postgres: Path | None = None
    bounds: Bounds = BOUNDS


@dataclass(slots=True)
class Stage:
    """A stack, a world and its workers."""

    supabase: LocalSupabase
    mux: MuxSimulator
    world: World
    replicas: list[Replica]
    webhooks: Webhooks
    faults: FaultRunner
    environment: dict[str, str]
    lag: records.Lag = field(default_factory=records.Lag)
    backfills: list[WorkerProcess] = field(default_factory=list)
    timers: list[threading.Timer] = field(default_factory=list)
    is_over: threading.Event = field(default_factory=threading.Event)

    @classmethod
    def of(
        cls, supabase: LocalSupabase, mux: MuxSimulator, plan: Plan, setup: Setup, directory: Path
    ) -> Self:
        """Return a stage where nothing has begun; the directory is for its files."""
        environment = settings(supabase, mux, setup.role)
        module = setup.module
        replicas = [Replica(environment, module) for _ in range(plan.replicas)]
        if any(fault.kind == "clock" for fault in plan.faults):
            own = stepped_clock.settings(directory, directory / "clock")
            replicas[-1] = Replica({**environment, **own}, module, directory / "clock")

        def ports() -> list[int]:
            return [replica.port for replica in replicas]

        webhooks = Webhooks(mux, environment["MUX_WEBHOOK_SECRET"], ports)
        world = World(supabase, mux, plan.stories, webhooks.announce)
        faults = FaultRunner(supabase, mux, world, replicas)
        return cls(supabase, mux, world, replicas, webhooks, faults, environment)


def run(plan: Plan, setup: Setup | None = None) -> Result:
    """Run a plan to its end, and judge it."""
    setup = setup or Setup()
    began = time.monotonic()
    with _stack(setup) as (supabase, mux), TemporaryDirectory() as directory:
        stage = Stage.of(supabase, mux, plan, setup, Path(directory))
        try:
            _play(stage, plan)
            _wait_until_finished(stage, setup.bounds)
        finally:
            found = list(_stop(stage))
        return _judge(stage, plan, setup, found, time.monotonic() - began)


@contextmanager
def _stack(setup: Setup) -> Iterator[tuple[LocalSupabase, MuxSimulator]]:
    limits = RateLimits.per_second(get=records.MUX_LIMIT, post=1)
    with (
        LocalSupabase(shared_postgres=setup.shared_postgres) as supabase,
        MuxSimulator(limits=limits) as mux,
    ):
        if setup.mutant is not None:
            apply_sql(supabase.dsn(), [setup.mutant])
        journal.install(supabase)
        yield supabase, mux


def _play(stage: Stage, plan: Plan) -> None:
    earliest = min((story.steps[0].at for story in plan.stories), default=0.0)
    began_at = time.time() - min(0.0, earliest)
    stage.world.play_before(began_at)
    for replica in stage.replicas:
        replica.start()
    for replica in stage.replicas:
        replica.process.wait_for("scan.finished")
    began_at = time.time()
    stage.lag.start()
    stage.world.start(began_at)
    stage.faults.start(plan.faults, began_at)
    for at, begin in (
        (plan.webhooks_at, stage.webhooks.start),
        (plan.backfill_at, lambda: _backfill(stage)),
    ):
        if at is not None:
            timer = threading.Timer(at, begin)
            timer.start()
            stage.timers.append(timer)
    stage.faults.join(plan.seconds + 120)
    stage.world.join(plan.seconds + 120)


def _backfill(stage: Stage) -> None:
    """Run a backfill, and start it again where a fault ends it, until the run is over."""
    while not stage.is_over.is_set():
        process = WorkerProcess(stage.environment)
        stage.backfills.append(process)
        process.start("backfill", "--apply", "--yes").wait(LONGEST_RUN_SECONDS)
        if _backfill_has_ended(stage):
            return
        stage.is_over.wait(POLL_SECONDS)


def _backfill_has_ended(stage: Stage) -> bool:
    query = "select from mux_private.worker_state where backfill_begun_at is null"
    with suppress(psycopg.OperationalError), stage.supabase.connect() as db:
        return db.execute(query).rowcount == 1
    return False


def _evidence(stage: Stage, db: psycopg.Connection, *kinds: str) -> Evidence:
    assets = {asset.id: asset for asset in stage.mux.state.all_assets()}
    entries = journal.read(db, *kinds)
    return Evidence(stage.world.lives, assets, entries, stage.mux.state.clock.now())


def _wait_until_finished(stage: Stage, bounds: Bounds) -> None:
    """Wait until all lessons are as they should be, at most as long as a lesson may take."""
    last_ready = max((a.prepared_at for a in stage.mux.state.all_assets()), default=0.0)
    wait = max(0.0, last_ready - stage.mux.state.clock.now()) + bounds.adopted_seconds
    deadline = time.monotonic() + wait
    with stage.supabase.connect() as db:
        while time.monotonic() < deadline:
            is_finished = not any(verdict.unfinished(_evidence(stage, db, "lesson", "row")))
            if is_finished and not stage.world.in_flight():
                return
            time.sleep(POLL_SECONDS)


def _stop(stage: Stage) -> Iterator[Violation]:
    stage.is_over.set()
    stage.webhooks.stop()
    yield from records.ended_badly(stage.replicas)
    for replica in stage.replicas:
        for process in replica.processes:
            process.kill()
    for process in stage.backfills:
        if process.is_running:
            process.signal(signal.SIGKILL)
    for timer in stage.timers:
        timer.cancel()
        timer.join()


def _judge(
    stage: Stage, plan: Plan, setup: Setup, found: Sequence[Violation], seconds: float
) -> Result:
    bounds = setup.bounds
    with stage.supabase.connect() as db:
        evidence = _evidence(stage, db, *journal.KINDS)
        notifications = _notifications(db)
    stage.lag.stop()
    requests = stage.mux.requests.all()
    recovered = verdict.recoveries(evidence, stage.faults.happened)
    taken_over = list(verdict.takeovers(evidence, stage.faults.happened))
    outputs = [process.output for replica in stage.replicas for process in replica.processes]
    secrets = records.secrets_of(stage.environment)
    violations = [
        *verdict.unfinished(evidence),
        *verdict.late(recovered, bounds),
        *verdict.not_taken_over(taken_over, bounds, _lag(stage)),
        *verdict.duplicated(evidence, notifications, bounds),
        *verdict.wrong(evidence),
        *verdict.torn(evidence),
        *_mux_record(stage, requests).over_budget(),
        *_forged(stage),
        *records.secrets_in([*outputs, *(p.output for p in stage.backfills)], secrets),
        *records.no_log_lines(outputs),
        *found,
    ]
    published = sum(
        entry.kind == "event" and (entry.new or {})["event"] == "published"
        for entry in evidence.journal
    )
    return Result(
        plan, setup.role, violations, recovered, taken_over, stage.faults.happened,
        len(requests), stage.webhooks.accepted, published, sum(map(_lines, outputs)),
        [seconds for replica in stage.replicas for seconds in replica.stop_seconds], seconds,
    )  # fmt: skip


def _notifications(db: psycopg.Connection) -> dict[UUID, int]:
    rows = db.execute("select lesson_id, count(*) from notifications group by lesson_id")
    return dict(rows.fetchall())


def _forged(stage: Stage) -> Iterator[Violation]:
    accepted = sum(status == 200 for status in stage.webhooks.forged_statuses)
    if accepted:
        yield Violation("wrong", f"{accepted} forged webhooks were accepted")


def _lines(output: str) -> int:
    return output.count("\n")


def _lag(stage: Stage) -> Callable[[float, float], float]:
    offset = time.time() - time.monotonic()
    return lambda began, ended: stage.lag.within(began - offset, ended - offset)


def _mux_record(stage: Stage, requests: Sequence[LoggedRequest]) -> records.MuxRecord:
    offset = time.time() - time.monotonic()
    pauses = [
        (fault.began_at - offset, fault.ended_at - offset)
        for fault in stage.faults.happened
        if fault.kind == "mux: 429"
    ]
    thawed_at = [at - offset for at in stage.faults.thawed_at]
    return records.MuxRecord(requests, stage.lag, thawed_at, pauses)
