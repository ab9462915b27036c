"""Keep requests to Mux under the rate limit by giving each its turn."""

import asyncio
import time


class Pace:
    """Turns at most `per_second` apart on average, in the order they were asked for.

    Holds for one process. Turns that were not taken are not saved up, so that a burst after a
    quiet time stays within what Mux allows.
    """

    def __init__(self, per_second: float) -> None:
        self._gap = 1 / per_second
        self._next = 0.0

    async def turn(self) -> None:
        """Wait for the next turn."""
        now = time.monotonic()
        at = max(now, self._next)
        self._next = at + self._gap
        if at > now:
            await asyncio.sleep(at - now)

    def hold(self, seconds: float) -> None:
        """Give no turn for some seconds: Mux said that its patience is used up."""
        self._next = max(self._next, time.monotonic() + seconds)
