"""Repeat a request while its service is unavailable, with exponential backoff."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_exponential_jitter

from worker.errors import Unavailable
from worker.shutdown import sleep_unless_stopping

MAX_ATTEMPTS = 4
MAX_RETRY_AFTER_SECONDS = 10.0
"""A longer `Retry-After` ends the scan: rows are not held for it."""

T = TypeVar("T")
OnRetry = Callable[[Unavailable, int, float], None]
"""Called before each pause, with the error, the number of attempts so far, and the seconds."""


class RetryPolicy:
    """Repeats failed requests to one service, until the worker stops.

    The pauses double, each with jitter up to the first one, and are no shorter than `Retry-After`.
    """

    def __init__(
        self,
        stopping: asyncio.Event,
        *,
        first_pause_seconds: float,
        max_pause_seconds: float,
        on_retry: OnRetry | None = None,
    ) -> None:
        self._stopping = stopping
        self._backoff = wait_exponential_jitter(
            multiplier=first_pause_seconds, max=max_pause_seconds, jitter=first_pause_seconds
        )
        self._on_retry = on_retry

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
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(Unavailable),
            stop=partial(self._is_over, max_attempts=max_attempts, seconds=seconds),
            wait=lambda state: max(self._backoff(state), _retry_after(_error(state))),
            sleep=partial(sleep_unless_stopping, stopping=self._stopping),
            before_sleep=self._report,
            reraise=True,
        )
        result: T = await retrying(request)
        return result

    def _is_over(
        self,
        state: RetryCallState,
        max_attempts: Callable[[Unavailable], float],
        seconds: float,
    ) -> bool:
        error = _error(state)
        return (
            self._stopping.is_set()
            or state.attempt_number >= max_attempts(error)
            or (state.seconds_since_start or 0) + state.upcoming_sleep >= seconds
            or _retry_after(error) > MAX_RETRY_AFTER_SECONDS
        )

    def _report(self, state: RetryCallState) -> None:
        if self._on_retry is not None:
            self._on_retry(_error(state), state.attempt_number, state.upcoming_sleep)


def _error(state: RetryCallState) -> Unavailable:
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, Unavailable)  # noqa: S101  # nothing else is retried
    return error


def _retry_after(error: Unavailable) -> float:
    return error.retry_after_seconds or 0.0
