"""How many rows a scan takes on, and for how long."""

from dataclasses import dataclass
from typing import Literal, Self

REQUESTS_A_ROW = 3
"""The most that Mux is asked about one row: its asset, its upload, the upload's asset."""

PROBE_SECONDS_AT_LEAST = 5.0
"""What a probe may take also where scans are closer together: Mux needs up to a second."""


@dataclass(frozen=True, slots=True)
class Batching:
    """How many rows a scan may claim, how many of them it may probe, and for how long."""

    size: int
    lease_seconds: float
    probes: int
    probe_seconds: float = PROBE_SECONDS_AT_LEAST
    """After so many seconds a scan begins no further probe."""

    @classmethod
    def within(
        cls, size: int, lease_seconds: float, requests_per_second: float, interval_seconds: float
    ) -> Self:
        """Probe no more rows than half a lease has time for, and no longer than an interval."""
        askable = int(lease_seconds / 2 * requests_per_second / REQUESTS_A_ROW)
        probes = max(1, min(size, askable))
        return cls(size, lease_seconds, probes, probe_seconds(interval_seconds))

    def most(self, sweep: Literal["none", "ours", "others"]) -> int:
        """Give the most rows that a claim can hold: lists answer for more than probes can."""
        return self.size if sweep == "ours" else self.probes


def probe_seconds(interval_seconds: float) -> float:
    """Return how long one probe, with its repeat, may hold a scan: a scan interval."""
    return max(interval_seconds, PROBE_SECONDS_AT_LEAST)
