from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.test_decide import CLAIM, HAS_VIDEO, asset, claims, upload
from worker.backoff import is_stuck, next_check_seconds
from worker.model import Claim, Observation

WAITING = upload("waiting")
SWEPT = Observation("upload", "waiting", "sweep")


@pytest.mark.parametrize(
    ("checks", "seconds"), [(0, 5), (1, 7.5), (2, 11.25), (3, 16.875), (4, 25.3125), (5, 30)]
)
def test_pauses_grow_by_half_to_thirty_seconds(checks: int, seconds: float) -> None:
    """In the first half hour: 5 s, times 1.5 at each check, to 30 s."""
    assert next_check_seconds(WAITING, replace(CLAIM, check_count=checks), 0.5) == seconds


@pytest.mark.parametrize(("age", "seconds"), [(1800, 30), (3600, 60), (18_000, 300), (9e6, 300)])
def test_later_pauses_are_a_sixtieth_of_the_age(age: float, seconds: float) -> None:
    """After half an hour they grow from 30 s to five minutes."""
    claim = replace(CLAIM, age_seconds=age, check_count=99)
    assert next_check_seconds(WAITING, claim, 0.5) == seconds


@pytest.mark.parametrize(("age", "seconds", "stuck"), [(1799.9, 5, False), (1800, 30, True)])
def test_a_row_is_stuck_from_half_an_hour_on(age: float, seconds: float, stuck: bool) -> None:
    """Before, the number of checks counts; from then on the age."""
    claim = replace(CLAIM, age_seconds=age, check_count=0)
    assert (next_check_seconds(WAITING, claim, 0.5), is_stuck(claim)) == (seconds, stuck)


def test_a_row_with_a_video_is_never_stuck() -> None:
    """It is only rechecked, however old it is."""
    assert not is_stuck(HAS_VIDEO)


@given(claims, st.floats(0, 1, exclude_max=True))
def test_a_pause_is_never_short_and_never_long(claim: Claim, jitter: float) -> None:
    """For every row from 4.5 s to 330 s, and the jitter is a tenth either way."""
    seconds = next_check_seconds(WAITING, claim, jitter)
    assert 4.5 <= seconds <= 330
    assert abs(seconds / next_check_seconds(WAITING, claim, 0.5) - 1) <= 0.1 + 1e-9


@pytest.mark.parametrize(("jitter", "seconds"), [(0.0, 27.0), (0.5, 30.0), (0.75, 31.5)])
def test_jitter_spreads_a_pause_by_a_tenth_either_way(jitter: float, seconds: float) -> None:
    """From nine tenths to eleven tenths of it, evenly."""
    claim = replace(CLAIM, check_count=9)
    assert next_check_seconds(WAITING, claim, jitter) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("checks", "age", "seconds"), [(0, 0, 4), (9, 1799.9, 4), (9, 1800, 30), (99, 9000, 150)]
)
def test_a_swept_row_is_checked_with_the_next_scan(checks: int, age: float, seconds: float) -> None:
    """However often it was checked; from half an hour on as rarely as all others."""
    claim = replace(CLAIM, check_count=checks, age_seconds=age)
    assert next_check_seconds(SWEPT, claim, 0.5) == pytest.approx(seconds)


@pytest.mark.parametrize("observation", [WAITING, SWEPT])
@pytest.mark.parametrize(
    ("checks", "age", "seconds"), [(0, 10, 60), (1, 100, 90), (3, 400, 202.5), (9, 4000, 300)]
)
def test_while_webhooks_arrive_pauses_are_longer(
    observation: Observation, checks: int, age: float, seconds: float
) -> None:
    """A minute, times 1.5 at each check, to five minutes, for swept rows too."""
    claim = replace(CLAIM, check_count=checks, age_seconds=age)
    pause = next_check_seconds(observation, claim, 0.5, events_arrive=True)
    assert pause == pytest.approx(seconds)


@pytest.mark.parametrize("observation", [upload("missing"), asset("rejected")])
@pytest.mark.parametrize(("checks", "seconds"), [(0, 5), (1, 30), (2, 200), (3, 300), (9, 300)])
@pytest.mark.parametrize("age", [10, 90_000])
@pytest.mark.parametrize("events_arrive", [True, False])
def test_a_missing_id_is_checked_less_and_less(
    observation: Observation, checks: int, seconds: float, age: float, events_arrive: bool
) -> None:
    """Three checks within four minutes, then one every five minutes, whatever the row's age."""
    claim = replace(CLAIM, missing_count=checks, age_seconds=age, check_count=7)
    pause = next_check_seconds(observation, claim, 0.5, events_arrive=events_arrive)
    assert pause == seconds


def test_in_another_environment_a_missing_id_is_checked_like_a_waiting_one() -> None:
    """There a 404 means nothing."""
    claim = replace(CLAIM, missing_count=9)
    pause = next_check_seconds(upload("missing"), claim, 0.5, environment_matches=False)
    assert pause == next_check_seconds(WAITING, claim, 0.5)


@pytest.mark.parametrize(("faults", "seconds"), [(0, 5), (1, 7.5), (2, 11.25), (99, 300)])
def test_a_row_whose_id_fails_backs_off_to_five_minutes(faults: int, seconds: float) -> None:
    """5 s, times 1.5 at each fault in a row, whatever the number of checks."""
    claim = replace(CLAIM, check_count=9)
    assert next_check_seconds(upload("fault"), claim, 0.5, fault_count=faults) == seconds
