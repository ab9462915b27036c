"""What a measurement gives: rows of the main table, a table of its own, and what to draw."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the main table; the README shows the `is_headline` ones."""

    figure: str
    worker: str
    beside: str = ""
    ratio: str = ""
    limit: str = ""
    is_headline: bool = False


@dataclass(frozen=True, slots=True)
class Detail:
    """A table with all that a measurement saw."""

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of a chart."""

    name: str
    value: float
    is_ours: bool = False


@dataclass(frozen=True, slots=True)
class Bars:
    """A bar chart with the limit in theory as a line."""

    title: str
    unit: str
    bars: tuple[Bar, ...]
    limit: float | None = None
    limit_name: str = ""
    is_logarithmic: bool = False


@dataclass(frozen=True, slots=True)
class Groups:
    """A chart of groups of bars, each group with its limit in theory."""

    title: str
    unit: str
    names: tuple[str, ...]
    bars: dict[str, tuple[float, ...]]
    """The bars' lengths, one a group, by what they stand for; ours first."""

    limits: tuple[float, ...]
    limit_name: str


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a chart."""

    name: str
    points: tuple[tuple[float, float], ...]
    is_ours: bool = False
    is_limit: bool = False


@dataclass(frozen=True, slots=True)
class Lines:
    """A line chart."""

    title: str
    across: str
    up: str
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Panels:
    """Small line charts, each with a scale of its own, over the same time."""

    title: str
    charts: tuple[Lines, ...]


Chart = Bars | Groups | Lines | Panels


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one question."""

    question: str
    how: str
    """What was measured and how, in a paragraph."""

    rows: tuple[Row, ...]
    details: tuple[Detail, ...] = ()
    charts: dict[str, Chart] = field(default_factory=dict)
    """What to draw, by the picture's name."""


def middle(values: Sequence[float], form: str, unit: str = "") -> str:
    """Write a median with its range: `4.5 (4.4 to 4.6)`, or alone where there is one value."""
    unit = f" {unit}" if unit else ""
    half = f"{statistics.median(values):{form}}"
    low, high = f"{min(values):{form}}", f"{max(values):{form}}"
    return f"{half}{unit}" if low == high else f"{half}{unit} ({low} to {high})"


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value below which this share of the values lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
