import asyncio
import selectors
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, tzinfo
from itertools import pairwise
from typing import Any

import pytest

from worker.daemon.loop import Daemon, Timing
from worker.daemon.retention import Retention
from worker.errors import MuxUnavailable, SchemaRefused, SupabaseUnavailable, Unavailable
from worker.telemetry.hooks import Telemetry
from worker.telemetry.scan_report import ScanReport

BEGAN = datetime(2026, 1, 1)  # noqa: DTZ001  # each test adds a time zone
HOUR = 3600.0

MUX_DOWN = MuxUnavailable("timeout", "Mux did not answer in time.")
SUPABASE_DOWN = SupabaseUnavailable("timeout", "Supabase did not answer in time.")


class FakeTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose time jumps to the next timer as soon as there is nothing else to do."""

    def __init__(self) -> None:
        self.now = 0.0
        self.wall_clock_error = 0.0
        """How many seconds the wall clock is ahead."""

        loop = self

        class Selector(selectors.DefaultSelector):
            def select(self, timeout: float | None = None) -> Any:
                """Let the time until the next timer pass at once."""
                loop.now += timeout or 0
                return super().select(timeout and 0)

        super().__init__(Selector())

    def time(self) -> float:
        """Return the seconds since the loop was made."""
        return self.now


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> Iterator[asyncio.Runner]:
    """Return a runner whose loop, and the wall clock with it, have a fake time."""
    with asyncio.Runner(loop_factory=FakeTimeLoop) as runner:
        loop = runner.get_loop()

        class WallClock(datetime):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> Any:
                """Return the fake time."""
                assert isinstance(loop, FakeTimeLoop)
                seconds = loop.now + loop.wall_clock_error
                return BEGAN.replace(tzinfo=tz) + timedelta(seconds=seconds)

        monkeypatch.setattr("apscheduler.schedulers.base.datetime", WallClock)
        monkeypatch.setattr("worker.daemon.loop.datetime", WallClock)
        monkeypatch.setattr("worker.daemon.retention.datetime", WallClock)
        yield runner


class Service:
    """A Mux and a database with nothing to do."""

    has_table = True

    async def check(self) -> None:
        """Answer."""

    async def check_schema(self) -> None:
        """Have the table, until it is gone."""
        if not self.has_table:
            raise SchemaRefused("schema_outdated", "The database lacks files of sql/.")

    async def summary(self) -> dict[str, Any]:
        """Return that no rows are due."""
        return {"due": 0}

    async def prune_events(self, older_than_days: int, at_most: int) -> int:
        """Have no old events."""
        return 0


def begins(
    runner: asyncio.Runner,
    *results: ScanReport | Unavailable,
    interval: float = 5,
    on_scan: Callable[[FakeTimeLoop], None] = lambda _loop: None,
) -> list[float]:
    """Run scans with these results, and one more; return when each began."""
    loop, stopping, began = runner.get_loop(), asyncio.Event(), list[float]()
    assert isinstance(loop, FakeTimeLoop)

    async def scan() -> ScanReport:
        began.append(loop.now)
        if len(began) > len(results):
            stopping.set()
            return ScanReport()
        result = results[len(began) - 1]
        on_scan(loop)
        if isinstance(result, Unavailable):
            raise result
        await asyncio.sleep(result.seconds)
        return result

    async def run() -> None:
        service = Service()
        timing = Timing(interval, shutdown_seconds=20, clock=loop.time)
        daemon = Daemon(service, service, scan, timing, stopping, Telemetry())
        await daemon.run(Retention(service, 90))

    runner.run(run())
    return began


@pytest.mark.parametrize(
    ("interval", "requests", "seconds"),
    [
        (5, 1, 1), (5, 2, 2), (5, 4, 4), (5, 5, 5), (5, 6, 5), (5, 400, 5),
        (60, 1, 1), (60, 30, 30), (60, 61, 60),
        (1, 1, 1), (1, 2, 1), (0.5, 1, 0.5), (0.5, 9, 0.5),
    ],
)  # fmt: skip
def test_the_next_scan_begins_a_second_later_for_each_request(
    runner: asyncio.Runner, interval: float, requests: int, seconds: float
) -> None:
    """At most an interval later, also where that is less than a second."""
    report = ScanReport(claimed=1, requests=requests)
    result = begins(runner, report, report, interval=interval)
    assert result == pytest.approx([0, seconds, 2 * seconds])


@pytest.mark.parametrize("interval", [0.5, 5, 60])
def test_without_a_request_the_next_scan_begins_an_interval_later(
    runner: asyncio.Runner, interval: float
) -> None:
    """An idle worker, and one whose rows are left to the leader, scan once an interval."""
    idle, left = ScanReport(), ScanReport(left_to_others=True)
    result = begins(runner, idle, left, idle, interval=interval)
    assert result == pytest.approx([n * interval for n in range(4)])


@pytest.mark.parametrize(
    ("requests", "took", "seconds"), [(0, 3, 5), (1, 0.9, 1), (3, 2, 3), (1, 4, 4), (0, 7, 7)]
)
def test_the_time_counts_from_the_beginning_of_a_scan(
    runner: asyncio.Runner, requests: int, took: float, seconds: float
) -> None:
    """A scan that takes longer is followed at once."""
    report = ScanReport(requests=requests, seconds=took)
    result = begins(runner, report, report)
    assert result == pytest.approx([0, seconds, 2 * seconds])


def test_where_more_rows_are_due_the_next_scan_begins_at_once(runner: asyncio.Runner) -> None:
    """However many requests were sent."""
    full = ScanReport(claimed=200, requests=3, is_full=True, seconds=0.75)
    result = begins(runner, full, full, ScanReport(requests=2))
    assert result == pytest.approx([0, 0.75, 1.5, 3.5])


@pytest.mark.parametrize("fault", [MUX_DOWN, SUPABASE_DOWN], ids=["mux", "supabase"])
def test_the_pauses_of_an_outage_replace_the_rule(
    runner: asyncio.Runner, fault: Unavailable
) -> None:
    """They grow from one interval; after the outage the rule holds again."""
    sent = ScanReport(requests=1)
    result = begins(runner, sent, fault, fault, fault, sent)
    pauses = [later - earlier for earlier, later in pairwise(result)]
    assert pauses[0] == pytest.approx(1)
    assert pauses[1:4] == [pytest.approx(5 * 2**n, rel=0.21) for n in range(3)]
    assert pauses[4] == pytest.approx(1)


@pytest.mark.parametrize("error", [-HOUR, HOUR], ids=["back", "ahead"])
@pytest.mark.parametrize("report", [ScanReport(), ScanReport(requests=2)], ids=["idle", "busy"])
def test_a_wall_clock_that_is_set_moves_no_scan(
    runner: asyncio.Runner, report: ScanReport, error: float
) -> None:
    """Set during a scan or while the loop waits."""

    def set_clock(loop: FakeTimeLoop) -> None:
        loop.call_later(0.5, setattr, loop, "wall_clock_error", loop.wall_clock_error + error)

    result = begins(runner, report, report, report, on_scan=set_clock)
    seconds = report.requests or 5
    assert result == pytest.approx([n * seconds for n in range(4)])


def test_the_tick_is_moved_to_the_time_of_the_next_scan(
    runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is one job for it, and it does not tick at a fixed interval."""
    jobs: list[tuple[str, float]] = []

    def add_job(_scheduler: object, _job: object, trigger: str, **options: Any) -> None:
        if trigger == "date":
            at = options["run_date"].replace(tzinfo=None) - BEGAN
            jobs.append((options["id"], at.total_seconds()))

    monkeypatch.setattr("worker.daemon.loop.AsyncIOScheduler.add_job", add_job)
    begins(runner, ScanReport(requests=3), ScanReport())
    assert jobs == [("scan", 3), ("scan", 8), ("scan", 13)]


def test_a_table_that_is_gone_is_noticed_while_nothing_is_due(runner: asyncio.Runner) -> None:
    """The schema is checked again every minute, and where it does not fit the daemon ends."""
    service, stopping = Service(), asyncio.Event()

    async def scan() -> ScanReport:
        service.has_table = asyncio.get_running_loop().time() < 25
        return ScanReport()

    async def run() -> None:
        clock = asyncio.get_running_loop().time
        timing = Timing(20, shutdown_seconds=20, clock=clock)
        daemon = Daemon(service, service, scan, timing, stopping, Telemetry())
        await daemon.run(Retention(service, 90))

    with pytest.raises(SchemaRefused):
        runner.run(run())
    assert runner.get_loop().time() == pytest.approx(80)
