import io
import time
from typing import Any

import pytest
from pytest_mock import MockerFixture

from tests.unit.log_lines import logged
from worker.daemon.outage import Outage
from worker.errors import (
    MuxUnauthorized,
    MuxUnavailable,
    SupabaseNeedsOperator,
    SupabaseUnavailable,
    Unavailable,
)
from worker.telemetry.scan_history import OutageState, Service


class Clock:
    """A clock that the test drives."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Return a clock that stands still."""
    return Clock()


DOWN = MuxUnavailable("http_503", "down")
REFUSED = MuxUnauthorized("http_401", "wrong token")


def outage(clock: Clock, service: Service = "mux") -> Outage:
    """Return an outage at the default interval of five seconds."""
    return Outage(service, 5.0, clock)


def test_an_outage_is_one_line_at_each_end(clock: Clock, out: io.StringIO) -> None:
    """However often it is recorded, and for any transient reason; the end says how long it was."""
    here = outage(clock)
    for fault in (DOWN, MuxUnavailable("timeout", "slow"), DOWN):
        here.record(fault)
        clock.now += 10
    here.end(rows_waiting=7)
    here.end()
    assert logged(out) == [
        {"level": "warning", "event": "mux.unavailable", "reason": "http_503", "message": "down"},
        {"level": "info", "event": "mux.recovered", "outage_seconds": 30.0, "rows_waiting": 7},
    ]


def test_a_refused_token_during_an_outage_is_logged(clock: Clock, out: io.StringIO) -> None:
    """When it turns into a refused token and back, each turn is a line."""
    here = outage(clock)
    for fault in (DOWN, REFUSED, REFUSED, DOWN):
        here.record(fault)
    assert [(line["event"], line["level"]) for line in logged(out)] == [
        ("mux.unavailable", "warning"),
        ("mux.unauthorized", "error"),
        ("mux.unavailable", "warning"),
    ]


PASSING = SupabaseUnavailable("503", "down")
PAUSED = SupabaseNeedsOperator("paused", "Restore it.")
RESTRICTED = SupabaseNeedsOperator("restricted", "Pay.")


def test_supabase_is_an_error_where_an_operator_must_act(clock: Clock, out: io.StringIO) -> None:
    """Each change is a line: into an error, into another one, and back."""
    here = outage(clock, "supabase")
    for fault in (PASSING, PAUSED, PAUSED, RESTRICTED, RESTRICTED, PASSING, PASSING):
        here.record(fault)
        clock.now += 10
    here.end()
    assert [(line["level"], line["event"], line.get("reason")) for line in logged(out)] == [
        ("warning", "supabase.unavailable", "503"),
        ("error", "supabase.unavailable", "paused"),
        ("error", "supabase.unavailable", "restricted"),
        ("warning", "supabase.unavailable", "503"),
        ("info", "supabase.recovered", None),
    ]


@pytest.mark.parametrize(
    ("service", "fault", "began"),
    [
        ("mux", DOWN, ("warning", "mux.unavailable")),
        ("mux", REFUSED, ("error", "mux.unauthorized")),
        ("supabase", PASSING, ("warning", "supabase.unavailable")),
        ("supabase", PAUSED, ("error", "supabase.unavailable")),
    ],
    ids=["Mux down", "Mux refuses", "Supabase down", "Supabase paused"],
)
def test_a_second_outage_is_announced_like_the_first(
    clock: Clock, out: io.StringIO, service: Service, fault: Unavailable, began: tuple[str, str]
) -> None:
    """Two outages of one service, for the same reason, are two lines at each end."""
    here = outage(clock, service)
    for _ in range(2):
        here.record(fault)
        here.record(fault)
        clock.now += 10
        here.end()
    pair = [began, ("info", f"{service}.recovered")]
    assert [(line["level"], line["event"]) for line in logged(out)] == pair * 2


def test_an_outage_knows_its_last_fault_and_its_beginning(clock: Clock, out: io.StringIO) -> None:
    """In unix seconds, however its fault changes; afterwards there is none."""
    here, began = outage(clock), time.time()
    faults: list[OutageState | None] = [here.state]
    for fault in (DOWN, REFUSED):
        here.record(fault)
        faults.append(here.state)
    here.end()
    faults.append(here.state)
    since = faults[1].since if faults[1] else 0.0
    assert since == pytest.approx(began, abs=5)
    assert faults == [
        None,
        OutageState(since, "http_503", "down", needs_operator=False),
        OutageState(since, "http_401", "wrong token", needs_operator=True),
        None,
    ]


def pauses(here: Outage, fault: Any, times: int) -> list[float]:
    """Record a fault some times, and return the pause after each."""
    found = []
    for _ in range(times):
        here.record(fault)
        found.append(here.seconds_to_next_try)
    return found


def test_pauses_double_from_one_interval_to_a_minute(clock: Clock) -> None:
    """Give or take a fifth, so that replicas do not come back together."""
    for pause, base in zip(
        pauses(outage(clock), DOWN, 7), (5, 10, 20, 40, 60, 60, 60), strict=True
    ):
        assert base * 0.8 <= pause <= base


def test_after_a_refused_token_pauses_are_longer(clock: Clock) -> None:
    """From half a minute to five minutes: only an operator can end that."""
    for pause, base in zip(pauses(outage(clock), REFUSED, 5), (30, 60, 120, 240, 300), strict=True):
        assert base * 0.8 <= pause <= base


def test_mux_may_ask_for_a_longer_pause(clock: Clock) -> None:
    """A Retry-After beyond the pause is honoured."""
    here = outage(clock)
    here.record(MuxUnavailable("rate_limited", "x", retry_after_seconds=90))
    assert here.seconds_to_next_try == 90
    clock.now += 60
    assert here.seconds_to_next_try == 30


def test_no_header_silences_the_worker_for_ever(clock: Clock) -> None:
    """A Retry-After of years is a mistake: an hour is the most."""
    here = outage(clock)
    here.record(MuxUnavailable("rate_limited", "x", retry_after_seconds=1e9))
    assert here.seconds_to_next_try == 3600


def test_after_the_end_the_next_outage_begins_small(clock: Clock) -> None:
    """Pauses do not carry over, and without an outage there is none."""
    here = outage(clock)
    pauses(here, DOWN, 6)
    here.end()
    assert (here.is_ongoing, here.seconds_to_next_try) == (False, 0.0)
    (first,) = pauses(here, DOWN, 1)
    assert first <= 6


@pytest.mark.parametrize(
    ("jitter", "expected"), [(0.8, [4, 8, 16, 32, 48]), (1.0, [5, 10, 20, 40, 60])]
)
def test_replicas_come_back_up_to_a_fifth_earlier(
    clock: Clock, mocker: MockerFixture, jitter: float, expected: list[float]
) -> None:
    """Each pause is multiplied by a number from 0.8 to 1."""
    uniform = mocker.patch("worker.daemon.outage.random.uniform", return_value=jitter)
    assert pauses(outage(clock), DOWN, 5) == pytest.approx(expected)
    assert uniform.call_args_list == [mocker.call(0.8, 1.0)] * 5


def test_the_end_says_to_a_tenth_of_a_second_how_long_it_was(
    clock: Clock, out: io.StringIO
) -> None:
    """And how many rows wait only where that is known."""
    here = outage(clock)
    here.record(DOWN)
    clock.now += 12.34
    here.end()
    assert logged(out)[1] == {"level": "info", "event": "mux.recovered", "outage_seconds": 12.3}


@pytest.mark.parametrize(
    ("fault", "interval", "expected"),
    [
        (DOWN, 60.0, [60, 60]),
        (DOWN, 300.0, [300, 300]),
        (DOWN, 1.0, [1, 2, 4, 8, 12, 12]),
        (REFUSED, 60.0, [300, 300]),
        (REFUSED, 600.0, [600, 600]),
        (REFUSED, 1.0, [6, 12, 24, 48, 60, 60]),
    ],
)
def test_pauses_are_in_scan_intervals(
    clock: Clock, mocker: MockerFixture, fault: Unavailable, interval: float, expected: list[float]
) -> None:
    """Within a minute, or five after a refused token; a single interval may be longer."""
    mocker.patch("worker.daemon.outage.random.uniform", return_value=1.0)
    here = Outage("mux", interval, clock)
    assert pauses(here, fault, len(expected)) == expected


def test_a_pause_that_is_over_is_none(clock: Clock) -> None:
    """However long ago; the service is tried, and until then the outage goes on."""
    here = outage(clock)
    here.record(DOWN)
    clock.now += 1000
    assert (here.is_ongoing, here.seconds_to_next_try) == (True, 0.0)
