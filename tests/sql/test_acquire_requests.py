from itertools import pairwise
from typing import Any

import psycopg
import pytest

from tests.sql.conftest import Connections
from tests.sql.service import Service

RATE = 0.04
GAP = 1.03 / RATE
"""Seconds between requests: a little more than the rate says, as some arrive early."""

LATE = 5
"""Seconds that a statement may take on a busy machine, far fewer than a gap."""

LITTLE = 0.1
"""The share of a gap that a rate grows back meanwhile."""

HALVED = """
    update mux_private.rate_limit
    set slowed_at = clock_timestamp() - make_interval(secs => %s), slowed_to = 0.5"""


pytestmark = pytest.mark.stack


def acquire(service: Service, requests: Any = 1, rate: Any = RATE) -> tuple[Any, Any]:
    """Reserve requests; return the seconds to the first and between them."""
    row = service.connection.execute(
        "select worker_acquire_requests(%s, %s)", [requests, rate]
    ).fetchone()
    assert row is not None
    return row[0]["first_in_seconds"], row[0]["gap_seconds"]


def test_the_first_request_is_at_once_and_the_others_follow(service: Service) -> None:
    """A free request is due now; the next is due a gap after the last one reserved."""
    assert acquire(service, 3) == (0, pytest.approx(GAP))
    first, _ = acquire(service)
    assert 3 * GAP - LATE < first <= 3 * GAP


def test_workers_never_get_the_same_time(connections: Connections, db: psycopg.Connection) -> None:
    """Three connections reserve alternately: all times together are a gap apart."""
    workers = [connections.service() for _ in range(3)]
    moments: list[float] = []
    for n in range(9):
        worker = workers[n % 3]
        (now,) = worker.connection.execute(
            "select extract(epoch from clock_timestamp())"
        ).fetchone() or (0,)
        first, gap = acquire(worker, 2)
        worker.connection.commit()
        moments += [float(now) + first, float(now) + first + gap]
    gaps = [later - earlier for earlier, later in pairwise(moments)]
    assert min(gaps) > GAP - LATE
    assert sum(gaps) < 17 * GAP + LATE


def test_unused_requests_are_not_saved_up(service: Service, db: psycopg.Connection) -> None:
    """After a quiet hour the next request is due now, and the one after it a gap later."""
    acquire(service, 4)
    db.execute(
        "update mux_private.rate_limit set next_request_at = next_request_at - interval '1 hour'"
    )
    assert acquire(service)[0] == 0
    assert acquire(service)[0] > GAP - LATE


def test_a_worker_waits_for_another_that_is_reserving(
    connections: Connections, db: psycopg.Connection
) -> None:
    """The row is locked until the other transaction ends."""
    one, other = connections.service(), connections.service()
    acquire(one, 4)
    other.connection.execute("set local lock_timeout = '50ms'")
    with pytest.raises(psycopg.errors.LockNotAvailable):
        acquire(other)


def test_slowing_down_halves_the_rate_of_all_workers(
    service: Service, db: psycopg.Connection
) -> None:
    """At most once a second, and the next request is a second away."""
    for _ in range(3):  # three workers were refused at once
        service.connection.execute("select worker_slow_down()")
    first, gap = acquire(service)
    assert 1 - LATE < first <= 1
    assert gap == pytest.approx(2 * GAP, rel=LITTLE)


@pytest.mark.parametrize(("seconds", "share"), [(0, 0.5), (5, 0.6), (15, 0.8), (25, 1), (3600, 1)])
def test_the_rate_grows_back_by_itself(
    service: Service, db: psycopg.Connection, seconds: float, share: float
) -> None:
    """A tenth of it every five seconds."""
    db.execute(HALVED, [seconds])
    assert acquire(service)[1] == pytest.approx(GAP / share, rel=LITTLE)


def test_refused_again_it_slows_further_but_never_to_nothing(
    service: Service, db: psycopg.Connection
) -> None:
    """Half of half, down to a tenth."""
    gaps = []
    for _ in range(6):
        service.connection.execute("select worker_slow_down()")
        gaps.append(acquire(service)[1])
        db.execute("update mux_private.rate_limit set slowed_at = slowed_at - interval '1.01 s'")
    assert gaps[1] == pytest.approx(GAP / 0.26, rel=2 * LITTLE)
    assert gaps[-1] == pytest.approx(GAP / 0.1, rel=2 * LITTLE)


def test_a_clock_that_was_set_back_stops_no_requests(
    service: Service, db: psycopg.Connection
) -> None:
    """A next request an hour from now means that, and is dropped."""
    db.execute("update mux_private.rate_limit set next_request_at = now() + interval '1 hour'")
    assert acquire(service)[0] == 0


def test_a_clock_that_was_set_back_keeps_no_worker_slow(
    service: Service, db: psycopg.Connection
) -> None:
    """A 429 an hour from now is ignored; one that comes now counts."""
    ahead = "now() + interval '1 hour'"
    db.execute(f"update mux_private.rate_limit set slowed_at = {ahead}, slowed_to = 0.1".encode())
    firsts = [acquire(service)[0] for _ in range(3)]
    assert firsts == [pytest.approx(n * GAP, abs=LATE) for n in range(3)]
    assert acquire(service)[1] == pytest.approx(GAP)
    service.connection.execute("select worker_slow_down()")
    assert acquire(service)[1] == pytest.approx(2 * GAP, rel=LITTLE)


def test_a_slow_rate_is_no_clock_that_was_set_back(service: Service) -> None:
    """At one request in a thousand seconds, the next request is rightly far away."""
    acquire(service, rate=0.001)
    assert acquire(service, rate=0.001)[0] > 1000


def pause_of(service: Service) -> tuple[Any, Any]:
    """Return the seconds to the next request, and how much of that is a pause."""
    row = service.connection.execute("select worker_acquire_requests(1, 1000)").fetchone()
    assert row is not None
    return row[0]["first_in_seconds"], row[0]["paused_seconds"]


def test_a_pause_that_mux_asks_for_holds_all_workers(service: Service) -> None:
    """The longest counts, also where several workers are asked for one in the same second."""
    for seconds in (30, 60, 45, 0):
        service.connection.execute("select worker_slow_down(%s)", [seconds])
    first, paused = pause_of(service)
    assert 60 - LATE < paused <= 60
    assert paused <= first < paused + 1


def test_a_request_that_a_pause_refuses_takes_no_time_after_it(
    service: Service, db: psycopg.Connection
) -> None:
    """No worker waits for the end of the pause; then all find the limit as it was."""
    service.connection.execute("select worker_slow_down(60)")
    (before,) = db.execute("select next_request_at from mux_private.rate_limit").fetchall()
    for _ in range(20):
        acquire(service, 4)
    assert db.execute("select next_request_at from mux_private.rate_limit").fetchall() == [before]
    db.execute("update mux_private.rate_limit set paused_until = now() + interval '500 ms'")
    acquire(service, 4)
    assert acquire(service)[0] > 4 * GAP


def test_a_pause_is_no_longer_than_an_hour(service: Service, db: psycopg.Connection) -> None:
    """A longer one is a mistake, and an end that is further away a clock that was set back."""
    service.connection.execute("select worker_slow_down(1e9)")
    assert 3600 - LATE < pause_of(service)[1] <= 3600
    db.execute("update mux_private.rate_limit set paused_until = now() + interval '2 hours'")
    assert pause_of(service)[1] == 0
    service.connection.execute("select worker_slow_down(60)")
    assert 60 - LATE < pause_of(service)[1] <= 60


@pytest.mark.parametrize(
    ("requests", "rate"),
    [(0, 4), (1001, 4), (None, 4), (1, 0), (1, -1), (1, None), (1, "nan"), (1, "infinity")],
)
def test_invalid_parameters_are_refused(service: Service, requests: Any, rate: Any) -> None:
    """With PT400, which PostgREST turns into a response 400."""
    with pytest.raises(psycopg.Error) as refused:
        acquire(service, requests, rate)
    assert refused.value.sqlstate == "PT400"
