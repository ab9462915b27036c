import asyncio
from collections.abc import Callable

import pytest

from worker.errors import MuxUnavailable, SupabaseUnavailable, Unavailable
from worker.retry import OnRetry, RetryPolicy

DOWN = SupabaseUnavailable("timeout", "No response.")


class Service:
    """A service that raises the given errors in turn, then returns `done`."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.attempts = 0

    async def request(self) -> str:
        """Count an attempt."""
        self.attempts += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


def policy(
    stopping: asyncio.Event | None = None, pause: float = 0.001, on_retry: OnRetry = lambda *_: None
) -> RetryPolicy:
    """Return a policy whose pauses all have the same length."""
    return RetryPolicy(
        stopping or asyncio.Event(),
        first_pause_seconds=pause,
        max_pause_seconds=pause,
        on_retry=on_retry,
    )


def attempts(number: float) -> Callable[[Unavailable], float]:
    """Return a limit that is the same for every error."""
    return lambda _: number


async def test_a_request_is_repeated_until_it_succeeds() -> None:
    """Each pause is reported with the error before it."""
    reported: list[tuple[Unavailable, int]] = []
    retrying = policy(on_retry=lambda error, attempt, _: reported.append((error, attempt)))
    service = Service(DOWN, DOWN)
    assert await retrying.run(service.request, attempts(3), 10) == "done"
    assert reported == [(DOWN, 1), (DOWN, 2)]


async def test_the_error_of_the_last_attempt_is_raised() -> None:
    """After the number of attempts that it allows."""
    last = SupabaseUnavailable("connection", "Reset.")
    service = Service(DOWN, last, DOWN)
    with pytest.raises(SupabaseUnavailable) as raised:
        await policy().run(service.request, attempts(2), 10)
    assert (raised.value, service.attempts) == (last, 2)


async def test_a_programming_error_is_raised_at_once() -> None:
    """Only an unavailable service is asked again."""
    service = Service(ValueError("wrong"))
    with pytest.raises(ValueError, match="wrong"):
        await policy().run(service.request, attempts(9), 10)
    assert service.attempts == 1


async def test_no_attempt_begins_after_the_deadline() -> None:
    """The pause before it counts."""
    service = Service(DOWN)
    with pytest.raises(SupabaseUnavailable):
        await policy(pause=5).run(service.request, attempts(9), 4)
    assert service.attempts == 1


async def test_a_pause_is_as_long_as_retry_after() -> None:
    """Where that is longer than the backoff."""
    service = Service(MuxUnavailable("rate_limited", "Too many.", 0.05))
    pauses: list[float] = []
    retrying = policy(on_retry=lambda _error, _attempt, pause: pauses.append(pause))
    assert await retrying.run(service.request, attempts(2), 60) == "done"
    assert pauses == [0.05]


async def test_a_long_retry_after_ends_the_retries() -> None:
    """Rows are not held for more than ten seconds."""
    service = Service(MuxUnavailable("rate_limited", "Too many.", 10.5))
    with pytest.raises(MuxUnavailable):
        await policy().run(service.request, attempts(2), 60)
    assert service.attempts == 1


async def test_a_stop_ends_the_pause_and_the_retries() -> None:
    """The attempt after the pause is the last one."""
    stopping = asyncio.Event()
    service = Service(*[DOWN] * 9)
    retrying = policy(stopping, pause=60, on_retry=lambda *_: stopping.set())
    with pytest.raises(SupabaseUnavailable):
        await retrying.run(service.request, attempts(9), 99)
    assert service.attempts == 2
