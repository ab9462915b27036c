"""Repeat a request while its service is unavailable, with exponential backoff."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import tenacity
from tenacity import RetryCallState

from worker.errors import Unavailable
from worker.shutdown import sleep_unless_stopping

MAX_ATTEMPTS = 4
MAX_RETRY_AFTER_SECONDS = 10.0
"""A longer `Retry-After` ends the scan: rows are not held for it."""

T = TypeVar("T")
OnRetry = Callable[[Unavailable, int, float], None]
"""Called before each pause, with the error, the number of attempts so far, and the seconds."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Repeats failed requests to one service, until the worker stops.

    The pauses double, each with jitter up to the first one, and are no shorter than `Retry-After`.
    """

    stopping: asyncio.Event
    first_pause_seconds: float
    max_pause_seconds: float
    on_retry: OnRetry = lambda *_: None

    async def run(
        self,
        request: Callable[[], Coroutine[Any, Any, T]],
        max_attempts: Callable[[Unavailable], float],
        seconds: float,
    ) -> T:
        """Return the result of the first attempt that succeeds; raise the error of the last one.

        `max_attempts` is the number of attempts in all, by the error of the latest one. No attempt
        begins later than `seconds` after the first.
        """
        first, longest = self.first_pause_seconds, self.max_pause_seconds
        backoff = tenacity.wait_exponential_jitter(multiplier=first, max=longest, jitter=first)
        is_too_late = tenacity.stop_before_delay(seconds)
        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(Unavailable),
            wait=lambda state: max(backoff(state), _retry_after(state)),
            stop=lambda state: (
                self.stopping.is_set()
                or state.attempt_number >= max_attempts(_error(state))
                or _retry_after(state) > MAX_RETRY_AFTER_SECONDS
                or is_too_late(state)
            ),
            before_sleep=lambda state: self.on_retry(
                _error(state), state.attempt_number, state.upcoming_sleep
            ),
            sleep=partial(sleep_unless_stopping, stopping=self.stopping),
            reraise=True,
        )
        result: T = await retrying(request)
        return result


def _error(state: RetryCallState) -> Unavailable:
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, Unavailable)  # noqa: S101  # nothing else is retried
    return error


def _retry_after(state: RetryCallState) -> float:
    return _error(state).retry_after_seconds or 0.0
