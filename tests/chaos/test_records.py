import pytest

from sandbox.mux.request_log import LoggedRequest
from tests.chaos.records import Lag, MuxRecord, no_log_lines, secrets_in
from tests.chaos.verdict import Kind, Violation


def request(began_at: float, status: int = 200) -> LoggedRequest:
    """Return a request that was answered at once."""
    return LoggedRequest(began_at, began_at, "GET", "/video/v1/assets", "", "GET …", status)


def record(
    *requests: LoggedRequest, thawed_at: float = -9.0, pause: tuple[float, float] = (-9.0, -9.0)
) -> MuxRecord:
    """Return what Mux recorded, while this process was never late."""
    return MuxRecord(requests, Lag(), (thawed_at,), (pause,))


def test_five_requests_a_second_are_allowed() -> None:
    """However the seconds are cut."""
    assert list(record(*(request(n / 5) for n in range(50))).over_budget()) == []


def test_seven_requests_in_a_second_are_found() -> None:
    """Once, whatever else is in order."""
    crowded = [request(3.0 + n / 8) for n in range(7)]
    (found,) = record(request(1.0), *crowded, request(9.0)).over_budget()
    text = "7 requests within a second, 6 are allowed: 0.00, 0.12, 0.25, 0.38, 0.50, 0.62, 0.75"
    assert found == Violation("budget", text)


def test_a_worker_that_was_stopped_may_send_one_more() -> None:
    """It had its turn before SIGSTOP, and sends its request after SIGCONT."""
    crowded = [request(3.0 + n / 8) for n in range(7)]
    assert list(record(*crowded, thawed_at=2.9).over_budget()) == []


def test_what_mux_itself_refuses_is_over_its_limit() -> None:
    """A 429 that nobody injected."""
    found = list(record(request(1.0, 429), request(5.0, 429)).over_budget())
    assert found == [Violation("budget", "Mux refused 2 requests over its limit")]


def test_a_request_before_the_end_of_a_pause_is_found() -> None:
    """Mux asked for three seconds, and a request came after two."""
    paused = record(request(1.0, 429), request(3.0), request(4.5), pause=(0.5, 1.5))
    text = "1 requests, the first 2.00 s after a 429 that asked for 3 s"
    assert list(paused.over_budget()) == [Violation("budget", text)]


@pytest.mark.parametrize(
    ("output", "kinds"),
    [
        ('{"event": "worker.started"}\n', []),
        ('{"event": "the-secret"}\n', ["secret"]),
        ("Traceback (most recent call last):\n", ["process"]),
        (f'{{"event": "{"x" * 8000}"}}\n', ["process"]),
        ("[1]\n", ["process"]),
    ],
    ids=["a line", "a secret", "a traceback", "a long line", "no object"],
)
def test_what_a_process_prints_is_judged(output: str, kinds: list[Kind]) -> None:
    """One JSON object a line, under 8,000 bytes, without a secret."""
    secrets = secrets_in([output], {"MUX_TOKEN_SECRET": "the-secret"})
    found = [*secrets, *no_log_lines([output])]
    assert [violation.kind for violation in found] == kinds
