"""Keep the last scans in memory, for the dashboard and the health checks."""

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from worker.errors import MuxUnauthorized, MuxUnavailable, Unavailable
from worker.telemetry.hooks import Telemetry
from worker.telemetry.scan_report import ScanReport

MAX_ENTRIES = 30

Service = Literal["mux", "supabase"]


@dataclass(frozen=True, slots=True)
class ScanEntry:
    """One scan, or consecutive scans that were idle or that the same error ended."""

    ended_at: float
    """Unix seconds at which the last of them ended."""

    times: int = 1
    claimed: int = 0
    outcomes: Mapping[str, int] = field(default_factory=dict)
    requests: int = 0
    seconds: float = 0.0
    error: str | None = None
    left_to_others: bool = False

    @property
    def is_idle(self) -> bool:
        """Whether there was nothing to do."""
        return not (self.claimed or self.outcomes or self.requests or self.error)

    def can_merge(self, other: "ScanEntry") -> bool:
        """Whether the two can be shown as one entry."""
        both_idle = self.is_idle and other.is_idle
        return both_idle or (self.error is not None and self.error == other.error)


@dataclass(frozen=True, slots=True)
class OutageState:
    """Why a service does not answer as it should, and since when, in unix seconds."""

    since: float
    reason: str
    message: str
    needs_operator: bool


class ScanHistory(Telemetry):
    """Records the last scans; the current outages come from the scan loop."""

    def __init__(
        self,
        outages: Callable[[], Mapping[Service, OutageState]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._outages = outages
        self._clock = clock
        self._entries: deque[ScanEntry] = deque(maxlen=MAX_ENTRIES)
        self.started_at = clock()

    @property
    def outages(self) -> Mapping[Service, OutageState]:
        """Return the outages under way."""
        return self._outages()

    @property
    def newest_first(self) -> list[ScanEntry]:
        """Return the scans, the newest first."""
        return list(reversed(self._entries))

    def scan_finished(self, report: ScanReport) -> None:
        """Record a scan that was completed."""
        self._append(
            ScanEntry(
                self._clock(),
                claimed=report.claimed,
                outcomes=dict(sorted(report.outcomes.items())),
                requests=report.requests,
                seconds=report.seconds,
                left_to_others=report.left_to_others,
            )
        )

    def scan_failed(self, error: Unavailable) -> None:
        """Record a scan that an error ended."""
        is_of_mux = isinstance(error, MuxUnavailable | MuxUnauthorized)
        service: Service = "mux" if is_of_mux else "supabase"
        self._append(ScanEntry(self._clock(), error=f"{service}: {error.reason}"))

    def _append(self, entry: ScanEntry) -> None:
        if self._entries and self._entries[-1].can_merge(entry):
            entry = replace(entry, times=self._entries.pop().times + 1)
        self._entries.append(entry)
