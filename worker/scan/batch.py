"""The rows that a scan leases: the batch, and the limits of its size."""

from dataclasses import dataclass
from typing import Self

from worker.model import Claim, RequestSlots

MAX_REQUESTS_PER_ROW = 3  # to probe it: its asset, its upload, the upload's asset
MIN_PROBE_SECONDS = 5.0  # also with a shorter scan interval: one response takes up to a second


@dataclass(frozen=True, slots=True)
class ClaimedBatch:
    """Rows leased to this worker, and the Mux environment in which our ids were last found.

    While webhooks arrive (`events_arrive`), rows are checked less often. `left_to_others`: whether
    another worker is the leader, which alone is given the rows that are due. `slot`: when a request
    to Mux may be sent, which the claim has reserved.
    """

    claims: tuple[Claim, ...]
    environment_id: str | None
    events_arrive: bool = False
    more_are_due: bool = False
    left_to_others: bool = False
    slot: RequestSlots | None = None

    @property
    def more_live_are_due(self) -> bool:
        """Whether more live rows are due, which come first: not where a backfill's were claimed."""
        return self.more_are_due and not any(claim.is_backlog for claim in self.claims)


@dataclass(frozen=True, slots=True)
class ClaimLimits:
    """How many rows a claim may lease and a scan may probe, and how long it begins new probes."""

    batch_size: int
    lease_seconds: float
    max_probes: int
    probe_seconds: float = MIN_PROBE_SECONDS
    requests_per_second: float | None = None

    @classmethod
    def within_lease(
        cls, batch_size: int, lease_seconds: float, per_second: float, interval_seconds: float
    ) -> Self:
        """Return limits by which probing takes at most half a lease and one scan interval."""
        affordable = int(lease_seconds / 2 * per_second / MAX_REQUESTS_PER_ROW)
        max_probes = max(1, min(batch_size, affordable))
        probe_seconds = max(interval_seconds, MIN_PROBE_SECONDS)
        return cls(batch_size, lease_seconds, max_probes, probe_seconds, per_second)
