"""Keep an outage to two log lines and few questions: when it begins, when it ends."""

import random
import time
from collections.abc import Callable
from typing import Literal

from worker.errors import MuxUnauthorized, MuxUnavailable, Unavailable
from worker.telemetry.logs import get_logger

Service = Literal["mux", "supabase"]

FIRST_PAUSE, LONGEST_PAUSE = 1, 12
FIRST_UNAUTHORIZED_PAUSE, LONGEST_UNAUTHORIZED_PAUSE = 6, 60
"""Pauses, in scan intervals: a worker that scans often also notices early that an outage is over.

A refused token pauses longer, since a person has to act before asking again can help.
"""

LONGEST_PAUSE_SECONDS = 60.0
LONGEST_UNAUTHORIZED_PAUSE_SECONDS = 300.0
"""Bounds for long intervals, beyond which only the interval itself may go."""

LONGEST_WISH_SECONDS = 3600.0
"""The most of a `Retry-After` that is honoured: a header that is a mistake must not silence us."""

_OUT: dict[Service, str] = {"mux": "mux.unavailable", "supabase": "supabase.unavailable"}
_RECOVERED: dict[Service, str] = {"mux": "mux.recovered", "supabase": "supabase.recovered"}

log = get_logger()


class Outage:
    """A service that does not answer: since when, and when to ask it again.

    One line when it begins; another only if it turns into something that needs an operator, into
    something else that does, or back: each asks for something else to be done.
    Pauses begin at one scan interval (six for a refused token) and double each time.
    """

    def __init__(
        self,
        service: Service,
        interval_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._service = service
        self._interval = interval_seconds
        self._clock = clock
        self._began: float | None = None
        self._announced: str | None = None
        self._pauses = 0
        self._next_try = 0.0

    @property
    def is_on(self) -> bool:
        """Whether the service was not answering when it was last asked."""
        return self._began is not None

    @property
    def seconds_to_next_try(self) -> float:
        """Seconds until the service should be asked again; 0 when it may be asked now."""
        return max(0.0, self._next_try - self._clock()) if self.is_on else 0.0

    def note(self, fault: Unavailable) -> None:
        """Note that the service did not answer, and say so if that is news."""
        now = self._clock()
        if self._began is None:
            self._began, self._pauses = now, 0
        news = fault.reason if fault.needs_operator else "passes"
        if news != self._announced:
            self._announced = news
            self._say(fault)
        first, longest = _pauses(fault, self._interval)
        pause = min(first * 2 ** min(self._pauses, 10), longest) * random.uniform(0.8, 1.2)  # noqa: S311  # jitter
        if isinstance(fault, MuxUnavailable) and fault.retry_after_seconds is not None:
            pause = max(pause, min(fault.retry_after_seconds, LONGEST_WISH_SECONDS))
        self._pauses += 1
        self._next_try = now + pause

    def end(self, rows_waiting: int | None = None) -> None:
        """Note that the service answers again, and say how long it did not."""
        if self._began is None:
            return
        seconds = round(self._clock() - self._began, 1)
        self._began = self._announced = None
        fields = {} if rows_waiting is None else {"rows_waiting": rows_waiting}
        log.info(_RECOVERED[self._service], outage_seconds=seconds, **fields)

    def _say(self, fault: Unavailable) -> None:
        event = "mux.unauthorized" if isinstance(fault, MuxUnauthorized) else _OUT[self._service]
        speak = log.error if fault.needs_operator else log.warning
        speak(event, reason=fault.reason, message=fault.message)


def _pauses(fault: Unavailable, interval: float) -> tuple[float, float]:
    """Give the first and the longest pause in seconds: 5 and 60 at the default interval of 5."""
    first, longest, bound = FIRST_PAUSE, LONGEST_PAUSE, LONGEST_PAUSE_SECONDS
    if isinstance(fault, MuxUnauthorized):
        first, longest = FIRST_UNAUTHORIZED_PAUSE, LONGEST_UNAUTHORIZED_PAUSE
        bound = LONGEST_UNAUTHORIZED_PAUSE_SECONDS
    bound = max(interval, min(longest * interval, bound))
    return min(first * interval, bound), bound
