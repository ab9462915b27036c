"""A rate limit that forgives less than Mux's."""

from sandbox.mux.auth import RateLimit

SPARE = 10
"""What a busy machine may bunch together: half a second's worth at twenty a second."""


class Tight(RateLimit):
    """Allows at any time so many a second, and a few more; unlike Mux's, not a second's worth more.

    Time in which the simulator itself stood still counts too, so that a busy machine fails no test.
    """

    @property
    def _size(self) -> float:
        return SPARE
