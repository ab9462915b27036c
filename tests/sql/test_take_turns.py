import time
from itertools import pairwise
from typing import Any

import psycopg
import pytest

from tests.sql.conftest import Connections
from tests.sql.service import Service

GAP = 1.03 / 4
"""Seconds between turns at four a second: a little more than a quarter, for what arrives early."""

HALVED = """
    update mux_private.mux_pace
    set slowed_at = clock_timestamp() - make_interval(secs => %s), slowed_to = 0.5"""


pytestmark = pytest.mark.stack


def take(service: Service, turns: Any = 1, rate: Any = 4, bulk: Any = False) -> tuple[Any, Any]:
    """Take turns; give the seconds to the first and between them."""
    row = service.connection.execute(
        "select worker_take_turns(%s, %s, %s)", [turns, rate, bulk]
    ).fetchone()
    assert row is not None
    return row[0]["first_in_seconds"], row[0]["gap_seconds"]


def moment(service: Service, *, bulk: bool = False) -> float:
    """Take a turn; give its moment by this machine's clock."""
    now = time.monotonic()
    first, _ = take(service, bulk=bulk)
    return now + float(first)


def test_the_first_turn_is_at_once_and_the_others_follow(service: Service) -> None:
    """A turn that is free is now; the next one is a gap after the last that was given."""
    assert take(service, 3) == (0, pytest.approx(GAP))
    first, _ = take(service)
    assert 3 * GAP - 0.2 < first <= 3 * GAP


def test_workers_never_get_the_same_turn(connections: Connections, db: psycopg.Connection) -> None:
    """Three connections take turns by turns: all moments together are a gap apart."""
    workers = [connections.service() for _ in range(3)]
    moments: list[float] = []
    for n in range(9):
        worker = workers[n % 3]
        (now,) = worker.connection.execute(
            "select extract(epoch from clock_timestamp())"
        ).fetchone() or (0,)
        first, gap = take(worker, 2)
        worker.connection.commit()
        moments += [float(now) + first, float(now) + first + gap]
    gaps = [later - earlier for earlier, later in pairwise(moments)]
    assert min(gaps) > GAP - 0.05
    assert sum(gaps) < 17 * GAP + 0.3


def test_what_nobody_took_is_not_saved_up(service: Service, db: psycopg.Connection) -> None:
    """After a quiet minute the next turn is now, and the one after it a gap later."""
    take(service, 4)
    db.execute("update mux_private.mux_pace set next_turn_at = next_turn_at - interval '1 minute'")
    assert take(service)[0] == 0
    assert take(service)[0] > GAP - 0.2


def test_a_worker_waits_for_another_that_is_just_taking(
    connections: Connections, db: psycopg.Connection
) -> None:
    """The row is locked for a moment; the time it takes is counted."""
    one, other = connections.service(), connections.service()
    take(one, 4)
    other.connection.execute("set local lock_timeout = '50ms'")
    with pytest.raises(psycopg.errors.LockNotAvailable):
        take(other)


def test_slowing_down_halves_the_pace_of_all(service: Service, db: psycopg.Connection) -> None:
    """Once a second at the most, and not before a second has passed."""
    for _ in range(3):  # three workers were refused at once
        service.connection.execute("select worker_slow_down()")
    first, gap = take(service)
    assert 0.8 < first <= 1
    assert gap == pytest.approx(2 * GAP, rel=0.02)


@pytest.mark.parametrize(("seconds", "share"), [(0, 0.5), (5, 0.6), (15, 0.8), (25, 1), (3600, 1)])
def test_the_pace_comes_back_by_itself(
    service: Service, db: psycopg.Connection, seconds: float, share: float
) -> None:
    """A tenth of it every five seconds."""
    db.execute(HALVED, [seconds])
    assert take(service)[1] == pytest.approx(GAP / share, rel=0.02)


def test_refused_again_it_slows_further_but_never_to_nothing(
    service: Service, db: psycopg.Connection
) -> None:
    """Half of half, down to a tenth."""
    gaps = []
    for _ in range(6):
        service.connection.execute("select worker_slow_down()")
        gaps.append(take(service)[1])
        db.execute("update mux_private.mux_pace set slowed_at = slowed_at - interval '1.01 s'")
    assert gaps[1] == pytest.approx(GAP / 0.26, rel=0.03)
    assert gaps[-1] == pytest.approx(GAP / 0.1, rel=0.03)


def test_bulk_work_gets_every_fourth_turn_while_live_work_goes_on(service: Service) -> None:
    """The live worker's turn comes next, whatever bulk work would like."""
    take(service)
    firsts = [moment(service, bulk=True) for _ in range(3)]
    assert [later - earlier for earlier, later in pairwise(firsts)] == [
        pytest.approx(4 * GAP, abs=0.1)
    ] * 2


def test_live_work_does_not_wait_for_the_bulk_turns_to_come(
    service: Service, db: psycopg.Connection
) -> None:
    """What bulk work has to wait for is not taken from the others."""
    began = moment(service)
    take(service, bulk=True)
    live = [moment(service) - began for _ in range(3)]
    assert live == [pytest.approx(n * GAP, abs=0.15) for n in (2, 3, 4)]


def test_bulk_work_alone_gets_all_turns(service: Service, db: psycopg.Connection) -> None:
    """When live work has asked for nothing for ten seconds."""
    began = moment(service)
    db.execute("update mux_private.mux_pace set live_at = live_at - interval '11 s'")
    firsts = [moment(service, bulk=True) - began for _ in range(3)]
    assert firsts == [pytest.approx(n * GAP, abs=0.15) for n in (1, 2, 3)]


def test_a_clock_that_was_set_back_does_not_silence_anybody(
    service: Service, db: psycopg.Connection
) -> None:
    """A next turn an hour from now can only come of that, and is forgotten."""
    db.execute("update mux_private.mux_pace set next_turn_at = now() + interval '1 hour'")
    assert take(service)[0] == 0


def test_a_clock_that_was_set_back_keeps_nobody_slow(
    service: Service, db: psycopg.Connection
) -> None:
    """A refusal an hour from now counts no more; one that comes now does. Nor do its live turns."""
    ahead = "now() + interval '1 hour'"
    db.execute(f"update mux_private.mux_pace set slowed_at = {ahead}, slowed_to = 0.1".encode())
    db.execute(f"update mux_private.mux_pace set live_at = {ahead}".encode())
    firsts = [take(service, bulk=True)[0] for _ in range(3)]
    assert firsts == [pytest.approx(n * GAP, abs=0.15) for n in range(3)]
    assert take(service)[1] == pytest.approx(GAP)
    service.connection.execute("select worker_slow_down()")
    assert take(service)[1] == pytest.approx(2 * GAP, rel=0.02)


def test_a_slow_pace_is_no_clock_that_was_set_back(service: Service) -> None:
    """At one request in a hundred seconds, the next turn is far away and meant."""
    take(service, rate=0.01)
    assert take(service, rate=0.01)[0] > 100


@pytest.mark.parametrize(
    ("turns", "rate", "bulk"),
    [(0, 4, False), (1001, 4, False), (None, 4, False), (1, 0, False), (1, -1, False),
     (1, None, False), (1, "nan", False), (1, "infinity", False), (1, 4, None)],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(service: Service, turns: Any, rate: Any, bulk: Any) -> None:
    """With 400 by PostgREST; the pace is as it was."""
    with pytest.raises(psycopg.Error) as refused:
        take(service, turns, rate, bulk)
    assert refused.value.sqlstate == "PT400"
