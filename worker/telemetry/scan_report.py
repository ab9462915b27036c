"""Count what one scan did."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class ScanReport:
    """Rows claimed and released, outcomes by name, requests to Mux, and seconds of one scan."""

    claimed: int = 0
    released: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    seconds: float = 0.0
    is_full: bool = False
    """Whether more rows are due."""

    left_to_others: bool = False
    """Whether the due rows were left to another worker, which is the leader."""

    unclaimed: int = 0
    """Rows that Mux's lists settled although no worker had claimed them."""

    @property
    def looked_at(self) -> int:
        """Return the number of rows whose state is known now."""
        return self.claimed - self.released + self.unclaimed
