"""The clock of the simulated Mux, which tests and the demo can drive."""

import threading
import time


class Clock:
    """A clock in unix seconds that runs `speed` times as fast as real time."""

    def __init__(self, speed: float = 1.0) -> None:
        """Start at the current time."""
        self._speed = speed
        self._started_at = time.time()
        self._origin = time.monotonic()

    def now(self) -> float:
        """Return unix seconds; they never decrease."""
        return self._started_at + (time.monotonic() - self._origin) * self._speed


class ManualClock(Clock):
    """A clock that stands still until it is advanced."""

    def __init__(self, start: float = 1_750_000_000.0) -> None:
        """Start at `start`, in unix seconds."""
        self._now = start
        self._lock = threading.Lock()

    def now(self) -> float:
        """Return unix seconds."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Move forward by `seconds`; raises `ValueError` when they are negative."""
        if seconds < 0:
            raise ValueError(f"a clock cannot go back by {-seconds} s")
        with self._lock:
            self._now += seconds
