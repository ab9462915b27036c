"""Log the beginning and the end of an outage, and lengthen the pauses between its tries."""

import random
import time
from collections.abc import Callable

from worker.errors import MuxUnauthorized, Unavailable
from worker.telemetry.logs import get_logger
from worker.telemetry.scan_history import OutageState, Service

FIRST_PAUSE, MAX_PAUSE = 1, 12
FIRST_UNAUTHORIZED_PAUSE, MAX_UNAUTHORIZED_PAUSE = 6, 60
"""Pauses, in scan intervals: a worker that scans often also notices early that an outage is over.

After a refused token they are longer, since only an operator can end that.
"""

MAX_PAUSE_SECONDS = 60.0
MAX_UNAUTHORIZED_PAUSE_SECONDS = 300.0
"""Bounds for long intervals; only a single interval may be longer."""

MAX_RETRY_AFTER_SECONDS = 3600.0
"""The longest `Retry-After` that is honoured: a mistaken header must not stop the worker."""

_UNAVAILABLE: dict[Service, str] = {"mux": "mux.unavailable", "supabase": "supabase.unavailable"}
_RECOVERED: dict[Service, str] = {"mux": "mux.recovered", "supabase": "supabase.recovered"}

log = get_logger()


class Outage:
    """Whether a service does not answer as it should, since when, and when to try it again.

    The beginning is one log line. Another is logged when the operator has something else to do.
    Pauses begin at one scan interval (six for a refused token) and double each time. Jitter only
    shortens them, so that the longest is a bound.
    """

    def __init__(
        self,
        service: Service,
        interval_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.service = service
        self._interval = interval_seconds
        self._clock = clock
        self._began = 0.0
        self._logged: str | None = None
        self._pauses = 0
        self._next_try = 0.0
        self.state: OutageState | None = None
        """Why the service did not answer when it was last tried; None if it did."""

    @property
    def is_ongoing(self) -> bool:
        """Whether the service did not answer when it was last tried."""
        return self.state is not None

    @property
    def seconds_to_next_try(self) -> float:
        """Seconds until the service should be tried again; 0 without an outage."""
        return max(0.0, self._next_try - self._clock()) if self.is_ongoing else 0.0

    def record(self, error: Unavailable) -> None:
        """Record that the service did not answer, and log it if the reason is new."""
        now = self._clock()
        if self.state is None:
            self._began, self._pauses = now, 0
        since = self.state.since if self.state else time.time()
        self.state = OutageState(since, error.reason, error.message, error.needs_operator)
        reason = error.reason if error.needs_operator else "transient"
        if reason != self._logged:
            self._logged = reason
            self._log(error)
        self._next_try = now + self._next_pause(error)

    def end(self, rows_waiting: int | None = None) -> None:
        """Record that the service answers, and log how long the outage was, if there was one."""
        if self.state is None:
            return
        self.state = self._logged = None
        seconds = round(self._clock() - self._began, 1)
        fields = {} if rows_waiting is None else {"rows_waiting": rows_waiting}
        log.info(_RECOVERED[self.service], outage_seconds=seconds, **fields)

    def _next_pause(self, error: Unavailable) -> float:
        first, longest = _pauses(error, self._interval)
        jitter = random.uniform(0.8, 1.0)  # noqa: S311
        pause: float = min(first * 2 ** min(self._pauses, 10), longest) * jitter
        self._pauses += 1
        if error.retry_after_seconds is not None:
            return max(pause, min(error.retry_after_seconds, MAX_RETRY_AFTER_SECONDS))
        return pause

    def _log(self, error: Unavailable) -> None:
        is_refusal = isinstance(error, MuxUnauthorized)
        event = "mux.unauthorized" if is_refusal else _UNAVAILABLE[self.service]
        write = log.error if error.needs_operator else log.warning
        write(event, reason=error.reason, message=error.message)


def _pauses(error: Unavailable, interval: float) -> tuple[float, float]:
    """Return the first and the longest pause in seconds: 5 and 60 at the default interval of 5."""
    first, longest, bound = FIRST_PAUSE, MAX_PAUSE, MAX_PAUSE_SECONDS
    if isinstance(error, MuxUnauthorized):
        first, longest = FIRST_UNAUTHORIZED_PAUSE, MAX_UNAUTHORIZED_PAUSE
        bound = MAX_UNAUTHORIZED_PAUSE_SECONDS
    bound = max(interval, min(longest * interval, bound))
    return min(first * interval, bound), bound
