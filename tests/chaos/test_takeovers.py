"""What the verdict says of rows that were leased when a worker was killed."""

from collections.abc import Sequence
from uuid import UUID

import pytest

from tests.chaos.faults import Happened
from tests.chaos.journal import Entry
from tests.chaos.run import BOUNDS
from tests.chaos.verdict import Evidence, not_taken_over, takeovers

ROW = UUID(int=1)
KILL = Happened("kill", 10.0, 10.0)
CLAIM = (9.0, "worker_claim")


def late_rows(calls: Sequence[tuple[float, str]], *faults: Happened, now: float = 30.0) -> int:
    """Return how many rows are late, of one for which the database recorded these calls."""
    nothing = (None, ROW, None, None, None)
    journal = [Entry(at, "1", "service_role", call, "schedule", *nothing) for at, call in calls]
    found = list(takeovers(Evidence({}, {}, journal, now), [KILL, *faults]))
    return len(list(not_taken_over(found, BOUNDS, lambda _began, _ended: 0.0)))


@pytest.mark.parametrize(("at", "late"), [(16.2, 0), (16.3, 1)])
def test_a_row_is_claimed_after_the_lease_an_interval_and_a_second(at: float, late: int) -> None:
    """The lease of the run is 5 s and its interval 0.25 s."""
    assert late_rows([CLAIM, (at, "worker_claim")]) == late


def test_a_row_that_is_never_claimed_is_found() -> None:
    """The run ends, and it is as the killed worker left it."""
    assert late_rows([CLAIM]) == 1


def test_a_row_that_was_settled_before_the_kill_is_no_takeover() -> None:
    """It falls due when its pause ends."""
    assert late_rows([CLAIM, (9.5, "worker_settle"), (25.0, "worker_claim")]) == 0


def test_a_fault_in_which_the_row_waited_moves_the_bound() -> None:
    """It counts from its end."""
    outage = Happened("mux: down", 9.0, 14.0)
    assert late_rows([CLAIM, (20.2, "worker_claim")], outage) == 0
    assert late_rows([CLAIM, (20.3, "worker_claim")], outage) == 1
