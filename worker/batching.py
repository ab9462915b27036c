"""How many rows a scan takes on, and for how long."""

from dataclasses import dataclass
from typing import Literal, Self

REQUESTS_A_ROW = 3
"""The most that Mux is asked about one row: its asset, its upload, the upload's asset."""


@dataclass(frozen=True, slots=True)
class Batching:
    """How many rows a scan may claim, how many of them it may ask for alone, and for how long."""

    size: int
    lease_seconds: float
    probes: int

    @classmethod
    def within(cls, size: int, lease_seconds: float, requests_per_second: float) -> Self:
        """Ask for no more rows one by one than there is time for in half a lease."""
        askable = int(lease_seconds / 2 * requests_per_second / REQUESTS_A_ROW)
        return cls(size, lease_seconds, max(1, min(size, askable)))

    def most(self, sweep: Literal["none", "ours", "others"]) -> int:
        """Give the most rows that a claim can hold: lists answer for more than probes can."""
        return self.size if sweep == "ours" else self.probes
