"""Slow down who guesses the operators' token. Pure, but for the clock.

Not by address: behind a platform's router all have one, and `X-Forwarded-For` says whatever whoever
asks likes. Who has entered before, with the same browser, has a lane of her own, and so have those
who show a token in a header, of whom only the wrong ones wait: guessing keeps no operator out.
"""

import time
from collections.abc import Callable
from typing import Literal

Lane = Literal["strangers", "known", "headers"]

BURST = 8
"""So many wrong tokens at once cost nothing but themselves."""

SECONDS_EACH = 2.0
"""So often one more may be tried after that: nobody waits longer after the last wrong one."""


class Slowing:
    """Counts wrong tokens in three lanes; they are forgotten one by one as time goes by."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._free_at: dict[Lane, float] = {"strangers": 0.0, "known": 0.0, "headers": 0.0}

    def seconds_to_wait(self, lane: Lane) -> float:
        """Tell in how many seconds a token may be tried; 0 is now."""
        debt = self._free_at[lane] - self._clock()
        return max(0.0, debt - (BURST - 1) * SECONDS_EACH)

    def failed(self, lane: Lane) -> None:
        """Note a wrong token."""
        self._free_at[lane] = max(self._free_at[lane], self._clock()) + SECONDS_EACH
