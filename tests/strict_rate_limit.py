"""A rate limit that is stricter than Mux's."""

from sandbox.mux.rate_limit import RateLimit

BURST = 10
"""How many requests a busy machine may send at once: half a second's worth at 20 a second."""


class StrictRateLimit(RateLimit):
    """Allow a burst of `BURST` requests, where Mux allows a whole second's worth.

    The bucket also fills while the simulator itself is stalled, so a busy machine fails no test.
    """

    @property
    def _capacity(self) -> float:
        return BURST
