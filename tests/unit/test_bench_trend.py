import math
import random

import pytest

from bench.trend import SPANS, Trend, fit, span_means

HOURS = [number / 60 for number in range(60)]


def test_a_line_is_found_as_it_is() -> None:
    """Its slope and height are exact, and there is no error."""
    trend = fit([(at, 3 + 2 * at) for at in HOURS])
    assert trend.per_hour == pytest.approx(2)
    assert trend.intercept == pytest.approx(3)
    assert trend.error == pytest.approx(0, abs=1e-9)


def test_the_error_is_that_of_least_squares() -> None:
    """By hand: residuals -1/6, 1/3 and -1/6, one degree of freedom, squares of x that sum to 2."""
    trend = fit([(0, 0), (1, 1), (2, 1)])
    assert trend.per_hour == pytest.approx(1 / 2)
    assert trend.intercept == pytest.approx(1 / 6)
    assert trend.error == pytest.approx(math.sqrt(1 / 6 / 1 / 2))


def test_the_interval_holds_the_true_slope_19_times_in_20() -> None:
    """For samples whose errors are independent."""
    chance = random.Random(7)
    covered = 0
    for _ in range(1000):
        low, high = fit([(n, 5 * n + chance.gauss(0, 3)) for n in range(SPANS)]).interval
        covered += low <= 5 <= high
    assert 930 <= covered <= 970


@pytest.mark.parametrize(
    ("per_hour", "error", "grows"),
    [
        (0.0, 1.0, False),
        (2.0, 0.1, True),
        (2.0, 1.5, False),
        (0.4, 0.01, False),
        (-2.0, 0.1, False),
    ],
    ids=["none", "certain", "uncertain", "below the bound", "shrinks"],
)
def test_growth_is_certain_and_above_the_bound(per_hour: float, error: float, grows: bool) -> None:
    """Only a slope that is surely positive, and larger than what is of no account, is growth."""
    assert Trend(per_hour, error, 10.0).grows(0.5) is grows


def test_the_means_are_of_equal_spans() -> None:
    """Each point counts once, and the last one belongs to the last span."""
    assert span_means([(0, 1), (1, 3), (2, 5), (4, 7)], spans=2) == [(0.5, 2), (3, 6)]


def vacuumed(hour: float) -> float:
    """Return what grows for a minute and a half, and is then removed."""
    return 100 * (hour * 36 % 1)


def test_what_is_removed_again_and_again_does_not_grow() -> None:
    """Dead rows rise until the next vacuum, which is no trend."""
    seconds = [second / 3600 for second in range(3600)]
    assert not fit(span_means([(at, vacuumed(at)) for at in seconds])).grows(0)


def test_a_small_leak_is_found_below_a_large_swing() -> None:
    """Ten an hour, where a hundred come and go."""
    seconds = [second / 3600 for second in range(3600)]
    trend = fit(span_means([(at, vacuumed(at) + 30 * at) for at in seconds]))
    assert trend.grows(1)
    assert trend.interval[0] < 30 < trend.interval[1]
