"""Retry requests to Mux with exponential backoff."""

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

MAX_ATTEMPTS = 4
MAX_RETRY_SECONDS = 10.0
MAX_RETRY_AFTER_SECONDS = 10.0
"""A longer `Retry-After` ends the scan: rows are not held for it."""

T = TypeVar("T")

log = get_logger()


@dataclass(frozen=True, slots=True)
class RetryLimits:
    """How many attempts a request has in all, and how long after the first the last may begin.

    `faults` counts for no response or an unusable one, `unauthorized` for a 401 or 403. A request
    that is rate limited (429) has `MAX_ATTEMPTS`.
    """

    faults: int = MAX_ATTEMPTS
    unauthorized: int = 1
    seconds: float = MAX_RETRY_SECONDS

    def max_attempts(self, fault: Exception | None) -> int:
        """Return the number of attempts after this fault."""
        if isinstance(fault, MuxUnauthorized):
            return self.unauthorized
        is_rate_limit = isinstance(fault, MuxUnavailable) and fault.is_rate_limit
        return MAX_ATTEMPTS if is_rate_limit else self.faults


class RetryPolicy:
    """Repeats failed requests to Mux, until the worker stops."""

    def __init__(self, stopping: asyncio.Event, telemetry: Telemetry | None = None) -> None:
        self._stopping = stopping
        self._telemetry = telemetry or Telemetry()
        self._logged = LogThrottle(60)

    async def run(self, request: Callable[[], Coroutine[Any, Any, T]], limits: RetryLimits) -> T:
        """Return the result of the first attempt that succeeds.

        Raises MuxUnavailable or MuxUnauthorized from the last attempt.
        """
        retrying = AsyncRetrying(
            retry=retry_if_exception_type((MuxUnavailable, MuxUnauthorized)),
            stop=partial(self._is_over, limits=limits),
            wait=_wait,
            sleep=partial(sleep_unless_stopping, stopping=self._stopping),
            before_sleep=self._log,
            reraise=True,
        )
        result: T = await retrying(request)
        return result

    def _is_over(self, state: RetryCallState, limits: RetryLimits) -> bool:
        next_attempt_at = (state.seconds_since_start or 0) + state.upcoming_sleep
        return (
            self._stopping.is_set()
            or state.attempt_number >= limits.max_attempts(_fault(state))
            or next_attempt_at >= limits.seconds
            or _retry_after(state) > MAX_RETRY_AFTER_SECONDS
        )

    def _log(self, state: RetryCallState) -> None:
        fault = _fault(state)
        if fault is None:
            return
        self._telemetry.mux_retried(fault.reason)
        if self._logged.allow(fault.reason):
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


def _retry_after(state: RetryCallState) -> float:
    fault = _fault(state)
    return (fault.retry_after_seconds or 0.0) if isinstance(fault, MuxUnavailable) else 0.0


def _wait(state: RetryCallState) -> float:
    backoff = wait_exponential_jitter(multiplier=0.5, max=8, jitter=0.5)(state)
    return max(backoff, _retry_after(state))
