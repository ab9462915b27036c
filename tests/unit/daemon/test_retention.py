import asyncio
import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from apscheduler.schedulers.asyncio import AsyncIOScheduler

from tests.unit.log_lines import logged
from worker.daemon.loop import Daemon, Timing
from worker.daemon.retention import BATCH, Retention
from worker.errors import SupabaseUnavailable
from worker.telemetry.hooks import Telemetry
from worker.telemetry.scan_report import ScanReport


class Audit:
    """A database with some old audit rows, which a test can make fail."""

    def __init__(self, old: int) -> None:
        self.old = old
        self.asked: list[tuple[int, int]] = []
        self.fault: SupabaseUnavailable | None = None
        self.on_prune: Callable[[], None] = lambda: None

    async def prune_events(self, older_than_days: int, at_most: int) -> int:
        """Remove the oldest."""
        self.asked.append((older_than_days, at_most))
        self.on_prune()
        if self.fault is not None:
            raise self.fault
        pruned = min(self.old, at_most)
        self.old -= pruned
        return pruned


class Clock:
    """A clock on which every reading takes two seconds."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        self.now += 2
        return self.now


def pruned(out: io.StringIO) -> list[dict[str, Any]]:
    """Return the lines about pruning without their timestamps."""
    return [line for line in logged(out) if line["event"] == "events.pruned"]


async def all_of(retention: Retention) -> int:
    """Prune to the end; return the number of batches after which there was more."""
    batches = 0
    while await retention.prune_some():
        batches += 1
    return batches


async def test_before_its_time_nothing_is_pruned(out: io.StringIO) -> None:
    """The database is called once a day only."""
    audit = Audit(10)
    assert await all_of(Retention(audit, 90)) == 0
    assert (audit.asked, pruned(out)) == ([], [])


async def test_batches_are_removed_until_none_is_left_and_logged_once(out: io.StringIO) -> None:
    """One line at the end, with the number of rows and the seconds."""
    audit = Audit(2 * BATCH + 1)
    retention = Retention(audit, 90, clock=Clock())
    await retention.begin()
    assert await all_of(retention) == 3
    assert audit.asked == [(90, BATCH)] * 4
    assert await all_of(retention) == 0
    assert audit.asked == [(90, BATCH)] * 4
    assert pruned(out) == [
        {"level": "info", "event": "events.pruned", "count": 2 * BATCH + 1, "seconds": 2.0}
    ]


async def test_a_fault_leaves_the_rest_for_the_next_day(out: io.StringIO) -> None:
    """It is logged once with its reason, and the next day removes all."""
    audit = Audit(BATCH + 7)
    retention = Retention(audit, 30, clock=Clock())
    await retention.begin()
    assert await retention.prune_some() is True
    audit.fault = SupabaseUnavailable("timeout", "Supabase did not answer in time.")
    assert await all_of(retention) == 0
    assert await all_of(retention) == 0
    assert len(audit.asked) == 2
    audit.fault = None
    await retention.begin()
    assert await all_of(retention) == 1
    assert pruned(out) == [
        {
            "level": "warning",
            "event": "events.pruned",
            "count": BATCH,
            "seconds": 2.0,
            "reason": "timeout",
            "message": "Supabase did not answer in time.",
        },
        {"level": "info", "event": "events.pruned", "count": 7, "seconds": 2.0},
    ]


async def test_a_run_that_is_due_while_another_is_under_way_continues_it(
    out: io.StringIO,
) -> None:
    """The count goes on."""
    audit = Audit(BATCH + 7)
    retention = Retention(audit, 90, clock=Clock())
    await retention.begin()
    await retention.prune_some()
    await retention.begin()
    await all_of(retention)
    assert [line["count"] for line in pruned(out)] == [BATCH + 7]


async def test_it_runs_every_day_and_first_some_minutes_to_an_hour_after_the_start() -> None:
    """At a random moment, so that replicas do not run at the same time."""
    scheduler = AsyncIOScheduler()
    began = datetime.now(UTC)
    for _ in range(50):
        Retention(Audit(0), 90).schedule(scheduler)
    jobs = scheduler.get_jobs()
    assert {job.trigger.interval for job in jobs} == {timedelta(days=1)}
    waits = [(job.next_run_time - began).total_seconds() for job in jobs]
    assert 300 <= min(waits) < max(waits) <= 3901
    assert len({round(wait) for wait in waits}) > 25


class Service:
    """A Mux and a database with nothing to do."""

    async def check(self) -> None:
        """Answer."""

    async def check_schema(self) -> None:
        """Have every file of sql/."""

    async def summary(self) -> dict[str, Any]:
        """Return that no rows are due."""
        return {"due": 0}


def daemon(
    scan: Callable[[], ScanReport], stopping: asyncio.Event, interval_seconds: float = 3600
) -> Daemon:
    """Return a daemon that pauses for an hour between scans unless they are full."""

    async def scanned() -> ScanReport:
        return scan()

    return Daemon(
        Service(),
        Service(),
        scanned,
        Timing(interval_seconds, shutdown_seconds=20),
        stopping,
        Telemetry(),
    )


async def begun(audit: Audit) -> Retention:
    """Return a retention with a run under way."""
    retention = Retention(audit, 90)
    await retention.begin()
    return retention


async def test_a_busy_worker_removes_one_batch_between_two_scans(out: io.StringIO) -> None:
    """However many rows are due, pruning goes on; no scan waits for more than one batch."""
    stopping, audit, order = asyncio.Event(), Audit(3 * BATCH), list[str]()

    def scan() -> ScanReport:
        order.append("scan")
        if len(order) > 8:
            stopping.set()
        return ScanReport(claimed=1, is_full=True)

    audit.on_prune = lambda: order.append("prune")
    await asyncio.wait_for(daemon(scan, stopping).run(await begun(audit)), 30)
    assert order == [*["scan", "prune"] * 4, "scan"]
    assert [line["count"] for line in pruned(out)] == [3 * BATCH]


async def test_an_idle_worker_removes_all_within_one_pause(out: io.StringIO) -> None:
    """It does not wait for the next scan."""
    stopping, audit, scans = asyncio.Event(), Audit(2 * BATCH), list[ScanReport]()

    def scan() -> ScanReport:
        scans.append(ScanReport())
        return scans[-1]

    audit.on_prune = lambda: stopping.set() if audit.old == 0 else None
    await asyncio.wait_for(daemon(scan, stopping).run(await begun(audit)), 30)
    assert (audit.old, len(scans)) == (0, 1)


async def test_while_supabase_is_out_nothing_is_pruned(out: io.StringIO) -> None:
    """Only scans try Supabase during an outage; retention waits for its end."""
    stopping, audit = asyncio.Event(), Audit(1)
    asked_until_scan: list[int] = []

    def scan() -> ScanReport:
        asked_until_scan.append(len(audit.asked))
        if len(asked_until_scan) <= 2:
            raise SupabaseUnavailable("timeout", "Supabase did not answer in time.")
        return ScanReport()

    audit.on_prune = lambda: stopping.set() if audit.old == 0 else None
    await asyncio.wait_for(daemon(scan, stopping, 0.01).run(await begun(audit)), 30)
    assert asked_until_scan[:3] == [0, 0, 0]
    assert audit.old == 0


async def test_a_stop_waits_for_no_batch(out: io.StringIO) -> None:
    """A batch that hangs is cancelled: its rows are removed another day."""
    stopping = asyncio.Event()

    class Hangs(Audit):
        async def prune_events(self, older_than_days: int, at_most: int) -> int:
            asyncio.get_running_loop().call_soon(stopping.set)
            return await asyncio.Future[int]()

    await asyncio.wait_for(daemon(ScanReport, stopping).run(await begun(Hangs(1))), 60)
    assert pruned(out) == []
