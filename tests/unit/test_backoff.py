from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.test_decide import CLAIM, HAS_VIDEO, asset, claims, upload
from worker.backoff import is_stuck, next_check_seconds
from worker.model import Claim, Observation, Source

WAITING = upload("waiting")
ENCODING = asset("preparing")
SWEPT = Observation("asset", "preparing", "sweep")


@pytest.mark.parametrize("observation", [ENCODING, SWEPT, asset("ready"), upload("asset_created")])
@pytest.mark.parametrize("checks", [0, 1, 9, 1000])
@pytest.mark.parametrize("age", [0, 60, 1799.9])
def test_a_row_that_waits_is_checked_with_the_next_scan(
    observation: Observation, checks: int, age: float
) -> None:
    """In the first half hour, however often it was checked, by a list or by itself."""
    claim = replace(CLAIM, check_count=checks, age_seconds=age)
    assert next_check_seconds(observation, claim, 0.5) == 0.5


@pytest.mark.parametrize(
    ("interval", "seconds"), [(0.2, 0.1), (0.5, 0.25), (1, 0.5), (5, 0.5), (60, 0.5)]
)
def test_a_row_that_waits_is_due_within_half_an_interval(interval: float, seconds: float) -> None:
    """So that scans of less than a second find it due, too."""
    assert next_check_seconds(ENCODING, CLAIM, 0.5, interval_seconds=interval) == seconds


@pytest.mark.parametrize(
    ("age", "seconds"),
    [(0, 1), (5, 1), (10, 1), (20, 2), (150, 15), (300, 30), (1799.9, 30), (1800, 30), (3600, 60)],
)
@pytest.mark.parametrize("source", ["probe", "sweep"])
def test_an_upload_without_its_file_is_checked_after_a_tenth_of_its_age(
    age: float, seconds: float, source: Source
) -> None:
    """From one second to thirty: large files take long."""
    claim = replace(CLAIM, check_count=7, age_seconds=age)
    observation = replace(WAITING, source=source)
    assert next_check_seconds(observation, claim, 0.5, interval_seconds=0.2) == seconds


@pytest.mark.parametrize("observation", [WAITING, ENCODING, SWEPT])
@pytest.mark.parametrize(("age", "seconds"), [(1800, 30), (3600, 60), (18_000, 300), (9e6, 300)])
def test_later_pauses_are_a_sixtieth_of_the_age(
    observation: Observation, age: float, seconds: float
) -> None:
    """After half an hour they grow from 30 s to five minutes."""
    claim = replace(CLAIM, age_seconds=age, check_count=99)
    assert next_check_seconds(observation, claim, 0.5) == pytest.approx(seconds)


@pytest.mark.parametrize(("age", "seconds", "stuck"), [(1799.9, 0.5, False), (1800, 30, True)])
def test_a_row_is_stuck_from_half_an_hour_on(age: float, seconds: float, stuck: bool) -> None:
    """Then it is checked less often, too."""
    claim = replace(CLAIM, age_seconds=age, check_count=0)
    assert (next_check_seconds(ENCODING, claim, 0.5), is_stuck(claim)) == (seconds, stuck)


def test_a_row_with_a_video_is_never_stuck() -> None:
    """It is only rechecked, however old it is."""
    assert not is_stuck(HAS_VIDEO)


@given(claims, st.floats(0, 1, exclude_max=True))
def test_a_pause_is_never_short_and_never_long(claim: Claim, jitter: float) -> None:
    """For every row from 0.45 s to 330 s, and the jitter is a tenth either way."""
    seconds = next_check_seconds(ENCODING, claim, jitter)
    assert 0.45 <= seconds <= 330
    assert abs(seconds / next_check_seconds(ENCODING, claim, 0.5) - 1) <= 0.1 + 1e-9


@pytest.mark.parametrize(("jitter", "seconds"), [(0.0, 27.0), (0.5, 30.0), (0.75, 31.5)])
def test_jitter_spreads_a_pause_by_a_tenth_either_way(jitter: float, seconds: float) -> None:
    """From nine tenths to eleven tenths of it, evenly."""
    claim = replace(CLAIM, age_seconds=300)
    assert next_check_seconds(WAITING, claim, jitter) == pytest.approx(seconds)


@pytest.mark.parametrize("observation", [WAITING, ENCODING, SWEPT])
@pytest.mark.parametrize(
    ("checks", "age", "seconds"), [(0, 10, 60), (1, 100, 90), (3, 400, 202.5), (9, 4000, 300)]
)
def test_while_webhooks_arrive_pauses_are_longer(
    observation: Observation, checks: int, age: float, seconds: float
) -> None:
    """A minute, times 1.5 at each check, to five minutes, whatever Mux said."""
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


@pytest.mark.parametrize("age", [0, 100, 5000])
@pytest.mark.parametrize("observation", [upload("missing"), asset("missing"), asset("rejected")])
def test_in_another_environment_a_missing_id_is_checked_like_an_upload_without_a_file(
    observation: Observation, age: float
) -> None:
    """There a 404 means nothing, and every id is one: not each of them is checked every second."""
    claim = replace(CLAIM, missing_count=9, age_seconds=age)
    pause = next_check_seconds(observation, claim, 0.5, environment_matches=False)
    assert pause == next_check_seconds(WAITING, claim, 0.5)


@pytest.mark.parametrize(("faults", "seconds"), [(0, 5), (1, 7.5), (2, 11.25), (99, 300)])
def test_a_row_whose_id_fails_backs_off_to_five_minutes(faults: int, seconds: float) -> None:
    """5 s, times 1.5 at each fault in a row, whatever the number of checks."""
    claim = replace(CLAIM, check_count=9)
    assert next_check_seconds(upload("fault"), claim, 0.5, fault_count=faults) == seconds


def test_a_row_whose_faults_are_not_counted_has_the_first_pause() -> None:
    """As after a restart of the worker."""
    assert next_check_seconds(upload("fault"), CLAIM, 0.5) == 5
