"""How long the command `scan` goes on, and what it counts."""

import argparse
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pytest_mock import MockerFixture

from worker.cli import scan
from worker.cli.exit_codes import DONE
from worker.telemetry import logs
from worker.telemetry.scan_report import ScanReport

SUMMARY = {"processing": 5, "due": 5, "stuck": 0, "error": 0, "unplayable": 0}


class FakeParts:
    """A store with five due rows, and a scanner whose scans are given beforehand."""

    def __init__(self, *scans: ScanReport) -> None:
        self._left = list(scans)
        self.scans = 0

    async def check_schema(self) -> None:
        """Find nothing amiss."""

    async def summary(self) -> dict[str, int]:
        """Count rows."""
        return SUMMARY

    async def scan(self) -> ScanReport:
        """Do the next scan; the last one again and again."""
        self.scans += 1
        return self._left.pop(0) if len(self._left) > 1 else self._left[0]

    @asynccontextmanager
    async def parts(self, *_: Any, **__: Any) -> AsyncIterator[tuple[None, Any, Any, None]]:
        """Stand for all parts."""
        yield None, self, self, None


FULL = ScanReport(claimed=4, released=2, outcomes=Counter(waiting=2), is_full=True)
LAST = ScanReport(claimed=1, outcomes=Counter(published=1))
FOUND = ScanReport(claimed=1, outcomes=Counter(published=4), unclaimed=3, is_full=True)


@pytest.mark.parametrize(
    ("scans", "done", "result"),
    [
        ([FULL, LAST], 2, "Checked 3 lessons: 2 waiting, 1 published."),
        ([FULL], 3, "Checked 6 lessons: 6 waiting."),
        ([FOUND], 2, "Checked 8 lessons: 8 published."),
    ],
    ids=["until no more are due", "not again at what is due again", "what lists settled counts"],
)
def test_a_scan_ends_when_all_that_was_due_has_been_looked_at(
    scans: list[ScanReport],
    done: int,
    result: str,
    monkeypatch: pytest.MonkeyPatch,
    mocker: MockerFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Rows that were handed back count when they are looked at, and none is waited for."""
    for name in ("SUPABASE_SERVICE_ROLE_KEY", "MUX_TOKEN_ID", "MUX_TOKEN_SECRET"):
        monkeypatch.setenv(name, "sb_secret_x")
    monkeypatch.setenv("SUPABASE_URL", "http://127.0.0.1:9")
    fake = FakeParts(*scans)
    mocker.patch("worker.app.parts", fake.parts)
    mocker.patch("worker.shutdown.Signals.listen")
    mocker.patch.object(logs, "configure")
    assert scan.run(argparse.Namespace(env_file=None)) == DONE
    assert fake.scans == done
    assert capsys.readouterr().out.splitlines()[0] == result
