"""Fit a straight line to samples by least squares, and judge whether they grow."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

SPANS = 20
T_QUANTILE = 2.101
"""Of Student's distribution, two-sided 95 %, with the 18 degrees of freedom of 20 spans."""

Points = Sequence[tuple[float, float]]
"""Hours, and what was measured then."""


@dataclass(frozen=True, slots=True)
class Trend:
    """A line through points: its slope with the standard error, and its height at hour 0."""

    per_hour: float
    error: float
    intercept: float

    @property
    def interval(self) -> tuple[float, float]:
        """Return the 95 % confidence interval of the slope of `SPANS` points."""
        reach = T_QUANTILE * self.error
        return self.per_hour - reach, self.per_hour + reach

    def grows(self, bound: float) -> bool:
        """Whether the slope is certainly above zero, and above the bound that is of no account."""
        return self.interval[0] > 0 and self.per_hour > bound


def fit(points: Points) -> Trend:
    """Return the line through three points or more."""
    across, up = zip(*points, strict=True)
    line = statistics.linear_regression(across, up)
    middle = statistics.fmean(across)
    spread = sum((x - middle) ** 2 for x in across)
    rest = sum((y - line.intercept - line.slope * x) ** 2 for x, y in points)
    error = (rest / (len(across) - 2) / spread) ** 0.5
    return Trend(line.slope, float(error), line.intercept)


def span_means(points: Points, spans: int = SPANS) -> list[tuple[float, float]]:
    """Return the means of a number of spans of equal length.

    What lasts a while, such as a fault or the time between two vacuums, shows in neighbouring
    samples. Their errors are not independent, so a fit to all of them would seem too certain.
    """
    first, last = points[0][0], points[-1][0]
    parts: list[list[tuple[float, float]]] = [[] for _ in range(spans)]
    for at, value in points:
        parts[min(spans - 1, int((at - first) / (last - first) * spans))].append((at, value))
    return [
        (statistics.fmean(at for at, _ in part), statistics.fmean(value for _, value in part))
        for part in parts
        if part
    ]
