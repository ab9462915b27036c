"""The loop of scans notices what a scan with nothing due does not."""

import asyncio
from typing import Any

import pytest

from worker.daemon import loop
from worker.daemon.loop import Daemon, Timing
from worker.daemon.retention import Retention
from worker.errors import SchemaOutdated, SupabaseUnavailable
from worker.telemetry.hooks import Telemetry
from worker.telemetry.scan_report import ScanReport


class Service:
    """A Mux and a database with nothing to do, whose table is dropped after the second scan."""

    scans = 0

    async def check(self) -> None:
        """Answer."""

    async def check_schema(self) -> None:
        """Have the table at first."""
        if self.scans >= 2:
            raise SchemaOutdated("schema_outdated", "The database lacks files of sql/.")

    async def summary(self) -> dict[str, Any]:
        """Return that no rows are due."""
        return {"due": 0}

    async def prune_events(self, older_than_days: int, at_most: int) -> int:
        """Have nothing to remove."""
        return 0

    async def scan(self) -> ScanReport:
        """Scan with nothing due."""
        self.scans += 1
        return ScanReport(is_full=True)


async def test_a_table_that_is_gone_is_noticed_while_nothing_is_due(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The schema is checked again from time to time, and no scan begins until it fits."""
    monkeypatch.setattr(loop, "SCHEMA_CHECK_SECONDS", -1.0)
    service, stopping = Service(), asyncio.Event()
    failed = list[SupabaseUnavailable]()

    class Stops(Telemetry):
        def scan_failed(self, error: Exception) -> None:
            assert isinstance(error, SchemaOutdated)
            failed.append(error)
            stopping.set()

    timing = Timing(interval_seconds=3600, shutdown_seconds=20)
    daemon = Daemon(service, service, service.scan, timing, stopping, Stops())
    await asyncio.wait_for(daemon.run(Retention(service, 90)), 30)
    assert (service.scans, len(failed)) == (2, 1)
