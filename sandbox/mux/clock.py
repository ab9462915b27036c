"""The clock of the simulated Mux, which tests and the demo can drive."""

import threading
import time


class Clock:
    """Give the time in unix seconds, as it passes, `speed` times as fast as outside."""

    def __init__(self, speed: float = 1.0) -> None:
        """Begin at the present moment."""
        self._speed = speed
        self._began = time.time()
        self._origin = time.monotonic()

    def now(self) -> float:
        """Give unix seconds; never goes back."""
        return self._began + (time.monotonic() - self._origin) * self._speed


class ManualClock(Clock):
    """A clock that stands still until it is advanced."""

    def __init__(self, start: float = 1_750_000_000.0) -> None:
        """Begin at `start`, in unix seconds."""
        self._now = start
        self._lock = threading.Lock()

    def now(self) -> float:
        """Give unix seconds."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass; raises `ValueError` when they are negative."""
        if seconds < 0:
            raise ValueError(f"a clock cannot go back by {-seconds} s")
        with self._lock:
            self._now += seconds
