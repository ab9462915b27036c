"""Repeat a request to Mux, with exponential backoff, for as long as that is worth it."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_exponential_jitter

from worker.errors import MuxUnauthorized, MuxUnavailable
from worker.shutdown import sleep_unless_stopping
from worker.telemetry.hooks import Telemetry
from worker.telemetry.logs import LogThrottle, get_logger

ATTEMPTS = 4
RETRY_WITHIN_SECONDS = 10.0
LONGEST_PATIENCE_SECONDS = 10.0
"""A `Retry-After` beyond this ends the pass; rows are not held for it."""

T = TypeVar("T")

log = get_logger()


@dataclass(frozen=True, slots=True)
class Tries:
    """How often a request is tried in all, and how long after its beginning once more.

    `faults` is for no answer, or one that makes no sense; `refusals` for a 401 or 403. A request
    that Mux's rate limit has stopped (429) is tried `ATTEMPTS` times.
    """

    faults: int = ATTEMPTS
    refusals: int = 1
    within_seconds: float = RETRY_WITHIN_SECONDS

    def of(self, fault: Exception | None) -> int:
        """Return how often a request that ended with this fault is tried."""
        if isinstance(fault, MuxUnauthorized):
            return self.refusals
        limited = isinstance(fault, MuxUnavailable) and fault.is_rate_limit
        return ATTEMPTS if limited else self.faults


class Patience:
    """Repeats a request to Mux that failed, a few times; not through a shutdown."""

    def __init__(self, stopping: asyncio.Event, telemetry: Telemetry | None = None) -> None:
        self._stopping = stopping
        self._telemetry = telemetry or Telemetry()
        self._said = LogThrottle(60)

    async def repeat(self, request: Callable[[], Coroutine[Any, Any, T]], tries: Tries) -> T:
        """Return the first result.

        Raises the last MuxUnavailable or MuxUnauthorized when patience ends.
        """
        retrying = AsyncRetrying(
            retry=retry_if_exception_type((MuxUnavailable, MuxUnauthorized)),
            stop=partial(self._is_over, tries=tries),
            wait=_pause,
            sleep=partial(sleep_unless_stopping, stopping=self._stopping),
            before_sleep=self._say,
            reraise=True,
        )
        result: T = await retrying(request)
        return result

    def _is_over(self, state: RetryCallState, tries: Tries) -> bool:
        tried_again_at = (state.seconds_since_start or 0) + state.upcoming_sleep
        return (
            self._stopping.is_set()
            or state.attempt_number >= tries.of(_fault(state))
            or tried_again_at >= tries.within_seconds
            or _wish_of_mux(state) > LONGEST_PATIENCE_SECONDS
        )

    def _say(self, state: RetryCallState) -> None:
        fault = _fault(state)
        if fault is not None:
            self._telemetry.mux_retried(fault.reason)
        if fault is not None and self._said.allow(fault.reason):
            log.info(
                "mux.retry",
                reason=fault.reason,
                message=fault.message,
                attempt=state.attempt_number,
                pause_seconds=round(state.upcoming_sleep, 2),
            )


def _fault(state: RetryCallState) -> MuxUnavailable | MuxUnauthorized | None:
    error = state.outcome.exception() if state.outcome else None
    return error if isinstance(error, MuxUnavailable | MuxUnauthorized) else None


def _wish_of_mux(state: RetryCallState) -> float:
    fault = _fault(state)
    return (fault.retry_after_seconds or 0.0) if isinstance(fault, MuxUnavailable) else 0.0


def _pause(state: RetryCallState) -> float:
    backoff = wait_exponential_jitter(multiplier=0.5, max=8, jitter=0.5)(state)
    return max(backoff, _wish_of_mux(state))
