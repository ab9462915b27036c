from collections.abc import Sequence

import pytest

from worker.doctor.webhook_check import judge


@pytest.mark.parametrize(
    ("statuses", "health", "seen"),
    [
        ([200, 401], "ok", "here:1 accepts signed events and rejects forged ones"),
        ([200, 200, 401], "ok", "here:1 accepts signed events and rejects forged ones"),
        (
            [None, None],
            "skipped",
            "no worker answers at here:1: start it, then run the doctor again",
        ),
        ([404, 404], "failed", "the server at here:1 has no /webhooks/mux"),
        ([200, 200], "failed", "the server at here:1 answers a forged event with 200, not 401"),
        ([401, 401], "failed", "the worker at here:1 answers signed events with 401"),
        ([200, 401, 401], "failed", "the worker at here:1 answers signed events with 200, 401"),
    ],
)
def test_a_worker_must_know_signed_from_forged(
    statuses: Sequence[int | None], health: str, seen: str
) -> None:
    """The last answer is to the forged event; a server that takes it is not this worker."""
    check = judge("here:1", statuses)
    assert (check.health, check.detail) == (health, seen)
    assert bool(check.advice) == (health == "failed")
